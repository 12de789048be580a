"""What a name constraint covers, judged by ``openssl verify``."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pgtls.access.comparisons import constraints
from pgtls.language.values import NameConstraints
from pgtls.pki.name_constraints import in_domain, in_network

if TYPE_CHECKING:
    from pathlib import Path

DOMAINS = ("example.com", ".example.com", "a.example.com", ".a.example.com", "xexample.com", "com", "EXAMPLE.com")
HOSTS = (
    "example.com",
    "c.example.com",
    "a.example.com",
    "b.a.example.com",
    "xexample.com",
    "a.xexample.com",
    "A.Example.COM",
    "com",
)
NETWORKS = ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "0.0.0.0/0", "fd00::/8", "fd00::1/128")
ADDRESSES = ("10.1.2.3", "10.1.9.9", "10.2.0.1", "192.0.2.1", "fd00::1", "fd12::", "2001:db8::1")
KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(name: str, *extensions: tuple[x509.ExtensionType, bool]) -> x509.Certificate:
    """Issue a certificate with the one key of these tests; all are issued by "root"."""
    subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, "root"))
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer, subject, KEY.public_key(), x509.random_serial_number(), now - timedelta(days=1), now + timedelta(days=9)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(KEY, hashes.SHA256())


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    """The pairs of a constraint and a name that ``openssl verify`` accepts where the CA permits the constraint."""
    directory = tmp_path_factory.mktemp("names")
    found: set[tuple[str, str]] = set()
    for bases, names in ((DOMAINS, HOSTS), (NETWORKS, ADDRESSES)):
        for number, name in enumerate(names):
            san = x509.DNSName(name) if bases is DOMAINS else x509.IPAddress(ip_address(name))
            _write(directory / f"{number}.crt", certificate("leaf", (x509.SubjectAlternativeName([san]), False)))
        for base in bases:
            permitted = [x509.DNSName(base) if bases is DOMAINS else x509.IPAddress(ip_network(base))]
            limits = x509.NameConstraints(permitted, None)
            _write(directory / "ca.crt", certificate("root", (x509.BasicConstraints(True, None), True), (limits, True)))
            for number, name in enumerate(names):
                words = ["openssl", "verify", "-CAfile", "ca.crt", f"{number}.crt"]
                done = subprocess.run(words, cwd=directory, capture_output=True, check=False, text=True)
                assert done.returncode == 0 or "permitted subtree violation" in done.stderr + done.stdout
                found |= {(base, name)} if done.returncode == 0 else set()
    return found


def _write(path: Path, one: x509.Certificate) -> None:
    path.write_bytes(one.public_bytes(serialization.Encoding.PEM))


def test_what_a_constraint_covers_is_what_openssl_accepts(accepted: set[tuple[str, str]]) -> None:
    assert {(base, name) for base in DOMAINS for name in HOSTS if in_domain(name, base)} | {
        (base, name) for base in NETWORKS for name in ADDRESSES if in_network(name, base)
    } == accepted


@pytest.mark.parametrize(("kind", "bases"), [("dns", DOMAINS), ("ip", NETWORKS)])
def test_constraints_that_accept_more_names_are_weaker(
    accepted: set[tuple[str, str]], kind: str, bases: tuple[str, ...]
) -> None:
    covers = {base: {name for one, name in accepted if one == base} for base in bases}
    for was in bases:
        for will in bases:
            for which, wider in (("permitted", covers[will] - covers[was]), ("excluded", covers[was] - covers[will])):
                before, after = (NameConstraints.model_validate({f"{which}_{kind}": [base]}) for base in (was, will))
                assert (constraints(before, after) == "weakened") == bool(wider), (which, was, will)
