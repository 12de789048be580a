"""Tell which new entity takes the place of which one that is gone: a new name hides no weakening."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NamedTuple

from pgtls.fleet.model import Authority, Identity, Policy, Pooler, User
from pgtls.language.values import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pgtls.fleet.model import Fleet, Server

    Thing = Authority | Identity | User | Policy

MOST = 5
"""The largest number of servers with which one is compared. A new server that may be more of them is a weakening."""


def formers(old: Fleet, new: Fleet) -> Mapping[str, tuple[str, ...]]:
    """Return, for each new server, those that are gone and that it may be: at the same host and port, or host.

    If it has no host of any of them, it may be any that no other new server takes over.
    """
    gone = {name: server for name, server in old.servers.items() if name not in new.servers}
    arrived = {name: server for name, server in new.servers.items() if name not in old.servers}
    found = {
        name: tuple(other for other, former in gone.items() if _addresses(former) & _addresses(server))
        or tuple(other for other, former in gone.items() if hosts(former) & hosts(server))
        for name, server in arrived.items()
    }
    left = tuple(name for name in gone if not any(name in others for others in found.values()))
    return {name: others or left for name, others in found.items()}


def hosts(server: Server) -> frozenset[str]:
    """Return all names and addresses of a server."""
    return frozenset(host(one) for identity in server.identities for one in identity.table.hosts)


def host(text: str) -> str:
    """Write a host in one form: an address may be spelled in many ways."""
    try:
        return str(ip_address(text))
    except ValueError:
        return text.lower()


def _addresses(server: Server) -> frozenset[tuple[str, int]]:
    return frozenset((one, server.table.port) for one in hosts(server))


class Pair(NamedTuple):
    """An entity before and after. ``renamed``: it has another name, and takes the place of the one before."""

    kind: str
    before: Thing
    after: Thing
    renamed: bool = False


def kinds(fleet: Fleet) -> dict[str, Mapping[str, Thing]]:
    """Return what is compared, by kind of table and by name."""
    cas = {ca.name: ca for ca in (*fleet.cas.values(), fleet.public) if ca}
    poolers = {pooler.name: pooler for pooler in fleet.poolers}
    return {"ca": cas, "server": fleet.clusters, "pooler": poolers, "user": fleet.users, "policy": fleet.policies}


def pairs(old: Fleet, new: Fleet) -> Iterator[Pair]:
    """Yield what is to be compared. A new name hides no weakening: see :func:`_place`."""
    for (kind, before), after in zip(kinds(old).items(), kinds(new).values(), strict=True):
        yield from (Pair(kind, before[name], after[name]) for name in sorted(before.keys() & after.keys()))
        gone = [before[name] for name in sorted(before.keys() - after.keys())]
        for name in sorted(after.keys() - before.keys()):
            place = _place(after[name])
            yield from (Pair(kind, former, after[name], renamed=True) for former in gone if _place(former) & place)


def _place(thing: Thing) -> frozenset[object]:
    """Return what an entity stands for, apart from its name: host names, roles, or which roles use which database."""
    table = table_of(thing)
    if isinstance(thing, Identity):
        return frozenset(map(host, table.hosts))
    if isinstance(thing, User):
        return frozenset((*thing.roles, thing.common_name))
    if isinstance(thing, Policy):
        roles = {role for user in thing.users for role in user.roles} | {*thing.roles}
        return frozenset((role, plain(one)) for role in roles for one in table.databases)
    return frozenset((table.common_name,)) if table.common_name else frozenset()


def table_of(thing: Thing) -> Any:
    """Return the table of the spec."""
    return thing.written if isinstance(thing, Pooler) else thing.table
