"""How each version stores a password by default, and which of these SCRAM accepts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.fleet.checks.versions import SCRAM_BY_DEFAULT_SINCE
from support.clients import PSQL, admitted, refused

if TYPE_CHECKING:
    from support.servers import Server


def test_an_md5_hash_is_what_13_makes_and_scram_does_not_take(server: Server) -> None:
    ((by_default,),) = server.sql("select boot_val from pg_settings where name = 'password_encryption'")
    assert by_default == ("md5" if server.version < SCRAM_BY_DEFAULT_SINCE else "scram-sha-256")
    for kind in ("md5", "scram-sha-256"):
        server.sql(f"set password_encryption = '{kind}'")
        server.sql(f"create role \"{kind}\" login password 'known'")
    server.write("pg_hba.conf", "host all all 127.0.0.1/32 scram-sha-256\n")
    server.reload()
    there = {"host": "127.0.0.1", "port": str(server.port), "dbname": "postgres"}
    known = {"PGPASSWORD": "known"}
    refused(PSQL.connect(there | {"user": "md5"}, environment=known), "password authentication failed")
    assert admitted(PSQL.connect(there | {"user": "scram-sha-256"}, environment=known)) == "scram-sha-256@postgres"
    refused(PSQL.connect(there | {"user": "scram-sha-256"}, environment={"PGPASSWORD": "x"}), "password authentication")
