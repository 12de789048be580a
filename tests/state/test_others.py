"""What other users, and those who may commit, can do to an out directory."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from hashlib import sha256
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

import pgtls
from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from pgtls.exports.built import built as exported
from pgtls.live.run import loaded
from pgtls.pipeline import status
from pgtls.pki.model import Entity
from pgtls.state import files, seal
from pgtls.state import lock as locks
from pgtls.state import manifest as manifests
from pgtls.state.known_lock import NONE
from pgtls.state.lock import timestamp
from pgtls.state.manifest import Inputs, Manifest
from pgtls.state.up_to_date import input_digest, source_digest, up_to_date
from pgtls.state.writers import _members
from support.building import NOW, SMALL, Place, steps
from support.killing import in_child
from support.pgtls import pgtls as run_pgtls
from support.system import find_account, is_root, new_directory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_directories_on_the_way_and_what_init_writes_are_never_open_to_others(tmp_path: Path, umask: int) -> None:
    for words in (["init", "a/b"], ["build", "a/b/pgtls.toml", "--out", "new/parent/out"]):
        call = [sys.executable, "-m", "pgtls", *words]
        subprocess.run(call, cwd=tmp_path, check=True, capture_output=True, umask=umask)
    for name in ("a", "a/b", "new", "new/parent"):
        assert mode(tmp_path / name) & 0o022 == 0, name
    for name in ("pgtls.toml", ".gitignore", ".gitattributes"):
        assert mode(tmp_path / "a/b" / name) == 0o644 & ~umask
    assert mode(tmp_path / "new/parent/out") == 0o755


@pytest.mark.skipif(not is_root(), reason="unavailable: another user's directory needs root")
@pytest.mark.parametrize("command", ["build", "plan"])
def test_an_out_directory_of_another_user_is_not_taken(tmp_path: Path, command: str) -> None:
    nobody = find_account("nobody")
    assert nobody is not None
    (tmp_path / "pgtls.toml").write_text(SMALL)
    (tmp_path / "out").mkdir()
    os.chown(tmp_path / "out", nobody.uid, nobody.gid)
    run = run_pgtls(command, cwd=tmp_path)
    assert run.status == 1
    assert 'PGT540]: the out directory "out" belongs to nobody, and you are root' in run.stderr.replace(
        f"{tmp_path}/", ""
    )
    assert list((tmp_path / "out").iterdir()) == []
    os.chown(tmp_path / "out", 0, 0)
    assert run_pgtls(command, cwd=tmp_path).status == 0


@pytest.mark.skipif(not is_root(), reason="unavailable: another user's directory needs root")
def test_root_confirms_nothing_in_the_directory_of_another_account(place: Place) -> None:
    """Root could, and the file that it would leave would stop every later build of that account."""
    nobody = find_account("nobody")
    assert nobody is not None
    place.build(SMALL)
    own = [place.out, *place.out.rglob("*")]
    for path in own:
        os.lchown(path, nobody.uid, nobody.gid)
    with pytest.raises(Rejected, match=r"PGT540: .* belongs to nobody, and you are root"):
        place.confirm("server.main")
    assert sorted(place.out.rglob("*")) == sorted(own[1:])
    for path in own:
        os.lchown(path, 0, 0)
    place.confirm("server.main")


@pytest.mark.skipif(not is_root(), reason="unavailable: a file of another user needs root")
@pytest.mark.parametrize(
    "path",
    ["ca", "ca/clients", "ca/clients/ca.key", "servers/main/pg_hba.conf", "manifest.json", ".pgtls", ".pgtls/key"],
)
def test_what_another_user_owns_below_the_out_directory_is_not_taken(tmp_path: Path, path: str) -> None:
    nobody = find_account("nobody")
    assert nobody is not None
    place = Place(tmp_path)
    place.build(SMALL)
    assert (place.out / path).exists()
    os.chown(place.out / path, nobody.uid, nobody.gid)
    for run in (place.plan, place.build):
        with pytest.raises(Rejected, match=f'PGT540: .* which belongs to root, nobody owns "{path}"'):
            run(SMALL)
    if path != ".pgtls/key":
        assert not is_current(place)
    os.chown(place.out / path, 0, 0)
    assert is_current(place)


@pytest.mark.parametrize("path", ["", "servers", "servers/main"])
def test_a_directory_that_everybody_can_write_is_not_taken(tmp_path: Path, path: str) -> None:
    place = Place(tmp_path)
    place.build(SMALL)
    (place.out / path).chmod(0o777)
    for run in (place.plan, place.build):
        with pytest.raises(Rejected, match=r"PGT585: every user of this machine can write to"):
            run(SMALL)
    assert not is_current(place)
    (place.out / path).chmod(0o700 if path == "servers/main" else 0o755)
    assert is_current(place)


GROUPS = {
    "of one member": ((), (), ""),
    "that lists its owner and root": (("me", "root"), (), ""),
    "that lists a user who is gone": (("gone",), (), ""),
    "that lists another": (("me", "bob"), (), 'group "team", with 1 other member,'),
    "that is the first of others": ((), ("bob", "carl"), 'group "team", with 2 other members,'),
}
"""Who a group lists, whose first group it is, and who can then write."""


@pytest.mark.parametrize("path", ["", "servers"])
@pytest.mark.parametrize(("listed", "first", "who"), GROUPS.values(), ids=GROUPS)
def test_a_directory_that_a_group_can_write_is_taken_if_it_is_a_private_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    listed: tuple[str, ...],
    first: tuple[str, ...],
    who: str,
) -> None:
    place = Place(tmp_path)
    place.build(SMALL)
    group = (place.out / path).stat().st_gid
    gid = group or 4711
    users = {"root": 0, "me": os.geteuid(), "bob": 4711, "carl": 4712}
    accounts = [
        SimpleNamespace(pw_name=name, pw_uid=uid, pw_gid=gid if name in ("me", *first) else 1)
        for name, uid in users.items()
    ]
    monkeypatch.setattr("pwd.getpwall", lambda: accounts)
    monkeypatch.setattr("pwd.getpwnam", {one.pw_name: one for one in accounts}.__getitem__)
    monkeypatch.setattr("grp.getgrgid", lambda _: SimpleNamespace(gr_name="team", gr_mem=list(listed)))
    if not group:
        os.chown(place.out / path, -1, gid)
    (place.out / path).chmod(0o775)
    _members.cache_clear()
    try:
        assert is_current(place) is not bool(who)
        for run in (place.plan, place.build):
            if who:
                with pytest.raises(Rejected, match=f"PGT585: {who} can write to"):
                    run(SMALL)
            else:
                run(SMALL)
    finally:
        _members.cache_clear()


def is_current(place: Place) -> bool:
    """Return whether the check for nothing to do lets a build pass."""
    return up_to_date(str(place.spec), str(place.out), str(place.lock), "", locks.timestamp(NOW), touch=False)


@pytest.mark.skipif(not is_root(), reason="unavailable: a file of another user needs root")
def test_what_root_has_built_in_a_users_directory_is_said_to_be_roots() -> None:
    nobody = find_account("nobody")
    assert nobody is not None
    place = Place(new_directory("others"))
    place.build(SMALL)
    for path in (place.directory, place.out, *place.out.rglob("*")):
        os.chown(path, nobody.uid, nobody.gid)
    os.chown(place.file("ca/clients/ca.key"), 0, 0)
    os.utime(place.file("ca/clients/ca.key"))

    def as_nobody() -> None:
        os.setgroups([])
        os.setgid(nobody.gid)
        os.setuid(nobody.uid)
        with pytest.raises(Rejected, match=r"PGT527: .*ca.key.*; it belongs to root, and you are nobody") as rejected:
            place.build()
        assert "sudo chown -R nobody" in str(rejected.value.diagnostics[0].hint)

    assert in_child(as_nobody).status == 0


@pytest.mark.skipif(not is_root(), reason="unavailable: another user's directory needs root")
def test_a_user_who_cannot_read_the_out_directory_is_told_whose_it_is() -> None:
    nobody = find_account("nobody")
    assert nobody is not None
    place = Place(new_directory("readers"))
    place.build(SMALL)
    place.confirm("server.main")
    place.directory.chmod(0o755)

    def as_nobody() -> None:
        os.setgroups([])
        os.setgid(nobody.gid)
        os.setuid(nobody.uid)
        with pytest.raises(Rejected, match=r"PGT527: .*/out/.*; it belongs to root, and you are nobody"):
            status(place.request())
        with pytest.raises(Rejected, match=r"PGT540: .* belongs to root, and you are nobody"):
            place.confirm("server.main")

    assert in_child(as_nobody).status == 0


def test_a_mode_is_never_given_to_what_a_link_leads_to(tmp_path: Path) -> None:
    """A link appears between the check and the change of a mode: any user who can write the directory can place it."""
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("mine")
    target.chmod(0o600)
    link.symlink_to(target)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError, match="symbolic link"):
        files.change_mode("link", 0o644, descriptor)
    assert mode(target) == 0o600
    target.chmod(0)  # one that its owner cannot read gets its mode, too
    files.change_mode("target", 0o640, descriptor)
    os.close(descriptor)
    assert mode(target) == 0o640


@pytest.mark.parametrize("dangling", [True, False], ids=["dangling", "to a file"])
@pytest.mark.parametrize("command", ["check", "plan", "build", "status"])
def test_a_lock_that_is_a_link_is_never_followed(tmp_path: Path, command: str, dangling: bool) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    place = Place(tmp_path)
    place.build(SMALL)
    content = place.lock.read_bytes()
    place.lock.rename(elsewhere / "a.lock")
    place.lock.symlink_to(elsewhere / ("none" if dangling else "a.lock"))
    run = run_pgtls(command, cwd=tmp_path)
    assert run.status == 1
    assert "error[PGT539]: the lock" in run.stderr + run.stdout
    assert [path.name for path in elsewhere.iterdir()] == ["a.lock"]
    place.lock.unlink()
    (elsewhere / "a.lock").rename(place.lock)
    assert place.lock.read_bytes() == content
    assert run_pgtls(command, cwd=tmp_path).status == 0


def git(directory: Path, *words: str) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(directory), "GIT_CONFIG_NOSYSTEM": "1"}
    call = ["git", "-c", "user.email=a@b", "-c", "user.name=x", *words]
    subprocess.run(call, cwd=directory, env=env, check=True, capture_output=True)


def forged(place: Place) -> bytes:
    """Make a record that moves the key of a CA out of the tree, opens another, and deletes keys."""
    steps = [["chmod", "ca/root", 0o755], ["chmod", "ca/root/ca.key", 0o644], ["unlink", "servers/main/server.key", 0]]
    lock = {
        "path": str(place.directory / "index.html"),
        "staged": str(place.file("ca/clients/ca.key")),
        "before": None,
        "after": "0" * 64,
    }
    return json.dumps({"pgtls_commit": 1, "lock": lock, "steps": steps}).encode()


@pytest.mark.parametrize("pulled", [True, False], ids=["pulled", "put there"])
def test_a_commit_record_of_a_stranger_is_not_carried_out(tmp_path: Path, pulled: bool) -> None:
    place = Place(tmp_path / "repository")
    place.directory.mkdir()
    place.build(SMALL)
    git(place.directory, "init", "-q", "-b", "main")
    git(place.directory, "add", "-A")
    git(place.directory, "commit", "-qm", "spec and lock")
    keys = {path: (mode(path), path.read_bytes()) for path in place.out.rglob("*.key")}
    private = (tmp_path / "attacker/out/.pgtls") if pulled else place.file(".pgtls")
    if pulled:
        git(place.directory, "clone", "-q", ".", str(tmp_path / "attacker"))
    (private / "staging").mkdir(parents=True)
    (private / "staging/x").touch()
    (private / "commit.json").write_bytes(forged(place))
    if pulled:
        git(tmp_path / "attacker", "add", "-f", "out")
        git(tmp_path / "attacker", "commit", "-qm", "tidy")
        git(place.directory, "pull", "-q", str(tmp_path / "attacker"), "main")
    for command in ("plan", "build"):
        run = run_pgtls(command, cwd=place.directory)
        assert run.status == 1
        if pulled:
            assert "PGT541]: git tracks files in the out directory" in run.stderr
    assert {path: (mode(path), path.read_bytes()) for path in place.out.rglob("*.key")} == keys
    assert not (place.directory / "index.html").exists()


def invented(place: Place) -> bytes:
    """A manifest that says there is nothing to do, by somebody who knows the repository alone."""
    digest = input_digest(source_digest(str(place.spec), (), (), ""), place.lock.read_bytes())
    lock_id = json.loads(place.lock.read_bytes().splitlines()[0])["id"]
    return Manifest(pgtls.__version__, lock_id, "pgtls.toml", Inputs(digest), NOW, None, {}).render()


REMEMBERED = {
    "manifest.json": None,
    ".pgtls/key": b"k" * 32,
    ".pgtls/lock": b"",
    ".pgtls/generations": b"",
    ".pgtls/deployed": b"",
    "servers/main/install.sh": b"id",
}
"""What a commit may bring, by path in the out directory; None: :func:`invented`."""


def readers(place: Place) -> dict[str, Callable[[], object]]:
    """Every command that reads an out directory."""
    spec = pgtls.load(place.spec, now=NOW)
    return {
        "build": place.build,
        "plan": place.plan,
        "status": lambda: pgtls.status(spec, out=place.out),
        "confirm": lambda: place.confirm("all"),
        "fetch": lambda: pgtls.fetch(place.directory / "deploy", "server.main", store=str(place.out), now=NOW),
        "export": lambda: exported(spec, str(place.out), [Entity("server.main")]),
        "verify": lambda: loaded(spec, str(place.out)).of("main"),
    }


def nothing_to_do(place: Place) -> bool:
    return up_to_date(str(place.spec), str(place.out), str(place.lock), "", timestamp(NOW))


def test_what_a_commit_brings_over_the_ignored_files_of_a_tree_stops_every_command(tmp_path: Path) -> None:
    place, theirs = Place(tmp_path / "repository"), Place(tmp_path / "attacker")
    place.directory.mkdir()
    place.build(SMALL)
    for read in readers(place).values():
        read()
    place.build()
    assert nothing_to_do(place)
    git(place.directory, "init", "-q", "-b", "main")
    git(place.directory, "add", "pgtls.toml", "pgtls.lock")
    git(place.directory, "commit", "-qm", "spec and lock")
    git(place.directory, "clone", "-q", ".", str(theirs.directory))
    for path, content in REMEMBERED.items():
        theirs.file(path).parent.mkdir(parents=True, exist_ok=True)
        theirs.file(path).write_bytes(invented(theirs) if content is None else content)
    git(theirs.directory, "add", "-f", "out")
    git(theirs.directory, "commit", "-qm", "tidy")
    git(place.directory, "pull", "-q", str(theirs.directory), "main")
    for path in REMEMBERED:
        assert place.file(path).read_bytes() == theirs.file(path).read_bytes(), "git overwrites what is ignored"
    assert not nothing_to_do(place)
    for read in readers(place).values():
        with pytest.raises(Rejected, match="PGT541: git tracks files in the out directory"):
            read()


def test_a_manifest_that_no_build_wrote_saves_no_build_and_delivers_nothing(tmp_path: Path) -> None:
    """As after ``git rm --cached``, which leaves what a commit has brought."""
    place = Place(tmp_path)
    place.build(SMALL)
    before, installer = place.state(), place.file("servers/main/install.sh")
    installer.write_bytes(b"id\n".ljust(installer.stat().st_size))
    os.utime(installer, ns=(1, 1))
    document = json.loads(place.file("manifest.json").read_bytes())
    digest = sha256(installer.read_bytes()).hexdigest()
    document["files"]["servers/main/install.sh"].update(sha256=digest, mtime_ns=1)
    place.file("manifest.json").write_text(json.dumps(document))
    assert not nothing_to_do(place)
    for command, code in {"fetch": "PGT587", "verify": "PGT587", "confirm": "PGT587", "export": "PGT660"}.items():
        with pytest.raises(Rejected, match=code):
            readers(place)[command]()
    assert not (tmp_path / "deploy").exists()
    assert steps(place.build()) == [("server.main", "rewrite")]
    assert {**place.state(), "out/manifest.json": None} == {**before, "out/manifest.json": None}
    assert nothing_to_do(place)
    for read in readers(place).values():
        read()


@pytest.mark.parametrize("name", ["deploy", "deploy/new", "deploy/new/one"])
def test_a_link_that_a_commit_brings_leads_no_fetched_key_elsewhere(tmp_path: Path, name: str) -> None:
    place, elsewhere = Place(tmp_path / "site"), tmp_path / "elsewhere"
    for directory in (place.directory, elsewhere):
        directory.mkdir()
    place.build(SMALL)
    git(place.directory, "init", "-q")
    (place.directory / "deploy").symlink_to("../elsewhere")

    def fetch(directory: Path) -> None:
        pgtls.fetch(directory, "server.main", store=str(place.out), now=NOW)

    with pytest.raises(Rejected, match="PGT521"):
        fetch(place.directory / name)
    assert list(elsewhere.iterdir()) == []
    fetch(elsewhere / "new")
    assert (elsewhere / "new" / "servers" / "main" / "server.key").exists()


def look_at_a_branch(place: Place, *brought: str) -> None:
    """Check out a branch that has files at paths of the out directory, and go back: git has deleted them."""
    directory = place.directory
    git(directory, "init", "-q", "-b", "main")
    git(directory, "add", "pgtls.toml", "pgtls.lock")
    git(directory, "commit", "-qm", "spec and lock")
    git(directory, "worktree", "add", "-q", str(directory / "theirs"), "-b", "other")
    for path in brought:
        (directory / "theirs/out" / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / "theirs/out" / path).write_text("x")
    git(directory / "theirs", "add", "-f", "out")
    git(directory / "theirs", "commit", "-qm", "tidy")
    git(directory, "checkout", "-q", "--ignore-other-worktrees", "other")
    git(directory, "checkout", "-q", "main")
    assert not any(place.file(path).exists() for path in brought), "git has deleted them"


@pytest.mark.parametrize("path", [".pgtls/lock", ".pgtls/generations"])
def test_a_branch_that_is_checked_out_for_a_moment_takes_no_memory_away(tmp_path: Path, path: str) -> None:
    place = Place(tmp_path)
    place.build(SMALL)
    kept = place.file(path).read_bytes()
    look_at_a_branch(place, path)
    for command in ("build", "plan", "status"):
        with pytest.raises(Rejected, match=f'PGT588: no build wrote .*: "{path}"'):
            readers(place)[command]()
    place.file(path).write_bytes(kept)
    assert steps(place.build()) == []
    place.file(path).unlink()
    assert steps(place.build(new_out=True)) == []  # as the hint says
    assert place.file(path).exists()
    assert steps(place.build()) == []


@pytest.mark.parametrize("in_work_tree", [True, False], ids=["in a work tree", "elsewhere"])
def test_the_manifest_of_an_earlier_build_counts_for_no_command(tmp_path: Path, in_work_tree: bool) -> None:
    """Others may have read it, with the CRLs of then: the key of the tree authenticates it."""
    place = Place(tmp_path)
    if in_work_tree:
        git(tmp_path, "init", "-q")
    place.build(SMALL)
    public = ("manifest.json", "servers/main/root.crl", "ca/clients/ca.crl")
    then = {path: place.file(path).read_bytes() for path in public}
    place.build(LEFT)
    now = {path: place.file(path).read_bytes() for path in public}
    for path, content in then.items():
        place.file(path).write_bytes(content)
    before = place.state()
    memory = place.file(".pgtls/memory")
    whole = memory.read_bytes()
    for code in ("PGT587: an earlier build", r'PGT588: .*"\.pgtls/memory"'):
        for read in readers(place).values():
            with pytest.raises(Rejected, match=code):
                read()
        assert not nothing_to_do(place)
        assert not (tmp_path / "deploy").exists()
        memory.unlink(missing_ok=True)
    memory.write_bytes(whole)
    memory.chmod(0o600)
    assert place.state() == before
    for path, content in now.items():
        place.file(path).write_bytes(content)
    for read in readers(place).values():
        read()


def test_a_restored_directory_has_the_memory_of_its_manifest(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.build(SMALL)
    shutil.copytree(place.out, tmp_path / "backup")
    lock = place.lock.read_bytes()
    place.build(LEFT)
    shutil.rmtree(place.out)
    (tmp_path / "backup").rename(place.out)
    place.write(SMALL)
    place.lock.write_bytes(lock)
    for read in readers(place).values():
        read()


def test_a_tree_whose_memory_names_no_manifest_yet_is_read_and_gets_one(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.build(SMALL)
    key, path = place.file(".pgtls/key").read_bytes(), place.file(".pgtls/memory")
    digests = json.loads(seal.opened(path.read_bytes()))
    named = digests.pop("manifest.json")
    path.write_bytes(b"".join(seal.closed(key, [json.dumps(digests).encode() + b"\n"])))
    assert nothing_to_do(place)
    for read in readers(place).values():
        read()
    place.build(LEFT)
    after = json.loads(seal.opened(path.read_bytes()))["manifest.json"]
    assert named != after == sha256(place.file("manifest.json").read_bytes()).hexdigest()


LEFT = SMALL.replace('[user.app]\nca = "clients"\n', '[user.bob]\nca = "clients"\n').replace('["app"]', '["bob"]')
"""User app has left."""
MEMORY = (".pgtls/key", ".pgtls/lock", ".pgtls/generations")


def revoked(place: Place) -> list[str]:
    """The serial numbers in the CRL of the server."""
    lists = x509.load_pem_x509_crl(place.file("servers/main/root.crl").read_bytes())
    return [f"{one.serial_number:x}" for one in lists]


@pytest.mark.parametrize("more", [(), ("ca/clients/ca.crl",)], ids=["the key", "and the CRL"])
def test_a_branch_that_takes_the_key_too_undoes_no_revocation(tmp_path: Path, more: tuple[str, ...]) -> None:
    place = Place(tmp_path)
    place.build(SMALL)
    serial = locks.read(place.lock).latest[Entity("user.app")].serial
    place.build(LEFT)
    assert revoked(place) == [serial]
    look_at_a_branch(place, *MEMORY, *more)
    whole = place.lock.read_text()
    place.lock.write_text("".join(line for line in whole.splitlines(True) if '"user.app"' not in line))
    for name, read in readers(place).items():
        code = "PGT508" if name == "confirm" else "PGT587"  # it knows no build any more
        with pytest.raises(Rejected, match=code) as rejected:
            read()
        hint = str(rejected.value.diagnostics[0].hint)
        assert code == "PGT508" or ("--new-out" in hint and [path for path in more if path in hint] == [*more])
    assert revoked(place) == [serial]
    place.lock.write_text(whole)  # from its history, as the hint says
    place.build(new_out=True, asked=Asked(accept_outage=True))
    assert revoked(place) == [serial]
    assert steps(place.build()) == []


def without_key(key: Path) -> str:
    key.unlink()
    return "the key .* is missing"


def with_another_key(key: Path) -> str:
    key.unlink()
    key.write_bytes(b"k" * 32)
    key.chmod(0o400)
    return "the key does not authenticate it"


def with_a_short_key(key: Path) -> str:
    key.chmod(0o600)
    key.write_bytes(b"k")
    key.chmod(0o400)
    return "a build did not write the key"


def with_a_mode_of_git(key: Path) -> str:
    key.chmod(0o644)
    return "has mode 0644, and a build gives it 0400"


@pytest.mark.parametrize("change", [without_key, with_another_key, with_a_short_key, with_a_mode_of_git])
def test_in_a_work_tree_a_manifest_counts_only_with_its_key(tmp_path: Path, change: Callable[[Path], str]) -> None:
    place = Place(tmp_path)
    place.build(SMALL)
    git(tmp_path, "init", "-q")
    assert steps(place.build()) == []
    why = change(place.file(".pgtls/key"))
    before = place.state()
    for read in readers(place).values():
        with pytest.raises(Rejected, match=f"PGT587.*{why}"):
            read()
    assert place.state() == before
    (tmp_path / ".git").rename(tmp_path / "elsewhere")
    place.build()
    (tmp_path / "elsewhere").rename(tmp_path / ".git")
    for read in readers(place).values():
        read()


def test_what_lies_in_the_private_directory_counts_only_with_the_manifest(tmp_path: Path) -> None:
    """A copy of the lock that git has left behind hides nothing, and revokes nothing."""
    place = Place(tmp_path)
    place.build(SMALL)
    place.file(".pgtls/key").unlink()
    lines = place.lock.read_text().splitlines(True)
    revoked = {**json.loads(next(line for line in lines if '"user.app"' in line))}
    revoked = {name: revoked[name] for name in ("ca", "entity", "serial")}
    more = {**revoked, "event": "revoked", "reason": "superseded", "date": "2026-01-01T00:00:00Z"}
    place.file(".pgtls/lock").write_text("".join(lines) + json.dumps(more) + "\n")
    planned = place.build(new_out=True)
    assert (steps(planned), planned.existing.drift, planned.existing.history) == ([], NONE, None)


@pytest.mark.parametrize("in_work_tree", [True, False], ids=["in a work tree", "elsewhere"])
def test_a_manifest_that_no_build_wrote_deletes_nothing_that_pgtls_does_not_make(
    tmp_path: Path, in_work_tree: bool
) -> None:
    place = Place(tmp_path)
    place.build(SMALL)
    theirs = {"vault/root.key": "user.gone", "clients/app/notes.txt": "user.app", "ca/.retired/x/ca.key": "ca.root"}
    document = json.loads(place.file("manifest.json").read_bytes())
    for path, entity in theirs.items():
        place.file(path).parent.mkdir(parents=True, exist_ok=True)
        place.file(path).write_text("mine")
        place.file(path).chmod(0o600)
        digest = sha256(b"mine").hexdigest()
        document["files"][path] = {
            "sha256": digest,
            "size": 4,
            "mtime_ns": 1,
            "mode": 0o600,
            "kind": "key" if path.endswith("key") else "bundle",
            "entity": entity,
        }
    place.file("manifest.json").write_text(json.dumps(document))
    if in_work_tree:
        git(tmp_path, "init", "-q")
    planned = place.build(LEFT, new_out=in_work_tree)
    assert all(place.file(path).read_text() == "mine" for path in theirs)
    assert not place.file("clients/app/postgresql.key").exists(), "what pgtls makes goes"
    (found,) = [one for one in planned.diagnostics if one.code == "PGT528"]
    assert all(path in found.message for path in ("vault/", "clients/app/notes.txt", "ca/.retired/"))


@pytest.mark.parametrize("in_work_tree", [True, False], ids=["in a work tree", "elsewhere"])
def test_a_manifest_that_no_fetch_wrote_deletes_nothing_that_pgtls_does_not_make(
    tmp_path: Path, in_work_tree: bool
) -> None:
    place, there = Place(tmp_path / "builder"), tmp_path / "there"
    place.directory.mkdir()
    place.build(SMALL)

    def fetch() -> None:
        pgtls.fetch(there, "server.main", store=str(place.out), now=NOW)

    fetch()
    notes = there / "servers/main/notes.txt"
    notes.write_text("mine")
    document = json.loads((there / "manifest.json").read_bytes())
    entry = document["files"]["servers/main/install.sh"]
    document["files"]["servers/main/notes.txt"] = {**entry, "sha256": sha256(b"mine").hexdigest(), "size": 4}
    (there / "manifest.json").write_text(json.dumps(document))
    if in_work_tree:
        git(there, "init", "-q")
        with pytest.raises(Rejected, match="PGT587") as rejected:
            fetch()
        assert "fetch into a new directory" in str(rejected.value.diagnostics[0].hint)
    else:
        fetch()
    assert notes.read_text() == "mine"


@pytest.mark.parametrize("in_work_tree", [True, False], ids=["in a work tree", "elsewhere"])
def test_the_manifest_of_an_earlier_fetch_does_not_count(tmp_path: Path, in_work_tree: bool) -> None:
    place, there = Place(tmp_path / "builder"), tmp_path / "there"
    place.directory.mkdir()
    if in_work_tree:
        git(tmp_path, "init", "-q", "there")

    def fetch() -> None:
        pgtls.fetch(there, "server.main", store=str(place.out), now=NOW)

    place.build(SMALL)
    fetch()
    then = (there / "manifest.json").read_bytes()
    place.build(LEFT)
    fetch()
    now = (there / "manifest.json").read_bytes()
    (there / "manifest.json").write_bytes(then)
    with pytest.raises(Rejected, match="PGT587: an earlier build"):
        fetch()
    (there / "manifest.json").write_bytes(now)
    fetch()


TAKEN = {
    "the manifest and the files": ("manifest.json", "servers"),
    "what is remembered": (".pgtls/memory",),
    "what is remembered, for the manifest": (".pgtls/memory",),
}


@pytest.mark.parametrize("what", TAKEN)
def test_a_destination_that_lost_what_it_remembers_fetches_no_earlier_build(tmp_path: Path, what: str) -> None:
    place, there = Place(tmp_path / "builder"), tmp_path / "there"
    place.directory.mkdir()

    def fetch() -> None:
        pgtls.fetch(there, "server.main", store=str(place.out), now=NOW)

    place.build(SMALL)
    fetch()
    then = (there / "manifest.json").read_bytes()
    place.build(LEFT)
    fetch()
    if "what" in what:
        (there / "manifest.json").write_bytes(then)
    for path in TAKEN[what]:
        shutil.rmtree(there / path) if path == "servers" else (there / path).unlink()
    if what.endswith("for the manifest"):
        (there / ".pgtls/memory").write_bytes(then)
    with pytest.raises(Rejected, match=r"PGT58[78]") as rejected:
        fetch()
    assert rejected.value.diagnostics[0].hint == "fetch into a new directory, and compare both"


def test_a_tree_without_a_seal_is_read_and_sealed_and_that_is_all(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.build(SMALL)
    before, manifest = place.state(), manifests.read(place.out)
    place.file("manifest.json").write_bytes(seal.opened(place.file("manifest.json").read_bytes()))
    assert steps(place.build()) == []
    after = manifests.read(place.out)
    assert manifest is not None
    assert after is not None
    assert (after.last, after.files, after.texts) == (True, manifest.files, manifest.texts)
    assert {**place.state(), "out/manifest.json": None} == {**before, "out/manifest.json": None}


def test_a_build_with_nothing_to_do_throws_away_what_a_killed_one_has_staged(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.write(SMALL)
    assert run_pgtls("build", cwd=tmp_path).status == 0
    staged = place.file(".pgtls/staging/ca/clients")
    staged.mkdir(parents=True)
    (staged / "ca.key").write_text("a key")
    before = place.state()
    run = run_pgtls("build", cwd=tmp_path)
    assert run.status == 0
    assert "nothing to do" in run.stdout + run.stderr
    assert not place.file(".pgtls/staging").exists()
    assert place.state().keys() == before.keys()


def test_an_out_directory_of_which_git_tracks_files_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.write(SMALL)
    place.out.mkdir()
    (place.out / "manifest.json").write_text("{}")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-f", "out")
    with pytest.raises(Rejected, match="PGT541"):
        place.build()
    assert [path.name for path in place.out.iterdir()] == ["manifest.json"]
