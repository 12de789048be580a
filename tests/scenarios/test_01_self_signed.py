"""One certificate that is its own root: what its clients check, and what readers of the quick starts trip over."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from support.clients import PSQL, Bundle, admitted, at, refused
from support.pgtls import SCENARIOS, pgtls
from support.scenario import KNOWN, compiled_scenario, enact
from support.servers import ServerError
from support.system import ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Server

NAME = "01-self-signed"


def test_clients_know_the_server_by_its_own_certificate(server: Server) -> None:
    assert server.show("ssl") == "off"
    out = enact(NAME, server, ("app",))
    assert server.show("ssl") == "on", "a reload is enough"
    own = Bundle(out / "clients" / "app").parameters("shop") | at(server)
    assert own["sslmode"] == "verify-full"
    assert admitted(PSQL.connect(own, environment=KNOWN)) == "app@shop"
    assert admitted(PSQL.connect(own | {"host": "db.example.com"}, environment=KNOWN)) == "app@shop"
    refused(PSQL.connect(own | {"host": "127.0.0.1"}, environment=KNOWN), 'does not match host name "127.0.0.1"')

    same_names = Bundle(compiled_scenario(NAME, server, "a stranger") / "clients" / "app").files
    for sslmode in ("verify-full", "verify-ca", "require"):
        refused(PSQL.connect(own | same_names | {"sslmode": sslmode}, environment=KNOWN), "certificate verify failed")
    refused(PSQL.connect(own | {"sslmode": "disable"}, environment=KNOWN), "pg_hba.conf")
    refused(PSQL.connect(own, environment={"PGPASSWORD": "wrong"}), "password authentication failed")


def test_a_key_that_others_can_read_is_refused_at_reload_and_at_start(server: Server) -> None:
    out = enact(NAME, server, ("app",))
    own = Bundle(out / "clients" / "app").parameters("shop") | at(server)
    key = server.data / "server.key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o644)
    with pytest.raises(ServerError, match="has group or world access"):
        server.reload()
    assert admitted(PSQL.connect(own, environment=KNOWN)) == "app@shop", "what it had before is still in force"
    server.stop()
    with pytest.raises(ServerError, match=r"FATAL: .*has group or world access"):
        server.start()
    key.chmod(0o600)
    server.start()
    assert admitted(PSQL.connect(own, environment=KNOWN)) == "app@shop"


def test_the_certificate_is_its_own_root_with_names_and_years(server: Server) -> None:
    out = compiled_scenario(NAME, server)
    assert [path.relative_to(out).as_posix() for path in sorted(out.rglob("*.key"))] == ["servers/db/server.key"]
    pem = (out / "servers" / "db" / "server.crt").read_bytes()
    assert (out / "clients" / "app" / "root.crt").read_bytes() == pem
    certificate = x509.load_pem_x509_certificate(pem)
    assert certificate.issuer == certificate.subject
    certificate.verify_directly_issued_by(certificate)
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 3650
    assert isinstance(key := certificate.public_key(), ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "db.example.com"]


def test_a_key_of_1024_bits_is_refused_by_the_compiler_and_by_clients(server: Server, tmp_path: Path) -> None:
    spec = (SCENARIOS / NAME / "pgtls.toml").read_text()
    (tmp_path / "pgtls.toml").write_text(spec.replace("[server.db]\n", '[server.db]\nkey_algorithm = "rsa-1024"\n'))
    run = pgtls("check", tmp_path / "pgtls.toml")
    assert run.status == 1
    assert '"rsa-1024"' in run.stdout

    # What the quick starts of old made: the server's OpenSSL refuses it, or else its clients' does.
    out = enact(NAME, server, ("app",))
    own = Bundle(out / "clients" / "app").parameters("shop") | at(server)
    own |= {"sslrootcert": str(by_hand(server, tmp_path, bits=2048))}
    server.reload()
    assert admitted(PSQL.connect(own, environment=KNOWN)) == "app@shop"
    by_hand(server, tmp_path, bits=1024)
    try:
        server.reload()
    except ServerError as error:
        assert "key too small" in str(error)  # noqa: PT017
    else:
        refused(PSQL.connect(own, environment=KNOWN), "certificate verify failed")


def by_hand(server: Server, directory: Path, *, bits: int) -> Path:
    """Do what a quick start says, and give the certificate."""
    command = f"openssl req -x509 -newkey rsa:{bits} -nodes -subj /CN=localhost -keyout server.key -out server.crt"
    subprocess.run(command.split(), check=True, cwd=directory, env=ENVIRONMENT, capture_output=True)
    for name in ("server.crt", "server.key"):
        server.write(name, (directory / name).read_bytes())
    return directory / "server.crt"
