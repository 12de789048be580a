"""The server shows a certificate, clients a password."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from support.clients import PSQL, TLS, Bundle, admitted, at, refused
from support.scenario import KNOWN, PASSWORD, compiled_scenario, enact

if TYPE_CHECKING:
    from support.servers import Server

NAME = "05-one-way-tls"


def test_a_password_over_tls_is_enough_and_without_tls_it_is_nothing(server: Server) -> None:
    out = enact(NAME, server, ("app", "visitor"))
    assert not (out / "servers" / "db" / "root.crt").exists(), "no client CA"
    assert server.show("ssl_ca_file") == ""
    bundle = Bundle(out / "clients" / "app")
    assert "sslcert" not in bundle.files
    own = bundle.parameters() | at(server) | {"dbname": "shop"}
    assert own["sslmode"] == "require"
    assert admitted(PSQL.connect(own, query=TLS, environment=KNOWN)).startswith("t|TLSv1.3|")
    assert admitted(PSQL.connect(own | {"sslmode": "verify-full"}, environment=KNOWN)) == "app@shop"
    assert admitted(PSQL.connect(own | {"user": "visitor"}, environment=KNOWN)) == "visitor@shop", (
        "the policy says all users"
    )

    refused(PSQL.connect(own | {"sslmode": "disable"}, environment=KNOWN), "pg_hba.conf")
    refused(PSQL.connect(own, environment={"PGPASSWORD": "wrong"}), "password authentication failed")
    strangers = Bundle(compiled_scenario(NAME, server, "a stranger") / "clients" / "app").files
    refused(PSQL.connect(own | strangers | {"sslmode": "verify-full"}, environment=KNOWN), "certificate verify failed")


def test_who_is_connected_without_tls_stays_and_cannot_come_back(server: Server) -> None:
    server.populate(("app",), ("shop",), PASSWORD)
    cleartext = {
        "host": "localhost",
        **at(server),
        "user": "app",
        "dbname": "shop",
        "sslmode": "disable",
        "gssencmode": "disable",
    }
    with psycopg.connect(**cleartext, autocommit=True) as early:  # type: ignore[arg-type]
        enact(NAME, server, ("app",))
        row = early.execute("select ssl from pg_stat_ssl where pid = pg_backend_pid()").fetchone()
        assert row == (False,)
    refused(PSQL.connect(cleartext, environment=KNOWN), "pg_hba.conf")
