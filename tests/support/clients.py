"""Real clients: psql, and the libpq of each version, in surroundings that decide nothing.

A client has an empty ``HOME`` of its own, no ``PG*`` variable, and a value for every ssl parameter: a parameter that a
test leaves out names a file that does not exist. So the server admits a client only for what the test passed.

    outcome = PSQL.connect(bundle.parameters("shop") | at(server))
    admitted(outcome)
    refused(PSQL.connect(bundle.parameters("shop") | at(server) | {"sslmode": "disable"}), "no encryption")
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.servers import PATIENCE, versions
from support.system import ENVIRONMENT, new_directory, run_as

if TYPE_CHECKING:
    from collections.abc import Mapping

    from support.addresses import Network
    from support.servers import Installation, Server
    from support.system import Account

Parameters = dict[str, str]
"""Those of libpq, by keyword."""

NOWHERE = "/nonexistent"
NOTHING: Parameters = {
    "sslmode": "disable",
    "sslrootcert": f"{NOWHERE}/root.crt",
    "sslcert": f"{NOWHERE}/postgresql.crt",
    "sslkey": f"{NOWHERE}/postgresql.key",
    "sslcrl": f"{NOWHERE}/root.crl",
    "gssencmode": "disable",
    "connect_timeout": "120",
}
"""Every parameter that a client's defaults could decide, as if there was nothing."""

WHO = "select current_user || '@' || current_database()"
TLS = "select ssl, version, cipher, bits, client_dn from pg_stat_ssl where pid = pg_backend_pid()"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an attempt. ``text`` is what the query returned (columns divided by ``|``), or libpq's reason."""

    admitted: bool
    text: str
    attempt: str


@dataclass(frozen=True, slots=True)
class Client:
    """A program that connects and runs one query: ``words`` are followed by the query and the connection string."""

    label: str
    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    libpq: int = 0
    """Its major version, where that is known."""

    def connect(
        self,
        parameters: Parameters,
        *,
        query: str = WHO,
        account: Account | None = None,
        network: Network | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Try once, as ``account``, from within ``network``. A password goes into ``environment`` as PGPASSWORD."""
        return self.connect_exactly(
            NOTHING | parameters, query=query, account=account, network=network, environment=environment
        )

    def connect_exactly(
        self,
        parameters: Parameters,
        *,
        query: str = WHO,
        account: Account | None = None,
        network: Network | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Try with these parameters and no others, as a person does who has only what a bundle's own files say."""
        surroundings = {**ENVIRONMENT, "HOME": _home(), **self.environment, **(environment or {})}
        run = subprocess.run(
            [*run_as(account, network), *self.words, query, conninfo(parameters)],
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=surroundings,
            cwd="/",
            timeout=PATIENCE,
        )
        text = run.stdout if run.returncode == 0 else run.stderr
        return Outcome(run.returncode == 0, text.strip(), f"{self.label}: {conninfo(parameters)}")


PSQL = Client("psql", ("psql", "-X", "-w", "-A", "-t", "-c"))
"""Debian's: the libpq of the system, with today's OpenSSL."""


@cache
def libpq_clients() -> tuple[Client, ...]:
    """Return the libpq of every version: npm's, with OpenSSL 1.1, and Debian's newer ones, with today's."""
    return tuple(_libpq_client(found, found.lib) for found in versions() if found.lib)


def _libpq_client(found: Installation, lib: Path) -> Client:
    script = str(Path(__file__).with_name("libpq_client.py"))
    label = f"libpq {found.major}" + ("" if found.builder == "npm" else f" with OpenSSL {found.openssl}")
    environment = {} if found.root else {"LD_LIBRARY_PATH": str(lib)}
    return Client(label, (*found.python, "-IS", script, str(found.major)), environment, found.major)


@cache
def _home() -> str:
    return str(new_directory("home"))


def conninfo(parameters: Mapping[str, str]) -> str:
    """Write parameters as libpq's keyword/value string."""
    escaped = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in parameters.items()}
    return " ".join(f"{name}='{value}'" for name, value in escaped.items())


def at(server: Server, hostaddr: str = "127.0.0.1") -> Parameters:
    """Return the real address of a server; ``host``, the name in its certificate, stays as in the bundle."""
    return {"hostaddr": hostaddr, "port": str(server.port)}


def socket_of(server: Server) -> Parameters:
    """Return the place of a server's Unix socket."""
    return {"host": server.sockets, "port": str(server.port)}


@dataclass(frozen=True, slots=True)
class Bundle:
    """The compiled directory of one client."""

    directory: Path

    @property
    def files(self) -> Parameters:
        """The files of the bundle as the parameters that name them; only those that are there."""
        names = {
            "sslrootcert": "root.crt",
            "sslcert": "postgresql.crt",
            "sslkey": "postgresql.key",
            "sslcrl": "root.crl",
        }
        return {name: str(self.directory / file) for name, file in names.items() if (self.directory / file).exists()}

    @property
    def connections(self) -> list[dict[str, Any]]:
        """What ``connections.json`` lists."""
        listed: list[dict[str, Any]] = json.loads((self.directory / "connections.json").read_text())["connections"]
        return listed

    def parameters(self, database: str | None = None, role: str | None = None, server: str | None = None) -> Parameters:
        """Return the parameters of the one entry that fits, with the files of the bundle."""
        wanted = {"database": database, "role": role, "server": server}
        fitting = [
            entry for entry in self.connections if all(value in (None, entry[name]) for name, value in wanted.items())
        ]
        if len(fitting) > 1:  # over the network, if there is an entry for loopback beside it
            fitting = [entry for entry in fitting if "hostaddr" not in entry["parameters"]]
        assert len(fitting) == 1, f"{len(fitting)} entries of {self.directory} fit {wanted}"
        parameters: Parameters = fitting[0]["parameters"]
        return self.files | parameters

    def unpacked(self) -> Path:
        """Copy it to where a person puts it, ``~/.postgresql``, and give that person's HOME."""
        home = new_directory("home")
        shutil.copytree(self.directory, home / ".postgresql")
        return home


def admitted(outcome: Outcome) -> str:
    """Expect that the client was let in, and give what its query found."""
    assert outcome.admitted, f"refused, but should be admitted\n{outcome.attempt}\n{outcome.text}"
    return outcome.text


def refused(outcome: Outcome, reason: str) -> None:
    """Expect that the client was turned away, for this reason and no other."""
    assert not outcome.admitted, f"admitted, but should be refused ({reason})\n{outcome.attempt}\n{outcome.text}"
    assert reason in outcome.text, f"refused, but not for this reason: {reason}\n{outcome.attempt}\n{outcome.text}"
