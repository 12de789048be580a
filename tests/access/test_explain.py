"""One connection explained, of a spec and of a foreign file, as the command line prints it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pgtls.cli import run
from support.pgtls import EXAMPLE

if TYPE_CHECKING:
    from pathlib import Path


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert run(["explain", *words, "--format", "json"]) == 0
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    return answer


APP = (str(EXAMPLE), "--user", "app", "--database", "shop", "--from")

ADMITTED = {
    "with the certificate of the role": ((*APP, "10.0.0.7"), "cert", "app"),
    "in cleartext where the policy allows it": (
        (str(EXAMPLE), "--user", "metrics", "--database", "postgres", "--from", "127.0.0.1", "--cleartext"),
        "scram-sha-256",
        "metrics",
    ),
    "with somebody else's certificate that is mapped to the role": (
        (str(EXAMPLE), "--user", "reporting", "--database", "shop", "--from", "10.9.0.1", "--cert", "alice"),
        "cert",
        "staff",
    ),
    "over the socket": ((str(EXAMPLE), "--user", "postgres", "--database", "any", "--from", "local"), "peer", "admin"),
}


@pytest.mark.parametrize(("words", "method", "policy"), ADMITTED.values(), ids=ADMITTED)
def test_who_is_admitted(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], method: str, policy: str) -> None:
    answer = ask(capsys, *words)
    assert (answer["outcome"], answer["method"], answer["policy"]) == ("admit", method, policy)
    assert str(answer["rule"]).split()[-1].startswith((method, "map="))
    assert str(answer["place"]).startswith(f"{EXAMPLE}:")


REFUSED = {
    "in cleartext": ((*APP, "10.0.0.7", "--cleartext"), None, "app", ["it asks for TLS"]),
    "without a certificate": (
        (*APP, "10.0.0.7", "--cert", "none"),
        "app",
        "app",
        ["it asks for a certificate that the server accepts"],
    ),
    "from another address": ((*APP, "11.0.0.7"), None, "app", ["it does not cover address 11.0.0.7"]),
    "to another database": (
        (str(EXAMPLE), "--user", "app", "--database", "reports", "--from", "10.0.0.7"),
        None,
        "app",
        ['it does not cover database "reports"'],
    ),
    "with another's certificate": (
        (str(EXAMPLE), "--user", "reporting", "--database", "shop", "--from", "10.9.0.1", "--cert", "app"),
        "staff",
        "staff",
        [],
    ),
    "over the socket": (
        (str(EXAMPLE), "--user", "app", "--database", "shop", "--from", "local"),
        None,
        "app",
        ["it is not for the Unix socket", "it asks for TLS"],
    ),
}


@pytest.mark.parametrize(("words", "policy", "near", "missing"), REFUSED.values(), ids=REFUSED)
def test_who_is_refused_and_what_is_missing(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], policy: str | None, near: str, missing: list[str]
) -> None:
    answer = ask(capsys, *words)
    assert (answer["outcome"], answer["policy"]) == ("refuse", policy)
    assert answer["nearest"] == {"policy": near, "missing": missing}


def test_a_page_says_line_and_policy_with_their_places(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", *APP, "10.0.0.7"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(
        'admitted: role "app", database "shop" from 10.0.0.7, over TLS, showing the certificate of "app"\n'
    )
    assert "pg_hba.conf:" in text
    assert f"policy   app  ({EXAMPLE}:" in text


@pytest.mark.parametrize(("words", "hint"), [(("--cert", "ap"), '"app"'), (("--server", "primari"), '"primary"')])
def test_a_question_about_what_is_not_there(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], hint: str
) -> None:
    assert run(["explain", *APP, "10.0.0.7", *words]) == 1
    text = capsys.readouterr().err
    assert "PGT291" in text
    assert f"did you mean {hint}?" in text


def test_a_foreign_file_is_explained_by_its_lines(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    hba, ident = tmp_path / "pg_hba.conf", tmp_path / "pg_ident.conf"
    hba.write_text("hostnossl all all all reject\nhostssl all all all cert map=ssl\n")
    ident.write_text("ssl /^(.*)\\.example\\.org$ \\1\n")
    file = (
        "--hba",
        str(hba),
        "--ident",
        str(ident),
        "--postgres",
        "16",
        "--user",
        "app",
        "--database",
        "d",
        "--from",
        "10.0.0.1",
    )
    admitted = ask(capsys, *file, "--cert", "app.example.org")
    assert (admitted["outcome"], admitted["line"]) == ("admit", 2)
    assert ask(capsys, *file, "--cert", "app.example.com")["outcome"] == "refuse"
    cleartext = ask(capsys, *file, "--cleartext")
    assert (cleartext["outcome"], cleartext["line"], cleartext["why"]) == ("refuse", 1, "the line rejects it")


def test_a_foreign_file_with_errors_says_all_of_them_and_what_the_server_does(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    hba = tmp_path / "pg_hba.conf"
    hba.write_text("host all all 10.0.0.1 trust\nlocal all all peer\nhostssl all all all cret\n")
    words = ("--hba", str(hba), "--postgres", "15", "--user", "a", "--database", "b", "--from", "10.0.0.1")
    assert run(["explain", *words]) == 1
    text = capsys.readouterr().err
    assert text.count("error[PGT290]") == 2
    assert f"{hba}:1:23" in text
    assert 'invalid authentication method "cret"' in text
    assert "the server does not start; at a reload it keeps the lines it had" in text


def test_wrong_questions_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", *APP, "somewhere"]) == 64
    assert run(["explain", *APP, "local", "--cleartext"]) == 64
    assert run(["explain", "--hba", "x", "--user", "a", "--database", "b", "--from", "local"]) == 64
    capsys.readouterr()
