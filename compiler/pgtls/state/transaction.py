"""The transaction: a build changes the tree, the manifest and the lock together, or nothing.

1. Stage: write every new file below ``out/.pgtls/staging``, under its final path; write the new lock next to the lock,
   which may be on another file system. One ``syncfs`` per file system makes all of them durable.
2. Decide: write the commit record, a list of all operations, make it durable and rename it into place. Before this
   rename the build has changed nothing; after it the build counts as done. A key that the tree's first build generated
   authenticates the record, and the manifest (see :mod:`pgtls.state.seal`).
3. Carry out the operations of the record in order, the manifest last; then delete the record.

A record (:func:`pending`) means that a build was decided but not completed; :func:`recover` completes it. Each
operation can be repeated: a rename without a source is done, and so is a deletion without a file. Staged files without
a record are deleted.

A new directory is staged as a whole and moved into the tree by one rename. Directories are opened one component at a
time, never through a symbolic link, so that the build writes and deletes nothing outside the tree.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.pki.model import Entity
from pgtls.state import files, lock_file, memory, seal
from pgtls.state.faults import cannot_write, writing
from pgtls.state.git_index import ignores_all
from pgtls.state.journal import Record, digest
from pgtls.state.journal import read as read_record
from pgtls.state.lock_file import LockChange
from pgtls.state.manifest import entry
from pgtls.state.names import (
    DRAFT,
    GENERATIONS,
    GENERATIONS_PATH,
    GITIGNORE,
    IGNORE_ALL,
    KNOWN,
    KNOWN_DRAFT,
    KNOWN_PATH,
    MANIFEST,
    MEMORY_PATH,
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
    from collections.abc import Callable, Collection, Iterable, Mapping

    from pgtls.state.manifest import Entry


__all__ = ["LockChange", "commit", "pending", "recover", "refuse_pending"]

_PUBLIC = 0o644
_IGNORE_ALL = File(IGNORE_ALL, _PUBLIC, "gitignore", Entity())
_MEMORY = replace(_IGNORE_ALL, content=b"", mode=0o600)
"""A file of the memory, before it has its content."""


def commit(
    out: str,
    changes: Mapping[str, File],
    deletions: Collection[str],
    manifest: Callable[[Mapping[str, Entry]], Iterable[bytes]],
    lock: LockChange | None = None,
    *,
    generations: bytes | None = None,
    private: Collection[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write ``changes``, delete ``deletions``, replace the manifest and the lock: all or nothing.

    ``changes`` are by path relative to ``out``; a change whose content stays only sets the mode. ``deletions`` are
    files that the old manifest lists; directories that become empty are deleted too. ``manifest`` returns the new
    manifest, in parts, from the entries of the written files. ``generations`` are what may be in use afterwards.
    The tree remembers them, its lock, and which manifest is the last one.
    ``private`` are the directories that hold a key afterwards: they become 0700, and other changed directories 0755
    (None: directories that get a key become 0700, the others keep their mode). ``progress`` is called with the number
    of files staged since the last call.

    The caller holds the mutex of ``out``, which exists, and has called :func:`recover`. Raise :class:`Rejected` without
    any change: PGT525 (a symbolic link in the way), PGT526 (a foreign file in the way), PGT530 (cannot be written),
    PGT531 (the lock changed meanwhile). PGT533: the build is decided, but an operation failed; the next build repeats
    it.
    """
    with opened(out) as place:
        try:
            with writing(out):
                if not ignores_all(out):
                    changes = {**changes, GITIGNORE: _IGNORE_ALL}
                key = seal.draw(place.root, place.private)
                changes = {**changes, **_generations(place, generations)}
                private = None if private is None else {*private, PRIVATE}
                plan = operations(place.root, {**changes, MEMORY_PATH: _MEMORY}, deletions, private, last=MANIFEST)
            remembered = partial(memory.content, key, remembered=_remembered(lock, generations))
            after = _stage(place, plan.scaffold, changes, manifest, key, remembered, progress or _silent)
            step = lock_file.stage(lock, out) if lock else None
            known = _stage_known(place, lock.content) if lock else None
            decided = Record(plan.steps, step, digest(MANIFEST, place.root), after, known)
            _check_rights(place, decided)
            _decide(place, decided, key)
        except BaseException:
            with suppress(OSError):
                _discard(place, lock.path if lock else None)
            raise
        carry_out(place, decided)
    if lock:
        memory.mark(out)


def foresee(
    out: str, changes: Mapping[str, File], deletions: Collection[str], private: Collection[str] | None = None
) -> None:
    """Raise :class:`Rejected` with PGT525 or PGT526 if something is in the way of :func:`commit`. Write nothing."""
    try:
        root = files.open_directory(out)
    except FileNotFoundError:
        return
    try:
        operations(root, changes, deletions, private, last=MANIFEST)
    finally:
        os.close(root)


def pending(out: str) -> bool:
    """Return whether a build was decided but not completed: the tree is then neither old nor new."""
    return os.path.lexists(os.path.join(out, RECORD_PATH))


def refuse_pending(out: str) -> None:
    """Raise :class:`Rejected` with PGT534 if a build must be completed first: for commands that only read."""
    if pending(out):
        hint = "it first finishes what the interrupted one had decided"
        raise Rejected(Diagnostic("PGT534", "an interrupted build: run pgtls build", hint=hint, file=out))


def recover(out: str, lock_path: str | None = None) -> bool:
    """Complete a decided build, or delete the staged files of an undecided one. Return whether it completed one.

    The caller holds the mutex of ``out``. ``lock_path`` is the lock that its command names. Raise :class:`Rejected`
    with PGT530 (cannot be written), PGT532 (the record is damaged), PGT533 (an operation failed) or PGT538 (no build of
    this tree wrote the record).
    """
    if not os.path.lexists(os.path.join(out, PRIVATE)):
        return False
    with opened(out) as place:
        decided = read_record(place)
        if decided is None:
            with writing(out):
                _discard(place, lock_path)
            return False
        if decided.lock and lock_path:
            with writing(lock_path):
                decided = replace(decided, lock=lock_file.meant(decided.lock, lock_path, out))
        carry_out(place, decided)
        return True


def _generations(place: Opened, generations: bytes | None) -> dict[str, File]:
    """Return the file of the generations if it changes."""
    if generations is None or sha256(generations).hexdigest() == digest(GENERATIONS, place.private):
        return {}
    return {GENERATIONS_PATH: replace(_MEMORY, content=generations)}


def _remembered(lock: LockChange | None, generations: bytes | None) -> dict[str, bytes]:
    """Return the files that the tree remembers beside its manifest."""
    found = {KNOWN_PATH: lock.content} if lock else {}
    return found if generations is None else {**found, GENERATIONS_PATH: generations}


def _silent(_: int) -> None:
    """Show no progress."""


def _stage(
    place: Opened,
    scaffold: Mapping[str, int],
    changes: Mapping[str, File],
    manifest: Callable[[Mapping[str, Entry]], Iterable[bytes]],
    key: bytes,
    remembered: Callable[[str], bytes],
    progress: Callable[[int], None],
) -> str:
    """Write the new files below staging; return the digest of the new manifest, which the memory names."""
    path = STAGING
    try:
        os.mkdir(STAGING, 0o700, dir_fd=place.private)
        staging = files.open_directory(STAGING, place.private)
        try:
            for path, mode in scaffold.items():
                files.make_directory(path, mode, staging)
            written: dict[str, Entry] = {}
            began = os.fstat(staging).st_mtime_ns
            for number, (path, file) in enumerate(changes.items()):
                if (content := file.read()) is not None:
                    found = files.create(path, content, file.mode, staging, began + number)
                    written[path] = entry(content, found, file.kind, file.entity)
                    progress(1)
            path = MANIFEST
            after = files.create_in_parts(path, seal.closed(key, manifest(written)), _PUBLIC, staging)
            path = MEMORY_PATH
            files.create(path, remembered(after), _MEMORY.mode, staging)
            return after
        finally:
            os.close(staging)
    except OSError as error:
        raise Rejected(cannot_write(os.path.join(place.out, path), error)) from None


def _stage_known(place: Opened, lock: bytes) -> str | None:
    """Write the new copy of the lock and return its digest; None if the present copy stays."""
    wanted = sha256(lock).hexdigest()
    if digest(KNOWN, place.private) == wanted:
        return None
    with writing(os.path.join(place.out, KNOWN_PATH)):
        files.create(KNOWN_DRAFT, lock, _PUBLIC, place.private)
    return wanted


def _check_rights(place: Opened, decided: Record) -> None:
    """Raise PGT530 if this user cannot write a directory of the tree: a decided build could not be completed."""
    effective = os.access in os.supports_effective_ids
    for directory in sorted({step.path.rpartition("/")[0] or "." for step in decided.steps if step.verb != "chmod"}):
        there, writable = (
            os.access(directory, mode, dir_fd=place.root, effective_ids=effective)
            for mode in (os.F_OK, os.W_OK | os.X_OK)
        )
        if there and not writable:
            denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            raise Rejected(cannot_write(os.path.join(place.out, directory), denied))


def _decide(place: Opened, decided: Record, key: bytes) -> None:
    """Make the staged files durable, then the record; once the record is renamed, the build counts as done."""
    with writing(place.out):
        sync(place, decided)
        files.create(DRAFT, decided.render(key), 0o600, place.private)
        files.sync_file(DRAFT, place.private)
        os.rename(DRAFT, RECORD, src_dir_fd=place.private, dst_dir_fd=place.private)
        os.fsync(place.private)


def _discard(place: Opened, lock_path: str | None) -> None:
    """Delete the staged files. Delete the record first: it must not name missing files."""
    for name in (RECORD, DRAFT, KNOWN_DRAFT):
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=place.private)
            os.fsync(place.private)
    seal.discard(place.private)
    files.remove(STAGING, place.private)
    if lock_path is not None:
        lock_file.discard(lock_path, place.out)
