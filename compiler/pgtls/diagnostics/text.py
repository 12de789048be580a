"""Render diagnostics as text and as JSON."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgtls.diagnostics import Diagnostic, Place

_WIDTH = 100
"""The number of columns of a line that are shown."""
_STYLES = {"error": "1;31", "warning": "1;33", "message": "1", "gutter": "34"}


def render(diagnostics: Iterable[Diagnostic], *, colour: bool = False) -> str:
    """Write diagnostics as text: each with its place, an excerpt and its hint, and an empty line between them.

    What is not empty ends in a line end. Nothing that a spec holds reaches a terminal as a control character.
    """
    return "\n".join(_block(diagnostic, colour=colour) for diagnostic in diagnostics)


def as_json(diagnostic: Diagnostic) -> dict[str, Any]:
    """Return the JSON members of a diagnostic. Unknown values are null, and all text is valid UTF-8."""
    place = diagnostic.place
    members = {
        "code": diagnostic.code,
        "severity": diagnostic.severity,
        "message": diagnostic.message,
        "hint": diagnostic.hint,
        "file": place.file if place else diagnostic.file,
        "line": place.line if place else None,
        "column": place.column if place else None,
        "end_line": place.end_line if place else None,
        "end_column": place.end_column if place else None,
        "path": list(diagnostic.path),
    }
    if diagnostic.accepted:
        members |= {"accepted_by": diagnostic.accepted.by, "reason": diagnostic.accepted.reason}
    return {key: _utf8(value) if isinstance(value, str) else value for key, value in members.items()}


def _utf8(text: str) -> str:
    """Replace bytes of a file name that are not text (PEP 383)."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def visible(text: str) -> str:
    """Escape characters that a terminal would interpret or that have no UTF-8."""
    return _UNPRINTABLE.sub(_escaped, text)


_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xa0\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _paint(text: str, style: str, *, colour: bool) -> str:
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if colour else text


def _block(diagnostic: Diagnostic, *, colour: bool) -> str:
    place = diagnostic.place
    where = f"{place.file}:{place.line}:{place.column}" if place else diagnostic.file or "pgtls"
    kind = _paint(f"{diagnostic.severity}[{diagnostic.code}]", diagnostic.severity, colour=colour)
    message = _paint(visible(diagnostic.message), "message", colour=colour)
    lines = [f"{visible(where)}: {kind}: {message}"]
    margin = " " * len(str(place.line)) if place else ""
    if place and place.shown:
        text, carets = _excerpt(place)
        gutters = (
            _paint(gutter, "gutter", colour=colour) for gutter in (f"{margin} |", f"{place.line} |", f"{margin} |")
        )
        pointed = _paint(carets.lstrip(), diagnostic.severity, colour=colour)
        carets = carets[: len(carets) - len(carets.lstrip())] + pointed
        lines += [f"{gutter} {line}".rstrip() for gutter, line in zip(gutters, ("", text, carets), strict=True)]
    if diagnostic.hint:
        first, *more = diagnostic.hint.split("\n")
        lines.append(f"{margin} = hint: {visible(first)}")
        lines += [f"{margin}         {visible(line)}".rstrip() for line in more]
    return "".join(f"{line}\n" for line in lines)


def _excerpt(place: Place) -> tuple[str, str]:
    """Return the line and the carets below it. Carets never go beyond the line, and tabs are kept for alignment."""
    line = place.text
    start = min(place.column - 1, len(line))
    end = len(line) if place.end_line > place.line else min(place.end_column - 1, len(line))
    first, last = _window(len(line), start, end)
    shown = [_cell(character) for character in line[first:last]]
    before = "".join("\t" if cell == "\t" else " " * _columns(cell) for cell in shown[: start - first])
    width = sum(map(_columns, shown[start - first : max(end, start) - first]))
    left, right = "…" if first else "", "…" if last < len(line) else ""
    return f"{left}{''.join(shown)}{right}", f"{' ' * len(left)}{before}{'^' * max(1, width)}"


def _window(length: int, start: int, end: int) -> tuple[int, int]:
    """Choose the part of a long line that is shown: the value, or at least its start, with some context."""
    if length <= _WIDTH:
        return 0, length
    spare = max(_WIDTH - (end - start), _WIDTH // 4)
    first = max(0, min(start - spare // 2, length - _WIDTH))
    return first, min(length, first + _WIDTH)


def _cell(character: str) -> str:
    return character if character == "\t" else visible(character)


def _columns(cell: str) -> int:
    """Count the terminal columns of a character as it is shown."""
    if len(cell) > 1:
        return len(cell)
    if unicodedata.combining(cell) or unicodedata.category(cell) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(cell) in ("W", "F") else 1
