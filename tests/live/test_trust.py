"""Effective trust: OpenSSL accepts every chain that ends in a trusted root, so clients of a sibling CA get in.

The compiler reports it first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from pgtls.cli import run
from pgtls.pki.objects import UNSETTLED
from support.authority import Authority, named
from support.clients import PSQL, Bundle, admitted, at, refused
from support.diagnosing import diagnose
from support.pgtls import compiled, pgtls
from support.system import new_directory

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from support.clients import Outcome
    from support.servers import Server

SPEC = """
version = 1
[ca.root]
[ca.staff]
issuer = "root"
[ca.guests]
{guests}
[server.db]
ca = "root"
client_ca = ["staff"]
hosts = ["localhost"]
postgres = {postgres}
crl = false
no_local = true
[user.alice]
ca = "staff"
[user.mallory]
ca = "guests"
[policy.alice]
users = [{users}]
databases = ["shop"]
from = ["127.0.0.1"]
auth = "cert"
[policy.mallory]
users = ["mallory"]
databases = ["reports"]
from = ["127.0.0.1"]
auth = "scram-sha-256"
"""
SIBLING, APART = 'issuer = "root"', 'common_name = "Guests Root"'
EVERYBODY = "hostssl all all 127.0.0.1/32 cert\n"


def knock(server: Server, guests: str) -> tuple[str, object]:
    """Install the files of a spec on a server, add a line that the compiler would not write, and connect as the guest.

    Leave out CRLs: the server would reject a CA without one.
    """
    server.populate(("alice", "mallory"), ("shop", "reports"), "secret")
    spec = SPEC.format(guests=guests, users='"alice"', postgres=server.version)
    out = compiled(spec, new_directory("trust"))
    server.install(out / "servers" / "db")
    server.write("pg_hba.conf", EVERYBODY)
    server.reload()
    own = Bundle(out / "clients" / "alice").parameters("shop") | at(server)
    files = Bundle(out / "clients" / "mallory").files
    theirs = own | {"user": "mallory", "sslcert": files["sslcert"], "sslkey": files["sslkey"]}
    return admitted(PSQL.connect(own)), PSQL.connect(theirs)


def test_a_sibling_cas_client_gets_in_where_nobody_checks(server: Server) -> None:
    friend, guest = knock(server, SIBLING)
    assert (friend, admitted(guest)) == ("alice@shop", "mallory@shop")  # type: ignore[arg-type]


def test_with_a_root_of_its_own_it_does_not(server: Server) -> None:
    friend, guest = knock(server, APART)
    assert friend == "alice@shop"
    refused(guest, "")  # type: ignore[arg-type]


def test_the_compiler_refuses_what_would_let_it_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "pgtls.toml"
    spec.write_text(SPEC.format(guests=SIBLING, users='"all"', postgres=17))
    assert run(["check", str(spec)]) == 1
    assert "PGT255" in capsys.readouterr().out
    spec.write_text(SPEC.format(guests=APART, users='"all"', postgres=17))
    run(["check", str(spec)])
    assert "PGT255" not in capsys.readouterr().out


CONSTRAINED = """
version = 1
[ca.root]
[ca.clients]
[ca.jobs]
issuer = "clients"
name_constraints = { permitted_dns = ["jobs.example.com"], permitted_ip = ["192.0.2.0/24"] }
[server.db]
ca = "root"
client_ca = ["clients"]
hosts = ["localhost"]
postgres = POSTGRES
no_local = true
[user.alice]
ca = "clients"
[user.dotted]
ca = "clients"
common_name = "dotted.example.org"
[policy.all]
users = ["alice", "dotted"]
databases = ["shop"]
from = ["127.0.0.1"]
auth = "cert"
"""


def test_name_constraints_do_not_restrict_the_names_of_clients(server: Server) -> None:
    """OpenSSL takes a common name for a host name if it has a dot and the certificate has no host name."""
    out = compiled(CONSTRAINED.replace("POSTGRES", str(server.version)), new_directory("constrained"))
    server.populate(("alice", "dotted"), ("shop",))
    server.install(out / "servers" / "db")
    thief = Authority.of(out / "ca" / "jobs")

    def knock_as(role: str, common_name: str, *hosts: str) -> Outcome:
        files = thief.bundle(named(CN=common_name), thief, hosts=hosts)
        shown = {"user": role, "sslcert": str(files / "postgresql.crt"), "sslkey": str(files / "postgresql.key")}
        return PSQL.connect(Bundle(out / "clients" / "alice").parameters("shop") | at(server) | shown)

    assert admitted(knock_as("alice", "alice")) == "alice@shop"
    refused(knock_as("dotted", "dotted.example.org"), "")
    refused(knock_as("alice", "alice", "db.example.org"), "")
    assert admitted(knock_as("dotted", "dotted.example.org", "x.jobs.example.com")) == "dotted@shop"


SUBJECTS = """
version = 1
[ca.root]
cert_file = "root.crt"
key_file = "root.key"
[ca.people]
issuer = "root"
cert_file = "people.crt"
key_file = "people.key"
{more}
[ca.servers]
[server.db]
ca = "servers"
client_ca = ["people"]
hosts = ["localhost"]
postgres = {postgres}
crl = false
no_local = true
[user.alice]
ca = "people"
[policy.alice]
users = ["alice"]
databases = ["shop"]
from = ["127.0.0.1"]
auth = "cert"
map = [{{ identity = "/(^|,){word}=DBA(,|$)", of = "dn", role = "alice" }}]
"""
SENSOR = """
[ca.devices]
issuer = "root"
cert_file = "devices.crt"
key_file = "devices.key"
[user.sensor]
ca = "devices"
cert_file = "sensor.crt"
"""
ATTRIBUTES = {"OU": "2.5.4.11", "description": "2.5.4.13", "role": "2.5.4.72", "mail": "0.9.2342.19200300.100.1.3"}


class Sensor:
    """The holder of a certificate of a CA that the server does not name, below the same root, with one attribute."""

    def __init__(self, place: Path, oid: str) -> None:
        root = Authority.root("Root")
        self.place, self.devices = place, root.below("Devices")
        for name, authority in (("root", root), ("people", root.below("People")), ("devices", self.devices)):
            (place / f"{name}.crt").write_bytes(authority.pem)
            (place / f"{name}.key").write_bytes(authority.key_pem)
        extra = x509.NameAttribute(x509.ObjectIdentifier(oid), "DBA")
        self.files = self.devices.bundle(x509.Name([*named(CN="sensor"), extra]), self.devices)
        (place / "sensor.crt").write_bytes((self.files / "postgresql.crt").read_bytes())

    def complaints(self, word: str) -> dict[str, str]:
        """Return the errors of a spec that names the sensor, by code."""
        spec = self.place / "checked.toml"
        spec.write_text(SUBJECTS.format(more=SENSOR, word=word, postgres=17))
        return {found.code: found.message for found in diagnose(spec) if found.severity == "error"}


def test_whoever_the_server_takes_by_an_attribute_of_the_subject_is_reported(server: Server) -> None:
    """PostgreSQL writes each attribute with the word that its OpenSSL has for it."""
    if server.version < 14:
        return  # it compares common names alone
    server.populate(("alice",), ("shop",))
    for word, oid in ATTRIBUTES.items():
        sensor = Sensor(new_directory("subjects"), oid)
        out = compiled(SUBJECTS.format(more="", word=word, postgres=server.version), sensor.place)
        server.install(out / "servers" / "db")
        own = Bundle(out / "clients" / "alice").parameters("shop") | at(server)
        files = Bundle(sensor.files).files
        shown = {"sslcert": files["sslcert"], "sslkey": files["sslkey"]}
        assert admitted(PSQL.connect(own | shown)) == "alice@shop", word
        other = Bundle(sensor.devices.bundle(named(CN="sensor"), sensor.devices)).files
        shown = {"sslcert": other["sslcert"], "sslkey": other["sslkey"]}
        refused(PSQL.connect(own | shown), "certificate authentication failed")
        assert "PGT255" in sensor.complaints(word), word
        assert "PGT255" not in sensor.complaints(f"not-{word}"), word


def test_an_attribute_that_not_every_openssl_writes_alike_is_refused(tmp_path: Path) -> None:
    """Also where no policy compares subjects: one may later."""
    for oid, told in (("1.3.6.1.5.5.7.1.4", True), (min(UNSETTLED), True), ("1.2.3.4.5", False)):
        sensor = Sensor(tmp_path, oid)
        assert sensor.complaints("OU") == {}
        spec = tmp_path / "checked.toml"
        spec.write_text(spec.read_text().partition("map =")[0])
        planned = pgtls("plan", spec)
        said = f"its subject has the attribute {oid}, which not every OpenSSL writes alike: leave it out"
        assert ("error[PGT565]" in planned.stderr, said in planned.stderr) == (told, told)
        assert planned.status == (1 if told else 0), planned.stderr
