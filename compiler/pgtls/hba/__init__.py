"""Model, parse, render and match pg_hba.conf and pg_ident.conf (src/backend/libpq/hba.c)."""
