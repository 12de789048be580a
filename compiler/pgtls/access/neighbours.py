"""Find the pairs of policies, among thousands, that may have a connection in common.

To compare all pairs would cost the square of their number.

Policies that share a connection share a role, a database and an address. Each of these three finds candidates by the
terms that policies name. The smallest of the three candidate sets is enough.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
    from ipaddress import IPv4Network, IPv6Network
    from typing import TypeAlias

    from pgtls.access.sets import Scope

    IPNetwork: TypeAlias = IPv4Network | IPv6Network


class _Named(NamedTuple):
    """The terms that a policy names of one kind.

    Others find it under its ``own`` terms. It finds others under its ``sought`` terms.
    """

    own: Collection[Hashable]
    sought: Collection[Hashable]


def neighbours(scopes: Sequence[Scope]) -> Iterator[tuple[int, int]]:
    """Yield, in order, the positions of each pair of scopes whose terms may have something in common."""
    finders = [_Finder(_addresses(scopes)), _Finder(map(_databases, scopes)), _Finder(map(_roles, scopes))]
    for index in range(len(scopes)):
        finder = min(finders, key=lambda finder: finder.count(index))
        yield from ((index, other) for other in sorted(finder.found(index)) if other > index)


class _Finder:
    """Policies by their terms of one kind. A policy with None may have something in common with all others."""

    def __init__(self, named: Iterable[_Named | None]) -> None:
        self._named = list(named)
        self._wide = [index for index, one in enumerate(self._named) if one is None]
        self._by_term: dict[Hashable, list[int]] = defaultdict(list)
        for index, one in enumerate(self._named):
            for term in one.own if one else ():
                self._by_term[term].append(index)

    def count(self, index: int) -> int:
        """Return the largest possible number of others."""
        named = self._named[index]
        if named is None:
            return len(self._named)
        return len(self._wide) + sum(len(self._by_term.get(term, ())) for term in named.sought)

    def found(self, index: int) -> Collection[int]:
        """Return the others, and the policy itself."""
        named = self._named[index]
        if named is None:
            return range(len(self._named))
        return {*self._wide, *(other for term in named.sought for other in self._by_term.get(term, ()))}


def _roles(scope: Scope) -> _Named | None:
    roles = scope.roles
    return _Named(roles.names, roles.names) if roles.listed else None


def _databases(scope: Scope) -> _Named | None:
    databases = scope.databases
    return _Named(databases.names, databases.names) if databases.listed else None


def _addresses(scopes: Sequence[Scope]) -> Iterator[_Named | None]:
    """Two networks share an address if one lies within the other. The socket shares only itself."""
    around = _around({network for scope in scopes for network in scope.addresses.networks})
    within: dict[IPNetwork, list[IPNetwork]] = defaultdict(list)
    for network, outer in around.items():
        for one in outer:
            within[one].append(network)
    for scope in scopes:
        addresses = scope.addresses
        if addresses.socket:
            yield _Named(("socket",), ("socket",))
        elif addresses.every or addresses.hosts or addresses.samehost or addresses.samenet:
            yield None
        else:
            networks = addresses.networks
            yield _Named(networks, {near for one in networks for near in (one, *around[one], *within[one])})


def _around(networks: Collection[IPNetwork]) -> dict[IPNetwork, tuple[IPNetwork, ...]]:
    """Return, for each network, the other networks that contain it."""
    found: dict[IPNetwork, tuple[IPNetwork, ...]] = {}
    opened: list[IPNetwork] = []
    for network in sorted(networks, key=lambda one: (one.version, int(one.network_address), one.prefixlen)):
        while opened and (opened[-1].version, int(opened[-1].broadcast_address)) < (
            network.version,
            int(network.network_address),
        ):
            opened.pop()
        found[network] = tuple(opened)
        opened.append(network)
    return found
