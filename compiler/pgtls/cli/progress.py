"""Progress of long builds, on a terminal only: one line that vanishes."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_WORTH_SHOWING = 200
"""How many certificates or files make a build long enough for a bar."""
_LENGTH = 30


@contextmanager
def bars() -> Iterator[Callable[[str, int], Callable[[int], None]] | None]:
    """Yield what reports the progress of a build: a bar on stderr if that is a terminal, otherwise None."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield None
        return
    width = 0

    def show(line: str) -> None:
        nonlocal width
        with suppress(OSError):
            sys.stderr.write(f"\r{line.ljust(width)}\r{line}")
            sys.stderr.flush()
        width = len(line)

    def stage(name: str, total: int) -> Callable[[int], None]:
        if total < _WORTH_SHOWING:
            return lambda more: None
        done = shown = 0

        def advance(more: int) -> None:
            nonlocal done, shown
            done += more
            if (length := _LENGTH * done // total) != shown:
                shown = length
                show(f"{name} {'#' * length}{'.' * (_LENGTH - length)} {done}/{total}")

        return advance

    try:
        yield stage
    finally:
        show("")
