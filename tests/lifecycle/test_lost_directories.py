"""An out directory that is gone, or has lost its manifest: what reports and plans say, and what gets it back."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from support.building import SMALL, Place
from support.pgtls import pgtls

if TYPE_CHECKING:
    from pathlib import Path

NOW = "2026-01-02"


@pytest.fixture
def lost(tmp_path: Path) -> Place:
    """Build a tree, and delete it."""
    place = Place(tmp_path)
    place.build(SMALL)
    shutil.rmtree(place.out)
    return place


@pytest.mark.parametrize("command", ["plan", "status"])
def test_a_deleted_directory_is_never_reported_as_in_order(lost: Place, command: str) -> None:
    run = pgtls(command, "--detailed-exitcode", cwd=lost.directory, now=NOW)
    assert run.status == 2
    assert "nothing to do" not in run.stdout
    assert "in order" not in run.stdout
    said = " ".join(run.stderr.split())
    assert "PGT555" in said
    assert "the private keys of ca.clients and ca.root and of 2 servers and users are not here" in said
    assert "restore it from a backup" in said
    assert pgtls(command, cwd=lost.directory, now=NOW).status == 0


@pytest.mark.parametrize("words", [("plan",), ("status",), ("plan", "--no-secrets")], ids=" ".join)
def test_in_a_review_no_directory_is_expected(lost: Place, words: tuple[str, ...]) -> None:
    environment = {} if "--no-secrets" in words else {"CI": "true"}
    run = pgtls(*words, "--detailed-exitcode", cwd=lost.directory, environment=environment, now=NOW)
    assert run.status == 0
    assert "what the lock lists is taken as present" in " ".join(run.stderr.split())
    assert "private keys" not in run.stderr


def test_json_says_that_the_lock_alone_was_asked(lost: Place) -> None:
    run = pgtls("status", "--format", "json", cwd=lost.directory, now=NOW)
    assert run.json["from_lock"] is True
    (note,) = run.json["diagnostics"]
    assert (note["code"], note["severity"]) == ("PGT555", "warning")


def test_a_lost_manifest_comes_with_the_recipe_that_works(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.build(SMALL)
    keys = {name: place.file(f"ca/{name}/ca.key").read_bytes() for name in ("root", "clients")}
    place.file("manifest.json").unlink()
    run = pgtls("build", cwd=tmp_path, now=NOW)
    assert run.status == 1
    said = " ".join(run.stderr.split())
    assert "PGT520" in said
    for part in ("its manifest.json is lost", "move the directory away", "--new-out", "--ca-key NAME=PATH"):
        assert part in said
    place.out.rename(tmp_path / "away")
    lent = [word for name in keys for word in ("--ca-key", f"{name}=away/ca/{name}/ca.key")]
    run = pgtls("build", "--new-out", *lent, "--accept-outage", cwd=tmp_path, now=NOW)
    assert run.status == 0, run.stderr
    assert {name: place.file(f"ca/{name}/ca.key").read_bytes() for name in keys} == keys


def test_a_strangers_directory_gets_no_such_recipe(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.write(SMALL)
    place.out.mkdir()
    (place.out / "notes.txt").write_text("mine")
    run = pgtls("build", cwd=tmp_path, now=NOW)
    assert run.status == 1
    assert "PGT520" in run.stderr
    assert "--new-out" not in run.stderr


def test_a_root_that_was_taken_offline_as_told_is_said_to_be_so(tmp_path: Path) -> None:
    place = Place(tmp_path)
    spec = SMALL.replace("[ca.root]", "[ca.root]\noffline = true")
    place.build(spec)
    place.file("ca/root/ca.key").rename(tmp_path / "root.key")
    run = pgtls("plan", "--format", "json", cwd=tmp_path, now=NOW)
    (step,) = json.loads(run.stdout)["steps"]
    assert (step["entity"], step["reason"]) == ("ca.root", "its key is kept elsewhere now")
