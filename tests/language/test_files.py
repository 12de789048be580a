"""Where the files of a spec come from, and what is remembered of them."""

from __future__ import annotations

import glob
import os
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pgtls
from pgtls.diagnostics.text import render
from pgtls.language.files import Disk, Mapped
from pgtls.language.load import load
from pgtls.language.positions import locate
from pgtls.state.up_to_date import contents_digest, source_digest
from support.killing import in_child
from support.system import find_account, is_root, new_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SPEC = 'version = 1\ninclude = ["users/*.toml"]\n[ca.root]\n'
TREE = ("a.toml", "users/b.toml", "users/.hidden.toml", "users/deep/c.toml", ".secret/d.toml", "x/users/e.toml")
PARTS = ("*", "**", "*.toml", "users", "deep", "?.toml", "..", ".", ".*", "[ab].toml", "x", "a.toml", "none")


def tree(directory: Path) -> Path:
    """Write the files of TREE."""
    for name in TREE:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name)
    return directory


def regular(start: Path, names: Iterable[str]) -> set[str]:
    """Return the names of files. A name that ends in a slash is none: ``glob`` has them, after ``**``."""
    return {os.path.normpath(name) for name in names if os.path.isfile(os.path.join(start, name))}


@given(parts=st.lists(st.sampled_from(PARTS), min_size=1, max_size=4).filter(lambda parts: parts.count("..") < 2))
@settings(max_examples=300, deadline=None)
def test_patterns_match_in_memory_what_they_match_on_the_disk(parts: list[str]) -> None:
    pattern = "/".join(parts)
    with TemporaryDirectory() as directory:
        start = tree(Path(directory)) / "users"
        inside = os.path.realpath(directory)
        ours, known = Disk().glob(str(start), pattern), glob.glob(pattern, root_dir=start, recursive=True)
        assert regular(start, ours) == regular(start, known)
        on_disk = {os.path.realpath(start / name) for name in regular(start, known)}
        matched = Mapped({name: name for name in TREE}).glob("users", pattern)
        found = {os.path.normpath(f"{inside}/users/{name}") for name in matched}
        files = {os.path.join(inside, name) for name in TREE}
    assert found & files == on_disk & files


NAMES = st.text("ab[]!-*?.", min_size=1, max_size=4).filter(lambda name: name.strip(".") != "")
WORDS = st.one_of(NAMES, st.sampled_from(("**", "*", ".*", "[ab]", "?", ".")))


@given(
    paths=st.sets(st.lists(NAMES, min_size=1, max_size=3).map(tuple), min_size=1, max_size=6),
    patterns=st.lists(st.lists(WORDS, min_size=1, max_size=4).map("/".join), min_size=1, max_size=8),
    final=st.sampled_from(("", "/", "/**", "/**/")),
    up=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_names_and_patterns_of_all_kinds_match_in_memory_as_on_the_disk(
    paths: set[tuple[str, ...]], patterns: list[str], final: str, *, up: bool
) -> None:
    files = {"/".join(path) for path in paths if not any(path == other[: len(path)] != other for other in paths)}
    with TemporaryDirectory() as directory:
        for name in files:
            Path(directory, name).parent.mkdir(parents=True, exist_ok=True)
            Path(directory, name).write_text("")
        start = next(iter(sorted(files))).rpartition("/")[0] if up else ""
        names = {("../" * (start.count("/") + 1) if start else "") + name for name in files}
        for pattern in (*(pattern + final for pattern in patterns), *names):
            on_disk = sorted(Disk().glob(os.path.join(directory, start), pattern))
            assert sorted(Mapped(dict.fromkeys(files, "")).glob(start, pattern)) == on_disk, pattern
            top = Path(directory, start)
            known = glob.glob(pattern, root_dir=top, recursive=True)
            assert regular(top, on_disk) == regular(top, known), pattern


@pytest.mark.parametrize("pattern", ["**/", "users/**/", "users/", "**/users/", "*/"])
def test_a_final_slash_matches_directories_only(tmp_path: Path, pattern: str) -> None:
    for names in (Disk().glob(str(tree(tmp_path)), pattern), Mapped(dict.fromkeys(TREE, "")).glob("", pattern)):
        assert {os.path.normpath(name) for name in names} >= {"users"}
        assert all((tmp_path / name).is_dir() for name in names)


@pytest.mark.parametrize("pattern", ["**//users/*.toml", "**/**/b.toml", "users//b.toml", "./users/./b.toml"])
def test_a_build_knows_again_what_a_pattern_with_needless_parts_matched(tmp_path: Path, pattern: str) -> None:
    spec = tree(tmp_path) / "pgtls.toml"
    (tmp_path / "users" / "b.toml").write_text("[user.b]\n")
    (tmp_path / "x" / "users" / "e.toml").write_text("[user.e]\n")
    spec.write_text(f'version = 1\ninclude = ["{pattern}"]\n')
    source = load(spec).source
    assert "users/b.toml" in source.matched
    assert contents_digest(source.contents(), "o") == source_digest(str(spec), source.patterns, (), "o")


def test_a_pattern_is_matched_in_directories_as_deep_as_a_path_can_be() -> None:
    deep = "/".join(["a"] * 1200)
    assert list(Mapped({f"{deep}/x.toml": ""}).glob("", "**/*.toml")) == [f"{deep}/x.toml"]
    assert list(Mapped({f"{deep}/x.toml": ""}).glob("", f"{deep}/*.toml")) == [f"{deep}/x.toml"]


def test_a_spec_in_memory_reads_nothing_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("users").mkdir()
    Path("users/disk.toml").write_text("[user.disk]\n")
    result = load("pgtls.toml", Mapped({"pgtls.toml": SPEC, "users/memory.toml": b"[user.memory]\n"}))
    assert result.loaded is not None
    assert list(result.loaded.spec.user) == ["memory"]
    assert load("pgtls.toml", Mapped({"pgtls.toml": SPEC})).diagnostics[0].code == "PGT020"


def test_the_digest_is_of_the_bytes_that_were_parsed(tmp_path: Path) -> None:
    spec = tmp_path / "pgtls.toml"
    spec.write_text(SPEC)
    (tmp_path / "users").mkdir()
    included = tmp_path / "users" / "a.toml"
    included.write_text("[user.old]\n")
    source = load(spec).source
    before = source_digest(str(spec), source.patterns, (), "")
    spec.write_text(SPEC + "# later\n")
    included.write_text("[user.new]\n")
    contents = source.contents()
    assert contents == {"": sha256(SPEC.encode()).hexdigest(), "users/a.toml": sha256(b"[user.old]\n").hexdigest()}
    assert contents_digest(contents, "") == before != source_digest(str(spec), source.patterns, (), "")


def test_a_file_that_the_spec_names_counts_as_it_was_read(tmp_path: Path) -> None:
    (tmp_path / "pgtls.toml").write_text("version = 1\n")
    (tmp_path / "ca.crt").write_text("old")
    source = load(tmp_path / "pgtls.toml").source
    assert source.reader.read(f"{tmp_path}/./ca.crt") == b"old"
    (tmp_path / "ca.crt").write_text("new")
    named = source.contents(["ca.crt", "missing.crt"])
    assert (named["ca.crt"], named["missing.crt"]) == (sha256(b"old").hexdigest(), "FileNotFoundError")


def test_what_a_pattern_matches_counts_though_it_is_a_directory_or_a_second_name(tmp_path: Path) -> None:
    spec = tmp_path / "pgtls.toml"
    spec.write_text('version = 1\ninclude = ["users/*"]\n')
    (tmp_path / "users" / "folder.toml").mkdir(parents=True)
    (tmp_path / "users" / "a.toml").write_text("[user.a]\n")
    (tmp_path / "users" / "b.toml").symlink_to("a.toml")
    source = load(spec).source
    assert set(source.contents()) == {"", "users/a.toml", "users/b.toml", "users/folder.toml"}
    assert contents_digest(source.contents(), "o") == source_digest(str(spec), source.patterns, (), "o")


@pytest.mark.parametrize("way", ["an include", "a link", "a link of the spec itself", "the git directory"])
def test_an_excerpt_shows_no_line_of_a_file_outside_of_the_repository(tmp_path: Path, way: str) -> None:
    (tmp_path / "shadow").write_text("root:hunter2:!\n")
    repository = tmp_path / "repository"
    (repository / ".git").mkdir(parents=True)
    (repository / ".git" / "config").write_text("root:hunter2:!\n")
    (repository / "inside.toml").write_text("shown:line\n")
    spec = repository / "pgtls.toml"
    include = {"an include": "../shadow", "a link": "link", "the git directory": ".git/config"}.get(way)
    (repository / "link").symlink_to(tmp_path / "shadow")
    if include:
        spec.write_text(f'version = 1\ninclude = ["{include}", "inside.toml"]\n')
    else:
        spec.symlink_to(tmp_path / "shadow")
    printed = render(load(spec).diagnostics)
    assert "PGT003" in printed
    assert "hunter2" not in printed
    assert ("shown:line" in printed) == bool(include)


@pytest.mark.parametrize("way", ["a link", "another repository"])
def test_no_line_is_shown_of_a_spec_to_which_a_directory_of_the_repository_leads_out(tmp_path: Path, way: str) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "pgtls.toml").write_text("root:hunter2:!\n")
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    (tmp_path / "repository" / "specs").symlink_to("../private")
    if way == "another repository":
        (tmp_path / "private" / ".git").mkdir()
    assert "hunter2" not in render(load(tmp_path / "repository" / "specs" / "pgtls.toml").diagnostics)
    (tmp_path / "home").symlink_to("private")
    assert "hunter2" in render(load(tmp_path / "home" / "pgtls.toml").diagnostics)


def test_a_spec_in_a_folder_of_a_repository_shows_lines_of_all_of_it(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "shared.toml").write_text("shown:line\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "pgtls.toml").write_text('version = 1\ninclude = ["../shared.toml"]\n')
    assert "shown:line" in render(load(tmp_path / "deep" / "pgtls.toml").diagnostics)


def test_a_file_is_read_once(tmp_path: Path) -> None:
    path, files = tmp_path / "a", Disk()
    path.write_text("old")
    assert files.read(str(path)) == b"old"
    path.write_text("new")
    assert files.read(f"{tmp_path}//a") == b"old"
    with pytest.raises(OSError, match="too large"):
        files.read(str(path), 2)


LEADS_NOWHERE, NO_TOML = '[user.app]\nca = "hunter2"\n', "token = hunter2\n"
SECRETS = {
    "the credentials of another program": '[hunter2]\ntoken = "x"\n',
    "a table with the name of a kind": '[user]\nname = "x"\nhunter2 = "y"\n',
    "a value that has the wrong type": '[user.app]\nroles = "hunter2"\n',
    "an unknown key": "[user.app]\nhunter2 = 1\n",
    "a name that leads nowhere": LEADS_NOWHERE,
    "a syntax error": NO_TOML,
    "a control character": '"hunter2\\u0001" = "x"\n',
    "a version": 'version = "hunter2"\n',
    "a key that only the top file has": 'include = "hunter2"\n',
}


@pytest.mark.parametrize("content", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("link", [False, True], ids=["by an include", "by a link in place of the spec"])
def test_no_message_shows_the_content_of_a_file_outside_of_the_repository(
    tmp_path: Path, content: str, link: bool
) -> None:
    (tmp_path / "secret.toml").write_text(content)
    spec = tmp_path / "repository" / "pgtls.toml"
    (spec.parent / ".git").mkdir(parents=True)
    if link:
        spec.symlink_to(tmp_path / "secret.toml")
    else:
        spec.write_text('version = 1\ninclude = ["../secret.toml"]\n[user.bob]\nca = "hunter"\n')
    assert "hunter2" not in said(spec)
    if not link and content not in (LEADS_NOWHERE, NO_TOML):
        assert {d.code for d in pgtls.check(pgtls.load(spec)).errors if d.file and "secret" in d.file} == {"PGT146"}
    # Inside the repository, the same file is explained.
    (spec.parent / "inside.toml").write_text(content)
    spec.unlink()
    spec.write_text('version = 1\ninclude = ["inside.toml"]\n[user.bob]\nca = "hunter"\n')
    assert "hunter2" in said(spec)


def said(spec: Path) -> str:
    """Return everything that `check` says of a spec with errors."""
    checked = pgtls.check(pgtls.load(spec))
    assert checked.errors
    return f"{checked.diagnostics} {render(checked.diagnostics)}"


def test_no_message_shows_the_content_of_a_file_in_the_repository_that_is_no_toml_file(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "root.pass").write_text("hunter2\n")
    (tmp_path / "link.toml").symlink_to("root.pass")
    spec = tmp_path / "pgtls.toml"
    for include in ("root.pass", "link.toml", "*.pass"):
        spec.write_text(f'version = 1\ninclude = ["{include}"]\n')
        assert "hunter2" not in said(spec)
    spec.unlink()
    spec.symlink_to("root.pass")
    assert "hunter2" not in said(spec)


def test_a_sound_file_outside_of_the_repository_is_a_part_of_the_spec(tmp_path: Path) -> None:
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    (tmp_path / "shared.toml").write_text("[user.app]\n")
    spec = tmp_path / "repository" / "pgtls.toml"
    spec.write_text('version = 1\ninclude = ["../shared.toml"]\n[defaults.user]\nlibpq = 16\n')
    result = load(spec)
    assert result.diagnostics == ()
    assert result.loaded is not None
    assert list(result.loaded.spec.user) == ["app"]


@pytest.mark.parametrize(("name", "shown"), [("shadow", False), ("shadow.toml", True)])
def test_a_file_elsewhere_that_is_given_as_a_spec_is_shown_only_if_its_name_is_that_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, shown: bool
) -> None:
    (tmp_path / name).write_text("root:hunter2:!\n")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    result = load(tmp_path / name)
    assert ("hunter2" in render(locate(result.diagnostics, result.source))) == shown
    monkeypatch.chdir(tmp_path)
    result = load(name)
    assert "hunter2" in render(locate(result.diagnostics, result.source))


@pytest.mark.parametrize("target", ["nowhere", "m", "/nonexistent/mounted/later"])
def test_a_link_on_the_way_of_a_pattern_that_leads_nowhere_is_a_fault_and_counts(tmp_path: Path, target: str) -> None:
    """Without it, users in a directory that is not mounted would be gone, and their certificates revoked."""
    spec = tree(tmp_path) / "pgtls.toml"
    (tmp_path / "teams" / "a").mkdir(parents=True)
    (tmp_path / "teams" / "a" / "a.toml").write_text("[user.a]\n")
    spec.write_text('version = 1\ninclude = ["teams/*/*.toml"]\n[ca.root]\n')
    before = load(spec)
    assert not before.diagnostics
    (tmp_path / "teams" / "m").symlink_to(target)
    result = load(spec)
    (fault,) = result.diagnostics
    assert (fault.code, fault.file) == ("PGT001", f"{tmp_path}/teams/m")
    source = result.source
    assert contents_digest(source.contents(), "") == source_digest(str(spec), source.patterns, (), "")
    assert source_digest(str(spec), source.patterns, (), "") != contents_digest(before.source.contents(), "")


def test_a_link_to_a_directory_is_followed(tmp_path: Path) -> None:
    """So are the files of a ConfigMap in Kubernetes mounted: ..data is a link."""
    for directory in ("..2026_01_01", "..2026_01_01/users"):
        (tmp_path / directory).mkdir()
    (tmp_path / "..2026_01_01" / "pgtls.toml").write_text(SPEC)
    (tmp_path / "..2026_01_01" / "users" / "a.toml").write_text("[user.a]\n")
    (tmp_path / "..data").symlink_to("..2026_01_01")
    for name in ("pgtls.toml", "users"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    assert not load(tmp_path / "pgtls.toml").diagnostics


@pytest.mark.parametrize("links", [0, 10])
def test_links_to_directories_do_not_multiply_what_a_pattern_matches(tmp_path: Path, links: int) -> None:
    (tmp_path / "z" / "z" / "z" / "z" / "z" / "z" / "z" / "z").mkdir(parents=True)
    (tmp_path / "z/z/z/z/z/z/z/z/x.toml").write_text("[ca.root]\n")
    for number in range(links):
        (tmp_path / f"l{number}").symlink_to(".")
    (tmp_path / "pgtls.toml").write_text('version = 1\ninclude = ["*/*/*/*/*/*/*/*/x.toml"]\n')
    found = [(fault.code, fault.path) for fault in load(tmp_path / "pgtls.toml").diagnostics]
    assert found == ([("PGT013", ("include", 0))] if links else [])


@pytest.mark.parametrize("mode", [0o755, 0o311, 0o644])
@pytest.mark.parametrize("pattern", ["teams/*/*.toml", "teams/*/users.toml", "**/users.toml", "teams/closed/*.toml"])
def test_a_directory_that_cannot_be_searched_is_not_taken_for_an_empty_one(pattern: str, mode: int) -> None:
    """Its users would be deleted, and their certificates revoked."""
    top = new_directory("closed")
    for team in ("open", "closed"):
        (top / "teams" / team).mkdir(parents=True)
        (top / "teams" / team / "users.toml").write_text(f"[user.{team}]\n")
    spec = top / "pgtls.toml"
    spec.write_text(f'version = 1\ninclude = ["{pattern}"]\n')
    (top / "teams" / "closed").chmod(mode)

    def read() -> None:
        result = load(str(spec))
        assert {one.code for one in result.diagnostics} == (
            set() if result.loaded and "closed" in result.loaded.spec.user else {"PGT001"}
        )
        assert result.diagnostics or mode != 0o644
        assert not result.diagnostics or mode != 0o755

    assert in_child(lambda: without_rights(read)).status == 0


def without_rights(run: Callable[[], object]) -> None:
    """Run as an account that modes bind."""
    if is_root() and (nobody := find_account("nobody")):
        os.setgroups([])
        os.setgid(nobody.gid)
        os.setuid(nobody.uid)
    run()


def test_two_stars_follow_no_link(tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "deep" / "one.toml").write_text("[user.one]\n")
    (tmp_path / "a" / "loop").symlink_to("..")
    (tmp_path / "machine").symlink_to("/")
    assert sorted(Disk().glob(str(tmp_path), "**/*.toml")) == ["a/deep/one.toml"]
    assert sorted(Disk().glob(str(tmp_path), "a/**/one.toml")) == ["a/deep/one.toml"]


def test_a_file_that_is_shorter_than_its_size_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel shows figures so, another one at each reading: a passphrase from there would open nothing again."""
    path = tmp_path / "rx_bytes"
    path.write_text("4711\n")
    assert Disk().read(str(path)) == b"4711\n"
    size = path.stat().st_size

    def of_a_page(descriptor: int) -> os.stat_result:
        found = os.stat(descriptor)
        return os.stat_result((*found[:6], 4096, *found[7:10])) if found.st_size == size else found

    monkeypatch.setattr("pgtls.language.regular.os.fstat", of_a_page)
    with pytest.raises(OSError, match="shorter than its size"):
        Disk().read(str(path))
