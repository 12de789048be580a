"""The commit record: the operations of a decided build, kept until the build is complete.

It has two lines: the record as JSON, and its authentication code (see :mod:`pgtls.state.seal`). A record counts only if
this tree's last build wrote it: it names the manifest before and after the build, and touches only files that these
two list.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, get_args

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.state import files, seal
from pgtls.state.files import all_ancestors
from pgtls.state.names import GENERATIONS_PATH, MANIFEST, MEMORY_PATH, OURS, RECORD, RECORD_PATH, STAGING
from pgtls.state.operations import CLOSED, OPEN, Operation, Verb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pgtls.state.out_directory import Opened

VERSION = 2

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class LockStep:
    """``staged`` becomes ``path``; both absolute, in one directory. The digests are of the lock before and after."""

    path: str
    staged: str
    before: str | None
    after: str


@dataclass(frozen=True, slots=True)
class Record:
    """A decided build. ``lock`` is None if the lock stays; ``before`` and ``after`` are digests of the manifests."""

    steps: tuple[Operation, ...]
    lock: LockStep | None
    before: str | None
    after: str | None
    known: str | None = None
    """The digest of the new copy of the lock in the private directory; None if the old copy stays."""

    def render(self, key: bytes) -> bytes:
        """Return the file."""
        lock = self.lock and asdict(self.lock)
        manifests = {"before": self.before, "after": self.after}
        body = {"pgtls_commit": VERSION, "lock": lock, **manifests, "known": self.known, "steps": self.steps}
        content = json.dumps(body).encode()
        return content + b"\n" + seal.sign(key, content).encode() + b"\n"


def digest(name: str, directory: int) -> str | None:
    """Return the sha256 of a file; None if there is no regular file."""
    try:
        return sha256(files.read(name, directory)).hexdigest()
    except OSError:
        return None


def read(place: Opened) -> Record | None:
    """Read the record; None if there is none. Raise PGT532 if it is damaged, PGT538 if no build of this tree wrote it.

    If the manifest of the record is in place, the build is complete: return the record without its steps.
    """
    try:
        content = files.read(RECORD, place.private)
        body, _, code = content.partition(b"\n")
        record = _parse(body)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        hint = "restore the out directory and the lock from one backup, or use the version of pgtls that wrote it"
        message = "the record of an interrupted build is damaged, or of another version"
        raise Rejected(Diagnostic("PGT532", message, hint=hint, file=_name(place))) from None
    key = seal.read(place.root, place.private)
    if key is None:
        raise _forged(place, seal.fault(place.out), f"{_MODE_LOST}; {_NEITHER}")
    if not seal.fits(key, body, code.decode(errors="replace").strip()):
        raise _forged(place, "no build into this out directory wrote it")
    return _current(place, record)


def _parse(body: bytes) -> Record:
    """Parse a record; raise one of several errors if :meth:`Record.render` did not write it."""
    document = json.loads(body)
    if document["pgtls_commit"] != VERSION:
        raise ValueError(document["pgtls_commit"])
    steps = tuple(_operation(*step) for step in document["steps"])
    lock = None if document["lock"] is None else _lock_step(LockStep(**document["lock"]))
    return Record(steps, lock, *(_digest_or_none(document[name]) for name in ("before", "after", "known")))


def _operation(verb: Any, path: Any, mode: Any) -> Operation:
    """Check one step: it must stay inside the tree."""
    whole = isinstance(path, str) and type(mode) is int and verb in get_args(Verb)
    if not whole or "\0" in path or not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise ValueError(path)
    return Operation(verb, path, mode)


def _lock_step(step: LockStep) -> LockStep:
    """Check that the staged lock lies next to the lock, under the name that a build gives it."""
    directory, name = os.path.split(step.path)
    beside, staged = os.path.split(step.staged)
    named = re.fullmatch(rf"\.{re.escape(name)}\.[0-9a-f]{{16}}\.new", staged)
    if not os.path.isabs(directory) or beside != directory or not named:
        raise ValueError(step.staged)
    if _digest_or_none(step.before) != step.before or not _SHA256.match(step.after):
        raise ValueError(step.after)
    return step


def _digest_or_none(value: Any) -> str | None:
    if value is not None and not _SHA256.match(value):
        raise ValueError(value)
    return value  # type: ignore[no-any-return]


def _current(place: Opened, record: Record) -> Record:
    """Check that a record fits the tree: its manifest before or after the build is the present one."""
    there = digest(MANIFEST, place.root)
    if there == record.after != record.before:
        return replace(record, steps=())
    if there != record.before:
        raise _forged(place, "it starts from another manifest than the one in the out directory")
    if not files.exists(STAGING, place.private):
        return record  # carrying it out says what is missing
    after = _listed(f"{STAGING}/{MANIFEST}", place.private, record.after)
    before = _listed(MANIFEST, place.root, record.before)
    if strange := _strange(record.steps, before, after):
        raise _forged(place, f'it would {strange.verb} "{strange.path}", which its build did not write')
    return record


def _listed(name: str, directory: int, expected: str | None) -> Mapping[str, Any]:
    """Return the files of a manifest if the record names it; otherwise an empty mapping."""
    try:
        content = files.read(name, directory)
        listed = json.loads(content)["files"] if sha256(content).hexdigest() == expected else {}
        return listed if isinstance(listed, dict) else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _strange(steps: Iterable[Operation], before: Mapping[str, Any], after: Mapping[str, Any]) -> Operation | None:
    """Return the first step that adds or opens a path the new manifest lacks, or deletes one the old one lacks."""
    brought = {*after, *all_ancestors(after), *OURS, GENERATIONS_PATH, MEMORY_PATH}
    emptied = all_ancestors(before)
    closed = {path.rpartition("/")[0] for path, entry in after.items() if entry["kind"] == "key"}

    def follows(step: Operation) -> bool:
        match step.verb:
            case "rename":
                return step.path in brought
            case "unlink":
                return step.path in before
            case "rmdir":
                return step.path in emptied
            case "chmod" if step.path in after:
                return bool(step.mode == after[step.path]["mode"])
            case "chmod":
                return step.mode == CLOSED or (step.mode == OPEN and step.path not in closed)

    return next((step for step in steps if not follows(step)), None)


_NEITHER = (
    "otherwise restore the out directory and the lock from one backup; without one, move the file and .pgtls/staging "
    "away, and keep them: they may hold the only copy of new keys"
)
_MODE_LOST = (
    "nothing was done: if you or a restore changed the mode of the key, and not git, give it 0400 again and run "
    "pgtls build: it completes the build"
)


def _forged(
    place: Opened, why: str, hint: str = f"nothing was done: find out who created the file; {_NEITHER}"
) -> Rejected:
    message = f"the record of an interrupted build does not count: {why}"
    return Rejected(Diagnostic("PGT538", message, hint=hint, file=_name(place)))


def _name(place: Opened) -> str:
    return os.path.join(place.out, RECORD_PATH)
