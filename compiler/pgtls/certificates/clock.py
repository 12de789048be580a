"""Clocks that cannot be right: certificates were issued later than now."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pgtls.diagnostics import Diagnostic
from pgtls.pki.profiles import BACKDATED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from pgtls.certificates.model import Existing
    from pgtls.state.lock import Lock

TOLERANCE = timedelta(days=1)
"""By how much the clocks of those who build may differ."""


def issued_later(lock: Lock, now: datetime) -> list[datetime]:
    """When certificates were issued after now, as the lock knows: this clock is behind, or that one was ahead."""
    instants = (line.certificate.not_before + BACKDATED for line in lock.by_serial.values() if line.entity.kind != "ca")
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
