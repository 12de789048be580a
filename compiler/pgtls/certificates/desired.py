"""Compute the certificates that a fleet requires: a profile for each entity."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from pgtls.fleet.model import subject_attributes
from pgtls.pki.model import COMMON_NAME_LENGTH, Constraints, Entity, Profile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.fleet.model import Authority, Fleet, Identity, User
    from pgtls.language.values import NameConstraints


def wanted(fleet: Fleet) -> dict[Entity, Profile]:
    """Return every certificate that the spec requires, by entity: CAs after their issuers, then servers and users."""
    cas = sorted(fleet.cas.values(), key=lambda ca: (len(ca.chain), ca.name))
    return {profile.entity: profile for profile in _profiles(fleet, cas)}


def _profiles(fleet: Fleet, cas: list[Authority]) -> Iterator[Profile]:
    for ca in cas:
        yield _ca(ca)
    for identity in fleet.identities():
        yield _server(identity)
    for user in fleet.users.values():
        if user.ca:
            yield _user(user, user.ca)


def _ca(ca: Authority) -> Profile:
    return Profile(
        entity=ca.entity,
        kind="ca",
        issuer=ca.issuer.name if ca.issuer else None,
        subject=subject_attributes(ca.table.subject, ca.common_name),
        dns_names=(),
        ip_addresses=(),
        key_algorithm=ca.table.key_algorithm,
        validity=ca.table.validity,
        renew_before=ca.table.renew_before,
        rotate_key=False,
        path_length=ca.path_length,
        constraints=_constraints(ca.table.name_constraints),
    )


def _server(server: Identity) -> Profile:
    dns, addresses = _split_hosts(server.table.hosts)
    return Profile(
        entity=server.entity,
        kind="server",
        issuer=server.ca.name if server.ca else None,
        subject=subject_attributes(server.table.subject, server_common_name(server)),
        dns_names=dns,
        ip_addresses=addresses,
        key_algorithm=server.table.key_algorithm,
        validity=server.validity,
        renew_before=server.table.renew_before,
        rotate_key=server.table.rotate_key or server.self_signed,
        revoke_before=server.table.revoke_before,
    )


def _user(user: User, ca: Authority) -> Profile:
    return Profile(
        entity=user.entity,
        kind="user",
        issuer=ca.name,
        subject=subject_attributes(user.table.subject, user.common_name),
        dns_names=user.dns_names,
        ip_addresses=(),
        key_algorithm=user.table.key_algorithm,
        validity=user.table.validity,
        renew_before=user.table.renew_before,
        rotate_key=user.table.rotate_key,
        until=user.table.until,
        revoke_before=user.table.revoke_before,
    )


def server_common_name(server: Identity) -> str:
    """Return the first host that is a name, else the first address.

    Return NAME if that does not fit into a common name.

    If no host is a name, libpq before 15 compares the address that it dials only with the common name.
    """
    hosts = server.table.hosts
    first = next((host for host in hosts if not _address(host)), hosts[0])
    return server.entity.table[1] if len(first) > COMMON_NAME_LENGTH else first


def _split_hosts(hosts: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    addresses = {host: address for host in hosts if (address := _address(host))}
    return tuple(host for host in hosts if host not in addresses), tuple(addresses.values())


def _address(host: str) -> str | None:
    try:
        return str(ip_address(host))
    except ValueError:
        return None


def _constraints(table: NameConstraints | None) -> Constraints | None:
    if table is None:
        return None
    return Constraints(table.permitted_dns, table.permitted_ip, table.excluded_dns, table.excluded_ip)
