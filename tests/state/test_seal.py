"""A commit record counts only if this tree's last build wrote it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import stat
import subprocess
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from pgtls.diagnostics import Rejected
from pgtls.state import lock as locks
from pgtls.state import seal
from pgtls.state.out_directory import opened
from pgtls.state.transaction import pending, recover
from state.trees import Site, issued, key, public, snapshot
from support.killing import in_child
from support.limits import limit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from state.trees import Tree

TREE: Tree = {
    "ca/root/ca.key": key("ca.root", "root"),
    "ca/root/ca.crt": public("ca.root", "root"),
    "clients/app/postgresql.key": key("user.app", "app 1"),
    "clients/bob/postgresql.key": key("user.bob", "bob"),
}
NEXT: Tree = {
    "ca/root/ca.key": TREE["ca/root/ca.key"],
    "ca/root/ca.crt": TREE["ca/root/ca.crt"],
    "clients/app/postgresql.key": key("user.app", "app 2"),
}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Make a site with TREE in it."""
    directory = tmp_path / "site"
    directory.mkdir()
    built = Site(directory, directory / "pgtls.lock")
    built.build(TREE, issued(1))
    return built


def interrupt(site: Site) -> None:
    """Kill a build of NEXT right after it has decided."""
    for number in range(1, 200):
        in_child(lambda: site.build(NEXT, issued(2)), kill_at=number)
        if pending(str(site.out)):
            return
        recover(str(site.out), str(site.lock))
    raise AssertionError("no kill left a decision")


def record(site: Site) -> Path:
    return site.out / ".pgtls/commit.json"


def body(site: Site) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(record(site).read_bytes().splitlines()[0])
    return found


def sealed(site: Site, document: dict[str, Any]) -> None:
    """Write a record as this tree's builds do, with the key of the tree."""
    content = json.dumps(document).encode()
    with opened(str(site.out)) as place:
        found = seal.read(place.root, place.private)
    assert found is not None
    record(site).write_bytes(content + b"\n" + seal.sign(found, content).encode() + b"\n")


def _strange_key(site: Site, mode: int) -> None:
    """Put another key in place, and seal the record with it."""
    path = site.out / ".pgtls/key"
    path.unlink()
    path.write_bytes(b"k" * 32)
    path.chmod(mode)
    content = record(site).read_bytes().splitlines()[0]
    record(site).write_bytes(content + b"\n" + seal.sign(b"k" * 32, content).encode() + b"\n")


def _of_an_earlier_build(site: Site) -> None:
    kept = site.directory / "kept"
    shutil.copytree(site.out / ".pgtls", kept)
    recover(str(site.out), str(site.lock))
    site.build({**NEXT, "clients/bob/postgresql.key": key("user.bob", "bob 2")}, issued(3))
    shutil.rmtree(site.out / ".pgtls")
    shutil.move(kept, site.out / ".pgtls")


FORGED: dict[str, Callable[[Site], object]] = {
    "without a code": lambda site: record(site).write_bytes(record(site).read_bytes().splitlines()[0]),
    "with the code of another key": lambda site: record(site).write_bytes(
        record(site).read_bytes().splitlines()[0] + b"\n" + b"0" * 64
    ),
    "altered": lambda site: record(site).write_bytes(record(site).read_bytes().replace(b"clients/bob", b"ca/root/ca.")),
    "with its key gone": lambda site: (site.out / ".pgtls/key").unlink(),
    "with a key that git wrote": lambda site: _strange_key(site, 0o644),
    "with a key that git wrote under a narrow umask": lambda site: _strange_key(site, 0o600),
    "of an earlier build of this tree": _of_an_earlier_build,
    "of a tree whose manifest is another one by now": lambda site: (site.out / "manifest.json").write_text("{}"),
}


@pytest.mark.parametrize("forgery", FORGED)
def test_a_record_that_this_trees_last_build_did_not_write_does_not_count(site: Site, forgery: str) -> None:
    interrupt(site)
    FORGED[forgery](site)
    before = {path: path.read_bytes() for path in site.out.rglob("*") if path.is_file()}
    lock = site.lock_bytes()
    with pytest.raises(Rejected, match="PGT538: the record of an interrupted build does not count"):
        recover(str(site.out), str(site.lock))
    assert {path: path.read_bytes() for path in site.out.rglob("*") if path.is_file()} == before
    assert site.lock_bytes() == lock


def test_a_mode_that_a_restore_changed_is_named_and_set_back(site: Site) -> None:
    interrupt(site)
    key_of_tree = site.out / ".pgtls/key"
    key_of_tree.chmod(0o600)
    with pytest.raises(Rejected, match=r"PGT538: .* has mode 0600, and a build gives it 0400") as rejected:
        recover(str(site.out), str(site.lock))
    assert "delete" not in (rejected.value.diagnostics[0].hint or ""), "staging may hold the only copy of a key"
    key_of_tree.chmod(0o400)
    assert recover(str(site.out), str(site.lock))


BEYOND: dict[str, list[object]] = {
    "deletes what no manifest lists": ["unlink", "clients/bob/notes.txt", 0],
    "brings what its manifest does not list": ["rename", "clients/eve", 0],
    "opens a key": ["chmod", "ca/root/ca.key", 0o644],
    "opens the directory of a key": ["chmod", "ca/root", 0o755],
    "gives a directory a mode that is not of the layout": ["chmod", "clients", 0o777],
    "removes a directory that its build did not empty": ["rmdir", ".pgtls", 0],
}


@pytest.mark.parametrize("step", BEYOND)
def test_even_a_sealed_record_does_no_more_than_its_manifests_say(site: Site, step: str) -> None:
    interrupt(site)
    whole = body(site)
    before = snapshot(site.out)
    sealed(site, {**whole, "steps": [BEYOND[step], *whole["steps"]]})
    with pytest.raises(Rejected, match=r"PGT538: .*, which its build did not write"):
        recover(str(site.out), str(site.lock))
    assert snapshot(site.out) == before
    sealed(site, whole)  # the control: what its build wrote is carried out
    assert recover(str(site.out), str(site.lock))
    assert not (site.out / "clients/bob/postgresql.key").exists()


@pytest.mark.parametrize("field", ["path", "staged"])
def test_even_a_sealed_record_moves_nothing_but_the_staged_lock(site: Site, field: str) -> None:
    interrupt(site)
    whole = body(site)
    elsewhere = str(site.directory / "index.html" if field == "path" else site.out / "ca/root/ca.key")
    sealed(site, {**whole, "lock": {**whole["lock"], field: elsewhere}})
    with pytest.raises(Rejected, match="PGT532"):
        recover(str(site.out), str(site.lock))
    assert (site.out / "ca/root/ca.key").exists()
    assert not (site.directory / "index.html").exists()


def test_a_staged_lock_that_another_has_written_does_not_become_the_lock(site: Site) -> None:
    interrupt(site)
    (staged,) = site.directory.glob(".pgtls.lock.*.new")
    lock, decided = site.lock_bytes(), staged.read_bytes()
    staged.write_bytes(decided + b'{"event": "revoked"}\n')
    copy = site.out / ".pgtls/lock.new"
    copy.rename(site.directory / "copy")
    with pytest.raises(Rejected, match=r"PGT533: .*is not what the build has staged"):
        recover(str(site.out), str(site.lock))
    assert site.lock_bytes() == lock
    (site.directory / "copy").rename(copy)
    assert recover(str(site.out), str(site.lock))
    assert site.lock_bytes() == decided


@pytest.mark.parametrize("first", [True, False], ids=["of the first build", "of a later build"])
@pytest.mark.parametrize("how", ["a full disk", "half a staged lock"])
def test_a_completion_that_could_not_write_the_staged_lock_is_repeated(tmp_path: Path, first: bool, how: str) -> None:
    site = Site(tmp_path, tmp_path / "pgtls.lock")
    if not first:
        site.build(TREE, issued(1))
    interrupt(site)
    (staged,) = site.directory.glob(".pgtls.lock.*.new")
    decided = staged.read_bytes()
    if how == "a full disk":
        staged.unlink()
        with limit(resource.RLIMIT_FSIZE, 100), pytest.raises(Rejected, match="PGT533"):
            recover(str(site.out), str(site.lock))
    else:
        staged.write_bytes(decided[:100])
    assert recover(str(site.out), str(site.lock))
    assert site.lock_bytes() == decided
    assert not list(site.directory.glob(".pgtls.lock.*"))


@pytest.mark.parametrize("first", [True, False], ids=["of the first build", "of a later build"])
def test_a_staged_lock_that_git_has_cleaned_away_is_written_from_its_copy(tmp_path: Path, first: bool) -> None:
    site = Site(tmp_path, tmp_path / "pgtls.lock")
    if not first:
        site.build(TREE, issued(1))
    interrupt(site)
    (staged,) = site.directory.glob(".pgtls.lock.*.new")
    decided = staged.read_bytes()
    staged.unlink()
    assert recover(str(site.out), str(site.lock))
    assert site.lock_bytes() == decided
    site.build(NEXT, issued(3))


@pytest.mark.parametrize("first", [True, False], ids=["of the first build", "of a later build"])
@pytest.mark.parametrize("how", ["moved", "copied"])
@pytest.mark.parametrize("put", [False, True], ids=["before the lock", "after the lock"])
@pytest.mark.parametrize("cleaned", [False, True], ids=["as it was", "without the staged lock"])
def test_a_project_that_moved_after_a_kill_completes_with_its_own_lock(
    tmp_path: Path, how: str, first: bool, put: bool, cleaned: bool
) -> None:
    (tmp_path / "old").mkdir()
    old, new = (Site(tmp_path / name, tmp_path / name / "pgtls.lock") for name in ("old", "new"))
    if not first:
        old.build(TREE, issued(1))
    interrupt(old)
    if put:
        put_in_place(old)
    before = old.lock_bytes()
    if how == "moved":
        old.directory.rename(new.directory)
    else:
        shutil.copytree(old.directory, new.directory)
    for staged in new.directory.glob(".pgtls.lock.*") if cleaned else ():
        staged.unlink()
    assert recover(str(new.out), str(new.lock))
    assert {line.certificate.serial for line in locks.read(new.lock).issued} == ({"2"} if first else {"1", "2"})
    assert not list(new.directory.glob(".pgtls.lock.*"))
    if how == "copied":
        assert old.lock_bytes() == before
        assert recover(str(old.out), str(old.lock))
        assert old.lock_bytes() == new.lock_bytes()


def put_in_place(site: Site) -> None:
    """Carry out the first operation of a decided build: the lock becomes the new one."""
    (staged,) = site.lock.parent.glob(".pgtls.lock.*.new")
    staged.rename(site.lock)


@pytest.mark.parametrize("put", [False, True], ids=["before the lock", "after the lock"])
@pytest.mark.parametrize("first", [True, False], ids=["of the first build", "of a later build"])
def test_a_project_whose_out_directory_stays_where_it_is_completes_with_its_own_lock(
    tmp_path: Path, first: bool, put: bool
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    site = Site(tmp_path, old / "pgtls.lock")
    if not first:
        site.build(TREE, issued(1))
    interrupt(site)
    if put:
        put_in_place(site)
    old.rename(new)
    for staged in new.glob(".pgtls.lock.*"):
        staged.unlink()
    assert recover(str(site.out), str(new / "pgtls.lock"))
    assert {line.certificate.serial for line in locks.read(new / "pgtls.lock").issued} == (
        {"2"} if first else {"1", "2"}
    )
    assert not old.exists()


def test_a_copy_whose_lock_is_another_one_changes_neither(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    old, new = (Site(tmp_path / name, tmp_path / name / "pgtls.lock") for name in ("old", "new"))
    old.build(TREE, issued(1))
    interrupt(old)
    shutil.copytree(old.directory, new.directory)
    before, other = old.lock_bytes(), replace(locks.read(new.lock), id="f" * 32).render()
    new.lock.write_bytes(other)
    with pytest.raises(Rejected, match="PGT524"):
        recover(str(new.out), str(new.lock))
    assert (old.lock_bytes(), new.lock_bytes()) == (before, other)


@pytest.mark.parametrize("name", ["other/pgtls.lock", "other.lock"])
def test_a_command_that_names_another_lock_completes_the_build_with_that_of_the_build(site: Site, name: str) -> None:
    interrupt(site)
    other = site.directory / name
    (site.directory / "other").mkdir()
    assert recover(str(site.out), str(other))
    assert (other.exists(), len(locks.read(site.lock).issued)) == (False, 2)


@pytest.mark.parametrize("what", ["the same lock", "another lock"])
def test_a_lock_that_changed_keeps_the_lines_of_both_also_without_the_staged_one(site: Site, what: str) -> None:
    interrupt(site)
    (staged,) = site.directory.glob(".pgtls.lock.*.new")
    staged.unlink()
    lock = locks.read(site.lock).with_lines(issued(7))
    if what == "another lock":
        site.lock.write_bytes(replace(lock, id="f" * 32).render())
        with pytest.raises(Rejected, match="PGT524"):
            recover(str(site.out), str(site.lock))
        return
    site.lock.write_bytes(lock.render())
    assert recover(str(site.out), str(site.lock))
    assert {line.certificate.serial for line in locks.read(site.lock).issued} == {"1", "2", "7"}


def test_a_staged_manifest_that_another_has_written_is_not_brought(site: Site) -> None:
    interrupt(site)
    staged = site.out / ".pgtls/staging/manifest.json"
    staged.write_text(staged.read_text().replace(sha256(b"").hexdigest(), "0" * 64) + " ")
    with pytest.raises(Rejected, match="PGT538"):
        recover(str(site.out), str(site.lock))


def test_the_key_of_a_tree_is_drawn_once_and_its_owners_alone(site: Site) -> None:
    path = site.out / ".pgtls/key"
    first = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert len(set(first)) > 8
    site.build(NEXT, issued(2))
    assert path.read_bytes() == first


def test_a_tree_of_an_older_version_gets_its_key_with_the_next_build(site: Site) -> None:
    (site.out / ".pgtls/key").unlink()
    interrupt(site)
    assert recover(str(site.out), str(site.lock))
    assert (site.out / ".pgtls/key").exists()


def test_git_overwrites_an_ignored_key_but_cannot_give_it_its_mode(site: Site) -> None:
    """The reason for the mode: what a pull brings replaces what .gitignore names, and the key with it."""
    env = {"PATH": os.environ["PATH"], "HOME": str(site.directory), "GIT_CONFIG_NOSYSTEM": "1"}

    def git(*words: str, cwd: Path = site.directory, umask: int = 0o22) -> None:
        call = ["git", "-c", "user.email=a@b", "-c", "user.name=x", *words]
        subprocess.run(call, cwd=cwd, env=env, check=True, capture_output=True, umask=umask)

    other = site.directory.with_name("other")
    git("init", "-q", "-b", "main")
    git("add", "pgtls.lock")
    git("commit", "-qm", "lock")
    git("clone", "-q", str(site.directory), str(other))
    (other / "out/.pgtls").mkdir(parents=True)
    (other / "out/.pgtls/key").write_bytes(b"k" * 32)
    git("add", "-f", "out", cwd=other)
    git("commit", "-qm", "tidy", cwd=other)
    git("pull", "-q", str(other), "main", umask=0o77)
    assert (site.out / ".pgtls/key").read_bytes() == b"k" * 32
    with opened(str(site.out)) as place:
        assert seal.read(place.root, place.private) is None
