"""Diagnostics as GitHub workflow commands, which a pull request shows next to the lines that they concern.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions
The escapes are those of its toolkit (``command.ts``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.diagnostics.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgtls.diagnostics import Diagnostic

_DATA = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_PROPERTY = _DATA | str.maketrans({":": "%3A", ",": "%2C"})


def commands(diagnostics: Iterable[Diagnostic], spec: str) -> str:
    """Write one command a line. What has no place of its own is shown at the top of the ``spec``."""
    return "\n".join(_command(diagnostic, spec) for diagnostic in diagnostics)


def _command(diagnostic: Diagnostic, spec: str) -> str:
    place = diagnostic.place
    properties = {"title": diagnostic.code, "file": place.file if place else diagnostic.file or spec}
    if place:
        properties |= {"line": str(place.line), "endLine": str(place.end_line)}
        if place.line == place.end_line:  # columns of different lines are refused
            properties |= {"col": str(place.column), "endColumn": str(place.end_column)}
    named = ",".join(f"{name}={visible(value).translate(_PROPERTY)}" for name, value in properties.items())
    text = "\n".join(map(visible, (diagnostic.message, *_hint(diagnostic))))
    kind = "notice" if diagnostic.accepted else diagnostic.severity
    return f"::{kind} {named}::{text.translate(_DATA)}"


def _hint(diagnostic: Diagnostic) -> list[str]:
    if accepted := diagnostic.accepted:
        return [f"accepted by {accepted.by}{f': {accepted.reason}' if accepted.reason else ''}"]
    return [f"hint: {line}" for line in (diagnostic.hint or "").split("\n") if line]
