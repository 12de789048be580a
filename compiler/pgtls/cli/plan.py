"""``pgtls plan``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pgtls.cli import CHANGES, OK
from pgtls.cli.options import asks, clock, output, places, spec
from pgtls.cli.printing import coloured, reporting

if TYPE_CHECKING:
    from datetime import datetime


@click.command()
@spec
@places
@output("text", "json", "markdown")
@asks
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 if there is something to do.")
def command(
    spec: str,
    out: str | None,
    lock: str | None,
    now: datetime | None,
    lock_timeout: int,
    format_: str,
    detailed_exitcode: bool,
    **asks: Any,
) -> int:
    """Show what build would do, why, and what it costs on the wire."""
    import sys

    from pgtls.cli import steps
    from pgtls.cli.request import request
    from pgtls.pipeline import plan

    with reporting("plan", format_) as report:
        planned = plan(request(spec, out, lock, clock(now), lock_timeout, **asks))
        report.diagnostics = planned.diagnostics
        report.result = lambda: steps.as_dict(planned.plan)
        report.text = lambda: (
            steps.markdown(planned.plan)
            if format_ == "markdown"
            else steps.text(planned.plan, colour=coloured(sys.stdout))
        )
        report.status = CHANGES if detailed_exitcode and planned.plan.steps else OK
    return report.status
