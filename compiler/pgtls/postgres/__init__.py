"""What each major version of PostgreSQL has, as tables.

Releases, settings, authentication methods, libpq's parameters.
"""
