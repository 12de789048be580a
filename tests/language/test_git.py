"""The files of a spec at a git revision, whatever attributes, filters, links and configuration say."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.language.git import revision
from pgtls.language.load import LoadResult, load
from support.system import ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path

SPEC = 'version = 1\ninclude = ["users/*.toml"]\n'


class Repository:
    """A repository with a spec that includes the files of users/."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.git("init", "-q", "-b", "main")
        self.write("pgtls.toml", SPEC)
        self.write("users/app.toml", "[user.app]\n")
        self.commit()

    def git(self, *words: str) -> str:
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
        environment = {**ENVIRONMENT, "HOME": "/nonexistent"}
        run = subprocess.run(
            ["git", *identity, *words], cwd=self.root, check=True, capture_output=True, text=True, env=environment
        )
        return run.stdout

    def write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "change")

    def load(self, name: str = "HEAD") -> LoadResult:
        files, path = revision(name, str(self.root / "pgtls.toml"))
        return load(path, files)

    def users(self) -> list[str]:
        result = self.load()
        assert result.loaded is not None
        assert not result.diagnostics
        return sorted(result.loaded.spec.user)

    def fault(self) -> Diagnostic:
        (fault,) = self.load().diagnostics
        return fault


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_the_files_of_a_revision_are_read_and_not_those_of_the_work_tree(repository: Repository) -> None:
    repository.write("users/later.toml", "[user.later]\n")
    repository.write("users/app.toml", "broken")
    assert repository.users() == ["app"]
    assert repository.load().source.files[1].name == "git:HEAD:users/app.toml"


@pytest.mark.parametrize(
    "attributes",
    [
        "users/app.toml export-ignore",
        "users export-ignore",
        "*.toml export-subst",
        "* text eol=crlf",
        "*.png filter=lfs",
        "*.toml -ident",
    ],
)
def test_attributes_hide_and_change_nothing(repository: Repository, attributes: str) -> None:
    for name in (".gitattributes", ".git/info/attributes"):
        repository.write(name, attributes + "\n")
    repository.commit()
    assert repository.users() == ["app"]


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ("*.toml working-tree-encoding=ASCII//TRANSLIT", "working-tree-encoding=ASCII//TRANSLIT"),
        ("app.toml ident", "ident"),
        ("[attr]large filter=lfs\nusers/** large", "filter=lfs"),
    ],
)
@pytest.mark.parametrize("where", ["", "users/"])
def test_a_file_that_a_checkout_would_change_is_refused(
    repository: Repository, attributes: str, said: str, where: str
) -> None:
    if where and "[attr]" in attributes:
        attributes = "*.toml filter=lfs"  # a macro is for the root alone
    repository.write(f"{where}.gitattributes", attributes + "\n")
    repository.commit()
    with pytest.raises(Rejected) as rejected:
        repository.users()
    (fault,) = rejected.value.diagnostics
    assert fault.code == "PGT292"
    assert fault.message.endswith(f'when it checks "git:HEAD:" out ({said}): a build reads other bytes')
    repository.write(f"{where}.gitattributes", "*.toml -working-tree-encoding -ident -filter\n")
    repository.commit()
    assert repository.users() == ["app"]


def test_the_configuration_of_the_repository_runs_nothing(repository: Repository) -> None:
    program = repository.root / "evil"
    program.write_text(f"#!/bin/sh\ntouch {repository.root}/ran\nexec cat\n")
    program.chmod(0o755)
    repository.write(".gitattributes", "* diff=evil\n*.c filter=evil\n")
    repository.commit()
    for name in (
        *("core.fsmonitor", "core.pager", "core.sshCommand", "core.editor", "core.askPass", "credential.helper"),
        *("filter.evil.smudge", "filter.evil.clean", "diff.evil.textconv", "diff.external", "alias.cat-file"),
        *("alias.ls-tree", "alias.rev-parse", "uploadpack.packObjectsHook", "gpg.program"),
    ):
        repository.git("config", name, str(program))
    for hook in ("post-checkout", "fsmonitor-watchman", "reference-transaction", "post-index-change"):
        repository.write(f".git/hooks/{hook}", program.read_text())
        (repository.root / ".git/hooks" / hook).chmod(0o755)
    assert repository.users() == ["app"]
    assert not (repository.root / "ran").exists()


def test_replaced_objects_hide_nothing(repository: Repository) -> None:
    good = repository.git("rev-parse", "HEAD:users/app.toml").strip()
    repository.write("other", "[user.other]\n")
    other = repository.git("hash-object", "-w", "other").strip()
    repository.git("replace", good, other)
    assert repository.git("cat-file", "blob", "HEAD:users/app.toml") == "[user.other]\n"
    assert repository.users() == ["app"]


def test_a_folder_that_looks_like_a_repository_is_none(repository: Repository) -> None:
    """A bare repository can be committed, with a configuration of its own."""
    subprocess.run(["git", "init", "-q", "--bare", str(repository.root / "deep")], check=True, env=ENVIRONMENT)
    repository.write("deep/pgtls.toml", "version = 1\n[user.deep]\n")
    repository.git("add", "-A", "-f")
    repository.git("commit", "-q", "-m", "bare")
    files, path = revision("HEAD", str(repository.root / "deep" / "pgtls.toml"))
    assert path == "deep/pgtls.toml"
    assert load(path, files).loaded is not None


@pytest.mark.parametrize("target", ["app.toml", "../elsewhere.toml", "/etc/hostname", "nowhere"])
def test_a_symbolic_link_that_is_included_is_a_fault_and_no_other_link_is(repository: Repository, target: str) -> None:
    (repository.root / "link").symlink_to("/etc/hostname")
    (repository.root / "folder").symlink_to("users")
    repository.commit()
    assert repository.users() == ["app"]
    (repository.root / "users" / "link.toml").symlink_to(target)
    repository.commit()
    fault = repository.fault()
    assert (fault.code, fault.file) == ("PGT001", "git:HEAD:users/link.toml")
    assert fault.message == "the file cannot be read: it is a symbolic link, and git:REV follows none"


@pytest.mark.parametrize("pattern", ["folder/*.toml", "*/*.toml", "**/*.toml", "folder/app.toml", "./folder/*"])
def test_a_pattern_that_leads_through_a_link_is_a_fault(repository: Repository, pattern: str) -> None:
    (repository.root / "folder").symlink_to("/etc")
    repository.write("pgtls.toml", SPEC.replace("users/*.toml", pattern))
    repository.commit()
    assert repository.fault().file == "git:HEAD:folder"


def test_a_link_to_a_file_holds_nothing_that_a_pattern_could_find(repository: Repository) -> None:
    (repository.root / "README").write_text("")
    (repository.root / "README.link").symlink_to("README")
    repository.write("pgtls.toml", SPEC.replace("users/*.toml", "**/app.toml"))
    repository.commit()
    assert repository.users() == ["app"]


@pytest.mark.parametrize("pattern", ["../*.toml", "/etc/*.toml", "./../*.toml"])
def test_a_pattern_that_leaves_the_repository_is_a_fault(repository: Repository, pattern: str) -> None:
    repository.write("pgtls.toml", SPEC.replace("users/*.toml", pattern))
    repository.commit()
    assert "it is outside of the repository" in repository.fault().message


def test_a_spec_that_is_a_link_is_a_fault(repository: Repository) -> None:
    (repository.root / "pgtls.toml").unlink()
    (repository.root / "pgtls.toml").symlink_to("users/app.toml")
    repository.commit()
    assert "symbolic link" in repository.fault().message


def test_a_spec_in_a_folder_includes_files_of_the_whole_repository(repository: Repository) -> None:
    repository.write("deep/pgtls.toml", 'version = 1\ninclude = ["../users/*.toml", "*.more.toml"]\n')
    repository.write("deep/b.more.toml", "[user.b]\n")
    repository.commit()
    files, path = revision("HEAD", str(repository.root / "deep" / "pgtls.toml"))
    result = load(path, files)
    assert result.loaded is not None
    assert sorted(result.loaded.spec.user) == ["app", "b"]


def test_an_absolute_pattern_inside_the_repository_is_read_from_the_revision(repository: Repository) -> None:
    repository.write("pgtls.toml", SPEC.replace("users", f"{os.path.realpath(repository.root)}/users"))
    repository.commit()
    (repository.root / "users" / "app.toml").unlink()
    assert repository.users() == ["app"]


def test_hundreds_of_files_with_odd_names_and_contents_are_read(repository: Repository) -> None:
    for index in range(300):
        repository.write(f"users/ä {index}\n.toml", f"[user.u{index}]\n" + "#\n" * (index % 3))
    repository.commit()
    assert len(repository.users()) == 301


@pytest.mark.parametrize("name", ["no-such-branch", "--output=x", "HEAD:pgtls.toml", ""])
def test_what_is_no_revision_is_a_fault(repository: Repository, name: str) -> None:
    with pytest.raises(Rejected) as rejected:
        revision(name, str(repository.root / "pgtls.toml"))
    assert rejected.value.diagnostics[0].code == "PGT292"


@pytest.mark.parametrize("lacking", ["users/app.toml", "users/.gitattributes"])
def test_an_object_that_a_partial_clone_lacks_is_a_fault_and_is_not_fetched(
    repository: Repository, tmp_path: Path, lacking: str
) -> None:
    repository.write("users/.gitattributes", "*.toml text\n")
    repository.commit()
    assert repository.users() == ["app"]
    blob = repository.git("rev-parse", f"HEAD:{lacking}").strip()
    (repository.root / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    repository.git("config", "remote.origin.promisor", "true")
    repository.git("config", "remote.origin.url", f"ext::sh -c 'touch% {tmp_path}/ran'")
    repository.git("config", "protocol.ext.allow", "always")
    repository.git("config", "extensions.partialClone", "origin")
    with pytest.raises(Rejected) as rejected:
        repository.load()
    assert rejected.value.diagnostics[0].code == "PGT292"
    assert not (tmp_path / "ran").exists()
