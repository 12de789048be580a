"""The scripts of docs/guides/signers.md, with the real programs: step-ca, openssl, certtool, cfssl."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from pgtls.certificates.asked import Asked
from signers.programs import certificate, now, run, texts, waits
from support.authority import Authority
from support.building import Place, steps
from support.clients import PSQL, Bundle, admitted, at, refused
from support.golang import go_program
from support.pgtls import ROOT
from support.servers import PATIENCE, Server, free_port, versions
from support.system import ENVIRONMENT, until_we_end
from support.walking import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SPEC = """
version = 1
[ca.company]
cert_file = "company.crt"
sign = { command = ["sh", "SCRIPT"] }
[ca.clients]
[server.db]
ca = "company"
client_ca = ["company", "clients"]
crl = false
hosts = ["db.example.com", "127.0.0.1"]
postgres = MAJOR
[user.postgres]
[user.app]
ca = "company"
[user.other]
ca = "clients"
[policy.dba]
users = ["postgres"]
from = ["local"]
auth = "trust"
waiver = { reason = "a test", codes = ["PGT301"] }
[policy.app]
users = ["app", "other"]
databases = ["shop"]
from = ["127.0.0.0/8"]
auth = "cert"
waiver = { reason = "a test", codes = ["PGT330"] }
"""
FILES = {
    block.title: block.text
    for block in blocks((ROOT / "docs/guides/signers.md").read_text(encoding="utf-8"))
    if block.exempt and block.exempt[1] == "tests/signers/test_recipes.py"
}
RECIPES = ("openssl", "certtool", "cfssl", "step")


@dataclass(frozen=True, slots=True)
class Recipe:
    """A script of the guide, in a directory with its CA."""

    name: str
    place: Place

    def spec(self, major: int) -> str:
        return SPEC.replace("SCRIPT", f"{self.name}.sh").replace("MAJOR", str(major))


def write(place: Place, *names: str) -> None:
    for name in names:
        (place.directory / name).write_text(FILES[name])


def company(place: Place) -> None:
    """Make a CA whose key is a file."""
    root = Authority.root("Company Root")
    (place.directory / "company.crt").write_bytes(root.pem)
    (place.directory / "company.key").write_bytes(root.key_pem)
    (place.directory / "index.txt").write_text("")
    (place.directory / "crlnumber").write_text("01\n")


@contextmanager
def step_ca(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run a step-ca with the provisioners of the guide; the programs are found by PATH, its settings by HOME."""
    here, programs = place.directory, {go_program(name).parent for name in ("step", "step-ca")}
    monkeypatch.setenv("PATH", os.pathsep.join([*map(str, programs), ENVIRONMENT["PATH"]]))
    monkeypatch.setenv("HOME", str(here))
    surroundings = ENVIRONMENT | {"HOME": str(here), "PATH": os.environ["PATH"]}
    (here / "password").write_text("secret")
    port = free_port()

    def step(*words: str) -> None:
        done = subprocess.run(
            words, cwd=here, env=surroundings, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"

    step(
        "step", "ca", "init", "--deployment-type", "standalone", "--name", "Company", "--provisioner", "dba",
        "--dns", "127.0.0.1", "--address", f"127.0.0.1:{port}", "--password-file", "password",
    )  # fmt: skip
    step("sh", "provisioners.sh")
    certificates = here / ".step" / "certs"
    chain = [(certificates / f"{name}_ca.crt").read_text() for name in ("intermediate", "root")]
    (here / "company.crt").write_text("".join(chain))
    with (here / "step-ca.log").open("w") as log:
        process = subprocess.Popen(
            (*until_we_end(), "step-ca", "--password-file", "password", str(here / ".step" / "config" / "ca.json")),
            cwd=here, env=surroundings, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + PATIENCE
            while "Serving HTTPS" not in (said := (here / "step-ca.log").read_text()):
                assert process.poll() is None, said
                assert time.monotonic() < deadline, said
                time.sleep(0.05)
            yield
        finally:
            process.kill()
            process.wait()


@pytest.fixture(params=RECIPES)
def recipe(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recipe]:
    name, place = request.param, Place(tmp_path)
    write(place, f"{name}.sh")
    if name == "step":
        write(place, "provisioners.sh")
        with step_ca(place, monkeypatch):
            yield Recipe(name, place)
        return
    for program, package in (("certtool", "gnutls-bin"), ("cfssl", "golang-cfssl")):
        if name == program and shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt-get install {package}")
    write(place, *{"openssl": ["ca.cnf"], "cfssl": ["cfssl.json"]}.get(name, []))
    company(place)
    yield Recipe(name, place)


def test_the_guide_has_these_files() -> None:
    assert FILES.keys() == {f"{name}.sh" for name in RECIPES} | {"ca.cnf", "crl.sh", "provisioners.sh", "cfssl.json"}


@pytest.mark.slow
def test_what_a_recipe_signs_serves_and_logs_in(recipe: Recipe) -> None:
    place, version = recipe.place, versions()[-1]
    planned = place.build(recipe.spec(version.major), now=now())
    assert {("server.db", "create"), ("user.app", "create")} <= set(steps(planned))
    assert [one.message for one in planned.diagnostics if one.code in ("PGT562", "PGT567", "PGT568")] == []
    state = {path: one for path, one in place.state().items() if path != "out/manifest.json"}
    assert steps(place.build(now=now())) == []
    assert {path: one for path, one in place.state().items() if path != "out/manifest.json"} == state
    with Server(version) as server:
        server.populate(["app", "other"], ["shop"])
        server.install(place.file("servers/db"))
        own = Bundle(place.file("clients/app")).parameters("shop") | at(server)
        assert admitted(PSQL.connect(own)) == "app@shop"
        refused(PSQL.connect(own | {"host": "other.example.com"}), 'does not match host name "other.example.com"')
        refused(PSQL.connect(own | {"user": "other"}), "certificate authentication failed")
    # The same program with another CA signs nothing that is taken.
    serial = certificate(place, "servers/db/server.crt").serial
    other = Authority.root("Company Root")
    (place.directory / "company.crt").rename(place.directory / "real.crt")
    (place.directory / "company.crt").write_bytes(other.pem)
    if recipe.name == "step":
        planned = place.build(now=now(), asked=Asked(accept_outage=True))
        assert "its file does not lead to that CA" in waits(planned, "server.db")
    else:
        (place.directory / "company.key").write_bytes(Authority.root("Company Root").key_pem)
        planned = place.build(now=now(), asked=Asked(accept_outage=True))
        assert "server.db waits: it was not signed by CA" in waits(planned, "server.db")
    assert certificate(place, "servers/db/server.crt").serial == serial


def test_a_request_that_asks_for_more_gets_what_the_spec_says(recipe: Recipe) -> None:
    words = ("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj")
    more = ("-addext", "subjectAltName=DNS:evil.example.com", "-addext", "extendedKeyUsage=serverAuth,clientAuth")
    run(recipe.place.directory, *words, "/CN=app", *more, "-keyout", "app.key", "-out", "app.csr")
    text = recipe.spec(17).replace('[user.app]\nca = "company"', '[user.app]\nca = "company"\ncsr_file = "app.csr"')
    planned = recipe.place.build(text, now=now())
    assert ("user.app", "create") in steps(planned)
    assert texts(planned, "PGT568") == []
    assert "serverAuth" not in certificate(recipe.place, "clients/app/postgresql.crt").usages


def test_openssl_revokes_what_the_plan_says(tmp_path: Path) -> None:
    place = Place(tmp_path)
    write(place, "openssl.sh", "ca.cnf", "crl.sh")
    company(place)
    run(place.directory, "sh", "crl.sh")
    text = SPEC.replace("SCRIPT", "openssl.sh").replace("MAJOR", "17")
    text = text.replace('cert_file = "company.crt"', 'cert_file = "company.crt"\ncrl_file = "company.crl"')
    place.build(text.replace("crl = false", "crl = true"), now=now())
    serial = certificate(place, "clients/app/postgresql.crt").serial
    left = text.replace("crl = false", "crl = true").replace('[user.app]\nca = "company"\n', "")
    planned = place.build(left.replace('["app", "other"]', '["other"]'), now=now())
    assert serial in texts(planned, "PGT569")[0]
    run(place.directory, "sh", "crl.sh", f"{int(serial, 16):X}".zfill(len(serial) + len(serial) % 2))
    assert texts(place.build(now=now()), "PGT569") == []
    crl = x509.load_pem_x509_crl((place.directory / "company.crl").read_bytes())
    assert [one.serial_number for one in crl] == [int(serial, 16)]
