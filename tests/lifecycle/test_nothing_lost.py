"""Killed, full, restored, reverted, damaged: the next build says what it sees, and repairs it or stops without harm."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from lifecycle.fleets import DAY, serial, spec
from lifecycle.test_rollover import CAS, OLD, PEOPLE_2027, SERVER_STEPS, step
from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from pgtls.state import lock as locks
from support.building import NOW, Place, reason, steps
from support.interrupting import Interrupted, is_whole, pairs_match
from support.killing import in_child
from support.pgtls import pgtls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LATER = NOW + 70 * DAY
EVERYTHING = Asked(renew=frozenset({"all"}))

ROLLOVER = (
    step(17, cas="[ca.root]\n[ca.people]\n"),
    *(step(17, text) for text in SERVER_STEPS.values()),
    step(17, SERVER_STEPS["retired"], cas=CAS.replace("[ca.root]\n", "")),
)
BOTH = OLD.replace('["people"]', '["people", "people-2027"]')

CHANGES: dict[str, tuple[str, ...]] = {
    "a renewal": (spec(), spec()),
    "a revocation": (spec(), spec(alice='ca = "inner"\nrevoke_before = 2026-01-02\n', bob=None)),
    **{
        f"a rollover, the new root is {what}": ROLLOVER[: number + 1]
        for number, what in enumerate(("made", "trusted", "used", "alone"), 1)
    },
    "a rollover, the old root is deleted": ROLLOVER,
    "a rollover, clients move to another CA": (step(17, BOTH), step(17, BOTH, alice=PEOPLE_2027, bob=PEOPLE_2027)),
}
"""Specs that were built one after the other, the last of them being the one that is killed."""


def interrupted(change: str) -> Interrupted:
    *before, after = CHANGES[change]

    def prepare(place: Place) -> None:
        for number, text in enumerate(before):
            place.build(text, now=NOW + number * DAY)
            place.confirm(now=NOW + number * DAY)
        place.write(after)

    return Interrupted(prepare, lambda place: place.build(now=LATER))


@pytest.mark.parametrize("change", CHANGES)
def test_a_build_that_is_killed_at_any_write_is_done_or_undone(change: str) -> None:
    assert set(interrupted(change).at_each_write()) == {"undone", "decided", "done"}


@pytest.mark.parametrize("change", ["a revocation", "a rollover, the old root is deleted"])
def test_a_build_that_is_killed_while_it_finishes_another_loses_nothing_either(change: str) -> None:
    assert interrupted(change).at_each_write_of_the_next_build() > 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with hardly any room."""
    directory = tmp_path / "small"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(directory)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("unavailable: only root may mount a small disk")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def test_a_disk_that_is_full_changes_nothing_and_says_so(small_disk: Path) -> None:
    place = Place(small_disk)
    place.build(spec())
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    before = place.state()
    run = pgtls("build", place.spec, "--renew", "all", now="2026-01-02")
    assert run.status == 1
    assert "No space left on device" in run.stderr
    assert "Traceback" not in run.stderr
    assert place.state() == before
    filler.unlink()
    assert pgtls("build", place.spec, "--renew", "all", now="2026-01-02").status == 0
    pairs_match(place)


REVOKED = spec(alice='ca = "inner"\nrevoke_before = 2026-01-02\n', bob=None)


def faults(place: Place) -> list[str]:
    """Build, and say why it was refused: codes and what the system said."""
    try:
        place.build(now=LATER)
    except Rejected as rejected:
        return [f"{d.code}: {d.message.rpartition(': ')[2]}" for d in rejected.diagnostics]
    return []


def test_however_little_room_there_is_a_build_is_done_or_undone(small_disk: Path) -> None:
    seen = Counter[str]()
    for number, room in enumerate(range(0, 160_000, 8192)):
        place = Place(small_disk / str(number))
        place.directory.mkdir()
        place.build(spec())
        place.write(REVOKED)
        before = place.state()
        free = os.statvfs(small_disk)
        filler = small_disk / "filler"
        filler.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - room)))
        refused = faults(place)
        seen["undone" if refused else "done"] += 1
        assert refused == [] or (refused, place.state()) == (["PGT530: No space left on device"], before)
        filler.unlink()
        pairs_match(place)
        place.build(now=LATER)
        assert is_whole(place)
        pairs_match(place)
        shutil.rmtree(place.directory)
    assert seen["undone"] > 3
    assert seen["done"] > 3


@pytest.mark.parametrize("limit", [0, 200, 600, 1000, 2000, 4000])
def test_a_limit_on_the_size_of_files_changes_nothing_and_says_so(place: Place, limit: int) -> None:
    place.build(spec())
    before = place.state()

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        with pytest.raises(Rejected) as rejected:
            place.build(now=NOW + DAY, asked=EVERYTHING)
        assert rejected.value.diagnostics[0].code == "PGT530"
        assert "ulimit -f" in str(rejected.value.diagnostics[0].hint)

    assert in_child(limited).status == 0
    assert place.state() == before
    place.build(now=NOW + DAY, asked=EVERYTHING)
    pairs_match(place)


def test_two_builds_at_once_are_one_after_the_other(place: Place) -> None:
    place.build(spec())
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            try:
                place.build(now=NOW + DAY, asked=EVERYTHING)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    pairs_match(place)
    lock = locks.read(place.lock)
    assert len([line for line in lock.issued if line.entity == "user.alice"]) == 3
    assert steps(place.build(now=NOW + DAY)) == []


def test_an_old_backup_of_the_tree_is_brought_up_to_date(place: Place) -> None:
    place.build(spec())
    backup = shutil.copytree(place.out, place.directory / "backup", copy_function=shutil.copy2)
    place.build(spec(bob=None, alice='ca = "inner"\nrevoke_before = 2026-01-02\n'), now=NOW + 2 * DAY)
    revoked = set(locks.read(place.lock).revocations)
    shutil.rmtree(place.out)
    backup.rename(place.out)
    planned = place.build(now=NOW + 3 * DAY)
    assert reason(planned, "user.alice") == "it was revoked, with a new key"
    assert reason(planned, "ca.inner") == "its CRL: what is revoked changed"
    assert revoked <= set(locks.read(place.lock).revocations)
    assert not place.file("clients/bob").exists()
    pairs_match(place)


@pytest.mark.parametrize("apart", [timedelta(), DAY], ids=["in one second", "a day apart"])
def test_a_tree_that_is_older_than_the_lock_is_said_until_what_is_missing_was_issued_again(
    place: Place, apart: timedelta
) -> None:
    place.build(spec())
    backup = shutil.copytree(place.out, place.directory / "backup", copy_function=shutil.copy2)
    later = Asked(renew=frozenset({"ca.people", "user.alice"}))
    assert place.build(now=NOW + apart, asked=later).diagnostics == ()
    shutil.rmtree(place.out)
    backup.rename(place.out)
    for command in (place.plan, place.build, place.plan):
        planned = command(now=NOW + 2 * apart)
        (warning,) = planned.diagnostics
        assert (warning.code, warning.severity) == ("PGT558", "warning")
        assert "lists later certificates of ca.people and user.alice" in warning.message
        assert steps(planned) == []
    pairs_match(place)
    place.build(now=NOW + 3 * apart, asked=later)
    assert place.plan(now=NOW + 3 * apart).diagnostics == ()
    pairs_match(place)


def test_a_lock_that_was_reverted_is_an_error_until_it_is_back(place: Place) -> None:
    place.build(spec())
    old = place.lock.read_bytes()
    place.build(now=NOW + DAY, asked=Asked(renew=frozenset({"user.alice"})))
    newest = place.lock.read_bytes()
    place.lock.write_bytes(old)
    before = place.state()
    with pytest.raises(Rejected) as rejected:
        place.build(now=NOW + 2 * DAY)
    assert [d.code for d in rejected.value.diagnostics] == ["PGT554"]
    assert place.state() == before
    place.lock.write_bytes(newest)
    assert steps(place.build(now=NOW + 2 * DAY)) == []


def test_a_lock_that_git_merged_keeps_what_both_sides_issued_and_revoked(place: Place) -> None:
    three = spec(bob='ca = "inner"\n[user.carol]\nca = "inner"\n').replace(
        '["alice", "bob"]', '["alice", "bob", "carol"]'
    )
    place.build(spec())
    base = place.directory / "base.lock"
    shutil.copy(place.lock, base)
    other = Place(place.directory / "other")
    shutil.copytree(place.out, other.out, copy_function=shutil.copy2)
    shutil.copy(place.lock, other.lock)
    gone = serial(place, "user.bob")
    place.build(three, now=NOW + DAY)
    other.build(spec(bob=None), now=NOW + DAY)
    sides = [locks.read(one.lock) for one in (place, other)]
    subprocess.run(["git", "merge-file", "--union", place.lock, base, other.lock], check=True)

    with pytest.raises(Rejected, match=r"PGT542: .*they would revoke certificates of user.bob"):
        place.build(three, now=NOW + 2 * DAY)
    planned = place.build(three, now=NOW + 2 * DAY, asked=Asked(allow_revoke=True))
    assert reason(planned, "user.bob") == "it was revoked, with a new key"
    assert ("user.carol", "renew") not in steps(planned)
    merged = locks.read(place.lock)
    for side in sides:
        assert side.by_serial.keys() <= merged.by_serial.keys()
        assert side.revocations.keys() <= merged.revocations.keys()
    assert ("inner", gone) in merged.revocations
    pairs_match(place)
    assert steps(place.build(now=NOW + 2 * DAY)) == []


def line_altered(lock: bytes) -> bytes:
    *lines, last = lock.splitlines(keepends=True)
    return b"".join((*lines, last.replace(b'"sha256": "', b'"sha256": "0', 1).replace(b'", "spki', b'", "spki', 1)))


TAMPERED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut off in a line": (lambda lock: lock[: len(lock) - 40], "PGT502"),
    "cut off after a line": (lambda lock: b"".join(lock.splitlines(keepends=True)[:-1]), "PGT554"),
    "emptied": (lambda lock: b"", "PGT502"),
    "left without a header": (lambda lock: b"".join(lock.splitlines(keepends=True)[1:]), "PGT502"),
    "altered in a fingerprint": (line_altered, "PGT543"),
    "that of another tree": (lambda lock: lock.replace(lock[25:33], b"01234567", 1), "PGT524"),
    "left in a conflict": (lambda lock: lock + b"<<<<<<< HEAD\n", "PGT501"),
    "saved with a byte order mark": (lambda lock: b"\xef\xbb\xbf" + lock, "PGT502"),
}


@pytest.mark.parametrize("case", TAMPERED.values(), ids=TAMPERED)
def test_a_lock_that_was_tampered_with_stops_everything_and_loses_nothing(
    place: Place, case: tuple[Callable[[bytes], bytes], str]
) -> None:
    tamper, code = case
    place.build(spec())
    good = place.lock.read_bytes()
    place.lock.write_bytes(tamper(good))
    assert place.lock.read_bytes() != good
    before = place.state()
    for command in (place.plan, place.build):
        with pytest.raises(Rejected) as rejected:
            command(now=LATER, asked=EVERYTHING)
        faults = [d for d in rejected.value.diagnostics if d.severity == "error"]
        assert {d.code for d in faults} == {code}
        assert all(d.hint for d in faults)
    assert place.state() == before
    place.lock.write_bytes(good)
    assert steps(place.build(now=NOW + DAY)) == []


def test_a_lock_with_windows_line_ends_is_the_same_lock(place: Place) -> None:
    place.build(spec())
    place.lock.write_bytes(place.lock.read_bytes().replace(b"\n", b"\r\n"))
    assert steps(place.build(now=NOW + DAY)) == []
    pairs_match(place)


def test_a_spec_that_lost_a_file_of_its_include_revokes_nobody(place: Place) -> None:
    people = place.directory / "users"
    people.mkdir()
    for name in ("a", "b"):
        (people / f"{name}.toml").write_text("".join(f'[user.{name}{i}]\nca = "inner"\n' for i in range(4)))
    text = 'include = ["users/*.toml"]\n' + spec()
    place.build(text)
    kept = (people / "b.toml").rename(place.directory / "b.toml")
    before = place.state()
    for command in (place.plan, place.build):
        with pytest.raises(Rejected) as rejected:
            command(now=NOW + DAY)
        (fault,) = (d for d in rejected.value.diagnostics if d.severity == "error")
        assert (fault.code, fault.place) == ("PGT553", None)
        assert "user.b0, user.b1, user.b2 and user.b3" in fault.message
        assert "is an include missing" in str(fault.hint)
    assert place.state() == before
    kept.rename(people / "b.toml")
    assert steps(place.build(now=NOW + DAY)) == []


def truncated(place: Place) -> None:
    key = place.file("clients/alice/postgresql.key")
    key.write_bytes(key.read_bytes()[:60])


def swapped(place: Place) -> None:
    one, other = place.file("clients/alice/postgresql.key"), place.file("clients/bob/postgresql.key")
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def missing(place: Place) -> None:
    place.file("clients/alice/postgresql.key").unlink()


DAMAGE: dict[str, tuple[Callable[[Place], None], str, str]] = {
    "truncated": (truncated, "renew", "its private key cannot be read, with a new key"),
    "swapped with another's": (swapped, "renew", "the private key belongs to another certificate, with a new key"),
    "missing": (missing, "renew", "its private key is missing, with a new key"),
    "world-readable": (
        lambda place: place.file("clients/alice/postgresql.key").chmod(0o644),
        "rewrite",
        "postgresql.key: its mode was changed",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_key_that_is_damaged_is_named_and_mended(
    place: Place, damage: tuple[Callable[[Place], None], str, str]
) -> None:
    how, action, why = damage
    place.build(spec())
    number = serial(place, "user.alice")
    how(place)
    planned = place.build(now=NOW + DAY)
    assert ("user.alice", action) in steps(planned)
    assert reason(planned, "user.alice") == why
    assert (serial(place, "user.alice") == number) == (action == "rewrite")
    pairs_match(place)
    assert place.file("clients/alice/postgresql.key").stat().st_mode & 0o777 == 0o600
    assert steps(place.build(now=NOW + DAY)) == []


def test_keys_that_others_could_read_are_named(place: Place) -> None:
    place.build(spec())
    opened = ["ca/root/ca.key", "clients/alice/postgresql.key"]
    for path in opened:
        place.file(path).chmod(0o640)
    place.file("clients/bob/postgresql.crt").chmod(0o600)
    place.file("servers/db").chmod(0o755)
    for command in (place.plan, place.build):
        (warning,) = command(now=NOW + DAY).diagnostics
        assert (warning.code, warning.severity) == ("PGT559", "warning")
        assert all(path in warning.message for path in opened)
        assert "bob" not in warning.message
        assert "servers" not in warning.message
    assert place.plan(now=NOW + DAY).diagnostics == ()
    assert place.file("ca/root/ca.key").stat().st_mode & 0o777 == 0o600
