"""Define the features of clients other than psql: one table for bundles, diagnostics and the documentation.

The tests check each row with the driver itself, against servers that ask for less than the policy (tests/drivers).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from pgtls.postgres.libpq import REQUIRE_AUTH_SINCE

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
    """A driver, and the demands that it can enforce."""

    name: DriverName
    """The driver's name in the `drivers` of a user."""
    title: str
    language: str
    insists: bool = False
    """True if it can reject a server that asks for less than the policy's method, or for nothing."""
    binding: Binding = "ignored"
    """The effect of `channel_binding = "require"`. `fails`: the driver cannot bind, and connects to no server."""
    demands: bool = False
    """True if it can reject a server that asks for no client certificate."""
    skips_names: bool = True
    """True if it can verify the issuer without the name, as `verify-ca` and `require` do."""
    notices: Noticed = "after a restart"
    """When an open pool reads a renewed certificate file."""
    decrypts: bool = True
    """True if it accepts a PEM key that is encrypted with a passphrase."""
    on_libpq: bool = False
    """True if it supports what its libpq supports."""

    def insisting(self, libpq: int) -> bool:
        """Return whether it insists, if this is its oldest libpq."""
        return self.insists and self._can(libpq)

    def demanding(self, libpq: int) -> bool:
        """Return whether it demands, if this is its oldest libpq."""
        return self.demands and self._can(libpq)

    def _can(self, libpq: int) -> bool:
        return not self.on_libpq or libpq >= REQUIRE_AUTH_SINCE


_NEXT: Noticed = "at the next connection"
_NATIVE: DriverName = "tokio-postgres-native-tls"
_RUSTLS: DriverName = "tokio-postgres-rustls"

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
        Driver("pgjdbc", "pgjdbc", "Java", True, "enforced", notices=_NEXT, decrypts=False),
        Driver("pgx", "pgx 5", "Go", True, "enforced", True, notices=_NEXT, decrypts=False),
        Driver("lib-pq", "lib/pq", "Go", notices=_NEXT, decrypts=False),
        Driver(
            "tokio-postgres-native-tls", "tokio-postgres with native-tls", "Rust", binding="enforced", decrypts=False
        ),
        Driver(
            "tokio-postgres-rustls",
            "tokio-postgres with rustls",
            "Rust",
            binding="fails",
            skips_names=False,
            decrypts=False,
        ),
    )
}


def limits(driver: Driver, libpq: int, *, password: bool, certificate: bool, bound: bool) -> tuple[str, ...]:
    """Return the sentences that a user of a driver must know, for a user with a password or a certificate.

    ``bound``: every password is bound to the certificate of the server.
    """
    gives = password and not driver.insisting(libpq) and not (bound and driver.binding == "enforced")
    found = {
        "It gives the password to a server that has a valid certificate and asks for it in the clear.": gives,
        "It connects to a server that has a valid certificate and asks for none of yours.": (
            certificate and not driver.demanding(libpq)
        ),
        "It always verifies the server's name.": not driver.skips_names,
        "It reads the certificate once: restart the program after a renewal.": (
            certificate and driver.notices == "after a restart"
        ),
    }
    return tuple(sentence for sentence, applies in found.items() if applies)
