"""Connections by the hundred: the newest libpq, and the entries of bundles as their facts describe them."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from support.clients import NOTHING, NOWHERE, Bundle, conninfo, libpq_clients
from support.servers import Server
from support.system import ENVIRONMENT, until_we_end

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from pgtls.state.generations import Generation
    from support.servers import Installation

DATABASES = ("shop", "books", "anything")
"""The databases of every server here: no spec names the last one."""
PASSWORD = "secret"
PASSWORD_METHODS = {"scram-sha-256", "md5", "password"}


class Dialler:
    """A process with the newest libpq of this machine, which makes several connections at once."""

    def __enter__(self) -> Self:
        client = libpq_clients()[-1]
        script = str(Path(__file__).with_name("libpq_dialler.py"))
        words = [*client.words[: client.words.index("-IS")], "-IS", script]
        environment = {**ENVIRONMENT, "HOME": NOWHERE, **client.environment}
        self._process = subprocess.Popen(
            [*until_we_end(), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd="/",
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def connect(self, attempts: Sequence[Mapping[str, str]]) -> list[str | None]:
        """Connect with each parameters. Return null for each that was admitted, or why it was not."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([conninfo(NOTHING | dict(one)) for one in attempts]) + "\n")
        self._process.stdin.flush()
        answers: list[str | None] = json.loads(self._process.stdout.readline())
        broken = [one for one in answers if one and "too many" in one]
        assert not broken, broken  # it says nothing about the files
        return answers


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a bundle: its facts, the parameters that libpq gets, and the database that they name."""

    facts: Mapping[str, Any]
    parameters: dict[str, str]
    database: str


def entries(generation: Generation, directory: Path) -> list[Entry]:
    """Return the entries of a bundle that was built: the facts that a build kept, and what the bundle says itself.

    An entry for all databases counts once for each.
    """
    bundle = Bundle(directory)
    known = {_key(one, one["parameters"]["host"]): one["parameters"] for one in bundle.connections}
    found = []
    for facts in generation.facts["entries"]:
        parameters = bundle.files | known[_key(facts, facts["host"])]
        if PASSWORD_METHODS & set(facts["methods"]):
            parameters["password"] = PASSWORD
        databases = (facts["database"],) if facts["database"] else DATABASES
        found += [Entry(facts, parameters | {"dbname": database}, database) for database in databases]
    return found


def _key(entry: Mapping[str, Any], host: str) -> tuple[Any, ...]:
    return (*(entry[name] for name in ("server", "role", "database", "replication")), host)


def keep(source: Path, target: Path, before: Path | None) -> Path:
    """Copy what a build made, unless ``before`` is a copy with the same content; return the copy.

    Files with the same content are links: a bundle has many, and most of them never change.
    """
    old = contents(before) if before else {}
    new = contents(source)
    if before and old == new:
        return before
    for name, content in new.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if before and old.get(name) == content:
            with suppress(OSError):
                os.link(before / name, path)
                continue
        path.write_bytes(content)
        path.chmod((source / name).stat().st_mode & 0o777)
    return target


def contents(directory: Path) -> dict[str, bytes]:
    """Return the files of a directory."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


PORTS = (15432, 15433)
"""The ports of every server here: one at a time listens, on an address of its own."""


def address(number: int) -> str:
    """Return a loopback address that no other test process uses: an address of its own needs no privileges."""
    pid = os.getpid()
    return f"127.{64 + (pid >> 7 & 127)}.{1 + (pid & 127)}.{1 + number}"


def started(installation: Installation, number: int, roles: Sequence[str]) -> Server:
    """Start a server on its own address, with these roles and the databases."""
    server = Server(installation, listen=address(number))
    server.port = PORTS[0]
    server.__enter__()
    try:
        server.populate(roles, DATABASES, password=PASSWORD)
    except BaseException:
        server.close()
        raise
    return server


def install(server: Server, directory: Path, port: int) -> None:
    """Install what was built for a server; restart it if its port changes."""
    if server.port == port:
        server.install(directory)
        return
    server.place(directory)
    server.port = port
    server.restart()
