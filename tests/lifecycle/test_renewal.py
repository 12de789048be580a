"""Renewals and clocks: whatever is renewed, what it signed stays good."""

from __future__ import annotations

import shutil
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from lifecycle.fleets import DAY, HOUR, ROLES, attempt, clock, deploy, serial, spec
from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from pgtls.pki import crl
from pgtls.pki.model import RevocationList
from pgtls.state import lock as locks
from support.building import NOW, Place, reason, steps
from support.clients import Bundle, admitted, refused
from support.interrupting import pairs_match
from support.system import new_directory

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from support.servers import Server

YEAR = 365 * DAY
ALL = Asked(renew=frozenset({"all"}))


def serials(place: Place, path: str) -> list[int]:
    return [c.serial_number for c in x509.load_pem_x509_certificates(place.file(path).read_bytes())]


def test_what_an_intermediate_and_a_root_have_signed_stays_good_when_they_are_renewed(
    server: Server, place: Place
) -> None:
    server.populate(ROLES, ("shop",))
    now = clock()
    place.build(spec(server.version), now=now - DAY)
    deploy(place, server)
    leaves = serial(place, "user.alice"), serial(place, "server.db")
    cas = frozenset({"ca.root", "ca.people", "ca.inner"})
    keys = [place.file(f"ca/{name}/ca.key").read_bytes() for name in ("root", "people", "inner")]
    old_server = place.file("servers/db/root.crt").read_bytes()
    place.build(now=now - HOUR, asked=Asked(renew=cas))
    assert (serial(place, "user.alice"), serial(place, "server.db")) == leaves
    assert [place.file(f"ca/{name}/ca.key").read_bytes() for name in ("root", "people", "inner")] == keys
    assert place.file("servers/db/root.crt").read_bytes() != old_server
    assert admitted(attempt(place, server, "alice")) == "alice@shop", "new bundle, old server"
    deploy(place, server)
    assert admitted(attempt(place, server, "alice")) == "alice@shop"


def test_what_a_renewed_root_signs_is_good_for_who_has_the_old_one_and_the_other_way_round(
    server: Server, place: Place
) -> None:
    server.populate(ROLES, ("shop",))
    now, roots = clock(), frozenset({"ca.root", "ca.people", "ca.inner"})

    def kept(name: str) -> Bundle:
        return Bundle(shutil.copytree(place.file("clients/alice"), new_directory("kept") / name))

    place.build(spec(server.version), now=now - 3 * DAY)
    deploy(place, server)
    old = kept("old")
    place.build(now=now - 2 * DAY, asked=Asked(renew=roots))
    renewed_roots = kept("renewed roots")
    place.build(now=now - DAY, asked=Asked(renew=frozenset({"server.db", "user.alice"})))
    new = kept("new")
    bundles = old, renewed_roots, new
    assert [(bundle.directory / "root.crt").read_text().count("BEGIN") for bundle in bundles] == [1, 2, 2]
    for bundle in bundles:
        assert admitted(attempt(place, server, "alice", bundle)) == "alice@shop", "the server as it was at first"
    deploy(place, server)
    for bundle in bundles:
        assert admitted(attempt(place, server, "alice", bundle)) == "alice@shop", "new leaf, new roots"

    replaced = Asked(replace=frozenset({"ca.root"}), accept_outage=True)
    place.build(now=now, asked=replaced)
    deploy(place, server)
    for bundle in bundles:
        refused(attempt(place, server, "alice", bundle), "certificate verify failed")
    assert admitted(attempt(place, server, "alice")) == "alice@shop"


def test_bundles_carry_an_old_root_beside_the_new_one_until_it_ends(place: Place) -> None:
    cas = '[ca.root]\nvalidity = "300d"\n[ca.people]\n[ca.inner]\nissuer = "people"\n'
    place.build(spec(cas=cas))
    (old,) = serials(place, "clients/alice/root.crt")
    planned = place.build(now=NOW + 210 * DAY)
    assert reason(planned, "ca.root") == "it expires on 2026-10-28"
    new = serials(place, "ca/root/ca.crt")
    assert serials(place, "clients/alice/root.crt") == [*new, old]
    assert steps(place.build(now=NOW + 211 * DAY)) == []
    place.build(now=NOW + 299 * DAY)
    assert serials(place, "clients/alice/root.crt")[1:] == [old]
    place.build(now=NOW + 301 * DAY)
    assert serials(place, "clients/alice/root.crt") == new
    assert not place.file("ca/root/previous.crt").exists()
    assert steps(place.build(now=NOW + 301 * DAY)) == []


def test_a_root_that_gets_another_key_leaves_nothing_behind(place: Place) -> None:
    place.build(spec())
    (old,) = serials(place, "clients/alice/root.crt")
    place.build(now=NOW + DAY, asked=Asked(replace=frozenset({"ca.root"})))
    assert old not in serials(place, "clients/alice/root.crt"), "its key may have been stolen"


def test_a_key_is_renewed_unless_the_spec_keeps_it(place: Place) -> None:
    place.build(spec(alice='ca = "inner"\nrotate_key = false\n'))
    keys = {user: place.file(f"clients/{user}/postgresql.key").read_bytes() for user in ROLES}
    place.build(now=NOW + DAY, asked=ALL)
    after = {user: place.file(f"clients/{user}/postgresql.key").read_bytes() for user in ROLES}
    assert (after["alice"] == keys["alice"], after["bob"] == keys["bob"]) == (True, False)
    pairs_match(place)


def test_an_old_key_is_deleted_and_its_bytes_are_not_overwritten(place: Place, tmp_path: Path) -> None:
    place.build(spec())
    key, other_name = place.file("clients/alice/postgresql.key"), tmp_path / "another-name-of-the-same-bytes"
    old = key.read_bytes()
    other_name.hardlink_to(key)
    place.build(now=NOW + DAY, asked=ALL)
    assert key.read_bytes() != old
    assert other_name.read_bytes() == old
    assert other_name.stat().st_nlink == 1


def test_every_one_of_the_159_bits_of_a_serial_number_is_drawn(place: Place) -> None:
    users = "".join(f'[user.u{number}]\nca = "inner"\n' for number in range(100))
    place.build(spec() + users)
    drawn = [int(line.serial, 16) for line in locks.read(place.lock).issued]
    any_set, all_set = 0, (1 << 159) - 1
    for serial_number in drawn:
        any_set, all_set = any_set | serial_number, all_set & serial_number
    assert (any_set, all_set) == ((1 << 159) - 1, 0)
    assert len(set(drawn)) == len(drawn) > 100


def test_all_renews_every_certificate_once(place: Place) -> None:
    place.build(spec())
    planned = place.build(now=NOW + DAY, asked=ALL)
    expected = ["ca.inner", "ca.people", "ca.root", "server.db", "user.alice", "user.bob"]
    assert [entity for entity, action in steps(planned) if action == "renew"] == expected
    assert steps(place.build(now=NOW + DAY)) == []


def test_a_clock_set_back_a_year_changes_nothing_and_issues_nothing(place: Place) -> None:
    place.build(spec())
    before = place.state()
    planned = place.plan(now=NOW - YEAR)
    assert [(d.code, d.severity) for d in planned.diagnostics] == [("PGT580", "warning")]
    assert steps(planned) == []
    place.build(now=NOW - YEAR)
    assert {path: state for path, state in place.state().items() if "manifest" not in path} == {
        path: state for path, state in before.items() if "manifest" not in path
    }
    for asked, changed in ((ALL, spec()), (Asked(), spec(alice='ca = "inner"\ncommon_name = "al"\n'))):
        with pytest.raises(Rejected) as rejected:
            place.build(changed, now=NOW - YEAR, asked=asked)
        assert [d.code for d in rejected.value.diagnostics if d.severity == "error"] == ["PGT580"]
    assert steps(place.build(spec())) == []


def ends(place: Place) -> dict[str, datetime]:
    """When each CRL ends, those of CAs that left the spec included."""
    lists = {path.parent.name[:5]: crl.read(path.read_bytes()) for path in place.out.glob("ca/**/ca.crl")}
    return {ca: found.next_update for ca, found in lists.items() if isinstance(found, RevocationList)}


def test_no_list_that_a_clock_set_back_has_written_ends_before_the_one_that_was_there(
    server: Server, place: Place
) -> None:
    server.populate(ROLES, ("shop",))
    now = clock()
    cas = '[ca.root]\n[ca.people]\n[ca.inner]\nissuer = "people"\n[ca.outer]\nissuer = "people"\n'
    trusting = 'ca = "root"\nclient_ca = ["inner", "outer"]\n'
    with_both = spec(server.version, cas=cas, server=trusting, bob='ca = "outer"\nvalidity = "3y"\n')
    place.build(with_both, now=now - 2 * YEAR)
    place.build(now=now - 10 * DAY)
    before, content = ends(place), place.file("ca/inner/ca.crl").read_bytes()
    assert min(before.values()) > now + YEAR / 2

    left = spec(server.version)  # bob's CA goes: its key signs on from ca/.retired
    left = left.replace('[user.bob]\nca = "inner"\n', "").replace('["alice", "bob"]', '["alice"]')
    planned = place.build(left, now=now - 2 * YEAR + DAY)
    assert [d.code for d in planned.diagnostics] == ["PGT580"]
    after = ends(place)
    assert after.keys() == before.keys()
    assert all(after[ca] >= before[ca] for ca in before)
    assert place.file("ca/inner/ca.crl").read_bytes() != content
    place.build(now=now - 2 * YEAR + 2 * DAY, asked=Asked())
    assert ends(place) == after
    deploy(place, server)
    assert admitted(attempt(place, server, "alice")) == "alice@shop"

    place.build(now=now + DAY)
    assert max(end - now for end in ends(place).values()) < 3 * YEAR, "nor do they live for ever"


def test_clocks_that_differ_by_an_hour_are_no_matter(place: Place) -> None:
    place.build(spec())
    assert place.build(now=NOW - HOUR, asked=ALL).diagnostics == ()


def test_ten_years_later_one_build_makes_everything_good(server: Server, place: Place) -> None:
    server.populate(ROLES, ("shop",))
    now = clock()
    place.build(spec(server.version), now=now - 10 * YEAR - 30 * DAY)
    keys = place.file("ca/root/ca.key").read_bytes()
    planned = place.build(now=now)
    assert {action for _, action in steps(planned)} == {"renew"}
    assert reason(planned, "ca.root").startswith("it expired on")
    assert place.file("ca/root/ca.key").read_bytes() == keys
    deploy(place, server)
    assert admitted(attempt(place, server, "alice")) == "alice@shop"
    assert steps(place.build(now=now + timedelta(seconds=1))) == []
