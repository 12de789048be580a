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
"""By how much the clocks of machines that build may differ."""


def issued_later(lock: Lock, now: datetime) -> list[datetime]:
    """Return when certificates were issued after now: this clock is slow, or an earlier one was fast."""
    instants = (line.certificate.not_before + BACKDATED for line in lock.by_serial.values() if line.entity.kind != "ca")
    return [instant for instant in instants if instant > now + TOLERANCE]


def clock(existing: Existing, now: datetime, *, issuing: bool) -> Iterator[Diagnostic]:
    """Report certificates that were issued after now. A slow clock issues nothing: it might have expired already."""
    if later := issued_later(existing.lock, now):
        yield Diagnostic(
            "PGT580",
            f"the clock says {now:%Y-%m-%d %H:%M}, but {len(later)} certificates were issued later, "
            f"the last on {max(later):%Y-%m-%d %H:%M}",
            hint="set the clock of this machine; if it is right and the clock of an earlier build was fast, "
            "restore the out directory and the lock from before that build",
            severity="error" if issuing else "warning",
        )
