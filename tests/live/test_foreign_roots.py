"""A root that came in the file of an own CA is a foreign CA: it is reported, shown, and its CRL is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from support.authority import Authority, named
from support.clients import PSQL, Bundle, admitted, at, refused
from support.pgtls import built, pgtls

if TYPE_CHECKING:
    from pathlib import Path

    from support.clients import Outcome
    from support.servers import Server

SPEC = """version = 1
[ca.servers]
[ca.clients]
{clients}
[server.db]
ca = "servers"
client_ca = ["clients"]
hosts = ["localhost"]
postgres = {postgres}
crl = {crl}
no_local = true
[user.app]
ca = "clients"
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["127.0.0.1", "::1"]
auth = "{auth}"
{waiver}
"""
WAIVER = 'waiver = { reason = "the company certifies nobody as app", codes = ["PGT301", "PGT330"] }'
Way = Literal["brought", "external"]


class Company:
    """Build a company root with two CAs below it: one signs for the spec, and the spec does not know the other."""

    def __init__(self, directory: Path, way: Way) -> None:
        self.directory, self.way = directory, way
        self.root = Authority.root("Company Root")
        self.other = self.root.below("HR CA")
        self.mallory = self.other.bundle(named(CN="app"), self.other)
        self.own: x509.Certificate | None = None

    def spec(self, postgres: int, *, crl: bool, auth: str = "cert", waiver: str = "", lists: str = "") -> Path:
        """Write the spec, with the files that it names."""
        fields = self._brought() if self.way == "brought" else self._external(postgres)
        text = SPEC.format(clients=fields + lists, postgres=postgres, crl=str(crl).lower(), auth=auth, waiver=waiver)
        path = self.directory / "pgtls.toml"
        path.write_text(text)
        return path

    def _brought(self) -> str:
        clients = self.root.below("Clients CA")
        self.own = clients.certificate
        (self.directory / "clients.crt").write_bytes(clients.pem + self.root.pem)
        (self.directory / "clients.key").write_bytes(clients.key_pem)
        return 'cert_file = "clients.crt"\nkey_file = "clients.key"\n'

    def _external(self, postgres: int) -> str:
        path = self.directory / "pgtls.toml"
        path.write_text(SPEC.format(clients="external = true", postgres=postgres, crl="true", auth="cert", waiver=""))
        built(path, self.directory / "out")
        request = x509.load_pem_x509_csr((self.directory / "out" / "ca" / "clients" / "ca.csr").read_bytes())
        key = request.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        self.own = self.root.sign(request.subject, key, ca=True)
        signed = Authority(self.own, self.root.key)
        (self.directory / "clients.crt").write_bytes(signed.pem + self.root.pem)
        return 'external = true\ncert_file = "clients.crt"\n'

    def bring_list(self, *revoked: x509.Certificate) -> str:
        """Write the CRL of the root beside the spec, and the field that names it."""
        (self.directory / "company.crl").write_bytes(self.root.crl(*revoked))
        return 'crl_file = "company.crl"\n'


@pytest.fixture(params=["brought", "external"])
def company(request: pytest.FixtureRequest, tmp_path: Path) -> Company:
    return Company(tmp_path, request.param)


@pytest.mark.parametrize("auth", ["cert", 'trust"\nclient_cert = "verify-ca', 'trust"\nclient_cert = "verify-full'])
def test_a_policy_that_admits_by_certificate_alone_below_such_a_root_is_an_error(company: Company, auth: str) -> None:
    found = pgtls("check", company.spec(17, crl=False, auth=auth)).stdout
    assert "error[PGT330]" in found
    assert '"CN=Company Root", a root that came in a file' in found
    assert ("error[PGT301]" in found) == auth.startswith("trust")
    path = company.spec(17, crl=False, auth='scram-sha-256"\nclient_cert = "verify-full')
    assert pgtls("check", path).status == 0


def test_its_crl_is_asked_for(company: Company) -> None:
    found = pgtls("check", company.spec(17, crl=True, waiver=WAIVER)).stdout
    assert "error[PGT144]" in found
    assert '"CN=Company Root" (above ca "clients")' in found
    run = pgtls("check", company.spec(17, crl=True, waiver=WAIVER, lists=company.bring_list()))
    assert run.status == 0, run


def test_access_names_it(company: Company) -> None:
    shown = pgtls("access", company.spec(17, crl=False, waiver=WAIVER)).stdout
    assert "anyone certified under: CN=Company Root" in shown


def _knock(server: Server, out: Path, bundle: Path) -> Outcome:
    own = Bundle(out / "clients" / "app").parameters("shop") | at(server)
    return PSQL.connect(own | {"sslcert": str(bundle / "postgresql.crt"), "sslkey": str(bundle / "postgresql.key")})


def test_without_crls_every_ca_below_that_root_lets_people_in_as_access_says(server: Server, company: Company) -> None:
    server.populate(("app",), ("shop",))
    out = built(company.spec(server.version, crl=False, waiver=WAIVER), company.directory / "out")
    server.install(out / "servers" / "db")
    assert admitted(_knock(server, out, out / "clients" / "app")) == "app@shop"
    assert admitted(_knock(server, out, company.mallory)) == "app@shop"


def test_with_the_crl_of_that_root_its_own_users_get_in_and_revoked_cas_do_not(
    server: Server, company: Company
) -> None:
    server.populate(("app",), ("shop",))
    lists = company.bring_list(company.other.certificate)
    out = built(company.spec(server.version, crl=True, waiver=WAIVER, lists=lists), company.directory / "out")
    server.install(out / "servers" / "db")
    assert admitted(_knock(server, out, out / "clients" / "app")) == "app@shop"
    refused(_knock(server, out, company.mallory), "")
    # The negative control: without the CRL of the root, which PostgreSQL asks for as well, nobody gets in.
    for lost in (server.data / "root.crl.d").glob("*"):
        lost.unlink()
    kept = (server.data / "root.crl").read_text().split("-----END X509 CRL-----\n")
    server.write("root.crl", kept[0] + "-----END X509 CRL-----\n")
    server.reload()
    refused(_knock(server, out, out / "clients" / "app"), "")
