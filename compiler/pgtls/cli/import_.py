"""``pgtls import``."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from pgtls.cli import FAILED, OK
from pgtls.cli.options import Now, clock, expanded
from pgtls.cli.printing import show, tell_diagnostics
from pgtls.cli.usage import UsageError
from pgtls.postgres.releases import NEWEST, OLDEST
from pgtls.state.files import public

if TYPE_CHECKING:
    from collections.abc import Iterable

EXAMPLES = {
    "pgtls import --hba pg_hba.conf --postgres 17 --host db.example.com": "Import access alone.",
    "pgtls import --conf postgresql.conf --postgres 17 --host db.example.com": "Import certificates, too.",
}


def _table_name(text: str) -> str:
    from pgtls.language.values import TABLE_NAME

    if not TABLE_NAME.fullmatch(text):
        raise typer.BadParameter(f'"{text}" is no name of a table: it has small letters, digits, "-", "_" and "."')
    return text


@expanded
def command(
    postgres: Annotated[int, typer.Option(metavar="N", min=OLDEST, max=NEWEST, help="The major version.")],
    hosts: Annotated[list[str], typer.Option("--host", metavar="NAME", help="What clients dial. May be repeated.")],
    hba: Annotated[str | None, typer.Option(metavar="FILE", show_default="of --conf", help="The pg_hba.conf.")] = None,
    ident: Annotated[
        str | None, typer.Option(metavar="FILE", show_default="of --conf", help="The pg_ident.conf.")
    ] = None,
    conf: Annotated[
        str | None, typer.Option(metavar="FILE", help="The postgresql.conf; its includes are read.")
    ] = None,
    cert: Annotated[
        str | None, typer.Option(metavar="FILE", show_default="of --conf", help="The server's certificate.")
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="FILE", show_default="of --conf", help="Its private key.")] = None,
    ca: Annotated[
        str | None,
        typer.Option("--ca-file", metavar="FILE", show_default="of --conf", help="The CA of client certificates."),
    ] = None,
    crl: Annotated[
        str | None,
        typer.Option("--crl-file", metavar="FILE", show_default="of --conf", help="The CRLs of that CA, in one file."),
    ] = None,
    server: Annotated[
        str,
        typer.Option(metavar="NAME", parser=_table_name, help="What the server is called in the spec."),
    ] = "primary",
    output: Annotated[str, typer.Option(metavar="FILE", help="The spec to write.")] = "pgtls.toml",
    now: Now = None,
) -> int:
    """Make a spec of an existing server's files, compile and plan it, and list what it treats differently.

    The spec is written in any case, and no file is ever overwritten. Exit status 1 if it means something else than
    the files, or a build of it would stop.
    """
    from pgtls.diagnostics import Diagnostic, Rejected
    from pgtls.importer.convert import Sources, adopt
    from pgtls.importer.server import Given

    if not hba and not conf:
        raise UsageError("--hba FILE is missing: the pg_hba.conf; or --conf FILE, which names it")
    if os.path.lexists(output):
        hint = "pgtls import never overwrites a spec; name another with --output"
        tell_diagnostics([Diagnostic("PGT282", f"{output} exists already", hint=hint)])
        return FAILED
    asked = Given(output=output, cert=cert, key=key, ca=ca, crl=crl, postgres=postgres, hosts=tuple(hosts))
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
        show(f"{done}: it does not compile as it is, and nothing was compared", done)
    elif not adopted.equal:
        show(f"{done}: it means something else than the files, see above", done)
    elif not adopted.planned:
        show(f"{done}: it compiles to files of the same meaning, but a build would stop: see the errors above", done)
    else:
        show(f"{done}: it compiles to files of the same meaning\n{_next(output, adopted.variables)}", done)
    return OK if adopted.equal and adopted.planned else FAILED


def _next(output: str, variables: Iterable[str]) -> str:
    """Say what to type next."""
    spec = "" if output == "pgtls.toml" else f" {shlex.quote(output)}"
    first = "".join(f"set {name}, " for name in variables)
    return f"next: {first}read it, then pgtls plan{spec} and pgtls build{spec}"
