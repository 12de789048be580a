"""The out directory: check that pgtls built it, and how each file changed since pgtls wrote it."""

from __future__ import annotations

import glob
import os
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from shlex import quote
from typing import TYPE_CHECKING, Literal, NamedTuple

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.state import files
from pgtls.state import manifest as manifests
from pgtls.state.faults import (
    NEW_AROUND_KEYS,
    cannot_read,
    in_the_way,
    link_in_the_way,
    some,
    unknown_index,
    user_name,
    writing,
)
from pgtls.state.files import all_ancestors
from pgtls.state.git_index import IndexFault, committed_link, is_repository, strangers
from pgtls.state.names import GIT, GITIGNORE, GITKEEP, IGNORE_ALL, MANIFEST, OURS, PRIVATE, RECORD_PATH, TREE
from pgtls.state.provenance import has_a_repository
from pgtls.state.writers import writers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from pgtls.state.lock import Lock
    from pgtls.state.manifest import Entry, Manifest

Ownership = Literal["absent", "empty", "ours"]

FileState = Literal["same", "touched", "mode", "edited", "missing"]
"""How a file changed: not at all; only its stat; its mode, or that of a key's directory, but not its content; its
content, or it is a symbolic link or not a file; it is gone."""


def inspect(out: str, own: Collection[str] = ()) -> Ownership:
    """Find out whether pgtls built the out directory: it has a manifest or the record of an interrupted build.

    It may also be new, empty, or hold only a ``.gitignore``, a ``.gitkeep`` and the
    :func:`pgtls.state.names.own_files`. Raise :class:`Rejected` with PGT520 (it holds something else), PGT521 (a
    symbolic link, or below one that a commit may have brought), PGT522 (not a directory), PGT525 (a symbolic link in
    it) or PGT527 (cannot be read).
    """
    out = out.rstrip("/") or "/"
    _check_links(out)
    try:
        mode = os.lstat(out).st_mode
        if not stat.S_ISDIR(mode):
            raise Rejected(_no_directory(out))
        names = set(os.listdir(out))
    except FileNotFoundError:
        return "absent"
    except NotADirectoryError:
        raise Rejected(_no_directory(out)) from None
    except OSError as error:
        raise Rejected(cannot_read(out, error)) from None
    for name in (MANIFEST, PRIVATE):
        if os.path.islink(os.path.join(out, name)):
            raise Rejected(link_in_the_way(name))
    if MANIFEST in names or os.path.lexists(os.path.join(out, RECORD_PATH)):
        return "ours"
    strangers = sorted(names - {GIT, GITIGNORE, GITKEEP, PRIVATE, *(path.partition("/")[0] for path in own)})
    if strangers:
        raise Rejected(_not_ours(out, strangers))
    return "empty"


def _check_links(out: str) -> None:
    if os.path.islink(out):
        hint = "name the directory itself with --out: a link can change between two builds"
        raise Rejected(Diagnostic("PGT521", f'the out directory "{out}" is a symbolic link', hint=hint))
    if fault := linked(out, "PGT521"):
        raise Rejected(fault)


def linked(path: str, code: str) -> Diagnostic | None:
    """Return the diagnostic for a path to a directory that a commit can lead elsewhere, with a code of the caller's.

    Raise :class:`Rejected` with PGT586: an index is unreadable.
    """
    try:
        link = committed_link(path)
    except IndexFault as fault:
        raise Rejected(unknown_index(path, fault)) from None
    if link is None or link == path:  # of the directory itself, callers say more
        return None
    message = f'"{path}" leads through the symbolic link "{link}", which a commit can change'
    return Diagnostic(code, message, hint=f'to write there, name it without links: "{os.path.realpath(path)}"')


def check_owner(out: str) -> None:
    """Raise :class:`Rejected` with PGT540 if the out directory is another user's, PGT585 if others can write it."""
    try:
        found = os.lstat(out)
    except OSError:  # absent, or reported elsewhere
        return
    if shared := open_to_others(found, f'the out directory "{out}"', out, "--out"):
        raise Rejected(shared)


def open_to_others(found: os.stat_result, name: str, path: str, option: str) -> Diagnostic | None:
    """Return the diagnostic for a directory in which others can replace files: PGT540 or PGT585.

    ``name`` and ``path`` are what messages call it, and ``option`` is what names another one.
    """
    owner = found.st_uid
    if owner == os.geteuid():
        return _writable(who, name, path) if (who := writers(found)) else None
    message = f"{name} belongs to {user_name(owner)}, and you are {user_name(os.geteuid())}"
    hint = (
        f"its owner can replace every file in it: run pgtls as {user_name(owner)}, "
        f"or name a directory of your own with {option}"
    )
    return Diagnostic("PGT540", message, hint=hint)


def check_untracked(out: str, own: Collection[str] | None = (), *, stays_encrypted: bool = True) -> None:
    """Raise :class:`Rejected` with PGT541 if git tracks what is not to be tracked: :func:`git_index.strangers`.

    ``own`` are the :func:`pgtls.state.names.own_files`, None if nobody knows them. ``stays_encrypted``: not where the
    spec asks for keys in the clear. PGT586: an index is unreadable.
    """
    try:
        found = strangers(out, own, encrypted=False)
        if found and stays_encrypted and is_repository(out) and (manifest := manifests.read(out)):
            found = strangers(out, own, encrypted=has_a_repository(out, manifest))
    except IndexFault as fault:
        raise Rejected(unknown_index(out, fault)) from None
    if not found:
        return
    shown = some([path or "." for path in found])
    message = f'git tracks files in the out directory "{out}": {shown}'
    hint = (
        "a commit could change what a build finds: read the history of these files, take it out of the repository with "
        f"git rm -r --cached {quote(out)}, and compare the directory with a backup; if a key was committed, replace it"
    )
    raise Rejected(Diagnostic("PGT541", message, hint=hint))


def check_in_the_clear(out: str, own: Collection[str]) -> None:
    """Raise :class:`Rejected` with PGT541 if git tracks a tree that the spec wants in the clear from now on."""
    if is_repository(out):
        check_untracked(out, own, stays_encrypted=False)


def check(out: str, own: Collection[str]) -> None:
    """Refuse an out directory that is not ours alone: of another program, of another user, or of the repository."""
    inspect(out, own)
    check_owner(out)
    check_untracked(out, own)


def check_lock_path(lock: str, spec: str, out: str) -> None:
    """Raise :class:`Rejected` with PGT537 if the lock is the spec, or a file that a build writes."""
    path, inside = os.path.realpath(lock), os.path.realpath(out)
    below = os.path.relpath(path, inside).split(os.sep)
    if path == os.path.realpath(spec):
        message = f'the lock "{lock}" is the spec itself'
    elif path == inside or below[0] in OURS or (below[0] in TREE and len(below) > 1):
        message = f'the lock "{lock}" would lie among what a build writes into the out directory "{out}"'
    else:
        return
    hint = "keep it next to the spec, where you commit it, or name another file with --lock"
    raise Rejected(Diagnostic("PGT537", message, hint=hint))


def check_lock(out: str, manifest: Manifest | None, lock: Lock) -> None:
    """Raise :class:`Rejected` with PGT524 if the out directory was built with another lock."""
    if manifest is None or manifest.lock_id == lock.id:
        return
    if lock.id is None:
        message = f'the lock of the out directory "{out}" is missing: there is no {_named(lock)}'
        hint = (
            "restore it from version control, or name it with --lock: "
            "it is the record of every certificate in the directory"
        )
    else:
        message = (
            f'the out directory "{out}" belongs to another lock: its id is {manifest.lock_id}, '
            f"that of {_named(lock)} is {lock.id}"
        )
        hint = "build into another directory with --out, or name the lock of this one with --lock"
    if mine := _lock_of(manifest, out, os.path.dirname(lock.file or "")):
        hint = f"the lock of this out directory is here: --lock {quote(mine)}"
    raise Rejected(Diagnostic("PGT524", message, hint=hint))


def _lock_of(manifest: Manifest, *directories: str) -> str | None:
    """Find the lock that an out directory was built with, in one of the directories."""
    for directory in directories:
        for path in sorted(glob.glob(os.path.join(glob.escape(directory), "*.lock"))):
            with suppress(OSError):
                if manifest.lock_id.encode() in files.read(path).partition(b"\n")[0]:
                    return path
    return None


def _named(lock: Lock) -> str:
    return f'"{lock.file}"' if lock.file else "the lock"


@dataclass(frozen=True, slots=True)
class Observed:
    """The files of an out directory.

    ``entries`` are those of the manifest, with today's stat if the content is the same. ``foreign`` are paths that
    pgtls did not create, a directory with a final ``/``; pgtls leaves them alone.
    """

    states: Mapping[str, FileState]
    entries: Mapping[str, Entry]
    foreign: tuple[str, ...]


def observe_files(out: str, manifest: Manifest, own: Collection[str] = (), *, sealed: bool = False) -> Observed:
    """Compare the out directory with its manifest in one walk; read a file only if its stat differs.

    ``own`` are the :func:`pgtls.state.names.own_files`, which are not foreign. If ``sealed``, open no key: compare
    the size only. Raise :class:`Rejected` with PGT525 if a directory of the tree has become a symbolic link, PGT527 if
    something cannot be read, PGT540 if something of pgtls belongs to another user than the directory.
    """
    states: dict[str, FileState] = {}
    listed = manifest.files
    entries: dict[str, Entry] = dict(listed)
    foreign: list[str] = []
    exposed = _Exposed(out)
    known = all_ancestors((*manifest.files, *own))
    ours = OURS.union(own)
    try:
        exposed.look_at_private_files()
        for path, found, private in _walk(out, known, ours):
            entry = listed.get(path)
            if entry is not None or path in known:
                exposed.look(path, found)
            if entry is not None:
                states[path] = state = _state(out, path, entry, found, private, sealed)
                if state in ("touched", "mode"):
                    entries[path] = entry._replace(mtime_ns=found.st_mtime_ns)
            elif path not in known:
                foreign.append(f"{path}/" if stat.S_ISDIR(found.st_mode) else path)
            elif stat.S_ISLNK(found.st_mode):
                raise Rejected(link_in_the_way(path))
    except OSError as error:
        raise Rejected(cannot_read(error.filename or out, error)) from None
    exposed.refuse()
    states |= dict.fromkeys(manifest.files.keys() - states.keys(), "missing")
    return Observed(states, entries, tuple(sorted(foreign)))


class _Exposed:
    """What other users can replace in an out directory: what they own, and directories that everybody can write."""

    def __init__(self, out: str) -> None:
        self._out = out
        self._others: dict[str, int] = {}
        self._open: dict[str, str] = {}

    @cached_property
    def _owner(self) -> int:
        return os.lstat(self._out).st_uid

    def look(self, path: str, found: os.stat_result) -> None:
        """Note the owner and the mode of a path of pgtls."""
        if found.st_uid != self._owner:
            self._others[path] = found.st_uid
        if who := writers(found):
            self._open[path] = who

    def look_at_private_files(self) -> None:
        """Note the manifest, the private directory, and what is in it."""
        for name in (MANIFEST, PRIVATE):
            with suppress(FileNotFoundError):
                self.look(name, os.lstat(os.path.join(self._out, name)))
        with suppress(FileNotFoundError, PermissionError), os.scandir(os.path.join(self._out, PRIVATE)) as entries:
            for entry in entries:
                self.look(f"{PRIVATE}/{entry.name}", entry.stat(follow_symlinks=False))

    def refuse(self) -> None:
        """Raise :class:`Rejected` with PGT540 or PGT585 if there is any such path."""
        if self._others:
            raise Rejected(_of_another_user(self._out, self._others, self._owner))
        if self._open:
            first = min(self._open)
            place = f'{some(sorted(self._open))} in the out directory "{self._out}"'
            raise Rejected(_writable(self._open[first], place, self._out))


def _of_another_user(out: str, others: Mapping[str, int], owner: int) -> Diagnostic:
    """Return the diagnostic for files in the out directory that another user can replace: PGT540."""
    names = tuple(sorted(others))
    whose, mine = user_name(others[names[0]]), user_name(owner)
    message = f'in the out directory "{out}", which belongs to {mine}, {whose} owns {some(names)}'
    hint = (
        f"{whose} can read and replace it: compare it with a backup, take it back with "
        f"sudo chown -R {mine} {quote(out)}, and reissue a key that {whose} could read"
    )
    return Diagnostic("PGT540", message, hint=hint)


def _writable(who: str, name: str, path: str) -> Diagnostic:
    """Return the diagnostic for directories in which others can replace files: PGT585."""
    hint = f"compare it with a backup, then close it: chmod -R go-w {quote(path)}"
    return Diagnostic("PGT585", f"{who} can write to {name}", hint=hint)


def foreign_files(out: str, observed: Observed) -> tuple[Diagnostic, ...]:
    """Report the files that pgtls did not create: PGT528, a warning."""
    if not observed.foreign:
        return ()
    message = f'pgtls did not make what lies in the out directory "{out}": {some(observed.foreign)}'
    hint = "pgtls leaves these files alone; keep them elsewhere: every copy of the directory includes them"
    return (Diagnostic("PGT528", message, hint=hint, severity="warning"),)


def open_keys(out: str, observed: Observed) -> tuple[Diagnostic, ...]:
    """Report the private keys that others can read: PGT559, a warning, since a build restores their modes."""
    suspects = (
        path for path, state in observed.states.items() if state == "mode" and observed.entries[path].kind == "key"
    )
    found = tuple(sorted(path for path in suspects if stat.S_IMODE(os.lstat(os.path.join(out, path)).st_mode) & 0o077))
    if not found:
        return ()
    message = f'others could read private keys in the out directory "{out}": {some(found)}'
    hint = (
        "the next build fixes the modes; if others may have read a key, reissue it with revoke_before, "
        "and roll over a CA whose key it was"
    )
    return (Diagnostic("PGT559", message, hint=hint, severity="warning"),)


def _walk(out: str, known: set[str], ours: Collection[str]) -> Iterator[tuple[str, os.stat_result, bool]]:
    """Yield everything in directories of pgtls, and whether its directory is closed to others. Follow no link."""
    left = [("", True)]
    while left:
        directory, private = left.pop()
        above = f"{directory}/" if directory else ""
        with os.scandir(os.path.join(out, directory)) as entries:
            for entry in entries:
                path = above + entry.name
                if path in ours:
                    continue
                found = entry.stat(follow_symlinks=False)
                yield path, found, private
                if path in known and stat.S_ISDIR(found.st_mode):
                    left.append((path, not stat.S_IMODE(found.st_mode) & 0o077))


def _state(out: str, path: str, entry: Entry, found: os.stat_result, private: bool, sealed: bool) -> FileState:
    same_stat = found.st_mtime_ns == entry.mtime_ns
    right = found.st_mode == stat.S_IFREG | entry.mode and (private or entry.kind != "key")
    if same_stat and right and found.st_size == entry.size:
        return "same"
    if not stat.S_ISREG(found.st_mode) or found.st_size != entry.size:
        return "edited"
    opened = not same_stat and not (sealed and entry.kind == "key")
    if opened and sha256(files.read(os.path.join(out, path))).hexdigest() != entry.sha256:
        return "edited"
    return "touched" if right else "mode"


def _no_directory(out: str) -> Diagnostic:
    hint = "name a directory with --out"
    return Diagnostic("PGT522", f'the out directory "{out}" is not a directory', hint=hint)


def _not_ours(out: str, strangers: list[str]) -> Diagnostic:
    message = f'the out directory "{out}" is not empty and was not made by pgtls: it holds {some(strangers)}'
    hint = "name a new or empty directory with --out"
    if not frozenset(TREE).isdisjoint(strangers):
        hint = f"if pgtls built it, its manifest.json is lost: {NEW_AROUND_KEYS}. Otherwise {hint}"
    return Diagnostic("PGT520", message, hint=hint)


class Opened(NamedTuple):
    """An open out directory: its descriptor, that of its private directory, and its name in messages."""

    root: int
    private: int
    out: str


@contextmanager
def opened(out: str) -> Iterator[Opened]:
    """Open the out directory and its private one; create the latter if missing. Raise PGT525, PGT526 or PGT530."""
    out = out.rstrip("/") or "/"
    with writing(out):
        root = files.open_directory(out)
    try:
        with writing(os.path.join(out, PRIVATE)):
            private = open_private(root)
        try:
            yield Opened(root, private, out)
        finally:
            os.close(private)
    finally:
        os.close(root)


def open_private(root: int) -> int:
    """Open the private directory of the out directory that is open as ``root``; it is made if it is not there.

    Git ignores what is in it before anything is. OSError, or :class:`Rejected` with PGT525 (a symbolic link lies there)
    or PGT526 (a file).
    """
    with suppress(FileExistsError):
        os.mkdir(PRIVATE, 0o700, dir_fd=root)
    found = os.stat(PRIVATE, dir_fd=root, follow_symlinks=False).st_mode
    if stat.S_ISLNK(found):
        raise Rejected(link_in_the_way(PRIVATE))
    if not stat.S_ISDIR(found):
        raise Rejected(in_the_way(PRIVATE, "a file", "a directory"))
    private = files.open_directory(PRIVATE, root)
    try:
        _ignore(private)
    except BaseException:
        os.close(private)
        raise
    return private


def _ignore(directory: int) -> None:
    """Let git ignore everything in an open directory: until a build is done, its keys are staged there."""
    with suppress(OSError):
        if files.read(GITIGNORE, directory, longest=len(IGNORE_ALL)) == IGNORE_ALL:
            return
    with suppress(FileNotFoundError):
        os.unlink(GITIGNORE, dir_fd=directory)
    with suppress(FileExistsError):  # another build starts at the same moment
        files.create(GITIGNORE, IGNORE_ALL, 0o644, directory)
