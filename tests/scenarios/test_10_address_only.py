"""A server without a name: clients dial its address and verify it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.clients import PSQL, Bundle, admitted, at, libpq_clients, refused
from support.scenario import KNOWN, enact
from support.servers import loopback

if TYPE_CHECKING:
    from support.servers import Server

NAME = "10-address-only"


LOOK_AT_THE_COMMON_NAME = ("libpq 13", "libpq 14")
"""These clients know nothing of addresses in a certificate (fe-secure-common.c has them since 15): where it has no DNS
names, they compare the common name, which is the first address.
"""


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_clients_verify_the_address_that_they_dial(server: Server, address: str) -> None:
    if address not in loopback():
        pytest.skip("unavailable: this machine has no IPv6")
    out = enact(NAME, server, ("app",))
    own = Bundle(out / "clients" / "app").parameters("shop")
    assert (own["host"], own["sslmode"]) == ("127.0.0.1", "verify-full")
    own |= {"host": address} | at(server, address)
    for client in (PSQL, *libpq_clients()):
        outcome = client.connect(own, environment=KNOWN)
        if client.label in LOOK_AT_THE_COMMON_NAME and address != "127.0.0.1":
            refused(outcome, f'does not match host name "{address}"')
        else:
            assert admitted(outcome) == "app@shop"
    refused(PSQL.connect(own | {"host": "127.0.0.2"}, environment=KNOWN), 'does not match host name "127.0.0.2"')
    refused(PSQL.connect(own | {"host": "::2"}, environment=KNOWN), 'does not match host name "::2"')
    refused(PSQL.connect(own | {"sslmode": "disable"}, environment=KNOWN), "pg_hba.conf")
