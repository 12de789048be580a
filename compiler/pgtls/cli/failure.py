"""How a command ends that could not do its work: reported once, on stderr or as the one object of ``--format json``,
with the exit status.
"""  # noqa: D205

from __future__ import annotations

import sys
import traceback
from itertools import pairwise
from typing import TYPE_CHECKING

import typer

from pgtls.cli import COMMANDS, FAILED, INTERRUPTED, OK, USAGE
from pgtls.cli.printing import STDOUT, UnwrittenError, as_json, drop, emit, tell, tell_diagnostics, tell_wrapped
from pgtls.diagnostics import Diagnostic
from pgtls.diagnostics.text import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

_BUG = "this is a bug in pgtls, not in your spec"
_REPORT = "Please report it with the lines above and, if you can, a spec that shows it."


def fail(error: BaseException, words: Sequence[str]) -> int:
    """Report what ended the command line ``words``; return its exit status."""
    if isinstance(error, BrokenPipeError):
        drop(sys.stdout)
        return OK
    status, diagnostic = _judged(error, words)
    if isinstance(error, OSError) and error.filename == STDOUT:
        drop(sys.stdout)
        tell_diagnostics([diagnostic])
        return status
    if diagnostic.code == "PGT599":
        tell(f"{''.join(traceback.format_exception(error))}pgtls: {_BUG}. {_REPORT}")
    if _asks_for_json(words):
        emit(as_json(words[0] if words[0] in COMMANDS else None, [diagnostic]))
    elif isinstance(error, typer.TyperException):
        if words:
            tell_wrapped(_usage(error, diagnostic))
        else:
            tell(_help(error))
    elif isinstance(error, OSError):
        tell_diagnostics([diagnostic])
    return status


def _judged(error: BaseException, words: Sequence[str]) -> tuple[int, Diagnostic]:
    match error:
        case typer.TyperException():
            command = " ".join(("pgtls", *(word for word in words[:1] if word in COMMANDS)))
            from pgtls.cli.wrong_usage import wrong

            return USAGE, Diagnostic("PGT590", wrong(error, words), hint=f"{command} --help shows how to use it")
        case UnwrittenError():
            hint = f"{error.done} all the same" if error.done else None
            return FAILED, Diagnostic("PGT591", _reason(error), hint=hint, file=error.filename)
        case FileNotFoundError(filename=None):
            return FAILED, Diagnostic("PGT591", "the working directory is gone", hint="change into one that is there")
        case OSError():
            file = None if error.filename is None else str(error.filename)
            hint = "run pgtls as a user who may do that" if isinstance(error, PermissionError) else None
            return FAILED, Diagnostic("PGT591", _reason(error), hint=hint, file=file)
        case KeyboardInterrupt() | typer.Abort():
            return INTERRUPTED, Diagnostic("PGT592", "interrupted")
        case _:
            return FAILED, Diagnostic("PGT599", f"{_BUG}: {type(error).__name__}", hint="the traceback is on stderr")


def _usage(error: typer.TyperException, diagnostic: Diagnostic) -> str:
    """Write wrong usage as text: how the command is used, what is wrong, and where to read more."""
    context = _context(error)
    usage = f"{context.get_usage()}\n" if context else ""
    return f"{usage}Error: {visible(diagnostic.message)}\n  = hint: {diagnostic.hint}"


def _help(error: typer.TyperException) -> str:
    """Write the help, for a user who types the name of the program and nothing else."""
    context = _context(error)
    return context.get_help() if context else ""


def _context(error: typer.TyperException) -> typer.Context | None:
    """Return the context of wrong usage, which typer keeps in a class that it does not publish."""
    context: typer.Context | None = getattr(error, "ctx", None)
    return context


def _reason(error: OSError) -> str:
    return _lower(error.strerror or str(error))


def _lower(sentence: str) -> str:
    """Write a sentence of typer's, or of the operating system's, as diagnostics are."""
    return sentence[:1].lower() + sentence[1:].removesuffix(".")


def _asks_for_json(words: Sequence[str]) -> bool:
    """Whether ``--format json`` is among the words, whatever else is wrong with them; of several the last counts."""
    said = [value for option, value in pairwise(words) if option == "--format" or value.startswith("--format=")]
    return [value.removeprefix("--format=") for value in said][-1:] == ["json"]
