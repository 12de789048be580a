"""A private root signs the server; clients who hold its certificate know the server by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from support.clients import PSQL, Bundle, admitted, at, refused
from support.scenario import KNOWN, compiled_scenario, enact

if TYPE_CHECKING:
    from support.servers import Server

NAME = "02-private-root"


def test_clients_verify_the_server_by_the_root_alone(server: Server) -> None:
    out = enact(NAME, server, ("app",))
    own = Bundle(out / "clients" / "app").parameters("shop") | at(server)
    assert admitted(PSQL.connect(own, environment=KNOWN)) == "app@shop"
    assert admitted(PSQL.connect(own | {"host": "db.example.com"}, environment=KNOWN)) == "app@shop"
    refused(PSQL.connect(own | {"host": "127.0.0.1"}, environment=KNOWN), 'does not match host name "127.0.0.1"')

    other_root = Bundle(compiled_scenario(NAME, server, "a stranger") / "clients" / "app").files
    for sslmode in ("verify-full", "verify-ca", "require"):
        refused(PSQL.connect(own | other_root | {"sslmode": sslmode}, environment=KNOWN), "certificate verify failed")
    refused(
        PSQL.connect(own | {"sslrootcert": "/nonexistent"}, environment=KNOWN),
        'root certificate file "/nonexistent" does not exist',
    )
    refused(PSQL.connect(own | {"sslmode": "disable"}, environment=KNOWN), "pg_hba.conf")
    refused(PSQL.connect(own, environment={"PGPASSWORD": "wrong"}), "password authentication failed")


def test_the_root_s_key_stays_with_the_ca_and_no_name_is_used_twice(server: Server) -> None:
    out = compiled_scenario(NAME, server)
    assert [path.relative_to(out).as_posix() for path in sorted(out.rglob("*.key"))] == [
        "ca/root/ca.key",
        "servers/db/server.key",
    ]
    root = x509.load_pem_x509_certificate((out / "ca" / "root" / "ca.crt").read_bytes())
    leaf = x509.load_pem_x509_certificate((out / "servers" / "db" / "server.crt").read_bytes())
    assert leaf.issuer == root.subject != leaf.subject
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "db.example.com"]
    assert (out / "clients" / "app" / "root.crt").read_bytes() == (out / "ca" / "root" / "ca.crt").read_bytes()
