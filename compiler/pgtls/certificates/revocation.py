"""Compute which certificates are revoked and why.

The entity left, another certificate replaces this one, or the spec revokes it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pgtls.certificates.model import Issue
from pgtls.certificates.reissue import too_old
from pgtls.diagnostics import Diagnostic
from pgtls.fleet.fields import entity_named, finder
from pgtls.language.words import listed
from pgtls.pki.model import SERIAL_BITS, Certificate, Entity, Revocation, RevocationList, Unreadable, ca_entity
from pgtls.pki.profiles import BACKDATED
from pgtls.state import layout
from pgtls.state.lock import RevokedLine

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from pgtls.certificates.model import CrlDecision, Decision, Existing
    from pgtls.fleet.model import Fleet
    from pgtls.pki.model import Profile, RevocationReason
    from pgtls.state.known_lock import Drift
    from pgtls.state.lock import IssuedLine, Lock

KEEPS_ENTITIES = 3
"""The most entities that may lose certificates or keys without --allow-revoke (docs/design.md, Certificates)."""

_IDENTITY = {"subject", "hosts", "common_name"}


def is_revoked(profile: Profile, certificate: Certificate, existing: Existing, listed: Mapping[str, set[str]]) -> bool:
    """Return whether the certificate of an entity is revoked: by the lock, the present CRL or the spec.

    ``listed`` are the serial numbers that the spec revokes, by NAME of the CA.
    """
    ca, serial = profile.issuer or profile.entity.name, certificate.serial
    if existing.lock.revokes(ca, certificate) or too_old(certificate, profile):
        return True
    there = existing.crls.get(ca)
    on_list = isinstance(there, RevocationList) and any(entry.serial == serial for entry in there.revoked)
    return on_list or serial in listed.get(ca, ())


def serials(fleet: Fleet) -> dict[str, set[str]]:
    """Return the serial numbers of ``revoked``, as certificates have them, by NAME of the CA."""
    return {ca.name: {canonical(serial) for serial in ca.table.revoked} for ca in fleet.cas.values()}


def canonical(serial: str) -> str:
    """Write a serial number as the lock does: lower-case hex without colons and leading zeros."""
    return f"{int(serial.replace(':', ''), 16):x}"


def revocations(
    certificates: Mapping[Entity, Decision],
    wanted: Mapping[Entity, Profile],
    existing: Existing,
    listed: Mapping[str, set[str]],
    retired: frozenset[str],
    settled: AbstractSet[Entity],
    now: datetime,
) -> Iterator[RevokedLine]:
    """Yield the new revocations. ``retired`` are the NAMEs of CAs that left the spec and still sign their CRL.

    ``settled`` are the :func:`settled` entities.
    """
    cas = {profile.entity.name for profile in wanted.values() if profile.kind == "ca"} | retired
    lock = existing.lock
    for line in lock.alive(now):
        names = existing.ca_names.of(line)
        listed_here = line.serial in listed.get(line.ca, ())
        if line.entity.kind == "ca" or cas.isdisjoint(names) or listed_here:
            continue
        gone = not retired.isdisjoint(names) or line.entity in settled
        if why := why_revoked(line, certificates.get(line.entity), names, gone=gone):
            yield RevokedLine(line.ca, line.entity, line.serial, why, now)
    for ca, numbers in listed.items():
        for serial in sorted(numbers):
            if (ca, serial) not in lock.revocations:
                known = lock.by_serial.get((ca, serial))
                yield RevokedLine(ca, known.entity if known else ca_entity(ca), serial, "unspecified", now)


def listing(
    there: RevocationList | None,
    issued: Iterable[IssuedLine],
    revoked: Iterable[RevokedLine],
    drift: Drift,
    named: Collection[str],
    now: datetime,
) -> tuple[Revocation, ...]:
    """Return the entries of the next CRL of a CA from its lines. The spec's ``named`` serial numbers are among them.

    What others added to the lock gives no end and no reason: as if only the serial number were known.
    """
    from pgtls.pki import crl

    ends = {line.serial: line.certificate.not_after for line in issued if line.serial not in named}
    others = drift.issued | drift.revoked

    def known(line: RevokedLine) -> Revocation:
        end = ends.get(line.serial)
        if (line.ca, line.serial) in others:
            return Revocation(line.serial, min(line.date, now), "unspecified", end)
        return Revocation(line.serial, line.date, line.reason, None if line.reason == "unspecified" else end)

    return crl.merge(there, map(known, revoked), now)


def from_the_future(there: RevocationList | None, ca: Certificate | Unreadable | None, now: datetime) -> bool:
    """Return whether a build with a fast clock made a CRL: until the CRL begins, it locks every client out.

    If the certificate of the CA begins later than now, too, this clock is slow.
    """
    return there is not None and isinstance(ca, Certificate) and ca.not_before <= now < there.this_update


def unlistable(lists: Iterable[CrlDecision], drift: Drift) -> Iterator[Diagnostic]:
    """Report serial numbers that no CRL of pgtls can hold, even in lines of others before they are revoked."""
    for one in lists:
        name = one.entity.name
        others = {serial for ca, serial in drift.issued if ca == name}
        serials = {entry.serial for entry in one.entries} if one.reason else set()
        for serial in sorted(serial for serial in serials | others if not 0 < int(serial, 16) < 1 << SERIAL_BITS):
            message = (
                f'CA "{name}" cannot list {serial}: a serial number is positive, and has at most {SERIAL_BITS} bits'
            )
            hint = (
                "read in the lock's history who added the line with this serial number, and delete it; "
                "if a CRL in crl_file lists it, keep the key of this CA where that was signed"
            )
            yield Diagnostic("PGT502", message, hint=hint)


def settled(certificates: Mapping[Entity, Decision], existing: Existing) -> frozenset[Entity]:
    """Return the entities that certainly use a certificate of their present CA: their older ones can be revoked.

    Only evidence from this machine counts: a committed line alone revokes nothing.
    """
    found = set()
    for entity, evidence in existing.deployed.own.items():
        past, decision = (existing.history or {}).get(entity, ()), certificates.get(entity)
        used = next((one.certificates for one in past if evidence.generation in one.ids), ())
        if decision and decision.profile.issuer in {ca for ca, _ in used[:1]}:
            found.add(entity)
    return frozenset(found)


def why_revoked(
    line: IssuedLine, decision: Decision | None, cas: Collection[str], *, gone: bool
) -> RevocationReason | None:
    """Return why the spec revokes a certificate, None if it does not. ``decision`` is the decision about its entity.

    ``cas`` are the NAMEs that its CA has today.

    A certificate that remains at an earlier CA is revoked when it is ``gone``: its successor is in use, or the CA
    retired.
    """
    if decision is None:
        return "cessation_of_operation"
    if too_old(line.certificate, decision.profile):
        return "key_compromise"
    return "superseded" if _replaced(cas, decision, gone=gone) else None


def _replaced(cas: Collection[str], decision: Decision, *, gone: bool) -> bool:
    """Return whether a certificate contains something that the spec no longer does.

    A renewed one stays valid until it ends.
    """
    if decision.profile.issuer not in cas:
        return gone
    why = decision.reason if isinstance(decision, Issue) else None
    return why is not None and why.name == "differs" and not _IDENTITY.isdisjoint(why.fields)


def same_key_again(decisions: Iterable[Decision], existing: Existing) -> Iterator[Diagnostic]:
    """Refuse keys from elsewhere that are revoked, or once were as stolen: a thief could use a new certificate, too."""
    outside = existing.outside
    elsewhere = [one for one in decisions if one.profile.entity in outside.not_ours | outside.keyless]
    stolen = _stolen_keys(elsewhere, existing.lock) if elsewhere else frozenset()
    for decision in elsewhere:
        profile, found = decision.profile, decision.found.certificate
        message, field = "", "revoke_before"
        if isinstance(found, Certificate) and too_old(found, profile):
            if decision.found.key != "mismatch":  # a new request
                message = f"revoke_before revokes the certificate of {profile.entity}, but pgtls does not hold its key"
        elif _brought_keys(profile, existing) & stolen:
            field = "csr_file" if profile.entity in outside.requests else "cert_file"
            message = f"the key of {profile.entity} is one whose certificate revoke_before revokes, or once revoked"
        if message:
            hint = "make a new key there, and name its new request or certificate"
            yield Diagnostic("PGT574", message, (*profile.entity.path, field), hint)


def _stolen_keys(decisions: Iterable[Decision], lock: Lock) -> frozenset[str]:
    """Return the digests of the keys that were stolen by what was revoked, or by what the spec says of these now."""
    told = {one.profile.entity: one.profile for one in decisions if one.profile.revoke_before}
    lines = ((told.get(line.entity), line.certificate) for line in lock.by_serial.values()) if told else ()
    return lock.compromised_keys.union(one.spki_sha256 for profile, one in lines if profile and too_old(one, profile))


def _brought_keys(profile: Profile, existing: Existing) -> frozenset[str]:
    """Return the digests of the public keys of a request or a new certificate from elsewhere."""
    from pgtls.pki.keys import spki_sha256

    request, signed = existing.outside.requests.get(profile.entity), existing.outside.signed.get(profile.entity)
    keys = {spki_sha256(request)} if request else set()
    if signed and not existing.lock.revokes(profile.issuer or "", signed.certificate):  # a revoked one is told there
        keys.add(signed.certificate.spki_sha256)
    return frozenset(keys)


def revoking_nothing(fleet: Fleet, certificates: Mapping[Entity, Decision], lock: Lock) -> Iterator[Diagnostic]:
    """Warn of a ``revoke_before`` that is earlier than every certificate of its entity: it looks as if it revoked one.

    One of ``[defaults]`` is also of those that came later.
    """
    meant = {
        entity: decision.profile
        for entity, decision in certificates.items()
        if decision.profile.revoke_before and finder(fleet, entity_named(fleet, entity)).says("revoke_before")
    }
    issued: dict[Entity, list[Certificate]] = {}
    for line in lock.by_serial.values() if meant else ():
        issued.setdefault(line.entity, []).append(line.certificate)
    for entity in meant.keys() & issued.keys():
        profile, found = meant[entity], issued[entity]
        if not any(too_old(certificate, profile) for certificate in found):
            last = max(certificate.not_before for certificate in found) + BACKDATED
            yield Diagnostic(
                "PGT575",
                f"revoke_before revokes nothing: no certificate of {entity} was issued before "
                f"{profile.revoke_before:{_INSTANT}}; the last one was issued at {last:{_INSTANT}}",
                path=(*entity.path, "revoke_before"),
                hint=f"to revoke that one, write revoke_before = {last + _SECOND:{_INSTANT}}",
                severity="warning",
            )


_INSTANT = "%Y-%m-%dT%H:%M:%SZ"
_SECOND = timedelta(seconds=1)


def keys_deleted(existing: Existing, fleet: Fleet, certificates: Mapping[Entity, Decision]) -> frozenset[str]:
    """Return the entities whose keys this build deletes: they left the spec, or it says that the key is elsewhere.

    Skip CAs (kept) and users past ``until`` (announced).
    """
    announced = {user.entity for user in fleet.ended_users.values()}
    keyless = existing.outside.keyless
    return (
        frozenset(
            entry.entity
            for path, entry in existing.listed.items()
            if entry.kind == "key"
            and entry.entity.kind != "ca"
            and (
                entry.entity not in certificates or (entry.entity in keyless and path == layout.key_path(entry.entity))
            )
        )
        - announced
    )


def newly_listed(lists: Iterable[CrlDecision], existing: Existing) -> Iterator[str]:
    """Yield the entities whose certificates the next CRLs list and the present CRLs do not, for any reason."""
    for one in lists:
        if isinstance(one.found, RevocationList):
            known, ca = {entry.serial for entry in one.found.revoked}, one.entity.name
            for serial in (entry.serial for entry in one.entries if entry.serial not in known):
                line = existing.lock.by_serial.get((ca, serial))
                yield line.entity if line else one.entity


def mass_revocation(
    losing: AbstractSet[str], deleted: frozenset[str], left: Sequence[str], *, allowed: bool
) -> list[Diagnostic]:
    """Refuse to revoke or delete for many entities without --allow-revoke: a lost include looks the same.

    ``left`` are the NAMEs of CAs that leave the spec in this build.
    """
    entities = sorted(losing | deleted)
    if allowed or len(entities) <= KEEPS_ENTITIES:
        return []
    what = ("revoke the certificates",) * bool(losing) + ("delete the keys",) * (not deleted <= losing)
    gone = f"; the spec no longer has {listed([f'[ca.{name}]' for name in left])}" if left else ""
    return [
        Diagnostic(
            "PGT553",
            f"this build would {' or '.join(what)} of {len(entities)} entities: {listed(entities)}{gone}",
            hint="is an include missing, or is this the wrong spec? If it is meant, say --allow-revoke",
        )
    ]
