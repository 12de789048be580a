"""What each change needs to take effect, in the plan and on servers.

And what a broken file does at a reload and at a start.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
import pytest

from support.clients import PSQL, Bundle, admitted, at, conninfo, refused, socket_of
from support.pgtls import SCENARIOS, built, for_postgres, pgtls
from support.scenario import KNOWN, PASSWORD, verified
from support.servers import ServerError
from support.system import find_account, is_root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.servers import Server

NAME = "17-reload-or-restart"
needs_root = pytest.mark.skipif(
    not is_root(), reason="unavailable: root alone can log in as another operating-system user"
)


def ask(server: Server, query: str) -> str:
    """Ask the server as its own DBA does: a connection of today, whatever it was restarted with."""
    admin = socket_of(server) | {"user": "postgres", "dbname": "postgres"}
    return admitted(PSQL.connect(admin, query=query, account=find_account("postgres")))


def setting(name: str) -> Callable[[Server], str]:
    return lambda server: ask(server, f"show {name}")


def served(server: Server) -> str:
    """Return the certificate that the server sends to a client."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", server.port)) as plain:
        plain.sendall(bytes.fromhex("0000000804d2162f"))
        assert plain.recv(1) == b"S"
        with context.wrap_socket(plain) as connection:
            certificate = connection.getpeercert(binary_form=True) or b""
            with contextlib.suppress(OSError):
                connection.unwrap()  # a client that just hangs up is a line in the log
            return certificate.hex()


def rules(server: Server) -> str:
    """Return the result for a role in no policy: the reason names the rules in force."""
    parameters = at(server) | {"host": "localhost", "sslmode": "require", "user": "other", "dbname": "shop"}
    return PSQL.connect(parameters, environment={"PGPASSWORD": "wrong"}).text.partition("FATAL:")[2]


@dataclass(frozen=True, slots=True)
class Change:
    """An edit of the spec, the cost that its plan must have for the server, and how to see whether it is in force."""

    old: str
    new: str
    cost: str
    seen: Callable[[Server], str]


OTHER = """
[user.other]
[policy.other]
users     = ["other"]
databases = ["shop"]
from      = ["127.0.0.1"]
auth      = "scram-sha-256"
"""
CHANGES = {
    "a name more in the certificate": Change('"db.example.com"]', '"db.example.com", "db2"]', "reload", served),
    "a policy more": Change("[policy.app]", f"{OTHER}\n[policy.app]", "reload", rules),
    "TLS 1.3 alone": Change("postgres  =", 'min_tls = "1.3"\npostgres  =', "reload",
        setting("ssl_min_protocol_version")),
    "other ciphers": Change(
        "postgres  =", 'ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384"\npostgres  =', "reload", setting("ssl_ciphers")
    ),
    "a setting that is read at reload": Change('log_connections = "on"', 'log_duration = "on"', "reload",
        setting("log_duration")),
    "a setting that is read at start": Change(
        "max_connections = 20", "max_connections = 21", "restart", setting("max_connections")
    ),
}  # fmt: skip


@needs_root
def test_a_change_is_in_force_after_what_the_plan_says_and_not_before(server: Server, tmp_path: Path) -> None:
    path, out = tmp_path / "pgtls.toml", tmp_path / "out"
    spec = for_postgres(SCENARIOS / NAME / "pgtls.toml", server.version)
    path.write_text(spec)
    built(path, out)
    server.populate(("app", "alice", "other"), ("shop",), PASSWORD)
    server.place(out / "servers" / "db")
    server.restart()  # from here on the DBA comes in as the policies say
    for name, change in CHANGES.items():
        assert change.old in spec, name
        spec = spec.replace(change.old, change.new)
        path.write_text(spec)
        build = pgtls("build", path, "--out", out, "--lock", out.with_suffix(".lock"), "--format", "json")
        assert build.status == 0, build.stderr
        costs = {step["cost"] for step in build.json["steps"] if step["entity"] == "server.db"}
        assert costs == {change.cost}, name
        before = change.seen(server)
        server.place(out / "servers" / "db")
        assert change.seen(server) == before, f"{name}: the files alone change nothing"
        server_log = server.mark()
        if change.cost == "restart":
            with pytest.raises(ServerError, match="cannot be changed without restarting the server"):
                server.reload()
            assert change.seen(server) == before, f"{name}: a reload is not enough"
            assert ask(server, "select name from pg_settings where pending_restart") == "max_connections"
            server.restart()
        else:
            server.reload()
        assert change.seen(server) != before, f"{name}: {server.log(server_log)}"
        assert ask(server, "select name from pg_settings where pending_restart") == ""


UNTOUCHED = {
    "a comment": ("[ca.root]", "# the root\n[ca.root]"),
    "the order of tables": ("[ca.root]\n\n[ca.people]", "[ca.people]\n\n[ca.root]"),
}


@pytest.mark.parametrize(("old", "new"), UNTOUCHED.values(), ids=UNTOUCHED)
def test_what_means_the_same_costs_nothing(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "pgtls.toml"
    spec = (SCENARIOS / NAME / "pgtls.toml").read_text()
    path.write_text(spec)
    assert pgtls("build", path).status == 0
    assert old in spec
    path.write_text(spec.replace(old, new))
    assert pgtls("plan", path, "--detailed-exitcode").status == 0
    path.write_text(spec.replace('"db.example.com"]', '"db.example.com", "db2"]'))
    assert pgtls("plan", path, "--detailed-exitcode").status == 2


def test_a_client_s_certificate_is_a_rollout_and_nothing_for_the_server(tmp_path: Path) -> None:
    path = tmp_path / "pgtls.toml"
    spec = (SCENARIOS / NAME / "pgtls.toml").read_text()
    path.write_text(spec)
    assert pgtls("build", path).status == 0
    path.write_text(spec.replace("[user.alice]\n", '[user.alice]\nsubject = { organization = "Example" }\n'))
    steps = pgtls("plan", path, "--format", "json").json["steps"]
    costs = {(step["entity"], step["action"]): step["cost"] for step in steps}
    assert costs["user.alice", "renew"] == "rollout"
    assert {cost for (entity, _), cost in costs.items() if entity.startswith("server.")} <= {"reload"}, "for its CRL"
    assert "user.app" not in {entity for entity, _ in costs}


BROKEN = {
    "server.crt": ("", "could not load server certificate file"),
    "server.key": ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "could not load private key file"),
    "root.crt": ("nothing", "could not load root certificate file"),
    "root.crl": ("nothing", "could not load SSL certificate revocation list file"),
    "pg_hba.conf": ("hostssl all all 127.0.0.1/32 no-such-method\n", "invalid authentication method"),
}
"""The whole content of files that no server takes, and what it says of them."""


@needs_root
def test_a_broken_file_is_ignored_at_a_reload_and_fatal_at_a_start(server: Server, tmp_path: Path) -> None:
    path, out = tmp_path / "pgtls.toml", tmp_path / "out"
    path.write_text(for_postgres(SCENARIOS / NAME / "pgtls.toml", server.version))
    built(path, out)
    server.populate(("app", "alice"), ("shop",), PASSWORD)
    server.place(out / "servers" / "db")
    server.restart()
    alice = Bundle(out / "clients" / "alice").parameters("shop") | at(server)
    app = Bundle(out / "clients" / "app").parameters("shop") | at(server)
    with psycopg.connect(conninfo(app), password=PASSWORD) as held:
        for name, (content, reason) in BROKEN.items():
            whole = (server.data / name).read_bytes()
            server.write(name, content)
            with pytest.raises(ServerError, match=reason):
                server.reload()
            assert admitted(PSQL.connect(alice)) == "alice@shop", f"{name}: what it had before is still in force"
            refused(PSQL.connect(alice | {"sslcert": "/nonexistent"}), "connection requires a valid client certificate")
            server.write(name, whole)
            server.reload()
        server.write("server.key", BROKEN["server.key"][0])
        assert (
            pgtls("build", path, "--out", out, "--lock", out.with_suffix(".lock"), "--renew", "server.db").status == 0
        )
        server.write("server.crt", (out / "servers/db/server.crt").read_bytes())
        with pytest.raises(ServerError, match="could not load private key file"):
            server.reload()
        run = verified(out, server)
        assert run.status == 1, "the new certificate lies there, and the old one is served"
        assert "it serves a superseded certificate" in run.stdout
        server.write("server.key", (out / "servers/db/server.key").read_bytes())
        server.reload()
        assert verified(out, server).status == 0
        assert held.execute("select ssl from pg_stat_ssl where pid = pg_backend_pid()").fetchall() == [(True,)]

    for name, (content, reason) in BROKEN.items():
        whole = (server.data / name).read_bytes()
        server.stop()
        server.write(name, content)
        with pytest.raises(ServerError, match=f"(?s){reason}"):
            server.start()
        server.write(name, whole)
        server.start()
        assert admitted(PSQL.connect(alice)) == "alice@shop"
    assert admitted(PSQL.connect(app, environment=KNOWN)) == "app@shop"


@needs_root
def test_of_settings_a_reload_takes_all_but_the_wrong_one(server: Server, tmp_path: Path) -> None:
    path, out = tmp_path / "pgtls.toml", tmp_path / "out"
    path.write_text(for_postgres(SCENARIOS / NAME / "pgtls.toml", server.version))
    built(path, out)
    server.place(out / "servers" / "db")
    server.restart()
    whole = (server.data / "pgtls.conf").read_text()
    server.write("pgtls.conf", whole + "ssl_min_protocol_version = 'TLSv9'\nlog_duration = on\n")
    with pytest.raises(ServerError, match="unaffected changes were applied"):
        server.reload()
    assert (ask(server, "show ssl_min_protocol_version"), ask(server, "show log_duration")) == ("TLSv1.2", "on")
    server.write("pgtls.conf", whole + "log_duration off and on\n")  # no setting at all
    with pytest.raises(ServerError, match="no changes were applied"):
        server.reload()
    assert ask(server, "show log_duration") == "on"
    server.stop()
    with pytest.raises(ServerError, match="FATAL"):
        server.start()
    server.write("pgtls.conf", whole)
    server.start()
    assert ask(server, "show log_duration") == "off"
