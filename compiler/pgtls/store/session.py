"""A command's time with a store: it reads one consistent tree, or builds on one and swaps the pointer.

Whatever dies at any time, the pointer names a complete tree: it is swapped last, after every blob of the new tree is in
the store. Whoever loses the race for the pointer discards what it staged and pushed, and starts again from the tree of
the winner. Nothing that the loser issued has left its private copy as part of a tree.
"""

from __future__ import annotations

import os
import random
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from secrets import token_hex
from typing import TYPE_CHECKING, TypeVar

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.state import deployed, files
from pgtls.state import manifest as manifests
from pgtls.state.names import DEPLOYED_PATH, MANIFEST
from pgtls.store.copy import STATE, Copy, Snapshot, bring, by_directory, pull
from pgtls.store.documents import (
    POINTER,
    Head,
    Pointer,
    StoredTree,
    blob_name,
    head_path,
    pack_path,
    state_path,
    tree_path,
)
from pgtls.store.objects import Objects, at_once
from pgtls.store.packs import Member, pack
from pgtls.store.sweep import sweep
from pgtls.store.workspace import workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pgtls.state.manifest import Entry, Manifest

T = TypeVar("T")

_PAUSE = 0.1
_LONGEST_PAUSE = 3.0
"""Seconds before the next attempt: the first, and the longest."""
_TRIES = 10
"""How often the document of a directory is written where others write it, too; the next build completes the rest."""


@contextmanager
def reading(url: str, lock: str) -> Iterator[Copy]:
    """Yield a copy of the tree that the pointer names. Write nothing to the store.

    Raise :class:`Rejected` as :func:`pgtls.store.copy.pull`, and what the body raises, in the words of the user.
    """
    with workspace() as directory:
        copy = Copy(url, lock, directory)
        with _named(copy):
            pull(Objects(url), copy)
            yield copy


def changing(url: str, lock: str, act: Callable[[Copy], T], wait: float) -> T:
    """Let ``act`` change a copy, push what it changed, and swap the pointer; return what ``act`` returned.

    Begin again if another builder was faster, for ``wait`` seconds; then raise :class:`Rejected` with PGT517. Raise it
    also with PGT514 (the store does not know conditional writes), as :func:`reading`, and as ``act``.
    """
    objects = Objects(url)
    objects.require_conditions()
    deadline, pause = time.monotonic() + wait, _PAUSE
    while True:
        with workspace() as directory:
            copy = Copy(url, lock, directory)
            with _named(copy):
                snapshot = _settled(objects, pull(objects, copy))
                result = act(copy)
                if _published(objects, copy, snapshot):
                    return result
        if time.monotonic() >= deadline:
            raise Rejected(_too_slow(url, wait))
        time.sleep(random.uniform(pause / 2, pause))  # noqa: S311  (builders that begin together must not stay so)
        pause = min(2 * pause, _LONGEST_PAUSE)


@contextmanager
def _named(copy: Copy) -> Iterator[None]:
    try:
        yield
    except Rejected as rejected:
        raise Rejected(*map(copy.names.diagnostic, rejected.diagnostics)) from None


def _too_slow(url: str, wait: float) -> Diagnostic:
    message = f'other builders were faster at each attempt in {wait:g} seconds: the pointer of "{url}" changed'
    hint = "nothing of this build is in the store: run it again, or give it more time with --lock-timeout"
    return Diagnostic("PGT517", message, hint=hint)


def _published(objects: Objects, copy: Copy, base: Snapshot) -> bool:
    """Push what the copy has and the store does not, and swap the pointer. Return False if another builder did."""
    state = _state(copy)
    manifest = manifests.read(copy.out)
    if manifest is None or _same(base, manifest, state):
        bring(copy)
        return True
    pushing = _Pushing(objects, token_hex(16))
    tree = _push(pushing, copy, base, manifest, state)
    name = pushing.push(tree_path, tree.render())
    pointer = (base.pointer or Pointer(0, ())).followed_by(name, _unsettled(base, tree))
    e_tag = _swap(pushing, pointer, base.e_tag)
    if e_tag is None:
        return False
    try:
        bring(copy)
        _settled(objects, Snapshot(pointer, e_tag, tree, manifest))
    except Rejected as rejected:
        hint = "the build is in the store; fix this and run it again, which completes what is left"
        raise Rejected(*(replace(diagnostic, hint=hint) for diagnostic in rejected.diagnostics)) from None
    with suppress(Rejected):  # a builder may lack the rights to list and to delete; one that has them sweeps
        sweep(objects, pointer, tree, tree_path(name))
    return True


def _state(copy: Copy) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path in STATE:
        with suppress(FileNotFoundError):
            found[path] = files.read(os.path.join(copy.out, path))
    if DEPLOYED_PATH in found:  # the key of the copy goes with it
        found[DEPLOYED_PATH] = deployed.opened(found[DEPLOYED_PATH])
    return found


def _same(base: Snapshot, manifest: Manifest, state: Mapping[str, bytes]) -> bool:
    """Return whether nothing has changed but the time of the build, and what is due after it."""
    last = base.manifest
    if last is None or replace(manifest, built=last.built, next_due=last.next_due) != last:
        return False
    return {**state, MANIFEST: b""} == {**base.state, MANIFEST: b""}


@dataclass(slots=True)
class _Pushing:
    """The blobs of one attempt. ``paths`` are those of all that it has begun to push."""

    objects: Objects
    build: str
    paths: list[str] = field(default_factory=list)

    def push(self, path: Callable[[str], str], content: bytes) -> str:
        """Push a blob, and return its NAME; ``path`` returns its path."""
        name = blob_name(self.build, content)
        self.paths.append(path(name))
        self.objects.write(path(name), content)
        return name


def _push(pushing: _Pushing, copy: Copy, base: Snapshot, manifest: Manifest, state: Mapping[str, bytes]) -> StoredTree:
    """Push the directories that changed, and what pgtls remembers."""
    before, after = by_directory(base.manifest), by_directory(manifest)
    kept = base.tree.packs if base.tree else {}
    packs = {path: kept[path] for path, entries in after.items() if before.get(path) == entries}

    def push(directory: str) -> tuple[str, str]:
        members = {path: _member(copy.out, path, entry) for path, entry in after[directory].items()}
        return directory, pushing.push(partial(pack_path, directory), pack(members))

    packs |= at_once(push, sorted(after.keys() - packs.keys()))
    members = {path: Member(held, STATE[path], 0) for path, held in state.items()}
    return StoredTree(pushing.push(state_path, pack(members)), packs)


def _member(out: str, path: str, entry: Entry) -> Member:
    return Member(files.read(os.path.join(out, path)), entry.mode, entry.mtime_ns // 10**9)


def _swap(pushing: _Pushing, pointer: Pointer, e_tag: str | None) -> str | None:
    """Swap the pointer and return its e-tag; None if another builder did, and then delete what was pushed in vain.

    An answer of the store may be lost on the way: a client that then repeats the write finds its own first one, and is
    told that somebody else was faster. So the pointer is read again. A stale read decides nothing: then nothing is
    deleted, since the pointer may name it.
    """
    objects = pushing.objects
    fault: Rejected | None = None
    try:
        if (swapped := objects.swap(POINTER, pointer.render(), e_tag)) is not None:
            return swapped
    except Rejected as rejected:
        fault = rejected
    try:
        found = objects.read(POINTER)
    except Rejected as rejected:
        raise _undecided(rejected) from None
    there = Pointer.parse(found.content, f"{objects.url}/{POINTER}") if found else Pointer(0, ())
    if found and pointer.tree in there.recent:
        return found.e_tag
    if fault and there.number < pointer.number:
        raise _undecided(fault)
    if pointer.number <= there.number < pointer.number + len(there.recent):
        with suppress(Rejected):  # a later build sweeps them
            objects.delete(pushing.paths)
    return None


def _undecided(fault: Rejected) -> Rejected:
    """Return what to raise where nobody answers whether the pointer was swapped."""
    hint = "the store may have this build or the one before, complete; run the build again: it finds out"
    return Rejected(*(replace(diagnostic, hint=hint) for diagnostic in fault.diagnostics))


def _unsettled(base: Snapshot, tree: StoredTree) -> tuple[str, ...]:
    """Return the directories of all but CAs whose blob is another one, or gone, and those that still wait."""
    before, waiting = (base.tree.packs if base.tree else {}), (base.pointer.unsettled if base.pointer else ())
    changed = {path for path in before.keys() | tree.packs.keys() if before.get(path) != tree.packs.get(path)}
    return tuple(sorted({*waiting, *(path for path in changed if not path.startswith("ca/"))}))


def _settled(objects: Objects, snapshot: Snapshot) -> Snapshot:
    """Name the current blob of each directory that the pointer lists, and take the list from the pointer.

    A builder that is killed in between leaves the list, and the next one completes it. No builder names an older blob
    in place of a newer one: each document has the number of its pointer.
    """
    pointer, tree = snapshot.pointer, snapshot.tree
    if pointer is None or tree is None or snapshot.manifest is None or not pointer.unsettled:
        return snapshot
    entries, lock_id = by_directory(snapshot.manifest), snapshot.manifest.lock_id

    def settle(directory: str) -> bool:
        pack = tree.packs.get(directory)
        return _name(objects, head_path(directory), Head(pointer.number, lock_id, pack, entries.get(directory, {})))

    if not all(at_once(settle, pointer.unsettled)):
        return snapshot
    settled = replace(pointer, number=pointer.number + 1, unsettled=())
    e_tag = objects.swap(POINTER, settled.render(), snapshot.e_tag)
    return snapshot if e_tag is None else replace(snapshot, pointer=settled, e_tag=e_tag)


def _name(objects: Objects, path: str, head: Head) -> bool:
    """Write the document of a directory unless it is there in a newer state, or in this one; return whether it is."""
    for _ in range(_TRIES):
        found = objects.read(path)
        if found is not None and Head.parse(found.content, f"{objects.url}/{path}").number >= head.number:
            return True
        if objects.swap(path, head.render(), None if found is None else found.e_tag) is not None:
            return True
        time.sleep(_PAUSE)
    return False
