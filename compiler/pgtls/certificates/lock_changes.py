"""Detect changes to the lock since the last build: added, lost and altered lines (see :mod:`pgtls.state.known_lock`).

A line that no build into this out directory wrote revokes nothing without --allow-revoke. A build restores a lost line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.access.former import inheritable
from pgtls.access.held import held
from pgtls.diagnostics import Diagnostic
from pgtls.language.words import listed
from pgtls.pki.model import RevocationList
from pgtls.state.lock import RevokedLine

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from pgtls.certificates.model import Existing
    from pgtls.fleet.model import Fleet
    from pgtls.state.known_lock import Drift
    from pgtls.state.lock import IssuedLine, Lock


def forgotten(lock: Lock, drift: Drift, now: datetime) -> tuple[IssuedLine, ...]:
    """Return the certificates that still give access and that the lock no longer lists."""
    revoked = {(line.ca, line.serial) for line in drift.reinstated} | lock.revocations.keys()
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
    """Return the lock with its lost revocations, and with the lost certificates that give no access any more.

    If ``allowed``, add and revoke the other lost certificates. What has ended comes back, too: the clock may be fast.
    """
    alive = forgotten(lock, drift, now)
    lost = drift.lost if allowed else [line for line in drift.lost if line not in alive]
    added = revocations(lock, drift, now) if allowed else ()
    return lock.with_lines(*lost, *drift.reinstated, *added)


def revoked_by_others(
    existing: Existing, fresh: Iterable[RevokedLine], meant: Callable[[IssuedLine], bool], now: datetime
) -> frozenset[str]:
    """Return the entities whose certificates would be revoked because of lines that others added.

    ``fresh`` are the revocations of this build. ``meant`` tells whether the spec itself revokes a certificate.
    """
    because = (line.entity for line in fresh if (line.ca, line.serial) in existing.drift.issued)
    return frozenset((*_added(existing, meant, now), *because))


def faults(fleet: Fleet, existing: Existing, revoked: AbstractSet[str], *, allowed: bool) -> Iterator[Diagnostic]:
    """Report faults of the lock. ``revoked`` are the entities of :func:`revoked_by_others`."""
    drift = existing.drift
    if drift.altered:
        yield _altered(drift.altered)
    yield from _inherited(fleet, existing)
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
            f"and they would revoke certificates of {listed(sorted(revoked))}",
            hint="read who added them in the lock's history; if they are meant, "
            "or if the out directory was restored from a backup, say --allow-revoke",
        )


def _inherited(fleet: Fleet, existing: Existing) -> Iterator[Diagnostic]:
    """Report names that others would get by lines that are lost: the rules were judged by the lock without them."""
    for server in fleet.servers.values() if existing.drift.lost or existing.drift.reinstated else ():
        lock = existing.lock
        lines = (lock.alive if server.table.crl else lock.unexpired)(fleet.now)
        yield from inheritable(fleet, server, held(fleet, lines, lock.ceased))


def _altered(lines: Collection[IssuedLine]) -> Diagnostic:
    what = "a line of the lock was" if len(lines) == 1 else f"{len(lines)} lines of the lock were"
    message = f"{what} altered: other facts of {_some(lines)} than the build recorded that issued it"
    hint = "restore the lock from version control: its lines are added and never changed"
    return Diagnostic("PGT543", message, hint=hint)


def _added(existing: Existing, meant: Callable[[IssuedLine], bool], now: datetime) -> Iterator[str]:
    """Yield the entities whose certificates only added lines revoke, and neither the CRL in the tree nor the spec."""
    for ca, serial in existing.drift.revoked:
        there, line = existing.crls.get(ca), existing.lock.by_serial.get((ca, serial))
        on_list = isinstance(there, RevocationList) and any(entry.serial == serial for entry in there.revoked)
        ended = line is not None and line.certificate.not_after <= now
        asked = line is not None and (ca, serial) not in existing.drift.issued and meant(line)
        if not (on_list or ended or asked):
            yield existing.lock.revocations[ca, serial].entity


def _some(lines: Collection[IssuedLine]) -> str:
    return listed([f"{line.entity} (serial {line.serial})" for line in lines])
