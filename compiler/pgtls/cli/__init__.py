"""The command line: parse, call, print, exit. The only part that imports typer, or prints.

This module imports neither: the commands and their exit statuses, and what runs them.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

OK, FAILED, CHANGES, USAGE, INTERRUPTED = 0, 1, 2, 64, 130

EXIT_STATUS = {
    OK: "done",
    FAILED: "error: a bad spec, I/O, a proof or a verification that failed",
    CHANGES: "only with --detailed-exitcode or build --check: there are changes, or something is due",
    USAGE: "wrong usage, no command",
    INTERRUPTED: "interrupted",
}

DOCUMENTATION = "docs/ in the repository of pgtls: language.md for the spec, guides/ for tasks, faq.md for questions"
"""Where a user reads on."""

COMMANDS = {
    "init": "Write an annotated pgtls.toml that builds as it is.",
    "check": "Parse, validate, lint and prove a spec; write nothing.",
    "plan": "Show what build would do, why, and what it costs.",
    "build": "Compile the spec into the out directory.",
    "try": "Try a spec on a throwaway PostgreSQL: every bundle, and every refusal.",
    "confirm": "Record that what the last build made of servers and bundles is deployed.",
    "status": "Show every certificate and CRL with its state, days left, and what to do.",
    "export": "Write what was built for Patroni, Kubernetes, CloudNativePG or Compose.",
    "fetch": "Write the files of servers and users from a store, on the machine that needs them.",
    "terraform": "Answer Terraform's external data source: JSON on stdin and stdout; reads only.",
    "access": "Show who may connect from where to what, and how.",
    "explain": "Explain one connection: admitted or refused, by which line, and why.",
    "diff": "Show what changes for people between two specs or two git revisions.",
    "verify": "Compare a running server with the spec, on the wire and without a password.",
    "import": "Make a spec of an existing server's files.",
    "schema": "Print the JSON Schema of the spec.",
    "rule": "Explain a diagnostic: what it means, why it matters, how to fix it.",
}
"""Every command with its line of help. Each is the function ``command`` in the module of its name
(``import_`` for a word that Python keeps), which is imported only when the command is called."""


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    # A command lives for a moment and makes next to no cycles: collecting them would be a tenth of a big build.
    gc.disable()
    # Plugins of other packages have no say in what a spec means, and looking for them takes 20 ms.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    _take_streams()
    status = run(args)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    # What a big build has made takes the interpreter 50 ms to free, and the kernel none.
    os._exit(status)


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    words = sys.argv[1:] if args is None else list(args)
    try:
        if instruction := os.environ.get("_PGTLS_COMPLETE"):
            from pgtls.cli.completion import answer
            from pgtls.cli.printing import emit

            emit(answer(instruction))
            status = OK
        else:
            from pgtls.cli.app import execute

            status = execute(words)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (the last resort: the rest is a bug of pgtls)
        from pgtls.cli.failure import fail

        return fail(error, words)
    return status


def _take_streams() -> None:
    """Open the standard streams that are closed, and let each print every name.

    The first file that is opened would take the place of a closed one.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # Writing to a closed standard output fails, as it does elsewhere; a closed standard error reports nothing.
            os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
