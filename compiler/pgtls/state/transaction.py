"""The transaction: a build changes the tree, the manifest and the lock together, or nothing.

1. Stage: every new file is written below ``out/.pgtls/staging``, under the path that it will have; the new lock beside the lock, which may be on
   another file system. One ``syncfs`` per file system makes it all durable.
2. Decide: the commit record, a list of all operations, is written, made durable and renamed into place. Until then nothing has happened; from
   then on the build has. A key that the tree's first build drew authenticates it (see :mod:`pgtls.state.seal`).
3. Carry out the operations of the record, in their order, the manifest last; then the record goes.

Whoever finds a record (:func:`pending`) finds a build that was decided and not yet carried out; :func:`recover` finishes it. Each operation can be
repeated: a rename whose source is gone has been done, and so has a deletion whose file is gone. What is staged without a record is thrown away.

A directory that the tree does not have yet is staged as a whole and enters it by one rename. Directories are opened one component at a time, never
through a symbolic link, so that nothing outside of the tree is written or deleted.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.pki.model import Entity
from pgtls.state import files, lock_file, seal
from pgtls.state.faults import cannot_write, writing
from pgtls.state.journal import Record, digest
from pgtls.state.journal import read as read_record
from pgtls.state.lock_file import LockChange
from pgtls.state.names import (
    DRAFT,
    GITIGNORE,
    KNOWN,
    KNOWN_DRAFT,
    KNOWN_PATH,
    MANIFEST,
    PRIVATE,
    RECORD,
    RECORD_PATH,
    STAGING,
)
from pgtls.state.operations import operations
from pgtls.state.out_directory import Opened, opened
from pgtls.state.recovery import carry_out, sync
from pgtls.state.tree import File

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping


__all__ = ["LockChange", "commit", "pending", "recover", "refuse_pending"]

_PUBLIC = 0o644
_IGNORE_ALL = File(b"*\n", _PUBLIC, "gitignore", Entity())


def commit(
    out: str,
    changes: Mapping[str, File],
    deletions: Collection[str],
    manifest: Callable[[Mapping[str, os.stat_result]], bytes],
    lock: LockChange | None = None,
    *,
    private: Collection[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write ``changes``, delete ``deletions``, replace the manifest and the lock: all or nothing.

    ``changes`` are by path relative to ``out``; one without bytes as its content only gets its mode. ``deletions`` are files that the old manifest
    lists; directories that they leave empty go too. ``manifest`` makes the new manifest from the stat of each file written. ``private`` are the
    directories that hold a key afterwards: they become 0700 and other directories with a change in them 0755 (None: those that get a key become
    0700, and no other changes). ``progress`` is told how many more files are staged.

    The caller holds the mutex of ``out``, which exists, and has called :func:`recover`. :class:`Rejected`, and nothing has changed: PGT525
    (a symbolic link in the way), PGT526 (a file of somebody else's in the way), PGT530 (cannot be written), PGT531 (the lock changed
    meanwhile). PGT533: decided, but an operation failed; the next build repeats it.
    """
    with opened(out) as place:
        try:
            with writing(out):
                if not files.exists(GITIGNORE, place.root):
                    changes = {**changes, GITIGNORE: _IGNORE_ALL}
                plan = operations(place.root, changes, deletions, private, last=MANIFEST)
            after = _stage(place, plan.scaffold, changes, manifest, progress or _silent)
            step = lock_file.stage(lock, out) if lock else None
            known = _stage_known(place, lock.content) if lock else None
            decided = Record(plan.steps, step, digest(MANIFEST, place.root), after, known)
            _check_rights(place, decided)
            _decide(place, decided)
        except BaseException:
            with suppress(OSError):
                _discard(place, lock.path if lock else None)
            raise
        carry_out(place, decided)


def foresee(
    out: str, changes: Mapping[str, File], deletions: Collection[str], private: Collection[str] | None = None
) -> None:
    """Raise what :func:`commit` would refuse because of what lies in the way: :class:`Rejected` with PGT525 or PGT526. Writes nothing."""
    try:
        root = files.open_directory(out)
    except FileNotFoundError:
        return
    try:
        operations(root, changes, deletions, private, last=MANIFEST)
    finally:
        os.close(root)


def pending(out: str) -> bool:
    """Tell whether a build was decided and not carried out: the tree is then neither old nor new."""
    return os.path.lexists(os.path.join(out, RECORD_PATH))


def refuse_pending(out: str) -> None:
    """Raise :class:`Rejected` with PGT534 if there is a build to be finished: for commands that only read."""
    if pending(out):
        hint = "it first finishes what the interrupted one had decided"
        raise Rejected(Diagnostic("PGT534", "an interrupted build: run pgtls build", hint=hint, file=out))


def recover(out: str, lock_path: str | None = None) -> bool:
    """Finish a build that was decided, and throw away what was staged by one that was not. Whether there was one to finish.

    The caller holds the mutex of ``out``. :class:`Rejected` with PGT530 (cannot be written), PGT532 (the record is damaged), PGT533 (an operation
    failed) or PGT538 (no build of this tree wrote the record).
    """
    if not os.path.lexists(os.path.join(out, PRIVATE)):
        return False
    with opened(out) as place:
        decided = read_record(place)
        if decided is None:
            with writing(out):
                _discard(place, lock_path)
            return False
        carry_out(place, decided)
        return True


def _silent(_: int) -> None:
    """Show no progress."""


def _stage(
    place: Opened,
    scaffold: Mapping[str, int],
    changes: Mapping[str, File],
    manifest: Callable[[Mapping[str, os.stat_result]], bytes],
    progress: Callable[[int], None],
) -> str:
    """Write what is new below staging; return the digest of the new manifest."""
    path = STAGING
    try:
        os.mkdir(STAGING, 0o700, dir_fd=place.private)
        staging = files.open_directory(STAGING, place.private)
        try:
            for path, mode in scaffold.items():
                files.make_directory(path, mode, staging)
            stats = {}
            for number, (path, file) in enumerate(changes.items()):
                if isinstance(file.content, bytes):
                    stats[path] = files.create(path, file.content, file.mode, staging, later=number)
                    progress(1)
            path = MANIFEST
            content = manifest(stats)
            files.create(path, content, _PUBLIC, staging)
        finally:
            os.close(staging)
    except OSError as error:
        raise Rejected(cannot_write(os.path.join(place.out, path), error)) from None
    return sha256(content).hexdigest()


def _stage_known(place: Opened, lock: bytes) -> str | None:
    """Write the new copy of the lock; None if the one that is there stays."""
    wanted = sha256(lock).hexdigest()
    if digest(KNOWN, place.private) == wanted:
        return None
    with writing(os.path.join(place.out, KNOWN_PATH)):
        files.create(KNOWN_DRAFT, lock, _PUBLIC, place.private)
    return wanted


def _check_rights(place: Opened, decided: Record) -> None:
    """Refuse where a directory of the tree may not be changed: found out afterwards, the build would be decided and could not be carried out."""
    effective = os.access in os.supports_effective_ids
    for directory in sorted({step.path.rpartition("/")[0] or "." for step in decided.steps if step.verb != "chmod"}):
        there, writable = (
            os.access(directory, mode, dir_fd=place.root, effective_ids=effective)
            for mode in (os.F_OK, os.W_OK | os.X_OK)
        )
        if there and not writable:
            denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            raise Rejected(cannot_write(os.path.join(place.out, directory), denied))


def _decide(place: Opened, decided: Record) -> None:
    """Make all that is staged durable, then the record; with its renaming the build has happened."""
    with writing(place.out):
        key = seal.draw(place)
        sync(place, decided)
        files.create(DRAFT, decided.render(key), 0o600, place.private)
        files.sync_file(DRAFT, place.private)
        os.rename(DRAFT, RECORD, src_dir_fd=place.private, dst_dir_fd=place.private)
        os.fsync(place.private)


def _discard(place: Opened, lock_path: str | None) -> None:
    """Throw away what is staged. The record goes first: without what it names it would be a lie."""
    for name in (RECORD, DRAFT, KNOWN_DRAFT):
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=place.private)
            os.fsync(place.private)
    seal.discard(place)
    files.remove(STAGING, place.private)
    if lock_path is not None:
        lock_file.discard(lock_path, place.out)
