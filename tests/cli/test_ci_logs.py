"""What a spec holds is no command to the CI system whose log has what pgtls prints."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from pgtls.diagnostics.text import inert
from support.building import SMALL
from support.pgtls import pgtls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GITHUB = frozenset(
    {"add-mask", "notice", "warning", "error", "debug", "group", "endgroup", "stop-commands", "add-matcher"}
)


def commands(log: str) -> Iterator[str]:
    """Yield the commands that CI systems find in a log.

    GitHub: ``ActionCommand.TryParseV2`` and ``TryParse`` of actions/runner. Azure: ``Command.TryParse`` of
    azure-pipelines-agent, and its formatting commands. TeamCity: its service messages.
    """
    for line in re.split("\r\n|\r|\n", log):
        if (whole := re.match(r"\s*::(.*?)::", line)) and whole[1].partition(" ")[0] in GITHUB:
            yield whole[1].partition(" ")[0]
        yield from re.findall(r"##(?:vso|teamcity)?\[", line)


HOSTILE = "##[add-mask]granted ##vso[task.setvariable variable=PATH]x ##teamcity[message text='x'] ###[error]"
NAMED = "::notice title=pgtls::x.toml"
SPEC = 'include = ["*x.toml"]' + SMALL.replace(
    'users = ["app"]', f'users = ["app"]\ndescription = "{HOSTILE}"'
).replace('databases = ["shop"]', 'databases = ["shop", "##[add-mask]granted", "##vso[x]", "::warning::x"]').replace(
    '"cert"', f'"md5"\nwaiver = {{ reason = "{HOSTILE}", codes = ["PGT304"] }}'
)
ASKED = ("--user", "app", "--database", "##[add-mask]granted", "--from", "10.0.0.1")
SHOWN = {
    **{word: (word,) for word in ("check", "plan", "access", "status", "build")},
    "explain": ("explain", *ASKED),
    "diff": ("diff", "old.toml", "pgtls.toml"),
    "wrong usage": (HOSTILE,),
    "wrong usage of a command": ("check", f"--{NAMED}"),
    "a file that is not there": ("check", "--", NAMED.removesuffix(".toml")),
}
FORMATS = {
    "check": ("text", "json", "sarif"),
    "access": ("text", "json", "markdown"),
    "plan": ("text", "json", "markdown"),
    "diff": ("text", "json", "markdown"),
    "status": ("text", "json"),
    "explain": ("text", "json"),
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "pgtls.toml").write_text(SPEC)
    (tmp_path / "old.toml").write_text(SMALL)
    (tmp_path / NAMED).write_text(f"[user.other]  # {HOSTILE}\n")
    return tmp_path


CASES = {
    f"{name}{f' as {one}' if one else ''}": (words, one)
    for name, words in SHOWN.items()
    for one in FORMATS.get(name, (None,))
}


@pytest.mark.parametrize(("words", "format_"), CASES.values(), ids=CASES)
def test_nothing_that_is_printed_is_a_command(directory: Path, words: tuple[str, ...], format_: str | None) -> None:
    assert {*commands(f"{SPEC}\n{NAMED}")} == {"##[", "##vso[", "##teamcity[", "notice"}
    run = pgtls(*words, *(("--format", format_) if format_ else ()), cwd=directory)
    assert list(commands(run.stdout)) == []
    assert list(commands(run.stderr)) == []
    printed = run.stdout + run.stderr
    assert printed.strip()
    assert (run.status == 0) is (words[0] in (*FORMATS, "build") and "::" not in " ".join(words)), run.stderr
    if format_ == "json":
        assert json.loads(run.stdout)["command"] == words[0]


def test_a_file_begins_a_line_and_is_no_command(directory: Path) -> None:
    printed = pgtls("check", cwd=directory).stdout
    assert "\n\\x3a:notice title=pgtls::x.toml:1:" in f"\n{printed}", "the finding in this file"
    assert "#\\x23[add-mask]granted" in printed, "a person can read what the line says"
    assert "notice" in commands(printed.replace("\\x3a", ":")), "the line would be a command"


def test_the_findings_for_github_are_its_commands_and_no_others(directory: Path) -> None:
    printed = pgtls("check", "--format", "github", cwd=directory).stdout.splitlines()
    assert [line for line in printed if not re.match("::(warning|error|notice) title=PGT[0-9]{3},file=", line)] == []


@pytest.mark.parametrize(
    "text", ["::1", "::1/128, ::2", "  ::/0", "a ::notice::b", "## [x]", "### server main", "# [x]", "#[x]"]
)
def test_what_is_no_command_stays_as_it_is(text: str) -> None:
    assert inert(text) == text
