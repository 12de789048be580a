"""Evidence of deployments: a file next to the lock that everybody may add to, and a copy that this machine writes."""

from __future__ import annotations

import resource
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from pgtls.diagnostics import Rejected
from pgtls.pki.model import Entity
from pgtls.state import seal
from pgtls.state.deployed import HEADER, Evidence, close, read, record
from pgtls.state.files import append
from pgtls.state.up_to_date import ABSENT
from support.building import NOW, SMALL, Place
from support.limits import limit

if TYPE_CHECKING:
    from pathlib import Path

APP = Evidence(Entity("user.app"), "0" * 16, "a" * 64, ("b" * 64,), "confirm", NOW, 'by "hand"')
LATER = Evidence(Entity("user.app"), "1" * 16, None, (), "verify", NOW + timedelta(days=1))


def beside(place: Place) -> Path:
    return place.lock.with_suffix(".deployed")


def refused(place: Place, code: str) -> str:
    with pytest.raises(Rejected, match=code) as rejected:
        read(place.lock, str(place.out), LATER.at)
    (found,) = rejected.value.diagnostics
    assert found.hint
    return found.message


def test_what_is_recorded_is_read_again_and_the_latest_line_counts(place: Place) -> None:
    assert read(place.lock, str(place.out), LATER.at).digest == ABSENT
    place.build(SMALL)
    record(place.lock, str(place.out), [LATER])
    record(place.lock, str(place.out), [APP])
    found = read(place.lock, str(place.out), LATER.at)
    assert found.latest == found.own == {"user.app": LATER}
    assert beside(place).read_text().splitlines() == [HEADER, LATER.render(), APP.render()]


def test_lines_of_others_count_as_deployed_and_not_as_our_own(place: Place) -> None:
    place.build(SMALL)
    record(place.lock, str(place.out), [APP])
    with beside(place).open("a") as file:
        file.write(f"{HEADER}\n{LATER.render()}\n{LATER.render()}\n\n")
    found = read(place.lock, str(place.out), LATER.at)
    assert (found.latest["user.app"], found.own["user.app"]) == (LATER, APP)  # type: ignore[index]


@pytest.mark.parametrize("how", ["without a seal", "of another key", "altered"])
def test_what_the_key_of_the_tree_does_not_close_counts_like_a_line_of_others(place: Place, how: str) -> None:
    place.build(SMALL)
    record(place.lock, str(place.out), [APP])
    copy = place.file(".pgtls/deployed")
    mine = copy.read_bytes()
    key = seal.of(str(place.out))
    record(place.lock, str(place.out), [LATER])
    theirs = copy.read_bytes().removeprefix(mine)
    assert read(place.lock, str(place.out), LATER.at).own == {"user.app": LATER}
    forged = {
        "without a seal": f"{LATER.render()}\n".encode(),
        "of another key": close(f"{LATER.render()}\n".encode(), b"k" * 32),
        "altered": theirs.replace(b"verify", b"confirm"),
    }[how]
    copy.write_bytes(mine + forged)
    found = read(place.lock, str(place.out), LATER.at)
    assert found.own == {"user.app": APP}
    assert found.latest["user.app"].generation == LATER.generation  # type: ignore[index]
    assert close(f"{APP.render()}\n".encode(), key) == mine.splitlines(keepends=True)[-1]


def test_without_a_key_evidence_counts_like_that_of_others(place: Place) -> None:
    place.build(SMALL)
    record(place.lock, str(place.out), [APP])
    place.file(".pgtls/key").unlink()
    record(place.lock, str(place.out), [LATER])
    found = read(place.lock, str(place.out), LATER.at)
    assert (found.own, found.latest) == ({}, {"user.app": LATER})


def test_a_line_of_the_future_is_not_the_latest_for_ever(place: Place) -> None:
    place.build(SMALL)
    record(place.lock, str(place.out), [APP])
    with beside(place).open("a") as file:
        file.write(f"{replace(LATER, at=datetime.max.replace(tzinfo=UTC)).render()}\n")
    assert read(place.lock, str(place.out), NOW).latest == {"user.app": APP}
    record(place.lock, str(place.out), [LATER])
    assert read(place.lock, str(place.out), LATER.at).latest == {"user.app": LATER}


DAMAGE = {
    "a merge conflict": "<<<<<<< ours\n",
    "a line that ends early": '{"entity": "user.app"',
    "a list": "[]",
    "another version": '{"pgtls_deployed": 2}',
    "no entity": APP.render().replace("user.app", "app"),
    "a path as entity": APP.render().replace("user.app", "user.../x"),
    "no generation": APP.render().replace("0" * 16, "x"),
    "no fingerprint": APP.render().replace("a" * 64, "a"),
    "no instant": APP.render().replace("2026-01-01T00:00:00Z", "today"),
    "an unknown witness": APP.render().replace('"confirm"', '"hearsay"'),
    "trust that is no list": APP.render().replace('["' + "b" * 64 + '"]', "{}"),
}


@pytest.mark.parametrize("line", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_line_is_an_error_at_its_place_and_nothing_is_added(place: Place, line: str) -> None:
    place.build(SMALL)
    text = f"{HEADER}\n{line}\n"
    beside(place).write_text(text)
    refused(place, "PGT507")
    with pytest.raises(Rejected, match="PGT507"):
        record(place.lock, str(place.out), [APP])
    with pytest.raises(Rejected, match="PGT507"):
        place.plan()
    assert beside(place).read_text() == text


@pytest.mark.parametrize("name", ["out/.pgtls/deployed", "pgtls.deployed"])
def test_a_full_disk_leaves_no_half_line_and_no_line_in_the_other_file(place: Place, name: str) -> None:
    place.build(SMALL)
    record(place.lock, str(place.out), [APP])
    if name == "pgtls.deployed":
        place.file(".pgtls/deployed").unlink()

    def there() -> list[bytes]:
        paths = (beside(place), place.file(".pgtls/deployed"))
        return [path.read_bytes() for path in paths if path.exists()]

    before = there()
    size = (place.directory / name).stat().st_size
    with limit(resource.RLIMIT_FSIZE, size + 100), pytest.raises(Rejected, match=f"PGT530.*{name}"):
        record(place.lock, str(place.out), [LATER])
    assert there() == before
    record(place.lock, str(place.out), [LATER])
    assert read(place.lock, str(place.out), LATER.at).latest == {"user.app": LATER}


def test_lines_that_others_add_stay_where_ours_are_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "pgtls.deployed"
    path.write_text("before\n")

    def fail() -> None:
        with path.open("a") as file:
            file.write("theirs\n")
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        append(str(path), b"ours\n", then=fail)
    assert "theirs\n" in path.read_text()


def test_a_line_without_a_line_break_stays_a_line_of_its_own(place: Place) -> None:
    place.build(SMALL)
    beside(place).write_text(f"{HEADER}\n{APP.render()}")
    record(place.lock, str(place.out), [LATER])
    assert beside(place).read_text().splitlines() == [HEADER, APP.render(), LATER.render()]


def test_a_link_and_a_directory_are_not_read(place: Place, tmp_path: Path) -> None:
    beside(place).symlink_to(tmp_path / "elsewhere")
    assert "symbolic link" in refused(place, "PGT506")
    beside(place).unlink()
    beside(place).mkdir()
    refused(place, "PGT506")


def test_evidence_is_an_input_of_the_build(place: Place) -> None:
    place.build(SMALL)
    first = place.build().existing.manifest
    place.confirm()
    place.build()
    second = place.build().existing.manifest
    assert first
    assert second
    assert first.inputs.digest != second.inputs.digest
