"""The answer to Terraform's external data source."""

from __future__ import annotations

import json
import os
import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from plan.specs import BUILT, CERTIFICATES, LISTS, SPEC, build
from support.pgtls import pgtls

if TYPE_CHECKING:
    from pathlib import Path

    from support.pgtls import Run

LATER = "2026-01-19T23:00:00Z"
"""Shortly before the first renewal window opens."""
DUE = "2026-01-21T00:00:00Z"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    build(tmp_path)
    return tmp_path


def ask(here: Path, query: dict[str, Any] | str = "{}", now: str = BUILT) -> Run:
    return pgtls("terraform", cwd=here, now=now, stdin=query if isinstance(query, str) else json.dumps(query))


def answer(here: Path, query: dict[str, Any] | str = "{}", now: str = BUILT) -> dict[str, str]:
    run = ask(here, query, now)
    assert (run.status, run.stderr) == (0, "")
    assert isinstance(run.json, dict)
    assert all(isinstance(value, str) for value in run.json.values())
    return run.json


def snapshot(directory: Path) -> dict[str, tuple[int, int, int]]:
    return {
        str(p): (s.st_mtime_ns, s.st_size, s.st_mode) for p in [directory, *directory.rglob("*")] if (s := os.lstat(p))
    }


def test_every_certificate_has_its_facts_and_its_paths(here: Path) -> None:
    found = answer(here)
    for entity in CERTIFICATES:
        pem = (here / found[f"{entity}.path"]).read_bytes()
        certificate = x509.load_pem_x509_certificate(pem)
        assert found[f"{entity}.serial"] == f"{certificate.serial_number:x}"
        assert found[f"{entity}.not_after"] == f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
        assert (here / found[f"{entity}.key_path"]).stat().st_mode & 0o777 == 0o600
        assert found[f"{entity}.sha256"] == certificate.fingerprint(hashes.SHA256()).hex()
    for entity in LISTS:
        crl = x509.load_pem_x509_crl((here / found[f"{entity}.crl_path"]).read_bytes())
        assert crl.next_update_utc is not None
        assert found[f"{entity}.crl_next_update"] == f"{crl.next_update_utc:%Y-%m-%dT%H:%M:%SZ}"
    assert found["user.metrics.directory"] == "out/clients/metrics"
    assert "user.metrics.path" not in found
    assert found["status"] == "ok"
    assert found["changes"] == "0"


def test_the_answer_is_sorted_and_the_same_from_run_to_run_while_only_the_clock_goes_on(here: Path) -> None:
    first, second, later = (ask(here, {"include": "hba"}, now) for now in (BUILT, BUILT, LATER))
    assert first.stdout == second.stdout == later.stdout
    keys = [key for key, _ in json.loads(first.stdout, object_pairs_hook=list)]
    assert keys == sorted(set(keys))


def test_what_comes_due_is_a_change_that_then_stays_the_same(here: Path) -> None:
    before, due, long_due = answer(here, now=BUILT), answer(here, now=DUE), answer(here, now="2026-01-29T00:00:00Z")
    assert {key for key in before if before[key] != due[key]} == {"status", "changes", "cost", "report"}
    assert (due["status"], due["changes"]) == ("changes", "1")
    assert due == long_due
    assert due["next_renewal"] < DUE


def test_nothing_is_written_not_even_a_time(here: Path) -> None:
    before = snapshot(here)
    answer(here, {"include": "certificate,trust,crl,hba,ident,conf,bundle,script"})
    ask(here, {"spec": "none.toml"})
    assert snapshot(here) == before


def test_without_an_out_directory_nothing_is_made_either(tmp_path: Path) -> None:
    build(tmp_path)
    (tmp_path / "out").rename(tmp_path / "away")
    built = answer(tmp_path, {"out": "away", "include": "hba"})
    before = snapshot(tmp_path)
    found = answer(tmp_path, {"include": "hba"})
    assert snapshot(tmp_path) == before
    assert json.loads(found["report"])["from_lock"] is True
    assert json.loads(found["report"])["diagnostics"][0]["code"] == "PGT555"
    for key in ("user.app.serial", "user.app.sha256", "server.main.pg_hba.conf"):
        assert found[key] == built[key]


def test_the_keys_do_not_depend_on_what_was_built(tmp_path: Path) -> None:
    (tmp_path / "pgtls.toml").write_text(SPEC)
    query = {"include": "certificate,trust,crl,hba,ident,conf,bundle,script"}
    fresh = answer(tmp_path, query)
    assert fresh["status"] == "changes"
    assert fresh["user.app.sha256"] == fresh["user.app.postgresql.crt"] == ""
    assert not (tmp_path / "out").exists()
    build(tmp_path)
    assert fresh.keys() == answer(tmp_path, query).keys()


def test_texts_and_public_pems_are_given_when_asked_for(here: Path) -> None:
    bare = answer(here)
    full = answer(here, {"include": "certificate, trust crl,hba,ident,conf,bundle,script"})
    added = full.keys() - bare.keys()
    assert {key: value for key, value in full.items() if key in bare} == bare
    for entity, directory in {"ca.root": "ca/root", "server.main": "servers/main", "user.app": "clients/app"}.items():
        mine = {key.removeprefix(f"{entity}."): full[key] for key in added if key.startswith(f"{entity}.")}
        top = here / "out" / directory
        found = (path for path in top.rglob("*") if path.is_file() and path.suffix != ".key")  # keys are never given
        files = {str(path.relative_to(top)): path.read_text() for path in found}
        assert mine == files
    assert answer(here, {"include": "hba"}).keys() - bare.keys() == {"server.main.pg_hba.conf"}


def test_a_secret_of_a_method_is_never_in_the_answer(tmp_path: Path) -> None:
    guarded = """
[policy.radius]
users = ["app"]
databases = ["other"]
from = ["10.0.0.0/8"]
auth = "radius"
auth_options = { radiusservers = "r.example.com", radiussecrets = { file = "secret" } }
"""
    (tmp_path / "secret").write_text("hunter2\n")
    build(tmp_path, SPEC + guarded)
    assert "hunter2" in (tmp_path / "out/servers/main/pg_hba.conf").read_text()
    run = ask(tmp_path, {"include": "hba"})
    assert run.status == 0
    assert "<radiussecrets of policy radius>" in run.stdout
    assert "hunter2" not in run.stdout


def test_no_private_key_is_ever_in_the_answer(here: Path) -> None:
    output = ask(here, {"include": "certificate,trust,crl,hba,ident,conf,bundle,script"}).stdout
    assert "PRIVATE KEY" not in output
    for path in (here / "out").rglob("*.key"):
        for line in path.read_text().splitlines()[1:-1]:
            assert line not in output
        assert sha256(path.read_bytes()).hexdigest() not in output
    run = ask(here, {"include": "key"})
    assert (run.status, run.stdout) == (1, "")
    assert "private keys are never part of the answer" in run.stderr


def test_a_change_in_the_spec_shows_up_before_the_build_and_its_result_after(here: Path) -> None:
    before = answer(here)
    spec = (here / "pgtls.toml").read_text()
    (here / "pgtls.toml").write_text(spec.replace('"db.example.com"', '"db.example.com", "db2.example.com"'))
    planned = answer(here)
    assert {key for key in before if before[key] != planned[key]} == {
        "status",
        "changes",
        "cost",
        "report",
        "spec_sha256",
    }
    steps = json.loads(planned["report"])["steps"]
    assert [(step["entity"], step["fields"]) for step in steps if step["fields"]] == [("server.main", ["hosts"])]
    assert pgtls("build", cwd=here, now=BUILT).status == 0
    after = answer(here)
    assert after["status"] == "ok"
    changed = {key for key in before if before[key] != after[key]}
    assert changed >= {"server.main.serial", "server.main.sha256", "server.main.files_sha256", "spec_sha256"}
    assert not [key for key in changed if key.startswith(("user.app", "user.auditor", "ca.root"))]


def test_the_digest_of_files_changes_exactly_when_a_file_other_than_a_key_does(here: Path) -> None:
    before = answer(here)
    assert pgtls("build", "--renew", "user.app", cwd=here, now="2026-01-02").status == 0
    after = answer(here, now="2026-01-02")
    digests = {key for key in before if key.endswith("files_sha256")}
    assert {key for key in digests if before[key] != after[key]} == {"user.app.files_sha256"}


def test_environment_variables_stand_in_for_what_the_query_leaves_out(here: Path) -> None:
    surroundings = {"PGTLS_SPEC": str(here / "pgtls.toml"), "PGTLS_OUT": str(here / "out"), "PGTLS_NOW": BUILT}
    run = pgtls("terraform", cwd=here.parent, environment=surroundings, stdin="{}")
    assert (run.status, run.stderr) == (0, "")
    assert run.json["user.app.path"] == str(here / "out/clients/app/postgresql.crt")
    query = json.dumps({"spec": str(here / "pgtls.toml"), "now": BUILT, "out": "", "lock": ""})
    assert pgtls("terraform", cwd=here.parent, stdin=query).json["status"] == "ok"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        pytest.param("", "is not JSON", id="an empty query"),
        pytest.param("{", "is not JSON", id="half a query"),
        pytest.param("[]", "is not a JSON object", id="an array"),
        pytest.param("null", "is not a JSON object", id="null"),
        pytest.param("[" * 100_000, "is not JSON", id="a query without a bottom"),
        pytest.param('{"spce": "x"}', 'unknown key "spce"; did you mean "spec"?', id="a misspelt key"),
        pytest.param('{"zzz": "x"}', "known are spec, out, lock, now, include", id="an unknown key"),
        pytest.param('{"a\\nb": "x"}', "unknown key", id="a key of two lines"),
        pytest.param('{"spec": 1}', "the query's spec is not a string", id="a number"),
        pytest.param('{"now": "soon"}', "the query's now is no instant", id="no instant"),
        pytest.param('{"now": "2026-01-01T00:00:00"}', "has no offset", id="an instant without an offset"),
        pytest.param('{"now": "9999-12-31"}', "is out of reach", id="an instant out of reach"),
        pytest.param('{"spec": "a\\ud800"}', "the query's spec holds half a character", id="half a character"),
        pytest.param('{"spec": "a\\u0000b"}', "the query's spec holds a null character", id="a null character"),
        pytest.param('{"include": "hbaa"}', 'unknown kind "hbaa"; did you mean "hba"?', id="a misspelt kind"),
        pytest.param('{"spec": "none.toml"}', "none.toml: error[PGT001]", id="no spec"),
    ],
)
def test_a_query_that_cannot_be_answered_is_one_line_on_stderr(here: Path, query: str, message: str) -> None:
    run = ask(here, query)
    assert (run.status, run.stdout) == (1, "")
    assert message in run.stderr
    assert run.stderr.count("\n") == 1
    assert run.stderr.endswith("\n")


def test_an_error_names_file_line_and_column_and_how_many_more_there_are(here: Path) -> None:
    path = here / "pgtls.toml"
    path.write_text(path.read_text().replace('ca       = "people"', 'ca       = "peple"'))
    run = ask(here)
    assert (run.status, run.stdout) == (1, "")
    assert re.fullmatch(
        (
            r'pgtls\.toml:\d+:\d+: error\[PGT101\]: there is no ca "peple"; hint: did you mean "people"\?( \(and \d '
            r"more: run pgtls check\))?\n"
        ),
        run.stderr,
    )
    path.write_text("[ca.a")
    run = ask(here)
    assert run.stderr.startswith("pgtls.toml:1:6: error[PGT003]")
    assert run.stderr.count("\n") == 1


def test_query_bytes_that_are_no_utf_8_are_refused(here: Path) -> None:
    run = ask(here, "\ufeff{}")
    assert run.status == 1
    assert run.stderr.count("\n") == 1
