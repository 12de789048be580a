"""Where an export writes: what a commit has prepared there leads no secret elsewhere, nor into a repository."""

from __future__ import annotations

import os
import re
import stat
from contextlib import contextmanager, suppress
from secrets import token_hex
from time import time
from typing import TYPE_CHECKING

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.exports.built import PUBLIC, SECRET, Exported
from pgtls.state.faults import unknown_index
from pgtls.state.files import (
    Directories,
    all_ancestors,
    ancestors,
    create,
    exists,
    make_directories,
    make_directory,
    open_directory,
    read,
    sync_file,
)
from pgtls.state.git_index import IndexFault, tracked
from pgtls.state.layout import SERVER_CRLS, is_hashed
from pgtls.state.names import GIT
from pgtls.state.out_directory import linked, open_to_others

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


IGNORED = ".gitignore"
_OURS = "# Written by pgtls export: the files here that hold secrets"
"""The first line of a .gitignore that an export wrote: without it, the files of a directory are somebody else's."""
_STAGED = ".pgtls-"
"""How the name of a file begins that is not in place yet. The .gitignore, which comes first, lists these names."""
_STAGED_NAME = re.compile(rf"{re.escape(_STAGED)}[0-9a-f]{{16}}")
_ABANDONED = 3600
"""Seconds after which no export is still about to put a file into place."""


def write(directory: str, files: Mapping[str, Exported]) -> list[str]:
    """Write files below a directory, with a .gitignore that lists those with secrets. Return those that changed.

    A file has its mode from the first byte, and replaces the old one at once. What is right already is not touched.
    Raise Rejected with PGT668 if the directory holds files, and no export has written there before, or if a commit may
    have prepared it so that git adds a secret or that a file lands elsewhere; with PGT586 if an index is unreadable;
    with PGT540 or PGT585 if others can replace files there. CRLs of earlier exports go from hashed directories.
    """
    if fault := linked(directory, "PGT668"):
        raise Rejected(fault)
    make_directories(directory)
    with _opened(directory) as place:
        secret = sorted(name for name, file in files.items() if file.mode == SECRET)
        refused = _not_ours(place, directory) or _prepared(place, directory, files) or _listed_by_git(directory, secret)
        if refused:
            raise Rejected(Diagnostic("PGT668", refused, hint="name a new or an empty directory with --to"))
        _refuse_open_to_others(place, directory, files)
        _sweep(place, files)
        ignored = _ignored(place, secret)
        return [
            os.path.join(directory, name)
            for some in ({IGNORED: Exported(ignored, PUBLIC)}, files)
            for name in _replaced(place, some)
        ] + [os.path.join(directory, name) for name in _without_old_lists(place, files)]


@contextmanager
def _opened(directory: str) -> Iterator[Directories]:
    """Open a directory and, later, those below it, never through a link."""
    try:
        root = open_directory(directory)
    except NotADirectoryError:
        hint = "name a directory of your own with --to: a commit can replace a link"
        raise Rejected(Diagnostic("PGT668", f'"{directory}" is a symbolic link or a file', hint=hint)) from None
    place = Directories(root)
    try:
        yield place
    finally:
        place.close()
        os.close(root)


def _known(place: Directories) -> list[str]:
    """Return the lines of the .gitignore that is there."""
    try:
        return read(IGNORED, place.open("")).decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _not_ours(place: Directories, directory: str) -> str | None:
    there = [name for name in os.listdir(place.open("")) if not name.startswith(_STAGED)]
    if there and _known(place)[:1] != [_OURS]:
        return f'"{directory}" holds files that pgtls export did not write, e.g. "{min(there)}"'
    return None


def _prepared(place: Directories, directory: str, files: Mapping[str, Exported]) -> str | None:
    """Say what would lead a file elsewhere, or override the .gitignore."""
    if any(line.lstrip().startswith("!") for line in _known(place)):
        return f'"{os.path.join(directory, IGNORED)}" has a line that begins with !: git would add secrets'
    for below in sorted(all_ancestors(files)):
        name = os.path.join(directory, below)
        try:
            here = place.open(below)
            if exists(IGNORED, here):
                return f'"{name}" has a {IGNORED} that pgtls export did not write: git could add secrets'
            if exists(GIT, here):
                return f'"{name}" is a repository of its own: git ignores nothing there that "{directory}" lists'
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            return f'"{name}" is a symbolic link or a file, and the export needs a directory there'
    return None


def _listed_by_git(directory: str, secret: Sequence[str]) -> str | None:
    """Say which file with a secret git tracks: it would commit the secret whatever a .gitignore says."""
    try:
        found = sorted({*secret}.intersection(tracked(directory)))
    except IndexFault as fault:
        raise Rejected(unknown_index(directory, fault)) from None
    return f'git tracks "{os.path.join(directory, found[0])}", which is to hold a secret' if found else None


def _refuse_open_to_others(place: Directories, directory: str, files: Mapping[str, Exported]) -> None:
    for below, here in _there(place, files):
        name = os.path.join(directory, below) if below else directory
        if fault := open_to_others(os.fstat(here), f'the directory "{name}"', name, "--to"):
            raise Rejected(fault)


def _sweep(place: Directories, files: Mapping[str, Exported]) -> None:
    """Delete what an export that was killed has staged; not what another export may stage at this moment."""
    for _, here in _there(place, files):
        for name in filter(_STAGED_NAME.fullmatch, os.listdir(here)):
            with suppress(FileNotFoundError):
                found = os.stat(name, dir_fd=here, follow_symlinks=False)
                if (
                    stat.S_ISREG(found.st_mode)
                    and found.st_uid == os.geteuid()
                    and time() - found.st_mtime > _ABANDONED
                ):
                    os.unlink(name, dir_fd=here)


def _without_old_lists(place: Directories, files: Mapping[str, Exported]) -> list[str]:
    """Delete the CRLs of earlier exports from the hashed directories of this one. Return their names.

    The lack of a CRL alone keeps a CA out that left the spec, if it is below a root that the server trusts.
    """
    gone: list[str] = []
    for below, here in _there(place, files):
        if os.path.basename(below) == SERVER_CRLS:
            for name in filter(is_hashed, sorted(os.listdir(here))):
                if (path := f"{below}/{name}") not in files:
                    os.unlink(name, dir_fd=here)
                    gone.append(path)
    return gone


def _there(place: Directories, files: Mapping[str, Exported]) -> Iterator[tuple[str, int]]:
    """Yield the directories that exist of those that an export writes to; a descriptor is valid until the next one."""
    for below in ("", *sorted(all_ancestors(files))):
        with suppress(FileNotFoundError):
            yield below, place.open(below)


def _ignored(place: Directories, secret: Sequence[str]) -> bytes:
    """Return the .gitignore: what earlier exports and others listed in it stays; this export's lines are the last."""
    own = [f"{_STAGED}*", *(f"/{name}" for name in secret)]
    kept = [line for line in _known(place)[1:] if line not in own]
    return "".join(f"{line}\n" for line in (_OURS, *kept, *own)).encode()


def _replaced(place: Directories, files: Mapping[str, Exported]) -> list[str]:
    """Write the files that differ, all or none. Return their names."""
    changed: dict[str, str] = {}
    try:
        for path, file in files.items():
            _make_above(place, path)
            name, directory = place.place(path)
            if not _same(name, directory, file):
                changed[path] = staged = f"{_STAGED}{token_hex(8)}"
                create(staged, file.content, file.mode, directory)
                sync_file(staged, directory)
        for path, staged in changed.items():
            name, directory = place.place(path)
            os.replace(staged, name, src_dir_fd=directory, dst_dir_fd=directory)
    finally:
        for path, staged in changed.items():
            with suppress(FileNotFoundError):
                os.unlink(staged, dir_fd=place.place(path)[1])
    return list(changed)


def _make_above(place: Directories, path: str) -> None:
    """Make the directories above a path that are missing."""
    for above in ancestors(path):
        name, directory = place.place(above)
        if not exists(name, directory):
            make_directory(name, 0o755, directory)


def _same(name: str, directory: int, file: Exported) -> bool:
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        right = found.st_mode & 0o7777 == file.mode and found.st_uid == os.geteuid()
        return right and read(name, directory) == file.content
    except OSError:
        return False
