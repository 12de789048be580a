"""Read files that others may have replaced. Import little: a build with nothing to do reads with this module."""

from __future__ import annotations

import errno
import os
import stat
from io import FileIO

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_directory(path: str, dir_fd: int | None = None) -> int:
    """Open a directory; raise NotADirectoryError for anything else, including a symbolic link."""
    return os.open(path, DIRECTORY, dir_fd=dir_fd)


def read(path: str, dir_fd: int | None = None, longest: int | None = None, *, follow: bool = False) -> bytes:
    """Read a regular file; follow a symbolic link only with ``follow``.

    Raise OSError for anything else (a pipe or a device might never end), and for more bytes than ``longest``.
    """
    flags = (FILE & ~os.O_NOFOLLOW if follow else FILE) | os.O_NONBLOCK
    with FileIO(os.open(path, flags, dir_fd=dir_fd)) as file:  # open() takes twice the time, for a buffer to read all
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", path)
        if longest is not None and found.st_size > longest:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
        return file.readall()
