"""The manifest: what is written can be read, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from pgtls.diagnostics import Rejected
from pgtls.pki.model import Entity
from pgtls.state import seal
from pgtls.state.manifest import Entry, Inputs, Manifest, parse, read
from pgtls.state.out_directory import opened as open_
from state.trees import ID, NOW

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ENTRY = Entry("a" * 64, 12, 1_700_000_000_123_456_789, 0o600, "key", Entity("user.app"))
MANIFEST = Manifest(
    version="0.1.0",
    lock_id=ID,
    spec="pgtls.toml",
    inputs=Inputs("d" * 64, ("users/*.toml",), ("keys/b.csr", "keys/a.csr")),
    built=NOW,
    next_due=datetime(2026, 4, 1, tzinfo=UTC),
    files={"clients/b/x": ENTRY, "clients/ä/y": ENTRY._replace(mode=0o644, kind="bundle")},
    texts={Entity("user.app"): "e" * 64},
)


def test_what_was_written_is_read() -> None:
    content = MANIFEST.render()
    found = parse(content, "manifest.json")
    assert (found.files, found.texts) == (MANIFEST.files, MANIFEST.texts)
    assert found.render() == content
    assert (found.built, found.next_due, found.lock_id) == (MANIFEST.built, MANIFEST.next_due, ID)
    assert found.inputs.files == ("keys/a.csr", "keys/b.csr")


def test_a_manifest_is_one_object_with_a_file_a_line() -> None:
    lines = MANIFEST.render().decode().splitlines()
    assert len(lines) == 1 + len(MANIFEST.texts) + 1 + len(MANIFEST.files) + 1
    assert json.loads(MANIFEST.render())["files"]["clients/b/x"] == {
        "sha256": "a" * 64,
        "size": 12,
        "mtime_ns": 1_700_000_000_123_456_789,
        "mode": 0o600,
        "kind": "key",
        "entity": "user.app",
    }


def test_nothing_may_ever_be_due_and_no_file_be_there() -> None:
    empty = Manifest("0.1.0", ID, "pgtls.toml", Inputs("d" * 64), NOW, None, {})
    assert parse(empty.render(), "x") == empty


def test_a_manifest_of_before_says_nothing_about_texts() -> None:
    document = json.loads(MANIFEST.render())
    del document["texts"]
    assert parse(json.dumps(document).encode(), "x") == replace(
        MANIFEST, texts={}, inputs=parse(MANIFEST.render(), "x").inputs
    )


def test_what_others_added_to_the_lock_is_read_again() -> None:
    content = replace(MANIFEST, added=frozenset({"f" * 64, "0" * 64})).render()
    assert parse(content, "x").added == {"f" * 64, "0" * 64}
    assert json.loads(content)["added"] == ["0" * 64, "f" * 64]
    assert "added" not in json.loads(MANIFEST.render())


def test_where_there_is_none_there_is_none(tmp_path: Path) -> None:
    assert read(tmp_path) is None
    assert read(tmp_path / "nowhere") is None


def _without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda document: document.pop(name)


def _file(path: str, **fields: object) -> Callable[[dict[str, Any]], object]:
    return lambda document: document["files"].update({path: {**ENTRY._asdict(), **fields}})


FIELD = "a field is missing or of the wrong type"
DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    **{f"without {n}": (_without(n), FIELD) for n in json.loads(MANIFEST.render()) if n != "texts"},
    "an instant that is none": (lambda document: document.update(built="yesterday"), "it is not JSON"),
    "a number for the lock's id": (lambda document: document.update(lock_id=7), FIELD),
    "files in a list": (lambda document: document.update(files=[]), FIELD),
    "a path out of the tree": (_file("clients/../../etc/passwd"), FIELD),
    "an absolute path": (_file("/etc/passwd"), FIELD),
    "an empty path": (_file(""), FIELD),
    "an unknown field of a file": (_file("x", owner="root"), FIELD),
    "a size that is no number": (_file("x", size="12"), FIELD),
    "a program with the identity of its owner": (_file("x", mode=0o4755, kind="conf"), FIELD),
    "a file that everybody may write": (_file("x", mode=0o666, kind="conf"), FIELD),
    "a key that others may read": (_file("x", mode=0o640), FIELD),
    "a key that is said to be none": (_file("clients/app/postgresql.key", mode=0o644, kind="conf"), FIELD),
    "an instant out of reach": (lambda document: document.update(built="0001-01-01T00:00:00+23:59"), FIELD),
    "an entity that is none": (_file("x", entity="../x"), FIELD),
    "a digest that is none": (_file("x", sha256="abc"), FIELD),
    "a digest of texts that is none": (lambda document: document.update(texts={"user.app": "abc"}), FIELD),
    "texts of no entity": (lambda document: document.update(texts={"../x": "a" * 64}), FIELD),
    "texts in a list": (lambda document: document.update(texts=[]), FIELD),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_manifest_is_named_and_stays_as_it_is(name: str, tmp_path: Path) -> None:
    damage, _ = DAMAGE[name]
    document = json.loads(MANIFEST.render())
    damage(document)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(document))
    before = path.read_bytes()
    with pytest.raises(Rejected) as raised:
        read(tmp_path)
    (found,) = raised.value.diagnostics
    assert found.code == "PGT510"
    assert found.message.startswith("the manifest is damaged: ")
    assert (found.file, path.read_bytes()) == (str(path), before)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b"null", b"7"], ids=lambda c: repr(c[:4])
)
def test_what_is_no_manifest_at_all_is_damaged(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(Rejected, match="PGT510: the manifest is damaged: "):
        read(tmp_path)


def test_what_another_has_written_is_read_and_saves_a_build_nothing(tmp_path: Path) -> None:
    with open_(str(tmp_path)) as place:
        key = seal.draw(place.root, place.private)
    path = tmp_path / "manifest.json"
    path.write_bytes(b"".join(seal.closed(key, MANIFEST.parts())))
    assert read(tmp_path) == parse(MANIFEST.render(), "x")
    for content in (MANIFEST.render(), b"".join(seal.closed(b"k" * 32, MANIFEST.parts()))):
        path.write_bytes(content)
        found = read(tmp_path)
        assert found is not None
        assert not found.last
        assert (found.texts, found.renewals, found.inputs.digest) == ({}, {}, "")
        assert {one.mtime_ns for one in found.files.values()} == {-1}
        assert (found.lock_id, found.files.keys()) == (ID, MANIFEST.files.keys())


def test_a_manifest_of_a_newer_pgtls_is_not_read(tmp_path: Path) -> None:
    newer = MANIFEST.render().replace(b'"pgtls_manifest":1', b'"pgtls_manifest":2')
    (tmp_path / "manifest.json").write_bytes(newer)
    with pytest.raises(Rejected, match="PGT511: the manifest is of version 2, and this pgtls reads version 1"):
        read(tmp_path)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(MANIFEST.render())
    (tmp_path / "manifest.json").symlink_to("real")
    with pytest.raises(Rejected, match="PGT510: the manifest is damaged: Too many levels of symbolic links"):
        read(tmp_path)
