"""Policies with their groups and networks expanded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from pgtls.fleet.addresses import Fault, host_name_fault, parse_address
from pgtls.fleet.fields import Finder, report_unknown
from pgtls.fleet.lookalikes import ADDRESSES, GROUP_USERS, SERVERS, USERS, addresses, host_pattern, lookalike
from pgtls.fleet.membership import memberships
from pgtls.fleet.model import Policy, Server, User
from pgtls.hba.model import HostName, Keyword, Member, Name, Regex
from pgtls.language.values import Literally
from pgtls.language.words import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pgtls.diagnostics import Diagnostic
    from pgtls.hba.model import Address, Database
    from pgtls.language.models import GroupTable, NetworkTable, PolicyTable
    from pgtls.language.source import Loaded

_BLOCK = re.compile(r"[0-9]+(\.[0-9]+)*(/[0-9]+)?|[0-9a-f:]*::?[0-9a-f:]*(/[0-9]+)?")
_DATABASE_WORDS = {word.value: word for word in (Keyword.ALL, Keyword.SAMEUSER, Keyword.SAMEROLE, Keyword.REPLICATION)}


class Subjects(NamedTuple):
    """The users and roles of one item of ``users``: users of the spec, and terms for hba lines."""

    users: tuple[User, ...] = ()
    roles: tuple[Name | Member | Keyword, ...] = ()
    named: tuple[User, ...] = ()
    """Those that it names, rather than means by ``all`` or ``+role``."""


class Context(NamedTuple):
    """The tables that policies refer to. ``ended`` are users that the spec still has but that count as deleted."""

    loaded: Loaded
    servers: Mapping[str, Server]
    users: Mapping[str, User]
    ended: frozenset[str]
    members: Mapping[str, tuple[User, ...]]
    groups: Mapping[str, Subjects]
    networks: Mapping[str, tuple[Address, ...]]
    role_owners: Mapping[str, str]
    """A user of each role that is not the user's own name."""


def make_context(
    loaded: Loaded, servers: Mapping[str, Server], users: Mapping[str, User], report: list[Diagnostic]
) -> Context:
    """Resolve groups and networks, each once, whether or not a policy uses them."""
    ended = frozenset(loaded.spec.user) - set(users)
    owners = {role: user.name for user in users.values() if user.table.roles for role in user.roles}
    context = Context(loaded, servers, users, ended, _members(loaded, users), {}, {}, owners)
    groups = {name: _group(context, name, table, report) for name, table in sorted(loaded.spec.group.items())}
    networks = {name: _network(context, name, table, report) for name, table in sorted(loaded.spec.network.items())}
    return context._replace(groups=groups, networks=networks)


def resolve_policy(context: Context, name: str, table: PolicyTable, report: list[Diagnostic]) -> Policy:
    """Resolve one policy. Report and omit what is wrong in it."""
    finder = Finder(context.loaded.own, "policy", name, table)
    users, roles, named = _merged([_subjects(context, finder, i, item, report) for i, item in enumerate(table.users)])
    local = "local" in table.from_
    return Policy(
        name=name,
        table=table,
        servers=_servers(context, finder, table, report),
        users=users,
        roles=roles,
        databases=tuple(dict.fromkeys(map(_database, table.databases))),
        addresses=_addresses(context, finder, table, report),
        local=local,
        sslmode=None if local or table.auth == "reject" else table.sslmode or "verify-full",
        named=named,
    )


def _members(loaded: Loaded, users: Mapping[str, User]) -> dict[str, tuple[User, ...]]:
    """Whom each ``+role`` of a policy covers.

    These are members, members of members, and the role itself (acl.c, is_member_of_role).
    """
    items = (item for table in loaded.spec.policy.values() for item in table.users)
    members: dict[str, list[User]] = {item[1:]: [] for item in items if isinstance(item, str) and item[0] == "+"}
    groups = memberships((user.roles, user.member_of) for user in users.values()).groups if members else {}
    for user in users.values() if members else ():
        inherited = frozenset().union(*(groups.get(role, frozenset()) for role in user.roles))
        for role in members.keys() & {*user.roles, *inherited}:
            members[role].append(user)
    return {role: tuple(found) for role, found in members.items()}


def _group(context: Context, name: str, table: GroupTable, report: list[Diagnostic]) -> Subjects:
    finder = Finder(context.loaded.own, "group", name, table)
    return _merged([_user(context, finder, i, item, report) for i, item in enumerate(table.users)])


def _user(context: Context, finder: Finder, index: int, name: str, report: list[Diagnostic]) -> Subjects:
    if user := context.users.get(name):
        return Subjects((user,), tuple(map(Name, user.roles)), (user,))
    if name not in context.ended:
        names = GROUP_USERS if finder.kind == "group" else USERS._replace(marked={"group": context.loaded.spec.group})
        owner = context.role_owners.get(name)
        hint = f"it is a role of user {quoted(owner)}: write {quoted(owner)}" if owner else None
        report_unknown(report, finder, "user", name, context.loaded.spec.user, "users", index, names=names, hint=hint)
    return Subjects()


def _subjects(
    context: Context, finder: Finder, index: int, item: str | Literally, report: list[Diagnostic]
) -> Subjects:
    if isinstance(item, Literally):
        return _user(context, finder, index, item.name, report)
    if item == "all":
        return Subjects(tuple(context.users.values()), (Keyword.ALL,))
    if item[0] == "+" and len(item) > 1:
        return Subjects(context.members.get(item[1:], ()), (Member(item[1:]),))
    if item[0] == "@":
        if item[1:] in context.groups:
            return context.groups[item[1:]]
        hint = f"it is a network: name it in `from` as {quoted(item)}" if item[1:] in context.networks else None
        report_unknown(report, finder, "group", item[1:], context.groups, "users", index, hint=hint)
        return Subjects()
    return _user(context, finder, index, item, report)


def _merged(parts: Sequence[Subjects]) -> Subjects:
    """Merge several items: each user and role once, in the order of mention."""
    if len(parts) == 1:
        return parts[0]
    users = {user.name: user for part in parts for user in part.users}
    roles = dict.fromkeys(role for part in parts for role in part.roles)
    named = {user.name: user for part in parts for user in part.named}
    return Subjects(tuple(users.values()), tuple(roles), tuple(named.values()))


def _servers(context: Context, finder: Finder, table: PolicyTable, report: list[Diagnostic]) -> tuple[Server, ...]:
    everything = tuple(server for server in context.servers.values() if server.kind == "server")
    if table.servers is None:
        if len(everything) > 1:
            # A standby has the rules of its primary, until a policy names it.
            primaries = [server for server in everything if server.table.standby_of is None]
            names = ", ".join(f'"{server.name}"' for server in (primaries or everything)[:3])
            more = f"the spec has {len(everything)} servers: write e.g. servers = [{names}], or servers =" + ' ["all"]'
            report.append(finder.fault("PGT104", f'policy "{finder.name}" does not name its servers', hint=more))
        return everything if len(everything) == 1 else ()
    if "all" in table.servers:
        return everything
    found: dict[str, Server] = {}
    for index, name in enumerate(table.servers):
        if name in context.servers:
            found[name] = context.servers[name]
        else:
            report_unknown(report, finder, "server", name, context.servers, "servers", index, names=SERVERS)
    return tuple(found[name] for name in sorted(found))


def _database(item: str | Literally) -> Database:
    if isinstance(item, Literally):
        return Name(item.name)
    if item[0] == "/":
        return Regex(item[1:])
    return _DATABASE_WORDS.get(item) or Name(item)


def _network(context: Context, name: str, table: NetworkTable, report: list[Diagnostic]) -> tuple[Address, ...]:
    finder = Finder(context.loaded.own, "network", name, table)
    found = (
        HostName(item.name) if isinstance(item, Literally) else _address(context, finder, i, item, report)
        for i, item in enumerate(table.addresses)
    )
    return _distinct(address for address in found if address)


def _addresses(context: Context, finder: Finder, table: PolicyTable, report: list[Diagnostic]) -> tuple[Address, ...]:
    if "local" in table.from_:
        if len(table.from_) > 1:
            hint = "write a second policy for the other addresses"
            index = table.from_.index("local")
            message = f'policy "{finder.name}" mixes "local" (the Unix socket) with addresses'
            report.append(finder.fault("PGT200", message, "from", index, hint=hint))
        return ()
    return listed_addresses(context, finder, table.from_, report)


def listed_addresses(
    context: Context, finder: Finder, items: Iterable[str | Literally], report: list[Diagnostic]
) -> tuple[Address, ...]:
    """Return the addresses of a ``from``, with its networks expanded. Report what is none."""
    return _distinct(_from(context, finder, items, report))


def _from(
    context: Context, finder: Finder, items: Iterable[str | Literally], report: list[Diagnostic]
) -> Iterator[Address]:
    for index, item in enumerate(items):
        if isinstance(item, Literally):
            yield HostName(item.name)
        elif item[0] != "@":
            if address := _address(context, finder, index, item, report):
                yield address
        elif item[1:] in context.networks:
            yield from context.networks[item[1:]]
        else:
            hint = f"it is a group: name it in `users` as {quoted(item)}" if item[1:] in context.groups else None
            report_unknown(report, finder, "network", item[1:], context.networks, "from", index, hint=hint)


def _address(context: Context, finder: Finder, index: int, text: str, report: list[Diagnostic]) -> Address | None:
    key = "addresses" if finder.kind == "network" else "from"
    names = ADDRESSES._replace(marked={"network": context.loaded.spec.network})
    plain = _BLOCK.fullmatch(text)
    if not plain and (looks := addresses(text) or host_pattern(text) or lookalike(text, names)):
        hint = looks.hint
        if host_name_fault(text, "PGT201") is None:
            hint += f"; for a host of that name, write {{ name = {quoted(text)} }}"
        report.append(finder.fault("PGT114", looks.message, key, index, hint=hint))
        return None
    if finder.kind == "network" and (text == "local" or text[0] == "@"):
        hint = 'a network can hold only addresses; write "local" and "@NAME" in `from` of a policy'
        report.append(finder.fault("PGT201", f'"{text}" is not an address', key, index, hint=hint))
        return None
    address = parse_address(text)
    if isinstance(address, Fault):
        report.append(finder.fault(address.code, address.message, key, index, hint=address.hint))
        return None
    return address


def _distinct(addresses: Iterable[Address]) -> tuple[Address, ...]:
    return tuple(dict.fromkeys(addresses))
