"""A Patroni cluster: real members and a real etcd, in a network with an address for each member."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
import yaml  # type: ignore[import-untyped]
from packaging.requirements import Requirement

from support.golang import go_program
from support.servers import PATIENCE
from support.system import ENVIRONMENT, give, locked, new_directory, run_as, scratch, server_account, until_we_end

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from support.addresses import Network
    from support.servers import Installation

ETCD = "127.0.0.1:2379"


@cache
def python() -> tuple[str, dict[str, str]]:
    """Return a Python with Patroni that the servers' account can run, and its environment.

    Where ours is closed to that account (in /root), it is another one, with a copy of Patroni and all that it needs.
    """
    if _runs(sys.executable, ENVIRONMENT):
        return sys.executable, ENVIRONMENT
    copy = scratch() / "patroni"
    with locked(copy):
        if not copy.exists():
            part = new_directory("patroni")
            for name in _needed("patroni", set()) | _needed("psycopg", set()):
                _copied(name, part)
            part.rename(copy)
    environment = ENVIRONMENT | {"PYTHONPATH": str(copy)}
    for program in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        if _runs(program, environment):
            return program, environment
    pytest.skip(f"the account {server_account().name} can run no Python with Patroni")


def _runs(program: str, environment: dict[str, str]) -> bool:
    words = [*run_as(server_account()), *until_we_end(), program, "-c", "import patroni.dcs.etcd3, psycopg"]
    try:
        return subprocess.run(words, check=False, cwd="/", env=environment, capture_output=True).returncode == 0
    except OSError:
        return False


def _needed(name: str, known: set[str]) -> set[str]:
    """Return the names of a distribution and of all that it requires and that is installed."""
    try:
        requirements = [Requirement(text) for text in distribution(name).requires or ()]
    except PackageNotFoundError:
        return known
    known.add(name)
    for requirement in requirements:
        if requirement.name not in known and (
            not requirement.marker or requirement.marker.evaluate({"extra": "etcd3"})
        ):
            _needed(requirement.name, known)
    return known


def _copied(name: str, directory: Path) -> None:
    found = distribution(name)
    for file in found.files or ():
        source = Path(str(found.locate_file(file)))
        if ".." not in file.parts and source.is_file():
            (directory / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, directory / file)


@dataclass(slots=True)
class Member:
    """A member of the cluster: a directory with its configuration, data, socket and log."""

    name: str
    host: str
    installation: Installation
    network: Network
    directory: Path = field(default_factory=lambda: new_directory("member"))
    process: subprocess.Popen[bytes] | None = None

    @property
    def sockets(self) -> str:
        return str(self.directory)

    @property
    def log(self) -> str:
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else "never started"

    def configure(self, **more: Any) -> None:
        """Write the member's own part of the configuration: all but what pgtls exports."""
        own = {
            "scope": "pgtls",
            "name": self.name,
            "restapi": {"listen": f"{self.host}:8008", "connect_address": f"{self.host}:8008"},
            "etcd3": {"host": ETCD},
            "bootstrap": {
                "dcs": {"ttl": 20, "loop_wait": 1, "retry_timeout": 3, "postgresql": {"use_pg_rewind": True}},
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, {"auth": "trust"}, "no-sync"],
            },
            "postgresql": {
                "listen": f"{self.host}:5432",
                "connect_address": f"{self.host}:5432",
                "data_dir": str(self.directory / "data"),
                "bin_dir": str(self.installation.bin),
                "basebackup": [{"checkpoint": "fast"}],
                "parameters": {
                    "unix_socket_directories": self.sockets,
                    "fsync": "off",
                    "shared_buffers": "16MB",
                    **more,
                },
            },
        }
        path = self.directory / "conf" / "10-own.yml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(own))
        give(self.directory, server_account())

    def patroni(self, *options: str) -> list[str]:
        """Return the words that start Patroni with the member's configuration."""
        words = [python()[0], "-m", "patroni", *options, str(self.directory / "conf")]
        return [*run_as(server_account(), self.network), *until_we_end(), *words]

    def validated(self) -> subprocess.CompletedProcess[str]:
        """Run `patroni --validate-config`."""
        return subprocess.run(
            self.patroni("--validate-config"), check=False, capture_output=True, text=True, env=python()[1], cwd="/"
        )

    def start(self) -> None:
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.patroni(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=python()[1], cwd="/"
            )

    def kill(self) -> None:
        """Kill Patroni and PostgreSQL at once, as a machine that loses its power."""
        pid = self.directory / "data" / "postmaster.pid"
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE)
            self.process = None
        if pid.exists():
            postmaster = int(pid.read_text().splitlines()[0])
            subprocess.run(["kill", "-QUIT", str(postmaster)], check=False, capture_output=True)
            until(lambda: not Path(f"/proc/{postmaster}").exists(), "PostgreSQL ends")


class Etcd:
    """An etcd of one member in a network."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.directory = new_directory("etcd")

    def __enter__(self) -> Self:
        give(self.directory, server_account())
        own = [str(go_program("etcd")), "--data-dir", str(self.directory / "data"), "--unsafe-no-fsync"]
        own += ["--listen-client-urls", f"http://{ETCD}", "--advertise-client-urls", f"http://{ETCD}"]
        with (self.directory / "log").open("wb") as log:
            words = [*run_as(server_account(), self.network), *until_we_end(), *own]
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=ENVIRONMENT, cwd="/"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        shutil.rmtree(self.directory, ignore_errors=True)


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.1)
