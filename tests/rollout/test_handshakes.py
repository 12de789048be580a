"""The model against the handshake: "works" is what libpq and the real server do.

Each life is a random fleet that is built several times with random changes. Every generation of every bundle connects
to every generation of every server that it has an entry for, and the outcome is what the model says. A short run makes
a few hundred connections; ``PGTLS_FUZZ_PAIRS=10000`` makes that many, and ``PGTLS_FUZZ_SEED=7`` draws other lives.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from random import Random
from typing import TYPE_CHECKING

import pytest

from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from pgtls.hba.model import Surroundings
from pgtls.rollout.works import Dialling, Point, Serving, refusal
from pgtls.state import generations
from pgtls.state import lock as locks
from rollout.dialling import PORTS, Dialler, Entry, entries, install, keep, started
from rollout.fleets import edited, first
from support.building import Place
from support.servers import versions
from support.system import new_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pgtls.state.generations import Generation
    from support.servers import Server

PAIRS = int(os.environ.get("PGTLS_FUZZ_PAIRS", "0"))
SEED = int(os.environ.get("PGTLS_FUZZ_SEED", "0"))
AT_LEAST = 100
"""The fewest connections of a test."""
BUILDS = 7
USERS = [f"u{number}" for number in range(4)]
ROLES = [*USERS, "shared"]
ASKED = Asked(accept_outage=True, allow_revoke=True)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a build made of an entity, and what was revoked by then."""

    generation: Generation
    path: Path
    revoked: frozenset[tuple[str, str]]


@dataclass(slots=True)
class Life:
    """A fleet that is built several times. ``kept`` has the distinct generations of each server and bundle."""

    random: Random
    majors: list[int]
    place: Place = field(default_factory=lambda: Place(new_directory("life")))
    kept: dict[str, list[Kept]] = field(default_factory=dict)

    def live(self, now: datetime) -> None:
        """Build the fleet, and then with changes that the compiler takes, over a month up to now."""
        moments = [now - timedelta(days=days) for days in (40, 24, 16, 8, 4, 2, 1)]
        ports = {f"s{number}": PORTS for number in range(len(self.majors))}
        fleet = first(self.random, self.majors, list(ports.values()), len(USERS))
        self.place.build(fleet.text, now=moments[0], asked=ASKED)
        self._keep()
        for moment in moments[1:]:
            for _ in range(20):
                changed = fleet
                for _ in range(self.random.randint(1, 3)):
                    changed = edited(self.random, changed, ports, f"{moment:%Y-%m-%d}")
                try:
                    self.place.build(changed.text, now=moment, asked=ASKED)
                except Rejected:
                    continue
                fleet = changed
                break
            self._keep()

    def attempts(self, server: str) -> list[tuple[Kept, Entry]]:
        """Return the entries for a server of every generation of every bundle."""
        return [
            (bundle, entry)
            for user in USERS
            for bundle in self.kept.get(f"user.{user}", ())
            for entry in entries(bundle.generation, bundle.path)
            if entry.facts["server"] == server
        ]

    def _keep(self) -> None:
        history = generations.read(str(self.place.out))
        assert history is not None
        revocations = locks.read(self.place.lock).revocations.values()
        for entity, mine in history.items():
            last, kept = mine[-1], self.kept.setdefault(entity, [])
            folder = "servers" if entity.kind == "server" else "clients"
            target = self.place.directory / "kept" / entity / str(len(kept))
            path = keep(self.place.out / folder / entity.name, target, kept[-1].path if kept else None)
            if not kept or (path, last.facts) != (kept[-1].path, kept[-1].generation.facts):  # no file has the port
                revoked = frozenset((line.ca, line.serial) for line in revocations if line.date <= last.built)
                kept.append(Kept(last, path, revoked))


def expected(bundle: Kept, entry: Entry, server: Kept, now: datetime) -> str | None:
    """Return why the model says that a connection fails."""
    ended = [one.generation.ends is not None and one.generation.ends <= now for one in (bundle, server)]
    dialling = Dialling(bundle.generation, bundle.revoked, ended[0])
    serving = Serving(server.generation, server.revoked, ended[1])
    point = Point(entry.database, ip_address("127.0.0.1"))
    cause = refusal(dialling, entry.facts, serving, point, Surroundings())
    return cause and f"{cause.kind} {cause.detail}"


@pytest.fixture(scope="module")
def dialler() -> Iterator[Dialler]:
    with Dialler() as dialler:
        yield dialler


@pytest.fixture(scope="module")
def running() -> Iterator[dict[str, Server]]:
    """The servers that this process has started, by the name of their installation."""
    found: dict[str, Server] = {}
    yield found
    for server in found.values():
        server.close()


@pytest.mark.parametrize("number", range(max(4, PAIRS // AT_LEAST)))
def test_a_connection_works_where_the_model_says_so(number: int, dialler: Dialler, running: dict[str, Server]) -> None:
    seed = f"{SEED}-{number}"
    random, now = Random(seed), datetime.now(UTC).replace(microsecond=0)  # noqa: S311
    installation = versions()[-1 - number % len(versions())]
    if installation.id not in running:
        running[installation.id] = started(installation, len(running), ROLES)
    server, outcomes = running[installation.id], {True: 0, False: 0}
    while sum(outcomes.values()) < AT_LEAST or not all(outcomes.values()):
        life = Life(random, [installation.major] * 2)
        life.live(now)
        for kept in (kept for name in ("s0", "s1") for kept in life.kept[f"server.{name}"]):
            install(server, kept.path, kept.generation.facts["port"])
            attempts = life.attempts(kept.generation.entity.name)
            answers = dialler.connect([entry.parameters | {"hostaddr": server.listen} for _, entry in attempts])
            for (bundle, entry), answer in zip(attempts, answers, strict=True):
                said = expected(bundle, entry, kept, now)
                assert (said is None) == (answer is None), (
                    f"seed {seed}, {installation.label}: {bundle.path} to {kept.path}, {entry}:\n"
                    f"the model says {said or 'it works'}, libpq says {answer or 'it works'}"
                )
                outcomes[answer is None] += 1
        shutil.rmtree(life.place.directory)
    print(f"seed {seed}, {installation.label}: {outcomes[True]} work, {outcomes[False]} fail")
