"""Roles and system users of the files become users of the spec, and maps become the ``map`` of policies."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pgtls.access.sets import INEXACT
from pgtls.fleet.lookalikes import OS_USERS, ROLES, as_item
from pgtls.hba.model import Keyword, Member, Name, Regex
from pgtls.importer.entries import UNKNOWN, over
from pgtls.language.values import DEVICE_NAMES, TABLE_NAME
from pgtls.postgres.methods import REGEX_SINCE, takes_map

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from pgtls.access.sets import Scope
    from pgtls.hba.model import IdentLine, Role
    from pgtls.importer.entries import Entry

_RESERVED = DEVICE_NAMES | {"all"}
_ITSELF = {"identity": "/^(.+)$", "role": "\\1"}
"""The identity is the role; no method proves an empty name."""
_EVERYBODY = (Regex("^(.*)$"), Name("\\1"))
Maps = dict[str, tuple["IdentLine", ...]]


def maps_of(idents: Iterable[IdentLine]) -> Maps:
    """Return the lines of each map."""
    found: Maps = {}
    for ident in idents:
        found[ident.map] = (*found.get(ident.map, ()), ident)
    return found


def table_name(text: str, taken: Collection[str]) -> str:
    """Return a name for a table: the text itself if it can be one."""
    name = text if TABLE_NAME.fullmatch(text) else re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:50]
    if not TABLE_NAME.fullmatch(name) or name.split(".")[0] in _RESERVED:
        name = f"role-{name}".rstrip("-")
    number, found = 2, name
    while found in taken:
        number, found = number + 1, f"{name}-{number}"
    return found


# --- maps ---


def narrowed(items: Sequence[Entry], maps: Maps) -> list[Entry]:
    """Restrict entries to roles that their map gives to anybody; refuse the others where an entry below admits them."""
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
    """Leave out roles for which an earlier entry decides everything: the identities of both would add up."""
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
    """Put a refusal below each entry with which a later one would add up: in a file, the first line decides alone."""
    found: list[Entry] = []
    for index, item in enumerate(items):
        found.append(item)
        if any(_adds(item, below, maps) for below in items[index + 1 :]):
            found.append(replace(item.refused(), apart=True))
    return found


def _adds(item: Entry, below: Entry, maps: Maps) -> bool:
    """Whether the later entry accepts other identities for what both cover, or no line can name what both cover."""
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
    """Return the identities that an entry accepts, each with its role, without roles that the other does not name."""
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


def _compared(entry: dict[str, str], item: Entry) -> dict[str, str]:
    """Add what an entry of a map is compared with, where that is not the common name."""
    return {**entry, "of": "dn"} if item.by_subject else entry


def _written(line: IdentLine, version: int) -> dict[str, str]:
    """Write a line of a map as the language does."""
    if (line.identity, line.role) == _EVERYBODY:
        return _ITSELF
    identity = line.identity.text if isinstance(line.identity, Name) else f"/{line.identity.pattern}"
    return {"identity": identity, "role": _written_role(line.role, version)}


def _written_role(role: Role, version: int) -> str:
    if isinstance(role, Regex):
        return f"/{role.pattern}"
    if not isinstance(role, Name):
        return _written_wide(role)
    if version >= REGEX_SINCE and _looks_like_another(role.text):
        # Write an expression that matches this name alone.
        return "/^" + _OPERATORS.sub(r"\\\g<0>", role.text) + "$"
    return role.text


def _looks_like_another(name: str) -> bool:
    """Whether a map would take a name for a keyword, a group or an expression."""
    return name == "all" or name[:1] in ("+", "/")


_OPERATORS = re.compile(r"[][\\^$.*+?(){}|]")


def _written_wide(role: Keyword | Member) -> str:
    return f"+{role.role}" if isinstance(role, Member) else role.value


# --- users ---


@dataclass(slots=True)
class User:
    """A user to be. ``accounts`` are None until a ``peer`` line names it."""

    name: str
    role: str
    accounts: tuple[str, ...] | None = None

    def table(self) -> dict[str, Any]:
        """Write it, without ``ca``: its certificate is not on the server, and policies accept it by their maps."""
        table: dict[str, Any] = {} if self.role == self.name else {"roles": [as_item(self.role, ROLES)]}
        if self.accounts is not None and self.accounts != (self.role,):
            table["os_users"] = [as_item(account, OS_USERS) for account in self.accounts]
        return table


@dataclass(slots=True)
class People:
    """The users that the entries name, each made when it is first needed."""

    maps: Maps
    version: int
    users: dict[str, User] = field(default_factory=dict)
    _by_role: dict[str, list[User]] = field(default_factory=dict)

    def subjects(self, item: Entry) -> tuple[list[str], list[dict[str, str]]]:
        """Return ``users`` and ``map`` of an entry's policy. Raises Unsayable."""
        names = [role.text for role in item.roles if isinstance(role, Name)]
        wide = [_written_wide(role) for role in item.roles if isinstance(role, Keyword | Member)]
        lines = self.maps.get(item.map, ()) if item.map is not None and _proves(item) else ()
        if item.type == "local" and item.method == "peer":
            accounts = _accounts(lines)
            users = [self._with(name, accounts.get(name, ()) if item.map is not None else (name,)) for name in names]
            lines = tuple(line for line in lines if wide or not _is_literal(line))
        else:
            users = [self._of(name) for name in names]
        if item.map is None and item.client_cert == "verify-full" and takes_map(item.method):
            plain = not (wide or item.by_subject or any(map(_looks_like_another, names)))
            entries = [{"identity": name, "role": name} for name in names] if plain else [_compared(_ITSELF, item)]
            return [*users, *wide], entries
        concerned = (line for line in lines if wide or not _is_literal(line) or line.role in item.roles)
        return [*users, *wide], [_compared(_written(line, self.version), item) for line in concerned]

    def _of(self, role: str) -> str:
        alike = self._by_role.get(role)
        return (alike[0] if alike else self._new(role)).name

    def _with(self, role: str, accounts: tuple[str, ...]) -> str:
        alike = (user for user in self._by_role.get(role, ()) if user.accounts in (None, accounts))
        user = next(alike, None) or self._new(role)
        user.accounts = accounts
        return user.name

    def _new(self, role: str) -> User:
        user = User(table_name(role, self.users), role)
        self.users[user.name] = user
        self._by_role.setdefault(role, []).append(user)
        return user


def _accounts(lines: Sequence[IdentLine]) -> Mapping[str, tuple[str, ...]]:
    """Return by role the accounts that literal lines of a map accept."""
    found: dict[str, dict[str, None]] = {}
    for line in lines:
        if isinstance(line.identity, Name) and isinstance(line.role, Name):
            found.setdefault(line.role.text, {})[line.identity.text] = None
    return {role: tuple(names) for role, names in found.items()}
