"""Faults made on purpose on servers of every version; `pgtls verify` names each, and finds none on a good server."""

from __future__ import annotations

import os
import re
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from live.verifying import Site, faults, listener, seen
from pgtls.live.checks.check import TRUST, differs
from support.authority import Authority
from support.building import Place
from support.diagnosing import REWRITE
from support.pgtls import ROOT
from support.system import new_directory

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from support.servers import Server


SPEC = """
version = 1
[ca.root]
[ca.middle]
issuer = "root"
[ca.servers]
issuer = "middle"
[ca.clients]
[ca.partners]
[server.db]
ca = "servers"
client_ca = ["clients", "partners"]
hosts = ["db.example.com", "127.0.0.1"]
postgres = {postgres}
{more}
[user.postgres]
[user.app]
ca = "clients"
[user.etl]
ca = "partners"
[user.report]
[policy.dba]
users = ["postgres"]
from = ["local"]
auth = "trust"
waiver = "a throwaway server"
[policy.apps]
users = ["app", "etl"]
databases = ["shop"]
from = ["127.0.0.0/8"]
auth = "cert"
[policy.report]
users = ["report"]
databases = ["shop"]
from = ["127.0.0.0/8"]
sslmode = "require"
auth = "scram-sha-256"
"""
NOW = datetime.now(UTC)
GUIDE = ROOT / "docs/guides/verify.md"


def built(version: int, *, more: str = "", now: datetime = NOW) -> Place:
    place = Place(new_directory("verified"))
    place.build(SPEC.format(postgres=version, more=more), now=now, new_out=True)
    return place


def blocks(pem: bytes) -> list[bytes]:
    return re.findall(b"-----BEGIN.*?-----END[^\n]*\n", pem, re.DOTALL)


class Fault(NamedTuple):
    """A fault, how it is made, and the word that `verify` has for it."""

    what: str
    make: Callable[[Site], None]
    named: str
    since: int = 13
    sql: bool = False
    """Whether the wire does not show it, and SQL does."""


def old_certificate(site: Site) -> None:
    """Renew in the tree, and deploy nothing."""
    site.place.build(now=NOW + timedelta(days=80))


def revoked_certificate(site: Site) -> None:
    """Revoke the server's certificate in the tree, and deploy nothing."""
    site.place = built(site.server.version, now=NOW - timedelta(days=2))
    site.install()
    since = f"{NOW - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    site.place.build(
        site.place.spec.read_text().replace("[server.db]", f"[server.db]\nrevoke_before = {since}"), now=NOW
    )


def without_intermediate(site: Site) -> None:
    site.write("server.crt", blocks(site.read("server.crt"))[0])


def wrong_order(site: Site) -> None:
    leaf, *above = blocks(site.read("server.crt"))
    site.write("server.crt", b"".join([leaf, *reversed(above)]))


def of_another_out_directory(site: Site) -> None:
    other = built(site.server.version)
    for name in ("server.crt", "server.key"):
        site.server.write(name, other.file(f"servers/db/{name}").read_bytes())
    site.reload()


def half_installed(site: Site) -> None:
    """Certificate and key are there, and root.crt is one from before `partners`."""
    ca_missing(site)


def ca_missing(site: Site) -> None:
    site.write("root.crt", site.place.file("ca/clients/ca.crt").read_bytes())


def ca_of_a_stranger(site: Site) -> None:
    site.write("root.crt", site.read("root.crt") + Authority.root("stranger").pem)


def stale_crl(site: Site) -> None:
    cas = [Authority.of(site.place.file(f"ca/{name}")) for name in ("clients", "partners")]
    site.server.write("root.crl", b"".join(ca.crl(days=0) for ca in cas))
    site.configure(**({"ssl_crl_dir": ""} if site.server.version >= 14 else {}))


def crl_of_one_missing(site: Site) -> None:
    site.server.write("root.crl", site.place.file("ca/clients/ca.crl").read_bytes())
    site.configure(**({"ssl_crl_dir": ""} if site.server.version >= 14 else {}))


def crl_directory_without_hashes(site: Site) -> None:
    directory = site.server.data / "crls"
    directory.mkdir(exist_ok=True)
    for name in ("clients", "partners"):
        site.server.write(f"crls/{name}.crl", site.place.file(f"ca/{name}/ca.crl").read_bytes())
    directory.chmod(0o755)
    site.configure(ssl_crl_file="", ssl_crl_dir="crls")


def cleartext_open(site: Site) -> None:
    lines = site.read("pg_hba.conf").splitlines(keepends=True)
    site.write("pg_hba.conf", b"".join(re.sub(rb"^hostssl(?=.*scram)", b"host   ", line) for line in lines))


def another_hba(site: Site) -> None:
    hba = site.read("pg_hba.conf").replace(b"scram-sha-256", b"reject       ")
    site.write("pg_hba.conf", hba)


def hba_elsewhere(site: Site) -> None:
    site.server.write("elsewhere.conf", "local all all trust\nhostssl all all all trust\n")
    site.server.configure(hba_file=str(site.server.data / "elsewhere.conf"))
    site.server.restart()


def hba_with_an_error(site: Site) -> None:
    """The rules from before stay in force: the compiled file was never loaded."""
    site.write("pg_hba.conf", "local all all trust\nhostssl shop app all cert\nhostssl all all all md5\n")
    site.write("pg_hba.conf", site.read("pg_hba.conf") + b"hostssl all all 10.0.0.0/8 nonsense\n")


def mismatched_key(site: Site) -> None:
    """Renew, and install the new certificate with the old key: the reload fails, and the old one stays on the wire."""
    old_certificate(site)
    site.write("server.crt", site.read("server.crt"))


def key_on_disk(site: Site) -> None:
    """Replace the key and do not reload: SHOW, pg_settings and the wire are as before."""
    site.server.write("server.key", Authority.root("another").key_pem)


def half_on_disk(site: Site) -> None:
    for name in ("root.crt", "pg_ident.conf"):
        site.server.write(name, site.read(name) + b"\n")


def hba_not_reloaded(site: Site) -> None:
    path = site.server.write("pg_hba.conf", site.read("pg_hba.conf") + b"# a comment\n")
    later = NOW.timestamp() + 3600
    os.utime(path, (later, later))


def hba_copied_with_its_time(site: Site) -> None:
    """Load other rules, and replace them by a copy of the compiled ones that keeps the time. Reload nothing."""
    site.write("pg_hba.conf", b"local all all trust\n" + site.read("pg_hba.conf"))
    site.server.sql("select pg_sleep(3)")  # the server tells a reload from a change by more than a second
    path = site.server.write("pg_hba.conf", site.read("pg_hba.conf"))
    os.utime(path, (0, 0))


def crl_not_hashed(site: Site) -> None:
    """Leave the directory of the CRLs as it was before them."""
    for path in (site.server.data / "root.crl.d").iterdir():
        path.unlink()


def crl_unreadable(site: Site) -> None:
    """Let the server's account not read a file, although its superuser may ask for it."""
    (site.server.data / "root.crl").chmod(0)


def setting_overridden(site: Site) -> None:
    site.server.sql("alter system set ssl_prefer_server_ciphers = off")
    site.reload()


def error_in_conf(site: Site) -> None:
    site.server.configure(ssl_min_protocol_version="TLSv9")


def role_missing(site: Site) -> None:
    site.server.sql("drop role report")


def expired_leaf(site: Site) -> None:
    """Serve what was built a hundred days ago and never again."""
    site.place = built(site.server.version, now=NOW - timedelta(days=100))
    site.install()


def group_that_openssl_lacks(site: Site) -> None:
    """Renew, and install it with a group that the server's OpenSSL does not know: the reload fails as a whole."""
    old_certificate(site)
    site.server.place(site.place.file("servers/db"))
    site.configure(**{curve(site): "X25519MLKEM99999"})


OTHER_TREE = (old_certificate, revoked_certificate, mismatched_key, expired_leaf, group_that_openssl_lacks)
"""After these, the tree is not the one of the other faults."""

FAULTS = (
    Fault("the certificate was renewed and not deployed", old_certificate, "old certificate"),
    Fault("the certificate was revoked, and the new one not deployed", revoked_certificate, "revoked certificate"),
    Fault("key and certificate do not match, so that the reload failed", mismatched_key, "old certificate"),
    Fault("a group that the server's OpenSSL lacks: the reload failed", group_that_openssl_lacks, "old certificate"),
    Fault("the certificate has expired", expired_leaf, "expired"),
    Fault("server.crt has the leaf alone", without_intermediate, "missing intermediate"),
    Fault("server.crt has its intermediates in the wrong order", wrong_order, "wrong order"),
    Fault("certificate and key of another out directory", of_another_out_directory, "certificate of a stranger"),
    Fault("half of the set is installed: root.crt is an old one", half_installed, "CA missing"),
    Fault("root.crt lacks a CA", ca_missing, "CA missing"),
    Fault("root.crt has a stranger's CA as well", ca_of_a_stranger, "CA of a stranger"),
    Fault("ssl_ca_file is empty", lambda site: site.configure(ssl_ca_file=""), "no client certificate asked"),
    Fault("the CRLs have expired", stale_crl, "refused: certificate expired"),
    Fault("the CRL of one CA is missing", crl_of_one_missing, "refused: unknown ca"),
    Fault("ssl_crl_dir has files without hash names", crl_directory_without_hashes, "refused: unknown ca", 14),
    Fault(
        "TLS 1.1 is allowed",
        lambda site: site.configure(ssl_min_protocol_version="TLSv1.1", ssl_ciphers="ALL:@SECLEVEL=0"),
        "TLS version allowed",
    ),
    Fault(
        "TLS 1.3 is switched off",
        lambda site: site.configure(ssl_max_protocol_version="TLSv1.2"),
        "TLS version refused",
    ),
    Fault(
        "another group for the key exchange", lambda site: site.configure(**{curve(site): "secp521r1"}), "group refused"
    ),
    Fault("ssl is off", lambda site: site.configure(ssl="off"), "ssl = off"),
    Fault("pg_hba.conf admits in cleartext what must use TLS", cleartext_open, "cleartext open"),
    Fault("another pg_hba.conf is loaded", another_hba, "other rules"),
    Fault("pg_hba.conf has an error, so that the rules from before stay", hba_with_an_error, "other rules"),
    Fault(
        "key and certificate on disk do not match, before a reload",
        key_on_disk,
        "key and certificate do not match",
        sql=True,
    ),
    Fault("half of the set lies on disk, before a reload", half_on_disk, "half-installed", sql=True),
    Fault("pg_hba.conf has an error", hba_with_an_error, "error in pg_hba.conf", sql=True),
    Fault("another pg_hba.conf is loaded", another_hba, "other pg_hba.conf", sql=True),
    Fault("pg_hba.conf was changed and not reloaded", hba_not_reloaded, "not reloaded", sql=True),
    Fault("pg_hba.conf was copied with its time and not reloaded", hba_copied_with_its_time, "not reloaded", sql=True),
    Fault("the directory of the CRLs lacks one", crl_not_hashed, "half-installed", 14, sql=True),
    Fault("the server may not read its CRL", crl_unreadable, "half-installed", sql=True),
    Fault("ALTER SYSTEM overrides a setting", setting_overridden, "setting ssl_prefer_server_ciphers", sql=True),
    Fault("postgresql.conf has an error", error_in_conf, "error in postgresql.conf", sql=True),
    Fault("a role of the spec does not exist", role_missing, "role missing", sql=True),
    Fault("hba_file points elsewhere", hba_elsewhere, "other rules"),
)


CODES = {
    "no name": "PGT470",
    "no server": "PGT470",
    "pooler": "PGT471",
    "ssl = off": "PGT472",
    "old certificate": "PGT473",
    "revoked certificate": "PGT473",
    "certificate of a stranger": "PGT473",
    "missing intermediate": "PGT474",
    "wrong order": "PGT474",
    "expired": "PGT474",
    "not yet valid": "PGT474",
    "TLS version allowed": "PGT475",
    "TLS version refused": "PGT475",
    "group refused": "PGT475",
    "CA missing": "PGT476",
    "CA of a stranger": "PGT476",
    "no client certificate asked": "PGT476",
    "refused: certificate expired": "PGT477",
    "refused: unknown ca": "PGT477",
    "cleartext open": "PGT478",
    "other rules": "PGT478",
}


def curve(site: Site) -> str:
    return "ssl_groups" if site.server.version >= 18 else "ssl_ecdh_curve"


def test_each_fault_on_a_server_is_named_and_a_good_one_has_none(server: Server) -> None:
    wrong: list[str] = []
    site = Site(server, built(server.version))
    server.populate(("app", "etl", "report"), ("shop",), "secret")
    server.sql("alter role app superuser")
    site.install()
    assert faults(seen(site.place, server.port, user="app")) == []
    for fault in FAULTS:
        if fault.since > server.version:
            continue
        site.install()
        fault.make(site)
        checks = seen(site.place, server.port, user="app" if fault.sql else None).checks
        found = {check.fault: check.code for check in checks if check.outcome == "differs"}
        code = "PGT479" if fault.sql else CODES[fault.named]
        wrong += [f"{fault.what}: not {fault.named!r} but {found} {checks[-1]}"] * (found.get(fault.named) != code)
        if fault.make in OTHER_TREE:
            site.place = built(server.version)
        if fault.make is setting_overridden:
            server.sql("alter system reset all")
        if fault.make is role_missing:
            server.populate(("report",))
        if fault.make is hba_elsewhere:
            site.start_again()
    site.install()
    assert wrong == []
    assert faults(seen(site.place, server.port)) == []


def hang(connection: socket.socket) -> None:
    connection.settimeout(20)
    while connection.recv(64):
        pass


def close_early(connection: socket.socket) -> None:
    connection.recv(8)


def speak_garbage(connection: socket.socket) -> None:
    connection.recv(8)
    connection.sendall(b"\x00\x01garbage, and more of it\r\n")


def speak_http(connection: socket.socket) -> None:
    connection.recv(64)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def promise_tls_and_send_garbage(connection: socket.socket) -> None:
    connection.recv(8)
    connection.sendall(b"S")
    connection.recv(1024)
    connection.sendall(b"this is no TLS record at all")


def refuse_like_a_pooler(connection: socket.socket) -> None:
    """Answer as PgBouncer without TLS does: its errors name no function of the server."""
    connection.recv(8)
    connection.sendall(b"N")
    connection.recv(1024)
    body = b"SFATAL\0C08P01\0Munsupported protocol\0\0"
    connection.sendall(b"E" + (len(body) + 4).to_bytes(4) + body)


@pytest.fixture(scope="module")
def small() -> Place:
    return built(17)


@pytest.mark.parametrize(
    ("answer", "named", "code"),
    [
        pytest.param(hang, "silent", "PGT471", id="a server that hangs"),
        pytest.param(close_early, "closed", "PGT471", id="a server that closes early"),
        pytest.param(speak_garbage, "foreign", "PGT471", id="a server that answers garbage"),
        pytest.param(speak_http, "web", "PGT471", id="a server that speaks HTTP"),
        pytest.param(promise_tls_and_send_garbage, "no handshake", "PGT475", id="garbage instead of TLS"),
        pytest.param(refuse_like_a_pooler, "pooler", "PGT471", id="a pooler"),
    ],
)
def test_what_else_answers_on_the_port_is_named(
    small: Place, answer: Callable[[socket.socket], None], named: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgtls.live.survey.TIMEOUT", 1.0)
    with listener(answer) as port:
        found = seen(small, port)
    assert [(check.fault, check.code) for check in found.checks if check.outcome == "differs"] == [(named, code)]
    assert found.checks[-1].outcome == "not tried"


def test_a_certificate_that_no_library_reads_is_named(small: Place, tmp_path: Path) -> None:
    pem = small.file("servers/db/server.crt").read_bytes()
    der = bytearray(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER))
    at = der.index(bytes.fromhex("a003020102")) + 7  # the first byte of the serial number: make it negative
    der[at] |= 0x80
    (tmp_path / "odd.crt").write_text(ssl.DER_cert_to_PEM_cert(bytes(der)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "odd.crt", small.file("servers/db/server.key"))

    def answer(connection: socket.socket) -> None:
        connection.recv(8)
        connection.sendall(b"S")
        with context.wrap_socket(connection, server_side=True) as tls:
            tls.recv(64)

    with listener(answer) as port:
        found = seen(small, port)
    assert [check.code for check in found.checks if check.outcome == "differs"][:1] != []
    assert {check.outcome for check in found.checks if check.name == TRUST} == {"differs"}


def test_what_a_server_says_is_fit_for_a_terminal() -> None:
    found = differs(
        "PGT473", "certificate of a stranger", "certificate", "\x1b[2Jit serves \u202e" + "x" * 9000, "", ""
    )
    assert found.what.startswith("\ufffd[2Jit serves \ufffdxxx")
    assert len(found.what) <= 600


def test_no_server_and_no_such_name_are_named(small: Place) -> None:
    assert faults(seen(small, 1)) == ["no server"]
    assert faults(seen(small, 1, host="nowhere.invalid")) == ["no name"]


OTHERS = (
    ("nothing listens on the port, or the name does not resolve", "no server", "PGT470"),
    ("something else answers: a pooler", "pooler", "PGT471"),
    ("a server that speaks HTTP, answers garbage, hangs or closes early", "web", "PGT471"),
    ("an impostor answers", "certificate of a stranger", "PGT473"),
    ("the clock of this machine is behind", "not yet valid", "PGT474"),
    ("the clock of the server is off (--user)", "clock off", "PGT479"),
    ("somebody is connected with a revoked certificate (--user)", "revoked certificate connected", "PGT479"),
)
"""What this file or test_verify.py makes elsewhere."""


def test_the_guide_lists_every_fault() -> None:
    """``PGTLS_TEST_GOLDEN=write`` writes the table of docs/guides/verify.md."""
    rows = [
        (
            f"{fault.what} (--user)" if fault.sql else fault.what,
            fault.named,
            "PGT479" if fault.sql else CODES[fault.named],
        )
        for fault in FAULTS
    ]
    head = "| fault | `verify` says | code |\n|---|---|---|\n"
    table = head + "".join(f"| {what} | {named} | {code} |\n" for what, named, code in (*rows, *OTHERS))
    page = GUIDE.read_text()
    start = page.index(head)
    end = page.index("\n\n", start) + 1
    if REWRITE:
        GUIDE.write_text(page[:start] + table + page[end:])
    assert page[start:end] == table
