"""An instant as people and programs ask for it: ``--now``, ``$PGTLS_NOW``, and Terraform's query."""

from __future__ import annotations

from datetime import UTC, datetime

_FIRST_YEAR, _LAST_YEAR = 1951, 9000
"""UTCTime begins in 1950 (RFC 5280, 4.1.2.5.1); a certificate made in the last year may live for a while."""


def read_instant(text: str) -> datetime:
    """Read RFC 3339, or a date (00:00 UTC). ValueError says what is wrong with ``text``, to be read after its name."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("is no instant: write 2027-06-30 or 2027-06-30T12:00:00Z") from None
    if instant.tzinfo is None and len(text) > len("2027-06-30"):
        raise ValueError("has no offset: write 2027-06-30T12:00:00Z")
    if not _FIRST_YEAR <= instant.year <= _LAST_YEAR:
        raise ValueError(f"is out of reach: certificates know the years {_FIRST_YEAR} to {_LAST_YEAR}")
    return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)
