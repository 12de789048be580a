"""``pgtls build``."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from pgtls.cli import CHANGES, OK
from pgtls.cli.options import FORMAT, Asks, Verbose, Where, clock, expanded, in_review
from pgtls.cli.printing import UnwrittenError, as_json, emit, reporting
from pgtls.state.up_to_date import up_to_date

EXAMPLES = {
    "pgtls build": "Compile pgtls.toml into out/.",
    "pgtls build --renew user.alice": "Issue alice's certificate again.",
}


@expanded
def command(
    where: Where,
    asks: Asks,
    format_: Annotated[Literal["text", "json"], FORMAT] = "text",
    verbose: Verbose = False,
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
        from pgtls.store import is_store

        if is_store(paths[1]):
            raise typer.BadParameter("make cannot follow an out directory in a store", param_hint="--depfile")
        if reason := refuse(depfile, *paths):
            raise typer.BadParameter(f'"{depfile}": {reason}', param_hint="--depfile")
    special = only_check or asks.renew or asks.replace or asks.new_ca or asks.ca_key or asks.new_out
    if not special and up_to_date(*paths, "", f"{moment:%Y-%m-%dT%H:%M:%SZ}"):
        _write(depfile, paths, "nothing was to be done")
        emit(as_json("build", (), steps=[], summary={}, waves=[], notes=[]) if format_ == "json" else "nothing to do")
        return OK

    from pgtls.api import build, plan
    from pgtls.cli import planned
    from pgtls.cli.next_steps import next_steps
    from pgtls.cli.progress import bars
    from pgtls.diagnostics.text import visible

    with reporting("build", format_) as report:
        spec, out, wait = where.open(moment), paths[1], where.lock_timeout
        if only_check:
            found = plan(spec, out=out, asked=asks.asked, new_out=asks.new_out, review=in_review(), lock_timeout=wait)
            planned.fill(report, found, format_, verbose=verbose)
            report.status = CHANGES if found.steps else OK
        else:
            with bars() as progress:
                found = build(
                    spec,
                    out=out,
                    asked=asks.asked,
                    new_out=asks.new_out,
                    jobs=jobs or 0,
                    lock_timeout=wait,
                    progress=progress,
                )
            report.done = f"{out} is built"
            _write(depfile, paths, report.done)
            after = [f"built {out}", *(f"next: {step}" for step in next_steps(found, out, where.words))]
            after = [visible(line) for line in after]
            planned.fill(report, found, format_, verbose=verbose, after=after if found.steps else ())
    return report.status


def _write(depfile: str | None, paths: tuple[str, str, str], done: str) -> None:
    """Write the rule for make after a build that succeeded."""
    if depfile:
        from pgtls.cli.depfile import write

        try:
            write(depfile, *paths)
        except OSError as error:
            raise UnwrittenError(error, depfile, done) from None
