"""Requests made here, signed by programs that are not ours, and what comes back used on real servers."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from pgtls.state.lock import read
from signers.programs import SIGNERS, Certtool, OpenSSL, missing
from support.authority import Authority
from support.building import Place, steps
from support.building import reason as why
from support.clients import PSQL, Bundle, admitted, at, refused
from support.servers import Server, versions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from signers.programs import Signer

COMPANY = """
version = 1
[ca.company]
cert_file = "company/root.crt"
crl_file = "company/root.crl"
[ca.clients]
issuer = "company"
external = true
[server.db]
ca = "company"
external = true
client_ca = ["clients"]
hosts = ["db.example.com", "127.0.0.1"]
postgres = {major}
[user.postgres]
[user.app]
ca = "clients"
[policy.dba]
users = ["postgres"]
from = ["local"]
auth = "trust"
waiver = {{ reason = "a test", codes = ["PGT301"] }}
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["127.0.0.0/8"]
auth = "cert"
waiver = {{ reason = "a test", codes = ["PGT330"] }}
"""


def now() -> datetime:
    """The time of the signers, who have no other."""
    return datetime.now(UTC)


@pytest.fixture(params=list(SIGNERS.values()), ids=list(SIGNERS))
def signer(request: pytest.FixtureRequest, tmp_path: Path) -> Signer:
    if reason := missing(request.param):
        pytest.skip(reason)
    signer: Signer = request.param(tmp_path / "company")
    signer.prepare()
    return signer


@pytest.fixture
def openssl(tmp_path: Path) -> OpenSSL:
    signer = OpenSSL(tmp_path / "company")
    signer.prepare()
    return signer


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def signed(spec: str, **files: str) -> str:
    for table, file in files.items():
        header = f"[{table.replace('_', '.')}]\n"
        assert header in spec
        spec = spec.replace(header, f'{header}cert_file = "{file}"\n')
    return spec


def both(place: Place, signer: Signer, major: int = 17) -> str:
    """Get both requests signed and return the spec that names the results."""
    spec = COMPANY.format(major=major)
    place.build(spec, now=now())
    signer.sign(place.file("ca/clients/ca.csr"), place.directory / "clients.crt")
    signer.sign(place.file("servers/db/server.csr"), place.directory / "db.crt")
    return signed(spec, ca_clients="clients.crt", server_db="db.crt")


def complaints(rejected: pytest.ExceptionInfo[Rejected]) -> list[tuple[str, str]]:
    return [(d.code, d.message) for d in rejected.value.diagnostics if d.severity == "error"]


def test_the_first_build_makes_keys_and_requests_and_says_what_waits(place: Place, signer: Signer) -> None:
    planned = place.build(COMPANY.format(major=17), now=now())
    waiting = [entity for entity, action in steps(planned) if action == "wait"]
    assert waiting == ["ca.clients", "server.db", "user.app"]
    assert {d.code for d in planned.diagnostics} == {"PGT562"}
    assert place.file("servers/db/server.key").stat().st_mode & 0o777 == 0o600
    assert not place.file("servers/db/server.crt").exists()
    assert place.file("ca/company/ca.crt").exists()
    assert not place.file("ca/company/ca.key").exists()
    # Until they are signed, key and request stay as they are.
    before = place.file("servers/db/server.key").read_bytes(), place.file("servers/db/server.csr").read_bytes()
    place.build(now=now())
    assert (
        place.file("servers/db/server.key").read_bytes(),
        place.file("servers/db/server.csr").read_bytes(),
    ) == before


def test_what_comes_back_serves_and_signs(server: Server, place: Place, signer: Signer) -> None:
    place.build(both(place, signer, server.version), now=now())
    assert steps(place.build(now=now())) == []
    server.populate(["app"], ["shop"])
    server.install(place.file("servers/db"))
    parameters = Bundle(place.file("clients/app")).parameters("shop") | at(server)
    assert admitted(PSQL.connect(parameters)) == "app@shop"
    refused(PSQL.connect(parameters | {"host": "other.example.com"}), 'does not match host name "other.example.com"')
    refused(PSQL.connect(parameters | {"sslcert": "/nonexistent"}), "connection requires a valid client certificate")
    stranger = Certtool(place.directory / "stranger")
    stranger.prepare()
    refused(
        PSQL.connect(parameters | {"sslrootcert": str(stranger.directory / "root.crt")}), "certificate verify failed"
    )


MISFITS = {
    "another host": ("subjectAltName = DNS:db2.example.com\nextendedKeyUsage = serverAuth\n", "it lacks the hosts"),
    "an address less": (
        "subjectAltName = DNS:db.example.com\nextendedKeyUsage = serverAuth\n",
        'it lacks the host "127.0.0.1"',
    ),
    "no names": ("extendedKeyUsage = serverAuth\n", "it lacks the host"),
    "another purpose": (
        "subjectAltName = DNS:db.example.com, IP:127.0.0.1\nextendedKeyUsage = clientAuth\n",
        "its extended key usage is not serverAuth",
    ),
    "another key usage": (
        "subjectAltName = DNS:db.example.com, IP:127.0.0.1\nkeyUsage = keyAgreement\n",
        "its key usage is not digitalSignature",
    ),
    "a CA": ("subjectAltName = DNS:db.example.com, IP:127.0.0.1\nbasicConstraints = CA:TRUE\n", "it is a CA's"),
}


@pytest.mark.parametrize(("extensions", "message"), MISFITS.values(), ids=MISFITS)
def test_a_server_certificate_that_differs_is_refused(
    place: Place, openssl: OpenSSL, extensions: str, message: str
) -> None:
    spec = both(place, openssl)
    before = place.state()
    openssl.sign(place.file("servers/db/server.csr"), place.directory / "db.crt", extensions=extensions)
    with pytest.raises(Rejected) as rejected:
        place.build(spec, now=now())
    ((code, text),) = complaints(rejected)
    assert (code, message in text) == ("PGT565", True), text
    assert place.state() == before


CA_MISFITS = {
    "no CA": ("basicConstraints = CA:FALSE\n", "", "it is not a CA's"),
    "a usage less": (
        "basicConstraints = critical, CA:TRUE\nkeyUsage = cRLSign\n",
        "",
        "its key usage is not keyCertSign",
    ),
    "another path length": (
        "basicConstraints = CA:TRUE, pathlen:3\n",
        "path_length = 1\n",
        "its path length is 3, not 1",
    ),
    "constraints": (
        "basicConstraints = CA:TRUE\nnameConstraints = critical, permitted;DNS:example.com\n",
        "",
        "its name constraints are permitted:DNS:example.com, not none",
    ),
}


@pytest.mark.parametrize(("extensions", "field", "message"), CA_MISFITS.values(), ids=CA_MISFITS)
def test_a_ca_certificate_that_differs_is_refused(
    place: Place, openssl: OpenSSL, extensions: str, field: str, message: str
) -> None:
    spec = both(place, openssl).replace("[ca.clients]\n", f"[ca.clients]\n{field}")
    openssl.sign(place.file("ca/clients/ca.csr"), place.directory / "clients.crt", extensions=extensions)
    with pytest.raises(Rejected) as rejected:
        place.build(spec, now=now())
    found = [text for code, text in complaints(rejected) if code == "PGT565"]
    assert found
    assert message in found[0]


def test_a_certificate_of_another_signer_or_for_another_key_is_refused(place: Place, openssl: OpenSSL) -> None:
    spec = both(place, openssl)
    other = OpenSSL(place.directory / "other")
    other.prepare()
    other.sign(place.file("servers/db/server.csr"), place.directory / "db.crt")
    with pytest.raises(Rejected) as rejected:
        place.build(spec, now=now())
    ((_, text),) = complaints(rejected)
    assert 'it was not signed by CA "company"' in text
    openssl.sign(place.file("ca/clients/ca.csr"), place.directory / "db.crt")
    with pytest.raises(Rejected) as rejected:
        place.build(spec, now=now())
    ((_, text),) = complaints(rejected)
    assert "its key is not the one that was made here for it" in text


def test_a_certificate_that_is_due_waits_and_one_that_ended_is_an_error(place: Place, openssl: OpenSSL) -> None:
    spec = both(place, openssl)
    place.build(spec, now=now())
    later = datetime.fromtimestamp(now().timestamp() + 25 * 86400, UTC)
    planned = place.build(now=later)
    assert ("server.db", "wait") in steps(planned)
    assert ("ca.clients", "wait") in steps(planned)
    with pytest.raises(Rejected) as rejected:
        place.build(now=datetime.fromtimestamp(now().timestamp() + 31 * 86400, UTC))
    assert {code for code, _ in complaints(rejected)} == {"PGT563"}
    # A new one comes back for the same request.
    openssl.sign(place.file("servers/db/server.csr"), place.directory / "db.crt", days=60)
    planned = place.build(now=later)
    assert ("server.db", "adopt") in steps(planned)
    assert ("server.db", "wait") not in steps(planned)


OWN = """
version = 1
[ca.servers]
[ca.clients]
[server.db]
ca = "servers"
client_ca = ["clients"]
hosts = ["db.example.com", "127.0.0.1"]
postgres = {major}
[user.postgres]
[policy.dba]
users = ["postgres"]
from = ["local"]
auth = "trust"
waiver = {{ reason = "a test", codes = ["PGT301"] }}
"""
LEAVING = """
[user.app]
ca = "clients"
[user.carol]
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["127.0.0.0/8"]
auth = "cert"
[policy.carol]
users = ["carol"]
databases = ["shop"]
from = ["127.0.0.0/8"]
auth = "scram-sha-256"
"""


def of_the_company(spec: str) -> str:
    company = '[ca.company]\ncert_file = "company/root.crt"\n[ca.clients]'
    return spec.replace("[ca.clients]", company).replace('ca = "servers"', 'ca = "company"\nexternal = true')


def another_host(place: Place, spec: str, openssl: OpenSSL) -> str:
    """Deploy a certificate of the company first, and ask for one with another host."""
    spec = of_the_company(spec)
    place.build(spec + LEAVING, now=now())
    openssl.sign(place.file("servers/db/server.csr"), place.directory / "db.crt")
    place.build(signed(spec + LEAVING, server_db="db.crt"), now=now())
    return spec.replace('"db.example.com"', '"db.example.com", "db2.example.com"')


def another_signer(place: Place, spec: str, openssl: OpenSSL) -> str:
    place.build(spec + LEAVING, now=now())
    return of_the_company(spec)


@pytest.mark.parametrize("ask", [another_signer, another_host])
def test_while_others_sign_its_next_certificate_a_server_keeps_the_earlier_one_and_gets_rules_and_crls(
    server: Server, place: Place, openssl: OpenSSL, ask: Callable[[Place, str, OpenSSL], str]
) -> None:
    spec = ask(place, OWN.format(major=server.version), openssl)
    server.populate(["app", "carol"], ["shop"], password="secret")
    shutil.copytree(place.out, place.directory / "before")
    app, carol = (
        Bundle(place.directory / "before/clients" / name).parameters("shop") | at(server) for name in ("app", "carol")
    )
    carol |= {"password": "secret"}
    certificate = place.file("servers/db/server.crt").read_bytes()
    # The bundles know the new signer only when it has signed, so the old ones go on.
    place.build(spec + LEAVING, now=now())
    server.install(place.file("servers/db"))
    assert (admitted(PSQL.connect(app)), admitted(PSQL.connect(carol))) == ("app@shop", "carol@shop")
    assert steps(place.build(now=now())) == [("server.db", "wait")]
    place.build(spec, now=now())
    server.install(place.file("servers/db"))
    assert place.file("servers/db/server.crt").read_bytes() == certificate
    refused(PSQL.connect(app), "certificate revoked")
    refused(PSQL.connect(carol), "no pg_hba.conf entry")
    # The request is for the key that is in place.
    openssl.sign(place.file("servers/db/server.csr"), place.directory / "new.crt")
    returned = place.build(signed(spec, server_db="new.crt"), now=now(), asked=Asked(accept_outage=True))
    assert ("server.db", "adopt") in steps(returned)
    assert place.file("servers/db/server.crt").read_bytes() == (place.directory / "new.crt").read_bytes()
    server.install(place.file("servers/db"))


def test_the_file_of_an_earlier_certificate_keeps_its_chain(place: Place) -> None:
    cas = '[ca.servers]\n[ca.mid]\nissuer = "servers"\n[ca.other]\n[ca.below]\nissuer = "other"\n'
    spec = OWN.format(major=17).replace("[ca.servers]\n", cas).replace('ca = "servers"', 'ca = "mid"', 1)
    place.build(spec, now=now())
    before = place.file("servers/db/server.crt").read_bytes()
    assert before.count(b"BEGIN") == 2
    for _ in range(2):
        place.build(spec.replace('ca = "mid"', 'ca = "below"\nexternal = true'), now=now())
        assert place.file("servers/db/server.crt").read_bytes() == before


def test_without_the_key_of_its_request_nothing_is_left_of_the_earlier_certificate(place: Place) -> None:
    place.build(OWN.format(major=17), now=now())
    place.file("servers/db/server.key").unlink()
    place.build(OWN.format(major=17).replace('ca = "servers"', 'ca = "servers"\nexternal = true'), now=now())
    assert place.file("servers/db/server.csr").exists()
    assert not place.file("servers/db/server.crt").exists()


def test_a_users_certificate_is_signed_outside(place: Place, openssl: OpenSSL) -> None:
    spec = COMPANY.format(major=17).replace('[user.app]\nca = "clients"', '[user.app]\nca = "company"\nexternal = true')
    spec = spec.replace('[ca.clients]\nissuer = "company"\nexternal = true\n', "").replace('["clients"]', '["company"]')
    place.build(spec, now=now())
    openssl.sign(place.file("clients/app/postgresql.csr"), place.directory / "app.crt")
    openssl.sign(place.file("servers/db/server.csr"), place.directory / "db.crt")
    place.build(signed(spec, user_app="app.crt", server_db="db.crt"), now=now())
    assert (place.file("clients/app/postgresql.crt").read_bytes()) == (place.directory / "app.crt").read_bytes()
    # Who leaves is revoked, and does not come back with the same certificate.
    without = spec.replace('[user.app]\nca = "company"\nexternal = true', "[user.app]\nlibpq = 14")
    without = without.replace('auth = "cert"', 'auth = "scram-sha-256"')
    place.build(signed(without, server_db="db.crt"), now=now(), asked=Asked(accept_outage=True))
    with pytest.raises(Rejected) as rejected:
        place.build(signed(spec, user_app="app.crt", server_db="db.crt"), now=now())
    assert ("PGT563", "the certificate of user.app was revoked") in complaints(rejected)


UNITS = """[user.app]
ca = "company"
external = true
identity = "dn"
subject = { organization = "Example", organizational_unit = ["Databases", "Team A"] }"""


def test_a_users_certificate_with_several_units_comes_back_and_its_whole_subject_logs_in(
    place: Place, openssl: OpenSSL
) -> None:
    major = versions()[-1].major
    spec = COMPANY.format(major=major).replace('[user.app]\nca = "clients"', UNITS)
    spec = spec.replace('[ca.clients]\nissuer = "company"\nexternal = true\n', "").replace('["clients"]', '["company"]')
    place.build(spec, now=now())
    openssl.sign(place.file("clients/app/postgresql.csr"), place.directory / "app.crt")
    openssl.sign(place.file("servers/db/server.csr"), place.directory / "db.crt")
    spec = signed(spec, user_app="app.crt", server_db="db.crt")
    place.build(spec, now=now())
    assert '"CN=app,OU=Team A,OU=Databases,O=Example"  "app"' in place.file("servers/db/pg_ident.conf").read_text()
    with Server(versions()[-1]) as server:
        server.populate(["app"], ["shop"])
        server.install(place.file("servers/db"))
        parameters = Bundle(place.file("clients/app")).parameters("shop") | at(server)
        assert admitted(PSQL.connect(parameters)) == "app@shop"
        ident = (server.data / "pg_ident.conf").read_text()
        server.write("pg_ident.conf", ident.replace("OU=Team A,OU=Databases", "OU=Databases,OU=Team A"))
        server.reload()
        refused(PSQL.connect(parameters), "certificate authentication failed")
    with pytest.raises(Rejected) as rejected:
        place.build(spec.replace('["Databases", "Team A"]', '["Team A", "Databases"]'), now=now())
    message = 'its subject is "CN=app,OU=Team A,OU=Databases,O=Example", not "CN=app,OU=Databases,OU=Team A,O=Example"'
    assert ("PGT565", f"the certificate of user.app does not fit the spec: {message}") in complaints(rejected)


def test_a_users_certificate_for_somebody_else_is_refused(place: Place, openssl: OpenSSL) -> None:
    spec = COMPANY.format(major=17).replace('[user.app]\nca = "clients"', '[user.app]\nca = "company"\nexternal = true')
    spec = spec.replace('[ca.clients]\nissuer = "company"\nexternal = true\n', "").replace('["clients"]', '["company"]')
    place.build(spec, now=now())
    openssl.sign(place.file("servers/db/server.csr"), place.directory / "app.crt")
    place.write(signed(spec, user_app="app.crt"))
    with pytest.raises(Rejected) as rejected:
        place.build(now=now())
    ((code, text),) = complaints(rejected)
    assert code == "PGT565"
    assert 'its common name is "db.example.com", not "app"' in text


def test_a_stolen_key_gets_no_request_while_others_sign(place: Place) -> None:
    spec = OWN.format(major=17).replace('ca = "servers"', 'ca = "servers"\nexternal = true', 1)
    place.build(OWN.format(major=17), now=now())
    stolen, later = place.file("servers/db/server.key").read_bytes(), now() + timedelta(minutes=2)
    place.build(spec, now=now())
    before = f"revoke_before = {later - timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"
    place.build(spec.replace("external = true", f"external = true\n{before}"), now=later)
    assert place.file("servers/db/server.key").read_bytes() != stolen
    assert not place.file("servers/db/server.crt").exists()
    assert steps(place.build(now=later)) == [("server.db", "wait")]


def test_a_revoked_serial_number_gets_no_request_while_others_sign(place: Place) -> None:
    spec = OWN.format(major=17).replace('ca = "servers"', 'ca = "servers"\nexternal = true', 1)
    place.build(OWN.format(major=17), now=now())
    stolen = place.file("servers/db/server.key").read_bytes()
    (line,) = (line for line in read(place.lock).issued if line.entity == "server.db")
    place.build(spec, now=now())
    assert place.file("servers/db/server.key").read_bytes() == stolen
    place.build(spec.replace("[ca.servers]", f'[ca.servers]\nrevoked = ["{line.serial}"]'), now=now())
    assert place.file("servers/db/server.key").read_bytes() != stolen
    assert not place.file("servers/db/server.crt").exists()
    assert steps(place.build(now=now())) == [("server.db", "wait")]


@pytest.mark.parametrize("reason", [None, x509.ReasonFlags.superseded, x509.ReasonFlags.key_compromise])
def test_a_crl_of_the_company_takes_a_key_away_that_waits_for_a_certificate_only_if_it_is_stolen(
    place: Place, openssl: OpenSSL, reason: x509.ReasonFlags | None
) -> None:
    """It may list the earlier certificate because the next one has replaced it."""
    spec = both(place, openssl)
    place.build(spec, now=now())
    place.confirm("all", now=now())
    waiting = spec.replace('cert_file = "db.crt"\n', "").replace('"127.0.0.1"]', '"127.0.0.1", "db2.example.com"]')
    place.build(waiting, now=now())
    key, certificate = (place.file(f"servers/db/server.{end}").read_bytes() for end in ("key", "crt"))
    openssl.sign(place.file("servers/db/server.csr"), place.directory / "db2.crt")
    paths = openssl.directory / "root.crt", place.directory / "db.crt"
    root, earlier = (x509.load_pem_x509_certificate(path.read_bytes()) for path in paths)
    signing = load_pem_private_key((openssl.directory / "root.key").read_bytes(), None)
    assert isinstance(signing, EllipticCurvePrivateKey)
    (openssl.directory / "root.crl").write_bytes(Authority(root, signing).crl(earlier, age=0, reason=reason))
    place.build(now=now())
    if reason == x509.ReasonFlags.key_compromise:
        assert place.file("servers/db/server.key").read_bytes() != key
        assert not place.file("servers/db/server.crt").exists()
        return
    assert place.file("servers/db/server.key").read_bytes() == key
    assert place.file("servers/db/server.crt").read_bytes() == certificate
    named = waiting.replace("[server.db]\n", '[server.db]\ncert_file = "db2.crt"\n')
    assert ("server.db", "adopt") in steps(place.build(named, now=now()))
    assert place.file("servers/db/server.key").read_bytes() == key


def test_replace_makes_a_new_key_where_others_sign_and_says_so_where_it_cannot(place: Place, openssl: OpenSSL) -> None:
    """No date revokes a certificate of a company: its CRL does."""
    spec, replace = both(place, openssl), Asked(replace=frozenset({"server.db"}))
    place.build(spec, now=now())
    stolen = place.file("servers/db/server.key").read_bytes()
    with pytest.raises(Rejected) as rejected:
        place.build(
            spec.replace("external = true\nclient_ca", "external = true\nrevoke_before = 2020-01-01\nclient_ca")
        )
    (dated,) = (one for one in rejected.value.diagnostics if one.code == "PGT572")
    assert str(dated.hint).endswith("remove cert_file, and build with --replace server.db")
    with pytest.raises(Rejected) as rejected:
        place.build(spec, now=now(), asked=replace)
    assert complaints(rejected) == [("PGT565", "the certificate of server.db is for its present key")]
    assert place.file("servers/db/server.key").read_bytes() == stolen
    without = spec.replace('cert_file = "db.crt"\n', "")
    place.build(without, now=now(), asked=replace)
    assert place.file("servers/db/server.key").read_bytes() != stolen
    openssl.sign(place.file("servers/db/server.csr"), place.directory / "db.crt")
    place.build(spec, now=now(), asked=Asked(accept_outage=True))
    assert place.file("servers/db/server.crt").read_bytes() == (place.directory / "db.crt").read_bytes()


@pytest.mark.parametrize(("unit", "kept"), [("A", True), ("B", False)])
def test_a_user_keeps_a_certificate_with_its_subject_while_others_sign_the_next(
    place: Place, unit: str, kept: bool
) -> None:
    named = 'identity = "dn"\nsubject = {{ organizational_unit = "{}" }}\n'
    spec = OWN.format(major=17) + LEAVING.replace("[user.app]\n", f"[user.app]\n{named.format('A')}", 1)
    place.build(spec, now=now())
    before = place.file("clients/app/postgresql.crt").read_bytes()
    changed = spec.replace(named.format("A"), f"{named.format(unit)}external = true\n")
    place.build(changed, now=now(), asked=Asked(accept_outage=True))
    certificate = place.file("clients/app/postgresql.crt")
    assert certificate.exists() == kept
    assert not kept or certificate.read_bytes() == before


def test_replace_makes_a_new_key_of_a_ca_before_it_is_signed_and_not_after(place: Place, openssl: OpenSSL) -> None:
    """Afterwards a CA with a new key is another CA."""
    unsigned = COMPANY.format(major=17)
    spec, replace = both(place, openssl), Asked(replace=frozenset({"ca.clients"}))
    with pytest.raises(Rejected) as rejected:
        place.build(spec, now=now(), asked=replace)
    assert complaints(rejected) == [("PGT565", "the certificate of ca.clients is for its present key")]
    assert str(rejected.value.diagnostics[0].hint).startswith("roll over: add a new CA next to this one")
    place.build(spec, now=now())
    key = place.file("ca/clients/ca.key").read_bytes()
    with pytest.raises(Rejected) as rejected:  # what it has signed is of its key
        place.build(spec.replace('cert_file = "clients.crt"\n', ""), now=now(), asked=replace)
    assert complaints(rejected) == [("PGT565", "the certificate of ca.clients is for its present key")]
    assert place.file("ca/clients/ca.key").read_bytes() == key

    other = Place(place.directory / "other")
    shutil.copytree(place.directory / "company", other.directory / "company")
    other.build(unsigned, now=now())
    key = other.file("ca/clients/ca.key").read_bytes()
    planned = other.build(unsigned, now=now(), asked=replace)
    assert why(planned, "ca.clients") == "its key and CSR are new"
    assert other.file("ca/clients/ca.key").read_bytes() != key
    openssl.sign(other.file("ca/clients/ca.csr"), other.directory / "clients.crt")
    signed = unsigned.replace("external = true", 'external = true\ncert_file = "clients.crt"', 1)
    assert ("ca.clients", "adopt") in steps(other.build(signed, now=now()))
