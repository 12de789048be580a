"""Blobs: several files as one tar archive, the same bytes for the same files, which ``tar`` can also unpack."""

from __future__ import annotations

import tarfile
from hashlib import sha256
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

from pgtls.store.documents import damaged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgtls.store.objects import Objects


class Member(NamedTuple):
    """One file of an archive."""

    content: bytes
    mode: int
    seconds: int
    """Its modification time."""


def pack(members: Mapping[str, Member]) -> bytes:
    """Return the archive of files by their path in the tree."""
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(members):
            member = members[path]
            head = tarfile.TarInfo(path)
            head.size, head.mode, head.mtime = len(member.content), member.mode, member.seconds
            archive.addfile(head, BytesIO(member.content))
    return file.getvalue()


def unpack(content: bytes, name: str) -> dict[str, bytes]:
    """Return the files of an archive by path. Raise :class:`Rejected` with PGT515 for anything but files."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=BytesIO(content), mode="r:") as archive:
            for head in archive:
                plain = head.isreg() and not head.issparse()  # holes would take more memory than the archive
                file = archive.extractfile(head) if plain else None
                if file is None or head.name in found:
                    raise damaged(name, "it holds something other than files")
                found[head.name] = file.read()
    except tarfile.TarError:
        raise damaged(name, "it is no archive") from None
    return found


def read_blob(objects: Objects, path: str) -> bytes:
    """Read a blob. Raise :class:`Rejected` with PGT515 if it is missing, or not what its name says."""
    found = objects.read(path)
    if found is None:
        raise damaged(f"{objects.url}/{path}", "it is missing")
    digest = path.rpartition("-")[2].partition(".")[0]
    if sha256(found.content).hexdigest() != digest:
        raise damaged(f"{objects.url}/{path}", "its content does not have the digest in its name")
    return found.content
