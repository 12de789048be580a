"""Write programs that connect with one driver each.

Bundles show them for an entry, and the tests run them unchanged.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pgtls.certificates.trust import listed_cas
from pgtls.output.connection_strings import NO_FILE, dialled, jdbc, key_value, parameters, unrooted, uri, verifying
from pgtls.output.templates import template
from pgtls.postgres.libpq import DIRECT_SINCE
from pgtls.postgres.methods import GIVES_PASSWORD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pgtls.access.model import Entry
    from pgtls.fleet.model import User

Values = dict[str, str]


def snippet(driver: str, user: User, entry: Entry, values: Mapping[str, str]) -> str:
    """Return a whole program for a driver. ``values`` are the libpq parameters of the entry."""
    literal = _LITERALS.get(driver, _json)
    settings = _SETTINGS.get(driver, _same)(user, entry, dict(values))
    directory = user.table.directory
    return template(f"client/drivers/{driver}.j2").render(
        host=literal(_host(entry)),
        port=entry.server.table.port,
        role=literal(entry.role),
        database=literal(entry.database if entry.database is not None else "NAME"),
        directory=literal(directory or "~/.postgresql"),
        home=not directory,
        system=entry.identity.system,
        certificate=entry.certificate,
        lists=bool(listed_cas(user, (entry,))),
        guarded=entry.certificate and user.table.passphrase is not None,
        password=any(policy.table.auth in GIVES_PASSWORD for policy in entry.policies),
        tls=entry.sslmode != "disable",
        names=entry.sslmode == "verify-full",
        sslmode=entry.sslmode,
        unrooted=unrooted(entry, values),
        settings=literal(settings),
    )


def _host(entry: Entry) -> str:
    """Return the host for drivers that have no `hostaddr`."""
    return dialled(entry) or entry.identity.table.hosts[0]


def _same(user: User, entry: Entry, values: Values) -> str:
    return key_value(values)


def _sqlalchemy(user: User, entry: Entry, values: Values) -> str:
    return uri(values).replace("postgresql://", "postgresql+psycopg://", 1)


def _pgx(user: User, entry: Entry, values: Values) -> str:
    """Return a URL. The driver sends an unknown parameter to the server as a setting."""
    known = {name: value for name, value in parameters(user, entry, DIRECT_SINCE).items() if name in _PGX}
    return uri({**known, "host": _host(entry), "sslmode": verifying(entry)})


def _lib_pq(user: User, entry: Entry, values: Values) -> str:
    chosen = {name: value for name, value in values.items() if name in _LIB_PQ}
    known = {**chosen, "host": _host(entry), "sslmode": verifying(entry)}
    return uri(known if entry.certificate or not user.ca else known | {"sslcert": NO_FILE})


def _pgjdbc(user: User, entry: Entry, values: Values) -> str:
    return jdbc(user, (entry,))


def _tokio(user: User, entry: Entry, values: Values) -> str:
    """Return tokio-postgres's own settings. The connector decides what to verify."""
    known = {name: value for name, value in values.items() if name in _TOKIO}
    return key_value(known | {"sslmode": "disable" if entry.sslmode == "disable" else "require"})


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


_COMMON = frozenset({"host", "port", "dbname", "user"})
_TOKIO = _COMMON | {"hostaddr", "channel_binding", "target_session_attrs", "load_balance_hosts"}
_LIB_PQ = _COMMON | {"sslmode", "sslrootcert", "sslcert", "sslkey", "sslnegotiation", "target_session_attrs"}
_PGX = _LIB_PQ | {"sslcertmode", "channel_binding", "require_auth"}
"""pgx supports these as libpq 17 does."""
_SETTINGS: Mapping[str, Callable[[User, Entry, Values], str]] = {
    "sqlalchemy": _sqlalchemy,
    "pgx": _pgx,
    "lib-pq": _lib_pq,
    "pgjdbc": _pgjdbc,
    "tokio-postgres-native-tls": _tokio,
    "tokio-postgres-rustls": _tokio,
}
_LITERALS: Mapping[str, Callable[[str], str]] = dict.fromkeys(("psycopg", "sqlalchemy", "asyncpg", "pg8000"), repr)
