"""Write pg_hosts.conf (PostgreSQL 19): by host name, a server's certificate and the CAs that it accepts for clients.

Its lines have the syntax of pg_hba.conf. If the file has a line, PostgreSQL no longer reads ``ssl_cert_file``,
``ssl_key_file`` and ``ssl_ca_file`` of postgresql.conf (be-secure-openssl.c, ``be_tls_init``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.certificates.trust import trusts_somebody
from pgtls.hba.render import quoted
from pgtls.output.postgresql_conf import on_server
from pgtls.state import layout

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from pgtls.fleet.model import Identity, Server
    from pgtls.pki.model import Entity

_HEADER = """\
# Host names and certificates of {server}, written by pgtls. Do not edit: the next build overwrites it.
# host names, certificate, key, client CAs, passphrase command and whether it runs at a reload
"""


def hosts_file(server: Server, lacking: Collection[Entity]) -> str:
    """Return the file: a line for each identity. The default has ``*``, also for clients that request no name.

    Skip an identity without a certificate: PostgreSQL would load no line of the file.
    """
    shown = (server, *(one for one in server.sni if one.entity not in lacking))
    lines = (" ".join(_line(server, identity, lacking)) for identity in shown)
    return _HEADER.format(server=server.entity) + "".join(f"{line}\n" for line in lines)


def _line(server: Server, identity: Identity, lacking: Collection[Entity]) -> Iterator[str]:
    version = server.table.postgres
    below = f"{layout.IDENTITIES}/{identity.entity.host}/" if identity.place else ""

    def path(name: str) -> str:
        return quoted(on_server(server, below + name), version)

    yield ",".join(quoted(host, version) for host in identity.table.hosts) if identity.place else "*"
    yield path(layout.SERVER_CERTIFICATE)
    yield path(layout.SERVER_KEY)
    trusts, command = trusts_somebody(identity, lacking), identity.table.passphrase_command
    if trusts or command:
        yield path(layout.SERVER_TRUST) if trusts else quoted("", version)
    if command:
        yield quoted(command, version)
        yield "on"
