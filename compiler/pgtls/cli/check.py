"""``pgtls check``."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pgtls.cli import FAILED, OK
from pgtls.cli.options import FORMAT, Where, clock, expanded
from pgtls.cli.printing import as_json, as_text, document, emit, say, show
from pgtls.cli.table import columns
from pgtls.diagnostics import Rejected
from pgtls.diagnostics.lines import wrapped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pgtls.diagnostics import Diagnostic


EXAMPLES = {
    "pgtls check": "Check pgtls.toml.",
    "pgtls check --format github --warnings-as-errors": "Annotate a pull request on GitHub, and fail on warnings.",
}


@expanded
def command(
    where: Where,
    format_: Annotated[Literal["text", "json", "github", "sarif"], FORMAT] = "text",
    warnings_as_errors: Annotated[bool, typer.Option("--warnings-as-errors", help="Exit 1 on warnings too.")] = False,
) -> int:
    """Parse, validate, lint and prove a spec; write nothing."""
    from pgtls.api import check

    try:
        checked = check(where.open(clock(where.now)))
        diagnostics, waived = checked.diagnostics, checked.waived
    except Rejected as rejected:
        diagnostics, waived = rejected.diagnostics, ()
    _print(diagnostics, waived, where.spec, format_)
    failed = any(d.severity == "error" or warnings_as_errors for d in diagnostics)
    return FAILED if failed else OK


def _print(diagnostics: tuple[Diagnostic, ...], waived: tuple[Diagnostic, ...], spec: str, format_: str) -> None:
    """Print to stdout: diagnostics are this command's result, with those that waivers accept."""
    if format_ == "json":
        emit(as_json("check", diagnostics, waived))
    elif format_ == "sarif":
        from pgtls.exports.sarif import log

        emit(document(log(_in_repository((*diagnostics, *waived)), _from_root(spec))))
    elif format_ == "github":
        from pgtls.exports.github import commands

        if text := commands(_in_repository((*diagnostics, *waived)), _from_root(spec)):
            emit(text)
    else:
        from pgtls.cli import waivers

        if not diagnostics:
            say(f"{spec}: no findings")
        accepted = (line for said in waivers.text(waived) for line in wrapped(said, columns(sys.stdout), " " * 4))
        if found := "\n".join((*filter(None, (as_text(diagnostics, sys.stdout),)), *accepted)):
            show(found)


def _in_repository(diagnostics: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """Name files as the repository does, whatever directory of it pgtls runs in."""
    for diagnostic in diagnostics:
        place = diagnostic.place and replace(diagnostic.place, file=_from_root(diagnostic.place.file))
        yield replace(diagnostic, place=place, file=diagnostic.file and _from_root(diagnostic.file))


def _from_root(file: str) -> str:
    """Name a file relative to the root of the checkout where GitHub says what that is, otherwise as it was named."""
    root = os.environ.get("GITHUB_WORKSPACE")
    return os.path.relpath(os.path.realpath(file), os.path.realpath(root)) if root else file
