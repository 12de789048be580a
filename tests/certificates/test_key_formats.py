"""Keys in PKCS#8 DER and PKCS#12: read by OpenSSL and by Java, made again only if their inputs changed."""

from __future__ import annotations

import hashlib
import re
import stat
import subprocess
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509 import load_pem_x509_certificates

from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from pgtls.pipeline import plan
from pgtls.pki.pkcs12 import is_for_old_readers
from support.building import NOW, SMALL, Place, reason, steps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PHRASE = "correct horse"
LATER = NOW + timedelta(days=70)
BUNDLE = "clients/app/postgresql"
INTERMEDIATE = SMALL.replace("[ca.clients]", '[ca.top]\n[ca.clients]\nissuer = "top"')


@pytest.fixture(autouse=True)
def phrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHRASE", PHRASE)


def asking(*formats: str, spec: str = INTERMEDIATE, guarded: bool = True) -> str:
    more = 'passphrase = { env = "PHRASE" }\n' * guarded + f"formats = {list(formats)!r}".replace("'", '"')
    return spec.replace("[user.app]", f"[user.app]\n{more}")


P12, PK8 = asking("pkcs12"), asking("pkcs8-der", guarded=False)


def contents(place: Place) -> dict[str, bytes]:
    return {path.suffix: path.read_bytes() for path in place.file("clients/app").glob("postgresql.*")}


def public(key: object) -> object:
    return key.public_key().public_numbers()  # type: ignore[attr-defined]


def key_of(place: Place, passphrase: str | None = None) -> object:
    word = passphrase.encode() if passphrase else None
    return public(serialization.load_pem_private_key(place.file(f"{BUNDLE}.key").read_bytes(), word))


def test_pkcs8_der_is_the_key_unencrypted(place: Place) -> None:
    place.build(PK8)
    path = place.file(f"{BUNDLE}.pk8")
    made = serialization.load_der_private_key(path.read_bytes(), None)
    assert public(made) == key_of(place)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    subprocess.run(["openssl", "pkcs8", "-inform", "DER", "-nocrypt", "-in", path], check=True, capture_output=True)


@pytest.mark.parametrize("made", ["pkcs12", "pkcs12-3des"])
def test_pkcs12_has_the_key_and_the_whole_chain_under_the_alias_user(place: Place, made: str) -> None:
    place.build(asking(made))
    path = place.file(f"{BUNDLE}.p12")
    read = pkcs12.load_pkcs12(path.read_bytes(), PHRASE.encode())
    assert read.cert
    assert read.key
    assert (read.cert.friendly_name, public(read.key)) == (b"user", key_of(place, PHRASE))
    chain = [read.cert.certificate, *(one.certificate for one in read.additional_certs)]
    assert chain == load_pem_x509_certificates(place.file(f"{BUNDLE}.crt").read_bytes())
    assert [one.issuer.rfc4514_string() for one in chain] == ["CN=clients", "CN=top"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def inspected(path: Path, phrase: str = PHRASE) -> subprocess.CompletedProcess[str]:
    words = ["openssl", "pkcs12", "-info", "-in", str(path), "-noout", "-passin", f"pass:{phrase}"]
    return subprocess.run(words, check=False, capture_output=True, text=True)


def test_openssl_reads_pkcs12_with_aes_256_and_sha_256_and_opens_it_with_no_other_passphrase(place: Place) -> None:
    place.build(P12)
    run = inspected(place.file(f"{BUNDLE}.p12"))
    assert run.returncode == 0, run.stderr
    assert "MAC: sha256, Iteration 600000" in run.stderr
    assert (
        re.findall(r"PBES2, PBKDF2, (\S+), Iteration (\d+), PRF (\S+)", run.stderr)
        == [("AES-256-CBC", "600000", "hmacWithSHA256")] * 2
    )
    assert "invalid password" in inspected(place.file(f"{BUNDLE}.p12"), "wrong").stderr


def test_old_readers_get_3des_and_sha_1_if_the_spec_says_so(place: Place) -> None:
    place.build(asking("pkcs12-3des"))
    said = inspected(place.file(f"{BUNDLE}.p12")).stderr
    assert ("MAC: sha1" in said, said.count("3-KeyTripleDES"), "AES" in said) == (True, 2, False)


@pytest.mark.parametrize("made", ["pkcs12", "pkcs12-3des"])
def test_java_reads_pkcs12(place: Place, made: str) -> None:
    place.build(asking(made))

    def listed(phrase: str) -> str:
        store = ["-keystore", str(place.file(f"{BUNDLE}.p12")), "-storetype", "PKCS12", "-storepass", phrase]
        words = ["keytool", "-J-Duser.language=en", "-list", "-v", *store]
        return subprocess.run(words, check=False, capture_output=True, text=True).stdout

    said = listed(PHRASE)
    assert "Alias name: user\n" in said
    assert "Entry type: PrivateKeyEntry\nCertificate chain length: 2\n" in said
    assert "password was incorrect" in listed("another")


@pytest.mark.parametrize("spec", [P12, PK8, asking("pkcs12-3des"), asking("pem", "pkcs12", "pkcs8-der")])
def test_a_second_build_keeps_them_byte_for_byte_and_opens_no_key(
    place: Place, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.build(spec)
    before = contents(place)
    assert steps(place.build()) == []
    monkeypatch.delenv("PHRASE")
    assert steps(place.build(spec.replace('"shop"', '"reports"'))) == [
        ("server.main", "rewrite"),
        ("user.app", "rewrite"),
    ]
    assert contents(place) == before
    assert {".key", ".crt"} < before.keys()


def test_a_renewed_certificate_goes_into_a_new_file_and_so_does_a_new_key(place: Place) -> None:
    place.build(asking("pkcs12", "pkcs8-der"))
    before = contents(place)
    place.build(now=LATER)
    after = contents(place)
    assert all(before[name] != after[name] for name in before)
    assert public(serialization.load_der_private_key(after[".pk8"], None)) == key_of(place, PHRASE)
    read = pkcs12.load_pkcs12(after[".p12"], PHRASE.encode())
    assert read.cert
    assert read.cert.certificate == load_pem_x509_certificates(after[".crt"])[0]


def test_a_key_that_stays_at_a_renewal_stays_in_der_and_its_new_chain_goes_into_pkcs12(place: Place) -> None:
    spec = asking("pkcs12", "pkcs8-der").replace("[user.app]", "[user.app]\nrotate_key = false")
    place.build(spec)
    before = contents(place)
    place.build(now=LATER)
    after = contents(place)
    assert [name for name in sorted(before) if before[name] != after[name]] == [".crt", ".p12"]


def test_a_renewed_intermediate_ca_goes_into_pkcs12(place: Place) -> None:
    place.build(P12)
    before = contents(place)
    planned = place.build(asked=Asked(renew=frozenset(("ca.clients",))))
    after = contents(place)
    assert [name for name in sorted(before) if before[name] != after[name]] == [".crt", ".p12"]
    assert reason(planned, "user.app") == "its chain changed; postgresql.p12 changed"
    read = pkcs12.load_pkcs12(after[".p12"], PHRASE.encode())
    assert [one.certificate for one in read.additional_certs] == load_pem_x509_certificates(after[".crt"])[1:]


def test_a_format_comes_and_goes_with_the_spec_and_the_key_stays(place: Place) -> None:
    place.build(asking("pem"))
    before = contents(place)
    planned = place.build(P12)
    assert reason(planned, "user.app") == "what it connects to changed; postgresql.p12 is new"
    assert contents(place).keys() - before.keys() == {".p12"}
    place.build(asking("pem"))
    assert contents(place) == before


def test_another_kind_of_pkcs12_replaces_the_file(place: Place) -> None:
    found = []
    for made in ("pkcs12", "pkcs12-3des", "pkcs12"):
        place.build(asking(made))
        found.append(is_for_old_readers(contents(place)[".p12"]))
        assert steps(place.build()) == []
    assert found == [False, True, False]


def damaged(path: Path) -> None:
    path.write_bytes(b"nothing")


def deleted(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("fault", [damaged, deleted])
def test_a_file_that_others_changed_is_made_again(place: Place, fault: Callable[[Path], None]) -> None:
    place.build(P12)
    fault(place.file(f"{BUNDLE}.p12"))
    place.build()
    assert pkcs12.load_pkcs12(contents(place)[".p12"], PHRASE.encode()).key


def test_a_key_that_others_changed_goes_into_a_new_file(place: Place) -> None:
    place.build(asking("pkcs12", "pkcs8-der"))
    key = place.file(f"{BUNDLE}.key")
    plain = serialization.load_pem_private_key(key.read_bytes(), PHRASE.encode())
    best = serialization.BestAvailableEncryption(PHRASE.encode())
    key.write_bytes(plain.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, best))
    before = contents(place)
    place.build()
    after = contents(place)
    assert (before[".key"] == after[".key"], before[".p12"] == after[".p12"]) == (True, False)


def test_a_passphrase_that_does_not_open_the_key_stops_a_build_that_makes_pkcs12(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.build(asking("pem"))
    monkeypatch.setenv("PHRASE", "another")
    for act in (place.plan, place.build):
        with pytest.raises(Rejected) as rejected:
            act(P12)
        (found,) = rejected.value.diagnostics
        assert (found.code, found.severity) == ("PGT561", "error")


UNREADABLE = 'a secret cannot be read from environment variable "PHRASE":'


@pytest.mark.parametrize(
    ("passphrase", "code", "message"),
    [
        (None, "PGT560", f"{UNREADABLE} it is not set"),
        ("", "PGT560", f"{UNREADABLE} it is empty"),
        (
            "x" * 1024,
            "PGT560",
            f"{UNREADABLE} it has 1024 bytes, and OpenSSL reads 1023 at most",
        ),
        (
            "pässwörd",
            "PGT443",
            "the passphrase has characters outside ASCII: Java opens no PKCS#12 file with it",
        ),
    ],
    ids=["that is not set", "that is empty", "that is too long", "that Java cannot use"],
)
def test_the_plan_reports_a_passphrase(
    place: Place, monkeypatch: pytest.MonkeyPatch, passphrase: str | None, code: str, message: str
) -> None:
    if passphrase is None:
        monkeypatch.delenv("PHRASE")
    else:
        monkeypatch.setenv("PHRASE", passphrase)
    for act in (place.plan, place.build):
        with pytest.raises(Rejected) as rejected:
            act(P12)
        (found,) = rejected.value.diagnostics
        assert (found.code, found.message) == (code, message)
    assert not place.file("clients").exists()


def test_a_plan_that_fetches_no_secret_says_what_a_build_makes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PHRASE")
    planned = plan(replace(place.request(P12), sealed=True))
    assert f"{BUNDLE}.p12" in planned.plan.changes


def test_users_with_one_passphrase_share_its_derivation_and_not_their_ciphertext(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    derived: list[bytes] = []
    derive = hashlib.pbkdf2_hmac

    def counted(name: str, passphrase: bytes, salt: bytes, rounds: int) -> bytes:
        derived.append(passphrase)
        return derive(name, passphrase, salt, rounds)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", counted)
    others = "".join(f'[user.u{number}]\nca = "clients"\n' for number in range(3))
    shared = f'[defaults.user]\npassphrase = {{ env = "PHRASE" }}\n{others}[user.apart]\nca = "clients"\n'
    monkeypatch.setenv("OTHER", "another one")
    place.build(asking("pkcs12", guarded=False) + shared + 'passphrase = { env = "OTHER" }\n')
    assert sorted(derived) == [b"another one", b"correct horse"]
    keys = [place.file(f"clients/{name}/postgresql.key").read_bytes() for name in ("app", "u0", "u1", "u2")]
    assert len({key[200:] for key in keys}) == 4
