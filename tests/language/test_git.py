"""The files of a spec at a git revision, whatever attributes, filters, links and configuration say."""

from __future__ import annotations

import os
import subprocess
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.language.files import OUTSIDE
from pgtls.language.git import refuse_links, revision
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

    def git(self, *words: str, stdin: str = "") -> str:
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
        environment = {**ENVIRONMENT, "HOME": "/nonexistent"}
        run = subprocess.run(
            ["git", *identity, *words],
            cwd=self.root,
            check=True,
            capture_output=True,
            text=True,
            env=environment,
            input=stdin,
        )
        return run.stdout

    def write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "change")

    def add_submodule(self, name: str) -> None:
        """Commit another repository, with a spec of its own, as a submodule."""
        (self.root / name).mkdir(parents=True)
        Repository(self.root / name)
        self.commit()

    def load(self, name: str = "HEAD", path: str = "pgtls.toml") -> LoadResult:
        files, path = revision(name, str(self.root / path))
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


@pytest.mark.parametrize("target", ["/etc", "users", "users/app.toml", "nowhere", "../x/../users"])
@pytest.mark.parametrize(
    "pattern",
    ["folder/*.toml", "*/*.toml", "**/folder/*.toml", "folder/app.toml", "./folder/*", "folder/**", "*r/../*"],
)
def test_a_pattern_that_leads_through_a_link_is_a_fault_whatever_its_target(
    repository: Repository, pattern: str, target: str
) -> None:
    (repository.root / "folder").symlink_to(target)
    repository.commit()
    files, _ = revision("HEAD", str(repository.root / "pgtls.toml"))
    assert "folder" in files.glob("", pattern)
    repository.write("pgtls.toml", SPEC.replace("users/*.toml", pattern.replace("*r/../", "*r/")))
    repository.commit()
    assert repository.fault().file == "git:HEAD:folder"


def test_a_link_whose_target_leads_through_another_link_hides_nothing(repository: Repository) -> None:
    """Read as text, links/a/../decoy is links/decoy, a file; a checkout has other/decoy, a directory."""
    repository.write("links/decoy", "")
    repository.write("other/sub/keep", "")
    repository.write("other/decoy/more.toml", "[user.more]\n")
    (repository.root / "links" / "a").symlink_to("../other/sub")
    (repository.root / "users" / "b").symlink_to("../links/a/../decoy")
    repository.write("pgtls.toml", SPEC.replace("users/*.toml", "users/*/*.toml"))
    repository.commit()
    assert repository.fault().file == "git:HEAD:users/b"


def test_two_stars_follow_no_link_as_on_the_disk_but_a_submodule_is_a_fault(repository: Repository) -> None:
    (repository.root / "folder").symlink_to("/etc")
    (repository.root / "README.link").symlink_to("users/app.toml")
    repository.write("pgtls.toml", SPEC.replace("users/*.toml", "**/app.toml"))
    repository.commit()
    assert repository.users() == ["app"]
    repository.add_submodule("deep")
    assert repository.fault().file == "git:HEAD:deep"


def test_a_file_whose_name_is_a_pattern_is_matched_as_on_the_disk(repository: Repository) -> None:
    repository.write("users/part[0-9].toml", "[user.hidden]\n")
    repository.write("users/part1.toml", "[user.one]\n")
    repository.write("pgtls.toml", SPEC.replace("*.toml", "part[0-9].toml"))
    repository.commit()
    assert repository.users() == ["one"]


@pytest.mark.parametrize("pattern", ["../*.toml", "/etc/*.toml", "./../*.toml"])
def test_a_pattern_that_leaves_the_repository_is_a_fault(repository: Repository, pattern: str) -> None:
    repository.write("pgtls.toml", SPEC.replace("users/*.toml", pattern))
    repository.commit()
    assert "it is outside of the repository" in repository.fault().message


def rejected(name: str, spec: object) -> str:
    """Return why a spec is refused at a revision."""
    with pytest.raises(Rejected) as rejected:
        revision(name, str(spec))
    (fault,) = rejected.value.diagnostics
    assert fault.code == "PGT292"
    return fault.message


@pytest.mark.parametrize("way", ["a link", "a link of a directory", "a link of a directory above", "a submodule"])
def test_a_spec_to_which_a_link_or_a_submodule_leads_is_a_fault(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    spec = repository.root / "specs" / "prod" / "pgtls.toml"
    repository.write("specs/prod/pgtls.toml", "version = 1\n[user.prod]\n")
    repository.write("other/prod/pgtls.toml", "version = 1\n[user.other]\n")
    repository.commit()
    refuse_links(str(spec))
    what = {"a link": spec, "a link of a directory above": spec.parents[1]}.get(way, spec.parent)
    repository.git("rm", "-rq", str(what))
    what.parent.mkdir(exist_ok=True, parents=True)
    kind = "a submodule" if way == "a submodule" else "a symbolic link"
    if way == "a submodule":
        repository.add_submodule("specs/prod")
    else:
        what.symlink_to(repository.root / "other" / what.relative_to(repository.root / "specs"))
        repository.commit()
    for directory in (repository.root, repository.root.parent):
        monkeypatch.chdir(directory)
        for path in (spec, os.path.relpath(spec)):
            assert f"is {kind}, and git:REV follows none" in rejected("HEAD", path)
            files, inside = revision("HEAD~1", str(path))
            result = load(inside, files)
            assert result.loaded is not None
            assert list(result.loaded.spec.user) == ["prod"], "the revision decides what it has, not the checkout"
            with pytest.raises(Rejected, match="PGT292"):
                refuse_links(str(path))


@pytest.mark.parametrize("place", ["checkout", "checkout/users", "", "elsewhere", "worktree"])
def test_links_outside_of_the_repository_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    for name in ("checkout", "elsewhere"):
        (tmp_path / "data" / name).mkdir(parents=True)
    repository = Repository(tmp_path / "data" / "checkout")
    repository.git("worktree", "add", "-q", "../worktree")
    (tmp_path / "home").symlink_to("data")
    (tmp_path / "shortcut").symlink_to("data/checkout/users")
    monkeypatch.chdir(tmp_path / "home" / place)
    for path in ("home/checkout/pgtls.toml", "data/checkout/pgtls.toml", "home/worktree/pgtls.toml"):
        for spec in (tmp_path / path, os.path.relpath(os.path.realpath(tmp_path / path))):
            files, inside = revision("HEAD", str(spec))
            assert (inside, load(inside, files).diagnostics) == ("pgtls.toml", ())
            refuse_links(str(spec))
    assert revision("HEAD", str(tmp_path / "shortcut" / "app.toml"))[1] == "users/app.toml"


def test_the_repository_is_that_of_the_working_directory_or_else_the_outermost_that_tracks_the_spec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = Repository(tmp_path)
    (tmp_path / "untracked").mkdir()
    Repository(tmp_path / "untracked").git("branch", "own")
    outer.write(".gitignore", "untracked\n")
    outer.add_submodule("sub")
    outer.git("-C", "sub", "branch", "own")
    for directory in (tmp_path, tmp_path / "users", tmp_path / "sub", tmp_path / "untracked", tmp_path.parent):
        monkeypatch.chdir(directory)
        assert revision("own", os.path.relpath(tmp_path / "untracked" / "pgtls.toml"))[1] == "pgtls.toml"
        reason = rejected("own", os.path.relpath(tmp_path / "untracked" / "gone.toml"))
        is_here = directory in (tmp_path, tmp_path / "users")
        assert ("git knows no such revision" if is_here else "that revision has no such file") in reason
        if directory == tmp_path / "sub":  # who works in a submodule asks for its revisions
            assert revision("own", "pgtls.toml")[1] == "pgtls.toml"
            refuse_links("pgtls.toml")
        else:
            assert '"sub" is a submodule' in rejected("HEAD", os.path.relpath(tmp_path / "sub" / "pgtls.toml"))


def test_a_spec_that_lay_where_now_a_link_is_can_be_compared(repository: Repository) -> None:
    repository.git("mv", "users", "people")
    (repository.root / "users").symlink_to("people")
    repository.commit()
    assert repository.load("HEAD~1", "users/app.toml").source.files[0].text == "[user.app]\n"


def test_the_digest_of_a_file_is_that_of_what_a_build_reads(repository: Repository) -> None:
    repository.write("certs/..a.crt", "A")
    repository.write("certs/b.crt", "B")
    repository.write("..c.crt", "C")
    (repository.root / "folder").symlink_to("certs/deep")
    (repository.root / "certs" / "link.crt").symlink_to("b.crt")
    repository.write("certs/deep/d.crt", "D")
    repository.commit()
    files, _ = revision("HEAD", str(repository.root / "pgtls.toml"))
    root = os.path.realpath(repository.root)
    for path in ("certs/..a.crt", "..c.crt", "users/../certs/b.crt", f"{root}/certs/b.crt"):
        assert files.digest(path) == sha256((repository.root / path).read_bytes()).hexdigest()
    assert files.digest(f"../{os.path.basename(root)}/certs/b.crt") == files.digest("certs/b.crt")
    for path in ("certs/link.crt", "users/../certs/link.crt", f"{root}/certs/link.crt", "folder/d.crt"):
        assert files.digest(path) == "OSError", path
    assert files.digest("folder/../b.crt") == "OSError", "a build reads certs/b.crt"
    assert files.digest("folder/../certs/b.crt") == "OSError", "a build reads certs/certs/b.crt, which is not there"
    for path in ("../b.crt", "users/../../b.crt", "/etc/hostname", f"{root}x/certs/b.crt"):
        assert files.digest(path) == OUTSIDE, path


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


def tagged(repository: Repository, *names: str) -> list[str]:
    """Commit [user.later], and give the first of the names to a tag of the commit before. Complete ids in the names."""
    repository.write("users/later.toml", "[user.later]\n")
    repository.commit()
    head = repository.git("rev-parse", "HEAD").strip()
    for name in ("refs/remotes/origin/main", "refs/remotes/origin/release"):
        repository.git("update-ref", name, head)
    repository.git("symbolic-ref", "refs/remotes/fork/HEAD", "refs/remotes/origin/main")
    known = [name.replace("SHORT", head[:9]).replace("FULL", head) for name in names]
    repository.git("update-ref", f"refs/tags/{known[0]}", "HEAD~1")
    return known


BOTH = "git:refs/heads/main or git:refs/tags/main"
ID = ", or all digits of the id"


@pytest.mark.parametrize(
    ("tag", "name", "written"),
    [
        ("main", "main", BOTH),
        ("main", "main~0", BOTH),
        ("main", "main^0", BOTH),
        ("main", "main^{/change}", BOTH),
        ("heads/main", "heads/main", "git:refs/heads/main or git:refs/tags/heads/main"),
        ("origin/main", "origin/main", "git:refs/remotes/origin/main or git:refs/tags/origin/main"),
        ("release", "release", "git:refs/tags/release or git:refs/remotes/origin/release"),
        ("release", "release~0", "git:refs/tags/release or git:refs/remotes/origin/release"),
        ("fork", "fork", "git:refs/remotes/fork/HEAD or git:refs/tags/fork"),
        ("SHORT", "SHORT", "git:refs/tags/SHORT" + ID),
        ("SHORT", "SHORT~0", "git:refs/tags/SHORT" + ID),
        ("v1-2-gSHORT", "v1-2-gSHORT", "git:refs/tags/v1-2-gSHORT" + ID),
        ("v1-2-gSHORT", "v1-2-gSHORT^{/change}", "git:refs/tags/v1-2-gSHORT" + ID),
        ("side", "@{-1}", "git:refs/heads/BRANCH"),
    ],
)
def test_a_name_that_means_several_revisions_is_a_fault(
    repository: Repository, tag: str, name: str, written: str
) -> None:
    repository.git("config", "core.warnAmbiguousRefs", "false")
    repository.git("checkout", "-q", "-b", "side")
    repository.git("checkout", "-q", "main")
    tag, name, written = tagged(repository, tag, name, written)
    with pytest.raises(Rejected) as rejected:
        repository.load(name)
    (fault,) = rejected.value.diagnostics
    assert fault.message.startswith(f'revision "{name}" of "{repository.root}/pgtls.toml" is ambiguous: it may be ')
    assert (fault.code, fault.hint) == ("PGT292", f"write it in full: {written}")
    repository.git("tag", "-d", tag)
    if tag != "release":  # a branch of a remote has no short name
        assert repository.load(name).loaded is not None


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("HEAD", "HEAD"),
        ("HEAD", "HEAD~0"),
        ("HEAD", "@"),
        ("HEAD", "@{0}"),
        ("FULL", "FULL"),
        ("FULL", "FULL~0"),
        ("refs/heads/main", "refs/heads/main"),
        ("main", "refs/heads/main~0"),
        ("main", "heads/main"),
        ("main", "main@{0}"),
        ("origin/main", "refs/remotes/origin/main"),
        ("origin/main", "main@{upstream}"),
        ("v1-2-gSHORT", "v9-9-gSHORT"),
        ("v1", "main"),
    ],
)
def test_a_name_of_which_git_takes_one_meaning_before_all_others_is_read(
    repository: Repository, tag: str, name: str
) -> None:
    repository.git("config", "branch.main.remote", "origin")
    repository.git("config", "branch.main.merge", "refs/heads/main")
    repository.git("config", "remote.origin.url", "/nowhere")
    repository.git("config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    result = repository.load(tagged(repository, tag, name)[1])
    assert result.loaded is not None
    assert sorted(result.loaded.spec.user) == ["app", "later"]


@pytest.mark.parametrize("name", ["v1", "20240101", "v1-2-gdeadbeef", "v1-2-gSHORT"])
def test_a_tag_that_means_nothing_else_is_read(repository: Repository, name: str) -> None:
    name = name.replace("SHORT", repository.git("rev-parse", "--short", "HEAD").strip())
    repository.git("tag", "-a", "-m", "a tag", name)
    assert repository.load(name).loaded is not None


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
