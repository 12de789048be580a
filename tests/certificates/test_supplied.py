"""Certificates, keys and requests that are brought along: taken over whole, or refused with what differs."""

from __future__ import annotations

import shutil
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from pgtls.pipeline import status
from pgtls.pki.der import integer
from pgtls.pki.keys import algorithm_of
from pgtls.state import lock as locks
from support.authority import SERIAL_NUMBER, Authority, named
from support.building import NOW, SMALL, Place, steps
from support.clients import PSQL, Bundle, admitted, at, refused
from support.pgtls import compiled

if TYPE_CHECKING:
    from pathlib import Path

    from pgtls.plan.model import Item
    from support.servers import Server


@pytest.fixture
def stock(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Another company's tree, as a source of supplied files."""
    other = Place(tmp_path_factory.mktemp("stock"))
    other.build(SMALL)
    return other


def bring(place: Place, stock: Place, *paths: str) -> None:
    for path in paths:
        shutil.copy(stock.file(path), place.directory / path.replace("/", "-"))


def having(spec: str, header: str, *lines: str) -> str:
    assert header in spec
    return spec.replace(f"{header}\n", "\n".join((header, *lines, "")))


def complaint(place: Place, spec: str, now: datetime = NOW) -> tuple[str, str]:
    with pytest.raises(Rejected) as rejected:
        place.build(spec, now=now)
    found = [(d.code, d.message) for d in rejected.value.diagnostics if d.severity == "error"]
    assert len(found) == 1, found
    ((code, message),) = found
    return code, message


def public(pem: bytes) -> bytes:
    return (
        x509.load_pem_x509_certificate(pem).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )


CA = ('cert_file = "ca-root-ca.crt"', 'key_file = "ca-root-ca.key"')


def test_a_ca_that_is_brought_along_signs(place: Place, stock: Place) -> None:
    bring(place, stock, "ca/root/ca.crt", "ca/root/ca.key")
    planned = place.build(having(SMALL, "[ca.root]", *CA))
    assert ("ca.root", "adopt") in steps(planned)
    for name in ("ca.crt", "ca.key"):
        assert place.file(f"ca/root/{name}").read_bytes() == stock.file(f"ca/root/{name}").read_bytes()
    root = x509.load_pem_x509_certificate(stock.file("ca/root/ca.crt").read_bytes())
    x509.load_pem_x509_certificates(place.file("servers/main/server.crt").read_bytes())[0].verify_directly_issued_by(
        root
    )
    assert place.file("clients/app/root.crt").read_bytes() == stock.file("ca/root/ca.crt").read_bytes()
    assert steps(place.build()) == []
    assert locks.read(place.lock).latest["ca.root"].serial == f"{root.serial_number:x}"


def test_a_key_that_is_brought_along_encrypted_stays_so(
    place: Place, stock: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHRASE", "correct horse")
    bring(place, stock, "ca/root/ca.crt")
    words = ["openssl", "pkcs8", "-topk8", "-in", str(stock.file("ca/root/ca.key")), "-passout", "pass:correct horse"]
    subprocess.run([*words, "-out", str(place.directory / "ca-root-ca.key")], check=True)
    spec = having(SMALL, "[ca.root]", *CA)
    code, message = complaint(place, spec)
    assert (code, "it is encrypted, and there is no passphrase" in message) == ("PGT565", True)
    place.build(having(spec, "[ca.root]", 'passphrase = { env = "PHRASE" }'))
    load_pem_private_key(place.file("ca/root/ca.key").read_bytes(), b"correct horse")
    assert steps(place.build()) == []


def test_a_key_of_another_certificate_is_refused(place: Place, stock: Place) -> None:
    bring(place, stock, "ca/root/ca.crt", "ca/clients/ca.key")
    spec = having(SMALL, "[ca.root]", CA[0], 'key_file = "ca-clients-ca.key"')
    code, message = complaint(place, spec)
    assert (code, "its key is not that of key_file" in message) == ("PGT565", True)
    assert not place.out.exists() or not any(place.out.rglob("*.key"))


FAULTY = {
    "missing": (None, 'cannot read "ca-root-ca.crt": No such file or directory'),
    "empty": (b"", "it is empty"),
    "a key": (
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        'there is not a certificate in it, but "PRIVATE KEY"',
    ),
}


@pytest.mark.parametrize(("content", "message"), FAULTY.values(), ids=FAULTY)
def test_a_file_that_is_no_certificate_is_said(place: Place, stock: Place, content: bytes | None, message: str) -> None:
    bring(place, stock, "ca/root/ca.key")
    if content is not None:
        (place.directory / "ca-root-ca.crt").write_bytes(content)
    code, text = complaint(place, having(SMALL, "[ca.root]", *CA))
    assert (code, message in text) == ("PGT564", True), text


def test_servers_and_users_bring_theirs(place: Place, stock: Place) -> None:
    bring(place, stock, "ca/root/ca.crt", "ca/root/ca.key", "ca/clients/ca.crt", "ca/clients/ca.key")
    bring(place, stock, "servers/main/server.crt", "servers/main/server.key", "clients/app/postgresql.crt")
    spec = having(SMALL, "[ca.root]", *CA)
    spec = having(spec, "[ca.clients]", 'cert_file = "ca-clients-ca.crt"', 'key_file = "ca-clients-ca.key"')
    server = ('cert_file = "servers-main-server.crt"', 'key_file = "servers-main-server.key"')
    spec = having(spec, "[server.main]", *server)
    spec = having(spec, "[user.app]", 'cert_file = "clients-app-postgresql.crt"')
    place.build(spec)
    for path in ("servers/main/server.crt", "servers/main/server.key", "clients/app/postgresql.crt"):
        assert place.file(path).read_bytes() == stock.file(path).read_bytes()
    assert not place.file("clients/app/postgresql.key").exists(), "its key is where it was made"
    assert place.file("servers/main/server.key").stat().st_mode & 0o777 == 0o600
    assert steps(place.build()) == []
    code, message = complaint(place, spec.replace('"10.0.0.5"', '"10.0.0.6"'))
    assert (code, 'it lacks the host "10.0.0.6"' in message) == ("PGT565", True)


SUBJECTS = """
[user.ann]
ca = "clients"
{ann}
[policy.admin]
users = {users}
databases = ["prod"]
from = ["10.0.0.0/8"]
auth = "cert"
{entry}
"""
ADMINS = 'map = [{ identity = "/(^|,)OU=admins(,|$)", of = "dn", role = "dba" }]'


@pytest.mark.parametrize(
    ("more", "compares"),
    [
        ({"entry": ADMINS}, True),
        ({"entry": ADMINS.replace("dn", "cn")}, False),
        ({"ann": 'identity = "dn"'}, True),
        ({"ann": 'identity = "dn"', "users": '["app"]'}, False),
        ({}, False),
    ],
)
def test_where_a_policy_compares_subjects_nobody_brings_a_longer_one(
    place: Place, more: dict[str, str], *, compares: bool
) -> None:
    """The policy is meant for others: it would take this user for one of them."""
    spec = SMALL + SUBJECTS.format(**{"ann": "", "users": '["all"]', "entry": ""} | more)
    place.build(spec)
    spec = having(spec, "[user.app]", 'cert_file = "app.crt"')
    ca = Authority.of(place.file("ca/clients"))
    shutil.copy(ca.bundle(named(OU="admins", CN="app")) / "postgresql.crt", place.directory / "app.crt")
    now = datetime.now(UTC)
    if compares:
        differs = 'its subject is "CN=app,OU=admins", not "CN=app", and policy "admin" compares subjects'
        message = f"the certificate of user.app does not fit the spec: {differs}"
        assert complaint(place, spec, now) == ("PGT565", message)
        spec = having(spec, "[user.app]", 'subject = { organizational_unit = "admins" }')
    assert ("user.app", "adopt") in steps(place.build(spec, now=now))


def test_a_trusted_ca_signs_nothing_and_brings_its_crl(place: Place, stock: Place) -> None:
    bring(place, stock, "ca/clients/ca.crt", "ca/clients/ca.crl", "clients/app/postgresql.crt")
    trusted = ('cert_file = "ca-clients-ca.crt"', 'crl_file = "ca-clients-ca.crl"')
    spec = having(SMALL, "[ca.clients]", *trusted).replace('auth = "cert"', 'auth = "cert"\nwaiver = "a test"')
    code, _ = complaint(place, spec)
    assert code == "PGT142"
    place.build(having(spec, "[user.app]", 'cert_file = "clients-app-postgresql.crt"'))
    assert place.file("servers/main/root.crl").read_bytes() == stock.file("ca/clients/ca.crl").read_bytes()
    assert place.file("servers/main/root.crt").read_bytes() == stock.file("ca/clients/ca.crt").read_bytes()
    assert not place.file("ca/clients/ca.key").exists()
    assert steps(place.build()) == []
    # A stale CRL would lock every client out.
    with pytest.raises(Rejected) as rejected:
        place.build(now=NOW + timedelta(days=366))
    assert any("servers would reject every client" in d.message for d in rejected.value.diagnostics)


def test_a_ca_file_may_hold_its_chain(place: Place, tmp_path_factory: pytest.TempPathFactory) -> None:
    company = Place(tmp_path_factory.mktemp("company"))
    company.build(
        SMALL.replace("[ca.clients]", '[ca.clients]\nissuer = "root"\n').replace('ca = "root"', 'ca = "clients"')
    )
    chain = company.file("ca/clients/ca.crt").read_bytes() + company.file("ca/root/ca.crt").read_bytes()
    (place.directory / "chain.crt").write_bytes(chain)
    shutil.copy(company.file("ca/clients/ca.key"), place.directory / "ca.key")
    spec = having(SMALL, "[ca.root]", 'cert_file = "chain.crt"', 'key_file = "ca.key"')
    place.build(spec)
    assert place.file("clients/app/root.crt").read_bytes() == company.file("ca/root/ca.crt").read_bytes()
    served = x509.load_pem_x509_certificates(place.file("servers/main/server.crt").read_bytes())
    assert [c.subject.rfc4514_string() for c in served] == ["CN=db.example.com", "CN=clients"]
    (place.directory / "chain.crt").write_bytes(company.file("ca/clients/ca.crt").read_bytes())
    code, message = complaint(place, spec)
    assert (code, "neither in the file nor in the spec" in message) == ("PGT565", True)


LONG = 0xFF << 152
UNLISTABLE = {"zero": (0, "is zero"), "too long": (LONG, "has 160 bits, and a CRL lists at most 159"), "one": (1, "")}


@pytest.mark.parametrize(("serial", "fault"), UNLISTABLE.values(), ids=UNLISTABLE)
def test_what_the_crl_of_a_ca_could_not_list_is_not_taken(place: Place, serial: int, fault: str) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    place.build(SMALL, now=now - timedelta(days=2))
    clients = Authority.of(place.file("ca/clients"))
    certificate = x509.load_pem_x509_certificate((clients.bundle(named(CN="app")) / "postgresql.crt").read_bytes())
    (place.directory / "app.crt").write_bytes(clients.with_field(certificate, SERIAL_NUMBER, integer(serial)))
    spec = having(SMALL, "[user.app]", 'cert_file = "app.crt"')
    if not fault:
        place.build(spec, now=now)
        return
    code, message = complaint(place, spec, now)
    assert (code, f"its serial number {fault}" in message) == ("PGT565", True), message
    place.build(SMALL, now=now)


def test_a_root_with_serial_number_zero_is_one_like_others(place: Place) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    root = Authority.root("Company")
    (place.directory / "company.crt").write_bytes(root.with_field(root.certificate, SERIAL_NUMBER, integer(0)))
    (place.directory / "company.key").write_bytes(root.key_pem)
    spec = having(SMALL, "[ca.root]", 'cert_file = "company.crt"', 'key_file = "company.key"')
    place.build(spec, now=now)
    assert locks.read(place.lock).latest["ca.root"].serial == "0"
    place.build(spec + "# again", now=now)


SECOND = """
[server.second]
ca = "root"
no_local = true
hosts = ["db.example.com"]
cert_file = "servers-main-server.crt"
key_file = "servers-main-server.key"
"""


def test_two_servers_do_not_share_a_certificate(place: Place, stock: Place) -> None:
    bring(place, stock, "ca/root/ca.crt", "ca/root/ca.key", "servers/main/server.crt", "servers/main/server.key")
    server = ('cert_file = "servers-main-server.crt"', 'key_file = "servers-main-server.key"')
    spec = having(having(SMALL, "[ca.root]", *CA), "[server.main]", *server)
    spec = spec.replace("users =", 'servers = ["main"]\nusers =')
    assert complaint(place, spec + SECOND) == ("PGT565", "the certificate of server.second is that of server.main")
    assert not place.lock.exists()
    place.build(spec)
    # Nor does it take one that the lock knows of another.
    renamed = spec.replace("[server.main]", "[server.other]").replace('"main"', '"other"')
    assert complaint(place, renamed) == ("PGT565", "the certificate of server.other is that of server.main")
    place.build(spec)


def test_one_serial_number_of_two_issuing_cas_is_refused_before_it_is_in_the_lock(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    company, now = Authority.root("Company"), datetime.now(UTC).replace(microsecond=0)
    issuing = [company.below("Issuing 1"), company.below("Issuing 2")]
    (place.directory / "company.crt").write_bytes(company.pem)
    monkeypatch.setattr(x509, "random_serial_number", lambda: 5)
    for name, ca in zip(("app", "batch"), issuing, strict=True):
        shutil.copy(ca.bundle(named(CN=name), ca) / "postgresql.crt", place.directory / f"{name}.crt")
    spec = having(SMALL, "[ca.clients]", 'cert_file = "company.crt"', "crl = false")
    spec = having(spec, "[user.app]", 'cert_file = "app.crt"') + 'waiver = "a test"\n'
    spec = having(spec, "[server.main]", "crl = false")
    other = '[user.batch]\nca = "clients"\ncert_file = "batch.crt"\n'
    fault = ("PGT565", 'serial number 5 of CA "clients" is that of another certificate, of user.app')
    assert complaint(place, spec + other, now) == fault
    place.build(spec, now=now)
    assert complaint(place, spec + other, now) == fault


# ---- requests --------------------------------------------------------------------------------------------------------


def request(directory: Path, *words: str) -> bytes:
    """Make a key that stays where it is, and a request for it that asks for more than it gets."""
    new = ["openssl", "req", "-new", "-nodes", "-keyout", "their.key", "-out", "their.csr", *words]
    asks = [
        "-subj",
        "/CN=postgres",
        "-addext",
        "subjectAltName=DNS:evil.example.com",
        "-addext",
        "basicConstraints=CA:TRUE",
    ]
    subprocess.run([*new, *asks], check=True, cwd=directory, capture_output=True)
    return (directory / "their.csr").read_bytes()


EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
REQUESTED = having(SMALL, "[user.app]", 'csr_file = "their.csr"')


@pytest.mark.parametrize("key", [EC, ("-newkey", "rsa:2048"), ("-newkey", "ed25519")], ids=["EC", "RSA", "Ed25519"])
def test_a_request_gives_its_key_and_nothing_else(place: Place, key: tuple[str, ...]) -> None:
    asked = x509.load_pem_x509_csr(request(place.directory, *key))
    place.build(REQUESTED)
    (found,) = x509.load_pem_x509_certificates(place.file("clients/app/postgresql.crt").read_bytes())
    assert found.public_key() == asked.public_key()
    assert found.subject.rfc4514_string() == "CN=app"
    assert all(not isinstance(e.value, x509.SubjectAlternativeName | x509.BasicConstraints) for e in found.extensions)
    assert not place.file("clients/app/postgresql.key").exists()
    assert steps(place.build()) == []
    before = found.serial_number
    place.build(now=NOW + timedelta(days=70))
    (renewed,) = x509.load_pem_x509_certificates(place.file("clients/app/postgresql.crt").read_bytes())
    assert (renewed.public_key(), renewed.serial_number != before) == (asked.public_key(), True)


def test_another_request_is_another_certificate(place: Place) -> None:
    request(place.directory, *EC)
    place.build(REQUESTED)
    second = x509.load_pem_x509_csr(request(place.directory, *EC))
    assert ("user.app", "renew") in steps(place.build())
    (found,) = x509.load_pem_x509_certificates(place.file("clients/app/postgresql.crt").read_bytes())
    assert found.public_key() == second.public_key()


def test_a_request_that_is_not_signed_by_its_key_is_refused(place: Place) -> None:
    der = bytearray(x509.load_pem_x509_csr(request(place.directory, *EC)).public_bytes(Encoding.DER))
    at = der.index(b"postgres")
    der[at : at + 8] = b"postgreS"
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)
    (place.directory / "their.csr").write_bytes(forged)
    code, message = complaint(place, REQUESTED)
    assert (code, "its signature is not that of its key" in message) == ("PGT564", True)


def test_a_request_with_a_weak_key_is_refused(place: Place) -> None:
    request(place.directory, "-newkey", "rsa:1024")
    code, message = complaint(place, REQUESTED)
    assert (code, "1024 bits" in message) == ("PGT564", True)
    _made_as_told(place, REQUESTED)
    place.build(REQUESTED)


def _made_as_told(place: Place, spec: str) -> None:
    """Run the command of the diagnostic about a request, where its file belongs."""
    with pytest.raises(Rejected) as rejected:
        place.build(spec)
    (hint,) = [str(found.hint) for found in rejected.value.diagnostics if found.code == "PGT564"]
    command = hint.removeprefix("where the key stays, run: ")
    subprocess.run(["sh", "-c", command], check=True, capture_output=True, cwd=place.directory)


@pytest.mark.parametrize("algorithm", ["ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "ed25519"])
@pytest.mark.parametrize("table", ["user.app", "server.main"])
def test_the_command_for_a_request_that_is_not_there_makes_what_the_spec_asks_for(
    place: Place, table: str, algorithm: str
) -> None:
    fields = f"csr_file = \"their.csr\"\nkey_algorithm = '{algorithm}'\n"
    fields += """subject = { organization = 'A/B + "C" \\é', organizational_unit = ["Databases", "$HOME 'A'"] }"""
    spec = having(SMALL, f"[{table}]", fields)
    _made_as_told(place, spec)
    place.build(spec)
    asked = x509.load_pem_x509_csr((place.directory / "their.csr").read_bytes())
    path = "clients/app/postgresql" if table == "user.app" else "servers/main/server"
    (issued,) = x509.load_pem_x509_certificates(place.file(f"{path}.crt").read_bytes())
    key = place.directory / f"{path.rpartition('/')[2]}.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert asked.subject.rfc4514_string() == issued.subject.rfc4514_string()
    assert (algorithm_of(issued.public_key()), issued.public_key()) == (algorithm, asked.public_key())


def test_a_server_signs_in_with_a_key_that_never_came_here(server: Server, tmp_path: Path) -> None:
    request(tmp_path, *EC)
    spec = REQUESTED.replace("[server.main]", f"[server.main]\npostgres = {server.version}").replace(
        "10.0.0.0/8", "127.0.0.0/8"
    )
    out = compiled(spec, tmp_path)
    server.populate(["app"], ["shop"])
    server.install(out / "servers" / "main")
    (tmp_path / "their.key").chmod(0o600)
    parameters = Bundle(out / "clients" / "app").parameters("shop") | at(server)
    assert admitted(PSQL.connect(parameters | {"sslkey": str(tmp_path / "their.key")})) == "app@shop"
    refused(PSQL.connect(parameters | {"user": "postgres", "sslkey": str(tmp_path / "their.key")}), "pg_hba.conf")
    other = str(out / "servers" / "main" / "server.key")
    refused(PSQL.connect(parameters | {"sslkey": other}), "key values mismatch")


# ---- keys that are away ----------------------------------------------------------------------------------------------

OFFLINE = """
version = 1
[ca.root]
offline = true
[ca.servers]
issuer = "root"
validity = "1y"
[ca.clients]
issuer = "root"
validity = "1y"
[server.main]
ca = "servers"
client_ca = ["root"]
hosts = ["db.example.com"]
[user.postgres]
[user.app]
ca = "clients"
[policy.dba]
users = ["postgres"]
from = ["local"]
auth = "peer"
[policy.app]
users = ["app"]
from = ["10.0.0.0/8"]
auth = "cert"
"""


def taken_away(place: Place) -> Path:
    """Build with the root's key and move it to where it is kept."""
    place.build(OFFLINE)
    vault = place.directory / "vault.key"
    place.file("ca/root/ca.key").rename(vault)
    return vault


def test_a_ca_whose_key_is_away_is_not_lost(place: Place) -> None:
    taken_away(place)
    place.build()
    assert steps(place.build()) == []
    with pytest.raises(Rejected) as rejected:
        place.build(OFFLINE.replace("offline = true\n", ""))
    assert [d.code for d in rejected.value.diagnostics] == ["PGT550"]


@pytest.mark.parametrize("away", [True, False], ids=["its key is away", "its key is here"])
def test_the_name_of_who_left_is_not_free_while_the_crl_waits(place: Place, away: bool) -> None:
    """The lock says that the certificate is revoked; servers take it."""
    spec = OFFLINE.replace("[ca.clients]\n", "[ca.clients]\noffline = true\n").replace('["root"]', '["root", "new"]')
    spec = spec.replace("[user.postgres]", "[ca.new]\n[user.postgres]")
    policy = '[policy.all]\nusers = ["all"]\ndatabases = ["x"]\nfrom = ["192.0.2.0/24"]\nauth = "cert"\n'
    place.build(spec + policy + '[user.old]\nca = "clients"\ncommon_name = "batch"\n')
    vault, key = place.directory / "vault.key", place.file("ca/clients/ca.key")
    if away:
        key.rename(vault)
    (note,) = place.build(spec + policy).verdict.notes
    assert f"until {'the CRL of its CA lists it' if away else 'deployed'}" in note
    heir = spec + policy + '[user.heir]\nca = "new"\ncommon_name = "batch"\n'
    if away:
        with pytest.raises(Rejected, match=r"PGT254.*no CRL lists it") as rejected:
            place.build(heir)
        assert "lend the key with --ca-key" in str(rejected.value.diagnostics)
    place.build(heir, asked=Asked(ca_keys=(("clients", str(vault)),) if away else ()))


def test_what_needs_the_key_waits_and_the_rest_goes_on(place: Place) -> None:
    vault = taken_away(place)
    later = NOW + timedelta(days=250)
    before = place.file("servers/main/server.crt").read_bytes()
    planned = place.build(now=later)
    assert [entity for entity, action in steps(planned) if action == "wait"] == ["ca.clients", "ca.servers"]
    said = {(d.code, d.hint) for d in planned.diagnostics}
    assert said == {("PGT562", "lend the key when it is at hand: --ca-key root=PATH")}
    assert place.file("servers/main/server.crt").read_bytes() != before, "it is renewed by the CA that is here"
    # A second look says it again: what waits is no reason to say that there is nothing to do.
    assert [action for _, action in steps(place.build(now=later))] == ["wait", "wait"]
    lent = Asked(ca_keys=(("root", str(vault)),))
    planned = place.build(now=later, asked=lent)
    assert [entity for entity, action in steps(planned) if action == "renew"] == ["ca.clients", "ca.servers"]
    assert not place.file("ca/root/ca.key").exists(), "it was lent"
    assert steps(place.build(now=later)) == []


def test_what_differs_waits_for_the_key_as_long_as_it_is_valid_and_no_longer(place: Place) -> None:
    spec = OFFLINE.replace('ca = "servers"\nclient_ca', 'ca = "root"\nclient_ca')
    place.build(spec)
    place.file("ca/root/ca.key").rename(place.directory / "vault.key")
    renamed = spec.replace('["db.example.com"]', '["db2.example.com"]')
    assert ("server.main", "wait") in steps(place.plan(renamed, now=NOW + timedelta(days=89)))
    code, message = complaint(place, renamed, now=NOW + timedelta(days=91))
    assert code == "PGT563"
    assert message.startswith("server.main has no valid certificate: subject and hosts changed")


def test_the_crl_of_an_offline_ca_is_due_at_half_its_life_and_then_waits(place: Place) -> None:
    taken_away(place)
    place.build()

    def crl(now: datetime) -> Item:
        return next(i for i in status(place.request(now=now)).items if (i.entity, i.kind) == ("ca.root", "crl"))

    first = crl(NOW)
    assert first.due
    assert first.not_after
    assert first.due - NOW < (first.not_after - NOW) / 2 < first.due - NOW + timedelta(hours=1)
    assert (first.state, crl(first.due).state) == ("ok", "waiting")


def test_a_new_ca_under_a_key_that_is_away_is_an_error(place: Place) -> None:
    taken_away(place)
    more = '[ca.more]\nissuer = "root"\nvalidity = "1y"\n[user.etl]\nca = "more"\n'
    code, message = complaint(place, OFFLINE.replace('users = ["app"]', 'users = ["app", "etl"]') + more)
    assert code == "PGT563"
    assert "the key of CA" in message


def test_a_key_that_is_lent_must_be_the_right_one(place: Place) -> None:
    vault = taken_away(place)
    faults = {
        "nobody": (("nobody", str(vault)), 'the spec has no CA "nobody"'),
        "nowhere": (("root", "/nonexistent"), "cannot read"),
        "another": (("root", str(place.file("ca/clients/ca.key"))), 'this is not the key of CA "root"'),
    }
    for lent, message in faults.values():
        with pytest.raises(Rejected) as rejected:
            place.build(asked=Asked(ca_keys=(lent,)))
        (found,) = rejected.value.diagnostics
        assert (found.code, message in found.message) == ("PGT566", True)


def test_everybody_goes_on_connecting_while_the_key_is_away(server: Server, tmp_path: Path) -> None:
    spec = OFFLINE.replace("[server.main]", f"[server.main]\npostgres = {server.version}").replace(
        "10.0.0.0/8", "127.0.0.0/8"
    )
    out = compiled(spec, tmp_path)
    (out / "ca" / "root" / "ca.key").unlink()
    out = compiled(spec, tmp_path, "--renew", "server.main", "--renew", "user.app")
    server.populate(["app"])
    server.install(out / "servers" / "main")
    parameters = Bundle(out / "clients" / "app").parameters() | at(server) | {"dbname": "postgres"}
    assert admitted(PSQL.connect(parameters)) == "app@postgres"
    refused(PSQL.connect(parameters | {"sslcert": "/nonexistent"}), "connection requires a valid client certificate")
