"""Chains and CRLs from elsewhere are complete, or pgtls rejects them and names what is missing.

Servers send their chain, and clients trust roots only.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lifecycle.fleets import clock, logged
from pgtls.diagnostics import Rejected
from pgtls.pki import crl, keys
from pgtls.pki.model import Revocation
from pki.trees import Authority, authority, key, leaf
from support.building import NOW, Place, steps
from support.clients import PSQL, Bundle, admitted, at, refused

if TYPE_CHECKING:
    from datetime import datetime

    from pgtls.pki.issue import Issued
    from support.servers import Server

DAY = timedelta(days=1)

COMPANY = """
version = 1
[ca.company]
cert_file = "company.crt"
crl_file = "company.crl"
[server.db]
ca = "company"
client_ca = ["company"]
cert_file = "db.crt"
key_file = "db.key"
hosts = ["db.example.com"]
postgres = {}
[user.postgres]
[user.app]
ca = "company"
cert_file = "app.crt"
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
waiver = "a test"
"""


class Company:
    """A root with a CA for servers and clients below it, and what they have signed."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.root = authority("company-root", now=now - 2 * DAY)
        self.middle = authority("company-middle", self.root, now=now - 2 * DAY)
        self.issuing = authority("company-issuing", self.middle, now=now - 2 * DAY)
        self.db = leaf(self.issuing, "server", "db.example.com", now=now - DAY)
        self.app = leaf(self.issuing, "user", "app", now=now - DAY)

    def list(self, ca: Authority, *revoked: Issued) -> bytes:
        entries = [Revocation(each.facts.serial, self.now, "superseded") for each in revoked]
        return crl.make(ca.issuer, 1, self.now, 30 * DAY, entries)

    def lists(self, *revoked: Issued) -> bytes:
        return self.list(self.issuing, *revoked) + self.list(self.middle) + self.list(self.root)

    def write(self, place: Place, **files: bytes) -> None:
        """Write what the spec names: a root alone, and leaf certificates with all that is between."""
        between = self.issuing.pem + self.middle.pem
        found = {
            "company_crt": self.root.pem,
            "company_crl": self.lists(),
            "db_crt": self.db.pem + between,
            "db_key": keys.to_pem(key("db.example.com", "ecdsa-p256")),
            "app_crt": self.app.pem + between,
        }
        for name, content in (found | files).items():
            (place.directory / name.replace("_", ".")).write_bytes(content)


@pytest.fixture
def company() -> Company:
    return Company(NOW)


def complaints(place: Place, spec: str, now: datetime = NOW) -> list[tuple[str, str, str | None]]:
    with pytest.raises(Rejected) as rejected:
        place.build(spec, now=now)
    return [(d.code, d.message, d.hint) for d in rejected.value.diagnostics if d.severity == "error"]


def names(pem: bytes) -> list[str]:
    return [c.subject.rfc4514_string().removeprefix("CN=") for c in x509.load_pem_x509_certificates(pem)]


def test_what_came_with_its_intermediates_is_served_with_them_and_connects(server: Server, place: Place) -> None:
    company = Company(clock())
    company.write(place)
    place.build(COMPANY.format(server.version), now=company.now)
    served = place.file("servers/db/server.crt").read_bytes()
    assert names(served) == ["db.example.com", "company-issuing", "company-middle"]
    assert names(place.file("clients/app/postgresql.crt").read_bytes()) == ["app", "company-issuing", "company-middle"]
    assert names(place.file("clients/app/root.crt").read_bytes()) == ["company-root"]
    assert steps(place.build(now=company.now)) == []

    server.populate(["app"], ["shop"])
    server.install(place.file("servers/db"))
    theirs = place.directory / "app.key"
    theirs.write_bytes(keys.to_pem(key("app", "ecdsa-p256")))
    theirs.chmod(0o600)
    parameters = Bundle(place.file("clients/app")).parameters("shop") | at(server) | {"sslkey": str(theirs)}
    assert admitted(PSQL.connect(parameters)) == "app@shop"
    stranger = place.directory / "stranger.crt"
    stranger.write_bytes(authority("stranger", now=company.now).pem)
    refused(PSQL.connect(parameters | {"sslrootcert": str(stranger)}), "certificate verify failed")
    bare = place.directory / "bare.crt"
    bare.write_bytes(company.app.pem)
    mark = server.mark()
    refused(PSQL.connect(parameters | {"sslcert": str(bare)}), "")
    server.wait_for_log(logged(server, "unable to get local issuer certificate"), mark)

    # Who is on the list of the CA between, which the spec does not name, is refused.
    company.write(place, company_crl=company.lists(company.app))
    place.build(now=company.now)
    server.install(place.file("servers/db"))
    mark = server.mark()
    refused(PSQL.connect(parameters), "")
    server.wait_for_log(logged(server, "certificate revoked"), mark)


@pytest.mark.parametrize("order", ["root as well", "upside down", "twice, with a stranger"])
def test_the_way_is_found_in_what_came(place: Place, company: Company, order: str) -> None:
    issuing, middle, root = company.issuing.pem, company.middle.pem, company.root.pem
    above = {
        "root as well": issuing + middle + root,
        "upside down": root + middle + issuing,
        "twice, with a stranger": authority("stranger").pem + middle + issuing + middle,
    }[order]
    company.write(place, db_crt=company.db.pem + above)
    place.build(COMPANY.format(17))
    served = place.file("servers/db/server.crt").read_bytes()
    assert names(served) == ["db.example.com", "company-issuing", "company-middle"]


MISSING = 'it was not signed by CA "company", but by "CN=company-issuing", and its file does not lead to that CA'
COMPLETE = (
    "put the whole chain into cert_file: the certificate first, then the CAs above it, up to the one that the spec "
    "names or to a root"
)


@pytest.mark.parametrize("above", ["nothing", "the first of two", "the second of two"])
def test_a_chain_with_a_gap_is_refused_with_what_to_do(place: Place, company: Company, above: str) -> None:
    between = {"nothing": b"", "the first of two": company.issuing.pem, "the second of two": company.middle.pem}[above]
    company.write(place, db_crt=company.db.pem + between)
    assert complaints(place, COMPANY.format(17)) == [
        ("PGT565", f"the certificate of server.db does not fit the spec: {MISSING}", COMPLETE)
    ]


def test_a_ca_that_has_another_key_now_is_told_from_another_ca(place: Place, company: Company) -> None:
    again = authority("company-again", subject=(("common_name", "company-root"),), now=NOW - DAY)
    spec = (
        COMPANY.format(17)
        .replace('client_ca = ["company"]\n', "")
        .replace('crl_file = "company.crl"\n', "crl = false\n")
    )
    spec = spec.replace('[user.app]\nca = "company"\ncert_file = "app.crt"\n', "[user.app]\n").replace(
        '"cert"', '"scram-sha-256"'
    )
    direct = leaf(company.root, "server", "db.example.com", now=NOW - DAY)
    company.write(place, company_crt=again.pem, db_crt=direct.pem)
    ((code, message, hint),) = complaints(place, spec)
    assert code == "PGT565"
    assert 'it was not signed by CA "company", but by another key of the name "CN=company-root"' in message
    assert hint == "name the certificate of today of that CA in its own cert_file; or have this one signed again"


def test_a_ca_between_that_has_ended_is_said(place: Place) -> None:
    company = Company(NOW)
    ended = authority("company-ended", company.root, now=NOW - 20 * DAY, validity=10 * DAY)
    signed = leaf(ended, "server", "db.example.com", now=NOW - 19 * DAY)
    company.write(place, db_crt=signed.pem + ended.pem)
    ((code, message, _),) = complaints(place, COMPANY.format(17))
    assert code == "PGT565"
    assert '"CN=company-ended" above it in its file is valid from 2025-12-11 to 2025-12-22' in message, message


def test_a_ca_between_without_a_list_locks_its_users_out_and_is_said(place: Place, company: Company) -> None:
    company.write(place, company_crl=company.list(company.root) + company.list(company.middle))
    assert complaints(place, COMPANY.format(17)) == [
        (
            "PGT565",
            (
                'there is no CRL of "CN=company-issuing", which signed the certificate of user.app, but server.db '
                "checks it"
            ),
            "add its CRL to crl_file of [ca.company], or set crl = false in [server.db]",
        )
    ]
    place.build(COMPANY.format(17).replace("postgres = 17", "postgres = 17\ncrl = false"))


# ---- crl_file --------------------------------------------------------------------------------------------------------

LISTS = (
    "it takes the newest CRL of each CA in cert_file, in PEM, one after the other, and none of other CAs; a single "
    "CRL may be DER"
)


def faulty(place: Place, company: Company, lists: bytes) -> str:
    company.write(place, company_crl=lists)
    ((code, message, hint),) = complaints(place, COMPANY.format(17))
    assert (code, hint) == ("PGT564", LISTS)
    return message.removeprefix('"company.crl" cannot be used: ')


def test_every_list_of_a_file_is_judged(place: Place, company: Company) -> None:
    stranger = authority("stranger")
    namesake = authority("namesake", subject=(("common_name", "company-root"),))
    good = company.lists()
    assert (
        faulty(place, company, good + company.list(stranger)) == 'it holds a CRL of "CN=stranger", which is another CA'
    )
    assert (
        faulty(place, company, good + company.list(namesake))
        == 'the CRL of "CN=company-root" in it was not signed by the key of that CA'
    )
    assert faulty(place, company, company.list(company.issuing)) == 'it holds no CRL of "CN=company-root"'
    assert faulty(place, company, b"") == "it is empty"
    assert faulty(place, company, b"hello") == "it is not PEM"
    assert faulty(place, company, company.root.pem) == 'there is not a CRL in it, but "CERTIFICATE"'
    assert faulty(place, company, good[:-40]) == "it is cut off: a BEGIN line has no END line"


def test_a_chain_in_the_file_of_the_ca_needs_the_list_of_each(place: Place, company: Company) -> None:
    company.write(
        place,
        company_crt=company.issuing.pem + company.middle.pem + company.root.pem,
        company_crl=company.list(company.issuing),
        db_crt=company.db.pem,
        app_crt=company.app.pem,
    )
    ((code, message, _),) = complaints(place, COMPANY.format(17))
    assert (code, message.partition(": ")[2]) == (
        "PGT564",
        'it holds no CRL of "CN=company-middle"; it holds no CRL of "CN=company-root"',
    )
    (place.directory / "company.crl").write_bytes(company.lists())
    place.build()
    assert names(place.file("clients/app/root.crt").read_bytes()) == ["company-root"], "clients are shown the others"
    assert names(place.file("servers/db/root.crt").read_bytes())[-1] == "company-root"
    assert len(list(place.file("servers/db/root.crl.d").iterdir())) == 3


def test_one_list_may_be_der(place: Place, company: Company) -> None:
    direct = {
        "db_crt": leaf(company.root, "server", "db.example.com", now=NOW - DAY).pem,
        "app_crt": leaf(company.root, "user", "app", now=NOW - DAY).pem,
    }
    made = company.list(company.root)
    company.write(place, company_crl=x509.load_pem_x509_crl(made).public_bytes(Encoding.DER), **direct)
    place.build(COMPANY.format(17))
    assert place.file("servers/db/root.crl").read_bytes() == made


def test_the_list_that_ends_first_counts(place: Place, company: Company) -> None:
    short = crl.make(company.middle.issuer, 1, NOW, 3 * DAY, ())
    company.write(place, company_crl=company.list(company.issuing) + short + company.list(company.root))
    place.build(COMPANY.format(17))
    ((code, message, hint),) = complaints(place, COMPANY.format(17), NOW + 4 * DAY)
    assert (code, message) == (
        "PGT563",
        'the CRL of CA "company" expired on 2026-01-04: servers would reject every client',
    )
    assert hint == "bring a new one in crl_file"


def test_a_list_of_the_future_locks_everybody_out_and_is_said(place: Place, company: Company) -> None:
    early = crl.make(company.middle.issuer, 1, NOW + DAY, 30 * DAY, ())
    company.write(place, company_crl=company.list(company.issuing) + early + company.list(company.root))
    ((code, message, _),) = complaints(place, COMPANY.format(17))
    assert code == "PGT563"
    assert message == 'the CRL of CA "company" is not valid before 2026-01-01 23:55: servers would reject every client'


def test_a_damaged_list_of_a_ca_whose_key_is_away_stops_the_build(place: Place, company: Company) -> None:
    spec = (
        '[ca.root]\n[ca.clients]\noffline = true\n[server.main]\nca = "root"\nclient_ca = ["clients"]\nhosts = ["a"]\n'
    )
    spec = f'version = 1\n{spec}[user.postgres]\n[policy.dba]\nusers = ["postgres"]\nfrom = ["local"]\nauth = "peer"\n'
    place.build(spec.replace("offline = true\n", ""))
    place.file("ca/clients/ca.key").unlink()
    place.build(spec)
    place.file("ca/clients/ca.crl").write_bytes(b"-----BEGIN X509 CRL-----\n")
    ((code, message, _),) = complaints(place, spec)
    assert code == "PGT563"
    assert message.startswith('the CRL of CA "clients" cannot be read (it is cut off')


def test_a_file_has_no_more_certificates_and_crls_than_a_chain_can(place: Place, company: Company) -> None:
    """Any of them may be above any other one, so that the time to find out grows with the square."""
    text = COMPANY.format(17)
    chain = company.db.pem + company.issuing.pem + company.middle.pem
    company.write(
        place, db_crt=chain + 97 * company.root.pem, company_crl=company.lists() + 253 * company.list(company.root)
    )
    assert ("server.db", "adopt") in steps(place.build(text, now=NOW))
    company.write(place, db_crt=chain + 98 * company.root.pem)
    messages = [message for _, message, _ in complaints(place, text)]
    assert '"db.crt" cannot be used: it holds 101 certificates, and a chain has at most 100' in messages
    company.write(place, company_crl=257 * company.list(company.root))
    messages = [message for _, message, _ in complaints(place, text)]
    assert '"company.crl" cannot be used: it holds 257 CRLs, and a file has at most 256' in messages
