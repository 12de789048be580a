"""How PgBouncer reads and applies what PostgreSQL's files say, as far as it differs (its src/hba.c and src/client.c).

It reads the pg_hba.conf of PostgreSQL 15 without host names, ``samehost``, ``samenet``, ``samerole``, ``+role`` and
options other than ``map``, and skips a line that it cannot read. It takes the name of a map without quotes only.
"""

from __future__ import annotations

METHODS = ("cert", "scram-sha-256", "reject")
"""The methods that pgtls writes for it. It has more, all of which show it a password, or prove nothing."""

OWN_DATABASE = "pgbouncer"
"""The database that is its console, whatever the server has."""


def folded(name: str) -> str:
    """Return a name of a certificate in the form that is compared.

    PgBouncer looks for an identity among the host names of a certificate, then in its common name, without regard to
    case (libusual's ``tls_check_name``).
    """
    return name.lower()
