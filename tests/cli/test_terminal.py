"""What is printed on a terminal: a real one, as far as a program can tell."""

from __future__ import annotations

import os
import pty
import shlex
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import pytest

from pgtls.cli import COMMANDS
from pgtls.cli.app import command
from pgtls.diagnostics.lines import cells
from support.building import SMALL
from support.pgtls import pgtls
from support.servers import PATIENCE
from support.system import ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path

LONG = "a-role-with-a-name-that-is-longer-than-a-narrow-column-is-wide"
SPEC = SMALL.replace("[user.app]", f'[user.app]\nroles = ["app", "{LONG}"]')
WIDE = SMALL.replace("[user.app]", f'[user.app]\nroles = ["app", "{LONG}", "reports", "größe-漢字"]').replace(
    '["10.0.0.0/8"]', '["10.0.0.0/8", "192.168.100.0/24", "2001:db8:1234:5678::/64", "db-client.internal.example.com"]'
).replace('users = ["app"]', f"users = {['app', 'a' * 60, *(f'someone-{n}' for n in range(9))]}") + "".join(
    f'[user.{name}]\nca = "clients"\n' for name in ("a" * 60, *(f"someone-{n}" for n in range(9)))
)
FITTING = {
    "plan": ("plan",),
    "plan --verbose": ("plan", "--verbose"),
    "build": ("build",),
    "access": ("access",),
    "status": ("status",),
    "status --timeline": ("status", "--timeline"),
}
SHOWING = {
    "check": ("check", "bad.toml"),
    "plan": ("plan",),
    "access": ("access",),
    "status": ("status",),
    "explain": ("explain", "--user", "app", "--database", "shop", "--from", "10.0.0.1"),
}


@pytest.fixture(autouse=True)
def directory(tmp_path: Path) -> Path:
    (tmp_path / "pgtls.toml").write_text(SPEC)
    (tmp_path / "bad.toml").write_text(SPEC.replace('users = ["app"]', 'users = ["ap"]'))
    return tmp_path


def seen(directory: Path, *words: str, columns: int = 80, **environment: str) -> str:
    """Run pgtls with a terminal for all three streams; give what is on it."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    run = subprocess.Popen(
        (sys.executable, "-m", "pgtls", *words),
        cwd=directory,
        env={**ENVIRONMENT, "HOME": "/nonexistent", "TERM": "xterm", **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    read = bytearray()
    try:
        while part := os.read(ours, 1 << 16):
            read += part
    except OSError:  # the other end is closed
        pass
    finally:
        os.close(ours)
        run.wait(PATIENCE)
    return read.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("words", SHOWING.values(), ids=SHOWING)
def test_without_colour_there_is_no_escape_sequence(directory: Path, words: tuple[str, ...]) -> None:
    plain = seen(directory, *words, NO_COLOR="1")
    assert ("\x1b" in plain, "\x1b" in seen(directory, *words, TERM="dumb")) == (False, False)
    assert plain.strip()
    assert ("\x1b" in seen(directory, *words)) is (words[0] != "explain")


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("words", FITTING.values(), ids=FITTING)
def test_what_is_shown_fits_and_no_word_is_cut(directory: Path, words: tuple[str, ...], columns: int) -> None:
    (directory / "pgtls.toml").write_text(WIDE)
    if "status" in words:
        assert pgtls("build", cwd=directory).status == 0
    elsewhere = {"PGTLS_OUT": "oth", "PGTLS_LOCK": "oth.lock"} if "build" in words else {}
    piped = pgtls(*words, cwd=directory, environment=elsewhere).stdout
    piped = piped.replace("oth/", "out/").replace("built oth\n", "built out\n") if elsewhere else piped
    shown = seen(directory, *words, columns=columns, NO_COLOR="1")
    assert [line for line in shown.splitlines() if cells(line) > columns] == []
    cut = {word for word in piped.split() if word not in shown.split() and not word.endswith("…")}
    assert cut <= {"SERIAL", "policy"}
    assert max(map(len, piped.splitlines())) > 120, "this would fit anyway"


WORDS_ON_A_TERMINAL = {
    "check, a long line": ("check", "long.toml"),
    "check, waived": ("check", "waived.toml"),
    "explain, admitted": ("explain", "wide.toml", "--user", LONG, "--database", "shop", "--from", "10.0.0.1"),
    "explain, refused": ("explain", "wide.toml", "--user", "nobody", "--database", "shop", "--from", "172.16.0.1"),
    "diff": ("diff", "pgtls.toml", "wide.toml"),
    "rule": ("rule",),
    "rule CODE": ("rule", "PGT203"),
    "an error of plan": ("plan", "long.toml"),
    "a wrong option": ("build", "--dry-run"),
}


@pytest.mark.parametrize("words", WORDS_ON_A_TERMINAL.values(), ids=WORDS_ON_A_TERMINAL)
def test_findings_and_explanations_fit(directory: Path, words: tuple[str, ...]) -> None:
    (directory / "wide.toml").write_text(WIDE)
    names = ", ".join(f'"größe-漢字-{n}"' for n in range(40))
    (directory / "long.toml").write_text(SPEC.replace('roles = ["app"', f"roles = [{names}, 7, {names}"))
    waiver = (
        'auth = "md5"\nwaiver = { reason = "the old client cannot do better until it is replaced", codes = ["PGT304"] }'
    )
    (directory / "waived.toml").write_text(SPEC.replace('auth = "cert"', waiver))
    piped = pgtls(*words, cwd=directory)
    assert max(map(cells, (piped.stdout + piped.stderr).splitlines())) > 80, "this would fit anyway"
    for columns in (80, 120):
        shown = seen(directory, *words, columns=columns, NO_COLOR="1")
        assert [line for line in shown.splitlines() if cells(line) > columns] == []
        said = [
            word for word in (piped.stdout + piped.stderr).split() if not {"…", "漢"} & {*word} and cells(word) < 60
        ]
        assert {word for word in said if word not in shown.split() and "^" not in word} == set(), "no word is cut"


def test_a_message_that_goes_on_below_is_coloured_throughout(directory: Path) -> None:
    (directory / "bad.toml").write_text(SPEC.replace('users = ["app"]', f'users = ["{"a" * 58}"]'))
    plain = seen(directory, "check", "bad.toml", NO_COLOR="1").splitlines()
    painted = seen(directory, "check", "bad.toml").splitlines()
    assert plain[1].startswith('    "aaa'), "the name does not fit into the first line"
    assert painted[1].strip().startswith("\x1b[1m")
    assert painted[1].endswith("\x1b[0m")


@pytest.mark.parametrize("columns", [80, 120])
def test_every_help_fits_and_has_two_examples(directory: Path, columns: int) -> None:
    for name in ((), *((name,) for name in COMMANDS)):
        shown = seen(directory, *name, "--help", columns=columns)
        assert [line for line in shown.splitlines() if cells(line) > columns] == []
        examples = shown.partition("Examples:")[2].partition("Exit status")[0]
        assert len([line for line in examples.splitlines() if line.strip().startswith(("pgtls", "echo"))]) == 2


def test_examples_are_understood() -> None:
    for name in COMMANDS:
        for line in command(name).examples:
            used = next(part for part in line.replace("&&", "|").split("|") if part.strip().startswith("pgtls"))
            called, *words = shlex.split(used.partition(">")[0])[1:]
            assert called == name
            command(name).make_context(name, words)


def test_a_narrow_terminal_shows_access_as_a_block_for_each_policy(directory: Path) -> None:
    blocks = seen(directory, "access", columns=99, NO_COLOR="1").splitlines()
    assert [line for line in blocks if line.startswith("policy ")] == ["policy dba", "policy app"]
    assert "  from              10.0.0.0/8" in blocks
    assert LONG in " ".join(blocks).split()
    table = seen(directory, "access", columns=200, NO_COLOR="1").splitlines()
    assert [line.split() for line in table if line.startswith("who")] == [
        ["who", "databases", "from", "over", "shows", "client's", "sslmode", "policy"]
    ]


def test_a_pipe_has_no_width_unless_columns_says_so(directory: Path) -> None:
    (directory / "pgtls.toml").write_text(WIDE)
    assert pgtls("build", cwd=directory).status == 0
    for words in (("plan", "--renew", "all"), ("access",), ("status", "--timeline")):
        free = pgtls(*words, cwd=directory).stdout
        assert max(map(len, free.splitlines())) > 160, words
        told = pgtls(*words, cwd=directory, environment={"COLUMNS": "90"}).stdout
        assert max(map(len, told.splitlines())) <= 90, words


def test_progress_is_shown_on_a_terminal_and_vanishes(directory: Path) -> None:
    (directory / "pgtls.toml").write_text(SMALL + "".join(f'[user.u{n}]\nca = "clients"\n' for n in range(300)))
    shown = seen(directory, "build", NO_COLOR="1")
    assert "issuing #" in shown
    assert "#" not in shown.rpartition("\r")[2], "the bar is gone when the result is printed"
    (directory / "pgtls.toml").write_text(SMALL)
    assert "#" not in seen(directory, "build", "--allow-revoke", "--out", "other", "--lock", "other.lock", NO_COLOR="1")


def test_the_query_of_terraform_is_not_waited_for_on_a_terminal(directory: Path) -> None:
    assert "the query is read from stdin" in seen(directory, "terraform")
