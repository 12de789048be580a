"""Servers refuse a revoked user, and all others continue to connect."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from lifecycle.fleets import DAY, HOUR, ROLES, attempt, clock, deploy, logged, serial, spec
from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from pgtls.pki import crl
from pgtls.pki.model import RevocationList
from pgtls.state import lock as locks
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


def test_a_key_from_elsewhere_that_is_revoked_needs_another_one(place: Place) -> None:
    from pgtls.pki import keys

    def request(name: str) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import Encoding

        key = keys.generate("ecdsa-p256")
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "alice")])
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, SHA256())
        (place.directory / name).write_bytes(csr.public_bytes(Encoding.PEM))

    request("alice.csr")
    stolen = (place.directory / "alice.csr").read_bytes()
    own = 'ca = "inner"\ncsr_file = "alice.csr"\n'
    place.build(spec(alice=own))
    with pytest.raises(Rejected) as rejected:
        place.build(spec(alice=f"{own}revoke_before = 2026-01-02\n"), now=NOW + 2 * DAY)
    assert [d.code for d in rejected.value.diagnostics if d.severity == "error"] == ["PGT574"]
    request("alice.csr")
    place.build(now=NOW + 2 * DAY)
    assert len(listed(place, "inner")) == 1
    good = (place.directory / "alice.csr").read_bytes()
    (place.directory / "alice.csr").write_bytes(stolen)
    for text in (place.spec.read_text(), spec(alice=own)):
        with pytest.raises(Rejected, match=r"PGT574: the key of user\.alice is one whose certificate revoke_before"):
            place.build(text, now=NOW + 4 * DAY)
    (place.directory / "alice.csr").write_bytes(good)
    place.build(now=NOW + 4 * DAY)
    place.build(spec(alice=own, bob=None), now=NOW + 5 * DAY)
    (place.directory / "bob.csr").write_bytes(stolen)
    with pytest.raises(Rejected, match=r"PGT574: the key of user\.bob"):
        place.build(spec(alice=own, bob=own.replace("alice", "bob")), now=NOW + 6 * DAY)
    request("bob.csr")
    place.build(now=NOW + 6 * DAY)


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
