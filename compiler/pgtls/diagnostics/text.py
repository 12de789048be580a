"""Render diagnostics as text and as JSON."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pgtls.diagnostics.lines import cells, whole, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgtls.diagnostics import Diagnostic, Place

_EXCERPT = 100
"""How many characters of a line are shown at most."""
_TAB = 8
"""Columns that a tab may take."""
_STYLES = {"error": "1;31", "warning": "1;33", "message": "1", "gutter": "34"}


def render(diagnostics: Iterable[Diagnostic], *, colour: bool = False, width: int | None = None) -> str:
    """Write diagnostics as text: each with its place, an excerpt and its hint, and an empty line between them.

    ``width`` is that of the terminal, if there is one. What is not empty ends in a line end. Nothing
    that a spec holds reaches a terminal as a control character.
    """
    return "\n".join(_block(diagnostic, width, colour=colour) for diagnostic in diagnostics)


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
        by, reason, until = diagnostic.accepted
        ends = f"{until:%Y-%m-%dT%H:%M:%SZ}" if until else None
        members |= {"accepted_by": by, "reason": reason, "until": ends}
    return {key: _utf8(value) if isinstance(value, str) else value for key, value in members.items()}


def _utf8(text: str) -> str:
    """Replace bytes of a file name that are not text (PEP 383)."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def visible(text: str) -> str:
    """Escape characters that a terminal would interpret, that nobody can see, or that have no UTF-8."""
    if text.isprintable() and not _UNSEEN.search(text):
        return text
    return "".join(c if c.isprintable() and not _UNSEEN.match(c) else _escaped(c) for c in text)


_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U00016fe4\U0001d159"
    "\U000e0100-\U000e01ef]"
)
"""Letters, marks and symbols without a glyph: those of the default-ignorable code points, fillers and blank symbols.
``str.isprintable`` knows all others by their category: controls, format characters, blanks, code points that have no
character or a private one."""


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def inert(text: str, *, colour: bool = False) -> str:
    """Return lines as a terminal or the log of a CI job may get them.

    Only line ends, tabs and, with ``colour``, colours stay as they are, and no line is a command to a CI system.
    """
    parts = (_COLOURED if colour else _LINES).split(text)
    seen = "".join(part if index % 2 else visible(part) for index, part in enumerate(parts))
    return _AT_START.sub(r"\1\\x3a", COMMAND.sub(r"\\x23", seen))


_LINES = re.compile(r"([\n\t])")
_COLOURED = re.compile(r"(\x1b\[[0-9;]*m|[\n\t])")
COMMAND = re.compile(r"(?<=#)#(?=\w*\[)")
"""What makes a command of any part of a line, in a log that GitHub, Azure or TeamCity read: the second character of
``##[NAME]``, ``##vso[…]`` or ``##teamcity[…]``. The commands of GitLab and Travis need control characters."""
_AT_START = re.compile(r"^([ \t]*):(?=:[\w-]+(?: .*?)?::)", re.MULTILINE)
"""What makes a command of a whole line for GitHub: ``::NAME::``. An address such as ``::1`` stays as it is."""


def _paint(text: str, style: str, *, colour: bool) -> str:
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if colour else text


def _block(diagnostic: Diagnostic, width: int | None, *, colour: bool) -> str:
    place = diagnostic.place
    margin = " " * len(str(place.line)) if place else ""
    lines = _head(diagnostic, width, colour=colour)
    if place and place.shown:
        text, carets = _excerpt(place, None if width is None else width - len(margin) - len(" | "))
        gutters = (
            _paint(gutter, "gutter", colour=colour) for gutter in (f"{margin} |", f"{place.line} |", f"{margin} |")
        )
        pointed = _paint(carets.lstrip(), diagnostic.severity, colour=colour)
        carets = carets[: len(carets) - len(carets.lstrip())] + pointed
        lines += [f"{gutter} {line}".rstrip() for gutter, line in zip(gutters, ("", text, carets), strict=True)]
    if diagnostic.hint:
        first, *more = map(visible, diagnostic.hint.split("\n"))
        below = f"{margin}         "
        lines += wrapped(f"{margin} = hint: {first}", width, below)
        lines += [part for line in more for part in wrapped(f"{below}{line}".rstrip(), width, below)]
    return "".join(f"{line}\n" for line in lines)


def _head(diagnostic: Diagnostic, width: int | None, *, colour: bool) -> list[str]:
    """Write the place, the code and the message; a message that does not fit goes on below, indented."""
    place = diagnostic.place
    where = visible(f"{place.file}:{place.line}:{place.column}" if place else diagnostic.file or "pgtls")
    kind = f"{diagnostic.severity}[{diagnostic.code}]"
    first, *more = wrapped(f"{whole(f'{where}: {kind}:')} {visible(diagnostic.message)}", width, _INDENT)
    said = first.removeprefix(f"{where}: {kind}:").lstrip(" ")
    painted = f"{where}: {_paint(kind, diagnostic.severity, colour=colour)}:"
    shown = f"{painted} {_paint(said, 'message', colour=colour)}" if said else painted
    return [shown, *(_INDENT + _paint(line.removeprefix(_INDENT), "message", colour=colour) for line in more)]


_INDENT = " " * 4


def _excerpt(place: Place, room: int | None) -> tuple[str, str]:
    """Return the line and the carets below it. Carets never go beyond the line, and tabs are kept for alignment."""
    line = place.text
    start = min(place.column - 1, len(line))
    end = len(line) if place.end_line > place.line else min(place.end_column - 1, len(line))
    first, last = _window(line, start, end, room)
    shown = [_cell(character) for character in line[first:last]]
    before = "".join("\t" if cell == "\t" else " " * cells(cell) for cell in shown[: start - first])
    width = sum(map(cells, shown[start - first : max(end, start) - first]))
    left, right = "…" if first else "", "…" if last < len(line) else ""
    return f"{left}{''.join(shown)}{right}", f"{' ' * len(left)}{before}{'^' * max(1, width)}"


def _window(line: str, start: int, end: int, room: int | None) -> tuple[int, int]:
    """Choose the part of a long line that is shown: the value, or at least its start, with some context."""
    first, size = 0, len(line)
    while size > 1 and (size > _EXCERPT or (room is not None and _takes(line[first : first + size]) > room)):
        if size == len(line):
            room = None if room is None else room - len("……")
        size = min(size - 1, _EXCERPT)
        spare = max(size - (end - start), size // 4)
        first = max(0, min(start - spare // 2, len(line) - size))
    return first, min(len(line), first + size)


def _takes(text: str) -> int:
    """Count the columns of a part of a line."""
    return sum(_TAB if character == "\t" else cells(_cell(character)) for character in text)


def _cell(character: str) -> str:
    return character if character == "\t" else visible(character)
