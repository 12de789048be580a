"""The whole out directory as a value, from the fleet, its rules and its credentials."""

from __future__ import annotations

import json
from functools import cache
from shlex import quote
from typing import TYPE_CHECKING, Any

from pgtls.build import layout
from pgtls.build.conf import server_settings
from pgtls.build.connections import jdbc, key_value, parameters, services, uri
from pgtls.build.credentials import chain, joined, trust
from pgtls.build.model import File, Later
from pgtls.spec.models import SSLMODES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jinja2 import Environment, Template

    from pgtls.access.model import Entry, Rules
    from pgtls.build.credentials import Credential
    from pgtls.build.model import Tree
    from pgtls.fleet.model import Authority, Fleet, Server, User


def render(
    fleet: Fleet,
    rules: Mapping[str, Rules],
    entries: Mapping[str, Sequence[Entry]],
    credentials: Mapping[str, Credential],
    crls: Mapping[str, bytes | Later],
) -> Tree:
    """Give every file of the tree. ``rules`` are by server, ``entries`` by user, ``credentials`` by entity, ``crls`` by CA."""
    return {
        path: file
        for files in (
            *(_ca(ca, credentials[ca.entity], crls.get(ca.name)) for ca in fleet.cas.values()),
            *(_server(server, rules[server.name], credentials, crls) for server in fleet.servers.values()),
            *(_client(user, entries.get(user.name, ()), credentials) for user in fleet.users.values()),
        )
        for path, file in files
    }


Files = "Iterator[tuple[str, File]]"


def _ca(ca: Authority, credential: Credential, crl: bytes | Later | None) -> Iterator[tuple[str, File]]:
    yield from _pair(ca.entity, credential.certificate, credential.key)
    if crl is not None:
        yield layout.crl_path(ca.name), File(crl, layout.PUBLIC, "crl", ca.entity)


def _server(
    server: Server, rules: Rules, credentials: Mapping[str, Credential], crls: Mapping[str, bytes | Later]
) -> Iterator[tuple[str, File]]:
    def file(name: str, content: bytes | Later, kind: str, mode: int = layout.PUBLIC) -> tuple[str, File]:
        return layout.path(server.entity, name), File(content, mode, kind, server.entity)

    credential = credentials[server.entity]
    yield from _pair(server.entity, chain(credential.certificate, server.ca, credentials), credential.key)
    trusted_crls = crls_of(server, crls)
    if server.client_cas:
        yield file(layout.SERVER_TRUST, trust(server.client_cas, credentials), "trust")
    if trusted_crls:
        yield file(layout.SERVER_CRL, joined(trusted_crls), "crl")
    yield file(layout.HBA, rules.hba_text.encode(), "hba", layout.SECRET)
    yield file(layout.IDENT, rules.ident_text.encode(), "ident", layout.SECRET)
    settings, extra = server_settings(server, crl=bool(trusted_crls))
    text = _template("server/pgtls.conf.j2").render(
        server=server.entity, version=server.table.postgres, settings=settings, extra=extra
    )
    yield file(layout.CONF, text.encode(), "conf")


def crls_of(server: Server, crls: Mapping[str, bytes | Later]) -> list[bytes | Later]:
    """Give the CRL of every CA in the chains that a server trusts: PostgreSQL checks all of them (CRL_CHECK_ALL)."""
    if not server.table.crl:
        return []
    names = dict.fromkeys(link.name for ca in server.client_cas for link in ca.chain)
    return [crls[name] for name in names if name in crls]


def _client(user: User, entries: Sequence[Entry], credentials: Mapping[str, Credential]) -> Iterator[tuple[str, File]]:
    if not entries and not user.ca:
        return
    credential = credentials.get(user.entity)
    if credential:
        yield from _pair(user.entity, chain(credential.certificate, user.ca, credentials), credential.key)
    roots = {entry.server.ca.root.entity: entry.server.ca.root for entry in entries if entry.server.ca}
    if roots:
        content = trust([roots[name] for name in sorted(roots)], credentials)
        yield layout.path(user.entity, layout.CLIENT_TRUST), File(content, layout.PUBLIC, "trust", user.entity)
    for name, text in _client_texts(user, entries, has_key=credential is not None, has_trust=bool(roots)):
        yield layout.path(user.entity, name), File(text.encode(), layout.PUBLIC, "bundle", user.entity)


def _client_texts(user: User, entries: Sequence[Entry], *, has_key: bool, has_trust: bool) -> Iterator[tuple[str, str]]:
    sections = [(entry.name, parameters(user, entry)) for entry in entries]
    if sections:
        yield layout.SERVICES, services(sections)
        yield layout.CONNECTIONS, _connections(user, entries, sections)
    files = [("PGSSLROOTCERT", layout.CLIENT_TRUST)] if has_trust else []
    if has_key:
        files += [("PGSSLCERT", layout.CLIENT_CERTIFICATE), ("PGSSLKEY", layout.CLIENT_KEY)]
    strictest = max((entry.sslmode for entry in entries), key=SSLMODES.index, default="verify-full")
    yield (
        layout.ENVIRONMENT,
        _template("client/env.sh.j2").render(
            user=user.entity,
            directory=quote(user.table.directory) if user.table.directory else None,
            files=files,
            values=[("PGSSLMODE", strictest), ("PGGSSENCMODE", "disable")],
            services=bool(sections),
        ),
    )
    yield (
        layout.README,
        _template("client/README.md.j2").render(
            user=_code(user.name), rows=[_row(entry) for entry in entries], example=entries[0].name if entries else None
        ),
    )


def _connections(user: User, entries: Sequence[Entry], sections: Sequence[tuple[str, Mapping[str, str]]]) -> str:
    connections = [
        {
            "service": name,
            "server": entry.server.name,
            "database": entry.database,
            "role": entry.role,
            "uri": uri(values),
            "dsn": key_value(values),
            "jdbc": jdbc(values),
            "parameters": values,
        }
        for entry, (name, values) in zip(entries, sections, strict=True)
    ]
    return json.dumps({"format_version": 1, "user": user.name, "connections": connections}, indent=2, ensure_ascii=False) + "\n"


def _row(entry: Entry) -> dict[str, str]:
    return {
        "service": _code(entry.name),
        "server": _code(f"{entry.server.table.hosts[0]}:{entry.server.table.port}"),
        "database": _code(entry.database) if entry.database is not None else "any that you may",
        "role": _code(entry.role),
        "sslmode": f"`{entry.sslmode}`",
        "proof": _proof(entry),
    }


def _proof(entry: Entry) -> str:
    methods = sorted({policy.table.auth for policy in entry.policies})
    shown = [_PROOFS.get(method, f"`{method}`") for method in methods]
    certificate = entry.certificate and "cert" not in methods and any(p.asks_certificate != "none" for p in entry.policies)
    return " or ".join(shown) + (" and the certificate" if certificate else "")


_PROOFS = {"cert": "the certificate", "scram-sha-256": "a password", "md5": "a password", "password": "a password", "trust": "nothing"}


def _code(text: str) -> str:
    """Give a Markdown code span of any text, fit for a table cell (CommonMark 6.1; a cell ends at an unescaped bar)."""
    fence = "`" * (1 + max((len(run) for run in _runs(text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}".replace("|", "\\|")


def _runs(text: str) -> list[str]:
    return "".join(c if c == "`" else " " for c in text).split()


def _pair(entity: str, certificate: bytes | Later, key: bytes | Later | None) -> Iterator[tuple[str, File]]:
    yield layout.certificate_path(entity), File(certificate, layout.PUBLIC, "certificate", entity)
    if key is not None:
        yield layout.key_path(entity), File(key, layout.SECRET, "key", entity)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # What is written is configuration, not HTML: every value is quoted for its own language before it gets here.
    return Environment(  # noqa: S701
        loader=PackageLoader("pgtls.templates", ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


@cache
def _template(name: str) -> Template:
    template: Any = _environment().get_template(name)
    return template  # type: ignore[no-any-return]
