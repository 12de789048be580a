"""Certificates: what would be issued, and whether their peers could take it."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_network
from typing import TYPE_CHECKING

from pgtls.fleet.addresses import host_name_fault, is_address
from pgtls.fleet.fields import entities, finder, header, listed
from pgtls.fleet.model import Authority, Identity, subject_attributes, values_of
from pgtls.pki.expected import taken_for_host
from pgtls.pki.model import COMMON_NAME_LENGTH
from pgtls.pki.name_constraints import in_domain, in_network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.fields import Finder
    from pgtls.fleet.model import Fleet, Server, User
    from pgtls.language.values import Subject

_LENGTHS = {
    "state": 128,
    "locality": 128,
    "organization": 64,
    "organizational_unit": 64,
    "email": 255,
}
"""Upper bounds of RFC 5280, appendix A.1, which are counted in bytes of UTF-8 by those who encode them."""


def long_subjects(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find parts of a subject that no certificate can hold."""
    for thing in entities(fleet):
        if isinstance(thing, Identity):
            continue  # its common name is one that fits
        name = thing.table.common_name or ""  # the default is the name of the table, which has its own check
        if len(name) > COMMON_NAME_LENGTH or len(name.encode()) > COMMON_NAME_LENGTH:
            yield finder(fleet, thing).fault(
                "PGT110", _too_long("the common name", name, COMMON_NAME_LENGTH), "common_name", hint=_SHORTEN
            )
    for owner in entities(fleet):
        if "subject" in owner.table.model_fields_set:
            yield from _long_parts(finder(fleet, owner), owner.table.subject)


def _long_parts(found: Finder, subject: Subject) -> Iterator[Diagnostic]:
    for key, most in _LENGTHS.items():
        part = getattr(subject, key)
        for index, value in enumerate(values_of(part)):
            if len(value.encode()) > most:
                place = ("subject", key) if isinstance(part, str) else ("subject", key, index)
                yield found.fault("PGT110", _too_long(key, value, most), *place, hint=_SHORTEN)


_SHORTEN = "shorten it"


def _too_long(what: str, value: str, most: int) -> str:
    unit = "characters" if value.isascii() else "bytes"
    return f'{what} "{value}" has {len(value.encode())} {unit}; a certificate allows {most}'


def validities(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find validities longer than the issuer's, and renewal windows as long as a life."""
    for thing in entities(fleet):
        issuer, table = _issuer(thing), thing.table
        if issuer and "validity" in table.model_fields_set and not issuer.table.cert_file:
            mine, its = table.validity, issuer.table.validity
            if mine and mine > its:
                message = (
                    f"{_span(mine)} is longer than the validity of its issuer ({_span(its)}), ca " + f'"{issuer.name}"'
                )
                hint = "shorten it: no certificate outlives its issuer"
                yield finder(fleet, thing).fault("PGT130", message, "validity", hint=hint)
        life = table.validity
        if life and table.renew_before and table.renew_before >= life:
            message = f"renew_before ({_span(table.renew_before)}) is not shorter than validity ({_span(life)})"
            hint = "shorten it: otherwise every build renews the certificate"
            yield finder(fleet, thing).fault("PGT131", message, "renew_before", hint=hint)


def _span(length: timedelta) -> str:
    hours = length // timedelta(hours=1)
    number, unit = next((hours // size, unit) for size, unit in _UNITS if hours % size == 0)
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


_UNITS = ((365 * 24, "year"), (24, "day"), (1, "hour"))


def _issuer(thing: Authority | Identity | User) -> Authority | None:
    return thing.issuer if isinstance(thing, Authority) else thing.ca


def path_lengths(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find path lengths too small for the CAs below (RFC 5280, 4.2.1.9)."""
    for ca in fleet.cas.values():
        allowed = ca.table.path_length
        if allowed is not None and allowed < ca.depth:
            levels = "level" if ca.depth == 1 else "levels"
            message = f'ca "{ca.name}" has {ca.depth} {levels} of CAs below it, but path_length allows {allowed}'
            yield finder(fleet, ca).fault(
                "PGT132", message, "path_length", hint=f"write path_length = {ca.depth}, or delete it"
            )


def constraints(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find name constraints that are no domains and networks (RFC 5280, 4.2.1.10)."""
    for ca in fleet.cas.values():
        names = ca.table.name_constraints
        for key in ("permitted_dns", "excluded_dns") if names else ():
            for index, domain in enumerate(getattr(names, key)):
                if fault := host_name_fault(domain.removeprefix("."), "PGT133"):
                    place = ("name_constraints", key, index)
                    yield finder(fleet, ca).fault("PGT133", fault.message, *place, hint=fault.hint)
        for key in ("permitted_ip", "excluded_ip") if names else ():
            for index, block in enumerate(getattr(names, key)):
                if (problem := _no_network(block)) is not None:
                    place = ("name_constraints", key, index)
                    yield finder(fleet, ca).fault("PGT133", f'"{block}" is not a network', *place, hint=problem or None)


def _no_network(text: str) -> str | None:
    try:
        ip_network(text)
    except ValueError:
        try:
            return f'write "{ip_network(text, strict=False)}"'
        except ValueError:
            return ""
    return None


def constrained_hosts(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find names of servers that the CAs above do not permit."""
    for server in fleet.identities():
        chain = server.ca.chain if server.ca else ()
        for index, host in enumerate(server.table.hosts):
            breach = next(((ca, words) for ca in chain if (words := _breach(ca, host))), None)
            if breach:
                hint = f"change the host, or name_constraints of {header('ca', breach[0].name)}"
                yield finder(fleet, server).fault("PGT134", breach[1], "hosts", index, hint=hint)
        if chain and all(map(is_address, server.table.hosts)) and (words := _cn_breach(chain, server.entity.table[1])):
            yield finder(fleet, server).fault(
                "PGT135", words, hint="add a host name, or give the server a name without dots"
            )


def constrained_users(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find users whose dotted common name OpenSSL takes for a host name that the DNS constraints above do not permit.

    Such a user gets a SAN that they permit, since OpenSSL ignores the common name of a certificate with a SAN; without
    such a SAN, the user could not connect.
    """
    for user in fleet.users.values():
        if not user.ca or not taken_for_host(user.common_name):
            continue
        chain = user.ca.chain
        domains = [d for ca in chain if ca.table.name_constraints for d in ca.table.name_constraints.permitted_dns]
        name = f"{user.common_name}.{domains[0].lstrip('.')}" if domains else user.common_name
        breach = next(filter(None, (_breach(ca, name) for ca in chain)), None)
        fault = host_name_fault(name, "PGT135") if domains else None
        if breach or fault:
            message = breach or (fault.message if fault else "")
            hint = "set a common_name without dots; pgtls compiles an ident map for it"
            yield finder(fleet, user).fault(
                "PGT135",
                f"OpenSSL reads the dotted common name as a host name under DNS constraints: {message}",
                "common_name",
                hint=hint,
            )


def _breach(ca: Authority, host: str) -> str | None:
    """Return how a name breaks the constraints of one CA."""
    names = ca.table.name_constraints
    if names is None:
        return None
    address = is_address(host)
    inside = in_network if address else in_domain
    permitted = names.permitted_ip if address else names.permitted_dns
    excluded = names.excluded_ip if address else names.excluded_dns
    if any(inside(host, area) for area in excluded):
        return f'ca "{ca.name}" excludes "{host}"'
    if permitted and not any(inside(host, area) for area in permitted):
        return f'ca "{ca.name}" does not permit "{host}", only {listed(permitted)}'
    return None


def _cn_breach(chain: tuple[Authority, ...], name: str) -> str | None:
    if not taken_for_host(name):
        return None
    return next(filter(None, (_breach(ca, name) for ca in chain)), None)


def ed25519_and_scram(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find SCRAM with a server certificate that an Ed25519 key of the spec signs."""
    yield from scram_failures(fleet, _signed_by_ed25519)


def scram_failures(fleet: Fleet, by_ed25519: Callable[[Identity], bool]) -> Iterator[Diagnostic]:
    """Find SCRAM on the servers whose certificate an Ed25519 key signed.

    Channel binding hashes the certificate as its signature does (RFC 5929, 4.1), and Ed25519 names no hash. The
    issuer's key counts. The client fails with ``could not find digest for NID UNDEF`` unless it disables
    channel binding.
    """
    for policy in fleet.policies.values():
        if policy.table.auth not in ("scram-sha-256", "md5") or policy.sslmode in (None, "disable"):
            continue
        if policy.table.channel_binding == "disable":
            continue
        signed = [one for server in policy.servers for one in server.identities if by_ed25519(one)]
        if signed:
            message = (
                f'policy "{policy.name}" uses passwords with channel binding, which fails with the Ed25519 signature '
                f"on the certificate of server {listed(s.name for s in signed)}"
            )
            hint = 'let another CA sign the server, or set channel_binding = "disable"'
            yield finder(fleet, policy).fault("PGT136", message, "auth", hint=hint)


def _signed_by_ed25519(server: Identity) -> bool:
    table = server.ca.table if server.ca else server.table if server.self_signed else None
    return table is not None and table.key_algorithm == "ed25519" and not table.cert_file


def revocation_lists(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find CAs without a CRL above a server's clients: PostgreSQL checks all CAs (X509_V_FLAG_CRL_CHECK_ALL)."""
    for server in fleet.servers.values():
        chains = {ca.name: ca for trusted in server.accepted_cas for ca in trusted.chain} if server.table.crl else {}
        for ca in chains.values():
            if not ca.table.crl and not ca.table.crl_file:
                message = (
                    f'ca "{ca.name}" has no CRL, but server "{server.name}" needs the CRL of every CA that it trusts: '
                    "nobody could log in by certificate"
                )
                hint = f"set crl = true here, or crl = false in {header('server', server.name)}"
                yield finder(fleet, ca).fault("PGT140", message, "crl", hint=hint)


def twins(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find users whose certificates one server could not tell apart: to it they are one."""
    for users in fleet.by_common_name.values():
        for index, second in enumerate(users):
            for first in users[:index]:
                yield from _twins(fleet, first, second)


def _twins(fleet: Fleet, first: User, second: User) -> Iterator[Diagnostic]:
    mine, its = (subject_attributes(user.table.subject, user.common_name) for user in (first, second))
    if mine != its and first.table.identity == second.table.identity == "dn":
        return
    if "common_name" in first.table.model_fields_set and "common_name" not in second.table.model_fields_set:
        first, second = second, first
    place = ("common_name",) if "common_name" in second.table.model_fields_set else ()
    hint = "set another common_name for one of them; pgtls compiles an ident map for it"
    same = f'the certificates of users "{first.name}" and "{second.name}" have the same common name, '
    same += f'"{second.common_name}": '
    accepting = [
        server for server in fleet.servers.values() if _accepting(server, first) and _accepting(server, second)
    ]
    if blind := [s.name for s in accepting if {*_accepting(s, first)} & {*_accepting(s, second)}]:
        message = f"{same}server {listed(blind)} cannot tell them apart"
        yield finder(fleet, second).fault("PGT137", message, *place, hint=hint)
    elif accepting:
        one, other = _accepting(accepting[0], first)[0], _accepting(accepting[0], second)[0]
        message = (
            f'{same}pg_hba.conf of server "{accepting[0].name}" cannot see the host name that a client asked for, so '
            f'"{second.name}" logs in as "{first.name}" by way of "{other}", and "{first.name}" as "{second.name}" by '
            f'way of "{one}"'
        )
        yield finder(fleet, second).fault("PGT283", message, *place, hint=hint)


def _accepting(server: Server, user: User) -> list[str]:
    """Return the first host of each identity that accepts a user: OpenSSL takes any chain that ends in its roots."""
    anchor = user.ca.anchor if user.ca else None
    accepting = (one for one in server.identities if anchor in {ca.anchor for ca in one.client_cas})
    return [identity.table.hosts[0] for identity in accepting]


VALUES = (long_subjects, constraints)
PRESENT = (
    validities,
    path_lengths,
    constrained_hosts,
    constrained_users,
    ed25519_and_scram,
    revocation_lists,
    twins,
)
