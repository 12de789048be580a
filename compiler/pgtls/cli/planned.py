"""How ``plan`` and ``build`` report a plan."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pgtls.cli import steps
from pgtls.cli.printing import coloured
from pgtls.cli.table import columns, wrapped
from pgtls.state.up_to_date import input_digest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgtls.cli.printing import Report
    from pgtls.diagnostics import Diagnostic
    from pgtls.stages import Planned


_UNCOMPARED = (
    "This plan covers certificates only: without the out directory, compiled rules and settings cannot be compared. "
    "`pgtls diff` shows what changes for people."
)


def fill(report: Report, planned: Planned, format_: str, *, verbose: bool, after: Iterable[str] = ()) -> None:
    """Put a plan into the report, and what to say ``after`` it."""
    report.diagnostics, report.waived = planned.diagnostics, planned.checked.waived
    report.known = shown_before(planned)
    report.result = lambda: steps.as_dict(planned.plan)

    def text() -> str:
        if planned.existing.lost and not planned.plan.steps:
            return "nothing can be planned: the out directory is not here"
        if format_ == "markdown":
            return steps.markdown(planned.plan) + ("\n\n" + _UNCOMPARED if planned.existing.from_lock else "")
        width, colour = columns(sys.stdout), coloured(sys.stdout)
        notes = [*([_UNCOMPARED] if planned.existing.from_lock else []), *after]
        lines = (line for said in notes for line in wrapped(said, width, " " * len("next: ")))
        return "\n".join([steps.text(planned.plan, width, colour=colour, verbose=verbose), *lines])

    report.text = text


def shown_before(planned: Planned) -> tuple[Diagnostic, ...]:
    """Return the warnings about a spec that is the one of the last build: that build showed them."""
    manifest, found = planned.existing.manifest, planned.checked.diagnostics
    if manifest is None or not found or planned.existing.sealed:  # the digest is also that of key_file
        return ()
    digest = input_digest(planned.checked.digest, planned.checked.lock.render())
    return found if digest == manifest.inputs.digest else ()
