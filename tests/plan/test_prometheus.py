"""The metrics, read by Prometheus's own Python parser."""

from __future__ import annotations

import subprocess
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from prometheus_client.parser import text_string_to_metric_families

from plan.specs import BUILT, CERTIFICATES, LISTS, build
from support.pgtls import pgtls
from support.promtool import promtool

if TYPE_CHECKING:
    from pathlib import Path

    from prometheus_client.metrics_core import Metric


def metrics(here: Path, now: str, *arguments: str) -> dict[str, Metric]:
    run = pgtls("status", "--format", "prometheus", *arguments, cwd=here, now=now)
    assert run.status == 0, run.stderr
    assert run.stdout.endswith("\n")
    return {family.name: family for family in text_string_to_metric_families(run.stdout)}


def by_entity(family: Metric) -> dict[str, float]:
    return {sample.labels["entity"]: sample.value for sample in family.samples}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("prometheus")
    build(directory)
    return directory


def test_every_metric_has_help_and_a_type_and_every_certificate_a_sample(here: Path) -> None:
    found = metrics(here, BUILT)
    assert all(family.type == "gauge" and family.documentation for family in found.values())
    for name in ("x509_cert_not_before", "x509_cert_not_after", "x509_cert_expired", "x509_cert_error"):
        assert set(by_entity(found[name])) == set(CERTIFICATES)
    for name in ("x509_crl_this_update", "x509_crl_next_update", "x509_crl_stale"):
        assert set(by_entity(found[name])) == set(LISTS)


def test_the_values_are_those_of_the_files(here: Path) -> None:
    for sample in metrics(here, BUILT)["x509_cert_not_after"].samples:
        certificate = x509.load_pem_x509_certificate((here / sample.labels["filepath"]).read_bytes())
        assert sample.value == certificate.not_valid_after_utc.timestamp()
        assert sample.labels["serial_number"] == str(certificate.serial_number)
        (name,) = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        assert sample.labels["subject_CN"] == name.value
        (issuer,) = certificate.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        assert sample.labels["issuer_CN"] == issuer.value


def test_expiry_and_staleness_follow_the_clock(here: Path) -> None:
    early, late = metrics(here, BUILT), metrics(here, "2027-01-02")
    assert set(by_entity(early["x509_cert_expired"]).values()) == {0}
    assert by_entity(late["x509_cert_expired"])["user.app"] == 1
    assert by_entity(late["x509_cert_expired"])["ca.root"] == 0
    assert set(by_entity(late["x509_crl_stale"]).values()) == {1}
    assert {s.value for s in early["pgtls_due"].samples} == {0}
    assert sum(s.value for s in late["pgtls_due"].samples) == 5
    assert early["pgtls_status_time_seconds"].samples[0].value == datetime.fromisoformat(BUILT).timestamp()
    ends = by_entity(early["x509_cert_not_after"])
    assert early["pgtls_next_failure_time_seconds"].samples[0].value == ends["user.app"]


def test_a_missing_certificate_is_an_error_metric(tmp_path: Path) -> None:
    build(tmp_path)
    (tmp_path / "out/clients/app/postgresql.crt").unlink()
    found = metrics(tmp_path, BUILT)
    assert {e for e, value in by_entity(found["x509_cert_error"]).items() if value} == {"user.app"}
    assert "user.app" not in by_entity(found["x509_cert_not_after"])


def test_promtool_finds_nothing_wrong_with_the_metrics_and_would_find_something(here: Path) -> None:
    text = pgtls("status", "--format", "prometheus", cwd=here, now=BUILT).stdout
    assert check("metrics", text) == (0, "")
    status, printed = check(
        "metrics", text.replace("# TYPE pgtls_due gauge", "# TYPE pgtls_due gauge\n# TYPE pgtls_due gauge")
    )
    assert status != 0
    assert "pgtls_due" in printed


def check(what: str, text: str) -> tuple[int, str]:
    run = subprocess.run((promtool(), "check", what), input=text, text=True, check=False, capture_output=True)
    return run.returncode, run.stdout + run.stderr


HOSTILE = 'a"b\\c,d+e=f #<g>; x'


def test_hostile_names_arrive_as_they_were_written(tmp_path: Path) -> None:
    quoted = HOSTILE.replace("\\", "\\\\").replace('"', '\\"')
    spec = f'version = 1\n[ca.root]\ncommon_name = "{quoted}"\nsubject = {{ organization = "Ümläut, Inc." }}\n'
    build(tmp_path, spec)
    (sample,) = metrics(tmp_path, BUILT)["x509_cert_not_after"].samples
    assert sample.labels["subject_CN"] == HOSTILE
    assert sample.labels["subject_O"] == "Ümläut, Inc."
