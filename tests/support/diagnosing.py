"""What `pgtls check` says of a spec, and the folder of golden cases."""

from __future__ import annotations

import json
import os
from contextlib import chdir
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pgtls.diagnostics import Rejected
from pgtls.diagnostics.text import render
from pgtls.language.load import load
from pgtls.language.positions import locate
from pgtls.pipeline import check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.diagnostics import Diagnostic

NOW = datetime(2026, 1, 1, tzinfo=UTC)
"""When a case is checked, unless its args.json says another time."""

CASES = Path(__file__).parents[1] / "diagnostics" / "cases"
REWRITE = os.environ.get("PGTLS_TEST_GOLDEN") == "write"


@dataclass(frozen=True, slots=True)
class Case:
    """One golden case: a folder named ``CODE-slug`` with a spec that raises that code and nothing else.

    ``args.json`` may hold ``spec`` (the file's name, if it is not pgtls.toml) and ``now`` (RFC 3339).
    """

    directory: Path

    @property
    def code(self) -> str:
        return self.directory.name.partition("-")[0]

    @property
    def expected(self) -> Path:
        return self.directory / "expected.txt"

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Check the spec from within its folder, so that its name is all that messages say."""
        arguments = self.directory / "args.json"
        options = json.loads(arguments.read_text()) if arguments.exists() else {}
        now = datetime.fromisoformat(options["now"]) if "now" in options else NOW
        with chdir(self.directory):
            return diagnose(Path(options.get("spec", "pgtls.toml")), now)


def cases() -> Iterator[Case]:
    """Return every case, in the order of their names."""
    return (Case(directory) for directory in sorted(CASES.iterdir()) if directory.is_dir())


def diagnose(spec: Path, now: datetime = NOW) -> tuple[Diagnostic, ...]:
    """Return what `pgtls check` reports, with places."""
    try:
        return check(spec, now, spec.with_suffix(".lock")).diagnostics
    except Rejected as rejected:
        return rejected.diagnostics


def load_errors(spec: Path) -> str:
    """Return what loading alone reports, as text."""
    result = load(spec)
    return render(locate(result.diagnostics, result.source))
