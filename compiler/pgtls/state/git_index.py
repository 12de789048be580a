"""The files of a directory that git tracks, read from the index itself (gitformat-index(5)) without running git."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from pgtls.state import files

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER = 12
_STAT = 40
_EXTENDED = 0x4000


def tracked(directory: str, *, own: bool = False) -> list[str]:
    """Return the paths at or below a directory that the index of its repository lists, relative to it ("" is itself).

    Look at every repository around it, or, with ``own``, only at one whose work tree it is. Return an empty list
    without a repository or a readable index.
    """
    directory = os.path.realpath(directory)
    found: list[str] = []
    top = directory
    while True:
        if index := _index(top):
            below = os.path.relpath(directory, top)
            found += (path for name in index if (path := _below(name, below)) is not None)
        if own or top == (top := os.path.dirname(top)):
            return sorted(found)


def _below(name: str, directory: str) -> str | None:
    if directory == ".":
        return name
    return name[len(directory) + 1 :] if name == directory or name.startswith(f"{directory}/") else None


def _index(top: str) -> list[str]:
    """Read the index of the repository whose work tree starts here."""
    try:
        git = os.path.join(top, ".git")
        if not os.path.isdir(git):
            git = os.path.join(top, os.fsdecode(files.read(git)).removeprefix("gitdir:").strip())
        return list(_names(files.read(os.path.join(git, "index"), follow=True), 32 if _sha256(git) else 20))
    except (OSError, ValueError, IndexError):
        return []


def _sha256(git: str) -> bool:
    """Return whether a repository names objects by SHA-256, by the configuration in its common directory."""
    try:
        common = os.path.join(git, os.fsdecode(files.read(os.path.join(git, "commondir"))).strip())
    except OSError:
        common = git
    config = files.read(os.path.join(common, "config"), follow=True)
    return re.search(rb"^\s*objectformat\s*=\s*sha256\s*$", config, re.IGNORECASE | re.MULTILINE) is not None


def _names(index: bytes, digest: int) -> Iterator[str]:
    """Yield the names of an index of version 2, 3 or 4."""
    version, count = int.from_bytes(index[4:8], "big"), int.from_bytes(index[8:12], "big")
    if index[:4] != b"DIRC" or version not in (2, 3, 4):
        raise ValueError(version)
    position, name = _HEADER, b""
    for _ in range(count):
        start, position = position, position + _STAT + digest + 2
        flags = int.from_bytes(index[position - 2 : position], "big")
        position += 2 if flags & _EXTENDED else 0
        kept = 0
        if version == 4:
            stripped, position = _varint(index, position)
            kept = len(name) - stripped
        end = index.index(b"\0", position)
        name = name[:kept] + index[position:end]
        position = end + 1 if version == 4 else start + (end - start + 8) // 8 * 8
        yield os.fsdecode(name)


def _varint(index: bytes, position: int) -> tuple[int, int]:
    """Read a number of variable width, as pack files have them for offsets; return it and the position after it."""
    byte = index[position]
    value = byte & 0x7F
    while byte & 0x80:
        position += 1
        byte = index[position]
        value = ((value + 1) << 7) | (byte & 0x7F)
    return value, position + 1
