"""Compiled files at work in a real PgBouncer before a real server: certificate or password in, certificate out.

``docs/guides/pgbouncer.md`` shows the same by hand.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

import pytest

from pgtls.certificates.asked import Asked
from support.authority import Authority, named
from support.clients import PSQL, Bundle, Parameters, admitted, refused
from support.pgbouncer import MAIN, Pooler
from support.servers import Server, free_port, versions
from support.system import new_directory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from support.building import Place
    from support.servers import Installation

NEWEST = versions()[-1]

SPEC = """
version = 1
[ca.root]
[ca.clients]
[ca.strangers]
[server.main]
ca = "root"
client_ca = ["clients"]
hosts = ["127.0.0.1"]
port = {server}
postgres = {version}
[pooler.pool]
server = "main"
user = "bouncer"
ca = "root"
hosts = ["pool.example.com"]
from = ["127.0.0.1"]
port = {port}
directory = "{directory}"
{pooler}
[user.postgres]
[user.bouncer]
ca = "clients"
[user.app]
ca = "clients"
[user.alice]
ca = "clients"
common_name = "Alice Example"
roles = ["alice", "reporting"]
[user.bob]
ca = "clients"
roles = ["reporting"]
[user.other]
ca = "clients"
[user.stranger]
ca = "strangers"
[policy.dba]
users = ["postgres"]
from = ["local"]
auth = "trust"
waiver = "a throwaway server"
[policy.shop]
servers = ["pool"]
users = ["app", "alice"]
databases = ["shop", {{ name = 'a "db", x' }}]
from = ["127.0.0.0/8"]
auth = "{auth}"
{policy}
[policy.more]
servers = ["pool"]
users = ["bob"]
databases = ["shop"]
from = ["127.0.0.1"]
auth = "{auth}"
{policy}
[policy.others]
servers = ["pool"]
users = ["other"]
databases = ["postgres"]
from = ["127.0.0.0/8"]
auth = "{auth}"
{policy}
[policy.stranger]
servers = ["pool"]
users = ["stranger"]
from = ["127.0.0.0/8"]
auth = "reject"
"""
CERTIFIED = {
    "auth": "cert",
    "pooler": 'client_ca = ["clients"]',
    "policy": 'waiver = { reason = "certificates of a day", codes = ["PGT380"] }',
}


class Site:
    """A server, and a directory and a port for its pooler."""

    def __init__(self, installation: Installation, place: Place) -> None:
        self.server = Server(installation)
        self.place = place
        self.pooler = Pooler(new_directory("pooler"), free_port())

    def __enter__(self) -> Self:
        self.server.__enter__()
        self.server.populate(
            ["app", "alice", "reporting", "other", "bouncer"], ["shop", 'a "db", x'], password="secret"
        )
        return self

    def __exit__(self, *error: object) -> None:
        self.server.close()

    def build(self, words: Mapping[str, str], spec: str = SPEC, age: timedelta = timedelta()) -> None:
        """Build, as it was that long ago, and install what was built on both sides."""
        text = spec.format(
            version=self.server.version, server=self.server.port, port=self.pooler.port,
            directory=self.pooler.directory, **words,
        )  # fmt: skip
        self.place.build(text, now=datetime.now(UTC) - age)
        self.server.install(self.place.file("servers/main"))
        self.pooler.install(self.place.file("poolers/pool"))

    def bundle(self, user: str, database: str = "shop", role: str | None = None) -> Parameters:
        """Return what the bundle of a user says: it dials the pooler by its name, and verifies it."""
        bundle = Bundle(self.place.file(f"clients/{user}"))
        parameters = bundle.parameters(database, role, "pool")
        assert (parameters["host"], parameters["port"]) == ("pool.example.com", str(self.pooler.port))
        assert parameters["sslmode"] == "verify-full"
        return parameters | {"hostaddr": "127.0.0.1"}


@pytest.fixture
def site(place: Place) -> Site:
    return Site(NEWEST, place)


WHO = """
select current_user || '@' || current_database() || ' by ' || client_dn from pg_stat_ssl where pid = pg_backend_pid()
"""


def test_a_certificate_goes_in_and_the_certificate_of_the_pooler_goes_out(site: Site) -> None:
    with site:
        site.build(CERTIFIED)
        with site.pooler:
            assert admitted(PSQL.connect(site.bundle("app"), query=WHO)) == "app@shop by /CN=bouncer"
            assert admitted(PSQL.connect(site.bundle("alice", role="reporting"))) == "reporting@shop"
            assert admitted(PSQL.connect(site.bundle("bob"))) == "reporting@shop"  # by the map of two policies
            assert admitted(PSQL.connect(site.bundle("app", 'a "db", x'))) == 'app@a "db", x'

            own = site.bundle("app")
            # No certificate, one of another CA, and no TLS: none gets as far as the rules.
            refused(PSQL.connect(own | {"sslcert": "/nonexistent", "sslkey": "/nonexistent"}), "SSL")
            refused(PSQL.connect(own | _identity(site, "stranger")), "SSL")
            refused(PSQL.connect(own | {"sslmode": "disable"}), "SSL required")
            # Another user's certificate, another role, another database.
            refused(PSQL.connect(own | _identity(site, "other")), "certificate authentication failed")
            refused(PSQL.connect(own | {"user": "postgres"}), "no authentication method is found")
            refused(PSQL.connect(own | {"dbname": "postgres"}), "no authentication method is found")
            assert "could not parse" not in site.pooler.log()
            # A bundle does not take the server for the pooler, nor another pooler for its own.
            refused(PSQL.connect(own | {"port": str(site.server.port)}), 'does not match host name "pool.example.com"')


def _identity(site: Site, user: str) -> Parameters:
    there = site.place.file(f"clients/{user}")
    return {"sslcert": f"{there}/postgresql.crt", "sslkey": f"{there}/postgresql.key"}


def test_the_server_admits_the_leg_of_its_pooler_and_nobody_else_by_it(site: Site) -> None:
    with site:
        site.build(CERTIFIED)
        leg = {
            "host": "127.0.0.1", "port": str(site.server.port), "dbname": "shop", "user": "app",
            "sslmode": "verify-full", "sslrootcert": str(site.place.file("poolers/pool/login/root.crt")),
        }  # fmt: skip
        there = site.place.file("poolers/pool/login")
        own = {"sslcert": f"{there}/postgresql.crt", "sslkey": f"{there}/postgresql.key"}
        assert admitted(PSQL.connect(leg | own)) == "app@shop"
        refused(PSQL.connect(leg | _identity(site, "app")), "certificate authentication failed")
        refused(PSQL.connect(leg | own | {"sslmode": "disable"}), "no pg_hba.conf entry")
        refused(PSQL.connect(leg | own | {"user": "bouncer"}), "no pg_hba.conf entry")
        refused(PSQL.connect(leg | own | {"user": "other"}), "no pg_hba.conf entry")
        assert admitted(PSQL.connect(leg | own | {"user": "other", "dbname": "postgres"})) == "other@postgres"


def test_a_pooler_does_not_connect_to_an_impostor(site: Site) -> None:
    with site:
        site.build(CERTIFIED)
        with site.pooler:
            assert admitted(PSQL.connect(site.bundle("app"))) == "app@shop"
        # The files of another build: the same names under another CA.
        trusted = site.pooler.directory / "login" / "root.crt"
        shutil.copy(site.place.file("ca/clients/ca.crt"), trusted)
        impatient = MAIN.replace("listen_addr", "client_login_timeout = 10\nlisten_addr")
        with Pooler(site.pooler.directory, site.pooler.port, impatient) as pooler:
            refused(PSQL.connect(site.bundle("app")), "server down")
            assert "certificate verify failed" in pooler.log()


def test_a_password_goes_in_and_the_certificate_of_the_pooler_goes_out(site: Site) -> None:
    secrets = site.pooler.directory / "secrets.txt"
    with site:
        site.build({"auth": "scram-sha-256", "pooler": f'auth_file = "{secrets}"', "policy": ""})
        found = site.server.sql("select rolname, rolpassword from pg_authid where rolname in ('app', 'alice')")
        secrets.write_text("".join(f'"{name}" "{secret}"\n' for name, secret in found))
        with site.pooler:
            own = site.bundle("app")
            right, wrong = {"PGPASSWORD": "secret"}, {"PGPASSWORD": "other"}
            assert admitted(PSQL.connect(own, query=WHO, environment=right)) == "app@shop by /CN=bouncer"
            refused(PSQL.connect(own, environment=wrong), "SASL authentication failed")
            refused(PSQL.connect(own), "no password supplied")
            refused(PSQL.connect(own | {"sslmode": "disable"}, environment=right), "SSL required")
            refused(PSQL.connect(own | {"user": "reporting"}, environment=right), "SASL authentication failed")


def test_a_reload_takes_a_user_away_and_a_renewed_certificate_in(site: Site) -> None:
    with site:
        site.build(CERTIFIED)
        with site.pooler:
            kept = shutil.copytree(site.place.file("clients/app"), new_directory("kept"), dirs_exist_ok=True)
            own = site.bundle("app") | Bundle(kept).files
            assert admitted(PSQL.connect(own)) == "app@shop"
            site.build(CERTIFIED, SPEC.replace('users = ["app", "alice"]', 'users = ["alice"]'))
            site.pooler.reload()
            served = (site.pooler.directory / "server.crt").read_bytes()
            site.place.build(now=datetime.now(UTC), asked=Asked(renew=frozenset({"pooler.pool"})))
            site.pooler.install(site.place.file("poolers/pool"))
            site.pooler.reload()
            assert (site.pooler.directory / "server.crt").read_bytes() != served
            refused(PSQL.connect(own), "no authentication method is found")
            assert admitted(PSQL.connect(site.bundle("alice", role="alice"))) == "alice@shop"


def test_a_revoked_certificate_logs_in_through_a_pooler_and_not_at_the_server(site: Site) -> None:
    """The reason for PGT380."""
    with site:
        site.build(CERTIFIED, age=timedelta(days=1))
        kept = shutil.copytree(site.place.file("clients/app"), new_directory("kept"), dirs_exist_ok=True)
        there = {"host": "127.0.0.1", "port": str(site.server.port), "dbname": "shop", "user": "app"}
        own = site.bundle("app") | Bundle(kept).files
        since = f"[user.app]\nrevoke_before = {datetime.now(UTC) - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
        site.build(CERTIFIED, SPEC.replace("[user.app]", since))
        with site.pooler:
            assert admitted(PSQL.connect(own)) == "app@shop"
            refused(PSQL.connect(there | {"sslmode": "require"} | Bundle(kept).files), "revoked")


def test_names_in_certificates_are_compared_like_host_names(site: Site) -> None:
    """The reason for PGT485, and for a common name that has to be that of a user in other letters, too."""
    with site:
        site.build(CERTIFIED)
        ca = Authority.of(site.place.file("ca/clients"))
        with site.pooler:
            for name in ("APP", "app"):
                shown = ca.bundle(named(CN=name))
                assert admitted(PSQL.connect(site.bundle("app") | Bundle(shown).files)) == "app@shop"
            shown = ca.bundle(named(CN="apps"))
            refused(PSQL.connect(site.bundle("app") | Bundle(shown).files), "certificate authentication failed")
