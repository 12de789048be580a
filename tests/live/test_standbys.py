"""A standby of a real server, with the files that a build makes: copied, streaming, promoted and rewound.

``docs/guides/standby.md`` shows the same by hand.
"""

from __future__ import annotations

import stat
import subprocess
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from pgtls.output.postgresql_conf import read_fragment
from support.clients import PSQL, Bundle, admitted, refused
from support.installer import install
from support.servers import PATIENCE, Server, free_port, versions
from support.system import ENVIRONMENT, give, run_as, server_account

if TYPE_CHECKING:
    from pathlib import Path

    from support.building import Place
    from support.servers import Installation

COPYING = [found for found in versions() if (found.bin / "pg_basebackup").exists()]
OLDEST_AND_NEWEST = [COPYING[0], COPYING[-1]]

SPEC = """
version = 1
[ca.root]
[ca.clients]
[defaults.server]
ca = "root"
client_ca = ["clients"]
hosts = ["127.0.0.1"]
postgres = {version}
[server.a]
port = {a}
{of_a}
[server.b]
port = {b}
{of_b}
[user.postgres]
[user.app]
ca = "clients"
[user.copier]
ca = "clients"
roles = ["replicator"]
[policy.dba]
servers = ["{primary}"]
users = ["postgres"]
from = ["local"]
auth = "trust"
waiver = "a throwaway server"
[policy.app]
servers = ["{primary}"]
users = ["app"]
databases = ["shop"]
from = ["127.0.0.0/8", "10.0.0.0/8"]
auth = "cert"
"""
STANDBY_OF = 'standby_of = "{}"\nreplication_user = "copier"'


def spec(version: int, a: int, b: int, primary: str = "a") -> str:
    """Write the spec of two servers, of which one is the primary."""
    of_a, of_b = ("", STANDBY_OF.format("a")) if primary == "a" else (STANDBY_OF.format("b"), "")
    return SPEC.format(version=version, a=a, b=b, of_a=of_a, of_b=of_b, primary=primary)


def run(server: Server, program: str, *words: str, cwd: Path | None = None) -> None:
    """Run a program of a server as the account that owns its cluster."""
    made = subprocess.run(
        [*run_as(server_account()), str(server.installation.bin / program), *words],
        check=False,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        cwd=cwd or "/",
        timeout=PATIENCE,
    )
    assert made.returncode == 0, made.stdout + made.stderr


def wait_for(server: Server, query: str, expected: object, *, database: str = "postgres") -> None:
    """Wait until a query has its answer."""
    deadline = time.monotonic() + PATIENCE
    while (found := server.sql(query, database=database)) != [(expected,)]:
        assert time.monotonic() < deadline, f"{query}: {found}\n{server.log()[-3000:]}"
        time.sleep(0.02)


def follow(server: Server, compiled: Path) -> None:
    """Make a copy of a primary its standby: the files, the fragment to include, the signal."""
    with (server.data / "postgresql.conf").open("a") as file:
        file.write("include_if_exists 'replication/primary_conninfo.conf'\n")
    install(compiled, server, "--no-reload").done()
    again = install(compiled, server, "--no-reload")
    assert ("nothing to do" in again.done(), again.stderr) == (True, "")
    with (server.data / "postgresql.auto.conf").open("r+") as file:  # as pg_basebackup -R does
        end = len(file.read())
        file.write("primary_conninfo = 'host=elsewhere password=secret'\n")
        file.flush()
        again = install(compiled, server, "--no-reload")
        assert again.stderr.endswith("overrides files of this set: primary_conninfo\n")
        file.truncate(end)
    key = server.data / "replication" / "postgresql.key"
    assert (stat.S_IMODE(key.stat().st_mode), key.stat().st_uid) == (0o600, server_account().uid)
    server.write("standby.signal", "")
    server.start()


STREAMS = (
    "select count(*) from pg_stat_replication r join pg_stat_ssl s using (pid) where usename = 'replicator' and ssl"
)
"""How many standbys a primary has, over TLS and as the role that the spec names."""


@pytest.mark.parametrize("installation", OLDEST_AND_NEWEST, ids=[found.id for found in OLDEST_AND_NEWEST])
def test_a_standby_is_copied_streams_is_promoted_and_takes_its_old_primary_back(
    installation: Installation, place: Place
) -> None:
    a, b = Server(installation), Server(installation)
    a.prepare()
    a.configure(wal_log_hints="on", full_page_writes="on", wal_keep_size="128MB")
    a.port, b.port = free_port(), free_port()
    try:
        a.start()
        a.populate(["replicator", "app"], ["shop"])
        a.sql("alter role replicator replication")
        place.build(spec(installation.major, a.port, b.port), now=datetime.now(UTC))
        a.install(place.file("servers/a"))

        # A copy with the conninfo as it stands: its relative paths begin where the files lie.
        b.directory.mkdir(exist_ok=True)
        waiting = b.directory / "waiting"
        waiting.mkdir()
        subprocess.run(["cp", "-a", place.file("servers/b/replication"), waiting], check=True)
        give(b.directory, server_account())
        conninfo = read_fragment((waiting / "replication/primary_conninfo.conf").read_text())["primary_conninfo"]
        run(b, "pg_basebackup", "-d", conninfo, "-D", str(b.data), "--checkpoint=fast", cwd=waiting)
        follow(b, place.file("servers/b"))
        a.sql("create table t as select 1 as x", database="shop")
        wait_for(a, STREAMS, 1)
        wait_for(b, "select count(*) from pg_class where relname = 't'", 1, database="shop")
        assert b.sql("select pg_is_in_recovery()") == [(True,)]
        (told,) = b.sql("select conninfo from pg_stat_wal_receiver")[0]
        assert "sslmode=verify-full" in told
        assert "sslcert=replication/postgresql.crt" in told

        _only_the_standby_replicates(a, conninfo, place, waiting)
        # The app reaches both by one policy, which the standby has from its primary.
        app = Bundle(place.file("clients/app"))
        services = {entry["service"]: app.files | entry["parameters"] for entry in app.connections}
        assert {admitted(PSQL.connect(services[name])) for name in ("a-shop", "b-shop")} == {"app@shop"}
        # One service for whichever is the primary, and one for the standby.
        recovering = "select pg_is_in_recovery(), inet_server_port()"
        assert admitted(PSQL.connect(services["a-shop-read-write"], query=recovering)) == f"f|{a.port}"
        assert admitted(PSQL.connect(services["a-shop-read-only"], query=recovering)) == f"t|{b.port}"

        # The roles change in the spec, and both servers get their files.
        run(b, "pg_ctl", "promote", "-D", str(b.data), "-w")
        b.sql("checkpoint")  # without one, pg_rewind up to 15 takes both for the same timeline
        b.sql("insert into t values (2)", database="shop")
        a.sql("insert into t values (3)", database="shop")
        a.stop()
        assert admitted(PSQL.connect(services["a-shop-read-write"], query=recovering)) == f"f|{b.port}"
        place.build(spec(installation.major, a.port, b.port, primary="b"), now=datetime.now(UTC))
        install(place.file("servers/b"), b).done()
        assert not (b.data / "replication").exists()
        source = f"host={b.sockets} port={b.port} user=postgres dbname=postgres"
        run(a, "pg_rewind", "-D", str(a.data), f"--source-server={source}")
        follow(a, place.file("servers/a"))
        wait_for(b, STREAMS, 1)
        wait_for(a, "select sum(x)::int from t", 3, database="shop")
    except BaseException as error:
        for server in (a, b):
            error.add_note(server.log()[-3000:] if server.logfile.exists() else "never started")
        raise
    finally:
        a.close()
        b.close()


def _only_the_standby_replicates(primary: Server, conninfo: str, place: Place, cwd: Path) -> None:
    """Cleartext, another user's certificate, another CA's server and an ordinary database are refused."""
    known = ("host", "port", "user", "sslmode", "sslrootcert", "sslcert", "sslkey")  # to the psql of the system, too
    good = {name: value for name, value in (word.split("=", 1) for word in conninfo.split()) if name in known}
    files = {name: str(cwd / good[name]) for name in ("sslrootcert", "sslcert", "sslkey")}
    start = {**good, **files, "replication": "true"}
    identify = "IDENTIFY_SYSTEM"
    assert admitted(PSQL.connect(start, query=identify))
    refused(PSQL.connect(start | {"sslmode": "disable"}, query=identify), "no encryption")
    app = Bundle(place.file("clients/app")).files
    refused(PSQL.connect(start | app, query=identify), 'certificate authentication failed for user "replicator"')
    none = {"sslcert": "/nonexistent", "sslkey": "/nonexistent"}
    refused(PSQL.connect(start | none, query=identify), "connection requires a valid client certificate")
    refused(PSQL.connect(start | {"replication": "false", "dbname": "shop"}), "no pg_hba.conf entry")
    wrong = {"sslrootcert": str(place.file("ca/clients/ca.crt"))}
    refused(PSQL.connect(start | wrong, query=identify), "certificate verify failed")
