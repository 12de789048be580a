"""``pgtls build``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from pgtls.build.uptodate import up_to_date
from pgtls.cli import CHANGES, OK
from pgtls.cli.options import clock, lock_file, out_directory, output, places, spec

if TYPE_CHECKING:
    from datetime import datetime

    from pgtls.build.compile import Planned
    from pgtls.cli.printing import Report


@click.command()
@spec
@places
@output("text", "json")
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit 2 if there is something to do.")
@click.option(
    "--renew", multiple=True, metavar="ENTITY|all", help="Issue a certificate again, e.g. user.alice. May be repeated."
)
@click.option(
    "--replace",
    multiple=True,
    metavar="ENTITY",
    help="Issue it again with a new key, whatever is there. May be repeated.",
)
@click.option("--new-ca", multiple=True, metavar="NAME", help="Start a CA anew whose key is lost. May be repeated.")
@click.option(
    "--ca-key", multiple=True, metavar="NAME=PATH", help="Lend this build the key of an offline CA. May be repeated."
)
@click.option("--allow-revoke", is_flag=True, help="Let the build revoke the certificates of more than three entities.")
@click.option(
    "--accept-outage",
    is_flag=True,
    help="Go on though servers or clients would refuse each other until all is deployed.",
)
@click.option("--new-out", is_flag=True, help="Build an out directory that is not there though the lock is.")
@click.option("--depfile", metavar="FILE", help="Write for make, as a rule, which files this build depends on.")
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="How many cores to use.  [default: all]")
def command(
    spec: str,
    out: str | None,
    lock: str | None,
    now: datetime | None,
    lock_timeout: int,
    format_: str,
    only_check: bool,
    renew: tuple[str, ...],
    replace: tuple[str, ...],
    new_ca: tuple[str, ...],
    ca_key: tuple[str, ...],
    allow_revoke: bool,
    accept_outage: bool,
    new_out: bool,
    depfile: str | None,
    jobs: int | None,
) -> int:
    """Compile the spec into the out directory."""
    moment = clock(now)
    where = spec, out_directory(spec, out), lock_file(spec, lock)
    if depfile:
        from pgtls.cli.depfile import refuse

        if reason := refuse(depfile, *where):
            raise click.BadParameter(f'"{depfile}": {reason}', param_hint="'--depfile'")
    special = renew or replace or new_ca or ca_key or only_check
    if not special and up_to_date(*where, "", f"{moment:%Y-%m-%dT%H:%M:%SZ}"):
        if format_ == "json":
            from pgtls.cli.printing import print_json

            print_json("build", (), steps=[], summary={})
        else:
            print("nothing to do")
        return _finish(OK, depfile, where)

    from pgtls.build.compile import build, plan
    from pgtls.build.decide import Asked
    from pgtls.cli.printing import reporting
    from pgtls.cli.progress import bars
    from pgtls.cli.request import request

    with reporting("build", format_) as report:
        asked = Asked(
            frozenset(renew), frozenset(replace), frozenset(new_ca), allow_revoke, accept_outage, _lent(ca_key)
        )
        work = request(spec, out, lock, moment, lock_timeout, asked=asked, new_out=new_out, jobs=jobs)
        if only_check:
            _report(report, planned := plan(work), "")
            report.status = CHANGES if planned.plan.steps else OK
        else:
            with bars() as progress:
                planned = build(work, progress)
            _report(report, planned, f"built {work.out}")
    return _finish(report.status, None if only_check else depfile, where)


def _lent(ca_key: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Take ``NAME=PATH`` apart."""
    for text in ca_key:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise click.BadParameter(f'"{text}" is not NAME=PATH', param_hint="'--ca-key'")
    return tuple((text.partition("=")[0], text.partition("=")[2]) for text in ca_key)


def _finish(status: int, depfile: str | None, where: tuple[str, str, str]) -> int:
    """Write the rule for make after a build that succeeded."""
    if depfile and status == OK:
        from pgtls.cli.depfile import write

        write(depfile, *where)
    return status


def _report(report: Report, planned: Planned, done: str) -> None:
    from pgtls.cli import steps
    from pgtls.cli.printing import coloured

    report.diagnostics = planned.diagnostics
    report.result = lambda: steps.as_dict(planned.plan)
    report.text = lambda: "\n".join(filter(None, (steps.text(planned.plan, colour=coloured(sys.stdout)), done)))
