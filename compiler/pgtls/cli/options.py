"""Arguments and options that several commands share, with the variables that stand in for them (DESIGN 7)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pgtls.cli.completion import names, paths
from pgtls.cli.printing import say

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

F = TypeVar("F", bound="Callable[..., Any]")


class Instant(click.ParamType):  # type: ignore[type-arg]
    """RFC 3339, or a date (00:00 UTC)."""

    name = "INSTANT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Parse; a wrong one is wrong usage."""
        from pgtls.language.instant import read_instant

        try:
            return read_instant(value)
        except ValueError as wrong:
            self.fail(f'"{value}" {wrong}', param, ctx)


class NamedPath(click.ParamType):  # type: ignore[type-arg]
    """``NAME=PATH``, taken apart."""

    name = "NAME=PATH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Parse; a wrong one is wrong usage."""
        name, _, path = value.partition("=")
        if not (name and path):
            self.fail(f'"{value}" is not NAME=PATH', param, ctx)
        return name, path


spec = click.argument(
    "spec",
    required=False,
    envvar="PGTLS_SPEC",
    default="pgtls.toml",
    metavar="[SPEC]",
    shell_complete=paths("file"),
)
_out = click.option(
    "--out",
    metavar="DIR",
    envvar="PGTLS_OUT",
    help="The out directory.  [default: out beside the spec; $PGTLS_OUT]",
    shell_complete=paths("dir"),
)
_lock = click.option(
    "--lock",
    metavar="PATH",
    envvar="PGTLS_LOCK",
    help="The lock file.  [default: SPEC with .lock; $PGTLS_LOCK]",
    shell_complete=paths("file"),
)
_now = click.option(
    "--now", type=Instant(), envvar="PGTLS_NOW", show_envvar=True, help="Read the clock as this instant."
)
_timeout = click.option(
    "--lock-timeout",
    type=click.IntRange(min=0),
    default=60,
    metavar="SECONDS",
    help="How long to wait for another build.  [default: 60]",
)


def places(command: F) -> F:
    """Give a command the options that say where things are and what time it is."""
    for option in (_timeout, _now, _lock, _out):
        command = option(command)
    return command


now = _now

_ENTITIES = ("ca", "server", "user")
_ASKS = (
    click.option(
        "--renew",
        multiple=True,
        metavar="ENTITY|all",
        help="Issue a certificate again, e.g. user.alice. May be repeated.",
        shell_complete=names("{kind}.{name}", *_ENTITIES, further=("all",)),
    ),
    click.option(
        "--replace",
        multiple=True,
        metavar="ENTITY",
        help="Issue it again with a new key, whatever is there. May be repeated.",
        shell_complete=names("{kind}.{name}", *_ENTITIES),
    ),
    click.option(
        "--new-ca",
        multiple=True,
        metavar="NAME",
        help="Start a CA anew whose key is lost. May be repeated.",
        shell_complete=names("{name}", "ca"),
    ),
    click.option(
        "--ca-key",
        multiple=True,
        type=NamedPath(),
        help="Lend this build the key of an offline CA. May be repeated.",
    ),
    click.option(
        "--allow-revoke", is_flag=True, help="Revoke, or delete the keys of, more than three entities at once."
    ),
    click.option(
        "--accept-outage",
        is_flag=True,
        help="Go on though servers or clients would refuse each other until all is deployed.",
    ),
    click.option("--new-out", is_flag=True, help="Build an out directory that is not there though the lock is."),
)


def asks(command: F) -> F:
    """Give a command what a build may be asked for beside the spec; it takes them as ``**asks``, for :func:`pgtls.cli.request.request`."""
    for option in reversed(_ASKS):
        command = option(command)
    return command


def output(*formats: str) -> Callable[[F], F]:
    """Give a command ``--format``, with text as the default."""
    return click.option(
        "--format",
        "format_",
        type=click.Choice(formats),
        default="text",
        show_default=True,
        help="How to print the result.",
    )


def out_directory(spec_path: str, out: str | None) -> str:
    """Give ``out`` beside the spec unless it was said."""
    return out or os.path.join(os.path.dirname(spec_path), "out")


def lock_file(spec_path: str, lock: str | None) -> str:
    """Give the spec's path with ``.lock`` for a final ``.toml`` unless it was said."""
    return lock or spec_path.removesuffix(".toml") + ".lock"


def clock(instant: datetime | None) -> datetime:
    """Read the clock, the only place that does; one that was set is announced."""
    from datetime import UTC, datetime

    if instant is None:
        return datetime.now(UTC)
    say(f"the clock is set to {instant:%Y-%m-%dT%H:%M:%SZ}")
    return instant
