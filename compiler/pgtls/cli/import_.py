"""``pgtls import``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from pgtls.cli import FAILED, OK
from pgtls.cli.options import clock, now
from pgtls.cli.printing import emit, say, tell_diagnostics
from pgtls.state.files import public

if TYPE_CHECKING:
    from datetime import datetime


def _table_name(ctx: click.Context, param: click.Parameter, value: str) -> str:
    from pgtls.language.values import TABLE_NAME

    if not TABLE_NAME.fullmatch(value):
        raise click.BadParameter(f'"{value}" is no name of a table: it has small letters, digits, "-", "_" and "."')
    return value


@click.command()
@click.option("--hba", required=True, type=click.Path(), metavar="FILE", help="The pg_hba.conf.")
@click.option("--ident", type=click.Path(), metavar="FILE", help="The pg_ident.conf.")
@click.option("--conf", type=click.Path(), metavar="FILE", help="The postgresql.conf; its includes are read.")
@click.option("--cert", type=click.Path(), metavar="FILE", help="The server's certificate.  [default: of --conf]")
@click.option("--key", type=click.Path(), metavar="FILE", help="Its private key.  [default: of --conf]")
@click.option(
    "--ca-file", "ca", type=click.Path(), metavar="FILE", help="The CA of client certificates.  [default: of --conf]"
)
@click.option("--postgres", required=True, type=click.IntRange(13, 19), metavar="N", help="The major version.")
@click.option(
    "--host", "hosts", required=True, multiple=True, metavar="NAME", help="What clients dial. May be repeated."
)
@click.option(
    "--server",
    default="primary",
    show_default=True,
    metavar="NAME",
    callback=_table_name,
    help="What the server is called in the spec.",
)
@click.option(
    "--output", default="pgtls.toml", show_default=True, type=click.Path(), metavar="FILE", help="The spec to write."
)
@now
def command(
    hba: str,
    ident: str | None,
    conf: str | None,
    server: str,
    output: str,
    now: datetime | None,
    **given: Any,
) -> int:
    """Make a spec of an existing server's files, compile it, and list every connection that it would treat otherwise.

    The spec is written in any case, and no file is ever overwritten. Exit status 1 if it means something else than the files.
    """
    from pgtls.diagnostics import Rejected
    from pgtls.importer.convert import Sources, adopt
    from pgtls.importer.server import Given

    if os.path.lexists(output):
        say(
            f"error: {output} exists already\n  = hint: pgtls import never overwrites a spec; name another with --output"
        )
        return FAILED
    asked = Given(output=output, **given)
    try:
        adopted = adopt(Sources(hba, ident, conf), asked, server, clock(now))
    except Rejected as rejected:
        tell_diagnostics(rejected.diagnostics)
        return FAILED
    with open(output, "x", encoding="utf-8", opener=public) as file:
        file.write(adopted.text)
    tell_diagnostics(adopted.diagnostics)
    done = f"wrote {output}"
    if adopted.equal is None:
        emit(f"{done}: it does not compile as it is, and nothing was compared", done)
        return FAILED
    if not adopted.equal:
        emit(f"{done}: it means something else than the files, see above", done)
        return FAILED
    emit(f"{done}: it compiles to files of the same meaning\nnext: read it, then pgtls check and pgtls plan", done)
    return OK
