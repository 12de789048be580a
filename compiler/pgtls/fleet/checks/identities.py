"""Further identities of a server by host name (SNI): its version, their names, and who could pass for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.fleet.addresses import is_address
from pgtls.fleet.fields import finder, header
from pgtls.postgres.libpq import SNI_SINCE as CLIENT_SNI_SINCE
from pgtls.postgres.settings import SNI_SINCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Fleet, Identity


def names(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find wildcards and addresses, which are no host names that a client asks for."""
    for identity in (one for server in fleet.servers.values() for one in server.sni):
        for index, host in enumerate(identity.table.hosts):
            if is_address(host):
                message = f'"{host}" is an address: clients ask a server for host names only (SNI)'
                hint = f"name the host, or add the address to hosts of {header(*identity.entity.table)}"
                yield finder(fleet, identity).fault("PGT285", message, "hosts", index, hint=hint)
            elif host.startswith("*."):
                message = f'"{host}" is a wildcard: PostgreSQL compares the name that a client asks for as a whole'
                yield finder(fleet, identity).fault("PGT285", message, "hosts", index, hint="list the host names")


def shared_names(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find host names of two identities of one server."""
    for server in fleet.servers.values():
        owners: dict[str, Identity] = {}
        for identity in server.identities:
            for index, host in enumerate(identity.table.hosts):
                if owners.setdefault(host.lower(), identity) is not identity:
                    message = f'"{host}" is a host of two identities of server "{server.name}"'
                    hint = "delete one of them: a host name has one certificate"
                    yield finder(fleet, identity).fault("PGT284", message, "hosts", index, hint=hint)


def before_sni(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find identities by host name before PostgreSQL 19."""
    for server in fleet.servers.values():
        version = server.table.postgres
        if server.sni and version < SNI_SINCE:
            message = f"PostgreSQL {version} has one certificate for all host names: `sni` came with {SNI_SINCE}"
            hint = f'set postgres = {SNI_SINCE} once server "{server.name}" has it, or use a server for each identity'
            yield finder(fleet, server).fault("PGT425", message, "sni", hint=hint)


def clients_without_sni(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find users whose libpq may ask for no host name: their bundles have the default identity only."""
    told: set[str] = set()
    for policy in fleet.policies.values():
        server = next((server for server in policy.servers if server.sni), None)
        for user in policy.users if server and policy.requires_tls and not policy.local else ():
            if server and user.table.libpq < CLIENT_SNI_SINCE and user.name not in told:
                told.add(user.name)
                message = (
                    f'libpq {user.table.libpq}, which user "{user.name}" may have, does not ask for a host name: it '
                    f'gets the default certificate of server "{server.name}", whatever name it dials'
                )
                hint = f"set libpq = {CLIENT_SNI_SINCE} when every client has it"
                yield finder(fleet, user).fault("PGT426", message, "libpq", hint=hint, severity="warning")


VALUES = (names, shared_names)
PRESENT = (before_sni, clients_without_sni)
