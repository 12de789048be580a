"""The comments of foreign files that belong to a line: those directly above it, and the one at its end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pgtls.hba.parse import parse_hba

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pgtls.hba.model import IdentLine, Line

Key = tuple[str | None, int | None]
"""The file and the number of a line."""

_AT_END = re.compile(r'(?:[^"#]|"[^"]*+"?)*+#(.*)')
_TITLE = re.compile(r"type\s+database\b", re.IGNORECASE)
"""What initdb writes above the columns."""


def comments(lines: Iterable[Line | IdentLine], texts: Mapping[str, str], version: int) -> dict[Key, str]:
    """Return the comments of lines, each on one line. ``texts`` are those of the files, without secrets."""
    physical = {file: [line.rstrip("\r") for line in text.split("\n")] for file, text in texts.items()}
    found: dict[Key, str] = {}
    for line in lines:
        if line.file in physical and line.number:
            above = _above(physical[line.file], line.number - 1, version)
            at_end = _at_end(physical[line.file], line.number - 1, version)
            if comment := "; ".join(filter(None, (above.rstrip(":"), at_end))):
                found[line.file, line.number] = comment
    return found


def _above(lines: Sequence[str], index: int, version: int) -> str:
    """Return the paragraph directly above a line."""
    paragraph: list[str] = []
    while index and lines[index - 1].lstrip().startswith("#") and not (index > 1 and lines[index - 2].endswith("\\")):
        index -= 1
        text = lines[index].strip("# \t")
        if not any(map(str.isalnum, text)) or _TITLE.match(text) or parse_hba(text, version).lines:
            break
        paragraph.insert(0, text)
    return " ".join(" ".join(paragraph).split())


def _at_end(lines: Sequence[str], index: int, version: int) -> str:
    text = lines[index]
    while version >= 14 and text.endswith("\\") and index + 1 < len(lines):
        index += 1
        text = text[:-1] + lines[index]
    found = _AT_END.match(text)
    return " ".join(found[1].strip("# \t").split()) if found else ""
