"""Read the files of a spec: from the disk, or from a mapping in memory.

The objects of a git revision are in :mod:`pgtls.language.git`. One :class:`Files` serves one command. It reads each
file once, so that every stage sees the same bytes, and remembers their digest.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from contextlib import suppress
from difflib import get_close_matches
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING

from pgtls.language import regular
from pgtls.language.matching import matches

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

LONGEST = 16 * 1024 * 1024
"""Bytes of a file that a spec names: a CRL of a large CA is the longest that makes sense."""


class OutsideError(OSError):
    """A path leads out of the repository, so that no revision has the file."""


OUTSIDE = OutsideError.__name__
"""What :meth:`Files.digest` returns for such a file: a comparison of revisions knows nothing about its content."""


def is_digest(found: str) -> bool:
    """Return whether :meth:`Files.digest` returned a digest, and not the name of an error."""
    return not found.endswith("Error")


class Files(ABC):
    """The files of a spec. ``label`` precedes every path in messages."""

    label = ""

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}

    def read(self, path: str, longest: int = LONGEST, *, pipes: bool = False) -> bytes:
        """Read a file, once. Raise OSError for a missing, irregular (unless ``pipes``) or longer one."""
        key = os.path.normpath(path)
        if key not in self._contents:
            self._contents[key] = self._read(path, longest, pipes=pipes)
        content = self._contents[key]
        if len(content) > longest:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
        return content

    def digest(self, path: str) -> str:
        """Return the SHA-256 of a file as it was read, or the name of the error that prevents it."""
        try:
            return sha256(self.read(path)).hexdigest()
        except (OSError, ValueError) as error:
            return type(error).__name__

    @abstractmethod
    def _read(self, path: str, longest: int, *, pipes: bool) -> bytes:
        """Read a file. Of one that is longer than ``longest``, return one byte more, or raise OSError."""

    @abstractmethod
    def glob(self, directory: str, pattern: str) -> Iterable[str]:
        """Return what a pattern matches, relative to ``directory``, with ``**`` for any number of directories."""

    @abstractmethod
    def identity(self, path: str) -> str:
        """Return one name for all paths that lead to the same file."""

    @abstractmethod
    def is_directory(self, path: str) -> bool:
        """Return whether a path is a directory."""

    def near(self, path: str) -> str | None:
        """Return the path of a file that a missing one was probably meant to be."""
        return None

    def beside(self, directory: str, path: str) -> Collection[str]:
        """Return the names next to a file below ``directory``. No link is followed, and no file is opened."""
        return ()

    def shows(self, path: str, top: str) -> bool:
        """Return whether messages may show the content of a file that the spec ``top`` includes, or is."""
        return True


class Disk(Files):
    """The files of the machine."""

    def __init__(self) -> None:
        super().__init__()
        self._roots: dict[str, tuple[str, ...]] = {}

    def _read(self, path: str, longest: int, *, pipes: bool) -> bytes:
        if not pipes:
            return regular.read(path, os.O_RDONLY | os.O_CLOEXEC, longest=longest)
        with open(path, "rb") as file:
            return file.read(longest + 1)

    def glob(self, directory: str, pattern: str) -> Iterable[str]:
        """Return what a pattern matches now."""
        return matches(directory, pattern)

    def identity(self, path: str) -> str:
        """Follow symbolic links."""
        return os.path.realpath(path)

    def is_directory(self, path: str) -> bool:
        """Return whether a path leads to a directory."""
        return os.path.isdir(path)

    def beside(self, directory: str, path: str) -> Collection[str]:
        """List the directory."""
        for part in path.split(os.sep)[:-1]:
            directory = os.path.join(directory, part)
            if os.path.islink(directory):
                return ()
        with suppress(OSError):
            return os.listdir(directory or ".")
        return ()

    def near(self, path: str) -> str | None:
        """Look for a spec in a directory, for the same name in the directories above, and for a similar name."""
        directory, name = (path, "pgtls.toml") if os.path.isdir(path) else os.path.split(path)
        here = directory
        with suppress(OSError):
            while not os.path.isfile(os.path.join(here, name)):
                if os.path.samefile(here or ".", os.path.join(here, os.pardir)):
                    beside = [found for found in os.listdir(directory or ".") if found.endswith(".toml")]
                    close = get_close_matches(name, beside, 1)
                    return os.path.join(directory, close[0]) if close else None
                here = os.path.join(here, os.pardir)
            return os.path.normpath(os.path.join(here, name))
        return None

    def shows(self, path: str, top: str) -> bool:
        """Return whether a file is a part of the repository of the spec (or of its directory, without one).

        A log must not show the lines of a file elsewhere, to which an include or a link leads, nor those of a key or a
        passphrase that lies in the repository: links are followed, and the file is called ``*.toml``. Any file can be
        given as a spec: one with another name must be inside the repository of the working directory. A pipe is no
        file.
        """
        if not os.path.isfile(path):
            return True
        real = os.path.realpath(path)
        if not real.endswith(".toml") and (path != top or path.endswith(".toml")):
            return False
        near = top if path.endswith(".toml") else "./"
        if near not in self._roots:
            self._roots[near] = tuple(repositories(near)) or (os.path.realpath(os.path.dirname(near)),)
        return all(_is_part(real, root) for root in self._roots[near])


def _is_part(path: str, root: str) -> bool:
    below = os.path.relpath(path, root)
    return not goes_up(below) and ".git" not in below.split(os.sep)


def goes_up(path: str) -> bool:
    """Return whether a relative path leads out of the directory that it starts in."""
    return os.path.normpath(path).split(os.sep)[0] == os.pardir


def repositories(path: str) -> dict[str, str]:
    """Return the roots of the repositories around a file, the outermost first, each with the path of the file from it.

    Links on the way to a repository are followed, and those inside of it are not: a commit can add them.
    """
    found: dict[str, str] = {}
    parts = os.path.join(os.getcwd(), path).split(os.sep)
    for depth in range(1, len(parts)):
        folder = os.path.realpath(os.sep.join(parts[:depth]) or os.sep)
        root = repository(folder)
        if root is not None:
            inside = os.path.join(os.path.relpath(folder, root), *parts[depth:])
            if not goes_up(inside):
                found.setdefault(root, inside)
    return found


def repository(directory: str) -> str | None:
    """Return the root of the innermost repository around a directory."""
    while not os.path.lexists(os.path.join(directory, ".git")):
        if directory == (directory := os.path.dirname(directory)):
            return None
    return directory


class Mapped(Files):
    """Files in memory, by relative path with ``/``. Nothing of the machine is read."""

    def __init__(self, contents: Mapping[str, str | bytes]) -> None:
        super().__init__()
        self._files = {os.path.normpath(path): content for path, content in contents.items()}

    def names(self) -> Iterable[str]:
        """List the paths of all files."""
        return self._files

    def _read(self, path: str, longest: int, *, pipes: bool) -> bytes:
        found = self._files.get(os.path.normpath(path))
        if found is None:
            code = errno.EISDIR if self.is_directory(path) else errno.ENOENT
            raise OSError(code, os.strerror(code), path)
        return found.encode() if isinstance(found, str) else found

    def identity(self, path: str) -> str:
        """Return the path without detours."""
        return os.path.normpath(path)

    def is_directory(self, path: str) -> bool:
        """Return whether there are files below a path."""
        return os.path.normpath(path) in self._tree

    def has(self, path: str) -> bool:
        """Return whether there is a file or a directory at a path."""
        directory, name = os.path.split(os.path.normpath(path))
        return name in self._tree.get(directory or ".", ()) or self.is_directory(path)

    def listing(self, path: str) -> Mapping[str, bool]:
        """Return the names in a directory, each with whether it is a directory."""
        directory = os.path.normpath(path)
        return {name: self.is_directory(os.path.join(directory, name)) for name in self._tree.get(directory, ())}

    def leads_away(self, path: str) -> bool:
        """Return False: no path leads to other files than those in memory."""
        del path
        return False

    def glob(self, directory: str, pattern: str) -> Iterable[str]:
        """Match as on the disk. There is nothing at an absolute path."""
        return () if pattern.startswith("/") else matches(directory, pattern, self)

    @cached_property
    def _tree(self) -> Mapping[str, frozenset[str]]:
        """The names in each directory."""
        tree: dict[str, set[str]] = {".": set()}
        for path in self.names():
            while path not in (".", ""):
                directory, _, name = path.rpartition("/")
                tree.setdefault(directory or ".", set()).add(name)
                path = directory
        return {directory: frozenset(names) for directory, names in tree.items()}
