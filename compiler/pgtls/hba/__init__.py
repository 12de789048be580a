"""pg_hba.conf and pg_ident.conf as a language: model, parse, render, match (src/backend/libpq/hba.c)."""
