"""OAuth on real servers: a validator that is built here, and a client that speaks SASL OAUTHBEARER (RFC 7628)."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import struct
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pgtls
from pgtls.diagnostics import Rejected
from support.servers import Installation, Server, versions

if TYPE_CHECKING:
    from support.building import Place

SOURCES = Path(__file__).parents[1] / "support" / "oauth"
INSTALLATIONS: list[Installation | None] = [
    *(found for found in versions() if found.major >= 18 and found.headers)
] or [None]

SPEC = """
version = 1
[ca.root]
[server.db]
ca = "root"
hosts = ["db.example.com"]
postgres = {version}
settings = {{ oauth_validator_libraries = "{library}" }}
[user.postgres]
[user.alice]
[user.bob]
[policy.admin]
users = ["postgres"]
from = ["local"]
auth = "trust"
waiver = "a throwaway server"
[policy.web]
users = ["alice", "bob"]
databases = ["postgres"]
from = ["127.0.0.1"]
auth = "oauth"
map = [{{ identity = "{person}", role = "alice" }}]
[policy.web.auth_options]
issuer = "https://id.example.com"
scope = "openid"
{options}
"""


def built(installation: Installation, server: Server) -> str:
    """Build the validator with the headers of a server, put it into its data directory, and return its name there."""
    assert installation.headers is not None
    library = server.data / "validator.so"
    words = ["gcc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(SOURCES / "validator.c")]
    subprocess.run([*words, f"-I{installation.headers}", f"-I{SOURCES / 'without'}"], check=True)
    library.chmod(0o755)
    return str(library.with_suffix(""))


def login(server: Server, place: Place, role: str, token: str, certificate: str | None = None) -> str:
    """Try to log in with a token over verified TLS, with a user's certificate; return "in", or the server's error."""
    context = ssl.create_default_context(cafile=str(place.file("ca/root/ca.crt")))
    if certificate:
        bundle = place.file(f"clients/{certificate}")
        context.load_cert_chain(bundle / "postgresql.crt", bundle / "postgresql.key")
    with socket.create_connection(("127.0.0.1", server.port), 60) as bare:
        bare.sendall(struct.pack("!ii", 8, 80877103))
        assert bare.recv(1) == b"S"
        with context.wrap_socket(bare, server_hostname="db.example.com") as wire:
            words = b"".join(word.encode() + b"\0" for word in ("user", role, "database", "postgres")) + b"\0"
            wire.sendall(struct.pack("!ii", 8 + len(words), 3 << 16) + words)
            kind, body = message(wire)
            assert (kind, body[:4], body[4:]) == (b"R", struct.pack("!i", 10), b"OAUTHBEARER\0\0"), body
            first = f"n,,\x01auth=Bearer {token}\x01\x01".encode()
            answer(wire, b"OAUTHBEARER\0" + struct.pack("!i", len(first)) + first)
            kind, body = message(wire)
            if (kind, body[:4]) == (b"R", struct.pack("!i", 11)):  # the server says why, and waits for a last byte
                said = json.loads(body[4:])
                assert said["status"] == "invalid_token"
                assert said["openid-configuration"].startswith("https://id.example.com/")
                assert said["scope"] == "openid"
                answer(wire, b"\x01")
                kind, body = message(wire)
            if kind == b"E":
                return next(field[1:].decode() for field in body.split(b"\0") if field[:1] == b"M")
            assert (kind, body) == (b"R", struct.pack("!i", 0)), (kind, body)
            return "in"


def message(wire: ssl.SSLSocket) -> tuple[bytes, bytes]:
    head = received(wire, 5)
    return head[:1], received(wire, struct.unpack("!i", head[1:])[0] - 4)


def received(wire: ssl.SSLSocket, length: int) -> bytes:
    found = b""
    while len(found) < length:
        more = wire.recv(length - len(found))
        assert more, "the server has closed the connection"
        found += more
    return found


def answer(wire: ssl.SSLSocket, content: bytes) -> None:
    wire.sendall(b"p" + struct.pack("!i", len(content) + 4) + content)


@pytest.fixture(params=INSTALLATIONS, ids=lambda one: one.id if one else "none")
def installation(request: pytest.FixtureRequest) -> Installation:
    """Each PostgreSQL for which a validator can be built."""
    if not isinstance(request.param, Installation):
        pytest.skip("unavailable: there are no headers of PostgreSQL 18 or 19")
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc: `make system` installs it")
    return request.param


def test_a_token_opens_the_roles_that_the_map_gives_to_its_bearer(
    installation: Installation, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = 'OAuth bearer authentication failed for user "{}"'
    monkeypatch.setenv("RIGHT_TOKEN", "other")
    with Server(installation) as server:
        server.populate(["alice", "bob"])
        library = built(installation, server)

        def install(person: str = "person@example.com", options: str = "") -> None:
            spec = SPEC.format(version=installation.major, library=library, person=person, options=options)
            place.build(spec, now=datetime.now(UTC), new_out=not place.out.exists())
            server.install(place.file("servers/db"))

        install()
        assert login(server, place, "alice", "right") == "in"
        assert login(server, place, "alice", "wrong") == refusal.format("alice")
        assert login(server, place, "bob", "right") == refusal.format("bob")

        options = 'validator = "{}"\n"validator.person" = "alice@example.com"\n"validator.token" = {{ env = "{}" }}'
        if installation.major < 19:
            with pytest.raises(Rejected) as rejected:
                install(options=options.format(library, "RIGHT_TOKEN"))
            assert {found.code for found in rejected.value.diagnostics if found.severity == "error"} == {"PGT403"}
            return
        install("alice@example.com", options.format(library, "RIGHT_TOKEN"))
        assert login(server, place, "alice", "other") == "in"
        assert login(server, place, "alice", "right") == refusal.format("alice")
        # An option that the library does not know.
        install("alice@example.com", f'validator = "{library}"\n"validator.unknown" = "x"')
        assert login(server, place, "alice", "right") != "in"


BOTH = """
version = 1
[ca.root]
[ca.clients]
[server.db]
ca = "root"
client_ca = ["clients"]
hosts = ["db.example.com"]
no_local = true
postgres = {version}
settings = {{ oauth_validator_libraries = "{library}" }}
[user.alice]
ca = "clients"
[user.eve]
ca = "clients"
[user.mallory]
ca = "clients"
common_name = "person@example.com"
roles = ["alice"]
[policy.web]
users = [{users}]
databases = ["postgres"]
from = ["127.0.0.1"]
auth = "oauth"
auth_options = {{ issuer = "https://id.example.com", scope = "openid" }}
client_cert = "{certificate}"
[policy.others]
users = ["mallory", "eve"]
databases = ["none"]
from = ["127.0.0.1"]
auth = "reject"
"""


def test_one_map_decides_on_the_bearer_of_a_token_and_on_the_certificate(
    installation: Installation, place: Place
) -> None:
    refusal = 'OAuth bearer authentication failed for user "alice"'
    with Server(installation) as server:
        server.populate(["alice"])
        library = built(installation, server)
        states = [("none", '"alice"'), ("verify-full", '"alice"'), ("verify-full", '"alice", "mallory"')]
        answers: list[list[str]] = []
        specs: list[pgtls.Spec] = []
        for certificate, users in states:
            text = BOTH.format(version=installation.major, library=library, users=users, certificate=certificate)
            place.build(text, now=datetime.now(UTC), new_out=not place.out.exists())
            server.install(place.file("servers/db"))
            answers.append([login(server, place, "alice", "right", who) for who in ("mallory", "alice", "eve")])
            specs.append(pgtls.loads(text))
    assert answers == [[refusal] * 3, [refusal] * 3, ["in", "in", refusal]]
    assert not pgtls.diff(*specs[:2]).exceeds("granted")
    difference = pgtls.diff(specs[0], specs[2])
    assert [(change.kind, change.roles) for change in difference.access] == [
        ("granted", ("alice",)),
        ("strengthened", ("alice",)),
    ]
