"""Private keys that are encrypted in the out directory: the program age judges, every change, every fault, no loss."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from pgtls.diagnostics.text import render
from support import age
from support.age import ARMOR, Identity
from support.building import SMALL, Place, reason, steps
from support.diagnosing import diagnose
from support.interrupting import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MORE = """
[server.alone]
ca = "self-signed"
hosts = ["alone.example.com"]
client_ca = ["clients"]
[server.standby]
ca = "root"
client_ca = ["clients"]
hosts = ["standby.example.com"]
standby_of = "main"
replication_user = "copier"
[user.copier]
ca = "clients"
[user.java]
ca = "clients"
formats = ["pkcs8-der"]
bundle = "zip"
[policy.copy]
servers = ["main"]
users = ["copier"]
databases = ["replication"]
from = ["10.0.0.0/8"]
auth = "cert"
[policy.java]
servers = ["alone"]
users = ["java", "app"]
from = ["10.0.0.0/8"]
auth = "cert"
"""
APP, GUARDED = '[user.app]\nca = "clients"\n', 'formats = ["pkcs12"]\npassphrase = { file = "word" }\n'
WHOLE = SMALL.replace("[policy.dba]\n", '[policy.dba]\nservers = ["all"]\n') + MORE
WHOLE = WHOLE.replace("[policy.app]\n", '[policy.app]\nservers = ["main"]\n')
FEW = """
version = 1
[ca.root]
[server.main]
ca = "root"
hosts = ["db.example.com"]
[user.postgres]
[policy.dba]
users = ["postgres"]
from = ["local"]
auth = "peer"
"""
WORD = b"battery staple"
KEYS = {
    "ca/clients/ca.key",
    "ca/root/ca.key",
    "clients/app/postgresql.key",
    "clients/copier/postgresql.key",
    "clients/java/java.zip",
    "clients/java/postgresql.key",
    "clients/java/postgresql.pk8",
    "servers/alone/server.key",
    "servers/main/server.key",
    "servers/standby/replication/postgresql.key",
    "servers/standby/server.key",
}
P12, ZIP = "clients/app/postgresql.p12", "clients/java/java.zip"
ALL = Asked(renew=frozenset({"all"}))


@pytest.fixture
def alice(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return age.keygen(tmp_path_factory.mktemp("alice") / "key.txt")


@pytest.fixture
def bob(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return age.keygen(tmp_path_factory.mktemp("bob") / "key.txt")


def at_rest(*recipients: Identity, identity: Identity | str | None = None, spec: str = SMALL) -> str:
    """Return a spec with recipients, and with the identity that a builder has."""
    named = json.dumps([one.recipient for one in recipients])
    source = str(identity.file) if isinstance(identity, Identity) else identity
    lines = [f"recipients = {named}"] if recipients else []
    lines += [f'identity = {{ file = "{source}" }}'] if source else []
    return spec.replace("version = 1\n", "version = 1\n[state]\n" + "".join(f"{line}\n" for line in lines), 1)


def whole(*recipients: Identity, identity: Identity | str | None = None) -> str:
    return at_rest(*recipients, identity=identity, spec=WHOLE)


def guarded(place: Place, *recipients: Identity, identity: Identity | str | None = None) -> str:
    """Return the same with a passphrase, which takes a second to derive keys from."""
    (place.directory / "word").write_bytes(WORD + b"\n")
    return at_rest(*recipients, identity=identity, spec=WHOLE.replace(APP, APP + GUARDED))


def keys(place: Place) -> set[str]:
    """Return the files of the kind "key" that the manifest lists."""
    files = json.loads(place.file("manifest.json").read_text())["files"]
    return {path for path, entry in files.items() if entry["kind"] == "key"}


def encrypted(place: Place) -> set[str]:
    files = (path for path in place.out.rglob("*") if path.is_file() and ".pgtls" not in path.parts)
    return {str(path.relative_to(place.out)) for path in files if path.read_bytes().startswith(ARMOR)}


def pair_matches(place: Place, path: str, clear: bytes) -> bool:
    """Return whether what was decrypted is the key of the certificate beside it."""
    chain = place.file(path).with_name(place.file(path).name.partition(".")[0] + ".crt").read_bytes()
    public = x509.load_pem_x509_certificates(chain)[0].public_key()
    if path.endswith(".p12"):
        key = load_pkcs12(clear, WORD).key
        return key is not None and key.public_key() == public
    if path.endswith(".pk8"):
        return load_der_private_key(clear, None).public_key() == public
    return load_pem_private_key(clear, WORD if b"ENCRYPTED" in clear else None).public_key() == public


def fault(act: Callable[[], object]) -> tuple[str, str, str | None]:
    """Return code, message and hint of the one error with which something ends."""
    with pytest.raises(Rejected) as rejected:
        act()
    (error,) = [one for one in rejected.value.diagnostics if one.severity == "error"]
    return error.code, error.message, error.hint


# ---- what lies in the out directory ----------------------------------------------------------------------------------


def test_age_opens_every_private_key_and_nothing_but_private_keys_is_encrypted(
    place: Place, alice: Identity, bob: Identity
) -> None:
    place.build(guarded(place, alice))
    assert encrypted(place) == keys(place) == KEYS | {P12}
    for path in (KEYS | {P12}) - {ZIP}:
        content = place.file(path).read_bytes()
        clear = alice.age(content)
        assert clear is not None
        assert pair_matches(place, path, clear), path
        assert bob.age(content) is None, "another identity opens nothing"
        assert place.file(path).stat().st_mode & 0o777 == 0o600
    assert b"ENCRYPTED PRIVATE KEY" in (alice.age(place.file("clients/app/postgresql.key").read_bytes()) or b"")
    archive = alice.age(place.file(ZIP).read_bytes())
    assert archive is not None
    with zipfile.ZipFile(BytesIO(archive)) as files:
        key = alice.age(place.file("clients/java/postgresql.key").read_bytes())
        assert files.read("java/postgresql.key") == key, "a bundle is what it is without recipients"


def test_the_files_are_those_of_a_build_without_recipients(place: Place, alice: Identity, tmp_path: Path) -> None:
    place.build(whole(alice))
    plain = Place(tmp_path / "plain")
    plain.directory.mkdir()
    plain.build(whole())
    assert encrypted(plain) == set()
    assert keys(plain) == KEYS
    assert {path.relative_to(plain.out) for path in plain.out.rglob("*")} == {
        path.relative_to(place.out) for path in place.out.rglob("*")
    }


def test_a_build_with_nothing_to_do_opens_nothing(
    place: Place, alice: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = whole(alice)
    place.build(spec)
    before = {path: path.stat().st_mtime_ns for path in place.out.glob("*/*/*")}
    monkeypatch.setitem(sys.modules, "pyrage", None)
    assert steps(place.build(spec)) == []
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_what_no_key_is_needed_for_needs_no_identity_and_no_library(
    place: Place, alice: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = at_rest(alice)
    place.build(spec)
    monkeypatch.setitem(sys.modules, "pyrage", None)
    changed = spec.replace('databases = ["shop"]', 'databases = ["shop", "more"]')
    assert steps(place.build(changed)) == [("server.main", "rewrite"), ("user.app", "rewrite")]
    assert encrypted(place) == keys(place)


def test_a_spec_without_recipients_never_loads_the_library(place: Place) -> None:
    program = "import sys, pgtls; pgtls.build(pgtls.load('pgtls.toml')); print('pyrage' in sys.modules)"
    for spec, loaded in ((SMALL, b"False"), (at_rest(age.keygen(place.directory / "key.txt")), b"True")):
        place.write(spec)
        run = subprocess.run((sys.executable, "-c", program), cwd=place.directory, capture_output=True, check=True)
        assert run.stdout.strip() == loaded


def test_the_keys_sign_again_with_an_identity(place: Place, alice: Identity) -> None:
    spec = whole(alice, identity=alice)
    place.build(spec)
    first = place.state()
    renewed = place.build(spec, asked=ALL)
    assert {entity for entity, action in steps(renewed) if action == "renew"} >= {"ca.root", "server.main", "user.app"}
    assert encrypted(place) == keys(place)
    for path in sorted(keys(place) - {ZIP}):
        assert pair_matches(place, path, alice.quickly(place.file(path).read_bytes())), path
    assert place.state() != first
    place.confirm()
    while steps(place.build(spec)):  # the second step of the self-signed server
        place.confirm()
    before = place.state()
    assert steps(place.build(spec)) == []
    assert place.state() == before


@pytest.mark.parametrize("armor", [True, False])
def test_what_age_encrypted_by_hand_is_opened(place: Place, alice: Identity, armor: bool) -> None:
    spec = at_rest(alice, identity=alice)
    place.build(spec)
    for name in ("root", "clients"):
        path = place.file(f"ca/{name}/ca.key")
        clear = alice.age(path.read_bytes())
        assert clear is not None
        path.write_bytes(age.encrypt(clear, alice.recipient, armor=armor))
    place.build(spec, asked=ALL)
    clear = alice.age(place.file("servers/main/server.key").read_bytes())
    assert clear is not None
    assert pair_matches(place, "servers/main/server.key", clear)


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_keys_of_ssh_are_recipients_and_identities(place: Place, alice: Identity, tmp_path: Path, kind: str) -> None:
    own = age.ssh_keygen(tmp_path / f"id_{kind}", kind)
    spec = at_rest(alice, own, identity=own)
    place.build(spec)
    place.build(spec, asked=Asked(renew=frozenset({"user.app"})))
    content = place.file("clients/app/postgresql.key").read_bytes()
    opened = own.age(content)
    assert opened is not None
    assert opened == alice.age(content)
    assert pair_matches(place, "clients/app/postgresql.key", opened)


def test_an_identity_comes_from_the_sources_of_any_secret(
    place: Place, alice: Identity, bob: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.build(at_rest(alice))
    spec, renew = at_rest(alice, identity="X"), Asked(renew=frozenset({"user.app"}))
    for source in ('{ env = "SOPS_AGE_KEY" }', f'{{ command = ["cat", "{alice.file}"] }}'):
        monkeypatch.setenv("SOPS_AGE_KEY", alice.file.read_text())
        place.build(spec.replace('{ file = "X" }', source), asked=renew)
    monkeypatch.setenv("SOPS_AGE_KEY", bob.file.read_text())
    code, _, _ = fault(lambda: place.build(spec.replace('{ file = "X" }', '{ env = "SOPS_AGE_KEY" }'), asked=renew))
    assert code == "PGT652"
    monkeypatch.setenv("SOPS_AGE_KEY", bob.file.read_text() + alice.file.read_text())
    place.build(spec.replace('{ file = "X" }', '{ env = "SOPS_AGE_KEY" }'), asked=renew)


# ---- other recipients ------------------------------------------------------------------------------------------------


READERS = "who can read its key changed"


def test_other_recipients_mean_that_every_key_is_encrypted_again(place: Place, alice: Identity, bob: Identity) -> None:
    place.build(whole(alice))
    certificates = {path: path.read_bytes() for path in place.out.rglob("*.crt")}
    both = whole(alice, bob, identity=alice)
    planned = place.plan(both)
    assert {reason(planned, entity) for entity, _ in steps(planned)} == {READERS}
    assert planned.plan.cost == "nothing", "nothing is to be deployed"
    assert steps(place.build(both)) == steps(planned)
    for path in KEYS:
        content = place.file(path).read_bytes()
        assert alice.age(content) == bob.age(content) != None
    assert {path: path.read_bytes() for path in certificates} == certificates
    assert steps(place.build(whole(bob, alice))) == [], "their order says nothing"
    place.build(whole(bob, identity=bob))
    for path in KEYS:
        content = place.file(path).read_bytes()
        assert (alice.age(content), bob.age(content) is None) == (None, False), path
    assert steps(place.build(whole(bob))) == []


def test_a_tree_is_encrypted_and_decrypted_as_the_spec_says(place: Place, alice: Identity, bob: Identity) -> None:
    place.build(whole())
    plain = {path: place.file(path).read_bytes() for path in KEYS}
    planned = place.build(whole(alice))
    assert {reason(planned, entity) for entity, _ in steps(planned)} == {READERS}
    assert encrypted(place) == KEYS
    assert {path: alice.age(place.file(path).read_bytes()) for path in KEYS} == plain
    before = place.state()
    code, message, hint = fault(lambda: place.build(whole()))
    assert (code, message) == (
        "PGT652",
        'cannot open "ca/clients/ca.key" in the out directory: it is encrypted, and the spec names no identity',
    )
    assert hint is not None
    assert "identity = " in hint
    assert fault(lambda: place.build(whole(identity=bob)))[0] == "PGT652"
    assert place.state() == before
    place.build(whole(identity=alice))
    assert encrypted(place) == set()
    assert {path: place.file(path).read_bytes() for path in KEYS} == plain
    assert all(place.file(path).stat().st_mode & 0o777 == 0o600 for path in KEYS)
    assert steps(place.build(whole())) == []


def test_a_key_that_somebody_decrypted_in_place_is_encrypted_again(place: Place, alice: Identity) -> None:
    spec = at_rest(alice)
    place.build(spec)
    path = place.file("ca/root/ca.key")
    clear = alice.age(path.read_bytes())
    assert clear is not None
    path.write_bytes(clear)
    planned = place.build(spec)
    assert (steps(planned), reason(planned, "ca.root")) == ([("ca.root", "rewrite")], READERS)
    assert alice.age(path.read_bytes()) == clear


def test_a_passphrase_stays_inside_and_is_added_and_missed(place: Place, alice: Identity) -> None:
    inside = SMALL.replace("[ca.root]\n", '[ca.root]\npassphrase = { file = "word" }\n')
    (place.directory / "word").write_bytes(WORD)
    place.build(at_rest(alice))
    planned = place.build(at_rest(alice, identity=alice, spec=inside))
    assert steps(planned) == [("ca.root", "rewrite")]
    inner = alice.age(place.file("ca/root/ca.key").read_bytes())
    assert inner is not None
    assert b"ENCRYPTED PRIVATE KEY" in inner
    assert pair_matches(place, "ca/root/ca.key", inner)
    assert steps(place.build(at_rest(alice, spec=inside))) == []
    before = place.state()
    assert fault(lambda: place.build(at_rest(alice, identity=alice)))[0] == "PGT561", "it does not open without"
    assert place.state() == before
    place.build(at_rest(alice, identity=alice, spec=inside), asked=ALL)


def test_another_format_of_a_file_is_noticed_without_opening_it(place: Place, alice: Identity) -> None:
    place.build(guarded(place, alice))
    assert steps(place.build(guarded(place, alice))) == []
    old = guarded(place, alice, identity=alice).replace('"pkcs12"', '"pkcs12-3des"')
    assert ("user.app", "rewrite") in steps(place.build(old))
    clear = alice.age(place.file(P12).read_bytes())
    assert clear is not None
    assert pair_matches(place, P12, clear)
    assert steps(place.build(old.replace(str(alice.file), "none"))) == []


def test_a_ca_that_left_the_spec_keeps_its_encrypted_key_and_signs_its_crl(
    place: Place, alice: Identity, bob: Identity
) -> None:
    two = (
        SMALL.replace("[ca.clients]\n", "[ca.clients]\n[ca.old]\n")
        .replace("[user.postgres]\n", '[user.postgres]\n[user.past]\nca = "old"\n')
        .replace('client_ca = ["clients"]', 'client_ca = ["clients", "old"]')
    )
    place.build(at_rest(alice, spec=two))
    key = alice.age(place.file("ca/old/ca.key").read_bytes())
    assert fault(lambda: place.build(at_rest(alice)))[0] == "PGT652", "it signs a CRL"
    place.build(at_rest(alice, bob, identity=alice))
    (path,) = (place.out / "ca/.retired").rglob("ca.key")
    assert alice.age(path.read_bytes()) == bob.age(path.read_bytes()) == key
    assert encrypted(place) == keys(place)
    (crl,) = (place.out / "ca/.retired").rglob("ca.crl")
    assert len(x509.load_pem_x509_crl(crl.read_bytes())) == 1, "its user is revoked"
    assert steps(place.build(at_rest(alice, bob))) == []
    place.build(at_rest(alice, identity=bob).replace("recipients", "#"))
    assert path.read_bytes() == key


# ---- faults ----------------------------------------------------------------------------------------------------------


def faults_of_an_identity(alice: Identity, bob: Identity, tmp_path: Path) -> Iterator[tuple[str | None, str, str]]:
    public, nothing = tmp_path / "public", tmp_path / "nothing"
    public.write_text(alice.recipient)
    nothing.write_text("# only a comment\n")
    start = 'cannot open "ca/clients/ca.key" in the out directory: '
    yield None, "PGT652", start + "it is encrypted, and the spec names no identity"
    yield str(bob.file), "PGT652", start + "it is encrypted for others than this identity"
    yield str(public), "PGT652", start + "the identity is no private key of age or SSH"
    yield str(nothing), "PGT652", start + "the identity holds no private key"
    locked = age.ssh_keygen(tmp_path / "locked", "ed25519", "a passphrase").file
    yield str(locked), "PGT652", start + "the identity is no private key of SSH that can be used"
    gone = str(tmp_path / "gone")
    yield gone, "PGT560", f'a secret cannot be read from file "{gone}": No such file or directory'


def test_without_the_right_identity_nothing_changes(
    place: Place, alice: Identity, bob: Identity, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place.build(at_rest(alice))
    before = place.state()
    more = SMALL + '[user.more]\nca = "clients"\n'
    for identity, code, message in faults_of_an_identity(alice, bob, tmp_path_factory.mktemp("faults")):
        spec = at_rest(alice, identity=identity, spec=more)
        assert fault(partial(place.build, spec))[:2] == (code, message)
        assert fault(partial(place.plan, spec))[:2] == (code, message), "a plan says it before"
        assert place.state() == before
    place.build(at_rest(alice, identity=alice, spec=more))


def test_a_damaged_key_is_reported_and_not_replaced(place: Place, alice: Identity) -> None:
    spec = at_rest(alice, identity=alice)
    place.build(spec)
    path = place.file("ca/clients/ca.key")
    content = path.read_bytes()
    stat = path.stat()
    path.write_bytes(content[:-80] + b"A" * 10 + content[-70:])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    before = place.state()
    code, message, hint = fault(lambda: place.build(spec, asked=ALL))
    assert (code, message) == ("PGT652", 'cannot open "ca/clients/ca.key" in the out directory: it is damaged')
    assert hint == "restore it from a backup"
    assert place.state() == before
    path.write_bytes(content)
    place.build(spec, asked=ALL)


def test_a_recipient_with_a_wrong_character_is_named(place: Place, alice: Identity, bob: Identity) -> None:
    wrong = Identity(bob.file, bob.recipient[:-1] + ("q" if bob.recipient[-1] != "q" else "p"))
    with pytest.raises(Rejected) as rejected:
        place.build(at_rest(alice, wrong))
    (error,) = rejected.value.diagnostics
    assert (error.code, error.message, error.path) == (
        "PGT651",
        "this is no public key of age or SSH",
        ("state", "recipients", 1),
    )
    assert not place.file("ca").exists()
    assert not place.lock.exists()


def test_without_the_library_a_build_that_encrypts_says_what_to_install(
    place: Place, alice: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pyrage", None)
        assert fault(lambda: place.build(at_rest(alice))) == (
            "PGT650",
            "the keys in the out directory need pyrage, which is not installed",
            "install it where pgtls is installed: pip install pyrage, or pipx inject pgtls pyrage",
        )
        assert not place.file("ca").exists()
    place.build(at_rest(alice))


def test_a_private_key_in_a_spec_is_refused_and_shown_nowhere(place: Place, alice: Identity) -> None:
    secret = next(line for line in alice.file.read_text().splitlines() if line.startswith("AGE-SECRET-KEY-"))
    for lines in (f'recipients = ["{secret}"]', f'identity = "{secret}"', f'recipients = "{secret.lower()}"'):
        place.write(SMALL.replace("version = 1\n", f"version = 1\n[state]\n{lines}\n"))
        text = render(diagnose(place.spec))
        assert "error" in text
        assert secret[20:].lower() not in text.lower()
        assert lines.split(" = ")[0] in text, "the line is shown, without the key"


# ---- crashes ---------------------------------------------------------------------------------------------------------

CHANGES = {
    "encrypts": ((), ("alice",)),
    "encrypts for others": (("alice",), ("bob",)),
    "decrypts": (("alice",), ()),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_build_that_is_killed_at_any_write_loses_no_key(case: str, alice: Identity, bob: Identity) -> None:
    known = {"alice": alice, "bob": bob}
    old, new = (tuple(known[one] for one in names) for names in CHANGES[case])

    def prepare(place: Place) -> None:
        place.build(at_rest(*old, spec=FEW))
        place.write(at_rest(*new, identity=alice, spec=FEW))

    def opened(content: bytes) -> bytes:
        for one in (alice, bob):
            try:
                return one.quickly(content)
            except Exception:  # noqa: BLE001, S112  (it is for the other one)
                continue
        raise AssertionError("nobody opens it")

    build = Interrupted(prepare, lambda place: place.build(), opened=opened)
    assert set(build.at_each_write()) == {"undone", "decided", "done"}


# ---- no key in the clear ---------------------------------------------------------------------------------------------


class Written:
    """Everything that this process writes with os.write."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.content = bytearray()
        self._write = os.write
        monkeypatch.setattr(os, "write", self._noted)

    def _noted(self, descriptor: int, content: bytes, /) -> int:
        written = self._write(descriptor, content)
        self.content += bytes(content)[:written] + b"\0"
        return written

    def holds(self, clear: bytes) -> bool:
        """Return whether a key was written: in PEM, in DER, or its number alone."""
        key = load_pem_private_key(clear, None)
        number = key.private_numbers().private_value.to_bytes(32)  # type: ignore[union-attr]
        return any(form in self.content for form in (clear, clear.splitlines()[1], number))


def test_no_private_key_is_ever_written_in_the_clear(
    place: Place, alice: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Written(monkeypatch)
    place.build(at_rest(alice, identity=alice, spec=WHOLE))
    seen = {path: place.file(path).read_bytes() for path in keys(place)}
    place.build(asked=ALL)
    assert all(place.file(path).read_bytes() in written.content for path in keys(place)), "it sees every file"
    seen_later = {path: place.file(path).read_bytes() for path in keys(place)}
    pems = [alice.quickly(one[path]) for one in (seen, seen_later) for path in one if path.endswith(".key")]
    assert len(set(pems)) > 10
    assert not [pem for pem in pems if written.holds(pem)]
    other = Place(tmp_path / "other")
    other.directory.mkdir()
    other.build(WHOLE)
    assert all(written.holds(path.read_bytes()) for path in other.out.rglob("*.key")), "it finds a key that is written"
