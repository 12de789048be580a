"""Random specs, and what they mean.

The evaluator follows "What policies mean" of the design and shares nothing with the compiler.

A :class:`World` is plain data. :meth:`World.toml` writes it as a spec, :meth:`World.verdict` returns what happens to a
connection.
:meth:`World.verdict` says what becomes of a connection.
"""

from __future__ import annotations

import pwd
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from itertools import product
from os import geteuid
from typing import TYPE_CHECKING, Literal, NamedTuple

from support.servers import loopback

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

ACCOUNT = pwd.getpwuid(geteuid()).pw_name
"""The operating-system user that tries every connection."""

NETWORKS = (
    "127.0.0.0/8", "127.0.0.0/8", "127.0.0.0/16", "127.0.0.0/24", "127.0.0.1/32", "127.0.0.2/32", "127.5.0.0/16",
    "127.128.0.0/9", "::1/128", "::/0", "all", "127.0.0.2/31", "10.0.0.0/8",
)  # fmt: skip
ADDRESSES = (
    "127.0.0.1",
    "127.0.0.2",
    "127.0.0.3",
    "127.0.9.9",
    "127.5.6.7",
    "127.77.0.1",
    "127.200.0.9",
    loopback()[-1],
)
"""One of each part into which the networks divide what a client can be seen as."""
DATABASES = ("shop", "books", "alice", "replication")
ANY_OTHER = "elsewhere"
"""A database that no policy names."""
TEAM = "team"
STRANGER = "stranger"
"""A role that no user has."""
ROLES = ("alice", "bob", "carol", "dave", "erin", "eve", "shared", TEAM, STRANGER)
"""Whatever roles users have."""
CERTIFIED = ("alice", "bob", "carol", "dave")
NAMED = (*CERTIFIED, "erin")

Transport = Literal["socket", "plain", "tls"]


class Place(NamedTuple):
    """A connection's origin, user and target: all that a policy covers. ``address`` is None on the Unix socket."""

    role: str
    database: str
    address: str | None


@dataclass(frozen=True, slots=True)
class User:
    """A user of the spec. ``ca`` None: no certificate."""

    name: str
    ca: str | None
    roles: tuple[str, ...]
    common_name: str
    in_team: bool = False
    accounts: tuple[str, ...] = ()
    """``os_users``; empty: the roles."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy of the spec; ``sources`` empty: the Unix socket."""

    name: str
    users: tuple[str, ...]
    databases: tuple[str, ...]
    sources: tuple[str, ...]
    sslmode: str
    auth: str
    client_cert: str
    priority: int

    @property
    def demand(self) -> tuple[bool, str, str]:
        """What it asks for: TLS, a method, a certificate. Policies that ask for the same do not compete."""
        tls = self.auth != "reject" and bool(self.sources) and self.sslmode in {"require", "verify-ca", "verify-full"}
        return tls, self.auth, "verify-full" if self.auth == "cert" else self.client_cert


class Verdict(NamedTuple):
    """What becomes of a connection: admitted or not, and the policies that say so (none: nothing covers it)."""

    admitted: bool
    policies: frozenset[str]
    password: bool = False
    """Whether the server asks for one before it decides."""


REFUSED = Verdict(admitted=False, policies=frozenset())


@dataclass(frozen=True, slots=True)
class World:
    """A spec with one server."""

    cas: tuple[tuple[str, str | None], ...]
    """Names with their issuers."""
    client_cas: tuple[str, ...]
    users: tuple[User, ...]
    policies: tuple[Policy, ...]
    crl: bool = True
    """Whether the server looks at CRLs."""
    scopes: dict[str, frozenset[Place]] = field(default_factory=dict, compare=False, repr=False)
    """What each policy covers, of all places that can be told apart."""

    def __post_init__(self) -> None:
        places = [
            Place(*parts)
            for parts in product(
                (*self.roles, "somebody of the team"),
                (*DATABASES, *self.roles, ANY_OTHER),
                (*ADDRESSES, "10.0.0.1", "fd00::1", "192.0.2.1", None),
            )
        ]
        for policy in self.policies:
            self.scopes[policy.name] = frozenset(place for place in places if self._covers(policy, place))

    # ---- what it means -----------------------------------------------------------------------------------------------

    @property
    def roles(self) -> tuple[str, ...]:
        """All roles that there are."""
        return (*dict.fromkeys(role for user in self.users for role in user.roles), TEAM, STRANGER)

    @property
    def members(self) -> frozenset[str]:
        """The roles that are members of the team."""
        return frozenset(role for user in self.users if user.in_team for role in user.roles)

    def meant(self, policy: Policy) -> list[User]:
        """Return the users a policy covers: all, members of the team (as either side declares), or those it names."""
        team = self.members if f"+{TEAM}" in policy.users else frozenset()
        return [
            user
            for user in self.users
            if "all" in policy.users or user.name in policy.users or team & frozenset(user.roles)
        ]

    def _covers(self, policy: Policy, place: Place) -> bool:
        return (
            self._covers_role(policy, place.role)
            and _covers_database(policy, place)
            and _covers_address(policy, place.address)
        )

    def _covers_role(self, policy: Policy, role: str) -> bool:
        named = {own for user in self.users if user.name in policy.users for own in user.roles}
        team = f"+{TEAM}" in policy.users and role in {*self.members, TEAM, "somebody of the team"}
        return "all" in policy.users or role in named or team

    def _overrides(self, one: Policy, other: Policy) -> bool:
        if one.priority != other.priority:
            return one.priority > other.priority
        return self.scopes[one.name] < self.scopes[other.name]

    def deciding(self, place: Place) -> list[Policy]:
        """Return the policies that decide for a place: those that no policy with other demands overrides."""
        covering = [policy for policy in self.policies if place in self.scopes[policy.name]]
        found = [
            policy
            for policy in covering
            if not any(self._overrides(other, policy) for other in covering if other.demand != policy.demand)
        ]
        assert len({policy.demand for policy in found}) <= 1, f"the compiler let a conflict pass: {place} {found}"
        return found

    def verdict(self, place: Place, transport: Transport, holder: User | None) -> Verdict:
        """Return the result of a connection; ``holder`` is the user whose certificate the client shows."""
        deciding = self.deciding(place)
        if not deciding:
            return REFUSED
        names = frozenset(policy.name for policy in deciding)
        tls, method, certificate = deciding[0].demand
        if method == "reject" or (tls and transport != "tls"):
            return Verdict(admitted=False, policies=names)
        if certificate != "none" and (holder is None or not self.trusted(holder)):
            return Verdict(admitted=False, policies=names)
        accepted = True
        if certificate == "verify-full":
            # The server's roots also let in certificates of CAs that it does not name; no policy covers those.
            accepted = (
                holder is not None
                and holder.ca in self.client_cas
                and place.role in holder.roles
                and any(holder in self.meant(policy) for policy in deciding)
            )
        if method == "peer":
            accepted = any(
                place.role in user.roles and ACCOUNT in (user.accounts or user.roles)
                for policy in deciding
                for user in self.meant(policy)
            )
        return Verdict(accepted, names, password=method == "scram-sha-256")

    def trusted(self, user: User) -> bool:
        """Return whether OpenSSL on the server accepts a user's certificate.

        Its root must be that of a CA that the server names. A server with CRLs needs one of every CA in the chain, and
        has those of the CAs that it names and of the CAs above them: not of a sibling.
        """
        issuers = dict(self.cas)
        roots = {issuers[name] or name for name in self.client_cas}
        if user.ca is None or (issuers[user.ca] or user.ca) not in roots:
            return False
        return not self.crl or user.ca in {*self.client_cas, *roots}

    # ---- as a spec ---------------------------------------------------------------------------------------------------

    def toml(self, postgres: int) -> str:
        """Write it as a spec for that version."""
        return "\n".join(["version = 1", *self._tables(postgres), ""])

    def _tables(self, postgres: int) -> Iterator[str]:
        for name, issuer in self.cas:
            yield f"[ca.{name}]" + (f'\nissuer = "{issuer}"' if issuer else "")
        yield (
            f'[server.db]\nca = "servers"\nclient_ca = {_array(self.client_cas)}\nhosts = ["localhost"]\n'
            f"postgres = {postgres}\nno_local = true\ncrl = {str(self.crl).lower()}"
        )
        for user in self.users:
            yield f"[user.{user.name}]\nroles = {_array(user.roles)}\ncommon_name = {_string(user.common_name)}"
            yield f'ca = "{user.ca}"' if user.ca else ""
            yield f'member_of = ["{TEAM}"]' if user.in_team else ""
            yield f"os_users = {_array(user.accounts)}" if user.accounts else ""
        for policy in self.policies:
            yield f"[policy.{policy.name}]\nusers = {_array(policy.users)}\ndatabases = {_array(policy.databases)}"
            yield f'from = {_array(policy.sources or ("local",))}\nauth = "{policy.auth}"\npriority = {policy.priority}'
            yield f'sslmode = "{policy.sslmode}"' if policy.sources and policy.auth != "reject" else ""
            yield f'client_cert = "{policy.client_cert}"' if policy.client_cert != "none" else ""
            yield 'waiver = "a random spec"'


def _covers_database(policy: Policy, place: Place) -> bool:
    """``all`` is every database and never physical replication."""
    if place.database == "replication":
        return "replication" in policy.databases
    return (
        "all" in policy.databases
        or place.database in policy.databases
        or ("sameuser" in policy.databases and place.database == place.role)
    )


def _covers_address(policy: Policy, address: str | None) -> bool:
    if address is None or not policy.sources:
        return address is None and not policy.sources
    networks = [ip_network(source) for source in policy.sources if source != "all"]
    return "all" in policy.sources or any(ip_address(address) in network for network in networks)


def _array(values: tuple[str, ...]) -> str:
    return f"[{', '.join(map(_string, values))}]"


def _string(value: str) -> str:
    assert not set(value) & {'"', "\\"}
    return f'"{value}"'


# --- random ones ------------------------------------------------------------------------------------------------------


def random_world(random: Random) -> World:
    """Draw a world. Whether its policies contradict each other is the compiler's to say."""
    cas, client_cas = random.choice(
        [
            ((("servers", None), ("people", None), ("guests", None)), ("people", "guests")),
            ((("servers", None), ("people", None), ("guests", None)), ("people",)),
            ((("servers", None), ("people", "servers"), ("guests", None)), ("people", "guests")),
            ((("servers", None), ("company", None), ("people", "company"), ("guests", "company")), ("people",)),
        ]
    )
    users = tuple(_users(random, has_guests="guests" in client_cas))
    policies = tuple(_policy(random, f"p{number}") for number in range(random.randint(3, 7)))
    return World(cas, client_cas, users, policies, crl=random.random() < 0.5)


def _users(random: Random, *, has_guests: bool) -> Iterator[User]:
    """Draw users who share roles; the CA of ``eve`` may be untrusted by the server, and no policy names her."""

    def in_team() -> bool:
        return random.random() < 0.4

    yield User("alice", "people", ("alice",), "alice", in_team(), random.choice([(), (ACCOUNT,)]))
    yield User("bob", "people", ("bob", "shared"), "bob", in_team())
    yield User(
        "carol", "people", random.choice([("shared",), ("carol", "shared")]), "Carol C.", in_team(), (ACCOUNT, "carol")
    )
    dave = random.choice([("dave",), ("dave", "shared")])
    yield User("dave", "guests" if has_guests else "people", dave, "dave", in_team())
    yield User("erin", None, ("erin",), "erin", in_team())
    yield User("eve", "guests", ("eve",), "eve")


def _policy(random: Random, name: str) -> Policy:
    databases = random.choice(
        [("all",), ("all",), ("shop",), ("shop", "books"), ("books", "sameuser"), ("sameuser",), ("all", "replication"),
         ("replication",)]
    )  # fmt: skip
    priority = random.choice([0, 0, 1, 2, 3, 4, 5])
    if random.random() < 0.2:
        auth = random.choice(["scram-sha-256", "trust", "reject", "peer", "peer"])
        users = _named(random, NAMED) if auth == "peer" else _anybody(random, NAMED)
        return Policy(name, users, databases, (), "disable", auth, "none", priority)
    sources = tuple(dict.fromkeys(random.choices(NETWORKS, k=random.choice([1, 1, 2]))))
    auth = random.choice(["cert", "cert", "cert", "cert", "scram-sha-256", "scram-sha-256", "trust", "trust", "reject"])
    sslmode = random.choice(["require", "verify-full"] if auth == "cert" else ["prefer", "require", "verify-full"])
    client_cert = "none"
    if auth in {"scram-sha-256", "trust"} and sslmode != "prefer":
        client_cert = random.choice(["none", "verify-ca", "verify-full"])
    # A policy names only users who can show what it asks for, and a map only without a password:
    # the compiler rejects the rest.
    holders = CERTIFIED if auth == "cert" or client_cert != "none" else NAMED
    users = _named(random, ("alice",)) if client_cert == "verify-full" else _anybody(random, holders)
    return Policy(name, users, databases, sources, sslmode, auth, client_cert, priority)


def _named(random: Random, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(random.sample(names, random.randint(1, min(3, len(names)))))


def _anybody(random: Random, names: tuple[str, ...]) -> tuple[str, ...]:
    return random.choice([("all",), (f"+{TEAM}",), *[_named(random, names)] * 5])
