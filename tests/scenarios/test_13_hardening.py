"""TLS 1.3 alone, a short list of ciphers, one curve, files outside of the data directory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from support.clients import PSQL, TLS, Bundle, admitted, at, refused, socket_of
from support.pgtls import SCENARIOS, compiled, for_postgres
from support.scenario import KNOWN, PASSWORD, enact, verified
from support.servers import ServerError
from support.system import find_account, is_root, new_directory

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Server

NAME = "13-hardening"


def test_a_short_list_of_ciphers_and_one_curve_are_in_force(server: Server, tmp_path: Path) -> None:
    out = enact(NAME, server, ("app",), entity="careful")
    assert server.show("ssl_min_protocol_version") == "TLSv1.2"
    assert server.show("ssl_ciphers") == "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
    assert server.show("ssl_groups" if server.version >= 18 else "ssl_ecdh_curve") == "secp384r1"
    assert server.show("password_encryption") == "scram-sha-256"
    own = Bundle(out / "clients" / "app").parameters("shop", server="careful") | at(server)
    assert own["channel_binding"] == "require"
    older = own | {"ssl_max_protocol_version": "TLSv1.2"}
    assert admitted(PSQL.connect(own, query=TLS, environment=KNOWN)).startswith("t|TLSv1.3|")
    assert admitted(PSQL.connect(older, query=TLS, environment=KNOWN)).startswith(
        "t|TLSv1.2|ECDHE-ECDSA-AES256-GCM-SHA384|"
    )
    for line in ("CipherString = ECDHE-ECDSA-AES128-GCM-SHA256", "Groups = prime256v1"):
        refused(
            PSQL.connect(older, environment=KNOWN | {"OPENSSL_CONF": str(openssl_conf(tmp_path, line))}),
            "handshake failure",
        )
    matching = openssl_conf(tmp_path, "CipherString = ECDHE-ECDSA-AES256-GCM-SHA384\nGroups = secp384r1")
    admitted(PSQL.connect(older, environment=KNOWN | {"OPENSSL_CONF": str(matching)}))
    run = verified(out, server, "careful")
    assert run.status == 0, run.stdout
    assert re.search("ok +group secp384r1 ", run.stdout)


def openssl_conf(directory: Path, lines: str) -> Path:
    """Write the configuration of an OpenSSL client that can do no more than ``lines`` say."""
    path = directory / "openssl.cnf"
    path.write_text(f"openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = tls\n[tls]\n{lines}\n")
    return path


@pytest.mark.skipif(not is_root(), reason="unavailable: root alone can log in as another operating-system user")
def test_tls_1_3_alone_and_files_in_a_directory_of_their_own(server: Server) -> None:
    directory = new_directory("etc") / "modern"
    spec = for_postgres(SCENARIOS / NAME / "pgtls.toml", server.version).replace("/etc/pgtls/modern", str(directory))
    out = compiled(spec, new_directory("compiled"))
    server.populate(("app",), ("shop",), PASSWORD)
    server.place(out / "servers" / "modern", directory)
    server.restart()

    for name in ("server.crt", "server.key", "pg_hba.conf"):
        assert (directory / name).exists()
    assert not (server.data / "server.key").exists()
    admin = socket_of(server) | {"user": "postgres", "dbname": "postgres"}
    for setting, file in (("hba_file", "pg_hba.conf"), ("ident_file", "pg_ident.conf"), ("ssl_key_file", "server.key")):
        assert admitted(PSQL.connect(admin, query=f"show {setting}", account=find_account("postgres"))) == str(
            directory / file
        )
    own = Bundle(out / "clients" / "app").parameters("shop", server="modern") | at(server)
    assert admitted(PSQL.connect(own, query=TLS, environment=KNOWN)).startswith("t|TLSv1.3|")
    refused(PSQL.connect(own | {"ssl_max_protocol_version": "TLSv1.2"}, environment=KNOWN), "protocol version")
    run = verified(out, server, "modern")
    assert run.status == 0, run.stdout
    assert re.search("ok +TLS 1.2 +refused", run.stdout)

    (directory / "server.key").chmod(0o640)
    with pytest.raises(ServerError, match="has group or world access"):
        server.reload()
