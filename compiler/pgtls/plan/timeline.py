"""What fails, when and for whom, without another build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeGuard

from pgtls.certificates.trust import checked_cas
from pgtls.language.values import Waiver
from pgtls.pki.model import Entity
from pgtls.rollout.works import VERIFYING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from pgtls.access.model import Entry
    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Authority, Fleet, Identity, User
    from pgtls.plan.model import Item

What = Literal["due", "fails", "stays", "blocks"]
Cause = Literal["certificate", "crl", "client crl", "until", "waiver"]
"""``crl``: servers refuse clients without it; ``client crl``: clients refuse servers, by the copy in their bundles."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens to an entity at an instant.

    ``due``: from here on, a build makes its certificate or CRL again. ``fails``: connections of ``affects`` do.
    ``stays``: access that was meant to end stays until the next build. ``blocks``: the spec is rejected from here on.
    ``servers`` are where.
    """

    at: datetime
    entity: Entity
    what: What
    cause: Cause
    servers: tuple[str, ...] = ()
    affects: tuple[str, ...] = ()
    """The entities for which it fails, or whose access stays."""


def timeline(
    fleet: Fleet,
    entries: Mapping[str, Sequence[Entry]],
    items: Iterable[Item],
    built: datetime | None,
    waived: Iterable[Diagnostic] = (),
) -> list[Event]:
    """Return all events in their order, those included that have happened already.

    ``built`` is when the last build was, None where that is unknown; ``waived`` are the findings that waivers accept.
    """
    world = _World(fleet, entries)
    events = [*_of_items(world, items), *_of_untils(fleet, built), *_of_waivers(fleet, waived)]
    return sorted(events, key=lambda event: (event.at, event.what, event.entity, event.cause))


class _World:
    """Which entities depend on which, looked up once."""

    def __init__(self, fleet: Fleet, entries: Mapping[str, Sequence[Entry]]) -> None:
        self.fleet = fleet
        self.verifying: dict[str, dict[str, None]] = {}
        """By name of an identity: the users that verify it."""
        self.presenting: dict[str, dict[str, None]] = {}
        """By NAME of a server: the users that show it a certificate."""
        self.shown_to: dict[str, dict[str, None]] = {}
        """By NAME of a user: the servers that see its certificate."""
        self.checking: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
        """By NAME of a CA: the servers whose chain has it, and the users whose bundles have its CRL."""
        for name, user in fleet.users.items():
            for entry in entries[name]:
                if entry.sslmode in VERIFYING:
                    self._check(user, entry.identity)
                    self.verifying.setdefault(entry.identity.name, {})[user.entity] = None
                    if entry.certificate:
                        self.presenting.setdefault(entry.server.name, {})[user.entity] = None
                        self.shown_to.setdefault(name, {})[entry.server.entity] = None

    def _check(self, user: User, server: Identity) -> None:
        """Record that a bundle rejects a server once the CRL of any CA in its chain expires (CRL_CHECK_ALL)."""
        for ca in server.ca.chain if user.table.crl and server.ca else ():
            if ca.table.crl:
                servers, users = self.checking.setdefault(ca.name, ({}, {}))
                servers[server.entity] = users[user.entity] = None


def _of_items(world: _World, items: Iterable[Item]) -> Iterator[Event]:
    for item in items:
        if item.not_after is None or not item.current or item.path is None:
            continue
        if item.due is not None:
            yield Event(item.due, item.entity, "due", item.kind)
        servers, affects = _consequences(world, item)
        if servers or affects:
            yield Event(item.not_after, item.entity, "fails", item.kind, servers, affects)
        if item.kind == "crl" and (checking := world.checking.get(item.entity.name)):
            yield Event(item.not_after, item.entity, "fails", "client crl", *map(tuple, checking))


def _consequences(world: _World, item: Item) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the servers where, and the entities for which, something fails when an item ends."""
    kind, name = item.entity.table
    if item.kind == "crl":
        return _without_crl(world, name)
    if kind == "ca":
        return (), tuple(_below(world.fleet, world.fleet.cas[name]))
    if kind in ("server", "pooler"):
        return (item.entity,), tuple(world.verifying.get(item.entity.name, ()))
    servers = tuple(world.shown_to.get(name, ()))
    return servers, (item.entity,) if servers else ()


def _without_crl(world: _World, ca: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the servers that reject every client certificate once a CRL expires, and those clients."""
    servers = [
        server
        for server in world.fleet.servers.values()
        if any(link.name == ca for link in checked_cas(world.fleet, server))
    ]
    affected = {user: None for server in servers for user in world.presenting.get(server.name, ())}
    return tuple(server.entity for server in servers), tuple(affected)


def _below(fleet: Fleet, ca: Authority) -> Iterator[str]:
    """Yield the entities whose chain ends with a CA's certificate."""
    for other in fleet.cas.values():
        if other is not ca and ca in other.chain:
            yield other.entity
    holders: list[Identity | User] = [*fleet.identities(), *fleet.users.values()]
    for holder in holders:
        if holder.ca and ca in holder.ca.chain:
            yield holder.entity


def _of_untils(fleet: Fleet, built: datetime | None) -> Iterator[Event]:
    """What has ended since the last build stays as that has left it."""
    for user in (*fleet.users.values(), *fleet.ended_users.values()):
        if _stays(user.table.until, built, fleet.now):
            yield Event(user.table.until, user.entity, "stays", "until", affects=(user.entity,))
    for policy in (one for one in (*fleet.policies.values(), *fleet.ended_policies.values()) if not one.follows):
        servers = tuple(server.entity for server in policy.servers)
        if _stays(policy.table.until, built, fleet.now):
            users = tuple(user.entity for user in policy.users)
            yield Event(policy.table.until, policy.entity, "stays", "until", servers, users)


def _of_waivers(fleet: Fleet, waived: Iterable[Diagnostic]) -> Iterator[Event]:
    """The spec is refused when a waiver ends that accepts an error, unless its policy has ended by then."""
    needed = {d.accepted.by for d in waived if d.accepted and d.severity == "error"}
    for policy in fleet.policies.values():
        waiver, ends = policy.table.waiver, policy.table.until
        if policy.entity not in needed or not isinstance(waiver, Waiver) or not waiver.until:
            continue
        if ends is None or waiver.until < ends:
            yield Event(waiver.until, policy.entity, "blocks", "waiver", tuple(s.entity for s in policy.servers))
    if "lint.waiver" in needed and isinstance(fleet.lint.waiver, Waiver) and fleet.lint.waiver.until:
        yield Event(fleet.lint.waiver.until, Entity("lint"), "blocks", "waiver")


def _stays(until: datetime | None, built: datetime | None, now: datetime) -> TypeGuard[datetime]:
    return until is not None and (until > now or (built is not None and built < until))
