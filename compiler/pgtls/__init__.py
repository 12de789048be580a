"""TLS and access for PostgreSQL, compiled from one reviewed TOML spec."""

__version__ = "0.1.0"
