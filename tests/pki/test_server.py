"""PostgreSQL judges certificates, chains, CRLs and the text of a subject."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgtls.pki import crl, keys
from pgtls.pki.expected import subject_text
from pgtls.pki.model import Revocation
from pki.trees import DAY, Authority, authority, key, leaf, presented, trust
from support.clients import PSQL, admitted
from support.servers import Server, ServerError

if TYPE_CHECKING:
    from pathlib import Path

    from pgtls.pki.issue import Issued

NOW = datetime.now(UTC)
"""Servers ask the clock of the machine."""


def serve(
    server: Server, servers: Authority, clients: Authority, hba: str, ident: str = "", revoked: tuple[Issued, ...] = ()
) -> None:
    """Install a server's certificate, the CA of its clients with its CRL, and its rules."""
    certificate = leaf(servers, "server", now=NOW, ip_addresses=("127.0.0.1",))
    entries = [Revocation(each.facts.serial, NOW, "superseded") for each in revoked]
    lists = [crl.make(ca.issuer, 1, NOW, DAY, entries if ca is clients else ()) for ca in (clients, *clients.above)]
    server.write("server.crt", presented(certificate, servers), 0o644)
    server.write("server.key", keys.to_pem(key("server", "ecdsa-p256")))
    server.write("clients.crt", trust(clients), 0o644)
    server.write("clients.crl", b"".join(lists), 0o644)
    server.configure(ssl="on", ssl_ca_file="clients.crt", ssl_crl_file="clients.crl")
    server.write("pg_hba.conf", hba)
    server.write("pg_ident.conf", ident)
    server.reload()


def connect(
    server: Server, directory: Path, servers: Authority, certificate: Issued, by: Authority, name: str, role: str
) -> str:
    """Connect with a certificate and verify-full, and give the version of TLS; or raise what the client was told."""
    files = {"crt": presented(certificate, by), "key": keys.to_pem(key(name, "ecdsa-p256")), "root": servers.root.pem}
    for suffix, content in files.items():
        path = directory / suffix
        path.write_bytes(content)
        path.chmod(0o600)
    with psycopg.connect(
        host="127.0.0.1",
        port=server.port,
        user=role,
        dbname="postgres",
        sslmode="verify-full",
        sslcert=str(directory / "crt"),
        sslkey=str(directory / "key"),
        sslrootcert=str(directory / "root"),
        sslcrl="",
        gssencmode="disable",
        connect_timeout=10,
    ) as connection:
        row = connection.execute("select version from pg_stat_ssl where pid = pg_backend_pid()").fetchone()
        assert row is not None
        return str(row[0])


@pytest.fixture
def servers() -> Authority:
    return authority("middle", authority("root", now=NOW), now=NOW)


@pytest.fixture
def clients() -> Authority:
    return authority("clients", authority("clients-root", now=NOW), now=NOW)


CERT = "hostssl all all 127.0.0.1/32 cert\n"


def test_a_user_connects_by_certificate_and_is_refused_with_another_s(
    server: Server, servers: Authority, clients: Authority, tmp_path: Path
) -> None:
    server.populate(["alice"])
    alice, bob = leaf(clients, name="alice", now=NOW), leaf(clients, name="bob", now=NOW)
    stranger = authority("stranger", now=NOW)
    serve(server, servers, clients, CERT)
    assert connect(server, tmp_path, servers, alice, clients, "alice", "alice").startswith("TLSv1.")
    with pytest.raises(psycopg.OperationalError, match="certificate authentication failed"):
        connect(server, tmp_path, servers, bob, clients, "bob", "alice")
    with pytest.raises(psycopg.OperationalError, match=r"unknown ca|closed the connection|SSL SYSCALL"):
        connect(server, tmp_path, servers, leaf(stranger, name="alice", now=NOW), stranger, "alice", "alice")
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        connect(server, tmp_path, stranger, alice, clients, "alice", "alice")


def test_a_revoked_user_is_refused_and_the_others_are_not(
    server: Server, servers: Authority, clients: Authority, tmp_path: Path
) -> None:
    server.populate(["alice", "bob"])
    alice, bob = leaf(clients, name="alice", now=NOW), leaf(clients, name="bob", now=NOW)
    serve(server, servers, clients, CERT)
    assert connect(server, tmp_path, servers, bob, clients, "bob", "bob")
    serve(server, servers, clients, CERT, revoked=(bob,))
    assert connect(server, tmp_path, servers, alice, clients, "alice", "alice")
    with pytest.raises(psycopg.OperationalError, match=r"revoked|closed the connection|SSL SYSCALL"):
        connect(server, tmp_path, servers, bob, clients, "bob", "bob")
    if server.version >= 16:  # older ones keep the reason to themselves
        server.wait_for_log("certificate revoked")


SUBJECT = (
    ("country", "GR"),
    ("organization", 'Α & B, "C" + <D>; E=\\F#'),
    ("organizational_unit", "#1 "),
    ("organizational_unit", "Team A, B"),
    *(("organizational_unit", f"{number}" * 64) for number in range(9)),
    ("email", "alice@b.example"),
    ("common_name", "Ελένη x"),
)


def test_the_text_of_a_subject_is_what_clientname_dn_compares(
    server: Server, servers: Authority, clients: Authority, tmp_path: Path
) -> None:
    server.populate(["app"])
    certificate = leaf(clients, name="dn", now=NOW, subject=SUBJECT)
    quoted = '"' + subject_text(SUBJECT).replace('"', '""') + '"'
    swapped = (*SUBJECT[:2], SUBJECT[3], SUBJECT[2], *SUBJECT[4:])
    others = ['"' + subject_text(subject).replace('"', '""') + '"' for subject in (SUBJECT[1:], swapped)]
    hba = "hostssl all all 127.0.0.1/32 cert clientname=DN map=dn\n"
    if server.version < 14:
        with pytest.raises(ServerError, match="clientname"):
            serve(server, servers, clients, hba)
        return
    serve(server, servers, clients, hba, f"dn {quoted} app\n")
    assert connect(server, tmp_path, servers, certificate, clients, "dn", "app")
    serve(server, servers, clients, hba, "".join(f"dn {other} app\n" for other in others))
    with pytest.raises(psycopg.OperationalError, match="certificate authentication failed"):
        connect(server, tmp_path, servers, certificate, clients, "dn", "app")


def test_a_tls_1_2_client_must_allow_the_curve_of_the_server_s_key_and_the_server_need_not(
    server: Server, tmp_path: Path
) -> None:
    """What PGT411 says, and no more: it is the client's list that counts, and TLS 1.3 does not mind."""
    root = authority("curves", now=NOW)
    group = "ssl_groups" if server.version >= 18 else "ssl_ecdh_curve"
    limited = tmp_path / "openssl.cnf"
    tls = "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = tls\n[tls]\nGroups = secp384r1\n"
    limited.write_text(tls)
    for algorithm, is_on_the_list in (("ecdsa-p256", False), ("ecdsa-p384", True), ("rsa-2048", True)):
        name = f"curves-{algorithm}"
        certificate = leaf(root, "server", name, now=NOW, key_algorithm=algorithm)
        server.write("server.crt", certificate.pem, 0o644)
        server.write("server.key", keys.to_pem(key(name, algorithm)))
        server.configure(ssl="on", **{group: "secp384r1"})
        server.reload()
        there = {"host": "127.0.0.1", "port": str(server.port), "user": "postgres", "sslmode": "require"}
        for version in ("TLSv1.2", "TLSv1.3"):
            at_most = there | {"ssl_max_protocol_version": version, "ssl_min_protocol_version": version}
            admitted(PSQL.connect(at_most))
            outcome = PSQL.connect(at_most, environment={"OPENSSL_CONF": str(limited)})
            assert outcome.admitted == (is_on_the_list or version == "TLSv1.3"), outcome.text
