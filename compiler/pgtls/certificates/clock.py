"""Detect wrong clocks: certificates that were issued later than now."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pgtls.diagnostics import Diagnostic
from pgtls.pki.profiles import BACKDATED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from pgtls.certificates.model import Existing
    from pgtls.state.lock import IssuedLine, Lock

TOLERANCE = timedelta(days=1)
"""The maximum difference between the clocks of build machines."""


def issued_later(lock: Lock, now: datetime) -> list[datetime]:
    """Return when certificates were issued after now: this clock is slow, or an earlier one was fast."""
    return [_issued(line) for line in _later(lock, now)]


def _later(lock: Lock, now: datetime) -> list[IssuedLine]:
    lines = (line for line in lock.by_serial.values() if line.entity.kind != "ca")
    return [line for line in lines if _issued(line) > now + TOLERANCE]


def _issued(line: IssuedLine) -> datetime:
    return line.certificate.not_before + BACKDATED


def clock(existing: Existing, now: datetime, *, issuing: bool) -> Iterator[Diagnostic]:
    """Report certificates that were issued after now.

    With a slow clock, issue nothing: it might already have expired.
    """
    if later := _later(existing.whole_lock, now):
        added = all((line.ca, line.serial) in existing.drift.issued for line in later)
        yield Diagnostic(
            "PGT580",
            f"the clock says {now:%Y-%m-%d %H:%M}, but {len(later)} certificates were issued later, "
            f"the last on {max(map(_issued, later)):%Y-%m-%d %H:%M}",
            hint=_ADDED if added else _CLOCK,
            severity="error" if issuing else "warning",
        )


_CLOCK = (
    "set the clock of this machine; if it is right and the clock of an earlier build was fast, "
    "restore the out directory and the lock from before that build"
)
_ADDED = (
    "no build into this out directory wrote these lines of the lock: look up in its history who added them; if the "
    "certificates do not exist, delete the lines; if they exist, set the clock of this machine"
)
