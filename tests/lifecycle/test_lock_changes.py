"""What others do to the committed lock: lines that are added, lost or altered, and what a build makes of them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from pgtls.state import lock as locks
from support.building import NOW, SMALL, Place, steps

if TYPE_CHECKING:
    from collections.abc import Callable

ALLOWED = Asked(allow_revoke=True)
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


def on_list(place: Place) -> set[str]:
    """Return the serial numbers on the CRL of the clients' CA."""
    crl = x509.load_pem_x509_crl(place.file("ca/clients/ca.crl").read_bytes())
    return {f"{entry.serial_number:x}" for entry in crl}


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


def test_a_line_that_was_altered_is_an_error(place: Place) -> None:
    place.build(SMALL)
    (line,) = lines(place)
    text = place.lock.read_text()
    place.lock.write_text(text.replace(line["not_after"], "2099-01-01T00:00:00Z"))
    assert "user.app" in refused(place, "PGT543")
    place.lock.write_text(text)
    assert steps(place.build()) == []


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
    text = "".join(line for line in place.lock.read_text().splitlines(keepends=True) if first["serial"] not in line)
    place.lock.write_text(text)
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
    place.lock.write_text("".join(line for line in whole.splitlines(keepends=True) if '"revoked"' not in line))
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


@pytest.mark.parametrize(("begin", "code"), [(timedelta(hours=1), "PGT558"), (timedelta(days=30), "PGT580")])
def test_a_copy_of_a_line_with_later_dates_is_said_to_be_an_added_line(
    place: Place, begin: timedelta, code: str
) -> None:
    place.build(SMALL)
    (line,) = lines(place)
    later = f"{locks.timestamp(locks.instant(line['not_before']) + begin)}"
    add(place, line | {"serial": "1" + line["serial"][1:], "sha256": line["sha256"][::-1], "not_before": later})
    found = {d.code: d for d in place.plan().diagnostics}
    said = {"PGT558": "which this out directory does not know", "PGT580": "no build into this out directory wrote"}
    assert said[code] in f"{found[code].message} {found[code].hint}"
    for diagnostic in found.values():
        assert "restore" not in str(diagnostic.hint)
