"""Servers have their CRLs in a file and in a hashed directory: either does, and neither is in the way of the other."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lifecycle.fleets import HOUR, ROLES, attempt, clock, deploy, logged, spec
from pgtls.pki import keys
from support.building import NOW, Place, steps
from support.clients import Bundle, admitted, refused
from support.system import new_directory

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Server


def settings(place: Place) -> dict[str, str]:
    """The settings of the CRLs in pgtls.conf."""
    lines = place.file("servers/db/pgtls.conf").read_text().splitlines()
    pairs = (line.split(" = ") for line in lines if line.startswith("ssl_crl_"))
    return {name: value.strip("'") for name, value in pairs}


def directory(place: Place) -> dict[str, bytes]:
    """The files of the hashed directory."""
    path = place.file("servers/db/root.crl.d")
    return {file.name: file.read_bytes() for file in path.iterdir()} if path.exists() else {}


def test_a_revoked_user_is_refused_by_the_directory_alone_by_the_file_alone_and_by_both(
    server: Server, place: Place
) -> None:
    if server.version < 14:
        place.build(spec(server.version), now=clock() - HOUR)
        assert settings(place) == {"ssl_crl_file": "root.crl"}
        assert directory(place) == {}
        return
    server.populate(ROLES, ("shop",))
    now = clock()
    place.build(spec(server.version), now=now - HOUR)
    deploy(place, server)
    stolen = new_directory("stolen") / "bob"
    shutil.copytree(place.file("clients/bob"), stolen)
    bob = Bundle(stolen)
    assert admitted(attempt(place, server, "bob", bob)) == "bob@shop"
    before = directory(place)

    place.build(spec(server.version, bob=None), now=now)
    assert settings(place) == {"ssl_crl_file": "root.crl", "ssl_crl_dir": "root.crl.d"}
    assert directory(place).keys() == before.keys()
    compiled = place.file("servers/db/pgtls.conf").read_text()
    without_file = compiled.replace("ssl_crl_file = 'root.crl'", "ssl_crl_file = ''")
    without_directory = compiled.replace("ssl_crl_dir = 'root.crl.d'", "ssl_crl_dir = ''")
    assert compiled not in (without_file, without_directory)

    def judge(why: str) -> None:
        mark = server.mark()
        refused(attempt(place, server, "bob", bob), "")
        server.wait_for_log(logged(server, "certificate revoked"), mark)
        assert admitted(attempt(place, server, "alice")) == "alice@shop", why

    # The list in the directory counts as soon as it is there, though the file is of yesterday and nobody reloads.
    for name, content in directory(place).items():
        server.write(f"root.crl.d/{name}", content, 0o644)
    judge("the newest of two lists counts")
    deploy(place, server)
    judge("both")
    for name, content in before.items():
        server.write(f"root.crl.d/{name}", content, 0o644)
    judge("the file is newer than the directory")
    shutil.rmtree(server.data / "root.crl.d")
    judge("the directory was not copied")
    server.write("pgtls.conf", without_directory, 0o644)
    server.reload()
    judge("the file alone")
    deploy(place, server)
    server.write("pgtls.conf", without_file, 0o644)
    server.reload()
    judge("the directory alone")
    shutil.rmtree(server.data / "root.crl.d")
    mark = server.mark()
    refused(attempt(place, server, "alice"), "")
    server.wait_for_log(logged(server, "unable to get certificate CRL"), mark)


def rehashed(files: dict[str, bytes], scratch: Path) -> Counter[str]:
    """How many files of each hash ``openssl rehash`` makes of them."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for number, content in enumerate(files.values()):
        (scratch / f"{number}.pem").write_bytes(content)
    subprocess.run(["openssl", "rehash", str(scratch)], check=True, capture_output=True)
    return Counter(path.name.partition(".")[0] for path in scratch.iterdir() if path.suffix != ".pem")


def hashes(names: dict[str, bytes]) -> Counter[str]:
    return Counter(name.partition(".")[0] for name in names)


HOSTILE = {
    "UTF-8": (
        'common_name = "Ελένη  ΑΒΓ"\nsubject = { organization = "  Ex,  AMPLE ", country = "GR", email = '
        '"A@B.example" }'
    ),
    "special characters": """common_name = 'a+b=c,"d"\\<e>;#/../x'""",
    "long": (
        f'common_name = "{"x" * 64}"\nsubject = {{ state = "{"é" * 60}", locality = "L", organizational_unit = "OU" }}'
    ),
}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_files_are_named_as_openssl_names_them(place: Place, tmp_path: Path, name: str) -> None:
    place.build(spec(cas=f'[ca.root]\n[ca.people]\n{name}\n[ca.inner]\nissuer = "people"\n'))
    found = directory(place)
    assert len(found) == 2
    assert hashes(found) == rehashed(found, tmp_path / "rehash")
    assert sorted(found.values()) == sorted(place.file(f"ca/{ca}/ca.crl").read_bytes() for ca in ("people", "inner"))
    assert place.file("servers/db/root.crl.d").stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in place.file("servers/db/root.crl.d").iterdir()} == {0o644}


def test_a_plan_names_the_files_that_a_build_writes(place: Place) -> None:
    text = spec(cas='[ca.root]\n[ca.people]\ncommon_name = "Ελένη  Α"\n[ca.inner]\nissuer = "people"\n')
    planned = place.plan(text)
    place.build()
    planned_names = {path.rpartition("/")[2] for path in planned.plan.changes if "/root.crl.d/" in path}
    assert planned_names == directory(place).keys()


NAMESAKES = '[ca.root]\n[ca.people]\ncommon_name = "People"\n[ca.inner]\ncommon_name = "People"\n'
BOTH = 'ca = "root"\nclient_ca = ["people", "inner"]\n'


def test_lists_of_cas_of_one_name_are_numbered_and_go_with_their_ca(server: Server, place: Place) -> None:
    server.populate(ROLES, ("shop",))
    now = clock()
    text = spec(server.version, cas=NAMESAKES, server=BOTH, bob='ca = "people"\n')
    place.build(text, now=now - 2 * HOUR)
    deploy(place, server)
    old = new_directory("old") / "bob"
    shutil.copytree(place.file("clients/bob"), old)
    for role in ROLES:
        assert admitted(attempt(place, server, role)) == f"{role}@shop"
    if server.version >= 14:
        (name,) = {name.partition(".")[0] for name in directory(place)}
        assert sorted(directory(place)) == [f"{name}.r0", f"{name}.r1"]

    again = f'ca = "people"\nrevoke_before = {now - HOUR:%Y-%m-%dT%H:%M:%SZ}\n'
    place.build(spec(server.version, cas=NAMESAKES, server=BOTH, bob=again), now=now)
    deploy(place, server)
    if server.version >= 14:
        text = place.file("servers/db/pgtls.conf").read_text()
        server.write("pgtls.conf", text.replace("ssl_crl_file = 'root.crl'", "ssl_crl_file = ''"), 0o644)
        server.reload()
    mark = server.mark()
    refused(attempt(place, server, "bob", Bundle(old)), "")
    server.wait_for_log(logged(server, "certificate revoked"), mark)
    for role in ROLES:
        assert admitted(attempt(place, server, role)) == f"{role}@shop"

    alone = '[ca.root]\n[ca.inner]\ncommon_name = "People"\n'
    place.build(spec(server.version, cas=alone, server='ca = "root"\nclient_ca = ["inner"]\n', bob=None), now=now)
    assert list(directory(place)) == ([f"{name}.r0"] if server.version >= 14 else [])
    assert place.file("servers/db/root.crl").read_bytes() == place.file("ca/inner/ca.crl").read_bytes()


NO_LONGER = {
    "crl = false": (
        spec(server='ca = "root"\nclient_ca = ["inner"]\ncrl = false\n'),
        {"ssl_crl_file": "", "ssl_crl_dir": ""},
    ),
    "PostgreSQL 13": (spec(13), {"ssl_crl_file": "root.crl"}),
}


@pytest.mark.parametrize(("changed", "said"), NO_LONGER.values(), ids=NO_LONGER)
def test_a_directory_that_is_no_longer_wanted_goes(place: Place, changed: str, said: dict[str, str]) -> None:
    place.build(spec())
    assert directory(place)
    place.build(changed)
    assert not place.file("servers/db/root.crl.d").exists()
    assert settings(place) == said
    assert steps(place.build()) == []


def test_the_directory_is_named_in_full_where_it_is_known(place: Place) -> None:
    said = 'ca = "root"\nclient_ca = ["inner"]\ndirectory = "{}"\n'
    place.build(spec(server=said.format("/etc/pgtls/")))
    assert settings(place) == {"ssl_crl_file": "/etc/pgtls/root.crl", "ssl_crl_dir": "/etc/pgtls/root.crl.d"}
    # OpenSSL would look in "/etc/a" and in "b/root.crl.d".
    place.build(spec(server=said.format("/etc/a:b")))
    assert settings(place) == {"ssl_crl_file": "/etc/a:b/root.crl", "ssl_crl_dir": ""}
    assert directory(place) == {}


def test_a_server_without_client_cas_has_no_lists(place: Place) -> None:
    text = spec(server='ca = "root"\n').replace('auth = "cert"', 'auth = "scram-sha-256"')
    place.build(text)
    assert settings(place) == {"ssl_crl_file": "", "ssl_crl_dir": ""}
    assert directory(place) == {}


def test_a_ca_whose_name_has_several_attributes_in_a_step_is_found(place: Place, tmp_path: Path) -> None:
    key = keys.generate("ecdsa-p256")
    step = [
        x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Ex"),
        x509.NameAttribute(x509.NameOID.COMMON_NAME, "Ö"),
    ]
    name = x509.Name([x509.RelativeDistinguishedName(step)])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW - HOUR, NOW + timedelta(days=9999))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    (place.directory / "ca.crt").write_bytes(builder.sign(key, SHA256()).public_bytes(Encoding.PEM))
    written = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (place.directory / "ca.key").write_bytes(written)
    brought = '[ca.root]\n[ca.inner]\ncert_file = "ca.crt"\nkey_file = "ca.key"\n'
    planned = place.plan(spec(cas=brought))
    place.build()
    found = directory(place)
    assert hashes(found) == rehashed(found, tmp_path / "rehash")
    assert {path.rpartition("/")[2] for path in planned.plan.changes if "/root.crl.d/" in path} == found.keys()
