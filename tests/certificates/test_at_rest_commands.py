"""What each command does with keys that are encrypted in the out directory, in a repository, and in a store."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

import pgtls as api
from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from pgtls.exports import kubernetes, terraform
from pgtls.exports.built import named
from pgtls.live.compiled import compiled
from pgtls.live.private import compiled as privately
from support import age
from support.building import NOW, SMALL, Place, steps
from support.killing import in_child, moments
from support.pgtls import pgtls

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.age import Identity


@pytest.fixture
def alice(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return age.keygen(tmp_path_factory.mktemp("alice") / "key.txt")


def at_rest(*recipients: Identity, identity: Identity | None = None, spec: str = SMALL) -> str:
    names = json.dumps([one.recipient for one in recipients])
    source = f'identity = {{ file = "{identity.file}" }}\n' if identity else ""
    return spec.replace("version = 1\n", f"version = 1\n[state]\nrecipients = {names}\n{source}", 1)


def loaded(place: Place) -> api.Spec:
    return api.load(place.spec, now=NOW, lock=place.lock)


def belong(directory: Path) -> bool:
    """Return whether key and certificate in a directory are a pair in the clear."""
    (key,) = directory.glob("*.key")
    public = load_pem_private_key(key.read_bytes(), None).public_key()
    return x509.load_pem_x509_certificate(key.with_suffix(".crt").read_bytes()).public_key() == public


def code(rejected: pytest.ExceptionInfo[Rejected]) -> str:
    (error,) = [one for one in rejected.value.diagnostics if one.severity == "error"]
    return error.code


# ---- reports ---------------------------------------------------------------------------------------------------------


def test_reports_open_no_key(place: Place, alice: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    place.build(at_rest(alice))
    monkeypatch.setattr("pgtls.certificates.secrets.Secrets.decrypted", None)
    more = at_rest(alice, spec=SMALL + '[user.more]\nca = "clients"\n')
    place.write(more)
    spec = loaded(place)
    assert api.check(spec)
    assert {item.entity for item in api.status(spec, out=place.out).items} >= {"ca.root", "server.main"}
    assert ("user.more", "create") in [
        (step.entity, step.action) for step in api.plan(spec, out=place.out, secrets=False).steps
    ]
    assert api.access(spec)
    place.write(at_rest(alice))
    found = terraform.answer(loaded(place), str(place.out), terraform.read_query(b"{}"), review=False)
    assert found["server.main.key_path"].endswith("servers/main/server.key")


def test_diff_shows_who_else_can_read_the_keys(place: Place, alice: Identity) -> None:
    bob = age.ssh_keygen(place.directory / "bob", "ed25519")
    shown = {
        (change.kind, change.entity, change.what)
        for old, new in ((SMALL, at_rest(alice)), (at_rest(alice), at_rest(alice, bob)), (at_rest(alice, bob), SMALL))
        for change in api.diff(api.loads(old), api.loads(new)).protection
    }
    assert shown == {("weakened", "state", "recipients")}
    assert api.diff(api.loads(at_rest(alice)), api.loads(at_rest(alice, bob))).exceeds("weakened")
    assert api.diff(api.loads(at_rest(alice, bob)), api.loads(at_rest(alice))).exceeds("weakened"), "who signs then?"
    commented = at_rest(bob).replace("somebody@example.com", "else@example.com")
    assert not api.diff(api.loads(at_rest(bob)), api.loads(commented))


def test_verify_and_try_do_without_the_encrypted_keys(place: Place, alice: Identity, tmp_path: Path) -> None:
    place.build(at_rest(alice))
    checked = loaded(place).checked()
    assert checked.fleet is not None
    found = compiled(checked.fleet, checked.entries, str(place.out), checked.fleet.servers["main"], ())
    assert found.own_identity() == "its key is encrypted for the recipients of [state]"
    assert "server.key" not in found.files, "on the server it lies in the clear"
    assert "server.crt" in found.files
    (tmp_path / "private").mkdir()
    private = privately(checked.source, {"main": 17}, 17, tmp_path / "private", NOW)
    assert belong(private.server(checked.fleet.servers["main"])), "try has throwaway keys, in the clear"


def test_an_export_has_the_keys_in_the_clear(place: Place, alice: Identity) -> None:
    spec = SMALL.replace("[server.main]\n", '[server.main]\ndirectory = "/etc/pgtls"\n')
    place.build(at_rest(alice, identity=alice, spec=spec))

    def exported() -> bytes:
        opened = loaded(place)
        files, _ = kubernetes.export(opened, str(place.out), *named(opened.usable().fleet, ["server.main"]))
        return b"".join(file.content for file in files.values())

    clear = alice.age(place.file("servers/main/server.key").read_bytes())
    assert clear is not None
    assert base64.b64encode(clear) in exported()
    place.build(at_rest(alice, spec=spec))
    with pytest.raises(Rejected) as rejected:
        exported()
    assert code(rejected) == "PGT652"


def test_a_lost_out_directory_is_built_again_with_encrypted_backups(place: Place, alice: Identity) -> None:
    spec = at_rest(alice, identity=alice)
    place.build(spec)
    backup = place.directory / "backup"
    place.out.rename(backup)
    lent = tuple((name, str(backup / f"ca/{name}/ca.key")) for name in ("root", "clients"))
    with pytest.raises(Rejected) as rejected:
        place.build(at_rest(alice), new_out=True, asked=Asked(ca_keys=lent))
    assert code(rejected) == "PGT652"
    place.build(spec, new_out=True, asked=Asked(ca_keys=lent))
    for name in ("root", "clients"):
        before, after = ((path / f"ca/{name}/ca.key").read_bytes() for path in (backup, place.out))
        assert alice.age(before) == alice.age(after) != before


# ---- deploy ----------------------------------------------------------------------------------------------------------


def test_fetch_writes_what_a_machine_needs_with_its_key_in_the_clear(place: Place, alice: Identity) -> None:
    bob, here = age.keygen(place.directory / "bob.txt"), place.directory / "here"
    place.build(at_rest(alice))
    for identity, why in (
        (None, "it is encrypted, and there is no identity"),
        (bob.file, "it is encrypted for others"),
    ):
        with pytest.raises(Rejected, match=f'PGT652: cannot open "servers/main/server.key": {why}'):
            api.fetch(here, "server.main", store=str(place.out), identity=identity, now=NOW)
        assert not list(here.glob("*/*"))
    with pytest.raises(Rejected, match="PGT527"):
        api.fetch(here, "server.main", store=str(place.out), identity=place.directory / "none", now=NOW)
    os.umask(0)
    try:
        api.fetch(here, "server.main", "user.app", store=str(place.out), identity=alice.file, now=NOW)
    finally:
        os.umask(0o022)
    for directory, key in (("servers/main", "server.key"), ("clients/app", "postgresql.key")):
        assert belong(here / directory)
        assert (here / directory / key).stat().st_mode & 0o777 == 0o600
        assert (here / directory).stat().st_mode & 0o777 == 0o700
        for path in (here / directory).iterdir():
            if path.is_file() and path.name != key:
                assert path.read_bytes() == place.file(f"{directory}/{path.name}").read_bytes()
    again = api.fetch(here, "server.main", store=str(place.out), identity=alice.file, now=NOW)
    assert [one.changed for one in again] == [()]
    place.build(at_rest(alice, identity=alice), asked=Asked(renew=frozenset({"server.main"})))
    again = api.fetch(here, "server.main", store=str(place.out), identity=alice.file, now=NOW)
    assert {path.rpartition("/")[2] for path in again[0].changed} == {"server.crt", "server.key"}
    assert belong(here / "servers/main")
    assert belong(here / "clients/app"), "what was not named stays"


def test_a_first_fetch_killed_at_any_write_leaves_no_key_that_git_adds(place: Place, alice: Identity) -> None:
    place.build(at_rest(alice))
    git(place.directory, "init", "-q")
    here = place.directory / "here"

    def fetch() -> None:
        api.fetch(here, "server.main", store=str(place.out), identity=alice.file, now=NOW)

    total = in_child(fetch).writes
    assert total is not None
    for number in moments(total):
        shutil.rmtree(here, ignore_errors=True)
        assert in_child(fetch, kill_at=number).killed
        words = ("git", "ls-files", "-o", "--exclude-standard", "here")
        listed = subprocess.run(words, cwd=place.directory, capture_output=True, check=True)
        assert listed.stdout in (b"", b"here/.pgtls/.gitignore\n"), number


FORMS = (
    SMALL
    + """
[user.java]
ca = "clients"
formats = ["pkcs8-der"]
[user.closed]
ca = "clients"
formats = ["pkcs12"]
passphrase = { file = "word" }
[user.packed]
ca = "clients"
bundle = "zip"
[user.both]
ca = "clients"
formats = ["pkcs12"]
bundle = "zip"
passphrase = { file = "word" }
[server.alone]
ca = "self-signed"
hosts = ["alone.example.com"]
validity = "100d"
[user.waits]
ca = "clients"
external = true
[server.standby]
ca = "root"
client_ca = ["clients"]
hosts = ["standby.example.com"]
standby_of = "main"
replication_user = "copier"
[server.shared]
ca = "root"
hosts = ["shared.example.com"]
postgres = 19
openssl = "3.5"
[[server.shared.sni]]
hosts = ["shop.example.com"]
ca = "root"
[user.copier]
ca = "clients"
[policy.copy]
servers = ["main"]
users = ["copier"]
databases = ["replication"]
from = ["10.0.0.0/8"]
auth = "cert"
"""
)
"""Every place and form of a key that is fetched."""
FORMS = FORMS.replace("[policy.dba]\n", '[policy.dba]\nservers = ["all"]\n')
FORMS = FORMS.replace("[policy.app]\n", '[policy.app]\nservers = ["main"]\n')
FORMED = (
    *("server.main", "server.alone", "server.standby", "server.shared"),
    *("user.app", "user.both", "user.closed", "user.copier", "user.java", "user.packed", "user.waits"),
)


@pytest.fixture
def formed(place: Place, alice: Identity) -> Place:
    """Return a tree of all forms that is a repository of its own: whoever pushes to it writes the manifest."""
    (place.directory / "word").write_text("battery staple\n")
    spec = at_rest(alice, identity=alice, spec=FORMS)
    place.build(spec)
    place.build(spec, now=NOW + timedelta(days=75))
    git(place.out, "init", "-q")
    return place


def test_every_form_of_a_key_is_fetched(formed: Place, alice: Identity) -> None:
    files = json.loads(formed.file("manifest.json").read_bytes())["files"]
    keys = {path for path, entry in files.items() if entry["kind"] == "key" and not path.startswith("ca/")}
    assert {path.rpartition("/")[2] for path in keys} == {
        *("server.key", "next.key", "postgresql.key", "postgresql.pk8", "postgresql.p12", "packed.zip", "both.zip")
    }
    here = formed.directory / "here"
    api.fetch(here, *FORMED, store=str(formed.out), identity=alice.file, now=NOW)
    assert all((here / path).exists() for path in keys)
    assert not [path for path in here.rglob("*") if path.is_file() and path.read_bytes().startswith(age.ARMOR)]


CA_KEY = "ca/clients/ca.key"
SWAPPED = {
    "for a text": ("clients/app/README.md", CA_KEY, "it is encrypted, and no key"),
    "for a certificate": ("clients/app/root.crt", CA_KEY, "it is encrypted, and no key"),
    "for a key": ("clients/java/postgresql.key", CA_KEY, "it is not the key of the certificate beside it"),
    "for a key in DER": ("clients/java/postgresql.pk8", CA_KEY, "it is no private key"),
    "for a key with a passphrase": ("clients/closed/postgresql.key", CA_KEY, "it is not the key of"),
    "for PKCS#12": ("clients/closed/postgresql.p12", CA_KEY, "it is no PKCS#12 file"),
    "for an archive": ("clients/packed/packed.zip", CA_KEY, "it is not the archive of the files beside it"),
    "for a key of a server": ("servers/main/server.key", CA_KEY, "it is not the key of"),
    "for the next key": ("servers/alone/next.key", "servers/alone/server.key", "it is not the key of"),
    "for a standby's login": ("servers/standby/replication/postgresql.key", CA_KEY, "it is not the key of"),
    "an archive": ("clients/packed/packed.zip", "clients/both/both.zip", "it is not the archive of"),
    "a key of another user": ("clients/java/postgresql.key", "clients/app/postgresql.key", "it is not the key of"),
    "a key in DER": ("clients/java/postgresql.key", "clients/java/postgresql.pk8", "it is no private key"),
}
"""Where somebody puts a ciphertext, of what, and what a command says about it."""


def put(place: Place, where: str, content: bytes, **entry: object) -> None:
    """Do what everybody can who pushes to the repository of a tree."""
    place.file(where).write_bytes(content)
    manifest = json.loads(place.file("manifest.json").read_bytes())
    manifest["files"][where].update(sha256=sha256(content).hexdigest(), size=len(content), **entry)
    place.file("manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(("where", "source", "fault"), SWAPPED.values(), ids=SWAPPED)
@pytest.mark.parametrize("entry", [{}, {"kind": "key", "mode": 0o600}], ids=["as it was", "as a key"])
def test_fetch_opens_no_key_in_the_place_of_another_file(
    formed: Place, alice: Identity, where: str, source: str, fault: str, entry: dict[str, object]
) -> None:
    here, (directory, name, *_) = formed.directory / "here", where.split("/")
    entity = f"{'server' if directory == 'servers' else 'user'}.{name}"
    put(formed, where, formed.file(source).read_bytes(), **entry)
    with pytest.raises(Rejected, match=f'PGT518: no build wrote "{where}": {fault}'):
        api.fetch(here, entity, store=str(formed.out), identity=alice.file, now=NOW)
    assert not here.exists()


def test_an_export_opens_no_key_in_the_place_of_another(place: Place, alice: Identity) -> None:
    spec = SMALL.replace("[server.main]\n", '[server.main]\ndirectory = "/etc/pgtls"\n')
    place.build(at_rest(alice, identity=alice, spec=spec))
    git(place.out, "init", "-q")

    def exported() -> None:
        opened = loaded(place)
        kubernetes.export(opened, str(place.out), *named(opened.usable().fleet, ["server.main"]))

    exported()
    put(place, "servers/main/server.key", place.file(CA_KEY).read_bytes())
    with pytest.raises(Rejected, match=r'PGT518: no build wrote "servers/main/server.key": it is not the key of'):
        exported()


def test_fetch_names_what_is_wrong_with_an_out_directory(place: Place, alice: Identity) -> None:
    here = place.directory / "here"
    with pytest.raises(Rejected, match=r'PGT518: the out directory ".*/out" has no server.main'):
        api.fetch(here, "server.main", store=str(place.out), now=NOW)
    place.build(at_rest(alice))
    with pytest.raises(Rejected, match=r"PGT518: .* has no user.nobody"):
        api.fetch(here, "user.nobody", store=str(place.out), now=NOW)
    place.append("servers/main/server.crt", "x")
    with pytest.raises(Rejected, match=r'PGT518: ".*server.crt" is not what the last build wrote'):
        api.fetch(here, "server.main", store=str(place.out), identity=alice.file, now=NOW)
    place.build(at_rest(alice, identity=alice), asked=Asked(replace=frozenset({"server.main"})))
    api.fetch(here, "server.main", store=str(place.out), identity=alice.file, now=NOW)
    with pytest.raises(Rejected, match="PGT524"):
        api.fetch(place.out, "server.main", store=str(place.out), identity=alice.file, now=NOW)


def test_the_report_of_a_build_says_how_to_deploy(place: Place, alice: Identity) -> None:
    place.write(at_rest(alice))
    run = pgtls("build", cwd=place.directory, now=NOW.isoformat())
    fetch = "run pgtls fetch DIR {} --out out --identity FILE, copy DIR/{} to {}"
    assert [line.removeprefix("next: ") for line in run.stdout.splitlines()[-3:-1]] == [
        fetch.format("server.main", "servers/main", "db.example.com")
        + ", run sudo sh main/install.sh there, which reloads PostgreSQL",
        fetch.format("user.app", "clients/app", "its client"),
    ]
    words = ("fetch", "deploy", "user.app", "--out", "out")
    run = pgtls(*words, cwd=place.directory, environment={"PGTLS_IDENTITY": str(alice.file)})
    assert (run.status, run.stdout) == (0, "fetched deploy/clients/app\n"), run.stderr
    assert belong(place.directory / "deploy/clients/app")
    for directory, status in ((place.file("clients/app"), 1), (place.directory / "deploy/clients/app", 0)):
        home = {**os.environ, "HOME": str(place.directory)}
        done = subprocess.run(
            ("sh", "install.sh"), cwd=directory, env=home, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stderr
        assert ("postgresql.key is encrypted for the builders" in done.stderr) == (status == 1)


# ---- a repository ----------------------------------------------------------------------------------------------------


def git(directory: Path, *words: str | Path) -> None:
    who = ("-c", "user.name=Builder", "-c", "user.email=builder@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(("git", *who, *words), cwd=directory, check=True, capture_output=True)


def commit(directory: Path) -> None:
    git(directory, "add", "-A", ".")
    git(directory, "commit", "-qm", "build")


def test_a_tree_in_a_repository_of_its_own_is_built_by_whoever_clones_it(place: Place, alice: Identity) -> None:
    central = place.directory / "central.git"
    git(place.directory, "init", "-q", "--bare", central)
    git(place.directory, "clone", "-q", central, "out")
    place.file(".gitignore").write_text("/.pgtls/\n")
    place.build(at_rest(alice))
    commit(place.out)
    git(place.out, "push", "-q", "origin", "HEAD")
    assert steps(place.build(at_rest(alice))) == []
    other = Place(place.directory / "other")
    other.directory.mkdir()
    other.lock.write_bytes(place.lock.read_bytes())
    git(other.directory, "clone", "-q", central, "out")
    first = other.build(at_rest(alice))
    assert {change.reason for change in first.plan.changes.values()} == {"its mode was changed"}, "git keeps no mode"
    assert not [one for one in first.diagnostics if one.code == "PGT559"], "nobody could read a key"
    assert steps(other.build(at_rest(alice))) == []
    renewed = other.build(at_rest(alice, identity=alice), now=NOW + timedelta(days=70))
    assert ("server.main", "renew") in steps(renewed)
    commit(other.out)
    objects = subprocess.run(
        ("git", "grep", "-l", "PRIVATE KEY-----", *git_revisions(other.out)),
        cwd=other.out,
        capture_output=True,
        check=False,
    )
    assert objects.stdout == b"", "no private key is in the repository"


def git_revisions(directory: Path) -> list[str]:
    words = ("git", "rev-list", "--all")
    return subprocess.run(words, cwd=directory, capture_output=True, text=True, check=True).stdout.split()


def test_the_slower_of_two_builders_discards_its_tree_and_keeps_its_lock(place: Place, alice: Identity) -> None:
    spec, central = at_rest(alice, identity=alice), place.directory / "central.git"
    git(place.directory, "init", "-q", "--bare", central)
    builders = [Place(place.directory / name) for name in ("one", "two")]
    for one in builders:
        one.directory.mkdir()
        git(one.directory, "clone", "-q", central, "out")
        if one is builders[0]:
            one.file(".gitignore").write_text("/.pgtls/\n")
            one.build(spec)
            commit(one.out)
            git(one.out, "push", "-q", "origin", "HEAD")
    first, second = builders
    second.lock.write_bytes(first.lock.read_bytes())
    for one in builders:
        one.build(spec, asked=Asked(renew=frozenset({"server.main"})), now=NOW + timedelta(days=1))
        commit(one.out)
    git(first.out, "push", "-q", "origin", "HEAD")
    with pytest.raises(subprocess.CalledProcessError):
        git(second.out, "push", "-q", "origin", "HEAD")
    lines = dict.fromkeys([*first.lock.read_text().splitlines(), *second.lock.read_text().splitlines()])
    second.lock.write_text("".join(f"{line}\n" for line in lines))
    git(second.out, "fetch", "-q")
    git(second.out, "reset", "-q", "--hard", "@{upstream}")
    second.build(spec, now=NOW + timedelta(days=1))
    assert second.file("servers/main/server.crt").read_bytes() == first.file("servers/main/server.crt").read_bytes()
    assert steps(second.build(spec, now=NOW + timedelta(days=1))) == []


def test_no_other_repository_may_have_the_tree(place: Place, alice: Identity, tmp_path: Path) -> None:
    def refused(one: Place) -> None:
        with pytest.raises(Rejected) as rejected:
            one.build()
        assert code(rejected) == "PGT541"

    place.build(at_rest(alice))
    git(place.directory, "init", "-q")
    git(place.directory, "add", "-f", "out/ca")
    refused(place)
    own = Place(tmp_path / "own")
    own.directory.mkdir()
    own.build(at_rest(alice))
    git(own.out, "init", "-q")
    git(own.out, "add", "-f", "ca", "manifest.json")
    own.build()
    git(own.out, "add", "-f", ".pgtls/lock")
    refused(own)
    git(own.out, "rm", "-q", "--cached", ".pgtls/lock")
    in_the_clear = at_rest(alice, identity=alice).replace("recipients", "#")
    with pytest.raises(Rejected, match="PGT541"):  # before a key in the clear is where the next commit takes it
        own.build(in_the_clear)
    own.build(at_rest(alice))
    git(own.out, "rm", "-rqf", "--cached", ".")
    own.build(in_the_clear)


def nested(place: Place, alice: Identity, *, around: bool = True) -> None:
    """Build an encrypted tree in a repository of its own, perhaps inside that of the spec, and commit it."""
    if around:
        git(place.directory, "init", "-q")
    git(place.directory, "init", "-q", "out")
    place.file(".gitignore").write_text("/.pgtls/\n")
    place.build(at_rest(alice, identity=alice))
    commit(place.out)


def refused(place: Place, expected: str, hint: str) -> None:
    with pytest.raises(Rejected) as rejected:
        place.build()
    assert code(rejected) == expected
    assert hint in str(rejected.value.diagnostics[0].hint)


@pytest.mark.parametrize("around", [True, False])
def test_a_checkout_around_a_tree_of_its_own_repository_takes_no_crl_away(
    place: Place, alice: Identity, *, around: bool
) -> None:
    nested(place, alice, around=around)
    place.file("ca/clients/ca.crl").unlink()
    if around:
        refused(place, "PGT588", "checkout -- .")
        git(place.out, "checkout", "--", ".")
        assert steps(place.build()) == []
        place.file("ca/clients/ca.crl").unlink()
    place.build(new_out=True)
    assert place.file("ca/clients/ca.crl").exists()


@pytest.mark.parametrize("around", [True, False])
@pytest.mark.parametrize("name", ["lock", "generations"])
def test_a_checkout_around_a_tree_of_its_own_repository_takes_no_memory_away(
    place: Place, alice: Identity, name: str, *, around: bool
) -> None:
    nested(place, alice, around=around)
    memory = place.file(f".pgtls/{name}")
    whole = memory.read_bytes()
    for content in (None, b"x"):
        memory.unlink()
        if content:
            memory.write_bytes(content)
        if around:
            refused(place, "PGT588", "--new-out")
            memory.write_bytes(whole)
        assert steps(place.build()) == []


def test_inside_another_work_tree_a_manifest_of_another_builder_counts_if_it_is_committed(
    place: Place, alice: Identity, tmp_path: Path
) -> None:
    nested(place, alice)
    other = Place(tmp_path / "other")
    other.directory.mkdir()
    other.lock.write_bytes(place.lock.read_bytes())
    git(other.directory, "init", "-q")
    git(other.directory, "clone", "-q", place.out, "out")
    other.build(at_rest(alice, identity=alice), now=NOW + timedelta(days=70))
    commit(other.out)
    git(place.out, "pull", "-q", other.out, "HEAD")
    place.lock.write_bytes(other.lock.read_bytes())
    pulled = place.build(at_rest(alice, identity=alice), now=NOW + timedelta(days=70))
    assert {change.reason for change in pulled.plan.changes.values()} == {"its mode was changed"}
    key = place.file(".pgtls/key")
    drawn = key.read_bytes()
    key.unlink()
    refused(place, "PGT587", "git -C")  # the manifest is of nobody, for what one can tell
    commit(place.out)
    refused(place, "PGT588", "--new-out")  # what this machine remembers was taken, and this is no new clone
    clone = Place(tmp_path / "clone")
    clone.directory.mkdir()
    clone.lock.write_bytes(place.lock.read_bytes())
    git(clone.directory, "init", "-q")
    git(clone.directory, "clone", "-q", place.out, "out")
    cloned = clone.build(at_rest(alice, identity=alice), now=NOW + timedelta(days=70))
    assert {change.reason for change in cloned.plan.changes.values()} == {"its mode was changed"}
    key.write_bytes(drawn)
    key.chmod(0o400)
    assert steps(place.build(now=NOW + timedelta(days=70))) == []
    document = json.loads(place.file("manifest.json").read_bytes())
    document["files"] = {path: one for path, one in document["files"].items() if not path.endswith(".crl")}
    place.file("manifest.json").write_text(json.dumps(document))
    place.file("ca/clients/ca.crl").unlink()
    refused(place, "PGT587", "checkout -- .")
    with pytest.raises(Rejected, match="PGT587"):
        api.fetch(tmp_path / "there", "server.main", store=str(place.out), identity=alice.file, now=NOW)
    git(place.out, "checkout", "--", ".")
    assert steps(place.build(now=NOW + timedelta(days=70))) == []


def test_inside_another_work_tree_an_earlier_manifest_counts_only_if_the_repository_has_it(
    place: Place, alice: Identity, tmp_path: Path
) -> None:
    """Readers of the repository have all manifests of before, and those of this machine have its seal."""
    nested(place, alice)
    public = ("manifest.json", "servers/main/root.crl", "ca/clients/ca.crl")
    then = {path: place.file(path).read_bytes() for path in public}
    left = SMALL.replace("[user.app]", "[user.bob]").replace('["app"]', '["bob"]')
    place.build(at_rest(alice, identity=alice, spec=left))
    commit(place.out)
    now = {path: place.file(path).read_bytes() for path in public}
    for path, content in then.items():
        place.file(path).write_bytes(content)

    def fetch() -> None:
        api.fetch(tmp_path / "there", "server.main", store=str(place.out), identity=alice.file, now=NOW)

    refused(place, "PGT587", "checkout -- .")
    with pytest.raises(Rejected, match="PGT587: an earlier build"):
        fetch()
    git(place.out, "checkout", "--", ".")
    assert {path: place.file(path).read_bytes() for path in public} == now
    fetch()
    assert steps(place.build()) == []
    git(place.out, "checkout", "-qf", "HEAD~1")  # a builder goes back
    assert {path: place.file(path).read_bytes() for path in public} == then
    fetch()


@pytest.mark.parametrize("around", [True, False])
def test_after_a_pull_this_machine_still_remembers_the_lock(place: Place, alice: Identity, around: bool) -> None:
    without_crl = at_rest(alice, identity=alice).replace("[server.main]", "[server.main]\ncrl = false")
    with_bob = without_crl.replace('users = ["app"]', 'users = ["app", "bob"]') + '[user.bob]\nca = "clients"\n'
    nested(place, alice, around=around)
    place.build(with_bob)
    place.build(without_crl)
    commit(place.out)
    other = Place(place.directory / "other")
    other.directory.mkdir()
    other.lock.write_bytes(place.lock.read_bytes())
    git(other.directory, "clone", "-q", place.out, "out")
    more = ('databases = ["shop"]', 'databases = ["shop", "more"]')
    other.build(without_crl.replace(*more))
    commit(other.out)
    git(place.out, "pull", "-q", other.out, "HEAD")
    lines = other.lock.read_text().splitlines(keepends=True)
    place.lock.write_text("".join(line for line in lines if '"entity": "user.bob"' not in line))
    heir = with_bob.replace('"app", "bob"', '"app", "heir"').replace("[user.bob]", '[user.heir]\ncommon_name = "bob"')
    with pytest.raises(Rejected, match="PGT254"):
        place.build(heir.replace(*more))


def on_list(place: Place) -> set[int]:
    """Return the serial numbers on the CRL of the clients' CA."""
    return {entry.serial_number for entry in x509.load_pem_x509_crl(place.file("ca/clients/ca.crl").read_bytes())}


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any] | None], str]] = {
    "another end": (lambda line: line | {"not_after": "2026-01-01T00:00:00Z"}, "PGT543"),
    "another serial number": (lambda line: line | {"serial": "abc"}, "PGT543"),
    "another entity": (lambda line: line | {"entity": "user.eve"}, "PGT543|PGT254"),
    "none": (lambda line: None, "PGT554"),
}


def change_lock(place: Place, entity: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
    """Change the lines that list the certificates of an entity, as a pull request does."""
    lines = []
    for line in map(json.loads, place.lock.read_text().splitlines()):
        theirs = line.get("event") == "issued" and line["entity"] == entity
        lines.append(change(line) if theirs else line)
    place.lock.write_text("".join(f"{json.dumps(line, sort_keys=True)}\n" for line in lines if line is not None))


def cloned(place: Place, directory: Path) -> Place:
    """Clone a tree that is a repository of its own, with the spec and the lock."""
    found = Place(directory)
    found.directory.mkdir()
    found.lock.write_bytes(place.lock.read_bytes())
    git(found.directory, "clone", "-q", place.out, "out")
    return found


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("leaves", [True, False], ids=["leaves", "stays"])
def test_a_clone_knows_by_its_certificates_which_lines_of_the_lock_were_changed(
    place: Place, alice: Identity, tmp_path: Path, what: str, leaves: bool
) -> None:
    """It has no memory of the lines. Who leaves must be revoked by the certificate that everybody has."""
    nested(place, alice)
    without_bob = at_rest(alice, identity=alice)
    with_bob = without_bob.replace('users = ["app"]', 'users = ["app", "bob"]') + '[user.bob]\nca = "clients"\n'
    place.build(with_bob)
    commit(place.out)
    clone, (change, code) = cloned(place, tmp_path / "clone"), CHANGES[what]
    change_lock(clone, "user.bob", change)
    before = clone.state()
    with pytest.raises(Rejected, match=code):
        clone.build(without_bob if leaves else with_bob)
    assert clone.state() == before
    clone.lock.write_bytes(place.lock.read_bytes())
    clone.build(without_bob)
    assert len(on_list(clone)) == 1, "the control"


def test_no_end_in_a_line_of_the_lock_takes_an_entry_off_a_list_in_a_clone(
    place: Place, alice: Identity, tmp_path: Path
) -> None:
    """Nothing there tells whether it is true: the certificate left the tree with its owner."""
    nested(place, alice)
    without_bob = at_rest(alice, identity=alice)
    with_bob = without_bob.replace('users = ["app"]', 'users = ["app", "bob"]') + '[user.bob]\nca = "clients"\n'
    place.build(with_bob)
    place.build(without_bob)
    commit(place.out)
    clone, revoked = cloned(place, tmp_path / "clone"), on_list(place)
    assert len(revoked) == 1
    change_lock(clone, "user.bob", lambda line: line | {"not_after": "2026-01-01T00:00:00Z"})
    for days in (1, 200, 400):  # the CRL is signed again
        clone.build(without_bob, now=NOW + timedelta(days=days), asked=Asked(renew=frozenset({"user.app"})))
        assert revoked <= on_list(clone)


def test_an_earlier_tree_of_this_machine_is_no_lost_memory(place: Place, alice: Identity) -> None:
    nested(place, alice)
    spec = at_rest(alice, identity=alice)
    place.build(spec, asked=Asked(renew=frozenset({"server.main"})), now=NOW + timedelta(days=1))
    git(place.out, "stash", "-q")
    place.build(now=NOW + timedelta(days=1))
    commit(place.out)
    git(place.out, "checkout", "-q", "HEAD~1")
    place.build(now=NOW + timedelta(days=1))
    assert steps(place.build(now=NOW + timedelta(days=1))) == []
