"""Hybrid key exchange by handshake.

Where both ends have it they use it, an older end falls back, and what a server lacks is never built.
"""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from support.clients import at, libpq_clients, refused
from support.diagnosing import diagnose
from support.servers import Installation, Server, ServerError, versions
from support.system import ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path

    from support.building import Place

NEWEST = [found for found in versions() if found.major >= 18 and found.root]
OLD = [found for found in versions() if found.major == 18 and found.openssl == "1.1"]


def spec(version: int, said: str = "") -> str:
    return f"""
        version = 1
        [ca.root]
        [server.db]
        ca = "root"
        hosts = ["db.example.com"]
        postgres = {version}
        no_local = true
        {said}
        """


def key_exchange(program: str | Path, server: Server, place: Place) -> str:
    """Return the group of a handshake of that ``openssl`` program, verified."""
    where = ["-connect", f"127.0.0.1:{server.port}", "-CAfile", str(place.file("ca/root/ca.crt"))]
    words = [str(program), "s_client", "-starttls", "postgres", *where, "-verify_hostname", "db.example.com"]
    done = subprocess.run(words, input="", capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert "Verification: OK" in done.stdout, done.stdout + done.stderr
    found = re.search(r"Negotiated TLS1.3 group: (\S+)|(?:Server|Peer) Temp Key: ([^,\n]+)", done.stdout)
    assert found is not None, done.stdout
    return found[1] or found[2]


@pytest.fixture
def newest_program() -> Path:
    program = NEWEST[-1].openssl_program if NEWEST else None
    return program or pytest.skip("there is no OpenSSL 3.5 or later: `make test` installs one")


@pytest.mark.parametrize("installation", NEWEST, ids=lambda one: one.id)
def test_two_new_ends_use_the_hybrid_and_an_older_client_falls_back(
    installation: Installation, place: Place, newest_program: Path
) -> None:
    place.build(spec(installation.major, f'openssl = "{installation.openssl}"'), now=datetime.now(UTC), new_out=True)
    with Server(installation) as server:
        server.install(place.file("servers/db"))
        assert server.show("ssl_groups") == "X25519MLKEM768:X25519:prime256v1"
        assert key_exchange(newest_program, server, place) == "X25519MLKEM768"
        assert key_exchange("openssl", server, place) == "X25519"
        parameters = {
            "sslmode": "verify-full",
            "sslrootcert": str(place.file("ca/root/ca.crt")),
            "host": "db.example.com",
        }
        for client in libpq_clients():
            # No policy admits anybody: the refusal comes after the handshake.
            outcome = client.connect({**parameters, **at(server), "user": "postgres", "dbname": "postgres"})
            refused(outcome, 'user "postgres", database "postgres", SSL encryption')


@pytest.mark.parametrize("installation", NEWEST, ids=lambda one: one.id)
def test_without_a_word_about_openssl_there_is_no_hybrid(
    installation: Installation, place: Place, newest_program: Path
) -> None:
    place.build(spec(installation.major), now=datetime.now(UTC), new_out=True)
    with Server(installation) as server:
        server.install(place.file("servers/db"))
        assert key_exchange(newest_program, server, place) == "X25519"


@pytest.mark.parametrize("installation", OLD, ids=lambda one: one.id)
def test_a_new_client_falls_back_with_an_old_server(
    installation: Installation, place: Place, newest_program: Path
) -> None:
    place.build(spec(installation.major, 'openssl = "1.1.1"'), now=datetime.now(UTC), new_out=True)
    with Server(installation) as server:
        server.install(place.file("servers/db"))
        assert key_exchange(newest_program, server, place) == "X25519"


@pytest.mark.parametrize("installation", OLD, ids=lambda one: one.id)
def test_a_group_that_is_too_new_is_refused_by_the_compiler_and_not_left_to_the_server(
    installation: Installation, place: Place
) -> None:
    groups = 'groups = "X25519MLKEM768:X25519:prime256v1"'
    place.write(spec(installation.major, f'openssl = "1.1.1"\n{groups}'))
    assert [finding.code for finding in diagnose(place.spec)] == ["PGT414"]
    place.build(spec(installation.major, f'openssl = "3.5"\n{groups}'), now=datetime.now(UTC), new_out=True)
    with Server(installation) as server, pytest.raises(ServerError, match="could not set group names"):
        server.install(place.file("servers/db"))
