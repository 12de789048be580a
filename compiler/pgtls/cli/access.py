"""``pgtls access``."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict, fields
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pgtls.cli.options import FORMAT, Where, clock, expanded
from pgtls.cli.printing import coloured, reporting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgtls.access.matrix import Matrix, Row

_SHOWN = 8
"""How many names of one kind a cell holds; JSON has them all."""
_NARROWEST = 80
"""The columns of a table at the least: a narrower terminal wraps its lines."""
_HEAD = ("who", "databases", "from", "over", "shows", "client's sslmode", "policy")


EXAMPLES = {
    "pgtls access": "Show the whole matrix.",
    "pgtls access --format markdown >> review.md": "Add it to a review.",
}


@expanded
def command(where: Where, format_: Annotated[Literal["text", "json", "markdown"], FORMAT] = "text") -> int:
    """Show who may connect from where to what, and how: the whole matrix, from the compiled pg_hba.conf."""
    from pgtls.access.matrix import matrix
    from pgtls.pipeline import check

    with reporting("access", format_) as report:
        spec, _, lock = where.paths
        checked = check(Path(spec), clock(where.now), lock)
        fleet = checked.usable()
        report.diagnostics, report.waived = checked.diagnostics, checked.waived
        found = [matrix(fleet, rules) for rules in checked.rules.values()]
        report.result = lambda: {"servers": [_as_dict(server) for server in found]}
        report.text = lambda: "\n\n".join(map(_markdown if format_ == "markdown" else _text, found))
    return report.status


def _as_dict(server: Matrix) -> dict[str, Any]:
    rows = [_as_row(row) for row in server.rows]
    return {"server": server.server, "hosts": server.hosts, "trust": asdict(server.trust), "rows": rows}


def _as_row(row: Row) -> dict[str, Any]:
    """Give its fields as they are: ``asdict`` copies every tuple, and a row may name thousands of roles."""
    return {field.name: getattr(row, field.name) for field in fields(row)} | {"certificates": dict(row.certificates)}


def _text(server: Matrix) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    colour = coloured(sys.stdout)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold" if colour else "")
    for head in _HEAD:
        table.add_column(head, overflow="fold")  # a name that is cut short is another name
    for row in server.rows:
        table.add_row(*(Text(cell, style="red" if colour and not row.admits else "") for cell in _cells(row)))
    width = max(_NARROWEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else 160
    printed = StringIO()
    Console(file=printed, width=width, highlight=False, force_terminal=colour, no_color=not colour).print(table)
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    return "\n".join(
        [
            *_intro(server),
            "",
            *lines,
            "",
            "What no row covers is refused; the first row that covers a connection decides.",
        ]
    )


def _markdown(server: Matrix) -> str:
    rows = ["| " + " | ".join(map(_escaped, cells)) + " |" for cells in (_HEAD, *map(_cells, server.rows))]
    rows.insert(1, "|" + "---|" * len(_HEAD))
    title, *trust = _intro(server)
    return "\n".join([f"### {_escaped(title)}", "", *(f"{_escaped(line.strip())}  " for line in trust), "", *rows])


def _intro(server: Matrix) -> Iterator[str]:
    yield f"server {server.server} ({', '.join(server.hosts)})"
    yield f"  client certificates: {', '.join(server.trust.named) or 'none are asked for'}"
    if server.trust.others:
        yield f"  also accepted, under the same root: {', '.join(server.trust.others)}"
    if server.trust.foreign:
        yield f"  anyone certified under: {', '.join(server.trust.foreign)}"


def _cells(row: Row) -> tuple[str, ...]:
    return (
        _some(row.roles),
        _some(row.databases),
        _some(row.addresses) or "this machine",
        row.over,
        _shows(row),
        row.sslmode or "",
        ", ".join(row.policies),
    )


def _shows(row: Row) -> str:
    if not row.admits:
        return "refused"
    names = _some([f"{name} (as {', '.join(roles)})" if roles != (name,) else name for name, roles in row.certificates])
    if row.method == "cert":
        return f"a certificate: {names}" if names else "a certificate named like the role"
    if row.method == "peer":
        return f"operating-system user: {names}" if names else "operating-system user named like the role"
    extra = {"none": "", "verify-ca": ", and a certificate", "verify-full": ", and a certificate named like the role"}
    return f"{row.method}{f' as {names}' if names else ''}{extra[row.certificate]}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _escaped(text: str) -> str:
    for character in "\\`*_[]<|":
        text = text.replace(character, f"\\{character}")
    return text
