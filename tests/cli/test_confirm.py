"""`pgtls confirm` records what somebody knows; errors name what was not built."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from support.authority import Authority
from support.building import SMALL
from support.pgtls import pgtls

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "pgtls.toml").write_text(SMALL)
    assert pgtls("build", cwd=tmp_path, now="2026-01-01").status == 0
    return tmp_path


def test_what_is_confirmed_is_in_the_file_beside_the_lock_and_in_status(built: Path) -> None:
    run = pgtls("confirm", "server.main", "user.app", "--reason", "change 4711", cwd=built, now="2026-01-02")
    assert (run.status, run.stdout) == (0, "confirmed server.main and user.app; commit pgtls.deployed\n")
    lines = [json.loads(line) for line in (built / "pgtls.deployed").read_text().splitlines()]
    assert [(line["entity"], line["by"], line["reason"], line["at"]) for line in lines[1:]] == [
        ("server.main", "confirm", "change 4711", "2026-01-02T00:00:00Z"),
        ("user.app", "confirm", "change 4711", "2026-01-02T00:00:00Z"),
    ]
    known = {
        one["entity"]: one for one in pgtls("status", "--format", "json", cwd=built, now="2026-01-03").json["deployed"]
    }
    assert known["server.main"]["deployed"] == "last build"
    assert known["server.main"]["since"] == "2026-01-02T00:00:00Z"


def test_status_tells_what_is_not_known_to_be_deployed(built: Path) -> None:
    pgtls("confirm", "server.main", "--reason", "x", cwd=built, now="2026-01-02")
    spec = built / "pgtls.toml"
    spec.write_text(SMALL.replace('"db.example.com"', '"db.example.com", "db2.example.com"'))
    assert pgtls("build", cwd=built, now="2026-01-03").status == 0
    found = pgtls("status", "--format", "json", cwd=built, now="2026-01-03").json["deployed"]
    assert {one["entity"]: one["deployed"] for one in found} == {"server.main": "older build", "user.app": "unknown"}
    text = pgtls("status", cwd=built, now="2026-01-03").stdout
    assert "Not known to be deployed: server.main (pgtls verify), and user.app (pgtls confirm user.app --reason" in text


@pytest.mark.parametrize("crl", ["[user.app]\nrevoke_before = 2026-01-03\n", '[ca.clients]\nrevoked = ["4711"]\n'])
def test_a_build_that_only_changes_a_crl_is_not_deployed_before_somebody_says_so(built: Path, crl: str) -> None:
    spec = built / "pgtls.toml"
    spec.write_text(SMALL.replace('users = ["app"]', 'users = ["app", "etl"]') + '[user.etl]\nca = "clients"\n')
    pgtls("build", cwd=built, now="2026-01-02")

    def confirmed(now: str) -> dict[str, str]:
        pgtls("confirm", "all", "--reason", "x", cwd=built, now=now)
        return deployed(built, now)

    assert set(confirmed("2026-01-02").values()) == {"last build"}
    table, _, _ = crl.partition("\n")
    assert spec.read_text().count(f"{table}\n") == 1
    spec.write_text(spec.read_text().replace(f"{table}\n", crl))
    assert pgtls("build", cwd=built, now="2026-01-04").status == 0
    found = deployed(built, "2026-01-05")
    assert (found["server.main"], found["user.etl"]) == ("older build", "last build"), "this bundle is as before"
    assert "Not known to be deployed: server.main (pgtls verify)" in pgtls("status", cwd=built, now="2026-01-05").stdout
    assert set(confirmed("2026-01-05").values()) == {"last build"}


@pytest.mark.parametrize("more", [True, False], ids=["it lists one more", "it is only newer"])
@pytest.mark.parametrize("whose", ["of a CA above one of ours", "the same serial number, of another CA"])
def test_each_crl_that_servers_get_counts(tmp_path: Path, whose: str, more: bool) -> None:
    company, now = Authority.root("Company"), datetime.now(UTC)
    below, left = company.below("People"), company.below("Left").certificate
    ours = whose == "of a CA above one of ours"
    (tmp_path / "chain.crt").write_bytes(below.pem + company.pem)
    (tmp_path / "people.key").write_bytes(below.key_pem)
    (tmp_path / "people.key").chmod(0o600)
    crls = [company.crl(age=2)] if ours else [below.crl(age=2), company.crl(left, age=2)]
    (tmp_path / "company.crl").write_bytes(b"".join(crls))
    table = 'cert_file = "chain.crt"\ncrl_file = "company.crl"\n' + 'key_file = "people.key"\n' * ours
    waived = SMALL.rstrip() + '\nwaiver = { reason = "x", codes = ["PGT330"] }\n'
    clients = waived.replace("[user.app]\n", "[user.app]\nlibpq = 14\n").replace('["clients"]', '["clients", "people"]')
    (tmp_path / "pgtls.toml").write_text(f"{clients}[ca.people]\n{table}")
    first, second, third = (f"{now + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}" for minutes in (1, 2, 3))
    run = pgtls("build", cwd=tmp_path, now=first)
    assert run.status == 0, run.stderr
    pgtls("confirm", "all", "--reason", "x", cwd=tmp_path, now=first)
    crls[0] = (company if ours else below).crl(*[left] * more)
    (tmp_path / "company.crl").write_bytes(b"".join(crls))
    run = pgtls("build", cwd=tmp_path, now=second)
    assert run.status == 0, run.stderr
    assert deployed(tmp_path, third)["server.main"] == ("older build" if more else "last build")


@pytest.mark.parametrize("more", [True, False], ids=["it lists one more", "it is only newer"])
def test_a_crl_of_a_company_is_to_be_deployed_if_it_lists_more(tmp_path: Path, more: bool) -> None:
    company, now = Authority.root("Company"), datetime.now(UTC)
    (tmp_path / "company.crt").write_bytes(company.pem)
    (tmp_path / "company.crl").write_bytes(company.crl(age=2))
    ca = '[ca.company]\ncert_file = "company.crt"\ncrl_file = "company.crl"\n'
    waived = SMALL.rstrip() + '\nwaiver = { reason = "x", codes = ["PGT330"] }\n'
    (tmp_path / "pgtls.toml").write_text(waived.replace('["clients"]', '["clients", "company"]') + ca)
    first, second, third = (f"{now + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}" for minutes in (1, 2, 3))
    assert pgtls("build", cwd=tmp_path, now=first).status == 0
    pgtls("confirm", "all", "--reason", "x", cwd=tmp_path, now=first)
    (tmp_path / "company.crl").write_bytes(company.crl(*[company.below("Left").certificate] * more))
    assert pgtls("build", cwd=tmp_path, now=second).status == 0
    assert deployed(tmp_path, third)["server.main"] == ("older build" if more else "last build")


def deployed(built: Path, now: str) -> dict[str, str]:
    found = pgtls("status", "--format", "json", cwd=built, now=now).json["deployed"]
    return {one["entity"]: one["deployed"] for one in found}


def test_without_a_manifest_nothing_counts_as_built(built: Path) -> None:
    (built / "out" / "manifest.json").unlink()
    run = pgtls("confirm", "all", "--reason", "x", cwd=built)
    assert (run.status, "its manifest.json is lost" in run.stderr) == (1, True)
    assert not (built / "pgtls.deployed").exists()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        pytest.param(("server.nope", "--reason", "x"), 1, "PGT509", id="an unknown entity"),
        pytest.param(("ca.root", "--reason", "x"), 1, "PGT509", id="a CA"),
        pytest.param(("server.main",), 64, "--reason", id="no reason"),
        pytest.param(("--reason", "x"), 64, "ENTITY", id="no entity"),
        pytest.param(("server.main", "--reason", "x", "--out", "elsewhere"), 1, "PGT508", id="nothing built there"),
        pytest.param(
            ("server.main", "--reason", "x", "--out", "elsewhere"),
            1,
            "name the out directory with --out",
            id="what is built is elsewhere",
        ),
        pytest.param(("main", "--reason", "x"), 1, 'did you mean "server.main"?', id="a name without its kind"),
    ],
)
def test_what_cannot_be_confirmed_is_refused_and_nothing_is_written(
    built: Path, words: tuple[str, ...], status: int, said: str
) -> None:
    run = pgtls("confirm", *words, cwd=built)
    assert run.status == status
    assert said in run.stderr
    assert not (built / "pgtls.deployed").exists()
