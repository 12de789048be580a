"""By which ways a build may include other files than those that are here: patterns, links, other repositories.

A checkout may lack what a link or a submodule leads to, and a machine may have files that no commit has.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING

from pgtls.diagnostics.text import visible
from pgtls.language.files import Disk, goes_up, repositories
from pgtls.language.git import submodules
from pgtls.language.matching import Machine, is_wild, matches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgtls.language.source import Source


def is_open(source: Source, pattern: str) -> bool:
    """Return whether a pattern may match files that no commit has: several, or one outside of the repository."""
    return is_wild(pattern) or (isinstance(source.reader, Disk) and _is_outside(source, pattern))


def _is_outside(source: Source, pattern: str) -> bool:
    """Return whether a path leads out of the repository of the spec, or of its directory without one."""
    path = os.path.join(source.directory, pattern)
    around = repositories(os.fspath(source.files[0].path))
    return repositories(path).keys().isdisjoint(around) if around else goes_up(os.path.relpath(path, source.directory))


def astray(source: Source) -> dict[str, str]:
    """Return the links and the other repositories on the way of a pattern, each with what it is.

    Only the disk has such ways: in a revision, each is an error.
    """
    if not isinstance(source.reader, Disk):
        return {}
    tree = _Checkout(os.fspath(source.directory))
    found = {name for pattern in source.patterns for name in matches(tree.top, pattern, tree)}
    ways = {name: tree.way(os.path.join(tree.top, name)) for name in found}
    return {visible(os.path.normpath(name)): visible(ways[name]) for name in sorted(ways) if ways[name]}


class _Checkout(Machine):
    """The directories of the machine. Links and other repositories lead away."""

    def __init__(self, top: str) -> None:
        self.top = top

    def leads_away(self, path: str) -> bool:
        """Return whether a path leads to what may differ although its commit is the same."""
        return bool(self.way(path))

    def way(self, path: str) -> str:
        """Return what leads away at a path, or ""."""
        path = path.rstrip(os.sep) or path
        if os.path.islink(path):
            return f"a link to {os.readlink(path)}"
        real = os.path.realpath(path)
        if not os.path.isdir(real) or os.path.commonpath((self._real, real)) == real:
            return ""
        if os.path.lexists(os.path.join(real, ".git")):
            return "another repository"
        if self._submodules is None:
            return "" if os.listdir(real) else "an empty directory, perhaps a submodule: git cannot tell"
        commit = self._submodules.get(real)
        return f"a submodule that is not checked out (commit {commit})" if commit else ""

    @cached_property
    def _real(self) -> str:
        return os.path.realpath(self.top)

    @cached_property
    def _submodules(self) -> Mapping[str, str] | None:
        """The commits of the submodules of the repositories around, by path; None if git cannot tell."""
        found: dict[str, str] = {}
        for root in repositories(os.path.join(self.top, "")):
            if (listed := submodules(root)) is None:
                return None
            found |= {os.path.join(root, path): commit for path, commit in listed.items()}
        return found
