"""The operations that turn one tree into another: the content of a commit record."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from pgtls.diagnostics import Rejected
from pgtls.state.faults import in_the_way, link_in_the_way
from pgtls.state.files import all_ancestors, ancestors
from pgtls.state.tree import Later

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from pgtls.state.tree import File

Verb = Literal["chmod", "rename", "rmdir", "unlink"]

OPEN = 0o755
CLOSED = 0o700
"""The modes of directories: a directory that holds a key is closed."""


class Operation(NamedTuple):
    """One step. ``rename`` moves ``path`` from the same path in staging; ``rmdir`` removes only an empty directory."""

    verb: Verb
    path: str
    mode: int = 0


@dataclass(frozen=True, slots=True)
class Operations:
    """The operations of a transaction."""

    scaffold: Mapping[str, int]
    """The directories to create in staging with their modes, parents first."""
    steps: tuple[Operation, ...]
    """In their order."""


def operations(
    root: int, changes: Mapping[str, File], deletions: Collection[str], private: Collection[str] | None, last: str
) -> Operations:
    """Compute the steps for the tree that is open as ``root``; the rename of ``last`` is the last step.

    Delete obstacles first and all other files last; close a directory before a key enters it, and open it after the key
    is gone. Parameters and errors (PGT525, PGT526) are those of :func:`pgtls.state.transaction.commit`; content may
    still be pending.
    """
    staged = {path for path, file in changes.items() if file.content is not Later.KEPT}
    above, gone = all_ancestors(staged), frozenset(deletions)
    there = _existing(root, sorted(all_ancestors((*changes, *gone))), gone)
    _check_files(root, staged, there, gone)
    wanted = _directory_modes(changes, private)

    touched = {path.rpartition("/")[0] for path in (*changes, *gone)} & there.keys()
    touched -= {"", *staged}  # a directory that makes way for a file
    chmods = [Operation("chmod", path, mode) for path in touched if (mode := wanted(path)) not in (None, there[path])]
    obstacles = {path for path in gone if path in above or not changes.keys().isdisjoint(ancestors(path))}
    renames = {_topmost_absent(path, there) for path in staged} - {last}
    scaffold = {path: CLOSED if path in there else wanted(path) or OPEN for path in sorted(above)}
    steps = (
        *sorted(step for step in chmods if step.mode == CLOSED),
        *_deletions(obstacles, keep=above),
        *(Operation("rename", path) for path in sorted(renames)),
        *(Operation("chmod", path, file.mode) for path, file in sorted(changes.items()) if path not in staged),
        *_deletions(gone - obstacles, keep=above),
        *sorted(step for step in chmods if step.mode != CLOSED),
        Operation("rename", last),
    )
    return Operations(scaffold, steps)


def _deletions(paths: Collection[str], keep: Collection[str]) -> Iterable[Operation]:
    """Delete files, then the directories that become empty, the deepest first."""
    yield from (Operation("unlink", path) for path in sorted(paths))
    yield from (Operation("rmdir", path) for path in sorted(all_ancestors(paths) - set(keep), reverse=True))


def _directory_modes(changes: Mapping[str, File], private: Collection[str] | None) -> Callable[[str], int | None]:
    """Return a function from a directory to its wanted mode; None: it keeps its mode."""
    if private is None:
        keys = {path.rpartition("/")[0] for path, file in changes.items() if file.kind == "key"}
        return lambda path: CLOSED if path in keys else None
    return lambda path: CLOSED if path in private else OPEN


def _existing(root: int, directories: Iterable[str], gone: Collection[str]) -> dict[str, int]:
    """Find the existing directories with their modes. Parents come first; skip everything below a missing one."""
    found: dict[str, int] = {"": 0}
    for path in directories:
        if path.rpartition("/")[0] not in found:
            continue
        try:
            mode = os.stat(path, dir_fd=root, follow_symlinks=False).st_mode
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(mode):
            found[path] = stat.S_IMODE(mode)
        elif stat.S_ISLNK(mode):
            raise Rejected(link_in_the_way(path))
        elif path not in gone:
            raise Rejected(in_the_way(path, "a file", "a directory"))
    return found


def _check_files(root: int, files: Iterable[str], there: Mapping[str, int], gone: Collection[str]) -> None:
    """Raise PGT526 if a directory lies in a file's place, unless this build deletes everything in it."""
    for path in files:
        if path.rpartition("/")[0] not in there:
            continue
        try:
            mode = os.stat(path, dir_fd=root, follow_symlinks=False).st_mode
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(mode) and not _all_goes(root, path, gone):
            raise Rejected(in_the_way(path, "a directory", "a file"))


def _all_goes(root: int, top: str, gone: Collection[str]) -> bool:
    for directory, names, files, _ in os.fwalk(top, dir_fd=root):
        if any(f"{directory}/{name}" not in gone for name in files) or not (names or files):
            return False
    return True


def _topmost_absent(path: str, there: Mapping[str, int]) -> str:
    """Return what one rename can move: the topmost missing directory, or the file itself."""
    return next((directory for directory in ancestors(path) if directory not in there), path)
