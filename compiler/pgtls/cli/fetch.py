"""``pgtls fetch``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

import typer

from pgtls.cli.options import FORMAT, Now, clock, expanded
from pgtls.cli.printing import reporting
from pgtls.cli.usage import UsageError
from pgtls.state.names import LOCK_TIMEOUT
from pgtls.store import is_store

EXAMPLES = {
    "pgtls fetch /srv/pgtls server.main --out s3://bucket/prefix": "Write /srv/pgtls/servers/main, to install it.",
    "pgtls fetch . user.app --out s3://bucket/prefix": "Write clients/app.",
}


@expanded
def command(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Where to write to.")],
    entities: Annotated[list[str], typer.Argument(metavar="ENTITY", help="server.NAME or user.NAME.")],
    out: Annotated[
        str, typer.Option(metavar="URL", envvar="PGTLS_OUT", help="The store: s3://BUCKET/PREFIX.", show_default=False)
    ] = "",
    now: Now = None,
    lock_timeout: Annotated[
        int, typer.Option(metavar="SECONDS", min=0, help="How long to wait for another fetch.")
    ] = LOCK_TIMEOUT,
    format_: Annotated[Literal["text", "json"], FORMAT] = "text",
) -> int:
    """Write the files of servers and users from a store; needs the right to read their prefixes only."""
    from pgtls.api import fetch

    if not is_store(out):
        raise UsageError("name the store with --out, or with $PGTLS_OUT: s3://BUCKET/PREFIX")
    with reporting("fetch", format_) as report:
        try:
            fetched = fetch(directory, *entities, store=out, now=clock(now), lock_timeout=lock_timeout)
        except ValueError as wrong:
            raise UsageError(str(wrong)) from None
        report.done = f"{directory} is up to date"
        report.result = lambda: {"fetched": [asdict(one) for one in fetched]}
        report.text = lambda: "\n".join(
            f"{'fetched' if one.changed else 'unchanged'} {directory.rstrip('/')}/{one.directory}" for one in fetched
        )
    return report.status
