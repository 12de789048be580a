"""Compute classes of connections: everything that policies and lines can distinguish, with an example of each.

Policies and lines have the same form here, a :class:`Coverage`. Each has a bit that says whether it contains a class. A
fact that is unknown at compile time makes two classes, one for each answer: whether a role is a member of ``+role``,
whether a database matches a regular expression, whether an address has a host name or belongs to the server. Classes
with the same bits are one class.

This module knows nothing about order, priorities or demands.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property, reduce
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, summarize_address_range
from itertools import chain, combinations, product
from operator import or_
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from pgtls.hba.model import HostName, Keyword, Member, Name, Regex
from pgtls.hba.regex import decided

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence

    from pgtls.fleet.membership import Memberships
    from pgtls.hba.model import Address, Database, IPAddress, IPNetwork, Role

_Term = TypeVar("_Term")

_EXHAUSTIVE = 6
"""The largest number of unknown facts about one name for which every combination is checked.

With more unknown facts, only these combinations are checked: each pair, none, and all. A pair is enough: of each side
one policy or line decides, and each contains the name by one fact.
"""
_MOST_PAIRS = 50_000
"""The largest number of such pairs of groups, over all roles that policies name: with more, each group alone."""


class Bits(NamedTuple):
    """The policies and lines that contain a class: a bit for each, in their order."""

    policies: int = 0
    lines: int = 0

    def __or__(self, other: tuple[int, ...]) -> Bits:
        return Bits(self.policies | other[0], self.lines | other[1])

    def __and__(self, other: tuple[int, ...]) -> Bits:
        return Bits(self.policies & other[0], self.lines & other[1])


NONE = Bits()


@dataclass(frozen=True, slots=True)
class Coverage:
    """The roles, databases and addresses of a policy or a line; ``addresses`` is None for the Unix socket."""

    roles: tuple[Role, ...]
    databases: tuple[Database, ...]
    addresses: tuple[Address, ...] | None


@dataclass(frozen=True, slots=True, eq=False)
class RoleClass:
    """Indistinguishable roles. ``own`` is the database with the name of the role, if that database matters."""

    names: tuple[str, ...]
    bits: Bits
    own: str | None


class _Known(NamedTuple):
    """What is known about a role: what certainly contains it, and of which groups it is, or may be, a member.

    ``declared`` are the bits if two specs say different things of it.
    """

    certain: Bits
    inside: tuple[bool | None, ...]
    declared: Bits | None
    own: str | None


@dataclass(frozen=True, slots=True)
class DatabaseClass:
    """Databases that are indistinguishable for some role."""

    example: str
    bits: Bits


@dataclass(frozen=True, slots=True)
class AddressClass:
    """Indistinguishable addresses; the example of the Unix socket is "local"."""

    example: str
    bits: Bits


class Class(NamedTuple):
    """A class of connections, apart from the transport."""

    role: RoleClass
    database: DatabaseClass
    address: AddressClass
    bits: Bits


class Classes:
    """The classes of connections to one server, by its policies and lines.

    ``names`` are further roles to check. ``declared`` are the memberships that the spec of the policies says, and
    those that the spec of the lines says: where they differ, a role is checked with each of them, too. ``deciding``
    returns what decides a class on both sides, if that is the first of some of its policies and of some of its lines;
    by default, each class is decided in its own way.
    """

    def __init__(
        self,
        policies: Sequence[Coverage],
        lines: Sequence[Coverage],
        known: Memberships,
        names: Iterable[str] = (),
        declared: tuple[Memberships, Memberships] | None = None,
        deciding: Callable[[Bits], Hashable] = lambda bits: bits,
    ) -> None:
        self._known = known
        self._deciding = deciding
        self._declared = declared
        self._roles: dict[Role, Bits] = {}
        self._databases: dict[Database, Bits] = {}
        self._addresses: dict[Address | None, Bits] = {}
        for bit, coverage in _numbered(policies, lines):
            for role in map(plain, coverage.roles):
                self._roles[role] = self._roles.get(role, NONE) | bit
            for database in map(plain, coverage.databases):
                self._databases[database] = self._databases.get(database, NONE) | bit
            for address in (None,) if coverage.addresses is None else map(_address, coverage.addresses):
                self._addresses[address] = self._addresses.get(address, NONE) | bit
        self._extra = tuple(names)

    # --- roles --------------------------------------------------------------------------------------------------------

    @cached_property
    def roles(self) -> tuple[RoleClass, ...]:
        """The classes of roles: those that the spec names, and one role that the spec does not name."""
        named = {term.text: bits for term, bits in self._roles.items() if isinstance(term, Name)}
        every = self._roles.get(Keyword.ALL, NONE)
        names = dict.fromkeys((*named, *(self._extra if every != NONE or self._doubtful else ())))
        somebody = _fresh("somebody", names)
        alike: dict[_Known, list[str]] = {}
        for name in (*names, somebody):
            alike.setdefault(self._known_of(name, every | named.get(name, NONE)), []).append(name)
        found: dict[tuple[Bits, str | None], list[str]] = {}
        of_named = () if self.is_cut else self._pairs
        for known, members in alike.items():
            pairs = self._pairs if known.certain == every else of_named
            for bits in self._possible(known, None if somebody in members else pairs):
                found.setdefault((bits, known.own), []).extend(members)
        return tuple(RoleClass(tuple(members), *key) for key, members in found.items())

    @cached_property
    def is_cut(self) -> bool:
        """Whether there are so many pairs of groups that they are not checked for the roles that policies name."""
        named = sum(isinstance(term, Name) for term in self._roles)
        return named * len(self._pairs) > _MOST_PAIRS

    @cached_property
    def _doubtful(self) -> Mapping[Role, Bits]:
        return {term: bits for term, bits in self._roles.items() if isinstance(term, Member | Regex)}

    def _known_of(self, name: str, certain: Bits) -> _Known:
        inside = (self._known.member(name, term.role) if isinstance(term, Member) else None for term in self._doubtful)
        own = name if self._compares_names and name in self._database_names else None
        return _Known(certain, tuple(inside), self._as_declared(name, certain), own)

    def _possible(self, known: _Known, pairs: Iterable[tuple[Role, Role]] | None) -> Iterator[Bits]:
        """Yield the bits of a role, one for each possible state of the unknown facts about it.

        With many of them, these are none, each alone, and ``pairs``; None: each pair, and all.
        """
        doubtful = self._doubtful
        if not doubtful:
            yield known.certain
            return
        inside = dict(zip(doubtful, known.inside, strict=True))
        sure = reduce(or_, (doubtful[term] for term, member in inside.items() if member), known.certain)
        unsure = [term for term, member in inside.items() if member is None]
        if pairs is None or len(unsure) <= _EXHAUSTIVE:
            chosen = _subsets(unsure)
        else:
            chosen = chain([()], ((term,) for term in unsure), (pair for pair in pairs if {*pair}.issubset(unsure)))
        for members in dict.fromkeys(map(self._closed, chosen)):
            if all(inside.get(term) is not False for term in members):
                yield reduce(or_, (doubtful[term] for term in members if term in doubtful), sure)
        if known.declared is not None:
            yield known.declared

    def _as_declared(self, name: str, certain: Bits) -> Bits | None:
        """Return the bits of a role of which the two specs say different things, as each says them."""
        doubtful = self._doubtful
        said = [
            {term for term in doubtful if isinstance(term, Member) and known.member(name, term.role)}
            for known in self._declared or ()
        ]
        if not said or said[0] == said[1]:
            return None
        policies, lines = ([doubtful[term] for term in terms] for terms in said)
        return Bits(
            reduce(or_, (bits.policies for bits in policies), certain.policies),
            reduce(or_, (bits.lines for bits in lines), certain.lines),
        )

    def _closed(self, chosen: Iterable[Role]) -> frozenset[Role]:
        """Add the groups that the chosen ones are in: membership is transitive."""
        return frozenset(chosen) | {
            Member(outer)
            for term in chosen
            if isinstance(term, Member)
            for outer in self._known.groups.get(term.role, ())
            if self._known.member(term.role, outer)
        }

    @cached_property
    def _pairs(self) -> Sequence[tuple[Role, Role]]:
        """The pairs of groups and expressions that may show what neither of them shows alone.

        Both contain a policy or line of one database, and something else decides for the pair.
        """
        if len(self._doubtful) <= _EXHAUSTIVE:
            return ()
        alone = {
            term: reduce(or_, (self._doubtful[one] for one in self._closed((term,)) if one in self._doubtful))
            for term in self._doubtful
        }
        near = {
            term: reduce(or_, (self._in_one_database[position] for position in _positions(bits)), NONE)
            for term, bits in alone.items()
        }
        return [
            (one, other)
            for one, other in combinations(alone, 2)
            if near[one] & alone[other] != NONE and self._shows_more(alone[one], alone[other])
        ]

    @cached_property
    def _in_one_database(self) -> Mapping[int, Bits]:
        """By position of a policy or line: all that may contain a database that it contains."""
        found: dict[int, Bits] = defaultdict(lambda: NONE)
        for inside in self._wide_databases(None):
            for position in _positions(inside):
                found[position] |= inside
        return found

    def _shows_more(self, one: Bits, other: Bits) -> bool:
        """Return whether something else decides about a role of two groups than about a role of either one."""
        decides = self._deciding
        every = self._roles.get(Keyword.ALL, NONE)
        one, other = one | every, other | every
        for database in self._wide_databases(one | other):
            bits = (one | other) & database
            for both in (*(both for both, _ in self._touching.touching(bits)), bits & self.socket.bits):
                if decides(both) not in (decides(both & one), decides(both & other)):
                    return True
        return False

    # --- databases ----------------------------------------------------------------------------------------------------

    @cached_property
    def _database_names(self) -> frozenset[str]:
        return frozenset(term.text for term in self._databases if isinstance(term, Name))

    @cached_property
    def _compares_names(self) -> bool:
        return self._same != NONE

    @cached_property
    def _same(self) -> Bits:
        """The policies and lines that compare the name of a database with the role's, or its groups'."""
        return self._databases.get(Keyword.SAMEUSER, NONE) | self._databases.get(Keyword.SAMEROLE, NONE)

    def databases(self, role: RoleClass) -> Iterator[DatabaseClass]:
        """Yield the classes of databases for a role, physical replication among them.

        Expressions match none of these databases if no policy or line has both the expression and the role.
        """
        yield from self._databases_of(role, role.bits)

    def _databases_of(self, role: RoleClass, within: Bits | None) -> Iterator[DatabaseClass]:
        found: dict[Bits, str] = {}
        # Two roles of one class may differ in one fact: membership in a role that has the name of a database.
        for name in role.names if self._compares_names else (None,):
            for database in self._databases_for(name, within):
                found.setdefault(database.bits, database.example)
        yield from (DatabaseClass(example, bits) for bits, example in found.items())

    def _databases_for(self, role: str | None, within: Bits | None) -> Iterator[DatabaseClass]:
        """Yield databases for a role. ``within``: only what policies and lines of these bits tell apart."""
        yield DatabaseClass("replication", self._databases.get(Keyword.REPLICATION, NONE))
        every = self._databases.get(Keyword.ALL, NONE)
        sameuser = self._databases.get(Keyword.SAMEUSER, NONE)
        samerole = self._databases.get(Keyword.SAMEROLE, NONE)
        for name in self._names_within(role, within):
            # For a listed name the match is known. Every other name is an example of all kinds of names.
            is_listed = name in self._database_names or (name == role and Name(name) in self._roles)
            matched, unsure = self._matching(name) if is_listed else (NONE, self._expressions)
            certain = every | matched | self._databases.get(Name(name), NONE)
            if name == role:
                certain |= sameuser | samerole
            member = True if role is None or name == role else self._known.member(role, name)
            doubtful = tuple(bits for bits in unsure.values() if within is None or bits & within != NONE)
            for inside in (False, True) if member is None else (member,):
                known = certain | samerole if inside and name != role and role is not None else certain
                yield from (DatabaseClass(name, known | bits) for bits in self._together(doubtful))

    def _together(self, doubtful: tuple[Bits, ...]) -> Collection[Bits]:
        """Return what may contain a database of which it is not known whether these do."""
        found = self._unions.get(doubtful)
        if found is None:
            unions = (reduce(or_, chosen, NONE) for chosen in _subsets(doubtful))
            found = self._unions[doubtful] = tuple(dict.fromkeys(unions))
        return found

    @cached_property
    def _unions(self) -> dict[tuple[Bits, ...], Collection[Bits]]:
        return {}

    def _wide_databases(self, within: Bits | None) -> Iterable[Bits]:
        """Return what may contain a database, for any role: its name may be that of the role, or of a group of it."""
        samerole = self._databases.get(Keyword.SAMEROLE, NONE)
        found: dict[Bits, None] = {}
        for database in self._databases_for(None, within):
            for bits in (database.bits, database.bits | samerole, database.bits | self._same):
                found[bits if within is None else bits & within] = None
        return found

    def _names_within(self, role: str | None, within: Bits | None) -> Iterable[str]:
        """Return the named databases that ``within`` tells apart, one that no policy names, and that of the role."""
        names = dict.fromkeys(self._named)
        samerole = NONE if role is None else self._databases.get(Keyword.SAMEROLE, NONE)
        if within is not None and samerole & within == NONE:
            names = dict.fromkeys(sorted(name for bit in _positions(within) for name in self._named_by.get(bit, ())))
        names[_fresh("anything", self._database_names)] = None
        if role is not None:
            names[role] = None
        return names

    @cached_property
    def _named(self) -> Sequence[str]:
        return sorted(self._database_names)

    @cached_property
    def _named_by(self) -> Mapping[int, Sequence[str]]:
        """The named databases by the policies and lines that contain, or may contain, them."""
        found: dict[int, list[str]] = {}
        for name in self._named:
            matched, unsure = self._matching(name)
            for bit in _positions(reduce(or_, unsure.values(), matched | self._databases[Name(name)])):
                found.setdefault(bit, []).append(name)
        return found

    @cached_property
    def _expressions(self) -> Mapping[Regex, Bits]:
        return {term: bits for term, bits in self._databases.items() if isinstance(term, Regex)}

    def _matching(self, name: str) -> tuple[Bits, Mapping[Regex, Bits]]:
        """Return the bits of the expressions that match a name, and the expressions of which that is not known."""
        found = self._matched.get(name)
        if found is None:
            matches = {term: decided(term.pattern, name) for term in self._expressions}
            sure = (self._expressions[term] for term, match in matches.items() if match)
            unsure = {term: self._expressions[term] for term, match in matches.items() if match is None}
            found = self._matched[name] = reduce(or_, sure, NONE), unsure
        return found

    @cached_property
    def _matched(self) -> dict[str, tuple[Bits, Mapping[Regex, Bits]]]:
        return {}

    # --- addresses ----------------------------------------------------------------------------------------------------

    @cached_property
    def addresses(self) -> tuple[AddressClass, ...]:
        """The classes of client addresses without the Unix socket."""
        every = self._addresses.get(Keyword.ALL, NONE)
        found: dict[Bits, str] = {}
        for (cell, inside), (host, named), own in product(self._cells(), self._hosts(), self._interfaces()):
            bits = every | inside | named | own
            found.setdefault(bits, f"{cell} ({host})" if host else str(cell))
        return tuple(AddressClass(example, bits) for bits, example in found.items())

    @cached_property
    def _touching(self) -> _Touching:
        return _Touching(self.addresses)

    @cached_property
    def socket(self) -> AddressClass:
        """The Unix socket."""
        return AddressClass("local", self._addresses.get(None, NONE))

    def each(self) -> Iterator[Bits]:
        """Yield the bits of each class of roles, of databases, and of addresses."""
        yield from (role.bits for role in self.roles)
        yield from (database.bits for database in self._databases_for(None, None))
        for role in self.roles if self._compares_names else ():
            yield from (database.bits for database in self._databases_of(role, self._same))
        yield from (address.bits for address in (*self.addresses, self.socket))

    def combined(self) -> Iterator[Class]:
        """Yield one class of each kind that differs in its bits or in its role."""
        for role in self.roles:
            databases: dict[Bits, DatabaseClass] = {}
            for database in self.databases(role):
                databases.setdefault(role.bits & database.bits, database)
            for bits, database in databases.items():
                for both, address in self._touching.touching(bits):
                    yield Class(role, database, address, both)
                yield Class(role, database, self.socket, bits & self.socket.bits)

    def _cells(self) -> Iterator[tuple[IPAddress, Bits]]:
        """Cut both address families at the ends of all networks."""
        networks = [
            (term, bits) for term, bits in self._addresses.items() if isinstance(term, IPv4Network | IPv6Network)
        ]
        for version, make in ((4, IPv4Address), (6, IPv6Address)):
            yield from _pieces([(net, bits) for net, bits in networks if net.version == version], make)

    def parts(self, connection: Class, network: IPNetwork) -> tuple[IPNetwork, ...]:
        """Return the parts of a network whose addresses are in a class, regardless of their host names."""
        low, high = int(network.network_address), int(network.broadcast_address)
        every = self._addresses.get(Keyword.ALL, NONE)
        covering = connection.role.bits & connection.database.bits
        starts, bits = self._starts[network.version]
        make = type(network.network_address)
        found: list[IPNetwork] = []
        for index in range(bisect_right(starts, low) - 1, bisect_right(starts, high)):
            if covering & (every | bits[index]) == connection.bits:
                end = starts[index + 1] - 1 if index + 1 < len(starts) else high
                found += summarize_address_range(make(max(starts[index], low)), make(min(end, high)))
        return tuple(found)

    @cached_property
    def _starts(self) -> Mapping[int, tuple[list[int], list[Bits]]]:
        """By version: where each cell starts, in order from the first address on, and its bits."""
        cells = [(cell.version, int(cell), bits) for cell, bits in self._cells()]
        return {
            version: (
                [start for one, start, _ in cells if one == version],
                [bits for one, _, bits in cells if one == version],
            )
            for version in (4, 6)
        }

    def _hosts(self) -> Iterator[tuple[str, Bits]]:
        """Yield no name, then each requested name, and one name below each suffix.

        An address has one name (``check_hostname``).
        """
        terms = {term.name: bits for term, bits in self._addresses.items() if isinstance(term, HostName)}
        yield "", NONE
        for name in terms:
            example = f"{_fresh('host', terms)}{name}" if name.startswith(".") else name
            bits = terms.get(example, NONE)
            for start in (index for index, character in enumerate(example) if character == "."):
                bits |= terms.get(example[start:], NONE)
            yield example, bits

    def _interfaces(self) -> Iterator[Bits]:
        """Yield an address outside of the server's networks, one inside, and one of its own."""
        net = self._addresses.get(Keyword.SAMENET, NONE)
        yield NONE
        yield net
        yield net | self._addresses.get(Keyword.SAMEHOST, NONE)


class _Touching:
    """Classes of addresses by the policies and lines that contain them: most do not concern a given role."""

    def __init__(self, classes: Sequence[AddressClass]) -> None:
        self._classes = classes
        self._inside: dict[int, list[int]] = {}
        for index, one in enumerate(classes):
            for bit in _positions(one.bits):
                self._inside.setdefault(bit, []).append(index)

    def touching(self, bits: Bits) -> Iterator[tuple[Bits, AddressClass]]:
        """Yield the first class for each intersection with ``bits``, and that intersection.

        Yield the classes that intersect ``bits``, and one that does not.
        """
        near: set[int] = {index for bit in _positions(bits) for index in self._inside.get(bit, ())}
        apart = next((index for index in range(len(self._classes)) if index not in near), None)
        found: dict[Bits, AddressClass] = {}
        for index in sorted(near if apart is None else {*near, apart}):
            found.setdefault(bits & self._classes[index].bits, self._classes[index])
        yield from found.items()


def _positions(bits: Bits) -> Iterator[int]:
    """Number the bits that are set: even numbers for policies, odd ones for lines."""
    for offset, members in enumerate(bits):
        yield from (2 * index + offset for index in indices(members))


def indices(members: int) -> Iterator[int]:
    """Yield the positions of the bits that are set."""
    while members:
        lowest = members & -members
        yield lowest.bit_length() - 1
        members ^= lowest


def _numbered(policies: Sequence[Coverage], lines: Sequence[Coverage]) -> Iterator[tuple[Bits, Coverage]]:
    for index, coverage in enumerate(policies):
        yield Bits(policies=1 << index), coverage
    for index, coverage in enumerate(lines):
        yield Bits(lines=1 << index), coverage


def _subsets(items: Sequence[_Term]) -> Iterator[tuple[_Term, ...]]:
    """Yield every subset of a few items; of many, those of up to two items, and all."""
    is_few = len(items) <= _EXHAUSTIVE
    for size in range(len(items) + 1 if is_few else 3):
        yield from combinations(items, size)
    if not is_few:
        yield tuple(items)


def _fresh(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _pieces(
    networks: Sequence[tuple[IPNetwork, Bits]], make: Callable[[int], IPAddress]
) -> Iterator[tuple[IPAddress, Bits]]:
    """Yield an address of each piece between the ends of networks, with what contains it."""
    begins: dict[int, list[tuple[int, Bits]]] = {0: []}
    for network, bits in networks:
        first, last = int(network.network_address), int(network.broadcast_address)
        begins.setdefault(first, []).append((last, bits))
        begins.setdefault(last + 1, [])
    open_networks: list[tuple[int, Bits]] = []
    for start in sorted(begins):
        if start >> make(0).max_prefixlen:
            break
        open_networks = [(end, bits) for end, bits in open_networks if end >= start] + begins[start]
        inside = NONE
        for _, bits in open_networks:
            inside |= bits
        yield make(start), inside


_LITERAL = re.compile(r"\^((?:[^][\\^$.*+?(){}|]|\\[][\\^$.*+?(){}|])*)\$", re.DOTALL)


def plain(term: _Term) -> _Term | Name:
    """Return the name if a regular expression matches only one name."""
    return Name(name) if isinstance(term, Regex) and (name := literal(term.pattern)) is not None else term


def literal(pattern: str) -> str | None:
    """Return the only text that a regular expression matches, if it is anchored and has no operators.

    Names that start with ``/`` are written this way.
    """
    match = _LITERAL.fullmatch(pattern)
    return re.sub(r"\\(.)", r"\1", match[1], flags=re.DOTALL) if match else None


def _address(term: Address) -> Address:
    return HostName(term.name.lower()) if isinstance(term, HostName) else term
