"""``pgtls verify``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pgtls.cli.completion import names
from pgtls.cli.options import FORMAT, LONGEST_WAIT, Where, clock, expanded
from pgtls.cli.printing import coloured, reporting, say
from pgtls.cli.usage import UsageError
from pgtls.diagnostics import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from pgtls.live.checks.check import Check
    from pgtls.live.run import Tree
    from pgtls.live.verify import Verified

EXAMPLES = {
    "pgtls verify --server primary --wait 30": "Look at a running server after a reload; no password is needed.",
    "pgtls verify --user monitor --format junit": "Log in with a bundle, too, and report to a CI system.",
}


@expanded
def command(
    where: Where,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", show_default="all", help="The server's name.", autocompletion=names("{name}", "server")
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(metavar="H", show_default="the first of hosts", help="Where to connect to.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(metavar="P", min=1, max=65535, show_default="the server's", help="The port.")
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Also log in with this user's bundle and compare what SQL shows (needs psycopg).",
            autocompletion=names("{name}", "user"),
        ),
    ] = None,
    wait: Annotated[
        int,
        typer.Option(metavar="SECONDS", min=0, max=LONGEST_WAIT, help="How long to wait until a reload is done."),
    ] = 0,
    format_: Annotated[Literal["text", "json", "junit"], FORMAT] = "text",
) -> int:
    """Compare a running server with the spec, the lock and the out directory, on the wire and without a password."""
    with reporting("verify", format_) as report:
        from pgtls.api import pulled
        from pgtls.live.run import chosen, loaded, verify

        now = clock(where.now)
        with pulled(where.open(now), where.out) as (spec, out, names):
            tree = loaded(spec, out, where.lock_timeout)
            servers = chosen(tree, server)
            if (host or port) and len(servers) > 1:
                raise UsageError(f"--host and --port need --server: say which of {', '.join(servers)}")
            found = [verify(tree, name, host, port, user, wait, now) for name in servers]
        results = [one for one in found if not isinstance(one, Diagnostic)]
        findings = tuple(map(names.diagnostic, _findings(found, tree, everything=format_ == "json")))
        report.diagnostics, report.waived = (*tree.checked.diagnostics, *findings), tree.checked.waived
        report.result = lambda: {"servers": [_as_dict(one) for one in results]}
        report.text = lambda: _junit(results, now) if format_ == "junit" else _text(results)
        report.status = 0 if len(results) == len(found) and all(one.as_compiled for one in results) else 1
        report.diagnostics += _recorded(where, now, tree, [one.server for one in results if one.is_evidence])
    return report.status


def _recorded(where: Where, now: datetime, tree: Tree, servers: list[str]) -> tuple[Diagnostic, ...]:
    """Record which servers run what was compiled. Where that fails, the answer is still what was seen."""
    from dataclasses import replace

    from pgtls.api import confirm
    from pgtls.diagnostics import Rejected
    from pgtls.state.names import deployed_path

    path = deployed_path(where.paths[2])
    before = os.path.exists(path)
    try:
        if servers:
            opened, seen = where.open(now), tree.made
            confirm(opened, *servers, by="verify", out=where.out, lock_timeout=where.lock_timeout, looked_at=seen)
            if not before and os.path.exists(path):
                say(f"wrote {path}, the evidence of what is deployed: commit it")
    except Rejected as rejected:
        return tuple(replace(one, severity="warning") for one in rejected.diagnostics)
    return ()


def _findings(found: Iterable[Verified | Diagnostic], tree: Tree, *, everything: bool) -> Iterator[Diagnostic]:
    """Return the findings as diagnostics; as text, those alone that leave nothing to show in the table."""
    from pgtls.language.positions import locate

    for one in found:
        if isinstance(one, Diagnostic):
            yield one
            continue
        made = [
            Diagnostic(
                check.code or "",
                f'server "{one.server.name}": {check.what}; {check.why}',
                one.server.table,
                check.todo,
                at="table",
            )
            for check in one.checks
            if check.outcome == "differs" and (everything or check.name == "server")
        ]
        yield from locate(made, tree.checked.source)


def _as_dict(one: Verified) -> dict[str, Any]:
    return {
        "server": one.server,
        "address": one.address,
        "as_compiled": one.as_compiled,
        "connections": one.connections,
        "checks": [
            {
                "check": check.name,
                "outcome": check.outcome,
                "what": check.what,
                "why": check.why or None,
                "todo": check.todo or None,
                "code": check.code,
                "fault": check.fault,
            }
            for check in one.checks
        ],
    }


_COLOURS = {"ok": "32", "differs": "1;31", "not tried": "33"}


_ABSENT = ("PGT470", "PGT471")
"""Nothing answers, or something else does."""


def _text(results: Iterable[Verified]) -> str:
    from pgtls.cli.table import Row, columns, table
    from pgtls.diagnostics.lines import whole, wrapped

    width, colour = columns(sys.stdout), coloured(sys.stdout)
    lines: list[str] = []
    for one in results:
        counts = {outcome: sum(check.outcome == outcome for check in one.checks) for outcome in _COLOURS}
        absent = any(check.code in _ABSENT for check in one.checks)
        verdict = "as compiled" if one.as_compiled else "not found" if absent else "NOT as compiled"
        counted = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
        made = f"{one.connections} connection{'s' * (one.connections != 1)}"
        lines += ["", f"{one.server} at {one.address}: {verdict} ({counted}; {made})"]
        rows = [
            Row((whole(check.outcome), whole(check.name), check.what), _COLOURS[check.outcome] if colour else "")
            for check in one.checks
        ]
        lines += table(rows, width, indent="  ")
        for check in one.checks:
            if check.outcome == "differs":
                lines += ["", *wrapped(f"  {check.code} {check.name}: {check.what}", width, "    ")]
                lines += wrapped(f"    why  {check.why}", width, "         ")
                lines += wrapped(f"    do   {check.todo}", width, "         ")
    return "\n".join(lines[1:])


def _junit(results: Iterable[Verified], now: datetime) -> str:
    from xml.etree import ElementTree as Xml

    suites = Xml.Element("testsuites", name="pgtls verify")
    for one in results:
        counted = {"failures": "differs", "skipped": "not tried"}
        counts = {name: str(sum(check.outcome == outcome for check in one.checks)) for name, outcome in counted.items()}
        suite = Xml.SubElement(
            suites,
            "testsuite",
            {"name": one.server, "tests": str(len(one.checks)), "errors": "0", **counts},
            timestamp=f"{now:%Y-%m-%dT%H:%M:%S}",
            hostname=one.address,
        )
        for check in one.checks:
            _case(Xml.SubElement(suite, "testcase", name=check.name, classname=one.server), check)
    return Xml.tostring(suites, encoding="unicode", xml_declaration=True)


def _case(case: Any, check: Check) -> None:
    from xml.etree import ElementTree as Xml

    if check.outcome == "differs":
        failure = Xml.SubElement(case, "failure", type=check.code or "", message=check.what)
        failure.text = f"{check.why}\n{check.todo}"
    elif check.outcome == "not tried":
        Xml.SubElement(case, "skipped", message=check.what)
