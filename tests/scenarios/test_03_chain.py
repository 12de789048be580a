"""A root, an intermediate and a leaf: the server shows leaf and intermediate, clients hold the root alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from support.clients import PSQL, Bundle, admitted, at, refused
from support.scenario import KNOWN, enact
from support.servers import ServerError

if TYPE_CHECKING:
    from support.servers import Server


def certificates(text: str) -> list[str]:
    return re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", text, re.DOTALL)


def test_a_client_that_holds_the_root_verifies_through_the_intermediate(server: Server) -> None:
    out = enact("03-chain", server, ("app",))
    own = Bundle(out / "clients" / "app").parameters("shop") | at(server)
    assert admitted(PSQL.connect(own, environment=KNOWN)) == "app@shop"

    leaf, intermediate = certificates((out / "servers" / "db" / "server.crt").read_text())
    assert intermediate == (out / "ca" / "servers" / "ca.crt").read_text()
    assert certificates((out / "clients" / "app" / "root.crt").read_text()) == [
        (out / "ca" / "root" / "ca.crt").read_text()
    ]

    # Without the intermediate nobody can build the chain.
    server.write("server.crt", leaf)
    server.reload()
    refused(PSQL.connect(own, environment=KNOWN), "certificate verify failed")

    # In the wrong order the server does not take it, and stays as it was.
    server.write("server.crt", intermediate + leaf)
    with pytest.raises(ServerError, match="key values mismatch"):
        server.reload()

    server.install(out / "servers" / "db")
    assert admitted(PSQL.connect(own, environment=KNOWN)) == "app@shop"


def test_an_intermediate_alone_is_no_root_for_a_client(server: Server) -> None:
    out = enact("03-chain", server, ("app",))
    own = Bundle(out / "clients" / "app").parameters("shop") | at(server)
    refused(
        PSQL.connect(own | {"sslrootcert": str(out / "ca" / "servers" / "ca.crt")}, environment=KNOWN),
        "certificate verify failed",
    )
    admitted(PSQL.connect(own, environment=KNOWN))
