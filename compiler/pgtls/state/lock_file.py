"""The lock as a file that others also write: stage it next to the lock, rename it, merge lines added meanwhile."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.state import files
from pgtls.state import lock as locks
from pgtls.state.faults import writing
from pgtls.state.journal import LockStep
from pgtls.state.names import joined_name, real_path, staged_names

if TYPE_CHECKING:
    from collections.abc import Callable

_PUBLIC = 0o644


@dataclass(frozen=True, slots=True)
class LockChange:
    """The new lock. ``before`` is the :attr:`pgtls.state.lock.Lock.digest` of the lock that the build read."""

    path: str
    content: bytes
    before: str | None


def stage(lock: LockChange, out: str) -> LockStep | None:
    """Write the new lock next to the old one; None if it does not change. Raise PGT530 or PGT531."""
    path, staged, _ = staged_names(lock.path, out)
    step = LockStep(path, staged, lock.before, sha256(lock.content).hexdigest())
    with writing(path):
        if _digest(path) != lock.before:
            hint = "another build or a merge wrote it: build again"
            raise Rejected(Diagnostic("PGT531", "the lock changed while the build ran", hint=hint, file=lock.path))
        if step.after == lock.before:
            return None
        with suppress(FileNotFoundError):
            os.unlink(step.staged)
        files.create(step.staged, lock.content, _mode(path))
    return step


def meant(step: LockStep, path: str, out: str) -> LockStep:
    """Return the step of a record for the lock that it means: the command's, at ``path``, or the recorded one.

    A project can be moved or copied after its build was decided. The record means the command's lock if the out
    directory is not where it was (the name of a staged lock says where), if that lock is the one before or after the
    build, or if the recorded directory is gone. :func:`put` refuses a lock with another id.
    """
    path = real_path(path)
    own = replace(step, path=path, staged=os.path.join(os.path.dirname(path), os.path.basename(step.staged)))
    here = os.path.basename(staged_names(step.path, out)[1]) == os.path.basename(step.staged)
    gone = not os.path.isdir(os.path.dirname(step.path))
    present = _digest(path)
    return own if not here or gone or (present and present in (step.before, step.after)) else step


def put(step: LockStep, decided: Callable[[], bytes | None] = lambda: None) -> None:
    """Move the staged lock into place. If the lock changed since the build was decided, merge the lines of both.

    If the staged lock is gone and the lock is not the new one, or if it is not what the build has staged, stage what
    ``decided`` returns: git does not track a staged lock, and ``git clean`` deletes it.

    Raise OSError if that fails; :class:`Rejected` with PGT524 if another lock lies there, or as
    :func:`pgtls.state.lock.read`.
    """
    staged, present = _digest(step.staged), _digest(step.path)
    missing = present != step.after if staged is None else staged != step.after
    if missing and (content := decided()) is not None:
        _write(step, step.staged, content, _mode(step.path))
        staged = step.after
    if staged is None:
        if not os.path.lexists(step.path):
            raise FileNotFoundError(errno.ENOENT, "it is gone, and so is the new one that was staged")
    elif staged != step.after:
        raise OSError(errno.EINVAL, f'"{step.staged}" is not what the build has staged')
    elif present in (None, step.before, step.after):
        os.rename(step.staged, step.path)
    else:
        _join(step)


def discard(path: str, out: str) -> None:
    """Delete the files that a build into ``out`` staged next to the lock at ``path``."""
    for staged in staged_names(path, out)[1:]:
        with suppress(FileNotFoundError):
            os.unlink(staged)


def _join(step: LockStep) -> None:
    found, decided = locks.read(step.path), locks.read(step.staged)
    if found.id != decided.id:
        hint = "restore the lock of this out directory: its id is in the manifest"
        raise Rejected(Diagnostic("PGT524", "the lock was replaced by another one", hint=hint, file=step.path))
    _write(step, step.path, found.with_lines(*decided.issued, *decided.revoked).render(), _PUBLIC)
    os.unlink(step.staged)


def _write(step: LockStep, path: str, content: bytes, mode: int) -> None:
    """Write a file under a name of its own first: a full disk or a kill leaves no half of it at ``path``."""
    draft = joined_name(step.staged)
    with suppress(FileNotFoundError):
        os.unlink(draft)
    files.create(draft, content, mode)
    files.sync_file(draft)
    os.rename(draft, path)


def _mode(path: str) -> int:
    """Return the mode of a new lock: that of the present one, if there is one."""
    try:
        return stat.S_IMODE(os.lstat(path).st_mode)
    except FileNotFoundError:
        return _PUBLIC


def _digest(path: str) -> str | None:
    try:
        return sha256(files.read(path)).hexdigest()
    except FileNotFoundError:
        return None
