"""Encrypted keys: written, decrypted again, rewritten when the spec changes, read by real servers and clients."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from support.building import NOW, SMALL, Place, reason, steps
from support.clients import PSQL, Bundle, admitted, at, refused
from support.pgtls import compiled
from support.servers import ServerError

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Server

PHRASE = "correct horse"
SOURCE = 'passphrase = { env = "PHRASE" }'


@pytest.fixture(autouse=True)
def phrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHRASE", PHRASE)


def guarded(spec: str, *tables: str) -> str:
    command = '\npassphrase_command = "echo correct horse"'
    for table in tables:
        more = SOURCE + (command if table.startswith("[server") else "")
        assert table in spec
        spec = spec.replace(f"{table}\n", f"{table}\n{more}\n")
    return spec


ALL = guarded(SMALL, "[ca.root]", "[ca.clients]", "[server.main]", "[user.app]")
KEYS = ("ca/root/ca.key", "ca/clients/ca.key", "servers/main/server.key", "clients/app/postgresql.key")


def numbers(pem: bytes, passphrase: bytes | None) -> object:
    key = load_pem_private_key(pem, passphrase)
    return key.private_numbers()  # type: ignore[union-attr]


def codes(rejected: pytest.ExceptionInfo[Rejected]) -> list[str]:
    return [d.code for d in rejected.value.diagnostics if d.severity == "error"]


def test_every_kind_of_key_is_encrypted_by_aes_256(place: Place) -> None:
    place.build(ALL)
    for path in KEYS:
        pem = place.file(path).read_bytes()
        assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
        load_pem_private_key(pem, PHRASE.encode())
        with pytest.raises(ValueError, match=r"."):  # once in 256 times, the padding of what comes out is right
            load_pem_private_key(pem, b"wrong")
        words = ["openssl", "asn1parse", "-in", str(place.file(path))]
        assert "aes-256-cbc" in subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert steps(place.build()) == []


def test_an_encrypted_ca_goes_on_signing(place: Place) -> None:
    place.build(ALL)
    before = place.file("servers/main/server.crt").read_bytes()
    place.build(now=NOW + timedelta(days=70))
    assert place.file("servers/main/server.crt").read_bytes() != before
    load_pem_private_key(place.file("servers/main/server.key").read_bytes(), PHRASE.encode())


def test_what_needs_no_key_asks_for_no_passphrase(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.build(ALL)
    monkeypatch.delenv("PHRASE")
    assert steps(place.build()) == []
    assert steps(place.plan(ALL.replace('"shop"', '"reports"'))) != []
    with pytest.raises(Rejected) as rejected:
        place.build(asked=Asked(renew=frozenset({"user.app"})))
    assert codes(rejected) == ["PGT560"]


def test_a_wrong_passphrase_is_said_and_changes_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.build(ALL)
    before = place.state()
    monkeypatch.setenv("PHRASE", "battery staple")
    with pytest.raises(Rejected) as rejected:
        place.build(asked=Asked(renew=frozenset({"user.app"})))
    assert codes(rejected) == ["PGT561"]
    (fault,) = rejected.value.diagnostics
    assert fault.message.startswith("the passphrase does not open the private key of ca.clients")
    assert 'encrypt "ca/clients/ca.key" with it by openssl pkcs8 -topk8' in str(fault.hint)
    assert fault.place
    assert fault.place.text == SOURCE
    assert "battery" not in str(rejected.value)
    assert place.state() == before
    with pytest.raises(Rejected):
        place.plan(asked=Asked(renew=frozenset({"user.app"})))


TOUCHED = ALL.replace('"shop"', '"reports"')
"""Changes a file of the server and one of the user, and needs no key."""


def test_a_passphrase_that_changed_is_said_as_soon_as_the_entity_is_touched(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.build(ALL)
    monkeypatch.setenv("PHRASE", "battery staple")
    assert place.build().diagnostics == (), "a build that does nothing reads no secret"
    for run in (place.plan, place.build):
        planned = run(TOUCHED)
        assert {entity for entity, _ in steps(planned)} == {"server.main", "user.app"}
        assert [(d.code, d.severity) for d in planned.diagnostics] == [("PGT561", "warning")] * 2
        assert {d.message.partition(":")[0].rpartition(" ")[2] for d in planned.diagnostics} == {
            "server.main",
            "user.app",
        }
    monkeypatch.setenv("PHRASE", PHRASE)
    assert place.plan(ALL).diagnostics == ()


def test_a_passphrase_of_the_defaults_that_changed_is_said_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = f"[defaults.user]\n{SOURCE}\n{SMALL.partition('version = 1')[2]}"
    spec = "version = 1\n" + spec.replace('users = ["app"]', 'users = ["app", "etl"]') + '[user.etl]\nca = "clients"\n'
    place.build(spec)
    monkeypatch.setenv("PHRASE", "battery staple")
    (warning,) = place.plan(spec.replace('"shop"', '"reports"')).diagnostics
    assert "the private keys of user.app and user.etl: another one" in warning.message
    assert warning.place
    assert warning.place.line == 3


def test_a_key_that_was_encrypted_again_by_hand_goes_by_its_new_passphrase(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.build(ALL)
    for path in KEYS:
        key = place.file(path)
        words = ["openssl", "pkcs8", "-topk8", "-v2", "aes-256-cbc", "-in", str(key), "-out", f"{key}.new"]
        words += ["-passin", f"pass:{PHRASE}", "-passout", "pass:battery staple"]
        subprocess.run(words, check=True, capture_output=True)
        key.with_name(f"{key.name}.new").rename(key)
    with pytest.raises(Rejected) as rejected:
        place.build()
    assert codes(rejected) == ["PGT561"] * 4, "the spec still has the old one"
    monkeypatch.setenv("PHRASE", "battery staple")
    before = numbers(place.file(KEYS[2]).read_bytes(), b"battery staple")
    planned = place.build(TOUCHED)
    assert planned.diagnostics == ()
    assert numbers(place.file(KEYS[2]).read_bytes(), b"battery staple") == before
    assert {place.file(path).stat().st_mode & 0o777 for path in KEYS} == {0o600}
    renewed = place.build(asked=Asked(renew=frozenset({"user.app"})))
    assert steps(renewed) == [("user.app", "renew")]


@pytest.mark.parametrize("rotate", ["true", "false"])
def test_a_key_that_nobody_can_open_any_more_is_replaced_when_told_so(
    place: Place, rotate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = guarded(SMALL, "[user.app]").replace("[user.app]", f"[user.app]\nrotate_key = {rotate}")
    place.build(spec)
    monkeypatch.setenv("PHRASE", "battery staple")
    if rotate == "false":
        with pytest.raises(Rejected) as rejected:
            place.build(asked=Asked(renew=frozenset({"user.app"})))
        assert codes(rejected) == ["PGT561"]
    place.build(asked=Asked(replace=frozenset({"user.app"})))
    load_pem_private_key(place.file("clients/app/postgresql.key").read_bytes(), b"battery staple")


@pytest.mark.parametrize(
    ("table", "path"),
    [
        ("[ca.clients]", "ca/clients/ca.key"),
        ("[server.main]", "servers/main/server.key"),
        ("[user.app]", "clients/app/postgresql.key"),
    ],
)
def test_a_passphrase_that_is_added_encrypts_the_same_key(place: Place, table: str, path: str) -> None:
    place.build(SMALL)
    before = numbers(place.file(path).read_bytes(), None)
    certificate = place.file(path).with_suffix(".crt").read_bytes()
    planned = place.build(guarded(SMALL, table))
    assert ("the protection of its key changed") in reason(planned, table.strip("[]"))
    assert numbers(place.file(path).read_bytes(), PHRASE.encode()) == before
    assert place.file(path).with_suffix(".crt").read_bytes() == certificate
    assert steps(place.build()) == []


def test_a_passphrase_that_is_gone_leaves_a_key_that_nobody_can_open(place: Place) -> None:
    place.build(ALL)
    before = place.state()
    with pytest.raises(Rejected) as rejected:
        place.build(SMALL)
    assert codes(rejected) == ["PGT561"] * 4
    assert place.state() == before
    asked = Asked(replace=frozenset({"server.main", "user.app"}))
    planned = place.build(guarded(SMALL, "[ca.root]", "[ca.clients]"), asked=asked)
    assert [entity for entity, action in steps(planned) if action == "renew"] == ["server.main", "user.app"]
    load_pem_private_key(place.file("servers/main/server.key").read_bytes(), None)


def test_a_key_that_was_decrypted_by_hand_is_taken_as_it_is(place: Place) -> None:
    place.build(ALL)
    key = place.file("ca/root/ca.key")
    plain = key.with_suffix(".plain")
    words = ["openssl", "pkcs8", "-in", str(key), "-out", str(plain), "-passin", f"pass:{PHRASE}"]
    subprocess.run(words, check=True, capture_output=True)
    plain.rename(key)
    key.chmod(0o600)
    place.build(guarded(SMALL, "[ca.clients]", "[server.main]", "[user.app]"))
    assert b"ENCRYPTED" not in key.read_bytes()


def test_a_default_is_for_those_that_have_a_key_here(place: Place) -> None:
    (place.directory / "their.csr").write_bytes(_request(place.directory))
    spec = SMALL.replace("[ca.root]", f"[defaults.user]\n{SOURCE}\n[ca.root]", 1)
    spec += '[user.bob]\nca = "clients"\ncsr_file = "their.csr"\n'
    place.build(spec.replace('users = ["app"]', 'users = ["app", "bob"]'))
    assert b"ENCRYPTED" in place.file("clients/app/postgresql.key").read_bytes()
    assert not place.file("clients/bob/postgresql.key").exists()
    assert steps(place.build()) == []


def _request(directory: Path) -> bytes:
    new = ["openssl", "req", "-new", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=x"]
    run = subprocess.run([*new, "-keyout", "their.key"], check=True, capture_output=True, cwd=directory)
    return run.stdout


def test_no_file_of_a_bundle_has_the_passphrase(place: Place) -> None:
    place.build(ALL)
    for path in place.file("clients/app").iterdir():
        text = path.read_text()
        assert PHRASE not in text
        assert "sslpassword=" not in text
    assert "passphrase" in place.file("clients/app/README.md").read_text()


# ---- real servers and clients ----------------------------------------------------------------------------------------

WIRE = """
version = 1
[ca.root]
[server.db]
ca = "root"
client_ca = ["root"]
hosts = ["db.example.com"]
postgres = {major}
passphrase = {{ command = ["echo", "correct horse"] }}
passphrase_command = "echo {phrase}"
[user.postgres]
[user.app]
ca = "root"
passphrase = {{ command = ["echo", "battery staple"] }}
[policy.dba]
users = ["postgres"]
from = ["local"]
auth = "trust"
waiver = "a test"
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["127.0.0.0/8"]
auth = "cert"
"""


def test_a_server_opens_its_key_at_start_and_at_reload(server: Server, tmp_path: Path) -> None:
    server.populate(["app"], ["shop"])
    spec = WIRE.format(major=server.version, phrase="correct horse")
    out = compiled(spec, tmp_path)
    server.place(out / "servers" / "db")
    server.restart()
    parameters = Bundle(out / "clients" / "app").parameters("shop") | at(server)
    assert admitted(PSQL.connect(parameters | {"sslpassword": "battery staple"})) == "app@shop"
    refused(PSQL.connect(parameters | {"sslpassword": "wrong"}), "could not load private key file")
    refused(PSQL.connect(parameters), "could not load private key file")

    # A renewed pair is taken at a reload.
    before = (out / "servers" / "db" / "server.key").read_bytes()
    out = compiled(spec, tmp_path, "--renew", "server.db")
    assert (out / "servers" / "db" / "server.key").read_bytes() != before
    server.install(out / "servers" / "db")
    assert admitted(PSQL.connect(parameters | {"sslpassword": "battery staple"})) == "app@shop"


def test_a_server_whose_command_prints_something_else_does_not_take_the_key(server: Server, tmp_path: Path) -> None:
    out = compiled(WIRE.format(major=server.version, phrase="wrong"), tmp_path)
    with pytest.raises(ServerError, match="could not load private key file"):
        server.install(out / "servers" / "db")
