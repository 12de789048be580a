"""``out/manifest.json``: what the last build wrote, from which inputs, and when something is due again.

The modification time of the file is the time of the last build that succeeded, whether or not it had anything to do.

The memory of the out directory names the manifest of the last build (:mod:`pgtls.state.memory`). Another one is read,
too: a repository of encrypted keys brings those of other builders, and earlier ones. But it saves a build nothing: see
:meth:`Manifest.strange`.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from itertools import chain, islice
from json.encoder import encode_basestring
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.pki.model import ENTITY_KINDS, Entity
from pgtls.state import files, layout, memory
from pgtls.state.faults import NEW_AROUND_KEYS, cannot_read
from pgtls.state.lock import instant, timestamp
from pgtls.state.names import MANIFEST
from pgtls.state.tree import FILE_KINDS, FileKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from datetime import datetime

    from pgtls.state.files import Stat
    from pgtls.state.tree import File, Tree

VERSION = 1

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_NEVER = -1
"""The modification time of a file that is to be read."""


class Entry(NamedTuple):
    """One file. ``mode`` are the permission bits, ``mtime_ns`` its modification time in nanoseconds since 1970."""

    sha256: str
    size: int
    mtime_ns: int
    mode: int
    kind: FileKind
    entity: Entity


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of a build, by which the next one finds out that nothing changed: see :mod:`pgtls.state.up_to_date`.

    ``include`` are the patterns as written; ``files`` the other files that were read, relative to the spec's directory.
    """

    digest: str
    include: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


class AtRest(NamedTuple):
    """How the keys of a tree are encrypted: for the ``recipients``, each with one key of the tree in it.

    What no build sees without opening them: ``guarded`` are the entities whose key a passphrase encrypts in addition,
    ``for_old_readers`` the users whose PKCS#12 file has the old format.
    """

    recipients: tuple[str, ...]
    guarded: frozenset[Entity] = frozenset()
    for_old_readers: frozenset[Entity] = frozenset()


class RenewalInfo(NamedTuple):
    """When an ACME server suggests to renew a certificate, if it said so, and when to ask it ``again``.

    ``sha256`` is the digest of the certificate.
    """

    sha256: str
    start: datetime | None
    end: datetime | None
    again: datetime


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest. ``version`` is the pgtls that wrote it, ``built`` the time of the build."""

    version: str
    lock_id: str
    spec: str
    inputs: Inputs
    built: datetime
    next_due: datetime | None
    files: Mapping[str, Entry]
    """By path relative to the out directory, with ``/``."""
    texts: Mapping[Entity, str] = field(default_factory=dict)
    """By user: the digest of what the texts of its bundle follow from: see :mod:`pgtls.output.kept`."""
    fetched: Mapping[Entity, int] = field(default_factory=dict)
    """By entity that was fetched from a store: the number of the build whose files these are."""
    at_rest: AtRest | None = None
    """None: the keys are not encrypted."""
    renewals: Mapping[Entity, RenewalInfo] = field(default_factory=dict)
    """What ACME servers suggest about the renewal of certificates: see :mod:`pgtls.certificates.renewals`."""
    added: frozenset[str] = frozenset()
    """The digests of the lines that others added to the lock: see :mod:`pgtls.state.known_lock`."""
    last: bool = True
    """Whether the last build into this out directory wrote it."""

    def strange(self) -> Manifest:
        """Return a manifest that the last build here did not write, without what would save a build some work.

        Builds then read every file, and render and ask for everything again.
        """
        entries = {path: entry._replace(mtime_ns=_NEVER) for path, entry in self.files.items()}
        inputs = replace(self.inputs, digest="")
        return replace(self, inputs=inputs, files=entries, texts={}, renewals={}, last=False)

    def limited(self, entities: Collection[Entity]) -> Manifest:
        """Return a manifest with the files alone that the layout gives to some entities: a build deletes no others."""
        files = {
            path: entry
            for path, entry in self.files.items()
            if entry.entity in entities and layout.gives(entry.entity, path)
        }
        return replace(self, files=files)

    def render(self) -> bytes:
        """Return the file."""
        return b"".join(self.parts())

    def parts(self) -> Iterator[bytes]:
        """Yield the file in parts: sorted keys, one file a line, so that ``diff`` can compare two manifests."""
        head: dict[str, Any] = {
            "pgtls_manifest": VERSION,
            "version": self.version,
            "lock_id": self.lock_id,
            "spec": self.spec,
            "inputs": {
                "digest": self.inputs.digest,
                "include": list(self.inputs.include),
                "files": sorted(self.inputs.files),
            },
            "built": timestamp(self.built),
            "next_due": None if self.next_due is None else timestamp(self.next_due),
        }
        if self.fetched:
            head["fetched"] = dict(sorted(self.fetched.items()))
        if self.at_rest:
            head["at_rest"] = {name: sorted(value) for name, value in self.at_rest._asdict().items()}
        if self.renewals:
            head["renewals"] = {entity: _written(self.renewals[entity]) for entity in sorted(self.renewals)}
        if self.added:
            head["added"] = sorted(self.added)
        encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
        texts = (f'{encode_basestring(entity)}:"{self.texts[entity]}"' for entity in sorted(self.texts))
        lines = (_line(path, self.files[path]) for path in sorted(self.files))
        begin, middle, end = (encode(head)[:-1] + ',"texts":{',), ('},"files":{',), ("}}\n",)
        for part in chain(begin, _separated(texts), middle, _separated(lines), end):
            # A file name that is no text (PEP 383) becomes an escape of JSON.
            yield part.encode(errors="backslashreplace")


def _written(info: RenewalInfo) -> dict[str, str]:
    moments = {"start": info.start, "end": info.end, "again": info.again}
    return {"certificate": info.sha256, **{name: timestamp(moment) for name, moment in moments.items() if moment}}


def _renewal(fields: Mapping[str, Any]) -> RenewalInfo:
    start, end = (None if name not in fields else instant(fields[name]) for name in ("start", "end"))
    return RenewalInfo(_digest(fields["certificate"]), start, end, instant(fields["again"]))


def _separated(lines: Iterable[str]) -> Iterator[str]:
    """Yield the members of an object, one a line, in pieces of a thousand: a big tree has many."""
    rest = iter(lines)
    between = "\n"
    while some := ",\n".join(islice(rest, 1000)):
        yield between + some
        between = ",\n"
    yield "\n" if between == ",\n" else ""


def _line(path: str, entry: Entry) -> str:
    """Return the JSON of one file. Its digits, numbers and kind need no escapes."""
    digits, size, mtime, mode, kind, entity = entry
    return (
        f'{encode_basestring(path)}:{{"sha256":"{digits}","size":{size},"mtime_ns":{mtime},"mode":{mode},'
        f'"kind":"{kind}","entity":{encode_basestring(entity)}}}'
    )


def entry(content: bytes, stat: Stat, kind: FileKind, entity: Entity) -> Entry:
    """Describe a file of this content whose ``stat`` is this."""
    return Entry(sha256(content).hexdigest(), *stat, kind, entity)


def entries(
    out: str,
    tree: Tree,
    written: Mapping[str, Entry],
    kept: Mapping[str, Entry],
) -> dict[str, Entry]:
    """Describe every file of a tree: ``written`` now, ``kept`` from the last build, or as it is if others wrote it."""
    return {path: written.get(path) or _described(out, path, file, kept) for path, file in tree.items()}


def _described(out: str, path: str, file: File, kept: Mapping[str, Entry]) -> Entry:
    known = kept.get(path)
    if known is not None:
        same = (known.mode, known.kind, known.entity) == (file.mode, file.kind, file.entity)
        return known if same else known._replace(mode=file.mode, kind=file.kind, entity=file.entity)
    with open(os.path.join(out, path), "rb") as adopted:
        return entry(adopted.read(), files.Stat.of(os.fstat(adopted.fileno())), file.kind, file.entity)


def read(out: str | os.PathLike[str]) -> Manifest | None:
    """Read the manifest of an out directory; None if it has none.

    Raise :class:`Rejected`: PGT510 (damaged, or no file), PGT511 (another format version), PGT527 (no permission).
    """
    name = os.path.join(out, MANIFEST)
    try:
        content = files.read(name)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise Rejected(cannot_read(name, error)) from None
    except OSError as error:
        raise Rejected(_damaged(name, error.strerror or "it cannot be read")) from None
    found = parse(content, name)
    return found if memory.is_of_last_build(os.fspath(out), content) else found.strange()


def parse(content: bytes, name: str) -> Manifest:
    """Read a manifest; ``name`` is its file in messages. :class:`Rejected` as :func:`read`."""
    try:
        document = json.loads(content, object_hook=_read_entry)
        version = document["pgtls_manifest"]
        if version != VERSION:
            message = f"the manifest is of version {json.dumps(version)}, and this pgtls reads version {VERSION}"
            hint = "the out directory was built by a newer pgtls: use that version"
            raise Rejected(Diagnostic("PGT511", message, hint=hint, file=name))
        return _manifest(document)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = (
            "it is not JSON"
            if isinstance(error, ValueError | RecursionError)
            else "a field is missing or of the wrong type"
        )
        raise Rejected(_damaged(name, reason)) from None


def _damaged(name: str, reason: str) -> Diagnostic:
    return Diagnostic("PGT510", f"the manifest is damaged: {reason}", hint=NEW_AROUND_KEYS, file=name)


def _manifest(document: Mapping[str, Any]) -> Manifest:
    """Parse a manifest; raise ValueError, KeyError or TypeError if :meth:`Manifest.render` did not write it."""
    inputs, due = document["inputs"], document["next_due"]
    return Manifest(
        version=_text(document["version"]),
        lock_id=_text(document["lock_id"]),
        spec=_text(document["spec"]),
        inputs=Inputs(
            _text(inputs["digest"]), tuple(map(_text, inputs["include"])), tuple(map(_text, inputs["files"]))
        ),
        built=instant(document["built"]),
        next_due=None if due is None else instant(due),
        files=_files(document["files"]),
        texts={_owner(entity): _digest(digits) for entity, digits in document.get("texts", {}).items()},
        fetched={_owner(entity): _whole(number) for entity, number in document.get("fetched", {}).items()},
        at_rest=_at_rest(document["at_rest"]) if "at_rest" in document else None,
        renewals={_owner(entity): _renewal(info) for entity, info in document.get("renewals", {}).items()},
        added=frozenset(map(_digest, document.get("added", ()))),
    )


def _at_rest(fields: Mapping[str, Any]) -> AtRest:
    return AtRest(
        tuple(map(_text, fields["recipients"])),
        frozenset(map(_owner, fields["guarded"])),
        frozenset(map(_owner, fields["for_old_readers"])),
    )


def listed(files: Mapping[str, Any]) -> dict[str, Entry]:
    """Read files that a document of a store lists as a manifest does. Raise TypeError or KeyError if it does not."""
    return _files({path: _read_entry(fields) for path, fields in files.items()})


def _whole(number: object) -> int:
    if type(number) is not int:
        raise TypeError(number)
    return number


def _digest(digits: object) -> str:
    if not (isinstance(digits, str) and _SHA256.match(digits)):
        raise TypeError(digits)
    return digits


def _read_entry(fields: dict[str, Any]) -> Any:
    """Read the entry of a file as soon as its object is parsed: the objects of a big tree would need more memory."""
    if "sha256" not in fields:
        return fields
    digits, size, mtime, mode, kind, entity = _values(fields)
    whole = type(size) is type(mtime) is type(mode) is int
    if not (whole and type(entity) is str and _SHA256.match(digits)) or len(fields) != _FIELDS:
        raise TypeError(fields)
    return Entry(digits, size, mtime, mode, _KINDS[kind], _owner(entity))


_values = itemgetter(*Entry._fields)
_FIELDS = len(Entry._fields)
_KINDS = {kind: kind for kind in FILE_KINDS}
"""One text for each kind, which all files share."""
_NO_NAMES = frozenset(("", ".", ".."))
_ANY_MODE = 0o755


def _files(found: dict[str, Any]) -> dict[str, Entry]:
    """Return the files if each has an entry, a path that stays inside the tree, since builds delete, and a right mode.

    A build lets nobody else write a file, gives no program the identity of its owner, and keeps every key to itself.
    """
    if not {*map(type, found.values())} <= {Entry}:
        raise TypeError(found)
    for path, entry in found.items():
        name = path.rpartition("/")[2]
        if "\0" in path or name in _NO_NAMES or not _is_inside(path[: -len(name)]):
            raise TypeError(path)
        allowed = layout.SECRET if entry.kind == "key" else _ANY_MODE
        if entry.mode & ~allowed or (name in layout.KEYS and entry.kind != "key"):
            raise TypeError(path)
    return found


@cache  # a directory has several files
def _is_inside(directory: str) -> bool:
    """Return whether a directory, with a final ``/`` or empty, lies inside the tree."""
    return not directory or _NO_NAMES.isdisjoint(directory[:-1].split("/"))


@cache  # an entity has several files
def _owner(entity: str) -> Entity:
    """Return the entity that owns the file; raise TypeError for an entity that owns no files."""
    owner = Entity(entity)
    if owner.kind not in ENTITY_KINDS:
        raise TypeError(entity)
    return owner


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value
