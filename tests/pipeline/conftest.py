"""A place to build in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.building import Place

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty directory for a spec, its lock and what is built."""
    return Place(tmp_path)
