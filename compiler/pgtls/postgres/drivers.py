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
    oldest: str | None
    """The oldest release that the tests run. None for a driver on libpq, which decides instead."""
    insists: bool = False
    """True if it can reject a server that asks for less than the policy's method, or for nothing."""
    binding: Binding = "ignored"
    """The effect of `channel_binding = "require"`. `fails`: the driver cannot bind, and connects to no server."""
    demands: bool = False
    """True if it can reject a server that asks for no client certificate."""
    lists: bool = False
    """True if it checks the CRLs of a bundle with `crl = true`."""
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
        Driver("psycopg", "psycopg 3", "Python", None, True, "enforced", True, True, notices=_NEXT, on_libpq=True),
        Driver(
            "sqlalchemy",
            "SQLAlchemy over psycopg 3",
            "Python",
            None,
            True,
            "enforced",
            True,
            True,
            notices=_NEXT,
            on_libpq=True,
        ),
        Driver("asyncpg", "asyncpg", "Python", "0.32.0", lists=True),
        Driver("pg8000", "pg8000", "Python", "1.31.6", lists=True),
        Driver("node-pg", "pg (node-postgres)", "JavaScript", "8.0.3", lists=True),
        Driver("postgres.js", "postgres.js", "JavaScript", "3.4.9", lists=True),
        Driver("pgjdbc", "pgjdbc", "Java", "42.7.13", True, "enforced", notices=_NEXT, decrypts=False),
        Driver("pgx", "pgx 5", "Go", "5.13.0", True, "enforced", True, notices=_NEXT, decrypts=False),
        Driver("lib-pq", "lib/pq", "Go", "1.12.3", notices=_NEXT, decrypts=False),
        Driver(
            "tokio-postgres-native-tls",
            "tokio-postgres with native-tls",
            "Rust",
            "0.7.18",
            binding="enforced",
            decrypts=False,
        ),
        Driver(
            "tokio-postgres-rustls",
            "tokio-postgres with rustls",
            "Rust",
            "0.7.18",
            binding="fails",
            skips_names=False,
            decrypts=False,
        ),
    )
}


FORMS: Mapping[str, Driver] = {
    "jdbc": DRIVERS["pgjdbc"],
    "go": DRIVERS["lib-pq"],
    "node": DRIVERS["node-pg"]._replace(lists=False, oldest="8.23.1"),
}
"""The forms of a connection that are not for libpq, each with what it can demand: without a program, `go` has to suit
pgx and lib/pq, and `node` names no CRL. pg 8.0.3 reads no `sslmode`, and so connects to no server by `node`."""


class Demands(NamedTuple):
    """What a user shows a server, and what the user demands of it."""

    password: bool
    certificate: bool
    bound: bool
    """Every password must be bound to the certificate of the server."""
    lists: bool
    """The user has the CRLs of the servers' CAs."""


def unmet(driver: Driver, libpq: int, demands: Demands) -> tuple[str, ...]:
    """Return the sentences that say which demands on a server a driver does not make."""
    password, certificate, bound, lists = demands
    gives = password and not driver.insisting(libpq) and not (bound and driver.binding == "enforced")
    found = {
        "It gives the password to a server that has a valid certificate and asks for it in the clear.": gives,
        "It does not bind the password to the certificate of the server, which the policy requires.": (
            bound and driver.binding == "ignored"
        ),
        "It connects to a server that has a valid certificate and asks for none of yours.": (
            certificate and not driver.demanding(libpq)
        ),
        "It checks no CRL, and connects to a server whose certificate is revoked.": lists and not driver.lists,
    }
    return tuple(sentence for sentence, applies in found.items() if applies)


def limits(driver: Driver, libpq: int, demands: Demands) -> tuple[str, ...]:
    """Return the sentences that a user of a driver must know."""
    oldest = f"The oldest release that it is tested with is {driver.oldest}; an older one may demand less of a server."
    found = {
        oldest: driver.oldest is not None,
        "It always verifies the server's name.": not driver.skips_names,
        "It reads the certificate once: restart the program after a renewal.": (
            demands.certificate and driver.notices == "after a restart"
        ),
        "It reads the CRLs once: restart the program after a renewal.": (
            demands.lists and not demands.certificate and driver.lists and driver.notices == "after a restart"
        ),
    }
    return (*unmet(driver, libpq, demands), *(sentence for sentence, applies in found.items() if applies))
