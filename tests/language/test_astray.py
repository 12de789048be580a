"""The ways by which a build may include other files than those that are here."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from language.test_git import Repository
from pgtls.language.astray import astray, is_open
from pgtls.language.files import Disk, Mapped
from pgtls.language.load import load
from pgtls.language.source import Source, SourceFile

if TYPE_CHECKING:
    from pathlib import Path

TEAMS = 'version = 1\ninclude = ["teams/*/*.toml"]\n'


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository whose spec includes the files of a team."""
    (tmp_path / "repository").mkdir()
    repository = Repository(tmp_path / "repository")
    repository.write("teams/web/users.toml", "[user.web]\n")
    repository.write("pgtls.toml", TEAMS)
    repository.commit()
    return repository


def ways(root: Path, include: str = "") -> dict[str, str]:
    if include:
        (root / "pgtls.toml").write_text(f"version = 1\ninclude = {include}\n")
    return astray(load(root / "pgtls.toml").source)


def test_a_checkout_whose_patterns_meet_only_its_own_files_has_none(repository: Repository) -> None:
    (repository.root / "elsewhere").symlink_to("/etc")
    (repository.root / "teams" / "empty").mkdir()
    repository.write("teams/README.md", "")
    assert ways(repository.root) == {}
    assert ways(repository.root, '["./teams/web/users.toml", "**/*.toml", "../repository/users/*.toml"]') == {}


@pytest.mark.parametrize("target", ["/etc", "../users", "web", "/nonexistent", "/proc/self/cwd/teams/web"])
@pytest.mark.parametrize("include", ["teams/*/*.toml", "teams/m/*.toml", "**/m/*.toml", "./teams/?/users.toml"])
def test_a_link_to_a_directory_is_told_by_its_target(repository: Repository, target: str, include: str) -> None:
    (repository.root / "teams" / "m").symlink_to(target)
    assert ways(repository.root, f'["{include}"]') == {"teams/m": f"a link to {target}"}


def test_a_link_of_thousands_of_parts_and_links_through_each_other_are_followed_as_linux_does(
    repository: Repository,
) -> None:
    teams, target = repository.root / "teams", "./" * 1900 + "web"
    (teams / "m").symlink_to(target)
    assert ways(repository.root) == {"teams/m": f"a link to {target}"}
    (teams / "m").unlink()
    for number in range(38):
        after = f"l{number + 1}"
        (teams / f"l{number}").symlink_to(f"{after}/../{after}/../{after}" if number < 37 else "web")
    found = {name for name in ways(repository.root, '["teams/*/users.toml"]') if os.path.isdir(teams.parent / name)}
    assert {"teams/l37", "teams/l36", "teams/l35"} <= found


def test_a_link_to_a_file_is_told_though_its_file_is_included_by_another_name(repository: Repository) -> None:
    name = "/proc/self/cwd/teams/web/users.toml"
    (repository.root / "teams" / "web" / "more.toml").symlink_to(name)
    assert ways(repository.root) == {"teams/web/more.toml": f"a link to {name}"}


def test_links_that_two_stars_do_not_follow_are_no_way(repository: Repository) -> None:
    (repository.root / "teams" / "m").symlink_to("/etc")
    assert ways(repository.root, '["**/*.toml"]') == {}


@pytest.mark.parametrize("include", ["teams/*/*.toml", "**/*.toml", "teams/sub/**"])
def test_a_submodule_is_told_and_if_it_is_not_checked_out_by_its_commit(repository: Repository, include: str) -> None:
    repository.add_submodule("teams/sub")
    assert ways(repository.root, f'["{include}"]') == {"teams/sub": "another repository"}
    shutil.rmtree(repository.root / "teams" / "sub")
    (repository.root / "teams" / "sub").mkdir()
    commit = repository.git("rev-parse", "HEAD:teams/sub").strip()
    way = f"a submodule that is not checked out (commit {commit})"
    for spec in (repository.root, repository.root / "teams" / ".." / "."):
        assert ways(spec) == {"teams/sub": way}


def test_where_git_cannot_tell_an_empty_directory_may_be_a_submodule(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository.root / "teams" / "empty").mkdir()
    assert ways(repository.root) == {}
    monkeypatch.setenv("PATH", "")
    assert ways(repository.root) == {"teams/empty": "an empty directory, perhaps a submodule: git cannot tell"}
    shutil.rmtree(repository.root / ".git")
    assert ways(repository.root) == {}, "without a repository, there are no submodules"


def test_names_with_control_characters_are_shown_escaped(repository: Repository) -> None:
    (repository.root / "teams" / "a\x1b[2K").symlink_to(b"\xff\n")
    assert ways(repository.root) == {"teams/a\\x1b[2K": "a link to \\udcff\\x0a"}


def opens(top: Path, pattern: str, files: Disk | Mapped) -> bool:
    return is_open(Source((SourceFile(top, str(top), ""),), reader=files), pattern)


@pytest.mark.parametrize("pattern", ["*.toml", "../*/conf.d/*.toml", "**/a.toml", "user?.toml", "[a].toml"])
def test_a_pattern_that_may_match_several_files_is_open(repository: Repository, pattern: str) -> None:
    assert opens(repository.root / "pgtls.toml", pattern, Disk())
    assert opens(repository.root / "pgtls.toml", pattern, Mapped({}))


@pytest.mark.parametrize("place", ["", "deep"])
def test_a_name_is_open_if_it_leads_out_of_the_repository_or_without_one_of_the_directory(
    repository: Repository, place: str
) -> None:
    top = repository.root / place / "pgtls.toml"
    top.parent.mkdir(exist_ok=True)
    up = "../" * bool(place)
    for inside in ("a.toml", "x/../a.toml", f"{up}users/app.toml"):
        assert not opens(top, inside, Disk()), inside
    absolute = f"{repository.root}/a.toml", "/proc/self/cwd/a.toml"  # a build may be elsewhere
    for outside in (f"{up}../a.toml", f"{up}../{repository.root.name}/a.toml", "/etc/a.toml", *absolute):
        assert opens(top, outside, Disk()), outside
    shutil.rmtree(repository.root / ".git")
    assert opens(top, f"{up}users/app.toml", Disk()) is bool(place)
    assert not opens(top, "x/a.toml", Disk())


def test_in_a_revision_patterns_have_no_ways_but_errors(repository: Repository) -> None:
    (repository.root / "teams" / "m").symlink_to("/etc")
    repository.commit()
    assert astray(repository.load().source) == {}
    memory = load("pgtls.toml", Mapped({"pgtls.toml": TEAMS, "teams/web/a.toml": "[user.a]\n"}))
    assert astray(memory.source) == {}


NAMED = {
    "the file": (["conf/pass -> /run/token"], {"conf/pass": "a link to /run/token"}),
    "its directory": (["conf -> /run"], {"conf": "a link to /run"}),
    "a link to a link": (
        ["conf -> a/b", "a -> other", "other/b -> ../c"],
        {"conf": "a link to a/b", "a": "a link to other", "other/b": "a link to ../c"},
    ),
    "another file": (["conf/other -> /run/token"], {}),
}


@pytest.mark.parametrize("place", ["", "deep"])
@pytest.mark.parametrize("what", NAMED)
def test_a_revision_has_the_links_on_the_way_of_named_files_as_the_disk_has_them(
    repository: Repository, what: str, place: str
) -> None:
    links, expected = NAMED[what]
    top = repository.root / place
    repository.write(os.path.join(place, "pgtls.toml"), "version = 1\n[ca.root]\n")
    for link in links:
        name, _, target = link.partition(" -> ")
        (top / name).parent.mkdir(exist_ok=True)
        (top / name).symlink_to(target)
    repository.commit()
    source = repository.load(path=f"{place}/pgtls.toml".lstrip("/")).source
    for named in ("conf/pass", "./conf/../conf/pass"):
        assert astray(source, [os.path.join(source.directory, named)]) == expected
        disk = load(top / "pgtls.toml").source
        assert astray(disk, [os.path.join(disk.directory, named)]) == expected
    assert astray(source, ["/run/token", "../../elsewhere", "nowhere"]) == {}


@pytest.mark.parametrize("parts", [1000, 100_000])
def test_a_link_of_a_revision_that_no_checkout_can_hold_is_told_and_not_followed(
    repository: Repository, parts: int
) -> None:
    """A commit keeps a target of any length. One that Linux takes leads to itself, again and again."""
    target = "a/" * parts + "../" * parts + "conf"
    blob = repository.git("hash-object", "-w", "--stdin", stdin=target).strip()
    repository.git("update-index", "--add", "--cacheinfo", f"120000,{blob},conf")
    repository.git("commit", "-qm", "link")
    assert astray(repository.load().source, ["conf/pass"]) == {"conf": f"a link to {target}"}


def test_a_revision_has_the_submodule_of_a_named_file_with_its_commit(repository: Repository) -> None:
    repository.add_submodule("bin")
    commit = repository.git("rev-parse", "HEAD:bin").strip()
    source = repository.load().source
    assert astray(source, ["bin/pass.sh"]) == {"bin": f"a submodule (commit {commit})"}
    assert astray(source, ["binary/pass.sh"]) == {}
