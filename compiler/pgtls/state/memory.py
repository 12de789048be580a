"""The memory of a tree: the copy of the lock and the generations, as the last build on this machine left them.

A file with their digests tells whether they are whole, closed by the key of the tree. The manifest cannot: in a
repository of encrypted keys, a pull replaces it. There, a mark in the repository itself, which no checkout around can
reach, tells a new clone from a tree whose memory was taken.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING

from pgtls.state import files, seal
from pgtls.state.git_index import IndexFault, repository_of
from pgtls.state.names import MEMORY_PATH

if TYPE_CHECKING:
    from collections.abc import Mapping

_MARK = "pgtls-memory"


def content(key: bytes, remembered: Mapping[str, bytes]) -> bytes:
    """Return the file about others, which are given by path."""
    digests = {path: sha256(one).hexdigest() for path, one in remembered.items()}
    return b"".join(seal.closed(key, [json.dumps(digests).encode() + b"\n"]))


def altered(out: str) -> list[str]:
    """Return which files are not as the last build on this machine left them: the file about them alone if it is not.

    Raise OSError for one that cannot be read.
    """
    about = _read(out, MEMORY_PATH) or b""
    if not seal.closes(seal.of(out), about):
        return [MEMORY_PATH]
    digests: Mapping[str, str] = json.loads(seal.opened(about))
    found = {path: _read(out, path) for path in digests}
    return [path for path, one in found.items() if one is None or sha256(one).hexdigest() != digests[path]]


def mark(out: str) -> None:
    """Note in the repository of a tree that it has a memory."""
    with suppress(OSError, IndexFault):
        if directory := repository_of(out):
            os.close(os.open(os.path.join(directory, _MARK), os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o644))


def is_expected(out: str) -> bool:
    """Return whether a build on this machine has left a memory in a tree that is a repository of its own."""
    directory = repository_of(out)
    return directory is not None and os.path.lexists(os.path.join(directory, _MARK))


def _read(out: str, path: str) -> bytes | None:
    try:
        return files.read(os.path.join(out, path))
    except (FileNotFoundError, NotADirectoryError):
        return None
