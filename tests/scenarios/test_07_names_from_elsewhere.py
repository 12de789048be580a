"""An expression maps certificates with a host name as common name to roles: each host of that domain is itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.clients import PSQL, Bundle, admitted, at, refused
from support.scenario import enact

if TYPE_CHECKING:
    from support.servers import Server

NAME = "07-names-from-elsewhere"


def test_a_host_of_the_domain_is_the_role_of_its_name_and_nobody_else(server: Server) -> None:
    out = enact(NAME, server, ("app", "etl"), ("shop", "reports"))
    ident = (out / "servers" / "db" / "pg_ident.conf").read_text()
    assert r"/^(.*)\.mydomain\.org$" in ident
    app = Bundle(out / "clients" / "app").parameters("shop") | at(server)
    assert admitted(PSQL.connect(app)) == "app@shop"
    etl = Bundle(out / "clients" / "etl").parameters("reports") | at(server)
    assert admitted(PSQL.connect(etl)) == "etl@reports"

    # Of another domain, for another role, without a certificate, without TLS.
    files = Bundle(out / "clients" / "etl").files
    theirs = {"sslcert": files["sslcert"], "sslkey": files["sslkey"]}
    refused(PSQL.connect(app | theirs), 'certificate authentication failed for user "app"')
    refused(PSQL.connect(app | {"user": "etl"}), "pg_hba.conf")
    refused(PSQL.connect(app | {"sslcert": "/nonexistent"}), "connection requires a valid client certificate")
    refused(PSQL.connect(app | {"sslmode": "disable"}), "pg_hba.conf")


def test_without_its_line_the_map_lets_nobody_in(server: Server) -> None:
    out = enact(NAME, server, ("app", "etl"), ("shop", "reports"))
    app = Bundle(out / "clients" / "app").parameters("shop") | at(server)
    assert admitted(PSQL.connect(app)) == "app@shop"
    ident = (out / "servers" / "db" / "pg_ident.conf").read_text()
    server.write("pg_ident.conf", "\n".join(line for line in ident.splitlines() if "mydomain" not in line) + "\n")
    server.reload()
    refused(PSQL.connect(app), 'certificate authentication failed for user "app"')
