"""``pgtls build``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pgtls.cli import CHANGES, OK
from pgtls.cli.options import FORMAT, Asks, Where, clock, expanded
from pgtls.cli.printing import UnwrittenError, as_json, coloured, emit, reporting
from pgtls.state.up_to_date import up_to_date

if TYPE_CHECKING:
    from pgtls.cli.printing import Report
    from pgtls.pipeline import Planned


EXAMPLES = {
    "pgtls build": "Compile pgtls.toml into out/.",
    "pgtls build --renew user.alice": "Issue alice's certificate again.",
}


@expanded
def command(
    where: Where,
    asks: Asks,
    format_: Annotated[Literal["text", "json"], FORMAT] = "text",
    only_check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 2 if there is something to do.")
    ] = False,
    depfile: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write for make, as a rule, which files this build depends on."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(metavar="N", min=1, show_default="all", help="How many cores to use.")
    ] = None,
) -> int:
    """Compile the spec into the out directory."""
    moment, paths = clock(where.now), where.paths
    if depfile:
        from pgtls.cli.depfile import refuse

        if reason := refuse(depfile, *paths):
            raise typer.BadParameter(f'"{depfile}": {reason}', param_hint="'--depfile'")
    special = only_check or asks.renew or asks.replace or asks.new_ca or asks.ca_key
    if not special and up_to_date(*paths, "", f"{moment:%Y-%m-%dT%H:%M:%SZ}"):
        _write(depfile, paths, "nothing was to be done")
        emit(as_json("build", (), steps=[], summary={}) if format_ == "json" else "nothing to do")
        return OK

    from pgtls.cli.progress import bars
    from pgtls.pipeline import build, plan

    with reporting("build", format_) as report:
        work = where.request(moment, asks, jobs=jobs or 0)
        if only_check:
            _report(report, planned := plan(work), "")
            report.status = CHANGES if planned.plan.steps else OK
        else:
            with bars() as progress:
                planned = build(work, progress)
            report.done = f"{work.out} is built"
            _write(depfile, paths, report.done)
            _report(report, planned, f"built {work.out}" if planned.plan.steps else "")
    return report.status


def _write(depfile: str | None, paths: tuple[str, str, str], done: str) -> None:
    """Write the rule for make after a build that succeeded."""
    if depfile:
        from pgtls.cli.depfile import write

        try:
            write(depfile, *paths)
        except OSError as error:
            raise UnwrittenError(error, depfile, done) from None


def _report(report: Report, planned: Planned, done: str) -> None:
    from pgtls.cli import steps

    report.diagnostics = planned.diagnostics
    report.result = lambda: steps.as_dict(planned.plan)
    report.text = lambda: "\n".join(filter(None, (steps.text(planned.plan, colour=coloured(sys.stdout)), done)))
