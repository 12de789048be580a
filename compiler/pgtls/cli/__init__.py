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

_EPILOG = """\b
Exit status, the same for every command:
  0    done
  1    error: a bad spec, I/O, a proof or a verification that failed
  2    only with --detailed-exitcode or build --check: there are changes, or something is due
  64   wrong usage, no command
  130  interrupted
"""

_COMMANDS = {
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
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        from importlib import import_module

        module = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        command: click.Command = import_module(f"{__name__}.{module}").command
        command.epilog = _EPILOG
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], _COMMANDS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"there is no command {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # From the table, so that the top-level help imports no command.
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


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
    status = run(args)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    # What a big build has made takes the interpreter 50 ms to free, and the kernel none.
    os._exit(status)


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line; give its exit status."""
    try:
        status = group.main(args=args, prog_name="pgtls", standalone_mode=False)
        sys.stdout.flush()
    except click.UsageError as error:
        error.show()
        return USAGE
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        return _io_failure(error)
    except Exception:  # noqa: BLE001  (the last resort: what gets here is a bug of pgtls, and is said to be one)
        return _own_fault()
    return status if isinstance(status, int) else OK


def _io_failure(error: OSError) -> int:
    where = f"{error.filename}: " if error.filename else ""
    print(f"pgtls: error: {where}{error.strerror or error}", file=sys.stderr)
    # What is still buffered for a full standard output cannot be written: not now and not at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED


def _own_fault() -> int:
    import traceback

    traceback.print_exc()
    print(
        "pgtls: this is a bug in pgtls, not in your spec. Please report it with the lines above and, if you can, "
        "a spec that shows it.",
        file=sys.stderr,
    )
    return FAILED
