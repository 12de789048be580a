"""Roles, system users and common names of the files become users of the spec, and maps become what their policies say."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pgtls.access.sets import INEXACT
from pgtls.fleet.lookalikes import OS_USERS, ROLES, as_item
from pgtls.hba.model import Keyword, Member, Name, Regex
from pgtls.importer.entries import UNKNOWN, over
from pgtls.language.values import DEVICE_NAMES, TABLE_NAME
from pgtls.postgres.methods import takes_map

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from pgtls.access.sets import Scope
    from pgtls.hba.model import IdentLine, Role
    from pgtls.importer.entries import Entry

_RESERVED = DEVICE_NAMES | {"all"}
_ITSELF = {"identity": "/^(.+)$", "role": "\\1"}
"""Everybody is who they are; no method proves an empty name."""
_EVERYBODY = (Regex("^(.*)$"), Name("\\1"))
Maps = dict[str, tuple["IdentLine", ...]]


class Unsayable(Exception):  # noqa: N818  (of the input)
    """What an entry asks for and no policy can say; the message says what."""


def maps_of(idents: Iterable[IdentLine]) -> Maps:
    """Give the lines of each map."""
    found: Maps = {}
    for ident in idents:
        found[ident.map] = (*found.get(ident.map, ()), ident)
    return found


def table_name(text: str, taken: Collection[str]) -> str:
    """Make a name for a table: the text itself if it can be one."""
    name = text if TABLE_NAME.fullmatch(text) else re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:50]
    if not TABLE_NAME.fullmatch(name) or name.split(".")[0] in _RESERVED:
        name = f"role-{name}".rstrip("-")
    number, found = 2, name
    while found in taken:
        number, found = number + 1, f"{name}-{number}"
    return found


# --- maps --------------------------------------------------------------------------------------------------------------------------


def narrowed(items: Sequence[Entry], maps: Maps) -> list[Entry]:
    """Restrict entries to the roles for which their map accepts somebody; the rest is refused where something below would admit it."""
    found: list[Entry] = []
    for index, item in enumerate(items):
        roles = _possible(item, maps)
        if roles == item.roles:
            found.append(item)
            continue
        if roles:
            found.append(replace(item, roles=roles))
        if any(item.scope.overlaps(below.scope, UNKNOWN) for below in items[index + 1 :]):
            found.append(item.refused())
    return found


def reached(items: Sequence[Entry]) -> list[Entry]:
    """Leave out roles for which an earlier entry decides all: whom this one accepts for them would add up with whom that one does."""
    found: list[Entry] = []
    for item in items:
        where = replace(item, roles=()).scope
        above = (one for one in found if over(item.type) <= over(one.type) and where.within(one.scope, UNKNOWN))
        decided = {role for one in above for role in one.roles} if _proves(item) else set()
        roles = tuple(role for role in item.roles if role not in decided)
        if roles:
            found.append(replace(item, roles=roles))
    return found


def separated(items: Sequence[Entry], maps: Maps) -> list[Entry]:
    """Put a refusal below each entry with which a later one would add up: in a file the first line alone says whom it accepts."""
    found: list[Entry] = []
    for index, item in enumerate(items):
        found.append(item)
        if any(_adds(item, below, maps) for below in items[index + 1 :]):
            found.append(replace(item.refused(), apart=True))
    return found


def _adds(item: Entry, below: Entry, maps: Maps) -> bool:
    """Whether the later one accepts somebody whom the first does not, for what both cover; or names them in another way, and no line can name that."""
    if item.demand != below.demand or not _proves(item) or not item.scope.overlaps(below.scope, UNKNOWN):
        return False
    if item.map == below.map:
        return item.client_cert == "verify-full" and _is_inexact(item.scope, below.scope)
    return not _accepted(below, maps, item) <= _accepted(item, maps, below)


def _is_inexact(one: Scope, other: Scope) -> bool:
    return INEXACT in (
        one.roles.intersection(other.roles, UNKNOWN),
        one.databases.intersection(other.databases),
        one.addresses.intersection(other.addresses),
    )


def _accepted(item: Entry, maps: Maps, other: Entry) -> set[tuple[object, object]]:
    """Give who is accepted for which role, without what concerns no role that the other entry speaks of."""
    if item.map is None:
        return {_EVERYBODY}
    wide = any(isinstance(role, Keyword | Member) for role in other.roles)
    return {(i.identity, i.role) for i in maps.get(item.map, ()) if wide or not _is_literal(i) or i.role in other.roles}


def _possible(item: Entry, maps: Maps) -> tuple[Role, ...]:
    if item.map is None or not _proves(item):
        return item.roles
    lines = maps.get(item.map, ())
    if not all(_is_literal(line) for line in lines):
        return item.roles
    targets = dict.fromkeys(line.role for line in lines)
    if Keyword.ALL in item.roles:
        return tuple(targets)
    if any(isinstance(role, Member) for role in item.roles) and lines:
        return item.roles
    return tuple(role for role in item.roles if role in targets)


def _proves(item: Entry) -> bool:
    return takes_map(item.method) or item.client_cert == "verify-full"


def _is_literal(line: IdentLine) -> bool:
    return isinstance(line.identity, Name) and isinstance(line.role, Name)


def _written(line: IdentLine) -> dict[str, str]:
    """Write a line of a map as the language does."""
    identity = line.identity.text if isinstance(line.identity, Name) else f"/{line.identity.pattern}"
    role = line.role
    if (line.identity, role) == _EVERYBODY:
        return _ITSELF
    if isinstance(role, Name):
        if role.text == "all" or role.text[:1] in ("+", "/"):
            raise Unsayable(f'the role "{role.text}" in map "{line.map}": a policy would take it for a keyword')
        return {"identity": identity, "role": role.text}
    words = "all" if isinstance(role, Keyword) else f"/{role.pattern}" if isinstance(role, Regex) else f"+{role.role}"
    return {"identity": identity, "role": words}


def _written_wide(role: Keyword | Member) -> str:
    return f"+{role.role}" if isinstance(role, Member) else role.value


# --- users -------------------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class User:
    """A user to be. ``accounts`` are None until a ``peer`` line speaks of it."""

    name: str
    roles: tuple[str, ...]
    common_name: str
    accounts: tuple[str, ...] | None = None
    certified: bool = False

    def table(self, ca: str) -> dict[str, Any]:
        """Write it; a certificate is one that somebody else has signed."""
        table: dict[str, Any] = {"ca": ca, "external": True} if self.certified else {}
        if self.certified and self.common_name != self.name:
            table["common_name"] = self.common_name
        if self.roles != (self.name,):
            table["roles"] = [as_item(role, ROLES) for role in self.roles]
        if self.accounts is not None and self.accounts != self.roles:
            table["os_users"] = [as_item(account, OS_USERS) for account in self.accounts]
        return table


@dataclass(slots=True)
class People:
    """The users that the entries speak of, each made when it is first needed."""

    maps: Maps
    users: dict[str, User] = field(default_factory=dict)
    _by_role: dict[str, list[User]] = field(default_factory=dict)
    _by_common_name: dict[str, User] = field(default_factory=dict)

    def subjects(self, item: Entry) -> tuple[list[str], list[dict[str, str]]]:
        """Give ``users`` and ``map`` of an entry's policy. Raises Unsayable."""
        lines = self.maps.get(item.map, ()) if item.map is not None and _proves(item) else ()
        wide = [_written_wide(role) for role in item.roles if isinstance(role, Keyword | Member)]
        names = [role.text for role in item.roles if isinstance(role, Name)]
        if item.type == "local" and item.method == "peer":
            return self._peer(names, wide, lines, mapped=item.map is not None)
        if item.client_cert == "verify-full":
            return self._certified(item, names, wide, lines)
        certified = item.client_cert != "none"
        users = [self._by_role_name(name, certified=certified).name for name in names]
        return users + wide, [_written(line) for line in lines]

    def _peer(
        self, names: Sequence[str], wide: list[str], lines: Sequence[IdentLine], *, mapped: bool
    ) -> tuple[list[str], list[dict[str, str]]]:
        literal = _accounts(lines)
        users = [self._by_account(name, literal.get(name, ()) if mapped else (name,)).name for name in names]
        return users + wide, [_written(line) for line in lines if wide or not _is_literal(line)]

    def _certified(
        self, item: Entry, names: Sequence[str], wide: list[str], lines: Sequence[IdentLine]
    ) -> tuple[list[str], list[dict[str, str]]]:
        if item.map is None:
            users = [self._by_role_name(name, certified=True).name for name in names]
            return users + wide, [_ITSELF] if wide and takes_map(item.method) else []
        if wide or not all(map(_is_literal, lines)):
            users = [self._by_role_name(name, certified=True).name for name in names]
            return users + wide, [_written(line) for line in lines]
        shown: dict[str, list[str]] = {}
        for role, identities in _accounts(lines).items():
            for identity in identities if role in names else ():
                shown.setdefault(identity, []).append(role)
        return [self._by_identity(name, tuple(sorted(roles))).name for name, roles in shown.items()], []

    def _new(self, text: str, roles: tuple[str, ...]) -> User:
        user = User(table_name(text, self.users), roles, text)
        self.users[user.name] = user
        if len(roles) == 1:
            self._by_role.setdefault(roles[0], []).append(user)
        return user

    def _by_role_name(self, role: str, *, certified: bool) -> User:
        alike = (u for u in self._by_role.get(role, ()) if not certified or u.common_name == role)
        user = next(alike, None) or self._new(role, (role,))
        return self._certify(user) if certified else user

    def _by_account(self, role: str, accounts: tuple[str, ...]) -> User:
        alike = (u for u in self._by_role.get(role, ()) if u.accounts in (None, accounts))
        user = next(alike, None) or self._new(role, (role,))
        user.accounts = accounts
        return user

    def _by_identity(self, common_name: str, roles: tuple[str, ...]) -> User:
        user = self._by_common_name.get(common_name)
        if user is None:
            alike = (u for u in self._by_role.get(roles[0], ()) if u.roles == roles and u.common_name == common_name)
            user = next(alike, None) or self._new(common_name, roles)
        if user.roles != roles:
            raise Unsayable(f'"{common_name}" as other roles than elsewhere: a user has the same roles in all policies')
        return self._certify(user)

    def _certify(self, user: User) -> User:
        other = self._by_common_name.setdefault(user.common_name, user)
        if other is not user:
            raise Unsayable(
                f'"{user.common_name}" as other roles than elsewhere: a user has the same roles in all policies'
            )
        user.certified = True
        return user


def _accounts(lines: Sequence[IdentLine]) -> Mapping[str, tuple[str, ...]]:
    """Give by role those that literal lines of a map accept."""
    found: dict[str, tuple[str, ...]] = {}
    for identity, role in _pairs(lines):
        found[role] = (*found.get(role, ()), identity)
    return found


def _pairs(lines: Sequence[IdentLine]) -> Iterator[tuple[str, str]]:
    for line in dict.fromkeys(replace(line, number=None, file=None) for line in lines):
        if isinstance(line.identity, Name) and isinstance(line.role, Name):
            yield line.identity.text, line.role.text
