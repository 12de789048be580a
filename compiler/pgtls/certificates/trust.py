"""Whose CRLs a server or a bundle needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgtls.access.model import Entry
    from pgtls.fleet.model import Authority, Fleet, Server, User


def checked_cas(fleet: Fleet, server: Server) -> tuple[Authority, ...]:
    """Give the CAs whose CRLs a server needs: all in the chains that it trusts, since PostgreSQL checks each (CRL_CHECK_ALL).

    Those are the CAs that it names, all above them, and all below, which sign its clients as well.
    """
    if not server.table.crl:
        return ()
    named = {ca.name for ca in server.client_cas}
    links = {link.name: link for ca in server.client_cas for link in ca.chain}
    links |= {ca.name: ca for ca in fleet.cas.values() if any(link.name in named for link in ca.chain)}
    return tuple(link for link in links.values() if link.table.crl)


def server_cas(entries: Sequence[Entry]) -> tuple[Authority, ...]:
    """Return the CAs of the servers that a bundle connects to, and those that they are rolled over from or to."""
    servers = {entry.server.name: entry.server for entry in entries}.values()
    return tuple(ca for server in servers for ca in (server.ca, *server.trust) if ca)


def listed_cas(user: User, entries: Sequence[Entry]) -> tuple[Authority, ...]:
    """Give the CAs whose CRLs a bundle carries, if it asks for any: libpq checks all in a chain (X509_V_FLAG_CRL_CHECK_ALL)."""
    links = {link.name: link for ca in server_cas(entries) for link in ca.chain}
    return tuple(links[name] for name in sorted(links) if links[name].table.crl) if user.table.crl else ()
