"""pgtls creates the key and the request, and a CA outside signs.

The CA is a company's, below its root, or a public CA that the system knows.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from support.clients import PSQL, Bundle, admitted, at, libpq_clients, refused
from support.pgtls import SCENARIOS, built, for_postgres, pgtls
from support.scenario import KNOWN, PASSWORD
from support.system import ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Server

NAME = "04-outside-ca"


def openssl(directory: Path, command: str) -> str:
    run = subprocess.run(
        ("openssl", *command.split()), check=False, cwd=directory, capture_output=True, text=True, env=ENVIRONMENT
    )
    assert run.returncode == 0, f"{command}\n{run.stderr}"
    return run.stdout


@pytest.fixture
def company(tmp_path: Path) -> Path:
    """Make what a company has: a root, a CA below it that signs, and ``company.crt`` with both, beside the spec."""
    make_company(tmp_path)
    return tmp_path


def make_company(directory: Path) -> None:
    (directory / "ca.cnf").write_text(
        "basicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\n"
    )
    key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    openssl(directory, f"req -x509 {key} -subj /CN=Root -days 3650 -keyout root.key -out root.crt")
    openssl(directory, f"req -new {key} -subj /CN=Issuing -keyout issuing.key -out issuing.csr")
    openssl(
        directory,
        "x509 -req -in issuing.csr -CA root.crt -CAkey root.key -days 1825 -extfile ca.cnf -out issuing.crt",
    )
    (directory / "company.crt").write_text(
        (directory / "issuing.crt").read_text() + (directory / "root.crt").read_text()
    )


def sign(directory: Path, request: Path, to: Path) -> None:
    openssl(
        directory,
        f"x509 -req -in {request} -CA issuing.crt -CAkey issuing.key -days 90 -copy_extensions copyall -out {to}",
    )


def spec_for(server: Server) -> str:
    return for_postgres(SCENARIOS / NAME / "pgtls.toml", server.version)


def back(spec: str, directory: Path, *further: str) -> Path:
    """Build, have the request signed, name what came back, build again; give the out directory."""
    path = directory / "pgtls.toml"
    path.write_text(spec)
    out = built(path, directory / "out")
    sign(directory, out / "servers" / "db" / "server.csr", directory / "db.crt")
    with (directory / "db.crt").open("a") as file:
        file.writelines((directory / name).read_text() for name in further)
    assert "#cert_file" in spec
    path.write_text(spec.replace("#cert_file", "cert_file"))
    return built(path, out)


def test_the_request_has_the_whole_subject_and_every_name(company: Path) -> None:
    path = company / "pgtls.toml"
    path.write_text((SCENARIOS / NAME / "pgtls.toml").read_text())
    run = pgtls("build", path)
    assert run.status == 0
    assert "server.db waits: nobody has signed it yet" in run.stderr
    request = company / "out" / "servers" / "db" / "server.csr"
    assert not request.with_name("server.crt").exists()
    subject = openssl(company, f"req -in {request} -noout -verify -subject -nameopt RFC2253").strip()
    parts = subject.removeprefix("subject=").split(",")
    assert set(parts) == {
        "C=DE", "ST=Bavaria", "L=Munich", "O=Example GmbH", "OU=Databases", "CN=localhost",
        "emailAddress=dba@example.com",
    }  # fmt: skip
    text = openssl(company, f"req -in {request} -noout -text")
    assert "DNS:localhost, DNS:db.example.com" in text
    assert "TLS Web Server Authentication" in text


def test_what_the_company_signed_is_served_with_its_chain(server: Server, company: Path) -> None:
    out = back(spec_for(server), company)
    server.populate(("app",), ("shop",), PASSWORD)
    server.install(out / "servers" / "db")
    served = (company / "db.crt").read_text() + (company / "issuing.crt").read_text()
    assert (server.data / "server.crt").read_text() == served
    own = Bundle(out / "clients" / "app").parameters("shop") | at(server)
    assert admitted(PSQL.connect(own, environment=KNOWN)) == "app@shop"
    assert admitted(PSQL.connect(own | {"sslrootcert": str(company / "root.crt")}, environment=KNOWN)) == "app@shop"
    refused(PSQL.connect(own | {"host": "127.0.0.1"}, environment=KNOWN), 'does not match host name "127.0.0.1"')
    refused(PSQL.connect(own | {"sslmode": "disable"}, environment=KNOWN), "pg_hba.conf")

    stranger = company / "stranger"
    stranger.mkdir()
    make_company(stranger)
    refused(
        PSQL.connect(own | {"sslrootcert": str(stranger / "root.crt")}, environment=KNOWN), "certificate verify failed"
    )

    # The control of the chain: the leaf alone leads nowhere for who holds the root alone.
    server.write("server.crt", (company / "db.crt").read_text())
    server.reload()
    refused(
        PSQL.connect(own | {"sslrootcert": str(company / "root.crt")}, environment=KNOWN), "certificate verify failed"
    )


def test_what_somebody_else_signed_is_not_taken(company: Path) -> None:
    out = back((SCENARIOS / NAME / "pgtls.toml").read_text(), company)
    before = (out / "servers" / "db" / "server.crt").read_bytes()
    stranger = company / "stranger"
    stranger.mkdir()
    make_company(stranger)
    sign(stranger, out / "servers" / "db" / "server.csr", company / "db.crt")
    run = pgtls("build", company / "pgtls.toml", "--out", out, "--lock", out.with_suffix(".lock"))
    assert run.status == 1
    assert "PGT565" in run.stderr
    assert 'it was not signed by CA "company"' in run.stderr
    assert (out / "servers" / "db" / "server.crt").read_bytes() == before


def public(spec: str) -> str:
    """Return the spec as the README writes it for a public CA."""
    table = spec[spec.index("[ca.company]") : spec.index("[server.db]")]
    return spec.replace(table, "").replace('"company"', '"system"').replace("[user.app]\n", "[user.app]\nlibpq = 16\n")


def test_a_public_ca_is_known_to_the_system_of_the_clients(server: Server, company: Path) -> None:
    clients = {client.libpq: client for client in libpq_clients()}
    if not clients:
        pytest.skip("libpq of several versions is not installed: `make test` does it")
    out = back(public(spec_for(server)), company, "issuing.crt")
    server.populate(("app",), ("shop",), PASSWORD)
    server.install(out / "servers" / "db")
    assert not (out / "clients" / "app" / "root.crt").exists()
    own = Bundle(out / "clients" / "app").parameters("shop") | at(server)
    assert own["sslrootcert"] == "system"
    system = KNOWN | {"SSL_CERT_FILE": str(company / "root.crt")}
    for major, client in clients.items():
        if major < 16:  # it knows neither the parameters of a bundle for 16, nor the word, which is a file's name to it
            refused(client.connect(own, environment=system), "invalid connection option")
            older = {name: value for name, value in own.items() if name not in ("require_auth", "sslcertmode")}
            older.pop("sslnegotiation", None)
            refused(client.connect(older, environment=system), 'root certificate file "system" does not exist')
            continue
        assert admitted(client.connect(own, environment=system)) == "app@shop"
        refused(client.connect(own, environment=KNOWN), "certificate verify failed")
        refused(client.connect(own | {"host": "127.0.0.1"}, environment=system), "does not match host name")
        refused(client.connect(own | {"sslmode": "require"}, environment=system), 'weak sslmode "require"')


def test_clients_that_do_not_know_the_system_s_cas_are_found_by_the_compiler(tmp_path: Path) -> None:
    spec = public((SCENARIOS / NAME / "pgtls.toml").read_text())
    path = tmp_path / "pgtls.toml"
    path.write_text(spec)
    assert pgtls("check", path).status == 0
    path.write_text(spec.replace("libpq = 16", "libpq = 15"))
    run = pgtls("check", path)
    assert run.status == 1
    assert "PGT143" in run.stdout
    assert 'user "app" may have libpq 15' in run.stdout
