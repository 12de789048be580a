"""Self-signed servers and servers of a public CA: what clients need, and that no renewal cuts clients off."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from pgtls.state import lock as locks
from signers.programs import OpenSSL
from support.building import NOW, Place, steps
from support.clients import PSQL, Bundle, admitted, at, libpq_clients, refused
from support.interrupting import pairs_match
from support.pgtls import compiled, pgtls

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Server

ALONE = """
version = 1
[server.db]
ca = "self-signed"
hosts = ["db.example.com"]
postgres = 17
[user.postgres]
[user.app]
[policy.dba]
users = ["postgres"]
from = ["local"]
auth = "trust"
waiver = "a test"
[policy.app]
users = ["app"]
from = ["127.0.0.0/8"]
auth = "scram-sha-256"
"""

DAY = timedelta(days=1)
YEAR = timedelta(days=365)


def certificates(pem: bytes) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem)


def served(place: Place) -> x509.Certificate:
    (certificate,) = certificates(place.file("servers/db/server.crt").read_bytes())
    return certificate


def trusted(place: Place) -> list[x509.Certificate]:
    return certificates(place.file("clients/app/root.crt").read_bytes())


def test_it_lives_ten_years_and_its_clients_trust_it(place: Place) -> None:
    place.build(ALONE)
    certificate = served(place)
    assert certificate.subject == certificate.issuer
    assert (certificate.not_valid_after_utc - NOW).days == 3650
    assert trusted(place) == [certificate]
    assert locks.read(place.lock).latest["server.db"].ca == "self-signed"
    assert steps(place.build()) == []


def test_a_renewal_is_trusted_before_it_is_served(place: Place) -> None:
    place.build(ALONE)
    first = served(place)
    opened = NOW + 7 * YEAR
    planned = place.build(now=opened)
    cost: dict[str, str] = {step.entity: step.cost for step in planned.plan.steps}
    assert cost["user.app"] == "rollout"
    assert served(place) == first
    old, new = trusted(place)
    assert (old, new.public_key() != first.public_key()) == (first, True)
    assert place.file("servers/db/next.key").stat().st_mode & 0o777 == 0o600
    # Until half of the window is over, nothing moves, however often a build runs.
    assert steps(place.build(now=opened + timedelta(days=30))) == []
    manifest = json.loads(place.file("manifest.json").read_text())
    assert manifest["next_due"].startswith(
        f"{(first.not_valid_after_utc - (first.not_valid_after_utc - opened) / 2).year}"
    )
    planned = place.build(now=opened + 2 * YEAR)
    assert ("server.db", "wait") in steps(planned), "nothing says that clients trust the next one"
    place.confirm(now=opened + 2 * YEAR)
    place.build(now=opened + 2 * YEAR)
    assert served(place) == new
    assert set(trusted(place)) == {first, new}, "a server that was not reloaded yet still serves the old one"
    assert not place.file("servers/db/next.key").exists()
    assert steps(place.build(now=opened + 2 * YEAR)) == []
    place.build(now=first.not_valid_after_utc + timedelta(hours=1))
    assert trusted(place) == [new]


def test_a_new_name_takes_two_builds(place: Place) -> None:
    place.build(ALONE)
    first = served(place)
    more = ALONE.replace('["db.example.com"]', '["db.example.com", "db2.example.com"]')
    planned = place.build(more)
    assert ("server.db", "wait") in steps(planned)
    assert served(place) == first
    place.build()
    assert served(place) == first
    place.confirm("user.app")
    place.build()
    assert served(place) == trusted(place)[0] != first
    assert steps(place.build()) == []


def test_asking_for_a_renewal_takes_two_builds(place: Place) -> None:
    place.build(ALONE)
    first = served(place)
    asked = Asked(renew=frozenset({"server.db"}))
    place.build(asked=asked)
    assert served(place) == first
    place.confirm("user.app")
    place.build()
    assert served(place) != first
    assert set(trusted(place)) == {first, served(place)}


def test_evidence_that_somebody_commits_promotes_nothing(place: Place) -> None:
    """Neither at once, nor in a later build: the key that deployed bundles trust would be gone."""
    place.build(ALONE)
    place.confirm("user.app")
    first = served(place)
    place.build(now=NOW + DAY, asked=Asked(renew=frozenset({"server.db"})))
    own = place.file(".pgtls/deployed").read_bytes()
    place.confirm("user.app", now=NOW + DAY)
    place.file(".pgtls/deployed").write_bytes(own)
    for days in range(1, 4):
        place.build(now=NOW + days * DAY)
        assert served(place) == first
        place.build(ALONE.replace("127.0.0.0/8", f"10.{days}.0.0/16"), now=NOW + days * DAY)
    place.confirm("user.app", now=NOW + 5 * DAY)
    place.build(now=NOW + 5 * DAY)
    assert served(place) != first


def test_evidence_that_git_has_left_in_the_out_directory_promotes_nothing(place: Place) -> None:
    place.build(ALONE)
    place.confirm("user.app")
    first = served(place)
    place.build(now=NOW + DAY, asked=Asked(renew=frozenset({"server.db"})))
    place.confirm("user.app", now=NOW + DAY)
    mine = place.file(".pgtls/deployed").read_bytes()
    place.file(".pgtls/deployed").write_bytes(place.lock.with_suffix(".deployed").read_bytes())
    place.build(now=NOW + DAY)
    assert served(place) == first
    place.file(".pgtls/deployed").write_bytes(mine)
    place.build(now=NOW + DAY)
    assert served(place) != first


def test_a_server_leaves_its_ca_at_once_and_bundles_that_trust_both_go_first(place: Place) -> None:
    of_ca = ALONE.replace("[server.db]", "[ca.root]\n[server.db]").replace('"self-signed"', '"root"')
    place.build(of_ca)
    alone = of_ca.replace('ca = "root"', 'ca = "self-signed"')
    with pytest.raises(Rejected) as rejected:
        place.build(alone)
    (found,) = [d for d in rejected.value.diagnostics if d.severity == "error"]
    assert (found.code, found.hint and found.hint.split(" until")[0]) == (
        "PGT581",
        'keep "root" in trust of [server.db]',
    )
    planned = place.build(alone.replace('ca = "self-signed"', 'ca = "self-signed"\ntrust = ["root"]'))
    assert [[str(entity) for entity in wave.entities] for wave in planned.verdict.waves] == [
        ["user.app"],
        ["server.db"],
    ]
    assert served(place).issuer == served(place).subject
    assert served(place) in trusted(place)
    assert certificates(place.file("ca/root/ca.crt").read_bytes())[0] in trusted(place)


def test_what_is_lost_is_replaced_at_once(place: Place) -> None:
    place.build(ALONE)
    first = served(place)
    place.file("servers/db/server.key").unlink()
    with pytest.raises(Rejected, match="PGT581"):
        place.build()
    place.build(asked=Asked(accept_outage=True))
    assert trusted(place) == [served(place)]
    assert served(place) != first


def test_what_has_ended_is_succeeded_by_what_clients_trust_already(place: Place) -> None:
    place.build(ALONE)
    first = served(place)
    place.build(now=NOW + 7 * YEAR)
    (following,) = set(trusted(place)) - {first}
    bundle = place.file("clients/app/root.crt").read_bytes()
    planned = place.build(now=NOW + 11 * YEAR)
    assert served(place) == following
    assert following in certificates(bundle), "the bundle of before will do"
    assert trusted(place) == [following]
    assert ("server.db", "rewrite") in steps(planned)
    assert steps(place.build(now=NOW + 11 * YEAR)) == []


def test_a_lost_key_is_succeeded_by_what_clients_trust_already(place: Place) -> None:
    place.build(ALONE)
    first = served(place)
    place.build(now=NOW + 7 * YEAR)
    (following,) = set(trusted(place)) - {first}
    place.file("servers/db/server.key").unlink()
    place.confirm("user.app", now=NOW + 7 * YEAR)
    place.build(now=NOW + 7 * YEAR + timedelta(days=1))
    assert served(place) == following
    pairs_match(place)
    assert steps(place.build(now=NOW + 7 * YEAR + timedelta(days=1))) == []


def test_what_was_stolen_together_is_not_succeeded_by_it(place: Place) -> None:
    place.build(ALONE)
    place.build(now=NOW + 7 * YEAR)
    stolen = trusted(place)
    revoked = ALONE.replace("[server.db]\n", "[server.db]\nrevoke_before = 2033-06-01\n")
    place.build(revoked, now=NOW + 8 * YEAR, asked=Asked(accept_outage=True))
    assert served(place) not in stolen
    assert trusted(place) == [served(place)]


def test_clients_do_not_trust_the_stolen_one_before_the_one_that_is_served(place: Place) -> None:
    place.build(ALONE)
    stolen = served(place)
    place.build(asked=Asked(renew=frozenset({"server.db"})), now=NOW + 30 * DAY)
    place.confirm("user.app", now=NOW + 31 * DAY)
    place.build(now=NOW + 31 * DAY)
    assert set(trusted(place)) == {stolen, served(place)}
    revoked = ALONE.replace("[server.db]\n", "[server.db]\nrevoke_before = 2026-01-15\n")
    second = served(place)
    place.build(revoked, now=NOW + 40 * DAY)
    assert trusted(place) == [served(place)] == [second]
    place.build(ALONE, now=NOW + 41 * DAY)
    assert trusted(place) == [second]


def test_what_has_ended_and_differs_too_does_not_wait(place: Place) -> None:
    place.build(ALONE)
    more = ALONE.replace('["db.example.com"]', '["db.example.com", "db2.example.com"]')
    first = served(place)
    planned = place.build(more, now=NOW + 11 * YEAR)
    assert ("server.db", "renew") in steps(planned)
    assert trusted(place) == [served(place)]
    assert served(place) != first
    assert steps(place.build(now=NOW + 11 * YEAR)) == []


def test_nobody_is_refused_at_any_step_of_a_renewal(server: Server, tmp_path: Path) -> None:
    spec = ALONE.replace("postgres = 17", f"postgres = {server.version}")
    known = {"PGPASSWORD": "secret"}
    server.populate(["app"], password="secret")

    def connects(clients: Path) -> None:
        parameters = Bundle(clients / "app").parameters() | at(server) | {"dbname": "postgres"}
        assert admitted(PSQL.connect(parameters, environment=known)) == "app@postgres"

    out = compiled(spec, tmp_path)
    server.install(out / "servers" / "db")
    connects(out / "clients")
    bundles = shutil.copytree(out / "clients", tmp_path / "deployed-1")
    stale = Bundle(bundles / "app").parameters() | at(server) | {"dbname": "postgres"}

    out = compiled(spec, tmp_path, "--renew", "server.db")
    server.install(out / "servers" / "db")
    connects(bundles)
    connects(shutil.copytree(out / "clients", tmp_path / "deployed-2"))

    assert pgtls("confirm", "all", "--reason", "deployed", cwd=tmp_path).status == 0
    out = compiled(spec, tmp_path)  # serves the next one from here on
    connects(out / "clients")  # the new bundle with the old server
    server.install(out / "servers" / "db")
    connects(tmp_path / "deployed-2")
    connects(out / "clients")
    # The control: a client without the next certificate is cut off.
    refused(PSQL.connect(stale, environment=known), "certificate verify failed")


# ---- public CAs ------------------------------------------------------------------------------------------------------

PUBLIC = ALONE.replace('ca = "self-signed"', 'ca = "system"\nexternal = true').replace(
    "[user.app]\n", "[user.app]\nlibpq = 16\n"
)


def test_clients_of_a_public_ca_use_that_of_the_system(place: Place) -> None:
    signer = OpenSSL(place.directory / "public")
    signer.prepare()
    place.build(PUBLIC)
    signer.sign(place.file("servers/db/server.csr"), place.directory / "db.crt")
    (found,) = certificates((place.directory / "db.crt").read_bytes())
    place.build(
        PUBLIC.replace("external = true", 'external = true\ncert_file = "db.crt"'), now=found.not_valid_before_utc
    )
    assert not place.file("clients/app/root.crt").exists()
    (entry,) = Bundle(place.file("clients/app")).connections
    assert entry["parameters"]["sslrootcert"] == "system"
    assert entry["parameters"]["sslmode"] == "verify-full"
    assert "sslfactory=org.postgresql.ssl.DefaultJavaSSLFactory" in entry["jdbc"]
    assert "sslrootcert" not in entry["jdbc"]
    assert "PGSSLROOTCERT=system" in place.file("clients/app/env.sh").read_text()


def test_a_public_ca_is_verified_by_the_system(server: Server, tmp_path: Path) -> None:
    clients = [client for client in libpq_clients() if client.libpq >= 16]
    if not clients:
        pytest.skip("no libpq 16 or newer is installed: `make test` does it")
    spec = PUBLIC.replace("postgres = 17", f"postgres = {server.version}")
    signer = OpenSSL(tmp_path / "public")
    signer.prepare()
    out = compiled(spec, tmp_path)
    signer.sign(out / "servers" / "db" / "server.csr", tmp_path / "db.crt")
    out = compiled(spec.replace("external = true", 'external = true\ncert_file = "db.crt"'), tmp_path)
    server.populate(["app"], password="secret")
    server.install(out / "servers" / "db")
    parameters = Bundle(out / "clients" / "app").parameters() | at(server) | {"dbname": "postgres"}
    known = {"PGPASSWORD": "secret"}
    system = known | {"SSL_CERT_FILE": str(signer.directory / "root.crt")}
    for client in clients:
        assert admitted(client.connect(parameters, environment=system)) == "app@postgres"
        refused(
            client.connect(parameters | {"host": "other.example.com"}, environment=system), "does not match host name"
        )
        refused(client.connect(parameters, environment=known), "certificate verify failed")


def test_a_server_that_brings_its_chain_needs_no_ca_in_the_spec(place: Place) -> None:
    signer = OpenSSL(place.directory / "own")
    signer.prepare()
    other = place.directory / "other"
    other.mkdir()
    elsewhere = Place(other)
    elsewhere.build(PUBLIC)
    signer.sign(elsewhere.file("servers/db/server.csr"), place.directory / "db.crt")
    shutil.copy(elsewhere.file("servers/db/server.key"), place.directory / "db.key")
    spec = ALONE.replace('ca = "self-signed"', 'cert_file = "db.crt"\nkey_file = "db.key"')
    (found,) = certificates((place.directory / "db.crt").read_bytes())
    with pytest.raises(Rejected) as rejected:
        place.build(spec, now=found.not_valid_before_utc)
    assert "neither in the file nor in the spec" in str(rejected.value)
    root = (signer.directory / "root.crt").read_bytes()
    (place.directory / "db.crt").write_bytes((place.directory / "db.crt").read_bytes() + root)
    place.build(spec, now=found.not_valid_before_utc)
    assert trusted(place) == certificates(root)
