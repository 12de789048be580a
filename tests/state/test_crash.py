"""A build killed at any of its writes: afterwards everything is old, or everything is new."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgtls.state import manifest as manifests
from pgtls.state.out_directory import observe_files
from pgtls.state.transaction import pending, recover
from state.trees import Site, Snapshot, issued, key, leftovers, public, snapshot
from support.killing import in_child, moments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from state.trees import Tree

OLD: Tree = {
    "ca/root/ca.crt": public("ca.root", "root 1"),
    "ca/root/ca.key": key("ca.root", "root 1"),
    "servers/db/server.crt": public("server.db", "db 1"),
    "servers/db/server.key": key("server.db", "db 1"),
    "servers/db/pg_hba.conf": public("server.db", "1", "hba"),
    "clients/app/root.crt": public("user.app", "root 1", "trust"),
    "clients/app/postgresql.crt": public("user.app", "app 1"),
    "clients/app/postgresql.key": key("user.app", "app 1"),
    "clients/bob/postgresql.key": key("user.bob", "bob 1"),
    "clients/carl/postgresql.key": key("user.carl", "carl 1"),
    "clients/carl/root.crt": public("user.carl", "root 1", "trust"),
    "clients/eve": public("user.eve", "a file where a directory will be", "bundle"),
    "servers/old/a/server.crt": public("server.old", "a directory where a file will be"),
    "servers/plain/root.crt": public("server.plain", "root 1", "trust"),
}
"""Before: a CA, servers, clients."""

NEW: Tree = {
    "ca/root/ca.crt": OLD["ca/root/ca.crt"],
    "ca/root/ca.key": OLD["ca/root/ca.key"],
    "ca/.retired/older/ca.key": key("ca.older", "older 1"),
    "servers/db/server.crt": public("server.db", "db 2"),
    "servers/db/server.key": key("server.db", "db 2"),
    "servers/db/pg_hba.conf": public("server.db", "2", "hba"),
    "clients/app/root.crt": public("user.app", "root 1 and root 2", "trust"),
    "clients/app/postgresql.crt": OLD["clients/app/postgresql.crt"],
    "clients/app/postgresql.key": OLD["clients/app/postgresql.key"],
    "clients/dora/postgresql.key": key("user.dora", "dora 1"),
    "clients/dora/postgresql.crt": public("user.dora", "dora 1"),
    "clients/eve/postgresql.key": key("user.eve", "eve 1"),
    "servers/old": public("server.old", "a file where a directory was", "conf"),
    "servers/plain/root.crt": OLD["servers/plain/root.crt"],
    "servers/plain/server.key": key("server.plain", "a key in a directory that was open"),
    "reports/access.md": public("ca.root", "a new top directory", "bundle"),
}
"""After: every kind of change.

The build replaces a pair, adds, changes and deletes bundles, and swaps a file and a directory;
a key closes its directory.
"""

LINES_BEFORE = (issued(1, "ca.root"), issued(2, "server.db"))
LINES_AFTER = (issued(3, "server.db"), issued(4, "user.dora"))
FOREIGN = "clients/bob/notes.txt"
"""A user's own file, in a directory whose other files go."""


MEMORY = Path("/dev/shm")
"""A second file system, and a quick one."""


@pytest.fixture(scope="module", params=["beside the spec", "on another file system"])
def sites(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """Make a site in the old state, and know both states. The lock lies where the parameter says."""
    directory = tmp_path_factory.mktemp("sites")
    if not MEMORY.is_dir() or MEMORY.stat().st_dev == directory.stat().st_dev:
        if request.param == "on another file system":
            pytest.skip("unavailable: no second file system at /dev/shm")
        yield Sites(directory, directory / "locks")
        return
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        memory = Path(name)
        yield Sites(memory if request.param == "beside the spec" else directory, memory / "locks")


class Sites:
    """Makes copies of one site in its old state."""

    def __init__(self, directory: Path, locks: Path) -> None:
        self._directory, self._locks = directory, locks
        self.template = self._site("template")
        self.template.build(OLD, *LINES_BEFORE)
        (self.template.out / FOREIGN).write_text("mine\n")
        self.old = state(self.template)
        finished = self.copy()
        finished.build(NEW, *LINES_AFTER)
        self.new = state(finished)
        self.discard(finished)

    def _site(self, name: str) -> Site:
        (self._directory / name).mkdir(parents=True)
        (self._locks / name).mkdir(parents=True)
        return Site(self._directory / name, self._locks / name / "pgtls.lock")

    def copy(self) -> Site:
        """Make another site in the old state."""
        site = self._site("copy")
        shutil.copytree(self.template.out, site.out)
        shutil.copy2(self.template.lock, site.lock)
        return site

    def discard(self, site: Site) -> None:
        """Remove a copy."""
        shutil.rmtree(site.directory)
        shutil.rmtree(site.lock.parent)

    @cached_property
    def moments(self) -> list[int]:
        """At which writes a build that is killed leaves its record."""
        found = []
        for number in count(1):
            site = self.copy()
            killed = in_child(lambda: site.build(NEW, *LINES_AFTER), kill_at=number).killed  # noqa: B023
            if pending(str(site.out)):
                found.append(number)
            self.discard(site)
            if not killed:
                break
        return found


State = tuple[Snapshot, bytes | None]


def state(site: Site) -> State:
    """Tree and lock, to be compared."""
    return snapshot(site.out), site.lock_bytes()


def finish(site: Site, sites: Sites, decided: bool) -> None:
    """Recover, and judge the tree.

    It is new if the commit was decided, else old; nothing staged is left; the manifest is true.
    The next build reaches the new state.
    """
    assert recover(str(site.out), str(site.lock)) is decided
    assert state(site) == (sites.new if decided else sites.old)
    assert leftovers(site) == []
    manifest = manifests.read(site.out)
    assert manifest is not None
    assert manifest.last
    observed = observe_files(str(site.out), manifest)
    assert set(observed.states.values()) == {"same"}
    assert observed.foreign == ("clients/bob/" if decided else FOREIGN,)
    site.build(NEW, *LINES_AFTER)
    assert state(site) == sites.new


def test_both_states_differ_in_everything_that_a_build_changes(sites: Sites) -> None:
    old, new = sites.old[0], sites.new[0]
    assert set(old) - set(new) == {
        "clients/bob/postgresql.key",
        "clients/carl",
        "clients/carl/postgresql.key",
        "clients/carl/root.crt",
        "servers/old/a",
        "servers/old/a/server.crt",
    }
    assert old["servers/plain"][1] == 0o755
    assert new["servers/plain"][1] == 0o700
    assert new["clients/dora/postgresql.key"][1] == 0o600
    assert FOREIGN in new
    assert sites.old[1] != sites.new[1]


def test_killed_at_each_write_a_build_has_happened_or_has_not(sites: Sites) -> None:
    site = sites.copy()
    total = in_child(lambda: site.build(NEW, *LINES_AFTER)).writes
    assert state(site) == sites.new
    sites.discard(site)
    assert total is not None
    seen = set()
    for number in moments(total):
        site = sites.copy()
        assert in_child(lambda: site.build(NEW, *LINES_AFTER), kill_at=number).killed  # noqa: B023
        decided = pending(str(site.out))
        seen.add("decided" if decided else "new" if state(site) == sites.new else "old")
        if not decided:  # until the record is there, nothing is touched; when it is gone, all is done
            assert state(site) in (sites.old, sites.new)
        if state(site) == sites.new and not decided:
            assert not recover(str(site.out), str(site.lock))
            assert state(site) == sites.new
            assert leftovers(site) == []
        else:
            finish(site, sites, decided)
        sites.discard(site)
    assert seen == {"old", "decided", "new"}


def test_killed_at_each_write_of_its_recovery_a_build_still_has_happened(sites: Sites) -> None:
    for number in sites.moments:
        total = _recovery_writes(sites, number)
        sample = range(1, total + 1) if number == sites.moments[0] else [1 + number % total]
        for again in sample:
            site = sites.copy()
            assert in_child(lambda: site.build(NEW, *LINES_AFTER), kill_at=number).killed  # noqa: B023
            assert in_child(lambda: recover(str(site.out), str(site.lock)), kill_at=again).killed  # noqa: B023
            if pending(str(site.out)):
                finish(site, sites, decided=True)
            else:
                assert not recover(str(site.out), str(site.lock))
                assert (state(site), leftovers(site)) == (sites.new, [])
            sites.discard(site)


def test_killed_at_each_write_of_discarding_a_build_has_not_happened(sites: Sites) -> None:
    moment = sites.moments[0] - 1
    total = _recovery_writes(sites, moment)
    for again in moments(total):
        site = sites.copy()
        assert in_child(lambda: site.build(NEW, *LINES_AFTER), kill_at=moment).killed  # noqa: B023
        assert in_child(lambda: recover(str(site.out), str(site.lock)), kill_at=again).killed  # noqa: B023
        finish(site, sites, decided=False)
        sites.discard(site)


def _recovery_writes(sites: Sites, number: int) -> int:
    site = sites.copy()
    in_child(lambda: site.build(NEW, *LINES_AFTER), kill_at=number)
    total = in_child(lambda: recover(str(site.out), str(site.lock))).writes
    sites.discard(site)
    assert total
    return total


def test_a_first_build_killed_at_each_write_leaves_a_directory_that_the_next_one_takes(tmp_path: Path) -> None:
    complete = Site(tmp_path, tmp_path / "pgtls.lock")
    total = in_child(lambda: complete.build(NEW, *LINES_AFTER)).writes
    assert total is not None
    new = state(complete)
    for number in moments(total):
        shutil.rmtree(complete.out)
        os.unlink(complete.lock)
        assert in_child(lambda: complete.build(NEW, *LINES_AFTER), kill_at=number).killed
        recover(str(complete.out), str(complete.lock))
        found = snapshot(complete.out)
        assert set(found) in ({".pgtls"}, set(), set(new[0]))
        assert (complete.lock_bytes() is not None) == ("manifest.json" in found)
        if "manifest.json" not in found:
            complete.build(NEW, *LINES_AFTER)
        assert state(complete) == new
        assert leftovers(complete) == []


def test_a_first_build_killed_at_each_write_leaves_nothing_that_git_adds_but_a_gitignore(tmp_path: Path) -> None:
    git = ("git", "-C", str(tmp_path))
    subprocess.run((*git, "init", "-q"), check=True)
    site = Site(tmp_path, tmp_path / "pgtls.lock")
    total = in_child(lambda: site.build(OLD)).writes
    assert total is not None
    for number in moments(total):
        shutil.rmtree(site.out, ignore_errors=True)
        site.lock.unlink(missing_ok=True)
        assert in_child(lambda: site.build(OLD), kill_at=number).killed
        listed = subprocess.run((*git, "ls-files", "-o", "--exclude-standard", "out"), check=True, capture_output=True)
        assert listed.stdout in (b"", b"out/.pgtls/.gitignore\n"), number
