"""The commands as one typer application. A command's module is imported only when the command is called."""

from __future__ import annotations

from importlib import import_module
from keyword import iskeyword
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from pgtls import __version__
from pgtls.cli import COMMANDS, DOCUMENTATION, EXIT_STATUS, OK
from pgtls.cli.usage import UsageError
from pgtls.cli.values import read_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAME = "pgtls"
_EXAMPLES = {
    "pgtls init db && cd db && pgtls build": "Start with a spec that works.",
    "pgtls plan": "See what a changed spec does before you build it.",
}


def execute(words: Sequence[str]) -> int:
    """Parse the words and call the command that they name; return its exit status."""
    try:
        with application().make_context(NAME, list(words)) as context:
            status = context.command.invoke(context)
    except typer.Exit as ended:  # after --help and --version
        return ended.exit_code
    return status if isinstance(status, int) else OK


def application() -> TyperGroup:
    """Return the group of all commands."""
    app = _app()
    app.callback(cls=_Group)(_pgtls)
    group = get_command(app)
    assert isinstance(group, TyperGroup)  # noqa: S101
    return group


def command(name: str) -> Command:
    """Import a command."""
    module = import_module(f"pgtls.cli.{name}_" if iskeyword(name) else f"pgtls.cli.{name}")
    app = _app()
    app.command(name, cls=Command)(module.command)
    found = get_command(app)
    assert isinstance(found, Command)  # noqa: S101
    found.examples = module.EXAMPLES
    return found


class _OwnValues:
    """Parameters that read their values without pydantic."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, with the help option."""
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        read_values(parameters)
        return parameters


class Command(_OwnValues, TyperCommand):
    """A command, and examples of its use with what each is for."""

    examples: Mapping[str, str]

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage line, a required argument without braces."""
        return [piece.translate({ord(brace): None for brace in "{}"}) for piece in super().collect_usage_pieces(ctx)]

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples and the exit statuses."""
        _write_epilog(self.examples, formatter)


class _Group(_OwnValues, TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:
        return command(cmd_name) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            from pgtls.cli.wrong_usage import unknown

            raise UsageError(unknown(args[0], args[1:]), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        # From the table, so that the top-level help imports no command.
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        _write_epilog(_EXAMPLES, formatter)
        with formatter.section("Documentation"):
            formatter.write_text(f"{DOCUMENTATION}; pgtls COMMAND --help; pgtls rule CODE")


def _write_epilog(examples: Mapping[str, str], formatter: Any) -> None:
    with formatter.section("Examples"):
        formatter.write_text("\n\n".join(f"\b\n{line}\n    {meaning}" for line, meaning in examples.items()))
    with formatter.section("Exit status, the same for every command"):
        formatter.write_dl([(str(status), meaning) for status, meaning in EXIT_STATUS.items()])


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"{NAME} {__version__}")
        raise typer.Exit


def _pgtls(
    *,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """TLS and access for PostgreSQL, compiled from one reviewed TOML spec."""


def _app() -> typer.Typer:
    return typer.Typer(
        add_completion=False,
        rich_markup_mode=None,  # markup costs 80 ms for each help page
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
