"""sslyze, a scanner of others, sees on a server what `pgtls verify` says: protocol, chain, name and dates.

sslyze takes only older releases of cryptography than pgtls does, so it has a directory of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from live.test_faults import blocks, built
from live.verifying import Site, seen
from support.servers import PATIENCE, Server, versions
from support.system import ENVIRONMENT, locked, new_directory, scratch

if TYPE_CHECKING:
    from pathlib import Path

    from pgtls.live.checks.check import Check
    from support.building import Place

SSLYZE = "sslyze==6.3.1"


@pytest.fixture(scope="module")
def sslyze() -> Path:
    """Install sslyze once per session."""
    home = scratch() / "sslyze"
    with locked(home):
        if not home.exists():
            part = new_directory("sslyze")
            words = [sys.executable, "-m", "pip", "install", "-q", "--target", str(part), SSLYZE]
            made = subprocess.run(words, check=False, capture_output=True, text=True)
            if made.returncode:
                pytest.skip(f"unavailable: {SSLYZE} cannot be installed: {made.stderr}")
            home.symlink_to(part)
    return home


def scanned(sslyze: Path, server: Server, place: Place) -> dict[str, Any]:
    report = place.directory / "sslyze.json"
    root = place.file("clients/app/root.crt")
    scans = ("--certinfo", f"--certinfo_ca_file={root}", "--tlsv1_1", "--tlsv1_2", "--tlsv1_3", "--elliptic_curves")
    target = ("--json_out", str(report), f"127.0.0.1:{server.port}")
    words = [sys.executable, "-m", "sslyze", "--starttls", "postgres", *scans, *target]
    alone = ENVIRONMENT | {"PYTHONPATH": str(sslyze)}
    subprocess.run(words, check=False, capture_output=True, timeout=PATIENCE, env=alone)
    (result,) = json.loads(report.read_text())["server_scan_results"]
    found: dict[str, Any] = result["scan_result"]
    return found


def accepted(found: dict[str, Any], version: str) -> bool:
    return bool(found[f"tls_1_{version}_cipher_suites"]["result"]["accepted_cipher_suites"])


def by_name(checks: tuple[Check, ...]) -> dict[str, Check]:
    return {check.name: check for check in checks}


@pytest.mark.parametrize("installation", [one for one in versions() if one.id in ("pg18",)], ids=lambda i: i.id)
def test_sslyze_agrees_on_good_and_on_broken_servers(sslyze: Path, server: Server) -> None:
    site = Site(server, built(server.version))
    site.install()
    whole, ours = scanned(sslyze, server, site.place), by_name(seen(site.place, server.port).checks)
    for version, name in (("1", "TLS 1.1"), ("2", "TLS 1.2"), ("3", "TLS 1.3")):
        assert accepted(whole, version) is (ours[name].what == "spoken, as compiled")
    (deployment,) = whole["certificate_info"]["result"]["certificate_deployments"]
    sent = [x509.load_pem_x509_certificate(one["as_pem"].encode()) for one in deployment["received_certificate_chain"]]
    compiled = x509.load_pem_x509_certificates(site.read("server.crt"))
    assert sent == compiled
    assert ours["chain"].outcome == ours["certificate"].outcome == "ok"
    assert f"{sent[0].serial_number:x}"[:8] in ours["certificate"].what
    assert f"{min(one.not_valid_after_utc for one in sent):%Y-%m-%d}" in ours["dates"].what
    assert verified_by(deployment) is (ours["clients' trust"].outcome == "ok") is True
    assert deployment["received_chain_has_valid_order"] is True
    curves = {
        one["name"].replace("secp256r1", "prime256v1") for one in whole["elliptic_curves"]["result"]["supported_curves"]
    }
    assert {name.removeprefix("group ") for name in ours if name.startswith("group ")} == curves

    site.write("server.crt", blocks(site.read("server.crt"))[0])
    lone, ours = scanned(sslyze, server, site.place), by_name(seen(site.place, server.port).checks)
    (deployment,) = lone["certificate_info"]["result"]["certificate_deployments"]
    assert len(deployment["received_certificate_chain"]) == 1
    assert verified_by(deployment) is (ours["clients' trust"].outcome == "ok") is False


def verified_by(deployment: dict[str, Any]) -> bool:
    """Return whether sslyze verifies the chain with the client's root.crt."""
    results = {one["trust_store"]["name"]: one for one in deployment["path_validation_results"]}
    return bool(results["Supplied CA file"]["was_validation_successful"])
