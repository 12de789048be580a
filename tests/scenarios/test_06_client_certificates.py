"""Each person and each application has a key of its own: none can pose as another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.clients import PSQL, Bundle, admitted, at, refused
from support.scenario import KNOWN, compiled_scenario, enact

if TYPE_CHECKING:
    from support.servers import Server

NAME = "06-client-certificates"
ROLES = ("alice", "bob", "batch")


def test_a_certificate_is_one_role_and_no_other(server: Server) -> None:
    out = enact(NAME, server, ROLES)
    assert "map=" not in (out / "servers" / "db" / "pg_hba.conf").read_text(), "CN and role are the same: no map"
    for user, other in (("alice", "bob"), ("bob", "alice")):
        own = Bundle(out / "clients" / user).parameters("shop") | at(server)
        assert admitted(PSQL.connect(own)) == f"{user}@shop"
        refused(PSQL.connect(own | {"user": other}), f'certificate authentication failed for user "{other}"')
        refused(PSQL.connect(own | {"sslcert": "/nonexistent"}), "connection requires a valid client certificate")
        refused(PSQL.connect(own | {"sslmode": "disable"}), "pg_hba.conf")

    own = Bundle(out / "clients" / "alice").parameters("shop") | at(server)
    stranger = Bundle(compiled_scenario(NAME, server, "a stranger") / "clients" / "alice").files
    mark = server.mark()
    refused(PSQL.connect(own | {"sslcert": stranger["sslcert"], "sslkey": stranger["sslkey"]}), "")
    server.wait_for_log("could not accept SSL connection", mark)


def test_a_password_with_a_certificate_needs_both(server: Server) -> None:
    out = enact(NAME, server, ROLES)
    own = Bundle(out / "clients" / "batch").parameters("shop") | at(server)
    alices = Bundle(out / "clients" / "alice").files
    with_alices = own | {"sslcert": alices["sslcert"], "sslkey": alices["sslkey"]}
    without = own | {"sslcert": "/nonexistent"}
    assert admitted(PSQL.connect(own, environment=KNOWN)) == "batch@shop"
    refused(PSQL.connect(own, environment={"PGPASSWORD": "wrong"}), "password authentication failed")
    refused(PSQL.connect(without, environment=KNOWN), "connection requires a valid client certificate")
    refused(PSQL.connect(with_alices, environment=KNOWN), "authentication failed")

    # The pitfall: without clientcert everybody who knows the password is let in, whatever certificate they show.
    hba = (out / "servers" / "db" / "pg_hba.conf").read_text()
    server.write("pg_hba.conf", hba.replace(" clientcert=verify-full", ""))
    server.reload()
    assert admitted(PSQL.connect(without, environment=KNOWN)) == "batch@shop"
    assert admitted(PSQL.connect(with_alices, environment=KNOWN)) == "batch@shop"
