"""Tell whether a certificate that a server presents is revoked: by the lock, by the spec, or by any CRL of the tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.certificates.reissue import issued_before
from pgtls.certificates.revocation import serials
from pgtls.live.chain import covers, served

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from pgtls.fleet.model import Fleet
    from pgtls.live.compiled import Compiled
    from pgtls.live.handshake import Seen
    from pgtls.pki.model import Certificate, Entity
    from pgtls.state.lock import Lock


_SERVERS = ("server", "pooler")


def revoked_by(fleet: Fleet, compiled: Compiled, lock: Lock, seen: Seen) -> str | None:
    """Return what revokes a certificate that a server presents: the lock, the spec even before it is built, or a CRL.

    A thief may present the certificate of any identity: the table of its own entity says since when its key is stolen.
    """
    chain = served(seen)
    if chain and (issued_before(chain[0], compiled.shown.table.revoke_before) or _is_stolen(fleet, lock, chain[0])):
        return "revoke_before"
    if chain and chain[0].spki_sha256 in lock.compromised_keys:
        return "the lock"
    if any(one.has(certificate) for certificate in chain for one in compiled.listed):
        return "a CRL of the out directory"
    return next(_by_serial(fleet, compiled, lock, chain), None)


def unlisted(fleet: Fleet, compiled: Compiled, lock: Lock, now: datetime) -> str | None:
    """Return the serial number of a living certificate that is revoked, but on no CRL of its CA here.

    Such as before the build that lists it: who answers a login with it could not be told from the server. Clients
    compare the host, so it may be the certificate of any table that has this host, or had it.
    """
    numbers, host = {one for its in serials(fleet).values() for one in its}, compiled.shown.table.hosts[0]
    for line in lock.issued:
        one = line.certificate
        passes = line.entity == compiled.shown.entity or (line.entity.kind in _SERVERS and covers(one, host))
        about = [each for each in compiled.listed if each.is_about(one)] if passes and one.not_after > now else []
        if not about or any(each.has(one) for each in about):
            continue
        revoked = lock.revokes(line.ca, one) or one.serial in numbers  # its CA may have another NAME today
        if revoked or one.spki_sha256 in lock.compromised_keys or _is_stolen(fleet, lock, one):
            return one.serial
    return None


def _is_stolen(fleet: Fleet, lock: Lock, certificate: Certificate) -> bool:
    """Return whether the key had a certificate that the ``revoke_before`` of its entity revokes."""
    dates = dict(_dates(fleet))
    return any(
        line.certificate.spki_sha256 == certificate.spki_sha256
        and issued_before(line.certificate, dates.get(line.entity))
        for line in lock.issued
    )


def _dates(fleet: Fleet) -> Iterator[tuple[Entity, datetime | None]]:
    for server in fleet.servers.values():
        yield from ((identity.entity, identity.table.revoke_before) for identity in server.identities)
    yield from ((user.entity, user.table.revoke_before) for user in fleet.users.values())


def _by_serial(fleet: Fleet, compiled: Compiled, lock: Lock, chain: Sequence[Certificate]) -> Iterator[str]:
    """Yield what revokes serial numbers of a chain, under the NAME that the CA had or has."""
    numbers, own = serials(fleet), compiled.shown.ca.name if compiled.shown.ca else ""
    for certificate in chain:
        lines = [line.ca for line in lock.issued if line.certificate.sha256 == certificate.sha256]
        for ca in dict.fromkeys((*lines, own)):
            if lock.revokes(ca, certificate):
                yield "the lock"
            if certificate.serial in numbers.get(ca, ()):
                yield "revoked"
