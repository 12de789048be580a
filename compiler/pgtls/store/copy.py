"""The private copy of the tree that a pointer names: an out directory, a lock and evidence as a build left them.

The lock of a tree in a store lies in the store, beside what it records. The lock next to the spec may be older, since
another builder's lines are not committed yet, or have lines that a merge brought: the copy has the lines of both.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.state import deployed, files, lock_file, memory, seal
from pgtls.state import lock as locks
from pgtls.state import manifest as manifests
from pgtls.state.faults import writing
from pgtls.state.files import all_ancestors
from pgtls.state.lock_file import LockChange
from pgtls.state.names import (
    DEPLOYED_PATH,
    GENERATIONS_PATH,
    GITIGNORE,
    KNOWN_PATH,
    MANIFEST,
    MEMORY_PATH,
    PRIVATE,
    deployed_path,
)
from pgtls.state.out_directory import opened
from pgtls.store.documents import POINTER, Pointer, StoredTree, damaged, pack_path, state_path, tree_path
from pgtls.store.names import Names
from pgtls.store.objects import at_once
from pgtls.store.packs import read_blob, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgtls.state.manifest import Entry, Manifest
    from pgtls.store.objects import Found, Objects

STATE = {MANIFEST: 0o644, GITIGNORE: 0o644, KNOWN_PATH: 0o644, GENERATIONS_PATH: 0o600, DEPLOYED_PATH: 0o644}
"""The files of the out directory that the manifest does not list, with their modes: what pgtls remembers."""
_READS = 3
"""How often a tree is read: the blobs of one that was replaced long ago may go while it is being read."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Where the copy lies. ``url`` and ``checkout``, the lock next to the spec, are what the user named."""

    url: str
    checkout: str
    directory: str

    @property
    def out(self) -> str:
        """Return the path of the out directory."""
        return os.path.join(self.directory, "out")

    @property
    def lock(self) -> str:
        """Return the path of the lock."""
        return os.path.join(self.directory, "pgtls.lock")

    @property
    def names(self) -> Names:
        """Return what the user calls these files."""
        evidence = deployed_path(self.checkout)
        return Names({self.out: self.url, self.lock: self.checkout, deployed_path(self.lock): evidence})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was read: the pointer with its e-tag, its tree, the manifest, and the files that pgtls remembers by path.

    Before the first build there is no pointer.
    """

    pointer: Pointer | None = None
    e_tag: str | None = None
    tree: StoredTree | None = None
    manifest: Manifest | None = None
    state: Mapping[str, bytes] = field(default_factory=dict)


def directory_of(path: str) -> str:
    """Return the directory of a file that is one blob: ``servers/main`` for everything below it."""
    return "/".join(path.split("/")[:2])


def by_directory(manifest: Manifest | None) -> dict[str, dict[str, Entry]]:
    """Return the files of a manifest by the directory that is one blob."""
    found: dict[str, dict[str, Entry]] = {}
    for path, entry in manifest.files.items() if manifest else ():
        found.setdefault(directory_of(path), {})[path] = entry
    return found


def pull(objects: Objects, copy: Copy) -> Snapshot:
    """Make the copy of what the pointer names now.

    Raise :class:`Rejected`: PGT513 (unreachable), PGT515 (damaged), PGT516 (newer), PGT524 (the lock next to the spec
    is another one), PGT530 (the copy cannot be written), or as :func:`pgtls.state.lock.read`.
    """
    with writing(copy.directory):
        for left in reversed(range(_READS)):
            found = objects.read(POINTER)
            try:
                snapshot = _copied(objects, copy, found)
                break
            except Rejected:
                if left == 0 or found == objects.read(POINTER):
                    raise
            shutil.rmtree(copy.out, ignore_errors=True)
        _write_beside(copy, snapshot.state)
    return snapshot


def _copied(objects: Objects, copy: Copy, found: Found | None) -> Snapshot:
    """Write the out directory that a pointer names."""
    if found is None:
        return Snapshot()
    pointer = Pointer.parse(found.content, f"{objects.url}/{POINTER}")
    path = tree_path(pointer.tree)
    tree = StoredTree.parse(read_blob(objects, path), f"{objects.url}/{path}")
    path = state_path(tree.state)
    state = unpack(read_blob(objects, path), f"{objects.url}/{path}")
    if not {MANIFEST, KNOWN_PATH} <= state.keys() <= STATE.keys():
        raise damaged(f"{objects.url}/{path}", "it does not hold what pgtls remembers")
    manifest = manifests.parse(state[MANIFEST], f"{objects.url}/{MANIFEST}")
    wanted = by_directory(manifest)
    if wanted.keys() != tree.packs.keys():
        raise damaged(f"{objects.url}/{tree_path(pointer.tree)}", "it does not have the directories of its manifest")
    _make_directories(copy.out, manifest)
    for path, content in _sealed(copy.out, state).items():
        files.create(os.path.join(copy.out, path), content, STATE.get(path, 0o600))

    def write(directory: str) -> None:
        _write_pack(objects, copy.out, pack_path(directory, tree.packs[directory]), wanted[directory])

    at_once(write, wanted)
    return Snapshot(pointer, found.e_tag, tree, manifest, state)


def _sealed(out: str, state: Mapping[str, bytes]) -> dict[str, bytes]:
    """Let manifest and evidence count in the copy: who wrote them can write the pointer, and is a builder."""
    with opened(out) as place:
        key = seal.draw(place.root, place.private)
    found = {**state, MANIFEST: b"".join(seal.closed(key, [seal.opened(state[MANIFEST])]))}
    remembered = {path: state[path] for path in (KNOWN_PATH, GENERATIONS_PATH) if path in state}
    found[MEMORY_PATH] = memory.content(key, sha256(found[MANIFEST]).hexdigest(), remembered)
    if DEPLOYED_PATH in state:
        found[DEPLOYED_PATH] = deployed.close(state[DEPLOYED_PATH], key)
    return found


def _make_directories(out: str, manifest: Manifest) -> None:
    """Make the directories of a tree, those with keys 0700."""
    private = {path.rpartition("/")[0] for path, entry in manifest.files.items() if entry.kind == "key"} | {PRIVATE}
    files.make_directory(out, 0o755)
    for directory in sorted({PRIVATE, *all_ancestors(manifest.files)}):
        files.make_directory(os.path.join(out, directory), 0o700 if directory in private else 0o755)


def _write_pack(objects: Objects, out: str, path: str, entries: Mapping[str, Entry]) -> None:
    """Write the files of one blob, each as its entry in the manifest describes it."""
    contents = unpack(read_blob(objects, path), f"{objects.url}/{path}")
    if contents.keys() != entries.keys():
        raise damaged(f"{objects.url}/{path}", "it does not hold the files of its manifest")
    for file, entry in entries.items():
        where = os.path.join(out, file)
        files.create(where, contents[file], entry.mode)
        os.utime(where, ns=(entry.mtime_ns, entry.mtime_ns))


def _write_beside(copy: Copy, state: Mapping[str, bytes]) -> None:
    """Write the lock of the copy, and its evidence, with what lies next to the spec."""
    lock = joined(state.get(KNOWN_PATH), copy.checkout)
    if lock is not None:
        files.create(copy.lock, lock, 0o644)
    evidence = _lines(state.get(DEPLOYED_PATH, b""), _read(deployed_path(copy.checkout)) or b"")
    if evidence:
        files.create(deployed_path(copy.lock), evidence, 0o644)


def joined(known: bytes | None, path: str) -> bytes | None:
    """Return the lines of the lock in a store and of the one at a path; the very bytes where one has all of them.

    Raise :class:`Rejected` with PGT524 if they are two locks, or as :func:`pgtls.state.lock.read`.
    """
    own = _read(path)
    if known is None or own is None or own == known:
        return own if known is None else known
    stored, found = locks.parse(known, KNOWN_PATH), locks.read(path)
    if stored.id != found.id:
        message = f'the store has the lock {stored.id}, and "{path}" is the lock {found.id}'
        hint = "name the store of this spec with --out, or the lock of this store with --lock"
        raise Rejected(Diagnostic("PGT524", message, hint=hint))
    return stored.with_lines(*found.issued, *found.revoked).render()


def bring(copy: Copy) -> None:
    """Write what a build added to the lock, and a command to the evidence, next to the spec as well."""
    lock = _read(copy.lock)
    if lock is not None:
        content, own = joined(lock, copy.checkout), _read(copy.checkout)
        before = None if own is None else sha256(own).hexdigest()
        step = lock_file.stage(LockChange(copy.checkout, content or lock, before), copy.url)
        if step is not None:
            lock_file.put(step)
    beside = deployed_path(copy.checkout)
    evidence, own = _read(deployed_path(copy.lock)) or b"", _read(beside) or b""
    added = _lines(own, evidence)[len(own) :]
    if added:
        with writing(beside):
            files.append(beside, added)


def _lines(first: bytes, second: bytes) -> bytes:
    """Return the lines of two JSON Lines files, each once, those of the first as they are."""
    known = set(first.splitlines())
    first += b"\n" if first[-1:] not in (b"", b"\n") else b""
    return first + b"".join(line + b"\n" for line in second.splitlines() if line not in known)


def _read(path: str) -> bytes | None:
    try:
        return files.read(path)
    except OSError:  # absent; of another fault, whoever parses it says more
        return None
