"""The lock as this tree's last build wrote it: a copy in the private directory, to compare with the present lock.

The lock is committed, so everyone who can commit can add or change lines, or restore an older lock. The copy
distinguishes their lines from those of builds. What others added stays theirs, whatever is built meanwhile, until a
build accepts it: the manifest has the digests of their lines.
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
    from collections.abc import Collection, Iterator, Mapping

    from pgtls.state.lock import IssuedLine, Lock, RevokedLine

    Lines = Mapping["Key", IssuedLine]

Key = tuple[str, str]
"""NAME of a CA, and serial number."""


@dataclass(frozen=True, slots=True)
class Drift:
    """The differences between the lock and what builds of this tree wrote."""

    own: Lock | None = None
    """The lock as builds wrote it. None: the present lock is that."""
    added: frozenset[str] = frozenset()
    """The digests of the present lines of others."""
    issued: frozenset[Key] = frozenset()
    """Certificates that only others list."""
    revoked: frozenset[Key] = frozenset()
    """Certificates that only others revoke."""
    gone: tuple[IssuedLine | RevokedLine, ...] = ()
    """Lines of builds that the lock no longer has as they were written."""
    lost: tuple[IssuedLine, ...] = ()
    """Certificates of builds that the lock no longer has, whatever it says of them."""
    altered: tuple[IssuedLine, ...] = ()
    """Present lines of known certificates that differ from what the copy says of them."""


NONE = Drift()


def compare(out: str, lock: Lock, added: Collection[str]) -> Drift:
    """Compare the lock with the copy in the out directory. Return no difference if there is no copy yet.

    ``added`` are the digests of the lines of others in the copy. One that is gone since means nothing: nobody here
    wrote it.
    """
    try:
        content = files.read(os.path.join(out, KNOWN_PATH))
        if sha256(content).hexdigest() == lock.digest and not added:
            return NONE
        known = locks.parse(content, KNOWN_PATH)
    except (OSError, Rejected):
        return NONE
    own = known.without(added)
    before, after = own.by_serial, lock.by_serial
    written, present = ({locks.digest(line): line for line in one.lines} for one in (own, lock))
    return Drift(
        own,
        frozenset(present.keys() - written.keys()),
        frozenset(after.keys() - before.keys()),
        frozenset(lock.revocations.keys() - own.revocations.keys()),
        tuple(line for digest, line in written.items() if digest not in present),
        tuple(line for key, line in before.items() if key not in after),
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
