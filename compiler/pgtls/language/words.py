"""Words for messages: fields, values, and similar names."""

from __future__ import annotations

import json
from datetime import date, datetime, time
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pgtls.diagnostics import Path

_LONGEST = 60
_MANY = 1000


def quoted(text: str) -> str:
    """Quote a string for a message: control characters are escaped, and a long string is cut."""
    text = json.dumps(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…", ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")


SINGLE = ("lint", "state")
"""The keys at the top whose tables have no names: ``[lint]``, ``[state]``."""


def field_name(path: Path) -> str:
    """Name a field within its table: ``port``, ``subject.country``, ``item 2 of hosts``."""
    own = path[1:] if path and path[0] in SINGLE else path[2:]
    name = ""
    for piece in own or path:
        if isinstance(piece, int):
            name = f"item {piece + 1} of {name}"
        else:
            name = f"{name}.{piece}" if name and " " not in name else f"{piece} in {name}" if name else piece
    return name


def value_found(value: Any, *, secret: bool = False) -> str:
    """Describe a value with its TOML type; of a secret only the type."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array"
    kind = _type(value)
    if secret:
        return f"{'an' if kind == 'integer' else 'a'} {kind}"
    if isinstance(value, str):
        return f"the string {quoted(value)}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a larger integer" if value > 0 else "a smaller integer"
    return f"the {kind} {value}"


def did_you_mean(word: str, choices: Iterable[str]) -> str | None:
    """Return the choice that was probably meant.

    Among very many choices only those count that begin alike: the work stays linear in their number.
    """
    if len(word) > _LONGEST:
        return None
    lower = {choice.lower(): choice for choice in choices}
    likely = list(lower)
    if len(likely) > _MANY:
        start = word[:2].lower()
        likely = [choice for choice in likely if choice.startswith(start) and abs(len(choice) - len(word)) <= 2]
    if word.lower() in lower or len(likely) > _MANY:
        return lower.get(word.lower())
    close = get_close_matches(word.lower(), likely, n=1, cutoff=0.6)
    return lower[close[0]] if close else None


def suggestion(word: str, choices: Iterable[str]) -> str | None:
    """Return a hint that names the choice that was probably meant, if one is close."""
    close = did_you_mean(word, choices)
    return f'did you mean "{close}"?' if close else None


def listed(names: Iterable[str], most: int = 5) -> str:
    """Name things in a sentence, ``a, b and c``; of more than ``most`` the first: ``a, b and 7 more``."""
    found = list(names)
    if len(found) > most:
        return some(found, most)
    return " and ".join(filter(None, (", ".join(found[:-1]), *found[-1:])))


def some(names: Sequence[str], most: int) -> str:
    """Name things in a cell, ``a, b, c``; of more than ``most`` the first: ``a, b and 7 more``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _type(value: Any) -> str:
    types = {bool: "boolean", int: "integer", float: "float", str: "string", datetime: "date-time", date: "date"}
    return types.get(type(value), "time" if isinstance(value, time) else "value")
