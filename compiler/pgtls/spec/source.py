"""A loaded spec together with the texts that it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pgtls.spec.models import Spec


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the spec. ``name`` is what messages call it: as the user named it, includes relative to the top file."""

    path: Path
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Source:
    """The texts of a spec: the top file first, then its includes in the order of their names."""

    files: tuple[SourceFile, ...]
    owner: Mapping[tuple[str, str], SourceFile] = field(default_factory=dict)
    """Which file defines a table: ``("server", "primary")``. What is not here stands in the top file."""
    patterns: tuple[str, ...] = ()
    """The ``include`` patterns, as written."""

    @property
    def directory(self) -> Path:
        """Where the top file lies."""
        return self.files[0].path.parent


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid spec, its texts, and which fields each table says itself rather than through ``[defaults]``."""

    spec: Spec
    source: Source
    own: Mapping[tuple[str, str], frozenset[str]]
    """The keys that stand in the table itself, by ``("server", "primary")``."""
