"""Cells: the smallest parts of a policy's scope that the policies around it can tell apart.

A cell is a set of policies, a bit for each by its position in the order. Cells come from the terms that policies name:
where all terms are nested or disjoint, a connection lies in the policies that contain the smallest of its terms. So
there are as many cells as terms, not as many as sets of policies.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, reduce
from operator import and_
from typing import TYPE_CHECKING, Generic, TypeVar

from pgtls.access.sets import Addresses, Databases, Roles

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

    from pgtls.access.sets import Scope
    from pgtls.fleet.membership import Memberships

_Set = TypeVar("_Set", Roles, Databases, Addresses)
_Item = TypeVar("_Item")


class _Containers(Generic[_Set]):
    """Find the policies that certainly contain a term.

    ``keys`` are the names or networks of a set that contains only these.
    """

    def __init__(
        self,
        sets: Sequence[_Set],
        keys: Callable[[_Set], Iterable[Hashable] | None],
        sought: Callable[[_Set], Iterable[Hashable]],
        within: Callable[[_Set, _Set], bool],
    ) -> None:
        self._sought: Callable[[_Set], Iterable[Hashable]] = sought
        self._within: Callable[[_Set, _Set], bool] = within
        self._listed: dict[Hashable, int] = {}
        self._others: list[tuple[int, _Set]] = []
        self._found: dict[_Set, int] = {}
        for index, one in enumerate(sets):
            own = keys(one)
            if own is None:
                self._others.append((1 << index, one))
            for key in own or ():
                self._listed[key] = self._listed.get(key, 0) | 1 << index

    def of(self, term: _Set) -> int:
        """Return the policies that contain a single term."""
        found = self._found.get(term)
        if found is None:
            found = 0
            for key in self._sought(term):
                found |= self._listed.get(key, 0)
            for bit, other in self._others:
                if self._within(term, other):
                    found |= bit
            self._found[term] = found
        return found


class Cells:
    """The cells of one server's policies."""

    def __init__(self, scopes: Sequence[Scope], known: Memberships) -> None:
        self._scopes = scopes
        self._known = known

    @cached_property
    def _roles(self) -> _Containers[Roles]:
        sets = [scope.roles for scope in self._scopes]
        return _Containers(sets, lambda one: one.names if one.listed else None, lambda term: term.names, self._inside)

    @cached_property
    def _databases(self) -> _Containers[Databases]:
        sets = [scope.databases for scope in self._scopes]
        return _Containers(
            sets, lambda one: one.names if one.listed else None, lambda term: term.names, Databases.within
        )

    @cached_property
    def _addresses(self) -> _Containers[Addresses]:
        sets = [scope.addresses for scope in self._scopes]
        lengths = sorted({(net.version, net.prefixlen) for one in sets for net in one.networks})

        def around(term: Addresses) -> Iterator[Hashable]:
            for network in term.networks:
                for version, length in lengths:
                    if version == network.version and length <= network.prefixlen:
                        yield network.supernet(new_prefix=length)

        return _Containers(sets, lambda one: one.networks if one.listed else None, around, Addresses.within)

    def _inside(self, one: Roles, other: Roles) -> bool:
        return one.within(other, self._known)

    def of(self, index: int, others: int, above: int, *, by_role: bool) -> Iterator[int]:
        """Yield the cells of a policy, as sets of ``others`` and of policies ``above`` it.

        Cells differ by the terms that the policy and the others name.

        Without ``by_role``, ignore roles: assume that all ``others`` cover every role of this policy.
        """
        scope, around = self._scopes[index], others | above
        scopes = [scope, *members(self._scopes, others)]
        if by_role:
            roles = {self._roles.of(term) & around for term in _all_roles(scopes) if self._inside(term, scope.roles)}
        else:
            roles = {others | reduce(and_, map(self._roles.of, scope.roles.singles()), above)}
        databases = {
            self._databases.of(term) & around for term in _all_databases(scopes) if term.within(scope.databases)
        }
        addresses = {
            self._addresses.of(term) & around for term in _all_addresses(scopes) if term.within(scope.addresses)
        }
        for pair in {role & database for role in roles for database in databases}:
            yield from {pair & address for address in addresses}


def _all_roles(scopes: Sequence[Scope]) -> Iterator[Roles]:
    return Roles(
        frozenset().union(*(scope.roles.names for scope in scopes)),
        frozenset().union(*(scope.roles.groups for scope in scopes)),
        any(scope.roles.every for scope in scopes),
    ).singles()


def _all_databases(scopes: Sequence[Scope]) -> Iterator[Databases]:
    databases = [scope.databases for scope in scopes]
    return Databases(
        frozenset().union(*(one.names for one in databases)),
        frozenset().union(*(one.patterns for one in databases)),
        any(one.every for one in databases),
        any(one.sameuser for one in databases),
        any(one.samerole for one in databases),
        any(one.replication for one in databases),
    ).singles()


def _all_addresses(scopes: Sequence[Scope]) -> Iterable[Addresses]:
    networks = {network for scope in scopes for network in scope.addresses.networks}
    words = {term for scope in scopes for term in replace(scope.addresses, networks=()).parts()}
    return (*(Addresses(networks=(network,)) for network in networks), *words)


def members(items: Sequence[_Item], chosen: int) -> Iterator[_Item]:
    """Yield the items of a set, in order."""
    while chosen:
        lowest = chosen & -chosen
        yield items[lowest.bit_length() - 1]
        chosen ^= lowest
