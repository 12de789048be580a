"""Read the files that an import is given, and those that they name."""

from __future__ import annotations

from pgtls.language.files import LONGEST, Disk


def content(path: str, *, pipes: bool = False) -> bytes:
    """Read a regular file; with ``pipes`` anything that ends. Raise OSError for anything else, and for a huge one.

    Only a path that the user typed may be a pipe: a file could name one that nobody writes to.
    """
    return Disk().read(path, LONGEST, pipes=pipes)


def text(path: str, *, pipes: bool = False) -> str:
    """Read a file as the parsers want it: with its line ends, and surrogates for bytes that are not UTF-8."""
    return content(path, pipes=pipes).decode("utf-8", "surrogateescape")
