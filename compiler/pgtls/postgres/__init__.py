"""Define the features of each major version of PostgreSQL as tables.

Releases, settings, authentication methods, libpq's parameters.
"""
