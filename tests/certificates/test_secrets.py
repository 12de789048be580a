"""Secrets: their sources, the error when a source fails, and that they stay secret."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pgtls.certificates import secrets
from pgtls.cli import run
from pgtls.diagnostics import Rejected
from support.building import SMALL, Place, steps
from support.system import gone

LDAP = """
[user.clerk]
[policy.clerk]
users = ["clerk"]
from = ["10.1.0.0/16"]
auth = "ldap"
[policy.clerk.auth_options]
ldapserver = "ldap.example.com"
ldapbasedn = "dc=example"
ldapbinddn = "cn=reader"
ldapbindpasswd = SOURCE
"""


def with_source(source: str) -> str:
    return SMALL + LDAP.replace("SOURCE", source)


def hba(place: Place) -> str:
    return place.file("servers/main/pg_hba.conf").read_text()


@pytest.fixture(autouse=True)
def secret(place: Place, monkeypatch: pytest.MonkeyPatch) -> str:
    """Keep one secret in all three places."""
    monkeypatch.setenv("BIND", 'pass"word #1')
    (place.directory / "bind").write_text('pass"word #1\n')
    return 'pass"word #1'


SOURCES = {
    "a variable": '{ env = "BIND" }',
    "a file": '{ file = "bind" }',
    "a command": '{ command = ["cat", "bind"] }',
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_a_secret_option_comes_from(place: Place, source: str) -> None:
    place.build(with_source(source))
    assert '"ldapbindpasswd=pass""word #1"' in hba(place)
    assert steps(place.build()) == []


def test_a_file_is_relative_to_the_file_that_names_it(place: Place) -> None:
    parts = place.directory / "parts"
    parts.mkdir()
    (parts / "bind").write_text("other")
    (parts / "ldap.toml").write_text(LDAP.replace("SOURCE", SOURCES["a file"]))
    place.build(SMALL.replace("version = 1", 'version = 1\ninclude = ["parts/*.toml"]'))
    assert "ldapbindpasswd=other" in hba(place).replace('"', "")


FAULTS = {
    "a variable that is not set": ('{ env = "NOWHERE" }', 'environment variable "NOWHERE": it is not set'),
    "a variable that is empty": ('{ env = "EMPTY" }', 'environment variable "EMPTY": it is empty'),
    "a file that is missing": ('{ file = "nowhere" }', 'file "nowhere": No such file or directory'),
    "a file that is a directory": ('{ file = "." }', 'file ".": Is a directory'),
    "a file that is a pipe": ('{ file = "pipe" }', 'file "pipe": it is no regular file'),
    "a file that is too long": ('{ file = "long" }', 'file "long": File too large'),
    "a file of several lines": ('{ file = "lines" }', 'file "lines": it holds control characters, or several lines'),
    "a file that is no text": ('{ file = "binary" }', 'file "binary": what it holds is not UTF-8'),
    "a command that is missing": (
        '{ command = ["/nonexistent/sops"] }',
        'command "/nonexistent/sops": it cannot be run: No such file or directory',
    ),
    "a command that fails": (
        '{ command = ["sh", "-c", "echo hunter2; echo hunter3 >&2; exit 3"] }',
        'command "sh": it exited with 3',
    ),
    "a command that prints nothing": ('{ command = ["true"] }', 'command "true": it is empty'),
    "a command that prints without end": (
        '{ command = ["yes", "hunter2"] }',
        'command "yes": it printed more than 64 KiB',
    ),
}


@pytest.mark.parametrize(("source", "message"), FAULTS.values(), ids=FAULTS)
def test_what_cannot_be_read_is_said_and_nothing_is_written(
    place: Place, source: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMPTY", "")
    (place.directory / "lines").write_text("hunter2\nhunter3\n")
    (place.directory / "binary").write_bytes(b"hunter2\xff")
    (place.directory / "long").write_text("hunter2" * 10_000)
    os.mkfifo(place.directory / "pipe")
    with pytest.raises(Rejected) as rejected:
        place.build(with_source(source))
    (found,) = rejected.value.diagnostics
    assert (found.code, found.message) == ("PGT560", f"a secret cannot be read from {message}")
    assert found.place is not None
    assert found.place.text.startswith("ldapbindpasswd")
    assert "hunter" not in str(rejected.value) + str(found.hint)
    assert not place.out.exists() or not any(place.out.rglob("*.conf"))


def test_a_command_that_hangs_is_ended(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "PATIENCE", 0.5)
    with pytest.raises(Rejected, match='from command "sh": it did not end within 1 seconds'):
        place.build(with_source('{ command = ["sh", "-c", "echo $$ > pid; echo hunter2; exec sleep 1000"] }'))
    gone([int((place.directory / "pid").read_text())])


def test_what_a_command_left_running_ends_with_it(place: Place) -> None:
    place.build(with_source('{ command = ["sh", "-c", "sleep 1000 > log 2>&1 & echo $! > pid; echo word"] }'))
    assert "ldapbindpasswd=word" in hba(place).replace('"', "")
    gone([int((place.directory / "pid").read_text())])


def test_a_command_has_the_variables_of_the_build_and_neither_its_terminal_nor_its_files(place: Place) -> None:
    program = "env > seen; ls /proc/self/fd | wc -l > files; cat > given; cut -d' ' -f6 /proc/self/stat > self; echo x"
    place.build(with_source(f'{{ command = ["sh", "-c", "{program}"] }}'))
    assert int((place.directory / "self").read_text()) != os.getsid(0), "another session has no terminal to ask at"
    seen = (place.directory / "seen").read_text()
    assert 'BIND=pass"word #1\n' in seen, "it may log in with what they hold"
    assert (place.directory / "given").read_text() == ""
    assert int((place.directory / "files").read_text()) == 4, "the three of each program, and the one that ls opens"


def test_checking_a_spec_reads_no_secret(place: Place) -> None:
    place.write(with_source('{ env = "NOWHERE" }'))
    assert run(["check", str(place.spec)]) == 0


def test_a_secret_that_is_asked_for_twice_is_read_once(place: Place) -> None:
    command = '{ command = ["sh", "-c", "echo x >> count; echo word"] }'
    second = LDAP.replace("clerk", "agent").replace("10.1.", "10.2.").replace("SOURCE", command)
    place.build(with_source(command) + second)
    assert (place.directory / "count").read_text() == "x\n"


def build_again(place: Place) -> str:
    words = [sys.executable, "-m", "pgtls", "build", str(place.spec), "--now", "2026-01-02"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("where", ["a variable", "a file"])
def test_a_secret_that_changed_is_no_quick_look_away(place: Place, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place.build(with_source(SOURCES[where]))
    assert build_again(place) == "nothing to do\n" or where == "a variable"
    monkeypatch.setenv("BIND", "new")
    (place.directory / "bind").write_text("new")
    assert "server.main" in build_again(place)
    assert "ldapbindpasswd=new" in hba(place).replace('"', "")


def test_no_output_of_a_build_has_the_secret(place: Place, secret: str, capfd: pytest.CaptureFixture[str]) -> None:
    place.write(with_source(SOURCES["a variable"]))
    assert run(["build", str(place.spec), "--format", "json"]) == 0
    out, err = capfd.readouterr()
    assert "ldapbindpasswd" not in out + err
    assert secret not in out + err
    assert all(secret not in path.read_text() for path in (place.lock, place.file("manifest.json")))
