"""Which files git tracks: the index is read as git reads it."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from pgtls.diagnostics import Rejected
from pgtls.state.git_index import IndexFault, in_work_tree, tracked
from pgtls.state.out_directory import check_untracked

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["out/a", "out/.pgtls/commit.json", "out/" + "long" * 40, "out/ä ö", "out2/b", "a/out/c", "out.txt", "z"]


def git(directory: Path, *words: str) -> str:
    env = {"PATH": os.environ["PATH"], "HOME": str(directory), "GIT_CONFIG_NOSYSTEM": "1"}
    call = ["git", "-c", "user.email=a@b", "-c", "user.name=x", *words]
    return subprocess.run(call, cwd=directory, env=env, check=True, capture_output=True, text=True).stdout


def fill(directory: Path) -> None:
    for name in NAMES:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name)


def listed(directory: Path) -> list[str]:
    """What git says."""
    found = git(directory, "ls-files", "-z", "--", "out").split("\0")
    return sorted(name.removeprefix("out/") for name in found if name)


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize("objects", ["sha1", "sha256"])
def test_an_index_of_each_version_says_what_git_says(tmp_path: Path, version: int, objects: str) -> None:
    git(tmp_path, "init", "-q", f"--object-format={objects}")
    fill(tmp_path)
    git(tmp_path, "add", "-A")
    if version == 3:
        (tmp_path / "out/later").write_text("")
        git(tmp_path, "add", "--intent-to-add", "out/later")  # an extended flag
    git(tmp_path, "update-index", "--index-version", str(version))
    found = tracked(str(tmp_path / "out"))
    assert found == listed(tmp_path)
    assert ".pgtls/commit.json" in found
    assert tracked(str(tmp_path / "out3")) == []


def test_a_linked_work_tree_and_a_submodule_count(tmp_path: Path) -> None:
    main, other = tmp_path / "main", tmp_path / "other"
    main.mkdir()
    git(main, "init", "-q")
    fill(main)
    git(main, "add", "-A")
    git(main, "commit", "-qm", "all")
    git(main, "worktree", "add", "-q", str(other))
    assert tracked(str(other / "out")) == listed(main) != []
    whole = tmp_path / "whole"
    whole.mkdir()
    git(whole, "init", "-q")
    git(whole, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(main), "out")
    assert {"", "out/a"} <= set(tracked(str(whole / "out")))


@pytest.mark.parametrize("version", [2, 4])
@pytest.mark.parametrize("objects", ["sha1", "sha256"])
def test_a_split_index_says_what_git_says(tmp_path: Path, version: int, objects: str) -> None:
    git(tmp_path, "init", "-q", f"--object-format={objects}")
    fill(tmp_path)
    for number in range(200):
        (tmp_path / f"out/{number}").write_text("")
    git(tmp_path, "add", "-A")
    git(tmp_path, "update-index", "--index-version", str(version))
    git(tmp_path, "config", "splitIndex.maxPercentChange", "100")
    git(tmp_path, "update-index", "--split-index")
    assert [*(tmp_path / ".git").glob("sharedindex.*")]
    assert tracked(str(tmp_path / "out")) == listed(tmp_path)
    git(tmp_path, "rm", "-q", "--cached", "out/a", *(f"out/{number}" for number in (*range(70), 99)))
    (tmp_path / "out/100").write_text("another")
    (tmp_path / "out/new").write_text("new")
    git(tmp_path, "add", "out/100", "out/new")
    assert tracked(str(tmp_path / "out")) == listed(tmp_path)
    assert {"new", "100", ".pgtls/commit.json"} <= set(listed(tmp_path)), "those of both indexes"
    git(tmp_path, "rm", "-qr", "--cached", "out")
    assert tracked(str(tmp_path / "out")) == listed(tmp_path) == []
    (shared,) = (tmp_path / ".git").glob("sharedindex.*")
    shared.unlink()
    with pytest.raises(IndexFault, match="No such file"):
        tracked(str(tmp_path / "out"))


def test_a_sparse_index_that_leaves_the_directory_out_is_a_fault(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    fill(tmp_path)
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "all")
    git(tmp_path, "sparse-checkout", "init", "--cone", "--sparse-index")
    git(tmp_path, "sparse-checkout", "set", "out")
    assert tracked(str(tmp_path / "out")) == listed(tmp_path) != []
    with pytest.raises(IndexFault, match="sparse"):
        tracked(str(tmp_path / "a/out"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"DIRC",
        b"DIRC\0\0\0\2\0\0\0\5short",
        b"DIRC\0\0\0\4\0\0\0\1" + b"\xff" * 62,
        b"DIRC\0\0\0\5\0\0\0\0" + b"\0" * 20,
        b"DIRC\0\0\0\2\0\0\0\0new!\0\0\0\0" + b"\0" * 20,
    ],
    ids=["empty", "cut", "short", "wild", "a newer version", "an extension that one must know"],
)
def test_an_index_that_cannot_be_read_is_an_error(tmp_path: Path, content: bytes) -> None:
    git(tmp_path, "init", "-q")
    assert tracked(str(tmp_path / "out")) == [], "a new repository has no index"
    (tmp_path / ".git/index").write_bytes(b"DIRC\0\0\0\2\0\0\0\0NEW!\0\0\0\0" + b"\0" * 20)
    assert tracked(str(tmp_path / "out")) == [], "the control: an extension that one may ignore"
    (tmp_path / ".git/index").write_bytes(content)
    with pytest.raises(Rejected, match=r'PGT586: .*/out": ".*/.git/index": it is damaged, or of a version'):
        check_untracked(str(tmp_path / "out"))


def test_a_repository_that_is_out_of_reach_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    check_untracked(str(tmp_path / "out"))  # an empty directory is no repository
    (tmp_path / ".git").rmdir()
    (tmp_path / ".git").write_text("gitdir: elsewhere\n")
    with pytest.raises(Rejected, match=r'PGT586: .*/.git": it names no directory'):
        check_untracked(str(tmp_path / "out"))
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(Rejected, match=r'PGT586: .*/.git": it leads to no repository'):
        check_untracked(str(tmp_path / "out"))


PARTS = pytest.mark.parametrize("name", [".git", ".git/commondir", ".git/config", ".git/index"])


@pytest.fixture
def replaced(tmp_path: Path, name: str) -> Path:
    """Return a part of a repository with an index, which somebody has deleted."""
    git(tmp_path, "init", "-q")
    fill(tmp_path)
    git(tmp_path, "add", "a")
    if name == ".git":
        shutil.rmtree(tmp_path / name)
    (tmp_path / name).unlink(missing_ok=True)
    return tmp_path / name


def complaint(directory: Path) -> str:
    try:
        check_untracked(str(directory))
    except Rejected as rejected:
        return str(rejected)
    return ""


@PARTS
@pytest.mark.parametrize(
    "content",
    ["root:secret:1\n", "secret/" * 40 + "s" * 300, "[core]\nworktree = secret\0"],
    ids=["a line", "a long one", "no text"],
)
def test_no_message_shows_a_file_in_the_place_of_a_part_of_a_repository(
    tmp_path: Path, replaced: Path, name: str, content: str
) -> None:
    """Root may look at the out directory of another account, which can put a link to a file of root's there."""
    replaced.write_text(content)
    own = complaint(tmp_path / "out")
    replaced.rename(tmp_path / "shadow")
    replaced.symlink_to(tmp_path / "shadow")
    link = complaint(tmp_path / "out")
    assert ("PGT586" in own, "PGT586" in link) == (name != ".git/config" or "\0" in content,) * 2
    assert "secret" not in own + link


@PARTS
def test_a_part_of_a_repository_that_would_fill_the_memory_is_not_read(
    tmp_path: Path, replaced: Path, name: str
) -> None:
    with replaced.open("wb") as file:
        file.truncate(1 << 40)
    assert f'{name}": File too large' in complaint(tmp_path / "out")


def test_the_repository_that_the_environment_names_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a hook, or where the repository lies elsewhere."""
    work, bare = tmp_path / "work", tmp_path / "bare.git"
    work.mkdir()
    fill(work)
    git(tmp_path, "init", "-q", "--bare", str(bare))
    git(work, f"--git-dir={bare}", "--work-tree=.", "add", "-A")
    assert tracked(str(work / "out")) == []
    monkeypatch.setenv("GIT_DIR", str(bare))
    with pytest.raises(IndexFault, match="bare, and nothing says where its work tree is"):
        tracked(str(work / "out"))
    monkeypatch.setenv("GIT_WORK_TREE", str(work))
    assert ".pgtls/commit.json" in tracked(str(work / "out"))
    monkeypatch.delenv("GIT_WORK_TREE")
    git(bare, "config", "core.bare", "false")
    git(bare, "config", "core.worktree", "../work")
    assert ".pgtls/commit.json" in tracked(str(work / "out"))
    monkeypatch.setenv("GIT_DIR", ".")
    monkeypatch.chdir(work)
    with pytest.raises(IndexFault, match="GIT_DIR names it, and it is no repository"):
        tracked(str(work / "out"))


def test_a_directory_lies_in_the_work_trees_around_it_and_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, out = tmp_path / "work", tmp_path / "work/out"
    out.mkdir(parents=True)
    assert not in_work_tree(str(out))
    git(work, "init", "-q")
    assert in_work_tree(str(out))
    assert in_work_tree(str(work))
    assert not in_work_tree(str(tmp_path))
    (work / ".git").rename(tmp_path / "repository")
    assert not in_work_tree(str(out))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "repository"))
    monkeypatch.chdir(tmp_path)
    assert in_work_tree(str(out))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "elsewhere"))
    assert not in_work_tree(str(out))


def test_another_index_of_the_environment_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "-q")
    fill(tmp_path)
    git(tmp_path, "add", "out/a")
    (tmp_path / ".git/index").rename(tmp_path / "other")
    git(tmp_path, "add", "z")
    monkeypatch.chdir(tmp_path)
    assert tracked(str(tmp_path / "out")) == []
    monkeypatch.setenv("GIT_INDEX_FILE", "other")
    assert tracked(str(tmp_path / "out")) == ["a"]


def test_a_repository_may_name_another_work_tree(tmp_path: Path) -> None:
    fill(tmp_path)
    git(tmp_path, "init", "-q")
    git(tmp_path, "config", "core.worktree", "../out")
    git(tmp_path, "add", "a")
    assert tracked(str(tmp_path / "out")) == ["a"]
    assert tracked(str(tmp_path / "a")) == []


def test_placeholders_and_the_lock_may_be_tracked_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    git(tmp_path, "init", "-q")
    for name in (".gitignore", ".gitkeep", "pgtls.lock"):
        (out / name).write_text("")
    git(tmp_path, "add", "-f", "out")
    check_untracked(str(out), {"pgtls.lock"})
    with pytest.raises(Rejected, match=r'PGT541: git tracks files in the out directory ".*": "pgtls.lock"'):
        check_untracked(str(out))
    (out / "sub").mkdir()
    (out / "sub/.gitignore").write_text("")
    git(tmp_path, "add", "-f", "out")
    with pytest.raises(Rejected, match=r'PGT541: .*: "sub/.gitignore"'):
        check_untracked(str(out), {"pgtls.lock"})
