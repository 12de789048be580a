"""docs/guides/psql-messages.md names the messages that psql really ends with: each is provoked on a real server."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from support.clients import NOTHING, PSQL, Bundle, Outcome, admitted, at, socket_of
from support.pgtls import ROOT, compiled
from support.servers import Server, versions
from support.system import new_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PAGE = ROOT / "docs/guides/psql-messages.md"

SPEC = """
version = 1
[ca.servers]
[ca.clients]
[server.main]
ca = "servers"
client_ca = ["clients"]
hosts = ["localhost"]
postgres = {postgres}
[user.postgres]
[user.app]
ca = "clients"
[user.gone]
ca = "clients"
[user.late]
ca = "clients"
validity = "1d"
[user.ghost]
ca = "clients"
[user.teller]
[user.nologin]
[policy.admin]
users = ["postgres"]
from = ["local"]
auth = "trust"
waiver = "a throwaway server"
[policy.peer]
users = ["teller"]
from = ["local"]
auth = "peer"
[policy.app]
users = ["app", "gone", "late", "ghost"]
databases = ["shop"]
from = ["127.0.0.1"]
auth = "cert"
[policy.teller]
users = ["teller", "nologin"]
from = ["127.0.0.1"]
auth = "scram-sha-256"
[policy.shut]
users = ["teller"]
databases = ["closed"]
from = ["127.0.0.1"]
auth = "reject"
"""

Parameters = dict[str, str]
SECRET = "secret"


class Site:
    """A server with installed files, and its bundles."""

    def __init__(self, server: Server, directory: Path) -> None:
        self.server, self.directory = server, directory
        server.populate(("app", "gone", "late", "teller"), ("shop", "closed"), "secret")
        server.sql("create role nologin nologin password 'secret'")
        spec = SPEC.format(postgres=server.version)
        # A certificate that has expired by now, and one that the CRL lists.
        earlier = datetime.now(UTC) - timedelta(days=3)
        out = compiled(spec, directory, now=f"{earlier:%Y-%m-%dT%H:%M:%SZ}")
        self.late = directory / "late"
        shutil.copytree(out / "clients" / "late", self.late)
        self.out = compiled(spec, directory)
        self.gone = directory / "gone"
        shutil.copytree(self.out / "clients" / "gone", self.gone)
        left = spec.replace('[user.gone]\nca = "clients"\n', "").replace('"gone", ', "")
        compiled(left, directory)
        server.install(self.out / "servers" / "main")
        self.own: Parameters = Bundle(self.out / "clients" / "app").parameters("shop") | at(server)

    def attempt(self, **changes: str) -> Outcome:
        return PSQL.connect(self.own | changes, environment={"PGPASSWORD": "secret"})

    def teller(self, *, password: str = SECRET, **changes: str) -> Outcome:
        bundle = Bundle(self.out / "clients" / "teller")
        own = bundle.files | {"host": "localhost", "sslmode": "verify-full", "dbname": "shop", "user": "teller"}
        environment = {"PGPASSWORD": password} if password else {}
        return PSQL.connect(own | at(self.server) | changes, environment=environment)


def stranger(site: Site) -> Path:
    """Return the client directory of another installation: other CAs, the same names."""
    other = compiled(SPEC.format(postgres=site.server.version), site.directory / "stranger")
    return other / "clients" / "app"


def with_key(site: Site, mode: int) -> Outcome:
    key = site.directory / "open.key"
    shutil.copy(site.own["sslkey"], key)
    key.chmod(mode)
    return site.attempt(sslkey=str(key))


def empty_root(site: Site) -> Outcome:
    path = site.directory / "empty.crt"
    path.write_text("")
    return site.attempt(sslrootcert=str(path))


def certificate(directory: Path, role: str) -> Parameters:
    files = Bundle(directory).files
    return {"sslcert": files["sslcert"], "sslkey": files["sslkey"], "user": role}


def switched_off(site: Site) -> Outcome:
    site.server.configure(ssl="off")
    site.server.reload()
    return site.attempt()


PROVOKED: dict[str, Callable[[Site], Outcome]] = {  # how to provoke each message
    'server certificate for "…" does not match host name "…"': lambda site: site.attempt(host="db.example.org"),
    "certificate verify failed": lambda site: site.attempt(sslrootcert=str(stranger(site) / "root.crt")),
    'root certificate file "…" does not exist': lambda site: site.attempt(sslrootcert="/nonexistent/root.crt"),
    'could not read root certificate file "…": no certificate or crl found': empty_root,
    "server does not support SSL, but SSL was required": switched_off,
    "tlsv1 alert protocol version": lambda site: site.attempt(
        ssl_min_protocol_version="TLSv1", ssl_max_protocol_version="TLSv1.1"
    ),
    "connection requires a valid client certificate": lambda site: site.attempt(sslcert="/nonexistent/postgresql.crt"),
    "alert unknown ca": lambda site: site.attempt(**certificate(stranger(site), "app")),
    "alert certificate expired": lambda site: site.attempt(**certificate(site.late, "late")),
    "alert certificate revoked": lambda site: site.attempt(**certificate(site.gone, "gone")),
    'certificate authentication failed for user "…"': lambda site: site.attempt(user="late"),
    'could not load private key file "…": key values mismatch': lambda site: site.attempt(
        sslkey=Bundle(site.out / "clients" / "late").files["sslkey"]
    ),
    'private key file "…" has group or world access': lambda site: with_key(site, 0o644),
    'no pg_hba.conf entry for host "…", user "…", database "…", no encryption': lambda site: site.attempt(
        sslmode="disable"
    ),
    'no pg_hba.conf entry for host "…", user "…", database "…", SSL encryption': lambda site: site.attempt(
        dbname="postgres"
    ),
    'pg_hba.conf rejects connection for host "…"': lambda site: site.teller(dbname="closed"),
    'role "…" does not exist': lambda site: site.attempt(**certificate(site.out / "clients" / "ghost", "ghost")),
    'database "…" does not exist': lambda site: site.teller(dbname="teller"),
    'password authentication failed for user "…"': lambda site: site.teller(password="wrong"),
    "fe_sendauth: no password supplied": lambda site: site.teller(password=""),
    'Peer authentication failed for user "…"': lambda site: PSQL.connect(
        socket_of(site.server) | {"user": "teller", "dbname": "shop"}
    ),
    'role "…" is not permitted to log in': lambda site: site.teller(user="nologin"),
    "Connection refused": lambda site: site.attempt(port="1"),
    'could not translate host name "…" to address': lambda site: PSQL.connect_exactly(
        NOTHING | {"host": "db.invalid", "user": "app", "dbname": "shop"}
    ),
    'definition of service "…" not found': lambda site: PSQL.connect_exactly({"service": "main-shop"}),
}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Run one server for all messages; the system's psql is of another build than it."""
    with Server(versions()[-1]) as server:
        yield Site(server, new_directory("messages"))


def shown() -> list[str]:
    """Return the messages of the page."""
    return re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(), re.MULTILINE)


def test_the_page_and_the_tests_have_the_same_messages() -> None:
    assert sorted(shown()) == sorted(PROVOKED)


@pytest.mark.parametrize("message", [one for one in PROVOKED if "support SSL" not in one])
def test_psql_ends_with_the_message(message: str, site: Site) -> None:
    assert admitted(site.attempt()) == "app@shop"
    outcome = PROVOKED[message](site)
    assert not outcome.admitted, outcome
    assert re.search(re.escape(message).replace("…", ".*"), outcome.text), outcome


def test_psql_says_that_the_server_has_no_tls(tmp_path: Path) -> None:
    message = "server does not support SSL, but SSL was required"
    with Server(versions()[-1]) as server:
        assert message in PROVOKED[message](Site(server, tmp_path)).text
