"""Random changes of who must prove what: ``diff`` lets nobody in silently, whatever else the same change asks for.

The specs have every method that proves a name, with and without certificates and maps, users whose common names are no
roles, users who share a role, policies that take a part of the connections of others, and other names of tables. Judge
is the text that a server reads: for each person, with a certificate, a password or a name that a method proves, the
deciding line of both states (:mod:`pgtls.hba.match`, which tests compare with real servers).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from ipaddress import ip_address
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

import pgtls
from pgtls.access.grants import distinguished_name
from pgtls.hba.match import decide, map_identity, outcome
from pgtls.hba.model import ClientCertificate, Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgtls.access.model import Rules
    from pgtls.hba.model import Line

NOW = datetime(2026, 6, 1, tzinfo=UTC)
VERSION = 18
PROVING = ("gss", "sspi", "ident", "oauth", "peer")
"""The methods that prove a name other than that of a certificate."""
MAPS = {
    "one": '{ identity = "mallory", role = "app" }',
    "every": '{ identity = "/^.*$", role = "app" }',
    "realm": '{ identity = "/^(.*)@R$", role = "\\\\1" }',
    "unknown": '{ identity = "mallory", role = "ghost" }',
}
ROLES = ("app", "u0", "u1", "u2", "ghost", "stranger")
NAMES = (*ROLES, "c0", "c1", "c2", "mallory", "app@R", "CN=c0", "CN=c1")
SOURCES = ("10.1.2.3", "10.9.2.3", "192.0.2.3", "")
"""Addresses of clients; "" is the Unix socket."""


class User(NamedTuple):
    """``role`` "" is a role of its own; ``common_name`` "" is the name of that."""

    role: str = ""
    common_name: str = ""
    identity: str = "cn"


class Rule(NamedTuple):
    """A policy. ``users`` are numbers of users, or "all"."""

    users: tuple[str, ...]
    auth: str
    certificate: str = "none"
    entries: tuple[str, ...] = ()
    network: str = "10.0.0.0/8"

    @property
    def text(self) -> str:
        """Its method, and what only some methods may have."""
        proves = self.auth in PROVING or self.auth == "cert"
        options = 'auth_options = { issuer = "https://i.example.com", scope = "x" }\n'
        text = f'from = ["{"local" if self.auth == "peer" else self.network}"]\nauth = "{self.auth}"\n'
        text += options * (self.auth == "oauth")
        text += f'client_cert = "{self.certificate}"\n' * (self.auth not in ("peer", "cert", "reject"))
        text += f"map = [{', '.join(MAPS[one] for one in self.entries)}]\n" * proves
        return text + 'waiver = { reason = "x", codes = ["PGT301", "PGT302", "PGT305"] }\n'


@dataclass(frozen=True)
class World:
    """A spec. ``server``, ``people`` and ``policies`` are suffixes of their names."""

    users: tuple[User, ...]
    rules: tuple[Rule, ...]
    server: str = ""
    people: str = ""
    policies: str = ""

    @property
    def text(self) -> str:
        """The spec as text. Of several policies for a connection, the first decides."""
        text = f'version = 1\n[ca.root]\n[ca.clients]\n[server.main{self.server}]\nca = "root"\n'
        text += f'client_ca = ["clients"]\nhosts = ["db.example.com"]\npostgres = {VERSION}\nno_local = true\n'
        for number, (role, name, identity) in enumerate(self.users):
            text += f'[user.u{number}{self.people}]\nca = "clients"\nroles = ["{role or f"u{number}"}"]\n'
            text += f'common_name = "{name or f"u{number}"}"\nidentity = "{identity}"\n'
        for number, rule in enumerate(self.rules):
            who = ", ".join(f'"u{one}{self.people}"' if one.isdigit() else f'"{one}"' for one in rule.users)
            text += f"[policy.p{number}{self.policies}]\nusers = [{who}]\npriority = {9 - number}\n" + rule.text
        return (
            text
            + '[policy.none]\nusers = ["all"]\ndatabases = ["none"]\nfrom = ["all"]\nauth = "reject"\npriority = 99\n'
        )


USERS = st.tuples(
    *(
        st.builds(
            User, st.sampled_from(("", "app")), st.sampled_from(("", f"c{n}")), st.sampled_from(("cn",) * 7 + ("dn",))
        )
        for n in range(3)
    )
)
WHO = st.one_of(st.lists(st.sampled_from("012"), min_size=1, max_size=3, unique=True).map(tuple), st.just(("all",)))
METHODS = st.sampled_from((*PROVING, "gss", "gss", "oauth", "cert", "cert", "scram-sha-256", "trust", "reject"))
RULES = st.builds(
    Rule,
    WHO,
    METHODS,
    st.sampled_from(("none", "verify-ca", "verify-full", "verify-full")),
    st.lists(st.sampled_from((*MAPS,)), max_size=2, unique=True).map(tuple),
    st.sampled_from(("10.0.0.0/8", "10.0.0.0/8", "10.1.0.0/16")),
)
WORLDS = st.builds(World, USERS, st.lists(RULES, min_size=1, max_size=2).map(tuple))
NUMBERS = st.integers(0, 1)


def altered(world: World, number: int, what: str, rule: Rule, *, more: bool) -> World:
    """Ask for another proof, and change one thing of the same policy, or put a new policy before the others."""
    rules = list(world.rules)
    number %= len(rules)
    changed = rules[number]._replace(**{what: getattr(rule, what), "certificate": rule.certificate})
    rules[number : number + (not more)] = [changed]
    return replace(world, rules=tuple(rules))


def peopled(world: World, users: tuple[User, ...], number: int) -> World:
    """Change a user."""
    return replace(world, users=tuple(users[n] if n == number else one for n, one in enumerate(world.users)))


FIELDS = st.sampled_from(("users", "users", "entries", "entries", "auth", "network"))
ALTER: st.SearchStrategy[Callable[[World], World]] = st.builds(
    partial, st.just(altered), number=NUMBERS, what=FIELDS, rule=RULES, more=st.booleans()
)
OTHER: st.SearchStrategy[Callable[[World], World]] = st.one_of(
    st.builds(partial, st.just(peopled), users=USERS, number=st.integers(0, 2)),
    st.sampled_from([partial(replace, **{name: "-new"}) for name in ("server", "people", "policies", "policies")]),
)


@st.composite
def changes(draw: st.DrawFn) -> tuple[World, World]:
    """Return a world, and what an edit of a policy makes of it, and maybe a second edit."""
    old = draw(WORLDS)
    new = draw(ALTER)(old)
    return old, draw(st.one_of(st.just(lambda world: world), ALTER, OTHER))(new)


@cache
def at(text: str) -> pgtls.Spec | None:
    """Return a spec, if it has no errors."""
    one = pgtls.loads(text, now=NOW)
    return one if pgtls.check(one) else None


class Person(NamedTuple):
    """What somebody has: a certificate, a name that the method of one line proves, and the role's password."""

    certificate: ClientCertificate | None
    method: str
    name: str
    knows: bool


def rules_of(one: pgtls.Spec) -> Rules:
    (rules,) = one.usable().rules.values()
    return rules


def certificates(one: pgtls.Spec) -> list[ClientCertificate]:
    users = one.usable().fleet.users.values()
    return [ClientCertificate(user.common_name, distinguished_name(user)) for user in users]


def deciding(rules: Rules, connection: Connection) -> Line | None:
    return decide(rules.hba.lines, connection)


def admits(rules: Rules, connection: Connection, person: Person) -> bool:
    """Return whether a server admits a person, by the line that decides (ClientAuthentication in auth.c)."""
    line, idents = deciding(rules, connection), rules.ident.lines
    shown = replace(connection, certificate=person.certificate)
    if line is None or not outcome(line, idents, shown, VERSION).accepted:
        return False
    if line.method in PROVING:
        proved = person.method == line.method
        return proved and map_identity(idents, line.map, connection.role, person.name, VERSION).accepted
    return line.method in ("trust", "cert") or person.knows


def let_in(old: pgtls.Spec, new: pgtls.Spec) -> Iterator[tuple[Connection, Person]]:
    """Yield each person whom only the new state admits: nobody has more than what the new state asks for."""
    before, after = rules_of(old), rules_of(new)
    for role, source in product(ROLES, SOURCES):
        address = ip_address(source) if source else None
        connection = Connection(role, "shop", "tls" if source else "socket", address)
        line = deciding(after, connection)
        if line is None or line.method == "reject":
            continue
        shown = [None, *certificates(new)] if source else [None]
        names = NAMES if line.method in PROVING else ("",)
        for certificate, name in product(shown, names):
            person = Person(certificate, line.method, name, line.method == "scram-sha-256")
            if admits(after, connection, person) and not admits(before, connection, person):
                yield connection, person


ALONE, BOTH = ("0",), ("0", "1")
SHARED = (User("app", "c0"), User("app", "c1"), User())
KERBEROS = World(SHARED, (Rule(ALONE, "gss", entries=("realm",)),))
TOKEN = World(SHARED, (Rule(ALONE, "oauth", "verify-ca"),))
EVERYBODY = World(SHARED, (Rule(("all",), "gss"),))


def asking(world: World, **fields: object) -> World:
    """Return a world whose policy also compares certificates."""
    rules = tuple(rule._replace(**{"certificate": "verify-full", **fields}) for rule in world.rules)  # type: ignore[arg-type]
    return replace(world, rules=rules)


@example((KERBEROS, asking(KERBEROS, users=BOTH)))
@example((TOKEN, asking(TOKEN, users=BOTH)))
@example((KERBEROS, replace(asking(KERBEROS, entries=("realm", "one")), policies="-new")))
@example(
    (
        KERBEROS,
        replace(KERBEROS, rules=(*asking(KERBEROS, entries=("every",), network="10.1.0.0/16").rules, *KERBEROS.rules)),
    )
)
@example((EVERYBODY, replace(asking(EVERYBODY, certificate="none", entries=("realm", "unknown")), policies="-new")))
@given(changes())
@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.filter_too_much])
def test_who_gets_in_is_not_let_pass_whatever_else_is_asked_for(pair: tuple[World, World]) -> None:
    old, new = (at(world.text) for world in pair)
    assume(old is not None and new is not None)
    assert old
    assert new
    found = pgtls.diff(old, new)
    first = next(let_in(old, new), None)
    assert first is None or found.exceeds("granted"), first
