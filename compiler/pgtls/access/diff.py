"""Report the access that a change of the spec grants, revokes, weakens or strengthens, each with an example connection.

Compare both texts over every class of connection that either of them distinguishes, as the proof does
(:mod:`pgtls.access.classes`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, NamedTuple

from pgtls.access.answers import State, checks_crls, holders_of
from pgtls.access.change_words import SHOWN, demanded, whose_words, words
from pgtls.access.classes import Bits, Classes
from pgtls.access.demands import paired
from pgtls.access.matrix import word
from pgtls.access.ranks import KINDS, kinds
from pgtls.access.sets import collapse
from pgtls.access.successors import MOST, formers
from pgtls.access.text import line_coverage
from pgtls.hba.match import expanded_role
from pgtls.hba.model import Keyword, Member, Name, Regex

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pgtls.access.answers import Holder, Side
    from pgtls.access.classes import Class
    from pgtls.access.model import Rules
    from pgtls.access.ranks import Kind
    from pgtls.hba.model import Address, Database, IPNetwork, Line, Transport

    _Databases = Mapping[Database, Bits]
    """The lines that name each term; under "all", the lines for any database that no line names."""


@dataclass(frozen=True, slots=True)
class Change:
    """Connections that a change affects in the same way.

    ``before`` and ``after`` are the demands on them, ``policies`` the policies that cause these.

    ``roles``, ``databases`` and ``sources`` are the parts of the deciding lines that the change affects (of a network,
    its changed parts). ``example`` is one connection. ``since`` is the later instant from which on it holds (RFC 3339),
    or "" if it holds at once.
    """

    kind: Kind
    server: str
    roles: tuple[str, ...]
    databases: tuple[str, ...]
    sources: tuple[str, ...]
    before: str
    after: str
    policies: tuple[str, ...]
    example: str
    since: str = ""


def diff(old: Side, new: Side) -> tuple[Change, ...]:
    """Compare two states, server by server. A server that a state lacks rejects every connection in that state.

    Compare a new server with those that are gone and that it may replace, too: nothing may be weaker.
    """
    names = sorted(old.rules.keys() | new.rules.keys())
    if old.fleet.users == new.fleet.users and old.fleet.cas == new.fleet.cas:
        names = [name for name in names if not _is_same(name, old, new)]
    changes = [change for name in names for change in _server(name, name, old, new)]
    changes += [
        change
        for name, others in formers(old.fleet, new.fleet).items()
        for former in (others if len(others) <= MOST else ())
        for change in _server(former, name, old, new)
        if change.kind == "weakened" and change not in changes
    ]
    return tuple(sorted(changes, key=lambda change: (KINDS.index(change.kind), change.server, change.example)))


def _is_same(name: str, old: Side, new: Side) -> bool:
    """Return whether a server is the same in both states, as are most servers of a change."""
    if name not in old.rules or name not in new.rules:
        return False
    return _compiled(old, old.rules[name]) == _compiled(new, new.rules[name])


def _compiled(side: Side, rules: Rules) -> tuple[object, ...]:
    """Return everything about a server that :func:`_server` compares, apart from users and CAs."""
    cas = [ca.name for ca in rules.server.accepted_cas]
    asked = [
        (policy.name, policy.sslmode, policy.table.channel_binding, policy.table.auth_options, policy.roles)
        for policy in side.fleet.policies_of(rules.server)
    ]
    users = [[(user.name, user.roles) for user in policy.users] for policy in side.fleet.policies_of(rules.server)]
    return rules.hba_text, rules.ident_text, cas, checks_crls(rules.server), rules.server.table.min_tls, asked, users


class _Group(NamedTuple):
    """The key that groups classes into one change."""

    kind: Kind
    before: str
    after: str
    policies: tuple[str, ...]


class _Place(NamedTuple):
    """A place where a change has an effect: a class of connections, one of its roles, and the deciding line."""

    connection: Class
    role: str
    line: Line


def _server(former: str, name: str, old: Side, new: Side) -> Iterator[Change]:
    """Compare a server of the old state with one of the new state."""
    before, after = holders_of(old, former), holders_of(new, name)
    states = State(old, former, before, after), State(new, name, after, before)
    declared = old.fleet.memberships, new.fleet.memberships
    users = [*old.fleet.users.values(), *new.fleet.users.values()]
    named = frozenset((*(role for user in users for role in user.roles), *_mapped_roles(states)))
    classes = Classes(
        [line_coverage(line) for line in states[0].lines],
        [line_coverage(line) for line in states[1].lines],
        declared[0].agreed(declared[1]),
        sorted({*named, *_shown_roles(before ^ after, states)}),
        declared,
        lambda bits: tuple(state.text and state.text.first(one) for state, one in zip(states, bits, strict=True)),
    )
    databases = _bits_of_databases(states)
    found: dict[_Group, list[_Place]] = {}
    for connection in classes.combined():
        for group, place in _compare(connection, states, socket=connection.address is classes.socket):
            found.setdefault(group, []).append(place)
    for group, places in found.items():
        yield _change(name, group, places, named, databases, classes)
    if classes.is_cut:
        yield _uncompared(name, states)


def _uncompared(server: str, states: tuple[State, State]) -> Change:
    """Return the change that stands for classes that are not compared."""
    origins = (policies for state in states for policies in state.origin)
    groups = {one.name for policies in origins for one in policies if any(isinstance(r, Member) for r in one.roles)}
    return Change(
        kind="weakened",
        server=server,
        roles=("each role that a policy names",),
        databases=("every database",),
        sources=("all",),
        before="compared",
        after="not compared if the role is in two groups: the change concerns too many pairs of groups",
        policies=tuple(sorted(groups)),
        example='a role that a policy names, in the groups of two policies for "+role"',
    )


def _mapped_roles(states: tuple[State, State]) -> Iterator[str]:
    """Yield the roles that maps name: those of no user, too."""
    roles = (ident.role for state in states for ident in state.idents)
    return (role.text for role in roles if isinstance(role, Name) and "\\1" not in role.text)


def _shown_roles(holders: frozenset[Holder], states: tuple[State, State]) -> Iterator[str]:
    """Yield the roles that new certificates, and those that are gone, may open by their names or through a map."""
    for holder in holders:
        yield holder.common_name
        for ident in (ident for state in states for ident in state.idents):
            for shown in (holder.common_name, holder.subject):
                if role := expanded_role(ident, shown):
                    yield role


def _compare(connection: Class, states: tuple[State, State], *, socket: bool) -> Iterator[tuple[_Group, _Place]]:
    secure: Transport = "socket" if socket else "tls"
    old, new = (state.answer(bits, secure) for state, bits in zip(states, connection.bits, strict=True))
    bare = [
        None if socket else state.answer(bits, "plain") for state, bits in zip(states, connection.bits, strict=True)
    ]
    clear = tuple(answer is not None and answer.ask is not None for answer in bare)
    over = "" if socket else " over TLS"
    policies = tuple(dict.fromkeys((*old.policies, *new.policies)))
    alone = tuple(state.alone for state in states)
    for role in connection.role.names:
        pairs = paired(*(state.demands(answer, role) for state, answer in zip(states, (old, new), strict=True)))
        whose = tuple(state.accepted(answer, role) for state, answer in zip(states, (old, new), strict=True))
        compared = tuple(state.with_texts(one) for state, one in zip(states, whose, strict=True))
        for kind, demands, who in kinds(old, new, compared, alone, clear, pairs):
            clients = tuple(demanded(demand, who) for demand in demands)
            before = words(old, new, whose_words(old, whose[0], whose[1], role), over, cleartext=clear[0]) + clients[0]
            after = words(new, old, whose_words(new, whose[1], whose[0], role), over, cleartext=clear[1]) + clients[1]
            state, answer = (states[0], old) if kind == "lost" else (states[1], new)
            assert answer.line is not None  # noqa: S101
            yield _Group(kind, before, after, policies), _Place(connection, role, state.lines[answer.line])


def _sources(places: Sequence[_Place], classes: Classes) -> tuple[str, ...]:
    """List where connections come from: of a network, the parts that the change affects."""
    parts: list[IPNetwork] = []
    others: dict[str, None] = {}
    is_wide = False
    for (address, *_), place in {_covering(place): place for place in places}.items():
        networks = _EVERYWHERE if address is Keyword.ALL else (address,)
        found = [
            part
            for network in networks
            if isinstance(network, IPv4Network | IPv6Network)
            for part in classes.parts(place.connection, network)
        ]
        parts += found
        is_wide |= bool(found) and address is Keyword.ALL
        if not found:
            others["the Unix socket" if address is None else word(address)] = None
    inside = collapse(parts)
    return (*((_all_but(inside),) if is_wide else map(word, inside)), *others)


def _covering(place: _Place) -> tuple[Address | None, Bits, Bits]:
    connection = place.connection
    return place.line.address, connection.bits, connection.role.bits & connection.database.bits


_EVERYWHERE: tuple[IPNetwork, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))


def _all_but(networks: Sequence[IPNetwork]) -> str:
    """List everything that a change affects, as the exceptions that it does not affect."""
    rest: Iterable[IPNetwork] = _EVERYWHERE
    for network in networks:
        rest = [part for one in rest for part in _excluded(one, network)]
    names = [word(one) for one in collapse(rest)]
    return f"all but {', '.join(names[:SHOWN])}{' …' if len(names) > SHOWN else ''}" if names else "all"


def _excluded(network: IPNetwork, part: IPNetwork) -> Iterable[IPNetwork]:
    if network.version != part.version or not network.overlaps(part):
        return (network,)
    return () if network.subnet_of(part) else network.address_exclude(part)  # type: ignore[arg-type]


def _bits_of_databases(states: tuple[State, State]) -> _Databases:
    """Return every database that a line names, with the lines that cover it by name or by ``all``."""
    terms = {term for state in states for line in state.lines for term in line.databases}
    named = {term for term in terms if isinstance(term, Name) or term is Keyword.REPLICATION}

    def covering(state: State, term: Database) -> int:
        meant = {term} if term is Keyword.REPLICATION else {term, Keyword.ALL}
        return sum(1 << i for i, line in enumerate(state.lines) if not meant.isdisjoint(line.databases))

    return {term: Bits(covering(states[0], term), covering(states[1], term)) for term in {*named, Keyword.ALL}}


def _databases(connection: Class, known: _Databases) -> tuple[str, ...]:
    """List the databases of a class: no line distinguishes them for its roles."""
    role, bits = connection.role.bits, connection.role.bits & connection.database.bits
    alike = {term for term, inside in known.items() if role & inside == bits}
    example = connection.database.example
    if example == Keyword.REPLICATION.value:
        alike.add(Keyword.REPLICATION)
    else:  # one database that no line names is the example of all such databases
        alike.add(Name(example) if Name(example) in known else Keyword.ALL)
    replication = ("replication",) if Keyword.REPLICATION in alike else ()
    if not known.keys() - {*alike, Keyword.REPLICATION}:
        return ("every database", *replication)
    others = ("any other database",) if Keyword.ALL in alike else ()
    return (*sorted(term.text for term in alike if isinstance(term, Name)), *others, *replication)


def _patterns(place: _Place) -> tuple[str, ...]:
    """Return the regular expressions by which a line covers a class, if it covers it by nothing else."""
    terms, example = place.line.databases, place.connection.database.example
    if not {Name(example), Keyword.ALL}.isdisjoint(terms) or example == Keyword.REPLICATION.value:
        return ()
    return tuple(word(term) for term in terms if isinstance(term, Regex))


def _change(
    server: str, group: _Group, places: Sequence[_Place], named: frozenset[str], known: _Databases, classes: Classes
) -> Change:
    first = places[0]
    socket = first.connection.address.example == "local"
    where = "over the Unix socket" if socket else f"from {first.connection.address.example}"
    database = next(iter(_patterns(first)), f'"{first.connection.database.example}"')
    databases = cache(lambda connection: _databases(connection, known))
    return Change(
        kind=group.kind,
        server=server,
        roles=tuple(dict.fromkeys(place.role if place.role in named else "any other role" for place in places)),
        databases=tuple(
            dict.fromkeys(name for place in places for name in _patterns(place) or databases(place.connection))
        ),
        sources=_sources(places, classes),
        before=group.before,
        after=group.after,
        policies=group.policies,
        example=f'role "{first.role}", database {database}, {where}',
    )
