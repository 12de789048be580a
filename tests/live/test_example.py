"""The example of the README on every server: each user connects with its bundle only as its policy allows."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from support.addresses import Network, Relay, networks_available
from support.clients import PSQL, TLS, Bundle, admitted, at, libpq_clients, refused, socket_of
from support.pgtls import EXAMPLE, compiled_for
from support.servers import Installation, Server, ServerError
from support.system import ENVIRONMENT, find_account, is_root

if TYPE_CHECKING:
    from pathlib import Path

ROLES = ("app", "alice", "reporting", "auditor", "metrics")
DATABASES = ("shop", "reports")
PASSWORD = "correct horse"
BY_CERTIFICATE = [
    pytest.param("app", "app", "shop", "alice", "alice", "reports", id="app to shop"),
    pytest.param("alice", "alice", "reports", "auditor", "auditor", "postgres", id="alice to reports"),
    pytest.param("alice", "reporting", "shop", "auditor", "auditor", "postgres", id="alice to shop as reporting"),
    pytest.param("auditor", "auditor", "reports", "alice", "reporting", "postgres", id="auditor to reports"),
]
"""User, role and database that it may use; another user, a role and a database that it may not use."""


def install(server: Server) -> Path:
    """Return the out directory of the example, in force on ``server``."""
    server.populate(ROLES, DATABASES, PASSWORD)
    out = compiled_for(EXAMPLE, server.version)
    server.install(out / "servers" / "primary")
    return out


@pytest.fixture
def out(server: Server) -> Path:
    """The compiled example, in force on the server of the test."""
    return install(server)


def test_the_server_takes_every_file_without_a_complaint(server: Server) -> None:
    server.populate(ROLES, DATABASES)
    compiled = compiled_for(EXAMPLE, server.version) / "servers" / "primary"
    log = server.install(compiled)
    assert not [
        line
        for line in log.splitlines()
        if any(level in line for level in ("WARNING", "ERROR", "FATAL", "not reloaded"))
    ]
    assert server.hba_errors() == []
    if server.version >= 15:
        assert server.sql("select error from pg_ident_file_mappings where error is not null") == []
    assert server.sql("select name from pg_settings where pending_restart") == []
    for name, value in _settings(compiled / "pgtls.conf").items():
        assert server.show(name) == value, name
    server.stop()
    mark = server.mark()
    server.start()
    assert not [
        line for line in server.log(mark).splitlines() if any(level in line for level in ("WARNING", "ERROR", "FATAL"))
    ]


def _settings(conf: Path) -> dict[str, str]:
    pairs = (
        line.split(" = ", 1) for line in conf.read_text().splitlines() if " = " in line and not line.startswith("#")
    )
    return {name: value.removeprefix("'").removesuffix("'") for name, value in pairs}


def test_the_check_of_the_key_file_is_the_server_s_own(server: Server, out: Path) -> None:
    key = server.data / "server.key"
    assert key.read_bytes() == (out / "servers" / "primary" / "server.key").read_bytes()
    key.chmod(0o644)
    with pytest.raises(ServerError, match="has group or world access"):
        server.reload()


@pytest.mark.parametrize(("user", "role", "database", "other_user", "other_role", "other_database"), BY_CERTIFICATE)
def test_a_certificate_admits_its_user_and_nobody_else(
    server: Server,
    out: Path,
    user: str,
    role: str,
    database: str,
    other_user: str,
    other_role: str,
    other_database: str,
) -> None:
    own = Bundle(out / "clients" / user).parameters(database, role) | at(server)
    assert own["sslmode"] == "verify-full"
    assert admitted(PSQL.connect(own)) == f"{role}@{database}"
    assert admitted(PSQL.connect(own, query=TLS)).startswith("t|TLSv1.3|")

    # What the server refuses.
    somebody = Bundle(out / "clients" / other_user).files
    refused(PSQL.connect(own | {"sslmode": "disable"}), "pg_hba.conf")
    refused(PSQL.connect(own | {"sslcert": "/nonexistent"}), "connection requires a valid client certificate")
    refused(
        PSQL.connect(own | {"sslcert": somebody["sslcert"], "sslkey": somebody["sslkey"]}),
        "certificate authentication failed",
    )
    refused(PSQL.connect(own | {"user": other_role}), "certificate authentication failed")
    refused(PSQL.connect(own | {"dbname": other_database}), "no pg_hba.conf entry")
    with Relay(("127.0.0.1", server.port), "127.0.0.2") as relay:
        refused(PSQL.connect(own | {"port": str(relay.port)}), 'no pg_hba.conf entry for host "127.0.0.2"')
    with Relay(("127.0.0.1", server.port), "127.0.0.1") as relay:
        admitted(PSQL.connect(own | {"port": str(relay.port)}))

    # What the client refuses.
    refused(PSQL.connect(own | {"host": "db.example.org"}), 'does not match host name "db.example.org"')
    strangers = Bundle(compiled_for(EXAMPLE, server.version, "a stranger") / "clients" / user).files
    refused(PSQL.connect(own | {"sslrootcert": strangers["sslrootcert"]}), "certificate verify failed")

    # The same names, certified by another CA. The client may only see that the connection ends: the server says why.
    mark = server.mark()
    refused(PSQL.connect(own | {"sslcert": strangers["sslcert"], "sslkey": strangers["sslkey"]}), "")
    server.wait_for_log("could not accept SSL connection", mark)


def test_a_password_admits_metrics_from_loopback(server: Server, out: Path) -> None:
    own = Bundle(out / "clients" / "metrics").parameters("postgres") | at(server)
    known = {"PGPASSWORD": PASSWORD}
    assert admitted(PSQL.connect(own, environment=known)) == "metrics@postgres"
    assert admitted(
        PSQL.connect(own | {"sslmode": "verify-full"}, environment=known, query="select ssl from pg_stat_ssl")
    ).startswith("t")
    assert admitted(PSQL.connect(own | {"sslmode": "disable"}, environment=known)) == "metrics@postgres", (
        "the policy says prefer"
    )

    refused(PSQL.connect(own, environment={"PGPASSWORD": "wrong"}), "password authentication failed")
    refused(PSQL.connect(own), "no password supplied")
    refused(PSQL.connect(own | {"dbname": "shop"}, environment=known), "no pg_hba.conf entry")
    refused(PSQL.connect(own | {"user": "app"}, environment=known), "pg_hba.conf")
    with Relay(("127.0.0.1", server.port), "127.0.0.2") as relay:
        refused(
            PSQL.connect(own | {"port": str(relay.port)}, environment=known),
            'no pg_hba.conf entry for host "127.0.0.2"',
        )


@pytest.mark.skipif(not is_root(), reason="unavailable: root alone can log in as another operating-system user")
def test_the_administrator_comes_in_on_the_socket(server: Server, out: Path) -> None:
    assert not (out / "clients" / "postgres").exists(), "who may only connect locally needs no bundle"
    own = socket_of(server) | {"user": "postgres", "dbname": "postgres"}
    assert admitted(PSQL.connect(own, account=find_account("postgres"))) == "postgres@postgres"

    refused(PSQL.connect(own, account=find_account("nobody")), 'Peer authentication failed for user "postgres"')
    refused(PSQL.connect(own), 'Peer authentication failed for user "postgres"')
    for sslmode in ("disable", "require"):
        refused(PSQL.connect({**own, "host": "localhost", **at(server), "sslmode": sslmode}), "no pg_hba.conf entry")
    refused(
        PSQL.connect(own | {"user": "alice", "dbname": "shop"}, account=find_account("postgres")),
        'no pg_hba.conf entry for host "[local]"',
    )


def test_every_libpq_connects_with_the_bundle(server: Server, out: Path) -> None:
    own = Bundle(out / "clients" / "app").parameters("shop") | at(server)
    assert libpq_clients()
    for client in libpq_clients():
        assert admitted(client.connect(own)) == "app@shop"
        refused(client.connect(own | {"sslmode": "disable"}), "pg_hba.conf")
        refused(client.connect(own | {"host": "db.example.org"}), 'does not match host name "db.example.org"')


def test_a_bundle_unpacked_into_the_home_directory_needs_no_parameter(server: Server, out: Path) -> None:
    home = Bundle(out / "clients" / "alice").unpacked()
    entry = next(
        entry
        for entry in Bundle(out / "clients" / "alice").connections
        if (entry["role"], entry["database"]) == ("reporting", "shop")
    )
    asked = {"service": entry["service"], **at(server)}
    services = {"PGSERVICEFILE": str(home / ".postgresql" / "pg_service.conf")}
    assert admitted(PSQL.connect_exactly(asked, environment={"HOME": str(home), **services})) == "reporting@shop"
    refused(PSQL.connect_exactly(asked, environment=services), "root certificate file")


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_env_sh_is_all_that_a_shell_needs(server: Server, out: Path, shell: str) -> None:
    home = Bundle(out / "clients" / "app").unpacked()
    entry = Bundle(out / "clients" / "app").connections[0]
    words = shlex.join(
        [
            "psql",
            "-XAt",
            f"service={entry['service']} hostaddr=127.0.0.1 port={server.port}",
            "-c",
            "select current_user",
        ]
    )
    script = f'. "{home}/.postgresql/env.sh" && {words}'
    run = subprocess.run(
        [shell, "-c", script],
        check=False,
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, "HOME": str(home)},
        cwd="/",
    )
    assert (run.stdout.strip(), run.stderr) == ("app", "")


MATRIX = {
    "10.9.0.7": {"app": True, "alice": True, "auditor": True},
    "10.1.2.3": {"app": True, "alice": False, "auditor": False},
    "192.168.7.9": {"app": False, "alice": True, "auditor": True},
    "172.16.0.1": {"app": False, "alice": False, "auditor": False},
}
"""The users that may connect from each address."""


@pytest.mark.skipif(not networks_available(), reason="unavailable: this machine gives no network of its own")
def test_policies_hold_for_the_addresses_that_they_name(installation: Installation) -> None:
    with Network(tuple(MATRIX)) as network, Server(installation, network=network) as server:
        out = install(server)
        for address, expected in MATRIX.items():
            for user, welcome in expected.items():
                own = Bundle(out / "clients" / user).parameters("shop", user) | at(server, address)
                outcome = PSQL.connect(own, network=network)
                if welcome:
                    assert admitted(outcome) == f"{user}@shop"
                    refused(PSQL.connect(own | {"sslmode": "disable"}, network=network), "pg_hba.conf")
                else:
                    refused(outcome, f'no pg_hba.conf entry for host "{address}"')
