"""Keys: what is made, what OpenSSL thinks of the file, and what happens to those that cannot be read."""

from __future__ import annotations

import hashlib
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from pgtls.pki import keys
from pgtls.pki.encryption import Encryption
from pgtls.pki.model import LONGEST_PASSPHRASE, Unreadable
from pki.trees import ALGORITHMS, key, openssl, run

if TYPE_CHECKING:
    from pathlib import Path

    from pgtls.pki.model import KeyAlgorithm


def same(one: object, other: object) -> bool:
    """Return whether two keys are one."""
    return keys.to_pem(one) == keys.to_pem(other)  # type: ignore[arg-type]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_is_of_its_algorithm_and_openssl_finds_it_sound(algorithm: KeyAlgorithm) -> None:
    made = key("keys", algorithm)
    assert keys.algorithm_of(made.public_key()) == algorithm
    pem = keys.to_pem(made)
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert "Key is valid" in openssl("pkey", "-check", "-noout", stdin=pem)
    public = openssl("pkey", "-pubout", stdin=pem)
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-outform", "DER"], input=public.encode(), capture_output=True, check=True
    )
    assert keys.spki_sha256(made.public_key()) == hashlib.sha256(der.stdout).hexdigest()


def test_two_keys_are_never_the_same() -> None:
    assert not same(keys.generate("ed25519"), keys.generate("ed25519"))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("ours", [True, False], ids=["ours", "foreign"])
def test_a_key_is_read_as_it_was_written(algorithm: KeyAlgorithm, ours: bool) -> None:
    made = key("keys", algorithm)
    loaded = keys.load(keys.to_pem(made), ours=ours)
    assert same(loaded, made)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_encrypted_key_opens_with_its_passphrase_and_no_other(algorithm: KeyAlgorithm) -> None:
    made = key("keys", algorithm)
    pem = keys.to_pem(made, Encryption(b"correct horse"))
    assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    assert keys.is_encrypted(pem)
    assert not keys.is_encrypted(keys.to_pem(made))
    assert same(keys.load(pem, b"correct horse", ours=True), made)
    assert keys.load(pem, b"wrong") == Unreadable("the passphrase does not open it")
    assert keys.load(pem) == Unreadable("it is encrypted, and there is no passphrase for it")
    openssl("pkey", "-noout", "-passin", "pass:correct horse", stdin=pem)
    assert run("openssl", "pkey", "-noout", "-passin", "pass:wrong", stdin=pem).returncode != 0
    assert "aes-256-cbc" in openssl("asn1parse", stdin=pem)


def test_the_longest_passphrase_is_the_longest_that_openssl_takes() -> None:
    made = key("keys", "ed25519")
    longest = b"x" * LONGEST_PASSPHRASE
    assert same(keys.load(keys.to_pem(made, Encryption(longest)), longest), made)
    for wrong in (longest + b"x", b""):
        with pytest.raises(ValueError, match="a passphrase has 1 to 1023 bytes"):
            Encryption(wrong)


def test_a_passphrase_that_is_not_needed_is_ignored() -> None:
    made = key("keys", "ed25519")
    assert same(keys.load(keys.to_pem(made), b"anything"), made)


@pytest.mark.parametrize("form", [PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8])
@pytest.mark.parametrize("passphrase", [None, b"secret"])
def test_keys_as_other_tools_write_them_are_read(form: PrivateFormat, passphrase: bytes | None) -> None:
    made = key("keys", "rsa-2048")
    protection = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    assert same(keys.load(made.private_bytes(Encoding.PEM, form, protection), passphrase), made)


@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        (b"", "it is not a private key in PEM form"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "it is not a private key in PEM form"),
        (
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "the passphrase does not open it",
        ),
        (b"\x00\xff" * 100, "it is not a private key in PEM form"),
    ],
)
def test_what_is_no_key_is_a_value_with_a_reason(pem: bytes, reason: str) -> None:
    assert keys.load(pem, b"passphrase") == Unreadable(reason)


@pytest.mark.parametrize("algorithm", ["DSA", "X25519"])
def test_a_key_that_cannot_sign_here_is_refused(algorithm: str, tmp_path: Path) -> None:
    if algorithm == "DSA":
        parameters = tmp_path / "parameters"
        openssl(
            "genpkey", "-genparam", "-algorithm", "DSA", "-pkeyopt", "dsa_paramgen_bits:1024", "-out", str(parameters)
        )
        pem = openssl("genpkey", "-paramfile", str(parameters))
    else:
        pem = openssl("genpkey", "-algorithm", algorithm)
    assert keys.load(pem.encode()) == Unreadable("it is a key that cannot sign certificates")


def test_algorithms_that_are_never_made_have_names_too() -> None:
    assert keys.algorithm_of(ec.generate_private_key(ec.SECP521R1()).public_key()) == "ecdsa-p521"
    assert keys.algorithm_of(ec.generate_private_key(ec.BrainpoolP256R1()).public_key()) == "ecdsa-brainpoolP256r1"
    assert keys.algorithm_of(ed448.Ed448PrivateKey.generate().public_key()) == "ed448"
    assert keys.algorithm_of(rsa.generate_private_key(65537, 1024).public_key()) == "rsa-1024"  # noqa: S505


@given(at=st.integers(0, 10_000), to=st.integers(0, 255))
def test_a_damaged_key_is_a_value_and_says_nothing_of_the_key(at: int, to: int) -> None:
    pem = bytearray(keys.to_pem(key("keys", "ecdsa-p256")))
    pem[at % len(pem)] = to
    found = keys.load(bytes(pem))
    if isinstance(found, Unreadable):
        assert found.reason == "it is not a private key in PEM form"


@pytest.mark.parametrize("jobs", [None, 1, 2])
def test_many_keys_come_in_the_order_they_were_asked_for(jobs: int | None) -> None:
    wanted: list[KeyAlgorithm] = ["rsa-2048", "ecdsa-p256", "ed25519", "rsa-2048", "ecdsa-p384", "rsa-2048"]
    made = keys.generate_many(wanted, jobs)
    assert [keys.algorithm_of(each.public_key()) for each in made] == wanted
    assert len({keys.spki_sha256(each.public_key()) for each in made}) == len(wanted)


def test_keys_can_be_drawn_from_elsewhere() -> None:
    stock = {algorithm: key("keys", algorithm) for algorithm in ("ed25519", "rsa-2048")}
    drawn = keys.generate_many(["ed25519", "rsa-2048", "rsa-2048"], 2, generate=lambda algorithm: stock[algorithm])
    assert drawn == [stock["ed25519"], stock["rsa-2048"], stock["rsa-2048"]]


def test_many_keys_of_no_algorithm_are_none() -> None:
    assert keys.generate_many([]) == []


def test_a_key_that_was_tampered_with_is_refused_unless_it_is_known_to_be_ours(tmp_path: Path) -> None:
    """Why ``ours`` must only be said of bytes whose digest is known: OpenSSL takes the numbers as they are."""
    numbers = rsa.generate_private_key(65537, 2048).private_numbers()
    wrong = rsa.RSAPrivateNumbers(
        numbers.p, numbers.q, numbers.d + 2, numbers.dmp1, numbers.dmq1, numbers.iqmp, numbers.public_numbers
    )
    pem = keys.to_pem(wrong.private_key(unsafe_skip_rsa_key_validation=True))
    assert keys.load(pem) == Unreadable("it is not a private key in PEM form")
    assert not isinstance(keys.load(pem, ours=True), Unreadable)
