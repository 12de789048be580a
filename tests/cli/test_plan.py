"""A plan is a build without its last stages: what a build may be asked for, a plan shows first."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pgtls.cli import run
from pgtls.cli.app import command
from support.building import SMALL

if TYPE_CHECKING:
    from pathlib import Path

STAFF = "".join(f'[user.u{number}]\nca = "clients"\n' for number in range(5))
MANY = f"{SMALL}[ca.other]\n{STAFF}"
OF_A_BUILD_ALONE = {"only_check", "depfile", "jobs"}
OF_A_PLAN_ALONE = {"no_secrets", "detailed_exitcode"}


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pgtls.toml").write_text(MANY)
    assert run(["build"]) == 0
    capsys.readouterr()
    return tmp_path


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    status = run([*words, "--format", "json"])
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return status, answer


def test_both_have_the_same_options() -> None:
    of_build = {parameter.name for parameter in command("build").params}
    of_plan = {parameter.name for parameter in command("plan").params}
    assert of_build - OF_A_BUILD_ALONE == of_plan - OF_A_PLAN_ALONE


def edit(directory: Path, old: str, new: str) -> None:
    spec = directory / "pgtls.toml"
    text = spec.read_text()
    assert old in text
    spec.write_text(text.replace(old, new))


CASES = {
    "nothing": ((), None),
    "a renewal": (("--renew", "user.u1"), {("user.u1", "renew")}),
    "a replacement": (("--replace", "user.u1"), {("user.u1", "renew")}),
}


@pytest.mark.parametrize(("words", "steps"), CASES.values(), ids=CASES)
def test_what_is_asked_for_is_planned_and_then_built(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], steps: set[tuple[str, str]] | None
) -> None:
    status, planned = ask(capsys, "plan", *words, "--detailed-exitcode")
    assert status == (2 if steps else 0)
    assert {(step["entity"], step["action"]) for step in planned["steps"]} >= (steps or set())
    assert bool(planned["steps"]) is bool(steps)
    assert ask(capsys, "build", *words)[1]["steps"] == planned["steps"]


@pytest.mark.parametrize(
    ("old", "new", "code", "flag"),
    [
        pytest.param(STAFF, "", "PGT553", "--allow-revoke", id="mass revocation"),
        pytest.param('ca = "root"\n', 'ca = "other"\n', "PGT581", "--accept-outage", id="an outage"),
    ],
)
def test_what_needs_a_word_is_planned_with_it_and_refused_without(
    capsys: pytest.CaptureFixture[str], directory: Path, old: str, new: str, code: str, flag: str
) -> None:
    edit(directory, old, new)
    status, refused = ask(capsys, "plan")
    assert (status, "steps" in refused) == (1, False)
    assert code in {diagnostic["code"] for diagnostic in refused["diagnostics"]}
    status, planned = ask(capsys, "plan", flag)
    assert (status, bool(planned["steps"])) == (0, True)
    assert ask(capsys, "build", flag)[1]["steps"] == planned["steps"]


def test_a_new_ca_and_a_new_out_directory_can_be_looked_at_first(
    capsys: pytest.CaptureFixture[str], directory: Path
) -> None:
    key = directory / "out/ca/clients/ca.key"
    key.rename(directory / "lost.key")
    assert ask(capsys, "plan")[0] == 1
    status, planned = ask(capsys, "plan", "--new-ca", "clients")
    assert status == 0
    assert {"ca.clients", "user.u1"} <= {step["entity"] for step in planned["steps"]}
    (directory / "out").rename(directory / "elsewhere")
    assert ask(capsys, "plan")[1]["steps"] == []
    status, planned = ask(capsys, "plan", "--new-out", "--new-ca", "clients", "--new-ca", "root", "--new-ca", "other")
    assert {"ca.root", "server.main", "user.u1"} <= {step["entity"] for step in planned["steps"]}


def test_a_plan_with_a_lent_key_shows_what_it_will_sign(capsys: pytest.CaptureFixture[str], directory: Path) -> None:
    edit(directory, "[ca.clients]", "[ca.clients]\noffline = true")
    lent = directory / "lent.key"
    (directory / "out/ca/clients/ca.key").rename(lent)
    _, waiting = ask(capsys, "plan", "--renew", "user.u1")
    _, signed = ask(capsys, "plan", "--renew", "user.u1", "--ca-key", f"clients={lent}")
    actions = [
        {step["action"] for step in planned["steps"] if step["entity"] == "user.u1"} for planned in (waiting, signed)
    ]
    assert actions == [{"wait"}, {"renew"}]
