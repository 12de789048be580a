"""``pgtls fetch``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

import typer

from pgtls.cli.options import FORMAT, LONGEST_WAIT, Now, clock, expanded
from pgtls.cli.printing import reporting
from pgtls.cli.usage import UsageError
from pgtls.state.names import LOCK_TIMEOUT

EXAMPLES = {
    "pgtls fetch /srv/pgtls server.main --out s3://bucket/prefix": "Write /srv/pgtls/servers/main, to install it.",
    "pgtls fetch deploy server.main --out out --identity key.txt": "Decrypt the key of a server to deploy it.",
}


@expanded
def command(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Where to write to.")],
    entities: Annotated[list[str], typer.Argument(metavar="ENTITY", help="server.NAME or user.NAME.")],
    out: Annotated[
        str,
        typer.Option(
            metavar="DIR|URL",
            envvar="PGTLS_OUT",
            help="The out directory, or the store: s3://BUCKET/PREFIX.",
            show_default=False,
        ),
    ] = "",
    identity: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", envvar="PGTLS_IDENTITY", help="The private key of age or SSH that opens encrypted keys."
        ),
    ] = None,
    now: Now = None,
    lock_timeout: Annotated[
        int,
        typer.Option(metavar="SECONDS", min=0, max=LONGEST_WAIT, help="How long to wait for another fetch."),
    ] = LOCK_TIMEOUT,
    format_: Annotated[Literal["text", "json"], FORMAT] = "text",
) -> int:
    """Write the files of servers and users from a store or an out directory, keys decrypted."""
    from pgtls.api import fetch

    if not out:
        raise UsageError("name the out directory or the store with --out, or with $PGTLS_OUT")
    with reporting("fetch", format_) as report:
        try:
            fetched = fetch(
                directory, *entities, store=out, identity=identity, now=clock(now), lock_timeout=lock_timeout
            )
        except ValueError as wrong:
            raise UsageError(str(wrong)) from None
        report.done = f"{directory} is up to date"
        report.result = lambda: {"fetched": [asdict(one) for one in fetched]}
        report.text = lambda: "\n".join(
            f"{'fetched' if one.changed else 'unchanged'} {directory.rstrip('/')}/{one.directory}" for one in fetched
        )
    return report.status
