"""The command line: parse, call, print, exit. The only part that imports click or rich, or prints."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from keyword import iskeyword
from typing import TYPE_CHECKING, NoReturn

import click

from pgtls import __version__

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
_EPILOG = "\b\nExit status, the same for every command:\n" + "".join(
    f"  {status:<5}{meaning}\n" for status, meaning in EXIT_STATUS.items()
)

COMMANDS = {
    "init": "Write an annotated pgtls.toml that builds as it is.",
    "check": "Parse, validate, lint and prove a spec; write nothing.",
    "plan": "Show what build would do, why, and what it costs.",
    "build": "Compile the spec into the out directory.",
    "status": "Show every certificate and CRL with its state, days left, and what to do.",
    "terraform": "Answer Terraform's external data source: JSON on stdin and stdout; reads only.",
    "access": "Show who may connect from where to what, and how.",
    "explain": "Explain one connection: admitted or refused, by which line, and why.",
    "diff": "Show what changes for people between two specs or two git revisions.",
    "import": "Make a spec of an existing server's files.",
    "schema": "Print the JSON Schema of the spec.",
    "rule": "Explain a diagnostic: what it means, why it matters, how to fix it.",
}
"""Every command with its line of help. Each lives in the module of its name, which is imported only when it is called (``import_`` for a word that Python keeps)."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        from importlib import import_module

        module = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        command: click.Command = import_module(f"{__name__}.{module}").command
        command.epilog = _EPILOG
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"there is no command {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # From the table, so that the top-level help imports no command.
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_Commands, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="pgtls", message="%(prog)s %(version)s")
def group() -> None:
    """TLS and access for PostgreSQL, compiled from one reviewed TOML spec."""


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit; the console script's entry point."""
    # A command lives for a moment and makes next to no cycles: collecting them would be a tenth of a big build.
    gc.disable()
    # Plugins of whatever else is installed have no say in what a spec means, and looking for them takes 20 ms.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    _take_streams()
    status = run(args)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    # What a big build has made takes the interpreter 50 ms to free, and the kernel none.
    os._exit(status)


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line; give its exit status."""
    words = sys.argv[1:] if args is None else list(args)
    try:
        status = group.main(args=words, prog_name="pgtls", standalone_mode=False)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (the last resort: what is known is said, the rest is a bug of pgtls)
        from pgtls.cli.failure import fail

        return fail(error, words)
    return status if isinstance(status, int) else OK


def _take_streams() -> None:
    """See that there are three streams, each of which can say every name: the place of a closed one would be taken by the first file that is opened."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # What is written to a closed standard output fails, as it does elsewhere; of a closed standard error nobody can be told.
            os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
