"""Carry out what a commit record says, from whatever point it was interrupted at."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.state import files, lock_file
from pgtls.state.journal import digest
from pgtls.state.names import KNOWN, KNOWN_DRAFT, KNOWN_PATH, PRIVATE, RECORD, STAGING

if TYPE_CHECKING:
    from pgtls.state.journal import LockStep, Record
    from pgtls.state.operations import Operation
    from pgtls.state.out_directory import Opened


def carry_out(place: Opened, record: Record) -> None:
    """Do every step, then remove the record and what is left in staging. :class:`Rejected` with PGT524 or PGT533."""
    path = f"{PRIVATE}/{STAGING}"
    try:
        staging = files.open_directory(STAGING, place.private)
        directories = files.Directories(place.root)
        try:
            if record.lock:
                path = record.lock.path
                lock_file.put(record.lock, partial(_decided, place, record.lock))
            if record.known and digest(KNOWN_DRAFT, place.private) == record.known:
                path = KNOWN_PATH
                os.rename(KNOWN_DRAFT, KNOWN, src_dir_fd=place.private, dst_dir_fd=place.private)
            for step in record.steps:
                path = step.path
                _perform(step, staging, directories)
        finally:
            directories.close()
            os.close(staging)
        path = PRIVATE
        sync(place, record)
        os.unlink(RECORD, dir_fd=place.private)
        os.fsync(place.private)
        files.remove(STAGING, place.private)
    except OSError as error:
        where = os.path.join(place.out, path)
        message = f'the build is decided, but "{where}" cannot be put in place: {error.strerror or error}'
        hint = "fix this and run pgtls build: it carries out the rest"
        raise Rejected(Diagnostic("PGT533", message, hint=hint)) from None


def _decided(place: Opened, lock: LockStep) -> bytes | None:
    """Return the decided lock from its copy in the private directory; None if that has another one."""
    names = (name for name in (KNOWN_DRAFT, KNOWN) if digest(name, place.private) == lock.after)
    return next((files.read(name, place.private) for name in names), None)


def sync(place: Opened, record: Record) -> None:
    """Make what was written to the file systems of the tree and of the lock durable."""
    if record.lock is None:
        files.sync(place.root)
        return
    directory = os.open(os.path.dirname(record.lock.path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        files.sync(place.root, directory)
    finally:
        os.close(directory)


def _perform(step: Operation, staging: int, directories: files.Directories) -> None:
    """Do one step, or nothing if it is done already."""
    if step.verb == "rename":
        if files.exists(step.path, staging):
            name, directory = directories.place(step.path)
            os.rename(step.path, name, src_dir_fd=staging, dst_dir_fd=directory)
        return
    with suppress(FileNotFoundError, NotADirectoryError):  # done, and perhaps something else is in its place by now
        name, directory = directories.place(step.path)
        found = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        if step.verb == "unlink" and not stat.S_ISDIR(found):
            os.unlink(name, dir_fd=directory)
        elif step.verb == "rmdir" and stat.S_ISDIR(found):
            _remove_if_empty(name, directory)
        elif step.verb == "chmod" and not stat.S_ISLNK(found):
            files.change_mode(name, step.mode, directory)


def _remove_if_empty(name: str, directory: int) -> None:
    try:
        os.rmdir(name, dir_fd=directory)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
            raise
