"""Streams that are full, closed, or speak something else than UTF-8."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support.building import SMALL
from support.pgtls import pgtls
from support.servers import PATIENCE
from support.system import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NAMES = SMALL.replace("[policy.app]", '[policy.app]\ndescription = "für alle"').replace(
    'roles = ["app"]', 'roles = ["größe"]'
)
QUESTION = ("explain", "--user", "app", "--database", "shop", "--from", "10.0.0.1")
PRINTING = {
    "check": ("check", "--format", "json"),
    "plan": ("plan",),
    "build": ("build",),
    "status": ("status",),
    "access": ("access",),
    "explain": QUESTION,
    "diff": ("diff", "pgtls.toml", "other.toml"),
    "rule": ("rule",),
    "schema": ("schema",),
    "init": ("init", "new"),
    "terraform": ("terraform",),
    "help": ("--help",),
    "version": ("--version",),
}


@pytest.fixture(autouse=True)
def directory(tmp_path: Path) -> Path:
    for name in ("pgtls.toml", "other.toml"):
        (tmp_path / name).write_text(SMALL)
    return tmp_path


def shell(
    directory: Path, words: tuple[str, ...], redirection: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run pgtls with its streams as a shell's ``redirection`` says."""
    command = shlex.join((sys.executable, "-m", "pgtls", *words))
    surroundings = {**ENVIRONMENT, "HOME": "/nonexistent", **(environment or {})}
    return subprocess.run(
        ("bash", "-c", f"set -o pipefail; {command} {redirection}"),
        cwd=directory,
        env=surroundings,
        input="{}",
        check=False,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=10 * PATIENCE,
    )


@pytest.mark.parametrize(("redirection", "why"), [(">/dev/full", "no space left"), (">&-", "bad file descriptor")])
@pytest.mark.parametrize("words", PRINTING.values(), ids=PRINTING)
def test_what_cannot_be_printed_is_an_error_and_no_bug(
    directory: Path, words: tuple[str, ...], redirection: str, why: str
) -> None:
    run = shell(directory, words, redirection)
    assert (run.returncode, run.stderr.count("error[PGT591]")) == (1, 1)
    assert why in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("words", [("build",), ("build", "--format", "json")])
def test_a_build_whose_report_is_lost_says_that_it_stands(directory: Path, words: tuple[str, ...]) -> None:
    run = shell(directory, words, ">/dev/full")
    assert run.returncode == 1
    assert "standard output: error[PGT591]: no space left on device\n = hint: out is built all the same" in run.stderr
    again = shell(directory, words, "")
    assert (again.returncode, "nothing to do" in again.stdout or not json.loads(again.stdout)["steps"]) == (0, True)
    plan = shell(directory, ("plan",), ">/dev/full")
    assert "all the same" not in plan.stderr, "a plan does nothing that could stand"


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
def test_nothing_to_do_that_cannot_be_printed_is_an_error(directory: Path, redirection: str) -> None:
    assert shell(directory, ("build",), "").returncode == 0
    run = shell(directory, ("build",), redirection)
    assert (run.returncode, run.stderr.count("error[PGT591]")) == (1, 1)
    assert (shell(directory, ("build",), "| true").returncode, shell(directory, ("build",), "").stdout) == (
        0,
        "nothing to do\n",
    )


def test_what_init_and_import_wrote_stands_too(directory: Path) -> None:
    run = shell(directory, ("init", "new"), ">/dev/full")
    assert "hint: wrote new/pgtls.toml, new/.gitignore, new/.gitattributes all the same" in run.stderr
    (directory / "pg_hba.conf").write_text("local all all peer\n")
    words = ("import", "--hba", "pg_hba.conf", "--postgres", "17", "--host", "db", "--output", "imported.toml")
    run = shell(directory, words, ">/dev/full")
    assert "hint: wrote imported.toml" in run.stderr
    assert (directory / "imported.toml").exists()


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", "2> >(true)"])
def test_a_standard_error_that_is_gone_changes_nothing(directory: Path, redirection: str) -> None:
    (directory / "pgtls.toml").write_text(SMALL.replace('users = ["app"]', 'users = ["ap"]'))
    for words, status in {("plan",): 1, ("plan", "other.toml"): 0, ("plan", "--bogus"): 64}.items():
        run = shell(directory, words, redirection)
        assert (run.returncode, bool(run.stdout)) == (status, status == 0), words


def test_who_closes_the_pipe_is_told_nothing_and_hides_no_error(directory: Path) -> None:
    assert shell(directory, ("check",), "| true").returncode == 0
    assert shell(directory, ("rule",), "| head -n 1").stderr == ""
    (directory / "pgtls.toml").write_text(SMALL.replace('users = ["app"]', 'users = ["ap"]'))
    run = shell(directory, ("check",), "| true")
    assert (run.returncode, run.stderr) == (1, "")


def test_a_closed_standard_input_is_an_empty_one(directory: Path) -> None:
    run = shell(directory, ("terraform",), "<&-")
    assert (run.returncode, run.stdout) == (1, "")
    assert "not JSON" in run.stderr


FOREIGN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("environment", [FOREIGN, {"PYTHONIOENCODING": "latin-1"}, {}], ids=["C", "latin-1", "UTF-8"])
def test_names_are_shown_whatever_the_streams_speak(directory: Path, environment: Mapping[str, str]) -> None:
    spec = SMALL.replace("[user.app]", '[user.app]\nroles = ["größe"]') + '\n[policy.x]\nusers = ["größé"]\n'
    (directory / "pgtls.toml").write_text(spec, encoding="utf-8")
    run = shell(directory, ("check",), "", environment)
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    answer = json.loads(shell(directory, ("check", "--format", "json"), "", environment).stdout)
    assert any("größé" in diagnostic["message"] for diagnostic in answer["diagnostics"])
    (directory / "pgtls.toml").write_text(spec.split("\n[policy.x]")[0], encoding="utf-8")
    for words in (("plan",), ("build",), ("access",), ("status",), ("access", "--format", "json")):
        run = shell(directory, words, "", environment)
        assert (run.returncode, "Traceback" in run.stderr) == (0, False), run.stderr
    written = (directory / "out/servers/main/pg_hba.conf").read_text(encoding="utf-8")
    assert "größe" in written


def test_a_path_that_is_no_text_is_named_all_the_same(directory: Path) -> None:
    spec = os.fsdecode(b"sp\xffec.toml")
    run = shell(directory, ("check", spec), "")
    assert (run.returncode, "Traceback" in run.stderr, "sp\\udcffec.toml" in run.stdout) == (1, False, True)
    (directory / spec).write_text(SMALL)
    for words in (("check", spec), ("plan", spec), ("build", spec, "--format", "json"), ("build", spec)):
        run = shell(directory, words, "")
        assert (run.returncode, "Traceback" in run.stderr) == (0, False), run.stderr


def test_a_path_with_control_characters_is_shown_without_them(directory: Path) -> None:
    odd = directory / "a\x1b[31m\x9bb"
    odd.mkdir()
    (odd / "pgtls.toml").write_text(SMALL)
    for command in ("check", "build"):
        run = shell(directory, (command, f"{odd}/pgtls.toml"), "")
        assert (run.returncode, {"\x1b", "\x9b"} & {*run.stdout, *run.stderr}) == (0, set()), command
        assert "a\\x1b[31m\\x9bb/" in run.stdout + run.stderr


def test_a_spec_may_come_through_a_pipe_and_is_then_built_each_time(directory: Path) -> None:
    for text, change in ((SMALL, True), (SMALL, False), (SMALL.replace('"shop"', '"shop", "more"'), True)):
        (directory / "pgtls.toml").write_text(text)
        assert shell(directory, ("check", "/dev/stdin"), "< <(cat pgtls.toml)").returncode == 0
        run = shell(directory, ("build", "/dev/stdin", "--out", "out", "--lock", "lock"), "< <(cat pgtls.toml)")
        assert (run.returncode, "Plan: " in run.stdout) == (0, change), run.stderr
    assert "more" in (directory / "out/servers/main/pg_hba.conf").read_text()


def test_a_directory_whose_name_is_no_text_is_as_good_as_any(directory: Path) -> None:
    odd = directory.with_name(os.fsdecode(b"d\xff"))
    directory.rename(odd)
    for command in ("build", "status", "plan", "terraform"):
        done = pgtls(command, cwd=odd, stdin="{}")
        assert (done.status, done.stderr) == (0, ""), command
    assert (odd / "out/servers/main/server.crt").exists()


def test_a_working_directory_that_is_gone_is_said(directory: Path) -> None:
    away = directory / "away"
    away.mkdir()
    run = shell(directory, ("build",), f"; cd {away} && rmdir {away} && {sys.executable} -m pgtls build")
    assert (run.returncode, run.stderr.count("error[PGT591]: the working directory is gone")) == (1, 1)
