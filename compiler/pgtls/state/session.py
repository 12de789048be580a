"""A command's time with the out directory: nobody else writes meanwhile, and no interrupted build is pending."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from pgtls.state import out_directory
from pgtls.state.mutex import exclusive, shared
from pgtls.state.names import own_files
from pgtls.state.transaction import recover, refuse_pending

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def looking(out: str, timeout: float, lock: str | None = None) -> Iterator[None]:
    """Look at the out directory, whoever it belongs to; ``lock`` is its lock, if that is known.

    Raise :class:`Rejected` if git tracks it, or if a build is pending.
    """
    out_directory.check_untracked(out, None if lock is None else own_files(lock, out))
    with _still(out, timeout):
        yield


@contextmanager
def _still(out: str, timeout: float) -> Iterator[None]:
    with shared(out, timeout):
        refuse_pending(out)
        yield


@contextmanager
def planning(out: str, lock: str, timeout: float) -> Iterator[None]:
    """Plan a build. Raise :class:`Rejected` if the out directory is not ours alone, or if a build is pending."""
    out_directory.check(out, own_files(lock, out))
    with _still(out, timeout):
        yield


@contextmanager
def building(out: str, lock: str, spec: str, timeout: float) -> Iterator[None]:
    """Build, after an interrupted build is finished. Raise :class:`Rejected` if lock or directory are not ours."""
    out_directory.check_lock_path(lock, spec, out)
    out_directory.check(out, own_files(lock, out))
    with exclusive(out, timeout):
        recover(out, lock)
        yield
