"""PgBouncer on the port of a server: `pgtls verify` names it, even if it has the server's own certificate."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from live.test_faults import built
from live.verifying import Site, faults, seen
from support.servers import PATIENCE, Server, free_port, versions
from support.system import ENVIRONMENT, give, locked, new_directory, run_as, scratch, server_account, until_we_end

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.building import Place

PACKAGES = ("pgbouncer", "libc-ares2", "libevent-2.1-7")
CONFIGURATION = """
[databases]
shop = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = scram-sha-256
auth_file = users.txt
unix_socket_dir =
client_tls_sslmode = {sslmode}
client_tls_key_file = server.key
client_tls_cert_file = server.crt
client_tls_ca_file = root.crt
"""


@dataclass(frozen=True, slots=True)
class Pooler:
    """The program, and where its libraries lie."""

    program: str
    libraries: str = ""


@pytest.fixture(scope="module")
def pooler() -> Pooler:
    """Find PgBouncer, or unpack Debian's without installing it."""
    if found := shutil.which("pgbouncer"):
        return Pooler(found)
    home = scratch() / "pgbouncer"
    with locked(home):
        if not home.exists():
            part = new_directory("pgbouncer")
            _unpack(part)
            home.symlink_to(part)
    return Pooler(str(home / "usr/sbin/pgbouncer"), str(next((home / "usr/lib").glob("*-linux-gnu"))))


def _unpack(directory: Path) -> None:
    if not shutil.which("apt-get"):
        pytest.skip("unavailable: this machine has neither PgBouncer nor apt-get")
    words = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *PACKAGES]
    made = subprocess.run(words, check=False, capture_output=True, text=True, cwd=directory)
    if made.returncode:
        pytest.skip(f"unavailable: apt-get cannot download {' '.join(PACKAGES)}: {made.stderr}")
    for package in directory.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, directory], check=True)


@contextlib.contextmanager
def running(pooler: Pooler, server: Server, files: Place, sslmode: str) -> Iterator[int]:
    """Run PgBouncer with the certificate of a place, before a server."""
    directory, port = new_directory("bouncing"), free_port()
    for name in ("server.crt", "server.key", "root.crt"):
        shutil.copy(files.file(f"servers/db/{name}"), directory)
    (directory / "users.txt").write_text('"app" ""\n')
    (directory / "c.ini").write_text(CONFIGURATION.format(server=server.port, port=port, sslmode=sslmode))
    give(directory, server_account())
    process = subprocess.Popen(
        [*run_as(server_account()), *until_we_end(), pooler.program, "-q", "c.ini"],
        cwd=directory, env=ENVIRONMENT | {"LD_LIBRARY_PATH": pooler.libraries},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, "PgBouncer did not start"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.01)
    raise AssertionError("PgBouncer does not listen")


@pytest.mark.parametrize("installation", [one for one in versions() if one.id == "pg17"], ids=lambda one: one.id)
def test_a_pooler_is_named_whatever_certificate_it_has(server: Server, pooler: Pooler) -> None:
    place = built(17)
    Site(server, place).install()
    for files, sslmode in ((place, "require"), (built(17), "require"), (place, "disable")):
        with running(pooler, server, files, sslmode) as port:
            found = seen(place, port)
        assert "pooler" in faults(found), found.checks
    assert faults(seen(place, server.port)) == []
