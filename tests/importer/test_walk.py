"""The most usual set-ups, from a real server through import, plan and build back to it: it admits the same."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import psycopg
import pytest

from importer.openssl import crl, root, self_signed, signed
from support.clients import conninfo
from support.pgtls import built, pgtls
from support.servers import Server, versions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.servers import Installation

PASSWORD = "geheim"
OURS = "local all postgres peer map=dba\n"
"""The line by which these tests, run by root or another account, are the DBA."""
CLIENT = "extendedKeyUsage = clientAuth\n"
HOSTS = "subjectAltName = DNS:localhost\nextendedKeyUsage = serverAuth\n"


class Ask(NamedTuple):
    """A connection: over the socket, in cleartext, or over TLS with a certificate or without."""

    role: str
    database: str
    how: str
    """``socket``, ``plain``, ``tls``, or the name of a certificate."""
    mode: str = "require"


@dataclass(frozen=True)
class SetUp:
    """What a server has. ``make`` writes certificates into a directory; ``here`` are those that lie on the server."""

    make: Callable[[Path], None]
    hba: str
    asks: tuple[Ask, ...]
    ident: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    here: tuple[str, ...] = ("server.crt", "server.key")
    words: tuple[str, ...] = ()
    elsewhere: bool = False
    """Whether the files of access lie outside of the data directory, as on Debian."""
    oldest_too: bool = False
    """Whether it is tried on the oldest server as well as on the newest."""


def one_ca(directory: Path) -> None:
    """Make what the manual has: a root that signs the server, and clients."""
    root(directory)
    signed(directory, "server", "/CN=localhost")
    for name, subject in {
        "app": "/CN=app",
        "bob": "/CN=Bob Builder",
        "mallory": "/CN=bob",
        "shop": "/CN=s.example",
    }.items():
        signed(directory, name, subject, extensions=CLIENT)
    root(directory, "stranger", "/CN=Other Root")
    signed(directory, "forged", "/CN=app", "stranger", CLIENT)
    signed(directory, "dn", "/O=Example/OU=it/CN=app", extensions=CLIENT)
    signed(directory, "other-dn", "/O=Example/OU=hr/CN=app", extensions=CLIENT)


def no_san(directory: Path) -> None:
    """Make the manual's root and leaf: a CN, no SAN, and no CA for clients."""
    root(directory)
    signed(directory, "server", "/CN=localhost")


def intermediate(directory: Path) -> None:
    """Make the manual's chain: server.crt has the leaf and the intermediate, clients have the root."""
    root(directory)
    signed(directory, "intermediate", "/CN=Intermediate", extensions="basicConstraints = critical, CA:TRUE\n")
    signed(directory, "leaf", "/CN=localhost", "intermediate", HOSTS)
    chain = (directory / "leaf.crt").read_text() + (directory / "intermediate.crt").read_text()
    (directory / "server.crt").write_text(chain)
    (directory / "leaf.key").rename(directory / "server.key")
    signed(directory, "app", "/CN=app", "root", CLIENT)


def snakeoil(directory: Path) -> None:
    """Make what ssl-cert makes on Debian: for the name of the machine, not of what clients dial."""
    self_signed(directory, "server", "/CN=build-host-7")


def lone(directory: Path) -> None:
    """Make the manual's self-signed certificate."""
    self_signed(directory)


def revoked(directory: Path) -> None:
    """Revoke one of the certificates."""
    one_ca(directory)
    crl(directory, "root", "shop")


TRUST = {"ssl_ca_file": "root.crt"}
CA_HERE = ("server.crt", "server.key", "root.crt")
SETUPS = {
    "one CA for servers and clients": SetUp(
        one_ca,
        OURS + "hostssl shop app all cert\nhost books all all scram-sha-256\n",
        (
            Ask("app", "shop", "app", "verify-full"),
            Ask("app", "shop", "tls"),
            Ask("app", "shop", "plain"),
            Ask("bob", "shop", "bob"),
            Ask("app", "shop", "mallory"),
            Ask("app", "shop", "forged"),
            Ask("app", "books", "plain"),
            Ask("postgres", "postgres", "socket"),
            Ask("app", "postgres", "socket"),
        ),
        "dba root postgres\n",
        TRUST,
        CA_HERE,
        oldest_too=True,
    ),
    "a self-signed certificate without a SAN": SetUp(
        lone,
        OURS + "hostssl shop app all scram-sha-256\n",
        (Ask("app", "shop", "tls", "verify-full"), Ask("app", "shop", "plain"), Ask("app", "books", "tls")),
        "dba root postgres\n",
        oldest_too=True,
    ),
    "a leaf without a SAN, and its root beside it": SetUp(
        no_san,
        OURS + "hostssl shop app all scram-sha-256\n",
        (Ask("app", "shop", "tls", "verify-full"), Ask("app", "shop", "plain"), Ask("app", "books", "tls")),
        "dba root postgres\n",
        here=CA_HERE,
    ),
    "an intermediate, with the root for clients": SetUp(
        intermediate,
        OURS + "hostssl shop app all cert\n",
        (Ask("app", "shop", "app", "verify-full"), Ask("app", "shop", "tls"), Ask("bob", "shop", "app")),
        "dba root postgres\n",
        TRUST,
        CA_HERE,
    ),
    "a self-signed certificate for another name": SetUp(
        snakeoil,
        OURS + "hostssl shop app all scram-sha-256\n",
        (Ask("app", "shop", "tls"), Ask("app", "shop", "plain")),
        "dba root postgres\n",
    ),
    "access files outside of the data directory": SetUp(
        lone,
        OURS + "local shop app scram-sha-256\nhost books app 127.0.0.1/32 trust\n"
        "hostssl shop app samehost scram-sha-256\n",
        (
            Ask("app", "books", "plain"),
            Ask("app", "shop", "tls"),
            Ask("app", "shop", "plain"),
            Ask("bob", "books", "tls"),
            Ask("postgres", "postgres", "socket"),
        ),
        "dba root postgres\n",
        elsewhere=True,
    ),
    "a map for each database, and names with blanks": SetUp(
        one_ca,
        OURS + "hostssl shop app all cert map=shop\nhostssl books app all cert\nhostssl all bob all cert map=blank\n",
        (
            Ask("app", "shop", "shop"),
            Ask("app", "shop", "app"),
            Ask("app", "books", "app"),
            Ask("app", "books", "shop"),
            Ask("bob", "shop", "bob"),
            Ask("bob", "shop", "mallory"),
            Ask("bob", "shop", "app"),
        ),
        'dba root postgres\nshop s.example app\nblank "Bob Builder" bob\n',
        TRUST,
        CA_HERE,
    ),
    "the whole subject": SetUp(
        one_ca,
        OURS + "hostssl shop app all cert clientname=DN map=dn\nhostssl books app all cert\n",
        (
            Ask("app", "shop", "dn"),
            Ask("app", "shop", "other-dn"),
            Ask("app", "shop", "app"),
            Ask("app", "books", "other-dn"),
        ),
        'dba root postgres\ndn "CN=app,OU=it,O=Example" app\n',
        TRUST,
        CA_HERE,
    ),
    "a password and a certificate": SetUp(
        one_ca,
        OURS + "hostssl shop app all scram-sha-256 clientcert=verify-full\n"
        "hostssl books all all md5 clientcert=verify-ca\n",
        (
            Ask("app", "shop", "app"),
            Ask("app", "shop", "shop"),
            Ask("app", "shop", "tls"),
            Ask("app", "books", "shop"),
            Ask("app", "books", "forged"),
        ),
        "dba root postgres\n",
        TRUST,
        CA_HERE,
    ),
    "a list of revoked certificates": SetUp(
        revoked,
        OURS + "hostssl all all all scram-sha-256 clientcert=verify-ca\n",
        (Ask("app", "shop", "app"), Ask("app", "shop", "shop"), Ask("app", "shop", "tls")),
        "dba root postgres\n",
        TRUST | {"ssl_crl_file": "root.crl"},
        (*CA_HERE, "root.crl"),
    ),
    "TLS from everywhere above cleartext from nearby": SetUp(
        lone,
        OURS + "hostssl all all 0.0.0.0/0 md5\nhost all all 127.0.0.0/8 md5\n",
        (Ask("app", "shop", "tls"), Ask("app", "shop", "plain"), Ask("app", "shop", "socket")),
        "dba root postgres\n",
    ),
}  # fmt: skip
TRIED = [
    pytest.param(installation, setup, id=f"{title} ({installation.id})")
    for title, setup in SETUPS.items()
    for installation in dict.fromkeys((versions()[-1], *versions()[: setup.oldest_too]))
]


@pytest.mark.parametrize(("installation", "setup"), TRIED)
def test_a_server_admits_the_same_before_and_after(tmp_path: Path, installation: Installation, setup: SetUp) -> None:
    setup.make(tmp_path)
    with Server(installation) as server:
        server.populate(roles=["app", "bob"], databases=["shop", "books"], password=PASSWORD)
        access = server.directory / "etc" if setup.elsewhere else server.data
        _install(server, access, tmp_path, setup)
        server.restart()
        before = [_answer(server, tmp_path, ask) for ask in setup.asks]
        assert {"admitted", "refused"} <= set(before), dict(zip(setup.asks, before, strict=True))

        files = ("--hba", access / "pg_hba.conf", "--conf", server.data / "postgresql.conf")
        ident = () if setup.elsewhere else ("--ident", access / "pg_ident.conf")
        words = ("--postgres", str(installation.major), "--host", "localhost", *setup.words)
        run = pgtls("import", *files, *ident, *words, cwd=tmp_path)
        assert run.status == 0, run.stdout + run.stderr
        assert pgtls("plan", cwd=tmp_path).status == 0
        out = built(tmp_path / "pgtls.toml", tmp_path / "out")

        server.place(out / "servers/primary", access if setup.elsewhere else None)
        server.restart()
        compiled = (access / "pg_hba.conf").read_text()
        assert "Written by pgtls" in compiled
        after = [_answer(server, tmp_path, ask) for ask in setup.asks]
        assert after == before, compiled

        (access / "pg_hba.conf").write_text("local all all reject\nhost all all all reject\n")
        server.reload()
        assert {_answer(server, tmp_path, ask) for ask in setup.asks} == {"refused"}


def _install(server: Server, access: Path, made: Path, setup: SetUp) -> None:
    access.mkdir(exist_ok=True)
    server.configure(ssl="on", **setup.settings)
    if setup.elsewhere:
        server.configure(hba_file=f"{access}/pg_hba.conf", ident_file=f"{access}/pg_ident.conf")
    for name in setup.here:
        server.write(name, (made / name).read_bytes())
    for name, text in (("pg_hba.conf", setup.hba), ("pg_ident.conf", setup.ident)):
        written = server.write(name, text)
        if setup.elsewhere:
            written.rename(access / name)


def _answer(server: Server, made: Path, ask: Ask) -> str:
    """Return whether the server admits a client that knows every password."""
    values = {"sslmode": "disable"}
    if ask.how not in ("socket", "plain"):
        trusted = "root.crt" if (made / "root.crt").exists() else "server.crt"
        values = {"sslmode": ask.mode, "sslcert": "/nonexistent", "sslrootcert": str(made / trusted)}
        values = values if ask.mode == "verify-full" else values | {"sslrootcert": "/nonexistent"}
        if ask.how != "tls":
            (made / f"{ask.how}.key").chmod(stat.S_IRUSR | stat.S_IWUSR)
            values |= {"sslcert": str(made / f"{ask.how}.crt"), "sslkey": str(made / f"{ask.how}.key")}
    where = {"host": server.sockets} if ask.how == "socket" else {"host": "localhost", "hostaddr": "127.0.0.1"}
    values |= {**where, "port": str(server.port), "user": ask.role, "dbname": ask.database, "password": PASSWORD}
    try:
        psycopg.connect(conninfo({**values, "gssencmode": "disable", "connect_timeout": "10"})).close()
    except psycopg.OperationalError:
        return "refused"
    return "admitted"
