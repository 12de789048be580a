"""Whose the out directory is, and what has become of each file in it."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from pgtls.diagnostics import Rejected
from pgtls.state import manifest as manifests
from pgtls.state.git_index import committed_link
from pgtls.state.lock import Lock
from pgtls.state.manifest import Inputs, Manifest
from pgtls.state.names import own_files
from pgtls.state.out_directory import check_lock, foreign_files, inspect, observe_files
from state.trees import ID, NOW, Site, issued, key, public, snapshot
from support.killing import in_child
from support.system import is_root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pgtls.state.out_directory import Observed
    from state.trees import Tree

TREE: Tree = {
    "clients/app/postgresql.key": key("user.app", "app"),
    "clients/app/root.crt": public("user.app", "root"),
    "servers/db/pg_hba.conf": public("server.db", "hba", "hba"),
}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Make a site with TREE in it."""
    built = Site(tmp_path, tmp_path / "pgtls.lock")
    built.build(TREE, issued(1))
    return built


def observed(site: Site) -> Observed:
    manifest = manifests.read(site.out)
    assert manifest is not None
    return observe_files(str(site.out), manifest)


def code(raised: pytest.ExceptionInfo[Rejected]) -> str:
    (found,) = raised.value.diagnostics
    assert found.hint
    return f"{found.code}: {found.message}"


# Whose it is


def test_what_is_not_there_may_be_built(tmp_path: Path) -> None:
    assert inspect(str(tmp_path / "out")) == "absent"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("names", [[], [".gitignore"], [".gitkeep"], [".gitignore", ".gitkeep", ".pgtls"]], ids=str)
def test_a_directory_with_nothing_but_placeholders_may_be_built(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert inspect(f"{tmp_path}/") == "empty"


def test_a_directory_with_a_manifest_is_ours(site: Site) -> None:
    assert inspect(str(site.out)) == "ours"


def test_a_first_build_that_was_interrupted_is_ours(tmp_path: Path) -> None:
    site = Site(tmp_path, tmp_path / "pgtls.lock")
    states = set()
    for number in range(1, 100):
        if not in_child(lambda: site.build(TREE), kill_at=number).killed:
            break
        states.add(inspect(str(site.out)) if site.out.exists() else "absent")
        shutil.rmtree(site.out, ignore_errors=True)
        site.lock.unlink(missing_ok=True)
    assert states == {"absent", "empty", "ours"}


def test_a_directory_of_somebody_else_is_an_error(tmp_path: Path) -> None:
    for name in ("thesis.tex", "b", "c", "d", "e", "f", "g", ".gitignore"):
        (tmp_path / name).touch()
    before = snapshot(tmp_path)
    with pytest.raises(Rejected) as raised:
        inspect(str(tmp_path))
    assert code(raised) == (
        f'PGT520: the out directory "{tmp_path}" is not empty and was not made by pgtls: '
        'it holds "b", "c", "d", "e", "f" and 2 more'
    )
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("end", ["", "/"])
def test_a_link_is_an_error_wherever_it_points(site: Site, end: str) -> None:
    link = site.directory / "link"
    link.symlink_to(site.out)
    with pytest.raises(Rejected) as raised:
        inspect(f"{link}{end}")
    assert code(raised) == f'PGT521: the out directory "{link}" is a symbolic link'


@pytest.mark.parametrize("path", ["deploy/out", "deploy/new/out/", "./below/../deploy/out", "below/deploy/out"])
@pytest.mark.parametrize("where", ["a work tree", "the current directory", "both"])
def test_a_link_above_it_that_a_commit_can_bring_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, path: str
) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    for directory in (site / "below", elsewhere):
        directory.mkdir(parents=True)
    (site / "below" / "deploy").symlink_to("../deploy")
    (site / "deploy").symlink_to(elsewhere)
    (tmp_path / "way").symlink_to("site")  # the user's own
    monkeypatch.chdir(tmp_path if where == "a work tree" else site)
    if where != "the current directory":
        (site / ".git").mkdir()
        (site / ".git" / "HEAD").touch()
    out = path if where != "a work tree" else f"{tmp_path}/way/{path}"
    with pytest.raises(Rejected) as raised:
        inspect(out)
    assert code(raised).startswith(f'PGT521: "{out.rstrip("/")}" leads through the symbolic link ')
    assert list(elsewhere.iterdir()) == []
    real = os.path.realpath(out)
    assert f'without links: "{real}"' in str(raised.value.diagnostics[0].hint)
    assert inspect(real) == "absent"


def test_a_link_above_it_that_no_commit_brings_is_part_of_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "home" / "site"
    (site / ".git").mkdir(parents=True)
    (site / ".git" / "HEAD").touch()
    (tmp_path / "way").symlink_to("home")
    for here in (site, tmp_path):
        monkeypatch.chdir(here)
        for path in (f"{tmp_path}/way/site/out", f"{tmp_path}/way/out", "out"):
            assert inspect(path) == "absent"
    monkeypatch.chdir(site)
    assert inspect("../../way/site/out") == "absent"


@pytest.mark.parametrize("target", ["{}/site/deploy/now", "site/deploy/now", "next", "site/./below/../deploy/now"])
def test_a_link_that_a_commit_can_bring_is_an_error_also_on_the_way_of_the_machines_own(
    tmp_path: Path, target: str
) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    for directory in (site / ".git", site / "deploy", site / "below", elsewhere):
        directory.mkdir(parents=True)
    (site / ".git" / "HEAD").touch()
    (site / "deploy" / "now").mkdir()
    (tmp_path / "current").symlink_to(target.format(tmp_path))
    (tmp_path / "next").symlink_to("site/deploy/now")
    assert inspect(f"{tmp_path}/current/out") == "absent"
    (site / "deploy" / "now").rmdir()
    (site / "deploy" / "now").symlink_to("../../elsewhere")
    with pytest.raises(Rejected) as raised:
        inspect(f"{tmp_path}/current/out")
    assert code(raised).startswith(f'PGT521: "{tmp_path}/current/out" leads through the symbolic link "{tmp_path}/')
    assert 'deploy/now", which a commit can change' in code(raised)
    assert list(elsewhere.iterdir()) == []


def test_links_that_lead_in_a_circle_are_no_endless_way(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle/more")
    assert committed_link(f"{tmp_path}/circle/out") is None


@pytest.mark.parametrize("path", ["file", "file/out"])
def test_a_file_is_an_error(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Rejected) as raised:
        inspect(str(tmp_path / path))
    assert code(raised) == f'PGT522: the out directory "{tmp_path / path}" is not a directory'


@pytest.mark.skipif(not is_root(), reason="unavailable: only root can become somebody else")
def test_a_directory_that_may_not_be_read_is_an_error(site: Site) -> None:
    for path in (site.directory, *site.directory.parents[:3]):
        path.chmod(0o755)
    site.out.chmod(0o700)

    def look() -> None:
        os.setgid(65534)
        os.setuid(65534)
        with pytest.raises(Rejected, match=r'PGT527: cannot read ".*/out": Permission denied'):
            inspect(str(site.out))

    assert in_child(look).status == 0


def test_another_lock_or_none_is_an_error(site: Site) -> None:
    manifest = manifests.read(site.out)
    check_lock("out", manifest, Lock(ID))
    check_lock("out", None, Lock("f" * 32))
    with pytest.raises(Rejected) as raised:
        check_lock("out", manifest, Lock("f" * 32, file="other.lock"))
    assert code(raised) == (
        f'PGT524: the out directory "out" belongs to another lock: its id is {ID}, that of "other.lock" is {"f" * 32}'
    )
    with pytest.raises(Rejected) as raised:
        check_lock("out", manifest, Lock(file="pgtls.lock"))
    assert code(raised) == 'PGT524: the lock of the out directory "out" is missing: there is no "pgtls.lock"'


def test_the_lock_of_an_out_directory_is_found_under_another_name(site: Site) -> None:
    manifest = manifests.read(site.out)
    other, mine, looked_for = (site.out.parent / name for name in ("a.lock", "b.lock", "renamed.lock"))
    other.write_bytes(Lock("f" * 32).render())
    mine.write_bytes(Lock(ID).render())
    for lock in (Lock(file=str(looked_for)), Lock("f" * 32, file=str(other))):
        with pytest.raises(Rejected) as raised:
            check_lock(str(site.out), manifest, lock)
        assert raised.value.diagnostics[0].hint == f"the lock of this out directory is here: --lock {mine}"


# What became of its files


def test_nothing_has_changed_right_after_a_build(site: Site) -> None:
    assert set(observed(site).states.values()) == {"same"}
    assert observed(site).foreign == ()


def _replace_by_link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def _replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "touched": (lambda path: os.utime(path, ns=(1, 1)), "touched"),
    "written again with the same content": (lambda path: path.write_bytes(path.read_bytes()), "touched"),
    "longer": (lambda path: path.write_bytes(path.read_bytes() + b"\n"), "edited"),
    "as long but other": (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"), "edited"),
    "deleted": (lambda path: path.unlink(), "missing"),
    "another mode": (lambda path: path.chmod(0o640), "mode"),
    "a link": (_replace_by_link, "edited"),
    "a directory": (_replace_by_directory, "edited"),
    "a pipe, which nobody writes to": (_replace_by_pipe, "edited"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_was_changed_is_told_apart(site: Site, change: str) -> None:
    act, expected = CHANGES[change]
    act(site.out / "clients/app/root.crt")
    states = observed(site).states
    assert states["clients/app/root.crt"] == expected
    assert {state for path, state in states.items() if path != "clients/app/root.crt"} == {"same"}


def test_a_file_is_read_only_where_its_stat_differs(site: Site) -> None:
    """A file whose content is exchanged behind an unchanged stat stays unseen: that is the price of not reading it."""
    path = site.out / "clients/app/root.crt"
    before = path.stat()
    path.write_bytes(b"x" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert observed(site).states["clients/app/root.crt"] == "same"


def test_the_entry_of_a_touched_file_has_the_stat_of_today(site: Site) -> None:
    os.utime(site.out / "clients/app/root.crt", ns=(5, 5))
    assert observed(site).entries["clients/app/root.crt"].mtime_ns == 5


def test_a_key_in_a_directory_that_was_opened_to_others_needs_its_mode_back(site: Site) -> None:
    (site.out / "clients/app").chmod(0o750)
    assert observed(site).states == {
        "clients/app/postgresql.key": "mode",
        "clients/app/root.crt": "same",
        "servers/db/pg_hba.conf": "same",
    }


def test_a_directory_that_became_a_link_is_an_error(site: Site, tmp_path: Path) -> None:
    shutil.move(site.out / "clients/app", tmp_path / "elsewhere")
    (site.out / "clients/app").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Rejected) as raised:
        observed(site)
    assert code(raised) == 'PGT525: "clients/app" in the out directory is a symbolic link'


@pytest.mark.parametrize("name", [".pgtls", "manifest.json"])
def test_what_pgtls_keeps_for_itself_is_no_link(site: Site, tmp_path: Path, name: str) -> None:
    shutil.move(site.out / name, tmp_path / "elsewhere")
    (site.out / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Rejected) as raised:
        inspect(str(site.out))
    assert code(raised) == f'PGT525: "{name}" in the out directory is a symbolic link'


LOCKS = ["pgtls.lock", "out/pgtls.lock", "out/locks/pgtls.lock", "out/../out/./pgtls.lock"]


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_is_not_foreign_wherever_it_lies(tmp_path: Path, lock: str) -> None:
    out, path = tmp_path / "out", tmp_path / lock
    (out / "locks").mkdir(parents=True)
    path.touch()
    own = own_files(str(path), str(out))
    assert {name for name in own if not name.rpartition("/")[2].startswith(".")} == (
        {lock.removeprefix("out/../").removeprefix("out/").removeprefix("./")} if lock.startswith("out") else set()
    )
    (out / "manifest.json").write_bytes(Manifest("0", ID, "x", Inputs(""), NOW, None, {}).render())
    manifest = manifests.read(out)
    assert manifest is not None
    (out / "mine").touch()
    foreign = observe_files(str(out), manifest, own).foreign
    assert foreign == (("mine",) if "locks" in lock else ("locks/", "mine"))


def test_a_directory_with_nothing_but_the_lock_may_be_built(tmp_path: Path) -> None:
    (tmp_path / "pgtls.lock").touch()
    own = own_files(str(tmp_path / "pgtls.lock"), str(tmp_path))
    assert inspect(str(tmp_path), own) == "empty"
    with pytest.raises(Rejected, match="PGT520"):
        inspect(str(tmp_path))


def test_what_lies_below_a_file_that_should_be_a_directory_is_missing(site: Site) -> None:
    shutil.rmtree(site.out / "clients")
    (site.out / "clients").touch()
    assert observed(site).states["clients/app/root.crt"] == "missing"


def test_what_pgtls_did_not_make_is_reported_and_a_foreign_directory_once(site: Site) -> None:
    (site.out / "clients/app/notes.txt").touch()
    (site.out / "backup/deep").mkdir(parents=True)
    (site.out / "backup/deep/file").touch()
    (site.out / "link").symlink_to("clients")
    (site.out / ".gitkeep").touch()
    found = observed(site)
    assert found.foreign == ("backup/", "clients/app/notes.txt", "link")
    (warning,) = foreign_files("out", found)
    assert (warning.code, warning.severity) == ("PGT528", "warning")
    assert warning.message == (
        'pgtls did not make what lies in the out directory "out": "backup/", "clients/app/notes.txt" and "link"'
    )
    assert foreign_files("out", observed(site)) != ()
