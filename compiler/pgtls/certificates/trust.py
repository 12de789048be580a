"""Compute which CAs a server trusts, and whose CRLs a server or a bundle needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.certificates.model import Wait
from pgtls.fleet.fields import finder

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from pgtls.access.model import Entry
    from pgtls.certificates.model import Decision
    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Authority, Fleet, Identity, Server, User
    from pgtls.pki.model import Entity


def checked_cas(fleet: Fleet, server: Server) -> tuple[Authority, ...]:
    """Return the CAs whose CRLs a server needs: all in the chains that it trusts (OpenSSL: CRL_CHECK_ALL).

    These are the CAs that it names, all above them, and all below, which also sign its clients.
    """
    if not server.table.crl:
        return ()
    named = {ca.name for ca in server.accepted_cas}
    links = {link.name: link for ca in server.accepted_cas for link in ca.chain}
    links |= {ca.name: ca for ca in fleet.cas.values() if any(link.name in named for link in ca.chain)}
    return tuple(link for link in links.values() if link.table.crl)


def unsigned(decisions: Mapping[Entity, Decision]) -> frozenset[Entity]:
    """Return the entities that have no certificate yet because another CA must sign it."""
    return frozenset(
        entity for entity, decision in decisions.items() if isinstance(decision, Wait) and decision.found.pem is None
    )


def trusts_somebody(server: Identity, lacking: Collection[Entity]) -> bool:
    """Return whether an identity has a client CA's certificate: PostgreSQL does not start with an empty ssl_ca_file."""
    return any(link.entity not in lacking for ca in server.client_cas for link in ca.chain)


def without_client_cas(fleet: Fleet, lacking: Collection[Entity]) -> Iterator[Diagnostic]:
    """Find servers whose client CAs all wait for a signature."""
    for server in fleet.identities():
        if server.client_cas and not trusts_somebody(server, lacking):
            names = ", ".join(f'"{ca.name}"' for ca in server.client_cas)
            whose = f'{server.entity.kind} "{server.name}"'
            message = f"nobody can log in to {whose} by certificate yet: client CA {names} is not signed"
            hint = "have its CSR signed, name the certificate in cert_file, build again, and deploy the server"
            yield finder(fleet, server).fault("PGT116", message, "client_ca", hint=hint, severity="warning")


def server_cas(entries: Sequence[Entry]) -> tuple[Authority, ...]:
    """Return the CAs of the servers that a bundle connects to, and those before and after their rollover."""
    identities = {entry.identity.name: entry.identity for entry in entries}.values()
    return tuple(ca for one in identities for ca in (one.ca, *one.trust) if ca)


def listed_cas(user: User, entries: Sequence[Entry]) -> tuple[Authority, ...]:
    """Return the CAs whose CRLs a bundle contains, if any: libpq checks all in a chain (X509_V_FLAG_CRL_CHECK_ALL)."""
    links = {link.name: link for ca in server_cas(entries) for link in ca.chain}
    return tuple(links[name] for name in sorted(links) if links[name].table.crl) if user.table.crl else ()


def client_roots(entries: Sequence[Entry]) -> list[Authority]:
    """Return the roots that a client must trust: of its servers, before and after a rollover."""
    found = {ca.root.name: ca.root for ca in server_cas(entries)}
    return [found[name] for name in sorted(found)]


def rootless(entries: Sequence[Entry]) -> list[Identity]:
    """Return the servers whose certificate is signed neither by a CA of the spec nor by a public CA."""
    servers = {e.identity.name: e.identity for e in entries if e.identity.ca is None and not e.identity.system}
    return [servers[name] for name in sorted(servers)]


def trusted_roots(entries: Sequence[Entry]) -> bool:
    """Return whether a client of these servers needs a file of roots."""
    return bool(client_roots(entries) or rootless(entries))
