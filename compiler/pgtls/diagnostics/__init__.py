"""Problems of a spec, as values.

Stages collect diagnostics and hand them on; only the command line prints them. A diagnostic names its place by the path
in the TOML (``("policy", "app", "auth")``); :func:`pgtls.language.positions.locate` looks up lines and columns
afterwards, only if there is something to report.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

Severity = Literal["error", "warning"]
Path = tuple[str | int, ...]
"""A path in the TOML document: table names, keys, and indices of array elements, from 0."""


_LONG = 200
_LONG_VALUE = re.compile(r'"((?:[^"\\]|\\.){100,})"')
_LONGEST = 2000


def shortened(value: str) -> str:
    """Return a long value as a message shows it."""
    return value if len(value) < 100 else f"{value[:59]}…"


def _bounded(text: str) -> str:
    """Cut the values between quotes to what a reader can compare, and the whole to what a screen can show."""
    text = _LONG_VALUE.sub(lambda match: f'"{shortened(match[1])}"', text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a file. Lines and columns count from 1, columns in Unicode code points; the end is exclusive."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int
    text: str
    """The line itself, for the excerpt."""
    shown: bool = True
    """False where ``text`` is left out, because the file lies outside of the repository of the spec."""


class Accepted(NamedTuple):
    """What accepts a finding: ``policy.NAME`` (its waiver), ``lint.waiver`` or ``lint.ignore``; why, and until when."""

    by: str
    reason: str | None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One problem: what is wrong with the value that was found and, apart from it, a hint that can be acted on.

    ``message`` and ``hint`` are lower case without a full stop. ``at`` selects the part of the path: its value,
    its key, or the header of its table (for a missing key).
    """

    code: str
    message: str
    path: Path = ()
    hint: str | None = None
    at: Literal["value", "key", "table"] = "value"
    severity: Severity = "error"
    place: Place | None = None
    file: str | None = None
    """The file, by its name in the spec's source, where the path alone does not tell it."""
    accepted: Accepted | None = None
    """Set where a waiver accepts the finding. Such a finding neither counts as an error nor as a warning."""

    def __post_init__(self) -> None:
        """Cut long values in the message and the hint."""
        if len(self.message) > _LONG or len(self.hint or "") > _LONG:
            object.__setattr__(self, "message", _bounded(self.message))
            object.__setattr__(self, "hint", self.hint and _bounded(self.hint))


class Rejected(Exception):  # noqa: N818  (a refusal of the input, not an error of the program)
    """A stage cannot continue because of its input: bad spec, bad tree, bad lock, or an I/O failure."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__("; ".join(f"{d.code}: {d.message}" for d in diagnostics))
        self.diagnostics = diagnostics


def refuse(diagnostics: Sequence[Diagnostic]) -> None:
    """Raise :class:`Rejected` with all of the diagnostics if any of them is an error."""
    if errors(diagnostics):
        raise Rejected(*diagnostics)


def errors(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Return the diagnostics that stop a compilation."""
    return tuple(d for d in diagnostics if d.severity == "error" and d.accepted is None)


def installing(library: str) -> str:
    """Return how to install an optional library next to pgtls: by its own name, which is the same however that was."""
    return f"install it where pgtls is installed: pip install {library}, or pipx inject pgtls {library}"
