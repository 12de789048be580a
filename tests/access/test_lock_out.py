"""Users that a build would lock out, revoked users that keep access, and members of members."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from pgtls.diagnostics import Rejected
from support.building import NOW, SMALL, Place

if TYPE_CHECKING:
    from pathlib import Path

REFUSED = '[policy.nobody]\nusers = ["postgres"]\nfrom = ["local"]\nauth = "reject"\npriority = 5\n'
BOB = '[user.bob]\nca = "clients"\n[policy.bob]\nusers = ["bob"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"\n'
ROB = BOB.replace("[user.bob]", '[user.rob]\ncommon_name = "bob"\nroles = ["bob"]').replace(
    '["bob"]\nfrom', '["rob"]\nfrom'
)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def codes(place: Place, spec: str) -> list[str]:
    with pytest.raises(Rejected) as rejected:
        place.build(spec, now=NOW + timedelta(days=1))
    return [d.code for d in rejected.value.diagnostics if d.severity == "error"]


def test_a_dba_whom_a_refusal_overrides_is_locked_out(place: Place) -> None:
    assert codes(place, SMALL + REFUSED) == ["PGT206"]
    place.build(SMALL.replace("[server.main]", "[server.main]\nno_local = true") + REFUSED)


def test_a_refusal_that_decides_nothing_locks_nobody_out(place: Place) -> None:
    place.build(SMALL + REFUSED.replace("priority = 5", "priority = -5"))


def test_a_revoked_certificate_is_still_good_where_no_list_is_looked_at(place: Place) -> None:
    blind = SMALL.replace("[server.main]", "[server.main]\ncrl = false")
    place.build(blind + BOB)
    place.build(blind)
    assert codes(place, blind + ROB) == ["PGT254"]


def test_a_revoked_certificate_is_nobodys_where_lists_are_looked_at(place: Place) -> None:
    place.build(SMALL + BOB)
    place.build(SMALL)
    place.build(SMALL + ROB)


def test_a_member_of_a_member_is_a_member(place: Place) -> None:
    place.build(
        SMALL
        + (
            '[user.mid]\nca = "clients"\nmember_of = ["readers"]\n[user.x]\nca = "clients"\ncommon_name = "X"\n'
            'member_of = ["mid"]\n'
        )
        + '[policy.readers]\nusers = ["+readers"]\ndatabases = ["r"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"\n'
    )
    ident = place.file("servers/main/pg_ident.conf").read_text()
    assert [line.split() for line in ident.splitlines() if '"X"' in line] == [['"readers"', '"X"', '"x"']]
    assert "dbname=r" in place.file("clients/x/pg_service.conf").read_text()
