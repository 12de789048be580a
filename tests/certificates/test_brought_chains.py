"""A chain that came in a file is judged as OpenSSL judges it, up to its root: the judge is ``openssl verify``."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose

from pgtls.diagnostics import Rejected
from support.authority import key_pem, named
from support.building import Place

if TYPE_CHECKING:
    from pathlib import Path

DAY = timedelta(days=1)
NOW = datetime.now(UTC).replace(microsecond=0)
TRUE, FALSE = x509.BasicConstraints(ca=True, path_length=None), x509.BasicConstraints(ca=False, path_length=None)
SIGNS = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
LISTS_ONLY = x509.KeyUsage(False, False, False, False, False, False, True, False, False)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.9999.1"), b"\x05\x00")

SPEC = """
version = 1
[ca.own]
[ca.company]
cert_file = "company.crt"
[server.db]
ca = "own"
client_ca = ["company"]
hosts = ["localhost"]
crl = false
no_local = true
[user.app]
ca = "company"
cert_file = "app.crt"
[policy.app]
users = ["app"]
from = ["127.0.0.1"]
auth = "cert"
waiver = { reason = "a test", codes = ["PGT330"] }
"""


class CA(NamedTuple):
    """What a CA of a chain has."""

    name: str
    extensions: tuple[x509.ExtensionType, ...] = (TRUE, SIGNS)
    first: int = -10
    last: int = 300
    bits: int = 0
    """Of an RSA key; 0 is a key on a curve."""


def purposes(*those: x509.ObjectIdentifier) -> x509.ExtendedKeyUsage:
    return x509.ExtendedKeyUsage(those)


def path_length(length: int) -> x509.BasicConstraints:
    return x509.BasicConstraints(ca=True, path_length=length)


def chained(*cas: CA) -> tuple[list[bytes], bytes]:
    """Make the CAs of a chain, the root first, and a user below the last.

    Return their certificates from below, and the key of the last CA.
    """
    signer, issuer, made, last = None, None, [], b""
    for ca in (*cas, CA("app", (purposes(Purpose.CLIENT_AUTH),))):
        key = rsa.generate_private_key(65537, ca.bits) if ca.bits else ec.generate_private_key(ec.SECP256R1())
        subject, serial = named(CN=ca.name), x509.random_serial_number()
        dates = NOW + ca.first * DAY, NOW + ca.last * DAY
        builder = x509.CertificateBuilder(issuer or subject, subject, key.public_key(), serial, *dates)
        for extension in ca.extensions:
            builder = builder.add_extension(extension, critical=not isinstance(extension, x509.ExtendedKeyUsage))
        last = key_pem(signer) if isinstance(signer, ec.EllipticCurvePrivateKey) else b""
        made.append(builder.sign(signer or key, SHA256()).public_bytes(Encoding.PEM))
        signer, issuer = key, subject
    return made[::-1], last


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def accepted(place: Place, file: str = "app.crt", purpose: str = "sslclient") -> bool:
    """Let OpenSSL judge: a server has all of the CA's file in its root.crt."""
    words = ["openssl", "verify", "-auth_level", "2", "-purpose", purpose, "-CAfile", "company.crt", file]
    run = subprocess.run(words, cwd=place.directory, capture_output=True, text=True, check=False)
    return run.returncode == 0


def complaints(place: Place, spec: str = SPEC) -> list[str]:
    try:
        found = place.build(spec, now=NOW).diagnostics
    except Rejected as rejected:
        found = rejected.diagnostics
    assert {one.code for one in found if one.severity == "error"} <= {"PGT565"}
    return [one.message.partition(": ")[2] for one in found if one.severity == "error"]


def bring(place: Place, *cas: CA, between: int = 0) -> None:
    """Write the files of the spec; the last CAs come with the user, the others with the CA."""
    (leaf, *above), _ = chained(*cas)
    (place.directory / "app.crt").write_bytes(b"".join([leaf, *above[:between]]))
    (place.directory / "company.crt").write_bytes(b"".join(above[between:]))


ROOT, ISSUING = CA("Root"), CA("Issuing")
SOUND = {
    "a root": (ROOT,),
    "two": (ROOT, ISSUING),
    "three, each as long as it may be": (
        CA("Root", (path_length(2), SIGNS)),
        CA("Middle", (path_length(1), SIGNS)),
        CA("Issuing", (path_length(0), SIGNS)),
    ),
    "a root with a key usage alone": (CA("Root", (SIGNS,)), ISSUING),
    "a root without a key usage": (CA("Root", (TRUE,)), ISSUING),
    "purposes": (CA("Root", (TRUE, SIGNS, purposes(Purpose.CLIENT_AUTH, Purpose.SERVER_AUTH))), ISSUING),
    "a namesake below": (CA("Root", (path_length(1), SIGNS)), CA("Root"), ISSUING),
}


@pytest.mark.parametrize("cas", SOUND.values(), ids=SOUND)
def test_a_chain_that_openssl_takes_is_taken(place: Place, cas: tuple[CA, ...]) -> None:
    bring(place, *cas)
    assert accepted(place)
    assert complaints(place) == []


def above(fault: str, name: str = "Root") -> str:
    return f'"CN={name}" above it in its file {fault}'


def dates(first: int, last: int) -> str:
    return f"is valid from {NOW + first * DAY:%Y-%m-%d} to {NOW + last * DAY:%Y-%m-%d}"


FAULTY = {
    "expired": ((CA("Root", last=-1), ISSUING), above(dates(-10, -1))),
    "not yet valid": ((CA("Root", first=2), ISSUING), above(dates(2, 300))),
    "no CA": ((CA("Root", (FALSE,)), ISSUING), above("is no CA")),
    "nothing that says CA": ((CA("Root", ()), ISSUING), above("is no CA")),
    "nothing that says CA, in between": (
        (ROOT, CA("Middle", (SIGNS,)), ISSUING),
        above("is no CA", "Middle"),
    ),
    "no right to sign": ((CA("Root", (TRUE, LISTS_ONLY)), ISSUING), above("has a key usage without keyCertSign")),
    "too long": (
        (CA("Root", (path_length(0), SIGNS)), CA("Middle"), ISSUING),
        'the path length of "CN=Root" above it is 0, but its chain has 2 CAs below that',
    ),
    "another purpose": (
        (CA("Root", (TRUE, SIGNS, purposes(Purpose.SERVER_AUTH))), ISSUING),
        above("has another extended key usage than clientAuth"),
    ),
    "any purpose": (
        (ROOT, CA("Middle", (TRUE, SIGNS, purposes(Purpose.ANY_EXTENDED_KEY_USAGE))), ISSUING),
        above("has another extended key usage than clientAuth", "Middle"),
    ),
    "another purpose of its own": (
        (ROOT, CA("Issuing", (TRUE, SIGNS, purposes(Purpose.SERVER_AUTH)))),
        "its extended key usage is not clientAuth",
    ),
    "an unknown extension": (
        (CA("Root", (TRUE, SIGNS, UNKNOWN)), ISSUING),
        above("cannot be used: it has the critical extension 1.3.6.1.4.1.9999.1, which OpenSSL does not know"),
    ),
    "a short key": (
        (CA("Root", bits=1024), ISSUING),
        above("cannot be used: its RSA key has 1024 bits, and OpenSSL takes 2048 and more"),
    ),
}


@pytest.mark.parametrize(("cas", "fault"), FAULTY.values(), ids=FAULTY)
def test_a_chain_that_openssl_refuses_is_refused_with_the_reason(place: Place, cas: tuple[CA, ...], fault: str) -> None:
    bring(place, *cas)
    assert not accepted(place)
    assert complaints(place) == [fault]


@pytest.mark.parametrize("length", [0, 1])
def test_cas_that_come_with_a_user_count_for_the_path_lengths_above_them(place: Place, length: int) -> None:
    bring(place, CA("Root", (path_length(length), SIGNS)), CA("Middle"), ISSUING, between=2)
    fault = f'the path length of "CN=Root" above it is {length}, but its chain has 2 CAs below that'
    assert complaints(place) == [fault]
    bring(place, CA("Root", (path_length(2), SIGNS)), CA("Middle"), ISSUING, between=2)
    assert complaints(place) == []


def test_an_own_ca_that_may_sign_no_crl_is_refused_where_servers_check_it(place: Place) -> None:
    certificates_only = x509.KeyUsage(False, False, False, False, False, True, False, False, False)
    (_, company), key = chained(CA("company", (TRUE, certificates_only)))
    (place.directory / "company.crt").write_bytes(company)
    (place.directory / "company.key").write_bytes(key)
    spec = SPEC.replace('cert_file = "app.crt"\n', "").replace("cert_file", 'key_file = "company.key"\ncert_file')
    assert complaints(place, spec) == []
    checked = spec.replace("crl = false\n", "")
    assert complaints(place, checked) == ["its key usage is not cRLSign, and server.db checks its CRL"]


def test_what_is_asked_of_a_ca_is_what_stands_below_it(place: Place) -> None:
    """A CA for clients alone signs no server, and one for servers alone no user."""
    only = CA("Root", (TRUE, SIGNS, purposes(Purpose.CLIENT_AUTH)))
    bring(place, only, ISSUING)
    assert complaints(place) == []
    signed = SPEC.replace('ca = "own"', 'ca = "company"\nexternal = true')
    assert complaints(place, signed) == [above("has another extended key usage than serverAuth")]
