"""Select the part of a fleet that rules can judge: without faulty fields, and without what depends on them.

A field that could not be read has a stand-in, or is left out. A finding that involves that field follows from the
stand-in, not from the spec.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pgtls.fleet.authorities import PUBLIC
from pgtls.fleet.model import Pooler
from pgtls.hba.model import Name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from pgtls.diagnostics import Path
    from pgtls.fleet.model import Authority, Fleet, Policy, Server, User

_OWN_AFFAIR = {
    "ca": {"common_name", "subject", "renew_before", "path_length", "crl_validity", "revoked"},
    "server": {
        *("port", "directory", "socket_directory", "renew_before", "rotate_key", "subject", "settings"),
        *("ciphers", "tls13_ciphers", "groups", "no_local", "revoke_before"),
    },
    "pooler": {"port", "directory", "renew_before", "rotate_key", "subject", "revoke_before"},
    "user": {
        "directory",
        "renew_before",
        "rotate_key",
        "os_users",
        "key_algorithm",
        "formats",
        "bundle",
        "revoke_before",
    },
    "policy": {"description"},
}
"""The fields that no rule holds against another field or table: what is left out there changes no other finding."""


_ELEMENTS = {("policy", "users"), ("policy", "servers"), ("group", "users"), ("network", "addresses")}
"""The lists of which one element may be left out, and what is found of the others holds."""


def sound(fleet: Fleet, faulty: Collection[Path]) -> Fleet:
    """Omit what is faulty and what depends on it: entities, policies, and the servers and users of other policies.

    ``faulty`` are paths of tables, of their fields or of what stands in these.
    """
    doubtful = {path[:2] for path in _in_tables(fleet, faulty) if not _of_no_consequence(path)}
    if not doubtful:
        return fleet
    cas = {
        name: ca
        for name, ca in fleet.cas.items()
        if doubtful.isdisjoint(("ca", link.name) for link in ca.chain)
    }  # fmt: skip
    servers = {
        name: server
        for name, server in fleet.servers.items()
        if (server.kind, name) not in doubtful
        and all(_all_in(cas, (one.ca, *one.client_cas, *one.trust)) for one in server.identities)
        and (("ca", PUBLIC) not in doubtful or not any(one.system for one in server.identities))
    }
    users = {
        name: user
        for name, user in fleet.users.items()
        if ("user", name) not in doubtful and _all_in(cas, (user.ca,))
    }  # fmt: skip
    servers = {name: server for name, server in servers.items() if _reaches(server, servers, users)}
    judged = (_narrowed(policy, servers, users) for policy in fleet.policies.values() if not _leans(policy, doubtful))
    policies = {policy.name: policy for policy in judged if policy.servers and policy.roles}
    public = None if ("ca", PUBLIC) in doubtful else fleet.public
    return replace(fleet, cas=cas, servers=servers, users=users, policies=policies, public=public)


def _reaches(server: Server, servers: Mapping[str, Server], users: Mapping[str, User]) -> bool:
    """Tell whether a pooler still has its server and its user there; a server needs nobody."""
    if not isinstance(server, Pooler):
        return True
    return server.written.server in servers and server.written.user in users


def _in_tables(fleet: Fleet, faulty: Collection[Path]) -> Iterator[Path]:
    """Return the paths of the affected tables: a default affects the tables that do not have the field themselves."""
    for path in faulty:
        if path[:1] != ("defaults",):
            yield path
        elif len(path) > 2:
            yield from (
                (kind, name, *path[2:])
                for (kind, name), keys in fleet.own.items()
                if kind == path[1] and path[2] not in keys
            )


def _of_no_consequence(path: Path) -> bool:
    if len(path) < 3:
        return False
    kind, key = str(path[0]), str(path[2])
    return key in _OWN_AFFAIR.get(kind, ()) or (len(path) > 3 and (kind, key) in _ELEMENTS)


def _all_in(cas: Mapping[str, Authority], used: Iterable[Authority | None]) -> bool:
    return all(ca is None or ca.name in cas for ca in used)


def _leans(policy: Policy, doubtful: Collection[Path]) -> bool:
    """Tell whether a policy, or a group or network that it names, is in doubt."""
    groups = {("group", item[1:]) for item in policy.table.users if isinstance(item, str) and item[0] == "@"}
    networks = {("network", item[1:]) for item in policy.table.from_ if isinstance(item, str) and item[0] == "@"}
    return not {policy.path[:2], *groups, *networks}.isdisjoint(doubtful)


def _narrowed(policy: Policy, servers: Mapping[str, Server], users: Mapping[str, User]) -> Policy:
    """Restrict a policy to the servers and users that are left."""
    gone = {Name(role) for user in policy.users if user.name not in users for role in user.roles}
    return replace(
        policy,
        servers=tuple(server for server in policy.servers if server.name in servers),
        users=tuple(user for user in policy.users if user.name in users),
        named=tuple(user for user in policy.named if user.name in users),
        roles=tuple(role for role in policy.roles if role not in gone),
    )
