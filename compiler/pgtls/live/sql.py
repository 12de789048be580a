"""Read the state of a running server over SQL. Log in with a bundle, and only to a server that this bundle verifies.

psycopg is optional, and only this module imports it.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from pgtls.diagnostics import Diagnostic, Rejected, installing
from pgtls.output import connection_strings
from pgtls.output.connection_strings import NO_FILE
from pgtls.pki.patience import within
from pgtls.state import layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgtls.access.model import Entry
    from pgtls.fleet.model import Fleet
    from pgtls.live.compiled import Bundle, Compiled
    from pgtls.live.handshake import Address

_TIMEOUT = 10
"""Seconds for the login, and for each query."""
_PATIENCE = 60
"""Seconds for all of them: who stands between may let the login pass, and nothing after it."""

FILES = {
    "ssl_cert_file": layout.SERVER_CERTIFICATE,
    "ssl_key_file": layout.SERVER_KEY,
    "ssl_ca_file": layout.SERVER_TRUST,
    "ssl_crl_file": layout.SERVER_CRL,
    "hba_file": layout.HBA,
    "ident_file": layout.IDENT,
}
"""The setting that names each file of a server."""


class Setting(NamedTuple):
    """A setting in force. ``shown`` is its value with a unit; ``written`` are the values of its lines in files."""

    value: str
    shown: str
    pending: bool
    written: tuple[str, ...] = ()


class Rule(NamedTuple):
    """A row of ``pg_hba_file_rules``."""

    line: int | None
    type: str | None
    databases: tuple[str, ...]
    users: tuple[str, ...]
    address: str | None
    netmask: str | None
    method: str | None
    options: tuple[str, ...]
    error: str | None


class Mapped(NamedTuple):
    """A row of ``pg_ident_file_mappings``, of PostgreSQL 15 and later."""

    line: int | None
    map: str | None
    identity: str | None
    role: str | None
    error: str | None


_MAPPINGS_SINCE = 150000


class Session(NamedTuple):
    """A client connection to the server."""

    role: str
    tls: bool
    subject: str | None
    serial: str | None
    """Lower-case hex, as in the lock."""
    issuer: str | None


@dataclass(frozen=True, slots=True)
class Shown:
    """The SQL observations. A value is None if it was not readable; ``untried`` has the reason."""

    role: str
    version: int = 0
    clock: datetime | None = None
    asked: datetime | None = None
    """The time of this machine when the server reported its own."""
    settings: Mapping[str, Setting] | None = None
    digests: Mapping[str, str] | None = None
    """The sha256 of each file that the settings name, by its name in the compiled set. The server computes it."""
    rules: tuple[Rule, ...] | None = None
    mappings: tuple[Mapped, ...] | None = None
    changed: tuple[str, ...] | None = None
    """The files that were changed, or came to their place, after the last reload."""
    errors: tuple[str, ...] | None = None
    """Errors in lines of configuration files."""
    roles: Mapping[str, bool] | None = None
    """Whether each role may log in."""
    databases: frozenset[str] | None = None
    members: frozenset[tuple[str, str]] | None = None
    """Direct memberships: (member, group)."""
    sessions: tuple[Session, ...] | None = None
    untried: Mapping[str, str] = field(default_factory=dict)


class Login(NamedTuple):
    """The entry of a bundle to log in with, and the identity of the server that it dials."""

    dialled: Compiled
    bundle: Bundle
    entry: Entry


def login_of(fleet: Fleet, compiled: Compiled, user: str) -> Login:
    """Return the first login of a user. Raise :class:`Rejected` with PGT595 or PGT596."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        hint = f"{installing('psycopg')}; or leave --user out"
        raise Rejected(Diagnostic("PGT595", "--user needs psycopg, which is not installed", hint=hint)) from None
    logins = [
        Login(one, bundle, entry)
        for one in (compiled, *compiled.others)
        for bundle in one.bundles
        for entry in bundle.entries
        if not entry.replication
    ]
    found = next((one for one in logins if one.bundle.user.name == user), None)
    if found is None:
        known = list(dict.fromkeys(one.bundle.user.name for one in logins))
        what = "connects to" if user in fleet.users else "is known to the spec for"
        message = f'no bundle of user "{user}" {what} server "{compiled.server.name}"'
        hint = f"users with a bundle for it: {', '.join(known[:10])}" if known else "no policy admits a user over TCP"
        raise Rejected(Diagnostic("PGT596", message, ("server", compiled.server.name), hint, at="table"))
    return found


def parameters(login: Login, address: Address, crl: str = NO_FILE) -> dict[str, str]:
    """Return the libpq parameters of the login: those of the bundle, as this libpq knows them, with verify-full.

    ``crl`` is the file with the CRLs for it.
    """
    from psycopg import pq

    _, bundle, entry = login
    files = {name: os.path.join(bundle.directory, file) for name, file in _BUNDLE.items()}
    if not entry.certificate:
        files |= {"sslcert": NO_FILE, "sslkey": NO_FILE}
    if entry.identity.system:
        files["sslrootcert"] = "system"
    return {
        **connection_strings.parameters(bundle.user, entry, pq.version() // 10000),
        "hostaddr": address.host,
        "port": str(address.port),
        "dbname": entry.database or "postgres",
        "sslmode": "verify-full",
        "sslcrl": crl,
        "application_name": "pgtls verify",
        "connect_timeout": str(_TIMEOUT),
        "client_encoding": "UTF8",
        "options": f"-c statement_timeout={_TIMEOUT}s -c DateStyle=ISO",
        **files,
    }


_BUNDLE = {
    "sslrootcert": layout.CLIENT_TRUST,
    "sslcert": layout.CLIENT_CERTIFICATE,
    "sslkey": layout.CLIENT_KEY,
}


def ask(login: Login, address: Address, lists: bytes) -> Shown | str:
    """Log in and read everything. If that is impossible, return why. ``lists`` are the CRLs for the server's chain."""
    import psycopg

    try:
        with ExitStack() as stack:
            crl = _written(stack, lists) if lists else NO_FILE
            words: dict[str, Any] = parameters(login, address, crl)
            return within(_PATIENCE, lambda: _logged_in(words, login.entry.role))
    except TimeoutError:
        return f"it did not answer all queries within {_PATIENCE} seconds"
    except psycopg.Error as error:
        return _said(str(error))
    except (AttributeError, LookupError, NotImplementedError, TypeError, ValueError):  # rows that no PostgreSQL returns
        return "it answers queries as no PostgreSQL does"


def _logged_in(words: Mapping[str, Any], role: str) -> Shown:
    import psycopg

    class Text(psycopg.adapt.Loader):
        """Names of roles and databases are bytes of the database in which somebody made them."""

        def load(self, data: Any) -> str:
            return bytes(data).decode(errors="backslashreplace")

    with psycopg.connect(autocommit=True, **words) as connection:
        for kind in ("name", "text"):
            connection.adapters.register_loader(kind, Text)
        return read(connection, role)


def _written(stack: ExitStack, lists: bytes) -> str:
    """Write the CRLs into a temporary file: libpq reads them from files alone."""
    directory = stack.enter_context(TemporaryDirectory(prefix="pgtls-"))
    path = os.path.join(directory, layout.CLIENT_CRL)
    with open(path, "wb") as file:
        file.write(lists)
    return path


def _said(message: str) -> str:
    """Return the last line of libpq's message, without the name of the server."""
    lines = message.strip().splitlines() or ["the connection failed"]
    return lines[-1].rpartition(" failed: ")[2]


class _Asker:
    """Run queries, and note why one could not run.

    Functions and operators are those of PostgreSQL alone. Whoever owns a database, or can create in a schema of its
    path, could supply others, which would run with the rights of the role that asks. Each query sets the path for
    itself: between two, a pooler may give the session another connection.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.untried: dict[str, str] = {}

    def rows(self, what: str, query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]] | None:
        import psycopg

        try:
            with self._connection.transaction():
                self._connection.execute(_OF_POSTGRESQL)
                found: list[tuple[Any, ...]] = self._connection.execute(query, values).fetchall()
        except psycopg.Error as error:
            self.untried[what] = error.diag.message_primary or "the query failed"
            return None
        return found


def read(connection: Any, role: str) -> Shown:
    """Run all queries on an open connection."""
    asker, version = _Asker(connection), connection.info.server_version
    clock, asked = asker.rows("clock", "select clock_timestamp()"), datetime.now(UTC)
    settings = _settings(asker)
    roles = asker.rows("roles", "select rolname, rolcanlogin from pg_catalog.pg_roles")
    databases = asker.rows("databases", "select datname from pg_catalog.pg_database")
    members = asker.rows("memberships", _MEMBERS)
    found = asker.rows("configuration", _ERRORS)
    return Shown(
        role,
        version // 10000,
        clock[0][0].astimezone(UTC) if clock else None,
        asked,
        settings,
        _digests(asker, settings),
        _rules(asker),
        _mappings(asker) if version >= _MAPPINGS_SINCE else None,
        _changed(asker),
        None if found is None else tuple(f"{file}:{line}: {error}" for file, line, error in found),
        None if roles is None else dict(roles),
        None if databases is None else frozenset(name for (name,) in databases),
        None if members is None else frozenset(members),
        _sessions(asker),
        asker.untried,
    )


_OF_POSTGRESQL = "select pg_catalog.set_config('search_path', 'pg_catalog', true)"
_MEMBERS = """
select member.rolname, of.rolname from pg_catalog.pg_auth_members
join pg_catalog.pg_roles member on member.oid = pg_auth_members.member
join pg_catalog.pg_roles of on of.oid = pg_auth_members.roleid
"""
_ERRORS = (
    "select sourcefile, sourceline, error from pg_catalog.pg_file_settings where error is not null and not applied"
)
_SETTINGS = """
select name, setting, pg_catalog.current_setting(name), pending_restart, source from pg_catalog.pg_settings
"""
_ABOVE_FILES = ("command line", "environment variable", "override")
"""The sources of a setting before which no line of a file counts, although pg_file_settings says that it applies."""
_WRITTEN = "select name, setting from pg_catalog.pg_file_settings where applied"
_RULES = """
select line_number, type, database, user_name, address, netmask, auth_method, options, error
from pg_catalog.pg_hba_file_rules
"""
_MAPPINGS = """
select line_number, map_name, sys_name, pg_username, error from pg_catalog.pg_ident_file_mappings
"""
_CHANGED = """
select name from unnest(%s::text[]) name, pg_catalog.pg_stat_file(nullif(pg_catalog.current_setting(name), ''), true) of
where greatest(of.modification, of.change) > pg_catalog.pg_conf_load_time() + interval '1 second'
"""
"""A copy can keep the time of modification, and a server on Windows knows no other."""
_DIGEST = "select pg_catalog.encode(pg_catalog.sha256(pg_catalog.pg_read_binary_file(%s)), 'hex')"
_DIGESTS = """
select name, pg_catalog.encode(pg_catalog.sha256(pg_catalog.pg_read_binary_file(%s || '/' || name)), 'hex')
from pg_catalog.pg_ls_dir(%s) name where not (pg_catalog.pg_stat_file(%s || '/' || name, true)).isdir
"""
_SESSIONS = """
select usename, ssl, client_dn, client_serial::text, issuer_dn
from pg_catalog.pg_stat_ssl join pg_catalog.pg_stat_activity using (pid)
where client_addr is not null and usename is not null and pid <> pg_catalog.pg_backend_pid()
"""


def _settings(asker: _Asker) -> dict[str, Setting] | None:
    rows = asker.rows("settings", _SETTINGS)
    if rows is None:
        return None
    written: dict[str, tuple[str, ...]] = {}
    for name, value in asker.rows("lines of settings", _WRITTEN) or ():
        written[name] = (*written.get(name, ()), value)
    asker.untried.pop("lines of settings", None)
    return {
        name: Setting(value, shown, pending, () if source in _ABOVE_FILES else written.get(name, ()))
        for name, value, shown, pending, source in rows
    }


def _digests(asker: _Asker, settings: Mapping[str, Setting] | None) -> dict[str, str] | None:
    """Let the server compute the digest of each of its files: a private key never leaves it."""
    found: dict[str, str] = {}
    values = {name: one.value for name, one in (settings or {}).items() if one.value}
    for name, file in FILES.items():
        rows = asker.rows("files", _DIGEST, (values[name],)) if name in values else None
        found.update((file, digest) for (digest,) in rows or ())
    if directory := values.get("ssl_crl_dir"):
        rows = asker.rows("files", _DIGESTS, (directory,) * 3)
        found |= {f"{layout.SERVER_CRLS}/{name}": digest for name, digest in rows or ()}
    if not found:  # a role that may not ask; a server that cannot read one of its files says the same of this one
        asker.untried.setdefault("files", "this role does not see where they are")
        return None
    asker.untried.pop("files", None)
    return found


def _rules(asker: _Asker) -> tuple[Rule, ...] | None:
    rows = asker.rows("rules", _RULES)
    if rows is None:
        return None
    return tuple(
        Rule(line, kind, tuple(databases or ()), tuple(users or ()), address, mask, method, tuple(options or ()), error)
        for line, kind, databases, users, address, mask, method, options, error in rows
    )


def _mappings(asker: _Asker) -> tuple[Mapped, ...] | None:
    rows = asker.rows("mappings", _MAPPINGS)
    return None if rows is None else tuple(Mapped(*row) for row in rows)


def _changed(asker: _Asker) -> tuple[str, ...] | None:
    rows = asker.rows("reload", _CHANGED, (list(FILES),))
    return None if rows is None else tuple(FILES[name] for (name,) in rows)


def _sessions(asker: _Asker) -> tuple[Session, ...] | None:
    rows = asker.rows("connections", _SESSIONS)
    if rows is None:
        return None
    return tuple(
        Session(role, bool(tls), subject, f"{int(serial):x}" if serial else None, issuer)
        for role, tls, subject, serial, issuer in rows
    )
