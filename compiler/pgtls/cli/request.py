"""Options to the request that the pipeline works on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgtls.build.compile import Request
from pgtls.cli.options import lock_file, out_directory

if TYPE_CHECKING:
    from datetime import datetime


def request(spec: str, out: str | None, lock: str | None, now: datetime, lock_timeout: int, **more: Any) -> Request:
    """Fill in where things are."""
    return Request(
        spec=Path(spec),
        out=out_directory(spec, out),
        lock=lock_file(spec, lock),
        now=now,
        lock_timeout=lock_timeout,
        **more,
    )
