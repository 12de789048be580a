"""The lock as a file that others also write: stage it next to the lock, rename it, merge lines added meanwhile."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.state import files
from pgtls.state import lock as locks
from pgtls.state.faults import writing
from pgtls.state.journal import LockStep

_PUBLIC = 0o644


@dataclass(frozen=True, slots=True)
class LockChange:
    """The new lock. ``before`` is the :attr:`pgtls.state.lock.Lock.digest` of the lock that the build read."""

    path: str
    content: bytes
    before: str | None


def stage(lock: LockChange, out: str) -> LockStep | None:
    """Write the new lock next to the old one; None if it does not change. Raise PGT530 or PGT531."""
    path, staged, _ = names(lock.path, out)
    step = LockStep(path, staged, lock.before, sha256(lock.content).hexdigest())
    with writing(path):
        if _digest(path) != lock.before:
            hint = "another build or a merge wrote it: build again"
            raise Rejected(Diagnostic("PGT531", "the lock changed while the build ran", hint=hint, file=lock.path))
        if step.after == lock.before:
            return None
        mode = stat.S_IMODE(os.lstat(path).st_mode) if lock.before else _PUBLIC
        with suppress(FileNotFoundError):
            os.unlink(step.staged)
        files.create(step.staged, lock.content, mode)
    return step


def put(step: LockStep) -> None:
    """Move the staged lock into place. If the lock changed since the build was decided, merge the lines of both.

    Raise OSError if that fails; :class:`Rejected` with PGT524 if another lock lies there, or as
    :func:`pgtls.state.lock.read`.
    """
    staged = _digest(step.staged)
    if staged is None:
        if not os.path.lexists(step.path):
            raise FileNotFoundError(errno.ENOENT, "it is gone, and so is the new one that was staged")
    elif staged != step.after:
        raise OSError(errno.EINVAL, f'"{step.staged}" is not what the build has staged')
    elif _digest(step.path) in (None, step.before, step.after):
        os.rename(step.staged, step.path)
    else:
        _join(step)


def discard(path: str, out: str) -> None:
    """Delete the files that a build into ``out`` staged next to the lock at ``path``."""
    for staged in names(path, out)[1:]:
        with suppress(FileNotFoundError):
            os.unlink(staged)


def names(path: str, out: str) -> tuple[str, str, str]:
    """Return the real paths of the lock, of the lock that a build into ``out`` stages, and of both merged.

    Follow links to the lock's directory, but not the lock itself if it is a link.
    """
    directory, name = os.path.split(path)
    path = os.path.join(os.path.realpath(directory), name)
    staged = _staged(path, out)
    return path, staged, _joined(staged)


def _staged(path: str, out: str) -> str:
    """Return the path of the staged lock: next to the lock, different for each out directory that shares it."""
    directory, name = os.path.split(path)
    return os.path.join(directory, f".{name}.{sha256(os.fsencode(os.path.realpath(out))).hexdigest()[:16]}.new")


def _joined(staged: str) -> str:
    return f"{staged}.joined"


def _join(step: LockStep) -> None:
    found, decided = locks.read(step.path), locks.read(step.staged)
    if found.id != decided.id:
        hint = "restore the lock of this out directory: its id is in the manifest"
        raise Rejected(Diagnostic("PGT524", "the lock was replaced by another one", hint=hint, file=step.path))
    joined = _joined(step.staged)
    with suppress(FileNotFoundError):
        os.unlink(joined)
    files.create(joined, found.with_lines(*decided.issued, *decided.revoked).render(), _PUBLIC)
    files.sync_file(joined)
    os.rename(joined, step.path)
    os.unlink(step.staged)


def _digest(path: str) -> str | None:
    try:
        return sha256(files.read(path)).hexdigest()
    except FileNotFoundError:
        return None


def own_files(lock: str, out: str) -> frozenset[str]:
    """Return the paths of the lock and of the staged lock relative to the out directory; none if they lie elsewhere."""
    root = os.path.join(os.path.realpath(out), "")
    return frozenset(path.removeprefix(root) for path in names(lock, out) if path.startswith(root))
