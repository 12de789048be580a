"""A project of Docker Compose: the official image of PostgreSQL with what was built for each server.

The container starts as root. A script gives PostgreSQL a copy of the mounted files, which its account owns:
neither owner and modes on the host matter, nor the number of the account, which differs between images.
"""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, Any

from pgtls.diagnostics import Diagnostic, refuse
from pgtls.exports.built import PUBLIC, SECRET, Built, Exported, built, unexportable, without_directory
from pgtls.exports.documents import render
from pgtls.exports.objects import crl_directory
from pgtls.language.positions import locate
from pgtls.output.postgresql_conf import read_fragment
from pgtls.output.templates import template
from pgtls.state import layout
from pgtls.state.names import LOCK_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgtls.api import Spec
    from pgtls.fleet.model import Server

MOUNTED = "/run/pgtls"
START = "start.sh"

_SECRETS = (layout.SERVER_KEY, layout.HBA, layout.IDENT)
_PUBLIC = (layout.SERVER_CERTIFICATE, layout.SERVER_TRUST, layout.SERVER_CRL)


def export(
    spec: Spec, out: str, servers: Sequence[Server], lock_timeout: int = LOCK_TIMEOUT
) -> tuple[dict[str, Exported], tuple[Diagnostic, ...]]:
    """Return ``compose.yaml`` and what each server mounts, at its path in the out directory, and warnings of the spec.

    Raise :class:`Rejected` where a container could not have what the spec says.
    """
    found = built(spec, out, [server.entity for server in servers], lock_timeout)
    faults = [fault for server in servers for fault in (*unexportable(found, server), *without_directory(server))]
    refuse(locate(faults, found.fleet.source))
    services = {server.name: _service(found, server) for server in servers}
    files = {"compose.yaml": Exported(render([{"services": services}], _COMMENT), PUBLIC)}
    for server in servers:
        files |= {layout.path(server.entity, name): file for name, file in _mounted(found, server).items()}
    return files, found.diagnostics


_COMMENT = """Written by pgtls: do not edit, change the spec, build and export again.
Add what is yours in a file of your own, e.g. the volume of the data and POSTGRES_PASSWORD_FILE:
docker compose -f compose.yaml -f own.yaml up"""


def _service(found: Built, server: Server) -> dict[str, Any]:
    """Return the service of a server. Its settings are options: an image has no postgresql.conf to include them in."""
    settings = read_fragment((found.file(server.entity, layout.CONF) or b"").decode())
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return {
        "image": f"postgres:{server.table.postgres}",
        "entrypoint": ["sh", f"{MOUNTED}/{START}", "docker-entrypoint.sh"],
        "command": [_literal(word) for word in ("postgres", *options)],
        "volumes": [
            {"type": "bind", "source": f"./{layout.directory(server.entity)}", "target": MOUNTED, "read_only": True}
        ],
    }


def _literal(text: str) -> str:
    """Return text that Compose does not interpolate."""
    return text.replace("$", "$$")


def _mounted(found: Built, server: Server) -> dict[str, Exported]:
    files = {
        name: Exported(content, mode)
        for names, mode in ((_SECRETS, SECRET), (_PUBLIC, PUBLIC))
        for name in names
        if (content := found.file(server.entity, name)) is not None
    }
    lists = crl_directory(found, server.entity)
    files |= {f"{layout.SERVER_CRLS}/{name}": Exported(content, PUBLIC) for name, content in lists.items()}
    script = template("server/compose.sh.j2").render(mounted=MOUNTED, directory=quote(server.table.directory or ""))
    return {**files, START: Exported(script.encode(), PUBLIC)}
