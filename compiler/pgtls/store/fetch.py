"""Write the directory of one server or client from a store, on a machine that may read this prefix alone.

The destination is a small out directory, written by the same transaction as a build: all files of a generation or none,
keys 0600 from the first byte, and an interrupted fetch is completed or discarded by the next one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pgtls import __version__
from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.pki.model import Entity
from pgtls.state import layout, out_directory
from pgtls.state import manifest as manifests
from pgtls.state.manifest import Inputs, Manifest
from pgtls.state.mutex import exclusive
from pgtls.state.transaction import commit, recover
from pgtls.state.tree import File
from pgtls.store.copy import directory_of
from pgtls.store.documents import Head, damaged, head_path, pack_path
from pgtls.store.objects import Objects
from pgtls.store.packs import read_blob, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from pgtls.state.manifest import Entry


@dataclass(frozen=True, slots=True)
class Fetched:
    """The current files of one entity. ``changed`` are the paths that differed in the destination."""

    entity: Entity
    directory: str
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Current:
    head: Head
    contents: Mapping[str, bytes]


def fetch(url: str, directory: str, entities: Sequence[str], now: datetime, wait: float) -> tuple[Fetched, ...]:
    """Write the current directories of servers and users below ``directory``, as they lie in an out directory.

    All or nothing. Raise :class:`Rejected`: PGT512, PGT513, PGT515 or PGT516 as the store answers, PGT518 (it has no
    such entity), PGT524 (the destination is of another store), PGT529 (it has a later build), or as a build into this
    directory.
    """
    objects = Objects(url)
    found = {entity: _current(objects, entity) for entity in dict.fromkeys(map(_entity, entities))}
    out_directory.check(directory, ())
    with exclusive(directory, wait):
        recover(directory)
        return _write(url, directory, found, now)


def _entity(text: str) -> Entity:
    """Return a server or a user. Raise ValueError for anything else."""
    entity = Entity(text)
    if entity.kind not in ("server", "user", "pooler") or not entity.name or "/" in text or entity.name.startswith("."):
        raise ValueError(f'"{text}" is no server.NAME, user.NAME or pooler.NAME')
    return entity


def _current(objects: Objects, entity: Entity) -> _Current:
    """Read the blob that the document of the entity names, and see that it holds the files that it lists."""
    directory = layout.directory(entity)
    path = head_path(directory)
    found = objects.read(path)
    if found is None:
        hint = "name servers and users that have files, as server.NAME and user.NAME; the builder pushes them"
        raise Rejected(Diagnostic("PGT518", f'the store "{objects.url}" has no {entity}', hint=hint))
    head = Head.parse(found.content, f"{objects.url}/{path}")
    if head.pack is None:
        hint = "it is no longer in the spec: what was fetched stays where it is until you remove it"
        raise Rejected(Diagnostic("PGT518", f'the last build removed {entity} from "{objects.url}"', hint=hint))
    path = pack_path(directory, head.pack)
    contents = unpack(read_blob(objects, path), f"{objects.url}/{path}")
    if contents.keys() != head.files.keys() or any(directory_of(name) != directory for name in contents):
        raise damaged(f"{objects.url}/{path}", "it does not hold the files of its entity")
    return _Current(head, contents)


def _write(url: str, directory: str, found: Mapping[Entity, _Current], now: datetime) -> tuple[Fetched, ...]:
    """Bring the destination up to date; write nothing where it is."""
    ids = {current.head.lock_id for current in found.values()}
    old = manifests.read(directory) or _empty(url, next(iter(ids)), now)
    if old.spec != url or ids != {old.lock_id}:
        hint = "fetch into a new or empty directory"
        message = f'the directory "{directory}" was not fetched from the store "{url}"'
        raise Rejected(Diagnostic("PGT524", message, hint=hint))
    for entity, current in found.items():
        if current.head.number < old.fetched.get(entity, 0):
            raise Rejected(_older(url, entity, current.head.number, old.fetched[entity]))
    states = out_directory.observe_files(directory, old).states
    wanted = {path: entry for current in found.values() for path, entry in current.head.files.items()}
    ours = {layout.directory(entity) for entity in found}
    kept = {path: entry for path, entry in old.files.items() if directory_of(path) not in ours}
    contents = {path: content for current in found.values() for path, content in current.contents.items()}
    differ = {path for path, entry in wanted.items() if not _in_place(entry, old.files.get(path), states.get(path))}
    changes = {path: File(contents[path], wanted[path].mode, wanted[path].kind, wanted[path].entity) for path in differ}
    deletions = old.files.keys() - kept.keys() - wanted.keys()

    def listed(written: Mapping[str, Entry]) -> Iterator[bytes]:
        files = kept | {path: written.get(path) or old.files[path] for path in wanted}
        return replace(old, files=files, built=now, fetched=numbers).parts()

    numbers = {**old.fetched, **{entity: current.head.number for entity, current in found.items()}}
    if changes or deletions or numbers != old.fetched:
        private = {path.rpartition("/")[0] for path, entry in (kept | wanted).items() if entry.kind == "key"}
        commit(directory, changes, deletions, listed, private=private)
    return tuple(
        Fetched(entity, where, tuple(sorted(path for path in differ | deletions if directory_of(path) == where)))
        for entity in found
        for where in [layout.directory(entity)]
    )


def _older(url: str, entity: Entity, number: int, known: int) -> Diagnostic:
    message = f'the store "{url}" has {entity} of build {number}, and this directory has build {known}'
    hint = "ask who gave the store an older version back; if it was restored from a backup, fetch into a new directory"
    return Diagnostic("PGT529", message, hint=hint)


def _in_place(wanted: Entry, known: Entry | None, state: str | None) -> bool:
    same = known is not None and (known.sha256, known.mode) == (wanted.sha256, wanted.mode)
    return same and state in ("same", "touched")


def _empty(url: str, lock_id: str, now: datetime) -> Manifest:
    """Return the manifest of a destination that is new. It names the store in place of a spec."""
    return Manifest(__version__, lock_id, url, Inputs(""), now, None, {})
