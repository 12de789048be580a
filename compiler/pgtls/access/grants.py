"""Whose identity a policy accepts for which role.

Certificates, operating-system accounts, and the entries of its ``map``.

Grants add up: where policies that demand the same cover a connection, each admits those that it names.
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
"""As a line of a map: everybody is who they are."""


@dataclass(frozen=True, slots=True)
class Grants:
    """What one or several policies accept.

    ``pairs`` has, by role, the users whose certificates may log in as it (with ``peer``: the operating-system
    accounts). ``entries`` are those of ``map``. ``implied``: a client that proves to be a role may log in as it, as if
    there were no map.
    """

    pairs: Mapping[str, frozenset[str]] = field(default_factory=dict)
    entries: frozenset[MapEntry] = frozenset()
    implied: bool = False

    @property
    def wide(self) -> bool:
        """Whether it accepts clients for roles that it does not list."""
        return self.implied or bool(self.entries)

    def of(self, roles: Collection[str] | None) -> Grants:
        """Keep what concerns these roles; None: all of them."""
        if roles is None:
            return self
        return Grants({role: self.pairs[role] for role in roles if role in self.pairs}, self.entries, self.implied)


def added(grants: Iterable[Grants]) -> Grants:
    """Add up."""
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
    """Return whether it matters who the client is: the method takes a map, or the certificate's name is compared."""
    return takes_map(demand.method) or demand.client_cert == "verify-full"


def granted(policy: Policy, demand: Demand, accepted: frozenset[str]) -> Grants:
    """Return what a policy accepts on a server that accepts the certificates of these CAs (by name)."""
    if demand.client_cert == "verify-full":
        holders = ((user, (user.name,)) for user in policy.users if user.ca and user.ca.name in accepted)
        return Grants(_pairs(holders), _entries(policy))
    wide = any(not isinstance(term, Name) for term in policy.roles)
    if demand.method == "peer":
        # For ``all`` and ``+role`` also every role that is no user's: it takes the account of that name.
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
    """Name the CAs whose client certificates a server is meant to accept that names these CAs: they and those below."""
    named = {ca.name for ca in client_cas}
    return frozenset(name for name, ca in fleet.cas.items() if any(above.name in named for above in ca.chain))


class Certified:
    """The users whose certificates a server is meant to accept, and what these say."""

    def __init__(self, fleet: Fleet, accepted: frozenset[str]) -> None:
        self._fleet = fleet
        self._accepted = accepted

    @cached_property
    def common_names(self) -> Mapping[str, str]:
        """Common names by user."""
        return {name: user.common_name for name, user in self._fleet.users.items() if self.has(user)}

    @cached_property
    def all_common_names(self) -> frozenset[str]:
        """All common names."""
        return frozenset(self.common_names.values())

    @cached_property
    def subjects(self) -> Mapping[str, str]:
        """What ``clientname=DN`` compares, by user."""
        return {name: distinguished_name(user) for name, user in self._fleet.users.items() if self.has(user)}

    def has(self, user: User) -> bool:
        """Return whether a user has a certificate that is accepted."""
        return user.ca is not None and user.ca.name in self._accepted

    def of(self, policy: Policy) -> Iterator[User]:
        """Return those that a policy names."""
        return filter(self.has, policy.users)


def distinguished_name(user: User) -> str:
    """Write a user's subject as PostgreSQL compares it with ``clientname=DN``."""
    return subject_text(subject_attributes(user.table.subject, user.common_name))


def ident_lines(name: str, grants: Grants, identity: Mapping[str, str], version: int) -> Iterator[IdentLine]:
    """Write grants as the lines of a map.

    ``identity`` has what a user proves to be; who is not in it proves to be what the grant says.
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
    """Read a map entry's role as that version reads it."""
    if version < REGEX_SINCE or len(text) < 2:
        return Name(text)
    if text == "all":
        return Keyword.ALL
    return Member(text[1:]) if text[0] == "+" else Regex(text[1:]) if text[0] == "/" else Name(text)
