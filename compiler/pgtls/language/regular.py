"""Read regular files without waiting. Import little: a build with nothing to do reads with this module."""

from __future__ import annotations

import errno
import os
import stat
from io import FileIO


def read(path: str, flags: int, dir_fd: int | None = None, longest: int | None = None) -> bytes:
    """Read a regular file that is opened with ``flags``.

    Raise OSError for anything else (a pipe or a device might never end), and for more bytes than ``longest``. The
    kernel shows logs and events as regular files without a size: such a file counts as empty, since reading it would
    take them away. It shows figures as files that are shorter than their size, and another one at each reading.
    """
    with FileIO(
        os.open(path, flags | os.O_NONBLOCK, dir_fd=dir_fd)
    ) as file:  # open() takes twice the time, for a buffer
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", path)
        if longest is not None and found.st_size > longest:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
        content = file.readall() if found.st_size else b""
        if content is None:  # of a file system that would wait
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)
        if len(content) < found.st_size:
            raise OSError(errno.EINVAL, "it is shorter than its size", path)
        return content
