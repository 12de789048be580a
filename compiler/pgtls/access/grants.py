"""Compute whose identity a policy accepts for each role.

Identities are certificates, operating-system accounts, and the entries of the policy's ``map``.

Grants add up: where policies with the same demand cover a connection, each admits the identities that it names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from pgtls.fleet.model import subject_attributes
from pgtls.hba.model import IdentLine, Keyword, Member, Name, Regex
from pgtls.pki.expected import subject_text
from pgtls.postgres.methods import REGEX_SINCE, takes_map

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from pgtls.access.order import Demand
    from pgtls.fleet.model import Authority, Fleet, Policy, User
    from pgtls.hba.model import Role
    from pgtls.language.models import MapEntry

IDENTITY = Regex("^(.*)$")
ITSELF = Name("\\1")
"""The line of a map that accepts each client for the role of the same name."""


@dataclass(frozen=True, slots=True)
class Grants:
    """The identities that one or several policies accept.

    ``pairs`` lists, by role, the users whose certificates may log in with it (for ``peer``: the operating-system
    accounts). ``entries`` are the entries of ``map``. ``implied``: a client that proves a role may log in with it, as
    without a map.
    """

    pairs: Mapping[str, frozenset[str]] = field(default_factory=dict)
    entries: frozenset[MapEntry] = frozenset()
    implied: bool = False

    @property
    def wide(self) -> bool:
        """Whether the policies accept clients for roles that ``pairs`` does not list."""
        return self.implied or bool(self.entries)

    def of(self, roles: Collection[str] | None) -> Grants:
        """Keep the grants that concern these roles. With None, keep all."""
        if roles is None:
            return self
        return Grants({role: self.pairs[role] for role in roles if role in self.pairs}, self.entries, self.implied)


def added(grants: Iterable[Grants]) -> Grants:
    """Return the sum of both grants."""
    pairs: dict[str, frozenset[str]] = {}
    entries: frozenset[MapEntry] = frozenset()
    implied = False
    for grant in grants:
        for role, names in grant.pairs.items():
            pairs[role] = pairs[role] | names if role in pairs else names
        entries |= grant.entries
        implied |= grant.implied
    return Grants(pairs, entries, implied)


def proves_identity(demand: Demand) -> bool:
    """Return whether the identity of the client matters: the method takes a map, or compares the certificate's name."""
    return takes_map(demand.method) or demand.client_cert == "verify-full"


def granted(policy: Policy, demand: Demand, accepted: frozenset[str]) -> Grants:
    """Return the identities that a policy accepts on a server that accepts the certificates of these CAs (by name)."""
    if demand.client_cert == "verify-full":
        holders = ((user, (user.name,)) for user in policy.users if user.ca and user.ca.name in accepted)
        return Grants(_pairs(holders), _entries(policy))
    wide = any(not isinstance(term, Name) for term in policy.roles)
    if demand.method == "peer":
        # For ``all`` and ``+role`` also every role that belongs to no user: it takes the account with the same name.
        plain = {user.name for user in policy.users if wide and user.os_users == user.roles and len(user.roles) == 1}
        accounts = ((user, user.os_users) for user in policy.users if user.name not in plain)
        return Grants(_pairs(accounts), _entries(policy), implied=wide)
    return Grants(entries=_entries(policy), implied=not policy.table.map)


def _pairs(holders: Iterable[tuple[User, tuple[str, ...]]]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for user, names in holders:
        for role in user.roles:
            found.setdefault(role, set()).update(names)
    return {role: frozenset(names) for role, names in found.items()}


def _entries(policy: Policy) -> frozenset[MapEntry]:
    return frozenset(policy.table.map)


def accepted_authorities(fleet: Fleet, client_cas: Iterable[Authority]) -> frozenset[str]:
    """Name the CAs whose client certificates a server should accept if it names these CAs: they and all below them."""
    return fleet.below(client_cas)


class Certified:
    """The users whose certificates a server should accept, and the names in these certificates."""

    def __init__(self, fleet: Fleet, accepted: frozenset[str]) -> None:
        self._fleet = fleet
        self._accepted = accepted

    @cached_property
    def common_names(self) -> Mapping[str, str]:
        """Common names by user."""
        found: dict[str, str] = {}
        for ca in self._accepted:
            found |= self._fleet.common_names[ca]
        return found

    @cached_property
    def all_common_names(self) -> frozenset[str]:
        """All common names."""
        return frozenset(self.common_names.values())

    @cached_property
    def subjects(self) -> Mapping[str, str]:
        """The texts that ``clientname=DN`` compares, by user."""
        return {name: distinguished_name(user) for name, user in self._fleet.users.items() if self.has(user)}

    def has(self, user: User) -> bool:
        """Return whether the server accepts a certificate of a user."""
        return user.ca is not None and user.ca.name in self._accepted

    def of(self, policy: Policy) -> Iterator[User]:
        """Return the accepted users that a policy names."""
        return filter(self.has, policy.users)


def distinguished_name(user: User) -> str:
    """Write a user's subject as PostgreSQL compares it with ``clientname=DN``."""
    return subject_text(subject_attributes(user.table.subject, user.common_name))


def ident_lines(name: str, grants: Grants, identity: Mapping[str, str], version: int) -> Iterator[IdentLine]:
    """Write grants as the lines of a map.

    ``identity`` maps users to the identity that they prove. For a user that it does not contain, write the name in
    the grant.
    """
    for role in sorted(grants.pairs):
        for proven in sorted({identity.get(who, who) for who in grants.pairs[role]}):
            if not (grants.implied and proven == role):
                yield IdentLine(name, Name(proven), Name(role))
    for entry in sorted(grants.entries, key=lambda entry: (entry.identity, entry.role)):
        proven = entry.identity
        identity_term = Regex(proven[1:]) if proven.startswith("/") else Name(proven)
        yield IdentLine(name, identity_term, _entry_role(entry.role, version))
    if grants.implied:
        yield IdentLine(name, IDENTITY, ITSELF)


def _entry_role(text: str, version: int) -> Role:
    """Read the role of a map entry as this version of PostgreSQL reads it."""
    if version < REGEX_SINCE or len(text) < 2:
        return Name(text)
    if text == "all":
        return Keyword.ALL
    return Member(text[1:]) if text[0] == "+" else Regex(text[1:]) if text[0] == "/" else Name(text)
