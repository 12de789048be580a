"""Certificates, keys and CRLs: desired and observed, decisions about them, issuing."""
