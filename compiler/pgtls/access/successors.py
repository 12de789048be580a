"""Tell which new entity takes the place of which one that is gone: a new name hides no weakening."""

from __future__ import annotations

from functools import cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pgtls.fleet.model import Policy, Pooler, Server, User
from pgtls.language.values import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from pgtls.fleet.model import Authority, Fleet, Identity

    Thing = Authority | Identity | User | Policy

_T = TypeVar("_T")

MOST = 5
"""The largest number of entities with which one is compared. A new one that may be more of them is a weakening."""


def formers(old: Fleet, new: Fleet) -> Mapping[str, tuple[str, ...]]:
    """Return, for each new server, those that are gone and that it may be: at the same host and port, or host.

    If it has no host of any of them, it may be any that no other new server takes over.
    """
    gone, arrived = _apart(old.servers, new.servers)
    return _or_any(gone, _in_place(gone, arrived, _addresses, hosts))


def _apart(before: Mapping[str, _T], after: Mapping[str, _T]) -> tuple[dict[str, _T], dict[str, _T]]:
    """Return what is gone and what is new, in the order of names."""
    both = (before, after), (after, before)
    gone, arrived = ({name: one[name] for name in sorted(one.keys() - other.keys())} for one, other in both)
    return gone, arrived


def _in_place(
    gone: Mapping[str, _T], arrived: Mapping[str, _T], *places: Callable[[_T], frozenset[Any]]
) -> dict[str, tuple[str, ...]]:
    """Return, for each new entity, those that are gone and share its place: the first place that it shares with any."""
    found = {}
    for name, thing in arrived.items():
        shared = (tuple(other for other, former in gone.items() if at(former) & at(thing)) for at in places)
        found[name] = next(filter(None, shared), ())
    return found


def _or_any(gone: Collection[str], found: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Let each new entity without a former one be any that no other new one replaces."""
    left = tuple(name for name in gone if not any(name in others for others in found.values()))
    return {name: others or left for name, others in found.items()}


def hosts(server: Server) -> frozenset[str]:
    """Return all names and addresses of a server."""
    return frozenset(host(one) for identity in server.identities for one in identity.table.hosts)


@cache
def host(text: str) -> str:
    """Write a host in one form: an address may be spelled in many ways, one of IPv4 also within IPv6."""
    try:
        address = ip_address(text)
    except ValueError:
        return text.lower()
    return str(getattr(address, "ipv4_mapped", None) or address)


def _addresses(server: Server) -> frozenset[tuple[str, int]]:
    return frozenset((one, server.table.port) for one in hosts(server))


class Pair(NamedTuple):
    """An entity before and after. ``renamed``: it has another name, and may take the place of the one before."""

    kind: str
    before: Thing
    after: Thing
    renamed: bool = False

    @property
    def moved(self) -> bool:
        """Whether a server takes the place of one at other hosts: clients of the old name dial it no more."""
        one, other = self.before, self.after
        return self.renamed and isinstance(one, Server) and isinstance(other, Server) and not hosts(one) & hosts(other)


def kinds(fleet: Fleet) -> dict[str, Mapping[str, Thing]]:
    """Return what is compared, by kind of table and by name."""
    cas = {ca.name: ca for ca in (*fleet.cas.values(), fleet.public) if ca}
    poolers = {pooler.name: pooler for pooler in fleet.poolers}
    return {"ca": cas, "server": fleet.clusters, "pooler": poolers, "user": fleet.users, "policy": fleet.policies}


def pairs(old: Fleet, new: Fleet) -> Iterator[Pair]:
    """Yield what is to be compared. A new name hides no weakening: an entity may take the place of one that is gone.

    Servers and poolers do at the same host or as any of their kind, CAs and others as :func:`_place` says; a CA without
    a place may be any.
    """
    for kind, before, after in _by_kind(old, new):
        yield from (Pair(kind, before[name], after[name]) for name in sorted(before.keys() & after.keys()))
        for name, others in _formers(kind, before, after).items():
            some = others if len(others) <= MOST else ()
            yield from (Pair(kind, before[other], after[name], renamed=True) for other in some)


def unclear(old: Fleet, new: Fleet) -> Iterator[tuple[str, Thing, tuple[str, ...]]]:
    """Yield the kind of each new entity that may take the place of so many that it is compared with none of them."""
    for kind, before, after in _by_kind(old, new):
        many = ((name, them) for name, them in _formers(kind, before, after).items() if len(them) > MOST)
        yield from ((kind, after[name], them) for name, them in many)


def _by_kind(old: Fleet, new: Fleet) -> Iterator[tuple[str, Mapping[str, Thing], Mapping[str, Thing]]]:
    return (
        (kind, before, after) for (kind, before), after in zip(kinds(old).items(), kinds(new).values(), strict=True)
    )


def _formers(kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Mapping[str, tuple[str, ...]]:
    gone, arrived = _apart(before, after)
    serves = kind in ("server", "pooler")
    found = _in_place(gone, arrived, *((_addresses, hosts) if serves else (_place,)))
    return _or_any(gone, found) if serves or kind == "ca" else found


def former_users(old: Fleet, new: Fleet) -> Mapping[str, tuple[str, ...]]:
    """Return, for each user, whose bundle its own is compared with: that of its name, or of those that it replaces."""
    found: dict[str, tuple[str, ...]] = {}
    for kind, before, after, _ in pairs(old, new):
        if kind == "user":
            found[after.name] = (*found.get(after.name, ()), before.name)
    return found


def _place(thing: Thing) -> frozenset[object]:
    """Return what an entity stands for, apart from its name: a common name, roles, or roles and their databases."""
    table = table_of(thing)
    if isinstance(thing, User):
        return frozenset((*thing.roles, thing.common_name))
    if isinstance(thing, Policy):
        roles = {role for user in thing.users for role in user.roles} | {*thing.roles}
        return frozenset((role, plain(one)) for role in roles for one in table.databases)
    return frozenset((table.common_name,)) if table.common_name else frozenset()


def table_of(thing: Thing) -> Any:
    """Return the table of the spec."""
    return thing.written if isinstance(thing, Pooler) else thing.table
