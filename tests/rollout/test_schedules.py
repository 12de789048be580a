"""Random schedules: edits, builds, deployments in any order, lost ones, late ones, killed builds, confirmations.

Five servers run, twenty clients connect. After each deployment, everybody whom it concerns connects. Whoever is refused
was told so: a plan that led to it names server and client as a conflict, or asks for the other order; or a spec in
between takes the connection away. At the end, each refusal that a plan announced is made to happen.

A short run takes a few schedules; ``PGTLS_FUZZ_SCHEDULES=300`` that many, and ``PGTLS_FUZZ_SEED=7`` draws others. Each
server has a loopback address of its own: network namespaces need privileges that a container may lack.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_address
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import pytest

from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from pgtls.hba.model import Surroundings
from pgtls.pki.model import Entity
from pgtls.rollout.works import Dialling, Point, Serving, refusal
from pgtls.state import generations
from pgtls.state import lock as locks
from rollout.dialling import PORTS, Dialler, Entry, entries, install, keep, started
from rollout.fleets import Fleet, edited, first
from support.building import Place
from support.killing import in_child
from support.servers import versions
from support.system import new_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pgtls.rollout.order import Order
    from pgtls.state.generations import Generation
    from support.servers import Server

SCHEDULES = int(os.environ.get("PGTLS_FUZZ_SCHEDULES", "4"))
SEED = int(os.environ.get("PGTLS_FUZZ_SEED", "0"))
SERVERS = [Entity(f"server.s{number}") for number in range(5)]
CLIENTS = [Entity(f"user.u{number}") for number in range(20)]
ROLES = [*(client.name for client in CLIENTS), "shared"]
EVENTS = 30
HOUR = timedelta(hours=1)


class Kept(NamedTuple):
    """The files that a build made of an entity, as they stay in later builds that change nothing."""

    path: Path
    generation: Generation
    revoked: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a plan says of a server and a client: who goes first, or that no order helps."""

    server: Entity
    client: Entity
    first: Entity | None

    def covers(self, build: int, client: int, server: int) -> bool:
        """Return whether it speaks of these builds of the two, if ``build`` is the one that was planned."""
        if self.first is None:
            return min(client, server) < build <= max(client, server)
        return server < build <= client if self.first == self.server else client < build <= server


@dataclass(slots=True)
class Built:
    """A build: what its plan announced, and the builds of each entity that might be in use when it was planned."""

    announced: list[Announcement]
    since: dict[Entity, int]


@dataclass(slots=True)
class Site:
    """A fleet whose servers run. ``deployed`` is the build whose files an entity runs, ``known`` the last confirmed."""

    random: Random
    dialler: Dialler
    servers: dict[Entity, Server]
    place: Place = field(default_factory=lambda: Place(new_directory("site")))
    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0) - 48 * HOUR)
    fleet: Fleet = field(init=False)
    builds: list[Built] = field(default_factory=list)
    kept: dict[Entity, list[Kept | None]] = field(default_factory=lambda: defaultdict(list))
    """The files of each entity by build; None where a user has no access at all."""
    deployed: dict[Entity, int] = field(default_factory=dict)
    known: dict[Entity, int] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)

    def begin(self) -> None:
        """Build a fleet, and deploy everything."""
        majors = [server.version for server in self.servers.values()]
        while not self._build(first(self.random, majors, [PORTS] * len(majors), len(CLIENTS))):
            """Policies of a random fleet may contradict each other."""
        for entity in (*CLIENTS, *SERVERS):
            self._put(entity, 0)
        self.connect_all()

    # ---- events ------------------------------------------------------------------------------------------------------

    def happen(self) -> None:
        """Let one event happen."""
        event = self.random.choice([self.change, self.deploy, self.deploy, self.deploy, self.confirm])
        self.now += self.random.choice([0, 0, 1, 2]) * timedelta(minutes=15)
        event()

    def change(self) -> None:
        """Edit the spec until a build takes it, and build it; a few of the builds are killed first.

        All clients connect from one address, so no policy changes its addresses.
        """
        for _ in range(20):
            fleet = self.fleet
            for _ in range(self.random.randint(1, 4)):
                fleet = edited(self.random, fleet, _PORTS, f"{self.now:%Y-%m-%dT%H:%M:%SZ}", fixed=("from",))
            if fleet != self.fleet and self._build(fleet):
                return

    def deploy(self) -> None:
        """Deploy a later build of some entities, the last one or one that was delayed; connect whom each concerns."""
        last = len(self.builds) - 1
        behind = [entity for entity, build in self.deployed.items() if build < last]
        for entity in self.random.sample(behind, min(len(behind), self.random.randint(1, 5))):
            oldest = self.deployed[entity] + 1
            self._put(entity, self.random.choice([last, last, self.random.randint(oldest, last)]))
            self._connect(self._pairs(entity))

    def confirm(self) -> None:
        """Confirm some of the entities that run their files of the last build."""
        last = len(self.builds) - 1
        there = [
            e for e, build in self.deployed.items() if (kept := self.kept[e][last]) and self.kept[e][build] is kept
        ]
        chosen = [entity for entity in there if self.random.random() < 0.5]
        if chosen:
            self.place.confirm(*chosen, now=self.now)
            self.known |= dict.fromkeys(chosen, last)

    def _build(self, fleet: Fleet) -> bool:
        asked = Asked(accept_outage=self.random.random() < 0.5, allow_revoke=True)
        self.now += timedelta(seconds=1)
        try:
            planned = self.place.plan(fleet.text, now=self.now, asked=asked)
        except Rejected as rejected:
            codes = {found.code for found in rejected.diagnostics if found.severity == "error"}
            self.seen["refused for an outage"] += codes <= {"PGT581", "PGT583"}
            return False
        if self.random.random() < 0.2:
            build = partial(self.place.build, now=self.now, asked=asked)
            self.seen["killed"] += in_child(build, kill_at=self.random.randint(1, 60)).killed
        self.place.build(now=self.now, asked=asked)
        self.fleet = fleet
        self.builds.append(Built(list(_announced(planned.verdict.order)), dict(self.known)))
        self._keep()
        return True

    def _keep(self) -> None:
        history = generations.read(str(self.place.out))
        assert history is not None
        revocations = locks.read(self.place.lock).revocations.values()
        for entity in (*SERVERS, *CLIENTS):
            mine = self.kept[entity]
            before = mine[-1] if mine else None
            mine.append(None)
            if entity in history:
                last, folder = history[entity][-1], "servers" if entity.kind == "server" else "clients"
                target = self.place.directory / "kept" / entity / str(len(mine))
                path = keep(self.place.out / folder / entity.name, target, before and before.path)
                revoked = frozenset((line.ca, line.serial) for line in revocations if line.date <= last.built)
                same = before and (before.path, before.generation.facts) == (path, last.facts)  # no file has the port
                mine[-1] = before if same else Kept(path, last, revoked)

    def _put(self, entity: Entity, build: int) -> None:
        if (kept := self.kept[entity][build]) and entity.kind == "server":
            install(self.servers[entity], kept.path, kept.generation.facts["port"])
        self.deployed[entity] = build

    # ---- connections -------------------------------------------------------------------------------------------------

    def connect_all(self) -> None:
        """Connect every client to every server that it has an entry for."""
        for server in SERVERS:
            self._connect(self._pairs(server))

    def _pairs(self, entity: Entity) -> list[tuple[Entity, Entity]]:
        """Return the clients and servers that a deployment concerns."""
        if entity.kind == "server":
            return [(client, entity) for client in CLIENTS]
        return [(entity, server) for server in SERVERS]

    def _entries(self, client: Entity, build: int, server: Entity) -> list[Entry]:
        kept = self.kept[client][build]
        found = entries(kept.generation, kept.path) if kept else []
        return [entry for entry in found if entry.facts["server"] == server.name]

    def _connect(self, pairs: Sequence[tuple[Entity, Entity]]) -> None:
        """Connect clients to servers. Whoever is refused was announced, or has lost the access."""
        attempts = [
            (client, server, entry)
            for client, server in pairs
            for entry in self._entries(client, self.deployed[client], server)
        ]
        answers = self.dialler.connect([self._at(server, entry) for _, server, entry in attempts])
        for (client, server, entry), answer in zip(attempts, answers, strict=True):
            if answer is None:
                self.seen["admitted"] += 1
                continue
            builds = self.deployed[client], self.deployed[server]
            told = self._told(client, server, *builds)
            lost = not told and self._lost(client, server, entry, *builds)
            assert told or lost, self._explain(client, server, entry, answer)
            self.seen["refused as announced" if told else "refused as the spec says"] += 1

    def _at(self, server: Entity, entry: Entry) -> dict[str, str]:
        return entry.parameters | {"hostaddr": self.servers[server].listen}

    def _told(self, client: Entity, server: Entity, of_client: int, of_server: int) -> bool:
        return any(
            (one.client, one.server) == (client, server) and one.covers(number, of_client, of_server)
            for number, build in enumerate(self.builds)
            for one in build.announced
        )

    def _lost(self, client: Entity, server: Entity, entry: Entry, *builds: int) -> bool:
        """Return whether a build between these two does not grant the connection, as the model has it."""
        between = range(min(builds), max(builds) + 1)
        return not all(self._granted(client, server, entry, build) for build in between)

    def _granted(self, client: Entity, server: Entity, entry: Entry, build: int) -> bool:
        bundle, serving = self.kept[client][build], self.kept[server][build]
        if bundle is None or serving is None:
            return False
        point = Point(entry.database, ip_address("127.0.0.1"))
        for mine in bundle.generation.facts["entries"]:
            alike = all(mine[name] == entry.facts[name] for name in ("server", "role", "replication"))
            if alike and (mine["database"] in (None, point.database)):
                dialling = Dialling(bundle.generation, bundle.revoked)
                if not refusal(dialling, mine, Serving(serving.generation, serving.revoked), point, Surroundings()):
                    return True
        return False

    def _explain(self, client: Entity, server: Entity, entry: Entry, answer: str) -> str:
        told = [(n, one) for n, build in enumerate(self.builds) for one in build.announced if one.client == client]
        return (
            f"{client} (build {self.deployed[client]}) to {server} (build {self.deployed[server]}) as "
            f"{entry}: {answer}\nconfirmed: {self.known.get(client)}, {self.known.get(server)}\n"
            f"announced: {told}\nfiles: {self.place.directory}"
        )

    # ---- what was announced ------------------------------------------------------------------------------------------

    def make_it_happen(self) -> None:
        """See that each announced refusal happens between files that might be in use when it was planned."""
        probes: dict[tuple[Entity, int], list[tuple[object, Entity, int]]] = defaultdict(list)
        due: set[object] = set()
        for number, build in enumerate(self.builds):
            for one in build.announced:
                for key, of_server, of_client in self._occasions(number, build, one):
                    due.add(key)
                    probes[one.server, of_server].append((key, one.client, of_client))
        happened: set[object] = set()
        for (server, of_server), mine in sorted(probes.items()):
            attempts = [
                (key, entry)
                for key, client, of_client in mine
                if key not in happened
                for entry in self._entries(client, of_client, server)
                if self._granted(client, server, entry, max(of_client, of_server))
            ]
            if attempts:
                self._put(server, of_server)
                answers = self.dialler.connect([self._at(server, entry) for _, entry in attempts])
                happened |= {key for (key, _), answer in zip(attempts, answers, strict=True) if answer is not None}
        assert due == happened, f"announced, but nobody is refused: {due - happened}\nfiles: {self.place.directory}"
        self.seen["announced and seen"] += len(due)

    def _occasions(self, number: int, build: Built, one: Announcement) -> Iterator[tuple[object, int, int]]:
        """Yield when an announced refusal may be seen: its name, the build of the server, and that of the client."""
        if one.first != one.server:  # with the new server, an old bundle fails
            for kept in self._in_use(one.client, number, build):
                yield (number, one, "old bundle"), number, kept
        if one.first != one.client:
            for kept in self._in_use(one.server, number, build):
                yield (number, one, "old server"), kept, number

    def _in_use(self, entity: Entity, number: int, build: Built) -> set[int]:
        """Return the builds whose files an entity might run when another one was planned."""
        return set(range(build.since.get(entity, 0), number))


_PORTS = {server.name: PORTS for server in SERVERS}


def _announced(order: Order) -> Iterator[Announcement]:
    for wave in order.waves:
        for reason in wave.why:
            server, client = (reason.then, reason.first) if reason.old else (reason.first, reason.then)
            yield Announcement(server, client, reason.first)
    for conflict in order.conflicts:
        for client in conflict.bundles:
            if conflict.other is None:
                yield Announcement(conflict.server, client, None)
            else:  # in a circle, each order is right by itself
                yield Announcement(conflict.server, client, client)
                yield Announcement(conflict.other, client, conflict.other)


@pytest.fixture(scope="module")
def dialler() -> Iterator[Dialler]:
    with Dialler() as dialler:
        yield dialler


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[Entity, Server]]:
    """Five servers, from the newest version down."""
    running: dict[Entity, Server] = {}
    try:
        for number, entity in enumerate(SERVERS):
            installation = versions()[-1 - number % len(versions())]
            running[entity] = started(installation, 10 + number, ROLES)
        yield running
    finally:
        for server in running.values():
            server.close()


@pytest.mark.parametrize("number", range(SCHEDULES))
def test_nobody_is_refused_whom_no_plan_named(number: int, dialler: Dialler, servers: dict[Entity, Server]) -> None:
    seed = f"{SEED}-{number}"
    site = Site(Random(seed), dialler, servers)  # noqa: S311
    site.begin()
    for _ in range(EVENTS):
        site.happen()
    site.connect_all()
    site.make_it_happen()
    shutil.rmtree(site.place.directory)
    print(f"seed {seed}: {len(site.builds)} builds, {dict(site.seen)}")
    assert site.seen["admitted"] > 0
