"""The lock: what is written can be read, merges lose nothing, damage is found and named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgtls.diagnostics import Rejected
from pgtls.pki.model import Entity, RevocationReason
from pgtls.state.lock import IssuedLine, Lock, RevokedLine, instant, lock_path, parse, read, timestamp
from state.trees import ID, NOW, issued

if TYPE_CHECKING:
    from pathlib import Path

HEADER = f'{{"pgtls_lock": 1, "id": "{ID}"}}\n'
LINE = issued(0xA1)
WRITTEN = (
    '{"authority_key_id": "'
    + "7" * 40
    + '", "ca": "root", "entity": "user.app", "event": "issued", "issuer": "CN=root", '
    '"key_algorithm": "ecdsa-p256", "key_id": "' + "6" * 40 + '", "names": [], "not_after": "2026-06-01T00:00:00Z", '
    '"not_before": "2026-01-01T00:00:00Z", "serial": "a1", "sha256": "'
    + f"{0xA1:064x}"
    + '", "spki_sha256": "'
    + "5" * 64
    + '", '
    '"subject": "CN=user.app", "usages": ["clientAuth", "digitalSignature"]}\n'
)


def revoked(
    number: int, days: int = 0, reason: RevocationReason = "cessation_of_operation", **extra: object
) -> RevokedLine:
    return RevokedLine("root", Entity("user.app"), f"{number:x}", reason, NOW + timedelta(days=days), extra)


def lines_of(content: bytes) -> set[bytes]:
    return set(content.splitlines())


# What is written


def test_a_lock_is_a_header_and_one_object_a_line() -> None:
    assert Lock(ID, (LINE,)).render() == (HEADER + WRITTEN).encode()


def test_what_was_written_is_read() -> None:
    lock = Lock(ID, (LINE, issued(2, "ca.root")), (revoked(0xA1),))
    found = parse(lock.render(), "pgtls.lock")
    assert set(found.by_serial) == set(lock.by_serial)
    assert found.render() == lock.render()
    assert found.by_serial["root", "a1"] == LINE


def test_lines_are_sorted_by_ca_entity_serial_and_event() -> None:
    lines = [issued(2, "user.b"), issued(1, "user.b"), issued(3, "user.a"), issued(4, "user.z", ca="a")]
    written = Lock(ID, tuple(lines), (revoked(3),)).render().decode().splitlines()[1:]
    keys = [tuple(json.loads(line)[name] for name in ("ca", "entity", "serial", "event")) for line in written]
    assert keys == sorted(keys)
    assert len(keys) == 5


def test_where_there_is_no_lock_it_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path / "pgtls.lock") == Lock()
    assert read(tmp_path / "pgtls.lock").id is None


def test_a_lock_without_an_id_is_not_written() -> None:
    with pytest.raises(ValueError, match="without an id"):
        Lock().render()


def test_keys_of_a_later_version_are_kept() -> None:
    later = WRITTEN.replace('"issuer"', '"hsm": {"slot": [1, 2]}, "issuer"')
    content = (HEADER.replace("}", ', "note": "kept"}') + later).encode()
    lock = parse(content, "pgtls.lock")
    assert lock.render() == content
    assert parse(lock.with_lines(issued(2)).render(), "pgtls.lock").by_serial["root", "a1"].extra == {
        "hsm": {"slot": [1, 2]}
    }


@pytest.mark.parametrize(
    ("spec", "override", "expected"),
    [
        ("pgtls.toml", None, "pgtls.lock"),
        ("a.b/prod.toml", None, "a.b/prod.lock"),
        ("pgtls.toml.example", None, "pgtls.toml.example.lock"),
        ("pgtls.toml", "out/x.lock", "out/x.lock"),
        ("pgtls.toml", "", "pgtls.lock"),
        (".toml", None, ".lock"),
    ],
)
def test_the_lock_lies_beside_the_spec_or_where_it_is_said(spec: str, override: str | None, expected: str) -> None:
    assert lock_path(spec, override) == expected


# What follows from it


def test_the_newest_certificate_of_an_entity_is_its_latest_and_the_others_are_superseded() -> None:
    newer = issued(2, not_before=datetime(2026, 2, 1, tzinfo=UTC))
    lock = Lock(ID, (newer, issued(1), issued(3, "user.b")))
    assert lock.latest == {"user.app": newer, "user.b": issued(3, "user.b")}
    assert lock.superseded == {("root", "1")}


def test_of_two_certificates_of_one_second_the_one_that_is_not_revoked_is_the_latest() -> None:
    for number in (1, 2):
        assert Lock(ID, (issued(1), issued(2)), (revoked(number),)).latest["user.app"] == issued(3 - number)


def test_alive_is_what_is_neither_expired_nor_revoked() -> None:
    expired = issued(1, not_after=NOW)
    lock = Lock(ID, (expired, issued(2), issued(3)), (revoked(3),))
    assert lock.alive(NOW) == (issued(2),)
    assert lock.alive(NOW - timedelta(seconds=1)) == (expired, issued(2))


def test_serials_of_two_cas_have_nothing_to_do_with_each_other() -> None:
    lock = parse(Lock(ID, (issued(1), issued(1, ca="other", sha256="f" * 64)), (revoked(1),)).render(), "x")
    assert [line.ca for line in lock.alive(NOW)] == ["other"]


def test_of_two_revocations_of_one_certificate_the_earlier_counts() -> None:
    lock = Lock(ID, (issued(1),), (revoked(1, days=2), revoked(1, days=1), revoked(1, days=3)))
    assert lock.revocations["root", "1"] == revoked(1, days=1)


def test_a_certificate_that_goes_into_further_bundles_gets_a_further_line() -> None:
    first = IssuedLine("root", Entity("ca.root"), issued(1, "ca.root").certificate, ("server.a",))
    later = IssuedLine("root", Entity("ca.root"), first.certificate, ("server.b", "user.c"))
    lock = parse(Lock(ID, (first,)).with_lines(later).render(), "x")
    assert len(lock.issued) == 2
    assert lock.by_serial["root", "1"].trust == ("server.a", "server.b", "user.c")


def test_the_roots_that_the_file_of_a_ca_had_above_it_add_up() -> None:
    first = issued(1, "ca.root")
    lock = Lock(ID, (first, replace(first, roots=("b" * 64,)))).with_lines(replace(first, roots=("a" * 64,)))
    assert parse(lock.render(), "x").by_serial["root", "1"].roots == ("a" * 64, "b" * 64)


# Merges

numbers = st.sets(st.integers(1, 40), max_size=12)


def history(members: set[int]) -> tuple[tuple[IssuedLine, ...], tuple[RevokedLine, ...]]:
    """Every third is also revoked."""
    return tuple(map(issued, members)), tuple(revoked(number) for number in members if number % 3 == 0)


@given(base=numbers, ours=numbers, theirs=numbers, data=st.data())
def test_a_union_merge_in_any_order_holds_the_lines_of_both_sides(
    base: set[int], ours: set[int], theirs: set[int], data: st.DataObject
) -> None:
    sides = [Lock(ID, *history(base | side)).render().splitlines(keepends=True) for side in (ours, theirs)]
    header, both = sides[0][0], sides[0] + sides[1]
    merged = b"".join([header, *data.draw(st.permutations(both))])
    assert parse(merged, "x").render() == Lock(ID, *history(base | ours | theirs)).render()


@given(base=numbers, ours=numbers, theirs=numbers)
def test_a_side_that_is_reverted_leaves_the_other(base: set[int], ours: set[int], theirs: set[int]) -> None:
    kept, reverted = Lock(ID, *history(base | ours)), Lock(ID, *history(base | theirs))
    merged = {*kept.render().splitlines(keepends=True), *reverted.render().splitlines(keepends=True)}
    undone = {*reverted.render().splitlines(keepends=True)} - {*kept.render().splitlines(keepends=True)}
    assert parse(HEADER.encode() + b"".join(merged - undone), "x").render() == kept.render()


@given(members=numbers, data=st.data())
def test_a_lock_cut_off_anywhere_is_a_prefix_or_damaged(members: set[int], data: st.DataObject) -> None:
    content = Lock(ID, *history(members)).render()
    cut = content[: data.draw(st.integers(0, len(content) - 1))]
    if cut.endswith(b"}") or (cut.endswith(b"\n") and cut):
        assert lines_of(parse(cut, "x").render()) == lines_of(cut)
        return
    with pytest.raises(Rejected, match="PGT502"):
        parse(cut, "x")


def git(directory: Path, *arguments: str) -> str:
    environment = {**os.environ, "HOME": str(directory), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
    done = subprocess.run(
        ["git", *who, *arguments], cwd=directory, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize("attributes", ["*.lock merge=union\n", ""], ids=["with merge=union", "without it"])
def test_two_branches_that_git_merges(tmp_path: Path, attributes: str) -> None:
    base = Lock(ID, (issued(0x10),))
    ours, theirs = base.with_lines(issued(0x11), revoked(0x10)), base.with_lines(issued(0x12), issued(0x13, "user.zoe"))
    lock = tmp_path / "pgtls.lock"
    (tmp_path / ".gitattributes").write_text(attributes)
    git(tmp_path, "init", "-q")
    for branch, content in (("main", base), ("theirs", theirs), ("ours", ours)):
        git(tmp_path, "checkout", "-q", *(["-B", branch] if branch == "main" else ["-b", branch, "main"]))
        lock.write_bytes(content.render())
        git(tmp_path, "add", "-A")
        git(tmp_path, "commit", "-qm", branch)
    if not attributes:
        with pytest.raises(subprocess.CalledProcessError):
            git(tmp_path, "merge", "-q", "theirs")
        with pytest.raises(Rejected, match="PGT501: the lock holds a merge conflict"):
            read(lock)
        return
    git(tmp_path, "merge", "-q", "theirs")
    everything = ours.with_lines(*theirs.issued)
    assert read(lock).render() == everything.render()
    assert lines_of(lock.read_bytes()) == lines_of(everything.render())


def test_equal_lines_count_once() -> None:
    assert parse((HEADER + WRITTEN + HEADER + WRITTEN).encode(), "x").issued == (LINE,)


def test_windows_line_ends_and_empty_lines_mean_nothing() -> None:
    content = (HEADER + "\n" + WRITTEN + "  \n").replace("\n", "\r\n").encode()
    assert parse(content, "x").render() == (HEADER + WRITTEN).encode()


def test_a_certificate_without_an_end_is_read() -> None:
    """RFC 5280, 4.1.2.5: that is how a CA says so."""
    text = damaged("2026-06-01T00:00:00Z", "9999-12-31T23:59:59Z")
    assert parse(text.encode(), "x").by_serial["root", "a1"].certificate.not_after.year == 9999


# Damage


def damaged(old: str, new: str) -> str:
    assert old in WRITTEN
    return HEADER + WRITTEN.replace(old, new)


REVOKED = json.dumps(revoked(0xA1).fields()) + "\n"
DAMAGE = {
    "an empty file": ("", "PGT502", "the lock has no header", 1),
    "a line before the header": (WRITTEN + HEADER, "PGT502", "the lock has no header", 1),
    "an id that is none": (HEADER.replace(ID, "0123"), "PGT502", 'the "id" of the lock is not 32 hex digits', 1),
    "half a character": (
        HEADER + '{"event":"issued","x":"\\ud800"}\n',
        "PGT502",
        "a line of the lock is damaged: it holds half a character",
        2,
    ),
    "a conflict": (HEADER + "<<<<<<< HEAD\n" + WRITTEN, "PGT501", "the lock holds a merge conflict", 2),
    "the middle of a conflict": (HEADER + WRITTEN + "=======\n", "PGT501", "the lock holds a merge conflict", 3),
    "a truncated line": (HEADER + WRITTEN[:100], "PGT502", "a line of the lock is damaged: it ends early", 2),
    "two lines in one": (
        HEADER + WRITTEN.strip() + WRITTEN,
        "PGT502",
        "a line of the lock is damaged: it is not JSON (Extra data)",
        2,
    ),
    "no object": (HEADER + "[]\n", "PGT502", "a line of the lock is damaged: it is no JSON object", 2),
    "not UTF-8": (HEADER + "\udcff\n", "PGT502", "a line of the lock is damaged: it is not UTF-8", 2),
    "nesting without end": (HEADER + "[" * 100_000, "PGT502", "a line of the lock is damaged: it is not JSON", 2),
    "no number": (HEADER + '{"event": NaN}\n', "PGT502", "a line of the lock is damaged: it is not JSON", 2),
    "a later version": (
        HEADER.replace("1,", "2,", 1),
        "PGT503",
        "the lock is of version 2, and this pgtls reads version 1",
        1,
    ),
    "an unknown event": (
        damaged('"issued"', '"escrowed"'),
        "PGT503",
        'a line of the lock has the unknown event "escrowed"',
        2,
    ),
    "two ids": (
        HEADER + WRITTEN + HEADER.replace("0", "f"),
        "PGT505",
        f'the lock has two ids: "{ID}" and "{ID.replace("0", "f")}"',
        3,
    ),
    "a field missing": (
        damaged('"issuer": "CN=root", ', ""),
        "PGT502",
        'a line of the lock is damaged: its "issuer" is missing',
        2,
    ),
    "a number for a text": (
        damaged('"a1"', "161"),
        "PGT502",
        'a line of the lock is damaged: its "serial" is not a text',
        2,
    ),
    "a serial that is no number": (
        damaged('"a1"', '"A1"'),
        "PGT502",
        'a line of the lock is damaged: its "serial" is not lower-case hex',
        2,
    ),
    "a name that is no text": (
        damaged("[]", "[1]"),
        "PGT502",
        'a line of the lock is damaged: its "names" holds what is not a text',
        2,
    ),
    "an instant that is none": (
        damaged("2026-06-01T", "2026-06-31T"),
        "PGT502",
        'a line of the lock is damaged: its "not_after" is not an instant',
        2,
    ),
    "an instant without offset": (
        damaged("06-01T00:00:00Z", "06-01T00:00:00"),
        "PGT502",
        'a line of the lock is damaged: its "not_after" is not an instant',
        2,
    ),
    "an instant out of reach": (
        damaged("2026-06-01T00:00:00Z", "9999-12-31T23:59:59-12:00"),
        "PGT502",
        'a line of the lock is damaged: its "not_after" is not an instant',
        2,
    ),
    "an instant before every certificate": (
        damaged("2026-01-01T", "1900-01-01T"),
        "PGT502",
        'a line of the lock is damaged: its "not_before" is not in the years 1950 to 9998',
        2,
    ),
    "an instant after every certificate": (
        damaged("2026-01-01T00:00:00Z", "9999-12-31T23:59:59Z"),
        "PGT502",
        'a line of the lock is damaged: its "not_before" is not in the years 1950 to 9998',
        2,
    ),
    "an end before every certificate": (
        damaged("2026-06-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        "PGT502",
        'a line of the lock is damaged: its "not_after" is not in the years 1950 to 9999',
        2,
    ),
    "a revocation that no CRL can hold": (
        HEADER + WRITTEN + REVOKED.replace("2026-03-01T", "1900-03-01T"),
        "PGT502",
        'a line of the lock is damaged: its "date" is not in the years 1950 to 9998',
        3,
    ),
    "a reason that takes a revocation back": (
        HEADER + WRITTEN + REVOKED.replace("cessation_of_operation", "remove_from_crl"),
        "PGT502",
        'a line of the lock is damaged: its "reason" is no reason that builds write',
        3,
    ),
    "an unknown reason": (
        HEADER + WRITTEN + REVOKED.replace("cessation_of_operation", "lost"),
        "PGT502",
        'a line of the lock is damaged: its "reason" is no reason that builds write',
        3,
    ),
    "an entity that no table can be": (
        damaged("user.app", "user.../x"),
        "PGT502",
        (
            'a line of the lock is damaged: its "entity" is not ca.NAME, server.NAME, server.NAME/HOST, pooler.NAME '
            "or user.NAME"
        ),
        2,
    ),
    "a CA that no table can be": (
        damaged('"ca": "root"', '"ca": "../x"'),
        "PGT502",
        'a line of the lock is damaged: its "ca" is no name of a CA',
        2,
    ),
    "one serial, two certificates": (
        HEADER + WRITTEN + WRITTEN.replace(f"{0xA1:064x}", "f" * 64).replace("app", "bob"),
        "PGT504",
        'CA "root" has two certificates with the serial a1: of "user.app" and of "user.bob"',
        3,
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_lock_is_named_with_its_line_and_stays_as_it_is(name: str, tmp_path: Path) -> None:
    text, code, message, line = DAMAGE[name]
    path = tmp_path / "pgtls.lock"
    content = text.encode(errors="surrogateescape")
    path.write_bytes(content)
    with pytest.raises(Rejected) as raised:
        read(path)
    (found,) = raised.value.diagnostics
    assert (found.code, found.message, found.place and found.place.line) == (code, message, line)
    assert found.file == str(path)
    assert found.hint
    assert path.read_bytes() == content


def test_a_lock_that_is_a_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=f'PGT500: cannot read the lock "{tmp_path}": Is a directory'):
        read(tmp_path)


def test_reading_a_lock_imports_neither_pydantic_nor_cryptography() -> None:
    code = "import sys, pgtls.state.lock; print(*sorted({'pydantic', 'cryptography', 'jinja2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


@given(st.datetimes(timezones=st.just(UTC)))
def test_every_instant_is_read_as_it_was_written(moment: datetime) -> None:
    assert instant(timestamp(moment)) == moment.replace(microsecond=0)
