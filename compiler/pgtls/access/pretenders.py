"""Report who gets the key or the name of another with a change of the spec, and could pretend to be it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.access.brought import brought
from pgtls.access.comparisons import ProtectionChange
from pgtls.access.successors import former_users, host, hosts
from pgtls.fleet.files import in_both_states, path_in, public_files, references
from pgtls.fleet.model import Pooler

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pgtls.fleet.model import Fleet, Identity, Server
    from pgtls.pki.model import Entity


def names(old: Fleet, new: Fleet) -> Iterator[ProtectionChange]:
    """Find new servers that can pretend to be another one: with its key, or a certificate in a name of it."""
    known = {identity.entity: identity for identity in old.identities()}
    arrived = [identity for identity in new.identities() if identity.entity not in known]
    renamed, keys = _renamed(old, new, arrived), (_key_files(old), _key_files(new))
    files = brought(new)
    for identity in arrived:
        file = files.get(identity.entity)
        proved = dict.fromkeys((*identity.table.hosts, *(file.names if file else ())))
        for other in known.values():
            if renamed.get(other.entity) == identity.entity:
                continue
            if not keys[1].get(identity.entity, frozenset()).isdisjoint(keys[0].get(other.entity, ())):
                holders = other.entity, f"{other.entity}, {identity.entity}"
                yield ProtectionChange("weakened", other.entity, "its key is on other machines", *holders)
            for name in filter(None, (_shared(own, one) for one in other.table.hosts for own in proved)):
                what = f"its certificate proves the name {name}"
                yield ProtectionChange("weakened", identity.entity, what, other.entity, identity.entity)


def _renamed(old: Fleet, new: Fleet, arrived: Sequence[Identity]) -> dict[Entity, Entity]:
    """Return which new server is which one that is gone: it has no other names, and a key of the same origin.

    Of several that may be the same one, all but one pretend to be it, so none counts.
    """
    present, files = {identity.entity for identity in new.identities()}, (public_files(old), public_files(new))
    found: dict[Entity, list[Entity]] = {}
    for identity in arrived:
        for other in old.identities():
            same = all(any(proves(had, own) for had in other.table.hosts) for own in identity.table.hosts)
            origins = _origin(other, files[0]), _origin(identity, files[1])
            if other.entity not in present and same and origins[0] == origins[1]:
                found.setdefault(other.entity, []).append(identity.entity)
    return {former: heirs[0] for former, heirs in found.items() if len(heirs) == 1}


def ports(old: Fleet, new: Fleet) -> Iterator[ProtectionChange]:
    """Find servers whose clients dial another one from now on, which proves the same name.

    Clients dial the first host of each identity; the other one may have that host as any of its names.
    """
    for name, server in new.servers.items():
        if name not in old.servers:
            continue
        for address in _dialled(server) - _dialled(old.servers[name]):
            had = [former for former in old.servers.values() if _is_at(former, *address)]
            if had and old.servers[name] not in had:
                what = f"its clients dial what was {had[0].entity}"
                states = (str(fleet.servers[name].table.port) for fleet in (old, new))
                yield ProtectionChange("weakened", server.entity, what, *states)


def _dialled(server: Server) -> frozenset[tuple[str, int]]:
    return frozenset((host(identity.table.hosts[0]), server.table.port) for identity in server.identities)


def _is_at(server: Server, name: str, port: int) -> bool:
    return server.table.port == port and any(proves(own, name) for own in hosts(server))


def _key_files(fleet: Fleet) -> dict[str, frozenset[str]]:
    """Return what tells the keys in ``key_file`` apart, by entity: their path, and the certificates that they fit."""
    files, found = brought(fleet), dict[str, frozenset[str]]()
    for (entity, field), one in references(fleet).items():
        if field == "key_file":
            leaf = files[entity].certificates[:1] if entity in files else ()
            paths = path_in(fleet, one), in_both_states(fleet, one)
            found[entity] = frozenset((*paths, *(each.spki_sha256 for each in leaf)))
    return found


def _origin(identity: Identity, files: Mapping[tuple[str, str], tuple[str, str]]) -> tuple[object, ...]:
    """Return where the key of an identity comes from: a file by its path and, unless it is a key, its content."""
    named = ((name, getattr(identity.table, name)) for name in ("csr_file", "cert_file", "key_file", "external"))
    return tuple((value, files.get((identity.entity, name))) for name, value in named)


def proves(own: str, name: str) -> bool:
    """Return whether a certificate with a name of its own is good for another; a wildcard is one label (RFC 6125)."""
    one, other = host(own), host(name)
    return one == other or (one.startswith("*.") and one[1:] == f".{other.partition('.')[2]}")


def _shared(one: str, other: str) -> str | None:
    """Return a name for which certificates with each of two names are good."""
    return other if proves(one, other) else one if proves(other, one) else None


def keys(old: Fleet, new: Fleet) -> Iterator[ProtectionChange]:
    """Find users whose key goes to more machines: to poolers and standbys that log in as them.

    Each user who was there may have access, because a map or ``verify-ca`` also admits users that no policy names. A
    user with a new name may have the role or the common name of one who is gone.
    """
    before, after, former = _logging_in(old), _logging_in(new), former_users(old, new)
    for user, will in sorted(after.items()):
        for was in (before.get(name, {}) for name in former.get(user, ())):
            if len(will) > len(was) or any(host not in was.values() for name, host in will.items() if name not in was):
                holders = (", ".join(was) or "none", ", ".join(will))
                yield ProtectionChange("weakened", f"user.{user}", "its key is on other machines", *holders)


def _logging_in(fleet: Fleet) -> dict[str, dict[str, str]]:
    """Return the poolers and standbys that log in as each user, with the first host of each."""
    found: dict[str, dict[str, str]] = {}
    for name, server in sorted(fleet.servers.items()):
        user = server.written.user if isinstance(server, Pooler) else server.table.replication_user
        if user:
            found.setdefault(user, {})[name] = host(server.table.hosts[0])
    return found
