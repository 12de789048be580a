"""Roles, databases and addresses that look like something else, and would be taken for a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.fleet.fields import Finder, finder, header
from pgtls.fleet.lookalikes import (
    DATABASES,
    GROUP_ROLES,
    IDENTITIES,
    MAP_ROLES,
    OS_USERS,
    ROLES,
    SERVER_DATABASES,
    first_of_network,
    lookalike,
)
from pgtls.hba.model import Name
from pgtls.language.words import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.lookalikes import Names
    from pgtls.fleet.model import Fleet, Policy
    from pgtls.language.values import Literally


def roles(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find roles and operating-system users of a user that look like something else."""
    for user in fleet.users.values():
        table = user.table
        if table.model_fields_set.isdisjoint(_NAMES):
            continue
        found = finder(fleet, user)
        yield from _items(found, "roles", table.roles or (), ROLES._replace(known=user.roles))
        yield from _items(found, "member_of", table.member_of, GROUP_ROLES)
        yield from _items(found, "os_users", table.os_users or (), OS_USERS)


_NAMES = frozenset(("roles", "member_of", "os_users"))


def server_databases(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find databases of a server that look like something else."""
    for server in fleet.servers.values():
        yield from _items(finder(fleet, server), "databases", server.table.databases or (), SERVER_DATABASES)


def policy_databases(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find databases of a policy that look like something else."""
    known = {name for server in policy.servers for name in server.databases or ()}
    known |= {"postgres", "template1", *(database.text for database in policy.databases if isinstance(database, Name))}
    names = DATABASES._replace(known=known)
    yield from _items(finder(fleet, policy), "databases", policy.table.databases, names)


def members_or_group(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find members of a role in ``users`` where a group of the spec has that name."""
    for index, item in enumerate(policy.table.users):
        name = item[1:] if isinstance(item, str) and item[:1] == "+" else None
        if name in fleet.groups:
            message = (
                f'"+{name}" means the members of the database role "{name}", and the spec has a group of that name'
            )
            hint = f'write "@{name}" for the users of {header("group", str(name))}'
            yield finder(fleet, policy).fault("PGT124", message, "users", index, hint=hint, severity="warning")


def servers_as_sources(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find the NAME of a server in ``from``, which is read as a host name."""
    for index, item in enumerate(policy.table.from_):
        server = fleet.servers.get(item) if isinstance(item, str) else None
        if server is None or item in server.table.hosts:
            continue
        message = f'"{item}" is read as a host name, and the spec has a server of that name'
        hosts = ", ".join(map(quoted, server.table.hosts))
        hint = f"write the addresses from which it connects, or its host name: {hosts}"
        yield finder(fleet, policy).fault("PGT125", message, "from", index, hint=hint, severity="warning")


def map_entries(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find identities and roles of a ``map`` that look like something else."""
    for index, entry in enumerate(policy.table.map):
        for key, text, names in (("identity", entry.identity, IDENTITIES), ("role", entry.role, MAP_ROLES)):
            several = key == "identity" and "," in text  # a whole subject has commas
            if not several and (found := lookalike(text, names)):
                yield finder(fleet, policy).fault("PGT114", found.message, "map", index, key, hint=found.hint)


def first_addresses(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find single addresses in ``from`` that are the first of a network."""
    yield from _first_addresses(finder(fleet, policy), "from", policy.table.from_)


def first_addresses_of_networks(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find single addresses of a network table that are the first of a network."""
    for name, table in fleet.networks.items():
        yield from _first_addresses(Finder(fleet.own, "network", name, table), "addresses", table.addresses)


def _first_addresses(found: Finder, key: str, items: Iterable[str | Literally]) -> Iterator[Diagnostic]:
    for index, item in enumerate(items):
        if isinstance(item, str) and (block := first_of_network(item)):
            message = f'"{item}" is a single address, but looks like the network {block}'
            width = 128 if ":" in item else 32
            hint = f'write "{block}" for the network, or "{item}/{width}" for the single address'
            yield found.fault("PGT115", message, key, index, hint=hint, severity="warning")


def _items(found: Finder, key: str, items: Sequence[str | Literally], names: Names) -> Iterator[Diagnostic]:
    for index, item in enumerate(items):
        if isinstance(item, str) and (looks := lookalike(item, names)):
            yield found.fault("PGT114", looks.message, key, index, hint=looks.hint)


VALUES = (roles, server_databases, first_addresses_of_networks)
POLICY_VALUES = (policy_databases, map_entries, first_addresses, members_or_group, servers_as_sources)
