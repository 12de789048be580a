"""Options that would overwrite what must not be lost, clocks out of range, and lists from a clock that was ahead."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from pgtls.cli import run
from pgtls.diagnostics import Rejected
from pgtls.pipeline import build
from pgtls.pki import crl
from pgtls.pki.model import RevocationList
from support.building import NOW, SMALL, Place, reason

if TYPE_CHECKING:
    from pathlib import Path


def words(place: Place, *more: str) -> list[str]:
    return ["build", str(place.spec), "--now", "2026-01-02", *more]


@pytest.mark.parametrize(
    "target",
    ["pgtls.toml", "pgtls.lock", "out/manifest.json", "out/ca/root/ca.key", "out/new", "no/such/file", "other"],
)
def test_a_depfile_takes_nobodys_place(place: Place, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    place.build(SMALL)
    (place.directory / "other").write_text("mine")
    before = place.state()
    assert run(words(place, "--depfile", str(place.directory / target))) == 64
    assert "--depfile" in capsys.readouterr().err
    assert place.state() == before
    assert (place.spec.read_text(), (place.directory / "other").read_text()) == (SMALL, "mine")


def test_a_depfile_is_written_through_no_link_beside_it(place: Place) -> None:
    place.write(SMALL)
    target, kept = place.directory / "pgtls.d", place.directory / "profile"
    kept.write_text("kept\n")
    for name in ("pgtls.d.new", "pgtls.d.tmp"):
        (place.directory / name).symlink_to(kept)
    assert run(words(place, "--depfile", str(target))) == 0
    assert "manifest" in target.read_text()
    assert (target.stat().st_mode & 0o777, kept.read_text()) == (0o644, "kept\n")
    assert not target.is_symlink()


def test_a_depfile_is_written_and_written_again(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.write(SMALL)
    target = place.directory / "pgtls.d"
    assert run(words(place, "--depfile", str(target))) == 0
    assert run(words(place, "--depfile", str(target))) == 0
    assert target.read_text().count("manifest.json:") == 1
    capsys.readouterr()


@pytest.mark.parametrize(
    "lock",
    ["out/manifest.json", "out/.pgtls/x.lock", "out/ca/root/ca.key", "out", "pgtls.toml", "out/../out/.gitignore"],
)
def test_a_lock_takes_the_place_of_nothing(place: Place, lock: str) -> None:
    request = place.request(SMALL)
    with pytest.raises(Rejected) as rejected:
        build(replace(request, lock=str(place.directory / lock)))
    assert [d.code for d in rejected.value.diagnostics] == ["PGT537"]
    assert not place.out.exists()
    assert place.spec.read_text() == SMALL


def test_a_lock_may_lie_in_the_out_directory_for_all_that(place: Place) -> None:
    request = replace(place.request(SMALL), lock=str(place.out / "example.lock"))
    build(request)
    assert (place.out / "example.lock").exists()
    assert build(request).plan.steps == ()


@pytest.mark.parametrize("now", ["0001-01-01", "1949-12-31", "9999-12-31", "9999-12-31T23:59:59Z"])
@pytest.mark.parametrize("command", ["plan", "build", "status", "check"])
def test_a_clock_out_of_reach_is_wrong_usage(
    tmp_path: Path, command: str, now: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pgtls.toml").write_text(SMALL)
    assert run([command, str(tmp_path / "pgtls.toml"), "--now", now]) == 64
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("year", ["1951-01-01", "2999-12-31"])
def test_a_clock_within_reach_builds(place: Place, year: str, capsys: pytest.CaptureFixture[str]) -> None:
    place.write(SMALL)
    assert run(["build", str(place.spec), "--now", year]) == 0
    capsys.readouterr()


def test_a_list_that_is_not_yet_valid_is_made_again(place: Place) -> None:
    place.build(SMALL)
    path = place.file("ca/clients/ca.crl")
    good = path.read_bytes()
    place.build(now=NOW + timedelta(days=200))  # half the life of a list: made again, with that clock
    ahead = path.read_bytes()
    assert ahead != good
    planned = place.plan(now=NOW + timedelta(days=190))
    assert "it is not yet valid" in reason(planned, "ca.clients")
    assert isinstance(crl.read(ahead), RevocationList)


def test_a_device_is_no_key(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.build(SMALL)
    assert run(words(place, "--renew", "all", "--ca-key", "clients=/dev/zero")) == 1
    assert "it is no regular file" in capsys.readouterr().err
