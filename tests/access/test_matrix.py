"""The access matrix of a server, in each of its formats."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pgtls.cli import run
from support.pgtls import EXAMPLE

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

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
    }


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
