"""Revocation: valid dates and serial numbers, and CRLs that publish them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.fleet.fields import finder, listed
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
            yield finder(fleet, thing).fault("PGT572", message, "revoke_before", hint=hint)


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


PRESENT = (dates, serial_numbers, client_lists)
