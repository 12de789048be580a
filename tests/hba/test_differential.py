"""The matcher against the servers: random files, random connections.

The line that the matcher chooses is the line that the server's log names.

``PGTLS_TEST_HBA_CONNECTIONS`` says how many connections to try on each server (320).
"""

from __future__ import annotations

import os
import posixpath
import pwd
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hba.wire import Answer, Authority, Credential, Wire, serve_tls
from hba.worlds import (
    INCLUDED_FILE,
    MEMBERS,
    MORE_FILE,
    NAMES_FILE,
    ROLES,
    SUBJECTS,
    SURROUNDINGS,
    Files,
    identity_rounds,
    rounds,
)
from pgtls.hba import match
from pgtls.hba.match import Outcome, decide, map_identity, outcome
from pgtls.hba.model import ClientCertificate
from pgtls.hba.parse import parse_hba, parse_ident
from pgtls.hba.regex import Undecidable
from support.servers import Server, ServerError, versions
from support.system import new_directory

if TYPE_CHECKING:
    from pgtls.hba.model import Connection, IdentLine, Line

Source = Callable[[int, Sequence[ClientCertificate], int], st.SearchStrategy[Files]]
CONNECTIONS = int(os.environ.get("PGTLS_TEST_HBA_CONNECTIONS", "320"))
PER_ROUND = 16
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


def judged(line: Line | None, idents: tuple[IdentLine, ...], connection: Connection, version: int) -> Outcome:
    """Return the result of a connection; on a ``peer`` line the identity is the user who runs the tests."""
    if line is None or line.method != "peer":
        return outcome(line, idents, connection, version, SURROUNDINGS)
    user = pwd.getpwuid(os.geteuid()).pw_name
    return map_identity(idents, line.option("map"), connection.role, user, version, SURROUNDINGS)


def expected(line: Line | None, verdict: Outcome) -> Answer:
    """Return the server's first answer when this line decides; for an error, how its text begins."""
    if line is None or line.method == "reject" or verdict.reason == "connection requires a valid client certificate":
        return Answer("error", verdict.reason or "")
    if line.method in {"password", "scram-sha-256", "md5"}:
        return Answer({"password": "cleartext", "scram-sha-256": "sasl", "md5": "md5"}[line.method])
    if verdict.accepted:
        return Answer("ok")
    who = {"peer": "Peer", "cert": "certificate", "trust": '"trust"'}[line.method]
    return Answer("error", f"{who} authentication failed")


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
    """Return the file and the line that the server names."""
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
                verdict = judged(line, ident.lines, connection, version)
            except Undecidable:
                self.count["undecidable"] += 1
                continue
            wanted, named = expected(line, verdict), named_line(section)
            ours = (posixpath.basename(line.file or ""), line.number) if line else None
            story = (
                f"{connection}\nwe say {ours}: {wanted}\nserver says {named}: {answer}\n{section}\n{files.hba}\n--\n"
                f"{files.ident}"
            )
            if version == 13 and connection.database == "logical":
                # 13 alone calls logical replication so, too; a Connection does not tell it from others.
                wanted = Answer(wanted.kind, wanted.message[:20])
            assert agrees(wanted, answer), story
            assert named is None or named == ours, story
            if (
                answer.message.endswith(f'authentication failed for user "{connection.role}"')
                and wanted.kind == "error"
            ):
                assert (verdict.reason or "no reason") in section, story
                self.count["reason"] += 1
            self.count["line named" if named else "answer alone"] += 1
            self.count[answer.kind] += 1


def agree(world: World, certificates: Sequence[ClientCertificate], source: Source, connections: int) -> None:
    """Compare that many random connections. Nothing is shrunk, which would take minutes: a failure tells its story."""

    @settings(
        max_examples=max(1, connections // PER_ROUND), derandomize=True, database=None,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate], report_multiple_bugs=False,
    )  # fmt: skip
    @given(st.data())
    def rounds_agree(data: st.DataObject) -> None:
        world.compare(data.draw(source(world.server.version, certificates, PER_ROUND)))

    rounds_agree()


def test_random_connections_meet_the_line_that_the_server_names(
    server: Server, credentials: tuple[Authority, list[Credential]]
) -> None:
    world = World(server, *credentials)
    agree(world, [credential.certificate for credential in credentials[1]], rounds, CONNECTIONS)
    assert world.count["line named"] > 0.5 * CONNECTIONS, world.count
    assert world.count["undecidable"] < 0.1 * CONNECTIONS, world.count
    assert all(world.count[kind] for kind in ("ok", "error", "cleartext", "sasl")), world.count


def test_random_identities_are_mapped_as_the_server_maps_them(
    server: Server, credentials: tuple[Authority, list[Credential]]
) -> None:
    world = World(server, *credentials)
    agree(world, [credential.certificate for credential in credentials[1]], identity_rounds, CONNECTIONS // 2)
    assert world.count["ok"] >= 5, world.count
    assert world.count["reason"] > 0.1 * CONNECTIONS, world.count
    assert world.count["undecidable"] < 0.1 * CONNECTIONS, world.count


# --- the comparison can fail ------------------------------------------------------------------------------------------


_is_member = match.is_member
_map_identity = match.map_identity
_database_matches = match._database_matches


MUTANTS: dict[str, tuple[str, Any]] = {
    "membership is direct": ("is_member", lambda role, group, graph: role == group or (role, group) in graph.members),
    "superusers are members": (
        "is_member",
        lambda role, group, graph: role == "boss" or _is_member(role, group, graph),
    ),
    "hostnossl matches TLS": (
        "RECORD_TYPES_OF",
        {**match.RECORD_TYPES_OF, "tls": match.RECORD_TYPES_OF["tls"] | {"hostnossl"}},
    ),
    "all covers physical replication": (
        "_database_matches",
        lambda term, *, physical, **rest: _database_matches(term, physical=False, **rest),
    ),
    "samehost is samenet": ("_is_near", lambda client, interfaces, **_: client.is_loopback),
    "a group replaces nothing": ("_expanded", lambda ident, identity, version: ident.role),
    "maps are passed over": ("map_identity", lambda idents, ident_map, *rest: _map_identity(idents, None, *rest)),
    "certificates are not asked for": ("_asks_for", lambda line: None),
}


def _agree_on_all(world: World, certificates: Sequence[ClientCertificate]) -> None:
    agree(world, certificates, identity_rounds, 320)
    agree(world, certificates, rounds, 1600)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_matcher_that_is_wrong_is_found_out(
    mutant: str, credentials: tuple[Authority, list[Credential]], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, wrong = MUTANTS[mutant]
    certificates = [credential.certificate for credential in credentials[1]]
    with Server(versions()[-1]) as server:
        world = World(server, *credentials)
        monkeypatch.setattr(match, name, wrong)
        with pytest.raises(AssertionError):
            _agree_on_all(world, certificates)
