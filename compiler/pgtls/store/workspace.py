"""A private directory for the copy of a tree, as long as one command runs.

It holds private keys. What a killed command leaves, the next command of the same user removes: each holds an advisory
lock on its directory, which the kernel drops with the process.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.state import files
from pgtls.state.faults import writing

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def workspace() -> Iterator[str]:
    """Make an empty directory, 0700, and remove it afterwards. Raise :class:`Rejected` with PGT519 or PGT530."""
    above = os.path.join(tempfile.gettempdir(), f"pgtls-{os.geteuid()}")
    with writing(above):
        parent = _private(above)
        try:
            fcntl.flock(parent, fcntl.LOCK_EX)  # nobody sweeps a directory before its owner has locked it
            _sweep(parent)
            path = tempfile.mkdtemp(prefix="work-", dir=above)
            held = files.open_directory(path)
            fcntl.flock(held, fcntl.LOCK_EX)
            fcntl.flock(parent, fcntl.LOCK_UN)
        except BaseException:
            os.close(parent)
            raise
    try:
        yield path
    finally:
        with suppress(OSError):
            files.remove(os.path.basename(path), parent)
        os.close(held)
        os.close(parent)


def _private(path: str) -> int:
    """Open the directory of this user's copies; create it if missing."""
    with suppress(FileExistsError):
        files.make_directory(path, 0o700)
    try:
        descriptor = files.open_directory(path)
    except NotADirectoryError:
        raise Rejected(_not_private(path)) from None
    found = os.fstat(descriptor)
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        os.close(descriptor)
        raise Rejected(_not_private(path))
    return descriptor


def _sweep(parent: int) -> None:
    """Remove the directories of commands that were killed."""
    for name in os.listdir(parent):
        with suppress(OSError):
            held = files.open_directory(name, parent)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                files.remove(name, parent)
            finally:
                os.close(held)


def _not_private(path: str) -> Diagnostic:
    message = f'"{path}" is not a directory of this user alone, and the copy of a tree holds private keys'
    hint = "find out who created it and remove it, or let TMPDIR name a directory of your own"
    return Diagnostic("PGT519", message, hint=hint)
