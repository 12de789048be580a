"""One connection explained, of a spec and of a foreign file, as the command line prints it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import pgtls
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


def test_a_policy_of_a_higher_priority_that_asks_for_tls_is_why_cleartext_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    spec = tmp_path / "pgtls.toml"
    spec.write_text("""
version = 1
[ca.root]
[server.main]
ca = "root"
hosts = ["db.example.com"]
no_local = true
[user.app]
[policy.tls]
users = ["app"]
from = ["10.0.0.0/8"]
auth = "scram-sha-256"
priority = 2
[policy.clear]
users = ["app"]
from = ["10.0.0.0/8"]
auth = "scram-sha-256"
sslmode = "prefer"
priority = 1
waiver = { reason = "a test", codes = ["PGT306"] }
""")
    words = (str(spec), "--user", "app", "--database", "shop", "--from", "10.0.0.1", "--cleartext")
    missing = ['policy "tls" has a higher priority, and it asks for TLS']
    assert ask(capsys, *words)["nearest"] == {"policy": "clear", "missing": missing}
    assert ask(capsys, *words[:-1])["policy"] == "tls"


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


def test_the_deciding_line_of_an_included_file_is_shown_as_it_stands_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "more.d").mkdir()
    (tmp_path / "more.d/10.conf").write_text("# one\n# two\nhost all all 10.0.0.0/8 md5\n")
    hba = tmp_path / "pg_hba.conf"
    hba.write_text("# one\ninclude_dir more.d\nlocal all all peer\n")
    words = ("--hba", str(hba), "--postgres", "17", "--user", "a", "--database", "b")
    answer = ask(capsys, *words, "--from", "10.0.0.1")
    assert (answer["file"], answer["line"], answer["rule"]) == (
        str(tmp_path / "more.d/10.conf"), 3, "host all all 10.0.0.0/8 md5"
    )  # fmt: skip
    assert ask(capsys, *words, "--from", "local")["rule"] == "local all all peer"


def test_a_secret_in_a_foreign_file_is_not_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    hba = tmp_path / "pg_hba.conf"
    hba.write_text(
        'host all all all ldap ldapserver=l ldapbasedn="o=x" ldapbinddn=n "ldapbindpasswd=hunter 2" ldaptls=1\n'
    )
    words = ("--hba", str(hba), "--postgres", "15", "--user", "a", "--database", "b", "--from", "10.0.0.1")
    answer = ask(capsys, *words)
    assert (
        answer["rule"]
        == 'host all all all ldap ldapserver=l ldapbasedn="o=x" ldapbinddn=n "ldapbindpasswd=********* ldaptls=1'
    )


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


@pytest.mark.parametrize("file", ["--hba", "--ident"])
def test_a_foreign_file_without_an_end_is_not_read_for_ever(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, file: str
) -> None:
    hba = tmp_path / "pg_hba.conf"
    hba.write_text("local all all peer\n")
    words = ("explain", "--hba", str(hba), "--postgres", "15", *BARE, "local")
    assert run([*words, file, "/dev/zero"]) == 1
    assert capsys.readouterr().err == "/dev/zero: error[PGT591]: file too large\n"
    assert run(words) == 0
    capsys.readouterr()


BARE = ("--user", "a", "--database", "b", "--from")
WRONG = {
    "an address that is none": ((*APP, "somewhere"), "--from somewhere"),
    "no TLS where there is none": ((*APP, "local", "--cleartext"), "--cleartext"),
    "a file of no version": (("--hba", "x", *BARE, "local"), "--hba needs --postgres"),
    "a file of a server": (("--hba", "x", "--postgres", "15", "--server", "y", *BARE, "local"), "--server"),
    "the ident file of no other": ((*APP, "local", "--ident", "x"), "--ident and --postgres"),
    "the version of no other": ((*APP, "local", "--postgres", "15"), "--ident and --postgres"),
    "a certificate in cleartext": ((*APP, "10.0.0.7", "--cleartext", "--cert", "app"), "--cert"),
    "a certificate on the socket": ((*APP, "local", "--cert", "app"), "--cert"),
}


@pytest.mark.parametrize(("words", "reason"), WRONG.values(), ids=WRONG)
def test_wrong_questions_are_wrong_usage(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], reason: str
) -> None:
    assert run(["explain", *words]) == 64
    assert f"Error: {reason}" in capsys.readouterr().err


def test_that_no_certificate_is_shown_may_be_said_anyway(capsys: pytest.CaptureFixture[str]) -> None:
    for transport in (("10.0.0.7", "--cleartext"), ("local",)):
        assert ask(capsys, *APP, *transport, "--cert", "none")["outcome"] == "refuse"


ENDED = """
version = 1
[ca.root]
[ca.clients]
[server.main]
ca = "root"
client_ca = ["clients"]
hosts = ["db.example.com"]
no_local = true
[user.alice]
ca = "clients"
[user.bob]
ca = "clients"
until = 2026-06-30
[policy.staff]
users = ["alice", "bob"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "cert"
[policy.old]
users = ["alice"]
databases = ["reports"]
from = ["10.0.0.0/8"]
auth = "cert"
until = 2026-03-31
"""
NOTES = {
    "a user who has ended": ("bob", "shop", ['user "bob" ended at 2026-06-30T00:00:00Z and counts as deleted']),
    "a misspelt role": ("alcie", "shop", ['the spec has no role "alcie": did you mean "alice"?']),
    "a role that is like no other": ("zz", "shop", ['the spec has no role "zz"']),
    "a misspelt database": ("alice", "shpo", ['the spec names no database "shpo": did you mean "shop"?']),
    "a database like no other": ("alice", "x", []),
    "a policy that has ended": ("alice", "reports", ['policy "old" covers it, but ended at 2026-03-31T00:00:00Z']),
}


@pytest.mark.parametrize(("role", "database", "notes"), NOTES.values(), ids=NOTES)
def test_a_refusal_notes_what_names_and_the_clock_have_to_do_with_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, role: str, database: str, notes: list[str]
) -> None:
    spec = tmp_path / "pgtls.toml"
    spec.write_text(ENDED)
    words = (str(spec), "--user", role, "--database", database, "--from", "10.0.0.1")
    answer = ask(capsys, *words, "--now", "2026-07-01")
    assert (answer["outcome"], answer["notes"]) == ("refuse", notes)
    assert run(["explain", *words, "--now", "2026-07-01"]) == 0
    assert capsys.readouterr().out.count("\n  note ") == len(notes)
    earlier = ask(capsys, *words, "--now", "2026-01-01")
    ended = any("ended" in note for note in notes)
    assert (earlier["outcome"], earlier["notes"]) == (("admit", []) if ended else ("refuse", notes))


def test_the_certificate_of_a_user_who_has_ended_is_no_more(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "pgtls.toml").write_text(ENDED)
    words = ["--user", "alice", "--database", "shop", "--from", "10.0.0.1", "--cert", "bob", "--now", "2026-07-01"]
    assert run(["explain", str(tmp_path / "pgtls.toml"), *words]) == 1
    assert 'user "bob" has ended, and so has its certificate' in capsys.readouterr().err


@pytest.mark.parametrize(("database", "outcome"), [("shop", "admit"), ("other", "refuse")])
def test_a_user_of_the_spec_that_is_given_as_a_role_is_said_to_be_one(database: str, outcome: str) -> None:
    spec = pgtls.loads(
        "version = 1\n[ca.root]\n[server.main]\nca = 'root'\nhosts = ['db']\nno_local = true\n"
        "[user.alice]\nroles = ['reader', 'writer']\n"
        "[policy.all]\nusers = ['all']\ndatabases = ['shop']\nfrom = ['10.0.0.0/8']\nauth = 'scram-sha-256'\n"
    )
    answer = pgtls.explain(spec, user="alice", database=database, source="10.0.0.7")
    assert answer.outcome == outcome
    assert '"alice" is a user, not a role: it logs in as "reader", "writer"' in answer.notes
    role = pgtls.explain(spec, user="reader", database=database, source="10.0.0.7")
    assert not [note for note in role.notes if "is a user" in note]
