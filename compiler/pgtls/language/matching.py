"""What a pattern of ``include`` matches on the disk. The check for nothing to do uses it, so it imports little."""

from __future__ import annotations

import glob
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def matches(directory: str, pattern: str) -> list[str]:
    """Return what :func:`glob.glob` matches, relative to ``directory``; but ``**`` follows no link.

    A link to the root of the machine would make it search everything.
    """
    parts = pattern.split("/")
    if "**" not in parts:
        return glob.glob(pattern, root_dir=directory or None)
    first = parts.index("**")
    head, rest = "/".join(parts[:first]), "/".join(parts[first + 1 :])
    starts = glob.glob(f"{head}/", root_dir=directory or None) if head else ["/" if first else ""]
    return list(dict.fromkeys(path for start in starts for path in _below(directory, start, rest)))


def _below(directory: str, start: str, rest: str) -> Iterator[str]:
    top = os.path.join(directory, start)
    if start and not rest:
        yield start
    for path, directories, files in os.walk(top or "."):
        directories[:] = [name for name in directories if name[0] != "."]
        relative = os.path.relpath(path, top or ".")
        here = start if relative == "." else os.path.join(start, relative)
        inside = matches(path, rest) if rest else (name for name in (*directories, *files) if name[0] != ".")
        yield from (os.path.join(here, name) for name in inside)
