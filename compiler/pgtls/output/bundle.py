"""Write the texts of a client's bundle: its connections in the format of each program that reads them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

from pgtls.access.service_changes import Bundle
from pgtls.certificates.key_formats import FILES
from pgtls.certificates.trust import listed_cas, trusted_roots
from pgtls.language.models import SSLMODES
from pgtls.language.words import listed
from pgtls.output import connection_strings as strings
from pgtls.output.quoting import code, fenced, powershell, property_key, property_value, shell
from pgtls.output.several_hosts import Several, several
from pgtls.output.snippets import snippet
from pgtls.output.templates import template
from pgtls.postgres import libpq
from pgtls.postgres.drivers import DRIVERS, FORMS, Demands, limits, unmet
from pgtls.postgres.methods import GIVES_PASSWORD
from pgtls.postgres.releases import NEWEST
from pgtls.state import layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from pgtls.access.model import Entry
    from pgtls.fleet.model import User


class Section(NamedTuple):
    """An entry with its libpq parameters. With several servers, ``entry`` is that of the primary."""

    entry: Entry
    parameters: Mapping[str, str]
    several: Several | None = None

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The entries of all servers."""
        return self.several.entries if self.several else (self.entry,)

    @property
    def service(self) -> str | None:
        """Its name in pg_service.conf. None if that file cannot contain it."""
        return None if strings.unserviceable(self.parameters) else self.entry.name


@dataclass(frozen=True, slots=True, eq=False)
class _Bundle:
    """A user and its entries, from which all texts of its bundle follow."""

    user: User
    entries: Sequence[Entry]


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """A file of a bundle without a certificate: its bytes are rendered when they are asked for."""

    name: str
    _bundle: _Bundle

    def __bytes__(self) -> bytes:
        return _rendered(self._bundle)[self.name]


def texts(user: User, entries: Sequence[Entry]) -> Iterator[Text]:
    """Yield every file of a bundle without a certificate.

    Yield none for a user that connects locally.
    """
    bundle = _Bundle(user, entries)
    yield from (Text(name, bundle) for name in _names(user, entries))


def _names(user: User, entries: Sequence[Entry]) -> Iterator[str]:
    if entries:
        yield from (layout.SERVICES, layout.CONNECTIONS, layout.JDBC)
    if any(not entry.replication for entry in entries):
        yield layout.PGADMIN
    if entries or user.ca:
        yield from (layout.ENVIRONMENT, layout.ENVIRONMENT_WINDOWS)
        yield from (layout.INSTALLER, layout.INSTALLER_WINDOWS, layout.README)


@lru_cache(maxsize=2)  # the files of a bundle are asked for one after the other, of two states in a comparison
def _rendered(bundle: _Bundle) -> Mapping[str, bytes]:
    user, every = bundle.user, _sections(bundle.user, bundle.entries)
    return {name: _TEXTS[name](user, every).encode() for name in _names(user, bundle.entries)}


def _sections(user: User, entries: Iterable[Entry]) -> list[Section]:
    """Return the sections of one server each, then those over several."""
    sections = [Section(entry, strings.parameters(user, entry)) for entry in entries]
    further = (
        Section(replace(one.entries[0], name=one.name), one.parameters, one)
        for one in several(user, [(section.entry, section.parameters) for section in sections])
    )
    return [*sections, *further]


def compiled(user: User, entries: Sequence[Entry]) -> Bundle:
    """Return what a bundle does, for comparisons."""
    every = _sections(user, entries)
    return Bundle(entries, {one.entry.name: one.entries for one in every}, dict(_variables(_alone(every))))


def _alone(sections: Iterable[Section]) -> list[Section]:
    """Return the sections of one server each."""
    return [one for one in sections if not one.several]


# ---- connections -----------------------------------------------------------------------------------------------------


def _services(user: User, sections: Sequence[Section]) -> str:
    return strings.services((one.entry.name, one.parameters) for one in sections)


def _connections(user: User, sections: Sequence[Section]) -> str:
    connections = (
        {
            "service": one.service,
            "server": ",".join(entry.server.name for entry in one.entries),
            "database": one.entry.database,
            "replication": one.entry.replication,
            "role": one.entry.role,
            "uri": strings.uri(one.parameters),
            "dsn": strings.key_value(one.parameters),
            "jdbc": _jdbc_url(user, one),
            **_urls(one),
            "parameters": one.parameters,
            **_programs(user, one),
        }
        for one in sections
    )
    # A line for each: readable, several times faster than an indented document, and free of reference cycles, which
    # would stay in memory until the end.
    lines = ",\n".join(_json(connection) for connection in connections)
    return f'{{"format_version": 1, "user": {_json(user.name)}, "connections": [\n{lines}\n]}}\n'


def _urls(one: Section) -> dict[str, str | None]:
    # lib/pq and node-postgres cannot choose between several servers, and do not replicate.
    if one.several or one.entry.replication:
        return {"go": None, "node": None}
    return {"go": strings.go(one.entry, one.parameters), "node": strings.node(one.entry, one.parameters)}


def _programs(user: User, one: Section) -> dict[str, dict[str, str]]:
    if one.entry.replication or one.several or not user.table.drivers:
        return {}
    return {"snippets": {driver: snippet(driver, user, one.entry, one.parameters) for driver in user.table.drivers}}


_json = json.JSONEncoder(ensure_ascii=False).encode


def _jdbc(user: User, sections: Sequence[Section]) -> str:
    """Return the URL of every entry by its name, for java.util.Properties."""
    lines = (f"{property_key(one.entry.name)}.url={property_value(_jdbc_url(user, one))}\n" for one in sections)
    return f"# Written by pgtls for {user.entity}: the URL of each connection, for pgjdbc.\n" + "".join(lines)


def _jdbc_url(user: User, one: Section) -> str:
    return strings.jdbc(user, one.entries, one.several.target.jdbc if one.several else strings.NOTHING)


def _pgadmin(user: User, sections: Sequence[Section]) -> str:
    """Return what pgAdmin 4 imports: `setup.py load-servers`, or Tools, Import/Export Servers."""
    servers = (
        {
            "Name": one.entry.name,
            "Group": "pgtls",
            "Host": one.parameters["host"],
            "Port": one.entry.server.table.port,
            "MaintenanceDB": one.entry.database if one.entry.database is not None else "postgres",
            "Username": one.entry.role,
            "ConnectionParameters": {k: v for k, v in one.parameters.items() if k not in _PGADMIN_OWN},
        }
        for one in _alone(sections)
        if not one.entry.replication
    )
    lines = ",\n".join(f'"{number}": {_json(server)}' for number, server in enumerate(servers, start=1))
    return f'{{"Servers": {{\n{lines}\n}}}}\n'


_PGADMIN_OWN = frozenset({"host", "port", "dbname", "user"})


# ---- scripts ---------------------------------------------------------------------------------------------------------


def _environment(name: str, quote: Callable[[str], str], user: User, sections: Sequence[Section]) -> str:
    sections = _alone(sections)
    entries = [one.entry for one in sections]
    files = [("PGSSLROOTCERT", layout.CLIENT_TRUST)] if trusted_roots(entries) else []
    if listed_cas(user, entries):
        files += [("PGSSLCRL", layout.CLIENT_CRL)]
    if user.ca:
        files += [("PGSSLCERT", layout.CLIENT_CERTIFICATE), ("PGSSLKEY", layout.CLIENT_KEY)]
    text = template(f"client/{name}.j2").render(
        user=user.entity,
        directory=quote(user.table.directory) if user.table.directory else None,
        files=files,
        values=list(_variables(sections)),
        services=bool(entries),
        example=_example(sections),
    )
    return _marked(name, text)


def _variables(sections: Sequence[Section]) -> Iterator[tuple[str, str]]:
    """Yield the variables that name no file of the bundle."""
    entries = [one.entry for one in sections]
    if entries and all(entry.identity.system for entry in entries):
        yield "PGSSLROOTCERT", "system"
    yield "PGSSLMODE", max((entry.sslmode for entry in entries), key=SSLMODES.index, default="verify-full")
    yield "PGGSSENCMODE", "disable"
    yield from _shared(sections)


def _shared(sections: Sequence[Section]) -> Iterator[tuple[str, str]]:
    """Yield the demands that all entries share, as variables."""
    for name in ("channel_binding", "require_auth", "sslcertmode", "sslnegotiation"):
        values = {one.parameters.get(name) for one in sections}
        variable = libpq.parameters(NEWEST)[name].env
        if len(values) == 1 and (value := values.pop()) and variable:
            yield variable, value


def _installer(name: str, quote: Callable[[str], str], user: User, sections: Sequence[Section]) -> str:
    directory, needed = (user.table.directory or "").rstrip("/"), tuple(_needed(user, sections))
    return _shared_installer(name, quote, directory, _key_elsewhere(user), user.ca is not None, needed)


@lru_cache(maxsize=64)
def _shared_installer(
    name: str, quote: Callable[[str], str], directory: str, kept_key: bool, certificate: bool, needed: tuple[str, ...]
) -> str:
    """Return a script that many users share: it reads the names of user and services from the files next to it."""
    text = template(f"client/{name}.j2").render(
        directory=quote(directory), kept_key=kept_key, certificate=certificate, needed=quote("\n".join(needed))
    )
    return _marked(name, text)


def _needed(user: User, sections: Sequence[Section]) -> Iterator[str]:
    """Yield the files that the installers put in place, those with settings with the first word of their last line.

    A bundle is whole only with all of them: libpq connects without a check that it has no file for.
    """
    entries = [one.entry for one in sections]
    last = {layout.ENVIRONMENT: " unset", layout.ENVIRONMENT_WINDOWS: " Remove-Variable"}
    if sections:
        last[layout.SERVICES] = f" {[*sections[-1].parameters][-1] if sections[-1].service else '#'}"
    installers = (layout.INSTALLER, layout.INSTALLER_WINDOWS)
    yield from (name + last.get(name, "") for name in _names(user, entries) if name not in installers)
    if trusted_roots(entries):
        yield layout.CLIENT_TRUST
    if any(ca.table.crl_file or not ca.trusted_only for ca in listed_cas(user, entries)):
        yield layout.CLIENT_CRL
    if user.ca:
        yield layout.CLIENT_CERTIFICATE
    if user.ca and not _key_elsewhere(user):
        yield layout.CLIENT_KEY
        yield from dict.fromkeys(FILES[one] for one in user.table.formats if one in FILES)


def _marked(name: str, text: str) -> str:
    """Put a byte order mark before a PowerShell script: without it, Windows PowerShell 5 reads the script as ANSI."""
    return "\ufeff" + text if name.endswith(".ps1") and not text.isascii() else text


def _key_elsewhere(user: User) -> bool:
    """Return whether the key of a certificate was made at the client and stays there."""
    return bool(user.ca and (user.table.csr_file or (user.table.cert_file and not user.table.external)))


# ---- for people ------------------------------------------------------------------------------------------------------


def _readme(user: User, sections: Sequence[Section]) -> str:
    table, usable = user.table, [one.entry for one in sections if one.service]
    unnamed = next((entry for entry in usable if _unnamed(entry)), None)
    methods = {policy.table.auth for one in sections for policy in one.entry.policies}
    return template("client/README.md.j2").render(
        user=code(user.name),
        directory=code(table.directory) if table.directory else None,
        rows=[_row(one) for one in sections],
        guarded=table.passphrase is not None and user.ca is not None and not _key_elsewhere(user),
        kept_key=_key_elsewhere(user),
        certificate=user.ca is not None,
        password=not methods.isdisjoint(GIVES_PASSWORD),
        weaker=_weaker(user, sections),
        tested=listed([f"{driver.title} {driver.oldest}" for driver in FORMS.values()]),
        lax=_lax(user, sections),
        unnamed=_command(unnamed) if unnamed else None,
        example=_example(sections),
        first=usable[0].name if usable else None,
        java=_java(user, sections),
        programs=list(_shown(user, sections)),
        pgadmin=any(not one.entry.replication for one in sections),
    )


def _lax(user: User, sections: Sequence[Section]) -> dict[str, object] | None:
    """Return what an old libpq cannot be told to demand of a server, and what to add for a later one."""
    given, unasked = dict[str, None](), False
    for one in _alone(sections):
        told = strings.parameters(user, one.entry, libpq.REQUIRE_AUTH_SINCE)
        demands = _demands(user, one.entry)
        if demands.password and not demands.bound and "require_auth" in told and "require_auth" not in one.parameters:
            given[f"require_auth={told['require_auth']}"] = None
        unasked |= told.get("sslcertmode") == "require" and "sslcertmode" not in one.parameters
    if not given and not unasked:
        return None
    more = [f"`{one}`" for one in (*given, *(("sslcertmode=require",) if unasked else ()))]
    return {"libpq": user.table.libpq, "gives": bool(given), "unasked": unasked, "more": listed(more)}


def _shown(user: User, sections: Sequence[Section]) -> Iterator[dict[str, object]]:
    """Yield a program for each driver of a user, for the first entry that it supports, and the limits of the driver."""
    usable = [one for one in sections if not one.entry.replication]
    for one in usable[:1]:
        for name in user.table.drivers:
            driver, text = DRIVERS[name], snippet(name, user, one.entry, one.parameters)
            known = limits(driver, user.table.libpq, _demands(user, one.entry))
            yield {"title": driver.title, "text": fenced(text, driver.language.lower()), "limits": known}


def _weaker(user: User, sections: Sequence[Section]) -> dict[str, str]:
    """Return what the forms that are not for libpq lack, or why they are null: sentences, each with its forms."""
    usable = [one for one in _alone(sections) if not one.entry.replication and one.entry.sslmode != "disable"]
    found: dict[str, dict[str, None]] = {}
    for form, driver in FORMS.items():
        for one in usable:
            null = strings.untold(form, one.entry, one.parameters)
            for sentence in (null,) if null else unmet(driver, user.table.libpq, _demands(user, one.entry)):
                found.setdefault(sentence, {})[f"`{form}`"] = None
    return {sentence: listed([*forms]) for sentence, forms in found.items()}


def _demands(user: User, entry: Entry) -> Demands:
    return Demands(
        password=any(policy.table.auth in GIVES_PASSWORD for policy in entry.policies),
        certificate=entry.certificate,
        bound=entry.channel_binding == "require",
        lists=bool(listed_cas(user, (entry,))),
    )


def _java(user: User, sections: Sequence[Section]) -> Mapping[str, object] | None:
    """Return the Java values for the README. Return None if the bundle has no key for Java, and needs none."""
    shown = next((one.entry for one in sections if one.entry.certificate and not one.entry.replication), None)
    key = strings.jdbc_key(user)
    if shown is None or key == layout.CLIENT_KEY:
        return None
    return {"key": key, "encrypted": key == layout.CLIENT_PKCS12, "property": f"{shown.name}.url"}


def _example(sections: Sequence[Section]) -> str | None:
    """Return a ready-to-run command, if there is one. Prefer entries with a database, and those without replication."""
    usable = [one.entry for one in sections if one.service]
    return _command(min(usable, key=lambda entry: (entry.replication, _unnamed(entry)))) if usable else None


def _command(entry: Entry) -> str:
    if entry.replication:  # psql could send only replication commands here
        return f"pg_basebackup -d service={entry.name} -D copy"
    return f'psql "service={entry.name} dbname=NAME"' if _unnamed(entry) else f"psql service={entry.name}"


def _unnamed(entry: Entry) -> bool:
    return entry.database is None and not entry.replication


def _row(one: Section) -> dict[str, str]:
    entry = one.entry
    servers = (f"{entry.hostaddr or entry.identity.table.hosts[0]}:{entry.server.table.port}" for entry in one.entries)
    return {
        "service": code(one.service) if one.service else "none: see `connections.json`",
        "server": code(", ".join(servers)),
        "database": _database(entry),
        "role": code(entry.role),
        "sslmode": f"`{entry.sslmode}`",
        "proof": _proof(entry),
    }


def _database(entry: Entry) -> str:
    if entry.replication:
        return "physical replication"
    return code(entry.database) if entry.database is not None else "any database you may access"


def _proof(entry: Entry) -> str:
    methods = sorted({policy.table.auth for policy in entry.policies})
    shown = [_PROOFS.get(method, f"`{method}`") for method in methods]
    certificate = (
        entry.certificate and "cert" not in methods and any(p.asks_certificate != "none" for p in entry.policies)
    )
    return " or ".join(dict.fromkeys(shown)) + (" and the certificate" if certificate else "")


_PROOFS = {"cert": "the certificate", "trust": "nothing", **dict.fromkeys(GIVES_PASSWORD, "a password")}

_TEXTS: Mapping[str, Callable[[User, Sequence[Section]], str]] = {
    layout.SERVICES: _services,
    layout.CONNECTIONS: _connections,
    layout.JDBC: _jdbc,
    layout.PGADMIN: _pgadmin,
    layout.ENVIRONMENT: partial(_environment, layout.ENVIRONMENT, shell),
    layout.ENVIRONMENT_WINDOWS: partial(_environment, layout.ENVIRONMENT_WINDOWS, powershell),
    layout.INSTALLER: partial(_installer, layout.INSTALLER, shell),
    layout.INSTALLER_WINDOWS: partial(_installer, layout.INSTALLER_WINDOWS, powershell),
    layout.README: _readme,
}
"""What renders each file."""
