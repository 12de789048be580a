"""What a pattern of ``include`` matches, on the disk and elsewhere. The check for nothing to do uses it.

It therefore imports little.
"""

from __future__ import annotations

import os
import stat
from fnmatch import filter as matching

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing alone costs 2 ms
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Protocol

    class Tree(Protocol):
        """Directories that a pattern is matched with."""

        def listing(self, path: str) -> Mapping[str, bool]:
            """Return the names in a directory, each with whether ``**`` descends into it: not into a link."""

        def has(self, path: str) -> bool:
            """Return whether there is anything at a path, even a link that leads nowhere."""

        def is_directory(self, path: str) -> bool:
            """Return whether a path leads to a directory."""

        def leads_away(self, path: str) -> bool:
            """Return whether a path may lead to files that this tree does not have."""


MOST = 200_000
"""Paths that a part of a pattern may match: few repositories have as many, and links to directories multiply them."""


class TooManyError(OSError):
    """A pattern matches more than :data:`MOST` paths."""


class Machine:
    """The directories of the machine. Raise PermissionError for those that are closed: tables in them would be lost."""

    def listing(self, path: str) -> Mapping[str, bool]:
        """Return nothing if the directory is gone."""
        try:
            with os.scandir(path or ".") as entries:
                return {entry.name: _is_directory(entry) for entry in entries}
        except PermissionError:
            raise
        except OSError:
            return {}

    def has(self, path: str) -> bool:
        """Do not follow a link."""
        return _mode(path, follow=False) != 0

    def is_directory(self, path: str) -> bool:
        """Follow links."""
        return stat.S_ISDIR(_mode(path or ".", follow=True))

    def leads_away(self, path: str) -> bool:
        """Return whether a path is a link that leads nowhere: the files behind it are not there now."""
        return os.path.islink(path) and not os.path.exists(path)


def _mode(path: str, *, follow: bool) -> int:
    """Return the mode of what is at a path, 0 if there is nothing."""
    try:
        return os.stat(path, follow_symlinks=follow).st_mode
    except PermissionError:
        raise
    except OSError:
        return 0


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:  # a build must report that it cannot read this
        return False


_MACHINE = Machine()


def matches(directory: str, pattern: str, tree: Tree = _MACHINE) -> list[str]:
    """Return what :func:`glob.glob` matches, relative to ``directory``; but ``**`` follows no link.

    A link to the root of the machine would make it search everything. With a final ``/``, match directories only.
    If a part before the last matches what leads away, return this as well: its reading is then an error. Raise
    TooManyError, and PermissionError for a directory that cannot be searched.
    """
    found, away = {"/" if pattern.startswith("/") else "": None}, dict[str, None]()
    parts = _parts(pattern)
    for number, part in enumerate(parts, 1):
        away |= {name: None for name in found if tree.leads_away(os.path.join(directory, name))}
        inside = (name for name in found if name not in away)
        is_last = number == len(parts)
        found = _bounded(one for name in inside for one in _step(tree, directory, name, part, is_last=is_last))
    return [*found, *away]


def _bounded(names: Iterable[str]) -> dict[str, None]:
    found: dict[str, None] = {}
    for name in names:
        found[name] = None
        if len(found) > MOST:
            raise TooManyError
    return found


def normal(pattern: str) -> str:
    """Return a pattern without what changes nothing. Two patterns of one directory that are the same match the same."""
    return "/" * pattern.startswith("/") + "/".join(_parts(pattern))


def _parts(pattern: str) -> list[str]:
    """Split a pattern. Omit what changes nothing: a repeated ``**`` would take long."""
    parts: list[str] = []
    *above, last = pattern.lstrip("/").split("/")
    for part in above:
        if part not in ("", ".") and (part != "**" or parts[-1:] != ["**"]):
            parts.append(part)
    return parts if last == "**" and parts[-1:] == ["**"] else [*parts, last]


def _step(tree: Tree, directory: str, here: str, part: str, *, is_last: bool) -> Iterator[str]:
    """Match one part of a pattern with what is in ``here``."""
    where = os.path.join(directory, here)
    if part in ("", ".", ".."):
        if tree.is_directory(where):
            yield os.path.join(here, part)
    elif part == "**":
        yield from _below(tree, directory, here, files=is_last)
    elif is_wild(part):
        yield from (os.path.join(here, n) for n in matching(tree.listing(where), part) if n[0] != "." or part[0] == ".")
    elif not is_last or tree.has(os.path.join(where, part)):
        yield os.path.join(here, part)


def is_wild(part: str) -> bool:
    """Return whether a pattern or a part of one may match several names."""
    return not _WILD.isdisjoint(part)


_WILD = frozenset("*?[")


def _below(tree: Tree, directory: str, here: str, *, files: bool) -> Iterator[str]:
    """Return a directory and those below, or also the ``files`` in them; nothing that is hidden."""
    left = [here] if tree.is_directory(os.path.join(directory, here)) else []
    while left:
        here = left.pop()
        yield here
        for name, is_directory in tree.listing(os.path.join(directory, here)).items():
            if name[0] != ".":
                path = os.path.join(here, name)
                if is_directory:
                    left.append(path)
                elif files:
                    yield path
