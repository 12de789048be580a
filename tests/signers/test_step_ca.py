"""step-ca signs our requests: an issuing CA below a root, names by token, and both purposes in every leaf."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from pgtls.diagnostics import Rejected
from support.building import Place, steps
from support.clients import PSQL, Bundle, admitted, at, refused
from support.golang import go_program
from support.servers import PATIENCE
from support.system import ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Server

SPEC = """
version = 1
[ca.company]
cert_file = "company/chain.crt"
[server.db]
ca = "company"
external = true
client_ca = ["company"]
crl = false
hosts = ["db.example.com", "127.0.0.1"]
postgres = {major}
[user.postgres]
[user.app]
ca = "company"
external = true
[policy.dba]
users = ["postgres"]
from = ["local"]
auth = "trust"
waiver = {{ reason = "a test", codes = ["PGT301"] }}
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["127.0.0.0/8"]
auth = "cert"
waiver = {{ reason = "a test", codes = ["PGT330"] }}
"""


def program() -> str:
    """Return the program of step-ca; build it if it is not installed."""
    return shutil.which("step") or str(go_program("step"))


@dataclass(frozen=True, slots=True)
class StepCA:
    """A step-ca in a directory of its own: ``root.crt``, and ``chain.crt`` with the CA that signs first."""

    directory: Path

    def run(self, *words: str) -> None:
        surroundings = ENVIRONMENT | {"HOME": str(self.directory), "STEPPATH": str(self.directory / "step")}
        done = subprocess.run(
            (program(), *words), check=False, cwd=self.directory, env=surroundings, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"

    def prepare(self) -> None:
        self.directory.mkdir()
        (self.directory / "password").write_text("secret")
        self.run(
            "ca", "init", "--deployment-type", "standalone", "--name", "Company", "--provisioner", "dba",
            "--dns", "ca.example.com", "--address", ":9443", "--password-file", "password",
        )  # fmt: skip
        configuration = self.directory / "step" / "config" / "ca.json"
        settings = json.loads(configuration.read_text())
        settings["authority"]["claims"] = {"maxTLSCertDuration": "8760h"}  # a day, if nobody says so
        configuration.write_text(json.dumps(settings))
        certificates = self.directory / "step" / "certs"
        shutil.copy(certificates / "root_ca.crt", self.directory / "root.crt")
        chain = (certificates / "intermediate_ca.crt").read_text() + (certificates / "root_ca.crt").read_text()
        (self.directory / "chain.crt").write_text(chain)

    def sign(self, request: Path, to: Path) -> None:
        """Sign a request: the file has the certificate, then the CA that signed it."""
        self.run(
            "ca", "sign", "--offline", "--provisioner", "dba", "--password-file", "password",
            "--not-after", "720h", "--force", str(request), str(to),
        )  # fmt: skip


@pytest.fixture
def company(tmp_path: Path) -> StepCA:
    company = StepCA(tmp_path / "company")
    company.prepare()
    return company


def now() -> datetime:
    """The time of the signer, who has no other."""
    return datetime.now(UTC)


def signed(place: Place, by: StepCA, major: int) -> str:
    """Get both requests signed and return the spec that names the results."""
    spec = SPEC.format(major=major)
    planned = place.build(spec, now=now())
    assert {("server.db", "wait"), ("user.app", "wait")} <= set(steps(planned))
    by.sign(place.file("servers/db/server.csr"), place.directory / "db.crt")
    by.sign(place.file("clients/app/postgresql.csr"), place.directory / "app.crt")
    for name in ("db", "app"):
        kind = "server" if name == "db" else "user"
        spec = spec.replace(f"[{kind}.{name}]\n", f'[{kind}.{name}]\ncert_file = "{name}.crt"\n')
    return spec


def test_what_step_ca_signs_serves_and_logs_in(server: Server, company: StepCA, tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.build(signed(place, company, server.version), now=now())
    assert steps(place.build(now=now())) == []
    assert place.file("servers/db/server.crt").read_text().count("BEGIN CERTIFICATE") == 2
    assert (company.directory / "root.crt").read_text() in place.file("clients/app/root.crt").read_text()

    server.populate(["app", "other"], ["shop"])
    server.install(place.file("servers/db"))
    own = Bundle(place.file("clients/app")).parameters("shop") | at(server)
    assert admitted(PSQL.connect(own)) == "app@shop"
    refused(PSQL.connect(own | {"host": "other.example.com"}), 'does not match host name "other.example.com"')
    refused(PSQL.connect(own | {"user": "other"}), "pg_hba.conf")
    refused(PSQL.connect(own | {"sslcert": "/nonexistent"}), "connection requires a valid client certificate")
    refused(PSQL.connect(own | {"sslrootcert": str(tmp_path / "app.crt")}), "certificate verify failed")


def test_what_another_step_ca_signs_is_refused(company: StepCA, tmp_path: Path) -> None:
    place = Place(tmp_path)
    spec = signed(place, company, 17)
    other = StepCA(tmp_path / "other")
    other.prepare()
    other.sign(place.file("servers/db/server.csr"), tmp_path / "db.crt")
    with pytest.raises(Rejected, match='it was not signed by CA "company"'):
        place.build(spec, now=now())
    company.sign(place.file("servers/db/server.csr"), tmp_path / "db.crt")
    place.build(spec, now=now())
    assert place.file("servers/db/server.crt").exists()
