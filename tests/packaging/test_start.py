"""What is not needed is not loaded: the commands that people run all day start quickly."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support.pgtls import EXAMPLE, built
from support.system import ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = {"cryptography", "jinja2", "pydantic"}
COMMAND_LINE = {"inspect", "rich", "typer", "typing"}


def imported(*arguments: str | Path, status: int = 0) -> set[str]:
    """Run pgtls, which must end with this status, and give the top-level packages that it imported."""
    words = [sys.executable, "-E", "-X", "importtime", "-m", "pgtls", *map(str, arguments)]
    run = subprocess.run(
        words, check=False, capture_output=True, text=True, env={**ENVIRONMENT, "HOME": "/nonexistent"}, cwd="/"
    )
    assert run.returncode == status, run.stderr
    return {match.partition(".")[0] for match in re.findall(r"(?m)^import time:.*\| +(\S+)$", run.stderr)}


@pytest.mark.parametrize(
    "words", [("--version",), ("--help",), ("build", "--help"), ("schema", "--help")], ids=" ".join
)
def test_asking_for_version_or_help_loads_no_library(words: tuple[str, ...]) -> None:
    assert imported(*words) & HEAVY == set()


def test_a_build_with_nothing_to_do_loads_no_library(tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("build", EXAMPLE, "--out", out, "--lock", tmp_path / "out.lock")
    assert imported(*arguments) >= HEAVY, "the first build needs them all"
    assert built(EXAMPLE, out) == out
    assert imported(*arguments) & (HEAVY | COMMAND_LINE) == set()
    assert imported(*arguments, "--format", "json") >= COMMAND_LINE - {"rich"}, "any other option is read by typer"


def test_only_an_out_directory_in_a_store_loads_what_talks_to_stores(tmp_path: Path) -> None:
    spec, of_stores = ("build", EXAMPLE, "--lock", tmp_path / "out.lock"), {"obstore", "tarfile"}
    assert imported(*spec, "--out", tmp_path / "out") & of_stores == set()
    assert imported(*spec, "--out", f"file://{tmp_path}/missing", status=1) >= of_stores


@pytest.mark.parametrize("words", [("rule", "PGT101"), ("explain", "--user", "x")], ids=" ".join)
def test_a_value_is_read_without_pydantic(words: tuple[str, ...]) -> None:
    assert imported(*words, status=0 if words[0] == "rule" else 64) & HEAVY == set()


def test_a_check_loads_nothing_of_a_build(tmp_path: Path) -> None:
    assert imported("check", EXAMPLE, "--lock", tmp_path / "x.lock") & HEAVY == {"pydantic"}


def test_the_program_and_the_module_are_the_same(tmp_path: Path) -> None:
    by_name = subprocess.run(
        [f"{sys.prefix}/bin/pgtls", "--version"], check=True, capture_output=True, text=True, cwd="/"
    ).stdout
    by_module = subprocess.run(
        [sys.executable, "-m", "pgtls", "--version"], check=True, capture_output=True, text=True, cwd=tmp_path
    ).stdout
    assert by_name == by_module
    assert by_name.startswith("pgtls ")
