"""What waivers accept, as every report shows it: the finding, what accepts it, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.cli import markdown as md
from pgtls.diagnostics.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgtls.diagnostics import Accepted, Diagnostic


def text(waived: Sequence[Diagnostic]) -> Iterator[str]:
    """Write one line for each finding."""
    for diagnostic in waived:
        yield visible(f"waived[{diagnostic.code}]: {diagnostic.message} ({_why(diagnostic)}{_where(diagnostic)})")


def markdown(waived: Sequence[Diagnostic]) -> Iterator[str]:
    """Write a table for a pull request."""
    if waived:
        yield ""
        rows = (tuple(map(md.text, (d.code, d.message, _accepted(d).by, _accepted(d).reason or ""))) for d in waived)
        yield from md.table(("waived", "finding", "accepted by", "reason"), rows)


def _why(diagnostic: Diagnostic) -> str:
    accepted = _accepted(diagnostic)
    until = f", until {accepted.until:%Y-%m-%d}" if accepted.until else ""
    return f"by {accepted.by}: {accepted.reason}{until}" if accepted.reason else f"by {accepted.by}"


def _where(diagnostic: Diagnostic) -> str:
    place = diagnostic.place
    return f", {place.file}:{place.line}" if place else ""


def _accepted(diagnostic: Diagnostic) -> Accepted:
    assert diagnostic.accepted is not None, "only waived findings are written"  # noqa: S101
    return diagnostic.accepted
