"""Specs for engines, and the shortest way to a build and an export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.pgtls import pgtls

if TYPE_CHECKING:
    from pathlib import Path

    from support.pgtls import Run

NOW = "2027-01-01"

PATRONI = """
version = 1
[ca.servers]
[ca.clients]
[defaults.server]
ca = "servers"
client_ca = ["clients"]
postgres = 17
directory = "/etc/postgresql/tls"
[server.n1]
hosts = ["n1.example.com", "10.0.0.1"]
[server.n2]
hosts = ["n2.example.com", "10.0.0.2"]
[user.postgres]
[user.replicator]
ca = "clients"
os_users = ["postgres"]
directory = "/etc/patroni/replicator"
[user.rewinder]
ca = "clients"
directory = "/etc/patroni/rewinder"
[user.app]
ca = "clients"
[network.members]
addresses = ["10.0.0.1", "10.0.0.2"]
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
from = ["10.0.0.0/8"]
auth = "cert"
"""

CLOUDNATIVEPG = """
version = 1
[ca.servers]
[ca.clients]
[server.shop]
ca = "servers"
client_ca = ["clients"]
hosts = ["shop-rw", "shop-rw.default.svc"]
postgres = 17
[user.postgres]
[user.cnpg_metrics_exporter]
os_users = ["postgres"]
[user.streaming_replica]
ca = "clients"
[user.app]
ca = "clients"
[user.web]
ca = "clients"
roles = ["app"]
[policy.instance-manager]
users = ["postgres", "cnpg_metrics_exporter"]
from = ["local"]
auth = "peer"
[policy.replicas]
users = ["streaming_replica"]
databases = ["postgres", "replication"]
from = ["all"]
auth = "cert"
[policy.app]
users = ["app", "web"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "cert"
"""


def built(directory: Path, spec: str, now: str | None = NOW) -> Path:
    """Write a spec and build it; for real servers, now is None. Return its directory."""
    (directory / "pgtls.toml").write_text(spec)
    run = pgtls("build", cwd=directory, now=now)
    assert run.status == 0, run.stderr
    return directory


def export(directory: Path, *words: str, now: str | None = NOW) -> Run:
    """Export into the directory ``to``."""
    return pgtls("export", *words, "--to", "to", cwd=directory, now=now)


def said(run: Run) -> str:
    """Return the diagnostics of a run that failed, without what says which clock was set."""
    assert run.status == 1, run.stdout
    assert "Traceback" not in run.stderr
    return "\n".join(line for line in run.stderr.splitlines() if not line.startswith("pgtls: the clock"))
