"""A CA between an own CA and what it is said to sign certifies clients: it must be in the spec, and then it counts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from pgtls.diagnostics import Rejected
from support.authority import Authority, named
from support.building import Place
from support.clients import PSQL, Bundle, admitted, at

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pgtls.diagnostics import Diagnostic
    from support.clients import Outcome
    from support.servers import Server

SPEC = """version = 1
[ca.servers]
[ca.root]
[ca.clients]
{clients}
[server.db]
ca = "servers"
client_ca = ["{trusted}"]
hosts = ["localhost"]
postgres = {postgres}
crl = false
no_local = true
[user.app]
{app}
[user.other]
ca = "root"
common_name = "{other}"
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["127.0.0.1", "::1"]
auth = "{auth}"
"""


FIELDS = {
    "clients": 'issuer = "root"',
    "app": 'ca = "clients"',
    "trusted": "clients",
    "other": "other",
    "auth": "cert",
    "postgres": "17",
}


def spec(**changes: str) -> str:
    return SPEC.format(**(FIELDS | changes))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def signed(by: Authority, request: Path, *, ca: bool = False) -> bytes:
    """Let a CA sign what a build asks for."""
    csr = x509.load_pem_x509_csr(request.read_bytes())
    key = csr.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return Authority(by.sign(csr.subject, key, ca=ca), by.key).pem


def complaints(place: Place, text: str) -> list[tuple[str, str, str | None]]:
    with pytest.raises(Rejected) as rejected:
        place.build(text, now=datetime.now(UTC))
    return errors(rejected.value.diagnostics)


def errors(diagnostics: Iterable[Diagnostic]) -> list[tuple[str, str, str | None]]:
    return [(one.code, one.message, one.hint) for one in diagnostics if one.severity == "error"]


USER = {"app": 'ca = "root"\nexternal = true', "trusted": "root"}
CA = {"clients": 'issuer = "root"\nexternal = true'}
OUTSIDE = {
    "user.app": (USER, "clients/app/postgresql.csr", "app", "ca"),
    "ca.clients": (CA, "ca/clients/ca.csr", "clients", "issuer"),
}


@pytest.mark.parametrize("entity", OUTSIDE)
def test_a_ca_between_an_own_ca_and_what_it_signs_must_be_in_the_spec(place: Place, entity: str) -> None:
    fields, request, field, key = OUTSIDE[entity]
    place.build(spec(**fields), now=datetime.now(UTC))
    root = Authority.of(place.file("ca/root"))
    vendor = root.below("Vendor CA")
    (place.directory / "back.crt").write_bytes(
        signed(vendor, place.file(request), ca=entity == "ca.clients") + vendor.pem
    )
    named_ = fields | {field: fields[field] + '\ncert_file = "back.crt"'}
    assert complaints(place, spec(**named_)) == [
        (
            "PGT565",
            (
                f"the certificate of {entity} does not fit the spec: "
                'it was not signed by CA "root", but by "CN=Vendor CA", a CA below that one'
            ),
            (
                '"CN=Vendor CA" can certify any name: add a table [ca.NAME] with its certificate in cert_file and '
                f'issuer = "root", and set {key} = "NAME" here'
            ),
        )
    ]
    # Then everything counts that is known about a CA whose key is elsewhere.
    (place.directory / "vendor.crt").write_bytes(vendor.pem)
    vendors = spec(**named_ | {field: named_[field].replace('"root"', '"vendor"')})
    vendors = vendors.replace("[ca.root]\n", '[ca.root]\n[ca.vendor]\nissuer = "root"\ncert_file = "vendor.crt"\n')
    ((code, message, _),) = complaints(place, vendors)
    assert code == "PGT330"
    assert 'anyone certified under ca "vendor", whose key is not here' in message
    waived = vendors + 'waiver = { reason = "a test", codes = ["PGT330"] }\n'
    assert errors(place.build(waived, now=datetime.now(UTC)).diagnostics) == []
    # What the root signs itself is taken, although the other CA can still certify whom it likes.
    (place.directory / "back.crt").write_bytes(signed(root, place.file(request), ca=entity == "ca.clients") + root.pem)
    waived = spec(**named_) + 'waiver = { reason = "a test", codes = ["PGT330"] }\n'
    assert errors(place.build(waived, now=datetime.now(UTC)).diagnostics) == []


def test_a_ca_between_that_the_spec_has_is_named(place: Place) -> None:
    place.build(spec(**USER), now=datetime.now(UTC))
    clients = Authority.of(place.file("ca/clients"))
    back = signed(clients, place.file("clients/app/postgresql.csr")) + clients.pem
    (place.directory / "back.crt").write_bytes(back)
    fields = USER | {"app": USER["app"] + '\ncert_file = "back.crt"'}
    ((code, message, hint),) = complaints(place, spec(**fields))
    assert code == "PGT565"
    assert 'it was not signed by CA "root", but by CA "clients"' in message
    assert hint == 'set ca = "clients"'


def test_a_ca_whose_file_leads_to_another_ca_of_the_spec_has_an_issuer(place: Place) -> None:
    """Without it, each would count as a root of its own until the lock has certificates of both."""
    without = {"clients": "external = true", "other": "other", "auth": 'scram-sha-256"\nclient_cert = "verify-full'}
    place.build(spec(**without), now=datetime.now(UTC))
    root = Authority.of(place.file("ca/root"))
    back = signed(root, place.file("ca/clients/ca.csr"), ca=True)
    (place.directory / "back.crt").write_bytes(back + root.pem)
    named_ = without | {"clients": 'external = true\ncert_file = "back.crt"'}
    assert complaints(place, spec(**named_)) == [
        (
            "PGT565",
            (
                'the certificate of ca.clients does not fit the spec: its file leads to CA "root", but the spec says '
                "no issuer"
            ),
            'set issuer = "root"',
        )
    ]
    complete = {"clients": named_["clients"] + '\nissuer = "root"'}
    for table in ({}, complete):
        alike = named_ | {"other": "app"} | table
        assert "PGT255" in {code for code, _, _ in complaints(place, spec(**alike))}


def _knock(server: Server, out: Path, bundle: Path) -> Outcome:
    own = Bundle(out / "clients" / "app").parameters("shop") | at(server)
    return PSQL.connect(own | {"sslcert": str(bundle / "postgresql.crt"), "sslkey": str(bundle / "postgresql.key")})


def test_a_server_admits_whom_any_ca_below_its_root_certifies(server: Server, place: Place) -> None:
    """Why they must be in the spec: the server neither knows nor asks which CAs stand between."""
    server.populate(("app",), ("shop",))
    place.build(spec(postgres=str(server.version)), now=datetime.now(UTC))
    server.install(place.file("servers/db"))
    vendor = Authority.of(place.file("ca/root")).below("Vendor CA")
    assert admitted(_knock(server, place.out, vendor.bundle(named(CN="app"), vendor))) == "app@shop"
