"""What clients other than psql can be told: one table, from which bundles, diagnostics and the documentation are made.

Each row is tested with the driver itself, against servers that ask for less than the policy (tests/drivers).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

DriverName = Literal[
    "psycopg",
    "sqlalchemy",
    "asyncpg",
    "pg8000",
    "node-pg",
    "postgres.js",
    "pgjdbc",
    "pgx",
    "lib-pq",
    "tokio-postgres-native-tls",
    "tokio-postgres-rustls",
]
Binding = Literal["enforced", "ignored", "fails"]
Noticed = Literal["at the next connection", "after a restart"]


class Driver(NamedTuple):
    """A driver, and what it can enforce."""

    name: DriverName
    """As in the `drivers` of a user."""
    title: str
    language: str
    insists: bool = False
    """True if it can refuse a server that asks for less than the policy's method, or for nothing."""
    binding: Binding = "ignored"
    """What `channel_binding = "require"` does. `fails`: it cannot bind, and connects to no server."""
    demands: bool = False
    """True if it can refuse a server that asks for no client certificate."""
    skips_names: bool = True
    """True if it can verify the issuer without the name, as `verify-ca` and `require` do."""
    notices: Noticed = "after a restart"
    """When an open pool uses a certificate file that was renewed."""
    on_libpq: bool = False
    """True if it can do what its libpq can; `insists` and `demands` then need libpq 16."""


_NEXT: Noticed = "at the next connection"

DRIVERS: Mapping[DriverName, Driver] = {
    driver.name: driver
    for driver in (
        Driver("psycopg", "psycopg 3", "Python", True, "enforced", True, notices=_NEXT, on_libpq=True),
        Driver(
            "sqlalchemy", "SQLAlchemy over psycopg 3", "Python", True, "enforced", True, notices=_NEXT, on_libpq=True
        ),
        Driver("asyncpg", "asyncpg", "Python"),
        Driver("pg8000", "pg8000", "Python"),
        Driver("node-pg", "pg (node-postgres)", "JavaScript"),
        Driver("postgres.js", "postgres.js", "JavaScript"),
        Driver("pgjdbc", "pgjdbc", "Java", True, "enforced", notices=_NEXT),
        Driver("pgx", "pgx 5", "Go", True, "enforced", True, notices=_NEXT),
        Driver("lib-pq", "lib/pq", "Go", notices=_NEXT),
        Driver("tokio-postgres-native-tls", "tokio-postgres with native-tls", "Rust", binding="enforced"),
        Driver("tokio-postgres-rustls", "tokio-postgres with rustls", "Rust", binding="fails", skips_names=False),
    )
}
