"""Which files git tracks: the index is read as git reads it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from pgtls.diagnostics import Rejected
from pgtls.state.git_index import tracked
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


@pytest.mark.parametrize(
    "content", [b"", b"DIRC", b"DIRC\0\0\0\2\0\0\0\5short", b"DIRC\0\0\0\4\0\0\0\1" + b"\xff" * 62]
)
def test_an_index_that_cannot_be_read_lists_nothing(tmp_path: Path, content: bytes) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / ".git/index").write_bytes(content)
    assert tracked(str(tmp_path / "out")) == []


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
