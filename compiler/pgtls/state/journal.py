"""The commit record: what a build has decided, from the moment that it is sure until it is done."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, get_args

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.state import files
from pgtls.state.names import RECORD, RECORD_PATH
from pgtls.state.operations import Operation, Verb

if TYPE_CHECKING:
    from pgtls.state.out_directory import Opened

VERSION = 1


@dataclass(frozen=True, slots=True)
class LockStep:
    """``staged`` becomes ``path``; both absolute. The digests are of the lock before and after."""

    path: str
    staged: str
    before: str | None
    after: str


@dataclass(frozen=True, slots=True)
class Record:
    """What was decided. ``lock`` is None where the lock stays as it is."""

    steps: tuple[Operation, ...]
    lock: LockStep | None

    def render(self) -> bytes:
        """Give the file."""
        lock = self.lock and asdict(self.lock)
        return json.dumps({"pgtls_commit": VERSION, "lock": lock, "steps": self.steps}).encode()


def read(place: Opened) -> Record | None:
    """Read the record; None if there is none. :class:`Rejected` with PGT532 if it is damaged."""
    try:
        document = json.loads(files.read(RECORD, place.private))
        if document["pgtls_commit"] != VERSION:
            raise ValueError(document["pgtls_commit"])
        steps = tuple(_operation(*step) for step in document["steps"])
        return Record(steps, None if document["lock"] is None else LockStep(**document["lock"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        hint = "restore the out directory and the lock from one backup, or use the version of pgtls that wrote it"
        message = "the record of an interrupted build is damaged, or of another version"
        file = os.path.join(place.out, RECORD_PATH)
        raise Rejected(Diagnostic("PGT532", message, hint=hint, file=file)) from None


def _operation(verb: Any, path: Any, mode: Any) -> Operation:
    """Check one step: whatever it says, it stays inside the tree."""
    whole = isinstance(path, str) and type(mode) is int and verb in get_args(Verb)
    if not whole or not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise ValueError(path)
    return Operation(verb, path, mode)
