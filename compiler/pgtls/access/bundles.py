"""Compute the content of a client's bundle: an entry for each server and database that its user may reach over TCP."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Literal

from pgtls.access.compile import alike
from pgtls.access.grants import accepted_authorities
from pgtls.access.model import Entry
from pgtls.access.order import arrange
from pgtls.access.sets import Addresses, Databases, Roles, Scope
from pgtls.access.undecided import undecided
from pgtls.language.models import SSLMODES
from pgtls.postgres.libpq import SNI_SINCE

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

    from pgtls.access.order import Item, Order
    from pgtls.fleet.membership import Memberships
    from pgtls.fleet.model import Fleet, Identity, Policy, Server, User
    from pgtls.language.models import SslMode

ChannelBinding = Literal["disable", "prefer", "require"]

_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
BINDINGS: tuple[ChannelBinding, ...] = ("disable", "prefer", "require")
REPLICATION = "replication"
LOOPBACK = "loopback"
_UNFIT_FOR_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")


def index(fleet: Fleet) -> Mapping[str, tuple[Entry, ...]]:
    """Return the entries of every user, by user name.

    Sort them by server, role (in the order of its table) and database.

    The entry without a database comes first, replication last.
    """
    return {name: tuple(_distinct(entries)) for name, entries in named(fleet).items()}


def named(fleet: Fleet) -> Mapping[str, Sequence[Entry]]:
    """Return the entries of every user by the names that they claim: several may claim one, which is then numbered."""
    known = fleet.memberships
    found: dict[str, list[Entry]] = {name: [] for name in fleet.users}
    kinds: dict[Hashable, dict[str, list[Entry]]] = {}
    identities = [(server, identity) for server in fleet.servers.values() for identity in server.identities]
    for server, identity in identities:
        accepted = frozenset(ca.name for ca in identity.client_cas)
        entries = kinds.setdefault((alike(fleet, server), accepted, bool(identity.place)), {})
        if not entries:
            _collect(fleet, server, identity, known, entries)
        for name, of_user in entries.items():
            roles = fleet.users[name].roles
            found[name].extend(
                entry if entry.identity is identity else _on(entry, server, identity, first=roles[0])
                for entry in of_user
            )
    return found


def _on(entry: Entry, server: Server, identity: Identity, first: str) -> Entry:
    """Return the same entry for another server that has the same policies."""
    role = None if entry.role == first else entry.role
    name = _name(identity, _target(entry), role, beside=entry.beside)
    return replace(entry, server=server, identity=identity, name=name)


def entries(fleet: Fleet, user: User) -> tuple[Entry, ...]:
    """Return the entries of one user. For many users, call :func:`index`."""
    return index(fleet)[user.name]


@dataclass(frozen=True, slots=True, eq=False)
class _Way:
    """A policy that admits users over TCP. ``rivals`` are the policies with another demand that override it."""

    item: Item
    names: frozenset[str]
    """The databases that the policy names."""
    wide: bool
    """Whether the policy also covers databases that it does not name."""
    rivals: tuple[Item, ...]
    near: tuple[Addresses, ...]
    """The loopback part of the policy's addresses."""
    far: tuple[Addresses, ...]
    """All other addresses of the policy."""


def _collect(
    fleet: Fleet, server: Server, identity: Identity, known: Memberships, found: dict[str, list[Entry]]
) -> None:
    accepted = accepted_authorities(fleet, identity.client_cas)
    by_user: dict[str, list[tuple[_Way, User]]] = {}
    for way in _ways(arrange(fleet.policies_of(server), known, accepted_authorities(fleet, server.accepted_cas))):
        for user in way.item.policy.users:
            if identity.place and user.table.libpq < SNI_SINCE:
                continue  # it cannot ask for a host name
            if way.item.demand.client_cert == "none" or (user.ca and user.ca.name in accepted):
                by_user.setdefault(user.name, []).append((way, user))
    same: dict[tuple[int, ...], tuple[Entry, ...]] = {}
    for name, granted in by_user.items():
        user = fleet.users[name]
        presents = user.ca is not None and user.ca.name in accepted
        for role, ways in _by_role(granted).items():
            # Users with the same policies have the same entries, except for the role. An overriding policy may depend
            # on the role.
            first = role == user.roles[0]
            key = (*map(id, ways), presents, first)
            if key not in same or any(way.rivals for way in ways):
                same[key] = tuple(_of_role(server, identity, user, role, ways, known, presents=presents))
            found.setdefault(name, []).extend(_for_role(entry, role, first=first) for entry in same[key])


def _by_role(granted: Sequence[tuple[_Way, User]]) -> Mapping[str, Sequence[_Way]]:
    """Return the ways of each role. The user of a pooler has other roles in each policy, any other has the same."""
    (_, first), *others = granted
    if all(user is first for _, user in others):
        ways = [way for way, _ in granted]
        return dict.fromkeys(first.roles, ways)
    roles = dict.fromkeys(role for _, user in granted for role in user.roles)
    return {role: [way for way, user in granted if role in user.roles] for role in roles}


def _for_role(entry: Entry, role: str, *, first: bool) -> Entry:
    if entry.role == role:
        return entry
    name = entry.name if first else _name(entry.identity, _target(entry), role, beside=entry.beside)
    return Entry(
        name=name,
        server=entry.server,
        identity=entry.identity,
        role=role,
        database=entry.database,
        sslmode=entry.sslmode,
        certificate=entry.certificate,
        channel_binding=entry.channel_binding,
        hostaddr=entry.hostaddr,
        policies=entry.policies,
        replication=entry.replication,
        beside=entry.beside,
    )


def _target(entry: Entry) -> str | None:
    return REPLICATION if entry.replication else entry.database


def _ways(order: Order) -> Iterator[_Way]:
    for position, item in enumerate(order.items):
        databases = item.scope.databases
        wide = bool(databases.every or databases.patterns or databases.sameuser or databases.samerole)
        if item.policy.local or item.demand.method == "reject" or not databases:
            continue
        above = (order.items[other] for other in order.above[position])
        rivals = tuple(one for one in above if one.competes(item) and one.beats(item, order.known))
        parts = [part for part in item.scope.addresses.parts() if part]
        near = tuple(part for part in parts if _is_loopback(part))
        far = tuple(part for part in parts if not _is_loopback(part))
        yield _Way(item, databases.names, wide, rivals, near, far)


def _of_role(
    server: Server,
    identity: Identity,
    user: User,
    role: str,
    ways: Sequence[_Way],
    known: Memberships,
    *,
    presents: bool,
) -> Iterator[Entry]:
    databases: list[str | None] = [None] if any(way.wide for way in ways) else []
    databases += sorted({name for way in ways for name in way.names})
    targets = [(database, False) for database in databases]
    targets += [(None, True)] if any(way.item.scope.databases.replication for way in ways) else []
    for database, replication in targets:
        meant = [(way, _meant(way, database, replication=replication)) for way in ways]
        far = [way.item.policy for way, them in meant if _applies(way, role, them, way.far, known)]
        near = [way.item.policy for way, them in meant if _applies(way, role, them, way.near, known)]
        for applying, loopback in ((far, False), (near, True)):
            if not applying:
                continue
            beside = bool(loopback and far)
            target = REPLICATION if replication else database
            yield Entry(
                name=_name(identity, target, None if role == user.roles[0] else role, beside=beside),
                server=server,
                identity=identity,
                role=role,
                database=database,
                sslmode=max((mode for mode in map(_mode, applying)), key=SSLMODES.index),
                certificate=presents,
                channel_binding=_channel_binding(applying),
                hostaddr=_hostaddr(applying) if loopback else None,
                policies=tuple(sorted(applying, key=lambda policy: policy.name)),
                replication=replication,
                beside=beside,
            )


def _meant(way: _Way, database: str | None, *, replication: bool) -> Databases | None:
    """Return the part of a policy's databases that an entry stands for, or None.

    An entry stands for one named database, for physical replication, or for all databases that have no name.
    """
    databases = way.item.scope.databases
    if replication:
        return Databases(replication=True) if databases.replication else None
    if database is None:
        return replace(databases, replication=False) if way.wide else None
    return Databases(frozenset((database,))) if database in way.names or databases.every else None


def _applies(way: _Way, role: str, databases: Databases | None, parts: Sequence[Addresses], known: Memberships) -> bool:
    """Return whether a policy admits a role to these databases from any of these parts of its addresses."""
    if databases is None or not parts or not way.rivals:
        return databases is not None and bool(parts)
    roles = Roles(frozenset((role,)))
    scopes = (rival.scope for rival in way.rivals)
    rivals = [one for one in scopes if databases.within(one.databases) and roles.within(one.roles, known)]
    return any(not _covered(Scope(roles, databases, part), rivals, known) for part in parts)


def _covered(scope: Scope, rivals: Sequence[Scope], known: Memberships) -> bool:
    """Return whether one of these scopes, or several together, cover a scope. Each has its roles and databases."""
    if any(scope.addresses.within(rival.addresses) for rival in rivals):
        return True
    return len(rivals) > 1 and undecided(scope, scope, rivals, known) is None


def _mode(policy: Policy) -> SslMode:
    return policy.sslmode or "verify-full"


def _channel_binding(policies: Sequence[Policy]) -> ChannelBinding | None:
    """Return the strictest channel binding that policies ask for, if every policy uses SCRAM.

    Other methods cannot bind the channel: a client with ``require`` would reject them.
    """
    if any(policy.table.auth != "scram-sha-256" for policy in policies):
        return None
    return max((policy.table.channel_binding for policy in policies), key=BINDINGS.index)


def _hostaddr(policies: Sequence[Policy]) -> str | None:
    """Return the loopback address to dial. Prefer the usual one if these policies admit it."""
    found = [
        "127.0.0.1" if address.version == 4 and _contains_usual(address) else str(address[0])
        for policy in policies
        for address in policy.addresses
        if isinstance(address, IPv4Network | IPv6Network) and _on_loopback(address)
    ]
    return found[0] if found else None


def _is_loopback(part: Addresses) -> bool:
    return bool(part.networks) and all(map(_on_loopback, part.networks))


def _on_loopback(network: IPv4Network | IPv6Network) -> bool:
    return any(network.version == one.version and network.subnet_of(one) for one in _LOOPBACK)  # type: ignore[arg-type]


def _contains_usual(network: IPv4Network | IPv6Network) -> bool:
    return int(network.network_address) <= 0x7F000001 <= int(network.broadcast_address)


def _name(identity: Identity, database: str | None, role: str | None, *, beside: bool) -> str:
    """Name a service. The names of databases and roles are free; a line of pg_service.conf limits its characters.

    ``beside`` marks the loopback service of an entry that also has a service over the network.
    """
    words = database, role, LOOPBACK if beside else None
    return joined(*identity.name.split("/"), *(part for part in words if part is not None))


def joined(*parts: str) -> str:
    """Join the parts of the name of a service."""
    return "-".join(_UNFIT_FOR_A_NAME.sub("_", part) for part in parts)


def _distinct(found: Iterable[Entry]) -> Iterator[Entry]:
    """Number repeated names: ``primary-a_b``, ``primary-a_b-2``."""
    listed = list(found)
    taken = {entry.name for entry in listed}
    if len(taken) == len(listed):
        yield from listed
        return
    seen: set[str] = set()
    for entry in listed:
        name, number = entry.name, 1
        while name in seen or (number > 1 and name in taken):
            number += 1
            name = f"{entry.name}-{number}"
        seen.add(name)
        yield entry if name == entry.name else replace(entry, name=name)
