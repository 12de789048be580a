"""What `pgtls explain` needs to know besides the files, says when it is missing, and takes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pgtls.cli import run

if TYPE_CHECKING:
    from pathlib import Path

    Capture = pytest.CaptureFixture[str]


def ask(capsys: Capture, directory: Path, hba: str, *words: str, ident: str | None = None, status: int = 0) -> Any:
    (directory / "pg_hba.conf").write_text(hba)
    if ident is not None:
        (directory / "pg_ident.conf").write_text(ident)
        words = ("--ident", str(directory / "pg_ident.conf"), *words)
    asked = ("--hba", str(directory / "pg_hba.conf"), "--postgres", "17", "--database", "shop")
    assert run(["explain", *asked, *words, "--format", "json"]) == status
    return json.loads(capsys.readouterr().out)


ALICE = ("--user", "alice", "--from", "10.0.0.5")
PREMISES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "a group of roles": ("+staff 10.0.0.0/8", 'role "alice" is a member of "staff"', ("--member-of", "staff")),
    "a group of a group": (
        "+all_staff 10.0.0.0/8",
        'role "alice" is a member of "all_staff"',
        ("--member-of", "staff", "--member-of", "staff=all_staff"),
    ),
    "one of two groups": ("+a,+b 10.0.0.0/8", '"a" (--member-of a) or role "alice" is', ("--member-of", "b")),
    "the server's network": ("all samenet", "in the network of 10.0.0.5", ("--interface", "10.0.0.1/24")),
    "the server's address": ("all samehost", "10.0.0.5 is an address of the server", ("--interface", "10.0.0.5/8")),
    "a host name": ("all web.example.com", 'has the name "web.example.com"', ("--host-name", "web.example.com")),
    "a suffix": ("all .example.com", 'a name that ends in ".example.com"', ("--host-name", "web.example.com")),
}  # fmt: skip


@pytest.mark.parametrize(("scope", "premise", "words"), PREMISES.values(), ids=PREMISES)
def test_a_premise_is_named_and_taken(
    capsys: Capture, tmp_path: Path, scope: str, premise: str, words: tuple[str, ...]
) -> None:
    hba = f"hostssl all {scope} scram-sha-256\nhost all all 10.0.0.0/8 reject\n"
    without = ask(capsys, tmp_path, hba, *ALICE)
    (note,) = without["notes"]
    assert (without["outcome"], without["line"]) == ("refuse", 2)
    assert note.startswith('line 1 decides, and asks for "scram-sha-256", if ')
    assert premise in note
    given = ask(capsys, tmp_path, hba, *ALICE, *words)
    assert (given["outcome"], given["line"], given["notes"]) == ("admit", 1, [])


def test_the_database_of_samerole_is_a_group(capsys: Capture, tmp_path: Path) -> None:
    hba = "hostssl samerole all 10.0.0.0/8 md5\n"
    assert '"alice" is a member of "shop"' in ask(capsys, tmp_path, hba, *ALICE)["notes"][0]
    assert ask(capsys, tmp_path, hba, *ALICE, "--member-of", "shop")["outcome"] == "admit"


NO_PREMISE = {
    "what another part of the line excludes": "hostssl books +staff 10.0.0.0/8 md5\n",
    "what the transport excludes": "hostnossl all +staff 10.0.0.0/8 md5\nlocal all +staff peer\n",
    "what stands below the deciding line": "host all all all reject\nhost all +staff all md5\n",
}


@pytest.mark.parametrize("hba", NO_PREMISE.values(), ids=NO_PREMISE)
def test_a_membership_that_decides_nothing_is_not_named(capsys: Capture, tmp_path: Path, hba: str) -> None:
    assert ask(capsys, tmp_path, hba, *ALICE)["notes"] == []


PEER = ("--from", "local", "--user")
MAP = "m root postgres\nm /^(.*)@x$ \\1@x\nm /^dba[0-9]$ ops\nm git git\nm ci git\nm /^nogroup$ \\1\n"
ACCOUNTS = {
    "postgres": 'the operating-system user "root"',
    "git": 'the operating-system user "git" or "ci"',
    "ops": 'an operating-system user, one that matches "/^dba[0-9]$"',
    "a@x": 'an operating-system user, one that matches "/^(.*)@x$"',
    "alice": None,
    "nogroup": None,
}


@pytest.mark.parametrize(("role", "asks"), ACCOUNTS.items(), ids=list(ACCOUNTS))
def test_peer_with_a_map_admits_only_roles_that_the_map_gives(
    capsys: Capture, tmp_path: Path, role: str, asks: str | None
) -> None:
    answer = ask(capsys, tmp_path, "local all all peer map=m\n", *PEER, role, ident=MAP)
    assert (answer["outcome"], answer["asks"]) == (("admit", [asks]) if asks else ("refuse", []))
    if not asks:
        assert 'no match in usermap "m"' in answer["why"]


@pytest.mark.parametrize("ident", [None, "other root alice\n"])
@pytest.mark.parametrize(
    "line", ["local all all peer map=m", "host all all all ident map=m", "host all all all gss map=m"]
)
def test_a_map_that_does_not_exist_admits_nobody(capsys: Capture, tmp_path: Path, line: str, ident: str | None) -> None:
    where = PEER[:2] if line.startswith("local") else ("--from", "10.0.0.5")
    answer = ask(capsys, tmp_path, line + "\n", *where, "--user", "alice", ident=ident)
    assert answer["outcome"] == "refuse"
    known = "no line of pg_ident.conf has that map" if ident else "no line of pg_ident.conf is known (--ident)"
    assert known in answer["why"]


def test_peer_without_a_map_asks_for_the_account_of_the_role(capsys: Capture, tmp_path: Path) -> None:
    answer = ask(capsys, tmp_path, "local all all peer\n", *PEER, "alice")
    assert (answer["outcome"], answer["asks"]) == ("admit", ['the operating-system user "alice"'])


def test_a_refused_certificate_names_those_that_the_map_accepts(capsys: Capture, tmp_path: Path) -> None:
    hba, ident = "hostssl all all all cert map=m\n", "m alice.example.com alice\n"
    refused = ask(capsys, tmp_path, hba, *ALICE, ident=ident)
    assert (refused["outcome"], refused["notes"]) == (
        "refuse",
        ['map "m" gives role "alice" to "alice.example.com" (--cert)'],
    )
    assert ask(capsys, tmp_path, hba, *ALICE, "--cert", "alice.example.com", ident=ident)["outcome"] == "admit"


BESIDE: dict[str, tuple[str, str, str]] = {
    "by a map": ("map=m", "mallory", 'a certificate whose common name is "mallory" or one that matches "/^(.*)-x$"'),
    "by a map of subjects": (
        "map=m clientname=DN",
        "CN=alice-x",
        'a certificate whose subject is "mallory" or one that matches "/^(.*)-x$"',
    ),
    "without a map": ("", "alice", "a certificate whose common name is the role"),
}


@pytest.mark.parametrize(("options", "shown", "asks"), BESIDE.values(), ids=BESIDE)
def test_a_certificate_beside_another_proof_is_named_as_the_line_compares_it(
    capsys: Capture, tmp_path: Path, options: str, shown: str, asks: str
) -> None:
    hba, ident = f"hostssl all all all gss clientcert=verify-full {options}\n", "m mallory alice\nm /^(.*)-x$ alice\n"
    answer = ask(capsys, tmp_path, hba, *ALICE, "--cert", shown, ident=ident)
    assert (answer["outcome"], answer["asks"][1:]) == ("admit", [asks])


def test_a_certificate_may_be_given_by_its_whole_subject(capsys: Capture, tmp_path: Path) -> None:
    hba, subject = "hostssl all all all cert clientname=DN map=m\n", "CN=alice,OU=x,O=Example"
    ident = f'm "{subject}" alice\n'
    assert ask(capsys, tmp_path, hba, *ALICE, "--cert", subject, ident=ident)["outcome"] == "admit"
    assert ask(capsys, tmp_path, hba, *ALICE, "--cert", "CN=alice,O=Example", ident=ident)["outcome"] == "refuse"
    by_name = "hostssl all all all cert\n"
    assert ask(capsys, tmp_path, by_name, *ALICE, "--cert", subject)["outcome"] == "admit"


@pytest.mark.parametrize(
    ("shown", "role"),
    [
        ("CN=Dora\\, CFO,O=Example", "Dora, CFO"),
        ("Dora, CFO", "Dora, CFO"),
        ("CN=Zo\\C3\\AB", "Zoë"),
        ("CN=eve,CN=alice", "alice"),  # the first one in the certificate is the last one in the text
        ("CN=eve+CN=alice", "alice"),
        ("O=x\\,CN=eve,CN=alice", "alice"),
        ("CN=alice,O=x\\,CN=eve", "alice"),
        ("CN=alice,O=x/CN=eve", "alice"),
    ],
)
def test_a_common_name_is_read_from_a_subject_as_the_server_takes_it(
    capsys: Capture, tmp_path: Path, shown: str, role: str
) -> None:
    hba, question = "hostssl all all all cert\n", ("--from", "10.0.0.5", "--user")
    assert ask(capsys, tmp_path, hba, *question, role, "--cert", shown)["outcome"] == "admit"
    assert ask(capsys, tmp_path, hba, *question, "eve", "--cert", shown)["outcome"] == "refuse"
    subject = shown if "=" in shown else "CN=Dora\\, CFO"
    ident, whole = f'm "{subject}" boss\n', "hostssl all all all cert clientname=DN map=m\n"
    assert ask(capsys, tmp_path, whole, *question, "boss", "--cert", shown, ident=ident)["outcome"] == "admit"


BEYOND = ["/^shop(?<!x)$", "/***=shop", "/^[[=a=]]$", "/(?q)shop"]


@pytest.mark.parametrize("pattern", BEYOND)
def test_an_expression_that_pgtls_cannot_evaluate_ends_in_a_finding(
    capsys: Capture, tmp_path: Path, pattern: str
) -> None:
    hba = f'host "{pattern}" all all md5\n'
    found = ask(capsys, tmp_path, hba, *ALICE, status=1)["diagnostics"]
    assert [(one["code"], one["line"]) for one in found] == [("PGT293", 1)]
    assert pattern[1:] in found[0]["message"]
    above = f"host shop all all trust\n{hba}"
    assert ask(capsys, tmp_path, above, *ALICE)["outcome"] == "admit", "the answer does not depend on it"


@pytest.mark.parametrize("words", [("--member-of", "a="), ("--member-of", ""), ("--interface", "10.0.0.300/8")])
def test_wrong_premises_are_wrong_usage(capsys: Capture, tmp_path: Path, words: tuple[str, str]) -> None:
    (tmp_path / "pg_hba.conf").write_text("local all all peer\n")
    asked = ("--hba", str(tmp_path / "pg_hba.conf"), "--postgres", "17", "--database", "shop", *ALICE)
    assert run(["explain", *asked, *words]) == 64
    assert words[0] in capsys.readouterr().err


SPEC = """
version = 1
[ca.root]
[ca.clients]
[ca.others]
[ca.elsewhere]
[server.main]
ca = "root"
client_ca = ["clients"]
hosts = ["db.example.com"]
no_local = true
[server.replica]
ca = "root"
client_ca = ["others"]
hosts = ["replica.example.com"]
no_local = true
[server.plain]
ca = "root"
hosts = ["plain.example.com"]
no_local = true
[user.alice]
ca = "clients"
[user.bob]
ca = "others"
roles = ["bob_role", "reporting"]
[policy.main]
servers = ["all"]
users = ["alice", "bob"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "scram-sha-256"
[policy.certified]
servers = ["replica"]
users = ["bob"]
databases = ["books"]
from = ["10.0.0.0/8"]
auth = "cert"
"""


def of_spec(capsys: Capture, directory: Path, *words: str) -> Any:
    (directory / "pgtls.toml").write_text(SPEC)
    spec = str(directory / "pgtls.toml")
    assert run(["explain", spec, "--from", "10.0.0.7", *words, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


MAIN = ("--server", "main", "--user", "bob_role", "--database", "shop")


def test_a_certificate_that_the_server_does_not_trust_ends_the_handshake(capsys: Capture, tmp_path: Path) -> None:
    answer = of_spec(capsys, tmp_path, *MAIN, "--cert", "bob")
    assert (answer["outcome"], answer["line"]) == ("refuse", None)
    assert 'server "main" does not trust ca "others"' in answer["why"]
    assert answer["notes"] == ["the server admits the same connection without the certificate (--cert none)"]
    assert of_spec(capsys, tmp_path, *MAIN, "--cert", "none")["outcome"] == "admit"
    assert of_spec(capsys, tmp_path, *MAIN, "--cert", "alice")["outcome"] == "admit"


def test_a_certificate_that_the_bundle_leaves_out_is_named(capsys: Capture, tmp_path: Path) -> None:
    answer = of_spec(capsys, tmp_path, *MAIN)
    assert answer["outcome"] == "admit"
    assert ["the client shows no certificate: " in note for note in answer["notes"]] == [True]


def test_a_server_without_client_cas_asks_for_no_certificate(capsys: Capture, tmp_path: Path) -> None:
    answer = of_spec(capsys, tmp_path, "--server", "plain", *MAIN[2:], "--cert", "bob")
    assert answer["outcome"] == "admit"
    assert answer["notes"] == ['server "plain" asks for no certificate, since it has no client_ca']


def test_another_server_that_admits_is_named(capsys: Capture, tmp_path: Path) -> None:
    answer = of_spec(capsys, tmp_path, *MAIN[:4], "--database", "books")
    assert 'server "replica" admits it, by policy certified' in answer["notes"]
    assert not any("plain" in note for note in answer["notes"])


def test_a_user_given_as_a_role_is_told_its_roles(capsys: Capture, tmp_path: Path) -> None:
    answer = of_spec(capsys, tmp_path, "--server", "main", "--user", "bob", "--database", "shop")
    assert '"bob" is a user, not a role: it logs in as "bob_role", "reporting"' in answer["notes"]


UNDECIDED = """
version = 1
[ca.root]
[server.main]
ca = "root"
hosts = ["db.example.com"]
no_local = true
[server.other]
ca = "root"
hosts = ["other.example.com"]
no_local = true
[user.alice]
[policy.p]
servers = ["all"]
users = ["alice"]
databases = ["/(?x)^ shop $"]
from = ["10.0.0.0/8"]
auth = "scram-sha-256"
[policy.q]
servers = ["main"]
users = ["alice"]
databases = ["books"]
from = ["11.0.0.0/8"]
auth = "scram-sha-256"
"""
HANGS: dict[str, tuple[str, str, int]] = {
    "an address that only the expression's policy covers": ("10.0.0.1", "shop", 1),
    "an address that no policy covers": ("12.0.0.1", "shop", 0),
    "the socket": ("local", "shop", 0),
    "a policy that comes nearer": ("11.0.0.1", "x", 0),
}


@pytest.mark.parametrize(("address", "database", "status"), HANGS.values(), ids=HANGS)
def test_a_spec_with_an_expression_that_pgtls_cannot_evaluate_gets_an_answer_or_a_finding(
    capsys: Capture, tmp_path: Path, address: str, database: str, status: int
) -> None:
    (tmp_path / "pgtls.toml").write_text(UNDECIDED)
    asked = ("explain", str(tmp_path / "pgtls.toml"), "--server", "main", "--user", "alice", "--database", database)
    assert run([*asked, "--from", address]) == status
    found = capsys.readouterr()
    assert ("PGT293" in found.err) == bool(status)
    assert "Traceback" not in found.err
    assert found.out.startswith("refused") == (not status)
