"""What is printed on a terminal: a real one, as far as a program can tell."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support.building import SMALL
from support.servers import PATIENCE
from support.system import ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path

LONG = "a-role-with-a-name-that-is-longer-than-a-narrow-column-is-wide"
SPEC = SMALL.replace("[user.app]", f'[user.app]\nroles = ["app", "{LONG}"]')
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


def seen(directory: Path, *words: str, **environment: str) -> str:
    """Run pgtls with a terminal for all three streams; give what is on it."""
    ours, theirs = pty.openpty()
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
    return read.decode()


@pytest.mark.parametrize("words", SHOWING.values(), ids=SHOWING)
def test_without_colour_there_is_no_escape_sequence(directory: Path, words: tuple[str, ...]) -> None:
    plain = seen(directory, *words, NO_COLOR="1")
    assert ("\x1b" in plain, "\x1b" in seen(directory, *words, TERM="dumb")) == (False, False)
    assert plain.strip()
    assert ("\x1b" in seen(directory, *words)) is (words[0] != "explain")


def test_a_narrow_terminal_hides_no_name(directory: Path) -> None:
    shown = seen(directory, "access", COLUMNS="20", NO_COLOR="1")
    assert "…" not in shown
    lines = shown.splitlines()
    (width,) = (line.index("databases") for line in lines if line.startswith("who"))
    assert LONG in "".join(line[:width].strip() for line in lines)


def test_the_query_of_terraform_is_not_waited_for_on_a_terminal(directory: Path) -> None:
    assert "the query is read from stdin" in seen(directory, "terraform")
