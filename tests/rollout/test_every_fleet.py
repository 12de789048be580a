"""Every fleet of two servers, three bundles and three generations over a small alphabet, against the definition.

A bundle shows a certificate under one of two CAs, and a server trusts the first, the second or both: that is enough for
each answer about a pair (any order, the server first, the bundle first, no order). Of each entity, two old generations
may be in use. Fleets that differ only in the order of these two, or in the names of servers or bundles, count once.
There, all pairs of a server follow the same CAs; in the second test, each pair has host names of its own, and so every
combination of answers: among them every circle.
"""

from __future__ import annotations

from collections import Counter
from itertools import combinations_with_replacement, product
from typing import Any

from pgtls.hba.model import Surroundings
from pgtls.pki.model import Entity
from pgtls.rollout.order import Sides, order
from pgtls.rollout.works import Dialling, Serving
from rollout.test_order import SERVERS, USERS, bundle_facts, judge, server_facts, sides

AROUND = Surroundings()
OF_SERVERS = [Entity(f"server.{name}") for name in SERVERS]
OF_USERS = [Entity(f"user.{name}") for name in USERS]


def test_every_fleet_has_a_right_order_or_conflicts() -> None:
    served = [server_facts("r1", *trust.split()) for trust in ("p1", "p2", "p1 p2")]
    shown = [bundle_facts(chain, "r1", *SERVERS) for chain in ("p1", "p2")]
    lives = {entity: [sides(Serving, entity, life) for life in _lives(served)] for entity in OF_SERVERS}
    lives |= {entity: [sides(Dialling, entity, life) for life in _lives(shown)] for entity in OF_USERS}
    bundles = [
        {entity: lives[entity][life] for entity, life in zip(OF_USERS, chosen, strict=True)}
        for chosen in combinations_with_replacement(range(len(lives[OF_USERS[0]])), len(USERS))
    ]
    count: Counter[str] = Counter()
    for chosen in combinations_with_replacement(range(len(lives[OF_SERVERS[0]])), len(SERVERS)):
        servers = {entity: lives[entity][life] for entity, life in zip(OF_SERVERS, chosen, strict=True)}
        for users in bundles:
            count[judge(order(servers, users, {*servers, *users}, AROUND), servers, users)] += 1
    assert count.total() == (18 * 19 // 2) * (6 * 7 * 8 // 6)
    assert {found.partition(", circles")[0] for found in count} == {
        f"{waves} waves, conflicts: {conflicts}" for waves in (0, 2, 3) for conflicts in (True, False)
    } - {"3 waves, conflicts: True"}  # for that, more than two servers


def _lives(states: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return every life of three generations: two old ones in any order, and the new one."""
    return [[*old, new] for old in combinations_with_replacement(states, 2) for new in states]


ANSWERS = {
    "any": ("old", "old", "old", "old"),
    "server": ("old", "new", "old", "old new"),
    "bundle": ("old", "new", "old new", "new"),
    "neither": ("old", "new", "old", "new"),
}
"""The names that a bundle dials before and after a build, and those that the server's certificate has."""


def test_every_combination_of_answers_has_the_shortest_order_and_names_its_circles() -> None:
    pairs = list(product(OF_SERVERS, OF_USERS))
    seen: Counter[int] = Counter()
    for answers in product(ANSWERS, repeat=len(pairs)):
        asked = dict(zip(pairs, answers, strict=True))
        servers = {server: _server(server, asked) for server in OF_SERVERS}
        users = {user: _bundle(user, asked) for user in OF_USERS}
        found = order(servers, users, {*servers, *users}, AROUND)

        edges = {pair for pair in pairs if asked[pair] == "server"}
        edges |= {(user, server) for server, user in pairs if asked[server, user] == "bundle"}
        before = _closure(edges)
        circles = {(server, user) for user, server in edges if (server, user) in before and user in OF_USERS}
        neither = {pair for pair in pairs if asked[pair] == "neither"}
        assert {(one.server, one.bundles[0]) for one in found.conflicts} == circles | neither
        assert len(found.conflicts) == len(circles | neither)
        assert [set(wave.entities) for wave in found.waves] == _layers(edges, before)
        seen[len(circles)] += 1
    assert min(seen[number] for number in range(2, 4)) > 0, seen


Asked = dict[tuple[Entity, Entity], str]


def _server(server: Entity, asked: Asked) -> Sides:
    """Return a server before and after a build: for each bundle, its certificate has the names of the answer."""
    return sides(
        Serving,
        server,
        [
            server_facts(
                "r1",
                "p1",
                hosts=tuple(f"{user}-{name}" for user in OF_USERS for name in _names(server, user, asked, when)),
            )
            for when in (2, 3)
        ],
    )


def _bundle(user: Entity, asked: Asked) -> Sides:
    """Return a bundle before and after a build: for each server, it dials the name of the answer."""
    dialled = [
        {server.name: f"{user}-{name}" for server in OF_SERVERS for name in _names(server, user, asked, when)}
        for when in (0, 1)
    ]
    return sides(Dialling, user, [bundle_facts("p1", "r1", *SERVERS, hosts=hosts) for hosts in dialled])


def _names(server: Entity, user: Entity, asked: Asked, when: int) -> list[str]:
    return ANSWERS[asked[server, user]][when].split()


def _closure(edges: set[tuple[Entity, Entity]]) -> set[tuple[Entity, Entity]]:
    """Return who is before whom, directly or through others."""
    found = set(edges)
    for middle in (*OF_SERVERS, *OF_USERS):
        found |= {(a, d) for a, b in found if b == middle for c, d in found if c == middle}
    return found


def _layers(edges: set[tuple[Entity, Entity]], before: set[tuple[Entity, Entity]]) -> list[set[Entity]]:
    """Return the shortest order: each entity after the longest chain of others, if none of them is in a circle."""
    lost = {entity for entity, other in before if entity == other}
    lost |= {then for first, then in before if first in lost}
    left = {entity for edge in edges for entity in edge} - lost
    found = []
    while left:
        ready = {entity for entity in left if not any((other, entity) in edges for other in left)}
        found.append(ready)
        left -= ready
    return found
