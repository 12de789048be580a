"""Standbys: the policy by which each of them replicates its primary, and the policies that it has from it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pgtls.fleet.addresses import Fault, parse_address
from pgtls.fleet.model import Policy, Pooler
from pgtls.hba.model import Keyword, Name
from pgtls.language.models import PolicyTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pgtls.fleet.model import Fleet, Server, User
    from pgtls.hba.model import Address
    from pgtls.language.source import Loaded
    from pgtls.pki.model import Entity


def name_of(standby: str) -> str:
    """Name the policy by which a standby replicates: no table of a spec can have a colon in its name."""
    return f"standby:{standby}"


def replication(servers: Mapping[str, Server], users: Mapping[str, User]) -> dict[str, Policy]:
    """Return the policies that follow from ``standby_of``, by name: physical replication by certificate over TLS."""
    links = ((server, server.table.standby_of, server.table.replication_user) for server in servers.values())
    found = (
        _policy(server, servers[primary], users[user])
        for server, primary, user in links
        if primary is not None and user is not None and primary in servers and user in users
    )
    return {policy.name: policy for policy in found}


def holders(fleet: Fleet) -> Mapping[Entity, tuple[Entity, ...]]:
    """Return the standbys and poolers that log in as a user, by user: they have copies of its certificate and key."""
    found: dict[Entity, tuple[Entity, ...]] = {}
    for server in fleet.servers.values():
        user = server.user if isinstance(server, Pooler) else fleet.users.get(server.table.replication_user or "")
        if user:
            found[user.entity] = (*found.get(user.entity, ()), server.entity)
    return found


def _policy(standby: Server, primary: Server, user: User) -> Policy:
    table = PolicyTable.model_construct(
        _fields_set=set(),
        servers=(primary.name,),
        users=(user.name,),
        databases=(Keyword.REPLICATION.value,),
        from_=standby.table.hosts,
        sslmode="verify-full",
        auth="cert",
    )
    return Policy(
        name=name_of(standby.name),
        table=table,
        servers=(primary,),
        users=(user,),
        roles=tuple(map(Name, user.roles)),
        databases=(Keyword.REPLICATION,),
        addresses=tuple(dict.fromkeys(addresses_of(standby.table.hosts))),
        local=False,
        sslmode="verify-full",
        named=(user,),
        follows=("server", standby.name, "replication_user"),
    )


def addresses_of(hosts: Iterable[str]) -> Iterator[Address]:
    """Yield where a machine connects from: its hosts, of which a wildcard is a suffix."""
    for host in hosts:
        address = parse_address(host.removeprefix("*"))
        if not isinstance(address, Fault | Keyword):  # which a check of hosts reports
            yield address


def inherited(loaded: Loaded, servers: Mapping[str, Server], policies: Mapping[str, Policy]) -> dict[str, Policy]:
    """Return the policies with the standbys that have them from their primary: those that no policy names."""
    own = {name for table in loaded.spec.policy.values() for name in table.servers or ()}
    sources = {name: next(_sources(servers, name, own), None) for name in servers}
    heirs: dict[str, list[Server]] = {}
    for name, source in sources.items():
        if source is not None:
            heirs.setdefault(source, []).append(servers[name])
    return {name: _bequeathed(policy, heirs) if heirs else policy for name, policy in policies.items()}


def _sources(servers: Mapping[str, Server], name: str, own: set[str]) -> Iterator[str]:
    """Yield the server whose policies a standby has: the nearest above it with policies of its own, or the primary."""
    above, seen = name, {name}
    while above not in own and (primary := servers[above].table.standby_of) in servers and primary not in seen:
        above = str(primary)
        seen.add(above)
    if above != name:
        yield above


def _bequeathed(policy: Policy, heirs: Mapping[str, list[Server]]) -> Policy:
    more = {heir.name: heir for server in policy.servers for heir in heirs.get(server.name, ())}
    everything = {server.name: server for server in policy.servers} | more
    return replace(policy, servers=tuple(everything[name] for name in sorted(everything))) if more else policy


def primary_of(fleet: Fleet, standby: Server) -> tuple[Server, Policy] | None:
    """Return the server that a standby replicates, and the policy by which it does; None where there is none."""
    policy = fleet.policies.get(name_of(standby.name))
    return (policy.servers[0], policy) if policy else None
