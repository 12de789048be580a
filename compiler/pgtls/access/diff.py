"""Report the access that a change of the spec grants, revokes, weakens or strengthens, each with an example connection.

Compare both texts over every class of connection that either of them distinguishes, as the proof does
(:mod:`pgtls.access.classes`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Literal, NamedTuple

from pgtls.access.bundles import index
from pgtls.access.classes import Bits, Classes
from pgtls.access.demands import Clients, Demand, paired
from pgtls.access.matrix import word
from pgtls.access.meaning import SECRET, Accepted, Holders, secret_options
from pgtls.access.sets import collapse
from pgtls.access.successors import MOST, formers
from pgtls.access.text import Text, line_coverage, shows
from pgtls.fleet.model import subject_attributes
from pgtls.hba.match import expanded_role, map_identity
from pgtls.hba.model import Keyword, Name, Regex, Surroundings
from pgtls.hba.regex import Undecidable
from pgtls.language.values import Secret
from pgtls.pki.expected import subject_text
from pgtls.postgres.releases import NEWEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pgtls.access.classes import Class
    from pgtls.access.demands import Demands
    from pgtls.access.meaning import Ask, Bearer
    from pgtls.access.model import Entry, Rules
    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Fleet, Policy, Server
    from pgtls.hba.model import Address, Database, IPNetwork, Line, Transport

    _Databases = Mapping[Database, Bits]
    """The lines that name each term; under "all", the lines for any database that no line names."""

Kind = Literal["granted", "weakened", "strengthened", "lost"]
KINDS: tuple[Kind, ...] = ("granted", "weakened", "strengthened", "lost")
"""Kinds of changes, in the order in which a reviewer reads them."""

_PASSWORD = frozenset(("a password",))
_FACTORS = {
    "trust": frozenset[str](),
    "ident": frozenset(("an ident server's word",)),
    "password": _PASSWORD,
    "md5": _PASSWORD | {"which is not sent as it is"},
    "scram-sha-256": _PASSWORD | {"which is not sent as it is", "which the server does not know"},
    "cert": frozenset[str](),  # the certificate, which is a separate factor
    "peer": frozenset(("an account of the machine",)),
    "gss": frozenset(("a Kerberos ticket",)),
    "sspi": frozenset(("a Windows login",)),
    "oauth": frozenset(("a token",)),
}
"""What a client must show for each method. For a method that is missing here, another service checks the password."""
_CERTIFICATES = ("none", "verify-ca", "verify-full")
_TLS = ("", "1.0", "1.1", "1.2", "1.3")


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


@dataclass(frozen=True)  # no slots: a cached property
class Side:
    """One of the two states of a spec."""

    fleet: Fleet
    rules: Mapping[str, Rules]
    waived: tuple[Diagnostic, ...] = ()

    @cached_property
    def entries(self) -> Mapping[str, tuple[Entry, ...]]:
        """The entries of every user's bundle, by user name."""
        return index(self.fleet)

    @cached_property
    def clients(self) -> Clients:
        """What it demands of clients."""
        return Clients(self.fleet, self.entries)


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
    one, other = (_compiled(side, side.rules[name]) for side in (old, new))
    return one == other and old.clients.services[name] == new.clients.services[name]


def _compiled(side: Side, rules: Rules) -> tuple[object, ...]:
    """Return everything about a server that :func:`_server` compares, apart from users, CAs and bundles."""
    cas = [ca.name for ca in rules.server.accepted_cas]
    asked = [
        (policy.name, policy.sslmode, policy.table.channel_binding, policy.table.auth_options, policy.roles)
        for policy in side.fleet.policies_of(rules.server)
    ]
    users = [[(user.name, user.roles) for user in policy.users] for policy in side.fleet.policies_of(rules.server)]
    return rules.hba_text, rules.ident_text, cas, _checks_crls(rules.server), rules.server.table.min_tls, asked, users


def _checks_crls(server: Server) -> bool:
    """Return whether a server knows which certificates are revoked."""
    return server.table.crl and any(ca.table.crl for named in server.accepted_cas for ca in named.chain)


class _Answer(NamedTuple):
    """A server's answer to a class of connections over one transport.

    ``checked`` says whether the server rejects revoked certificates. ``tls`` is the minimum version of TLS, "" without
    TLS.
    """

    line: int | None = None
    ask: Ask | None = None
    policies: tuple[str, ...] = ()
    checked: bool = False
    tls: str = ""


class _Holder(NamedTuple):
    """What the certificate of a user shows."""

    user: str
    common_name: str
    subject: str


def _holders(side: Side, server: str) -> frozenset[_Holder]:
    """Return the certificates that a server trusts."""
    if server not in side.rules:
        return frozenset()
    users = Holders(side.fleet, side.rules[server].server).users
    subjects = ((user, subject_attributes(user.table.subject, user.common_name)) for user in users)
    return frozenset(_Holder(user.name, user.common_name, subject_text(subject)) for user, subject in subjects)


class _State:
    """One server in one state. ``holders`` are the certificates that it trusts, ``others`` those of the other state."""

    def __init__(self, side: Side, name: str, holders: frozenset[_Holder], others: frozenset[_Holder]) -> None:
        rules = side.rules.get(name)
        self.name, self._clients = name, side.clients
        self.lines = rules.hba.lines if rules else ()
        self.origin: Sequence[Sequence[Policy]] = rules.origin if rules else ()
        self.checks_crls = rules is not None and _checks_crls(rules.server)
        self.min_tls = rules.server.table.min_tls if rules else ""
        secrets = secret_options(side.fleet.policies.values())
        self.text = Text(self.lines, rules.ident.lines, Holders(side.fleet, rules.server), secrets) if rules else None
        self.idents = rules.ident.lines if rules else ()
        self._version = rules.server.table.postgres if rules else NEWEST
        self._alone = holders - others
        self._shown = {one.user: one for one in holders} if holders != others else {}
        self._index = {line.number: index for index, line in enumerate(self.lines)}
        self.answer = cache(self._answer)
        self._asked = cache(lambda line, role: self._clients.asked(name, self.lines[line], self.origin[line], role))

    def _answer(self, lines: int, transport: Transport) -> _Answer:
        line = self.text.deciding(lines, transport) if self.text else None
        if line is None or self.text is None:
            return _Answer()
        policies = self.origin[self._index[line.number]]
        ask = _sourced(self.text.ask(line), policies)
        return _Answer(
            self._index[line.number],
            ask,
            tuple(policy.name for policy in policies),
            ask is not None and ask.certificate != "none" and self.checks_crls,
            self.min_tls if transport == "tls" else "",
        )

    def demands(self, answer: _Answer, role: str, connection: Class) -> Demands:
        """Return what policies and bundles demand of the clients of a role."""
        if answer.line is None or answer.ask is None:
            return {"": Demand()}
        return self._clients.with_bundles(self._asked(answer.line, role), self.name, role, connection)

    def accepted(self, answer: _Answer, role: str) -> Accepted:
        """Return whose identity is accepted for a role."""
        if self.text is None or answer.line is None or answer.ask is None:
            return Accepted()
        line = self.lines[answer.line]
        found = self.text.accepted(line, role)
        further = frozenset(
            ("user", one.user) for one in self._alone if self._accepts(line, answer.ask, found, one, role)
        )
        return replace(found, bearers=found.bearers | further)

    def with_texts(self, accepted: Accepted) -> Accepted:
        """Add the names in the certificates of the accepted users.

        A line accepts the name of a user who is gone as that of a stranger; that grants nothing to anybody.
        """
        shown = [self._shown[user] for kind, user in accepted.bearers if kind == "user" and user in self._shown]
        texts = {bearer for one in shown for bearer in (("cn", one.common_name), ("dn", one.subject))}
        return replace(accepted, bearers=accepted.bearers | texts)

    def _accepts(self, line: Line, ask: Ask, found: Accepted, holder: _Holder, role: str) -> bool:
        """Return whether a line accepts a certificate without naming it: any of a CA, or by an expression of its map.

        What cannot be evaluated counts as accepted.
        """
        if ask.certificate == "verify-ca":
            return True
        certified, ident_map, subject = shows(line)
        if not (certified and ident_map and found.patterns):
            return False
        shown = holder.subject if subject else holder.common_name
        try:
            return map_identity(self.idents, ident_map, role, shown, self._version, Surroundings()).accepted
        except Undecidable:
            return True


def _sourced(ask: Ask | None, policies: Sequence[Policy]) -> Ask | None:
    """Put the source of each secret in its place, never its value: another source may hold a known text."""
    if ask is None or not any(value == SECRET for _, value in ask.options):
        return ask
    hidden = {name for name, value in ask.options if value == SECRET}
    known = {(name, text) for policy in policies for name, text in _sources_of(policy) if name in hidden}
    return replace(ask, options=frozenset(one for one in ask.options if one[0] not in hidden) | known)


def _sources_of(policy: Policy) -> frozenset[tuple[str, str]]:
    return frozenset(
        (name, f"({value.described})" if isinstance(value, Secret) else str(value))
        for name, value in policy.table.auth_options.items()
    )


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
    before, after = _holders(old, former), _holders(new, name)
    states = _State(old, former, before, after), _State(new, name, after, before)
    declared = old.fleet.memberships, new.fleet.memberships
    users = [*old.fleet.users.values(), *new.fleet.users.values()]
    classes = Classes(
        [line_coverage(line) for line in states[0].lines],
        [line_coverage(line) for line in states[1].lines],
        declared[0].agreed(declared[1]),
        sorted({*(name for user in users for name in user.roles), *_shown_roles(before ^ after, states)}),
        declared,
    )
    named = frozenset(role for user in users for role in user.roles)
    databases = _bits_of_databases(states)
    found: dict[_Group, list[_Place]] = {}
    for connection in classes.combined():
        for group, place in _compare(connection, states, socket=connection.address is classes.socket):
            found.setdefault(group, []).append(place)
    for group, places in found.items():
        yield _change(name, group, places, named, databases, classes)


def _shown_roles(holders: frozenset[_Holder], states: tuple[_State, _State]) -> Iterator[str]:
    """Yield the roles that new certificates, and those that are gone, may open by their names or through a map."""
    for holder in holders:
        yield holder.common_name
        for ident in (ident for state in states for ident in state.idents):
            for shown in (holder.common_name, holder.subject):
                if role := expanded_role(ident, shown):
                    yield role


def _compare(connection: Class, states: tuple[_State, _State], *, socket: bool) -> Iterator[tuple[_Group, _Place]]:
    secure: Transport = "socket" if socket else "tls"
    old, new = (state.answer(bits, secure) for state, bits in zip(states, connection.bits, strict=True))
    bare = [
        None if socket else state.answer(bits, "plain") for state, bits in zip(states, connection.bits, strict=True)
    ]
    clear = tuple(answer is not None and answer.ask is not None for answer in bare)
    over = "" if socket else " over TLS"
    policies = tuple(dict.fromkeys((*old.policies, *new.policies)))
    for role in connection.role.names:
        pairs = paired(
            *(state.demands(answer, role, connection) for state, answer in zip(states, (old, new), strict=True))
        )
        whose = tuple(state.accepted(answer, role) for state, answer in zip(states, (old, new), strict=True))
        compared = tuple(state.with_texts(one) for state, one in zip(states, whose, strict=True))
        for kind, demands, who in _kinds(old, new, compared, clear, pairs):
            clients = _demanded(*demands, who), _demanded(*demands[::-1], who)
            before = _words(old, new, _whose(old, whose[0], whose[1], role), over, cleartext=clear[0]) + clients[0]
            after = _words(new, old, _whose(new, whose[1], whose[0], role), over, cleartext=clear[1]) + clients[1]
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
    return f"all but {', '.join(names[:_SHOWN])}{' …' if len(names) > _SHOWN else ''}" if names else "all"


def _excluded(network: IPNetwork, part: IPNetwork) -> Iterable[IPNetwork]:
    if network.version != part.version or not network.overlaps(part):
        return (network,)
    return () if network.subnet_of(part) else network.address_exclude(part)  # type: ignore[arg-type]


def _kinds(
    old: _Answer,
    new: _Answer,
    whose: tuple[Accepted, ...],
    clear: tuple[bool, ...],
    pairs: Mapping[tuple[Demand, Demand], Sequence[str]],
) -> Iterator[tuple[Kind, tuple[Demand, Demand], str]]:
    """Yield each kind of change, the demands before and after, and whose clients it concerns ("": everybody's)."""
    weakest = min(pairs, key=lambda pair: len(pair[1].steps))
    for kind in _opened(old, new, whose):
        yield kind, weakest, ""
    for pair, concerned in pairs.items():
        if old.ask and new.ask and (rank := _rank(old, new, clear, pair)):
            yield rank, pair, ", ".join(concerned[:_SHOWN]) if len(pairs) > 1 else ""


def _opened(old: _Answer, new: _Answer, whose: tuple[Accepted, ...]) -> Iterator[Kind]:
    if old.ask is None or new.ask is None:
        if (old.ask is None) != (new.ask is None):
            yield "granted" if old.ask is None else "lost"
        return
    if (old.ask.method, _certified(old.ask)) == (new.ask.method, _certified(new.ask)):
        # Accepted identities are comparable only where both states compare the same of them.
        if whose[1].bearers - whose[0].bearers or whose[1].patterns - whose[0].patterns:
            yield "granted"
        if whose[0].bearers - whose[1].bearers or whose[0].patterns - whose[1].patterns:
            yield "lost"


def _rank(old: _Answer, new: _Answer, clear: tuple[bool, ...], pair: tuple[Demand, Demand]) -> Kind | None:
    assert old.ask is not None  # noqa: S101
    assert new.ask is not None  # noqa: S101
    before, after = (
        _factors(answer, cleartext=plain) | demand.steps
        for answer, plain, demand in zip((old, new), clear, pair, strict=True)
    )
    # Another method, or other options of the same method (another LDAP server), may be weaker: a reviewer must look.
    same = old.ask.method == new.ask.method
    other = not same or old.ask.options != new.ask.options
    if before - after or (other and before == after) or (same and other):
        return "weakened"
    return "strengthened" if after - before else None


def _certified(ask: Ask) -> bool:
    """Return whether the server compares a name in the client's certificate with the role."""
    return ask.certificate == "verify-full"


def _factors(answer: _Answer, *, cleartext: bool) -> frozenset[str]:
    """Return everything that the server makes a client show and use.

    Dropping any of it weakens access, even if other demands are added.
    """
    assert answer.ask is not None  # noqa: S101
    certificates = _CERTIFICATES[1 : _CERTIFICATES.index(answer.ask.certificate) + 1]
    tls = _TLS[1 : _TLS.index(answer.tls) + 1]
    found = {f"{kind} {one}" for kind, steps in (("cert", certificates), ("TLS", tls)) for one in steps}
    found |= _FACTORS.get(answer.ask.method, _PASSWORD)
    found |= {"a certificate that is not revoked"} if answer.checked else set()
    return frozenset(found if cleartext else {*found, "TLS"})


def _words(answer: _Answer, other: _Answer, whose: str, over: str, *, cleartext: bool) -> str:
    if answer.ask is None:
        return "refused"
    ask = answer.ask
    options = _options(ask, other.ask) if other.ask and other.ask.method == ask.method else ""
    unchecked = "" if answer.checked or ask.certificate == "none" else ", revoked or not,"
    certificate = (
        f" and a certificate ({ask.certificate})" if ask.certificate != "none" and ask.method != "cert" else ""
    )
    version = f" {answer.tls} or later" if other.tls and other.tls != answer.tls else ""
    where = f" over TLS{version} or in cleartext" if cleartext else f"{over}{version}"
    return f"{ask.method}{options}{whose}{certificate}{unchecked}{where}"


def _demanded(own: Demand, other: Demand, who: str) -> str:
    """Describe what clients must do, and what their bundles set if one of the two states differs in that."""
    clients = (
        f", clients{f' of {who}' * bool(who)} use {own.mode}{' and channel binding' * own.bound}" if own.mode else ""
    )
    if not own.bundled or not other.bundled:
        return clients
    bindings = own.bundled.binding, other.bundled.binding
    binds = bindings[0] != bindings[1] and "disable" in bindings
    if own.is_met and other.is_met and not binds:
        return clients
    return f"{clients}, their bundles {own.bundled.mode}{f' and channel_binding={bindings[0]}' * binds}"


def _options(ask: Ask, other: Ask) -> str:
    """List the options of a method that only this state has, and those that only the other state has."""
    own = [f" with {name}={word(Name(value))}" for name, value in sorted(ask.options - other.options)]
    names = {name for name, _ in ask.options}
    return "".join((*own, *(f" without {name}" for name in sorted({name for name, _ in other.options} - names))))


def _whose(answer: _Answer, accepted: Accepted, other: Accepted, role: str) -> str:
    """List the accepted identities, new ones first. Return "" if only the role's own identity is accepted."""
    if answer.ask is None:
        return ""
    named = {bearer: _label(bearer) for bearer in accepted.bearers}
    if not accepted.patterns and list(named.values()) == [role]:
        return ""
    names = [named[bearer] for bearer in sorted(named, key=lambda bearer: (bearer in other.bearers, bearer))]
    patterns = sorted(accepted.patterns, key=lambda pattern: (pattern in other.patterns, str(pattern)))
    entries = (f"{_WHOLE[part]}{word(identity)} as {word(target)}" for part, identity, target in patterns)
    shown = [*entries, *names]
    return f" ({', '.join(shown[:_SHOWN])}{' …' if len(shown) > _SHOWN else ''})" if shown else " (nobody)"


def _label(bearer: Bearer) -> str:
    """Name a user of the spec by its name, and other identities by what they show."""
    kind, name = bearer
    return f"anyone certified as {name}" if kind in ("cn", "dn") else name


_WHOLE = {"name": "", "cn": "", "dn": "subject "}
"""The prefix of a map entry, by the part of the certificate that it matches."""
_SHOWN = 5
"""The maximum number of identities that a report names."""


def _bits_of_databases(states: tuple[_State, _State]) -> _Databases:
    """Return every database that a line names, with the lines that cover it by name or by ``all``."""
    terms = {term for state in states for line in state.lines for term in line.databases}
    named = {term for term in terms if isinstance(term, Name) or term is Keyword.REPLICATION}

    def covering(state: _State, term: Database) -> int:
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
