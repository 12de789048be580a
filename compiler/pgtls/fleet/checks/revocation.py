"""Revocation: valid dates and serial numbers, and CRLs that publish them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.fleet.fields import finder, header, listed
from pgtls.fleet.standbys import holders
from pgtls.pki.model import SERIAL_BITS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Authority, Fleet, Identity, User


def dates(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find ``revoke_before`` in the future, and revocations without a CRL."""
    holders: list[Identity | User] = [*fleet.identities(), *fleet.users.values()]
    for thing in holders:
        instant = thing.table.revoke_before
        if instant is None:
            continue
        if instant > fleet.now:
            message = f"{instant:%Y-%m-%d %H:%M} is in the future"
            hint = (
                "write a time in the past: every build before that time would revoke the certificate "
                "that the previous build issued"
            )
            yield finder(fleet, thing).fault("PGT570", message, "revoke_before", hint=hint)
        elif thing.ca and not _published(thing.ca):
            message = (
                f'ca "{thing.ca.name}" has no CRL: no peer would see that a certificate of {thing.entity} is revoked'
            )
            hint = f"crl = true in [ca.{thing.ca.name}]"
            if thing.ca.trusted_only:
                message = f'pgtls signs no CRL of ca "{thing.ca.name}", and revokes no certificate of {thing.entity}'
                hint = "have it revoked where this CA signs, and bring its new CRL; for a new key and CSR, "
                hint += f"remove cert_file, and build with --replace {thing.entity}"
            yield finder(fleet, thing).fault("PGT572", message, "revoke_before", hint=hint)


def keys_beside(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find a ``revoke_before`` of a pooler or standby that leaves the key with which its machine logs in."""
    stolen = {one.entity: (one, date) for one in fleet.servers.values() if (date := one.table.revoke_before)}
    for user, machines in holders(fleet).items() if stolen else ():
        own = fleet.users[user.name].table.revoke_before
        for server, date in (stolen[machine] for machine in machines if machine in stolen):
            if own is None or own < date:
                message = f'{server.kind} "{server.name}" also has the key of user "{user.name}", which stays good'
                hint = f"if that key is stolen, too, set revoke_before in {header('user', user.name)} as well"
                yield finder(fleet, server).fault("PGT578", message, "revoke_before", hint=hint, severity="warning")


def serial_numbers(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find serial numbers of ``revoked`` that no certificate has, and CAs whose CRL cannot list them."""
    for ca in fleet.cas.values():
        found = finder(fleet, ca)
        if ca.table.revoked and not _published(ca):
            message = f'ca "{ca.name}" has no CRL that pgtls writes: no peer would see what it revokes'
            yield found.fault("PGT572", message, "revoked", hint="set crl = true; the key of the CA must be here")
        for index, serial in enumerate(ca.table.revoked):
            digits = serial.replace(":", "")
            if not digits or not 0 < int(digits, 16) < 1 << SERIAL_BITS:
                message = (
                    f'"{serial}" is not a serial number: it must be above zero and have at most {SERIAL_BITS} bits'
                )
                hint = "copy it from `openssl x509 -noout -serial -in FILE`"
                yield found.fault("PGT571", message, "revoked", index, hint=hint)


def _published(ca: Authority) -> bool:
    """Tell whether pgtls writes the CRL of this CA."""
    return ca.table.crl and not ca.trusted_only


def client_lists(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find bundles with CRLs whose chains have a CA without one: libpq checks all (X509_V_FLAG_CRL_CHECK_ALL)."""
    for user in fleet.users.values():
        if not user.table.crl:
            continue
        servers = {s.name: s for policy in fleet.policies.values() if user in policy.users for s in policy.servers}
        identities = [identity for server in servers.values() for identity in server.identities]
        cas = {ca.name: ca for one in identities if one.ca for ca in one.ca.chain}
        without = [ca.name for ca in cas.values() if not ca.table.crl]
        alone = [one.name for one in identities if one.self_signed]
        if without or alone:
            who = f"ca {listed(without)}" if without else f"self-signed server {listed(alone)}"
            message = (
                f'user "{user.name}" needs CRLs, but {who} has none: the client would reject every server below it'
            )
            yield finder(fleet, user).fault("PGT573", message, "crl", hint="set crl = true there, or crl = false here")
        elsewhere = [one.name for one in identities if one.ca is None and not one.self_signed]
        if elsewhere:
            message = (
                f'user "{user.name}" gets no CRL for server {listed(elsewhere)}, whose certificate no CA of the spec '
                "signs: the client connects even if it is revoked"
            )
            hint = "give that server a `ca` of the spec, or know that its clients notice no theft of its key"
            yield finder(fleet, user).fault("PGT461", message, "crl", hint=hint, severity="warning")


PRESENT = (dates, keys_beside, serial_numbers, client_lists)
