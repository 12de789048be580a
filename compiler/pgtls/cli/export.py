"""``pgtls export``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pgtls.cli.completion import names
from pgtls.cli.options import FORMAT, Beside, clock, expanded
from pgtls.cli.printing import reporting
from pgtls.cli.usage import UsageError
from pgtls.diagnostics.text import visible
from pgtls.language.words import listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgtls.api import Spec
    from pgtls.diagnostics import Diagnostic
    from pgtls.exports.built import Exported

EXAMPLES = {
    "pgtls export patroni --to patroni": "Write a YAML file for each member of a Patroni cluster.",
    "pgtls export kubernetes server.main --to k8s": "Write the Secret and the ConfigMap of a server.",
}

STDOUT = "-"
_ON_SERVERS = ("patroni", "cloudnativepg", "compose")
"""The formats that take servers alone."""


@expanded
def command(
    where: Beside,
    engine: Annotated[
        Literal["patroni", "kubernetes", "cloudnativepg", "compose"],
        typer.Argument(metavar="FORMAT", help="patroni, kubernetes, cloudnativepg or compose."),
    ],
    to: Annotated[str, typer.Option(metavar="DIR|-", help="Where to write; - prints everything, keys included.")],
    entities: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ENTITY",
            help="server.NAME, with kubernetes also user.NAME; by default all.",
            autocompletion=names("{kind}.{name}", "server", "user"),
        ),
    ] = None,
    superuser: Annotated[
        str, typer.Option(metavar="USER", help="Patroni: the user of the spec that is its superuser.")
    ] = "postgres",
    replication: Annotated[
        str, typer.Option(metavar="USER", help="Patroni: the user of the spec that replicates.")
    ] = "replicator",
    rewind: Annotated[
        str | None, typer.Option(metavar="USER", show_default="the superuser", help="Patroni: the user of pg_rewind.")
    ] = None,
    format_: Annotated[Literal["text", "json"], FORMAT] = "text",
) -> int:
    """Write what the last build made in the form of an engine that runs PostgreSQL, and prove the rules as it has them.

    \b
    FORMAT is one of:
      patroni         a YAML file for each member of a cluster
      kubernetes      Secrets and ConfigMaps of servers and clients
      cloudnativepg   the Secrets of a cluster, and the part of its Cluster
      compose         a project of Docker Compose, with the files that it mounts

    Files with secrets have mode 0600 and are listed in a .gitignore. A second export changes nothing.
    """  # noqa: D301  (the mark for lines that are not to be wrapped)
    if not to:
        raise UsageError("--to: it is empty; name a directory")
    if to == STDOUT and engine == "compose":
        raise UsageError("--to -: compose has several files; name a directory")
    if to == STDOUT and format_ == "json":
        raise UsageError("--to -: the files go to standard output, where --format json prints its report")
    if to != STDOUT and _inside(to, where.paths[1]):
        raise UsageError(f"--to {to}: it lies in the out directory, which belongs to pgtls build; name another")
    with reporting("export", "yaml" if to == STDOUT else format_) as report:  # a program reads YAML: it stays as it is
        from pgtls.api import pulled

        with pulled(where.open(clock(where.now)), where.paths[1]) as (spec, out, told):
            made = _exported(spec, out, where.lock_timeout, engine, entities or (), (superuser, replication, rewind))
        files, report.diagnostics = made[0], tuple(map(told.diagnostic, made[1]))
        if to == STDOUT:
            report.text = lambda: _printed(files)
        else:
            from pgtls.cli.export_directory import write

            written = write(to, files)
            report.done = f"{to} has the files"
            report.result = lambda: {"files": [{"path": name, "mode": f"{files[name].mode:04o}"} for name in files]}
            report.text = lambda: _said(to, files, written)
    return report.status


def _exported(
    spec: Spec, out: str, timeout: int, engine: str, entities: Sequence[str], accounts: tuple[str, str, str | None]
) -> tuple[Mapping[str, Exported], tuple[Diagnostic, ...]]:
    from pgtls.exports import cloudnativepg, compose, kubernetes, patroni
    from pgtls.exports.built import named

    try:
        servers, users = named(spec.usable().fleet, entities)
    except ValueError as wrong:
        raise UsageError(str(wrong)) from None
    if engine in _ON_SERVERS and entities and users:
        raise UsageError(f"{engine} is about servers: name them as server.NAME")
    if engine == "patroni":
        return patroni.export(spec, out, servers, patroni.Accounts(*accounts), timeout)
    if engine == "kubernetes":
        return kubernetes.export(spec, out, servers, users, timeout)
    if engine == "compose":
        return compose.export(spec, out, servers, timeout)
    if len(servers) != 1:
        raise UsageError(f"a cluster is one server: say which of {', '.join(server.entity for server in servers)}")
    return cloudnativepg.export(spec, out, servers[0], timeout)


def _printed(files: Mapping[str, Exported]) -> str:
    """Return the objects of all files as one stream of YAML."""
    from pgtls.exports.kubernetes import POD

    objects = [file.content.decode() for name, file in files.items() if not name.endswith(POD)]
    return "---\n".join(objects).rstrip("\n")


def _said(to: str, files: Mapping[str, Exported], changed: Sequence[str]) -> str:
    written = "\n".join(f"wrote {visible(path)}" for path in changed)
    return written or f"{visible(to)} is as it should be: {listed(files)}"


def _inside(path: str, out: str) -> bool:
    real, tree = os.path.realpath(path), os.path.realpath(out)
    return os.path.commonpath((real, tree)) == tree
