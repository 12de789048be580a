"""Markdown for pull requests. One rule keeps a spec from making links, mentions, references and HTML on every git host:
a word that is more than letters is shown as code.
"""  # noqa: D205

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pgtls.diagnostics.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LETTERS = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_WORD = re.compile(r"(\(?)(.*?)([).,;:]*)")


def text(plain: str) -> str:
    """Write a text of any origin, on one line, so that it is shown as it is."""
    return " ".join(map(_word, visible(plain).split(" ")))


def code(plain: str) -> str:
    """Write a text as code: the only thing in which hosts look for neither links nor mentions."""
    plain = visible(plain)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", plain)), default=0))
    pad = " " * (plain.startswith("`") or plain.endswith("`"))
    return f"{fence}{pad}{plain}{pad}{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table, of cells that are Markdown already."""
    return [_row(head), "|" + "---|" * len(head), *map(_row, rows)]


def _word(word: str) -> str:
    match = _WORD.fullmatch(word)
    before, inner, after = match.groups() if match else ("", word, "")
    if not inner:
        return code(word) if word else ""
    return f"{before}{inner if _LETTERS.fullmatch(inner) else code(inner)}{after}"


def _row(cells: Sequence[str]) -> str:
    """Escape bars, which end a cell even in code."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
