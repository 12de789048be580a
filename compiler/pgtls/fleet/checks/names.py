"""Names: of tables, hosts, roles and databases, and those that nothing uses."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING

from pgtls.fleet.addresses import host_name_fault, is_address
from pgtls.fleet.fields import finder, header, setting_of
from pgtls.fleet.lookalikes import HOSTS, addresses, lookalike
from pgtls.hba.model import Name
from pgtls.language.values import plain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.fields import Finder
    from pgtls.fleet.model import Authority, Fleet, Identity, Policy, Server, User

NAMEDATALEN = 63
"""The maximum bytes of a role or database name; PostgreSQL cuts longer names (NAMEDATALEN - 1)."""

_RESERVED = {
    "ca": {"self-signed": "a server's own certificate", "system": "a public CA", "none": "no certificate"},
    "server": {"all": "every server"},
    "pooler": {"all": "every server"},
}


def reserved_names(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find tables whose name is a keyword: nothing could refer to them."""
    for things in (fleet.cas, fleet.servers):
        for thing in things.values():
            kind = thing.entity.kind
            if meaning := _RESERVED[kind].get(thing.name):
                message = f'"{thing.name}" cannot be the name of a {kind}: it is a keyword for {meaning}'
                yield finder(fleet, thing).fault("PGT105", message, hint="give it another name")


def names_on_one_path(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find names that differ in dots at the end, which Windows drops."""
    poolers = {pooler.name: pooler for pooler in fleet.poolers}
    for things in (fleet.cas, fleet.clusters, poolers, fleet.users):
        for name, thing in things.items():
            if name[-1:] == "." and name.rstrip(".") in things:
                message = f'{thing.entity.kind} "{name}" and "{name.rstrip(".")}" are the same directory on Windows'
                yield finder(fleet, thing).fault("PGT106", message, hint="give it another name")


def hosts(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find hosts that are neither address nor host name, and wildcards where a name to dial is needed."""
    for server in fleet.identities():
        for index, host in enumerate(server.table.hosts):
            yield from _host(fleet, server, index, host)


def shared_addresses(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find servers and poolers that clients dial at one host and port.

    A standby may take over its primary's name, and "localhost" is another machine for each client.
    """
    owners: dict[tuple[str, int], Server] = {}
    for server in fleet.servers.values():
        host, port = server.table.hosts[0], server.table.port
        if host.lower() == "localhost" or (is_address(host) and ip_address(host).is_loopback):
            continue
        owner = owners.setdefault((host.lower(), port), server)
        if _primary(owner) != _primary(server):
            message = (
                f'clients of {server.kind} "{server.name}" dial {host} on port {port}, and so do those of {owner.kind} '
                f'"{owner.name}"'
            )
            hint = "give one of them another host or port: each needs files and a certificate of its own"
            yield finder(fleet, server).fault("PGT147", message, "hosts", 0, hint=hint, severity="warning")


def ports_elsewhere(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find servers that listen on another port than their clients dial."""
    for server in fleet.clusters.values():
        name, value = setting_of(server, "port")
        dialled = server.table.port
        if value is not None and str(value) != str(dialled):
            message = f'server "{server.name}" listens on port {value}, and its clients dial {dialled}'
            hint = f"write port = {value} beside hosts; if something forwards {dialled} to it, ignore this code"
            yield finder(fleet, server).fault("PGT150", message, "settings", name, hint=hint, severity="warning")


def _primary(server: Server) -> str:
    return server.table.standby_of or server.name


def _host(fleet: Fleet, server: Identity, index: int, host: str) -> Iterator[Diagnostic]:
    found = finder(fleet, server)
    if is_address(host):
        if mapped := getattr(ip_address(host), "ipv4_mapped", None):
            message = f'"{host}" is the IPv4 address {mapped} in IPv6 form: not all clients take it for that'
            yield found.fault("PGT107", message, "hosts", index, hint=f'write "{mapped}"')
        return
    if looks := addresses(host) or lookalike(host, HOSTS):
        yield found.fault("PGT114", looks.message, "hosts", index, hint=looks.hint)
    elif host.lower() in ("samehost", "samenet"):
        message = f'"{host}" is a keyword of pg_hba.conf, not a host name'
        yield found.fault("PGT114", message, "hosts", index, hint=HOSTS.every)
    elif bare := _bracketed(host):
        yield found.fault("PGT107", f'"{host}" is an address in brackets', "hosts", index, hint=f'write "{bare}"')
    elif host.startswith("*.") and index == 0 and not server.place:
        message = (
            f'"{host}", the first host of {server.entity.kind} "{server.name}", is a wildcard: no client can dial it'
        )
        yield found.fault("PGT109", message, "hosts", index, hint="put the name that clients dial first")
    elif "/" in host or _is_numeric(host):
        message = f'"{host}" is neither a host name nor an address'
        yield found.fault("PGT107", message, "hosts", index, hint=_host_hint(host))
    elif fault := host_name_fault(host.removeprefix("*."), "PGT107"):
        yield found.fault(fault.code, fault.message, "hosts", index, hint=fault.hint)


def _host_hint(host: str) -> str:
    """Return how to write the host."""
    name, colon, port = host.rpartition(":")
    if "://" in host:
        return 'write the name or the address that clients dial, e.g. "db.example.com"'
    if "/" in host and is_address(host.partition("/")[0]):
        return "write each address that clients dial; the networks of clients belong in `from` of a policy"
    if "%" in host and is_address(host.partition("%")[0]):
        return f'a certificate cannot hold a zone id: write "{host.partition("%")[0]}"'
    if colon and port.isdecimal() and ":" not in name and name:
        return f'write the port in its own field: hosts = ["{name}"] and port = {port}'
    return 'e.g. "db.example.com", "10.0.0.5"'


def equal_hosts(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find equal hosts: names without regard to case, addresses in any spelling."""
    for server in fleet.identities():
        seen: dict[str, str] = {}
        for index, host in enumerate(server.table.hosts):
            canonical = str(ip_address(host)) if is_address(host) else host.lower()
            if canonical in seen:
                same = (
                    f'"{host}" twice'
                    if seen[canonical] == host
                    else f'"{seen[canonical]}" and "{host}", which are equal'
                )
                message = f'{server.entity.kind} "{server.name}" has {same}'
                yield finder(fleet, server).fault("PGT108", message, "hosts", index, hint="delete one of them")
            seen.setdefault(canonical, host)


def long_roles(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find role names of more than 63 bytes, which no role has."""
    for user in fleet.users.values():
        # A role that nobody says is the table's name, which is judged as one.
        for key, roles in (("roles", user.table.roles or ()), ("member_of", user.table.member_of)):
            for index, role in enumerate(map(plain, roles)):
                if len(role.encode()) > NAMEDATALEN:
                    yield finder(fleet, user).fault("PGT111", _length("role", role), key, index, hint=_cut(role))
    for policy in fleet.policies.values():
        for index, item in enumerate(policy.table.users):
            if isinstance(item, str) and item[0] == "+" and len(item[1:].encode()) > NAMEDATALEN:
                yield finder(fleet, policy).fault(
                    "PGT111", _length("role", item[1:]), "users", index, hint=_cut(item[1:])
                )
        for index, entry in enumerate(policy.table.map):
            if entry.role[0] not in "/+" and "\\1" not in entry.role and len(entry.role.encode()) > NAMEDATALEN:
                yield finder(fleet, policy).fault(
                    "PGT111", _length("role", entry.role), "map", index, "role", hint=_cut(entry.role)
                )


def predefined_roles(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find users and maps with a role whose name begins with ``pg_``: PostgreSQL reserves it, and it cannot log in."""
    for user in fleet.users.values():
        for index, role in enumerate(user.roles):
            if role.startswith("pg_"):
                place = ("roles", index) if user.table.roles else ()
                hint = f'write the role that logs in; if that is a member: member_of = ["{role}"]'
                yield finder(fleet, user).fault("PGT118", _predefined(role), *place, hint=hint)
    for policy in fleet.policies.values():
        for index, entry in enumerate(policy.table.map):
            if entry.role.startswith("pg_"):
                found, hint = finder(fleet, policy), "write the role that logs in"
                yield found.fault("PGT118", _predefined(entry.role), "map", index, "role", hint=hint)


def _predefined(role: str) -> str:
    return f'nobody can log in as role "{role}": PostgreSQL reserves names that begin with pg_'


def long_databases(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find database names of more than 63 bytes, which no database has."""
    for policy in fleet.policies.values():
        for database in policy.databases:
            if isinstance(database, Name) and len(database.text.encode()) > NAMEDATALEN:
                yield finder(fleet, policy).fault(
                    "PGT112", _length("database", database.text), "databases", hint=_cut(database.text)
                )


def blanks_at_the_end(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find database and role names that end in blanks: libpq drops them in service files (parseServiceFile)."""
    for policy in fleet.policies.values():
        for index, item in enumerate(() if policy.local else policy.table.databases):
            name = plain(item)
            if name.endswith(" ") and name[0] != "/":
                yield _blank(finder(fleet, policy), "database", name, "databases", index)
    for user in fleet.users.values():
        for index, role in enumerate(map(plain, user.table.roles or ())):
            if role.endswith(" "):
                yield _blank(finder(fleet, user), "role", role, "roles", index)


def _blank(found: Finder, kind: str, name: str, *place: str | int) -> Diagnostic:
    message = f'{kind} "{name}" ends in a blank: pg_service.conf cannot hold it, only connections.json can'
    hint = "delete the blank, unless the name really has it"
    return found.fault("PGT113", message, *place, hint=hint, severity="warning")


def _length(kind: str, name: str) -> str:
    return f'{kind} "{name}" has {len(name.encode())} bytes; PostgreSQL allows {NAMEDATALEN}'


def _cut(name: str) -> str:
    return f'write the name as PostgreSQL has it, perhaps "{name.encode()[:NAMEDATALEN].decode(errors="ignore")}"'


def directories(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find directories that settings and connection strings could not hold."""
    for server in fleet.servers.values():
        found = finder(fleet, server)
        if server.table.directory and not _ABSOLUTE.match(server.table.directory):
            message = f'"{server.table.directory}" is not an absolute path'
            yield found.fault("PGT141", message, "directory", hint=_ABSOLUTE_HINT)
        if server.table.socket_directory[0] not in "/@":  # @ is Linux's abstract namespace
            message = f'"{server.table.socket_directory}" is not an absolute path'
            yield found.fault("PGT141", message, "socket_directory", hint=_ABSOLUTE_HINT)
    for user in fleet.users.values():
        directory = user.table.directory
        if directory and not _ABSOLUTE.match(directory):
            message = f'"{directory}" is not an absolute path'
            hint = f"{_ABSOLUTE_HINT}; libpq does not expand ~"
            yield finder(fleet, user).fault("PGT141", message, "directory", hint=hint)
        elif directory and ":" in directory[2:]:
            message = f'"{directory}" has a colon: libpq takes the text before it for the name of a crypto engine'
            yield finder(fleet, user).fault("PGT141", message, "directory", hint="choose a directory without a colon")


_ABSOLUTE = re.compile(r"/|[A-Za-z]:[/\\]|\\\\")
"""Absolute paths of Unix, of a Windows drive, and of a Windows share."""

_ABSOLUTE_HINT = "write the path from the root, e.g. /etc/postgresql/tls"


def unused_users(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find users that no policy mentions: they can connect to nothing."""
    for user, policy in _unused(fleet):
        why = (
            f'its only policy, "{policy.name}", ended at {_instant(policy.table.until)}'
            if policy
            else "no policy names it"
        )
        message = f'user "{user.name}" cannot connect: {why}'
        hint = "name the user in a policy, or delete it"
        yield finder(fleet, user).fault("PGT121", message, hint=hint, severity="warning")


def _unused(fleet: Fleet) -> Iterator[tuple[User, Policy | None]]:
    """Yield the users that no policy mentions, each with a policy that has ended and mentioned it."""
    used = {user.name for users in {id(p.users): p.users for p in fleet.policies.values()}.values() for user in users}
    ended = {user.name: policy for policy in fleet.ended_policies.values() for user in policy.users}
    for user in fleet.users.values():
        if user.name not in used:
            yield user, ended.get(user.name)


def ended_tables(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find users and policies whose ``until`` is over; not a policy that the finding about a user names."""
    named = {policy.name for _, policy in _unused(fleet) if policy}
    policies = (policy for policy in fleet.ended_policies.values() if policy.name not in named)
    tables: tuple[User | Policy, ...] = (*fleet.ended_users.values(), *policies)
    for table in tables:
        found = finder(fleet, table)
        message = f'{found.kind} "{table.name}" ended at {_instant(table.table.until)} and counts as deleted'
        hint = f"delete {header(found.kind, table.name)}, or set a later until"
        yield found.fault("PGT126", message, "until", hint=hint, severity="warning")


def _instant(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment else ""


def unused_cas(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find CAs that sign nothing and that no server trusts."""
    if fleet.public and not any(server.system for server in fleet.identities()):
        message = '[ca.system] is not used: no server has ca = "system"'
        yield finder(fleet, fleet.public).fault("PGT122", message, hint="delete it", severity="warning")
    used = {ca.name for ca in _used(fleet)}
    for ca in fleet.cas.values():
        if ca.name not in used and ca.depth == 0:
            message = f'ca "{ca.name}" is not used: it signs nothing, and no server trusts it'
            yield finder(fleet, ca).fault("PGT122", message, hint="delete it", severity="warning")


def _used(fleet: Fleet) -> Iterator[Authority]:
    for server in fleet.identities():
        yield from (*server.client_cas, *server.trust)
        if server.ca:
            yield server.ca
    for user in fleet.users.values():
        if user.ca:
            yield user.ca


def _bracketed(host: str) -> str | None:
    bare = host.strip("[]")
    return bare if bare != host and is_address(bare) else None


def _is_numeric(host: str) -> bool:
    return ":" in host or all(c.isdigit() or c == "." for c in host)


VALUES = (
    reserved_names,
    names_on_one_path,
    hosts,
    equal_hosts,
    long_roles,
    predefined_roles,
    long_databases,
    blanks_at_the_end,
    directories,
)
PRESENT = (shared_addresses, ports_elsewhere)
ABSENT = (unused_users, ended_tables, unused_cas)
