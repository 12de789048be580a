"""CRLs of other CAs: with those that pgtls takes, clients get in; with those that it refuses, they do not."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from pgtls.diagnostics import Rejected
from pgtls.pki.crl import parse
from pgtls.pki.model import Unreadable
from support.authority import Authority, key_pem, named
from support.clients import PSQL, at
from support.installer import install
from support.servers import Server, versions

if TYPE_CHECKING:
    from pathlib import Path

    from support.building import Place

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
ROOT = Authority.root("Company Root")
INNER = ROOT.below("Company Clients")
HERE, THERE = (x509.UniformResourceIdentifier(f"http://crl.example.com/{number}.crl") for number in (1, 2))

SPEC = """version = 1
[ca.own]
[ca.company]
cert_file = "company.crt"
crl_file = "company.crl"
[server.db]
ca = "own"
client_ca = ["company"]
hosts = ["localhost"]
postgres = {postgres}
no_local = true
[policy.app]
users = ["all"]
databases = ["shop"]
from = ["127.0.0.1", "::1"]
auth = "cert"
waiver = {{ reason = "a test", codes = ["PGT330"] }}
"""
OF_THE_SPEC = '[user.app]\nca = "company"\ncert_file = "app/postgresql.crt"\n'
OUTSIDERS = 'map = [{ identity = "outsider", role = "app" }]\n[user.app]\n'
LEAVER = '[user.leaver]\nca = "company"\ncert_file = "leaver/postgresql.crt"\n'


def crl(
    by: Authority,
    *extensions: x509.ExtensionType,
    revoked: int = 0,
    age: float = 1,
    days: float = 30,
    number: int | None = None,
    of_entry: x509.ExtensionType | None = None,
) -> bytes:
    """Sign a CRL of some days ago, for some days from now on."""
    number = int(10 - age) if number is None else number
    builder = x509.CertificateRevocationListBuilder(by.certificate.subject, NOW - age * DAY, NOW + days * DAY)
    key_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key())
    builder = builder.add_extension(key_id, critical=False).add_extension(x509.CRLNumber(number), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    if revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(revoked).revocation_date(NOW - 2 * DAY)
        entry = entry.add_extension(of_entry, critical=False) if of_entry else entry
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(by.key, SHA256()).public_bytes(Encoding.PEM)


def named_by_serial(by: Authority) -> bytes:
    """Sign a CRL whose authority key identifier names another certificate of the CA, as after its renewal."""
    builder = x509.CertificateRevocationListBuilder(by.certificate.subject, NOW - DAY, NOW + 30 * DAY)
    builder = builder.add_extension(of_certificate(by, 1), critical=False)
    return builder.sign(by.key, SHA256()).public_bytes(Encoding.PEM)


def of_certificate(by: Authority, serial: int) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier(None, [x509.DirectoryName(by.certificate.issuer)], serial)


def point(
    *names: x509.GeneralName,
    users: bool = False,
    cas: bool = False,
    reasons: frozenset[x509.ReasonFlags] | None = None,
    indirect: bool = False,
) -> x509.IssuingDistributionPoint:
    return x509.IssuingDistributionPoint(names or None, None, users, cas, reasons, indirect, False)


USERS, CAS = point(users=True), point(cas=True)
RELATIVE = x509.IssuingDistributionPoint(
    None,
    x509.RelativeDistinguishedName([x509.NameAttribute(x509.NameOID.COMMON_NAME, "part")]),
    *(False, False, None, False, False),
)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.9999.1"), b"\x05\x00")


def certified(
    directory: Path, name: str, by: Authority, *points: x509.GeneralName, key_id: x509.ExtensionType | None = None
) -> int:
    """Certify a client that names distribution points; return its serial number."""
    key = ec.generate_private_key(ec.SECP256R1())
    made = by.sign(named(CN=name), key.public_key())
    builder = x509.CertificateBuilder(
        by.certificate.subject, made.subject, key.public_key(), made.serial_number, NOW - DAY, NOW + 30 * DAY
    )
    if points:
        found = [x509.DistributionPoint([one], None, None, None) for one in points]
        builder = builder.add_extension(x509.CRLDistributionPoints(found), critical=False)
    builder = builder.add_extension(key_id, critical=False) if key_id else builder
    (directory / name).mkdir(exist_ok=True)
    (directory / name / "postgresql.crt").write_bytes(builder.sign(by.key, SHA256()).public_bytes(Encoding.PEM))
    (directory / name / "postgresql.key").write_bytes(key_pem(key))
    (directory / name / "postgresql.key").chmod(0o600)
    return made.serial_number


def complaint(place: Place, spec: str) -> str:
    """Return the one error of a build, or nothing."""
    try:
        place.build(spec, now=NOW)
    except Rejected as rejected:
        (error,) = [one for one in rejected.diagnostics if one.severity == "error"]
        return error.message
    return ""


def gets_in(server: Server, bundle: Path) -> bool:
    parameters = at(server) | {"dbname": "shop", "user": bundle.name, "sslmode": "require", "gssencmode": "disable"}
    parameters |= {"sslcert": str(bundle / "postgresql.crt"), "sslkey": str(bundle / "postgresql.key")}
    return PSQL.connect(parameters).admitted


ABOVE = crl(ROOT)
TAKEN = {
    "complete": (INNER, crl(INNER) + ABOVE, ()),
    "users, and CAs above": (INNER, crl(INNER, USERS) + crl(ROOT, CAS), ()),
    "users and CAs": (ROOT, crl(ROOT, USERS) + crl(ROOT, CAS), ()),
    "a point that the client names": (INNER, crl(INNER, point(HERE, THERE)) + ABOVE, (THERE,)),
    "two points": (INNER, crl(INNER, point(HERE)) + crl(INNER, point(THERE)) + ABOVE, (THERE,)),
    "a point, and a complete one": (INNER, crl(INNER, point(HERE), age=0) + crl(INNER) + ABOVE, ()),
}
REFUSED = {
    "CAs alone": (INNER, crl(INNER, CAS) + ABOVE, "it is for CAs alone (onlyContainsCACerts)"),
    "users alone, above a CA": (
        INNER,
        crl(INNER) + crl(ROOT, USERS),
        'the CRL of "CN=Company Root" in it does not cover "CN=Company Clients": it is for users and servers alone',
    ),
    "some reasons": (
        INNER,
        crl(INNER, point(reasons=frozenset([x509.ReasonFlags.key_compromise]))) + ABOVE,
        "it is for some reasons alone (onlySomeReasons)",
    ),
    "indirect": (INNER, crl(INNER, point(HERE, indirect=True)) + ABOVE, "it is an indirect CRL"),
    "an unknown extension": (INNER, crl(INNER, UNKNOWN) + ABOVE, "it has the critical extension 1.3.6.1.4.1.9999.1"),
    "a relative point": (INNER, crl(INNER, RELATIVE) + ABOVE, "the name of its distribution point is relative"),
    "another certificate of the CA": (INNER, named_by_serial(INNER) + ABOVE, "is for another certificate of that CA"),
    "a point that the client does not name": (
        INNER,
        crl(INNER, point(HERE)) + ABOVE,
        "does not cover the certificate of user.app (it is for certificates with another distribution point)",
    ),
}
OF_ROOTS = {
    "users alone": (crl(ROOT, USERS), "does not cover that CA itself: it is for users and servers alone"),
    "a point": (crl(ROOT, point(HERE)), "does not cover that CA itself: it is for certificates with another"),
}


def bring(place: Place, by: Authority, lists: bytes, *points: x509.GeneralName) -> None:
    certified(place.directory, "app", by, *points)
    chain = [by] if by is ROOT else [by, ROOT]
    (place.directory / "company.crt").write_bytes(b"".join(one.pem for one in chain))
    (place.directory / "company.crl").write_bytes(lists)


def serve(server: Server, place: Place, lists: bytes) -> None:
    """Install what was built, with these CRLs in place of those that it has."""
    for directory in (place.file("servers/db"), server.data):
        shutil.rmtree(directory / "root.crl.d", ignore_errors=True)  # which PostgreSQL 13 does not read
    place.file("servers/db/root.crl").write_bytes(lists)
    server.install(place.file("servers/db"))


def test_with_what_is_taken_clients_get_in(server: Server, place: Place) -> None:
    server.populate(("app",), ("shop",))
    for name, (by, lists, points) in TAKEN.items():
        bring(place, by, lists, *points)
        assert complaint(place, SPEC.format(postgres=server.version) + OF_THE_SPEC) == "", name
        server.install(place.file("servers/db"))
        assert gets_in(server, place.directory / "app"), name


def test_with_what_is_refused_clients_do_not_get_in(server: Server, place: Place) -> None:
    server.populate(("app",), ("shop",))
    for name, (by, lists, fault) in REFUSED.items():
        bring(place, by, crl(by) + ABOVE)
        spec = SPEC.format(postgres=server.version) + OF_THE_SPEC
        assert complaint(place, spec) == ""
        serve(server, place, lists)
        assert not gets_in(server, place.directory / "app"), name
        (place.directory / "company.crl").write_bytes(lists)
        assert fault in complaint(place, spec), name


def test_the_crl_of_a_root_must_cover_the_root_which_older_servers_check(server: Server, place: Place) -> None:
    server.populate(("app",), ("shop",))
    for name, (lists, fault) in OF_ROOTS.items():
        bring(place, ROOT, crl(ROOT), HERE)
        spec = SPEC.format(postgres=server.version) + OF_THE_SPEC
        assert complaint(place, spec) == ""
        serve(server, place, lists)
        newer = server.installation.openssl == "3.6"
        assert gets_in(server, place.directory / "app") == newer, name
        (place.directory / "company.crl").write_bytes(lists)
        assert fault in complaint(place, spec), name


def test_where_the_spec_has_no_user_of_a_ca_its_crl_must_cover_users(place: Place) -> None:
    bring(place, INNER, crl(INNER, CAS) + ABOVE)
    fault = '"company.crl" cannot be used: the CRL of "CN=Company Clients" in it does not cover users: '
    assert complaint(place, SPEC.format(postgres=17) + OUTSIDERS).startswith(fault)
    bring(place, INNER, crl(INNER, point(HERE)) + ABOVE)
    assert complaint(place, SPEC.format(postgres=17) + OUTSIDERS) == "", "they may name it"


def test_a_delta_is_refused_which_older_servers_take_for_a_complete_crl(server: Server, place: Place) -> None:
    """With it, the certificates that the complete one lists get in again."""
    server.populate(("app", "leaver"), ("shop",))
    bring(place, INNER, b"")
    serial = certified(place.directory, "leaver", INNER)
    complete, delta = crl(INNER, revoked=serial, age=2) + ABOVE, crl(INNER, x509.DeltaCRLIndicator(8))
    (place.directory / "company.crl").write_bytes(complete)
    spec = SPEC.format(postgres=server.version) + OF_THE_SPEC + LEAVER
    assert complaint(place, spec) == ""
    serve(server, place, complete)
    assert not gets_in(server, place.directory / "leaver")
    serve(server, place, complete + delta)
    assert gets_in(server, place.directory / "leaver") == (server.installation.openssl != "3.6")
    (place.directory / "company.crl").write_bytes(complete + delta)
    assert "it is a delta CRL, and servers need the complete one" in complaint(place, spec)


NEWER = {
    "a complete one": ((), True),
    "one for CAs alone": ((CAS,), False),
    "one of a distribution point": ((point(HERE),), False),
}


@pytest.mark.parametrize("name", NEWER)
def test_a_revocation_counts_where_servers_apply_the_list_that_has_it(server: Server, place: Place, name: str) -> None:
    extensions, seen = NEWER[name]
    server.populate(("app", "leaver"), ("shop",))
    bring(place, INNER, crl(INNER, age=2) + ABOVE)
    serial = certified(place.directory, "leaver", INNER)
    spec = SPEC.format(postgres=server.version) + OF_THE_SPEC
    assert complaint(place, spec + LEAVER) == ""
    (place.directory / "company.crl").write_bytes(crl(INNER, age=2) + crl(INNER, *extensions, revoked=serial) + ABOVE)
    planned = place.build(spec, now=NOW)
    assert ("PGT569" in {one.code for one in planned.diagnostics}) != seen
    server.install(place.file("servers/db"))
    assert gets_in(server, place.directory / "app")
    assert gets_in(server, place.directory / "leaver") != seen


@pytest.mark.parametrize("which", ["its own", "of the CA above"])
def test_an_older_crl_undoes_no_revocation(server: Server, place: Place, which: str) -> None:
    """Who replays an old download is not to bring a thief back."""
    server.populate(("app", "leaver"), ("shop",))
    bring(place, INNER, b"")
    serial = certified(place.directory, "leaver", INNER)
    inner, root = crl(INNER, revoked=serial), crl(ROOT)
    newer, older = inner + root, (crl(INNER, age=2) + root if which == "its own" else inner + crl(ROOT, age=2))
    spec = SPEC.format(postgres=server.version) + OF_THE_SPEC + LEAVER
    for content, gets_in_by_it in ((older, which == "its own"), (newer, False)):
        (place.directory / "company.crl").write_bytes(content)
        assert complaint(place, spec) == ""
        server.install(place.file("servers/db"))
        assert gets_in(server, place.directory / "leaver") is gets_in_by_it
    (place.directory / "company.crl").write_bytes(older)
    with pytest.raises(Rejected, match=r"PGT577: .* what was revoked between would be accepted again"):
        place.build(spec, now=NOW)
    server.install(place.file("servers/db"))
    assert not gets_in(server, place.directory / "leaver")
    (place.directory / "company.crl").write_bytes(older + newer)
    assert complaint(place, spec) == "", "servers apply the newest"
    (place.directory / "company.crl").write_bytes(crl(INNER, age=0) + crl(ROOT, age=0))
    assert complaint(place, spec) == "", "a later one may list less: the certificate may have ended"


def unmarked(by: Authority, age: int) -> bytes:
    """Sign a CRL without extensions, as `openssl ca -gencrl` does by default."""
    builder = x509.CertificateRevocationListBuilder(by.certificate.subject, NOW - age * DAY, NOW + 30 * DAY)
    return builder.sign(by.key, SHA256()).public_bytes(Encoding.PEM)


REPLACED = {
    "no authority key identifier": ((), (), unmarked(INNER, 2)),
    "another scope": ((), (), crl(INNER, USERS, age=2)),
    "the newer is taken out": ((USERS,), (crl(INNER, age=2),), crl(INNER, age=2)),
    "that of a point is taken out": ((point(HERE),), (crl(INNER, age=2),), crl(INNER, age=2)),
}
"""What the newer one is about, what is beside it, and what replaces both."""


@pytest.mark.parametrize("name", REPLACED)
def test_what_is_older_is_known_by_what_it_covers(server: Server, place: Place, name: str) -> None:
    about, beside, older = REPLACED[name]
    server.populate(("app", "leaver"), ("shop",))
    bring(place, INNER, b"")
    serial = certified(place.directory, "leaver", INNER, HERE)
    spec = SPEC.format(postgres=server.version) + OF_THE_SPEC + LEAVER
    (place.directory / "company.crl").write_bytes(b"".join((*beside, crl(INNER, *about, revoked=serial), ABOVE)))
    assert complaint(place, spec) == ""
    built = place.file("servers/db/root.crl").read_bytes()
    for content, admitted in ((older + ABOVE, True), (built, False)):
        serve(server, place, content)
        assert gets_in(server, place.directory / "app")
        assert gets_in(server, place.directory / "leaver") is admitted, "the older one would undo the revocation"
    (place.directory / "company.crl").write_bytes(older + ABOVE)
    assert "what was revoked between would be accepted again" in complaint(place, spec)
    (place.directory / "company.crl").write_bytes(older + crl(INNER, age=0) + ABOVE)
    assert complaint(place, spec) == "", "a newer one for all"


def test_two_files_may_have_the_crl_of_one_root_of_two_days(place: Place) -> None:
    second, now = ROOT.below("Company Machines"), "# again\n"
    bring(place, INNER, crl(INNER) + crl(ROOT))
    (place.directory / "second.crt").write_bytes(second.pem + ROOT.pem)
    (place.directory / "second.crl").write_bytes(crl(second, age=3) + crl(ROOT, age=3))
    spec = SPEC.format(postgres=17).replace('client_ca = ["company"]', 'client_ca = ["company", "second"]')
    spec += OF_THE_SPEC + '[ca.second]\ncert_file = "second.crt"\ncrl_file = "second.crl"\n'
    assert complaint(place, spec) == ""
    assert complaint(place, spec + now) == ""
    lists = parse(place.file("servers/db/root.crl").read_bytes())
    assert not isinstance(lists, Unreadable)
    assert [one.last_update_utc for one in lists if one.issuer == ROOT.certificate.subject] == [NOW - DAY] * 2
    (place.directory / "company.crl").write_bytes(crl(INNER) + crl(ROOT, age=2))
    with pytest.raises(Rejected, match='PGT577: the CRL in crl_file of ca "company"'):
        place.build(spec, now=NOW)


def test_the_name_of_who_left_is_free_when_the_crl_says_so(server: Server, place: Place) -> None:
    server.populate(("app", "leaver"), ("shop",))
    bring(place, INNER, crl(INNER, age=3) + ABOVE)
    serial = certified(place.directory, "leaver", INNER)
    spec = SPEC.format(postgres=server.version) + OF_THE_SPEC
    heir = spec.replace('client_ca = ["company"]', 'client_ca = ["company", "second"]')
    heir += '[ca.second]\n[user.heir]\nca = "second"\ncommon_name = "leaver"\nroles = ["leaver"]\n'
    assert complaint(place, spec + LEAVER) == ""
    assert complaint(place, spec) == ""
    server.install(place.file("servers/db"))
    assert gets_in(server, place.directory / "leaver"), "the lock revokes it, and no CRL lists it"
    assert "could not be told from" in (said := complaint(place, heir))
    assert "no CRL lists it" in said
    (place.directory / "company.crl").write_bytes(crl(INNER, revoked=serial, age=2) + ABOVE)
    assert complaint(place, heir) == ""
    server.install(place.file("servers/db"))
    assert not gets_in(server, place.directory / "leaver")
    assert gets_in(server, place.directory / "app")


@pytest.mark.parametrize("which", [0, -1], ids=["oldest", "newest"])
def test_no_older_crl_counts_again_when_a_set_came_back_and_the_newer_one_has_ended(place: Place, which: int) -> None:
    with Server(versions()[which]) as server:
        server.populate(("app", "leaver"), ("shop",))
        bring(place, ROOT, b"")
        serial = certified(place.directory, "leaver", ROOT)
        spec = SPEC.format(postgres=server.version) + OF_THE_SPEC + LEAVER
        for number, content in enumerate((crl(ROOT, age=3), crl(ROOT, revoked=serial, age=2))):
            (place.directory / "company.crl").write_bytes(content)
            place.build(spec.replace('"::1"', f'"::1", "10.0.0.{number}"'), now=NOW)
            install(place.file("servers/db"), server).done()
            assert (gets_in(server, place.directory / "app"), gets_in(server, place.directory / "leaver")) == (
                True,
                number == 0,
            )
        # By hand, a CRL that has ended: in the directory alone where there is one.
        name = next((f"root.crl.d/{path.name}" for path in server.data.glob("root.crl.d/*")), "root.crl")
        ended = server.write(name, crl(ROOT, revoked=serial, age=1, days=-0.5)).read_bytes()
        install(place.file("servers/db"), server, "--rollback").done()
        assert "10.0.0.0" in (server.data / "pg_hba.conf").read_text()
        assert not gets_in(server, place.directory / "leaver")
        found = [server.data / "root.crl", *server.data.glob("root.crl.d/*")]
        assert [path.read_bytes() for path in found] == [ended] * len(found)
