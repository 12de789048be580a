"""Nothing to do: found out by a digest and stats, and never where something is to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgtls.pki.model import Entity
from pgtls.state import manifest as manifests
from pgtls.state import seal
from pgtls.state.lock import timestamp
from pgtls.state.manifest import Inputs
from pgtls.state.up_to_date import input_digest, source_digest, up_to_date
from state.trees import NOW, Site, issued, key, public, snapshot
from support.killing import in_child

if TYPE_CHECKING:
    from collections.abc import Callable

    from state.trees import Tree

TREE: Tree = {
    "clients/app/postgresql.key": key("user.app", "app"),
    "clients/app/root.crt": public("user.app", "root"),
    "servers/db/pg_hba.conf": public("server.db", "hba", "hba"),
}
LATER = "2026-03-02T00:00:00Z"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Make a site that is up to date: with includes and another input file, next due on the first of April."""
    built = Site(tmp_path, tmp_path / "pgtls.lock")
    built.spec.write_text("version = 1\n")
    (tmp_path / "users").mkdir()
    (tmp_path / "users/a.toml").write_text("[user.a]\n")
    (tmp_path / "a.csr").write_text("csr\n")
    built.build(TREE, issued(1))
    found = manifests.read(built.out)
    assert found is not None
    digest = input_digest(source_digest(str(built.spec), ["users/*.toml"], ["a.csr"], "o"), built.lock.read_bytes())
    due = NOW.replace(month=4)
    inputs = Inputs(digest, ("users/*.toml",), ("a.csr",))
    for name in ("lock", "generations"):
        (built.out / ".pgtls" / name).touch()
    manifest = replace(found, inputs=inputs, built=NOW, next_due=due)
    built.write_manifest(manifest.render())
    return built


def check(site: Site, *, now: str = LATER, options: str = "o", touch: bool = True) -> bool:
    return up_to_date(str(site.spec), str(site.out), str(site.lock), options, now, touch=touch)


def test_a_tree_that_is_as_it_was_built_is_up_to_date(site: Site) -> None:
    assert check(site)
    assert check(site, now=timestamp(NOW))
    assert check(site, now="2026-03-31T23:59:59Z")


def test_the_lists_of_a_manifest_are_found_wherever_they_begin(site: Site) -> None:
    path = site.out / "manifest.json"
    found = manifests.read(site.out)
    assert found is not None
    site.write_manifest(replace(found, spec='a,"texts":{.toml', texts={Entity("user.a"): "0" * 64}).render())
    assert check(site)
    site.write_manifest(json.dumps(json.loads(path.read_bytes()), indent=1).encode() + b"\n")
    assert check(site)
    (site.out / "clients/app/root.crt").write_bytes(b"changed")
    assert not check(site)


def test_relative_paths_mean_the_same(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site.directory)
    assert up_to_date("pgtls.toml", "out/", "pgtls.lock", "o", LATER)
    monkeypatch.chdir("/")
    assert check(site)


def test_it_changes_the_time_of_the_manifest_and_nothing_else(site: Site) -> None:
    manifest = site.out / "manifest.json"
    os.utime(manifest, ns=(1, 1))
    before = snapshot(site.out), {path: (site.out / path).stat() for path in TREE}, manifest.read_bytes()
    assert check(site, touch=False)
    assert manifest.stat().st_mtime_ns == 1
    assert check(site)
    assert manifest.stat().st_mtime_ns > 1
    assert (snapshot(site.out), {path: (site.out / path).stat() for path in TREE}, manifest.read_bytes()) == before


def test_it_writes_nothing_else(site: Site) -> None:
    log = in_child(lambda: check(site)).log
    assert [line.partition("(")[0].strip("'\"") for line in log] == ["os.utime"]


def _rewritten(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content + b"# edited\n")


def _moved_behind_a_link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def _piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _manifest(site: Site) -> bytes:
    return (site.out / "manifest.json").read_bytes()


def _earlier(site: Site) -> bytes:
    """Let another build write a manifest; return the one of before, which describes the same tree."""
    before = _manifest(site)
    found = manifests.read(site.out)
    assert found is not None
    site.write_manifest(replace(found, version="0.0.1").render())
    return before


def _tracked(site: Site, path: str) -> Path:
    """Let git track a path, and return the index."""
    for words in (["init", "-q"], ["add", "-f", path]):
        subprocess.run(["git", *words], cwd=site.directory, check=True)
    return site.directory / ".git/index"


REASONS: dict[str, Callable[[Site], object]] = {
    "the spec was edited": lambda site: _rewritten(site.spec),
    "the spec is gone": lambda site: site.spec.unlink(),
    "an included file was edited": lambda site: _rewritten(site.directory / "users/a.toml"),
    "a file was added that an include matches": lambda site: (site.directory / "users/b.toml").touch(),
    "an included file is gone": lambda site: (site.directory / "users/a.toml").unlink(),
    "an included file was renamed": lambda site: (site.directory / "users/a.toml").rename(
        site.directory / "users/c.toml"
    ),
    "another input was edited": lambda site: _rewritten(site.directory / "a.csr"),
    "another input is gone": lambda site: (site.directory / "a.csr").unlink(),
    "the lock has another line": lambda site: _rewritten(site.lock),
    "the lock is gone": lambda site: site.lock.unlink(),
    "a file was edited": lambda site: _rewritten(site.out / "clients/app/root.crt"),
    "a file was touched": lambda site: os.utime(site.out / "clients/app/root.crt", ns=(1, 1)),
    "a file is gone": lambda site: (site.out / "servers/db/pg_hba.conf").unlink(),
    "a file has another mode": lambda site: (site.out / "clients/app/postgresql.key").chmod(0o644),
    "a file became a link": lambda site: _moved_behind_a_link(site.out / "clients/app/root.crt"),
    "a directory with a key became a link": lambda site: _moved_behind_a_link(site.out / "clients/app"),
    "the directory of all clients became a link": lambda site: _moved_behind_a_link(site.out / "clients"),
    "a directory without a key became a link": lambda site: _moved_behind_a_link(site.out / "servers/db"),
    "a directory with a key was opened": lambda site: (site.out / "clients/app").chmod(0o755),
    "the out directory became a link": lambda site: _moved_behind_a_link(site.out),
    "the manifest became a link": lambda site: _moved_behind_a_link(site.out / "manifest.json"),
    "the private directory became a link": lambda site: _moved_behind_a_link(site.out / ".pgtls"),
    "the manifest became a pipe": lambda site: _piped(site.out / "manifest.json"),
    "the lock became a pipe": lambda site: _piped(site.lock),
    "the spec became a pipe": lambda site: _piped(site.spec),
    "the out directory is gone": lambda site: site.out.rename(site.directory / "elsewhere"),
    "a build was interrupted": lambda site: (site.out / ".pgtls/commit.json").touch(),
    "a killed build has left its staged keys": lambda site: (site.out / ".pgtls/staging").mkdir(),
    "the lock became a link": lambda site: _moved_behind_a_link(site.lock),
    "the manifest is gone": lambda site: (site.out / "manifest.json").unlink(),
    "the manifest is damaged": lambda site: (site.out / "manifest.json").write_text("{"),
    "the manifest is a list": lambda site: (site.out / "manifest.json").write_text("[]"),
    "the manifest is deep": lambda site: (site.out / "manifest.json").write_text("[" * 200_000),
    "the manifest is of another version": lambda site: site.write_manifest(
        _manifest(site).replace(b'"pgtls_manifest":1', b'"pgtls_manifest":2')
    ),
    "no build wrote the manifest": lambda site: (site.out / "manifest.json").write_bytes(seal.opened(_manifest(site))),
    "the manifest was altered": lambda site: (site.out / "manifest.json").write_bytes(
        _manifest(site).replace(b'"next_due":"2026-04-01T00:00:00Z"', b'"next_due":null')
    ),
    "a member was added to the manifest": lambda site: (site.out / "manifest.json").write_bytes(
        _manifest(site).replace(b'"}\n', b'","files":{}}\n')
    ),
    "the manifest has the seal of another key": lambda site: (site.out / "manifest.json").write_bytes(
        b"".join(seal.closed(b"k" * 32, [seal.opened(_manifest(site))]))
    ),
    "an earlier build wrote the manifest": lambda site: (site.out / "manifest.json").write_bytes(_earlier(site)),
    "what pgtls remembers is gone": lambda site: (site.out / ".pgtls/lock").unlink(),
    "the key of the tree is gone": lambda site: (site.out / ".pgtls/key").unlink(),
    "git wrote the key of the tree": lambda site: (site.out / ".pgtls/key").chmod(0o600),
    "git tracks the manifest": lambda site: _tracked(site, "out/manifest.json"),
    "git tracks what pgtls remembers": lambda site: _tracked(site, "out/.pgtls"),
    "nobody can tell what git tracks": lambda site: _tracked(site, "users").write_text("damaged"),
}


@pytest.mark.parametrize("reason", REASONS)
def test_there_is_something_to_do(site: Site, reason: str) -> None:
    assert check(site)
    REASONS[reason](site)
    before = snapshot(site.directory) if "pipe" not in reason else None
    assert not check(site)
    assert before is None or snapshot(site.directory) == before


def test_there_is_something_to_do_when_it_is_due_and_when_the_clock_went_back(site: Site) -> None:
    assert not check(site, now="2026-04-01T00:00:00Z")
    assert not check(site, now="2026-02-28T23:59:59Z")


def test_there_is_something_to_do_with_other_options(site: Site) -> None:
    assert not check(site, options="other")


def test_there_is_something_to_do_for_another_version_of_pgtls(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgtls.state.up_to_date.__version__", "0.2.0")
    assert not check(site)


@pytest.mark.parametrize("content", ["", "*\n!*.key\n"])
def test_a_gitignore_that_does_not_ignore_the_keys_is_something_to_do(site: Site, content: str) -> None:
    (site.out / ".gitignore").write_text("*\n!.gitignore\n")
    assert check(site)
    (site.out / ".gitignore").write_text(content)
    assert not check(site)
    (site.out / ".gitignore").unlink()
    assert not check(site)


def test_a_repository_that_tracks_what_it_may_does_not_matter(site: Site) -> None:
    (site.out / ".gitkeep").touch()
    _tracked(site, "users")
    _tracked(site, "out/.gitkeep")
    assert check(site)
    moved = Site(site.directory, site.out / "pgtls.lock")
    site.lock.rename(moved.lock)
    _tracked(site, "out/pgtls.lock")
    assert check(moved)


def test_files_that_are_not_ours_do_not_matter(site: Site) -> None:
    (site.out / "notes.txt").touch()
    assert check(site)


def test_where_names_and_contents_meet_matters(tmp_path: Path) -> None:
    """Two sets of files with the same bytes in a row are not the same."""
    digests = set()
    for number, (one, other) in enumerate([("ab", "c"), ("a", "bc"), ("abc", "")]):
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / "s").write_text("")
        (directory / "1").write_text(one)
        (directory / "2").write_text(other)
        digests.add(source_digest(str(directory / "s"), (), ("1", "2"), ""))
    assert len(digests) == 3


HEAVY = {
    "pydantic",
    "cryptography",
    "jinja2",
    "typer",
    "typing",
    "rich",
    "tomllib",
    "dataclasses",
    "pathlib",
    "re",
    "glob",
    "inspect",
}


def test_finding_out_imports_next_to_nothing(site: Site) -> None:
    directory = Path(__file__).parents[2] / "compiler"
    code = (
        f"import sys; sys.path.insert(0, {str(directory)!r}); from pgtls.state.up_to_date import up_to_date\n"
        f"print(up_to_date({str(site.spec)!r}, {str(site.out)!r}, {str(site.lock)!r}, '', {LATER!r}))\n"
        f"print(*sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-ISc", code], capture_output=True, text=True, check=True)
    answer, _, imported = done.stdout.partition("\n")
    assert answer == "False"  # other options: everything was read
    assert set(imported.split()) <= {"re", "glob"}  # for the include patterns; json brings re
