"""Servers refuse a revoked user, and all others continue to connect."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from lifecycle.fleets import DAY, HOUR, ROLES, attempt, clock, deploy, logged, serial, spec
from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from pgtls.pki import crl
from pgtls.pki.model import RevocationList
from pgtls.state import lock as locks
from support.authority import Authority, named
from support.building import NOW, Place, reason, steps
from support.clients import Bundle, admitted, refused
from support.system import new_directory

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Server


def listed(place: Place, ca: str) -> dict[str, str]:
    """What the CRL of a CA says: reasons by serial number."""
    return {entry.serial: entry.reason for entry in the_list(place.file(f"ca/{ca}/ca.crl")).revoked}


def the_list(path: Path) -> RevocationList:
    found = crl.read(path.read_bytes())
    assert isinstance(found, RevocationList)
    return found


def kept(place: Place, user: str) -> Bundle:
    """What a thief has: a copy of a bundle."""
    copy = new_directory("stolen") / user
    shutil.copytree(place.file(f"clients/{user}"), copy)
    return Bundle(copy)


def test_a_stolen_key_is_refused_and_its_owner_and_everybody_else_connects(server: Server, place: Place) -> None:
    server.populate(ROLES, ("shop",))
    now = clock()
    place.build(spec(server.version), now=now - HOUR)
    deploy(place, server)
    stolen, bobs = kept(place, "alice"), kept(place, "bob")
    assert admitted(attempt(place, server, "alice", stolen)) == "alice@shop"

    moment = f"{now - HOUR / 2:%Y-%m-%dT%H:%M:%SZ}"
    planned = place.build(spec(server.version, alice=f'ca = "inner"\nrevoke_before = {moment}\n'), now=now)
    assert reason(planned, "user.alice") == "it was revoked, with a new key"
    assert ("user.bob", "renew") not in steps(planned)
    deploy(place, server)
    mark = server.mark()
    refused(attempt(place, server, "alice", stolen), "")
    server.wait_for_log(logged(server, "certificate revoked"), mark)
    assert admitted(attempt(place, server, "alice")) == "alice@shop"
    assert admitted(attempt(place, server, "bob", bobs)) == "bob@shop"
    assert steps(place.build(now=now)) == []


@pytest.mark.parametrize("entity", ["server.db", "user.alice"])
def test_every_certificate_from_before_is_revoked_and_no_other(place: Place, entity: str) -> None:
    place.build(spec(), now=NOW)
    place.build(now=NOW + DAY, asked=Asked(renew=frozenset({entity})))
    old = {line.serial for line in locks.read(place.lock).issued if line.entity == entity}
    place.build(now=NOW + 3 * DAY, asked=Asked(renew=frozenset({entity})))
    late = serial(place, entity)
    said = "revoke_before = 2026-01-03\n"
    changed = (
        spec(server=f'ca = "root"\nclient_ca = ["inner"]\n{said}')
        if entity == "server.db"
        else spec(alice=f'ca = "inner"\n{said}')
    )
    planned = place.build(changed, now=NOW + 4 * DAY)
    ca = "root" if entity == "server.db" else "inner"
    assert listed(place, ca) == dict.fromkeys(old, "key_compromise")
    assert serial(place, entity) == late, "what was issued afterwards stays"
    assert (entity, "revoke") in steps(planned)


def test_a_key_that_would_be_kept_is_not_kept_when_it_is_revoked(place: Place) -> None:
    place.build(spec(alice='ca = "inner"\nrotate_key = false\n'))
    key = place.file("clients/alice/postgresql.key").read_bytes()
    place.build(now=NOW + DAY, asked=Asked(renew=frozenset({"user.alice"})))
    assert place.file("clients/alice/postgresql.key").read_bytes() == key
    place.build(spec(alice='ca = "inner"\nrotate_key = false\nrevoke_before = 2026-01-03\n'), now=NOW + 2 * DAY)
    assert place.file("clients/alice/postgresql.key").read_bytes() != key


def test_serials_from_elsewhere_are_revoked_and_a_reverted_spec_undoes_nothing(place: Place) -> None:
    cas = '[ca.root]\n[ca.people]\n[ca.inner]\nissuer = "people"\nrevoked = ["0A:bc"]\n'
    place.build(spec(), now=NOW)
    place.build(spec(cas=cas), now=NOW + DAY)
    assert listed(place, "inner") == {"abc": "unspecified"}
    (line,) = locks.read(place.lock).revoked
    assert (line.ca, line.entity, line.serial, line.date) == ("inner", "ca.inner", "abc", NOW + DAY)
    place.build(spec(), now=NOW + 2 * DAY)
    assert listed(place, "inner") == {"abc": "unspecified"}
    assert locks.read(place.lock).revoked == (line,)


def test_a_serial_of_ours_is_revoked_and_replaced(place: Place) -> None:
    place.build(spec())
    number = serial(place, "user.alice")
    cas = f'[ca.root]\n[ca.people]\n[ca.inner]\nissuer = "people"\nrevoked = ["{number}"]\n'
    planned = place.build(spec(cas=cas), now=NOW + DAY)
    assert ("user.alice", "renew") in steps(planned)
    assert set(listed(place, "inner")) == {number}
    assert serial(place, "user.alice") != number


def test_a_reverted_lock_undoes_no_revocation(place: Place) -> None:
    place.build(spec())
    before, number = place.lock.read_bytes(), serial(place, "user.bob")
    place.build(spec(bob=None), now=NOW + DAY)
    assert set(listed(place, "inner")) == {number}
    place.lock.write_bytes(before)
    place.build(spec(bob=None), now=NOW + 2 * DAY)
    assert set(listed(place, "inner")) == {number}
    place.lock.write_bytes(before)
    place.build(spec(), now=NOW + 3 * DAY)
    assert set(listed(place, "inner")) == {number}, "also when the user is back"
    assert serial(place, "user.bob") != number
    assert the_list(place.file("ca/inner/ca.crl")).revoked[0].date == NOW + DAY, "with the date of the first time"


BOTH = '[ca.root]\n[ca.people]\n[ca.inner]\nissuer = "people"\n[ca.outer]\nissuer = "people"\ncrl_validity = "20d"\n'
TRUSTING_BOTH = 'ca = "root"\nclient_ca = ["inner", "outer"]\n'


def test_a_ca_that_left_the_spec_still_revokes_and_keeps_its_list_fresh_until_nobody_needs_it(place: Place) -> None:
    place.build(spec(cas=BOTH, server=TRUSTING_BOTH, bob='ca = "outer"\n'))
    number = serial(place, "user.bob")
    place.build(spec(bob=None), now=NOW + DAY)
    (directory,) = place.file("ca/.retired").iterdir()
    first = the_list(directory / "ca.crl")
    assert [(entry.serial, entry.reason) for entry in first.revoked] == [(number, "cessation_of_operation")]
    assert steps(place.build(now=NOW + 2 * DAY)) == []

    planned = place.build(now=NOW + 30 * DAY)
    assert ("ca.outer", "rewrite") in steps(planned)
    assert the_list(directory / "ca.crl").next_update > NOW + 40 * DAY
    assert the_list(directory / "ca.crl").number > first.number

    place.build(now=NOW + 91 * DAY, asked=Asked(renew=frozenset({"all"})))
    last = the_list(directory / "ca.crl").number
    place.build(now=NOW + 150 * DAY)
    assert the_list(directory / "ca.crl").number == last, "nobody has a certificate of it any more"


def test_a_missing_or_stale_list_locks_everybody_out_and_pgtls_makes_neither(server: Server, place: Place) -> None:
    server.populate(ROLES, ("shop",))
    now = clock()
    short = '[ca.root]\n[ca.people]\ncrl_validity = "10d"\n[ca.inner]\nissuer = "people"\n'
    place.build(spec(server.version, cas=short), now=now - 9 * DAY)
    deploy(place, server)
    whole = place.file("servers/db/root.crl").read_text()
    assert admitted(attempt(place, server, "alice")) == "alice@shop"

    # By hand: without the list of the root above, in the file as in the directory.
    server.write("root.crl", place.file("ca/inner/ca.crl").read_text())
    shutil.rmtree(server.data / "root.crl.d", ignore_errors=True)
    server.reload()
    mark = server.mark()
    refused(attempt(place, server, "alice"), "")
    server.wait_for_log(logged(server, "unable to get certificate CRL"), mark)

    # By hand: with one that has run out, as it would be two days later.
    stale = Place(new_directory("stale"))
    stale.build(spec(server.version, cas=short), now=now - 20 * DAY)
    deploy(stale, server)
    mark = server.mark()
    refused(attempt(stale, server, "alice"), "")
    server.wait_for_log(logged(server, "CRL has expired"), mark)

    planned = stale.build(now=now)
    assert reason(planned, "ca.people") == f"its CRL: it ran out on {now - 10 * DAY:%Y-%m-%d}"
    deploy(stale, server)
    assert admitted(attempt(stale, server, "alice")) == "alice@shop"
    assert whole.count("BEGIN X509 CRL") == 2, "one for each CA of the chain"


def test_lists_are_made_again_at_half_their_life_each_time(place: Place) -> None:
    short = '[ca.root]\n[ca.people]\ncrl_validity = "10d"\n[ca.inner]\nissuer = "people"\n'
    place.build(spec(cas=short))
    for day in range(1, 30):
        place.build(now=NOW + day * DAY)
        for name in ("people", "inner"):
            left = the_list(place.file(f"ca/{name}/ca.crl")).next_update - (NOW + day * DAY)
            assert left >= 5 * DAY - HOUR


def test_what_has_ended_leaves_a_list_when_it_is_made_again_anyway_and_not_before_it_said_so_after_that(
    place: Place,
) -> None:
    place.build(spec())
    number = serial(place, "user.bob")
    place.build(spec(bob=None), now=NOW + DAY)
    place.build(now=NOW + 80 * DAY)  # alice is renewed
    for day in (91, 92, 150):  # bob's certificate ended on the 90th
        assert not any(step.entity.startswith("ca.") for step in place.build(now=NOW + day * DAY).plan.steps)
    assert steps(place.build(now=NOW + 150 * DAY)) == []
    listings = []
    for day in (190, 191, 375, 376):
        place.build(now=NOW + day * DAY)
        assert steps(place.build(now=NOW + day * DAY)) == [], "and a second build has nothing to do"
        listings.append(set(listed(place, "inner")))
    assert listings == [{number}, {number}, set(), set()]


@pytest.mark.parametrize("ahead", [60, 200], ids=["before its end", "after its end"])
@pytest.mark.parametrize(("ca", "path"), [("inner", "ca/inner/ca.crl"), ("outer", "ca/.retired/*/ca.crl")])
def test_a_list_of_a_fast_clock_is_made_again_and_has_every_certificate_that_has_not_ended(
    place: Place, ca: str, path: str, ahead: int
) -> None:
    alice = f'ca = "{ca}"\nvalidity = "2y"\n'
    place.build(spec(cas=BOTH, server=TRUSTING_BOTH, alice=alice, bob=f'ca = "{ca}"\n'))
    number = serial(place, "user.bob")
    left = spec(bob=None) if ca == "outer" else spec(cas=BOTH, server=TRUSTING_BOTH, alice=alice, bob=None)
    place.build(left, now=NOW + DAY)
    place.build(now=NOW + ahead * DAY)
    place.build(now=NOW + 2 * DAY)
    (found,) = map(the_list, place.out.glob(path))
    assert found.this_update <= NOW + 2 * DAY
    assert number in {entry.serial for entry in found.revoked}
    assert steps(place.build(now=NOW + 2 * DAY)) == []


def test_a_bundle_with_lists_refuses_a_server_whose_key_was_stolen(server: Server, place: Place) -> None:
    server.populate(ROLES, ("shop",))
    now = clock()
    alice = 'ca = "inner"\ncrl = true\n'
    place.build(spec(server.version, alice=alice), now=now - HOUR)
    deploy(place, server)
    bobs = kept(place, "bob")
    assert "sslcrl" in Bundle(place.file("clients/alice")).files
    assert "sslcrl" not in bobs.files
    assert admitted(attempt(place, server, "alice")) == "alice@shop"

    entry = f'ca = "root"\nclient_ca = ["inner"]\nrevoke_before = {now - HOUR / 2:%Y-%m-%dT%H:%M:%SZ}\n'
    place.build(spec(server.version, server=entry, alice=alice), now=now)
    refused(attempt(place, server, "alice"), "certificate verify failed")
    assert admitted(attempt(place, server, "bob", bobs)) == "bob@shop", "who has no lists sees nothing"
    deploy(place, server)
    assert admitted(attempt(place, server, "alice")) == "alice@shop"


def test_a_bundle_s_list_is_named_where_its_directory_is_known(place: Place) -> None:
    place.build(spec(alice='ca = "inner"\ncrl = true\ndirectory = "/etc/shop"\n'))
    for connection in Bundle(place.file("clients/alice")).connections:
        assert connection["parameters"]["sslcrl"] == "/etc/shop/root.crl"
    assert 'PGSSLCRL="$pgtls_bundle/root.crl"' in place.file("clients/alice/env.sh").read_text()
    assert "PGSSLCRL" not in place.file("clients/bob/env.sh").read_text()
    assert place.file("clients/alice/root.crl").read_bytes() == place.file("ca/root/ca.crl").read_bytes()


OF_A_REQUEST = 'ca = "inner"\ncsr_file = "alice.csr"\n'


def request(place: Place, name: str) -> bytes:
    """Write a request for a new key; return the key."""
    from pgtls.pki import keys

    key = keys.generate("ecdsa-p256")
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "alice")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, SHA256())
    (place.directory / name).write_bytes(csr.public_bytes(Encoding.PEM))
    return keys.to_pem(key)


def test_a_key_from_elsewhere_that_is_revoked_needs_another_one(place: Place) -> None:
    request(place, "alice.csr")
    stolen = (place.directory / "alice.csr").read_bytes()
    place.build(spec(alice=OF_A_REQUEST))
    with pytest.raises(Rejected) as rejected:
        place.build(spec(alice=f"{OF_A_REQUEST}revoke_before = 2026-01-02\n"), now=NOW + 2 * DAY)
    assert [d.code for d in rejected.value.diagnostics if d.severity == "error"] == ["PGT574"]
    request(place, "alice.csr")
    place.build(now=NOW + 2 * DAY)
    assert len(listed(place, "inner")) == 1
    good = (place.directory / "alice.csr").read_bytes()
    (place.directory / "alice.csr").write_bytes(stolen)
    for text in (place.spec.read_text(), spec(alice=OF_A_REQUEST)):
        with pytest.raises(Rejected, match=r"PGT574: the key of user\.alice is one whose certificate revoke_before"):
            place.build(text, now=NOW + 4 * DAY)
    (place.directory / "alice.csr").write_bytes(good)
    place.build(now=NOW + 4 * DAY)
    place.build(spec(alice=OF_A_REQUEST, bob=None), now=NOW + 5 * DAY)
    (place.directory / "bob.csr").write_bytes(stolen)
    with pytest.raises(Rejected, match=r"PGT574: the key of user\.bob"):
        place.build(spec(alice=OF_A_REQUEST, bob=OF_A_REQUEST.replace("alice", "bob")), now=NOW + 6 * DAY)
    request(place, "bob.csr")
    place.build(now=NOW + 6 * DAY)


def test_a_key_from_elsewhere_whose_certificate_revoked_lists_needs_another_one(place: Place) -> None:
    request(place, "alice.csr")
    place.build(spec(alice=OF_A_REQUEST))
    first = serial(place, "user.alice")
    text = place.spec.read_text().replace("[ca.inner]\n", f'[ca.inner]\nrevoked = ["{first}"]\n')
    with pytest.raises(Rejected, match=r"PGT574: the key of user\.alice is one whose certificate .* revoked revokes"):
        place.build(text, now=NOW + DAY)
    request(place, "alice.csr")
    place.build(text, now=NOW + DAY)
    assert first in listed(place, "inner")
    assert serial(place, "user.alice") != first


LISTED_FIRST = pytest.mark.parametrize("first", [True, False], ids=["listed before", "listed in the same build"])


@LISTED_FIRST
def test_a_serial_number_in_revoked_hides_no_stolen_key(place: Place, first: bool) -> None:
    """The certificate may be on the CRL already when somebody says that its key is stolen."""
    request(place, "alice.csr")
    stolen = (place.directory / "alice.csr").read_bytes()
    place.build(spec(alice=OF_A_REQUEST))
    number = serial(place, "user.alice")
    request(place, "alice.csr")
    dated = f"{OF_A_REQUEST}revoke_before = 2026-01-02\n"
    by_number = spec(alice=OF_A_REQUEST).replace("[ca.inner]\n", f'[ca.inner]\nrevoked = ["{number}"]\n')
    if first:
        place.build(by_number, now=NOW + DAY)
    place.build(by_number.replace(OF_A_REQUEST, dated), now=NOW + 2 * DAY)
    place.build(spec(alice=OF_A_REQUEST), now=NOW + 3 * DAY)
    assert number in listed(place, "inner")
    (place.directory / "alice.csr").write_bytes(stolen)
    with pytest.raises(Rejected, match=r"PGT574: the key of user\.alice is one whose certificate"):
        place.build(now=NOW + 4 * DAY)


@LISTED_FIRST
def test_a_serial_number_in_revoked_frees_no_name(place: Place, first: bool) -> None:
    place.build(spec())
    number = serial(place, "user.bob")
    cas = f'[ca.root]\n[ca.people]\n[ca.inner]\nissuer = "people"\nrevoked = ["{number}"]\n'
    if first:
        place.build(spec(cas=cas), now=NOW + DAY)
    planned = place.build(spec(cas=cas, bob=None), now=NOW + 2 * DAY)
    assert [one.reason for one in planned.plan.steps if one.reason.endswith(f"certificate {number}")] == [
        f"it is no longer in the spec: certificate {number}"
    ]
    assert {one.reason for one in locks.read(place.lock).revoked if one.serial == number} == {
        "unspecified",
        "cessation_of_operation",
    }
    assert number in listed(place, "inner")
    assert steps(place.plan(now=NOW + 2 * DAY)) == []


INTERMEDIATE = '[ca.root]\n[ca.people]\n{revoked}[ca.inner]\nissuer = "people"\n'


@pytest.mark.parametrize("ca", ["inner", "people"])
def test_the_key_of_a_revoked_ca_is_not_certified_again_unasked(place: Place, ca: str) -> None:
    """A thief of the key could use the new certificate, which is in every bundle."""
    place.build(spec(cas=INTERMEDIATE.format(revoked="")))
    stolen, key = serial(place, f"ca.{ca}"), place.file(f"ca/{ca}/ca.key").read_bytes()
    text = spec(cas=INTERMEDIATE.format(revoked=f'revoked = ["{stolen}"]\n'))
    before = place.state()
    with pytest.raises(Rejected, match=rf"PGT574: the certificate of ca\.{ca} \(serial {stolen}\) is revoked") as found:
        place.build(text, now=NOW + DAY)
    assert f"--replace ca.{ca}" in str(found.value.diagnostics[0].hint)
    assert place.state() == before
    place.build(text, now=NOW + DAY, asked=Asked(renew=frozenset({f"ca.{ca}"}), allow_revoke=True))
    assert place.file(f"ca/{ca}/ca.key").read_bytes() == key
    assert serial(place, f"ca.{ca}") != stolen
    place.build(now=NOW + 2 * DAY)


SECOND = 'ca = "root"\nclient_ca = ["inner", "second"]\n'


def test_a_revoked_key_of_a_user_is_not_certified_again_by_another_ca(place: Place) -> None:
    cas = INTERMEDIATE.format(revoked="") + '[ca.second]\nissuer = "people"\n'
    place.build(spec(cas=cas, server=SECOND, alice='ca = "inner"\nrotate_key = false\n'))
    key, stolen = place.file("clients/alice/postgresql.key").read_bytes(), serial(place, "user.alice")
    lists = cas.replace("[ca.inner]\n", f'[ca.inner]\nrevoked = ["{stolen}"]\n')
    place.build(spec(cas=lists, server=SECOND, alice='ca = "second"\nrotate_key = false\n'), now=NOW + DAY)
    assert place.file("clients/alice/postgresql.key").read_bytes() != key
    assert stolen in listed(place, "inner")


def test_a_revoked_key_of_a_ca_is_not_certified_again_by_another_one(place: Place) -> None:
    place.build(spec(cas=INTERMEDIATE.format(revoked="")))
    revoked = f'revoked = ["{serial(place, "ca.inner")}"]\n'
    moved = INTERMEDIATE.format(revoked=revoked).replace('issuer = "people"', 'issuer = "root"')
    with pytest.raises(Rejected, match=r"PGT574: the certificate of ca\.inner"):
        place.build(spec(cas=moved), now=NOW + DAY)


def test_a_revoked_ca_gets_a_new_key_if_somebody_asks_for_one(place: Place) -> None:
    place.build(spec(cas=INTERMEDIATE.format(revoked="")))
    stolen, key = serial(place, "ca.inner"), place.file("ca/inner/ca.key").read_bytes()
    text = spec(cas=INTERMEDIATE.format(revoked=f'revoked = ["{stolen}"]\n'))
    asked = Asked(replace=frozenset({"ca.inner"}), allow_revoke=True, accept_outage=True)
    place.build(text, now=NOW + DAY, asked=asked)
    assert place.file("ca/inner/ca.key").read_bytes() != key
    assert stolen in listed(place, "people")


def test_an_earlier_certificate_that_revoked_lists_leaves_later_ones_of_its_key(place: Place) -> None:
    place.build(spec(alice='ca = "inner"\nrotate_key = false\n'))
    first = serial(place, "user.alice")
    place.build(now=NOW + DAY, asked=Asked(renew=frozenset({"user.alice"})))
    last, text = serial(place, "user.alice"), place.spec.read_text()

    def told(*numbers: str) -> list[str]:
        lists = text.replace("[ca.inner]\n", f"[ca.inner]\nrevoked = {list(numbers)}\n")
        return [one.message for one in place.plan(lists, now=NOW + DAY).diagnostics if one.code == "PGT575"]

    same = f"revoked lists the certificate {first} of user.alice, but not {last}, which has the same key"
    assert told(first) == [same]
    assert told(first, last) == []
    assert told() == []


def test_a_revocation_of_today_says_that_the_certificates_of_today_are_later(place: Place) -> None:
    place.build(spec())
    too_early = f"revoke_before = {NOW:%Y-%m-%d}\n"
    early = place.plan(spec(alice=f'ca = "inner"\n{too_early}'), now=NOW + HOUR)
    (warning,) = [d for d in early.diagnostics if d.code == "PGT575"]
    assert (steps(early), warning.severity) == (steps(place.plan(spec(), now=NOW + HOUR)), "warning")
    assert warning.message == (
        "revoke_before revokes nothing: no certificate of user.alice was issued before 2026-01-01T00:00:00Z; "
        "the last one was issued at 2026-01-01T00:00:00Z"
    )
    assert warning.hint == "to revoke that one, write revoke_before = 2026-01-01T00:00:01Z"
    meant = place.build(spec(alice='ca = "inner"\nrevoke_before = 2026-01-01T00:00:01Z\n'), now=NOW + HOUR)
    assert reason(meant, "user.alice") == "it was revoked, with a new key"
    # It has done its work. So has one of [defaults], which is also of users that came later.
    assert not place.plan(now=NOW + DAY).diagnostics
    place.build(spec(), now=NOW + DAY)
    defaults = f"[defaults.user]\n{too_early}\n{spec()}".replace("version = 1\n", "", 1)
    assert not place.plan(f"version = 1\n{defaults}", now=NOW + DAY).diagnostics


WAYS = ("alone", "with a new request", "with another ca", "without postgresql.key", "without postgresql.crt")


@pytest.mark.parametrize("way", WAYS)
def test_who_gets_another_name_is_refused_under_the_old_one_whatever_else_changes(
    server: Server, place: Place, way: str
) -> None:
    server.populate(("bob", "admin"), ("shop",))
    now, text = clock(), EVERYBODY.format(version=server.version)
    by_request = way == "with a new request"
    if by_request:
        text = text.replace("[user.bob]", '[user.bob]\ncsr_file = "bob.csr"')
        key = request(place, "bob.csr")
    before = text.replace("[user.bob]", '[user.bob]\ncommon_name = "admin"\nroles = ["admin"]')
    place.build(before, now=now - DAY)
    deploy(place, server)
    old = kept(place, "bob")
    if by_request:
        (old.directory / "postgresql.key").write_bytes(key)
        (old.directory / "postgresql.key").chmod(0o600)
        request(place, "bob.csr")
    assert admitted(attempt(place, server, "bob", old)) == "admin@shop"
    if way.startswith("without"):
        place.file(f"clients/bob/{way.split()[1]}").unlink()
    moved = text.replace('[user.bob]\nca = "people"', '[user.bob]\nca = "others"')
    after = moved if way == "with another ca" else text
    place.build(after, now=now)
    deploy(place, server)
    refused(attempt(place, server, "bob", old), "")
    if not by_request:
        assert admitted(attempt(place, server, "bob")) == "bob@shop"
    assert not place.build(now=now).plan.steps


EVERYBODY = """version = 1
[ca.root]
[ca.people]
[ca.others]
[server.db]
ca = "root"
client_ca = ["people", "others"]
hosts = ["localhost"]
postgres = {version}
no_local = true
[user.bob]
ca = "people"
[user.carol]
ca = "others"
[policy.people]
users = ["all"]
databases = ["shop"]
from = ["127.0.0.1"]
auth = "cert"
"""


def test_a_certificate_that_outlives_its_user_is_revoked_when_its_successor_is_in_use(place: Place) -> None:
    place.build(spec())
    first, end = serial(place, "user.alice"), NOW + 30 * DAY
    text = spec(alice=f'ca = "inner"\nuntil = {end:%Y-%m-%d}\n')
    place.build(text, now=NOW + DAY)
    assert first not in listed(place, "inner"), "alice may not have the new one yet"
    place.confirm("user.alice", now=NOW + 2 * DAY)
    place.build(now=NOW + 2 * DAY)
    assert listed(place, "inner") == {first: "superseded"}
    assert not place.build(now=NOW + 2 * DAY).plan.steps


def test_a_certificate_that_outlives_its_user_is_revoked_after_the_date(place: Place) -> None:
    place.build(spec())
    first, end = serial(place, "user.alice"), NOW + 30 * DAY
    place.build(spec(alice=f'ca = "inner"\nuntil = {end:%Y-%m-%d}\n'), now=NOW + DAY)
    place.build(now=end)
    assert listed(place, "inner")[first] == "cessation_of_operation"


KEPT = 'ca = "inner"\nrotate_key = false\n'
STOLEN = "revoke_before = 2026-01-03\n"
BESIDE = {
    "nothing else": STOLEN,
    "another validity": f'{STOLEN}validity = "30d"\n',
    "an end": f"{STOLEN}until = 2026-02-01\n",
    "another subject": f'{STOLEN}subject = {{ organization = "Bank" }}\n',
    "another ca": STOLEN,
    "its certificate gone": STOLEN,
}


@pytest.mark.parametrize("beside", BESIDE)
def test_a_stolen_key_gets_no_certificate_whatever_else_changes(place: Place, beside: str) -> None:
    """The key is kept at renewals: only a revocation replaces it."""
    place.build(spec(alice=KEPT))
    key, first = place.file("clients/alice/postgresql.key").read_bytes(), serial(place, "user.alice")
    if beside == "its certificate gone":
        place.file("clients/alice/postgresql.crt").unlink()
    alice = KEPT + BESIDE[beside]
    if beside == "another ca":
        alice = alice.replace("inner", "people")
    server = 'ca = "root"\nclient_ca = ["inner", "people"]\n'
    place.build(spec(alice=alice, server=server), now=NOW + 20 * DAY)
    assert place.file("clients/alice/postgresql.key").read_bytes() != key
    assert listed(place, "inner") == {first: "key_compromise"}
    assert not place.build(now=NOW + 20 * DAY).plan.steps


SINCE = {
    "the present one has it": (KEPT, KEPT),
    "its keys rotate now": (KEPT, KEPT.replace("rotate_key = false\n", "")),
    "another key is there since": (KEPT, KEPT),
    "it is made elsewhere": (OF_A_REQUEST, OF_A_REQUEST),
}


@pytest.mark.parametrize("since", SINCE)
def test_a_stolen_key_that_a_renewal_kept_is_said_before_a_later_certificate_is_left(place: Place, since: str) -> None:
    first_table, table = SINCE[since]
    request(place, "alice.csr")
    place.build(spec(alice=first_table))
    first, renewal = serial(place, "user.alice"), Asked(renew=frozenset({"user.alice"}))
    place.build(now=NOW + 10 * DAY, asked=renewal)
    second = serial(place, "user.alice")
    if since == "another key is there since":
        place.build(now=NOW + 15 * DAY, asked=Asked(replace=frozenset({"user.alice"})))
    request(place, "alice.csr")
    with pytest.raises(Rejected, match=r"PGT575: .*, which has the same key") as rejected:
        place.build(spec(alice=table + STOLEN), now=NOW + 20 * DAY)
    (found,) = [one for one in rejected.value.diagnostics if one.severity == "error"]
    assert found.hint is not None
    assert second in found.message
    place.build(spec(alice=f"{table}{found.hint[found.hint.index('revoke_before') :]}\n"), now=NOW + 20 * DAY)
    assert listed(place, "inner") == dict.fromkeys((first, second), "key_compromise")


def test_a_stolen_key_gets_no_certificate_under_another_name(place: Place) -> None:
    request(place, "alice.csr")
    place.build(spec(alice=OF_A_REQUEST))
    renamed = spec(alice=OF_A_REQUEST + STOLEN).replace("[user.alice]", "[user.alicia]").replace('"alice"', '"alicia"')
    with pytest.raises(Rejected, match=r"PGT574: the key of user\.alicia is one whose certificate"):
        place.build(renamed, now=NOW + 20 * DAY)
    request(place, "alice.csr")
    place.build(renamed, now=NOW + 20 * DAY)


@pytest.mark.parametrize("since", ["before", "now"])
def test_a_stolen_key_gets_no_certificate_of_somebody_else(place: Place, since: str) -> None:
    """One machine with one key: the key of one of its users is made here from now on."""
    request(place, "alice.csr")
    of_bob = 'ca = "inner"\ncsr_file = "alice.csr"\n'
    place.build(spec(alice=OF_A_REQUEST, bob=of_bob if since == "before" else 'ca = "inner"\n'))
    table = f'ca = "inner"\n{STOLEN}'
    with pytest.raises(Rejected, match=r"PGT574: the key of user\.bob is one whose certificate"):
        place.build(spec(alice=table, bob=of_bob), now=NOW + 20 * DAY)
    place.build(spec(alice=table, bob=f'ca = "inner"\n{STOLEN}'), now=NOW + 20 * DAY)


def test_a_stolen_key_is_known_by_a_certificate_of_whoever_had_it_before(place: Place) -> None:
    """The key came with a machine, and its new owner has another one now."""
    request(place, "alice.csr")
    place.build(spec(alice=OF_A_REQUEST))
    place.build(spec(bob=OF_A_REQUEST), now=NOW + 10 * DAY)
    later, table = serial(place, "user.bob"), f'ca = "inner"\n{STOLEN}'
    with pytest.raises(Rejected, match=rf"PGT575: .* not {later} of user\.bob") as rejected:
        place.build(spec(alice=table, bob=table), now=NOW + 20 * DAY)
    (found,) = [one for one in rejected.value.diagnostics if one.severity == "error"]
    assert found.hint is not None
    assert found.hint.endswith("Z in the table of user.bob")
    date = found.hint[found.hint.index("revoke_before") :].partition(" in ")[0]
    place.build(spec(alice=table, bob=f'ca = "inner"\n{date}\n'), now=NOW + 20 * DAY)
    assert listed(place, "inner")[later] == "key_compromise"


def test_what_may_be_in_use_is_not_revoked_for_an_end(place: Place) -> None:
    """Evidence of the first certificate says nothing about the second, which may be deployed since."""
    place.build(spec())
    place.confirm("all")
    first = serial(place, "user.alice")
    place.build(now=NOW + 10 * DAY, asked=Asked(renew=frozenset({"user.alice"})))
    place.build(spec(alice='ca = "inner"\nuntil = 2026-02-01\n'), now=NOW + 20 * DAY)
    assert not listed(place, "inner")
    place.confirm("user.alice", now=NOW + 21 * DAY)
    place.build(now=NOW + 21 * DAY)
    assert {"superseded"} == set(listed(place, "inner").values())
    assert first in listed(place, "inner")
    assert serial(place, "user.alice") not in listed(place, "inner")


WITH_COPIES = """version = 1
[ca.root]
[ca.people]
[ca.others]
[server.db]
ca = "root"
client_ca = ["people", "others"]
hosts = ["db.example.com"]
no_local = true
[server.standby]
ca = "root"
client_ca = ["people", "others"]
hosts = ["standby.example.com"]
no_local = true
standby_of = "db"
replication_user = "standby"
[pooler.pool]
server = "db"
user = "pool"
ca = "root"
client_ca = ["people"]
hosts = ["pool.example.com"]
[user.standby]
ca = "people"
[user.pool]
ca = "people"
[user.app]
ca = "people"
[policy.app]
servers = ["pool"]
users = ["app"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "cert"
waiver = "a test"
"""


def test_the_certificate_of_a_standby_or_pooler_is_not_revoked_before_that_has_the_next_one(place: Place) -> None:
    place.build(WITH_COPIES)
    place.confirm("all")
    names = ("standby", "pool")
    old = [serial(place, f"user.{name}") for name in names]
    moved = WITH_COPIES
    for name in names:
        moved = moved.replace(f'[user.{name}]\nca = "people"', f'[user.{name}]\nca = "others"')
    place.build(moved, now=NOW + DAY)
    place.confirm("user.standby", "user.pool", now=NOW + 2 * DAY)
    place.build(now=NOW + 2 * DAY)
    assert not listed(place, "people"), "their files are in the directories of the standby and the pooler"
    place.confirm("server.standby", now=NOW + 3 * DAY)
    place.build(now=NOW + 3 * DAY)
    assert listed(place, "people") == {old[0]: "superseded"}
    place.confirm("pooler.pool", now=NOW + 4 * DAY)
    place.build(now=NOW + 4 * DAY)
    assert listed(place, "people") == dict.fromkeys(old, "superseded")


def test_the_certificate_of_a_server_that_signs_itself_now_is_revoked_when_the_next_one_is_in_use(place: Place) -> None:
    place.build(spec())
    place.confirm("all")
    old = serial(place, "server.db")
    alone = spec(server='ca = "self-signed"\nclient_ca = ["inner"]\n')
    place.build(alone, now=NOW + DAY, asked=Asked(accept_outage=True))
    assert not listed(place, "root")
    place.confirm("all", now=NOW + 2 * DAY)
    place.build(now=NOW + 2 * DAY)
    assert listed(place, "root") == {old: "superseded"}


def test_who_gets_another_name_by_a_certificate_from_elsewhere_is_refused_under_the_old_one(
    server: Server, place: Place
) -> None:
    server.populate(("bob", "admin"), ("shop",))
    now, text = clock(), EVERYBODY.format(version=server.version)
    place.build(text, now=now - DAY)
    people = Authority.of(place.file("ca/people"))
    as_admin, as_bob = people.bundle(named(CN="admin")), people.bundle(named(CN="bob"))
    (place.directory / "bob.crt").write_bytes((as_admin / "postgresql.crt").read_bytes())
    brought = text.replace("[user.bob]", '[user.bob]\ncert_file = "bob.crt"')
    place.build(brought.replace("[user.bob]", '[user.bob]\ncommon_name = "admin"\nroles = ["admin"]'), now=now)
    deploy(place, server)
    old = kept(place, "bob")
    shutil.copy(as_admin / "postgresql.key", old.directory)
    assert admitted(attempt(place, server, "bob", old)) == "admin@shop"
    (place.directory / "bob.crt").write_bytes((as_bob / "postgresql.crt").read_bytes())
    place.build(brought, now=now)
    deploy(place, server)
    refused(attempt(place, server, "bob", old), "")
    new = kept(place, "bob")
    shutil.copy(as_bob / "postgresql.key", new.directory)
    assert admitted(attempt(place, server, "bob", new)) == "bob@shop"


@pytest.mark.parametrize("hosts", [("localhost",), ("localhost", "payroll", "sales")])
def test_a_server_with_other_hosts_has_no_certificate_with_the_old_ones(place: Place, hosts: tuple[str, ...]) -> None:
    now, names = clock(), ("localhost", "payroll")
    place.build(spec(), now=now - DAY)
    root, table = Authority.of(place.file("ca/root")), 'ca = "root"\nclient_ca = ["inner"]\ncert_file = "db.crt"\n'

    def bring(names: tuple[str, ...]) -> str:
        made = root.bundle(named(CN="localhost"), hosts=names) / "postgresql.crt"
        shutil.copy(made, place.directory / "db.crt")
        listed_names = ", ".join(f'"{name}"' for name in names)
        place.build(spec(server=table).replace('"localhost"', listed_names), now=now, asked=Asked(accept_outage=True))
        return serial(place, "server.db")

    old = bring(names)
    new = bring(hosts)
    assert old in listed(place, "root")
    assert new not in listed(place, "root")


def test_a_further_identity_that_moves_to_another_ca_leaves_no_certificate(place: Place) -> None:
    table = """ca = "root"
trust = ["root", "people"]
client_ca = ["inner"]
[[server.db.sni]]
hosts = ["alt.example.com"]
ca = "root"
trust = ["root", "people"]
client_ca = ["inner"]
"""
    first = spec(19, server=table, alice='ca = "inner"\nlibpq = 14\n')
    place.build(first)
    place.confirm("all")
    old = serial(place, "server.db/alt.example.com")
    place.build(first.replace('.com"]\nca = "root"', '.com"]\nca = "people"'), now=NOW + DAY)
    assert not listed(place, "root")
    place.confirm("all", now=NOW + 2 * DAY)
    place.build(now=NOW + 2 * DAY)
    assert listed(place, "root") == {old: "superseded"}


@pytest.mark.parametrize("behind", [0, 4], ids=["at once", "with a clock four minutes behind"])
def test_each_crl_is_later_than_the_one_before(place: Place, behind: int) -> None:
    """`install.sh --rollback` compares the dates of CRLs, also of those of two builders."""
    place.build(spec())
    first = the_list(place.file("ca/inner/ca.crl"))
    now = NOW - behind * HOUR / 60
    place.build(spec(bob=None), now=now)
    second = the_list(place.file("ca/inner/ca.crl"))
    assert (second.this_update > first.this_update, second.number > first.number) == (True, True)
    assert second.this_update <= now
