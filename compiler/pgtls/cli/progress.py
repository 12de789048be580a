"""Progress bars for long builds, on a terminal only."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pgtls.pipeline import no_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgtls.pipeline import Progress

_WORTH_SHOWING = 200
"""How many certificates or files make a build long enough for a bar."""


@contextmanager
def bars() -> Iterator[Progress]:
    """Give what tells a build's progress: bars on stderr if that is a terminal, otherwise nothing."""
    if not sys.stderr.isatty():
        yield no_progress
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:

        def stage(name: str, total: int) -> Callable[[int], None]:
            if total < _WORTH_SHOWING:
                return no_progress(name, total)
            task = shown.add_task(name, total=total)
            return lambda more: shown.advance(task, more)

        yield stage
