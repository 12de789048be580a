"""Keys and certificates that users supply.

The build reports what servers or clients would reject, or take for more than it is.
"""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from pgtls.pki import crl, facts, keys
from pgtls.pki.model import RevocationList, Unreadable
from support.building import NOW, SMALL, Place

if TYPE_CHECKING:
    from pathlib import Path

CA_EXTENSIONS = ("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")

OWN_CA = """
version = 1
[ca.root]
cert_file = "own.crt"
key_file = "own.key"
[server.main]
ca = "root"
hosts = ["localhost"]
postgres = 17
[user.postgres]
[user.app]
[policy.dba]
users = ["postgres"]
from = ["local"]
auth = "peer"
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["127.0.0.0/8"]
auth = "scram-sha-256"
"""


def openssl(*words: str, cwd: Path) -> None:
    run = subprocess.run(["openssl", *words], cwd=cwd, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def own_ca(place: Place, *key: str, digest: tuple[str, ...] = ()) -> None:
    openssl(
        "req", "-x509", "-nodes", "-newkey", *key, *digest, "-keyout", "own.key", "-out", "own.crt",
        "-days", "3650", "-subj", "/CN=Own CA", *CA_EXTENSIONS, cwd=place.directory,
    )  # fmt: skip


def found(place: Place, spec: str) -> dict[str, str]:
    """Return code and message of everything that a build reports, a minute after openssl made what it reads."""
    now = datetime.now(UTC) + timedelta(minutes=1)
    try:
        diagnostics = place.build(spec, now=now).diagnostics
    except Rejected as rejected:
        diagnostics = rejected.diagnostics
    return {diagnostic.code: diagnostic.message for diagnostic in diagnostics}


def test_passwords_under_an_ed25519_ca_of_ones_own_are_an_error(place: Place) -> None:
    own_ca(place, "ed25519")
    assert 'Ed25519 signature on the certificate of server "main"' in found(place, OWN_CA)["PGT136"]
    left_out = OWN_CA.replace('auth = "scram-sha-256"', 'auth = "scram-sha-256"\nchannel_binding = "disable"')
    assert "PGT136" not in found(place, left_out)


def test_passwords_under_a_rsa_ca_of_ones_own_are_not(place: Place) -> None:
    own_ca(place, "rsa:2048")
    assert not {"PGT136", "PGT565"} & found(place, OWN_CA).keys()


def test_a_root_that_is_signed_with_sha_1_is_taken(place: Place) -> None:
    own_ca(place, "rsa:2048", digest=("-sha1",))
    assert "PGT565" not in found(place, OWN_CA)


def test_a_server_certificate_that_is_signed_with_sha_1_is_named_for_it(place: Place) -> None:
    own_ca(place, "rsa:2048")
    openssl(
        "req", "-nodes", "-newkey", "rsa:2048", "-keyout", "s.key", "-out", "s.csr", "-subj", "/CN=localhost",
        cwd=place.directory,
    )  # fmt: skip
    (place.directory / "ext").write_text("subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n")
    openssl(
        "x509", "-req", "-in", "s.csr", "-CA", "own.crt", "-CAkey", "own.key", "-CAcreateserial", "-sha1", "-days",
        "90", "-extfile", "ext", "-out", "s.crt", cwd=place.directory,
    )  # fmt: skip
    brought = OWN_CA.replace('ca = "root"\n', 'ca = "root"\ncert_file = "s.crt"\nkey_file = "s.key"\n')
    assert "it is signed with SHA-1, which OpenSSL refuses by default" in found(place, brought)["PGT565"]


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        pytest.param(("rsa:1024",), "its RSA key has 1024 bits, and OpenSSL takes 2048 and more",
            id="RSA of 1024 bits"),
        pytest.param(("rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"), "its key is an RSA-PSS key", id="RSA-PSS"),
        pytest.param(("ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"), "its key is on the curve secp256k1",
            id="a curve"),
        pytest.param(("ec", "-pkeyopt", "ec_paramgen_curve:prime192v1"), "its key is on the curve secp192r1",
            id="P-192"),
    ],
)  # fmt: skip
def test_keys_that_peers_refuse_are_named(place: Place, key: tuple[str, ...], reason: str) -> None:
    own_ca(place, *key)
    message = found(place, OWN_CA)["PGT565"]
    assert reason in message
    assert "neither in the file nor in the spec" not in message


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        pytest.param(("rsa:1024",), "its RSA key has 1024 bits", id="RSA of 1024 bits"),
        pytest.param(("rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"), "its key is an RSA-PSS key", id="RSA-PSS"),
        pytest.param(("ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"), "its key is on the curve secp256k1",
            id="a curve"),
    ],
)  # fmt: skip
def test_requests_with_keys_that_peers_refuse_are_named(place: Place, key: tuple[str, ...], reason: str) -> None:
    openssl(
        "req", "-new", "-nodes", "-newkey", *key, "-keyout", "s.key", "-out", "s.csr", "-subj", "/CN=x",
        cwd=place.directory,
    )  # fmt: skip
    spec = SMALL.replace("[server.main]\n", '[server.main]\ncsr_file = "s.csr"\n')
    assert reason in found(place, spec)["PGT564"]


def test_a_request_with_an_rsa_key_that_takes_long_to_verify_with_is_refused(place: Place) -> None:
    usual = rsa.generate_private_key(65537, 2048).private_numbers()
    p, q, d = usual.p, usual.q, 65537  # a short private exponent has a long public one
    public = rsa.RSAPublicNumbers(pow(d, -1, (p - 1) * (q - 1)), p * q)
    numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), usual.iqmp, public)
    (place.directory / "s.key").write_bytes(keys.to_pem(numbers.private_key()))
    openssl("req", "-new", "-key", "s.key", "-out", "s.csr", "-subj", "/CN=x", cwd=place.directory)
    spec = SMALL.replace("[server.main]\n", '[server.main]\ncsr_file = "s.csr"\n')
    assert "its RSA key has a public exponent of 20" in found(place, spec)["PGT564"]


def test_a_request_with_the_key_of_a_ca_is_refused(place: Place) -> None:
    found(place, SMALL)
    key = place.file("ca/clients/ca.key")
    openssl("req", "-new", "-key", str(key), "-out", "s.csr", "-subj", "/CN=x", cwd=place.directory)
    spec = SMALL.replace("[server.main]\n", '[server.main]\ncsr_file = "s.csr"\n')
    assert "was made with the private key of ca.clients" in found(place, spec)["PGT564"]


def test_a_critical_extension_that_openssl_does_not_know_is_named(place: Place) -> None:
    openssl(
        "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-keyout", "own.key", "-out", "own.crt", "-days", "3650",
        "-subj", "/CN=Own CA", *CA_EXTENSIONS, "-addext", "1.2.3.4=critical,ASN1:UTF8String:x", cwd=place.directory,
    )  # fmt: skip
    assert "it has the critical extension 1.2.3.4, which OpenSSL does not know" in found(place, OWN_CA)["PGT565"]


CA = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")


def supply(place: Place, *extensions: str, name: str = "s", by: str = "own") -> None:
    """Let a CA sign a certificate with these extensions; its file has the certificates of the CAs above, too."""
    openssl(
        "req", "-nodes", "-newkey", "rsa:2048", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}",
        cwd=place.directory,
    )  # fmt: skip
    (place.directory / "ext").write_text("\n".join(("subjectAltName=DNS:localhost", *extensions, "")))
    openssl(
        "x509", "-req", "-in", f"{name}.csr", "-CA", f"{by}.crt", "-CAkey", f"{by}.key", "-CAcreateserial", "-days",
        "90", "-extfile", "ext", "-out", f"{name}.crt", cwd=place.directory,
    )  # fmt: skip
    with (place.directory / f"{name}.crt").open("a") as file:
        file.write((place.directory / f"{by}.crt").read_text())


def accepted(place: Place, purpose: str) -> bool:
    """Return whether OpenSSL takes what the own CA signed for a purpose."""
    words = ["openssl", "verify", "-purpose", purpose, "-CAfile", "own.crt", "s.crt"]
    return subprocess.run(words, cwd=place.directory, capture_output=True, check=False).returncode == 0


SUPPLIED = OWN_CA.replace('ca = "root"\n', 'ca = "root"\ncert_file = "s.crt"\nkey_file = "s.key"\n')
TRUSTED = SUPPLIED.replace('hosts = ["localhost"]', 'hosts = ["localhost"]\nclient_ca = ["root"]')


@pytest.mark.parametrize(
    ("extensions", "why"),
    [("extendedKeyUsage=serverAuth,clientAuth", "clientAuth"), ("", "it has no extended key usage")],
    ids=["client as well", "everything"],
)
def test_a_server_that_may_log_in_is_reported_where_its_ca_is_trusted_for_clients(
    place: Place, extensions: str, why: str
) -> None:
    own_ca(place, "rsa:2048")
    supply(place, extensions)
    assert "PGT567" not in found(place, SUPPLIED)
    assert f"the certificate of server.main may also log in ({why})" in found(place, TRUSTED)["PGT567"]
    assert accepted(place, "sslclient")
    supply(place, "extendedKeyUsage=serverAuth")
    assert "PGT567" not in found(place, TRUSTED)
    assert not accepted(place, "sslclient")


EVERYTHING, SERVER = "", "extendedKeyUsage=serverAuth"


@pytest.mark.parametrize(
    ("first", "second", "revoked"),
    [(EVERYTHING, SERVER, True), (EVERYTHING, EVERYTHING, False), (SERVER, SERVER, False), (SERVER, EVERYTHING, False)],
)
def test_a_server_certificate_that_logs_in_is_revoked_when_its_successor_does_not(
    place: Place, first: str, second: str, *, revoked: bool
) -> None:
    """As the hint of PGT567 says, although no name differs: its key still opens what the finding spoke of."""
    own_ca(place, "rsa:2048")
    serials = []
    for extensions in (first, second):
        supply(place, extensions)
        found(place, TRUSTED)
        read = facts.read(place.file("servers/main/server.crt").read_bytes())
        assert not isinstance(read, Unreadable)
        serials.append(read[0].serial)
    lists = crl.read(place.file("ca/root/ca.crl").read_bytes())
    assert isinstance(lists, RevocationList)
    assert [entry.serial for entry in lists.revoked] == serials[:1] * revoked


TWO_BELOW = """
version = 1
[ca.one]
cert_file = "one.crt"
crl = false
[ca.two]
cert_file = "two.crt"
crl = false
[server.main]
{ca}cert_file = "s.crt"
key_file = "s.key"
client_ca = ["{trusted}"]
hosts = ["localhost"]
no_local = true
crl = false
"""


@pytest.mark.parametrize("ca", ['ca = "one"\n', ""], ids=["of the spec", "of its file alone"])
def test_a_server_that_may_log_in_is_reported_where_another_ca_of_its_root_is_trusted(place: Place, ca: str) -> None:
    own_ca(place, "rsa:2048")
    for name in ("one", "two"):
        supply(place, *CA, name=name)
    supply(place, "extendedKeyUsage=serverAuth,clientAuth", by="one")
    assert "server.main trusts its CA for clients" in found(place, TWO_BELOW.format(ca=ca, trusted="two"))["PGT567"]
    openssl(
        "req", "-x509", "-key", "two.key", "-out", "two.crt", "-subj", "/CN=two", *CA_EXTENSIONS, cwd=place.directory
    )
    assert "PGT567" not in found(place, TWO_BELOW.format(ca=ca, trusted="two")), "which now is a root itself"


@pytest.mark.parametrize("purposes", ["anyExtendedKeyUsage", "1.2.3.4", "codeSigning", "clientAuth"])
def test_a_server_certificate_for_other_purposes_is_named_for_it(place: Place, purposes: str) -> None:
    """OpenSSL asks for the purpose itself, even of a certificate that is for any."""
    own_ca(place, "rsa:2048")
    supply(place, f"extendedKeyUsage={purposes}")
    assert not accepted(place, "sslserver")
    assert "its extended key usage is not serverAuth" in found(place, SUPPLIED)["PGT565"]
    supply(place, f"extendedKeyUsage={purposes},serverAuth")
    assert "PGT565" not in found(place, SUPPLIED)


def test_renew_encrypts_a_key_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHRASE", "correct horse")
    spec = SMALL.replace("[ca.root]\n", '[ca.root]\npassphrase = { env = "PHRASE" }\n')
    place.build(spec)
    key = place.file("ca/root/ca.key")
    parsed = subprocess.run(["openssl", "asn1parse", "-in", str(key)], capture_output=True, text=True, check=True)
    assert "INTEGER           :0927C0" in parsed.stdout  # 600,000
    assert "hmacWithSHA256" in parsed.stdout
    assert "aes-256-cbc" in parsed.stdout
    words = ("pkcs8", "-topk8", "-in", str(key), "-out", "weak.key", "-passin", "env:PHRASE", "-passout", "env:PHRASE")
    openssl(*words, cwd=place.directory)
    key.write_bytes((place.directory / "weak.key").read_bytes())
    weak = key.read_bytes()
    place.build(spec, now=NOW)
    assert key.read_bytes() == weak
    place.build(spec, now=NOW, asked=Asked(renew=frozenset(["ca.root"])))
    assert key.read_bytes() != weak
    openssl("pkey", "-in", str(key), "-passin", "env:PHRASE", "-noout", cwd=place.directory)
