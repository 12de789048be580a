"""Evaluate the meaning of policies directly (the rules in docs/design.md, "What policies mean").

For a class of connections, compute the policies that cover it, those of them that no other overrides, their demand, and
the identities that they accept. This module does not order, compile or render: :mod:`pgtls.access.proof` compares its
results with the compiled text.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from pgtls.access.classes import Coverage, indices, plain
from pgtls.fleet.model import subject_attributes
from pgtls.hba.model import Keyword, Member, Name, Regex
from pgtls.hba.pgbouncer import folded
from pgtls.language.values import Secret
from pgtls.pki.expected import subject_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pgtls.access.classes import Classes
    from pgtls.fleet.model import Fleet, Policy, Server, User
    from pgtls.hba.model import Role, Transport

SECRET = "(secret)"  # noqa: S105  (stands for a value that is not looked at)
"""The placeholder for the value of a secret option."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a connection must show to be admitted, for any identity."""

    method: str
    options: frozenset[tuple[str, str]]
    certificate: str
    """``none``, ``verify-ca``, ``verify-full``."""


ITSELF = (Regex("^(.*)$"), Name("\\1"))
"""The entry of a map that accepts a client whose name is the role."""

Part = Literal["name", "cn", "dn"]
"""The part of an identity that is compared.

This is the name that a method proves, or the common name or the whole subject of a certificate.
"""
Bearer = tuple[str, str]
"""An accepted identity: ("user", NAME) of the spec.

("name", text), ("cn", text) or ("dn", text) is any other client that proves this text.
"""
Pattern = tuple[Part, Regex | Name, "Role"]
"""A line of a map that accepts more than one identity: the part it compares, the text, and the role."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """Whose identity is accepted for a role."""

    bearers: frozenset[Bearer] = frozenset()
    patterns: frozenset[Pattern] = frozenset()


def coverage(policy: Policy) -> Coverage:
    """Return the connections that a policy covers, with TLS and without."""
    return Coverage(policy.roles, policy.databases, None if policy.local else policy.addresses)


class Holders:
    """The clients that a server's trust admits.

    These are all holders of a certificate under the *roots* of the CAs that the server names: OpenSSL checks no more.
    """

    def __init__(self, fleet: Fleet, server: Server) -> None:
        anchors = {ca.anchor for ca in server.accepted_cas}
        named = {ca.name for ca in server.accepted_cas}
        under = {ca.name for ca in fleet.cas.values() if ca.anchor in anchors}
        intended = {ca.name for ca in fleet.cas.values() if any(above.name in named for above in ca.chain)}
        # PgBouncer looks for a name among those of the whole certificate, without regard to case.
        self._folds = server.kind == "pooler"
        self._fleet = fleet
        self._under = under
        self.meant = frozenset[str]().union(*(fleet.common_names[name] for name in under & intended))
        self._strangers = any(
            ca.trusted_only or ca.foreign_root is not None for ca in fleet.cas.values() if ca.name in under
        )

    @cached_property
    def users(self) -> Sequence[User]:
        """The users who hold such a certificate."""
        return [user for user in self._fleet.users.values() if self._admits(user)]

    def _admits(self, user: User) -> bool:
        return user.ca is not None and user.ca.name in self._under

    def showing(self, text: str, part: Part) -> frozenset[Bearer]:
        """Return the users that show a common name, or a whole subject.

        A user with ``identity = "dn"`` is not identified by a common name.
        """
        if part == "dn":
            return frozenset(("user", user.name) for user in self._by_subject.get(text, ()))
        found = self._by_folded_name.get(folded(text), ()) if self._folds else self._fleet.by_common_name.get(text, ())
        holders = filter(self._admits, found)
        return frozenset(("cn of user" if user.table.identity == "dn" else "user", user.name) for user in holders)

    def may_exist(self, bearer: Bearer) -> bool:
        """Return whether a client can show an identity that a line accepts.

        A certificate in a name that no user of the spec has exists only under a CA whose key is elsewhere.
        """
        return self._strangers or bearer[0] not in ("cn", "dn")

    @cached_property
    def _by_folded_name(self) -> Mapping[str, Sequence[User]]:
        shown = ((user, {folded(name) for name in (user.common_name, *user.dns_names)}) for user in self.users)
        return _gathered((name, user) for user, names in shown for name in sorted(names))

    @cached_property
    def _by_subject(self) -> Mapping[str, Sequence[User]]:
        return _gathered(
            (subject_text(subject_attributes(user.table.subject, user.common_name)), user) for user in self.users
        )


def _gathered(pairs: Iterable[tuple[str, User]]) -> dict[str, list[User]]:
    found: dict[str, list[User]] = {}
    for shown, user in pairs:
        found.setdefault(shown, []).append(user)
    return found


class Meaning:
    """The policies of one server. A *set* of policies is a bit for each, in their order here."""

    def __init__(self, policies: Sequence[Policy], holders: Holders, version: int) -> None:
        self.policies = tuple(policies)
        self._holders = holders
        self._version = version
        self._secret = secret_options(policies)
        self._around: list[int] = []
        self._deciding: dict[int, int] = {}
        self._asked: dict[tuple[int, Transport], tuple[Ask | None, ...]] = {}
        self._accepted: dict[tuple[int, str], Accepted] = {}

    def learn(self, classes: Classes) -> None:
        """Compute which policy lies within which.

        A policy lies within another if the other contains every class of its roles, databases and addresses.
        """
        everything = (1 << len(self.policies)) - 1
        around = [everything] * len(self.policies)
        for inside in classes.each():
            _narrow(around, inside.policies)
        self._around = around

    def _overrides(self, one: int, other: int) -> bool:
        """Return whether a policy decides the connections that both cover.

        It decides if it has the higher priority or, among equals, if it is the more specific one.
        """
        mine, theirs = self.policies[one].table.priority, self.policies[other].table.priority
        if mine != theirs:
            return mine > theirs
        return bool(self._around[one] >> other & 1) and not self._around[other] >> one & 1

    def deciding(self, covering: int) -> int:
        """Return the policies of a set that no policy of the set with another demand overrides."""
        found = self._deciding.get(covering)
        if found is None:
            found = 0
            for one in indices(covering):
                if not any(self._overrides(other, one) for other in indices(covering & self._competing[one])):
                    found |= 1 << one
            self._deciding[covering] = found
        return found

    @cached_property
    def _competing(self) -> tuple[int, ...]:
        """Return, for each policy, the set of policies with another demand."""
        demands: dict[tuple[object, ...], int] = {}
        parts: dict[Part | None, int] = {}
        own = [(self._demand(index), self.compared(1 << index)) for index in range(len(self.policies))]
        for index, (demand, part) in enumerate(own):
            demands[demand] = demands.get(demand, 0) | 1 << index
            parts[part] = parts.get(part, 0) | 1 << index
        everything = (1 << len(self.policies)) - 1
        opposite: dict[Part | None, Part] = {"cn": "dn", "dn": "cn"}
        return tuple(everything & ~demands[demand] | _bits(parts, opposite.get(part)) for demand, part in own)

    def compared(self, deciding: int) -> Part | None:
        """Return the part of a certificate that these policies compare with roles. None: either part works."""
        found = {part for index in indices(deciding) for part in self._parts[index]}
        return "dn" if "dn" in found else "cn" if "cn" in found else None

    @cached_property
    def _parts(self) -> tuple[frozenset[Part], ...]:
        """The part that each policy compares: its entries decide, and its users' ``identity = "dn"``."""
        return tuple(
            frozenset(entry.of for entry in policy.table.map)
            | frozenset(
                "dn" for user in policy.users if user.table.identity == "dn" and user.name in self._holders.meant
            )
            if policy.asks_certificate == "verify-full"
            else frozenset()
            for policy in self.policies
        )

    def _demand(self, index: int) -> tuple[object, ...]:
        policy = self.policies[index]
        table = policy.table
        return (
            policy.requires_tls,
            _method(policy),
            tuple(sorted(table.auth_options.items(), key=str)),
            policy.asks_certificate,
        )

    def asks(self, deciding: int, transport: Transport) -> tuple[Ask | None, ...]:
        """Return what the deciding policies ask of a connection over a transport. None: they reject it.

        If the compiler is correct, there is exactly one answer.
        """
        key = (deciding, transport)
        if key not in self._asked:
            members = (self.policies[index] for index in indices(deciding))
            found = tuple(dict.fromkeys(_ask(policy, transport, self._secret) for policy in members))
            self._asked[key] = found or (None,)
        return self._asked[key]

    def accepted(self, deciding: int, role: str) -> Accepted:
        """Return the identities that the deciding policies together accept for a role."""
        key = (deciding, role)
        if key not in self._accepted:
            parts = [self._accepted_by(self.policies[index], role) for index in indices(deciding)]
            self._accepted[key] = Accepted(
                frozenset().union(*(part.bearers for part in parts)),
                frozenset().union(*(part.patterns for part in parts)),
            )
        return self._accepted[key]

    def _accepted_by(self, policy: Policy, role: str) -> Accepted:
        certified = policy.asks_certificate == "verify-full"
        bearers: set[Bearer] = set()
        patterns: set[Pattern] = set()
        if certified:
            bearers |= {("user", name) for name in self._named(policy).get(role, ()) if name in self._holders.meant}
        elif _method(policy) == "peer":
            bearers |= {("name", name) for name in self._named(policy).get(role, ())}
            if any(isinstance(term, Member | Keyword) for term in policy.roles):
                bearers.add(("name", role))
        elif not policy.table.map:
            bearers.add(("name", role))
        for part, identity, target in self._entries(policy):
            if (identity, target) == ITSELF:
                bearers |= self._shown(part, role)
            elif isinstance(identity, Name) and isinstance(target, Name):
                if target.text == role:
                    bearers |= self._shown(part, identity.text)
            elif not isinstance(target, Name) or "\\1" in target.text or target.text == role:
                patterns.add((part, identity, target))
        return Accepted(frozenset(bearers), frozenset(patterns))

    def _named(self, policy: Policy) -> Mapping[str, Sequence[str]]:
        """Return, by role, the users that a policy names (with ``peer``: their accounts)."""
        if policy.name not in self._by_role:
            found: dict[str, list[str]] = {}
            for user in policy.users:
                for role in user.roles:
                    found.setdefault(role, []).extend(user.os_users if policy.local else (user.name,))
            self._by_role[policy.name] = found
        return self._by_role[policy.name]

    @cached_property
    def _by_role(self) -> dict[str, Mapping[str, Sequence[str]]]:
        return {}

    def _shown(self, part: Part, identity: str) -> frozenset[Bearer]:
        """Return the clients that show an identity of a policy's own map."""
        return (part != "name" and self._holders.showing(identity, part)) or frozenset({(part, identity)})

    def _entries(self, policy: Policy) -> Iterator[Pattern]:
        certified = policy.asks_certificate == "verify-full"
        for entry in policy.table.map:
            identity = Regex(entry.identity[1:]) if entry.identity[0] == "/" else Name(entry.identity)
            yield entry.of if certified else "name", plain(identity), plain(self._target(entry.role))

    def _target(self, role: str) -> Role:
        """Read a role of a map: from 16 there are keywords, groups and regular expressions (``parse_ident_line``)."""
        if self._version >= 16:
            if role == "all":
                return Keyword.ALL
            if role[0] == "/" and len(role) > 1:
                return Regex(role[1:])
            if role[0] == "+" and len(role) > 1:
                return Member(role[1:])
        return Name(role)


def _bits(parts: Mapping[Part | None, int], part: Part | None) -> int:
    return parts.get(part, 0) if part else 0


def _narrow(around: list[int], inside: int) -> None:
    """From the policies around each policy of a class, remove those that do not contain the class."""
    for index in indices(inside):
        around[index] &= inside


def secret_options(policies: Iterable[Policy]) -> frozenset[str]:
    """Name the options whose values are secrets for any of these policies.

    Never compare or show their values in a compiled text: it does not say which of them are secrets.
    """
    return frozenset(
        name for policy in policies for name, value in policy.table.auth_options.items() if isinstance(value, Secret)
    )


def _method(policy: Policy) -> str:
    return "peer" if policy.local and policy.table.auth == "ident" else policy.table.auth


def as_text(value: str | int | Secret) -> str:
    """Write the value of an option as a line does, a secret by its source."""
    if isinstance(value, Secret):
        return f"({value.described})"
    return str(int(value)) if isinstance(value, bool) else str(value)


def _ask(policy: Policy, transport: Transport, secret: frozenset[str]) -> Ask | None:
    if policy.table.auth == "reject" or (policy.requires_tls and transport != "tls"):
        return None
    options = (
        (name, SECRET if name in secret else as_text(value)) for name, value in policy.table.auth_options.items()
    )
    return Ask(_method(policy), frozenset(options), policy.asks_certificate)
