"""Compute inclusion, overlap and intersection of sets of roles, databases and addresses as pg_hba.conf can name them.

Every answer is sound. *Within* means certainly inside. *Overlap* means that there may be a connection in common. An
intersection that pg_hba.conf cannot express exactly is :data:`INEXACT`, never an approximation. Some pairs may overlap
although neither is within the other: a host name and a network, ``samehost`` and a network, two regular expressions,
``+role`` and a role whose memberships the spec does not state.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from itertools import product
from typing import TYPE_CHECKING, Final, Literal

from pgtls.hba.model import HostName, Keyword, Member, Name, Regex
from pgtls.hba.regex import decided

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

    from pgtls.fleet.membership import Memberships
    from pgtls.hba.model import Address, Database, IPAddress, IPNetwork, Role

INEXACT: Final = "inexact"
Inexact = Literal["inexact"]
"""An intersection that may exist but that terms cannot express."""

SOME_ROLE = "postgres"
SOME_DATABASE = "postgres"
SOME_ADDRESS = "192.0.2.1"
"""Examples of ``all``, used where no narrower term offers one.

The address is from a range for documentation (RFC 5737).
"""


EVERYTHING = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
"""All of IPv4 and all of IPv6."""


def unsaid(usual: str, said: Container[str]) -> str:
    """Return a name of which nothing is said."""
    name = usual
    while name in said:
        name += "_"
    return name


@dataclass(frozen=True, slots=True)
class Roles:
    """A set of roles; ``groups`` are the roles of ``+role``."""

    names: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    every: bool = False

    def __bool__(self) -> bool:
        return bool(self.names or self.groups or self.every)

    @property
    def listed(self) -> bool:
        """Whether the set consists of names alone."""
        return not (self.every or self.groups)

    def within(self, other: Roles, known: Memberships) -> bool:
        """Return whether each of these roles is certainly one of the others."""
        if other.every:
            return True
        if self.every or not (other.groups or self.names <= other.names):
            return False
        return all(other._covers(name, known) for name in self.names - other.names) and all(
            group in other.groups or other._covers_group(group, known) for group in self.groups
        )

    def _covers(self, name: str, known: Memberships) -> bool:
        return any(known.member(name, group) for group in self.groups)

    def _covers_group(self, group: str, known: Memberships) -> bool:
        # Membership is transitive: a member of a group is a member of every group that contains this group.
        return any(known.member(group, outer) for outer in self.groups)

    def has(self, name: str, known: Memberships) -> bool | None:
        """Return whether a role is in the set. None: unknown."""
        if self.every or name in self.names:
            return True
        found = {known.member(name, group) for group in self.groups}
        return True if True in found else None if None in found else False

    def may_have(self, name: str, known: Memberships) -> bool:
        """Return whether a role may be in the set."""
        return self.has(name, known) is not False

    def common(self, other: Roles, known: Memberships) -> Iterator[str]:
        """Yield roles that may be in both, certain ones first. Yield nothing if both have no role in common."""
        yield from sorted(self.names & other.names)
        for one, two in ((self, other), (other, self)):
            if two.every:
                yield from one.examples()
        for certain in (True, None):
            for one, two in ((self, other), (other, self)):
                yield from (
                    name
                    for name in sorted(one.names)
                    if any(known.member(name, group) is certain for group in sorted(two.groups))
                )
        if self.groups and other.groups:
            groups = sorted(self.groups & other.groups or self.groups | other.groups)
            yield next((one for one in groups if self.may_have(one, known) and other.may_have(one, known)), SOME_ROLE)
            yield unsaid(SOME_ROLE, known.groups)  # of its memberships the spec says nothing

    def intersection(self, other: Roles, known: Memberships) -> Roles | Inexact:
        """Return the intersection."""
        if self.within(other, known):
            return self
        if other.within(self, known):
            return other
        names, groups = self.names & other.names, self.groups & other.groups
        for one, two in ((self, other), (other, self)):
            names |= {name for name in one.names - names if two._covers(name, known)}
            groups |= {group for group in one.groups - groups if two._covers_group(group, known)}
        exact = Roles(names, groups)
        for one, two in ((self, other), (other, self)):
            doubtful = one.names - exact.names
            if any(known.member(name, group) is None for name in doubtful for group in two.groups):
                return INEXACT
        return INEXACT if self.groups - exact.groups and other.groups - exact.groups else exact

    def singles(self) -> Iterator[Roles]:
        """Yield the terms, each as a set of its own."""
        yield from (Roles(names=frozenset((name,))) for name in sorted(self.names))
        yield from (Roles(groups=frozenset((group,))) for group in sorted(self.groups))
        if self.every:
            yield Roles(every=True)

    def examples(self) -> Iterator[str]:
        """Yield roles of this set: a group's own role is a member of it."""
        yield from sorted(self.names) or sorted(self.groups) or [SOME_ROLE]

    def terms(self) -> tuple[Role, ...]:
        """Write the set as terms, in a fixed order."""
        if self.every:
            return (Keyword.ALL,)
        return (*(Name(name) for name in sorted(self.names)), *(Member(group) for group in sorted(self.groups)))


@dataclass(frozen=True, slots=True)
class Databases:
    """A set of databases. ``replication`` is physical replication, which is never part of ``every``."""

    names: frozenset[str] = frozenset()
    patterns: frozenset[str] = frozenset()
    every: bool = False
    sameuser: bool = False
    samerole: bool = False
    replication: bool = False

    def __bool__(self) -> bool:
        return bool(self.names or self.patterns or self.every or self.sameuser or self.samerole or self.replication)

    @property
    def listed(self) -> bool:
        """Whether the set consists of names alone."""
        return not (self.every or self.patterns or self.sameuser or self.samerole or self.replication)

    def within(self, other: Databases) -> bool:
        """Return whether each of these databases is certainly one of the others, whatever the role."""
        if self.replication and not other.replication:
            return False
        return other.every or (
            not self.every
            and (self.names <= other.names or _are_matched(self.names - other.names, other.patterns))
            and self.patterns <= other.patterns
            and (not self.sameuser or other.sameuser or other.samerole)
            and (not self.samerole or other.samerole)
        )

    def parts(self) -> Iterator[Databases]:
        """Yield the kinds of terms in the set, each as a set of its own."""
        yield Databases(names=self.names)
        yield Databases(patterns=self.patterns)
        yield Databases(every=self.every)
        yield Databases(sameuser=self.sameuser)
        yield Databases(samerole=self.samerole)
        yield Databases(replication=self.replication)

    def singles(self) -> Iterator[Databases]:
        """Yield the terms, each as a set of its own."""
        yield from (Databases(names=frozenset((name,))) for name in sorted(self.names))
        yield from (Databases(patterns=frozenset((pattern,))) for pattern in sorted(self.patterns))
        yield from (part for part in self.parts() if part and not (part.names or part.patterns))

    def intersection(self, other: Databases) -> Databases | Inexact:
        """Return the intersection."""
        if self.listed and other.listed:
            return Databases(self.names & other.names)
        exact = Databases(
            names=_either(self.names, other.names, self.every, other.every)
            | _matching(self.names, other.patterns)
            | _matching(other.names, self.patterns),
            patterns=_either(self.patterns, other.patterns, self.every, other.every),
            every=self.every and other.every,
            sameuser=(self.sameuser and (other.sameuser or other.samerole or other.every))
            or (other.sameuser and (self.samerole or self.every)),
            samerole=(self.samerole and (other.samerole or other.every)) or (other.samerole and self.every),
            replication=self.replication and other.replication,
        )
        for mine in filter(None, self.parts()):
            for theirs in filter(None, other.parts()):
                if _may_meet(mine, theirs) and not mine.within(other) and not theirs.within(self):
                    return INEXACT
        return exact

    def terms(self) -> tuple[Database, ...]:
        """Write the set as terms, in a fixed order."""
        words = [
            (self.every, Keyword.ALL),
            (self.sameuser, Keyword.SAMEUSER),
            (self.samerole, Keyword.SAMEROLE),
            (self.replication, Keyword.REPLICATION),
        ]
        return (
            *(Name(name) for name in sorted(self.names)),
            *(Regex(pattern) for pattern in sorted(self.patterns)),
            *(word for said, word in words if said),
        )


def _either(mine: frozenset[str], theirs: frozenset[str], every: bool, other_every: bool) -> frozenset[str]:
    return (mine & theirs) | (mine if other_every else frozenset()) | (theirs if every else frozenset())


def _matching(names: frozenset[str], patterns: frozenset[str]) -> frozenset[str]:
    """Return the names that one of these regular expressions certainly matches."""
    return frozenset(name for name in names if any(decided(pattern, name) for pattern in patterns))


def _are_matched(names: frozenset[str], patterns: frozenset[str]) -> bool:
    return bool(patterns) and names <= _matching(names, patterns)


def _may_match(name: str, patterns: frozenset[str]) -> bool:
    return any(decided(pattern, name) is not False for pattern in patterns)


def _may_meet(mine: Databases, theirs: Databases) -> bool:
    """Return whether two sets, each with one kind of term and neither ``all``, may share a database that none names."""
    if mine.every or theirs.every or mine.replication or theirs.replication:
        return False
    if mine.names and theirs.names:
        return False
    for one, two in ((mine, theirs), (theirs, mine)):
        if one.names and two.patterns:  # the names that certainly match are a set of names
            return any(_may_match(name, two.patterns) for name in one.names - _matching(one.names, two.patterns))
    return not ((mine.sameuser or mine.samerole) and (theirs.sameuser or theirs.samerole))


@dataclass(frozen=True, slots=True)
class Addresses:
    """A set of client addresses, or the Unix socket. Networks are collapsed: as few and as large as possible."""

    networks: tuple[IPNetwork, ...] = ()
    hosts: frozenset[str] = frozenset()
    """Host names in lower case; one that starts with a dot is a suffix."""
    every: bool = False
    samehost: bool = False
    samenet: bool = False
    socket: bool = False

    def __bool__(self) -> bool:
        return bool(self.networks or self.hosts or self.every or self.samehost or self.samenet or self.socket)

    def within(self, other: Addresses) -> bool:
        """Return whether each of these addresses is certainly one of the others."""
        if self.socket or other.socket:
            return other.socket and not self._tcp
        return other.every or (
            not self.every
            and all(_around(net, other.networks) for net in self.networks)
            and all(any(_name_inside(host, outer) for outer in other.hosts) for host in self.hosts)
            and (not self.samehost or other.samehost or other.samenet)
            and (not self.samenet or other.samenet)
        )

    @property
    def listed(self) -> bool:
        """Whether the set consists of networks alone."""
        return not (self.hosts or self.every or self.samehost or self.samenet or self.socket)

    @property
    def _tcp(self) -> bool:
        return bool(self.networks or self.hosts or self.every or self.samehost or self.samenet)

    def parts(self) -> Iterator[Addresses]:
        """Yield the terms, each as a set of its own."""
        yield from (Addresses(networks=(network,)) for network in self.networks)
        yield from self._words

    @property
    def _words(self) -> Iterator[Addresses]:
        """Yield the terms that are no networks, each as a set of its own."""
        yield from (Addresses(hosts=frozenset((host,))) for host in sorted(self.hosts))
        yield from _WORDS_OF[self.every, self.samehost, self.samenet, self.socket]

    def _pairs(self, other: Addresses) -> Iterator[tuple[Addresses, Addresses]]:
        """Yield each pair of terms of both sets of which at least one is no network.

        Skip networks: there may be many.
        """
        words = tuple(other._words)
        yield from ((mine, theirs) for mine in self.parts() for theirs in words)
        yield from ((mine, theirs) for mine in self._words for theirs in other.parts() if theirs.networks)

    def overlap(self, other: Addresses) -> str | None:
        """Return an address that may be in both, or a host name if no address is known."""
        if self.socket or other.socket:
            return "local" if self.socket and other.socket else None
        shared = _shared(self.networks, other.networks)
        if shared:
            return _example(Addresses(networks=shared))
        return next(filter(None, (meeting(mine, theirs) for mine, theirs in self._pairs(other))), None)

    def intersection(self, other: Addresses) -> Addresses | Inexact:
        """Return the intersection."""
        if self.within(other):
            return self
        if other.within(self):
            return other
        exact = Addresses(networks=_shared(self.networks, other.networks))
        for mine, theirs in self._pairs(other):
            if mine.within(theirs):
                exact = union(exact, mine)
            elif theirs.within(mine):
                exact = union(exact, theirs)
            elif meeting(mine, theirs) and not mine.within(other) and not theirs.within(self):
                return INEXACT
        return exact

    def terms(self) -> tuple[Address, ...]:
        """Write the set as terms, in a fixed order. Write nothing for the socket."""
        if self.every:
            return (Keyword.ALL,)
        words = [
            (self.samehost and not self.samenet, Keyword.SAMEHOST),
            (self.samenet, Keyword.SAMENET),
        ]
        return (
            *self.networks,
            *(HostName(host) for host in sorted(self.hosts)),
            *(word for said, word in words if said),
        )


_EACH_WORD = (Addresses(every=True), Addresses(samehost=True), Addresses(samenet=True), Addresses(socket=True))
_WORDS_OF = {
    said: tuple(word for word, is_said in zip(_EACH_WORD, said, strict=True) if is_said)
    for said in product((False, True), repeat=len(_EACH_WORD))
}


def union(one: Addresses, two: Addresses) -> Addresses:
    """Return the union."""
    return Addresses(
        collapse((*one.networks, *two.networks)),
        one.hosts | two.hosts,
        one.every or two.every,
        one.samehost or two.samehost,
        one.samenet or two.samenet,
        one.socket or two.socket,
    )


def collapse(networks: Iterable[IPNetwork]) -> tuple[IPNetwork, ...]:
    """Merge networks into as few as possible. Sort IPv4 first, then by address."""
    found = tuple(networks)
    return (
        *collapse_addresses(net for net in found if isinstance(net, IPv4Network)),
        *collapse_addresses(net for net in found if isinstance(net, IPv6Network)),
    )


def _around(network: IPNetwork, networks: Sequence[IPNetwork]) -> bool:
    """Return whether a network lies in a union of collapsed networks, which are sorted.

    It then lies in a single one of them, because no siblings are left to merge.
    """
    before = bisect_right(networks, _begin(network), key=_begin)
    return before > 0 and _inside(network, networks[before - 1])


def _begin(network: IPNetwork) -> tuple[int, int]:
    return network.version, int(network.network_address)


def _shared(networks: Sequence[IPNetwork], others: Sequence[IPNetwork]) -> tuple[IPNetwork, ...]:
    """Return the intersection of two unions of collapsed networks: where two networks meet, one lies in the other."""
    mine = (network for network in networks if _around(network, others))
    return collapse((*mine, *(network for network in others if _around(network, networks))))


def common_networks(one: Addresses, other: Addresses) -> tuple[IPNetwork, ...]:
    """Return the networks that two sets have in common; all addresses are two networks."""
    return _shared(EVERYTHING if one.every else one.networks, EVERYTHING if other.every else other.networks)


def single_address(address: IPAddress) -> Addresses:
    """Make a set of one address."""
    return Addresses(networks=(ip_network(address),))


def _inside(network: IPNetwork, outer: IPNetwork) -> bool:
    return (
        network.version == outer.version
        and network.prefixlen >= outer.prefixlen
        and int(network.network_address) & int(outer.netmask) == int(outer.network_address)
    )


def _name_inside(host: str, outer: str) -> bool:
    """Return whether a host name or suffix is covered by another (``hostname_match``, src/backend/libpq/hba.c)."""
    return host == outer or (outer.startswith(".") and host.endswith(outer))


def meeting(mine: Addresses, theirs: Addresses) -> str | None:
    """Return an address that may be in two sets of one term each, not networks both."""
    if mine.socket or theirs.socket:
        return None
    if mine.every:
        return _example(theirs)
    if theirs.every:
        return _example(mine)
    if mine.hosts and theirs.hosts:
        inner = mine if mine.within(theirs) else theirs
        return _example(inner) if mine.within(theirs) or theirs.within(mine) else None
    # Only the resolver or the server's interfaces can tell whether the network contains it: it may, and the address
    # names it.
    return _example(mine if mine.networks or not theirs.networks else theirs)


def _example(addresses: Addresses) -> str:
    """Return an address of a set of one term."""
    if addresses.networks:
        network = addresses.networks[0]
        return str(network[0] if network.prefixlen >= network.max_prefixlen - 1 else network[1])
    if addresses.hosts:
        host = min(addresses.hosts)
        return f"host{host}" if host.startswith(".") else host
    return "127.0.0.1" if addresses.samehost or addresses.samenet else SOME_ADDRESS


@dataclass(frozen=True, slots=True)
class Scope:
    """The scope of a policy or a line: roles × databases × addresses."""

    roles: Roles
    databases: Databases
    addresses: Addresses

    @property
    def definite(self) -> bool:
        """Whether terms can name what the scope shares with other definite scopes.

        No term of the scope depends on facts that only the server knows.
        """
        databases, addresses = self.databases, self.addresses
        return not (
            self.roles.groups
            or databases.patterns
            or databases.sameuser
            or databases.samerole
            or addresses.hosts
            or addresses.samehost
            or addresses.samenet
        )

    def within(self, other: Scope, known: Memberships) -> bool:
        """Return whether the scope is certainly inside another in each respect. It is then the more specific one."""
        return (
            self.roles.within(other.roles, known)
            and self.databases.within(other.databases)
            and self.addresses.within(other.addresses)
        )

    def overlaps(self, other: Scope, known: Memberships) -> bool:
        """Return whether there may be a connection in both."""
        for mine, theirs in ((self.roles, other.roles), (self.databases, other.databases)):
            # Most policies of a large spec name their roles and databases, and share none of them.
            if mine.listed and theirs.listed and mine.names.isdisjoint(theirs.names):
                return False
        return self.witness(other, known) is not None

    def witness(self, other: Scope, known: Memberships) -> tuple[str, str | Keyword, str] | None:
        """Return a connection that may be in both: (role, database, address).

        The database is a name or, for physical replication, the keyword; the address "local" is the socket.
        """
        address = self.addresses.overlap(other.addresses)
        if address is None:
            return None
        for role in self.roles.common(other.roles, known):
            database = _common_database(self.databases, other.databases, role, known)
            if database is not None:
                return role, database, address
        for role in sorted(self.databases.names | other.databases.names):
            # ``sameuser`` and a name: only the role of that name has both, and the examples above may not contain it.
            if self.roles.may_have(role, known) and other.roles.may_have(role, known):
                database = _common_database(self.databases, other.databases, role, known)
                if database is not None:
                    return role, database, address
        return None


def _common_database(mine: Databases, theirs: Databases, role: str, known: Memberships) -> str | Keyword | None:
    """Return a database that may be in both for a role."""
    names = mine.names | theirs.names
    candidates = [*sorted(names), SOME_DATABASE, role]
    found = (name for name in candidates if all(may_name(one, name, role, known, names) for one in (mine, theirs)))
    return next(found, Keyword.REPLICATION if mine.replication and theirs.replication else None)


def may_name(databases: Databases, name: str, role: str, known: Memberships, names: frozenset[str]) -> bool:
    """Return whether the set may contain a name.

    ``names`` are the names that terms mention. Any other name is an example of all that they do not mention.
    """
    return (
        databases.every
        or name in databases.names
        or (_may_match(name, databases.patterns) if name in names else bool(databases.patterns))
        or (databases.sameuser and name == role)
        or (databases.samerole and known.member(role, name) is not False)
    )


def roles_of(terms: Iterable[Role]) -> Roles:
    """Read terms as a set. A regular expression in a role never comes from pgtls (policies have none)."""
    found = tuple(terms)
    return Roles(
        frozenset(term.text for term in found if isinstance(term, Name)),
        frozenset(term.role for term in found if isinstance(term, Member)),
        Keyword.ALL in found,
    )


def databases_of(terms: Iterable[Database]) -> Databases:
    """Read terms as a set."""
    found = tuple(terms)
    return Databases(
        frozenset(term.text for term in found if isinstance(term, Name)),
        frozenset(term.pattern for term in found if isinstance(term, Regex)),
        Keyword.ALL in found,
        Keyword.SAMEUSER in found,
        Keyword.SAMEROLE in found,
        Keyword.REPLICATION in found,
    )


def addresses_of(terms: Iterable[Address]) -> Addresses:
    """Read terms as a set; all of IPv4 and all of IPv6 is everything."""
    found = tuple(terms)
    networks = collapse(term for term in found if isinstance(term, IPv4Network | IPv6Network))
    return Addresses(
        networks,
        frozenset(term.name.lower() for term in found if isinstance(term, HostName)),
        Keyword.ALL in found or networks == EVERYTHING,
        Keyword.SAMEHOST in found,
        Keyword.SAMENET in found,
    )
