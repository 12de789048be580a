"""The transaction on real file systems: modes, full disks, links, strangers' files, a lock that others write."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.pki.model import Entity
from pgtls.state import lock as locks
from pgtls.state import manifest as manifests
from pgtls.state.files import create
from pgtls.state.lock import Lock
from pgtls.state.out_directory import observe_files
from pgtls.state.transaction import LockChange, commit, pending, recover, refuse_pending
from pgtls.state.tree import File, Later
from state.trees import ID, Site, issued, key, leftovers, public, snapshot
from support.killing import in_child
from support.limits import limit
from support.system import is_root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from state.trees import Tree

TREE: Tree = {
    "ca/root/ca.crt": public("ca.root", "root"),
    "ca/root/ca.key": key("ca.root", "root"),
    "clients/app/postgresql.key": key("user.app", "app"),
    "clients/app/root.crt": public("user.app", "root"),
    "clients/local/env.sh": public("user.local", "no key here", "bundle"),
}
OTHER: Tree = {**TREE, "clients/app/root.crt": public("user.app", "other"), "clients/new/a": public("user.new", "a")}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Make a site that is not built yet."""
    (tmp_path / "site").mkdir()
    return Site(tmp_path / "site", tmp_path / "site" / "pgtls.lock")


@pytest.fixture
def built(site: Site) -> Site:
    """Make a site with TREE in it."""
    site.build(TREE, issued(1))
    return site


def rejected(site: Site, tree: Tree) -> Diagnostic:
    """Build, which must fail and leave everything as it was; give the reason."""
    before = snapshot(site.out), site.lock_bytes()
    with pytest.raises(Rejected) as raised:
        site.build(tree, issued(99))
    assert (snapshot(site.out), site.lock_bytes()) == before
    assert leftovers(site) == []
    assert not pending(str(site.out))
    (found,) = raised.value.diagnostics
    return found


# Modes


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777], ids=oct)
def test_modes_are_the_same_whatever_the_umask(site: Site, umask: int) -> None:
    before = os.umask(umask)
    try:
        site.build(TREE, issued(1))
        site.build(OTHER, issued(2))
    finally:
        os.umask(before)
    modes = {path: f"{mode:04o}" for path, (_, mode, _) in snapshot(site.out).items()}
    assert modes == {
        ".gitignore": "0644",
        ".pgtls": "0700" if umask != 0o777 else modes[".pgtls"],
        "manifest.json": "0644",
        "ca": "0755",
        "ca/root": "0700",
        "ca/root/ca.crt": "0644",
        "ca/root/ca.key": "0600",
        "clients": "0755",
        "clients/app": "0700",
        "clients/app/postgresql.key": "0600",
        "clients/app/root.crt": "0644",
        "clients/local": "0755",
        "clients/local/env.sh": "0644",
        "clients/new": "0755",
        "clients/new/a": "0644",
    }
    assert oct(site.lock.stat().st_mode & 0o777) == "0o644"


def test_a_key_is_closed_from_its_first_byte(tmp_path: Path) -> None:
    """The process dies in the middle of writing the key; what it left may be read by nobody else."""

    def write() -> None:
        os.umask(0)
        create(str(tmp_path / "ca.key"), b"secret" * 100, 0o600)

    outcome = in_child(write, kill_at=2)
    assert outcome.killed
    assert 0 < (tmp_path / "ca.key").stat().st_size < 600
    assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600


def test_staged_keys_lie_where_nobody_else_gets_to(site: Site) -> None:
    seen: list[int] = []
    site.build(TREE, progress=lambda _: seen.append((site.out / ".pgtls").stat().st_mode & 0o777))
    assert set(seen) == {0o700}


def test_a_directory_closes_before_it_gets_a_key_and_opens_after_it_lost_it(built: Site) -> None:
    built.build({**TREE, "clients/local/postgresql.key": key("user.local", "new")})
    assert (built.out / "clients/local").stat().st_mode & 0o777 == 0o700
    built.build(TREE)
    assert (built.out / "clients/local").stat().st_mode & 0o777 == 0o755


def test_a_file_whose_mode_alone_was_changed_gets_it_back_without_its_content(built: Site) -> None:
    path = built.out / "ca/root/ca.key"
    path.chmod(0o644)
    content, changed = path.read_bytes(), path.stat().st_mtime_ns
    manifest = (built.out / "manifest.json").read_bytes()
    commit(
        str(built.out), {"ca/root/ca.key": File(Later.KEPT, 0o600, "key", Entity("ca.root"))}, (), lambda _: [manifest]
    )
    assert (path.stat().st_mode & 0o777, path.read_bytes(), path.stat().st_mtime_ns) == (0o600, content, changed)


def test_a_directory_with_a_key_that_was_opened_closes_again(built: Site) -> None:
    (built.out / "ca/root").chmod(0o755)
    manifest = manifests.read(built.out)
    assert manifest is not None
    assert observe_files(str(built.out), manifest).states["ca/root/ca.key"] == "mode"
    kept = {"ca/root/ca.key": File(Later.KEPT, 0o600, "key", Entity("ca.root"))}
    commit(str(built.out), kept, (), lambda _: manifest.parts(), private={"ca/root"})
    assert (built.out / "ca/root").stat().st_mode & 0o777 == 0o700
    assert set(observe_files(str(built.out), manifest).states.values()) == {"same"}


def test_a_lock_keeps_its_mode(built: Site) -> None:
    built.lock.chmod(0o664)
    built.build(OTHER, issued(2))
    assert built.lock.stat().st_mode & 0o777 == 0o664


# What stays


def test_files_that_do_not_change_are_not_touched(built: Site) -> None:
    before = {path: (built.out / path).stat() for path in TREE}
    built.build(OTHER, issued(2))
    after = {path: (built.out / path).stat() for path in TREE}
    changed = {
        path
        for path in TREE
        if (before[path].st_ino, before[path].st_mtime_ns) != (after[path].st_ino, after[path].st_mtime_ns)
    }
    assert changed == {"clients/app/root.crt"}


def test_the_manifest_tells_the_truth_about_what_was_written(built: Site) -> None:
    manifest = manifests.read(built.out)
    assert manifest is not None
    assert manifest.files.keys() == TREE.keys()
    for path, known in manifest.files.items():
        found = (built.out / path).stat()
        assert (known.size, known.mtime_ns, known.mode) == (found.st_size, found.st_mtime_ns, found.st_mode & 0o777)


def test_strangers_files_stay_and_keep_their_directory(built: Site) -> None:
    (built.out / "clients/app/notes.txt").write_text("mine")
    (built.out / "clients/local/empty").mkdir()
    built.build({path: TREE[path] for path in TREE if path.startswith("ca/")})
    assert (built.out / "clients/app/notes.txt").read_text() == "mine"
    assert sorted(path.name for path in (built.out / "clients/app").iterdir()) == ["notes.txt"]
    assert (built.out / "clients/local/empty").is_dir()


def test_directories_that_a_deletion_empties_go(built: Site) -> None:
    built.build({path: TREE[path] for path in TREE if path.startswith("ca/")})
    assert sorted(path.name for path in built.out.iterdir()) == [".gitignore", ".pgtls", "ca", "manifest.json"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (".gitignore", "# committed\n*\n!.gitignore\n!/.gitkeep\n"),
        (".gitignore", "*\r\n"),
        (".gitkeep", "# committed\n"),
    ],
)
def test_a_committed_placeholder_is_left_alone(site: Site, name: str, content: str) -> None:
    site.out.mkdir()
    (site.out / name).write_bytes(content.encode())
    site.build(TREE)
    assert (site.out / name).read_bytes() == content.encode()
    assert (site.out / ".gitignore").exists()


@pytest.mark.parametrize("content", ["", "# *\n", "*\n!*.key\n", "*\r#\n", " *\n", "/ca/\n", "!.gitkeep\n"])
def test_a_committed_gitignore_that_does_not_ignore_the_keys_is_replaced(site: Site, content: str) -> None:
    """Also in a tree that is built: git checkout replaces a file that is ignored."""
    git = ("git", "-C", str(site.directory))
    subprocess.run((*git, "init", "-q"), check=True)
    site.out.mkdir()
    for tree in (TREE, TREE | {"clients/new/postgresql.key": key("user.new", "new")}):
        (site.out / ".gitignore").write_text(content)
        site.build(tree)
        assert (site.out / ".gitignore").read_text() == "*\n"
        found = subprocess.run((*git, "status", "-s", "-uall", "out"), check=True, capture_output=True)
        assert found.stdout == b""


def test_a_repository_of_its_own_decides_what_it_ignores(site: Site) -> None:
    (site.out / ".git").mkdir(parents=True)
    (site.out / ".gitignore").write_text("/.pgtls/\n")
    site.build(TREE)
    assert (site.out / ".gitignore").read_text() == "/.pgtls/\n"


def test_a_gitignore_that_is_a_link_is_replaced(site: Site) -> None:
    """No git follows it."""
    site.out.mkdir()
    (site.directory / "all").write_text("*\n")
    (site.out / ".gitignore").symlink_to("../all")
    site.build(TREE)
    assert not (site.out / ".gitignore").is_symlink()


def test_a_first_build_takes_one_rename_a_top_directory(site: Site) -> None:
    log = in_child(lambda: site.build({f"clients/u{n}/a": public(f"user.u{n}", "a") for n in range(50)})).log
    # The key, the record, the lock and its copy, clients, .gitignore, the memory, the manifest.
    assert sum("os.rename" in line for line in log) == 8


def test_progress_counts_the_files_that_are_written(site: Site) -> None:
    told: list[int] = []
    site.build(TREE, progress=told.append)
    assert sum(told) == len(TREE) + 1  # and .gitignore


# What fails


BIG: Tree = {**OTHER, "clients/zoe/root.crt": File(b"x" * 300_000, 0o644, "trust", Entity("user.zoe"))}


def test_a_file_over_the_size_limit_ends_the_build_and_leaves_nothing(built: Site) -> None:
    with limit(resource.RLIMIT_FSIZE, 100_000):
        found = rejected(built, BIG)
    assert (found.code, found.message) == ("PGT530", f'cannot write "{built.out}/clients/zoe/root.crt": File too large')
    assert found.hint == "the limit on file sizes is too low: see ulimit -f; nothing has changed"
    built.build(BIG, issued(99))
    assert (built.out / "clients/zoe/root.crt").stat().st_size == 300_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 256 kB."""
    if not is_root():
        pytest.skip("unavailable: only root can mount a small file system")
    directory = tmp_path / "disk"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"unavailable: no small file system can be mounted here: {mounted.stderr.strip()}")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def test_a_full_disk_ends_the_build_and_leaves_nothing(small_disk: Path) -> None:
    site = Site(small_disk, small_disk / "pgtls.lock")
    site.build(TREE, issued(1))
    found = rejected(site, BIG)
    assert found.code == "PGT530"
    assert found.message == f'cannot write "{site.out}/clients/zoe/root.crt": No space left on device'
    assert found.hint == "free some space and build again; nothing has changed"
    site.build(OTHER, issued(2))


def test_a_full_disk_under_the_lock_ends_the_build_and_leaves_nothing(small_disk: Path, tmp_path: Path) -> None:
    site = Site(tmp_path, small_disk / "pgtls.lock")
    site.build(TREE, issued(1))
    (small_disk / "filler").write_bytes(b"x" * 248_000)
    before = snapshot(site.out), site.lock_bytes()
    with pytest.raises(Rejected, match=re.escape(f'PGT530: cannot write "{site.lock}": No space left on device')):
        site.build(OTHER, *(issued(number) for number in range(100, 300)))
    assert ((snapshot(site.out), site.lock_bytes()), leftovers(site)) == (before, [])
    (small_disk / "filler").unlink()
    site.build(OTHER, issued(2))


@pytest.mark.parametrize("room", range(0, 72_000, 8_000))
def test_however_little_room_there_is_all_is_old_or_all_is_new(small_disk: Path, room: int) -> None:
    site = Site(small_disk, small_disk / "pgtls.lock")
    site.build(TREE, issued(1))
    before = snapshot(site.out), site.lock_bytes()
    free = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(b"x" * max(0, free.f_bavail * free.f_frsize - room))
    try:
        site.build(OTHER, issued(2))
    except Rejected:
        assert ((snapshot(site.out), site.lock_bytes()), leftovers(site)) == (before, [])
    (small_disk / "filler").unlink()
    recover(str(site.out), str(site.lock))
    site.build(OTHER, issued(2))
    assert (site.out / "clients/new/a").exists()


def as_another_user(site: Site, tree: Tree) -> int:
    """Build as a user that owns nothing here."""
    for path in (site.directory, site.out, *site.directory.parents[:3]):
        path.chmod(0o755)

    def build() -> None:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        with pytest.raises(Rejected, match=r'PGT530: cannot write ".*": Permission denied'):
            commit(str(site.out), tree, (), lambda _: [b"{}"])

    return in_child(build).status


@pytest.mark.skipif(not is_root(), reason="unavailable: only root can build as somebody else")
def test_a_directory_of_somebody_else_is_an_error(built: Site) -> None:
    before = snapshot(built.out)
    assert as_another_user(built, OTHER) == 0
    assert snapshot(built.out) == before


@pytest.mark.skipif(not is_root(), reason="unavailable: only root can build as somebody else")
@pytest.mark.parametrize("closed", ["", "clients", "clients/app"])
def test_a_directory_of_the_tree_that_may_not_be_changed_is_found_out_before_anything_is_decided(
    built: Site, closed: str
) -> None:
    for directory in (built.out, *(path for path in built.out.rglob("*") if path.is_dir())):
        os.chown(directory, 65534, 65534)
    os.chown(built.out / closed, 0, 0)
    (built.out / closed).chmod(0o755)
    before = snapshot(built.out)
    tree = {"clients/app/new": public("user.app", "1"), "clients/new/a": public("user.new", "1")}
    assert as_another_user(built, tree) == 0
    assert snapshot(built.out) == before
    assert not pending(str(built.out))


@pytest.mark.skipif(not is_root(), reason="unavailable: only root can mount")
def test_a_read_only_file_system_is_an_error(built: Site) -> None:
    for command in (["--bind"], ["-o", "remount,bind,ro"]):
        done = subprocess.run(["mount", *command, str(built.out), str(built.out)], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("unavailable: nothing can be mounted here")
    try:
        found = rejected(built, OTHER)
    finally:
        subprocess.run(["umount", str(built.out)], check=True)
    assert (found.code, found.message.rpartition(": ")[2]) == ("PGT530", "Read-only file system")
    assert found.hint == "the file system is mounted read-only; nothing has changed"


def test_a_lock_whose_directory_is_gone_is_an_error(built: Site) -> None:
    elsewhere = Site(built.directory, built.directory / "gone" / "pgtls.lock")
    before = snapshot(built.out)
    with pytest.raises(Rejected, match=r'PGT530: cannot write ".*/gone/pgtls\.lock": No such file or directory'):
        commit(str(elsewhere.out), OTHER, (), lambda _: [], LockChange(str(elsewhere.lock), b"", None))
    assert snapshot(built.out) == before
    assert leftovers(built) == []


def test_whatever_interrupts_the_staging_nothing_is_left(built: Site) -> None:
    before = snapshot(built.out), built.lock_bytes()

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built.build(OTHER, issued(99), progress=stop)
    assert ((snapshot(built.out), built.lock_bytes()), leftovers(built)) == (before, [])


# What is in the way


@pytest.mark.parametrize("path", ["clients", "clients/app", ".pgtls"])
@pytest.mark.parametrize("dangling", [False, True], ids=["to a directory", "to nothing"])
def test_a_link_in_place_of_a_directory_is_never_followed(
    built: Site, tmp_path: Path, path: str, dangling: bool
) -> None:
    outside = tmp_path / "outside"
    shutil.move(built.out / path, outside)
    before = snapshot(outside)
    (built.out / path).symlink_to(tmp_path / "nowhere" if dangling else outside)
    with pytest.raises(Rejected, match=re.escape(f'PGT525: "{path}" in the out directory is a symbolic link')):
        commit(str(built.out), OTHER, ["clients/local/env.sh"], lambda _: [])
    assert snapshot(outside) == before
    assert (built.out / path).is_symlink()
    assert not (tmp_path / "nowhere").exists()


def test_a_link_in_place_of_a_directory_is_not_followed_to_delete(built: Site, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    shutil.move(built.out / "clients/app", outside)
    (built.out / "clients/app").symlink_to(outside)
    with pytest.raises(Rejected, match="PGT525"):
        commit(str(built.out), {}, ["clients/app/root.crt"], lambda _: [])
    assert (outside / "root.crt").exists()


def test_a_link_in_place_of_a_file_is_replaced_and_what_it_points_to_stays(built: Site, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    for path in ("clients/app/root.crt", "clients/local/env.sh", "manifest.json"):
        (built.out / path).unlink()
        (built.out / path).symlink_to(outside)
    changes = {"clients/app/root.crt": OTHER["clients/app/root.crt"]}
    commit(str(built.out), changes, ["clients/local/env.sh"], lambda _: [b"{}"])
    assert outside.read_text() == "mine"
    assert (built.out / "clients/app/root.crt").read_bytes() == OTHER["clients/app/root.crt"].content
    assert not os.path.lexists(built.out / "clients/local")
    assert (built.out / "manifest.json").read_text().startswith("{}")


def test_a_link_planted_after_the_decision_is_not_followed(built: Site, tmp_path: Path) -> None:
    """The attacker has the whole time between a crash and the next build."""
    moment = next(n for n in range(1, 200) if _decided(built, n))
    assert moment
    outside = tmp_path / "outside"
    shutil.move(built.out / "clients/app", outside)
    before = snapshot(outside)
    (built.out / "clients/app").symlink_to(outside)
    with pytest.raises(Rejected, match=r"PGT533: the build is decided, but .* cannot be put in place: Not a directory"):
        recover(str(built.out), str(built.lock))
    assert snapshot(outside) == before
    (built.out / "clients/app").unlink()
    shutil.move(outside, built.out / "clients/app")
    assert recover(str(built.out), str(built.lock))
    assert (built.out / "clients/app/root.crt").read_bytes() == OTHER["clients/app/root.crt"].content


def _decided(site: Site, number: int) -> bool:
    in_child(lambda: site.build(OTHER, issued(2)), kill_at=number)
    return pending(str(site.out)) or recover(str(site.out), str(site.lock))


def test_a_strangers_file_where_a_directory_is_needed_is_an_error(built: Site) -> None:
    (built.out / "servers").write_text("mine")
    found = rejected(built, {**TREE, "servers/db/server.key": key("server.db", "db")})
    assert (found.code, found.message) == (
        "PGT526",
        'a file lies where the build needs a directory: "servers" in the out directory',
    )
    assert (built.out / "servers").read_text() == "mine"


def test_a_strangers_directory_where_a_file_is_needed_is_an_error(built: Site) -> None:
    (built.out / "clients/app/crl/mine").mkdir(parents=True)
    found = rejected(built, {**TREE, "clients/app/crl": public("user.app", "crl")})
    assert (found.code, found.message) == (
        "PGT526",
        'a directory lies where the build needs a file: "clients/app/crl" in the out directory',
    )


def test_a_directory_of_ours_that_holds_a_strangers_file_does_not_become_a_file(built: Site) -> None:
    (built.out / "clients/app/notes.txt").write_text("mine")
    tree = {path: TREE[path] for path in TREE if not path.startswith("clients/app")}
    found = rejected(built, {**tree, "clients/app": public("user.app", "a file")})
    assert found.code == "PGT526"
    assert (built.out / "clients/app/notes.txt").read_text() == "mine"


# The lock and the record


def test_a_lock_that_changed_meanwhile_is_not_written_over(built: Site) -> None:
    read = locks.read(built.lock)
    pulled = read.with_lines(issued(7, "user.pulled"))
    built.lock.write_bytes(pulled.render())
    before = snapshot(built.out)
    change = LockChange(str(built.lock), read.with_lines(issued(8)).render(), read.digest)
    with pytest.raises(Rejected, match="PGT531: the lock changed while the build ran"):
        commit(str(built.out), OTHER, (), lambda _: [b"{}"], change)
    assert built.lock_bytes() == pulled.render()
    assert (snapshot(built.out), leftovers(built)) == (before, [])


def test_a_lock_that_is_pulled_between_a_crash_and_the_next_build_keeps_the_lines_of_both(built: Site) -> None:
    assert next(n for n in range(1, 200) if _decided(built, n) and pending(str(built.out)))
    pulled = locks.read(built.lock).with_lines(issued(7, "user.pulled"))
    built.lock.write_bytes(pulled.render())
    assert recover(str(built.out), str(built.lock))
    assert {line.serial for line in locks.read(built.lock).issued} == {"1", "2", "7"}
    assert leftovers(built) == []


def test_another_lock_put_in_place_between_a_crash_and_the_next_build_is_an_error(built: Site) -> None:
    assert next(n for n in range(1, 200) if _decided(built, n) and pending(str(built.out)))
    ours = built.lock.read_bytes()
    other = Lock(ID[::-1], (issued(7),)).render()
    built.lock.write_bytes(other)
    with pytest.raises(Rejected, match="PGT524: the lock was replaced by another one"):
        recover(str(built.out), str(built.lock))
    assert built.lock.read_bytes() == other
    built.lock.write_bytes(ours)
    assert recover(str(built.out), str(built.lock))
    assert {line.serial for line in locks.read(built.lock).issued} == {"1", "2"}


def test_a_lock_that_becomes_a_link_after_it_was_read_is_not_followed(built: Site, tmp_path: Path) -> None:
    """A commit can bring a link, between the reading of the lock and its writing too."""
    real, read = tmp_path / "real.lock", locks.read(built.lock)
    shutil.move(built.lock, real)
    built.lock.symlink_to(real)
    before = real.read_bytes()
    change = LockChange(str(built.lock), read.with_lines(issued(8)).render(), read.digest)
    with pytest.raises(Rejected, match="PGT530: cannot write"):
        commit(str(built.out), OTHER, (), lambda _: [b"{}"], change)
    assert (real.read_bytes(), leftovers(built)) == (before, [])


def test_who_reads_a_half_built_tree_is_told_to_build(built: Site) -> None:
    refuse_pending(str(built.out))
    assert next(n for n in range(1, 200) if _decided(built, n) and pending(str(built.out)))
    with pytest.raises(Rejected, match="PGT534: an interrupted build: run pgtls build"):
        refuse_pending(str(built.out))
    recover(str(built.out), str(built.lock))
    refuse_pending(str(built.out))


DAMAGED = {
    "no JSON": "{",
    "another version": '{"pgtls_commit": 1, "lock": null, "steps": []}',
    "an absolute path": (
        '{"pgtls_commit": 2, "lock": null, "before": null, "after": null, "steps": [["unlink", "/etc/passwd", 0]]}'
    ),
    "a path out of the tree": (
        '{"pgtls_commit": 2, "lock": null, "before": null, "after": null, '
        '"steps": [["unlink", "clients/../../victim", 0]]}'
    ),
    "an unknown verb": (
        '{"pgtls_commit": 2, "lock": null, "before": null, "after": null, "steps": [["exec", "clients", 0]]}'
    ),
    "nothing": "",
    "a list": "[]",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_record_is_an_error_and_nothing_is_done(built: Site, name: str) -> None:
    (built.directory / "victim").write_text("mine")
    (built.out / ".pgtls/commit.json").write_text(DAMAGED[name])
    before = snapshot(built.out)
    with pytest.raises(Rejected, match="PGT532: the record of an interrupted build is damaged, or of another version"):
        recover(str(built.out), str(built.lock))
    assert snapshot(built.out) == before
    assert (built.directory / "victim").exists()


def test_a_record_without_what_was_staged_is_an_error(built: Site) -> None:
    assert next(n for n in range(1, 200) if _decided(built, n) and pending(str(built.out)))
    shutil.rmtree(built.out / ".pgtls/staging")
    with pytest.raises(Rejected, match="PGT533"):
        recover(str(built.out), str(built.lock))


def test_recovering_what_is_not_there_makes_nothing(tmp_path: Path) -> None:
    assert not recover(str(tmp_path / "out"), str(tmp_path / "pgtls.lock"))
    assert list(tmp_path.iterdir()) == []


# Any tree to any other

names = st.sampled_from(["a", "b", "a/b", "a/b/c", "a/c", "b/a", "b/a/a", "c/d/e", "d"])
contents = st.sampled_from([make("user.x", text) for make in (key, public) for text in ("1", "2")])


def without_conflicts(tree: dict[str, File]) -> dict[str, File]:
    """Leave out what lies below a path that is a file."""
    return {path: file for path, file in tree.items() if not any(path.startswith(f"{other}/") for other in tree)}


trees = st.dictionaries(names, contents, max_size=6).map(without_conflicts)


@settings(max_examples=60)
@given(first=trees, second=trees)
def test_building_over_any_tree_gives_what_building_anew_gives(
    tmp_path_factory: pytest.TempPathFactory, first: Tree, second: Tree
) -> None:
    directory = tmp_path_factory.mktemp("any")
    over, anew = Site(directory / "over", directory / "over.lock"), Site(directory / "anew", directory / "anew.lock")
    for site in (over, anew):
        site.directory.mkdir()
    over.build(first)
    over.build(second)
    anew.build(second)
    assert snapshot(over.out) == snapshot(anew.out)
    manifest = manifests.read(over.out)
    assert manifest is not None
    observed = observe_files(str(over.out), manifest)
    assert (set(observed.states.values()) - {"same"}, observed.foreign) == (set(), ())


def test_committing_imports_neither_pydantic_nor_cryptography() -> None:
    code = (
        "import sys, pgtls.state.transaction; print(*sorted({'pydantic', 'cryptography', 'ctypes'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
