"""The matcher against the servers: random files, random connections, and the line that decides is the one that the server's log names.

``PGTLS_TEST_HBA_CONNECTIONS`` says how many connections to try on each server (500).
"""

from __future__ import annotations

import os
import posixpath
import pwd
import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hba.wire import Answer, Authority, Credential, Wire, serve_tls
from hba.worlds import INCLUDED_FILE, MEMBERS, MORE_FILE, NAMES_FILE, ROLES, SUBJECTS, SURROUNDINGS, Files, rounds
from pgtls.hba.match import decide, map_identity, outcome
from pgtls.hba.parse import parse_hba, parse_ident
from pgtls.hba.regex import Undecidable
from support.servers import ServerError
from support.system import new_directory

if TYPE_CHECKING:
    from pgtls.hba.model import Connection, IdentLine, Line
    from support.servers import Server

CONNECTIONS = int(os.environ.get("PGTLS_TEST_HBA_CONNECTIONS", "500"))
PER_ROUND = 25
LINE = re.compile(
    r'method=\S+ \((?P<file>.*):(?P<line>\d+)\)|matched (?:file "(?P<path>.*?)"|pg_hba\.conf) line (?P<number>\d+)'
)


@pytest.fixture(scope="module")
def credentials() -> tuple[Authority, list[Credential]]:
    authority = Authority(new_directory("hba"))
    return authority, [authority.client(number, list(names)) for number, names in enumerate(SUBJECTS)]


def populate(server: Server) -> None:
    for role in ROLES:
        server.sql(f"create role {identifier(role)} {'superuser' if role == 'boss' else ''} login password 'x'")
    for member, group in sorted(MEMBERS):
        server.sql(f"grant {identifier(group)} to {identifier(member)}")


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def expected(line: Line | None, idents: tuple[IdentLine, ...], connection: Connection, version: int) -> Answer:
    """Say what the server answers first when this line decides; an error by how its text begins."""
    judged = outcome(line, idents, connection, version, SURROUNDINGS)
    if line is None:
        return Answer("error", "no pg_hba.conf entry for ")
    if judged.reason == "connection requires a valid client certificate":
        return Answer("error", "connection requires a valid client certificate")
    if line.method == "reject":
        return Answer("error", "pg_hba.conf rejects ")
    if line.method in {"password", "scram-sha-256", "md5"}:
        return Answer({"password": "cleartext", "scram-sha-256": "sasl", "md5": "md5"}[line.method])
    if line.method == "peer":
        user = pwd.getpwuid(os.geteuid()).pw_name
        judged = map_identity(idents, line.option("map"), connection.role, user, version, SURROUNDINGS)
    if judged.accepted:
        return Answer("ok")
    return Answer(
        "error", {"peer": "Peer", "cert": "certificate", "trust": '"trust"'}[line.method] + " authentication failed"
    )


def agrees(wanted: Answer, got: Answer) -> bool:
    if wanted.kind == "md5":
        return got.kind in {"md5", "sasl"}
    return wanted.kind == got.kind and (wanted.kind != "error" or got.message.startswith(wanted.message))


def sections(log: str) -> list[str]:
    """Cut a log into what each backend said, in the order in which they were started."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in log.splitlines():
        prefix = re.match(r"\S+ \S+ \S+ \[(\d+)\] (.*)", line)
        if prefix and "connection received" in prefix[2]:
            found[prefix[1]] = []
        current = found.get(prefix[1], []) if prefix else current
        current.append(prefix[2] if prefix else line)
    return ["\n".join(lines) for lines in found.values()]


def named_line(section: str) -> tuple[str, int] | None:
    """Give the file and the line that the server names."""
    found = LINE.search(section)
    if found is None:
        return None
    path = found["file"] or found["path"] or "pg_hba.conf"
    return posixpath.basename(path), int(found["line"] or found["number"])


class World:
    """One server with its roles, and a count of what was compared."""

    def __init__(self, server: Server, authority: Authority, clients: list[Credential]) -> None:
        self.server = server
        self.wire = Wire(server, {client.certificate: client for client in clients})
        self.count: Counter[str] = Counter()
        serve_tls(server, authority)
        populate(server)
        for name, text in (("names.conf", NAMES_FILE), ("more.conf", MORE_FILE), ("included.conf", INCLUDED_FILE)):
            server.write(name, text)

    def read(self, path: str) -> str:
        with open(path, newline="", errors="surrogateescape") as file:
            return file.read()

    def reload(self) -> None:
        """Load the files; that an optional one is missing is logged, but no fault."""
        try:
            self.server.reload()
        except ServerError as error:
            if "not reloaded" in str(error):
                raise

    def compare(self, files: Files) -> None:
        """Load the files, try each connection, and ask the log which line decided."""
        version = self.server.version
        hba = parse_hba(files.hba, version, str(self.server.write("pg_hba.conf", files.hba)), self.read)
        ident = parse_ident(files.ident, version, str(self.server.write("pg_ident.conf", files.ident)), self.read)
        assert not hba.errors, f"we refuse what is valid: {hba.errors}\n{files.hba}"
        assert not ident.errors, f"we refuse what is valid: {ident.errors}\n{files.ident}"
        self.reload()
        mark = self.server.mark()
        answers = [self.wire.ask(connection) for connection in files.connections]
        logged = sections(self.server.log(mark))
        assert len(logged) == len(answers)
        for connection, answer, section in zip(files.connections, answers, logged, strict=True):
            try:
                line = decide(hba.lines, connection, SURROUNDINGS)
                wanted = expected(line, ident.lines, connection, version)
            except Undecidable:
                self.count["undecidable"] += 1
                continue
            named = named_line(section)
            ours = (posixpath.basename(line.file or ""), line.number) if line else None
            story = f"{connection}\nwe say {ours}: {wanted}\nserver says {named}: {answer}\n{section}\n{files.hba}\n--\n{files.ident}"
            assert agrees(wanted, answer), story
            assert named is None or named == ours, story
            self.count["line named" if named else "answer alone"] += 1
            self.count[answer.kind] += 1


def test_random_connections_meet_the_line_that_the_server_names(
    server: Server, credentials: tuple[Authority, list[Credential]]
) -> None:
    world = World(server, *credentials)
    certificates = [credential.certificate for credential in credentials[1]]

    @settings(
        max_examples=max(1, CONNECTIONS // PER_ROUND), derandomize=True, database=None,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink],
    )  # fmt: skip
    @given(st.data())
    def rounds_agree(data: st.DataObject) -> None:
        world.compare(data.draw(rounds(server.version, certificates, PER_ROUND)))

    rounds_agree()
    print(world.count)
    assert world.count["line named"] > 0.3 * CONNECTIONS, world.count
    assert world.count["undecidable"] < 0.1 * CONNECTIONS, world.count
    assert all(world.count[kind] for kind in ("ok", "error", "cleartext", "sasl")), world.count
