"""``pgtls confirm``."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from pgtls.cli.completion import names
from pgtls.cli.options import FORMAT, Beside, clock, expanded
from pgtls.cli.printing import reporting
from pgtls.language.words import listed

EXAMPLES = {
    'pgtls confirm server.main --reason "installed by hand"': "Record that the last build of server main is deployed.",
    'pgtls confirm user.app user.etl --reason "change 4711"': "Record it of two bundles.",
}


@expanded
def command(
    where: Beside,
    entities: Annotated[
        list[str],
        typer.Argument(
            metavar="ENTITY",
            help="server.NAME, pooler.NAME or user.NAME, or all.",
            autocompletion=names("{kind}.{name}", "server", "pooler", "user", further=("all",)),
        ),
    ],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="How you know: who deployed it, which change.")],
    format_: Annotated[Literal["text", "json"], FORMAT] = "text",
) -> int:
    """Record that what the last build made of servers and bundles is deployed."""
    from pgtls.api import confirm
    from pgtls.state.names import deployed_path

    with reporting("confirm", format_) as report:
        opened = where.open(clock(where.now))
        seen = confirm(opened, *entities, reason=reason, out=where.out, lock_timeout=where.lock_timeout)
        path = deployed_path(where.paths[2])
        report.done = f"{path} has the evidence"
        report.result = lambda: {"evidence": [one.fields() for one in seen]}
        report.text = lambda: f"confirmed {listed(one.entity for one in seen)}; commit {path}"
    return report.status
