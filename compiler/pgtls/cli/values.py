"""The values of arguments and options, read without pydantic.

typer imports pydantic (60 ms) to convert a value, even one that stays the string that it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable


def read_values(parameters: Iterable[Any]) -> None:
    """Let parameters of a command read their values here."""
    for parameter in parameters:
        parameter.get_runtime_param = lambda: _Reader


class _Reader:
    """What typer calls to convert a value."""

    @staticmethod
    def coerce(value: Any, param: Any, ctx: Any) -> Any:
        """Convert the value of a parameter. Raise BadParameter if it has no such value."""
        if param.multiple:
            return [_read(one, param, ctx) for one in value or ()]
        return None if value is None else _read(value, param, ctx)


def _read(value: Any, param: Any, ctx: Any) -> Any:
    described = param.type_descriptor
    kind, info, choices = described.annotation, described.parameter_info, described.choices
    try:
        if not isinstance(value, str):  # a default
            return value
        if info.parser:
            return info.parser(value)
        if kind is int:
            return _integer(value, info.min, info.max)
        if kind is bool:
            return _flag(value)
        return _choice(value, choices) if choices else value
    except typer.BadParameter as wrong:
        raise typer.BadParameter(wrong.message, ctx=ctx, param=param) from None


def _integer(text: str, least: float | None, most: float | None) -> int:
    try:
        number = int(text)
    except ValueError:
        raise typer.BadParameter(f'"{text}" is not a whole number') from None
    if (least is not None and number < least) or (most is not None and number > most):
        bounds = f"{least} to {most}" if most is not None else f"{least} or more"
        raise typer.BadParameter(f"{number} is out of range: it must be {bounds}")
    return number


def _flag(text: str) -> bool:
    """Read the variable of a flag."""
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("", "0", "false", "no", "off"):
        return False
    raise typer.BadParameter(f'"{text}" is neither 1 nor 0')


def _choice(text: str, choices: Iterable[Any]) -> str:
    from pgtls.language.words import did_you_mean, listed

    words = [str(choice) for choice in choices]
    if text in words:
        return text
    near = did_you_mean(text, words)
    raise typer.BadParameter(f'"{text}" is none of {listed(words)}' + (f"; did you mean {near}?" if near else ""))
