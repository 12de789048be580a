"""Independent linters judge every kind of certificate and CRL.

pkilint applies RFC 5280 and, to servers, the CA/Browser Forum's rules.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pgtls.pki import crl
from pgtls.pki.model import Constraints, Revocation
from pki.trees import ALGORITHMS, DAY, NOW, authority, leaf, openssl

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pgtls.pki.model import KeyAlgorithm

NAME = (("country", "GR"), ("organization", "Παράδειγμα, Inc."), ("email", "ca@example.com"), ("common_name", "Root"))
NARROW = Constraints(("example.com",), ("10.0.0.0/8", "fd00::/8"), ("bad.example.com",), ("10.1.0.0/16",))

RUN = """
import contextlib, importlib, io, json, sys
for name, *words in json.load(sys.stdin):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        importlib.import_module(f"pkilint.bin.{name}").main(["lint", "-f", "json", "-s", "notice", *words])
    print(json.dumps(json.loads(printed.getvalue())))
"""
"""All in one process of its own: each command line takes longer to import than to judge."""


def findings(jobs: Iterable[tuple[str, ...]]) -> list[set[str]]:
    """Run pkilint's command lines (program and arguments). Return each one's findings: severity and code."""
    done = subprocess.run(
        [sys.executable, "-c", RUN], input=json.dumps([*jobs]), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [_codes(json.loads(line)) for line in done.stdout.splitlines()]


def _codes(report: dict[str, Any]) -> set[str]:
    each = (finding for result in report["results"] for finding in result["finding_descriptions"])
    return {f"{finding['severity']} {finding['code']}" for finding in each}


def tree(directory: Path, algorithm: KeyAlgorithm) -> dict[str, str]:
    """Write one of every kind that is issued, by what it is; the last of them are CRLs."""
    root = authority(f"lint-root-{algorithm}", key_algorithm=algorithm, subject=NAME)
    inner = authority(f"lint-inner-{algorithm}", root, key_algorithm=algorithm, path_length=0, constraints=NARROW)
    addresses = ("10.0.0.5", "fd00::1")
    revoked = [Revocation(f"{number:x}", NOW, reason) for number, reason in enumerate(crl._REASONS.values(), 0x20)]
    made = {
        "root": root.pem,
        "inner": inner.pem,
        "server": leaf(inner, "server", "db.example.com", key_algorithm=algorithm, ip_addresses=addresses).pem,
        "user": leaf(inner, "user", "app", key_algorithm=algorithm, subject=(*NAME[:3], ("common_name", "Ελένη"))).pem,
        "dotted": leaf(inner, "user", "etl.x", key_algorithm=algorithm, dns_names=("etl.x.example.com",)).pem,
        "self": leaf(None, "server", "self.example.com", key_algorithm=algorithm).pem,
        "list": crl.make(inner.issuer, 7, NOW, 365 * DAY, revoked),
        "empty": crl.make(root.issuer, 1 << 150, NOW, 10 * DAY, ()),
    }
    for name, content in made.items():
        (directory / name).write_bytes(content)
    return {name: str(directory / name) for name in made}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_nothing_that_is_issued_differs_from_rfc_5280(algorithm: KeyAlgorithm, tmp_path: Path) -> None:
    files = tree(tmp_path, algorithm)
    lists = {name: files.pop(name) for name in ("list", "empty")}
    jobs: list[tuple[str, ...]] = [("lint_pkix_cert", path) for path in files.values()]
    jobs += [("lint_crl", "-t", kind, "-p", "pkix", path) for kind in ("crl", "arl") for path in lists.values()]
    signed = [("root", "inner"), ("inner", "server"), ("inner", "user"), ("inner", "dotted")]
    jobs += [("lint_pkix_signer_signee_cert_chain", files[one], files[other]) for one, other in signed]
    assert [(job, codes) for job, codes in zip(jobs, findings(jobs), strict=True) if codes] == []


PRIVATE = {
    # Where to ask about revocation, and where to find the CA's certificate:
    # servers and clients have the CRLs and CAs as files.
    "cabf.serverauth.ca.crl_distribution_points_extension_absent",
    "cabf.serverauth.ca.authority_info_access_extension_absent",
    "cabf.serverauth.subscriber.authority_info_access_extension_absent",
    "cabf.serverauth.subscriber.revocation_information_absent",
    "msft.end_entity.revocation_information_absent",
    # Policies of public CAs, of which a private one has none.
    "cabf.serverauth.ca.certificate_policies_extension_absent",
    "cabf.serverauth.subscriber.certificate_policies_extension_absent",
    # Purposes of a CA: one of pgtls may sign servers and users, each of which has one purpose alone.
    "cabf.serverauth.ca.extended_key_usage_extension_absent",
    # Public CAs say who runs them; here the spec does, if anybody wants it.
    "cabf.serverauth.ca.country_attribute_absent",
    "cabf.serverauth.ca.organization_name_attribute_absent",
    "cabf.serverauth.ca.incomplete_name_constraints",
    # Databases are dialled by addresses of the inside, too.
    "cabf.internal_ip_address",
    # The linter does not recommend a common name, but allows it:
    # people read it, and libpq up to 14 needs it for addresses.
    "cabf.serverauth.dv.common_name_attribute_present",
    # RFC 5280 (4.2.1.2) wants the key identifier that the linter does not recommend,
    # and omits the authority's from a root (4.2.1.1).
    "cabf.serverauth.subscriber.subject_key_identifier_extension_present",
    "cabf.serverauth.root.authority_key_identifier_extension_absent",
    # Only for a CA that answers OCSP requests itself.
    "cabf.ca_certificate_no_digital_signature_bit",
    # Ten days at most between lists that browsers' makers collect; how long one lives is the spec's to say.
    "cabf.crl_invalid_validity_period",
    # Ed25519 is an option that the spec has to ask for.
    "cabf.serverauth.prohibited_signature_algorithm_encoding",
    "cabf.serverauth.prohibited_subject_public_key_algorithm_encoding",
    # RSA servers may still be asked for TLS 1.2 without forward secrecy, which takes both usages.
    "cabf.serverauth.subscriber_rsa_digitalsignature_and_keyencipherment_present",
    # The e-mail address of a subject, and its subjectAltName (RFC 5280, 4.1.2.6): there only if the spec says one.
    "cabf.serverauth.ca.unknown_attribute_present",
    "cabf.serverauth.root.unknown_extension_present",
}
"""The CA/Browser Forum's rules that are for the public web, and why a private CA of databases does not follow them."""


@pytest.mark.parametrize("algorithm", ["ecdsa-p256", "rsa-3072", "ed25519"])
def test_of_the_rules_for_browsers_only_those_for_public_cas_are_not_met(
    algorithm: KeyAlgorithm, tmp_path: Path
) -> None:
    files = tree(tmp_path, algorithm)
    jobs: list[tuple[str, ...]] = [
        ("lint_cabf_serverauth_cert", "-d", files[name]) for name in ("root", "inner", "server")
    ]
    jobs += [("lint_crl", "-t", "crl", "-p", "br", files["list"])]
    found = {code.split()[1] for codes in findings(jobs) for code in codes}
    assert found - PRIVATE == set()


def test_the_linter_finds_what_is_wrong(tmp_path: Path) -> None:
    """A CA and a list as a hasty script makes them."""
    bare = tmp_path / "bare"
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
            str(tmp_path / "key"), "-out", str(bare), "-subj", "/CN=x", "-addext", "keyUsage=keyCertSign", 
            "-addext", "basicConstraints=CA:TRUE")  # fmt: skip
    stranger = tmp_path / "stranger"
    stranger.write_bytes(authority("lint-stranger").pem)
    certificate, chain = findings(
        [("lint_pkix_cert", str(bare)), ("lint_pkix_signer_signee_cert_chain", str(stranger), str(bare))]
    )
    assert certificate
    assert chain
