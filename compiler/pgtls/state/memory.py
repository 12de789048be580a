"""The memory of a tree, as the last build on this machine left it: manifest, copy of the lock, generations.

A file with their digests, which the key of the tree closes, tells whether they are whole, and the manifest of the last
build from an earlier one, which that key closes, too. In a repository of encrypted keys, a pull replaces the manifest
and nothing else. There, a mark in the repository itself, which no checkout around can reach, tells a new clone from a
tree whose memory was taken.

Imports little: a build with nothing to do asks whether the manifest is that of the last build.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from hashlib import sha256

from pgtls.state import seal
from pgtls.state.git_index import IndexFault, repository_of
from pgtls.state.names import MANIFEST, MEMORY_PATH
from pgtls.state.reading import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_MARK = "pgtls-memory"


def content(key: bytes, manifest: str, remembered: Mapping[str, bytes]) -> bytes:
    """Return the file about the manifest of this SHA-256, and about other files by path."""
    digests = {MANIFEST: manifest, **{path: sha256(one).hexdigest() for path, one in remembered.items()}}
    return b"".join(seal.closed(key, [json.dumps(digests).encode() + b"\n"]))


def is_of_last_build(out: str, manifest: bytes) -> bool:
    """Return whether the last build into this out directory wrote this manifest, and no earlier one.

    Without memory, and with one of a version that named no manifest, any manifest of a build counts: that memory is
    missing is for :func:`altered` to say.
    """
    key = seal.of(out)
    if not seal.closes(key, manifest):
        return False
    try:
        named = (_digests(out, key) or {}).get(MANIFEST)
    except OSError:
        return True
    return named is None or named == sha256(manifest).hexdigest()


def altered(out: str) -> list[str]:
    """Return what this machine remembers beside the manifest, and is not as the last build left it.

    That is the file with the digests alone if it is not. Raise OSError for a file that cannot be read.
    """
    digests = _digests(out, seal.of(out))
    if digests is None:
        return [MEMORY_PATH]
    found = {path: _read(out, path) for path in digests if path != MANIFEST}
    return [path for path, one in found.items() if one is None or sha256(one).hexdigest() != digests[path]]


def _digests(out: str, key: bytes | None) -> Mapping[str, str] | None:
    """Return the SHA-256 of the files by path; None if no build into this out directory wrote them down."""
    about = _read(out, MEMORY_PATH) or b""
    digests: Mapping[str, str] | None = json.loads(seal.opened(about)) if seal.closes(key, about) else None
    return digests


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
        return read(os.path.join(out, path))
    except (FileNotFoundError, NotADirectoryError):
        return None
