"""Tables that keep to a width, and how wide a terminal is.

A width of None is no limit: what goes into a file or a pipe is not broken, unless ``COLUMNS`` says how wide it may be.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from pgtls.diagnostics.lines import STANDING, cells, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_GAP = 2
"""Blanks between two columns."""
_USUAL = 80
"""Columns of a terminal that does not say how many it has."""


class Row(NamedTuple):
    """The cells of a row, how its first cell is coloured (SGR), and a text below all of them."""

    cells: tuple[str, ...]
    style: str = ""
    below: str = ""


def columns(stream: Any) -> int | None:
    """Return how many columns a stream has: ``COLUMNS``, those of the terminal, or None."""
    said = os.environ.get("COLUMNS", "")
    if said.isascii() and said.isdigit() and int(said) > 0:
        return int(said)
    if not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL
    except (OSError, ValueError):
        return _USUAL


def table(rows: Iterable[Row], width: int | None, *, indent: str = "") -> Iterator[str]:
    """Align the cells of rows in columns, or put them below each other if the longest words do not fit."""
    rows = list(rows)
    if not rows:
        return
    columns_ = list(zip(*(row.cells for row in rows), strict=True))
    natural = [max(map(cells, column)) for column in columns_]
    least = [max(cells(word) for cell in column for word in cell.split(" ")) for column in columns_]
    room = None if width is None else width - cells(indent) - _GAP * (len(columns_) - 1)
    widths = natural if room is None else _shrunk(natural, least, room)
    for row in rows:
        if room is not None and sum(widths) > room:
            yield from _stacked(row, width, indent)
        else:
            yield from _aligned(row, widths, indent)
        if row.below:
            yield from _indented(row.below, width, indent)


def fits(rows: Sequence[Row], width: int | None) -> bool:
    """Return whether the longest words of all columns fit next to each other."""
    least = [
        max(cells(word) for cell in column for word in cell.split(" "))
        for column in zip(*(row.cells for row in rows), strict=True)
    ]
    return width is None or sum(least) + _GAP * (len(least) - 1) <= width


def _shrunk(natural: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Take columns away from the widest column that has some to spare, until all fit."""
    widths = list(natural)
    while (over := sum(widths) - room) > 0:
        spare = [index for index in range(len(widths)) if widths[index] > least[index]]
        if not spare:
            break
        widest = max(spare, key=widths.__getitem__)
        others = [widths[index] for index in spare if index != widest]
        enough = max(least[widest], max(others, default=0) - 1, widths[widest] - over)
        widths[widest] = min(enough, widths[widest] - 1)
    return widths


def _aligned(row: Row, widths: Sequence[int], indent: str) -> Iterator[str]:
    broken = [wrapped(cell, width) for cell, width in zip(row.cells, widths, strict=True)]
    for number in range(max(map(len, broken))):
        parts = [lines[number] if number < len(lines) else "" for lines in broken]
        line = (" " * _GAP).join(part + " " * (width - cells(part)) for part, width in zip(parts, widths, strict=True))
        yield indent + _painted(line, parts[0], row.style).rstrip()


def _stacked(row: Row, width: int | None, indent: str) -> Iterator[str]:
    first, *others = [cell for cell in row.cells if cell] or [""]
    yield indent + _painted(first.replace(STANDING, " "), first, row.style)
    for cell in others:
        yield from _indented(cell, width, indent)


def _indented(text: str, width: int | None, indent: str) -> Iterator[str]:
    inner = indent + " " * 2 * _GAP
    return (inner + line for line in wrapped(text, None if width is None else width - len(inner)))


def _painted(line: str, first: str, style: str) -> str:
    return f"\x1b[{style}m{first}\x1b[0m{line[len(first) :]}" if style and first else line
