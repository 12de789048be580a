"""The transaction: a build changes the tree, the manifest and the lock together, or nothing.

1. Stage: every new file is written below ``out/.pgtls/staging``, under the path that it will have; the new lock beside the lock, which may be on
   another file system. One ``syncfs`` per file system makes it all durable.
2. Decide: the commit record, a list of all operations, is written, made durable and renamed into place. Until then nothing has happened; from
   then on the build has.
3. Carry out the operations of the record, in their order; then the record goes.

Whoever finds a record (:func:`pending`) finds a build that was decided and not yet carried out; :func:`recover` finishes it. Each operation can be
repeated: a rename whose source is gone has been done, and so has a deletion whose file is gone. What is staged without a record is thrown away.

A directory that the tree does not have yet is staged as a whole and enters it by one rename. Directories are opened one component at a time, never
through a symbolic link, so that nothing outside of the tree is written or deleted.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from pgtls.build import files
from pgtls.build import lock as locks
from pgtls.build.model import File
from pgtls.build.operations import Operation, Verb, link_in_the_way, operations
from pgtls.build.statefiles import GITIGNORE, MANIFEST, PRIVATE, RECORD
from pgtls.diagnostics import Diagnostic, Rejected

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

VERSION = 1

_RECORD = "commit.json"
_DRAFT = "commit.json.new"
_STAGING = "staging"
_PUBLIC = 0o644
_IGNORE_ALL = File(b"*\n", _PUBLIC, "gitignore", "")

_ADVICE = {
    errno.ENOSPC: "free some space and build again",
    errno.EDQUOT: "the quota is used up: free some space and build again",
    errno.EFBIG: "a limit on the size of files is in force: see ulimit -f",
    errno.EACCES: "build as the user that owns the out directory, or give this one the right to write",
    errno.EPERM: "build as the user that owns the out directory, or give this one the right to write",
    errno.EROFS: "the file system is mounted read-only",
}


@dataclass(frozen=True, slots=True)
class LockChange:
    """The lock as it shall be. ``before`` is the :attr:`pgtls.build.lock.Lock.digest` of the lock that the build has read."""

    path: str
    content: bytes
    before: str | None


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
    with _opened(out) as place:
        try:
            if not _exists(GITIGNORE, place.root):
                changes = {**changes, GITIGNORE: _IGNORE_ALL}
            plan = operations(place.root, changes, deletions, private, last=MANIFEST)
            _stage(place, plan.scaffold, changes, manifest, progress or _silent)
            record = _Record(plan.steps, _stage_lock(lock, out) if lock else None)
            _decide(place, record)
        except BaseException:
            with suppress(OSError):
                _discard(place, lock.path if lock else None)
            raise
        _carry_out(place, record)


def pending(out: str) -> bool:
    """Tell whether a build was decided and not carried out: the tree is then neither old nor new."""
    return os.path.lexists(os.path.join(out, RECORD))


def refuse_pending(out: str) -> None:
    """Raise :class:`Rejected` with PGT534 if there is a build to be finished: for commands that only read."""
    if pending(out):
        hint = "it first finishes what the interrupted one had decided"
        raise Rejected(Diagnostic("PGT534", "an interrupted build: run pgtls build", hint=hint, file=out))


def recover(out: str, lock_path: str | None = None) -> bool:
    """Finish a build that was decided, and throw away what was staged by one that was not. Whether there was one to finish.

    The caller holds the mutex of ``out``. :class:`Rejected` with PGT530 (cannot be written), PGT532 (the record is damaged) or PGT533 (an operation
    failed).
    """
    if not os.path.lexists(os.path.join(out, PRIVATE)):
        return False
    with _opened(out) as place:
        record = _read_record(place)
        if record is None:
            with _writing(out):
                _discard(place, lock_path)
            return False
        _carry_out(place, record)
        return True


class _Place(NamedTuple):
    """An out directory, opened: itself, its private directory, and its name in messages."""

    root: int
    private: int
    out: str


@contextmanager
def _opened(out: str) -> Iterator[_Place]:
    """Open the out directory and its private one, which is made if it is not there."""
    out = out.rstrip("/") or "/"
    with _writing(out):
        root = files.open_directory(out)
    try:
        with _writing(os.path.join(out, PRIVATE)):
            with suppress(FileExistsError):
                os.mkdir(PRIVATE, 0o700, dir_fd=root)
            try:
                private = files.open_directory(PRIVATE, root)
            except NotADirectoryError:
                raise Rejected(link_in_the_way(PRIVATE)) from None
        try:
            yield _Place(root, private, out)
        finally:
            os.close(private)
    finally:
        os.close(root)


@contextmanager
def _writing(path: str) -> Iterator[None]:
    """Turn an OSError into PGT530 for this path."""
    try:
        yield
    except OSError as error:
        raise Rejected(_cannot_write(path, error)) from None


def _cannot_write(path: str, error: OSError) -> Diagnostic:
    message = f'cannot write "{path}": {error.strerror or error}'
    return Diagnostic(
        "PGT530", message, hint=f"{_ADVICE.get(error.errno or 0, 'mend that and build again')}; nothing has changed"
    )


def _exists(path: str, dir_fd: int) -> bool:
    try:
        os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _silent(_: int) -> None:
    """Show no progress."""


# Stage and decide


def _stage(
    place: _Place,
    scaffold: Mapping[str, int],
    changes: Mapping[str, File],
    manifest: Callable[[Mapping[str, os.stat_result]], bytes],
    progress: Callable[[int], None],
) -> None:
    """Write what is new below staging."""
    path = _STAGING
    try:
        os.mkdir(_STAGING, 0o700, dir_fd=place.private)
        staging = files.open_directory(_STAGING, place.private)
        try:
            for path, mode in scaffold.items():
                files.make_directory(path, mode, staging)
            stats = {}
            for path, file in changes.items():
                if isinstance(file.content, bytes):
                    stats[path] = files.create(path, file.content, file.mode, staging)
                    progress(1)
            path = MANIFEST
            files.create(path, manifest(stats), _PUBLIC, staging)
        finally:
            os.close(staging)
    except OSError as error:
        raise Rejected(_cannot_write(os.path.join(place.out, path), error)) from None


def _decide(place: _Place, record: _Record) -> None:
    """Make all that is staged durable, then the record; with its renaming the build has happened."""
    with _writing(place.out):
        _sync(place, record)
        files.create(_DRAFT, record.render(), 0o600, place.private)
        files.sync_file(_DRAFT, place.private)
        os.rename(_DRAFT, _RECORD, src_dir_fd=place.private, dst_dir_fd=place.private)
        os.fsync(place.private)


def _sync(place: _Place, record: _Record) -> None:
    """Flush the file systems of the tree and of the lock, each once."""
    if record.lock is None:
        files.sync(place.root)
        return
    directory = os.open(os.path.dirname(record.lock.path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        files.sync(place.root, directory)
    finally:
        os.close(directory)


def _discard(place: _Place, lock_path: str | None) -> None:
    """Throw away what is staged. The record goes first: without what it names it would be a lie."""
    for name in (_RECORD, _DRAFT):
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=place.private)
            os.fsync(place.private)
    files.remove(_STAGING, place.private)
    if lock_path is not None:
        with suppress(FileNotFoundError):
            os.unlink(_staged_lock(os.path.realpath(lock_path), place.out))


# The record


@dataclass(frozen=True, slots=True)
class _LockStep:
    """``staged`` becomes ``path``; both absolute. The digests are of the lock before and after."""

    path: str
    staged: str
    before: str | None
    after: str


@dataclass(frozen=True, slots=True)
class _Record:
    """What was decided."""

    steps: tuple[Operation, ...]
    lock: _LockStep | None

    def render(self) -> bytes:
        lock = self.lock and asdict(self.lock)
        return json.dumps({"pgtls_commit": VERSION, "lock": lock, "steps": self.steps}).encode()


def _read_record(place: _Place) -> _Record | None:
    try:
        content = files.read(_RECORD, place.private)
        document = json.loads(content)
        if document["pgtls_commit"] != VERSION:
            raise ValueError(document["pgtls_commit"])
        steps = tuple(_operation(*step) for step in document["steps"])
        return _Record(steps, None if document["lock"] is None else _LockStep(**document["lock"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        hint = "restore the out directory and the lock from one backup, or use the version of pgtls that wrote it"
        file = os.path.join(place.out, RECORD)
        message = "the record of an interrupted build is damaged, or of another version"
        raise Rejected(Diagnostic("PGT532", message, hint=hint, file=file)) from None


def _operation(verb: Any, path: Any, mode: Any) -> Operation:
    """Check one step: whatever it says, it stays inside the tree."""
    whole = isinstance(path, str) and type(mode) is int and verb in get_args(Verb)
    if not whole or path.startswith("/") or not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise ValueError(path)
    return Operation(verb, path, mode)


# Carry out


def _carry_out(place: _Place, record: _Record) -> None:
    """Do what was decided, from whatever point it was interrupted at."""
    path = _STAGING
    try:
        staging = files.open_directory(_STAGING, place.private)
        directories = files.Directories(place.root)
        try:
            if record.lock:
                path = record.lock.path
                _put_lock(record.lock)
            for step in record.steps:
                path = step.path
                _perform(step, staging, directories)
        finally:
            directories.close()
            os.close(staging)
        path = RECORD
        _sync(place, record)
        os.unlink(_RECORD, dir_fd=place.private)
        os.fsync(place.private)
        path = _STAGING
        files.remove(_STAGING, place.private)
    except OSError as error:
        message = f'the build is decided, but "{path}" cannot be put in place: {error.strerror or error}'
        hint = "mend that and run pgtls build: it carries out the rest"
        raise Rejected(Diagnostic("PGT533", message, hint=hint, file=place.out)) from None


def _perform(step: Operation, staging: int, directories: files.Directories) -> None:
    """Do one step, or nothing if it is done already."""
    if step.verb == "rename":
        if _exists(step.path, staging):
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
            os.chmod(name, step.mode, dir_fd=directory)


def _remove_if_empty(name: str, directory: int) -> None:
    try:
        os.rmdir(name, dir_fd=directory)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
            raise


# The lock


def _staged_lock(path: str, out: str) -> str:
    """Name the new lock while it is staged: beside the lock, and another one for each out directory that shares it."""
    directory, name = os.path.split(path)
    return os.path.join(directory, f".{name}.{sha256(os.path.realpath(out).encode()).hexdigest()[:16]}.new")


def _stage_lock(lock: LockChange, out: str) -> _LockStep:
    path = os.path.realpath(lock.path)
    step = _LockStep(path, _staged_lock(path, out), lock.before, sha256(lock.content).hexdigest())
    with _writing(path):
        if _digest(path) != lock.before:
            hint = "another build or a merge wrote it: build again"
            raise Rejected(Diagnostic("PGT531", "the lock changed while the build ran", hint=hint, file=lock.path))
        mode = stat.S_IMODE(os.stat(path).st_mode) if lock.before else _PUBLIC
        with suppress(FileNotFoundError):
            os.unlink(step.staged)
        files.create(step.staged, lock.content, mode)
    return step


def _digest(path: str) -> str | None:
    try:
        return sha256(files.read(path)).hexdigest()
    except FileNotFoundError:
        return None


def _put_lock(step: _LockStep) -> None:
    """Put the new lock in its place. One that was pulled or merged since the build was decided keeps its lines: the two are joined."""
    if not os.path.lexists(step.staged):
        if not os.path.lexists(step.path):
            raise FileNotFoundError(errno.ENOENT, "it is gone, and so is the new one that was staged")
        return
    if _digest(step.path) not in (None, step.before, step.after):
        found, decided = locks.read(step.path), locks.read(step.staged)
        if found.id != decided.id:
            hint = "put the lock of this out directory back: its id stands in the manifest"
            raise Rejected(Diagnostic("PGT524", "the lock was replaced by another one", hint=hint, file=step.path))
        joined = f"{step.staged}.joined"
        with suppress(FileNotFoundError):
            os.unlink(joined)
        files.create(joined, found.with_lines(*decided.issued, *decided.revoked).render(), _PUBLIC)
        files.sync_file(joined)
        os.rename(joined, step.path)
        os.unlink(step.staged)
        return
    os.rename(step.staged, step.path)
