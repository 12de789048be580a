"""Name constraints on real servers: what they exclude, and the dotted common name they would exclude by mistake."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from support.clients import PSQL, Bundle, admitted, at, libpq_clients, refused
from support.pgtls import compiled

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Server

SPEC = """
version = 1
[ca.root]
[ca.root.name_constraints]
permitted_dns = ["example.com"]
permitted_ip = ["127.0.0.0/8"]
[server.db]
ca = "root"
client_ca = ["root"]
hosts = ["db.example.com", "127.0.0.1"]
postgres = {major}
[user.postgres]
[user."etl.nightly"]
ca = "root"
[user.app]
ca = "root"
[policy.dba]
users = ["postgres"]
from = ["local"]
auth = "trust"
waiver = "a test"
[policy.app]
users = ["app", "etl.nightly"]
from = ["127.0.0.0/8"]
auth = "cert"
"""


def forged(out: Path, directory: Path, name: str, extensions: str) -> dict[str, str]:
    """Sign with the CA's own key what pgtls would not: the constraints bind even the holder of that key."""
    (directory / "extensions").write_text(extensions)
    ca = out / "ca" / "root"
    key, request, certificate = (directory / f"forged.{end}" for end in ("key", "csr", "crt"))
    new: list[str | Path] = ["openssl", "req", "-new", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run([*new, "-keyout", key, "-out", request, "-subj", f"/CN={name}"], check=True, capture_output=True)
    sign: list[str | Path] = [
        "openssl",
        "x509",
        "-req",
        "-in",
        request,
        "-CA",
        ca / "ca.crt",
        "-CAkey",
        ca / "ca.key",
        "-days",
        "5",
    ]
    subprocess.run([*sign, "-extfile", directory / "extensions", "-out", certificate], check=True, capture_output=True)
    key.chmod(0o600)
    return {"sslcert": str(certificate), "sslkey": str(key)}


def test_a_dotted_common_name_is_accepted_for_its_alternative_name(server: Server, tmp_path: Path) -> None:
    out = compiled(SPEC.format(major=server.version), tmp_path)
    server.populate(["app", "etl.nightly"])
    server.install(out / "servers" / "db")

    def parameters(user: str) -> dict[str, str]:
        return Bundle(out / "clients" / user).parameters() | at(server) | {"dbname": "postgres"}

    for client in (PSQL, *libpq_clients()):
        for user in ("app", "etl.nightly"):
            assert admitted(client.connect(parameters(user))) == f"{user}@postgres"

    # The control: the same name, signed by the same key, without the alternative name.
    mark = server.mark()
    bare = forged(out, tmp_path, "etl.nightly", "extendedKeyUsage = clientAuth\n")
    refused(PSQL.connect(parameters("etl.nightly") | bare), "")
    detailed = server.version >= 16  # older servers log no more than that
    server.wait_for_log("permitted subtree violation" if detailed else "certificate verify failed", mark)
    # And the control of that: without dots it needs none.
    plain = forged(out, tmp_path, "app", "extendedKeyUsage = clientAuth\n")
    assert admitted(PSQL.connect(parameters("app") | plain)) == "app@postgres"


def test_a_server_outside_of_the_constraints_is_refused_by_its_clients(server: Server, tmp_path: Path) -> None:
    out = compiled(SPEC.format(major=server.version), tmp_path)
    server.populate(["app"])
    server.install(out / "servers" / "db")
    parameters = Bundle(out / "clients" / "app").parameters() | at(server) | {"dbname": "postgres"}
    assert admitted(PSQL.connect(parameters)) == "app@postgres"
    extensions = "extendedKeyUsage = serverAuth\nsubjectAltName = DNS:db.example.com, DNS:db.example.org\n"
    pair = forged(out, tmp_path, "db.example.com", extensions)
    for name, file in (("server.crt", pair["sslcert"]), ("server.key", pair["sslkey"])):
        with open(file, "rb") as content:
            server.write(name, content.read())
    server.reload()
    refused(PSQL.connect(parameters), "certificate verify failed")
