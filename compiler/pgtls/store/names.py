"""What the user calls the files of a copy, for messages and answers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

from pgtls.diagnostics import shortened

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgtls.diagnostics import Diagnostic


class _Reports(Protocol):
    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]: ...


R = TypeVar("R", bound=_Reports)


@dataclass(frozen=True, slots=True)
class Names:
    """By path of a copy, the name that the user knows; none for a directory of this machine."""

    known: Mapping[str, str] = field(default_factory=dict)

    def text(self, text: str) -> str:
        """Return a text with the names that the user knows."""
        for path, name in self.known.items():
            text = text.replace(path, name).replace(shortened(path), name)
        return text

    def diagnostic(self, found: Diagnostic) -> Diagnostic:
        """Return a diagnostic with the names that the user knows."""
        message, hint, file = self.text(found.message), found.hint, found.file
        return replace(found, message=message, hint=hint and self.text(hint), file=file and self.text(file))

    def result(self, found: R) -> R:
        """Return the result of a command, a dataclass, with the names that the user knows in its diagnostics."""
        diagnostics = tuple(map(self.diagnostic, found.diagnostics))
        return replace(found, diagnostics=diagnostics)  # type: ignore[type-var]
