"""What an import reports about lines of the foreign files, each with its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pgtls.diagnostics import Diagnostic
from pgtls.importer.foreign import line_place

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pgtls.diagnostics import Severity
    from pgtls.hba.model import Line


@dataclass(frozen=True, slots=True)
class Findings:
    """Diagnostics, in the order in which they were found. ``texts`` are those of the foreign files, without secrets."""

    texts: Mapping[str, str]
    found: list[Diagnostic] = field(default_factory=list)

    def about(self, code: str, line: Line, message: str, hint: str | None, severity: Severity = "warning") -> None:
        """Report something about a line."""
        place = line_place(self.texts, line.file, line.number)
        self.found.append(Diagnostic(code, message, hint=hint, severity=severity, place=place, file=line.file))

    def add(self, diagnostics: Iterable[Diagnostic]) -> None:
        """Report what another module found."""
        self.found.extend(diagnostics)

    def note(self, message: str, hint: str | None = None) -> None:
        """Report something that no line says."""
        self.found.append(Diagnostic("PGT299", message, hint=hint, severity="warning"))

    def left_out(self, code: str, line: Line, why: str) -> None:
        """Report a line that the spec does not have."""
        if code == "PGT298":
            self.about(code, line, f"the line never decides, and is left out: {why}", "delete it")
        else:
            self.about(code, line, f"the line is left out: {why}", "write a policy for what the line should do")
