"""Each profile whole: what it says, how critical, and that it says nothing else (RFC 5280, 4.1 and 4.2)."""

from __future__ import annotations

import inspect
from datetime import timedelta
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pgtls.pki import facts
from pgtls.pki.issue import issue
from pgtls.pki.model import Constraints
from pki.trees import ALGORITHMS, DAY, NOW, authority, key, leaf, openssl, profile, refusal

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from pgtls.pki.model import KeyAlgorithm

KEY_USAGE_BITS = list(inspect.signature(x509.KeyUsage).parameters)
Extensions = dict[x509.ExtensionType, bool]
"""Every extension of a certificate, with whether it is critical."""


def extensions(certificate: x509.Certificate) -> Extensions:
    return {extension.value: extension.critical for extension in certificate.extensions}


def key_id(public_key: CertificatePublicKeyTypes) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(public_key)


def authority_id(public_key: CertificatePublicKeyTypes) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier(key_id(public_key).digest, None, None)


def key_usage(*bits: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{bit: bit in bits for bit in KEY_USAGE_BITS})


def server_usage(algorithm: KeyAlgorithm) -> x509.KeyUsage:
    return key_usage("digital_signature", *(["key_encipherment"] if algorithm.startswith("rsa") else []))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_root_signs_itself_and_is_a_ca_and_nothing_else(algorithm: KeyAlgorithm) -> None:
    root = authority("profile", key_algorithm=algorithm)
    certificate, public_key = root.issued.certificate, root.issuer.key.public_key()
    assert certificate.version is x509.Version.v3
    assert certificate.subject == certificate.issuer == x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "profile")])
    assert certificate.not_valid_before_utc == NOW - timedelta(minutes=5)
    assert certificate.not_valid_after_utc == NOW + 3650 * DAY
    assert extensions(certificate) == {
        x509.BasicConstraints(ca=True, path_length=None): True,
        key_usage("key_cert_sign", "crl_sign"): True,
        key_id(public_key): False,
    }
    certificate.verify_directly_issued_by(certificate)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_intermediate_says_who_signed_it_and_how_deep_it_goes(algorithm: KeyAlgorithm) -> None:
    root = authority()
    below = authority("profile", root, key_algorithm=algorithm, path_length=0)
    assert extensions(below.issued.certificate) == {
        x509.BasicConstraints(ca=True, path_length=0): True,
        key_usage("key_cert_sign", "crl_sign"): True,
        key_id(below.issuer.key.public_key()): False,
        authority_id(root.issuer.key.public_key()): False,
    }
    below.issued.certificate.verify_directly_issued_by(root.issued.certificate)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_server_has_its_names_and_one_purpose(algorithm: KeyAlgorithm) -> None:
    root = authority()
    hosts, addresses = ("db.example.com", "db"), ("10.0.0.5", "2001:db8::1")
    server = leaf(root, "server", "profile", key_algorithm=algorithm, dns_names=hosts, ip_addresses=addresses)
    certificate = server.certificate
    assert certificate.version is x509.Version.v3
    assert certificate.issuer.public_bytes() == root.issued.certificate.subject.public_bytes()
    assert certificate.not_valid_after_utc == NOW + 90 * DAY
    names = [*map(x509.DNSName, hosts), *(x509.IPAddress(ip_address(address)) for address in addresses)]
    assert extensions(certificate) == {
        server_usage(algorithm): True,
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]): False,
        x509.SubjectAlternativeName(names): False,
        key_id(key("profile", algorithm).public_key()): False,
        authority_id(root.issuer.key.public_key()): False,
    }


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_user_has_a_common_name_and_one_purpose_and_no_other_name(algorithm: KeyAlgorithm) -> None:
    root = authority()
    user = leaf(root, "user", "profile", key_algorithm=algorithm).certificate
    assert user.subject == x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "profile")])
    assert extensions(user) == {
        key_usage("digital_signature"): True,
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]): False,
        key_id(key("profile", algorithm).public_key()): False,
        authority_id(root.issuer.key.public_key()): False,
    }


def test_a_user_under_a_constrained_ca_has_the_name_it_was_given() -> None:
    root = authority(constraints=Constraints(permitted_dns=("example.com",)))
    names = extensions(leaf(root, dns_names=("user.example.com",)).certificate)
    assert names[x509.SubjectAlternativeName([x509.DNSName("user.example.com")])] is False


def test_a_self_signed_server_names_its_own_key_as_its_authority() -> None:
    certificate = leaf(None, "server").certificate
    assert certificate.issuer == certificate.subject
    kinds = {type(extension) for extension in extensions(certificate)}
    named = {x509.KeyUsage, x509.ExtendedKeyUsage, x509.SubjectAlternativeName, x509.SubjectKeyIdentifier}
    assert kinds == {*named, x509.AuthorityKeyIdentifier}
    assert extensions(certificate)[authority_id(certificate.public_key())] is False
    certificate.verify_directly_issued_by(certificate)


@pytest.mark.parametrize("kind", ["server", "user"])
def test_names_are_critical_only_where_the_subject_is_empty(kind: str) -> None:
    for subject, critical in (((), True), ((("common_name", "x"),), False)):
        certificate = leaf(authority(), kind, subject=subject, dns_names=("x.example.com",)).certificate  # type: ignore[arg-type]
        assert certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical is critical


def test_an_e_mail_address_of_the_subject_is_a_name_as_well(tmp_path: Path) -> None:
    """RFC 5280, 4.1.2.6: new certificates MUST have it there."""
    subject = (("email", "dba+x@example.com"), ("common_name", "x"))
    mail = x509.RFC822Name("dba+x@example.com")
    root = authority("mailed", subject=subject)
    server, user = leaf(root, "server", "db.example.com", subject=subject), leaf(root, "user", subject=subject)
    hosts: list[x509.GeneralName] = [x509.DNSName("db.example.com")]
    for issued, names in ((root.issued, [mail]), (server, [*hosts, mail]), (user, [mail])):
        assert extensions(issued.certificate)[x509.SubjectAlternativeName(names)] is False
        assert facts.read(issued.pem) == (issued.facts,)
        assert "email:dba+x@example.com" in issued.facts.names
    assert refusal(tmp_path, user.pem, root.pem, "sslclient") is None
    assert refusal(tmp_path, server.pem, root.pem, "sslserver") is None


def test_name_constraints_are_critical_and_complete() -> None:
    constraints = Constraints(
        ("example.com", "example.org"), ("10.0.0.0/8", "2001:db8::/32"), ("bad.example.com",), ("10.9.0.0/16",)
    )
    found = authority(constraints=constraints).issued.certificate.extensions.get_extension_for_class(
        x509.NameConstraints
    )
    permitted = [
        *map(x509.DNSName, constraints.permitted_dns),
        *(x509.IPAddress(ip_network(n)) for n in constraints.permitted_ip),
    ]
    excluded = [x509.DNSName("bad.example.com"), x509.IPAddress(ip_network("10.9.0.0/16"))]
    assert found.critical
    assert found.value == x509.NameConstraints(permitted, excluded)


def test_name_constraints_leave_out_the_side_that_is_empty() -> None:
    certificate = authority(constraints=Constraints(excluded_dns=("example.com",))).issued.certificate
    assert certificate.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees is None


@pytest.mark.parametrize(
    ("limit", "until", "end"),
    [
        (None, None, 90 * DAY),
        (200 * DAY, 300 * DAY, 90 * DAY),
        (30 * DAY, None, 30 * DAY),
        (None, 20 * DAY, 20 * DAY),
        (30 * DAY, 20 * DAY, 20 * DAY),
    ],
)
def test_a_certificate_ends_with_the_first_of_validity_chain_and_until(
    limit: timedelta | None, until: timedelta | None, end: timedelta
) -> None:
    wanted = profile("user", until=NOW + until if until else None)
    own = key("user", "ecdsa-p256").public_key()
    issued = issue(wanted, own, authority().issuer, 5, NOW + timedelta(milliseconds=1), NOW + limit if limit else None)
    assert issued.certificate.not_valid_after_utc == NOW + end


def test_a_certificate_that_would_end_before_it_begins_is_refused() -> None:
    with pytest.raises(ValueError, match="must be after"):
        leaf(authority(), until=NOW - DAY)


@pytest.mark.parametrize(
    ("algorithm", "signature"),
    [
        ("ecdsa-p256", "ecdsa-with-SHA256"),
        ("ecdsa-p384", "ecdsa-with-SHA384"),
        ("rsa-2048", "sha256WithRSAEncryption"),
        ("rsa-4096", "sha256WithRSAEncryption"),
        ("ed25519", "ED25519"),
    ],
)
def test_a_signature_is_as_strong_as_the_key_that_makes_it(algorithm: KeyAlgorithm, signature: str) -> None:
    pem = leaf(authority(key_algorithm=algorithm)).pem
    assert f"Signature Algorithm: {signature}\n" in openssl("x509", "-noout", "-text", stdin=pem)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("kind", ["ca", "server", "user", "self-signed"])
def test_the_facts_of_an_issued_certificate_are_those_read_from_its_file(kind: str, algorithm: KeyAlgorithm) -> None:
    root = authority(key_algorithm=algorithm)
    subject = (("country", "GR"), ("organization", "Ex, Ample"), ("common_name", "Ελένη"))
    names: dict[str, Any] = {"dns_names": ("b.example.com", "a.example.com"), "ip_addresses": ("10.0.0.5", "::1")}
    match kind:
        case "ca":
            constraints = Constraints(("example.com",), ("10.0.0.0/8",), ("bad.example.com",), ("::/0",))
            changes: dict[str, Any] = {"path_length": 0, "constraints": constraints, "subject": subject}
            issued = authority("profile", root, key_algorithm=algorithm, **changes).issued
        case "self-signed":
            issued = leaf(None, "server", "profile", subject=subject, key_algorithm=algorithm, **names)
        case "server":
            issued = leaf(root, "server", "profile", subject=subject, key_algorithm=algorithm, **names)
        case _:
            issued = leaf(root, "user", "profile", subject=subject, key_algorithm=algorithm)
    assert facts.read(issued.pem) == (issued.facts,)
    assert issued.pem == issued.certificate.public_bytes(Encoding.PEM)


def test_the_largest_serial_number_fits_into_20_octets() -> None:
    own = key("user", "ecdsa-p256").public_key()
    issued = issue(profile("user"), own, authority().issuer, (1 << 159) - 1, NOW)
    assert issued.facts.serial == "7" + "f" * 39
    assert facts.read(issued.pem) == (issued.facts,)
    with pytest.raises(ValueError, match="159 bits"):
        issue(profile("user"), own, authority().issuer, 1 << 159, NOW)
