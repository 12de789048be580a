"""Write the directory of one server or client, with its key in the clear, from a store or from an out directory.

A machine needs to read its own prefix of a store alone.

The destination is a small out directory, written by the same transaction as a build: all files of a generation or none,
keys 0600 from the first byte, and an interrupted fetch is completed or discarded by the next one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from pgtls import __version__
from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.pki.age import AN_IDENTITY, AgeFault, Identities
from pgtls.pki.model import Entity
from pgtls.state import files, layout, memory, out_directory, provenance
from pgtls.state import manifest as manifests
from pgtls.state.faults import cannot_read
from pgtls.state.manifest import Inputs, Manifest
from pgtls.state.mutex import exclusive
from pgtls.state.names import MANIFEST, MEMORY_PATH
from pgtls.state.session import looking
from pgtls.state.transaction import commit, recover
from pgtls.state.tree import File
from pgtls.store import is_store
from pgtls.store.copy import by_directory, directory_of
from pgtls.store.documents import Head, damaged, head_path, pack_path
from pgtls.store.objects import Objects
from pgtls.store.opened import opened
from pgtls.store.packs import read_blob, unpack

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
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


def fetch(
    source: str, directory: str, entities: Sequence[str], now: datetime, wait: float, identity: str | None = None
) -> tuple[Fetched, ...]:
    """Write the current directories of servers and users below ``directory``, as a build without recipients does.

    ``source`` is the URL of a store, or an out directory. ``identity`` is a file that opens encrypted keys. All or
    nothing. Raise :class:`Rejected`: PGT512, PGT513, PGT515 or PGT516 as the store answers, PGT518 (there is no such
    entity, or an encrypted file of it is not the key that belongs there), PGT524 (the destination is of another
    source), PGT529 (it has a later build), PGT541 (git tracks files of the out directory), PGT587 (no build wrote it),
    PGT650 or PGT652 (a key does not open), or as a build into this directory.
    """
    wanted = dict.fromkeys(map(_entity, entities))
    if is_store(source):
        objects = Objects(source)
        encrypted = {entity: _current(objects, entity) for entity in wanted}
    else:
        source = os.path.realpath(source)
        with looking(source, wait):
            encrypted = {entity: _local(source, entity) for entity in wanted}
    clear = _Clear(identity)
    found = {entity: clear.opened(current) for entity, current in encrypted.items()}
    out_directory.check(directory, ())
    with exclusive(directory, wait):
        recover(directory)
        return _write(source, directory, found, now)


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


def _local(out: str, entity: Entity) -> _Current:
    """Read the files of an entity in an out directory."""
    directory, manifest = layout.directory(entity), provenance.last_build(out)
    entries = by_directory(manifest).get(directory, {})
    if manifest is None or not entries:
        hint = "name servers and users that have files, as server.NAME and user.NAME, and the out directory with --out"
        raise Rejected(Diagnostic("PGT518", f'the out directory "{out}" has no {entity}', hint=hint))
    contents = {}
    for path, entry in entries.items():
        name = os.path.join(out, path)
        try:
            contents[path] = files.read(name)
        except OSError as error:
            raise Rejected(cannot_read(name, error)) from None
        if sha256(contents[path]).hexdigest() != entry.sha256:
            hint = "run pgtls build first: fetch writes what the last build made"
            raise Rejected(Diagnostic("PGT518", f'"{name}" is not what the last build wrote', hint=hint))
    return _Current(Head(0, manifest.lock_id, None, entries), contents)


class _Clear:
    """Opens encrypted keys with the identity in a file, which is read only if there are any."""

    def __init__(self, identity: str | None) -> None:
        self._file = identity
        self._identities: Identities | None = None

    def opened(self, current: _Current) -> _Current:
        """Return the files of an entity as they are without recipients. Raise :class:`Rejected` as :func:`opened`."""
        contents = opened(current.contents, current.head.files, self._decrypted)
        entries = {
            path: entry._replace(sha256=sha256(contents[path]).hexdigest(), size=len(contents[path]))
            for path, entry in current.head.files.items()
        }
        return _Current(replace(current.head, files=entries), contents)

    def _decrypted(self, content: bytes, path: str) -> bytes:
        """Open a file. Raise :class:`Rejected` with PGT650 or PGT652."""
        try:
            if self._identities is None:
                self._identities = Identities(self._text())
            return self._identities.decrypt(content)
        except AgeFault as fault:
            code = "PGT650" if fault.trouble == "extra" else "PGT652"
            message = fault.message if fault.trouble == "extra" else f'cannot open "{path}": {fault.message}'
            raise Rejected(Diagnostic(code, message, hint=fault.hint)) from None

    def _text(self) -> str:
        if self._file is None:
            hint = "name the file of a private key of one of its recipients with --identity, or with $PGTLS_IDENTITY"
            raise AgeFault("identity", "it is encrypted, and there is no identity", hint)
        try:
            return files.read(self._file, follow=True).decode()
        except UnicodeDecodeError:
            raise AgeFault("identity", "the identity is no text", AN_IDENTITY) from None
        except OSError as error:
            raise Rejected(cannot_read(self._file, error)) from None


def _write(source: str, directory: str, found: Mapping[Entity, _Current], now: datetime) -> tuple[Fetched, ...]:
    """Bring the destination up to date; write nothing where it is."""
    ids = {current.head.lock_id for current in found.values()}
    old = _destination(directory, found) or _empty(source, next(iter(ids)), now)
    if old.spec != source or ids != {old.lock_id}:
        hint = "fetch into a new or empty directory"
        message = f'the directory "{directory}" was not fetched from "{source}"'
        raise Rejected(Diagnostic("PGT524", message, hint=hint))
    for entity, current in found.items():
        if current.head.number < old.fetched.get(entity, 0):
            raise Rejected(_older(source, entity, current.head.number, old.fetched[entity]))
    there = out_directory.observe_files(directory, old)
    states, known = there.states, there.entries
    wanted = {path: entry for current in found.values() for path, entry in current.head.files.items()}
    ours = {layout.directory(entity) for entity in found}
    kept = {path: entry for path, entry in known.items() if directory_of(path) not in ours}
    contents = {path: content for current in found.values() for path, content in current.contents.items()}
    differ = {path for path, entry in wanted.items() if not _in_place(entry, known.get(path), states.get(path))}
    changes = {path: File(contents[path], wanted[path].mode, wanted[path].kind, wanted[path].entity) for path in differ}
    deletions = known.keys() - kept.keys() - wanted.keys()

    def listed(written: Mapping[str, Entry]) -> Iterator[bytes]:
        files = kept | {path: written.get(path) or known[path] for path in wanted}
        return replace(old, files=files, built=now, fetched=numbers).parts()

    numbers = {entity: current.head.number for entity, current in found.items() if current.head.number}
    numbers = {**old.fetched, **numbers}
    if changes or deletions or numbers != old.fetched:
        private = {path.rpartition("/")[0] for path, entry in (kept | wanted).items() if entry.kind == "key"}
        commit(directory, changes, deletions, listed, private=private)
    return tuple(
        Fetched(entity, where, tuple(sorted(path for path in differ | deletions if directory_of(path) == where)))
        for entity in found
        for where in [layout.directory(entity)]
    )


_COMPARE = "fetch into a new directory, and compare both"


def _destination(directory: str, found: Collection[Entity]) -> Manifest | None:
    """Read the manifest of the destination; only the files of these entities if the last fetch did not write it.

    What it remembers must be whole: it tells which build's files these are.
    """
    manifest = manifests.read(directory)
    if manifest is None and not os.path.lexists(os.path.join(directory, MEMORY_PATH)):
        return None
    try:
        lost = memory.altered(directory) if manifest and manifest.last else []
    except OSError as error:
        raise Rejected(cannot_read(os.path.join(directory, MEMORY_PATH), error)) from None
    if manifest is None or lost:
        message = f'what the last fetch wrote in the directory "{directory}" is gone or changed: {[*lost, MANIFEST][0]}'
        raise Rejected(Diagnostic("PGT588", message, hint=_COMPARE))
    if manifest.last:
        return manifest
    try:
        provenance.with_memory(directory, manifest)
    except Rejected as rejected:
        raise Rejected(*(replace(diagnostic, hint=_COMPARE) for diagnostic in rejected.diagnostics)) from None
    return manifest.limited(found)


def _older(url: str, entity: Entity, number: int, known: int) -> Diagnostic:
    message = f'the store "{url}" has {entity} of build {number}, and this directory has build {known}'
    hint = "ask who gave the store an older version back; if it was restored from a backup, fetch into a new directory"
    return Diagnostic("PGT529", message, hint=hint)


def _in_place(wanted: Entry, known: Entry | None, state: str | None) -> bool:
    same = known is not None and (known.sha256, known.mode) == (wanted.sha256, wanted.mode)
    return same and state in ("same", "touched")


def _empty(source: str, lock_id: str, now: datetime) -> Manifest:
    """Return the manifest of a destination that is new. It names the source in place of a spec."""
    return Manifest(__version__, lock_id, source, Inputs(""), now, None, {})
