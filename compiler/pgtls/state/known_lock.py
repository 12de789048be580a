"""The lock as this tree's last build left it, kept in the private directory: what the lock of today is compared with.

The lock is committed, so whoever can commit can add lines to it, change them, or go back to an older one. The copy tells their lines from those of builds.
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
    from pgtls.state.lock import IssuedLine, Lock, RevokedLine

Key = tuple[str, str]
"""NAME of a CA, and serial number."""


@dataclass(frozen=True, slots=True)
class Drift:
    """How the lock differs from what this tree's last build left."""

    issued: frozenset[Key] = frozenset()
    """Certificates that only the lock of today lists."""
    revoked: frozenset[Key] = frozenset()
    """Certificates that only the lock of today revokes."""
    lost: tuple[IssuedLine, ...] = ()
    """Lines that are gone from the lock."""
    reinstated: tuple[RevokedLine, ...] = ()
    """Revocations that are gone from the lock."""
    altered: tuple[IssuedLine, ...] = ()
    """Lines of today that tell other facts of a certificate than the build that issued it; not those with another fingerprint."""


NONE = Drift()


def compare(out: str, lock: Lock) -> Drift:
    """Compare the lock with the copy in the out directory. No difference where there is no copy yet."""
    try:
        content = files.read(os.path.join(out, KNOWN_PATH))
        if sha256(content).hexdigest() == lock.digest:
            return NONE
        known = locks.parse(content, KNOWN_PATH)
    except (OSError, Rejected):
        return NONE
    before, after = known.by_serial, lock.by_serial
    return Drift(
        frozenset(after.keys() - before.keys()),
        frozenset(lock.revocations.keys() - known.revocations.keys()),
        tuple(line for key, line in before.items() if key not in after),
        tuple(line for key, line in known.revocations.items() if key not in lock.revocations),
        tuple(line for key, line in after.items() if key in before and _altered(line, before[key])),
    )


def _altered(line: IssuedLine, before: IssuedLine) -> bool:
    """Tell whether a line says something else. One with another fingerprint is no line of the certificate, which the lock then does not know."""
    if line.certificate.sha256 != before.certificate.sha256:
        return False
    return (line.entity, line.certificate) != (before.entity, before.certificate)
