"""Write a bundle as one file: the archive that ``bundle = "zip"`` adds.

Equal files make equal archives: every entry has the same time and is stored without compression, because versions of
zlib compress differently.
"""

from __future__ import annotations

import zipfile
from hashlib import sha256
from io import BytesIO
from typing import TYPE_CHECKING

from pgtls.state import layout
from pgtls.state.tree import File, Later

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from pgtls.certificates.model import Existing
    from pgtls.fleet.model import Fleet
    from pgtls.pki.model import Entity
    from pgtls.state.tree import Tree

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time of the format."""


def planned(fleet: Fleet, tree: Tree, existing: Existing) -> Tree:
    """Return the archives of a tree: those that stay, and those that a build makes."""
    bundles = dict(_bundles(fleet, tree))
    before: dict[Entity, set[str]] = {entity: set() for entity in bundles}
    for path, entry in existing.listed.items() if bundles else ():
        if entry.entity in before:
            before[entry.entity].add(path)
    return {
        layout.archive_path(one): _file(
            one, files, Later.KEPT if _stays(one, files, before[one], existing) else Later.PENDING
        )
        for one, files in bundles.items()
    }


def packed(fleet: Fleet, tree: Tree, plan: Tree, read: Callable[[str], bytes | None]) -> Tree:
    """Return the archives of a tree whose other files are known. ``read`` returns the files that stay."""
    return {
        layout.archive_path(entity): plan[layout.archive_path(entity)]
        if plan[layout.archive_path(entity)].content is Later.KEPT
        else _file(entity, files, _packed(entity, files, read))
        for entity, files in _bundles(fleet, tree)
    }


def _bundles(fleet: Fleet, tree: Tree) -> Iterator[tuple[Entity, Mapping[str, File]]]:
    """Yield the files by user, for users with an archive."""
    found: dict[Entity, dict[str, File]] = {
        user.entity: {} for user in fleet.users.values() if user.table.bundle == "zip"
    }
    if not found:
        return
    for path, file in tree.items():
        if file.entity in found and path != layout.archive_path(file.entity):
            found[file.entity][path] = file
    yield from ((entity, files) for entity, files in found.items() if files)


def _file(entity: Entity, files: Mapping[str, File], content: bytes | Later) -> File:
    """Return the archive as a file of the tree. It is always secret."""
    secret = any(file.kind == "key" for file in files.values())
    return File(content, layout.SECRET, "key" if secret else "archive", entity)


def _stays(entity: Entity, files: Mapping[str, File], before: Collection[str], existing: Existing) -> bool:
    """Return whether the archive contains these files: one transaction wrote all of them, and the files ``before``."""
    return existing.keeps(layout.archive_path(entity)) and before == {*files, layout.archive_path(entity)} and all(
        existing.keeps(path)
        if file.content is Later.KEPT
        else (content := file.read()) is not None and sha256(content).hexdigest() == existing.listed[path].sha256
        for path, file in files.items()
    )  # fmt: skip


def _packed(entity: Entity, files: Mapping[str, File], read: Callable[[str], bytes | None]) -> bytes:
    whole = BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for path in sorted(files):
            content = files[path].read()
            info = zipfile.ZipInfo(f"{entity.name}/{path.rpartition('/')[2]}", _EPOCH)
            info.create_system, info.external_attr = 3, (0o100000 | files[path].mode) << 16  # Unix, with the file mode
            archive.writestr(info, read(path) or b"" if content is None else content)
    return whole.getvalue()
