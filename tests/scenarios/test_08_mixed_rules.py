"""The administrator on the socket, a local agent without TLS, everybody else over TLS with a certificate."""

from __future__ import annotations

import pytest

from support.addresses import Network, networks_available
from support.clients import PSQL, Bundle, admitted, at, refused, socket_of
from support.scenario import KNOWN, enact
from support.servers import Installation, Server
from support.system import find_account


@pytest.mark.skipif(not networks_available(), reason="unavailable: this machine gives no network of its own")
def test_each_way_in_admits_its_own_and_no_other(installation: Installation) -> None:
    office = "10.9.0.7"
    with Network((office,)) as network, Server(installation, network=network) as server:
        out = enact("08-mixed-rules", server, ("agent", "app"))

        agent = Bundle(out / "clients" / "agent").parameters("postgres") | at(server)
        assert agent["sslmode"] == "disable"
        assert admitted(PSQL.connect(agent, network=network, environment=KNOWN)) == "agent@postgres"
        refused(
            PSQL.connect(agent, network=network, environment={"PGPASSWORD": "wrong"}), "password authentication failed"
        )
        refused(PSQL.connect(agent | at(server, office), network=network, environment=KNOWN), "no pg_hba.conf entry")

        app = Bundle(out / "clients" / "app").parameters("shop") | at(server, office)
        assert admitted(PSQL.connect(app, network=network)) == "app@shop"
        refused(PSQL.connect(app | {"sslmode": "disable"}, network=network, environment=KNOWN), "pg_hba.conf")
        refused(
            PSQL.connect(app | {"sslcert": "/nonexistent"}, network=network),
            "connection requires a valid client certificate",
        )
        refused(PSQL.connect(app | at(server), network=network), "no pg_hba.conf entry")

        admin = socket_of(server) | {"user": "postgres", "dbname": "postgres"}
        assert admitted(PSQL.connect(admin, account=find_account("postgres"))) == "postgres@postgres"
        refused(PSQL.connect(admin, account=find_account("nobody")), "Peer authentication failed")
        refused(PSQL.connect(admin | {"user": "app", "dbname": "shop"}), "no pg_hba.conf entry")
