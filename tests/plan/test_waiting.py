"""What the status says of certificates that cannot be signed here."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from plan.specs import BUILT, build
from support.pgtls import pgtls

if TYPE_CHECKING:
    from pathlib import Path

    from support.pgtls import Run

OFFLINE = """\
version = 1

[ca.root]
validity = "10y"
offline  = true

[ca.clients]
issuer   = "root"
validity = "1y"

[user.app]
ca       = "clients"
validity = "30d"
"""
EXTERNAL = """\
version = 1

[ca.root]

[server.main]
ca       = "root"
hosts    = ["db.example.com"]
external = true
no_local = true
"""


def look(here: Path, now: str = BUILT, *arguments: str) -> Run:
    return pgtls("status", "--format", "json", "--detailed-exitcode", *arguments, cwd=here, now=now)


def item(run: Run, entity: str, kind: str = "certificate") -> dict[str, Any]:
    current = (item for item in run.json["items"] if item["state"] != "superseded")
    (found,) = [item for item in current if (item["entity"], item["kind"]) == (entity, kind)]
    return dict(found)


def test_an_intermediate_whose_root_is_away_waits_when_it_comes_due(tmp_path: Path) -> None:
    build(tmp_path, OFFLINE)
    shutil.move(tmp_path / "out/ca/root/ca.key", tmp_path / "safe.key")
    assert look(tmp_path).status == 0
    late = "2026-10-01"
    assert pgtls("build", cwd=tmp_path, now=late).status == 0, "what can be signed here is"
    run = look(tmp_path, late)
    assert run.status == 2
    waiting = item(run, "ca.clients")
    assert (waiting["state"], waiting["due"]) == ("waiting", None)
    assert waiting["todo"].startswith("waits: it expires on 2027-01-01, and the key of CA")
    assert item(run, "user.app")["state"] == "ok"
    text = pgtls("status", cwd=tmp_path, now=late).stdout
    assert "1 waiting" in text
    assert "To do: run pgtls build" not in text, "a build alone would change nothing"
    metrics = pgtls("status", "--format", "prometheus", cwd=tmp_path, now=late).stdout
    labels = 'entity="ca.clients",kind="certificate",filepath="out/ca/clients/ca.crt"'
    assert f"pgtls_waiting{{{labels}}} 1" in metrics
    assert f"pgtls_due{{{labels}}} 0" in metrics

    ended = "2027-02-01"
    assert "get the key (--ca-key) or the signature that is waited for, run pgtls build" in (
        pgtls("status", cwd=tmp_path, now=ended).stdout
    )
    refused = pgtls("build", cwd=tmp_path, now=ended)
    assert refused.status == 1
    assert refused.stderr.count("error[PGT563]") == 1, "what is below the CA follows from it"

    assert pgtls("build", "--ca-key", "root=safe.key", cwd=tmp_path, now=late).status == 0
    assert item(look(tmp_path, late), "ca.clients")["state"] == "ok"


def test_a_request_that_is_out_waits_and_terraform_knows_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "pgtls.toml").write_text(EXTERNAL)
    built = pgtls("build", cwd=tmp_path, now=BUILT)
    assert built.status == 0, built.stderr
    run = look(tmp_path)
    assert run.status == 2
    waiting = item(run, "server.main")
    assert (waiting["state"], waiting["serial"]) == ("waiting", None)
    answer = pgtls("terraform", cwd=tmp_path, now=BUILT, stdin=json.dumps({"include": "request"})).json
    assert answer["server.main.server.csr"].startswith("-----BEGIN CERTIFICATE REQUEST-----")
    assert answer["server.main.sha256"] == ""
    assert answer["server.main.key_path"] == "out/servers/main/server.key"


def test_no_server_is_to_be_deployed_before_it_has_a_certificate(tmp_path: Path) -> None:
    build(tmp_path, EXTERNAL)
    changed = EXTERNAL.replace("no_local = true", 'min_tls = "1.3"\nno_local = true')
    (tmp_path / "pgtls.toml").write_text(changed)
    rewritten = pgtls("build", cwd=tmp_path, now=BUILT)
    assert "~ server.main  rewrite" in rewritten.stdout + rewritten.stderr
    assert "next:" not in rewritten.stdout + rewritten.stderr
    (tmp_path / "pgtls.toml").write_text(changed.replace("external = true\n", ""))
    signed = pgtls("build", cwd=tmp_path, now=BUILT)
    assert "next: copy out/servers/main to db.example.com" in signed.stdout + signed.stderr


def test_where_there_is_only_a_lock_what_others_sign_is_unknown(tmp_path: Path) -> None:
    build(tmp_path, EXTERNAL)
    shutil.rmtree(tmp_path / "out")
    words = ("status", "--format", "json", "--detailed-exitcode")
    run = pgtls(*words, cwd=tmp_path, now=BUILT, environment={"CI": "true"})
    assert run.status == 0
    assert item(run, "server.main")["state"] == "unknown"
