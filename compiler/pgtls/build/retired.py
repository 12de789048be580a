"""CAs that left the spec: their certificates and keys are kept, out of the way (DESIGN 4.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.build import layout
from pgtls.build.model import File, Later

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.build.model import Tree
    from pgtls.build.observe import Existing
    from pgtls.fleet.model import Fleet


def retired(fleet: Fleet, existing: Existing) -> Tree:
    """Give the files of every CA that was built once and is no longer in the spec, where they will lie."""
    return dict(_files(fleet, existing))


def _files(fleet: Fleet, existing: Existing) -> Iterator[tuple[str, File]]:
    listed = existing.manifest.files if existing.manifest else {}
    for path, entry in listed.items():
        if path.startswith(layout.RETIRED):
            if existing.files.get(path) != "missing":
                yield path, File(Later.KEPT, entry.mode, entry.kind, entry.entity)
        elif path.startswith("ca/") and entry.entity.removeprefix("ca.") not in fleet.cas:
            content = existing.content(path)
            if content is not None:
                name = entry.entity.removeprefix("ca.")
                certificate = listed.get(layout.certificate_path(entry.entity), entry)
                # Two CAs may have had the same name, one after the other.
                moved = f"{layout.RETIRED}{name}-{certificate.sha256[:8]}/{path.rpartition('/')[2]}"
                yield moved, File(content, entry.mode, entry.kind, entry.entity)
