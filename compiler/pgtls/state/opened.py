"""An out directory, opened for a transaction, and what is said when it cannot be written."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.state import files
from pgtls.state.names import PRIVATE
from pgtls.state.operations import in_the_way, link_in_the_way

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORD = "commit.json"
DRAFT = "commit.json.new"
STAGING = "staging"
"""Names in the private directory."""

_NOT_OURS = "build as the user that owns the out directory, or give this one the right to write"
_ADVICE = {
    errno.ENOSPC: "free some space and build again",
    errno.EDQUOT: "the quota is used up: free some space and build again",
    errno.EFBIG: "a limit on the size of files is in force: see ulimit -f",
    errno.EACCES: _NOT_OURS,
    errno.EPERM: _NOT_OURS,
    errno.EROFS: "the file system is mounted read-only",
}


class Place(NamedTuple):
    """An out directory, opened: itself, its private directory, and its name in messages."""

    root: int
    private: int
    out: str


@contextmanager
def opened(out: str) -> Iterator[Place]:
    """Open the out directory and its private one, which is made if it is not there. :class:`Rejected` with PGT525, PGT526 or PGT530."""
    out = out.rstrip("/") or "/"
    with writing(out):
        root = files.open_directory(out)
    try:
        with writing(os.path.join(out, PRIVATE)):
            private = open_private(root)
        try:
            yield Place(root, private, out)
        finally:
            os.close(private)
    finally:
        os.close(root)


def open_private(root: int) -> int:
    """Open the private directory of the out directory that is open as ``root``; it is made if it is not there.

    OSError, or :class:`Rejected` with PGT525 (a symbolic link lies there) or PGT526 (a file).
    """
    with suppress(FileExistsError):
        os.mkdir(PRIVATE, 0o700, dir_fd=root)
    found = os.stat(PRIVATE, dir_fd=root, follow_symlinks=False).st_mode
    if stat.S_ISLNK(found):
        raise Rejected(link_in_the_way(PRIVATE))
    if not stat.S_ISDIR(found):
        raise Rejected(in_the_way(PRIVATE, "a file", "a directory"))
    return files.open_directory(PRIVATE, root)


@contextmanager
def writing(path: str) -> Iterator[None]:
    """Turn an OSError into :class:`Rejected` with PGT530 for this path."""
    try:
        yield
    except OSError as error:
        raise Rejected(cannot_write(path, error)) from None


def cannot_write(path: str, error: OSError) -> Diagnostic:
    """Say that a build failed before it was decided."""
    advice = _ADVICE.get(error.errno or 0, "mend that and build again")
    message = f'cannot write "{path}": {error.strerror or error}'
    return Diagnostic("PGT530", message, hint=f"{advice}; nothing has changed")
