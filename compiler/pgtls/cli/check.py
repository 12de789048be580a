"""``pgtls check``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pgtls.cli import FAILED, OK
from pgtls.cli.options import clock, lock_file, output, places, spec
from pgtls.cli.printing import print_diagnostics, print_json, say
from pgtls.diagnostics import Rejected

if TYPE_CHECKING:
    from datetime import datetime


@click.command()
@spec
@places
@output("text", "json")
@click.option("--warnings-as-errors", is_flag=True, help="Exit 1 on warnings too.")
def command(
    spec: str,
    out: str | None,
    lock: str | None,
    now: datetime | None,
    lock_timeout: int,
    format_: str,
    warnings_as_errors: bool,
) -> int:
    """Parse, validate, lint and prove a spec; write nothing."""
    from pgtls.build.compile import check

    try:
        diagnostics = check(Path(spec), clock(now), lock_file(spec, lock)).diagnostics
    except Rejected as rejected:
        diagnostics = rejected.diagnostics
    # Diagnostics are this command's result: they go to stdout.
    if format_ == "json":
        print_json("check", diagnostics)
    elif diagnostics:
        print_diagnostics(diagnostics, sys.stdout)
    else:
        say(f"{spec}: no findings")
    failed = any(d.severity == "error" or warnings_as_errors for d in diagnostics)
    return FAILED if failed else OK
