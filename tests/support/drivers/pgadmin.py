"""Import servers as the `load-servers` of pgAdmin does, and connect to each as pgAdmin would.

Run in pgAdmin's own environment: PACKAGE SERVERS [WORDS]. ``WORDS`` are added to each connection string: where the
test has the server. It prints a JSON object: what each server answered, by its name.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import json
import os
import sys

package, servers, *words = sys.argv[1:]
setattr(builtins, "SERVER_MODE", False)  # noqa: B010
sys.path.insert(0, package)
os.chdir(package)

import psycopg
import setup  # type: ignore[import-not-found]
from pgadmin import create_app  # type: ignore[import-not-found]
from pgadmin.model import Server  # type: ignore[import-not-found]
from pgadmin.utils.driver.psycopg3.server_manager import ServerManager  # type: ignore[import-not-found]


def answer(server: Server) -> str:
    """Return the role and the database that a connection has, or the reason why there is none."""
    manager = ServerManager(server)
    string = manager.create_connection_string(server.maintenance_db, server.username)
    try:
        with psycopg.connect(" ".join([string, *words])) as connection:
            (who,) = connection.execute("select current_user || '@' || current_database()").fetchone() or ("",)
            return str(who)
    except psycopg.OperationalError as error:
        return str(error)


with contextlib.redirect_stdout(io.StringIO()) as said:
    setup.app(["setup-db"], standalone_mode=False)
    setup.app(["load-servers", servers], standalone_mode=False)
    with create_app("connect-cli").test_request_context():
        answers = {server.name: answer(server) for server in Server.query.all()}
print(json.dumps({"answers": answers, "said": said.getvalue()}))
