"""One build at a time in an out directory; those that only read share it.

The mutex is an advisory ``flock`` on ``out/.pgtls/mutex``; the kernel drops it when its holder ends, even by SIGKILL.
This module uses the standard library's ``fcntl``, not a locking library: it must open the file without following
symbolic links, and readers must not create it. Locking libraries also cost more import time than everything else here.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.state import files
from pgtls.state.names import GITIGNORE, KEY_PATH, KNOWN_PATH, MANIFEST, MEMORY_PATH, MUTEX, PRIVATE, RECORD_PATH
from pgtls.state.out_directory import open_private

if TYPE_CHECKING:
    from collections.abc import Iterator

_PAUSE = 0.05
"""Seconds between two attempts."""


@contextmanager
def exclusive(out: str, timeout: float) -> Iterator[None]:
    """Lock the out directory exclusively. Create it if missing; remove it again if the build wrote nothing.

    ``timeout`` is in seconds. Raise :class:`Rejected` with PGT523 (the directory is not writable), PGT525 or PGT526
    (something else is in the way), PGT535 (others held it for longer than the timeout) or PGT536 (it cannot be locked).
    The caller has checked that the directory belongs to pgtls: see :func:`pgtls.state.out_directory.inspect`.
    """
    deadline = time.monotonic() + timeout
    made = False
    while True:
        made = made or not os.path.lexists(out)
        descriptor = _make(out)
        try:
            _lock(descriptor, fcntl.LOCK_EX, out, deadline, timeout)
            if not _same(descriptor, out):  # its last holder built nothing and removed it
                continue
            try:
                yield
            finally:
                _remove_if_unused(out, made)
            return
        finally:
            os.close(descriptor)


@contextmanager
def shared(out: str, timeout: float) -> Iterator[None]:
    """Share the out directory with other readers, so that no build changes it meanwhile.

    Create nothing: without a mutex, or if this user cannot open it, lock nothing. Raise :class:`Rejected` as
    :func:`exclusive`.
    """
    deadline = time.monotonic() + timeout
    try:
        descriptor = os.open(os.path.join(out, MUTEX), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        _lock(descriptor, fcntl.LOCK_SH, out, deadline, timeout)
        yield
    finally:
        os.close(descriptor)


def _make(out: str) -> int:
    try:
        if not os.path.isdir(out):
            files.make_directories(os.path.dirname(out.rstrip("/")))
            with suppress(FileExistsError):
                files.make_directory(out, 0o755)
        with ExitStack() as stack:
            root = files.open_directory(out)
            stack.callback(os.close, root)
            private = open_private(root)
            stack.callback(os.close, private)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(os.path.basename(MUTEX), flags, 0o600, dir_fd=private)
    except OSError as error:
        hint = "build as the user that owns it, or name another directory with --out"
        message = f'cannot write to the out directory "{out}": {error.strerror or error}'
        raise Rejected(Diagnostic("PGT523", message, hint=hint)) from None


def _lock(descriptor: int, kind: int, out: str, deadline: float, timeout: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                hint = "wait until it is done, or wait longer with --lock-timeout"
                message = f'another pgtls works in the out directory "{out}"; waited {timeout:g} seconds for it'
                raise Rejected(Diagnostic("PGT535", message, hint=hint)) from None
            time.sleep(_PAUSE)
        except OSError as error:
            hint = "its file system does not know flock: build in a directory on another one"
            message = f'the out directory "{out}" cannot be locked: {error.strerror or error}'
            raise Rejected(Diagnostic("PGT536", message, hint=hint)) from None
        else:
            return


def _same(descriptor: int, out: str) -> bool:
    """Return whether the locked mutex is still the file that other commands will open."""
    try:
        found = os.stat(os.path.join(out, MUTEX), follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), found)


def _remove_if_unused(out: str, made: bool) -> None:
    """Clean up after a failed build: remove the mutex from a directory without a manifest, and the directory if new.

    What builds remember stays, with its key: the tree may be away for a moment only.
    """
    if any(os.path.lexists(os.path.join(out, name)) for name in (MANIFEST, RECORD_PATH, MEMORY_PATH)):
        return
    for name in (KEY_PATH, KNOWN_PATH, MUTEX):
        with suppress(OSError):
            os.unlink(os.path.join(out, name))
    private = os.path.join(out, PRIVATE)
    with suppress(OSError):
        if os.listdir(private) == [GITIGNORE]:  # it hides what else is there
            os.unlink(os.path.join(private, GITIGNORE))
        os.rmdir(private)
        if made:
            os.rmdir(out)
