"""``pgtls plan``."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from pgtls.cli import CHANGES, OK
from pgtls.cli.options import FORMAT, Asks, Where, clock, expanded
from pgtls.cli.printing import coloured, reporting

EXAMPLES = {
    "pgtls plan": "Show what a build of pgtls.toml would do.",
    "pgtls plan --renew user.alice --detailed-exitcode": "Exit 2 if there is something to do.",
}


@expanded
def command(
    where: Where,
    asks: Asks,
    format_: Annotated[Literal["text", "json", "markdown"], FORMAT] = "text",
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit 2 if there is something to do.")
    ] = False,
) -> int:
    """Show what build would do, why, and what it costs on the wire."""
    from pgtls.cli import steps
    from pgtls.pipeline import plan

    with reporting("plan", format_) as report:
        planned = plan(where.request(clock(where.now), asks))
        report.diagnostics = planned.diagnostics
        report.result = lambda: steps.as_dict(planned.plan)
        report.text = lambda: (
            steps.markdown(planned.plan)
            if format_ == "markdown"
            else steps.text(planned.plan, colour=coloured(sys.stdout))
        )
        report.status = CHANGES if detailed_exitcode and planned.plan.steps else OK
    return report.status
