"""A real PgBouncer: Debian's newest, unpacked by ``postgres/install-debian``."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Self

import pytest

from support.servers import PATIENCE, UNPACKED, reachable
from support.system import ENVIRONMENT, give, run_as, server_account, until_we_end

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

MAIN = """
[databases]
%include {directory}/databases.ini
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
pool_mode = transaction
auth_type = any
client_tls_sslmode = disable
server_tls_sslmode = disable
%include {directory}/pgtls.ini
"""
"""What an administrator has. The settings after ``pool_mode`` are weak ones, which the compiled fragment replaces."""


def program() -> Path:
    """Return PgBouncer, or skip with the reason why there is none."""
    home = UNPACKED / "pgbouncer"
    if not (home / "complete").exists():
        reason = home.with_name("pgbouncer.unavailable")
        why = f"unavailable: {reason.read_text().strip()}" if reason.exists() else "no PgBouncer: run make servers"
        pytest.skip(why)
    return reachable(home, home / "usr/sbin/pgbouncer") / "usr/sbin/pgbouncer"


class Pooler:
    """A PgBouncer of its own, which reads ``main`` and then what ``include`` names."""

    def __init__(self, directory: Path, port: int, main: str = MAIN) -> None:
        self.directory = directory
        self.port = port
        self._main = main
        self._logfile = directory / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def install(self, compiled: Path) -> None:
        """Copy the files of a build to where its settings look for them."""
        shutil.copytree(compiled, self.directory, dirs_exist_ok=True)
        give(self.directory, server_account())

    def __enter__(self) -> Self:
        main = self.directory / "main.ini"
        main.write_text(self._main.format(port=self.port, directory=self.directory))
        give(self.directory, server_account())
        with self._logfile.open("ab") as log:
            self._process = subprocess.Popen(
                [*run_as(server_account()), *until_we_end(), program(), main],
                cwd="/", env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self._wait(self._process)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process
        if error is not None:
            error.add_note(f"the log of PgBouncer:\n{self.log()[-4000:]}")
        self._process.terminate()
        self._process.wait()

    def log(self) -> str:
        """Return what it wrote into its log."""
        return self._logfile.read_text(errors="replace")

    def reload(self) -> None:
        """Have it read its files again, and wait until it has."""
        assert self._process
        before = self.log().count("got SIGHUP")
        self._process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + PATIENCE
        while self.log().count("got SIGHUP") == before:
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.01)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert process.poll() is None, f"PgBouncer did not start: {self.log()}"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.01)
        raise AssertionError("PgBouncer does not listen")
