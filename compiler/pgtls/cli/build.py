"""``pgtls build``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from pgtls.cli import CHANGES, OK
from pgtls.cli.completion import paths
from pgtls.cli.options import asks, clock, lock_file, out_directory, output, places, spec
from pgtls.cli.printing import UnwrittenError, as_json, coloured, emit, reporting
from pgtls.state.up_to_date import up_to_date

if TYPE_CHECKING:
    from datetime import datetime

    from pgtls.cli.printing import Report
    from pgtls.pipeline import Planned


@click.command()
@spec
@places
@output("text", "json")
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit 2 if there is something to do.")
@asks
@click.option(
    "--depfile",
    metavar="FILE",
    help="Write for make, as a rule, which files this build depends on.",
    shell_complete=paths("file"),
)
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="How many cores to use.  [default: all]")
def command(
    spec: str,
    out: str | None,
    lock: str | None,
    now: datetime | None,
    lock_timeout: int,
    format_: str,
    only_check: bool,
    depfile: str | None,
    jobs: int | None,
    **asks: Any,
) -> int:
    """Compile the spec into the out directory."""
    moment = clock(now)
    where = spec, out_directory(spec, out), lock_file(spec, lock)
    if depfile:
        from pgtls.cli.depfile import refuse

        if reason := refuse(depfile, *where):
            raise click.BadParameter(f'"{depfile}": {reason}', param_hint="'--depfile'")
    special = only_check or asks["renew"] or asks["replace"] or asks["new_ca"] or asks["ca_key"]
    if not special and up_to_date(*where, "", f"{moment:%Y-%m-%dT%H:%M:%SZ}"):
        _write(depfile, where, "nothing was to be done")
        emit(as_json("build", (), steps=[], summary={}) if format_ == "json" else "nothing to do")
        return OK

    from pgtls.cli.progress import bars
    from pgtls.cli.request import request
    from pgtls.pipeline import build, plan

    with reporting("build", format_) as report:
        work = request(spec, out, lock, moment, lock_timeout, jobs=jobs or 0, **asks)
        if only_check:
            _report(report, planned := plan(work), "")
            report.status = CHANGES if planned.plan.steps else OK
        else:
            with bars() as progress:
                planned = build(work, progress)
            report.done = f"{work.out} is built"
            _write(depfile, where, report.done)
            _report(report, planned, f"built {work.out}" if planned.plan.steps else "")
    return report.status


def _write(depfile: str | None, where: tuple[str, str, str], done: str) -> None:
    """Write the rule for make after a build that succeeded."""
    if depfile:
        from pgtls.cli.depfile import write

        try:
            write(depfile, *where)
        except OSError as error:
            raise UnwrittenError(error, depfile, done) from None


def _report(report: Report, planned: Planned, done: str) -> None:
    from pgtls.cli import steps

    report.diagnostics = planned.diagnostics
    report.result = lambda: steps.as_dict(planned.plan)
    report.text = lambda: "\n".join(filter(None, (steps.text(planned.plan, colour=coloured(sys.stdout)), done)))
