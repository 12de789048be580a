"""The fleet that the tests of the status look at, and instants in its life."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.pgtls import pgtls

if TYPE_CHECKING:
    from pathlib import Path

BUILT = "2026-01-01T00:00:00Z"
SPEC = """\
version = 1

[ca.servers]
validity = "10y"

[ca.root]

[ca.people]
issuer   = "root"
validity = "2y"

[server.main]
ca        = "servers"
client_ca = ["people"]
hosts     = ["db.example.com"]
no_local  = true

[user.app]
ca       = "people"
validity = "30d"

[user.auditor]
ca    = "people"
until = 2026-06-30

[user.metrics]

[policy.people]
users     = ["app", "auditor"]
databases = ["shop"]
from      = ["10.0.0.0/8"]
auth      = "cert"

[policy.metrics]
users     = ["metrics"]
databases = ["postgres"]
from      = ["10.9.0.0/16"]
auth      = "scram-sha-256"
until     = 2026-09-01
"""
CERTIFICATES = ("ca.people", "ca.root", "ca.servers", "server.main", "user.app", "user.auditor")
LISTS = ("ca.people", "ca.root", "ca.servers")


def build(directory: Path, spec: str = SPEC, now: str = BUILT) -> None:
    """Write a spec where a user would have it and build it, everything at its default place."""
    (directory / "pgtls.toml").write_text(spec, encoding="utf-8")
    run = pgtls("build", cwd=directory, now=now)
    assert run.status == 0, run.stderr
