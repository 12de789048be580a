"""``pgtls access``."""

from __future__ import annotations

import sys
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pgtls.cli import markdown as md
from pgtls.cli import table
from pgtls.cli.options import FORMAT, Where, clock, expanded
from pgtls.cli.printing import coloured, reporting
from pgtls.cli.table import columns
from pgtls.diagnostics.lines import whole, wrapped
from pgtls.language.words import some

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgtls.access.matrix import Matrix, Row

_SHOWN = 8
"""How many names of one kind a cell holds; :func:`_cut` says where all of them are."""
_TABLE = 100
"""How wide a terminal is in which the rows are a table."""
_HEAD = ("who", "databases", "from", "over", "shows", "client's sslmode", "policy")
_LABEL = max(map(len, _HEAD))


EXAMPLES = {
    "pgtls access": "Show the whole matrix.",
    "pgtls access --format markdown >> review.md": "Add it to a review.",
}


@expanded
def command(where: Where, format_: Annotated[Literal["text", "json", "markdown"], FORMAT] = "text") -> int:
    """Show who may connect from where to what, and how: the whole matrix, from the compiled pg_hba.conf."""
    from pgtls.api import access, check

    with reporting("access", format_) as report:
        spec = where.open(clock(where.now))
        checked, found = check(spec), access(spec)
        report.diagnostics, report.waived = checked.diagnostics, checked.waived
        report.result = lambda: {"servers": [_as_dict(server) for server in found]}
        width, colour = columns(sys.stdout), coloured(sys.stdout)
        report.text = lambda: "\n\n".join(
            _markdown(server) if format_ == "markdown" else _text(server, width, colour=colour) for server in found
        )
    return report.status


def _as_dict(server: Matrix) -> dict[str, Any]:
    rows = [_as_row(row) for row in server.rows]
    return {
        "server": server.server,
        "kind": server.kind,
        "hosts": server.hosts,
        "identities": [asdict(identity) for identity in server.identities],
        "trust": asdict(server.trust),
        "rows": rows,
    }


def _as_row(row: Row) -> dict[str, Any]:
    """Return its fields as they are: ``asdict`` copies every tuple, and a row may name thousands of roles."""
    return {field.name: getattr(row, field.name) for field in fields(row)} | {"certificates": dict(row.certificates)}


def _text(server: Matrix, width: int | None, *, colour: bool) -> str:
    head = table.Row(_HEAD, "1" if colour else "")
    rows = [head, *(table.Row(_cells(row), _style(row, colour=colour)) for row in server.rows)]
    narrow = width is not None and (width < _TABLE or not table.fits(rows, width))
    shown = _blocks(server.rows, width, colour=colour) if narrow else table.table(rows, width)
    lines = [line for said in _intro(server) for line in wrapped(said, width, "    ")]
    end = ("What no row covers is refused; the first row that covers a connection decides.", *_cut(server.rows))
    return "\n".join([*lines, "", *shown, "", *(part for line in end for part in wrapped(line, width))])


def _blocks(rows: Sequence[Row], width: int | None, *, colour: bool) -> Iterator[str]:
    """Write a block for each row, under the policy that it comes from."""
    above: tuple[str, ...] = ()
    for number, row in enumerate(rows):
        if number:
            yield ""
        if row.policies != above:
            yield from table.table([table.Row((f"policy {', '.join(row.policies)}",), "1" if colour else "")], width)
        above = row.policies
        named = zip(_HEAD, _cells(row)[:-1], strict=False)
        style = _style(row, colour=colour)
        lines = [table.Row((whole(head.ljust(_LABEL)), cell), style) for head, cell in named if cell]
        yield from table.table(lines, width, indent="  ")


def _style(row: Row, *, colour: bool) -> str:
    return "31" if colour and not row.admits else ""


def _markdown(server: Matrix) -> str:
    title, *trust = _intro(server)
    rows = ([md.text(cell) for cell in _cells(row)] for row in server.rows)
    end = (part for line in _cut(server.rows) for part in ("", md.text(line)))
    head = [f"### {md.text(title)}", "", *(f"{md.text(line.strip())}  " for line in trust)]
    return "\n".join([*head, "", *md.table(_HEAD, rows), *end])


def _cut(rows: Sequence[Row]) -> Iterator[str]:
    """Say where all names are if a cell does not have them."""
    if any(
        len(names) > _SHOWN
        for row in rows
        for names in (row.roles, row.databases, row.addresses, row.certificates, row.decided_by)
    ):
        yield f"A cell has the first {_SHOWN} names of a kind. All of them: pgtls access --format json"


def _intro(server: Matrix) -> Iterator[str]:
    yield f"{server.kind} {server.server} ({', '.join(server.hosts)})"
    for one in server.identities[1:]:
        accepts = f"client certificates of {', '.join(one.client_ca)}" if one.client_ca else "no client certificates"
        yield f"  as {', '.join(one.hosts)}: accepts {accepts}"
    yield f"  client certificates: {', '.join(server.trust.named) or 'none are asked for'}"
    if server.trust.others:
        yield f"  also accepted, under the same root: {', '.join(server.trust.others)}"
    if server.trust.foreign:
        yield f"  anyone certified under: {', '.join(server.trust.foreign)}"


def _cells(row: Row) -> tuple[str, ...]:
    return (
        some(row.roles, _SHOWN),
        some(row.databases, _SHOWN),
        some(row.addresses, _SHOWN) or "this machine",
        row.over,
        _shows(row),
        row.sslmode or "",
        ", ".join(row.policies),
    )


def _shows(row: Row) -> str:
    if not row.admits:
        return "refused"
    patterns_first = sorted(row.certificates, key=lambda certificate: not certificate[0].startswith("/"))
    names = some(
        [f"{name} (as {', '.join(roles)})" if roles != (name,) else name for name, roles in patterns_first], _SHOWN
    )
    if row.method == "cert":
        return f"a certificate: {names}" if names else "certificate with CN = role"
    if row.method == "peer":
        return f"operating-system user: {names}" if names else "operating-system user named like the role"
    shown = f"{row.method} by {some(row.decided_by, _SHOWN)}" if row.decided_by else row.method
    if row.certificate == "verify-full":
        # One map decides on the name that the method proves and on that of the certificate.
        return f"{shown} and a certificate, each as {names}" if names else f"{shown}, and a certificate with CN = role"
    extra = ", and a certificate" if row.certificate == "verify-ca" else ""
    return f"{shown}{f' as {names}' if names else ''}{extra}"
