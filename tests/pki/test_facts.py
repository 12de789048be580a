"""Reading certificates: everybody's, whole or broken, and what a profile asks for in the same words."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from pgtls.pki import facts, keys
from pgtls.pki.der import sequence, tlv
from pgtls.pki.expected import wanted_facts
from pgtls.pki.model import Certificate, Constraints, Unreadable, ca_entity
from pgtls.state.lock import IssuedLine, Lock
from pgtls.state.lock import parse as lock_of
from pki.trees import authority, key, leaf, openssl, profile
from support.authority import SERIAL_NUMBER, VALIDITY, Authority, armoured, named

if TYPE_CHECKING:
    from pathlib import Path


def read_one(pem: bytes) -> Certificate:
    found = facts.read(pem)
    assert not isinstance(found, Unreadable), found.reason
    (certificate,) = found
    return certificate


def der(pem: bytes) -> bytes:
    return base64.b64decode(b"".join(pem.splitlines()[1:-1]))


# --- what a profile asks for ------------------------------------------------------------------------------------------


def test_a_profile_s_facts_are_sorted_words() -> None:
    server = profile(
        "server", "db.example.com", dns_names=("b", "a"), ip_addresses=("::1", "10.0.0.5"), key_algorithm="rsa-2048"
    )
    assert wanted_facts(server) == (
        "CN=db.example.com",
        ("DNS:a", "DNS:b", "IP:10.0.0.5", "IP:::1"),
        ("digitalSignature", "keyEncipherment", "serverAuth"),
    )
    assert wanted_facts(profile("user", "alice")) == ("CN=alice", (), ("clientAuth", "digitalSignature"))
    limits = Constraints(("example.com",), ("10.0.0.0/8",), ("bad.example.com",), ("2001:db8::/32",))
    assert wanted_facts(profile("ca", "root", path_length=1, constraints=limits))[2] == (
        "CA", "cRLSign", "excluded:DNS:bad.example.com", "excluded:IP:2001:db8::/32", "keyCertSign", "pathlen:1",
        "permitted:DNS:example.com", "permitted:IP:10.0.0.0/8",
    )  # fmt: skip


# --- several, and none ------------------------------------------------------------------------------------------------


def test_all_certificates_of_a_file_are_read_in_their_order_whatever_stands_between() -> None:
    root, other = authority("root"), authority("other")
    text = b"Subject: CN=root\n" + root.pem + b"\n# a comment\n" + other.pem.replace(b"\n", b"\r\n") + root.pem
    assert facts.read(text) == (root.issued.facts, other.issued.facts, root.issued.facts)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"hello", "it is not PEM"),
        (b"\xff\xfe-----", "it is not PEM"),
        (
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            'there is not a certificate in it, but "PRIVATE KEY"',
        ),
        (
            b"-----BEGIN TRUSTED CERTIFICATE-----\nAAAA\n-----END TRUSTED CERTIFICATE-----\n",
            'there is not a certificate in it, but "TRUSTED CERTIFICATE"',
        ),
        (b"-----BEGIN CERTIFICATE-----\n", "it is cut off: a BEGIN line has no END line"),
        (armoured(b"\x00\x00\x00"), "what stands in it is not a certificate"),
        (armoured(b""), "it is cut off: its DER is shorter than it says"),
        (armoured(b"\x30\x82\x01\x00\x30"), "it is cut off: its DER is shorter than it says"),
        (armoured(b"\x30\x03\x02\x01\x00"), "what stands in it is not a certificate"),
        (
            b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
            "what stands between its BEGIN and END lines is not base64",
        ),
    ],
)
def test_what_is_no_certificate_is_a_value_with_a_reason(content: bytes, reason: str) -> None:
    assert facts.read(content) == Unreadable(reason)


def test_der_is_told_from_nonsense() -> None:
    assert facts.read(der(authority("root").pem)) == Unreadable("it is DER, not PEM")


def test_one_broken_certificate_spoils_the_file() -> None:
    good = authority("root").pem
    assert facts.read(good + good[:-40]) == Unreadable("it is cut off: a BEGIN line has no END line")
    assert isinstance(facts.read(good + armoured(b"0\x03\x02\x01\x00")), Unreadable)


# --- certificates of others -------------------------------------------------------------------------------------------


def foreign(directory: Path, *request: str, serial: str = "0x1234", extensions: str = "") -> bytes:
    """Make a self-signed certificate as HOWTOs have it; without extensions it is of version 1."""
    own, csr = directory / "key", directory / "csr"
    if not own.exists():
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(own))
    openssl("req", "-new", "-key", str(own), "-out", str(csr), *(request or ("-subj", "/CN=foreign")))
    (directory / "extensions").write_text(extensions)
    words = ["x509", "-req", "-in", str(csr), "-signkey", str(own), "-set_serial", serial]
    return openssl(*words, *(["-extfile", str(directory / "extensions")] if extensions else [])).encode()


def test_a_certificate_of_version_1_has_no_names_and_no_usages(tmp_path: Path) -> None:
    certificate = read_one(foreign(tmp_path))
    assert (certificate.subject, certificate.names, certificate.usages) == ("CN=foreign", (), ())
    assert (certificate.serial, certificate.authority_key_id) == ("1234", None)


def test_every_kind_of_name_and_usage_has_a_word(tmp_path: Path) -> None:
    certificate = read_one(
        foreign(
            tmp_path,
            extensions="""
            basicConstraints = CA:TRUE, pathlen:3
            keyUsage = digitalSignature, nonRepudiation, keyEncipherment, dataEncipherment, keyAgreement, keyCertSign, cRLSign
            extendedKeyUsage = serverAuth, clientAuth, codeSigning, 1.2.3.4
            subjectAltName = DNS:a.example.com, IP:10.0.0.5, email:a@b.example, URI:https://a, RID:1.2.3, otherName:1.2.3;UTF8:x, dirName:dn
            nameConstraints = permitted;DNS:example.com, excluded;IP:10.0.0.0/255.0.0.0
            subjectKeyIdentifier = 0102
            certificatePolicies = 1.2.3.4
            [dn]
            CN = x
            """.replace("            ", ""),  # noqa: E501
        )
    )
    assert certificate.names == (
        "DNS:a.example.com", "IP:10.0.0.5", "RID:1.2.3", "URI:https://a", "dirName:CN=x", "email:a@b.example",
        "otherName:1.2.3",
    )  # fmt: skip
    assert certificate.usages == (
        "1.2.3.4", "CA", "cRLSign", "clientAuth", "codeSigning", "dataEncipherment", "digitalSignature",
        "excluded:IP:10.0.0.0/8", "keyAgreement", "keyCertSign", "keyEncipherment", "nonRepudiation", "pathlen:3",
        "permitted:DNS:example.com", "serverAuth",
    )  # fmt: skip
    assert certificate.key_id == "0102"


@pytest.mark.parametrize("serial", ["0", "-5", "0x" + "7f" * 20, "0x" + "7f" * 21])
def test_an_odd_serial_number_is_facts_or_a_reason(serial: str, tmp_path: Path) -> None:
    found = facts.read(foreign(tmp_path, serial=serial))
    if isinstance(found, Unreadable):
        assert found.reason
    else:
        assert int(found[0].serial, 16) == int(serial, 0)


@pytest.mark.parametrize(
    ("options", "algorithm"),
    [
        (["-algorithm", "ED448"], "ed448"),
        (["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"], "rsa-1024"),
        (["-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"], "rsassa-pss"),
        (["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"], "ecdsa-p521"),
        (["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:brainpoolP256r1"], "ecdsa-brainpoolP256r1"),
        (
            ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"],
            "ecdsa-p256",
        ),
        (["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime239v1"], None),
        (["-algorithm", "SM2"], None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_keys_of_other_algorithms_are_facts_or_a_reason(
    options: list[str], algorithm: str | None, tmp_path: Path
) -> None:
    openssl("genpkey", *options, "-out", str(tmp_path / "key"))
    found = facts.read(foreign(tmp_path))
    if isinstance(found, Unreadable):
        assert algorithm is None
        kind = "the certificate cannot be understood: its key is of a kind that is not known here"
        assert found.reason in (kind, "the certificate cannot be understood: a field is not as RFC 5280 has it")
    else:
        assert found[0].key_algorithm == algorithm


@pytest.mark.parametrize(
    ("exponent", "taken"),
    [(3, True), (2**64 - 1, True), (2**64 + 1, False), (2**2047 + 1, False)],
    ids=["3", "64 bits", "65 bits", "2048 bits"],
)
def test_an_rsa_key_that_takes_long_to_verify_with_is_a_reason(exponent: int, *, taken: bool) -> None:
    key = rsa.RSAPublicNumbers(exponent, 2**2048 - 1).public_key()
    found = facts.read(Authority.root("Company").sign(named(CN="slow"), key).public_bytes(Encoding.PEM))
    assert isinstance(found, Unreadable) is not taken
    if isinstance(found, Unreadable):
        bits = exponent.bit_length()
        fault = f"its RSA key has a public exponent of {bits} bits, and pgtls takes at most 64"
        assert found.reason == f"the certificate cannot be used: {fault}"


def test_a_version_that_does_not_exist_is_a_reason() -> None:
    data = bytearray(der(leaf(authority()).pem))
    at = data.index(bytes.fromhex("a003020102"))
    data[at + 4] = 7
    assert facts.read(armoured(bytes(data))) == Unreadable("its version does not exist")


def test_an_extension_that_comes_twice_is_a_reason() -> None:
    """As RFC 5280 (4.2) forbids it: the subject key identifier's type is written over the authority's."""
    data = der(leaf(authority()).pem).replace(bytes.fromhex("0603551d23"), bytes.fromhex("0603551d0e"))
    found = facts.read(armoured(data))
    assert found == Unreadable("the certificate cannot be understood: an extension comes twice")


@given(st.integers(0, 10_000), st.integers(0, 255), st.integers(0, 10_000))
def test_a_damaged_certificate_is_facts_or_a_reason(at: int, to: int, end: int) -> None:
    whole = bytearray(der(leaf(authority("root", constraints=Constraints(("a",), ("10.0.0.0/8",))), "server").pem))
    whole[at % len(whole)] = to
    for data in (whole, whole[: end % len(whole)]):
        found = facts.read(armoured(bytes(data)))
        assert isinstance(found, Unreadable) or len(found) == 1


@given(st.binary(max_size=200))
def test_any_bytes_are_a_reason(data: bytes) -> None:
    assert isinstance(facts.read(data), Unreadable)
    assert isinstance(facts.read(armoured(data)), Unreadable)


def test_facts_name_key_issuer_and_file_as_openssl_does() -> None:
    root = authority("root")
    pem = leaf(root, name="alice").pem
    certificate = read_one(pem)
    assert certificate.spki_sha256 == keys.spki_sha256(key("alice", "ecdsa-p256").public_key())
    assert certificate.authority_key_id == root.issued.facts.key_id
    shown = openssl("x509", "-noout", "-fingerprint", "-sha256", "-serial", "-ext", "subjectKeyIdentifier", stdin=pem)
    hexadecimal = shown.replace(":", "").replace(" ", "").lower()
    assert certificate.sha256 in hexadecimal
    assert certificate.key_id in hexadecimal
    assert f"serial={certificate.serial}\n" in hexadecimal


# --- what the lock can hold -------------------------------------------------------------------------------------------

ODD = {
    "a serial number of zero": (SERIAL_NUMBER, tlv(0x02, b"\0"), ""),
    "a long one": (SERIAL_NUMBER, tlv(0x02, b"\0" + b"\xff" * 40), ""),
    "a negative one": (SERIAL_NUMBER, tlv(0x02, b"\xfb"), "its serial number is negative"),
    "the first year": (VALIDITY, sequence(tlv(0x17, b"500101000000Z"), tlv(0x17, b"500102000000Z")), ""),
    "the last year": (VALIDITY, sequence(tlv(0x17, b"500101000000Z"), tlv(0x18, b"99991231235959Z")), ""),
    "years before": (
        VALIDITY,
        sequence(tlv(0x18, b"09990101000000Z"), tlv(0x18, b"99991231235959Z")),
        "it is from before 1950",
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_the_lock_reads_every_certificate_that_can_be_used(case: str) -> None:
    position, element, fault = ODD[case]
    ca = Authority.root("Company")
    found = facts.read(ca.with_field(ca.certificate, position, element))
    if fault:
        assert isinstance(found, Unreadable)
        assert found.reason.endswith(fault), found.reason
        return
    assert not isinstance(found, Unreadable), found.reason
    lock = Lock("0" * 32, (IssuedLine("company", ca_entity("company"), found[0]),), ())
    assert lock_of(lock.render(), "x").issued == lock.issued
