"""Keys of CAs in PKCS#11 tokens, in SoftHSM: every operation of a CA, every fault, and no key in any file."""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from pgtls.pipeline import build
from pgtls.pki import keys, tokens
from pgtls.pki.pkcs11_uri import parse
from support import softhsm
from support.building import NOW, SMALL, Place, reason, steps
from support.clients import PSQL, Bundle, admitted, at, refused
from support.killing import in_child
from support.pgtls import pgtls
from support.servers import PATIENCE
from support.softhsm import PIN, SoftHsm, key

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.servers import Server

ALGORITHMS = ("ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072")


def in_tokens(root: str = "root", clients: str = "clients", algorithm: str = "ecdsa-p256", spec: str = SMALL) -> str:
    """Return the small spec with both keys in the token, ``clients`` below ``root``."""
    kind = f'key_algorithm = "{algorithm}"\n'
    spec = spec.replace("[ca.root]\n", f"[ca.root]\n{kind}{key(root)}\n")
    return spec.replace("[ca.clients]\n", f'[ca.clients]\nissuer = "root"\nvalidity = "2y"\n{kind}{key(clients)}\n')


@pytest.fixture
def hsm(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> SoftHsm:
    made = softhsm.make(tmp_path_factory.mktemp("softhsm"))
    monkeypatch.setenv(softhsm.CONFIGURATION, str(made.configuration))
    monkeypatch.setenv("TOKEN_PIN", PIN)
    return made


def openssl(*words: str | Path) -> str:
    run = subprocess.run(("openssl", *map(str, words)), check=False, capture_output=True, text=True)
    return "ok" if run.returncode == 0 else run.stderr + run.stdout


def fault(act: Callable[[], object]) -> tuple[str, str, str | None]:
    """Return code, message and hint of the one error with which something ends."""
    with pytest.raises(Rejected) as rejected:
        act()
    (error,) = [one for one in rejected.value.diagnostics if one.severity == "error"]
    return error.code, error.message, error.hint


def chain_holds(place: Place, leaf: str, now: int) -> str:
    ca = place.file("ca")
    trust = ("-CAfile", ca / "root/ca.crt", "-untrusted", ca / "clients/ca.crt")
    return openssl("verify", "-attime", str(now), "-x509_strict", *trust, place.file(leaf))


def certificate(place: Place, path: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(place.file(path).read_bytes())


def public(place: Place, ca: str) -> str:
    return keys.spki_sha256(certificate(place, f"ca/{ca}/ca.crt").public_key())


def crl_holds(place: Place, ca: str) -> bool:
    crl = x509.load_pem_x509_crl(place.file(f"ca/{ca}/ca.crl").read_bytes())
    return crl.is_signature_valid(certificate(place, f"ca/{ca}/ca.crt").public_key())  # type: ignore[arg-type]


def revoked(place: Place, ca: str) -> int:
    return len(x509.load_pem_x509_crl(place.file(f"ca/{ca}/ca.crl").read_bytes()))


# ---- the operations of a CA ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_keys_are_made_in_the_token_and_sign_everything(hsm: SoftHsm, place: Place, algorithm: str) -> None:
    spec, then = in_tokens(algorithm=algorithm), int(NOW.timestamp()) + 60
    place.build(spec)
    for leaf in ("clients/app/postgresql.crt", "servers/main/server.crt"):
        assert chain_holds(place, leaf, then) == "ok"
    stranger = Place(place.directory / "stranger")
    stranger.directory.mkdir()
    stranger.build(spec.replace("object=root", "object=another").replace("object=clients", "object=others"))
    foreign = chain_holds(place, "../stranger/out/clients/app/postgresql.crt", then)
    assert "verification failed" in foreign, "other keys of the same token"
    assert crl_holds(place, "root")
    assert crl_holds(place, "clients")
    for name in ("root", "clients"):
        assert keys.algorithm_of(certificate(place, f"ca/{name}/ca.crt").public_key()) == algorithm
        assert sorted(path.name for path in place.file(f"ca/{name}").iterdir()) == ["ca.crl", "ca.crt", "ca.key.uri"]
    assert place.file("ca/root/ca.key.uri").read_text() == "pkcs11:token=CA%20keys;object=root\n"
    assert steps(place.build(spec)) == []
    before = place.state()
    assert steps(place.build(spec)) == []
    assert place.state() == before


@pytest.mark.parametrize("algorithm", ["ecdsa-p256", "rsa-2048"])
def test_the_token_makes_keys_that_sign_and_never_leave_it(hsm: SoftHsm, place: Place, algorithm: str) -> None:
    from pkcs11 import Attribute, ObjectClass
    from pkcs11.exceptions import AttributeSensitive

    place.build(in_tokens(algorithm=algorithm))
    secret = Attribute.PRIVATE_EXPONENT if algorithm.startswith("rsa") else Attribute.VALUE
    with hsm.session() as session:
        made = list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY}))
        assert sorted(one[Attribute.LABEL] for one in made) == ["clients", "root"]
        for one in made:
            can = {name for name in ("SIGN", "DECRYPT", "UNWRAP", "DERIVE") if one[getattr(Attribute, name)]}
            assert can == {"SIGN"}
            assert one[Attribute.ALWAYS_SENSITIVE]
            assert one[Attribute.NEVER_EXTRACTABLE]
            with pytest.raises(AttributeSensitive):
                one[secret]
    held = tokens.Tokens(writing=False)
    found = held.find(softhsm.MODULE, parse("pkcs11:token=CA%20keys;object=root"), lambda: PIN)
    assert found is not None
    for read in (found.private_numbers, found.private_bytes):
        with pytest.raises(TypeError, match="cannot be read"):
            read()
    held.close()


@pytest.mark.parametrize("algorithm", ["ecdsa-p256", "rsa-2048"])
def test_a_ca_is_renewed_with_its_key_and_signs_its_crls(hsm: SoftHsm, place: Place, algorithm: str) -> None:
    spec = in_tokens(algorithm=algorithm)
    place.build(spec)
    first, key_of_root = certificate(place, "ca/clients/ca.crt"), public(place, "clients")
    without = spec.replace('[user.app]\nca = "clients"\n', "").replace(
        '[policy.app]\nusers = ["app"]\ndatabases = ["shop"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"\n', ""
    )
    later = NOW + timedelta(days=30)
    assert reason(place.build(without, now=later), "ca.clients") == "its CRL: what is revoked changed"
    assert crl_holds(place, "clients")
    assert revoked(place, "clients") == 1
    later = NOW + timedelta(days=600)
    assert reason(place.build(spec, now=later), "ca.clients") == "it expires on 2028-01-01"
    again = certificate(place, "ca/clients/ca.crt")
    assert again.not_valid_after_utc > first.not_valid_after_utc
    assert public(place, "clients") == key_of_root
    assert chain_holds(place, "clients/app/postgresql.crt", int(later.timestamp()) + 60) == "ok"
    assert steps(place.build(spec, now=later)) == []
    asked = Asked(renew=frozenset({"ca.root"}))
    assert reason(place.build(spec, now=later, asked=asked), "ca.root") == "its renewal was asked for"


def test_a_ca_gets_a_new_key_in_a_new_object_and_the_old_one_stays(hsm: SoftHsm, place: Place) -> None:
    place.build(in_tokens())
    old, asked = public(place, "clients"), Asked(replace=frozenset({"ca.clients"}), allow_revoke=True)
    code, message, hint = fault(lambda: place.build(in_tokens(), asked=asked))
    assert (code, message) == ("PGT638", 'key "clients" in token "CA keys" has been the key of a certificate')
    assert hint == "a build makes no key in the place of another: name a new object in the URI"
    place.build(in_tokens(clients="clients-2"), asked=asked)
    assert public(place, "clients") != old
    assert place.file("ca/clients/ca.key.uri").read_text().endswith(";object=clients-2\n")
    assert chain_holds(place, "clients/app/postgresql.crt", int(NOW.timestamp()) + 60) == "ok"
    assert objects(hsm) == ["clients", "clients-2", "root"]


def objects(hsm: SoftHsm) -> list[str]:
    from pkcs11 import Attribute, ObjectClass

    with hsm.session() as session:
        found: list[Any] = list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY}))
        return sorted(one.label for one in found)


def delete(hsm: SoftHsm, label: str) -> None:
    from pkcs11 import Attribute

    with hsm.session() as session:
        for one in list(session.get_objects({Attribute.LABEL: label})):
            one.destroy()


def test_a_lost_key_is_an_error_until_a_new_ca_is_asked_for(hsm: SoftHsm, place: Place) -> None:
    place.build(in_tokens())
    old, before = public(place, "clients"), place.state()
    delete(hsm, "clients")
    more = in_tokens() + '[user.more]\nca = "clients"\n'
    assert fault(lambda: place.build(more)) == (
        "PGT636",
        'token "CA keys" holds no key "clients", the key of ca.clients',
        "use the token that holds it, or a copy; --new-ca clients makes a new key for this CA",
    )
    assert place.state() == before
    assert objects(hsm) == ["root"], "nothing was made in its place"
    place.build(more, asked=Asked(new_ca=frozenset({"clients"}), allow_revoke=True))
    assert public(place, "clients") != old
    assert objects(hsm) == ["clients", "root"]
    code, message, _ = fault(lambda: place.build(more, asked=Asked(new_ca=frozenset({"root"}), allow_revoke=True)))
    assert (code, message) == ("PGT638", 'key "root" in token "CA keys" has been the key of a certificate')


def test_a_lost_out_directory_is_built_again_with_the_keys_of_the_token(hsm: SoftHsm, place: Place) -> None:
    place.build(in_tokens())
    old = {name: public(place, name) for name in ("root", "clients")}
    shutil.rmtree(place.out)
    assert fault(place.build)[0] == "PGT555"
    place.build(new_out=True, asked=Asked(allow_revoke=True))
    assert {name: public(place, name) for name in ("root", "clients")} == old
    assert chain_holds(place, "clients/app/postgresql.crt", int(NOW.timestamp()) + 60) == "ok"
    shutil.rmtree(place.out)
    delete(hsm, "root")
    assert fault(lambda: place.build(new_out=True, asked=Asked(allow_revoke=True)))[0] == "PGT636"


@pytest.fixture(params=["ecdsa-p256", "rsa-2048"])
def own_key(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A key that was made elsewhere, in a file that this test knows."""
    path = tmp_path / "elsewhere.pem"
    path.write_bytes(keys.to_pem(keys.generate(request.param)))
    return path


def numbers(pem: bytes) -> bytes:
    """Return the bytes of a private key that give it away."""
    private = load_pem_private_key(pem, None)
    if isinstance(private, rsa.RSAPrivateKey):
        value = private.private_numbers().p
    else:
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        value = private.private_numbers().private_value
    return value.to_bytes((value.bit_length() + 7) // 8)


def holding(directory: Path, secret: bytes) -> list[str]:
    """Return the files that hold a number: as it is, in hex, in decimal, or within PEM."""
    forms = (secret, secret.hex().encode(), secret.hex().upper().encode(), str(int.from_bytes(secret)).encode())
    found = []
    for path in softhsm.private_files(directory):
        content = path.read_bytes()
        bodies = [base64.b64decode(block) for block in re.findall(rb"-----BEGIN [^-]+-----([^-]+)-----END", content)]
        if any(form in text for form in forms for text in (content, *bodies)):
            found.append(path.name)
    return found


def test_no_file_holds_the_key_of_a_ca_in_a_token(
    hsm: SoftHsm, place: Place, own_key: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    secret, algorithm = numbers(own_key.read_bytes()), keys.algorithm_of(loaded(own_key).public_key())
    hsm.put(own_key, "root", "01")
    home = tmp_path_factory.mktemp("home")
    for name in ("HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(home))
    own_key.rename(home.parent / f"{home.name}.pem")
    spec = in_tokens(algorithm=algorithm)
    place.build(spec)
    assert public(place, "root") == keys.spki_sha256(loaded(home.parent / f"{home.name}.pem").public_key())
    place.build(spec, asked=Asked(renew=frozenset({"all"})))
    assert holding(place.directory, secret) == holding(home, secret) == []
    leaf = numbers(place.file("servers/main/server.key").read_bytes())
    assert holding(place.directory, leaf) == ["server.key"], "the search finds a key that is there"


def loaded(path: Path) -> keys.PrivateKey:
    found = keys.load(path.read_bytes())
    assert isinstance(found, keys.PrivateKey)
    return found


def test_a_ca_moves_from_a_file_into_a_token(hsm: SoftHsm, place: Place) -> None:
    files = SMALL.replace("[ca.clients]\n", '[ca.clients]\nissuer = "root"\n')
    place.build(files)
    spec = files.replace("[ca.root]\n", f"[ca.root]\n{key('root')}\n")
    before, vault = place.state(), place.directory / "vault.key"
    assert fault(lambda: place.build(spec)) == (
        "PGT640",
        'the key of ca.root is in a token, and the file "ca/root/ca.key" is there, too',
        "if the token holds this key, move the file to a safe place: a build deletes no key of a CA",
    )
    assert place.state() == before
    hsm.put(place.file("ca/clients/ca.key"), "root", "02")
    place.file("ca/root/ca.key").rename(vault)
    code, message, hint = fault(lambda: place.build(spec))
    assert (code, message) == ("PGT638", 'key "root" in token "CA keys" is not the key of ca.root')
    assert hint == "correct the URI; --replace ca.root makes it the key of a new CA in the place of this one"
    delete(hsm, "root")
    hsm.put(vault, "root", "01")
    old = place.file("ca/root/ca.crt").read_bytes()
    moved = place.build(spec)
    assert [(step.entity, step.action, step.reason) for step in moved.plan.steps] == [
        ("ca.root", "rewrite", "its key is kept elsewhere now")
    ]
    assert place.file("ca/root/ca.crt").read_bytes() == old
    place.build(spec, asked=Asked(renew=frozenset({"ca.clients"})))
    assert chain_holds(place, "clients/app/postgresql.crt", int(NOW.timestamp()) + 60) == "ok"
    assert fault(lambda: place.build(files))[0] == "PGT550", "and back only with its key"


def test_another_uri_is_checked_before_it_is_believed(hsm: SoftHsm, place: Place) -> None:
    place.build(in_tokens())
    before = place.state()
    code, message, _ = fault(lambda: place.build(in_tokens(root="roto")))
    assert (code, message) == ("PGT636", 'token "CA keys" holds no key "roto", the key of ca.root')
    swapped = in_tokens(root="clients", clients="root")
    assert fault(lambda: place.build(swapped))[0] == "PGT638"
    assert place.state() == before
    same = in_tokens().replace("token=CA%20keys;object=root", "object=root;token=CA%20keys")
    assert steps(place.build(same)) == [], "the same key in other words"


def test_the_key_of_another_ca_is_not_taken_over(hsm: SoftHsm, place: Place) -> None:
    from pkcs11 import Attribute

    place.build(in_tokens())
    with hsm.session() as session:
        (held,) = {one.id for one in session.get_objects({Attribute.LABEL: "root"})}  # type: ignore[attr-defined]
    quoted = "".join(f"%{byte:02X}" for byte in held)
    also = f"[ca.also]\n{key('root').replace('object=root', f'id={quoted}')}\n"
    code, message, _ = fault(lambda: place.build(in_tokens() + also))
    assert (code, message) == (
        "PGT638",
        f'key with id {held.hex()} in token "CA keys" has been the key of a certificate',
    )


def test_a_key_in_the_token_signs_a_request_for_an_outside_ca(hsm: SoftHsm, place: Place) -> None:
    spec = in_tokens().replace('[ca.clients]\nissuer = "root"\n', "[ca.clients]\nexternal = true\n")
    waiver = 'waiver = { reason = "the company names people", codes = ["PGT330"] }'
    spec = spec.replace('client_ca = ["clients"]\n', 'client_ca = ["clients"]\ncrl = false\n')
    spec = spec.replace('auth = "cert"\n', f'auth = "cert"\n{waiver}\n')
    company = place.directory / "company"
    assert openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=C",
                   "-days", "9000", "-keyout", f"{company}.key", "-out", f"{company}.crt") == "ok"  # fmt: skip
    place.build(spec)
    request = place.file("ca/clients/ca.csr")
    assert x509.load_pem_x509_csr(request.read_bytes()).is_signature_valid
    asked = request.read_bytes()
    assert steps(place.build(spec)) == [("ca.clients", "wait"), ("user.app", "wait")]
    assert request.read_bytes() == asked, "the token was not needed"
    assert openssl("x509", "-req", "-in", request, "-CA", f"{company}.crt", "-CAkey", f"{company}.key", "-days", "900",
                   "-copy_extensions", "copyall", "-out", place.directory / "clients.crt") == "ok"  # fmt: skip
    both = place.directory / "chain.crt"
    both.write_bytes((place.directory / "clients.crt").read_bytes() + Path(f"{company}.crt").read_bytes())
    now = certificate(place, "../clients.crt").not_valid_before_utc + timedelta(minutes=1)
    spec = spec.replace("external = true\n", 'external = true\ncert_file = "chain.crt"\n')
    place.build(spec, now=now)
    user = place.file("clients/app/postgresql.crt")
    trust = ("-CAfile", f"{company}.crt", "-untrusted", place.directory / "clients.crt")
    assert openssl("verify", "-attime", str(int(now.timestamp())), *trust, user) == "ok"
    assert not place.file("ca/clients/ca.key").exists()


def test_a_ca_that_exists_brings_its_certificate_and_keeps_its_token(hsm: SoftHsm, place: Place) -> None:
    elsewhere = Place(place.directory / "elsewhere")
    elsewhere.directory.mkdir()
    elsewhere.build(in_tokens())
    brought = place.directory / "root.crt"
    brought.write_bytes(elsewhere.file("ca/root/ca.crt").read_bytes())
    spec = SMALL.replace("[ca.root]\n", f'[ca.root]\ncert_file = "root.crt"\n{key("root")}\n')
    place.build(spec)
    assert openssl("verify", "-attime", str(int(NOW.timestamp()) + 60), "-CAfile", brought,
                   place.file("servers/main/server.crt")) == "ok"  # fmt: skip
    assert steps(place.build(spec)) == []
    other = Place(place.directory / "other")
    other.directory.mkdir()
    (other.directory / "root.crt").write_bytes(brought.read_bytes())
    assert fault(lambda: other.build(spec.replace("object=root", "object=clients")))[:2] == (
        "PGT638",
        'key "clients" in token "CA keys" is not the key of ca.root',
    )
    assert not other.out.exists()


def test_a_ca_that_left_the_spec_says_that_its_crl_waits(hsm: SoftHsm, place: Place) -> None:
    spec = SMALL + f"[ca.old]\n{key('old')}\n" + '[user.late]\nca = "old"\n'
    place.build(spec)
    gone = place.build(SMALL, asked=Asked(allow_revoke=True))
    (warning,) = [one for one in gone.diagnostics if one.code == "PGT562"]
    assert warning.message == (
        "the CRL of ca.old, which left the spec, waits: its key is encrypted, in a token, or missing"
    )
    (kept,) = place.file("ca/.retired").glob("old-*/ca.key.uri")
    assert kept.read_text() == "pkcs11:token=CA%20keys;object=old\n"
    assert objects(hsm) == ["old"]
    back = place.build(spec, asked=Asked(allow_revoke=True))
    assert "ca.old" in {step.entity for step in back.plan.steps}
    assert public(place, "old") == keys.spki_sha256(x509.load_pem_x509_certificate(
        next(place.file("ca/.retired").glob("old-*/ca.crt")).read_bytes()).public_key())  # fmt: skip


# ---- when the token is not there -------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["ecdsa-p256", "rsa-2048"])
def test_a_token_pulled_out_in_the_middle_of_a_build_leaves_everything_whole(
    hsm: SoftHsm, place: Place, algorithm: str
) -> None:
    spec = in_tokens(algorithm=algorithm)
    place.build(spec)
    before, request = place.state(), place.request(asked=Asked(renew=frozenset({"all"})))
    made = []

    def pulled_out(stage: str, total: int) -> Callable[[int], None]:
        def after(more: int) -> None:
            made.append(stage)
            if stage == "issuing" and len(made) == 2:
                hsm.pull_out()

        return after

    code, message, _ = fault(lambda: build(request, pulled_out))
    assert code == "PGT639"
    assert message.startswith('token "CA keys" does not sign with key "')
    assert len(made) >= 2, "it had signed before"
    assert place.state() == before
    assert fault(lambda: build(request))[0] == "PGT634", "and it is still away"
    assert place.state() == before
    hsm.insert()
    build(request)
    assert place.state() != before
    assert chain_holds(place, "clients/app/postgresql.crt", int(NOW.timestamp()) + 60) == "ok"


def test_a_build_that_is_killed_leaves_the_key_that_it_made_to_the_next(hsm: SoftHsm, place: Place) -> None:
    total = in_child(lambda: build(place.request(in_tokens()))).writes
    assert total is not None
    last = place.state()
    assert len(last) > 20
    for kill_at in (1, total // 3, total // 2, total - 1):
        shutil.rmtree(place.out, ignore_errors=True)
        place.lock.unlink(missing_ok=True)
        assert in_child(lambda: build(place.request()), kill_at=kill_at).killed
        place.build(new_out=not place.lock.exists())
        assert place.state().keys() == last.keys()
        assert objects(hsm) == ["clients", "root"], "made once, and taken over"
        assert chain_holds(place, "clients/app/postgresql.crt", int(NOW.timestamp()) + 60) == "ok"


def test_what_a_machine_without_token_pin_and_module_can_do(hsm: SoftHsm, place: Place) -> None:
    place.build(in_tokens())
    place.write(in_tokens().replace(softhsm.MODULE, "/no/such/module.so"))
    away = {softhsm.CONFIGURATION: "/nonexistent"}
    now = NOW.isoformat()
    for words in (
        ("check",),
        ("plan", "--no-secrets"),
        ("status",),
        ("diff", "pgtls.toml"),
        ("access",),
        ("build",),
    ):
        done = pgtls(*words, cwd=place.directory, environment=away, now=now)
        assert done.status == 0, (words, done.stdout + done.stderr)
    before = place.state()
    place.write(place.spec.read_text() + '[user.more]\nca = "clients"\n')
    planned = pgtls("plan", "--no-secrets", cwd=place.directory, environment=away, now=now)
    assert planned.status == 0
    assert "user.more" in planned.stdout
    for words in (("plan",), ("build",)):
        done = pgtls(*words, cwd=place.directory, environment=away, now=now)
        assert (done.status, "error[PGT633]" in done.stderr) == (1, True), "to sign needs the token"
    assert place.state() == before


def test_a_small_change_that_no_ca_signs_needs_no_token(hsm: SoftHsm, place: Place) -> None:
    place.build(in_tokens())
    hsm.pull_out()
    changed = in_tokens().replace('databases = ["shop"]', 'databases = ["shop", "more"]')
    assert steps(place.build(changed)) == [("server.main", "rewrite"), ("user.app", "rewrite")]
    assert fault(lambda: place.build(changed + '[user.more]\nca = "clients"\n'))[0] == "PGT634"


# ---- faults ----------------------------------------------------------------------------------------------------------


def test_a_module_that_is_none(hsm: SoftHsm, place: Place) -> None:
    (place.directory / "text.so").write_text("no library\n")
    modules: tuple[tuple[str, str | None], ...] = (
        ("/no/such/module.so", "cannot open shared object file: No such file or directory"),
        ("text.so", "file too short"),
        (sys.executable, None),
    )
    for module, why in modules:
        place.write(in_tokens().replace(softhsm.MODULE, module))
        code, message, hint = fault(place.build)
        where = place.directory / module
        assert code == "PGT633"
        assert message.startswith(f'the module "{where}" is no PKCS#11 library: ')
        assert why is None or message.endswith(why)
        assert hint == "name the PKCS#11 library of the token, e.g. /usr/lib/softhsm/libsofthsm2.so"
        assert not place.out.exists()
    os.symlink(softhsm.MODULE, place.directory / "module.so")
    place.build(in_tokens().replace(softhsm.MODULE, "module.so", 1))


def test_a_module_that_fails_to_start(hsm: SoftHsm, place: Place) -> None:
    hsm.tokens.rename(hsm.directory / "away")
    code, message, _ = fault(lambda: place.build(in_tokens()))
    assert (code, message) == ("PGT639", f'the module "{softhsm.MODULE}" does not start: GeneralError')
    assert not place.out.exists()
    (hsm.directory / "away").rename(hsm.tokens)
    place.build()


def test_a_token_that_is_not_there_or_there_twice(hsm: SoftHsm, place: Place) -> None:
    absent = in_tokens().replace("token=CA%20keys", "token=CA%20kyes")
    assert fault(lambda: place.build(absent)) == (
        "PGT634",
        f'there is no token "CA kyes" behind the module "{softhsm.MODULE}"',
        "insert it, or name another one in the URI: pkcs11-tool --list-slots shows what the module sees",
    )
    hsm.initialise()
    assert fault(lambda: place.build(in_tokens())) == (
        "PGT634",
        '2 tokens are meant by token "CA keys"',
        "add serial=NUMBER to the URI",
    )
    assert not place.out.exists()
    with serials(hsm) as (serial, other):
        place.build(in_tokens().replace("token=CA%20keys", f"token=CA%20keys;serial={serial}"))
        assert fault(lambda: place.build(in_tokens().replace("token=CA%20keys", f"serial={other}")))[:2] == (
            "PGT636",
            f'token with serial "{other}" holds no key "clients", the key of ca.clients',
        )


class serials:  # noqa: N801
    """The serial numbers of the two tokens."""

    def __init__(self, hsm: SoftHsm) -> None:
        self._shown = hsm.run("--show-slots")

    def __enter__(self) -> tuple[str, str]:
        found = [line.split()[-1] for line in self._shown.splitlines() if "Serial number:" in line]
        first, second = [one for one in found if one != "number:"]
        return first, second

    def __exit__(self, *_: object) -> None: ...


def test_a_wrong_pin_is_tried_once_and_shown_nowhere(
    hsm: SoftHsm, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []
    log_in = tokens._logged_in

    def counted(token: Any, uri: Any, pin: str, *, writing: bool) -> Any:
        tried.append(pin)
        return log_in(token, uri, pin, writing=writing)

    monkeypatch.setattr(tokens, "_logged_in", counted)
    monkeypatch.setenv("TOKEN_PIN", "battery staple")
    assert fault(lambda: place.build(in_tokens())) == (
        "PGT635",
        'token "CA keys" refuses the PIN: PinIncorrect',
        "no second attempt was made, because a token locks after a few: correct the source in `pin`",
    )
    assert tried == ["battery staple"], "although two CAs need the token"
    for words in ((), ("--format", "json")):
        environment = {softhsm.CONFIGURATION: str(hsm.configuration), "TOKEN_PIN": "battery staple"}
        run = pgtls("build", *words, cwd=place.directory, environment=environment)
        assert (run.status, "PGT635" in run.stdout + run.stderr) == (1, True)
        assert "battery" not in run.stdout + run.stderr
    assert not place.out.exists()
    monkeypatch.setenv("TOKEN_PIN", PIN)
    tried.clear()
    place.build()
    assert set(tried) == {PIN}
    assert [str(path) for path in softhsm.private_files(place.directory) if PIN.encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("flag", "state"),
    [("USER_PIN_FINAL_TRY", "locks with the next wrong PIN, so none was tried"), ("USER_PIN_LOCKED", "is locked")],
)
def test_the_last_attempt_is_left_to_a_person(flag: str, state: str) -> None:
    from pkcs11.constants import TokenFlag

    class Token:
        flags = TokenFlag[flag] | TokenFlag.LOGIN_REQUIRED
        opened = False

        def open(self, **_: object) -> None:
            self.opened = True

    token, uri = Token(), parse("pkcs11:token=x;object=y")
    with pytest.raises(tokens.TokenFault, match=f'token "x" {state}') as refused:
        tokens._logged_in(token, uri, PIN, writing=False)  # type: ignore[arg-type]
    assert (refused.value.trouble, token.opened) == ("pin", False)
    Token.flags = TokenFlag.LOGIN_REQUIRED | TokenFlag.USER_PIN_COUNT_LOW
    tokens._logged_in(token, uri, PIN, writing=False)  # type: ignore[arg-type]
    assert token.opened


def test_no_digest_gives_a_pin_in_a_file_away(hsm: SoftHsm, place: Place) -> None:
    spec = in_tokens().replace('env = "TOKEN_PIN"', 'file = "pin"')
    (place.directory / "pin").write_text(PIN)
    for _ in range(2):
        place.build(spec)
    before = place.state()
    (place.directory / "pin").write_text("another")
    assert steps(place.build(spec)) == []
    assert place.state() == before, "the manifest says nothing of the PIN"
    place.write(spec + "# another spec\n")
    place.build()
    assert place.state() != before, "although it has a digest of the inputs"


def test_a_pin_that_cannot_be_read(hsm: SoftHsm, place: Place) -> None:
    spec = in_tokens().replace('{ env = "TOKEN_PIN" }', '{ env = "NO_SUCH_PIN" }')
    code, message, _ = fault(lambda: place.build(spec))
    assert (code, message) == (
        "PGT560",
        'a secret cannot be read from environment variable "NO_SUCH_PIN": it is not set',
    )
    (place.directory / "pin").write_text(f"{PIN}\n")
    place.build(spec.replace('env = "NO_SUCH_PIN"', 'file = "pin"'))
    asked = Asked(renew=frozenset({"all"}))
    place.build(spec.replace('env = "NO_SUCH_PIN"', f'command = ["echo", "{PIN}"]'), asked=asked)


def test_a_spec_holds_no_pin_and_no_excerpt_shows_one(place: Place) -> None:
    for wrong, code in (
        (in_tokens().replace('{ env = "TOKEN_PIN" }', '"31415926"'), "PGT016"),
        (in_tokens().replace("object=root", "object=root?pin-value=31415926"), "PGT013"),
        (in_tokens().replace("object=root", "object=root?module-name=x&pin-value=31415926"), "PGT013"),
        (SMALL.replace("[ca.root]\n", '[ca.root]\nkey = "pkcs11:object=root?pin-value=31415926"\n'), "PGT012"),
        (SMALL.replace("[ca.root]\n", '[ca.root]\nkey = "root.key?pin-value=31415926"\n'), "PGT012"),
    ):
        place.write(wrong)
        for words in (("check",), ("check", "--format", "json")):
            run = pgtls(*words, cwd=place.directory)
            assert (run.status, code in run.stdout) == (1, True), run.stdout
            assert "31415926" not in run.stdout + run.stderr


def test_a_key_with_which_pgtls_does_not_issue(hsm: SoftHsm, place: Place) -> None:
    from pkcs11 import Attribute, KeyType, MechanismFlag
    from pkcs11.util.ec import encode_named_curve_parameters

    with hsm.session() as session:
        signing = MechanismFlag.SIGN | MechanismFlag.VERIFY
        session.generate_keypair(KeyType.DSA, 1024, label="dsa", store=True)
        session.generate_keypair(KeyType.RSA, 2048, label="rsa", id=b"1", store=True, capabilities=signing)
        session.generate_keypair(
            KeyType.RSA,
            2048,
            label="wraps",
            id=b"2",
            store=True,
            capabilities=MechanismFlag.WRAP | MechanismFlag.UNWRAP,
        )
        session.generate_keypair(KeyType.RSA, 1024, label="small", id=b"6", store=True)
        curve = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
        domain = session.create_domain_parameters(KeyType.EC, curve, local=True)
        public_key, _ = domain.generate_keypair(label="alone", id=b"3", store=True)
        public_key.destroy()
        for identifier in (b"4", b"5"):
            domain.generate_keypair(label="twice", id=identifier, store=True)
    fit = "pgtls issues with RSA and ECDSA keys that may sign (CKA_SIGN) without a PIN for each signature"
    wanted = {
        "dsa": ("PGT637", 'key "dsa" in token "CA keys" is of the kind DSA', fit),
        "rsa": (
            "PGT637",
            'key "rsa" in token "CA keys" is rsa-2048, and the spec asks for ecdsa-p256',
            'key_algorithm = "rsa-2048", or name another object in the URI',
        ),
        "small": (
            "PGT637",
            'key "small" in token "CA keys" is rsa-1024, and the spec asks for ecdsa-p256',
            "name another object in the URI",
        ),
        "wraps": ("PGT637", 'key "wraps" in token "CA keys" may not sign', fit),
        "alone": ("PGT637", 'key "alone" in token "CA keys" has no public key next to it', fit),
        "twice": ("PGT636", 'token "CA keys" holds 2 private keys that are key "twice"', "add id=%XX to the URI"),
    }
    for label, expected in wanted.items():
        place.write(in_tokens(root=label))
        assert fault(place.build) == expected
    assert not place.out.exists()
    place.build(in_tokens().replace("object=root", "object=twice;id=%34"))
    assert objects(hsm).count("twice") == 2, "the one that was named is taken over"


def test_a_public_key_that_is_not_the_one_of_its_private_key(hsm: SoftHsm, place: Place) -> None:
    from pkcs11 import Attribute, ObjectClass

    place.build(in_tokens())
    with hsm.session() as session:
        (other,) = session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.LABEL: "clients"})
        (mine,) = session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.LABEL: "root"})
        (private,) = session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.LABEL: "root"})
        mine.destroy()
        other.copy({Attribute.ID: private[Attribute.ID]})
    asked = Asked(renew=frozenset({"ca.clients"}))
    assert fault(lambda: place.build(asked=asked))[:2] == (
        "PGT638",
        'token "CA keys" signs with key "root" what the public key next to it does not verify',
    )


def test_without_the_extra_only_what_a_token_signs_is_refused(
    hsm: SoftHsm, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.build(in_tokens())
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    more = in_tokens() + '[user.more]\nca = "clients"\n'
    assert fault(lambda: place.build(more)) == (
        "PGT632",
        "keys in tokens need python-pkcs11, which is not installed",
        "install it where pgtls is installed: pip install python-pkcs11, or pipx inject pgtls python-pkcs11",
    )
    changed = in_tokens().replace('databases = ["shop"]', 'databases = ["shop", "more"]')
    assert steps(place.build(changed)) == [("server.main", "rewrite"), ("user.app", "rewrite")]


def test_a_key_in_a_token_is_not_lent(hsm: SoftHsm, place: Place, tmp_path: Path) -> None:
    lent = tmp_path / "root.key"
    lent.write_bytes(keys.to_pem(keys.generate("ecdsa-p256")))
    asked = Asked(ca_keys=(("root", str(lent)),))
    assert fault(lambda: place.build(in_tokens(), asked=asked)) == (
        "PGT566",
        '--ca-key root: the key of CA "root" is in a token',
        "say --ca-key root=token if the CA is offline; otherwise leave it out",
    )
    place.build(asked=Asked(ca_keys=(("root", "token"),)))


def test_what_an_offline_ca_must_sign_waits_for_its_token(hsm: SoftHsm, place: Place) -> None:
    spec = SMALL.replace("[ca.root]\n", f'[ca.root]\noffline = true\ncrl_validity = "400d"\n{key("root")}\n')
    spec = spec.replace("[ca.clients]\n", '[ca.clients]\nissuer = "root"\n').replace('ca = "root"', 'ca = "clients"')
    place.build(spec)
    hsm.pull_out()
    later, lent = NOW + timedelta(days=250), Asked(ca_keys=(("root", "token"),))
    assert fault(lambda: place.build(spec.replace("offline = true\n", ""), now=later))[0] == "PGT634"
    built = place.build(spec, now=later)
    (warning,) = [one for one in built.diagnostics if one.code == "PGT562"]
    assert warning.message == 'the CRL of CA "root" waits for its key: half its life is over'
    assert warning.hint == "lend the key with --ca-key root=token"
    assert ("user.app", "renew") in steps(built), "the other CA signs"
    assert fault(lambda: place.build(spec, now=later, asked=lent))[0] == "PGT634"
    hsm.insert()
    assert steps(place.build(spec, now=later)) == [("ca.root", "wait")], "not even a token that is there is opened"
    assert reason(place.build(spec, now=later, asked=lent), "ca.root") == "its CRL: half its life is over"
    assert crl_holds(place, "root")
    assert fault(lambda: place.build(spec, now=later + timedelta(days=401))) == (
        "PGT563",
        'the CRL of CA "root" expired on 2027-10-13: servers would reject every client',
        "lend the key with --ca-key root=token",
    )


def test_diff_shows_another_place_of_a_key(place: Place) -> None:
    place.write(SMALL)
    (place.directory / "new.toml").write_text(SMALL.replace("[ca.root]\n", f"[ca.root]\n{key('root')}\n"))
    (place.directory / "newer.toml").write_text(
        SMALL.replace("[ca.root]\n", f"[ca.root]\n{key('root-2', module='/opt/hsm.so')}\n")
    )
    first = pgtls("diff", "pgtls.toml", "new.toml", cwd=place.directory)
    assert "ca.root: key\n    before   none\n    after    pkcs11 = pkcs11:token=CA%20keys;object=root," in first.stdout
    second = pgtls("diff", "--fail-on", "weakened", "new.toml", "newer.toml", cwd=place.directory)
    assert second.status == 1
    assert "object=root-2, module = /opt/hsm.so, pin = from env TOKEN_PIN" in second.stdout
    assert pgtls("diff", "--fail-on", "any", "new.toml", "new.toml", cwd=place.directory).status == 0


# ---- the server judges -----------------------------------------------------------------------------------------------


def test_a_server_admits_by_certificates_that_a_token_signed(server: Server, hsm: SoftHsm, place: Place) -> None:
    server.populate(roles=["app"], databases=["shop"])
    now = datetime.now(UTC)
    spec = in_tokens(algorithm="rsa-3072").replace('"10.0.0.5"]', f'"127.0.0.1"]\npostgres = {server.version}')
    spec = spec.replace("10.0.0.0/8", "127.0.0.1/32")
    place.build(spec, now=now - timedelta(hours=1))
    server.install(place.file("servers/main"))
    own = Bundle(place.file("clients/app")).parameters("shop") | at(server)
    assert admitted(PSQL.connect(own)) == "app@shop"
    stranger = Place(place.directory / "stranger")
    stranger.directory.mkdir()
    stranger.build(spec.replace("object=", "object=stranger-"), now=now)
    pair = {"sslcert": "postgresql.crt", "sslkey": "postgresql.key"}
    foreign = {name: str(stranger.file(f"clients/app/{file}")) for name, file in pair.items()}
    refused(PSQL.connect(own | foreign), "unknown ca")
    refused(
        PSQL.connect(own | {"sslrootcert": str(stranger.file("clients/app/root.crt"))}), "certificate verify failed"
    )
    old = place.directory / "old"
    shutil.copytree(place.file("clients/app"), old)
    spec = spec.replace("[user.app]\n", f"[user.app]\nrevoke_before = {now:%Y-%m-%dT%H:%M:%SZ}\n")
    place.build(spec, now=now)
    server.install(place.file("servers/main"))
    assert revoked(place, "clients") == 1
    assert admitted(PSQL.connect(own)) == "app@shop", "the new certificate"
    refused(PSQL.connect(own | {name: str(old / file) for name, file in pair.items()}), "certificate revoked")


class StandIn:
    """A private key that signs like a token, and after some signatures wrongly."""

    def __init__(self, good: int) -> None:
        self.key, self._left = ec.generate_private_key(ec.SECP256R1()), good

    def sign(self, digest: bytes, mechanism: object = None) -> bytes:
        self._left -= 1
        what = digest if self._left >= 0 else digest[::-1]
        r, s = decode_dss_signature(self.key.sign(what, ec.ECDSA(Prehashed(hashes.SHA256()))))
        return r.to_bytes(32) + s.to_bytes(32)


# ---- modules that hang or lie ----------------------------------------------------------------------------------------

FAULTS = {
    "does not start": ("hangs", 0, "PGT639", 'the module "./faulty.so" does not start: no answer within 1 seconds'),
    "never lets anyone in": ("hangs", 18, "PGT639", 'token "CA keys" cannot be opened: no answer within 1 seconds'),
    "never signs": (
        "hangs",
        43,
        "PGT639",
        'token "CA keys" (cannot be searched|does not sign with .*): no answer within',
    ),
    "finds keys for ever": ("lies", 27, "PGT636", 'token "CA keys" holds 100 private keys that are key "clients"'),
}
"""What a module does, in which function, and what a build says then.

A search ends with a signature, which shows that the key is the right one: either may be the first to give up.
"""


@pytest.fixture
def faulty(hsm: SoftHsm, place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place with keys in a token, behind a module that :data:`FAULT` and :data:`FUNCTION` make faulty."""
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc: `make system` installs it")
    place.build(in_tokens())
    source, library = Path(__file__).with_name("faulty_module.c"), place.directory / "faulty.so"
    subprocess.run(("gcc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source, "-ldl"), check=True)
    place.write(in_tokens().replace(softhsm.MODULE, "faulty.so"))
    monkeypatch.setenv("SOFTHSM", softhsm.MODULE)
    return place


def renewing(place: Place, patience: int, does: str, function: int) -> subprocess.Popen[str]:
    """Start a build that asks for everything anew: in a process of its own, since a module may stay at work."""
    program = f"import sys; from pgtls.pki import tokens; tokens.PATIENCE = {patience}; from pgtls.cli import run; "
    program += "sys.exit(run(['build', '--renew', 'all']))"
    environment = {**os.environ, "FAULT": does, "FUNCTION": str(function), "PGTLS_NOW": NOW.isoformat()}
    return subprocess.Popen(
        (sys.executable, "-c", program), cwd=place.directory, env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("how", FAULTS)
def test_a_module_that_hangs_or_lies_ends_a_build_in_time_and_changes_nothing(faulty: Place, how: str) -> None:
    does, function, code, message = FAULTS[how]
    before = faulty.state()
    with renewing(faulty, 1, does, function) as process:
        said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert re.search(rf"error\[{code}\]: {message}", said)
    assert faulty.state() == before


def test_a_build_whose_module_hangs_can_be_interrupted(faulty: Place) -> None:
    before = faulty.state()
    with renewing(faulty, 600, "hangs", 43) as process:
        deadline = time.monotonic() + PATIENCE
        while len(list(Path(f"/proc/{process.pid}/task").iterdir())) < 2:  # the thread that waits for the module
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert faulty.state() == before
    with renewing(faulty, 60, "nothing", 67) as process:
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, "without a fault, the same module serves"


def test_a_wrong_signature_of_a_token_is_never_used() -> None:
    uri = parse("pkcs11:token=t;object=o")
    private = StandIn(good=2)
    key = tokens._EcKey(private, private.key.public_key(), uri)
    key.prove()
    assert key.sign(b"a certificate", ec.ECDSA(hashes.SHA256()))
    with pytest.raises(tokens.TokenFault, match="does not verify") as caught:
        key.sign(b"a certificate", ec.ECDSA(hashes.SHA256()))
    assert caught.value.trouble == "another"
