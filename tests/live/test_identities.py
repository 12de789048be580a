"""One server, several identities (``[[server.NAME.sni]]``): on PostgreSQL 19, by real handshakes and logins."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from live.verifying import seen
from pgtls.certificates.asked import Asked
from pgtls.pipeline import status
from support.authority import Authority, named
from support.building import Place
from support.clients import PSQL, Bundle, admitted, at, refused
from support.diagnosing import diagnose
from support.installer import install
from support.pgtls import pgtls
from support.servers import Server, versions
from support.system import ENVIRONMENT, new_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.live.verify import Verified

NEWEST = [found for found in versions() if found.major >= 19]

SPEC = """
version = 1
[ca.root]
[ca.shops]
[ca.operators]
[ca.tenant-a]
[ca.tenant-b]
[server.main]
ca = "root"
client_ca = ["operators"]
hosts = ["db.example.com", "127.0.0.1"]
postgres = 19
{server}
[[server.main.sni]]
ca = "shops"
client_ca = ["tenant-a"]
hosts = ["a.example.com", "A2.example.com"]
{a}
[[server.main.sni]]
ca = "root"
client_ca = ["tenant-b"]
hosts = ["b.example.com"]
{b}
[user.postgres]
[user.operator]
ca = "operators"
[user.alice]
ca = "tenant-a"
[user.bob]
ca = "tenant-b"
{bob}
[user.plain]
[policy.admin]
users = ["postgres"]
from = ["local"]
auth = "trust"
waiver = "a throwaway server"
[policy.operator]
users = ["operator"]
from = ["127.0.0.0/8"]
auth = "cert"
[policy.a]
users = ["alice"]
databases = ["shop_a"]
from = ["127.0.0.0/8"]
auth = "cert"
[policy.b]
users = ["bob"]
databases = ["shop_b"]
from = ["127.0.0.0/8"]
auth = "cert"
[policy.plain]
users = ["plain"]
databases = ["shop_a"]
from = ["127.0.0.0/8"]
auth = "scram-sha-256"
{more}
"""

ENTITIES = ("server.main", "server.main/a.example.com", "server.main/b.example.com")


CERTIFICATES = [f"servers/main/{below}server.crt" for below in ("", "sni/a.example.com/", "sni/b.example.com/")]


def spec(server: str = "", a: str = "", b: str = "", bob: str = "", more: str = "") -> str:
    return SPEC.format(server=server, a=a, b=b, bob=bob, more=more)


def alone(server: str) -> str:
    """Return the spec without further identities; the tenants use the default."""
    text = re.sub(r"\[\[server\.main\.sni\]\](\n.+)+", "", spec(server))
    return text.replace('client_ca = ["operators"]', 'client_ca = ["operators", "tenant-a", "tenant-b"]')


@pytest.fixture
def nineteen() -> Iterator[Server]:
    if not NEWEST:
        pytest.skip("unavailable: there is no PostgreSQL 19 here")
    with Server(NEWEST[-1]) as server:
        server.populate(["operator", "alice", "bob", "plain"], ["shop_a", "shop_b"], password="secret")
        yield server


def shown(server: Server, host: str | None) -> list[str]:
    """Return the names of the certificate that a server shows to those who ask for a host, or for none."""
    asked = ["-noservername"] if host is None else ["-servername", host]
    words = ["openssl", "s_client", "-starttls", "postgres", "-connect", f"127.0.0.1:{server.port}", *asked]
    done = subprocess.run(words, input="", capture_output=True, text=True, check=False, env=ENVIRONMENT)
    words = ["openssl", "x509", "-noout", "-ext", "subjectAltName"]
    names = subprocess.run(words, input=done.stdout, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    return re.findall(r"DNS:([^,\s]+)", names.stdout)


def test_each_host_name_has_its_certificate_and_its_clients(nineteen: Server, place: Place) -> None:
    place.build(spec(), now=datetime.now(UTC), new_out=True)
    nineteen.install(place.file("servers/main"))
    assert nineteen.show("ssl_sni") == "on"
    default, a, b = ["db.example.com"], ["a.example.com", "A2.example.com"], ["b.example.com"]
    asked = [None, "db.example.com", "other.example.com", "a.example.com", "a2.EXAMPLE.com", "b.example.com"]
    assert [shown(nineteen, host) for host in asked] == [default, default, default, a, a, b]

    operator, alice, bob = (
        Bundle(place.file(f"clients/{user}")).parameters() | at(nineteen) for user in ("operator", "alice", "bob")
    )
    assert [one["host"] for one in (operator, alice, bob)] == ["db.example.com", "a.example.com", "b.example.com"]
    assert admitted(PSQL.connect(operator | {"dbname": "postgres"})) == "operator@postgres"
    assert admitted(PSQL.connect(alice)) == "alice@shop_a"
    assert admitted(PSQL.connect(bob)) == "bob@shop_b"
    refused(PSQL.connect(alice | {"dbname": "shop_b"}), "no pg_hba.conf entry")
    # Under the name of another identity the handshake fails: it accepts other CAs, and another root signed it.
    lax = {"sslmode": "require", "sslrootcert": "/nonexistent"}
    for user, other in ((alice, "b.example.com"), (alice, "db.example.com"), (bob, "a.example.com")):
        refused(PSQL.connect(user | lax | {"host": other}), "unknown ca")
    refused(PSQL.connect(bob | {"host": "a.example.com"}), "certificate verify failed")

    # A client with a password dials any of the names, and its bundle trusts the CAs of all of them.
    plain = Bundle(place.file("clients/plain"))
    secret = {"PGPASSWORD": "secret"}
    dialled = [one["parameters"] for one in plain.connections]
    assert [one["host"] for one in dialled] == ["db.example.com", "a.example.com", "b.example.com"]
    for one in dialled:
        assert admitted(PSQL.connect(plain.files | one | at(nineteen), environment=secret)) == "plain@shop_a"


def test_a_tenant_logs_in_as_another_by_its_own_host_name_so_no_spec_lets_two_of_them_have_one_common_name(
    nineteen: Server, place: Place
) -> None:
    place.build(spec(), now=datetime.now(UTC), new_out=True)
    nineteen.install(place.file("servers/main"))
    # What a compiler would have to issue for `common_name = "alice"` of tenant B.
    made = Authority.of(place.file("ca/tenant-b")).bundle(named(CN="alice"))
    stranger = {"sslcert": str(made / "postgresql.crt"), "sslkey": str(made / "postgresql.key")}
    bob = Bundle(place.file("clients/bob")).parameters() | at(nineteen)
    as_alice = {"user": "alice", "dbname": "shop_a"}
    refused(PSQL.connect(bob | as_alice), 'certificate authentication failed for user "alice"')
    assert admitted(PSQL.connect(bob | stranger | as_alice)) == "alice@shop_a"
    lax = {"sslmode": "require", "sslrootcert": "/nonexistent"}
    refused(PSQL.connect(bob | stranger | as_alice | lax | {"host": "a.example.com"}), "unknown ca")

    other = Place(new_directory("two"))
    other.write(spec(bob='common_name = "alice"'))
    (found,) = [finding for finding in diagnose(other.spec) if finding.severity == "error"]
    assert found.code == "PGT283"
    assert '"bob" logs in as "alice" by way of "b.example.com"' in found.message
    # Where one identity accepts both, it is the mistake that it is without SNI.
    other.write(spec(bob='common_name = "alice"').replace('["tenant-a"]', '["tenant-a", "tenant-b"]'))
    assert "PGT137" in [finding.code for finding in diagnose(other.spec)]


def test_verify_looks_at_every_identity(nineteen: Server, place: Place) -> None:
    place.build(spec(), now=datetime.now(UTC), new_out=True)
    nineteen.install(place.file("servers/main"))
    good = seen(place, nineteen.port)
    outcomes = {check.name: check.outcome for check in good.checks}
    for host in ("a.example.com", "A2.example.com", "b.example.com"):
        looked = ("certificate", "clients' trust", "names", "client CAs")
        assert {outcomes[f"{host}: {name}"] for name in looked} == {"ok"}
    whose = [f"certificate of user.{user}" for user in ("operator", "alice", "bob")]
    assert [outcomes[name] for name in whose] == ["ok"] * 3
    assert good.as_compiled
    assert good.connections <= 40

    # Each fault of one identity is seen under its host names alone.
    trust = nineteen.data / "sni/b.example.com/root.crt"
    nineteen.write("sni/b.example.com/root.crt", trust.read_bytes() + place.file("ca/tenant-a/ca.crt").read_bytes())
    nineteen.reload()
    assert differing(seen(place, nineteen.port)) == [("b.example.com: client CAs", "CA of a stranger")]
    nineteen.write("pg_hosts.conf", re.sub('.*"b.example.com".*', "", (nineteen.data / "pg_hosts.conf").read_text()))
    nineteen.reload()
    found = differing(seen(place, nineteen.port))
    assert ("b.example.com: certificate", "certificate of another") in found
    assert {name.partition(":")[0] for name, _ in found} == {"b.example.com", "certificate of user.bob"}


def test_try_and_explain_know_which_host_name_a_client_dials(place: Place) -> None:
    place.write(spec())
    if NEWEST:
        tried = pgtls("try", place.spec, "--bindir", NEWEST[-1].bin)
        assert tried.status == 0, tried.stdout + tried.stderr
        assert "host=a.example.com" in tried.stdout
        assert re.search(r"refused +alice +shop_a .* with the certificate of bob", tried.stdout)
    asked = ("explain", place.spec, "--user", "alice", "--database", "shop_a", "--from", "127.0.0.1")
    assert "must dial a.example.com or A2.example.com" in pgtls(*asked).stdout
    assert pgtls(*asked, "--host", "a2.example.com").stdout.startswith("admitted")
    refusal = pgtls(*asked, "--host", "b.example.com").stdout
    assert 'server "main" as "b.example.com" asks' not in refusal
    assert refusal.startswith("refused")
    shown_there = pgtls(*asked, "--host", "b.example.com", "--cert", "alice").stdout
    assert 'server "main" as "b.example.com" does not trust ca "tenant-a"' in shown_there
    matrix = json.loads(pgtls("access", place.spec, "--format", "json").stdout)["servers"][0]
    assert [(one["hosts"][0], one["ca"], one["client_ca"]) for one in matrix["identities"]] == [
        ("db.example.com", "root", ["operators"]),
        ("a.example.com", "shops", ["tenant-a"]),
        ("b.example.com", "root", ["tenant-b"]),
    ]
    assert matrix["trust"]["named"] == ["operators", "tenant-a", "tenant-b"]


def differing(found: Verified) -> list[tuple[str, str | None]]:
    return [(check.name, check.fault) for check in found.checks if check.outcome == "differs"]


def test_a_revoked_certificate_is_refused_under_every_host_name(nineteen: Server, place: Place) -> None:
    now = datetime.now(UTC)
    place.build(spec(), now=now - timedelta(hours=1), new_out=True)
    old = Bundle(place.file("clients/bob").rename(place.directory / "old")).parameters() | at(nineteen)
    shutil.copytree(place.directory / "old", place.file("clients/bob"))
    when = f"{now - timedelta(minutes=30):%Y-%m-%dT%H:%M:%SZ}"
    planned = place.build(spec(bob=f"revoke_before = {when}"), now=now)
    assert {(step.entity, step.action) for step in planned.plan.steps} >= {
        ("user.bob", "renew"),
        ("user.bob", "revoke"),
    }
    nineteen.install(place.file("servers/main"))
    assert admitted(PSQL.connect(Bundle(place.file("clients/bob")).parameters() | at(nineteen))) == "bob@shop_b"
    refused(PSQL.connect(old), "certificate revoked")


def test_the_thief_of_the_key_of_one_identity_sees_no_client_of_it(
    nineteen: Server, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    place.build(spec(), now=now - timedelta(days=2), new_out=True)
    nineteen.install(place.file("servers/main"))
    when = f"{now - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    monkeypatch.setenv("PGPASSWORD", "secret")

    def outcomes(user: str) -> dict[str, str]:
        return {check.name: check.outcome for check in seen(place, nineteen.port, user=user).checks}

    assert outcomes("bob")["login"] == outcomes("bob")["certificate of user.bob"] == "ok"
    place.build(spec(b=f"revoke_before = {when}"), now=now)
    found = outcomes("bob")
    assert "certificate of user.bob" not in found
    assert found["b.example.com: client certificates"] == found["login"] == "not tried"
    assert found["certificate of user.alice"] == outcomes("alice")["login"] == "ok"


def test_identities_are_renewed_revoked_and_removed_one_by_one(nineteen: Server, place: Place) -> None:
    start = datetime.now(UTC) - timedelta(days=21)
    short = 'validity = "30d"'
    place.build(spec(b=short), now=start, new_out=True)
    before = {name: place.file(name).read_bytes() for name in CERTIFICATES}
    planned = place.build(now=start + timedelta(days=20, hours=23))
    assert [(step.entity, step.action, step.cost) for step in planned.plan.steps] == [
        ("server.main/b.example.com", "renew", "reload")
    ]
    after = {name: place.file(name).read_bytes() for name in CERTIFICATES}
    assert [name for name in CERTIFICATES if before[name] != after[name]] == [CERTIFICATES[2]]
    nineteen.install(place.file("servers/main"))
    assert shown(nineteen, "b.example.com") == ["b.example.com"]

    now = datetime.now(UTC)
    when = f"{now - timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"
    planned = place.build(spec(a=f"revoke_before = {when}", b=short), now=now)
    steps = {(step.entity, step.action) for step in planned.plan.steps}
    assert {("server.main/a.example.com", "renew"), ("server.main/a.example.com", "revoke")} <= steps
    items = {
        item.entity: item.state
        for item in status(place.request(now=now)).items
        if item.current and item.entity in ENTITIES
    }
    assert items == dict.fromkeys(ENTITIES, "ok")

    gone = spec(b=short).replace('hosts = ["a.example.com", "A2.example.com"]', 'hosts = ["c.example.com"]')
    planned = place.build(gone, now=now, asked=Asked(accept_outage=True))
    steps = {(step.entity, step.action) for step in planned.plan.steps}
    assert ("server.main/c.example.com", "create") in steps
    assert {("server.main/a.example.com", "delete"), ("server.main/a.example.com", "revoke")} <= steps
    assert not place.file("servers/main/sni/a.example.com").exists()
    nineteen.install(place.file("servers/main"))
    assert shown(nineteen, "a.example.com") == ["db.example.com"]
    assert shown(nineteen, "c.example.com") == ["c.example.com"]


def test_the_key_of_an_identity_opens_with_its_own_command(nineteen: Server, place: Place) -> None:
    """One identity without client CAs, and one with them: the column of the CAs is empty or not."""
    (place.directory / "secret").write_text("swordfish")
    fields = 'passphrase = { file = "secret" }\npassphrase_command = "echo swordfish"'
    compiled = (
        spec(a=fields, b=fields).replace('client_ca = ["tenant-b"]', "").replace('users = ["bob"]', 'users = ["alice"]')
    )
    place.build(compiled, now=datetime.now(UTC), new_out=True)
    assert b"ENCRYPTED" in place.file("servers/main/sni/a.example.com/server.key").read_bytes()
    nineteen.install(place.file("servers/main"))
    assert shown(nineteen, "a.example.com") == ["a.example.com", "A2.example.com"]
    assert shown(nineteen, "b.example.com") == ["b.example.com"]
    assert admitted(PSQL.connect(Bundle(place.file("clients/alice")).parameters("shop_a") | at(nineteen)))


@pytest.mark.parametrize("own", [False, True], ids=["in the data directory", "in a directory of its own"])
def test_the_installer_knows_every_identity(nineteen: Server, place: Place, own: bool) -> None:
    directory = new_directory("etc") / "main" if own else nineteen.data
    server = f'directory = "{directory}"' if own else ""
    now = datetime.now(UTC)
    place.build(spec(server), now=now, new_out=True)
    files = place.file("servers/main")
    directory.mkdir(exist_ok=True)
    (directory / "sni").symlink_to("/etc")
    before = sorted(path.name for path in directory.iterdir())
    install(files, nineteen).refused("sni is a ")  # symbolic link
    assert sorted(path.name for path in directory.iterdir() if path.name != ".pgtls-install") == before
    (directory / "sni").unlink()
    said = install(files, nineteen).done()
    assert "serves the certificate that is in place as a.example.com" in said
    assert "nothing to do" in install(files, nineteen).done()
    assert shown(nineteen, "b.example.com") == ["b.example.com"]
    nineteen.restart()
    assert shown(nineteen, "b.example.com") == ["b.example.com"]
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in (directory / "sni/b.example.com").iterdir()} == {
        "server.crt": 0o644,
        "server.key": 0o600,
        "root.crt": 0o644,
    }

    broken = files / "sni/b.example.com/server.key"
    good = broken.read_bytes()
    broken.write_bytes((files / "sni/a.example.com/server.key").read_bytes())
    install(files, nineteen).refused("sni/b.example.com/server.key does not match sni/b.example.com/server.crt")
    broken.write_bytes(good)

    renamed = spec(server).replace('hosts = ["b.example.com"]', 'hosts = ["c.example.com"]')
    place.build(renamed, now=now, asked=Asked(accept_outage=True))
    install(files, nineteen).done()
    assert [path.name for path in sorted((directory / "sni").iterdir())] == ["a.example.com", "c.example.com"]
    assert shown(nineteen, "b.example.com") == ["db.example.com"]
    install(files, nineteen, "--rollback").done()
    assert shown(nineteen, "b.example.com") == ["b.example.com"]
    assert shown(nineteen, "c.example.com") == ["db.example.com"]

    # Without identities nothing of them is left.
    place.build(alone(server), now=now, asked=Asked(accept_outage=True))
    install(files, nineteen).done()
    assert shown(nineteen, "a.example.com") == ["db.example.com"]
    assert not (directory / "sni").exists()
    assert not list(directory.glob("pg_hosts.conf"))
    assert nineteen.show("ssl_sni") == "off"
