"""Tell which new server takes the place of which one that is gone: a new name hides no weakening."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgtls.fleet.model import Fleet, Server

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
