"""Find connections that two policies may cover and that no third policy decides.

Check these points: the names that policies mention, an address of each piece between the ends of networks, and for each
two terms that may overlap a point that no policy mentions. A third policy decides for a point only if it certainly
covers it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, Generic, TypeVar

from pgtls.access.sets import (
    EVERYTHING,
    SOME_DATABASE,
    SOME_ROLE,
    Addresses,
    Databases,
    Roles,
    common_networks,
    may_name,
    meeting,
    single_address,
    unsaid,
)
from pgtls.hba.model import Keyword

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pgtls.access.sets import Scope
    from pgtls.fleet.membership import Memberships
    from pgtls.hba.model import IPAddress, IPNetwork

_Set = TypeVar("_Set", Roles, Databases, Addresses)

Witness = tuple[str, str | Keyword, str]
"""A connection: role, database (the keyword is physical replication), address ("local" is the Unix socket)."""


@dataclass(frozen=True, slots=True)
class _Point(Generic[_Set]):
    """An example in one respect. Every set that contains one of ``terms`` contains it."""

    example: str | Keyword
    terms: tuple[_Set, ...]


def undecided(first: Scope, other: Scope, thirds: Sequence[Scope], known: Memberships) -> Witness | None:
    """Return a connection that two policies may cover and that none of ``thirds`` certainly covers."""
    usual = first.witness(other, known)
    if usual is None or not thirds:
        return usual
    addresses = [
        (point, _around(point, [scope.addresses for scope in thirds]))
        for point in _addresses(first.addresses, other.addresses, thirds)
    ]
    for role in _roles(first, other, thirds, known):
        covering = [i for i, scope in enumerate(thirds) if any(t.within(scope.roles, known) for t in role.terms)]
        for database in _databases(str(role.example), first.databases, other.databases, thirds, known):
            both = {covering[i] for i in _around(database, [thirds[i].databases for i in covering])}
            free = next((point for point, there in addresses if both.isdisjoint(there)), None)
            if free is not None:
                return str(role.example), database.example, str(free.example)
    return None


def _around(point: _Point[Databases] | _Point[Addresses], sets: Sequence[Databases] | Sequence[Addresses]) -> set[int]:
    """Return which of these sets certainly contain a point."""
    return {i for i, one in enumerate(sets) if any(term.within(one) for term in point.terms)}  # type: ignore[arg-type]


def _roles(one: Scope, two: Scope, scopes: Sequence[Scope], known: Memberships) -> Iterator[_Point[Roles]]:
    first, other = one.roles, two.roles
    sets = (first, other, *(scope.roles for scope in scopes))
    names = sorted(frozenset().union(*(one.names | one.groups for one in sets)))
    for name in dict.fromkeys((*first.common(other, known), *names, *_alike(one.databases, two.databases))):
        if first.may_have(name, known) and other.may_have(name, known):
            yield _Point(name, (Roles(frozenset((name,))),))
    for mine, theirs in product(_wide(first), _wide(other)):
        better = sorted(mine.groups | theirs.groups)
        yield _Point(better[0] if better else unsaid(SOME_ROLE, names), (mine, theirs))
        if better:  # the spec may state some groups of this role, and says nothing about other members of the group
            yield _Point(unsaid(SOME_ROLE, {*names, *known.groups}), (mine, theirs))


def _alike(mine: Databases, theirs: Databases) -> Iterator[str]:
    """Yield the databases for which it matters that a role has their name."""
    for one, two in ((mine, theirs), (theirs, mine)):
        if one.sameuser or one.samerole:
            yield from sorted(two.names)


def _wide(roles: Roles) -> Iterator[Roles]:
    return (term for term in roles.singles() if not term.names)


def _databases(
    role: str, first: Databases, other: Databases, scopes: Sequence[Scope], known: Memberships
) -> Iterator[_Point[Databases]]:
    sets = (first, other, *(scope.databases for scope in scopes))
    names = frozenset().union(*(one.names for one in sets))
    for name in (*sorted(names), role):
        if all(may_name(one, name, role, known, names) for one in (first, other)):
            same = Databases(sameuser=name == role, samerole=known.member(role, name) is True)
            yield _Point(name, (Databases(frozenset((name,))), *same.singles()))
    for mine, theirs in product(first.singles(), other.singles()):
        if mine.replication and theirs.replication:
            yield _Point(Keyword.REPLICATION, (mine,))
        elif all(term.every or term.patterns or term.samerole for term in (mine, theirs)):
            yield _Point(unsaid(SOME_DATABASE, names), (mine, theirs))


def _addresses(first: Addresses, other: Addresses, scopes: Sequence[Scope]) -> Iterator[_Point[Addresses]]:
    if first.socket or other.socket:
        yield from (_Point("local", (one,)) for one in (first,) if first.socket and other.socket)
        return
    inner = {network for scope in scopes for network in scope.addresses.networks}
    for network in common_networks(first, other):
        for address in _pieces(network, inner):
            yield _Point(str(address), (single_address(address),))
    for mine, theirs in product(_spelled(first), _spelled(other)):
        example = None if mine.networks and theirs.networks else meeting(mine, theirs)
        if example is not None:
            yield _Point(example, (mine, theirs))


def _pieces(network: IPNetwork, inner: Iterable[IPNetwork]) -> Iterator[IPAddress]:
    """Yield an address of each piece into which other networks cut a network.

    Yield the second address if there is one, because the first may belong to no host.
    """
    first, last = int(network.network_address), int(network.broadcast_address)
    starts = {first}
    for one in inner:
        if one.version == network.version:
            starts |= {int(one.network_address), int(one.broadcast_address) + 1}
    ordered = sorted(start for start in starts if first <= start <= last)
    for start, following in pairwise((*ordered, last + 1)):
        yield type(network.network_address)(min(start + 1, following - 1))


def _spelled(addresses: Addresses) -> Iterator[Addresses]:
    """Yield the terms of a set, each as a set of its own; all addresses are those of IPv4 and those of IPv6."""
    for term in addresses.parts():
        yield from (Addresses(networks=(network,)) for network in EVERYTHING) if term.every else (term,)
