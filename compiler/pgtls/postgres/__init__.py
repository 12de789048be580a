"""What each major version of PostgreSQL has, as tables: releases, settings, authentication methods, libpq's parameters."""
