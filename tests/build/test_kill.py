"""A build that is killed at any of its writes: the next one has all of it or nothing, and keys match their certificates."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pgtls.build import lock as locks
from pgtls.build.commit import recover
from pgtls.build.decide import Asked
from support.building import SMALL, Place, steps
from support.killing import in_child

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Creates, replaces, deletes and revokes: everything that a build can do to a tree.
CHANGED = SMALL.replace("[user.app]", "[user.etl]").replace('"app"', '"etl"').replace('"10.0.0.5"', '"10.0.0.6"')


def pairs_match(place: Place) -> None:
    for key in place.out.rglob("*.key"):
        certificate = x509.load_pem_x509_certificates(key.with_suffix(".crt").read_bytes())[0]
        private = load_pem_private_key(key.read_bytes(), None)
        assert certificate.public_key() == private.public_key(), key
        assert key.stat().st_mode & 0o777 == 0o600


def test_a_first_build_that_is_killed_anywhere_leaves_nothing_or_everything(tmp_path: Path) -> None:
    killed_at_each_write(tmp_path, lambda place: place.write(SMALL))


def test_a_build_that_creates_replaces_and_deletes_leaves_old_or_new(tmp_path: Path) -> None:
    def prepare(place: Place) -> None:
        place.build(SMALL)
        place.spec.write_text(CHANGED)

    killed_at_each_write(tmp_path, prepare)


def killed_at_each_write(tmp_path: Path, prepare: Callable[[Place], None]) -> None:
    origin = Place(tmp_path / "origin")
    origin.directory.mkdir()
    prepare(origin)
    old = origin.state()
    total = in_child(copy_of(origin, tmp_path / "count").build).writes
    assert total is not None
    assert total > 50, "a build writes more than that: the count is wrong"
    outcomes = []
    for number in range(1, total + 1):
        place = copy_of(origin, tmp_path / f"kill-{number}")
        assert in_child(place.build, kill_at=number).killed
        outcomes.append(outcome(place, old))
        finish(place)
        shutil.rmtree(place.directory)
    assert list(dict.fromkeys(outcomes)) == ["nothing", "decided", "done"], outcomes


def outcome(place: Place, old: dict[str, tuple[int, str]]) -> str:
    """What the kill left: the old state, a build that was decided and only needs to be carried out, or the new one."""
    if place.out.exists() and recover(str(place.out), str(place.lock)):
        return "decided"
    if place.state() == old:
        return "nothing"
    assert steps(place.plan()) == [], "neither the old tree nor the new one"
    return "done"


def finish(place: Place) -> None:
    """The next build completes the tree, and what is there is whole."""
    place.build()
    assert steps(place.build()) == []
    pairs_match(place)
    lock = locks.read(place.lock)
    for certificate in place.out.rglob("*.crt"):
        if certificate.name != "root.crt":
            serial = f"{x509.load_pem_x509_certificates(certificate.read_bytes())[0].serial_number:x}"
            assert any(line.serial == serial for line in lock.issued), certificate
    assert not (place.out / ".pgtls" / "staging").exists()


def copy_of(origin: Place, directory: Path) -> Place:
    shutil.copytree(origin.directory, directory, copy_function=shutil.copy2)
    return Place(directory)


def test_a_renewal_that_is_killed_keeps_every_pair_whole(tmp_path: Path) -> None:
    origin = Place(tmp_path / "origin")
    origin.directory.mkdir()
    origin.build(SMALL)
    asked = Asked(renew=frozenset({"all"}))
    counted = copy_of(origin, tmp_path / "count")
    total = in_child(lambda: counted.build(asked=asked)).writes
    assert total is not None
    for number in range(1, total + 1, 3):
        place = copy_of(origin, tmp_path / f"kill-{number}")
        assert in_child(lambda place=place: place.build(asked=asked), kill_at=number).killed  # type: ignore[misc]
        recover(str(place.out), str(place.lock))
        pairs_match(place)
        finish(place)
        shutil.rmtree(place.directory)
