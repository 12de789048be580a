"""What `pgtls export patroni` writes, in Patroni: two members, replication by certificate, a failover."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import yaml  # type: ignore[import-untyped]

from support.addresses import Network, networks_available
from support.clients import PSQL, Bundle, admitted, refused
from support.patroni import Etcd, Member, until
from support.pgtls import pgtls
from support.servers import versions
from support.system import give, new_directory, server_account

if TYPE_CHECKING:
    from pathlib import Path

    from support.clients import Parameters
    from support.servers import Installation

SUPPORTED = [found for found in versions() if (found.bin / "pg_rewind").exists() and found.major < 19]

HOSTS = {"n1": "10.9.0.1", "n2": "10.9.0.2"}
CLIENT = "10.9.0.7"

SPEC = """
version = 1
[ca.servers]
[ca.clients]
[defaults.server]
ca = "servers"
client_ca = ["clients"]
postgres = {version}
[server.n1]
hosts = ["10.9.0.1"]
directory = "{n1}/tls"
[server.n2]
hosts = ["10.9.0.2"]
directory = "{n2}/tls"
[user.postgres]
[user.replicator]
ca = "clients"
os_users = ["postgres"]
directory = "{shared}/replicator"
[user.rewinder]
ca = "clients"
directory = "{shared}/rewinder"
[user.app]
ca = "clients"
[network.members]
addresses = ["10.9.0.1", "10.9.0.2"]
[defaults.policy]
servers = ["all"]
[policy.superuser]
users = ["postgres"]
from = ["local"]
auth = "peer"
[policy.replication-local]
users = ["replicator"]
databases = ["replication"]
from = ["local"]
auth = "peer"
[policy.replication]
users = ["replicator"]
databases = ["replication"]
from = ["@members"]
auth = "cert"
[policy.rewind]
users = ["rewinder"]
databases = ["postgres"]
from = ["@members"]
auth = "cert"
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["10.9.0.0/16"]
auth = "cert"
"""


class Cluster:
    """Two members with what was exported for them."""

    def __init__(self, installation: Installation, network: Network, directory: Path) -> None:
        self.network, self.directory = network, directory
        self.members = {name: Member(name, host, installation, network) for name, host in HOSTS.items()}
        shared = new_directory("bundles")
        places = {name: member.directory for name, member in self.members.items()}
        spec = SPEC.format(version=installation.major, shared=shared, **places)
        (directory / "pgtls.toml").write_text(spec)
        self.out = directory / "out"
        self.deploy(shared)

    def deploy(self, shared: Path) -> None:
        """Build, export, and place the files of every member and the bundles of Patroni's users."""
        for command in (("build",), ("export", "patroni", "--to", "patroni", "--rewind", "rewinder")):
            run = pgtls(*command, cwd=self.directory)
            assert run.status == 0, run.stderr
        for user in ("replicator", "rewinder"):
            _copy(self.out / "clients" / user, shared / user)
        for name, member in self.members.items():
            _copy(self.out / "servers" / name, member.directory / "tls")
            member.configure()
            _copy(self.directory / "patroni" / f"{name}.yml", member.directory / "conf" / "20-pgtls.yml")

    def close(self) -> None:
        for member in self.members.values():
            member.kill()

    def sql(self, name: str, query: str) -> str:
        """Ask a member over its Unix socket, as Patroni does."""
        own = {"host": self.members[name].sockets, "user": "postgres", "dbname": "postgres"}
        found = PSQL.connect(own, query=query, account=server_account())
        return found.text if found.admitted else ""

    def leads(self, name: str) -> bool:
        return self.sql(name, "select pg_is_in_recovery()") == "f"

    def app(self, name: str, **others: str) -> Parameters:
        """Return how the app connects to a member."""
        files = Bundle(self.out / "clients" / "app").parameters("shop", server=name)
        return files | {"host": HOSTS[name]} | others


def _copy(source: Path, target: Path) -> None:
    """Place a file or directory with its modes, as the account of Patroni owns it."""
    files = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
    for path in files:
        place = target if source.is_file() else target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
        place.chmod(path.stat().st_mode & 0o777)
    give(target, server_account())


STREAMS = """
select client_dn, ssl from pg_stat_replication join pg_stat_ssl using (pid)
where usename = 'replicator' and state = 'streaming'
"""


@pytest.mark.slow
@pytest.mark.skipif(not networks_available(), reason="unavailable: this machine gives no network of its own")
@pytest.mark.parametrize("installation", SUPPORTED[-1:], ids=[found.id for found in SUPPORTED[-1:]])
def test_a_cluster_replicates_by_certificate_and_its_rules_survive_a_failover(
    installation: Installation, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        network = stack.enter_context(Network((*HOSTS.values(), CLIENT)))
        stack.enter_context(Etcd(network))
        cluster = Cluster(installation, network, tmp_path)
        stack.callback(cluster.close)
        first, second = cluster.members.values()
        try:
            _failover(cluster, first, second)
        except BaseException as error:
            for member in (first, second):
                error.add_note(f"{member.name}:\n{member.log[-6000:]}")
            raise


def _failover(cluster: Cluster, first: Member, second: Member) -> None:
    for member in (first, second):
        run = member.validated()
        assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    first.start()
    until(lambda: cluster.leads("n1"), "n1 leads")
    cluster.sql("n1", "create role app login")
    cluster.sql("n1", "create database shop")
    second.start()
    until(lambda: cluster.sql("n1", STREAMS) == "/CN=replicator|t", "n2 streams from n1 by certificate")
    for name in HOSTS:
        _is_as_the_spec_says(cluster, name)

    first.kill()
    until(lambda: cluster.leads("n2"), "n2 leads")
    _is_as_the_spec_says(cluster, "n2")
    first.start()
    until(lambda: cluster.sql("n2", STREAMS) == "/CN=replicator|t", "n1 streams from n2 by certificate")
    _is_as_the_spec_says(cluster, "n1")


def _is_as_the_spec_says(cluster: Cluster, name: str) -> None:
    """The app gets in with its certificate, and not without it, in cleartext, or with another's."""
    own = cluster.app(name)
    until(lambda: PSQL.connect(own, network=cluster.network).admitted, f"{name} admits the app")
    assert admitted(PSQL.connect(own, network=cluster.network)) == "app@shop"
    refused(
        PSQL.connect(own | {"sslcert": "/none", "sslkey": "/none"}, network=cluster.network),
        "connection requires a valid client certificate",
    )
    refused(PSQL.connect(own | {"sslmode": "disable"}, network=cluster.network), "no encryption")
    other = Bundle(cluster.out / "clients" / "replicator").files
    refused(PSQL.connect(own | other, network=cluster.network), "certificate authentication failed")
    exported = yaml.safe_load((cluster.directory / "patroni" / f"{name}.yml").read_text())["postgresql"]
    hba = cluster.sql(name, "select pg_read_file('pg_hba.conf')").splitlines()
    assert hba[2:] == exported["pg_hba"]
    assert cluster.sql(name, "select count(*) from pg_hba_file_rules where error is not null") == "0"
    settings = json.loads(cluster.sql(name, "select json_object_agg(name, setting) from pg_settings"))
    assert {setting: settings[setting] for setting in exported["parameters"]} == exported["parameters"]
