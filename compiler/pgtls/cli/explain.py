"""``pgtls explain``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from pgtls.cli.completion import names
from pgtls.cli.options import FORMAT, Where, clock, expanded
from pgtls.cli.printing import reporting
from pgtls.cli.table import columns
from pgtls.cli.usage import UsageError
from pgtls.diagnostics.lines import labelled, wrapped
from pgtls.postgres.releases import NEWEST, OLDEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgtls.access.question import Answer, Question
    from pgtls.api import Spec

_T = TypeVar("_T")


EXAMPLES = {
    "pgtls explain --user app --database shop --from 10.0.0.5": "Ask about the compiled pg_hba.conf.",
    "pgtls explain --hba hba.conf --postgres 16 --user a --database b --from local": "Ask about another file.",
}


@expanded
def command(
    where: Where,
    role: Annotated[str, typer.Option("--user", metavar="ROLE", help="The database role that connects.")],
    database: Annotated[str, typer.Option(metavar="DB", help='The database; "replication" for physical replication.')],
    from_: Annotated[
        str, typer.Option("--from", metavar="ADDR|local", help="The client's address, or the Unix socket.")
    ],
    server: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default="the only one",
            help="The name of the server or pooler.",
            autocompletion=names("{name}", "server", "pooler"),
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(metavar="NAME", show_default="any", help="The host that the client dials, for a server with sni."),
    ] = None,
    host_name: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name that the client's address has, both ways. May be repeated."),
    ] = None,
    cleartext: Annotated[bool, typer.Option("--cleartext", help="Without TLS.")] = False,
    cert: Annotated[
        str | None,
        typer.Option(
            metavar="USER|none",
            show_default="the role's",
            help="The user whose certificate the client shows; with --hba a common name or a whole subject.",
            autocompletion=names("{name}", "user", further=("none",)),
        ),
    ] = None,
    member_of: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GROUP|ROLE=GROUP",
            help="A database role that the role, or another ROLE, is a member of. May be repeated.",
        ),
    ] = None,
    interface: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CIDR",
            help="An address of the server with its prefix length, for samehost and samenet. May be repeated.",
        ),
    ] = None,
    hba: Annotated[
        str | None, typer.Option(metavar="FILE", help="Ask this pg_hba.conf instead of the compiled one.")
    ] = None,
    ident: Annotated[str | None, typer.Option(metavar="FILE", help="Its pg_ident.conf.")] = None,
    postgres: Annotated[
        int | None, typer.Option(metavar="N", min=OLDEST, max=NEWEST, help="Its major version.")
    ] = None,
    engine: Annotated[
        Literal["patroni", "cloudnativepg"] | None,
        typer.Option(
            show_default="none", help="Answer from pg_hba.conf as this engine writes it, with the engine's own lines."
        ),
    ] = None,
    format_: Annotated[Literal["text", "json"], FORMAT] = "text",
) -> int:
    """Explain one connection: admitted or refused, by which line and which policy, and what is asked of the client."""
    question: dict[str, Any] = {
        "role": role,
        "database": database,
        "from_": from_,
        "server": server,
        "host": host,
        "host_name": tuple(host_name or ()),
        "cleartext": cleartext,
        "cert": cert,
        "member_of": tuple(member_of or ()),
        "interface": tuple(interface or ()),
        "hba": hba,
        "ident": ident,
        "postgres": postgres,
        "engine": engine,
    }
    _refuse_contradictions(question)
    with reporting("explain", format_) as report:
        asked = _question(question)
        if question["hba"]:
            from pgtls.importer.foreign import ask

            answer = ask(question["hba"], question["ident"], question["postgres"], asked)
        else:
            answer = _of_spec(where.open(clock(where.now)), question, asked)
        report.result = lambda: _as_dict(answer)
        report.text = lambda: _text(answer, columns(sys.stdout))
    return report.status


def _refuse_contradictions(question: dict[str, Any]) -> None:
    """Refuse options that have no effect together with the others."""
    if question["hba"] and not question["postgres"]:
        raise UsageError("--hba needs --postgres: what a file means depends on the version")
    if question["hba"] and question["server"]:
        raise UsageError("--server: a foreign file (--hba) is of no server of the spec")
    if question["hba"] and question["host"]:
        raise UsageError("--host: a foreign file (--hba) is of no server of the spec")
    if question["hba"] and question["engine"]:
        raise UsageError("--engine: a foreign file (--hba) is whole already")
    if not question["hba"] and (question["ident"] or question["postgres"]):
        raise UsageError("--ident and --postgres require --hba")
    if question["cert"] not in (None, "none") and (question["cleartext"] or question["from_"] == "local"):
        raise UsageError("--cert requires TLS")


def _question(words: dict[str, Any]) -> Question:
    from pgtls.access.premises import interfaces, memberships
    from pgtls.access.question import Question

    try:
        address = None if words["from_"] == "local" else ip_address(words["from_"])
    except ValueError:
        raise UsageError(f'--from {words["from_"]}: write an address, e.g. 10.0.0.5, or "local"') from None
    if address is None and words["cleartext"]:
        raise UsageError("--cleartext: there is no TLS on the Unix socket anyway")
    return Question(
        role=words["role"],
        database=words["database"],
        address=address,
        host_names=frozenset(words["host_name"]),
        cleartext=words["cleartext"],
        certificate=words["cert"],
        dialled=words["host"],
        members=_parsed("--member-of", lambda: memberships(words["member_of"], words["role"])),
        interfaces=_parsed("--interface", lambda: interfaces(words["interface"])),
    )


def _parsed(option: str, parse: Callable[[], _T]) -> _T:
    try:
        return parse()
    except ValueError as error:
        raise UsageError(f"{option} {error}") from None


def _of_spec(spec: Spec, words: dict[str, Any], question: Question) -> Answer:
    from pgtls.access.question import UnclearServer
    from pgtls.api import answer

    try:
        if words["engine"]:
            from pgtls.exports.composed import explain

            return explain(spec, words["engine"], question, words["server"])
        return answer(spec, question, words["server"])
    except UnclearServer as unclear:
        raise UsageError(f"--server: {unclear}") from None


def _as_dict(found: Answer) -> dict[str, Any]:
    answer = found.explanation
    policy = answer.policies[0] if answer.policies else None
    onward = _as_dict(found.onward) if found.onward else None
    return {**asdict(answer), "policy": policy, "place": found.place, "server": found.server, "onward": onward}


def _text(found: Answer, width: int | None) -> str:
    if found.onward is None:
        return _answer(found, width)
    to, over = (
        f"to {' '.join(str(found.server).split('.', 1))}",
        f"on to {' '.join(str(found.onward.server).split('.', 1))}",
    )
    return "\n".join((f"{to}:", _answer(found, width), f"{over}:", _answer(found.onward, width)))


def _answer(found: Answer, width: int | None) -> str:
    answer, connection, place = found.explanation, found.connection, found.place
    over = {"socket": "over the Unix socket", "tls": "over TLS", "plain": "in cleartext", "gss": "with GSS encryption"}
    where = f" from {connection.address}" if connection.address else ""
    shown = f', showing the certificate of "{connection.certificate.common_name}"' if connection.certificate else ""
    head = "admitted" if answer.outcome == "admit" else "refused"
    what = f'role "{connection.role}", database "{connection.database}"'
    rows = [f"{head}: {what}{where}, {over[connection.transport]}{shown}"]
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
    head, *named = rows
    label = len("  policy   ")
    lines = (line for row in named for line in labelled(row[:label], row[label:], width))
    return "\n".join([*wrapped(head, width, "    "), *lines])
