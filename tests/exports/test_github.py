"""Workflow commands, read back by the rules by which GitHub's runner reads them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from pgtls.diagnostics import Diagnostic, Place
from pgtls.diagnostics.text import visible
from pgtls.exports.github import commands
from support.diagnosing import Case, cases
from support.pgtls import pgtls

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = re.compile(r"::(?P<name>error|warning) (?P<properties>[^:\r\n]*)::(?P<data>[^\r\n]*)")
HOSTILE = "a,b:c%d::error::\r\n\x1b[31m100%25"


def read(line: str) -> tuple[str, dict[str, str], str]:
    """Take a command apart: what is before the second ``::``, split at commas, and then unescaped."""
    match = COMMAND.fullmatch(line)
    assert match, line
    pairs = (pair.partition("=") for pair in match["properties"].split(","))
    return match["name"], {key: _unescaped(value) for key, _, value in pairs}, _unescaped(match["data"])


def _unescaped(text: str) -> str:
    for escape, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(escape, character)
    return text


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.directory.name)
def test_every_finding_is_one_command_that_reads_back(case: Case) -> None:
    diagnostics = case.diagnostics()
    lines = commands(diagnostics, "pgtls.toml").splitlines()
    assert len(lines) == len(diagnostics)
    for line, diagnostic in zip(lines, diagnostics, strict=True):
        name, properties, _ = read(line)
        assert (name, properties["title"]) == (diagnostic.severity, diagnostic.code)
        if diagnostic.place:
            assert (properties["file"], properties["line"]) == (diagnostic.place.file, str(diagnostic.place.line))


def test_the_command_in_full(tmp_path: Path) -> None:
    (tmp_path / "pgtls.toml").write_text("version = 2\n")
    run = pgtls("check", "--format", "github", cwd=tmp_path)
    assert run.status == 1
    name, properties, message = read(run.stdout.removesuffix("\n"))
    assert name == "error"
    assert properties == {
        "title": "PGT005",
        "file": "pgtls.toml",
        "line": "1",
        "endLine": "1",
        "col": "11",
        "endColumn": "12",
    }
    assert message.splitlines()[1].startswith("hint: ")


def test_no_findings_are_no_commands(tmp_path: Path) -> None:
    (tmp_path / "pgtls.toml").write_text("version = 1\n")
    run = pgtls("check", "--format", "github", cwd=tmp_path)
    assert (run.status, run.stdout) == (0, "")


def test_files_are_named_from_the_root_of_the_checkout(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db/pgtls.toml").write_text("version = 2\n")
    run = pgtls("check", "--format", "github", cwd=tmp_path / "db", environment={"GITHUB_WORKSPACE": str(tmp_path)})
    assert read(run.stdout.removesuffix("\n"))[1]["file"] == "db/pgtls.toml"


def test_hostile_texts_end_neither_a_property_nor_a_command() -> None:
    place = Place(HOSTILE, 3, 1, 4, 2, "x")
    line = commands([Diagnostic("PGT101", HOSTILE, hint=HOSTILE, place=place)], "pgtls.toml")
    name, properties, message = read(line)
    assert name == "error"
    assert properties["file"] == visible(HOSTILE)
    assert "col" not in properties, "columns of two lines are refused"
    assert message.startswith("a,b:c%d::error::")
    assert "100%25" in message
    assert visible(line) == line, "the log of a job is a terminal"
