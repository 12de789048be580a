"""The specs of the examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.pgtls import ROOT, pgtls

if TYPE_CHECKING:
    from pathlib import Path

SPECS = sorted(path for path in (ROOT / "examples").rglob("*.toml") if "version = 1" in path.read_text().splitlines())


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_an_example_has_no_findings_not_even_warnings(spec: Path) -> None:
    run = pgtls("check", "--warnings-as-errors", spec)
    assert (run.status, run.stdout) == (0, "")
