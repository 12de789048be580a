"""The key that authenticates commit records. The first build into a tree generates it, in the private directory.

A record decides what a build moves, deletes and opens, so it counts only if a build into the same tree wrote it. The
key has a mode that git cannot set: git writes 0644 or 0755 (less the umask). Git overwrites ignored files without
asking, so a commit could otherwise bring its own key.
"""

from __future__ import annotations

import hmac
import os
import stat
from contextlib import suppress
from secrets import token_bytes
from typing import TYPE_CHECKING

from pgtls.state import files
from pgtls.state.names import KEY

if TYPE_CHECKING:
    from pgtls.state.out_directory import Opened

_DRAFT = f"{KEY}.new"
_MODE = 0o400
_BYTES = 32


def draw(place: Opened) -> bytes:
    """Return the key of this tree; generate it if there is none that this tree's user wrote."""
    known = read(place)
    if known is not None:
        return known
    key = token_bytes(_BYTES)
    discard(place)
    files.create(_DRAFT, key, _MODE, place.private)
    files.sync_file(_DRAFT, place.private)
    os.rename(_DRAFT, KEY, src_dir_fd=place.private, dst_dir_fd=place.private)
    os.fsync(place.private)
    return key


def read(place: Opened) -> bytes | None:
    """Return the key of this tree; None if it is missing, or if another user or git wrote it."""
    try:
        found = os.stat(KEY, dir_fd=place.private, follow_symlinks=False)
        ours = found.st_uid == os.fstat(place.root).st_uid and stat.S_IMODE(found.st_mode) == _MODE
        return files.read(KEY, place.private) if ours and found.st_size == _BYTES else None
    except OSError:
        return None


def discard(place: Opened) -> None:
    """Delete the file of an interrupted key generation."""
    with suppress(FileNotFoundError):
        os.unlink(_DRAFT, dir_fd=place.private)


def sign(key: bytes, content: bytes) -> str:
    """Return the authentication code of a record."""
    return hmac.digest(key, content, "sha256").hex()


def fits(key: bytes | None, content: bytes, code: str) -> bool:
    """Return whether this key signed a record."""
    return key is not None and hmac.compare_digest(sign(key, content).encode(), code.encode(errors="replace"))
