"""Every spec of docs/scenarios is one that a test puts on servers, and that the newest PostgreSQL will take, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.pgtls import SCENARIOS, for_postgres, pgtls

NAMES = sorted(path.parent.name for path in SCENARIOS.glob("*/pgtls.toml"))


@pytest.mark.parametrize("name", NAMES)
def test_a_scenario_is_a_test(name: str) -> None:
    assert Path(__file__).with_name(f"test_{name.replace('-', '_')}.py").exists()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("major", [17, 19])
def test_a_scenario_has_no_finding(name: str, major: int, tmp_path: Path) -> None:
    spec = tmp_path / "pgtls.toml"
    spec.write_text(for_postgres(SCENARIOS / name / "pgtls.toml", major), encoding="utf-8")
    run = pgtls("check", spec)
    found = [line for line in run.stdout.splitlines() if not line.startswith("waived[")]
    assert (run.status, found) == (0, [])
