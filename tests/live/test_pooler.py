"""PgBouncer on the port of a server: `pgtls verify` names it, even if it has the server's own certificate."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from live.test_faults import built
from live.verifying import Site, faults, seen
from support.pgbouncer import Pooler
from support.servers import Server, free_port, versions
from support.system import new_directory

if TYPE_CHECKING:
    from support.building import Place

CONFIGURATION = """
[databases]
shop = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {{port}}
auth_type = scram-sha-256
auth_file = {{directory}}/users.txt
unix_socket_dir =
client_tls_sslmode = {sslmode}
client_tls_key_file = {{directory}}/server.key
client_tls_cert_file = {{directory}}/server.crt
client_tls_ca_file = {{directory}}/root.crt
"""


def pooler(server: Server, files: Place, sslmode: str) -> Pooler:
    """Make a PgBouncer with the certificate of a place, before a server."""
    directory = new_directory("bouncing")
    for name in ("server.crt", "server.key", "root.crt"):
        shutil.copy(files.file(f"servers/db/{name}"), directory)
    (directory / "users.txt").write_text('"app" ""\n')
    return Pooler(directory, free_port(), CONFIGURATION.format(server=server.port, sslmode=sslmode))


@pytest.mark.parametrize("installation", [one for one in versions() if one.id == "pg17"], ids=lambda one: one.id)
def test_a_pooler_is_named_whatever_certificate_it_has(server: Server) -> None:
    place = built(17)
    Site(server, place).install()
    for files, sslmode in ((place, "require"), (built(17), "require"), (place, "disable")):
        with pooler(server, files, sslmode) as bouncer:
            found = seen(place, bouncer.port)
        assert "pooler" in faults(found), found.checks
    assert faults(seen(place, server.port)) == []
