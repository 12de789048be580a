"""Compute an order of deployment that cuts nobody off: waves, and the conflicts where no such order exists.

Of a bundle and a server, either is deployed first. Until the other side follows, it runs any generation that may be in
use. Only connections count that work now and that the new spec still grants.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pgtls.rollout.works import FALLING_BACK, Cause, Dialling, Serving, handshake, points, refusal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from pgtls.hba.model import Line, Surroundings
    from pgtls.pki.model import Entity

    Dialled = Mapping[str, Any]
    """An entry of a bundle's facts."""


class Sides(NamedTuple):
    """The generations of an entity that may be in use, oldest first, and its new generation."""

    old: tuple[Any, ...]
    new: Any


@dataclass(slots=True)
class Pair:
    """What prevents either order for a bundle and a server: causes by the generation that fails.

    ``server_first`` are old bundles that fail with the new server. ``bundle_first`` are old servers with which the new
    bundle fails. Generations count from the newest: 0 is the last build.
    """

    server_first: dict[int, Cause] = field(default_factory=dict)
    bundle_first: dict[int, Cause] = field(default_factory=dict)
    host: str = ""
    """The name that the failing bundle dials."""

    @property
    def first(self) -> Literal["server", "bundle", "any", "neither"]:
        """Return which of the two must be deployed first."""
        if self.server_first:
            return "neither" if self.bundle_first else "bundle"
        return "server" if self.bundle_first else "any"


@dataclass(frozen=True, slots=True)
class Wave:
    """Entities that are deployed together, and why they precede the next wave."""

    entities: tuple[Entity, ...]
    why: tuple[Reason, ...]


class Reason(NamedTuple):
    """Why ``first`` is deployed before ``then``: otherwise a connection fails for ``cause``.

    ``old``: an old bundle fails with the new server. Otherwise a new bundle fails with the old server.
    """

    first: Entity
    then: Entity
    cause: Cause
    old: bool


@dataclass(frozen=True, slots=True)
class Conflict:
    """A server and bundles that reject each other in either order.

    ``old`` is why the old bundles fail with the new server, ``new`` why the new ones fail with the old server.
    ``unconfirmed`` are the entities that resolve the conflict once their last build is known to be deployed; it is
    empty if this does not help. ``host`` is the name that the bundles dial. ``other``, in a circle, is the server with
    whose old files the new bundles fail; otherwise it is None.
    """

    server: Entity
    host: str
    bundles: tuple[Entity, ...]
    old: Cause
    new: Cause
    unconfirmed: tuple[Entity, ...] = ()
    other: Entity | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """The waves of a build, and the conflicts that no order avoids."""

    waves: tuple[Wave, ...] = ()
    conflicts: tuple[Conflict, ...] = ()


def order(
    servers: Mapping[Entity, Sides], bundles: Mapping[Entity, Sides], changed: Collection[Entity], around: Surroundings
) -> Order:
    """Compare old and new of every bundle and server if this build changes one of them (``changed``)."""
    compare = _Comparison(around)
    by_name = {server.name: server for server in servers}
    reasons: dict[tuple[Entity, Entity], Reason] = {}
    conflicts: dict[tuple[Any, ...], list[Entity]] = defaultdict(list)
    for bundle, mine in bundles.items():
        for server in _dialled(mine.new, by_name):
            if bundle not in changed and server not in changed:
                continue
            pair = compare.pair(mine, servers[server], server.name)
            if pair.first == "neither":
                conflicts[server, pair.host, *_worst(pair)].append(bundle)
            elif pair.first == "bundle":
                cause = pair.server_first[min(pair.server_first)]
                reasons[bundle, server] = Reason(bundle, server, cause, old=True)
            elif pair.first == "server":
                cause = pair.bundle_first[min(pair.bundle_first)]
                reasons[server, bundle] = Reason(server, bundle, cause, old=False)
    found = [_conflict(*key, bundles=tuple(mine)) for key, mine in conflicts.items()]
    waves, circular = _waves(reasons)
    return Order(waves, (*found, *circular))


def _dialled(bundle: Dialling, servers: Mapping[str, Entity]) -> Iterator[Entity]:
    names = dict.fromkeys(entry["server"] for entry in bundle.facts["entries"])
    return (servers[name] for name in names if name in servers)


def _worst(pair: Pair) -> tuple[Cause, Cause, bool, bool]:
    """Return why both orders fail, and whether only bundles, only servers before the last build do."""
    newest = min(pair.server_first), min(pair.bundle_first)
    return pair.server_first[newest[0]], pair.bundle_first[newest[1]], newest[0] > 0, newest[1] > 0


def _conflict(
    server: Entity,
    host: str,
    old: Cause,
    new: Cause,
    stale_bundles: bool,
    stale_server: bool,
    *,
    bundles: tuple[Entity, ...],
) -> Conflict:
    unconfirmed = (server,) if stale_server else bundles if stale_bundles else ()
    return Conflict(server, host, bundles, old, new, unconfirmed)


def _waves(reasons: Mapping[tuple[Entity, Entity], Reason]) -> tuple[tuple[Wave, ...], tuple[Conflict, ...]]:
    """Put entities into layers, each after all its predecessors. Entities that wait for each other are a conflict."""
    before: dict[Entity, set[Entity]] = {}
    for first, then in reasons:
        before.setdefault(first, set())
        before.setdefault(then, set()).add(first)
    waves = []
    while ready := sorted(entity for entity, others in before.items() if not others):
        going = set(ready)
        why = tuple(reason for (first, _), reason in reasons.items() if first in going)
        waves.append(Wave(tuple(ready), why))
        before = {entity: others - going for entity, others in before.items() if entity not in going}
    return tuple(waves), tuple(_circles(before, reasons))


def _circles(left: Collection[Entity], reasons: Mapping[tuple[Entity, Entity], Reason]) -> Iterator[Conflict]:
    """Report each server of a circle, with each bundle of the circle that it waits for.

    ``left`` are the entities without a wave. Some of them are in no circle: they only wait for entities that are.
    """
    following: dict[Entity, list[Reason]] = defaultdict(list)
    preceding: dict[Entity, list[Reason]] = defaultdict(list)
    for reason in reasons.values():
        if reason.first in left and reason.then in left:
            following[reason.first].append(reason)
            preceding[reason.then].append(reason)
    for server in [entity for entity in preceding if entity.kind != "user"]:
        later = _later(server, following)
        for reason in preceding[server]:
            if reason.first in later:
                back = next(one for one in preceding[reason.first] if one.first in later)
                yield Conflict(server, "", (reason.first,), reason.cause, back.cause, other=back.first)


def _later(start: Entity, following: Mapping[Entity, Sequence[Reason]]) -> set[Entity]:
    """Return the entities that wait for ``start``, directly or through others. In a circle, it waits for itself."""
    found: set[Entity] = set()
    fresh = {start}
    while fresh:
        fresh = {reason.then for entity in fresh for reason in following.get(entity, ())} - found
        found |= fresh
    return found


class _Comparison:
    """Compare the pairs of a bundle and a server amid the same surroundings."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    def pair(self, bundle: Sides, server: Sides, name: str) -> Pair:
        """Compare the entries of a bundle for a server, over all generations of both."""
        found = Pair()
        for entry in bundle.new.facts["entries"]:
            if entry["server"] == name:
                for i, j, old, new in self._entry(bundle, server, entry):
                    found.host = entry["host"]
                    if old:
                        found.server_first.setdefault(i, old)
                    if new:
                        found.bundle_first.setdefault(j, new)
        return found

    def _entry(
        self, bundle: Sides, server: Sides, entry: Dialled
    ) -> Iterable[tuple[int, int, Cause | None, Cause | None]]:
        """Yield, for each two generations with a working connection, why it fails with the new other side."""
        for i, old_bundle in enumerate(reversed(bundle.old)):
            for before in old_bundle.facts["entries"]:
                if _same(before, entry):
                    for j, old_server in enumerate(reversed(server.old)):
                        yield from (
                            (i, j, *causes)
                            for causes in self._causes(old_bundle, before, old_server, bundle.new, entry, server.new)
                        )

    def _causes(
        self,
        old_bundle: Dialling,
        before: Dialled,
        old_server: Serving,
        new_bundle: Dialling,
        entry: Dialled,
        new_server: Serving,
    ) -> Iterator[tuple[Cause | None, Cause | None]]:
        lines = self._lines(entry, before, old_bundle, new_bundle, old_server, new_server)
        judge = _by_handshake if lines is None else self._by_rules
        where = (None,) if lines is None else points(entry, lines, self._around)
        for point in where:
            now = judge(old_bundle, before, old_server, point)
            then = judge(new_bundle, entry, new_server, point)
            if now is None and then is None:
                old = judge(old_bundle, before, new_server, point)
                new = judge(new_bundle, entry, old_server, point)
                if old or new:
                    yield old, new

    def _by_rules(self, bundle: Dialling, entry: Dialled, server: Serving, point: Any) -> Cause | None:
        return refusal(bundle, entry, server, point, self._around)

    def _lines(
        self,
        entry: Dialled,
        before: Dialled,
        old_bundle: Dialling,
        new_bundle: Dialling,
        old_server: Serving,
        new_server: Serving,
    ) -> Sequence[Line] | None:
        """Return the lines that tell the connections of an entry apart. None: only the handshake decides."""
        if old_server.facts["hba"] is None:
            return None
        if entry["sslmode"] in FALLING_BACK or before["sslmode"] in FALLING_BACK:  # the rules decide after a handshake
            return (*old_server.lines(entry["role"]), *new_server.lines(entry["role"]))
        role, known = entry["role"], _holder(old_bundle, before) == _holder(new_bundle, entry)
        idents, texts = (old_server.facts[name] == new_server.facts[name] for name in ("ident", "hba"))
        if known and idents and texts:
            return None
        old, new = old_server.lines(role), new_server.lines(role)
        idents = idents or not any(line.map for line in old)
        return None if known and idents and _rules(old) == _rules(new) else (*old, *new)


def _rules(lines: Iterable[Line]) -> list[tuple[Any, ...]]:
    """Return what lines specify for a role that they cover."""
    return [(line.type, line.databases, line.address, line.method, line.options) for line in lines]


def _same(before: Dialled, entry: Dialled) -> bool:
    """Return whether two entries are for the same connections: they agree wherever both have a value."""
    there = (before["server"], before["role"], before["replication"])
    databases = before["database"], entry["database"]
    alike = databases[0] == databases[1] or None in databases
    return alike and there == (entry["server"], entry["role"], entry["replication"])


def _holder(bundle: Dialling, entry: Dialled) -> tuple[Any, ...]:
    """Return what the rules of a server can ask of the owner of an entry."""
    names = ("database", "sslmode", "certificate", "methods", "require_auth", "channel_binding")
    facts = bundle.facts
    return facts["name"], facts["subject"], bool(facts["chain"]), *(entry.get(name) for name in names)


def _by_handshake(bundle: Dialling, entry: Dialled, server: Serving, point: object) -> Cause | None:
    """Judge everything that does not depend on the rules of the server."""
    if entry["port"] != str(server.facts["port"]):
        return Cause("port", entry["port"])
    return None if entry["sslmode"] in ("disable", *FALLING_BACK) else handshake(bundle, entry, server)
