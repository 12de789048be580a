"""``pgtls plan``."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from pgtls.cli import CHANGES, OK
from pgtls.cli.options import FORMAT, Asks, Verbose, Where, clock, expanded, in_review
from pgtls.cli.printing import reporting
from pgtls.cli.usage import UsageError

EXAMPLES = {
    "pgtls plan": "Show what a build of pgtls.toml would do.",
    "pgtls plan --no-secrets --format markdown": "Plan the spec of a pull request.",
}


@expanded
def command(
    where: Where,
    asks: Asks,
    format_: Annotated[Literal["text", "json", "markdown"], FORMAT] = "text",
    verbose: Verbose = False,
    no_secrets: Annotated[
        bool, typer.Option("--no-secrets", help="Open no key and run no command: safe for a stranger's spec.")
    ] = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit 2 if there is something to do.")
    ] = False,
) -> int:
    """Show what build would do, why, and what it costs on the wire."""
    from pgtls.api import plan
    from pgtls.cli import planned

    if no_secrets and asks.ca_key:
        raise UsageError("--ca-key lends a key, and --no-secrets opens none: leave one out")
    with reporting("plan", format_) as report:
        found = plan(
            where.open(clock(where.now)),
            out=where.out,
            secrets=not no_secrets,
            asked=asks.asked,
            new_out=asks.new_out,
            review=in_review() or no_secrets,
            lock_timeout=where.lock_timeout,
        )
        planned.fill(report, found, format_, verbose=verbose)
        report.status = CHANGES if detailed_exitcode and (found.steps or found.lost) else OK
    return report.status
