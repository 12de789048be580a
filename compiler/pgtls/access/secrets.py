"""Report which servers get a secret with a change of the spec: a build writes it into their pg_hba.conf."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.access.comparisons import ProtectionChange
from pgtls.access.successors import hosts
from pgtls.language.values import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pgtls.fleet.model import Fleet, Policy, Server


def secrets(old: Fleet, new: Fleet) -> Iterator[ProtectionChange]:
    """Find secrets that further servers get, whatever their policies admit: who runs such a server reads them.

    A server that has the host of one that had the secret, and is gone, is the same machine.
    """
    before, after = _holders(old), _holders(new)
    for source, holders in after.items():
        had = before.get(source, {})
        gone = (server for server, _ in had.values() if server.name not in new.servers)
        places = frozenset(place for server in gone for place in hosts(server))
        brings = [
            policy.entity
            for entity, (server, policy) in holders.items()
            if entity not in had and places.isdisjoint(hosts(server))
        ]
        if brings:
            states = (", ".join(sorted(servers)) or "none" for servers in (had, holders))
            yield ProtectionChange("weakened", min(brings), f"other machines get the secret {source}", *states)


def _holders(fleet: Fleet) -> Mapping[str, Mapping[str, tuple[Server, Policy]]]:
    """Return the servers that get each secret, with a policy that brings it there, by its source and their entities."""
    found: dict[str, dict[str, tuple[Server, Policy]]] = {}
    for policy in fleet.policies.values():
        for value in policy.table.auth_options.values():
            if isinstance(value, Secret):
                holders = found.setdefault(value.described, {})
                holders |= {server.entity: (server, policy) for server in policy.servers}
    return found
