"""Fields of the language that are not implemented yet. A spec with one is an error, so that none is silently ignored.

Delete the line of a field when it is implemented. When the table is empty, delete this module and code PGT090.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgtls.diagnostics import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pgtls.diagnostics import Path


@dataclass(frozen=True, slots=True)
class Upcoming:
    """The effect of a field, and a test for values that need it. Default: all values that are not empty or false."""

    effect: str
    asked_for: Callable[[Any], object] = bool


_STANDBY = Upcoming("files for a standby")

UPCOMING: Mapping[tuple[str, str], Upcoming] = {
    ("server", "standby_of"): _STANDBY,
    ("server", "replication_user"): _STANDBY,
}
"""Those fields, by kind of table and key."""


def not_built_yet(kind: str, table: Mapping[str, Any], path: Path) -> Iterator[Diagnostic]:
    """Report the fields of a raw table at ``path`` that are not implemented yet."""
    for key in table.keys() & _KEYS.get(kind, frozenset()):
        entry = UPCOMING[kind, key]
        if entry.asked_for(table[key]):
            yield Diagnostic("PGT090", f"not built yet: {entry.effect} ({key})", (*path, key), "delete it for now")


_KEYS = {kind: frozenset(key for of, key in UPCOMING if of == kind) for kind, _ in UPCOMING}
