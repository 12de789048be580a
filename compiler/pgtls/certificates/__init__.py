"""Compare desired and observed certificates, keys and CRLs, decide about them, and issue them."""
