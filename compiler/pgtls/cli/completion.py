"""What a shell offers after TAB, beside the commands and options that click knows. Imports next to nothing: it answers while somebody types."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from click import Context, Parameter
    from click.shell_completion import CompletionItem

    Completion = Callable[[Context, Parameter, str], list[CompletionItem]]


def paths(kind: str) -> Completion:
    """Leave it to the shell, which knows best: ``file`` or ``dir``."""

    def offer(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type=kind)]

    return offer


def names(form: str, *kinds: str, further: tuple[str, ...] = ()) -> Completion:
    """Offer the tables of these kinds, written as ``form`` says, and ``further`` words."""

    def offer(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        # An option that still lacks its value ends the parsing: the spec that was said before it is among what is left.
        spec = ctx.args[0] if ctx.args else ctx.params["spec"]
        offered = (form.format(kind=kind, name=name) for kind, name in _tables(spec) if kind in kinds)
        return [CompletionItem(word) for word in sorted({*offered, *further}) if word.startswith(incomplete)]

    return offer


def codes(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the codes of diagnostics, with their titles."""
    from click.shell_completion import CompletionItem

    from pgtls.diagnostics.rules import catalogue

    rules = catalogue().values()
    return [CompletionItem(rule.code, help=rule.title) for rule in rules if rule.code.startswith(incomplete.upper())]


def _tables(path: str) -> Iterator[tuple[str, str]]:
    """Give kind and name of every table of a spec, as far as it can be read: no fault of it matters here.

    What a shell does not take for one plain word is no name, and whoever accepts what is offered would run it.
    """
    import shlex

    top = _read(path)
    for part in (top, *(_read(included) for included in _included(path, top))):
        for kind, tables in part.items():
            for name in tables if isinstance(tables, dict) else ():
                if name == shlex.quote(name):
                    yield kind, name


def _included(path: str, top: dict[str, Any]) -> Iterator[str]:
    from glob import glob

    directory = os.path.dirname(path) or "."
    patterns = top.get("include")
    for pattern in patterns if isinstance(patterns, list) else ():
        if isinstance(pattern, str) and "\0" not in pattern:
            yield from (os.path.join(directory, name) for name in glob(pattern, root_dir=directory, recursive=True))


def _read(path: str) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
