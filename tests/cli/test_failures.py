"""How commands fail: one object with ``--format json``, one message otherwise, a traceback only for faults of pgtls."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

import pgtls.pipeline
from pgtls.cli import COMMANDS, run
from pgtls.cli.wrong_usage import INSTEAD
from pgtls.diagnostics.rules import catalogue
from support.building import SMALL

if TYPE_CHECKING:
    from pathlib import Path

USES = {
    "check": (),
    "plan": (),
    "try": (),
    "verify": (),
    "build": (),
    "confirm": ("server.main", "--reason", "test"),
    "fetch": ("here", "server.main", "--out", "s3://"),
    "status": (),
    "access": (),
    "explain": ("--user", "app", "--database", "shop", "--from", "10.0.0.1"),
    "diff": ("other.toml",),
    "export": ("cloudnativepg", "--to", "to"),
    "rule": (),
}
"""Commands with ``--format json``, and what they need in addition to a spec."""
OF_A_SPEC = [name for name in USES if name not in ("rule", "confirm", "export", "fetch")]
MEMBERS = {"code", "severity", "message", "hint", "file", "line", "column", "end_line", "end_column", "path"}


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("pgtls.toml", "other.toml"):
        (tmp_path / name).write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def failed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    """Run a command that must fail; give its status and the one object on stdout."""
    status = run([*words, "--format", "json"])
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert {"format_version", "command", "diagnostics"} <= answer.keys()
    assert answer["command"] == words[0]
    assert any(diagnostic["severity"] == "error" for diagnostic in answer["diagnostics"])
    assert all(diagnostic.keys() == MEMBERS for diagnostic in answer["diagnostics"])
    return status, answer


def codes(answer: dict[str, Any]) -> set[str]:
    return {diagnostic["code"] for diagnostic in answer["diagnostics"] if diagnostic["severity"] == "error"}


def run_for_help(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    assert run([*command, "--help"]) == 0
    return capsys.readouterr().out


def test_these_are_all_commands_that_print_json(capsys: pytest.CaptureFixture[str]) -> None:
    with_json = {name for name in COMMANDS if "json" in run_for_help(capsys, name).partition("--format <")[2]}
    assert with_json == set(USES)


@pytest.mark.parametrize("command", USES)
@pytest.mark.parametrize("wrong", [("--bogus",), ("--format",), ("a", "b", "c")], ids=" ".join)
def test_wrong_usage_is_one_object(capsys: pytest.CaptureFixture[str], command: str, wrong: tuple[str, ...]) -> None:
    if command in ("confirm", "fetch") and "a" in wrong:
        wrong = ("--bogus", "c")  # it takes any number of words
    status, answer = failed(capsys, command, *USES[command], *wrong)
    assert (status, codes(answer)) == (64, {"PGT590"})
    assert answer["diagnostics"][0]["message"][0].isupper() is False


@pytest.mark.parametrize(
    "words",
    [
        ("explain",),
        ("explain", *USES["explain"], "--hba", "x"),
        ("explain", "--user", "a", "--database", "b", "--from", "nowhere"),
        ("check", "--now", "yesterday"),
        ("status", "--within", "long"),
        ("plan", "--ca-key", "root"),
        ("build", "--jobs", "0"),
        ("build", "--depfile", "pgtls.toml"),
    ],
    ids=" ".join,
)
def test_what_is_missing_or_wrong_is_one_object(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    status, answer = failed(capsys, *words)
    assert (status, codes(answer)) == (64, {"PGT590"})


def test_a_command_that_does_not_exist_is_one_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["chekc", "--format=json"]) == 64
    answer = json.loads(capsys.readouterr().out)
    assert (answer["command"], codes(answer)) == (None, {"PGT590"})


def test_wrong_usage_without_json_prints_nothing_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["check", "--bogus"], ["check", "--format", "json", "--format", "text", "--bogus"], ["chekc"], []):
        assert run(words) == 64
        said = capsys.readouterr()
        assert (said.out, said.err != "") == ("", True)


@pytest.mark.parametrize("word", INSTEAD)
def test_a_word_that_other_tools_have_is_answered_with_what_to_type(
    capsys: pytest.CaptureFixture[str], word: str
) -> None:
    assert word not in COMMANDS
    assert run([word, "server.main"]) == 64
    said = capsys.readouterr().err
    advice = said.partition("there is no command")[2].partition("\n")[0]
    assert re.findall(r"pgtls [a-z]+|pgtls --|pgtls COMMAND|revoke_before", advice)
    assert set(re.findall(r"pgtls ([a-z]+)", advice)) <= {*COMMANDS, "only"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("revoke", "anna"), "set revoke_before in [user.anna], or delete that table, and run pgtls build"),
        (("renew", "ca.root"), "run pgtls build --renew ca.root"),
        (("renew",), "run pgtls build --renew user.NAME"),
        (("renew", "--all", "../x"), "run pgtls build --renew user.NAME"),
        (("bild",), "did you mean build?"),
        (("build", "--rewnew", "x"), "there is no option --rewnew; did you mean --renew?"),
        (("build", "--renew"), "pgtls build --help shows how to use it"),
        (("\x1b[31m",), r'there is no command "\x1b[31m"'),
    ],
    ids=str,
)
def test_wrong_usage_says_what_to_type(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str) -> None:
    assert run(words) == 64
    assert said in capsys.readouterr().err


def test_the_name_alone_shows_the_help_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 64
    assert capsys.readouterr().err.strip() == run_for_help(capsys).strip()


def spoil(directory: Path, what: str) -> None:
    spec, lock, out = directory / "pgtls.toml", directory / "pgtls.lock", directory / "out"
    match what:
        case "no spec":
            spec.unlink()
        case "a directory":
            spec.unlink()
            spec.mkdir()
        case "no text":
            spec.write_bytes(b"\xff\xfe")
        case "no TOML":
            spec.write_text("[[")
        case "an unknown ca":
            spec.write_text(SMALL.replace('client_ca = ["', 'client_ca = ["x'))
        case "a lock that is a directory":
            lock.mkdir()
        case "an out directory that is a file":
            out.write_text("")


OF_EVERY_COMMAND = (
    "no spec",
    "a directory",
    "no text",
    "no TOML",
    "an unknown ca",
    "a lock that is a directory",
)
SPOILT = [(command, what) for command in OF_A_SPEC for what in OF_EVERY_COMMAND] + [
    (command, "an out directory that is a file") for command in ("plan", "build", "status")
]


@pytest.mark.parametrize(("command", "what"), SPOILT)
def test_what_cannot_be_read_is_one_object(
    capsys: pytest.CaptureFixture[str], directory: Path, command: str, what: str
) -> None:
    spoil(directory, what)
    status, answer = failed(capsys, command, "pgtls.toml", *USES[command])
    assert status == 1
    assert codes(answer) <= catalogue().keys() - {"PGT590", "PGT599"}


@pytest.mark.parametrize(
    ("words", "code", "file"),
    [
        (("rule", "XX"), "PGT291", None),
        (("explain", *USES["explain"], "--postgres", "15", "--hba", "no.conf"), "PGT591", "no.conf"),
        (("explain", *USES["explain"], "--postgres", "15", "--hba", "."), "PGT591", "."),
        (("diff", "git:nowhere", "pgtls.toml"), "PGT292", None),
        (("check", "no/such/file.toml"), "PGT001", "no/such/file.toml"),
        (("build", "--replace", "user.nobody"), "PGT556", None),
        (("plan", "--renew", "user.nobody"), "PGT556", None),
    ],
)
def test_what_is_not_there_is_one_object(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: str, file: str | None
) -> None:
    status, answer = failed(capsys, *words)
    assert (status, codes(answer)) == (1, {code})
    assert file in (None, answer["diagnostics"][0]["file"])


def test_a_rule_for_make_that_cannot_be_written_says_that_the_build_stands(
    capsys: pytest.CaptureFixture[str], directory: Path
) -> None:
    name = "x" * 255  # the longest one: what is written first, next to it, has a longer one
    for _ in ("the first build", "one with nothing to do"):
        status, answer = failed(capsys, "build", "--depfile", name)
        assert (status, codes(answer)) == (1, {"PGT591"})
        assert "all the same" in answer["diagnostics"][0]["hint"]
        assert (directory / "out" / "manifest.json").exists()
    assert run(["build", "--depfile", name]) == 1
    assert f"{name}: error[PGT591]: file name too long" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "status", "code"), [(ZeroDivisionError("x"), 1, "PGT599"), (KeyboardInterrupt(), 130, "PGT592")]
)
@pytest.mark.parametrize("command", ["check", "access"])
def test_a_bug_and_an_interruption_are_one_object(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    fault: BaseException,
    status: int,
    code: str,
) -> None:
    def broken(*_: object) -> None:
        raise fault

    monkeypatch.setattr(pgtls.pipeline, "check", broken)
    assert run([command, "--format", "json"]) == status
    said = capsys.readouterr()
    assert codes(json.loads(said.out)) == {code}
    assert ("Please report it" in said.err) is ("Traceback" in said.err) is (code == "PGT599")
    assert run([command]) == status
    said = capsys.readouterr()
    assert said.out == ""
    assert ("Traceback" in said.err) is (code == "PGT599")


@pytest.mark.parametrize(("name", "status"), [("A B", 64), ("../x", 64), ("", 64), ("main-1", 0)])
def test_an_import_writes_no_spec_for_a_server_that_cannot_be_called_so(
    capsys: pytest.CaptureFixture[str], directory: Path, name: str, status: int
) -> None:
    (directory / "pg_hba.conf").write_text("local all all peer\n")
    words = ["import", "--hba", "pg_hba.conf", "--postgres", "17", "--host", "db", "--output", "new.toml"]
    assert run([*words, "--server", name]) == status
    assert (directory / "new.toml").exists() is (status == 0)
    assert ("is no name of a table" in capsys.readouterr().err) is (status == 64)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("check", "--format", "jsno"), '--format: "jsno" is none of text, json, github and sarif; did you mean json?'),
        (("build", "--jobs", "x"), '--jobs: "x" is not a whole number'),
        (("build", "--jobs", "0"), "--jobs: 0 is out of range: it must be 1 or more"),
        (("verify", "--wait", "9" * 40), f"--wait: {'9' * 40} is out of range: it must be 0 to 86400"),
        (("explain", "--hba", "f", "--postgres", "9"), "--postgres: 9 is out of range: it must be 13 to 19"),
        (("explain",), "--user ROLE is missing: the database role that connects"),
        (("build", "--renew"), "--renew needs a value"),
        (("build", "--check=yes"), "--check takes no value"),
        (("check", "a", "b"), "too many arguments: b"),
        (("plan", "--now", "soon"), '--now: "soon" is no instant: write 2027-06-30 or 2027-06-30T12:00:00Z'),
        (("build", "--ca-key", "x"), '--ca-key: "x" is not NAME=PATH'),
        (("build", "--depfile", "/nowhere/x"), '--depfile: "/nowhere/x": there is no such directory'),
        (("build", "--force"), "there is no option --force: each refusal names its own option, such as --allow-revoke"),
        (("build", "--dry-run"), "there is no option --dry-run: pgtls plan shows what a build would do"),
        (("plan", "--json"), "there is no option --json: name the format with --format"),
        (("explain", "PGT101"), "to explain PGT101: pgtls rule PGT101"),
        (("build", "--zebra"), "there is no option --zebra of pgtls build"),
        (
            ("--zebra",),
            "there is no option --zebra before the command; pgtls COMMAND --help lists those that follow it",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_values_and_options_are_described_in_the_words_of_pgtls(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert run(words) == 64
    assert f"Error: {said}" in capsys.readouterr().err


def test_a_wrong_variable_is_named_as_the_variable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGTLS_NOW", "soon")
    assert run(["plan"]) == 64
    assert 'Error: $PGTLS_NOW: "soon" is no instant' in capsys.readouterr().err


def test_a_name_in_place_of_the_spec_is_told_where_it_belongs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", "main"]) == 1
    assert "a name follows its option, such as --server" in capsys.readouterr().err
