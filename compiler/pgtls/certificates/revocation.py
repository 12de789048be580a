"""Compute which certificates are revoked and why.

The entity left, another certificate replaces this one, or the spec revokes it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

from pgtls.certificates.external import misfits
from pgtls.certificates.model import Issue, Wait, recorded_under, taken
from pgtls.certificates.reissue import too_old
from pgtls.certificates.signers import signer
from pgtls.diagnostics import Diagnostic
from pgtls.fleet.fields import entity_named, finder
from pgtls.fleet.standbys import holders
from pgtls.language.words import listed
from pgtls.pki.expected import wanted_facts
from pgtls.pki.model import (
    SELF_SIGNED,
    SERIAL_BITS,
    Certificate,
    Entity,
    Revocation,
    RevocationList,
    Unreadable,
    ca_entity,
)
from pgtls.pki.profiles import BACKDATED
from pgtls.state import layout
from pgtls.state.lock import RevokedLine

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from pgtls.certificates.model import CrlDecision, Decision, Existing
    from pgtls.fleet.model import Fleet
    from pgtls.pki.model import Profile, RevocationReason
    from pgtls.state.known_lock import Drift
    from pgtls.state.lock import IssuedLine, Lock

ByOwner: TypeAlias = "Callable[[Iterable[IssuedLine]], Iterator[RevokedLine]]"
""":func:`by_owner` for any lines of a state."""

KEEPS_ENTITIES = 3
"""The most entities that may lose certificates or keys without --allow-revoke (docs/design.md, Certificates)."""


def is_revoked(profile: Profile, certificate: Certificate, existing: Existing, listed: Mapping[str, set[str]]) -> bool:
    """Return whether the certificate of an entity is revoked: by the lock, the present CRL or the spec.

    ``listed`` are the serial numbers that the spec revokes, by NAME of the CA. Its CA may be another one today.
    """
    ca = profile.issuer or profile.entity.name
    if existing.lock.revokes(ca, certificate) or too_old(certificate, profile):
        return True
    names = _names_of_ca(profile, certificate, existing)
    return any(certificate.serial in listed.get(name, ()) for name in names) or any(
        _entries(names, certificate, existing)
    )


def is_stolen(profile: Profile, certificate: Certificate, existing: Existing, listed: Mapping[str, set[str]]) -> bool:
    """Return whether the spec or a CRL says that the key of a certificate is no longer to be used.

    A CRL that a company signs may list a certificate because another one follows: the key stays.
    """
    names = _names_of_ca(profile, certificate, existing)
    return (
        too_old(certificate, profile)
        or any(certificate.serial in listed.get(name, ()) for name in names)
        or any(entry.reason == "key_compromise" for entry in _entries(names, certificate, existing))
    )


def _names_of_ca(profile: Profile, certificate: Certificate, existing: Existing) -> Collection[str]:
    """Return the present NAMEs of the CA of a certificate. The lock may not know it: then it is the one of the spec."""
    line = existing.lock.by_digest.get(certificate.sha256)
    return existing.ca_names.of(line) if line else (profile.issuer or profile.entity.name,)


def _entries(names: Iterable[str], certificate: Certificate, existing: Existing) -> Iterator[Revocation]:
    """Yield what the present CRLs of CAs say about a certificate."""
    lists = (existing.crls.get(name) for name in names)
    entries = (entry for one in lists if isinstance(one, RevocationList) for entry in one.revoked)
    return (entry for entry in entries if entry.serial == certificate.serial)


def serials(fleet: Fleet) -> dict[str, set[str]]:
    """Return the serial numbers of ``revoked``, as certificates have them, by NAME of the CA."""
    return {ca.name: {canonical(serial) for serial in ca.table.revoked} for ca in fleet.cas.values()}


def canonical(serial: str) -> str:
    """Write a serial number as the lock does: lower-case hex without colons and leading zeros."""
    return f"{int(serial.replace(':', ''), 16):x}"


def by_owner(
    lines: Iterable[IssuedLine],
    fleet: Fleet,
    certificates: Mapping[Entity, Decision],
    existing: Existing,
    listed: Mapping[str, set[str]],
    retired: frozenset[str],
) -> Iterator[RevokedLine]:
    """Yield the revocations of certificates whose owner left, moved, has another name, or lost its key.

    ``retired`` are the NAMEs of CAs that left the spec and still sign their CRL. Of any other CA that left, the lock
    remembers who left or lost the key until the CA is back, or its certificates end. What the spec lists needs no other
    certificate that replaces it, but the lock remembers who left or lost the key there, too.
    """
    lines = tuple(lines)
    cas = {one.profile.entity.name for one in certificates.values() if one.profile.kind == "ca"}
    used = in_use(fleet, certificates, existing) if lines else {}
    for line in lines:
        if line.entity.kind == "ca" or line.ca == SELF_SIGNED:
            continue
        names = existing.ca_names.of(line)
        decision = certificates.get(line.entity)
        has_left = cas.isdisjoint(names)
        signs = not has_left or not retired.isdisjoint(names)
        gone = (has_left and signs) or _is_replaced(line, used.get(line.entity), decision)
        why = why_revoked(line, decision, fleet, existing, gone=gone)
        if why and (why != "superseded" or (signs and not is_listed(line, existing, listed))):
            yield RevokedLine(line.ca, line.entity, line.serial, why, fleet.now)


def is_listed(line: IssuedLine, existing: Existing, listed: Mapping[str, set[str]]) -> bool:
    """Return whether the spec lists the serial number of a certificate, in ``revoked`` of its CA."""
    return any(line.serial in listed.get(name, ()) for name in existing.ca_names.of(line))


def revocations(
    existing: Existing, listed: Mapping[str, set[str]], owners: ByOwner, now: datetime
) -> Iterator[RevokedLine]:
    """Yield the new revocations: those of ``owners``, and what the spec lists.

    A certificate that is revoked gets another line if its owner left or lost the key since: it frees no name, and no
    key. One that only others know is revoked as well if its key is stolen.
    """
    lock = existing.lock
    reasons = {(one.ca, one.serial, one.reason) for one in lock.revoked}
    for one in owners(lock.unexpired(now)):
        more = one.reason != "superseded" and (one.ca, one.serial, one.reason) not in reasons
        if more or (one.ca, one.serial) not in lock.revocations:
            yield one
    others = existing.whole_lock.alive(now) if existing.found_lock else ()
    unknown = [line for line in others if (line.ca, line.serial) in existing.drift.issued]
    yield from (one for one in owners(unknown) if one.reason == "key_compromise")
    for ca, numbers in listed.items():
        for serial in sorted(numbers):
            known = lock.by_serial.get((ca, serial))
            of_another = known is not None and ca not in existing.ca_names.of(known)  # that had this NAME
            if not of_another and (ca, serial) not in lock.revocations:
                yield RevokedLine(ca, known.entity if known else ca_entity(ca), serial, "unspecified", now)


def listing(
    there: RevocationList | None,
    issued: Iterable[IssuedLine],
    revoked: Iterable[RevokedLine],
    named: Collection[str],
    now: datetime,
) -> tuple[Revocation, ...]:
    """Return the entries of the next CRL of a CA: those of its lines, and the spec's ``named`` serial numbers.

    The spec means its CA of today, whatever the lock says of another one with the same NAME.
    """
    from pgtls.pki import crl

    ends = {(line.ca, line.serial): line.certificate.not_after for line in issued if line.serial not in named}

    def known(line: RevokedLine) -> Revocation:
        end = None if line.reason == "unspecified" else ends.get((line.ca, line.serial))
        return Revocation(line.serial, line.date, line.reason, end)

    entries = [known(line) for line in revoked]
    more = {*named}.difference(entry.serial for entry in entries)
    return crl.merge(there, (*entries, *(Revocation(serial, now, "unspecified") for serial in more)), now)


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


def in_use(fleet: Fleet, certificates: Mapping[Entity, Decision], existing: Existing) -> Mapping[Entity, IssuedLine]:
    """Return the certificates of their present CA that entities, and all who have copies of them, certainly use.

    Only evidence from this machine counts: a committed line alone revokes nothing.
    """
    copies = holders(fleet) if existing.deployed.own else {}
    return {
        line.entity: line
        for line in _deployed(existing)
        if _is_of_its_ca(line, certificates.get(line.entity), existing)
        and all(_has(holder, line.entity, existing) for holder in copies.get(line.entity, ()))
    }


def _deployed(existing: Existing) -> Iterator[IssuedLine]:
    """Yield the certificates for which there is evidence, of a server those of its further identities, too."""
    own, lines = existing.deployed.own, existing.lock.by_serial
    shown = {(one.entity, one.certificate) for one in own.values()}
    yield from (line for line in (lines.values() if shown else ()) if (line.entity, line.certificate.sha256) in shown)
    for entity, evidence in own.items():
        for one in (existing.history or {}).get(entity, ()):
            if one.ids[-1:] == (evidence.generation,):  # an earlier one with the same facts had others
                yield from (lines[further] for further in one.certificates[1:] if further in lines)


def _has(holder: Entity, user: Entity, existing: Existing) -> bool:
    """Return whether a holder was deployed since the last bundle of a user was built."""
    built = max((one.built for one in (existing.history or {}).get(user, ())), default=None)
    evidence = existing.deployed.own.get(holder)
    return built is not None and evidence is not None and evidence.at >= built


def _is_of_its_ca(line: IssuedLine, decision: Decision | None, existing: Existing) -> bool:
    return decision is not None and recorded_under(decision.profile) in existing.ca_names.of(line)


def _is_replaced(line: IssuedLine, used: IssuedLine | None, decision: Decision | None) -> bool:
    """Return whether the entity of a certificate uses the present one, or a later one.

    What was made since the evidence for an earlier one may be in use, too.
    """
    if used is None or used == line or decision is None:
        return False
    present = decision.found.certificate
    is_present = isinstance(present, Certificate) and present.sha256 == used.certificate.sha256
    return is_present or used.certificate.not_before >= line.certificate.not_before


def why_revoked(
    line: IssuedLine, decision: Decision | None, fleet: Fleet, existing: Existing, *, gone: bool
) -> RevocationReason | None:
    """Return why the spec revokes a certificate, None if it does not. ``decision`` is the decision about its entity.

    One that remains at an earlier CA, or outlives its user, is revoked when it is ``gone``: its successor is in use, or
    the CA retired. A renewed one stays valid until it ends.
    """
    if decision is None:
        return "cessation_of_operation"
    profile, certificate = decision.profile, line.certificate
    if too_old(certificate, profile):
        return "key_compromise"
    moved = recorded_under(profile) not in existing.ca_names.of(line)
    outlives = profile.until is not None and certificate.not_after > profile.until
    if (gone and (moved or outlives)) or _shows_another_name(certificate, decision, fleet, existing):
        return "superseded"
    return None


def _shows_another_name(certificate: Certificate, decision: Decision, fleet: Fleet, existing: Existing) -> bool:
    """Return whether a certificate shows a name that the spec no longer gives to its entity.

    While the one with the new name waits, the present name stays.
    """
    profile, found = decision.profile, decision.found.certificate
    if profile.kind == "ca" or not _differs(certificate, decision, fleet, existing):
        return False
    last = existing.lock.latest.get(profile.entity)
    present = found if isinstance(found, Certificate) else last and last.certificate
    stays = isinstance(decision, Wait) and present
    return not (stays and (stays.subject, stays.names) == (certificate.subject, certificate.names))


def _differs(certificate: Certificate, decision: Decision, fleet: Fleet, existing: Existing) -> bool:
    """Return whether a certificate shows other names than its successor, or logs in where that does not.

    Where others sign, what peers compare counts: the names that they give a server may be more than it asked for.
    """
    profile = decision.profile
    ours = profile.entity not in existing.outside.not_ours and not signer(profile, fleet)
    now = None if ours and isinstance(decision, Issue) else (taken(decision) or decision.found).certificate
    logs_in = isinstance(now, Certificate) and now.serves("clientAuth")
    if profile.kind == "server" and certificate.serves("clientAuth") and not logs_in:
        return True
    if ours:
        subject, names, _ = wanted_facts(profile)
        return (certificate.subject, certificate.names) != (subject, names)
    more = set(certificate.names).difference(now.names) if isinstance(now, Certificate) else set()
    lost = profile.kind == "server" and any(name.startswith(("DNS:", "IP:")) for name in more)
    return lost or any(one.field in ("subject", "hosts") for one in misfits(profile, certificate, fleet))


def stolen_keys(certificates: Mapping[Entity, Decision], existing: Existing) -> Mapping[str, tuple[Entity, str]]:
    """Return the digests of the keys that ``revoke_before`` calls stolen: by whose date, and a certificate of before.

    A thief of a key can use the certificates of everybody who ever had it.
    """
    told = {entity: one.profile for entity, one in certificates.items() if one.profile.revoke_before}
    holders: dict[str, set[Entity]] = {}
    lines = [line for line in existing.whole_lock.by_serial.values() if line.entity.kind != "ca"] if told else []
    for line in lines:
        holders.setdefault(line.certificate.spki_sha256, set()).add(line.entity)
    for entity, profile in told.items():
        for key in _brought_keys(profile, existing):
            holders.setdefault(key, set()).add(entity)
    found: dict[str, tuple[Entity, str]] = {}
    for line in lines:
        key = line.certificate.spki_sha256
        for entity in sorted(holders[key] & told.keys()):
            if too_old(line.certificate, told[entity]):
                found.setdefault(key, (entity, line.serial))
    return found


def same_key_again(
    decisions: Iterable[Decision], existing: Existing, listed: Mapping[str, set[str]], stolen: Collection[str]
) -> Iterator[Diagnostic]:
    """Refuse keys from elsewhere that are revoked, or once were as stolen: a thief could use a new certificate, too.

    ``listed`` are the serial numbers that the spec revokes, by NAME of the CA, and ``stolen`` the :func:`stolen_keys`.
    """
    outside = existing.outside
    elsewhere = [one for one in decisions if one.profile.entity in outside.not_ours | outside.keyless]
    revoked = {*stolen, *existing.whole_lock.compromised_keys, *_listed_keys(existing, listed)} if elsewhere else set()
    for decision in elsewhere:
        profile, found = decision.profile, decision.found.certificate
        message, field = "", "revoke_before"
        if isinstance(found, Certificate) and too_old(found, profile):
            if decision.found.key != "mismatch":  # a new request
                message = f"revoke_before revokes the certificate of {profile.entity}, but pgtls does not hold its key"
        elif _brought_keys(profile, existing) & revoked:
            field = "csr_file" if profile.entity in outside.requests else "cert_file"
            by = "revoke_before or revoked"
            message = (
                f"the key of {profile.entity} is one whose certificate {by} revokes, or revoke_before once revoked"
            )
        if message:
            hint = "make a new key there, and name its new request or certificate"
            yield Diagnostic("PGT574", message, (*profile.entity.path, field), hint)


def certified_again(
    decisions: Iterable[Decision], existing: Existing, listed: Mapping[str, set[str]], renewed: Collection[str]
) -> Iterator[Diagnostic]:
    """Refuse to certify the key of a CA again whose certificate is revoked, unless it is among the ``renewed``.

    A server or a user gets a new key by itself. Every bundle must be deployed after a new key of a CA, so somebody has
    to ask for it.
    """
    for decision in decisions:
        profile, found = decision.profile, decision.found.certificate
        keeps_key = isinstance(decision, Issue) and profile.kind == "ca" and not decision.new_key
        if not keeps_key or profile.entity in renewed or not isinstance(found, Certificate):
            continue
        if is_revoked(profile, found, existing, listed):
            yield Diagnostic(
                "PGT574",
                f"the certificate of {profile.entity} (serial {found.serial}) is revoked, and this build would certify "
                "the same key again",
                profile.entity.path,
                f"--replace {profile.entity} makes a new key: everything that it signed is issued again, and every "
                f"bundle must be deployed; if nobody else can have the key, --renew {profile.entity} certifies it "
                "again",
                at="table",
            )


def _listed(existing: Existing, listed: Mapping[str, set[str]]) -> Iterator[tuple[IssuedLine, str]]:
    """Yield the certificates whose serial numbers the spec lists, each with the NAME of the CA that lists it."""
    named = set().union(*listed.values())
    for line in existing.whole_lock.by_serial.values() if named else ():
        cas = existing.ca_names.of(line) if line.serial in named else ()
        yield from ((line, ca) for ca in cas if line.serial in listed.get(ca, ()))


def _listed_keys(existing: Existing, listed: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield the digests of the keys of such certificates."""
    return (line.certificate.spki_sha256 for line, _ in _listed(existing, listed))


def listed_keys_left(
    existing: Existing, listed: Mapping[str, set[str]], revoked: Iterable[RevokedLine], now: datetime
) -> Iterator[Diagnostic]:
    """Warn of certificates that have the key of one that ``revoked`` lists: renewals may keep a key.

    ``revoked`` are the new revocations.
    """
    first = {line.certificate.spki_sha256: (line, ca) for line, ca in _listed(existing, listed)}
    gone = {(line.ca, line.serial) for line in revoked}
    for line in existing.whole_lock.alive(now) if first else ():
        known, ca = first.get(line.certificate.spki_sha256, (None, ""))
        if known and known.entity == line.entity and (line.ca, line.serial) not in gone:
            yield Diagnostic(
                "PGT575",
                f"revoked lists the certificate {known.serial} of {line.entity}, but not {line.serial}, which has the "
                "same key",
                path=("ca", ca, "revoked"),
                hint=f'if the key is stolen, list "{line.serial}", too',
                severity="warning",
            )


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


def stolen_keys_left(
    certificates: Mapping[Entity, Decision],
    stolen: Mapping[str, tuple[Entity, str]],
    revoked: Iterable[RevokedLine],
    existing: Existing,
    now: datetime,
) -> Iterator[Diagnostic]:
    """Report a ``revoke_before`` that leaves a later certificate of the same key, since renewals may keep a key.

    ``stolen`` are the :func:`stolen_keys`, and ``revoked`` the new revocations. Nothing is revoked by its key alone:
    others can add lines to the lock.
    """
    gone = {(line.ca, line.serial) for line in revoked}
    left: dict[Entity, IssuedLine] = {}
    lines = existing.whole_lock.alive(now) if stolen else ()
    alive = [line for line in lines if line.certificate.spki_sha256 in stolen]
    for line in sorted(alive, key=lambda line: line.certificate.not_before):
        decision = certificates.get(line.entity)
        revoked_now = (line.ca, line.serial) in gone or decision is None or too_old(line.certificate, decision.profile)
        if not revoked_now:
            left[line.entity] = line
    for line in left.values():
        entity, first = stolen[line.certificate.spki_sha256]
        last = line.certificate.not_before + BACKDATED
        where = "" if entity == line.entity else f" in the table of {line.entity}"
        yield Diagnostic(
            "PGT575",
            f"revoke_before of {entity} revokes the certificate {first}, but not {line.serial} of {line.entity}, which "
            f"has the same key and was issued at {last:{_INSTANT}}",
            path=(*entity.path, "revoke_before"),
            hint=f"to revoke it, too, write revoke_before = {last + _SECOND:{_INSTANT}}{where}",
            severity="error",
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
