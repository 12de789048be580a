"""The lock as this tree's last build wrote it: a copy in the private directory, to compare with the present lock.

The lock is committed, so everyone who can commit can add or change lines, or restore an older lock. The copy
distinguishes their lines from those of builds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from pgtls.diagnostics import Rejected
from pgtls.state import files
from pgtls.state import lock as locks
from pgtls.state.names import KNOWN_PATH

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pgtls.state.lock import IssuedLine, Lock, RevokedLine

    Lines = Mapping["Key", IssuedLine]

Key = tuple[str, str]
"""NAME of a CA, and serial number."""


@dataclass(frozen=True, slots=True)
class Drift:
    """The differences between the lock and the copy of this tree's last build."""

    issued: frozenset[Key] = frozenset()
    """Certificates that only the present lock lists."""
    revoked: frozenset[Key] = frozenset()
    """Certificates that only the present lock revokes."""
    lost: tuple[IssuedLine, ...] = ()
    """Lines that the lock no longer has."""
    reinstated: tuple[RevokedLine, ...] = ()
    """Lines of revocations that the lock no longer has, or has with another reason or date."""
    altered: tuple[IssuedLine, ...] = ()
    """Present lines of known certificates that differ from what the copy says of them."""


NONE = Drift()


def compare(out: str, lock: Lock) -> Drift:
    """Compare the lock with the copy in the out directory. Return no difference if there is no copy yet."""
    try:
        content = files.read(os.path.join(out, KNOWN_PATH))
        if sha256(content).hexdigest() == lock.digest:
            return NONE
        known = locks.parse(content, KNOWN_PATH)
    except (OSError, Rejected):
        return NONE
    before, after = known.by_serial, lock.by_serial
    present = frozenset(map(_said, lock.revoked))
    return Drift(
        frozenset(after.keys() - before.keys()),
        frozenset(lock.revocations.keys() - known.revocations.keys()),
        tuple(line for key, line in before.items() if key not in after),
        tuple(line for line in known.revoked if _said(line) not in present),
        tuple(_altered(before, after)),
    )


def _altered(before: Lines, after: Lines) -> Iterator[IssuedLine]:
    """Yield the lines that tell something else of a known serial number, or of a known certificate."""
    digests = {line.certificate.sha256 for line in before.values()}
    for key, line in after.items():
        known = before.get(key)
        same = known is not None and (known.entity, known.certificate) == (line.entity, line.certificate)
        same = same and {*(known or line).roots} <= {*line.roots} and (known or line).foreign <= line.foreign
        if not same and (known or line.certificate.sha256 in digests):
            yield line


def _said(line: RevokedLine) -> tuple[object, ...]:
    return line.ca, line.serial, line.reason, line.date
