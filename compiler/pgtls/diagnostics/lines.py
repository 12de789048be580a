"""Lines that fit a terminal: they are broken at blanks alone, so that no name and no address is cut.

A width of None is no limit.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

STANDING = "\0"
"""Replaces a blank at which a line must not be broken; no text of a spec holds one."""


def whole(text: str) -> str:
    """Return the text as one word."""
    return text.replace(" ", STANDING)


def wrapped(text: str, width: int | None, indent: str = "") -> list[str]:
    """Break a text at blanks; later lines begin with ``indent``.

    A word that is too long is a list, of which each line takes some, or has a line of its own.
    """
    margin = text[: len(text) - len(text.lstrip(" "))]
    (_, first), *words = _words(text[len(margin) :], width and width - cells(indent))
    lines, line = [], margin + first
    for gap, word in words:
        if line.strip() and width is not None and cells(line) + len(gap) + cells(word) > width:
            lines.append(line)
            line = indent + word
        else:
            line = f"{line}{gap}{word}"
    return [found.replace(STANDING, " ").rstrip() for found in (*lines, line)]


def _words(text: str, room: int | None) -> Iterator[tuple[str, str]]:
    """Yield the words of a text, each with what separates it from the one before."""
    for word in text.split(" "):
        first, *more = [word] if room is None or cells(word) <= room else _AFTER_COMMA.split(word)
        yield " ", first
        yield from (("", part) for part in more)


_AFTER_COMMA = re.compile(r"(?<=,)")


def labelled(label: str, text: str, width: int | None) -> list[str]:
    """Break a text that begins after a label; later lines begin below the text."""
    return wrapped(whole(label) + text, width, " " * cells(label))


def cells(text: str) -> int:
    """Count the columns that a text takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_cell, text))


def _cell(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
