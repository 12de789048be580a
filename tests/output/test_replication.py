"""The files of a standby: what it logs in to its primary with, and that they stay those of the replication user."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pgtls.output.postgresql_conf import read_fragment
from support.building import NOW, steps

if TYPE_CHECKING:
    from support.building import Place

SPEC = """
version = 1
[ca.root]
[ca.clients]
[server.primary]
ca = "root"
client_ca = ["clients"]
hosts = ["db1.example.com"]
postgres = {version}
[server.replica]
ca = "root"
client_ca = ["clients"]
hosts = ["db2.example.com", "*.replicas.example.com", "10.0.0.2"]
postgres = {version}
{replica}
[user.postgres]
[user.copier]
ca = "clients"
roles = ["replicator"]
{copier}
[policy.dba]
servers = ["primary"]
users = ["postgres"]
from = ["local"]
auth = "peer"
{more}
"""
STANDBY = 'standby_of = "primary"\nreplication_user = "copier"\n'
FILES = ("root.crt", "postgresql.crt", "postgresql.key")
DIRECTORY = "servers/replica/replication"


def spec(version: int = 17, replica: str = STANDBY, copier: str = "", more: str = "") -> str:
    return SPEC.format(version=version, replica=replica, copier=copier, more=more)


def same(place: Place) -> bool:
    """Return whether the standby has what the bundle of its user has."""
    pairs = ((place.file(f"{DIRECTORY}/{name}"), place.file(f"clients/copier/{name}")) for name in FILES)
    return all(one.read_bytes() == other.read_bytes() for one, other in pairs)


def lines(place: Place, server: str) -> list[list[str]]:
    text = place.file(f"servers/{server}/pg_hba.conf").read_text()
    return [line.split() for line in text.splitlines() if line and line[0] != "#"]


def test_the_primary_admits_the_user_from_the_hosts_of_the_standby_alone(place: Place) -> None:
    place.build(spec())
    assert lines(place, "primary") == [
        ["local", "all", '"postgres"', "peer"],
        *(
            ["hostssl", "replication", '"replicator"', host, "cert", '"map=standby:replica"']
            for host in ('"db2.example.com"', '".replicas.example.com"', "10.0.0.2/32")
        ),
    ]
    assert lines(place, "replica") == [["local", "all", '"postgres"', "peer"]]


@pytest.mark.parametrize(
    ("version", "directory", "expected"),
    [
        pytest.param(
            13, None, "sslrootcert=replication/root.crt sslcert=replication/postgresql.crt", id="13, relative"
        ),
        pytest.param(18, "/etc/pg", "sslrootcert=/etc/pg/replication/root.crt", id="18, absolute"),
        pytest.param(18, "/etc/it's", "sslkey=\\'/etc/it\\\\\\'s/replication/postgresql.key\\'", id="a quote"),
    ],
)
def test_the_fragment_says_verify_full_and_where_the_files_lie(
    place: Place, version: int, directory: str | None, expected: str
) -> None:
    place.build(spec(version, STANDBY + (f'directory = "{directory}"' if directory else "")))
    settings = read_fragment(place.file(f"{DIRECTORY}/primary_conninfo.conf").read_text())
    assert settings.keys() == {"primary_conninfo"}
    value = settings["primary_conninfo"]
    assert value.startswith("host=db1.example.com port=5432 user=replicator sslmode=verify-full ")
    assert expected.replace("\\'", "'").replace("\\\\", "\\") in value
    assert ("require_auth=none sslcertmode=require sslnegotiation=direct" in value) == (version >= 17)
    assert "replication=" not in value
    assert "dbname" not in value


def test_the_files_follow_the_bundle_of_the_user(place: Place) -> None:
    place.build(spec())
    key = place.file(f"{DIRECTORY}/postgresql.key")
    assert same(place)
    assert (key.stat().st_mode & 0o777, key.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert steps(place.build()) == []
    before = key.read_bytes()
    place.build(now=NOW + timedelta(days=61))  # in its renewal window, with a new key
    assert same(place)
    assert key.read_bytes() != before


@pytest.mark.parametrize("damage", ["missing", "edited"])
def test_a_damaged_copy_of_a_key_that_stays_is_written_again(place: Place, damage: str) -> None:
    place.build(spec())
    key = place.file(f"{DIRECTORY}/postgresql.key")
    key.unlink()
    if damage == "edited":
        key.write_text("no key\n")
    assert steps(place.build()) == [("server.replica", "rewrite")]
    assert same(place)


def test_a_server_becomes_a_standby_of_a_user_whose_key_is_there_and_stops_being_one(place: Place) -> None:
    policy = '[policy.app]\nservers = ["primary"]\nusers = ["copier"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"\n'
    own = '[policy.own]\nservers = ["replica"]\nusers = ["postgres"]\nfrom = ["local"]\nauth = "peer"\n'
    place.build(spec(replica="", more=policy + own))
    assert not place.file(DIRECTORY).exists()
    place.build(spec(more=policy + own))
    assert same(place)
    place.build(spec(replica="", more=policy + own))
    assert not place.file(DIRECTORY).exists()


def test_a_standby_with_a_policy_of_its_own_inherits_none(place: Place) -> None:
    own = '[policy.own]\nservers = ["replica"]\nusers = ["copier"]\nfrom = ["local"]\nauth = "peer"\n'
    place.build(spec(more=own))
    assert [line[2] for line in lines(place, "replica")] == ['"replicator"']


def test_a_standby_of_a_standby_inherits_what_that_one_has(place: Place) -> None:
    third = (
        '[server.third]\nca = "root"\nclient_ca = ["clients"]\nhosts = ["db3.example.com"]\n'
        'standby_of = "replica"\nreplication_user = "copier"\n'
    )
    place.build(spec(more=third))
    assert ["local", "all", '"postgres"', "peer"] in lines(place, "third")
    (admitting,) = [line for line in lines(place, "replica") if line[1] == "replication"]
    assert admitting[3] == '"db3.example.com"'
    conninfo = place.file("servers/third/replication/primary_conninfo.conf").read_text()
    assert "host=db2.example.com" in conninfo


APP = """[user.app]
ca = "clients"
libpq = {libpq}
[policy.app]
servers = ["primary"]
users = ["app"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "cert"
"""


def connections(place: Place) -> dict[str, dict[str, Any]]:
    found = json.loads(place.file("clients/app/connections.json").read_text())["connections"]
    return {one["service"]: one for one in found}


@pytest.mark.parametrize(
    ("libpq", "reading"),
    [
        pytest.param(13, {"target_session_attrs": "any"}, id="13"),
        pytest.param(14, {"target_session_attrs": "prefer-standby"}, id="14"),
        pytest.param(16, {"target_session_attrs": "prefer-standby", "load_balance_hosts": "random"}, id="16"),
    ],
)
def test_clients_of_a_primary_and_its_standby_get_connections_to_both(
    place: Place, libpq: int, reading: dict[str, str]
) -> None:
    place.build(spec(more=APP.format(libpq=libpq)))
    found = connections(place)
    assert list(found) == ["primary-shop", "replica-shop", "primary-shop-read-write", "primary-shop-read-only"]
    for name, chosen in (("read-write", {"target_session_attrs": "read-write"}), ("read-only", reading)):
        one = found[f"primary-shop-{name}"]
        hosts = {"host": "db1.example.com,db2.example.com", "port": "5432,5432"}
        assert one["parameters"] == {**found["primary-shop"]["parameters"], **hosts, **chosen}
        assert one["server"] == "primary,replica"
        assert one["uri"].startswith(
            "postgresql://app@db1.example.com:5432,db2.example.com:5432/shop?sslmode=verify-full"
        )
        assert one["jdbc"].startswith("jdbc:postgresql://db1.example.com:5432,db2.example.com:5432/shop?")
        assert one["go"] is one["node"] is None
    assert "targetServerType=primary" in found["primary-shop-read-write"]["jdbc"]
    assert "targetServerType=preferSecondary&loadBalanceHosts=true" in found["primary-shop-read-only"]["jdbc"]
    assert "[primary-shop-read-only]\n" in place.file("clients/app/pg_service.conf").read_text()


@pytest.mark.parametrize(
    "own",
    [
        pytest.param('auth = "scram-sha-256"\ndatabases = ["shop"]\n', id="another method"),
        pytest.param('auth = "cert"\ndatabases = ["reports"]\n', id="another database"),
    ],
)
def test_servers_that_ask_for_different_things_have_no_connection_together(place: Place, own: str) -> None:
    policy = f'[policy.own]\nservers = ["replica"]\nusers = ["app"]\nfrom = ["10.0.0.0/8"]\n{own}'
    socket = '[policy.socket]\nservers = ["replica"]\nusers = ["postgres"]\nfrom = ["local"]\nauth = "peer"\n'
    place.build(spec(more=APP.format(libpq=16) + policy + socket))
    assert len(connections(place)) == 2
