"""Keys, certificates, CRLs and chains (RFC 5280)."""
