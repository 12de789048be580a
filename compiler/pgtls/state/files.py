"""Operations on files and directories that follow no symbolic link, for :mod:`pgtls.state.transaction`."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple, Self

from pgtls.state.reading import FILE, open_directory, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = [
    "Directories",
    "Stat",
    "all_ancestors",
    "ancestors",
    "append",
    "change_mode",
    "create",
    "create_in_parts",
    "exists",
    "make_directories",
    "make_directory",
    "open_directory",
    "public",
    "read",
    "remove",
    "sync",
    "sync_file",
]

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Directories:
    """The directories below a root, opened one component at a time.

    It keeps the directories above the last one open, so that a walk in path order opens each directory about once.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._names: list[str] = []
        self._descriptors: list[int] = []

    def open(self, path: str) -> int:
        """Open ``path`` ("" is the root). The descriptor is valid until the next call."""
        names = path.split("/") if path else []
        common = 0
        while common < min(len(names), len(self._names)) and names[common] == self._names[common]:
            common += 1
        self._close(common)
        for name in names[common:]:
            self._descriptors.append(open_directory(name, self._descriptors[-1] if self._descriptors else self._root))
            self._names.append(name)
        return self._descriptors[-1] if self._descriptors else self._root

    def place(self, path: str) -> tuple[str, int]:
        """Split a path into its last name and the opened directory that holds it."""
        directory, _, name = path.rpartition("/")
        return name, self.open(directory)

    def close(self) -> None:
        """Close all of them."""
        self._close(0)

    def _close(self, depth: int) -> None:
        while len(self._descriptors) > depth:
            self._names.pop()
            os.close(self._descriptors.pop())


def ancestors(path: str) -> Iterator[str]:
    """Return the directories above a path, from the top: ``a``, ``a/b`` for ``a/b/c``."""
    position = path.find("/")
    while position >= 0:
        yield path[:position]
        position = path.find("/", position + 1)


def all_ancestors(paths: Iterable[str]) -> set[str]:
    """Return every directory above one of the paths."""
    parents = {path.rpartition("/")[0] for path in paths} - {""}
    return {directory for parent in parents for directory in ancestors(f"{parent}/")}


class Stat(NamedTuple):
    """The part of a file's stat that the manifest records: a build of a big tree keeps one of each file."""

    size: int
    mtime_ns: int
    mode: int
    """The permission bits."""

    @classmethod
    def of(cls, found: os.stat_result) -> Self:
        """Take it from the whole."""
        return cls(found.st_size, found.st_mtime_ns, stat.S_IMODE(found.st_mode))


def create(path: str, content: bytes, mode: int, dir_fd: int | None = None, mtime_ns: int | None = None) -> Stat:
    """Write a new file with exactly this mode from its first byte, and return its stat.

    ``mtime_ns`` is its modification time. The kernel's clock advances in steps of milliseconds: by it, many files of
    one build would have the same time, and two of the same size could be swapped unnoticed.
    """
    descriptor = os.open(path, _CREATE, mode, dir_fd=dir_fd)
    try:
        _write(descriptor, content)
        if mtime_ns is not None:
            os.utime(descriptor, ns=(mtime_ns, mtime_ns))
        found = os.fstat(descriptor)
        if stat.S_IMODE(found.st_mode) != mode:  # the umask took some
            os.fchmod(descriptor, mode)
        return Stat(found.st_size, found.st_mtime_ns, mode)
    finally:
        os.close(descriptor)


def append(path: str, lines: bytes, first: bytes = b"", then: Callable[[], None] = lambda: None) -> None:
    """Add lines to a file, through no link, and make them durable: all of them, or OSError and none.

    Create a missing file, with ``first`` before the lines. One write adds everything unless the disk is full: what
    others add meanwhile stays. If ``then`` fails, which is called afterwards, take the lines back.
    """
    descriptor = public(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    try:
        before = os.fstat(descriptor).st_size
        ends = not before or os.pread(descriptor, 1, before - 1) == b"\n"
        added = (b"" if before else first) + (b"" if ends else b"\n") + lines
        try:
            _write(descriptor, added)
            os.fsync(descriptor)
            then()
        except BaseException:
            if os.fstat(descriptor).st_size <= before + len(added):  # otherwise, others have added lines after these
                os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)


def _write(descriptor: int, content: bytes) -> None:
    """Write everything: a call may write a part, such as on a full disk."""
    written = os.write(descriptor, content)
    while written < len(content):
        written += os.write(descriptor, content[written:])


def create_in_parts(path: str, parts: Iterable[bytes], mode: int, dir_fd: int | None = None) -> str:
    """Write a new file with exactly this mode, one part after the other, and return its SHA-256."""
    digest = sha256()
    with open(os.open(path, _CREATE, mode, dir_fd=dir_fd), "wb") as file:
        for part in parts:
            digest.update(part)
            file.write(part)
        os.fchmod(file.fileno(), mode)  # the umask took some
    return digest.hexdigest()


def make_directory(path: str, mode: int, dir_fd: int | None = None) -> None:
    """Make a directory with exactly this mode, whatever the umask."""
    os.mkdir(path, mode, dir_fd=dir_fd)
    if stat.S_IMODE(os.stat(path, dir_fd=dir_fd, follow_symlinks=False).st_mode) != mode:
        change_mode(path, mode, dir_fd)


def make_directories(path: str) -> None:
    """Create the missing directories of a path, with at most 0755 whatever the umask."""
    if not path or os.path.isdir(path):
        return
    make_directories(os.path.dirname(path.rstrip("/")))
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        if not os.path.isdir(path):
            raise


def public(path: str, flags: int) -> int:
    """Open a file for :func:`open`, through no link; create it with at most 0644 whatever the umask."""
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)


def change_mode(path: str, mode: int, dir_fd: int | None = None) -> None:
    """Set the mode of a file or directory; never follow a symbolic link, but raise OSError with ELOOP."""
    if os.chmod in os.supports_follow_symlinks:
        os.chmod(path, mode, dir_fd=dir_fd, follow_symlinks=False)
        return
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        if stat.S_ISLNK(os.fstat(descriptor).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        os.chmod(
            f"/proc/self/fd/{descriptor}", mode
        )  # fchmod refuses what was not opened for reading, which the mode may forbid
    finally:
        os.close(descriptor)


def exists(path: str, dir_fd: int) -> bool:
    """Return whether the path exists, even as a symbolic link."""
    try:
        os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def remove(name: str, dir_fd: int) -> None:
    """Remove a directory and its content, if it exists."""
    with suppress(FileNotFoundError):
        for _, directories, names, descriptor in os.fwalk(name, topdown=False, dir_fd=dir_fd):
            for entry in names:
                os.unlink(entry, dir_fd=descriptor)
            for entry in directories:
                try:
                    os.rmdir(entry, dir_fd=descriptor)
                except NotADirectoryError:  # a symbolic link to a directory
                    os.unlink(entry, dir_fd=descriptor)
        os.rmdir(name, dir_fd=dir_fd)


def sync_file(path: str, dir_fd: int | None = None) -> None:
    """Make one file durable."""
    descriptor = os.open(path, FILE, dir_fd=dir_fd)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync(*descriptors: int) -> None:
    """Make everything written to the file systems of these descriptors durable, with one call per file system."""
    import ctypes  # here, since nothing else in the program needs it

    devices = {os.fstat(descriptor).st_dev: descriptor for descriptor in descriptors}
    try:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except (AttributeError, OSError):  # not Linux
        os.sync()
        return
    for descriptor in devices.values():
        if syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
