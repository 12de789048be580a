"""The drawings of the pages are made from the text beside them, and so is what is committed."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from support.pgtls import ROOT
from support.servers import PACKAGES

if TYPE_CHECKING:
    from pathlib import Path

DRAWINGS = ROOT / "docs/drawings"


def test_what_is_committed_is_what_is_drawn(tmp_path: Path) -> None:
    if shutil.which("node") is None or not (PACKAGES / "@viz-js").exists():
        pytest.skip("Graphviz is not installed: `make servers` does it")
    words: list[str | Path] = ["node", DRAWINGS / "draw.mjs", PACKAGES.parent / "package.json", tmp_path]
    subprocess.run(words, check=True, capture_output=True)
    committed = {path.name: path.read_text() for path in DRAWINGS.glob("*.svg")}
    assert committed == {path.name: path.read_text() for path in tmp_path.glob("*.svg")}
    assert committed.keys() == {f"{path.stem}.svg" for path in DRAWINGS.glob("*.dot")}


def test_every_drawing_is_on_a_page() -> None:
    pages = "".join(page.read_text() for page in ROOT.glob("docs/**/*.md"))
    assert [path.name for path in DRAWINGS.glob("*.svg") if f"drawings/{path.name})" not in pages] == []
