"""A plan is a build without its last stages: what a build may be asked for, a plan shows first."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from pgtls.cli import COMMANDS, run
from pgtls.cli.app import command
from pgtls.cli.steps import folded
from pgtls.pki.model import Entity
from pgtls.plan.model import Step
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


def test_a_standby_s_login_has_no_client_to_copy_it_to(capsys: pytest.CaptureFixture[str], directory: Path) -> None:
    edit(
        directory,
        "[ca.other]",
        """[server.copy]
ca = "root"
client_ca = ["clients"]
hosts = ["copy.example.com"]
standby_of = "main"
replication_user = "copier"
[user.copier]
ca = "clients"
[ca.other]""",
    )
    for policy in ("dba", "app"):
        edit(directory, f"[policy.{policy}]", f'[policy.{policy}]\nservers = ["main"]')
    steps = said(capsys, "build")[0]
    assert "copy out/servers/copy, out/servers/main to their servers" in steps
    assert "out/clients/copier" not in steps


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


def said(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> tuple[str, str]:
    assert run(list(words)) == status
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_steps_that_are_alike_share_a_row_and_files_are_named_on_request(
    capsys: pytest.CaptureFixture[str], directory: Path
) -> None:
    edit(directory, STAFF, "".join(f'[user.u{number}]\nca = "clients"\n' for number in range(20, 30)))
    text, _ = said(capsys, "plan", "--allow-revoke")
    assert "  + 10 users     create   there is no certificate yet" in text
    assert "      user.u20, user.u21, user.u22, user.u23 and 6 more\n" in text
    assert "  ! 5 users      revoke   they are no longer in the spec" in text
    assert "postgresql.key" not in text
    verbose, _ = said(capsys, "plan", "--allow-revoke", "--verbose")
    assert [line for line in verbose.splitlines() if line.startswith("  + user.")] != []
    assert verbose.count("  + user.u2") == 10
    assert "10 users" not in verbose
    assert "postgresql.crt, postgresql.key" in verbose


def test_several_certificates_of_one_user_are_one_user() -> None:
    steps = [
        Step(Entity("user.app"), "revoke", f"it was issued before revoke_before: certificate {serial}", "reload")
        for serial in ("a1", "b2", "c3", "d4")
    ]
    (fold,) = folded(steps)
    assert (fold.what, fold.why, fold.more) == (
        "user.app",
        "it was issued before revoke_before",
        "certificates a1, b2, c3, d4",
    )


def test_three_of_a_kind_have_a_row_each(capsys: pytest.CaptureFixture[str], directory: Path) -> None:
    edit(directory, STAFF, STAFF + "".join(f'[user.v{number}]\nca = "clients"\n' for number in range(3)))
    assert said(capsys, "plan")[0].count("  + user.v") == 3


UNUSED = 'user "u0" cannot connect: no policy names it'
"""The beginning of a warning of the spec, one for each of five users; a CA that nobody uses is the sixth."""


def test_the_warnings_of_a_spec_are_shown_in_full_until_it_is_built(
    capsys: pytest.CaptureFixture[str], directory: Path
) -> None:
    count = "pgtls: 6 warnings about the spec as at the last build; pgtls check shows them\n"
    for words in (("plan",), ("build", "--check"), ("build", "--renew", "user.u1"), ("plan", "--format", "markdown")):
        assert said(capsys, *words)[1] == count, words
    assert UNUSED in said(capsys, "check")[0]
    assert len(ask(capsys, "plan")[1]["diagnostics"]) == 6, "a program gets all of them"
    edit(directory, "[ca.other]", "[ca.other]\n# edited")
    for words in (("plan",), ("plan",), ("build",)):
        assert UNUSED in said(capsys, *words)[1], words
    assert said(capsys, "plan")[1] == count


def test_a_build_ends_with_what_to_do_next(capsys: pytest.CaptureFixture[str], directory: Path) -> None:
    def next_of(*words: str) -> list[str]:
        lines = said(capsys, "build", *words)[0].splitlines()
        return [line.removeprefix("next: ") for line in lines if line.startswith("next: ")]

    server, verify = "out/servers/main to db.example.com", ["run pgtls verify"] if "verify" in COMMANDS else []
    run_there = "run sudo sh main/install.sh there"
    assert next_of("--renew", "server.main") == [f"copy {server}, {run_there}, which reloads PostgreSQL", *verify]
    assert next_of("--renew", "user.u1") == ["copy out/clients/u1 to its client"]
    assert next_of("--renew", "user.u1", "--renew", "user.u2") == [
        "copy out/clients/u1, out/clients/u2 to their clients"
    ]
    assert next_of() == []
    edit(directory, "[server.main]", '[server.main]\ndirectory = "/etc/pgtls"\nport = 5433')
    assert next_of("--accept-outage")[0] == (
        f"copy {server}, {run_there}, which reloads PostgreSQL; restart it where a setting asks for it"
    )
    everything = next_of("--out", "new", "--lock", "new.lock")
    assert everything[0] == "back up new/ca: the keys of your CAs are there and nowhere else"
    assert everything[2] == "copy new/clients/app, new/clients/u0, new/clients/u1 and 3 more to their clients"
    assert everything[3:] == ["run pgtls verify --out new --lock new.lock"]
    edit(directory, "/etc/pgtls", "/etc/postgresql/tls")
    shutil.copy(directory / "pgtls.toml", directory / "a b.toml")
    assert next_of("a b.toml", "--accept-outage", "--out", "out", "--lock", "pgtls.lock")[-1] == (
        "run pgtls verify 'a b.toml' --out out --lock pgtls.lock"
    )
    for line in everything:
        for path in re.findall(r"new/\S+", line):
            assert (directory / path.rstrip(",:")).is_dir()
