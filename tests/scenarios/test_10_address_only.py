"""A server without a name: clients dial its address and verify it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.clients import PSQL, Bundle, admitted, at, libpq_clients, refused
from support.scenario import KNOWN, enact

if TYPE_CHECKING:
    from support.servers import Server

NAME = "10-address-only"


def test_every_client_verifies_the_address_that_it_dials(server: Server) -> None:
    out = enact(NAME, server, ("app",))
    own = Bundle(out / "clients" / "app").parameters("shop") | {"port": str(server.port)}
    assert (own["host"], own["sslmode"]) == ("127.0.0.1", "verify-full")
    elsewhere = own | {"host": "127.0.0.2", "hostaddr": "127.0.0.1"}
    for client in (PSQL, *libpq_clients()):
        assert admitted(client.connect(own, environment=KNOWN)) == "app@shop"
        refused(client.connect(elsewhere, environment=KNOWN), 'does not match host name "127.0.0.2"')
        refused(client.connect(own | {"sslmode": "disable"}, environment=KNOWN), "pg_hba.conf")


def test_an_ipv6_address_is_verified_by_clients_that_know_addresses_in_certificates(server: Server) -> None:
    out = enact(NAME, server, ("app",))
    own = Bundle(out / "clients" / "app").parameters("shop") | at(server, "::1") | {"host": "::1"}
    assert admitted(PSQL.connect(own, environment=KNOWN)) == "app@shop"
    refused(PSQL.connect(own | {"host": "::2"}, environment=KNOWN), 'does not match host name "::2"')
    for client in libpq_clients():
        outcome = client.connect(own, environment=KNOWN)
        if client.label in ("libpq 13", "libpq 14"):  # they look at the CN and at DNS names alone
            refused(outcome, 'does not match host name "::1"')
        else:
            assert admitted(outcome) == "app@shop"
