"""A server whose client CA is not signed yet starts, admits by password, and nobody by certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.cli import run
from support.clients import PSQL, Bundle, admitted, at, refused
from support.pgtls import compiled
from support.system import new_directory

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from support.servers import Server

SPEC = """
version = 1
[ca.root]
[ca.clients]
{signed}
[server.db]
ca = "root"
client_ca = ["clients"]
hosts = ["localhost", "127.0.0.1"]
postgres = {postgres}
[user.postgres]
[user.app]
[user.batch]
ca = "clients"
external = {external}
[policy.admin]
users = ["postgres"]
from = ["local"]
auth = "trust"
waiver = "a test"
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["127.0.0.1"]
auth = "scram-sha-256"
[policy.batch]
users = ["batch"]
databases = ["shop"]
from = ["127.0.0.1"]
auth = "cert"
waiver = "a test"
"""


def test_it_restarts_with_the_files_and_rejects_certificates(server: Server) -> None:
    server.populate(("app", "batch"), ("shop",), "secret")
    signed = compiled(SPEC.format(signed="", external="false", postgres=server.version), new_directory("signed"))
    spec = SPEC.format(signed="external = true", external="true", postgres=server.version)
    waiting = compiled(spec, new_directory("waiting"))
    server.install(waiting / "servers" / "db")
    server.restart()
    assert server.show("ssl_ca_file") == server.show("ssl_crl_file") == ""
    app = Bundle(waiting / "clients" / "app").parameters("shop") | at(server) | {"password": "secret"}
    assert admitted(PSQL.connect(app)) == "app@shop"
    files = Bundle(signed / "clients" / "batch").files
    batch = app | {"user": "batch", "sslcert": files["sslcert"], "sslkey": files["sslkey"]}
    refused(PSQL.connect(batch), "")


def test_the_build_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "pgtls.toml"
    spec.write_text(SPEC.format(signed="external = true", external="true", postgres=17))
    assert run(["plan", str(spec)]) == 0
    assert 'warning[PGT116]: nobody can log in to server "db" by certificate yet' in capsys.readouterr().err
    spec.write_text(SPEC.format(signed="", external="false", postgres=17))
    assert run(["plan", str(spec)]) == 0
    assert "PGT116" not in capsys.readouterr().err
