"""Arguments and options that several commands share, with the variables that replace them.

A command takes a group of options as one value: :class:`Where` and :class:`Asks` are dataclasses.
:func:`expanded` gives typer their fields.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from datetime import UTC, datetime
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from pgtls.cli.completion import names
from pgtls.cli.printing import say
from pgtls.state.names import LOCK_TIMEOUT, lock_path, out_path

if TYPE_CHECKING:
    from pgtls.api import Spec
    from pgtls.certificates.asked import Asked


def read_now(text: str) -> datetime:
    """Read the value of ``--now``."""
    from pgtls.language.instant import read_instant

    try:
        return read_instant(text)
    except ValueError as wrong:
        raise typer.BadParameter(f'"{text}" {wrong}') from None


class NamedPath(NamedTuple):
    """``NAME=PATH``, taken apart."""

    name: str
    path: str


def read_named_path(text: str) -> NamedPath:
    """Read ``NAME=PATH``."""
    name, _, path = text.partition("=")
    if not (name and path):
        raise typer.BadParameter(f'"{text}" is not NAME=PATH')
    return NamedPath(name, path)


LONGEST_WAIT = 86_400
"""The most seconds that a command waits, a day: the clocks of a system count no more than some centuries."""

FORMAT = typer.Option("--format", help="How to print the result.")

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="List every step, and the files that it writes.")]

Now = Annotated[
    datetime | None,
    typer.Option(parser=read_now, metavar="INSTANT", envvar="PGTLS_NOW", help="Read the clock as this instant."),
]


def clock(instant: datetime | None) -> datetime:
    """Read the clock, the only place that does; announce one that is set."""
    if instant is None:
        return datetime.now(UTC)
    say(f"the clock is set to {instant:%Y-%m-%dT%H:%M:%SZ}")
    return instant


@dataclass(frozen=True, slots=True)
class Asks:
    """What a build may be asked for in addition to the spec."""

    renew: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ENTITY|all",
            help="Issue a certificate again, e.g. user.alice. May be repeated.",
            autocompletion=names("{kind}.{name}", "ca", "server", "pooler", "user", further=("all",)),
        ),
    ] = None
    replace: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ENTITY",
            help="Issue it again with a new key, whatever is there. May be repeated.",
            autocompletion=names("{kind}.{name}", "ca", "server", "pooler", "user"),
        ),
    ] = None
    new_ca: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Replace a CA whose key is lost. May be repeated.",
            autocompletion=names("{name}", "ca"),
        ),
    ] = None
    ca_key: Annotated[
        list[NamedPath] | None,
        typer.Option(
            parser=read_named_path,
            metavar="NAME=PATH",
            help='Lend this build the key of an offline CA, or its token with "token" as PATH. May be repeated.',
        ),
    ] = None
    allow_revoke: Annotated[
        bool, typer.Option("--allow-revoke", help="Revoke, or delete the keys of, more than three entities at once.")
    ] = False
    accept_outage: Annotated[
        bool,
        typer.Option(
            "--accept-outage",
            help="Proceed even if servers and clients reject each other until everything is deployed.",
        ),
    ] = False
    new_out: Annotated[
        bool,
        typer.Option("--new-out", help="Build although the out directory is absent, or has lost its memory."),
    ] = False

    @property
    def asked(self) -> "Asked":
        """Return what the API is asked for."""
        from pgtls.certificates.asked import Asked

        return Asked(
            frozenset(self.renew or ()),
            frozenset(self.replace or ()),
            frozenset(self.new_ca or ()),
            self.allow_revoke,
            self.accept_outage,
            tuple(self.ca_key or ()),
        )


_SPEC = "pgtls.toml"


@dataclass(frozen=True, slots=True)
class Where:
    """Where things are, and what time it is."""

    spec: Annotated[str, typer.Argument(metavar="SPEC", envvar="PGTLS_SPEC", help="The spec.")] = _SPEC
    out: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|URL",
            envvar="PGTLS_OUT",
            show_default="out next to the spec",
            help="The out directory, or s3://BUCKET/PREFIX.",
        ),
    ] = None
    lock: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", envvar="PGTLS_LOCK", show_default="SPEC with .lock for .toml", help="The lock file."
        ),
    ] = None
    now: Now = None
    lock_timeout: Annotated[
        int,
        typer.Option(metavar="SECONDS", min=0, max=LONGEST_WAIT, help="How long to wait for another build."),
    ] = LOCK_TIMEOUT

    @property
    def paths(self) -> tuple[str, str, str]:
        """Return the paths of spec, out directory and lock."""
        return self.spec, out_path(self.spec, self.out), lock_path(self.spec, self.lock)

    @property
    def words(self) -> list[str]:
        """Return the arguments of another command for the same spec: none for what is the default or in a variable."""
        spec = [] if self.spec in (_SPEC, os.environ.get("PGTLS_SPEC")) else [self.spec]
        options = (("--out", self.out, "PGTLS_OUT"), ("--lock", self.lock, "PGTLS_LOCK"))
        said = [(option, value) for option, value, name in options if value and value != os.environ.get(name)]
        return [*spec, *(word for pair in said for word in pair)]

    def open(self, moment: datetime) -> "Spec":
        """Open the spec."""
        from pgtls.api import load

        spec, _, lock = self.paths
        return load(spec, lock=lock, now=moment)


def in_review() -> bool:
    """Return whether this is a review in a checkout, where no out directory is expected: ``$CI`` says so."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


@dataclass(frozen=True, slots=True)
class Beside(Where):
    """The same for a command whose arguments are something else: the spec is an option."""

    spec: Annotated[str, typer.Option("--spec", metavar="SPEC", envvar="PGTLS_SPEC", help="The spec.")] = _SPEC


def expanded(command: Callable[..., int]) -> Callable[..., int]:
    """Return the command with each parameter that is a group of options replaced by the fields of the group."""
    parameters: list[Parameter] = []
    groups: dict[str, tuple[type, list[str]]] = {}
    for name, parameter in signature(command, eval_str=True).parameters.items():
        if isinstance(parameter.annotation, type) and is_dataclass(parameter.annotation):
            fields = signature(parameter.annotation, eval_str=True).parameters
            groups[name] = parameter.annotation, list(fields)
            parameters += fields.values()
        else:
            parameters.append(parameter)

    def called(**given: Any) -> int:
        made = {
            name: group(**{field: given.pop(field) for field in fields}) for name, (group, fields) in groups.items()
        }
        return command(**made, **given)

    called.__doc__, called.__name__ = command.__doc__, command.__name__
    called.__signature__ = Signature(  # type: ignore[attr-defined]
        [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in parameters]
    )
    return called
