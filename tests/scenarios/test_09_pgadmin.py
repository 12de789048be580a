"""pgAdmin: what it imports connects as it is, and the archive holds all that it needs."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from support.clients import Bundle, admitted, at, libpq_clients, refused
from support.scenario import enact
from support.system import new_directory

if TYPE_CHECKING:
    from support.servers import Server

NAME = "09-pgadmin"


def test_an_imported_server_connects_with_the_files_of_the_archive(server: Server) -> None:
    out = enact(NAME, server, ("alice",))
    unpacked = new_directory("unpacked")
    shutil.unpack_archive(out / "clients" / "alice" / "alice.zip", unpacked)
    bundle = Bundle(unpacked / "alice")
    (bundle.directory / "postgresql.key").chmod(0o600)  # the module for archives of Python knows no modes
    (imported,) = json.loads((bundle.directory / "pgadmin.json").read_text())["Servers"].values()
    # As pgAdmin does: pgadmin/utils/driver/psycopg3/server_manager.py, create_connection_string
    words = {"host": imported["Host"], "port": str(imported["Port"]), "user": imported["Username"]}
    words |= {"dbname": imported["MaintenanceDB"]} | imported["ConnectionParameters"]
    for client in libpq_clients():
        if client.libpq < 16:
            continue
        assert admitted(client.connect(bundle.files | words | at(server))) == "alice@shop"
        refused(client.connect(bundle.files | words | at(server) | {"host": "other"}), "does not match host name")
        refused(client.connect(words | at(server)), "does not exist")
