"""How results reach a person or a program: every format of a command is rendered from one value."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pgtls.diagnostics import Rejected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pgtls.diagnostics import Diagnostic

FORMAT_VERSION = 1


def coloured(stream: Any) -> bool:
    """Whether to use colour: only on a terminal, and without NO_COLOR (no-color.org)."""
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def say(message: str) -> None:
    """Tell something that is no result."""
    print(f"pgtls: {message}", file=sys.stderr)


class Report:
    """What a command has to say: findings, and a result as text and as fields of the JSON object."""

    def __init__(self) -> None:
        self.diagnostics: tuple[Diagnostic, ...] = ()
        self.result: Callable[[], dict[str, Any]] = dict
        """Called only if the result is asked for as JSON."""
        self.text: Callable[[], str] = str
        """Called only if it is not."""
        self.status = 0


@contextmanager
def reporting(command: str, format_: str) -> Iterator[Report]:
    """Print what the body reports, in the format asked for; a body that is :class:`Rejected` has failed, with status 1.

    Diagnostics go to stderr; with JSON they are part of the one object, on failure too.
    """
    report = Report()
    try:
        yield report
    except Rejected as rejected:
        report.diagnostics, report.text, report.status = rejected.diagnostics, str, 1
    if format_ == "json":
        print_json(command, report.diagnostics, **report.result())
        return
    print_diagnostics(report.diagnostics, sys.stderr)
    if text := report.text():
        print(text)


def print_diagnostics(diagnostics: Iterable[Diagnostic], stream: Any) -> None:
    """Print diagnostics as text."""
    from pgtls.diagnostics.text import render

    text = render(tuple(diagnostics), colour=coloured(stream))
    if text:
        print(text.rstrip("\n"), file=stream)


def print_json(command: str, diagnostics: Iterable[Diagnostic], **result: Any) -> None:
    """Print the one object of ``--format json``."""
    from pgtls.diagnostics.text import as_json

    found = [as_json(diagnostic) for diagnostic in diagnostics]
    document = {"format_version": FORMAT_VERSION, "command": command, "diagnostics": found, **result}
    print(json.dumps(document, indent=2, ensure_ascii=False))
