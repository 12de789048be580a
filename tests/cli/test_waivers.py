"""What waivers accept is in every format of every report, with what accepts it and why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pgtls.cli import run
from support.building import SMALL

if TYPE_CHECKING:
    from pathlib import Path

SPEC = SMALL + (
    '[user.agent]\n[policy.agent]\nusers = ["agent"]\ndatabases = ["logs"]\nfrom = ["127.0.0.1"]\n'
    'auth = "scram-sha-256"\n'
    'sslmode = "prefer"\nwaiver = { reason = "a local agent", codes = ["PGT310"], until = 2030-01-01 }\n'
    '[lint]\nignore = ["PGT121"]\n[user.idle]\n'
)
REPORTS = {
    "check": ("text", "json", "github", "sarif"),
    "plan": ("text", "json", "markdown"),
    "access": ("text", "json", "markdown"),
    "status": ("text", "json", "prometheus"),
    "diff": ("text", "json", "markdown"),
}


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PGTLS_NOW", "2026-01-01")
    path = tmp_path / "pgtls.toml"
    path.write_text(SPEC)
    return path


@pytest.mark.parametrize(
    ("command", "format_"), [(command, one) for command, formats in REPORTS.items() for one in formats]
)
def test_a_report_shows_what_is_waived(
    spec: Path, capsys: pytest.CaptureFixture[str], command: str, format_: str
) -> None:
    words = [command, *((str(spec), str(spec)) if command == "diff" else ()), "--format", format_]
    assert run(words) == 0
    shown = "".join(capsys.readouterr())
    for text in ("PGT310", "policy.agent", "a local agent", "PGT121", "lint.ignore"):
        assert text in shown
    if format_ == "json":
        found = json.loads(shown[shown.index("{") : shown.rindex("}") + 1])["waived"]
        waived = {(one["code"], one["accepted_by"], one["reason"]) for one in found}
        assert waived == {("PGT310", "policy.agent", "a local agent"), ("PGT121", "lint.ignore", None)}


def test_the_end_of_a_waiver_is_shown_before_and_after_it(
    spec: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["check"]) == 0
    assert "(by policy.agent: a local agent, until 2030-01-01, pgtls.toml:" in "".join(capsys.readouterr())
    assert run(["check", "--format", "json"]) == 0
    assert [one["until"] for one in json.loads(capsys.readouterr().out)["waived"]] == ["2030-01-01T00:00:00Z", None]
    monkeypatch.setenv("PGTLS_NOW", "2030-02-01")
    assert run(["check"]) == 0
    assert "PGT310" in (text := "".join(capsys.readouterr()))
    assert "hint: its waiver ended at 2030-01-01T00:00:00Z; " in text


def test_a_spec_without_waivers_shows_none(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec.write_text(SMALL)
    for command in ("check", "plan", "access", "status"):
        assert run([command]) == 0
        assert "waived" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("waiver", "blocks"),
    [
        ('auth = "trust"\nwaiver = { reason = "x", codes = ["PGT301", "PGT310"], until = 2030-01-01 }', True),
        ('auth = "scram-sha-256"\nwaiver = { reason = "x", codes = ["PGT310"], until = 2030-01-01 }', False),
        ('auth = "scram-sha-256"\nwaiver = { reason = "x", codes = ["PGT301"], until = 2030-01-01 }', False),
        (
            'auth = "trust"\nuntil = 2029-01-01\nwaiver = { reason = "x", codes = ["PGT301"], until = 2030-01-01 }',
            False,
        ),
    ],
)
def test_the_end_of_a_waiver_blocks_a_build_only_where_it_accepts_an_error(
    spec: Path, capsys: pytest.CaptureFixture[str], waiver: str, blocks: bool
) -> None:
    start = SMALL + '[user.agent]\n[policy.agent]\nusers = ["agent"]\nfrom = ["127.0.0.1"]\nsslmode = "prefer"\n'
    spec.write_text(f"{start}{waiver}\n")
    assert run(["status", "--timeline", "--format", "json"]) == 0
    events = json.loads(capsys.readouterr().out)["timeline"]
    assert [event["entity"] for event in events if event["what"] == "blocks"] == ["policy.agent"] * blocks
    if blocks:
        assert run(["check", "--now", "2030-01-02"]) == 1
    else:
        assert run(["check", "--now", "2030-01-02"]) == 0
