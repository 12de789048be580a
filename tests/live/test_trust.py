"""Effective trust: OpenSSL accepts every chain that ends in a trusted root, so clients of a sibling CA get in.

The compiler reports it first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.cli import run
from support.authority import Authority, named
from support.clients import PSQL, Bundle, admitted, at, refused
from support.pgtls import compiled
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
