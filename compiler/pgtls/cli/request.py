"""Options to the request that the pipeline works on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pgtls.certificates.model import Asked
from pgtls.cli.options import lock_file, out_directory
from pgtls.pipeline import Request

if TYPE_CHECKING:
    from datetime import datetime


def request(
    spec: str,
    out: str | None,
    lock: str | None,
    now: datetime,
    lock_timeout: int,
    *,
    renew: tuple[str, ...] = (),
    replace: tuple[str, ...] = (),
    new_ca: tuple[str, ...] = (),
    ca_key: tuple[tuple[str, str], ...] = (),
    allow_revoke: bool = False,
    accept_outage: bool = False,
    new_out: bool = False,
    jobs: int = 0,
) -> Request:
    """Fill in where things are. From ``renew`` on: the options of :func:`pgtls.cli.options.asks`."""
    return Request(
        spec=Path(spec),
        out=out_directory(spec, out),
        lock=lock_file(spec, lock),
        now=now,
        asked=Asked(frozenset(renew), frozenset(replace), frozenset(new_ca), allow_revoke, accept_outage, ca_key),
        new_out=new_out,
        lock_timeout=lock_timeout,
        jobs=jobs,
    )
