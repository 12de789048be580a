"""The documents of a store: the pointer, a tree, and the current blob of one entity."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.state.manifest import Entry, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

POINTER = "pointer.json"
VERSION = 1
RECENT = 20
"""How many trees a pointer remembers."""

_NAME = re.compile(r"[0-9a-f]{32}-[0-9a-f]{64}\Z")


def blob_name(build: str, content: bytes) -> str:
    """Return the NAME of a blob: the build that pushes it, and the digest of its content."""
    return f"{build}-{sha256(content).hexdigest()}"


def state_path(name: str) -> str:
    """Return the path of the blob with a tree's manifest and what pgtls remembers."""
    return f"state/{name}.tar"


def tree_path(name: str) -> str:
    """Return the path of a tree."""
    return f"trees/{name}.json"


def pack_path(directory: str, name: str) -> str:
    """Return the path of the blob with one directory of a tree."""
    return f"entities/{directory}/{name}.tar"


def head_path(directory: str) -> str:
    """Return the path of the document that names the current blob of a directory."""
    return f"entities/{directory}/entity.json"


@dataclass(frozen=True, slots=True)
class Pointer:
    """Which tree counts: the first of ``recent``, the NAMEs of the last trees.

    No two trees have the same NAME, so no two pointers have the same content, and none has the e-tag of another.
    ``unsettled`` are directories whose :class:`Head` may be older than the tree.
    """

    number: int
    recent: tuple[str, ...]
    unsettled: tuple[str, ...] = ()

    @property
    def tree(self) -> str:
        """Return the NAME of the tree that counts."""
        return self.recent[0]

    def followed_by(self, tree: str, unsettled: tuple[str, ...]) -> Pointer:
        """Return the next pointer."""
        return Pointer(self.number + 1, (tree, *self.recent)[:RECENT], unsettled)

    def render(self) -> bytes:
        """Return the object."""
        fields = {"number": self.number, "recent": self.recent, "unsettled": self.unsettled}
        return json.dumps({"pgtls_pointer": VERSION, **fields}, indent=1).encode()

    @classmethod
    def parse(cls, content: bytes, name: str) -> Pointer:
        """Read the object. Raise :class:`Rejected` with PGT515 (damaged) or PGT516 (newer)."""

        def made(fields: Mapping[str, Any]) -> Pointer:
            recent = tuple(map(_name, fields["recent"]))
            recent[0]  # there is one
            return cls(int(fields["number"]), recent, tuple(map(str, fields["unsettled"])))

        return _parsed(content, "pgtls_pointer", name, made)


@dataclass(frozen=True, slots=True)
class StoredTree:
    """The blobs of one tree: the NAME of its state, and by directory that of its files."""

    state: str
    packs: Mapping[str, str]

    def render(self) -> bytes:
        """Return the object."""
        return json.dumps({"pgtls_tree": VERSION, "state": self.state, "packs": self.packs}, indent=1).encode()

    @classmethod
    def parse(cls, content: bytes, name: str) -> StoredTree:
        """Read the object. Raise :class:`Rejected` with PGT515 (damaged) or PGT516 (newer)."""

        def made(fields: Mapping[str, Any]) -> StoredTree:
            return cls(_name(fields["state"]), {str(path): _name(pack) for path, pack in fields["packs"].items()})

        return _parsed(content, "pgtls_tree", name, made)

    def paths(self) -> set[str]:
        """Return the paths of all blobs."""
        return {state_path(self.state), *(pack_path(directory, name) for directory, name in self.packs.items())}


@dataclass(frozen=True, slots=True)
class Head:
    """The current blob of one directory, since which pointer, and its files; no blob if the entity is gone."""

    number: int
    lock_id: str
    pack: str | None
    files: Mapping[str, Entry] = field(default_factory=dict)

    def render(self) -> bytes:
        """Return the object."""
        files = {path: entry._asdict() for path, entry in self.files.items()}
        fields = {"number": self.number, "lock_id": self.lock_id, "pack": self.pack, "files": files}
        return json.dumps({"pgtls_entity": VERSION, **fields}, indent=1).encode()

    @classmethod
    def parse(cls, content: bytes, name: str) -> Head:
        """Read the object. Raise :class:`Rejected` with PGT515 (damaged) or PGT516 (newer)."""

        def made(fields: Mapping[str, Any]) -> Head:
            pack = None if fields["pack"] is None else _name(fields["pack"])
            return cls(int(fields["number"]), str(fields["lock_id"]), pack, listed(fields["files"]))

        return _parsed(content, "pgtls_entity", name, made)


def damaged(name: str, why: str) -> Rejected:
    """Return what to raise for an object that is not what a build wrote: PGT515."""
    hint = "restore this version of the object, or a backup of the whole prefix; nothing has changed"
    return Rejected(Diagnostic("PGT515", f"an object of the store is damaged: {why}", hint=hint, file=name))


def _parsed(content: bytes, kind: str, name: str, made: Callable[[Mapping[str, Any]], T]) -> T:
    try:
        fields = json.loads(content)
        version = fields[kind]
        if type(version) is int and version > VERSION:
            message = f"an object of the store is of version {version}, and this pgtls reads version {VERSION}"
            hint = "a newer pgtls built this tree: use that version; nothing has changed"
            raise Rejected(Diagnostic("PGT516", message, hint=hint, file=name))
        if version != VERSION:
            raise ValueError(version)
        return made(fields)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise damaged(name, "it is not what a build writes") from None


def _name(value: object) -> str:
    if not (isinstance(value, str) and _NAME.match(value)):
        raise ValueError(value)
    return value
