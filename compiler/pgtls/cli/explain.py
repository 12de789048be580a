"""``pgtls explain``."""

from __future__ import annotations

import errno
import io
import os
from dataclasses import asdict, replace
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from pgtls.cli.completion import names
from pgtls.cli.options import clock, lock_file, output, places, spec
from pgtls.cli.printing import reporting
from pgtls.diagnostics import Diagnostic, Rejected

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from pgtls.access.explain import Explanation
    from pgtls.fleet.model import Fleet, Server, User
    from pgtls.hba.model import Connection, Transport
    from pgtls.hba.parse import HbaError
    from pgtls.pipeline import Checked


@click.command()
@spec
@places
@output("text", "json")
@click.option(
    "--server",
    metavar="NAME",
    help="The server's NAME.  [default: the only one]",
    shell_complete=names("{name}", "server"),
)
@click.option("--user", "role", required=True, metavar="ROLE", help="The database role that connects.")
@click.option("--database", required=True, metavar="DB", help='The database; "replication" for physical replication.')
@click.option("--from", "from_", required=True, metavar="ADDR|local", help="The client's address, or the Unix socket.")
@click.option(
    "--host-name",
    multiple=True,
    metavar="NAME",
    help="A name that the client's address has, both ways. May be repeated.",
)
@click.option("--cleartext", is_flag=True, help="Without TLS.")
@click.option(
    "--cert",
    metavar="USER|none",
    help="Whose certificate it shows; of a foreign file, a common name.  [default: the role's]",
    shell_complete=names("{name}", "user", further=("none",)),
)
@click.option("--hba", type=click.Path(), metavar="FILE", help="Ask this pg_hba.conf instead of the compiled one.")
@click.option("--ident", type=click.Path(), metavar="FILE", help="Its pg_ident.conf.")
@click.option("--postgres", type=click.IntRange(13, 19), metavar="N", help="Its major version.")
def command(
    spec: str,
    out: str | None,
    lock: str | None,
    now: datetime | None,
    lock_timeout: int,
    format_: str,
    **question: Any,
) -> int:
    """Explain one connection: admitted or refused, by which line and which policy, and what is asked of the client."""
    _refuse_contradictions(question)
    with reporting("explain", format_) as report:
        connection = _connection(question)
        if question["hba"]:
            answer, place = _foreign(question, connection), None
        else:
            from pgtls.pipeline import check

            checked = check(Path(spec), clock(now), lock_file(spec, lock))
            connection, answer, place = _compiled(checked, question, connection)
        report.result = lambda: _as_dict(answer, place)
        report.text = lambda: _text(answer, place, connection)
    return report.status


def _refuse_contradictions(question: dict[str, Any]) -> None:
    """Refuse options that would have no effect beside the others: whoever says them believes that they have one."""
    if question["hba"] and not question["postgres"]:
        raise click.UsageError("--hba needs --postgres: what a file means depends on the version")
    if question["hba"] and question["server"]:
        raise click.UsageError("--server: a foreign file (--hba) is of no server of the spec")
    if not question["hba"] and (question["ident"] or question["postgres"]):
        raise click.UsageError("--ident and --postgres are about a foreign file: name it with --hba")
    if question["cert"] not in (None, "none") and (question["cleartext"] or question["from_"] == "local"):
        raise click.UsageError("--cert: a certificate is shown over TLS alone")


def _connection(question: dict[str, Any]) -> Connection:
    from pgtls.hba.model import Connection

    try:
        address = None if question["from_"] == "local" else ip_address(question["from_"])
    except ValueError:
        raise click.UsageError(f'--from {question["from_"]}: write an address, e.g. 10.0.0.5, or "local"') from None
    if address is None and question["cleartext"]:
        raise click.UsageError("--cleartext: there is no TLS on the Unix socket anyway")
    transport = "socket" if address is None else "plain" if question["cleartext"] else "tls"
    return Connection(
        role=question["role"],
        database=question["database"],
        transport=cast("Transport", transport),
        address=address,
        host_names=frozenset(question["host_name"]),
        replication=question["database"] == "replication",
    )


def _foreign(question: dict[str, Any], connection: Connection) -> Explanation:
    from pgtls.access.explain import explain
    from pgtls.hba.model import ClientCertificate, Surroundings
    from pgtls.hba.parse import parse_hba, parse_ident

    version, name = question["postgres"], question["hba"]
    texts: dict[str, str] = {}

    def read(path: str) -> str:
        texts[path] = _read(path)
        return texts[path]

    hba = parse_hba(read(name), version, name, read, os.listdir)
    ident = None
    if question["ident"]:
        ident = parse_ident(_read(question["ident"]), version, question["ident"], _read, os.listdir)
    faults = [*hba.errors, *(ident.errors if ident else ())]
    if faults:
        raise Rejected(*(_fault(fault, hba.consequence or "") for fault in faults))
    certificate = question["cert"] if question["cert"] is not None else connection.role
    if connection.transport == "tls" and certificate != "none":
        connection = replace(connection, certificate=ClientCertificate(certificate, f"CN={certificate}"))
    return explain(hba.lines, ident.lines if ident else (), texts, version, connection, Surroundings())


def _fault(fault: HbaError, consequence: str) -> Diagnostic:
    from pgtls.diagnostics import Place

    place = None
    if fault.line and fault.column:
        lines = _read(fault.file).splitlines()
        text = lines[fault.line - 1] if fault.line <= len(lines) else ""
        place = Place(fault.file, fault.line, fault.column, fault.line, fault.column + 1, text)
    return Diagnostic("PGT290", fault.message, hint=consequence, place=place, file=fault.file)


def _read(name: str) -> str:
    """Read a foreign file; it may come through a pipe, and must end."""
    with open(name, "rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), name)
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", errors="surrogateescape").read()


_LARGEST = 16 << 20
"""Bytes: far more than a server reads in a moment."""


def _compiled(
    checked: Checked, question: dict[str, Any], connection: Connection
) -> tuple[Connection, Explanation, str | None]:
    from pgtls.access.explain import explain, nearest, notes, surroundings_of

    fleet, rules = checked.fleet, checked.rules
    if fleet is None or not rules or any(d.severity == "error" for d in checked.diagnostics):
        raise Rejected(*checked.diagnostics)
    server = _server(fleet, question["server"])
    connection = _with_certificate(fleet, server, question, connection)
    compiled, around = rules[server.name], surroundings_of(fleet)
    lines = compiled.hba.lines
    texts = {str(line.file): compiled.hba_text for line in lines[:1]}
    answer = explain(lines, compiled.ident.lines, texts, server.table.postgres, connection, around)
    if answer.line is not None:
        index = next(i for i, line in enumerate(lines) if line.number == answer.line)
        answer = replace(answer, policies=tuple(policy.name for policy in compiled.origin[index]))
    if answer.outcome == "refuse":
        near, more = nearest(fleet, server, connection, around), tuple(notes(fleet, server, connection, around))
        answer = replace(answer, nearest=near, notes=more)
    name = answer.policies[0] if answer.policies else answer.nearest.policy if answer.nearest else None
    return connection, answer, _place(checked, name)


def _place(checked: Checked, policy: str | None) -> str | None:
    from pgtls.language.positions import locate

    if policy is None:
        return None
    (found,) = locate([Diagnostic("", "", path=("policy", policy), at="table")], checked.source)
    return f"{found.place.file}:{found.place.line}" if found.place else None


def _server(fleet: Fleet, name: str | None) -> Server:
    if name is None and len(fleet.servers) == 1:
        return next(iter(fleet.servers.values()))
    if name is None:
        raise click.UsageError(f"--server: say which: {', '.join(fleet.servers)}")
    if name not in fleet.servers:
        raise Rejected(_unknown("server", name, fleet.servers))
    return fleet.servers[name]


def _unknown(kind: str, name: str, known: Iterable[str]) -> Diagnostic:
    known = list(known)
    near = get_close_matches(name, known, n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"there are: {', '.join(known[:10])}" if known else None
    return Diagnostic("PGT291", f'the spec has no {kind} "{name}"', hint=hint)


def _with_certificate(fleet: Fleet, server: Server, question: dict[str, Any], connection: Connection) -> Connection:
    """Add the certificate that the client shows, if the server asks for one and accepts it."""
    from pgtls.access.grants import distinguished_name
    from pgtls.access.trust import trust
    from pgtls.hba.model import ClientCertificate

    user, trusted = _holder(fleet, question), trust(fleet, server)
    if user is None or user.ca is None or connection.transport != "tls":
        return connection
    if user.ca.name not in (*trusted.named, *trusted.others):
        return connection
    return replace(connection, certificate=ClientCertificate(user.common_name, distinguished_name(user)))


def _holder(fleet: Fleet, question: dict[str, Any]) -> User | None:
    if question["cert"] == "none":
        return None
    if question["cert"] is not None:
        if question["cert"] in fleet.ended_users:
            message = f'user "{question["cert"]}" has ended, and so has its certificate'
            raise Rejected(Diagnostic("PGT291", message, hint='name another, "none", or an earlier instant with --now'))
        if question["cert"] not in fleet.users:
            raise Rejected(_unknown("user", question["cert"], fleet.users))
        user = fleet.users[question["cert"]]
        if user.ca is None:
            raise Rejected(
                Diagnostic("PGT291", f'user "{user.name}" has no certificate', hint='name another, or "none"')
            )
        return user
    holders = [user for user in fleet.users.values() if user.ca and question["role"] in user.roles]
    return next((user for user in holders if user.name == question["role"]), holders[0] if holders else None)


def _as_dict(answer: Explanation, place: str | None) -> dict[str, Any]:
    return {**asdict(answer), "policy": answer.policies[0] if answer.policies else None, "place": place}


def _text(answer: Explanation, place: str | None, connection: Connection) -> str:
    over = {"socket": "over the Unix socket", "tls": "over TLS", "plain": "in cleartext", "gss": "with GSS encryption"}
    where = f" from {connection.address}" if connection.address else ""
    shown = f', showing the certificate of "{connection.certificate.common_name}"' if connection.certificate else ""
    head = "admitted" if answer.outcome == "admit" else "refused"
    rows = [
        f'{head}: role "{connection.role}", database "{connection.database}"{where}, {over[connection.transport]}{shown}'
    ]
    rows.append(f"  why      {answer.why}")
    if answer.rule:
        rows.append(f"  line     {answer.file}:{answer.line}: {answer.rule}")
    if answer.policies:
        rows.append(f"  policy   {', '.join(answer.policies)}{f'  ({place})' if place else ''}")
    if answer.asks:
        rows.append(f"  asks     {'; and '.join(answer.asks)}")
    if answer.nearest and not (answer.policies and not answer.nearest.missing):
        rows.append(
            f"  nearest  policy {answer.nearest.policy}{f'  ({place})' if place and not answer.policies else ''}: "
            + ("; ".join(answer.nearest.missing) or "it covers this connection")
        )
    rows += [f"  note     {note}" for note in answer.notes]
    return "\n".join(rows)
