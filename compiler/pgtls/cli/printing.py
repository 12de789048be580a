"""How results reach a person or a program: every format of a command is rendered from one value."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pgtls.diagnostics import Diagnostic

FORMAT_VERSION = 1


def coloured(stream: Any) -> bool:
    """Whether to use colour: only on a terminal, and without NO_COLOR (no-color.org)."""
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


STDOUT = "standard output"
_FOR_PEOPLE = ("text", "markdown")
"""The formats that programs do not read."""


class UnwrittenError(OSError):
    """The report of a command cannot be written. ``done`` says what it has done all the same."""

    def __init__(self, error: OSError, file: str, done: str) -> None:
        super().__init__(error.errno, error.strerror, file)
        self.done = done


def emit(text: str, done: str = "") -> None:
    """Print a result for a program, byte for byte; people get theirs by :func:`show`.

    Raise :class:`UnwrittenError` if that fails; ``done`` says what the command did all the same. A closed pipe is no
    failure: its reader has seen enough.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        drop(sys.stdout)
    except OSError as error:
        raise UnwrittenError(error, STDOUT, done) from None


def show(text: str, done: str = "") -> None:
    """Print a result for people. Nothing in it is a command to their terminal, or to a CI system that keeps a log."""
    from pgtls.diagnostics.text import inert

    emit(inert(text, colour=coloured(sys.stdout)), done)


def tell(text: str) -> None:
    """Print what is no result, likewise. If that fails, the command goes on."""
    from pgtls.diagnostics.text import inert

    try:
        print(inert(text, colour=coloured(sys.stderr)), file=sys.stderr, flush=True)
    except OSError:
        drop(sys.stderr)


def say(message: str) -> None:
    """Print a message of pgtls to stderr."""
    tell_wrapped(f"pgtls: {message}")


def tell_wrapped(text: str) -> None:
    """Print what is no result in lines that fit."""
    from pgtls.cli.table import columns
    from pgtls.diagnostics.lines import wrapped

    width = columns(sys.stderr)
    tell("\n".join(part for line in text.split("\n") for part in wrapped(line, width, " " * 4)))


def drop(stream: Any) -> None:
    """Let what is still buffered for a stream, and all that follows, vanish: Python must not complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Report:
    """What a command has to say: findings, and a result as text and as fields of the JSON object."""

    def __init__(self) -> None:
        self.diagnostics: tuple[Diagnostic, ...] = ()
        self.known: tuple[Diagnostic, ...] = ()
        """Those of them that text only counts, since the last build showed them."""
        self.waived: tuple[Diagnostic, ...] = ()
        """Findings that waivers accept."""
        self.result: Callable[[], dict[str, Any]] = dict
        """Called only if the result is asked for as JSON."""
        self.text: Callable[[], str] = str
        """Called only if it is not."""
        self.status = 0
        self.done = ""
        """What the command has done even if nothing of this can be printed."""


@contextmanager
def reporting(command: str, format_: str) -> Iterator[Report]:
    """Print what the body reports, in the format asked for; a body that is :class:`Rejected` has failed, with status 1.

    Diagnostics go to stderr; with JSON they are part of the one object, on failure too.
    """
    from pgtls.diagnostics import Rejected

    report = Report()
    try:
        yield report
    except Rejected as rejected:
        report.diagnostics, report.text, report.status = rejected.diagnostics, str, 1
    if format_ == "json":
        emit(as_json(command, report.diagnostics, report.waived, **report.result()), report.done)
        return
    tell_diagnostics(diagnostic for diagnostic in report.diagnostics if diagnostic not in report.known)
    if known := len(report.known):
        what, them = ("warning", "it") if known == 1 else ("warnings", "them")
        say(f"{known} {what} about the spec as at the last build; pgtls check shows {them}")
    from pgtls.cli import waivers

    text = report.text()
    if format_ == "markdown":
        text = "\n".join((text, *waivers.markdown(report.waived)))
    else:
        for line in waivers.text(report.waived):
            tell_wrapped(line)
    if text:
        (show if format_ in _FOR_PEOPLE else emit)(text, report.done)


def tell_diagnostics(diagnostics: Iterable[Diagnostic]) -> None:
    """Print diagnostics as text, where they are not the result."""
    if text := as_text(diagnostics, sys.stderr):
        tell(text)


def as_text(diagnostics: Iterable[Diagnostic], stream: Any) -> str:
    """Write diagnostics as text for a stream."""
    from pgtls.cli.table import columns
    from pgtls.diagnostics.text import render

    return render(tuple(diagnostics), colour=coloured(stream), width=columns(stream)).rstrip("\n")


def as_json(
    command: str | None, diagnostics: Iterable[Diagnostic], waived: Iterable[Diagnostic] = (), **result: Any
) -> str:
    """Write the one object of ``--format json``."""
    from pgtls.diagnostics.text import as_json as members

    found, accepted = [[members(diagnostic) for diagnostic in some] for some in (diagnostics, waived)]
    return document(
        {"format_version": FORMAT_VERSION, "command": command, "diagnostics": found, "waived": accepted, **result}
    )


def document(value: Any) -> str:
    """Write JSON: UTF-8 as it is, and only escapes where standard output speaks something else.

    In a log, it is no command to a CI system either.
    """
    from pgtls.diagnostics.text import COMMAND

    ascii_ = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    return COMMAND.sub(r"\\u0023", json.dumps(value, indent=2, ensure_ascii=ascii_))
