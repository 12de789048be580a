"""What a server says when it is asked about TLS, and what a client says when it is not let in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.clients import PSQL, TLS, Bundle, admitted, at, refused
from support.scenario import enact, verified

if TYPE_CHECKING:
    from support.servers import Server


def test_server_and_client_say_whether_it_is_on(server: Server) -> None:
    assert server.show("ssl") == "off"
    out = enact("16-is-it-on", server, ("alice",))
    assert server.show("ssl") == "on"
    own = Bundle(out / "clients" / "alice").parameters("shop") | at(server)
    assert admitted(PSQL.connect(own, query="show ssl")) == "on"
    tls, version, cipher, bits, subject = admitted(PSQL.connect(own, query=TLS)).split("|")
    assert (tls, version, subject) == ("t", "TLSv1.3", "/CN=alice")
    assert cipher.startswith("TLS_")
    assert int(bits) >= 128
    run = verified(out, server)
    assert run.status == 0, run.stdout

    encryption = "SSL off" if server.version == 13 else "no encryption"
    refused(
        PSQL.connect(own | {"sslmode": "disable"}), f'host "127.0.0.1", user "alice", database "shop", {encryption}'
    )
    refused(PSQL.connect(own | {"dbname": "postgres"}), "SSL on" if server.version == 13 else "SSL encryption")
    wrong = 'server certificate for "localhost" (and 1 other name) does not match host name "db.example.org"'
    refused(PSQL.connect(own | {"host": "db.example.org"}), wrong)


def test_a_server_without_tls_says_so(server: Server) -> None:
    out = enact("16-is-it-on", server, ("alice",))
    own = Bundle(out / "clients" / "alice").parameters("shop") | at(server)
    admitted(PSQL.connect(own))
    server.configure(ssl="off")
    server.reload()
    refused(PSQL.connect(own), "server does not support SSL, but SSL was required")
    run = verified(out, server)
    assert run.status == 1
    assert "has TLS switched off (ssl = off)" in run.stdout
