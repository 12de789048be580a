"""Random specs on real servers.

The test tries every class of connection that the policies distinguish, and each ends as the policies say.

``PGTLS_TEST_SPECS`` is the number of specs to try, all versions together (two a version);
each version has specs of its own.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import ip_address
from itertools import count, islice
from random import Random
from typing import TYPE_CHECKING, Self

import psycopg
import pytest

from hba.test_differential import named_line, sections
from pgtls.access.compile import NOBODY
from pgtls.access.explain import explain
from pgtls.hba.model import ClientCertificate, Connection, Surroundings
from pgtls.hba.parse import parse_hba, parse_ident
from pgtls.hba.render import render_hba
from pgtls.pipeline import check
from support.building import Place as Directory
from support.servers import Server, versions
from support.system import new_directory
from whole.knocking import PASSWORD, Knocker, certify
from whole.worlds import ADDRESSES, ANY_OTHER, DATABASES, ROLES, TEAM, Place, User, World, random_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from hba.wire import Answer
    from pgtls.access.explain import Explanation
    from pgtls.access.model import Rules
    from pgtls.fleet.model import Policy
    from pgtls.hba.model import Line
    from whole.worlds import Transport, Verdict

SPECS = int(os.environ.get("PGTLS_TEST_SPECS", str(2 * len(versions()))))
PLACES = 2
"""How many of the places that no policy tells apart are tried."""
NOT_MEANT = "this is not what the policies say"
ENOUGH = 12
"""Specs among which a wrong text is noticed."""
CONTRADICTIONS = {"PGT250", "PGT251", "PGT255"}
"""What may be wrong with a random spec: it contradicts itself, or a root that it trusts lets in others."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A connection to be tried, and what must become of it."""

    connection: Connection
    holder: User | None
    verdict: Verdict


def worlds(version: int, share: int) -> Iterator[tuple[World, Directory]]:
    """Return that many worlds whose policies do not contradict each other, each with its spec written."""
    directory = Directory(new_directory("spec"))
    drawn = (random_world(Random(f"{version} {number}")) for number in count())  # noqa: S311
    consistent = (world for world in drawn if is_consistent(world, version, directory))
    for world in islice(consistent, share):
        place = Directory(new_directory("whole"))
        place.write(world.toml(version))
        yield world, place


def is_consistent(world: World, version: int, place: Directory) -> bool:
    """Return whether the compiler takes a spec; nothing may be wrong with it but that it contradicts itself."""
    place.write(world.toml(version))
    found = check(place.spec, datetime.now(UTC), place.lock).diagnostics
    codes = {diagnostic.code for diagnostic in found if diagnostic.severity == "error"}
    assert codes <= CONTRADICTIONS, f"{found}\n{world.toml(version)}"
    return not codes


def build(place: Directory) -> Rules:
    """Build the spec of a place, and give the rules of its server."""
    planned = place.build(now=datetime.now(UTC))
    return planned.checked.rules["db"]


def certificate(user: User) -> ClientCertificate:
    return ClientCertificate(user.common_name, f"CN={user.common_name}")


def trials(world: World, random: Random) -> Iterator[Trial]:
    """Return every class of connections: role × what covers it × transport × whose certificate."""
    classes: dict[tuple[str, bool, frozenset[str]], list[Place]] = {}
    for role in world.roles:
        for database in (*DATABASES, role, ANY_OTHER):
            for address in (*ADDRESSES, None):
                place = Place(role, database, address)
                covering = frozenset(name for name, scope in world.scopes.items() if place in scope)
                classes.setdefault((role, address is None, covering), []).append(place)
    for places in classes.values():
        for place in random.sample(sorted(places, key=str), min(PLACES, len(places))):
            yield from _over_all_transports(world, place, random)


def _over_all_transports(world: World, place: Place, random: Random) -> Iterator[Trial]:
    if place.address is None:
        yield _trial(world, place, "socket", None)
        return
    yield _trial(world, place, "plain", None)
    certified = [user for user in world.users if user.ca]
    deciding = world.deciding(place)
    asks = any(policy.demand[2] != "none" for policy in deciding)
    for holder in (None, *certified) if asks else (None, random.choice(certified)):
        yield _trial(world, place, "tls", holder)


def _trial(world: World, place: Place, transport: Transport, holder: User | None) -> Trial:
    connection = Connection(
        place.role,
        place.database,
        transport,
        ip_address(place.address) if place.address else None,
        replication=place.database == "replication",
        certificate=certificate(holder) if holder else None,
    )
    return Trial(connection, holder, world.verdict(place, transport, holder))


# --- on a server ------------------------------------------------------------------------------------------------------


class Judge:
    """A server with the roles of all worlds, and a count of what was compared."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.count: Counter[str] = Counter()
        server.populate(ROLES, password=PASSWORD)
        server.configure(max_connections="100", max_wal_senders="50")
        server.restart()
        self.admin = psycopg.connect(
            host=server.sockets, port=server.port, user="postgres", dbname="postgres", autocommit=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.admin.close()

    def enact(self, world: World, place: Directory) -> None:
        """Grant the team's role to its members only, and install the server's files."""
        with self.admin.pipeline():
            for role in ROLES:
                if role != TEAM:
                    self.admin.execute(
                        f"grant {TEAM} to {role}" if role in world.members else f"revoke {TEAM} from {role}"
                    )
        self.server.install(place.file("servers/db"))

    def knocker(self, world: World, place: Directory) -> Knocker:
        """Return a client that holds the users' certificates."""
        bundles: dict[ClientCertificate, Path] = {}
        issuers = dict(world.cas)
        for user in world.users:
            if user.ca:
                bundle = place.file(f"clients/{user.name}")
                chain = [user.ca] if issuers[user.ca] else []
                bundles[certificate(user)] = (
                    bundle
                    if (bundle / "postgresql.key").exists()
                    else certify(place.file("ca"), user.ca, chain, user.common_name)
                )
        return Knocker(self.server, bundles)

    def judge(self, world: World, place: Directory, rules: Rules, seed: str) -> None:
        """Try every class of connections."""
        self.enact(world, place)
        knocker = self.knocker(world, place)
        version = self.server.version
        tried = list(trials(world, Random(seed)))  # noqa: S311
        mark = self.server.mark()
        answers = [knocker.knock(trial.connection) for trial in tried]
        logged = sections(self.server.log(mark))
        assert len(logged) == len(answers)
        for trial, answer, section in zip(tried, answers, logged, strict=True):
            shown = trial.connection
            if trial.holder and not world.trusted(trial.holder):
                shown = replace(shown, certificate=None)
            explained = explained_by(rules, shown, world, version)
            story = (
                f"{trial}\nserver says {answer}\nexplain says {explained}\n{section}\n{rules.hba_text}\n"
                f"{rules.ident_text}\n{world.toml(version)}"
            )
            self.compare(world, trial, answer, section, explained, rules, story)

    def compare(
        self,
        world: World,
        trial: Trial,
        answer: Answer,
        section: str,
        explained: Explanation,
        rules: Rules,
        story: str,
    ) -> None:
        verdict, holder = trial.verdict, trial.holder
        if holder and trial.connection.transport == "tls" and not world.trusted(holder):
            assert answer.kind == "error", story
            self.count["not trusted"] += 1
            return
        assert (answer.kind == "ok") == verdict.admitted, f"{NOT_MEANT}: {story}"
        if explained.method != "peer":
            assert (explained.outcome == "admit") == verdict.admitted, story
        assert (explained.method == "scram-sha-256") >= (verdict.password and verdict.admitted), story
        named = named_line(section)
        if named:
            assert named[1] == explained.line, story
            self.count["line named"] += 1
        if verdict.admitted:
            index = [line.number for line in parse_hba(rules.hba_text, self.server.version).lines].index(explained.line)
            origin = {policy.name for policy in rules.origin[index]}
            assert origin & verdict.policies, story
        self.count["admitted" if verdict.admitted else "refused"] += 1
        self.count[f"admitted by {explained.method}" if verdict.admitted else "otherwise"] += 1


def explained_by(rules: Rules, connection: Connection, world: World, version: int) -> Explanation:
    """Ask what ``pgtls explain`` says."""
    surroundings = Surroundings(frozenset((role, TEAM) for role in world.members))
    lines, idents = parse_hba(rules.hba_text, version).lines, parse_ident(rules.ident_text, version).lines
    return explain(lines, idents, {str(lines[0].file): rules.hba_text}, version, connection, surroundings)


def share_of(server: Server) -> int:
    """How many of the specs are this version's."""
    labels = [installation.id for installation in versions()]
    return len(range(labels.index(server.installation.id), SPECS, len(labels)))


def test_random_specs_admit_whom_their_policies_admit_and_nobody_else(server: Server) -> None:
    with Judge(server) as judge:
        for number, (world, place) in enumerate(worlds(server.version, share_of(server))):
            judge.judge(world, place, build(place), f"{server.version} {number}")
    assert all(judge.count[kind] for kind in ("admitted", "refused", "line named")), judge.count


# --- the comparison can fail ------------------------------------------------------------------------------------------


Ruled = tuple["Line", tuple["Policy", ...]]
"""A line with the policies that it stands for."""


def without_refusals(ruled: list[Ruled]) -> list[Ruled]:
    """Let what TLS rules refuse in cleartext fall through."""
    return [(line, origin) for line, origin in ruled if line.method != "reject"]


def turned_round(ruled: list[Ruled]) -> list[Ruled]:
    """Let the least specific decide."""
    return ruled[::-1]


def in_cleartext(ruled: list[Ruled]) -> list[Ruled]:
    """Let password lines accept cleartext, too."""
    return [
        (
            replace(line, type="host")
            if line.method == "scram-sha-256" and line.type == "hostssl" and not line.options
            else line,
            origin,
        )
        for line, origin in ruled
    ]


def without_maps(ruled: list[Ruled]) -> list[Ruled]:
    """Let every user be the one that the certificate names."""
    return [
        (replace(line, options=tuple(option for option in line.options if option[0] != "map")), origin)
        for line, origin in ruled
    ]


def spoilt(rules: Rules, how: Callable[[list[Ruled]], list[Ruled]]) -> Rules:
    """Write the rules of a server wrong."""
    ruled = how(list(zip(rules.lines, rules.origin, strict=True))) or [(NOBODY, ())]
    lines, origin = tuple(line for line, _ in ruled), tuple(policies for _, policies in ruled)
    return replace(rules, lines=lines, origin=origin, hba_text=render_hba(lines, rules.server.table.postgres))


@pytest.mark.parametrize("how", [without_refusals, turned_round, in_cleartext, without_maps])
def test_a_text_that_is_wrong_is_found_out(how: Callable[[list[Ruled]], list[Ruled]]) -> None:
    with Server(versions()[-1]) as server, Judge(server) as judge:

        def try_many() -> None:
            for number, (world, place) in enumerate(worlds(server.version, ENOUGH)):
                wrong = spoilt(build(place), how)
                place.file("servers/db/pg_hba.conf").write_text(wrong.hba_text)
                judge.judge(world, place, wrong, f"{number}")

        with pytest.raises(AssertionError, match=NOT_MEANT):
            try_many()
