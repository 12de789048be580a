"""The access matrix of a server, in each of its formats."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pgtls.cli import run
from support.pgtls import EXAMPLE

if TYPE_CHECKING:
    from pathlib import Path

DOWNGRADE = """
version = 1
[ca.root]
[server.main]
ca = "root"
hosts = ["db.example.com"]
no_local = true
[user.carol]
[policy.carol]
users = ["carol"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "scram-sha-256"
[policy.everybody]
users = ["all"]
databases = ["shop"]
from = ["10.0.0.0/8"]
sslmode = "prefer"
auth = "scram-sha-256"
waiver = "a test | with a bar"
"""


LDAP = """
version = 1
[ca.root]
[server.main]
ca = "root"
hosts = ["db.example.com"]
no_local = true
[user.carol]
[policy.carol]
users = ["carol"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "ldap"
auth_options = {{ {} }}
"""


def rows(capsys: pytest.CaptureFixture[str], spec: Path) -> list[dict[str, object]]:
    assert run(["access", str(spec), "--format", "json"]) == 0
    (server,) = json.loads(capsys.readouterr().out)["servers"]
    found: list[dict[str, object]] = server["rows"]
    return found


def test_a_row_says_who_reaches_what_from_where_by_which_proof_and_policy(capsys: pytest.CaptureFixture[str]) -> None:
    staff = next(row for row in rows(capsys, EXAMPLE) if row["policies"] == ["staff"])
    assert staff == {
        "roles": ["alice", "reporting", "auditor"],
        "databases": ["shop", "reports"],
        "addresses": ["10.9.0.0/16", "192.168.7.0/24", "127.0.0.1/32"],
        "over": "TLS",
        "method": "cert",
        "certificate": "verify-full",
        "certificates": {"alice": ["alice", "reporting"], "auditor": ["auditor"]},
        "sslmode": "verify-full",
        "policies": ["staff"],
        "decided_by": [],
    }


def test_a_row_says_which_service_decides_logins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "pgtls.toml"
    ldap = 'ldapserver = "one two", ldaptls = true, ldapbasedn = "dc=x", ldapbindpasswd = { env = "A" }'
    spec.write_text(LDAP.format(ldap))
    (row,) = rows(capsys, spec)
    assert row["decided_by"] == ["one:389 over TLS", "two:389 over TLS"]
    assert run(["access", str(spec)]) == 0
    assert "ldap by one:389 over TLS, two:389 over TLS" in capsys.readouterr().out
    spec.write_text(LDAP.format('ldapurl = { env = "A" }'))
    (row,) = rows(capsys, spec)
    assert "A" not in str(row["decided_by"])


BOTH = """
version = 1
[ca.root]
[ca.clients]
[server.main]
ca = "root"
client_ca = ["clients"]
hosts = ["db.example.com"]
no_local = true
[user.carol]
ca = "clients"
{}
[policy.carol]
users = ["carol"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "gss"
client_cert = "{}"
"""
PROOFS = {
    "a name that a map gives a role": (
        'roles = ["app"]',
        "verify-full",
        "gss and a certificate, each as carol (as app)",
    ),
    "a subject that a map gives a role": (
        'identity = "dn"',
        "verify-full",
        "gss and a certificate, each as CN=carol (as carol)",
    ),
    "the name of the role": ("", "verify-full", "gss, and a certificate with CN = role"),
    "any certificate": ('roles = ["app"]', "verify-ca", "gss, and a certificate"),
}


@pytest.mark.parametrize(("field", "certificate", "words"), PROOFS.values(), ids=PROOFS)
def test_a_row_names_who_may_show_the_certificate_beside_another_proof(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], field: str, certificate: str, words: str
) -> None:
    spec = tmp_path / "pgtls.toml"
    spec.write_text(BOTH.format(field, certificate))
    assert run(["access", str(spec)]) == 0
    assert f" {words}  verify-full " in capsys.readouterr().out


def test_the_socket_has_no_address_and_no_sslmode(capsys: pytest.CaptureFixture[str]) -> None:
    admin = next(row for row in rows(capsys, EXAMPLE) if row["policies"] == ["admin"])
    assert (admin["over"], admin["addresses"], admin["sslmode"]) == ("socket", [], None)


def test_cleartext_that_is_refused_is_a_row(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    spec = tmp_path / "pgtls.toml"
    spec.write_text(DOWNGRADE)
    assert [(row["roles"], row["over"], row["method"]) for row in rows(capsys, spec)] == [
        (["carol"], "TLS", "scram-sha-256"),
        (["carol"], "cleartext", "reject"),
        (["all"], "TLS or cleartext", "scram-sha-256"),
    ]


def test_text_and_markdown_tell_the_same_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["access", str(EXAMPLE)]) == 0
    text = capsys.readouterr().out
    assert run(["access", str(EXAMPLE), "--format", "markdown"]) == 0
    markdown = capsys.readouterr().out
    assert "client certificates: clients" in text
    for words in ("10.0.0.0/8, 127.0.0.1/32", "scram-sha-256", "TLS or cleartext", "verify-full"):
        assert words in text
        assert words in markdown.replace("`", "")
    assert markdown.partition("\n| waived")[0].count("\n| ") == 1 + 4


def test_a_spec_with_errors_has_no_matrix(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    spec = tmp_path / "pgtls.toml"
    spec.write_text(DOWNGRADE.replace('users = ["carol"]', 'users = ["coral"]'))
    assert run(["access", str(spec), "--format", "json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert [d["code"] for d in answer["diagnostics"] if d["severity"] == "error"] == ["PGT101"]
    assert "servers" not in answer


NAMES = [f"u{number}" for number in range(9)]
CROWD = BOTH.format("", "none").replace('"gss"', '"cert"').replace('client_cert = "none"\n', "") + (
    """map = [{ identity = "/^(.*)@evil$", role = "carol" }]
waiver = { reason = "x", codes = ["PGT330"] }
"""
    + "".join(f'[user.{name}]\nca = "clients"\nroles = ["carol"]\n' for name in NAMES)
)


@pytest.mark.parametrize("format_", ["text", "markdown"])
def test_a_cell_that_is_cut_says_where_the_rest_is_and_begins_with_patterns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], format_: str
) -> None:
    spec = tmp_path / "pgtls.toml"
    spec.write_text(CROWD.replace('users = ["carol"]', f"users = {['carol', *NAMES]}"))
    where = "A cell has the first 8 names of a kind. All of them: pgtls access --format json"
    assert run(["access", str(spec), "--format", format_]) == 0
    printed = capsys.readouterr().out.replace("`", "")
    assert "a certificate: /^(.*)@evil$ (as carol), " in printed
    assert " and 3 more" in printed
    assert where in printed.splitlines()
    (row,) = rows(capsys, spec)
    assert [name for name in (*NAMES, "/^(.*)@evil$") if name not in str(row["certificates"])] == []
    spec.write_text(CROWD)
    assert run(["access", str(spec), "--format", format_]) == 0
    assert where not in capsys.readouterr().out.replace("`", "")
