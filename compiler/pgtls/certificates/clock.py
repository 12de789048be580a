"""What a renewal leaves behind, and clocks that cannot be right."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from pgtls.certificates.credentials import blocks
from pgtls.certificates.model import Beside
from pgtls.diagnostics import Diagnostic
from pgtls.pki.model import Certificate, Unreadable
from pgtls.pki.profiles import BACKDATED
from pgtls.state import layout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from pgtls.certificates.model import Decision
    from pgtls.certificates.observe import Existing
    from pgtls.state.lock import Lock

TOLERANCE = timedelta(days=1)
"""By how much the clocks of those who build may differ."""


def with_previous(decision: Decision, existing: Existing, now: datetime) -> Decision:
    """Keep the certificates that a root had before, with the key that it has, until they end: bundles carry them beside the present one (DESIGN 4.2)."""
    profile, found = decision.profile, decision.found.certificate
    if profile.kind != "ca" or profile.issuer or existing.from_lock or decision.new_key:
        return decision
    path = layout.path(profile.entity, layout.CA_PREVIOUS_CERTIFICATE)
    kept = list(blocks(existing.content(path) or b"")) if path in existing.files else []
    if decision.reason and isinstance(found, Certificate) and decision.found.pem:
        kept += list(blocks(decision.found.pem))[:1]
    good = [(pem, end) for pem in kept if (end := _end(pem, found)) and end > now]
    if not good:
        return decision
    ends = min(end for _, end in good)
    return replace(decision, beside=Beside(previous=b"".join(pem for pem, _ in good), ends=ends))


def _end(pem: bytes, present: object) -> datetime | None:
    """When an old certificate of the present key ends; None for anything else."""
    from pgtls.pki.facts import read

    certificates = read(pem)
    if isinstance(certificates, Unreadable) or not isinstance(present, Certificate):
        return None
    return certificates[0].not_after if certificates[0].spki_sha256 == present.spki_sha256 else None


def issued_later(lock: Lock, now: datetime) -> list[datetime]:
    """When certificates were issued after now, as the lock knows: this clock is behind, or that one was ahead."""
    instants = (
        line.certificate.not_before + BACKDATED for line in lock.by_serial.values() if not line.entity.startswith("ca.")
    )
    return [instant for instant in instants if instant > now + TOLERANCE]


def clock(existing: Existing, now: datetime, *, issuing: bool) -> Iterator[Diagnostic]:
    """Say that certificates were issued after now. Nothing is issued by a clock that is behind: it might have ended already."""
    if later := issued_later(existing.lock, now):
        yield Diagnostic(
            "PGT580",
            f"the clock says {now:%Y-%m-%d %H:%M}, and {len(later)} certificates were issued later, the last on {max(later):%Y-%m-%d %H:%M}",
            hint="set the clock of this machine; if it is right and an earlier build ran ahead of it, restore the out directory and the lock from before that build",
            severity="error" if issuing else "warning",
        )
