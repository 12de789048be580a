"""Read files that others may have replaced. Import little: a build with nothing to do reads with this module."""

from __future__ import annotations

import os

from pgtls.language import regular

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_directory(path: str, dir_fd: int | None = None) -> int:
    """Open a directory; raise NotADirectoryError for anything else, including a symbolic link."""
    return os.open(path, DIRECTORY, dir_fd=dir_fd)


def read(path: str, dir_fd: int | None = None, longest: int | None = None, *, follow: bool = False) -> bytes:
    """Read a regular file; follow a symbolic link only with ``follow``.

    Raise OSError as :func:`pgtls.language.regular.read`.
    """
    return regular.read(path, FILE & ~os.O_NOFOLLOW if follow else FILE, dir_fd, longest)
