"""Deployed in the order of the plan, nobody is refused; in another order, exactly whom the plan names.

Each kind of change is tried on two versions, and each version with several kinds; ``PGTLS_TEST_WAVES=all`` tries all on
all.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from rollout.dialling import PORTS, install, started
from support.clients import PSQL, Bundle
from support.servers import Installation, Server, versions
from support.system import new_directory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from _pytest.mark.structures import ParameterSet

    from pgtls.rollout.order import Order
    from support.building import Place


SPEC = """
version = 1
[ca.root]
[ca.root-2027]
[ca.people]
[ca.people-2027]
[ca.inner]
issuer = "{inner}"
[ca.inner-2027]
issuer = "people"
[server.db]
postgres = {postgres}
{server}
[user.postgres]
[user.app]
{app}
[user.etl]
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
SERVER = f'ca = "root"\nclient_ca = ["people"]\nhosts = ["localhost"]\nport = {PORTS[0]}\n'
BOTH = SERVER.replace('["people"]', '["people", "people-2027"]')
PEOPLE, PEOPLE_2027, INNER = (f'ca = "{name}"\n' for name in ("people", "people-2027", "inner"))
CERTIFICATE, PASSWORD = 'auth = "cert"\n', 'auth = "scram-sha-256"\n'
BUNDLES = ("user.app", "user.etl")


@dataclass(frozen=True, slots=True)
class Change:
    """A spec before and after; ``first`` is what the plan deploys first, empty where any order does."""

    first: tuple[str, ...] = ()
    server: tuple[str, str] = (SERVER, SERVER)
    app: tuple[str, str] = (PEOPLE, PEOPLE)
    etl: tuple[str, str] = (PEOPLE, PEOPLE)
    policy: tuple[str, str] = (CERTIFICATE, CERTIFICATE)
    inner: tuple[str, str] = ("people", "people")

    def specs(self, postgres: int) -> tuple[str, str]:
        sides = zip(self.server, self.app, self.etl, self.policy, self.inner, strict=True)
        old, new = (
            SPEC.format(postgres=postgres, server=server, app=app, etl=etl, policy=policy, inner=inner)
            for server, app, etl, policy, inner in sides
        )
        return old, new


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
    "a host is added": Change(server=(SERVER, SERVER.replace('["localhost"]', '["localhost", "db.example.com"]'))),
    "a host is removed that nobody dials": Change(
        server=(SERVER.replace('["localhost"]', '["localhost", "db.example.com"]'), SERVER)
    ),
    "a password becomes a certificate": Change(("server.db",), policy=(PASSWORD, CERTIFICATE)),
    "a certificate becomes a password": Change(("user.app",), policy=(CERTIFICATE, PASSWORD)),
    "a certificate is asked for besides the password": Change(
        policy=(PASSWORD, PASSWORD + 'client_cert = "verify-full"\n')
    ),
    "the floor of TLS rises": Change(server=(SERVER, SERVER + 'min_tls = "1.3"\n')),
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
    "the server leaves its CA for a certificate of its own": Change(
        BUNDLES, server=(SERVER, SERVER.replace('ca = "root"', 'ca = "self-signed"\ntrust = ["root"]'))
    ),
    "a client moves to another CA": Change(("server.db",), server=(SERVER, BOTH), app=(PEOPLE, PEOPLE_2027)),
    "the CA that a client left is no longer accepted": Change(
        ("user.app",), server=(BOTH, SERVER), app=(PEOPLE_2027, PEOPLE)
    ),
    "a CA is no longer accepted that nobody has": Change(server=(BOTH, SERVER)),
    "a client moves below an intermediate": Change(app=(PEOPLE, INNER)),
    "the intermediate of a client is replaced": Change(app=(INNER, 'ca = "inner-2027"\n')),
    "an intermediate moves to another root": Change(
        ("server.db",), server=(SERVER, BOTH), app=(INNER, INNER), inner=("people", "people-2027")
    ),
    "lists are switched on": Change(server=(SERVER + "crl = false\n", SERVER)),
    "lists are switched on, and a bundle has some": Change(
        server=(SERVER + "crl = false\n", SERVER), app=(f"{PEOPLE}crl = true\n", f"{PEOPLE}crl = true\n")
    ),
    "a bundle gets lists": Change(app=(PEOPLE, f"{PEOPLE}crl = true\n")),
}

OUTAGES = {
    "the port": Change(server=(SERVER, SERVER.replace(str(PORTS[0]), str(PORTS[1])))),
    "the only host": Change(server=(SERVER, SERVER.replace("localhost", "db.example.com"))),
    "the CA of the server": Change(server=(SERVER, SERVER.replace('"root"', '"root-2027"'))),
    "the CA of the clients": Change(
        server=(SERVER, SERVER.replace('["people"]', '["people-2027"]')),
        app=(PEOPLE, PEOPLE_2027),
        etl=(PEOPLE, PEOPLE_2027),
    ),
    "the CAs of both": Change(server=(SERVER, BOTH.replace('"root"', '"root-2027"')), app=(PEOPLE, PEOPLE_2027)),
}
"""What no order of deployment spares: an error without --accept-outage."""


def spread(kinds: Iterable[str]) -> list[ParameterSet]:
    """Return each kind with two versions, or with all."""
    found = versions()
    params = []
    for number, kind in enumerate(kinds):
        some = dict.fromkeys(found[(number + step) % len(found)] for step in (0, len(found) // 2))
        chosen = found if os.environ.get("PGTLS_TEST_WAVES") == "all" else some
        params += [pytest.param(kind, installation, id=f"{kind}, {installation.id}") for installation in chosen]
    return params


@pytest.fixture(scope="module")
def running() -> Iterator[dict[str, Server]]:
    """The servers that this process has started, by the name of their installation."""
    found: dict[str, Server] = {}
    yield found
    for server in found.values():
        server.close()


class Site:
    """A running server and the bundles that were handed out; the files of two builds are deployed piece by piece."""

    def __init__(self, place: Place, running: dict[str, Server], installation: Installation) -> None:
        if installation.id not in running:
            running[installation.id] = started(installation, 50 + len(running), ["app", "etl"])
        self.place, self.server = place, running[installation.id]
        self.bundles: dict[str, Path] = {}
        self.passwords: set[Path] = set()
        """The builds whose policy asks the user for a password: who has a certificate in its place has none."""
        self.ports: dict[Path, int] = {}

    def build(self, change: Change, asked: Asked) -> tuple[Path, Path, Order]:
        """Build the spec before and after a change. Return what each made, and the order of the second."""
        now = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
        made = []
        for number, spec in enumerate(change.specs(self.server.version)):
            planned = self.place.build(spec, now=now + number * timedelta(hours=1), asked=asked)
            kept = new_directory("built") / "out"
            shutil.copytree(self.place.out, kept)
            made.append(kept)
            self.ports[kept] = PORTS[f"port = {PORTS[1]}" in spec]
            if PASSWORD in change.policy[number]:
                self.passwords.add(kept)
        return made[0], made[1], planned.verdict.order

    def deploy(self, built: Path, *entities: str) -> None:
        for entity in entities:
            kind, _, name = entity.partition(".")
            if kind == "server":
                install(self.server, built / "servers" / name, self.ports[built])
            else:
                self.bundles[name] = built / "clients" / name

    def refused(self) -> set[str]:
        """Connect with every bundle; return who is refused."""
        return {name for name, path in self.bundles.items() if not self._connects(path)}

    def _connects(self, path: Path) -> bool:
        given = Bundle(path).parameters("shop") | {"hostaddr": self.server.listen}
        password = {"PGPASSWORD": "secret"} if path.parents[1] in self.passwords else {}
        return PSQL.connect(given, environment=password).admitted


@pytest.mark.parametrize(("kind", "installation"), spread(CHANGES))
def test_the_order_of_a_plan_refuses_nobody_and_the_opposite_one_whom_it_names(
    running: dict[str, Server], place: Place, kind: str, installation: Installation
) -> None:
    change, site = CHANGES[kind], Site(place, running, installation)
    old, new, order = site.build(change, Asked())
    assert (order.waves[0].entities if order.waves else ()) == change.first
    announced = [entity for wave in order.waves for entity in wave.entities]

    site.deploy(old, "server.db", *BUNDLES)
    assert site.refused() == set()
    for entity in (*announced, *(one for one in ("server.db", *BUNDLES) if one not in announced)):
        site.deploy(new, entity)
        assert site.refused() == set(), f"{entity} was deployed"
    if order.waves:
        site.deploy(old, "server.db", *BUNDLES)
        site.deploy(new, *order.waves[-1].entities)
        reasons = [reason for wave in order.waves for reason in wave.why]
        assert site.refused() == {(reason.first if reason.old else reason.then).name for reason in reasons} != set()


@pytest.mark.parametrize(("kind", "installation"), spread(OUTAGES))
def test_what_no_order_spares_is_refused_in_both_orders_until_both_are_deployed(
    running: dict[str, Server], place: Place, kind: str, installation: Installation
) -> None:
    change, site = OUTAGES[kind], Site(place, running, installation)
    old, new, order = site.build(change, Asked(accept_outage=True, allow_revoke=True))
    cut_off = {bundle.name for conflict in order.conflicts for bundle in conflict.bundles}
    assert cut_off
    for first, then in ((("server.db",), BUNDLES), (BUNDLES, ("server.db",))):
        site.deploy(old, "server.db", *BUNDLES)
        assert site.refused() == set()
        site.deploy(new, *first)
        assert site.refused() == cut_off
        site.deploy(new, *then)
        assert site.refused() == set()


@pytest.mark.parametrize("kind", OUTAGES)
def test_what_no_order_spares_is_an_error_that_says_what_to_do(place: Place, kind: str) -> None:
    old, new = OUTAGES[kind].specs(17)
    place.build(old)
    with pytest.raises(Rejected) as rejected:
        place.build(new)
    found = [d for d in rejected.value.diagnostics if d.severity == "error"]
    assert {one.code for one in found} == {"PGT581"}
    assert all(one.hint and one.hint.endswith("; or proceed with --accept-outage") for one in found)
