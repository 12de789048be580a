"""Read the files that an import is given, and those that they name."""

from __future__ import annotations

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.language.files import LONGEST, Disk

_LEAST = 8192
"""Bytes that a short file counts as."""


def content(path: str, *, pipes: bool = False) -> bytes:
    """Read a regular file; with ``pipes`` anything that ends. Raise OSError for anything else, and for a huge one.

    Only a path that the user typed may be a pipe: a file could name one that nobody writes to.
    """
    return Disk().read(path, LONGEST, pipes=pipes)


class Reader:
    """Read the files that one file leads to. Together they are no longer than one: files may include each other."""

    def __init__(self, code: str) -> None:
        self._code, self._left = code, LONGEST

    def text(self, path: str, *, pipes: bool = False) -> str:
        """Read a file as the parsers want it: with its line ends, and surrogates for bytes that are not UTF-8.

        Raise OSError, and Rejected where that never ends.
        """
        read = content(path, pipes=pipes)
        self._left -= max(len(read), _LEAST)
        if self._left < 0:
            message, hint = "there are too many included files", "look for files that include each other"
            raise Rejected(Diagnostic(self._code, message, hint=hint, file=path))
        return read.decode("utf-8", "surrogateescape")
