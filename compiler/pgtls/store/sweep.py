"""Delete the blobs that no recent tree names: those of replaced certificates, and of builders that were killed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pgtls.store.documents import StoredTree, tree_path
from pgtls.store.packs import read_blob

if TYPE_CHECKING:
    from pgtls.store.documents import Pointer
    from pgtls.store.objects import Objects

KEPT = timedelta(days=7)
"""How old a blob is at least when it goes. No build takes that long between its first write and its pointer."""


def sweep(objects: Objects, pointer: Pointer, tree: StoredTree, own: str) -> None:
    """Delete old blobs that neither this tree nor a recent one names. ``own`` is the path of this tree.

    The caller has just swapped the pointer: each later tree consists of blobs of this one and of new ones. Ages are by
    the clock of the store, which has just written ``own``.
    """
    found = {path: at for prefix in ("entities", "state", "trees") for path, at in objects.list(prefix)}
    oldest = found[own] - KEPT if own in found else None
    old = {path for path, at in found.items() if path.endswith((".tar", ".json")) and oldest and at < oldest}
    old = {path for path in old if not path.endswith("/entity.json")}
    if not old:
        return
    kept = {own, *tree.paths()}
    for name in pointer.recent[1:]:
        path = tree_path(name)
        if path in found:
            kept |= {path, *StoredTree.parse(read_blob(objects, path), path).paths()}
    objects.delete(sorted(old - kept))
