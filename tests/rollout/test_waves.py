"""Deployed in the order of the plan, nobody is refused; in another order, exactly whom the plan names."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from pgtls.diagnostics import Rejected
from support.clients import PSQL, Bundle, at
from support.servers import Server, versions
from support.system import new_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.building import Place


SPEC = """
version = 1
[ca.root]
[ca.root-2027]
[ca.people]
[ca.people-2027]
[ca.inner]
issuer = "people"
[server.db]
postgres = {postgres}
{server}
[user.postgres]
[user.app]
{app}
[user.etl]
ca = "people"
{etl}
[policy.dba]
users = ["postgres"]
from = ["local"]
auth = "trust"
waiver = "a throwaway server"
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["127.0.0.1"]
{policy}
[policy.etl]
users = ["etl"]
databases = ["shop"]
from = ["127.0.0.1"]
auth = "cert"
"""
SERVER = 'ca = "root"\nclient_ca = ["people"]\nhosts = ["localhost"]\n'
CERTIFICATE, PASSWORD = 'auth = "cert"\n', 'auth = "scram-sha-256"\n'


@dataclass(frozen=True, slots=True)
class Change:
    """A spec before and after; ``first`` is what the plan deploys first, empty where any order does."""

    first: tuple[str, ...]
    server: tuple[str, str] = (SERVER, SERVER)
    app: tuple[str, str] = ('ca = "people"\n', 'ca = "people"\n')
    etl: tuple[str, str] = ("", "")
    policy: tuple[str, str] = (CERTIFICATE, CERTIFICATE)

    def specs(self, postgres: int) -> tuple[str, str]:
        sides = zip(self.server, self.app, self.etl, self.policy, strict=True)
        old, new = (
            SPEC.format(postgres=postgres, server=server, app=app, etl=etl, policy=policy)
            for server, app, etl, policy in sides
        )
        return old, new


BOTH = SERVER.replace('["people"]', '["people", "people-2027"]')
BUNDLES = ("user.app", "user.etl")
CHANGES = {
    "a host is renamed and the old name kept": Change(
        ("server.db",), server=(SERVER, SERVER.replace('["localhost"]', '["db.example.com", "localhost"]'))
    ),
    "the old name goes": Change(
        BUNDLES,
        server=(
            SERVER.replace('["localhost"]', '["localhost", "db.example.com"]'),
            SERVER.replace('["localhost"]', '["db.example.com"]'),
        ),
    ),
    "a password becomes a certificate": Change(("server.db",), policy=(PASSWORD, CERTIFICATE)),
    "a certificate is asked for besides the password": Change(
        (), policy=(PASSWORD, PASSWORD + 'client_cert = "verify-full"\n')
    ),
    "the floor of TLS rises": Change((), server=(SERVER, SERVER + 'min_tls = "1.3"\n')),
    "the server moves to another CA and the old one stays trusted": Change(
        BUNDLES, server=(SERVER, SERVER.replace('ca = "root"', 'ca = "root-2027"\ntrust = ["root"]'))
    ),
    "the old root of the server goes": Change(
        ("server.db",),
        server=(
            SERVER + 'trust = ["root-2027"]\n',
            SERVER.replace('ca = "root"', 'ca = "root-2027"'),
        ),
    ),
    "a client moves to another CA": Change(
        ("server.db",), server=(SERVER, BOTH), app=('ca = "people"\n', 'ca = "people-2027"\n')
    ),
    "a client moves below an intermediate": Change((), app=('ca = "people"\n', 'ca = "inner"\n')),
    "lists are switched on": Change((), server=(SERVER + "crl = false\n", SERVER)),
    "a bundle gets lists": Change((), app=('ca = "people"\n', 'ca = "people"\ncrl = true\n')),
}


@pytest.fixture(params=[pytest.param(one, id=one.id) for one in (versions()[0], versions()[-1])], scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The oldest server and the newest, for all changes."""
    with Server(request.param) as server:
        server.populate(["app", "etl"], ["shop"], password="secret")
        yield server


class Site:
    """A running server and the bundles that were handed out; the files of two builds are deployed piece by piece."""

    def __init__(self, place: Place, server: Server) -> None:
        self.place, self.server = place, server
        self.bundles: dict[str, Path] = {}
        self.passwords: set[Path] = set()
        """The builds whose policy asks the user for a password: who has a certificate in its place has none."""

    def keep(self) -> Path:
        """Return a copy of what was built."""
        kept = new_directory("built") / "out"
        shutil.copytree(self.place.out, kept)
        return kept

    def deploy(self, built: Path, *entities: str) -> None:
        for entity in entities:
            kind, _, name = entity.partition(".")
            if kind == "server":
                self.server.install(built / "servers" / name)
            else:
                self.bundles[name] = built / "clients" / name

    def refused(self) -> set[str]:
        """Connect with every bundle; return who is refused."""
        return {name for name, path in self.bundles.items() if not self._connects(path)}

    def _connects(self, path: Path) -> bool:
        given = Bundle(path).parameters("shop") | at(self.server)
        password = {"PGPASSWORD": "secret"} if path.parents[1] in self.passwords else {}
        return PSQL.connect(given, environment=password).admitted


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_order_of_a_plan_refuses_nobody_and_the_opposite_one_somebody(
    running: Server, place: Place, change: Change
) -> None:
    now = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
    before, after = change.specs(running.version)
    site = Site(place, running)
    place.build(before, now=now)
    old = site.keep()
    waves = place.build(after, now=now + timedelta(hours=1)).verdict.waves
    new = site.keep()
    site.passwords = {built for built, asks in zip((old, new), change.policy, strict=True) if PASSWORD in asks}
    assert (waves[0].entities if waves else ()) == change.first
    announced = [entity for wave in waves for entity in wave.entities]

    site.deploy(old, "server.db", *BUNDLES)
    assert site.refused() == set()
    for entity in (*announced, *(one for one in ("server.db", *BUNDLES) if one not in announced)):
        site.deploy(new, entity)
        assert site.refused() == set(), f"{entity} was deployed"
    if waves:
        site.deploy(old, "server.db", *BUNDLES)
        site.deploy(new, *waves[-1].entities)
        assert site.refused() != set()


def test_a_port_that_changes_is_an_outage(place: Place) -> None:
    old, _ = Change(()).specs(17)
    place.build(old)
    with pytest.raises(Rejected) as rejected:
        place.build(old.replace("[server.db]\n", "[server.db]\nport = 5433\n"))
    (found,) = [d for d in rejected.value.diagnostics if d.severity == "error"]
    assert found.code == "PGT581"
    assert "a server listens on one port" in (found.hint or "")
