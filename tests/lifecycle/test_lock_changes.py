"""What others do to the committed lock: lines that are added, lost or altered, and what a build makes of them."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from pgtls.pki import crl, facts
from pgtls.pki.issue import Issuer
from pgtls.pki.model import Entity, Revocation
from pgtls.state import lock as locks
from support.authority import Authority, named
from support.building import NOW, SMALL, Place, steps

if TYPE_CHECKING:
    from collections.abc import Callable

ALLOWED = Asked(allow_revoke=True)
PARTNER = 'waiver = { reason = "a test", codes = ["PGT330"] }'
MEMBERS = [f"u{number}" for number in range(8)]
MANY = SMALL.replace('users = ["app"]', f"users = {json.dumps(['app', *MEMBERS])}") + "".join(
    f'[user.{name}]\nca = "clients"\n' for name in MEMBERS
)
WITH_BOB = SMALL.replace('users = ["app"]', 'users = ["app", "bob"]') + '[user.bob]\nca = "clients"\n'

Line = dict[str, Any]


def lines(place: Place, kind: str = "user.") -> list[Line]:
    found = [json.loads(line) for line in place.lock.read_text().splitlines()[1:]]
    return [line for line in found if line["entity"].startswith(kind) and line["event"] == "issued"]


def add(place: Place, *added: Line) -> None:
    text = place.lock.read_text() + "".join(json.dumps(line, sort_keys=True) + "\n" for line in added)
    place.lock.write_text(text)


def without(place: Place, text: str) -> None:
    """Remove the lines of the lock that contain a text."""
    kept = (line for line in place.lock.read_text().splitlines(keepends=True) if text not in line)
    place.lock.write_text("".join(kept))


def on_list(place: Place) -> set[str]:
    """Return the serial numbers on the CRL of the clients' CA."""
    found = x509.load_pem_x509_crl(place.file("ca/clients/ca.crl").read_bytes())
    return {f"{entry.serial_number:x}" for entry in found}


def refused(place: Place, code: str, spec: str | None = None) -> str:
    """See that a build and a plan are refused with this code alone, and change nothing."""
    before = place.state()
    for run in (place.plan, place.build):
        with pytest.raises(Rejected) as rejected:
            run(spec)
        assert [d.code for d in rejected.value.diagnostics if d.severity == "error"] == [code]
    assert place.state() == before
    (found,) = (d for d in rejected.value.diagnostics if d.severity == "error")
    assert found.hint
    return f"{found.message} {found.hint}"


def revoked(line: Line, **fields: str) -> Line:
    known = {name: line[name] for name in ("ca", "entity", "serial")}
    return {"event": "revoked", "reason": "unspecified", "date": "2025-01-01T00:00:00Z", **known, **fields}


INVENTED: dict[str, Callable[[Line], Line]] = {
    "another entity": lambda line: line | {"entity": "user.ghost", "subject": "CN=ghost"},
    "another entity and a serial number with a zero before it": lambda line: (
        line | {"entity": "user.ghost", "serial": "0" + line["serial"]}
    ),
    "another serial number for the same certificate": lambda line: line | {"serial": "abc"},
    "another CA for the same certificate": lambda line: line | {"ca": "root"},
    "another end": lambda line: line | {"not_after": "2099-01-01T00:00:00Z"},
}


@pytest.mark.parametrize("what", INVENTED)
@pytest.mark.parametrize("count", [1, 8])
def test_a_line_that_contradicts_another_is_an_error(place: Place, what: str, count: int) -> None:
    place.build(MANY)
    add(place, *(INVENTED[what](line) for line in lines(place)[:count]))
    refused(place, "PGT502" if "zero" in what else "PGT504")
    assert on_list(place) == set()


@pytest.mark.parametrize("count", [1, 8])
def test_added_lines_revoke_nobody_unless_asked_to(place: Place, count: int) -> None:
    place.build(MANY)
    chosen = lines(place)[:count]
    add(place, *map(revoked, chosen))
    said = refused(place, "PGT542")
    assert chosen[0]["entity"] in said
    assert "--allow-revoke" in said
    assert on_list(place) == set()
    place.build(asked=ALLOWED)
    assert on_list(place) == {line["serial"] for line in chosen}
    assert {line["entity"] for line in lines(place)} == {line["entity"] for line in lines(place)}
    assert steps(place.build()) == []


def test_an_added_certificate_of_nobody_is_not_revoked_unless_asked_to(place: Place) -> None:
    """A line of an entity that the spec lacks looks like an entity that left."""
    place.build(SMALL)
    (line,) = lines(place)
    ghost = line | {"entity": "user.ghost", "subject": "CN=ghost", "serial": "abc", "sha256": "0" * 64}
    add(place, ghost)
    assert "user.ghost" in refused(place, "PGT542")
    assert on_list(place) == set()
    place.build(asked=ALLOWED)
    assert on_list(place) == {"abc"}


def test_an_added_certificate_under_another_ca_revokes_nothing(place: Place) -> None:
    """A line of an entity under a CA that it lacks looks like an entity that moved, and is not known to be deployed."""
    place.build(SMALL)
    (line,) = lines(place)
    add(place, line | {"ca": "root", "serial": "abc", "sha256": "0" * 64, "not_before": "2025-06-01T00:00:00Z"})
    place.build()
    place.build(asked=ALLOWED)
    assert on_list(place) == set()


def test_added_lines_that_revoke_nobody_are_taken(place: Place) -> None:
    """The control: changes that are valid.

    A user of the spec gets a certificate issued elsewhere, and a revocation goes whose certificate has expired.
    """
    place.build(SMALL)
    (line,) = lines(place)
    add(place, line | {"serial": "abc", "sha256": "0" * 64, "not_before": "2025-06-01T00:00:00Z"})
    ended = line | {"serial": "abd", "sha256": "1" * 64, "not_after": "2025-12-01T00:00:00Z", "entity": "user.ghost"}
    add(place, ended, revoked(ended))
    place.build()
    assert on_list(place) == set()


ALTERED: dict[str, Line] = {
    "another end": {"not_after": "2099-01-01T00:00:00Z"},
    "a past end, of another certificate": {"not_after": "2025-06-01T00:00:00Z", "sha256": "0" * 64},
    "another name, of another certificate": {"subject": "CN=ghost", "sha256": "0" * 64},
}


@pytest.mark.parametrize("fields", ALTERED.values(), ids=ALTERED)
@pytest.mark.parametrize("entity", ["user.app", "user.bob"])
def test_a_line_that_was_altered_is_an_error(place: Place, entity: str, fields: Line) -> None:
    """Also if its certificate is revoked, superseded, or of an entity that leaves the spec with this build."""
    place.build(WITH_BOB)
    place.build(asked=Asked(renew=frozenset({"user.app"})), now=NOW + timedelta(hours=1))
    text = place.lock.read_text()
    line = next(line for line in lines(place) if line["entity"] == entity)
    without(place, line["serial"])
    add(place, line | fields)
    assert line["serial"] in refused(place, "PGT543", SMALL)
    with pytest.raises(Rejected, match="PGT543"):
        place.build(asked=ALLOWED)
    place.lock.write_text(text)
    place.build(SMALL)
    assert on_list(place) == {line["serial"] for line in lines(place) if line["entity"] == "user.bob"}


@pytest.mark.parametrize("reason", ["cessation_of_operation", "superseded", "unspecified"])
def test_a_reason_that_was_altered_frees_no_name(place: Place, reason: str) -> None:
    """The reason says that the owner left: a server without CRLs still takes the certificate."""
    with_bob, without_bob = (text.replace("[server.main]", "[server.main]\ncrl = false") for text in (WITH_BOB, SMALL))
    place.build(with_bob)
    place.build(without_bob)
    place.lock.write_text(place.lock.read_text().replace("cessation_of_operation", reason))
    (again,) = (d for d in place.build(with_bob).diagnostics if d.code == "PGT254")
    assert (again.severity, "user.bob" in again.message) == ("warning", True)
    assert {line.reason for line in locks.read(place.lock).revoked} == {reason, "cessation_of_operation"}


@pytest.mark.parametrize("left", [True, False], ids=["and the spec with it", "alone"])
def test_a_certificate_that_the_lock_has_forgotten_is_neither_deleted_nor_replaced(place: Place, left: bool) -> None:
    """``git checkout .`` and a timer: the bundle was handed out, and its key opens doors."""
    place.build(SMALL)
    old = place.lock.read_bytes()
    place.build(WITH_BOB)
    serial = next(line["serial"] for line in lines(place) if line["entity"] == "user.bob")
    bundle = place.file("clients/bob/postgresql.key").read_bytes()
    place.lock.write_bytes(old)
    said = refused(place, "PGT554", SMALL if left else WITH_BOB)
    assert f"user.bob (serial {serial})" in said
    assert "--allow-revoke" in said
    assert place.file("clients/bob/postgresql.key").read_bytes() == bundle
    place.build(asked=ALLOWED)
    lock = locks.read(place.lock)
    assert ("clients", serial) in lock.by_serial
    assert ("clients", serial) in lock.revocations
    assert serial in on_list(place)
    assert place.file("clients/bob/postgresql.key").exists() is not left
    if not left:
        assert place.file("clients/bob/postgresql.key").read_bytes() != bundle
    assert steps(place.build()) == []


def test_a_superseded_certificate_that_the_lock_has_forgotten_counts_as_well(place: Place) -> None:
    place.build(WITH_BOB)
    (first,) = (line for line in lines(place) if line["entity"] == "user.bob")
    place.build(asked=Asked(renew=frozenset({"user.bob"})), now=NOW + timedelta(hours=1))
    without(place, first["serial"])
    assert first["serial"] in refused(place, "PGT554", SMALL)
    place.build(asked=ALLOWED, now=NOW + timedelta(hours=1))
    assert first["serial"] in on_list(place)


def test_a_ca_that_the_lock_has_forgotten_is_recorded_again_and_kept(place: Place) -> None:
    place.build(SMALL)
    old = place.lock.read_bytes()
    wide = SMALL.replace('client_ca = ["clients"]', 'client_ca = ["clients", "others"]') + "[ca.others]\n"
    place.build(wide)
    key = place.file("ca/others/ca.key").read_bytes()
    place.lock.write_bytes(old)
    assert "ca.others" in refused(place, "PGT554", SMALL)
    place.build(wide, asked=ALLOWED)
    assert place.file("ca/others/ca.key").read_bytes() == key
    assert "ca.others" in locks.read(place.lock).latest


def test_revocations_that_are_gone_from_the_lock_come_back(place: Place) -> None:
    place.build(WITH_BOB)
    place.build(SMALL)
    whole = place.lock.read_text()
    assert '"revoked"' in whole
    without(place, '"revoked"')
    place.build()
    assert place.lock.read_text() == whole


def test_a_lock_that_git_has_rewritten_with_other_line_ends_is_the_same_lock(place: Place) -> None:
    place.build(SMALL)
    place.lock.write_bytes(place.lock.read_bytes().replace(b"\n", b"\r\n"))
    assert steps(place.build()) == []


def test_a_ca_that_leaves_the_spec_is_named_where_it_takes_many_with_it(place: Place) -> None:
    place.build(MANY)
    spec = SMALL.replace("[ca.clients]\n", "").replace('client_ca = ["clients"]\n', "")
    spec = spec.replace('[user.app]\nca = "clients"\n', "").partition("[policy.app]")[0]
    said = refused(place, "PGT553", spec)
    assert "the spec no longer has [ca.clients]" in said


# ---- what is revoked stays so ---------------------------------------------------------------------------------------

LISTED = SMALL.replace("[ca.clients]", '[ca.clients]\nrevoked = ["AB:C0"]')
DAYS = timedelta(days=200)
"""After these, every CRL is signed again."""


def forged(line: Line, serial: str, end: str, **fields: str) -> Line:
    """Make a certificate that does not exist, of a user of the spec, so that the line itself revokes nobody."""
    dates = {"not_before": "2020-01-01T00:00:00Z", "not_after": end}
    return line | {"serial": serial, "sha256": "0" * 64, "spki_sha256": "1" * 64, **dates, **fields}


@pytest.mark.parametrize("end", ["2020-02-01T00:00:00Z", "2026-01-20T00:00:00Z"], ids=["past", "future"])
@pytest.mark.parametrize("also", [True, False], ids=["and its revocation", "alone"])
@pytest.mark.parametrize("listed", [True, False], ids=["listed", "no longer listed"])
def test_an_added_end_of_a_serial_number_that_the_spec_revokes_means_nothing(
    place: Place, end: str, also: bool, listed: bool
) -> None:
    """Neither at once nor later, when the copy in the out directory has the line as well."""
    place.build(LISTED)
    (line,) = lines(place)
    add(place, ghost := forged(line, "abc0", end))
    if also:
        add(place, revoked(ghost, reason="key_compromise"))
    for builds in range(4):
        place.build(LISTED if listed else SMALL, now=NOW + builds * DAYS)
        assert on_list(place) == {"abc0"}


@pytest.mark.parametrize("where", ["its key", "its NAME"])
def test_a_serial_number_that_the_spec_lists_is_on_that_list_whatever_lines_say(place: Place, where: str) -> None:
    """A line may say that another CA signed it: one that others added, or one of a CA that had the NAME before."""
    place.build(SMALL)
    (line,), (root,) = lines(place), lines(place, "ca.root")
    of_root = {"issuer": root["subject"], "authority_key_id": root["key_id"]}
    add(place, forged(line, "abc0", "2025-02-01T00:00:00Z", entity="user.ghost", subject="CN=ghost", **of_root))
    asked = ALLOWED if where == "its NAME" else Asked()
    place.build(now=NOW + timedelta(hours=1), asked=asked)
    planned = place.build(LISTED, now=NOW + timedelta(days=1))
    assert on_list(place) == {"abc0"}
    assert not [one for one in planned.diagnostics if one.severity == "error"]
    place.build(LISTED, now=NOW + DAYS)
    assert on_list(place) == {"abc0"}


def test_what_others_added_stays_theirs_until_a_build_accepts_it(place: Place) -> None:
    place.build(WITH_BOB)
    ended = {"not_before": "2020-01-01T00:00:00Z", "not_after": "2099-01-01T00:00:00Z"}
    (line,) = (line for line in lines(place) if line["entity"] == "user.bob")
    add(place, line | {"serial": "abc", "sha256": "0" * 64, **ended})
    for build in range(3):
        place.build(f"{WITH_BOB}# {build}\n")
        assert len(json.loads(place.file("manifest.json").read_bytes())["added"]) == 1
    assert "user.bob" in refused(place, "PGT542", SMALL)
    place.build(WITH_BOB, asked=ALLOWED)
    assert "added" not in json.loads(place.file("manifest.json").read_bytes())
    place.build(SMALL)
    assert on_list(place) == {"abc", line["serial"]}


@pytest.mark.parametrize("others", [True, False])
def test_an_added_line_of_a_ca_keeps_no_certificate_of_an_earlier_ca(place: Place, others: bool) -> None:
    """Who moved is revoked at the earlier CA when the successor is deployed."""
    both = SMALL.replace("[ca.clients]", "[ca.clients]\n[ca.new]").replace('["clients"]', '["clients", "new"]')
    place.build(both)
    place.confirm(now=NOW)
    (line,), (old,), (new,) = lines(place), lines(place, "ca.clients"), lines(place, "ca.new")
    if others:
        ended = {"not_before": "2025-01-01T00:00:00Z", "not_after": "2025-02-01T00:00:00Z"}
        add(place, new | {"serial": "abc", "sha256": "0" * 64, "key_id": old["key_id"], **ended})
    for hours in range(1, 4):
        place.build(
            both.replace('[user.app]\nca = "clients"', '[user.app]\nca = "new"'), now=NOW + timedelta(hours=hours)
        )
        place.confirm(now=NOW + timedelta(hours=hours))
    assert on_list(place) == {line["serial"]}


def test_an_added_end_under_the_name_of_another_ca_takes_nobody_off_a_list(place: Place) -> None:
    """A line may have the serial number of another, under another NAME: at once, later, and for somebody on the CRL."""
    place.build(WITH_BOB)
    (bob,) = (line for line in lines(place) if line["entity"] == "user.bob")
    ended = {"not_before": "2020-01-01T00:00:00Z", "not_after": "2025-02-01T00:00:00Z"}
    add(place, bob | {"ca": "root", "entity": "user.ghost", "sha256": "0" * 64, **ended})
    place.build()
    for builds, text in enumerate([SMALL, SMALL, WITH_BOB.replace('"bob"', '"eve"').replace(".bob", ".eve"), SMALL]):
        place.build(text, now=NOW + builds * timedelta(days=20))
        assert bob["serial"] in on_list(place)


@pytest.mark.parametrize("kind", ["issued", "revoked"])
def test_an_added_line_that_is_taken_back_is_gone(place: Place, kind: str) -> None:
    place.build(WITH_BOB)
    before = place.lock.read_text()
    (bob,) = (line for line in lines(place) if line["entity"] == "user.bob")
    ended = {"not_before": "2020-01-01T00:00:00Z", "not_after": "2025-02-01T00:00:00Z"}
    ghost = bob | {"serial": "abc", "sha256": "0" * 64, **ended}
    add(place, ghost, *([revoked(ghost)] if kind == "revoked" else []))
    place.build()
    place.lock.write_text(before)
    place.build()
    assert place.lock.read_text() == before
    assert "added" not in json.loads(place.file("manifest.json").read_bytes())


def test_a_line_that_a_build_writes_as_others_did_before_is_the_builds(place: Place) -> None:
    """That of a certificate that is brought can be written in advance."""
    company = Authority.root("Company")
    (place.directory / "company.crt").write_bytes(company.pem)
    (place.directory / "company.crl").write_bytes(company.crl())
    key = ec.generate_private_key(ec.SECP256R1())
    (place.directory / "eve.crt").write_bytes(
        company.sign(named(CN="eve"), key.public_key()).public_bytes(Encoding.PEM)
    )
    outside = '[ca.company]\ncert_file = "company.crt"\ncrl_file = "company.crl"\n'
    both = SMALL.replace("[server.main]", f"{outside}[server.main]").replace('["clients"]', '["clients", "company"]')
    both = both.replace("[policy.app]", f"[policy.app]\n{PARTNER}")
    with_eve = both.replace('["app"]', '["app", "eve"]') + '[user.eve]\nca = "company"\ncert_file = "eve.crt"\n'
    elsewhere = Place(place.directory / "elsewhere")
    elsewhere.directory.mkdir()
    now = datetime.now(UTC)
    place.build(SMALL, now=now)
    for path in (*place.directory.glob("*.cr?"), place.lock):
        shutil.copy(path, elsewhere.directory)
    shutil.copytree(place.out, elsewhere.out)
    elsewhere.build(with_eve, now=now)
    (line,) = (line for line in lines(elsewhere) if line["entity"] == "user.eve")
    add(place, line)
    place.build(with_eve, now=now)
    assert "added" not in json.loads(place.file("manifest.json").read_bytes())
    without(place, '"user.eve"')
    with pytest.raises(Rejected, match="PGT554"):
        place.build(both, now=now)


def test_of_two_ends_of_a_serial_number_the_later_one_counts(place: Place) -> None:
    """Also if somebody accepts what others added: another NAME with the key of the CA, and an end in the past."""
    place.build(WITH_BOB)
    place.build(SMALL)
    (bob,) = (line for line in lines(place) if line["entity"] == "user.bob")
    (own,) = (line for line in map(json.loads, place.lock.read_text().splitlines()) if line.get("event") == "revoked")
    ended = {"not_before": "2020-01-01T00:00:00Z", "not_after": "2025-02-01T00:00:00Z"}
    ghost = {"ca": "a", "entity": "user.ghost"}
    add(place, bob | ghost | {"sha256": "0" * 64} | ended, own | ghost)
    place.build(asked=ALLOWED)
    place.build(LISTED, now=NOW + timedelta(days=1))
    assert on_list(place) == {bob["serial"], "abc0"}


def test_an_added_line_of_a_certificate_here_under_another_name_is_an_error(place: Place) -> None:
    """The lock would have one certificate twice, and no command would read it."""
    company = Authority.root("Company")
    (place.directory / "company.crt").write_bytes(company.pem)
    now = datetime.now(UTC)
    place.build(SMALL, now=now)
    text = SMALL.replace(
        "[server.main]", '[ca.company]\ncert_file = "company.crt"\ncrl = false\n[server.main]\ncrl = false'
    )
    text = text.replace('["clients"]', '["clients", "company"]').replace("[policy.app]", f"[policy.app]\n{PARTNER}")
    add(place, locks.IssuedLine("root", Entity("ca.company"), facts.of(company.certificate)).fields())
    with pytest.raises(Rejected, match="PGT543"):
        place.build(text, now=now)


def test_an_added_revocation_is_none_for_who_moved(place: Place) -> None:
    """Nor for the certificate that the successor replaces only when it is deployed."""
    both = SMALL.replace("[ca.clients]", "[ca.clients]\n[ca.new]").replace('["clients"]', '["clients", "new"]')
    place.build(both)
    add(place, *map(revoked, lines(place)))
    assert "user.app" in refused(place, "PGT542", both.replace('[user.app]\nca = "clients"', '[user.app]\nca = "new"'))
    assert on_list(place) == set()


def test_an_added_revocation_of_who_leaves_gives_no_other_reason(place: Place) -> None:
    """The reason of the build says that the owner left."""
    with_bob, without_bob = (text.replace("[server.main]", "[server.main]\ncrl = false") for text in (WITH_BOB, SMALL))
    place.build(with_bob)
    (bob,) = (line for line in lines(place) if line["entity"] == "user.bob")
    add(place, revoked(bob, reason="superseded"))
    place.build(without_bob)
    (again,) = (d for d in place.build(with_bob).diagnostics if d.code == "PGT254")
    assert "user.bob" in again.message


FACTS: dict[str, Line] = {"foreign": {"foreign": True}, "roots": {"roots": ["ab" * 32]}, "trust": {"trust": ["user.x"]}}


@pytest.mark.parametrize("what", FACTS)
def test_a_fact_that_others_add_to_a_known_certificate_is_theirs_and_can_be_taken_back(place: Place, what: str) -> None:
    place.build(SMALL)
    before = place.lock.read_text()
    (ca,) = lines(place, "ca.clients")
    add(place, ca | FACTS[what])
    for build in range(2):
        place.build(f"{SMALL}# {build}\n")
        assert len(json.loads(place.file("manifest.json").read_bytes())["added"]) == 1
    place.lock.write_text(before)
    place.build()
    assert place.lock.read_text() == before


EDITS: dict[str, Line] = FACTS | {"a key that no version knows": {"note": "x"}}


def edit(place: Place, event: str, serial: str, fields: Line) -> None:
    """Put other lines in the place of those of a certificate."""
    header, *found = map(json.loads, place.lock.read_text().splitlines())
    meant = [line for line in found if (line["event"], line["serial"]) == (event, serial)]
    assert meant
    edited = [line | fields if line in meant else line for line in found]
    place.lock.write_text("".join(f"{json.dumps(line)}\n" for line in (header, *edited)))


@pytest.mark.parametrize("what", EDITS)
def test_an_issued_line_that_others_edited_is_still_missed_when_it_goes(place: Place, what: str) -> None:
    """Also if nobody said a word about the edit: an earlier certificate of bob, whose key is on an old machine."""
    place.build(WITH_BOB)
    (first,) = (line for line in lines(place) if line["entity"] == "user.bob")
    place.build(asked=Asked(renew=frozenset({"user.bob"})), now=NOW + timedelta(hours=1))
    before = place.lock.read_text().splitlines()
    edit(place, "issued", first["serial"], EDITS[what])
    for build in range(2):
        place.build(f"{WITH_BOB}# {build}\n", now=NOW + timedelta(hours=1))
        assert {*before} < {*place.lock.read_text().splitlines()}
    without(place, first["serial"])
    assert first["serial"] in refused(place, "PGT554")
    place.lock.write_text("".join(f"{line}\n" for line in before))
    stolen = f"[user.bob]\nrevoke_before = {NOW + timedelta(hours=2):%Y-%m-%dT%H:%M:%SZ}"
    place.build(WITH_BOB.replace("[user.bob]", stolen), now=NOW + timedelta(hours=3))
    assert first["serial"] in on_list(place)


@pytest.mark.parametrize("fields", [{"entity": "user.ghost"}, {"note": "x"}], ids=["entity", "unknown key"])
def test_lines_of_who_left_that_others_edited_come_back_when_they_go(place: Place, fields: Line) -> None:
    place.build(WITH_BOB)
    place.build(SMALL)
    before = place.lock.read_text()
    (bob,) = (line for line in lines(place) if line["entity"] == "user.bob")
    edit(place, "revoked", bob["serial"], fields)
    edit(place, "issued", bob["serial"], {"note": "x"})
    place.build(f"{SMALL}# another build\n")
    assert {*before.splitlines()} < {*place.lock.read_text().splitlines()}
    without(place, bob["serial"])
    place.build()
    assert place.lock.read_text() == before


def test_an_end_that_was_added_before_the_revocation_means_nothing(place: Place) -> None:
    place.build(SMALL)
    (line,) = lines(place)
    add(place, ghost := forged(line, "abc0", "2025-02-01T00:00:00Z"), revoked(ghost, reason="superseded"))
    place.build()
    assert on_list(place) == set()
    for builds, text in enumerate([LISTED, LISTED, SMALL, SMALL], 1):
        place.build(text, now=NOW + builds * DAYS)
        assert on_list(place) == {"abc0"}


@pytest.mark.parametrize("says", [{"date": "2025-12-31T00:00:00Z", "reason": "key_compromise"}, {}, None])
def test_an_added_end_of_an_entry_that_only_the_crl_knows_means_nothing(place: Place, says: dict[str, str]) -> None:
    """Such as one from before pgtls: also where a line says what the CRL does, or a build revokes that certificate."""
    place.build(SMALL)
    ca, path = Authority.of(place.file("ca/clients")), place.file("ca/clients/ca.crl")
    entry = Revocation("abc0", NOW - timedelta(days=1), "key_compromise")
    path.write_bytes(crl.make(Issuer(ca.certificate, ca.key), 1, NOW, DAYS, [entry]))
    place.build()
    (line,) = lines(place)
    add(place, ghost := forged(line, "abc0", "2026-01-20T00:00:00Z"))
    if says is not None:
        add(place, revoked(ghost, **says))
    place.build()
    text = SMALL if says is not None else SMALL.replace("[user.app]", "[user.app]\nrevoke_before = 2021-01-01")
    for builds in range(4):
        place.build(text, now=NOW + builds * DAYS)
        assert on_list(place) == {"abc0"}


def test_an_entry_goes_when_the_certificate_has_ended_that_a_build_revoked(place: Place) -> None:
    """The control."""
    place.build(WITH_BOB)
    (line,) = (line for line in lines(place) if line["entity"] == "user.bob")
    end = locks.instant(line["not_after"])
    for now, listed in ((NOW, True), (end - DAYS, True), (end + DAYS, True), (end + 3 * DAYS, False)):
        place.build(SMALL, now=now)
        assert on_list(place) == ({line["serial"]} if listed else set())


@pytest.mark.parametrize("gone", [True, False], ids=["instead of ours", "beside ours"])
def test_a_revocation_that_others_write_again_changes_nothing(place: Place, gone: bool) -> None:
    place.build(WITH_BOB)
    place.build(SMALL)
    (line,) = (line for line in lines(place) if line["entity"] == "user.bob")
    if gone:
        without(place, '"revoked"')
    add(place, revoked(line, reason="superseded"))
    end = locks.instant(line["not_after"])
    for now, listed in ((NOW, True), (end - timedelta(days=1), True), (end + DAYS, True), (end + 3 * DAYS, False)):
        place.build(now=now)
        assert on_list(place) == ({line["serial"]} if listed else set())


def test_an_added_revocation_from_the_future_is_one_of_now(place: Place) -> None:
    place.build(WITH_BOB)
    (line,) = (line for line in lines(place) if line["entity"] == "user.bob")
    add(place, revoked(line, date="2099-01-01T00:00:00Z"))
    place.build(SMALL)
    (entry,) = x509.load_pem_x509_crl(place.file("ca/clients/ca.crl").read_bytes())
    assert (f"{entry.serial_number:x}", entry.revocation_date_utc) == (line["serial"], NOW)


def test_a_serial_number_that_no_crl_can_hold_is_an_error_before_it_is_revoked(place: Place) -> None:
    place.build(SMALL)
    (line,) = lines(place)
    text = place.lock.read_text()
    add(place, forged(line, "8" + "0" * 39, "2026-06-01T00:00:00Z"))
    assert "8000" in refused(place, "PGT502")
    place.lock.write_text(text)
    add(place, forged(line, "7" + "f" * 39, "2026-06-01T00:00:00Z"))
    place.build(SMALL.replace("[user.app]", "[user.app]\nrevoke_before = 2021-01-01"), asked=ALLOWED)
    assert on_list(place) == {"7" + "f" * 39}


def test_a_lost_line_of_a_revoked_certificate_comes_back(place: Place) -> None:
    """Otherwise, another line could say later when it ended."""
    place.build(WITH_BOB)
    place.build(SMALL)
    whole = place.lock.read_text()
    without(place, '"entity": "user.bob", "event": "issued"')
    assert place.lock.read_text() != whole
    place.build()
    assert place.lock.read_text() == whole


def test_lost_lines_come_back_also_from_a_build_with_a_fast_clock(place: Place) -> None:
    place.build(WITH_BOB)
    place.build(SMALL)
    whole = place.lock.read_text().splitlines()
    without(place, '"entity": "user.bob"')
    place.build(now=NOW + 400 * timedelta(days=1))
    assert set(whole) <= set(place.lock.read_text().splitlines())


@pytest.mark.parametrize("lists", ["true", "false"])
def test_a_lost_line_frees_no_name(place: Place, lists: str) -> None:
    """A server without CRLs accepts the certificate of who had the name before."""
    text = SMALL.replace("[server.main]", f"[server.main]\ncrl = {lists}")
    bob = text.replace('users = ["app"]', 'users = ["app", "bob"]') + '[user.bob]\nca = "clients"\n'
    heir = bob.replace('"app", "bob"', '"app", "heir"').replace("[user.bob]", '[user.heir]\ncommon_name = "bob"')
    place.build(bob)
    place.build(text)
    whole = place.lock.read_text()
    without(place, '"entity": "user.bob"')
    if lists == "true":
        place.build(heir)
        return
    refused(place, "PGT254", heir)
    with pytest.raises(Rejected, match="PGT254"):
        place.build(asked=ALLOWED)
    place.build(text)
    assert place.lock.read_text() == whole


@pytest.mark.parametrize(("begin", "code"), [(timedelta(hours=1), "PGT558"), (timedelta(days=30), "PGT580")])
def test_a_copy_of_a_line_with_later_dates_is_said_to_be_an_added_line(
    place: Place, begin: timedelta, code: str
) -> None:
    place.build(SMALL)
    (line,) = lines(place)
    later = f"{locks.timestamp(locks.instant(line['not_before']) + begin)}"
    add(place, line | {"serial": "abc", "sha256": line["sha256"][::-1], "not_before": later})
    found = {d.code: d for d in place.plan().diagnostics}
    said = {"PGT558": "which this out directory does not know", "PGT580": "no build into this out directory wrote"}
    assert said[code] in f"{found[code].message} {found[code].hint}"
    for diagnostic in found.values():
        assert "restore" not in str(diagnostic.hint)


def test_an_added_certificate_of_the_same_key_revokes_nothing(place: Place) -> None:
    """Whoever adds it says that the key is older than the stolen one: only the spec can revoke it."""
    place.build(SMALL)
    (line,) = lines(place)
    text = place.lock.read_text()
    add(place, forged(line, "abc0", "2026-06-01T00:00:00Z", spki_sha256=str(line["spki_sha256"])))
    later = SMALL.replace("[user.app]", "[user.app]\nrevoke_before = 2021-01-01")
    with pytest.raises(Rejected, match=f"PGT575: .* {line['serial']} of user.app, which has the same key"):
        place.build(later, asked=ALLOWED)
    assert on_list(place) == set()
    place.lock.write_text(text)
    place.build(later)
    assert on_list(place) == set()
