"""How ``plan`` and ``build`` report a plan."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pgtls.cli import steps
from pgtls.cli.printing import coloured
from pgtls.cli.table import columns
from pgtls.diagnostics.lines import wrapped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgtls.api import Build
    from pgtls.cli.printing import Report


_UNCOMPARED = (
    "This plan covers certificates only: without the out directory, compiled rules and settings cannot be compared. "
    "`pgtls diff` shows what changes for people."
)


def fill(report: Report, found: Build, format_: str, *, verbose: bool, after: Iterable[str] = ()) -> None:
    """Put a plan into the report, and what to say ``after`` it."""
    report.diagnostics, report.known, report.waived = found.diagnostics, found.known, found.waived
    report.result = lambda: steps.as_dict(found)

    def text() -> str:
        if found.lost and not found.steps:
            return "nothing can be planned: the out directory is not here"
        if format_ == "markdown":
            return steps.markdown(found) + ("\n\n" + _UNCOMPARED if found.from_lock else "")
        width, colour = columns(sys.stdout), coloured(sys.stdout)
        notes = [*([_UNCOMPARED] if found.from_lock else []), *after]
        lines = (line for said in notes for line in wrapped(said, width, " " * len("next: ")))
        return "\n".join([steps.text(found, width, colour=colour, verbose=verbose), *lines])

    report.text = text
