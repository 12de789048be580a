"""By which ways a build may include other files than those that are here: patterns, links, other repositories.

A checkout may lack what a link or a submodule leads to, and a machine may have files that no commit has.
"""

from __future__ import annotations

import os
from functools import cache, cached_property
from typing import TYPE_CHECKING

from pgtls.diagnostics.text import visible
from pgtls.language.files import Disk, goes_up, repositories
from pgtls.language.git import Revision, submodules
from pgtls.language.matching import Machine, is_wild, matches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pgtls.language.source import Source


def is_open(source: Source, pattern: str) -> bool:
    """Return whether a pattern may match files that no commit has: several, or one outside of the repository.

    An absolute one leads there, wherever the repository is here, and so do more ``..`` than there are directories.
    """
    return is_wild(pattern) or os.path.isabs(pattern) or _is_outside(source, pattern)


def _is_outside(source: Source, pattern: str) -> bool:
    """Return whether a relative path leads out of the repository of the spec, or of its directory without one."""
    if not isinstance(source.reader, Disk):
        return goes_up(os.path.join(source.directory, pattern))
    depths = [os.path.dirname(inside) for inside in repositories(os.fspath(source.files[0].path)).values()] or [""]
    return all(goes_up(os.path.join(depth, pattern)) for depth in depths)


def leads_back(source: Source, directory: str, path: str) -> bool:
    """Return whether a path leads out of the repository of the spec, and here into it again.

    In another checkout it leads elsewhere: no comparison of revisions reads the file. ``directory`` is that of the file
    which says the path, relative to the directory of the spec.
    """
    if not isinstance(source.reader, Disk):
        return False
    path = os.path.join(directory, path)
    if not (os.path.isabs(path) or _is_outside(source, path)):
        return False
    real = os.path.realpath(os.path.join(source.directory, path))
    roots = repositories(os.fspath(source.files[0].path))
    return any(real.startswith(os.path.join(root, "")) for root in roots)


def astray(source: Source, named: Iterable[str] = ()) -> dict[str, str]:
    """Return the links and the other repositories by which a spec reads its files, each with what it is.

    These are the files of the spec, what its patterns look through, and the ``named`` paths. Of a link to a link, each
    counts. Only what lies in the repository of the spec (without one, in its directory) comes with a commit. In a
    revision, only the named paths have such ways: for the others, each is an error.
    """
    if isinstance(source.reader, Revision):
        return _told(_of_revision(source.reader), named, os.path.join(source.reader.root, source.directory))
    if not isinstance(source.reader, Disk):
        return {}
    top = os.fspath(source.directory)
    machine, checkout = _Machine(), _Checkout(top)
    found = {name for pattern in source.patterns for name in matches(top, pattern, machine)}
    files = [os.path.join(top, name) for name in found] + [os.fspath(one.path) for one in source.files]
    ways = _Ways(os.getcwd(), checkout.roots, _target, checkout.repository)
    return _told(ways, (*machine.passed, *files, *named), checkout.real)


def _told(ways: _Ways, paths: Iterable[str], top: str) -> dict[str, str]:
    """Describe the ways of all paths, each by its path from the directory of the spec."""
    found = {way: what for path in paths for way, what in ways.of(path).items()}
    return {visible(os.path.relpath(way, top)): visible(what) for way, what in sorted(found.items())}


class _Ways:
    """The links and the other repositories on the way of paths, below the ``roots`` that commits belong to.

    ``target`` returns where a link leads, and ``repository`` what another repository is, each "" if it is none.
    """

    def __init__(
        self, here: str, roots: Sequence[str], target: Callable[[str], str], repository: Callable[[str], str]
    ) -> None:
        self._here, self._roots = here, roots
        self._target, self._repository, self._resolved = cache(target), cache(repository), cache(self._resolve)

    def of(self, path: str) -> dict[str, str]:
        """Return those of one path."""
        real, links = self._resolved(os.path.join(self._here, path))
        found = {link: f"a link to {self._target(link)}" for link in links}
        while self._is_inside(real):
            if what := self._repository(real):
                found[real] = what
            real = os.path.dirname(real)
        return found

    def _resolve(self, path: str) -> tuple[str, frozenset[str]]:
        """Return the real path, and each link that was followed and that a commit can hold."""
        real, links, left = "/", set[str](), _MOST_LINKS
        names = path.split("/")[::-1]  # a loop: a link may have thousands of parts
        while names:
            name = names.pop()
            here = os.path.join(real, name)
            if name in ("", os.curdir):
                continue
            if name == os.pardir:
                real = os.path.dirname(real)
            elif left and (target := self._target(here)):
                left -= 1
                links |= {here} if self._is_inside(here) else set()
                real = "/" if target.startswith("/") else real
                names += target.split("/")[::-1] if len(target) < _LONGEST else []
            else:
                real = here
            if len(real) > _LONGEST:
                break
        return real, frozenset(links)

    def _is_inside(self, path: str) -> bool:
        return any(path == root or path.startswith(os.path.join(root, "")) for root in self._roots)


_MOST_LINKS, _LONGEST = 40, 4096
"""Links that one path may follow, and the bytes of a path and of a link's target, as on Linux (``PATH_MAX``)."""


def _of_revision(revision: Revision) -> _Ways:
    def target(path: str) -> str:
        return revision.link(path.removeprefix(above))

    def repository(path: str) -> str:
        commit = revision.submodule(path.removeprefix(above))
        return commit and f"a submodule (commit {commit})"

    above = os.path.join(revision.root, "")

    return _Ways(revision.root, [revision.root], target, repository)


class _Machine(Machine):
    """The directories of the machine, and what patterns have passed in them."""

    def __init__(self) -> None:
        self.passed: list[str] = []

    def leads_away(self, path: str) -> bool:
        """Return whether a path is a link that leads nowhere. Remember it: a pattern passes it."""
        self.passed.append(path)
        return super().leads_away(path)


class _Checkout:
    """The repositories around a spec and below them. ``top``: the directory of the spec."""

    def __init__(self, top: str) -> None:
        self.top, self.real = top, os.path.realpath(top)
        self.roots = list(repositories(os.path.join(top, ""))) or [self.real]

    def repository(self, real: str) -> str:
        """Return what another repository is, of which a checkout may have another commit, or nothing."""
        if not os.path.isdir(real) or os.path.commonpath((self.real, real)) == real:
            return ""
        if os.path.lexists(os.path.join(real, ".git")):
            return "another repository"
        if self._submodules is None:
            return "" if _has_content(real) else "an empty directory, perhaps a submodule: git cannot tell"
        commit = self._submodules.get(real)
        return f"a submodule that is not checked out (commit {commit})" if commit else ""

    @cached_property
    def _submodules(self) -> Mapping[str, str] | None:
        """The commits of the submodules of the repositories around, by path; None if git cannot tell."""
        found: dict[str, str] = {}
        for root in repositories(os.path.join(self.top, "")):
            if (listed := submodules(root)) is None:
                return None
            found |= {os.path.join(root, path): commit for path, commit in listed.items()}
        return found


def _target(path: str) -> str:
    """Return where a link leads, or nothing."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _has_content(directory: str) -> bool:
    try:
        return bool(os.listdir(directory))
    except OSError:
        return True
