"""A key that belongs to another entity is never taken as ``key_file``."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from support.authority import Authority
from support.building import NOW, SMALL, Place, steps

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

PARTNER = """
[ca.partner]
cert_file = "partner-ca.crt"
crl = false
[server.partner]
ca = "partner"
hosts = ["partner.example.com"]
no_local = true
cert_file = "partner.crt"
key_file = "{key_file}"
"""


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def partner(place: Place, public_key: CertificatePublicKeyTypes) -> None:
    """Write a CA of another company, and a certificate of it for a public key that everybody can know."""
    key = ec.generate_private_key(ec.SECP256R1())
    begin, end = NOW - timedelta(hours=1), NOW + timedelta(days=300)
    basic = x509.CertificateBuilder().not_valid_before(begin).not_valid_after(end).issuer_name(name("Partner CA"))
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    skid = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    ca = basic.subject_name(name("Partner CA")).public_key(key.public_key()).serial_number(1)
    ca = ca.add_extension(x509.BasicConstraints(True, None), True).add_extension(usage, True).add_extension(skid, False)
    leaf = basic.subject_name(name("partner.example.com")).public_key(public_key).serial_number(2)
    names = x509.SubjectAlternativeName([x509.DNSName("partner.example.com")])
    leaf = leaf.add_extension(names, False)
    leaf = leaf.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
    leaf = leaf.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False)
    for file, builder in (("partner-ca.crt", ca), ("partner.crt", leaf)):
        (place.directory / file).write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))


def public_key(place: Place, path: str) -> CertificatePublicKeyTypes:
    return x509.load_pem_x509_certificates(place.file(path).read_bytes())[0].public_key()


def complaint(place: Place, spec: str) -> str:
    before = place.state()
    for run in (place.plan, place.build):
        with pytest.raises(Rejected) as rejected:
            run(spec)
        found = [d for d in rejected.value.diagnostics if d.severity == "error"]
        assert [d.code for d in found] == ["PGT584"]
        assert found[0].place is not None
        assert "key_file" in found[0].place.text
    assert place.state() == before
    return found[0].message


@pytest.fixture
def spec() -> str:
    return SMALL.replace('users = ["postgres"]', 'servers = ["main"]\nusers = ["postgres"]').replace(
        'users = ["app"]', 'servers = ["main"]\nusers = ["app"]'
    )


@pytest.mark.parametrize("copied", [False, True], ids=["in the out directory", "copied out of it"])
@pytest.mark.parametrize("kept", [True, False], ids=["of a CA of the spec", "of a CA that left it"])
def test_the_key_of_a_ca_is_not_handed_to_a_server(place: Place, spec: str, copied: bool, kept: bool) -> None:
    extra = "[ca.other]\n"
    place.build(spec.replace('client_ca = ["clients"]', 'client_ca = ["clients", "other"]') + extra)
    partner(place, public_key(place, "ca/other/ca.crt"))
    key_file = "out/ca/other/ca.key"
    if copied:
        shutil.copy(place.file("ca/other/ca.key"), place.directory / "mine.key")
        key_file = "mine.key"
    text = spec + (extra if kept else "") + PARTNER.format(key_file=key_file)
    if kept:
        text = text.replace('client_ca = ["clients"]', 'client_ca = ["clients", "other"]')
    assert complaint(place, text) == (
        "the key of server.partner is that of ca.other: the key of a CA serves nothing else"
    )


def test_the_key_of_another_server_in_the_out_directory_is_not_taken_through_a_link_either(
    place: Place, spec: str
) -> None:
    place.build(spec)
    partner(place, public_key(place, "servers/main/server.crt"))
    (place.directory / "mine.key").symlink_to(place.file("servers/main/server.key"))
    assert "lies in the out directory" in complaint(place, spec + PARTNER.format(key_file="mine.key"))


def test_a_key_that_belongs_to_nobody_else_is_taken(place: Place, spec: str) -> None:
    """The control."""
    other = Place(place.directory / "other")
    other.directory.mkdir()
    other.build(SMALL)
    place.build(spec)
    partner(place, public_key(other, "servers/main/server.crt"))
    shutil.copy(other.file("servers/main/server.key"), place.directory / "mine.key")
    planned = place.build(spec + PARTNER.format(key_file="mine.key"))
    assert ("server.partner", "adopt") in steps(planned)


RENAMED = """version = 1
[ca.own]
[ca.{name}]
common_name = "People"
{offline}
[server.db]
ca = "own"
client_ca = ["{name}"]
hosts = ["db.example.com"]
no_local = true
[user.app]
ca = "{name}"
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "cert"
"""


@pytest.mark.parametrize("lent", [True, False], ids=["lent", "copied into the out directory"])
def test_no_ca_takes_the_key_of_another_and_signs_crls_in_its_name(place: Place, lent: bool) -> None:
    place.build(RENAMED.format(name="people", offline=""))
    spec = RENAMED.format(name="humans", offline="offline = true" if lent else "")
    keys = (("humans", str(place.file("ca/people/ca.key"))),) if lent else ()
    if not lent:
        shutil.copytree(place.file("ca/people"), place.file("ca/humans"))
        place.file("ca/humans/ca.crl").unlink()
    before = place.state()
    with pytest.raises(Rejected, match=r"PGT584: the key of ca\.humans is that of ca\.people: the key of a CA"):
        place.build(spec, asked=Asked(accept_outage=True, allow_revoke=True, ca_keys=keys))
    assert place.state() == before
    fresh = Place(place.directory / "fresh")
    fresh.directory.mkdir()
    fresh.build(spec, asked=Asked(ca_keys=keys))


def test_a_key_that_is_copied_without_its_certificate_is_known_when_it_is_opened(place: Place) -> None:
    place.build(RENAMED.format(name="people", offline=""))
    place.file("ca/humans").mkdir(mode=0o700)
    shutil.copy(place.file("ca/people/ca.key"), place.file("ca/humans/ca.key"))
    before = place.state()
    agreed = Asked(accept_outage=True, allow_revoke=True)
    with pytest.raises(Rejected, match=r"PGT584: the key of ca\.humans is that of ca\.people: the key of a CA"):
        place.build(RENAMED.format(name="humans", offline=""), asked=agreed)
    assert place.state() == before
    place.file("ca/humans/ca.key").unlink()
    place.build(RENAMED.format(name="humans", offline=""), asked=agreed)


GIVEN_UP = """version = 1
[ca.own]
[server.db]
ca = "own"
client_ca = ["{0}"]
hosts = ["db.example.com"]
no_local = true
crl = false
[user.app]
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "scram-sha-256"
[ca.{0}]
cert_file = "{1}.crt"
crl = false
"""


def test_a_name_that_a_ca_gave_up_is_free_for_another(place: Place) -> None:
    """A key that was never here before may come under any NAME."""
    old, new = Authority.root("Old People"), Authority.root("New People")
    for name, ca in (("old", old), ("new", new)):
        (place.directory / f"{name}.crt").write_bytes(ca.pem)
        (place.directory / f"{name}.key").write_bytes(ca.key_pem)
    now, agreed = datetime.now(UTC), Asked(accept_outage=True)
    place.build(GIVEN_UP.format("people", "old"), now=now)
    moved = '[ca.old]\ncert_file = "old.crt"\nkey_file = "old.key"\ncrl = false\n'
    for text in (GIVEN_UP.format("old", "old") + 'key_file = "old.key"\n', GIVEN_UP.format("people", "new") + moved):
        place.build(text, now=now, asked=agreed)
    with pytest.raises(Rejected, match=r"PGT584: the key of ca\.people is that of ca\.old"):
        place.build(GIVEN_UP.format("people", "old") + 'key_file = "old.key"\n' + moved, now=now, asked=agreed)
