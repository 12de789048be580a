"""Define the major versions that pgtls supports, and their support periods (postgresql.org/support/versioning)."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple


class Release(NamedTuple):
    """A major version. An unknown date is None."""

    major: int
    first: date | None
    end_of_life: date | None
    """The day of its last minor release."""

    @property
    def final(self) -> bool:
        """Return whether it has been released. Before the release its tables may still change."""
        return self.first is not None


RELEASES = {
    release.major: release
    for release in (
        Release(13, date(2020, 9, 24), date(2025, 11, 13)),
        Release(14, date(2021, 9, 30), date(2026, 11, 12)),
        Release(15, date(2022, 10, 13), date(2027, 11, 11)),
        Release(16, date(2023, 9, 14), date(2028, 11, 9)),
        Release(17, date(2024, 9, 26), date(2029, 11, 8)),
        Release(18, date(2025, 9, 25), date(2030, 11, 14)),
        Release(19, None, None),
    )
}
OLDEST, NEWEST = min(RELEASES), max(RELEASES)
