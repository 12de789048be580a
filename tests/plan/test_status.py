"""What `pgtls status` says of a tree as its clock goes on."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from plan.specs import BUILT, CERTIFICATES, LISTS, SPEC, build
from support.pgtls import pgtls

if TYPE_CHECKING:
    from pathlib import Path

    from support.pgtls import Run


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with a spec that was built on the first of January 2026."""
    build(tmp_path)
    return tmp_path


def look(here: Path, *arguments: str, now: str = BUILT) -> Run:
    return pgtls("status", *arguments, cwd=here, now=now)


def items(run: Run) -> dict[tuple[str, str], dict[str, Any]]:
    return {(item["entity"], item["kind"]): item for item in run.json["items"]}


def states(run: Run) -> dict[str, str]:
    """Every item whose state is not ok; a CRL as ``ca.NAME crl``."""
    found = items(run)
    return {
        entity if kind == "certificate" else f"{entity} {kind}": item["state"]
        for (entity, kind), item in found.items()
        if item["state"] != "ok"
    }


def test_every_certificate_and_crl_is_an_item_with_the_facts_of_its_file(here: Path) -> None:
    run = look(here, "--format", "json")
    assert run.status == 0
    found = items(run)
    assert set(found) == {(e, "certificate") for e in CERTIFICATES} | {(e, "crl") for e in LISTS}
    for (_, kind), item in found.items():
        pem = (here / "out" / item["path"]).read_bytes()
        if kind == "certificate":
            certificate = x509.load_pem_x509_certificate(pem)
            assert item["serial"] == f"{certificate.serial_number:x}"
            end = certificate.not_valid_after_utc
        else:
            revoked = x509.load_pem_x509_crl(pem)
            assert item["serial"] == f"{revoked.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number:x}"
            assert revoked.next_update_utc is not None
            end = revoked.next_update_utc
        assert item["not_after"] == f"{end:%Y-%m-%dT%H:%M:%SZ}"
        assert item["state"] == "ok"
        assert item["todo"] == ""
    assert found["user.app", "certificate"]["days_left"] == 30
    assert run.json["summary"] == {"ok": 9}


def test_looking_changes_nothing_not_even_an_mtime(here: Path) -> None:
    def snapshot() -> dict[str, tuple[int, int, int]]:
        paths = [here, *here.rglob("*")]
        return {str(p): (s.st_mtime_ns, s.st_size, s.st_mode) for p in paths if (s := os.lstat(p))}

    before = snapshot()
    for format_ in ("text", "json", "prometheus"):
        assert look(here, "--format", format_).status == 0
    assert snapshot() == before


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param("2026-01-20", {}, id="the day before the first window opens, all is well"),
        pytest.param("2026-01-21", {"user.app": "due"}, id="in the last third of its life a certificate is due"),
        pytest.param(
            "2026-03-05",
            {"user.app": "expired", "server.main": "due", "user.auditor": "due"},
            id="what nobody renewed has expired",
        ),
        pytest.param(
            "2026-07-10",
            {
                "user.app": "expired",
                "server.main": "expired",
                "ca.people crl": "due",
                "ca.root crl": "due",
                "ca.servers crl": "due",
            },
            id="a CRL is due when half its life is over",
        ),
        pytest.param(
            "2027-01-02",
            {
                "user.app": "expired",
                "server.main": "expired",
                "ca.people crl": "expired",
                "ca.root crl": "expired",
                "ca.servers crl": "expired",
            },
            id="a CRL runs out",
        ),
        pytest.param(
            "2025-06-01",
            dict.fromkeys(CERTIFICATES, "not yet valid"),
            id="with the clock set back nothing is valid yet",
        ),
    ],
)
def test_the_state_follows_the_clock(here: Path, now: str, expected: dict[str, str]) -> None:
    found = states(look(here, "--format", "json", now=now))
    if now < "2026":
        found = {entity: state for entity, state in found.items() if not entity.endswith("crl")}
    assert found == expected
    attention = 2 if expected else 0
    assert look(here, "--detailed-exitcode", now=now).status == attention
    assert look(here, now=now).status == 0


def test_a_build_settles_what_was_due_and_the_former_certificate_is_no_longer_counted(here: Path) -> None:
    assert look(here, "--detailed-exitcode", now="2026-01-21").status == 2
    assert pgtls("build", cwd=here, now="2026-01-21").status == 0
    run = look(here, "--detailed-exitcode", "--format", "json", now="2026-01-21")
    assert run.status == 0
    former = [item for item in run.json["items"] if item["state"] == "superseded"]
    assert [(item["entity"], item["path"]) for item in former] == [("user.app", None)]
    assert "superseded (--format json lists them)" in look(here, now="2026-01-21").stdout


def test_what_is_lost_or_damaged_is_said_and_a_build_mends_it(here: Path) -> None:
    (here / "out/clients/app/postgresql.key").unlink()
    (here / "out/servers/main/server.crt").write_text("-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n")
    (here / "out/ca/people/ca.crl").write_text("garbage")
    (here / "out/ca/root/ca.crl").unlink()
    expected = {
        "user.app": "missing",
        "server.main": "unreadable",
        "ca.people crl": "unreadable",
        "ca.root crl": "missing",
    }
    run = look(here, "--format", "json", "--detailed-exitcode")
    assert run.status == 2
    assert states(run) == expected
    assert items(run)["user.app", "certificate"]["todo"] == "pgtls build issues it again: its private key is missing"
    assert pgtls("build", cwd=here, now=BUILT).status == 0
    assert set(states(look(here, "--format", "json")).values()) <= {"superseded", "revoked"}


def test_a_leaver_s_certificate_is_due_to_be_revoked_and_then_revoked(here: Path) -> None:
    spec = (here / "pgtls.toml").read_text()
    (here / "pgtls.toml").write_text(
        spec.replace('[user.app]\nca       = "people"\nvalidity = "30d"\n', "").replace('"app", ', "")
    )
    run = look(here, "--format", "json", "--detailed-exitcode")
    assert (run.status, states(run)) == (2, {"user.app": "due", "ca.people crl": "due"})
    assert items(run)["user.app", "certificate"]["todo"] == "pgtls build revokes it"
    assert pgtls("build", cwd=here, now=BUILT).status == 0
    run = look(here, "--format", "json", "--detailed-exitcode")
    assert (run.status, states(run)) == (0, {"user.app": "revoked"})


def test_a_lost_ca_is_an_error_and_the_rest_is_shown_all_the_same(here: Path) -> None:
    (here / "out/ca/people/ca.key").unlink()
    run = look(here, "--format", "json", "--detailed-exitcode")
    assert run.status == 1
    assert [d["code"] for d in run.json["diagnostics"]] == ["PGT550"]
    assert states(run)["ca.people"] == "missing"
    text = look(here)
    assert text.status == 1
    assert "PGT550" in text.stderr
    assert "user.app" in text.stdout


def test_a_lost_ca_is_not_to_be_built(here: Path) -> None:
    (here / "out/ca/people/ca.key").unlink()
    assert (
        items(look(here, "--format", "json"))["ca.people", "certificate"]["todo"] == "no build is possible: see PGT550"
    )
    assert "To do: fix the errors, then run pgtls build" in look(here).stdout


def test_a_lost_bundle_is_not_new(here: Path) -> None:
    shutil.rmtree(here / "out/clients/app")
    run = look(here, "--format", "json")
    assert [d["code"] for d in run.json["diagnostics"]] == ["PGT558"]
    assert "the lock lists the certificate of user.app, and" in run.json["diagnostics"][0]["message"]
    assert items(run)["user.app", "certificate"]["todo"] == "pgtls build issues it: its certificate is gone"
    assert pgtls("build", cwd=here, now=BUILT).status == 0
    assert look(here, "--format", "json").json["diagnostics"] == []


def test_status_and_plan_say_the_same_of_certificates_that_were_swapped(here: Path) -> None:
    one, other = here / "out/servers/main/server.crt", here / "out/clients/app/postgresql.crt"
    contents = one.read_bytes(), other.read_bytes()
    other.write_bytes(contents[0])
    one.write_bytes(contents[1])
    run = look(here, "--format", "json")
    found = {item["entity"]: item for item in run.json["items"] if item["state"] == "due"}
    planned = pgtls("plan", "--format", "json", cwd=here, now=BUILT).json["steps"]
    for entity in ("server.main", "user.app"):
        (reason,) = [step["reason"] for step in planned if step["entity"] == entity and step["action"] == "renew"]
        assert found[entity]["todo"].endswith(reason.partition(", with")[0])
    assert len(found) == 2, "nothing is to be revoked"


def test_without_an_out_directory_the_lock_tells(here: Path) -> None:
    (here / "out").rename(here / "elsewhere")
    run = look(here, "--format", "json", now="2026-01-21")
    assert run.status == 0
    assert run.json["from_lock"] is True
    assert [d["code"] for d in run.json["diagnostics"]] == ["PGT555"]
    assert states(run) == {"user.app": "due"} | {f"{ca} crl": "unknown" for ca in LISTS}
    text = look(here, now="2026-01-21")
    assert "there is no out directory" in text.stderr
    assert not (here / "out").exists()


def test_before_the_first_build_everything_is_missing(tmp_path: Path) -> None:
    (tmp_path / "pgtls.toml").write_text(SPEC)
    run = look(tmp_path, "--format", "json", "--detailed-exitcode")
    assert run.status == 2
    assert set(states(run).values()) == {"missing"}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("within", "expected"),
    [("29d", set()), ("30d", {"user.app"}), ("52w", {"user.app", "user.auditor", "server.main"})],
)
def test_within_keeps_what_ends_by_then(here: Path, within: str, expected: set[str]) -> None:
    run = look(here, "--within", within, "--detailed-exitcode", "--format", "json")
    assert {entity for entity, _ in items(run)} == expected
    assert run.status == (2 if expected else 0)
    assert look(here, "--within", within).status == 0


def test_within_a_year_a_crl_ends_on_its_last_day(here: Path) -> None:
    assert ("ca.root", "crl") in items(look(here, "--within", "1y", "--format", "json"))


@pytest.mark.parametrize("duration", ["30", "3q", "-1d", "0d", "1.5d", "101y", "", "30d "])
def test_a_wrong_duration_is_wrong_usage(here: Path, duration: str) -> None:
    run = look(here, "--within", duration)
    assert (run.status, run.stdout) == (64, "")
    assert "write 30d, 12h, 4w or 1y" in run.stderr


def test_a_broken_spec_is_an_error_in_every_format(here: Path) -> None:
    (here / "pgtls.toml").write_text("version = 2\n")
    for format_ in ("text", "prometheus"):
        run = look(here, "--format", format_)
        assert (run.status, run.stdout) == (1, "")
        assert "error[PGT005]" in run.stderr
    run = look(here, "--format", "json", "--detailed-exitcode")
    assert run.status == 1
    assert [d["code"] for d in run.json["diagnostics"]] == ["PGT005"]


def test_an_interrupted_build_is_said(here: Path) -> None:
    (here / "out/.pgtls/commit.json").write_text("{}")
    run = look(here)
    assert (run.status, run.stdout) == (1, "")
    assert "run pgtls build" in run.stderr


def test_the_crl_of_a_ca_that_left_the_spec_is_watched_while_somebody_has_a_certificate_of_its(tmp_path: Path) -> None:
    spec = 'version = 1\n[ca.a]\n[ca.b]\n[user.app]\nca = "a"\nvalidity = "300d"\n'
    build(tmp_path, spec)
    (tmp_path / "pgtls.toml").write_text(spec.replace("[ca.a]\n", "").replace('"a"', '"b"'))
    assert pgtls("build", cwd=tmp_path, now=BUILT).status == 0
    run = look(tmp_path, "--format", "json")
    left = items(run)["ca.a", "crl"]
    assert left["state"] == "ok"
    assert left["path"].startswith("ca/.retired/a-")
    assert (tmp_path / "out" / left["path"]).exists()
    assert items(run)["ca.a", "certificate"]["state"] == "retired"
    late = look(tmp_path, "--format", "json", now="2026-07-10")
    assert items(late)["ca.a", "crl"]["state"] == "due"
    ended = look(tmp_path, "--format", "json", now="2026-11-01")
    assert ("ca.a", "crl") not in items(ended), "its last certificate has ended"
