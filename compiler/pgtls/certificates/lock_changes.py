"""Detect changes to the lock since the last build: added, lost and altered lines (see :mod:`pgtls.state.known_lock`).

A line that no build into this out directory wrote revokes nothing without --allow-revoke. A build restores each line
that one wrote, whether it was removed or edited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from pgtls.certificates.revocation import is_listed
from pgtls.diagnostics import Diagnostic
from pgtls.language import words
from pgtls.pki.model import RevocationList
from pgtls.state.lock import RevokedLine

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from pgtls.certificates.model import Existing
    from pgtls.certificates.revocation import ByOwner
    from pgtls.fleet.model import Fleet
    from pgtls.pki.model import Certificate, Entity
    from pgtls.state.known_lock import Drift
    from pgtls.state.lock import IssuedLine, Lock


Here: TypeAlias = "tuple[str, Entity, Certificate]"
"""The NAME of the CA, the owner, and the facts of a certificate."""


def forgotten(lock: Lock, drift: Drift, now: datetime) -> tuple[IssuedLine, ...]:
    """Return the certificates that still give access and that the lock no longer lists."""
    gone = {(line.ca, line.serial) for line in drift.gone if isinstance(line, RevokedLine)}
    revoked = gone | lock.revocations.keys()
    return tuple(
        line for line in drift.lost if line.certificate.not_after > now and (line.ca, line.serial) not in revoked
    )


def revocations(lock: Lock, drift: Drift, now: datetime) -> tuple[RevokedLine, ...]:
    """Return the revocation of every certificate that is missing from the lock. Skip CAs, which stay."""
    return tuple(
        RevokedLine(line.ca, line.entity, line.serial, "unspecified", now)
        for line in forgotten(lock, drift, now)
        if line.entity.kind != "ca"
    )


def restored(lock: Lock, drift: Drift, now: datetime, *, allowed: bool) -> Lock:
    """Return the lock with the lines of builds that are gone, except certificates that are lost and still give access.

    If ``allowed``, add and revoke these, too. What has ended comes back as well: the clock may be fast.
    """
    if allowed:
        return lock.with_lines(*drift.gone, *revocations(lock, drift, now))
    alive = {(line.ca, line.serial) for line in forgotten(lock, drift, now)}
    back = (line for line in drift.gone if isinstance(line, RevokedLine) or (line.ca, line.serial) not in alive)
    return lock.with_lines(*back)


def revoked_by_others(
    existing: Existing, fresh: Iterable[RevokedLine], listed: Mapping[str, set[str]], owners: ByOwner, now: datetime
) -> frozenset[str]:
    """Return the entities whose certificates lines of others would revoke, if a build believed them.

    ``fresh`` are the revocations of this build, ``listed`` the serial numbers in the spec, by NAME of the CA.
    """
    drift, lock = existing.drift, existing.whole_lock
    unknown = (line for line in lock.alive(now) if (line.ca, line.serial) in drift.issued)
    issued = [line for line in unknown if not is_listed(line, existing, listed)]
    because = (one.entity for one in owners(issued) if one.reason != "key_compromise")
    known = [line for key in drift.revoked - drift.issued if (line := lock.by_serial.get(key))]
    meant = {(one.ca, one.serial) for one in (*fresh, *owners(known))}
    meant |= {(ca, serial) for ca, numbers in listed.items() for serial in numbers}
    revoked = (key for key in drift.revoked - meant if not _is_over(*key, existing, now))
    return frozenset((*because, *(lock.revocations[key].entity for key in revoked)))


def _is_over(ca: str, serial: str, existing: Existing, now: datetime) -> bool:
    """Return whether a certificate has ended, or is on the CRL in the tree."""
    there, line = existing.crls.get(ca), existing.whole_lock.by_serial.get((ca, serial))
    on_list = isinstance(there, RevocationList) and any(entry.serial == serial for entry in there.revoked)
    return on_list or (line is not None and line.certificate.not_after <= now)


def faults(
    fleet: Fleet, existing: Existing, revoked: AbstractSet[str], here: Mapping[str, Here], *, allowed: bool
) -> Iterator[Diagnostic]:
    """Report faults of the lock. ``revoked`` are the entities of :func:`revoked_by_others`.

    ``here`` are the certificates of the tree and those that are brought, by SHA-256.
    """
    drift = existing.drift
    if altered := (*drift.altered, *_contradicted(existing, here)):
        yield altered_lines(altered)
    if allowed:
        return
    if lost := forgotten(existing.lock, drift, fleet.now):
        yield Diagnostic(
            "PGT554",
            f"the lock does not know the {'certificate' if len(lost) == 1 else 'certificates'} of {_some(lost)}, "
            "which pgtls has issued",
            hint="pull or restore the newest lock; if these lines are lost for good, "
            "--allow-revoke records the certificates again and revokes them",
        )
    if revoked:
        yield Diagnostic(
            "PGT542",
            "the lock has lines that no build into this out directory wrote, "
            f"and they would revoke certificates of {words.listed(sorted(revoked))}",
            hint="read who added them in the lock's history; if they are meant, "
            "or if the out directory was restored from a backup, say --allow-revoke",
        )


def _contradicted(existing: Existing, here: Mapping[str, Here]) -> Iterator[IssuedLine]:
    """Yield lines of others about certificates that are here, which say something else of them."""
    for key in existing.drift.issued if existing.found_lock else ():
        line = existing.whole_lock.by_serial[key]
        said = line.ca, line.entity, line.certificate
        if here.get(line.certificate.sha256, said) != said:
            yield line


def altered_lines(lines: Collection[IssuedLine]) -> Diagnostic:
    """Return the diagnostic for lines that say something else than the build that issued the certificates."""
    what = "a line of the lock was" if len(lines) == 1 else f"{len(lines)} lines of the lock were"
    message = f"{what} altered: other facts of {_some(lines)} than the build recorded that issued it"
    hint = "restore the lock from version control: its lines are added and never changed"
    return Diagnostic("PGT543", message, hint=hint)


def _some(lines: Collection[IssuedLine]) -> str:
    return words.listed([f"{line.entity} (serial {line.serial})" for line in lines])
