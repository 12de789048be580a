"""Random specs on real servers, judged by an evaluator that shares nothing with the compiler, its proof or its matcher.

``PGTLS_TEST_SPECS`` is the number of specs to try, all versions together (one a version);
each version has specs of its own.
"""

from __future__ import annotations

import ast
import os
from collections import Counter
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from pgtls.pipeline import check
from support.authority import Authority, named
from support.building import Place as Directory
from support.servers import Server, versions
from support.system import new_directory
from whole import second_judge
from whole.second_judge import OUTSIDERS, Entry, Holder, Policy, User, World, attributes, enter, random_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whole.second_judge import Place, Transport

SPECS = int(os.environ.get("PGTLS_TEST_SPECS", str(len(versions()))))
CONTRADICTIONS = {"PGT250", "PGT251", "PGT260"}
"""What may be wrong with a random spec: it contradicts itself, or lines cannot say what it says."""
NOT_MEANT = "this is not what the policies say"


class Case:
    """A world that is built, and everybody who knocks."""

    def __init__(self, world: World, postgres: int) -> None:
        self.world = world
        self.place = Directory(new_directory("second"))
        self.company = Authority.root("Company Root")
        (self.place.directory / "company.crt").write_bytes(self.company.pem)
        self.place.write(world.toml(postgres))

    def is_consistent(self) -> bool:
        found = check(self.place.spec, datetime.now(UTC), self.place.lock).diagnostics
        codes = {one.code for one in found if one.severity == "error" and not getattr(one, "waived", None)}
        assert codes <= CONTRADICTIONS, f"{codes}\n{self.place.spec.read_text()}"
        return not codes

    def holders(self) -> list[Holder]:
        """Return the users with their own certificates, and outsiders of every trusted CA and of one untrusted CA."""
        self.place.build(now=datetime.now(UTC))
        found = []
        for user in self.world.users:
            if user.ca:
                bundle = self.place.file(f"clients/{user.name}")
                leaf = x509.load_pem_x509_certificates((bundle / "postgresql.crt").read_bytes())[0]
                found.append(Holder(bundle, attributes(leaf), user.ca, user.name))
        signers = {
            "people": Authority.of(self.place.file("ca/people")),
            "servers": Authority.of(self.place.file("ca/servers")),
        }
        signers |= {"company": self.company}
        for number, subject in enumerate(OUTSIDERS):
            for ca in ("people", "company") if number else ("people", "company", "servers"):
                name = x509.Name(
                    [x509.NameAttribute(next(iter(named(**{kind: "x"}))).oid, text) for kind, text in subject]
                )
                bundle = signers[ca].bundle(name)
                leaf = x509.load_pem_x509_certificates((bundle / "postgresql.crt").read_bytes())[0]
                found.append(Holder(bundle, attributes(leaf), ca, None))
        return found


def cases(version: int, share: int) -> Iterator[Case]:
    """Return that many worlds whose policies do not contradict each other."""
    drawn = (random_world(Random(f"second {version} {number}"), subjects=version >= 14) for number in count())  # noqa: S311
    consistent = (case for case in (Case(world, version) for world in drawn) if case.is_consistent())
    yield from islice((case for case in consistent if case.world.admits_users()), share)


def judge(server: Server, case: Case, counted: Counter[str], spoil: tuple[str, str] | None = None) -> None:
    """Try every class of connections with every certificate."""
    holders = case.holders()
    hba = case.place.file("servers/db/pg_hba.conf")
    if spoil:
        hba.write_text(hba.read_text().replace(*spoil))
    server.install(case.place.file("servers/db"))
    for place in _classes(case.world):
        for transport, holder in _shown(holders):
            expected = case.world.admits(place, transport, holder)
            answer = enter(server.port, place, transport, holder)
            words = f"{place} over {transport} with {holder}\nexpected {expected}, the server says {answer}"
            texts = (
                hba.read_text(),
                case.place.file("servers/db/pg_ident.conf").read_text(),
                case.place.spec.read_text(),
            )
            assert answer == expected, "\n".join((f"{NOT_MEANT}: {words}", *texts))
            counted[f"{'outsider' if holder and not holder.user else 'user'} {answer}"] += 1


def _classes(world: World) -> Iterator[Place]:
    seen = set()
    for place in world.places():
        kind = (place.role, frozenset(policy.name for policy in world.policies if world.covers(policy, place)))
        if kind not in seen:
            seen.add(kind)
            yield place


def _shown(holders: list[Holder]) -> Iterator[tuple[Transport, Holder | None]]:
    yield "plain", None
    yield "tls", None
    yield from (("tls", holder) for holder in holders)


def ready(server: Server) -> None:
    server.populate(second_judge.ROLES)
    server.configure(max_connections="100")
    server.restart()


def test_random_specs_admit_whom_a_judge_that_shares_nothing_admits(server: Server) -> None:
    labels = [installation.id for installation in versions()]
    share = len(range(labels.index(server.installation.id), SPECS, len(labels)))
    ready(server)
    counted: Counter[str] = Counter()
    for case in cases(server.version, share):
        judge(server, case, counted)
    assert not share or (counted["user True"] and counted["user False"] and counted["outsider False"]), counted


CONFUSED = World(
    (
        User("alice", "people", ("deploy",), "alice", None, "cn"),
        User("carol", "people", ("carol",), "carol", "ops", "cn"),
    ),
    (Policy("robots", ("alice",), ("shop",), ("all",), "cert", "none", 0, (Entry("/ops$", "deploy", "cn"),)),),
    has_company=False,
)
"""Certificates whose common name ends in ``ops`` are meant; whole subjects that do are not."""


def test_a_line_that_compares_the_other_part_of_a_certificate_is_found_out() -> None:
    with Server(versions()[-1]) as server:
        ready(server)
        counted: Counter[str] = Counter()
        judge(server, Case(CONFUSED, server.version), counted)
        assert counted["outsider True"]
        with pytest.raises(AssertionError, match=NOT_MEANT):
            judge(server, Case(CONFUSED, server.version), Counter(), ("cert map=", "cert clientname=DN map="))


def test_the_judge_imports_nothing_of_the_compiler() -> None:
    tree = ast.parse(Path(second_judge.__file__).read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert "socket" in imported
    assert imported.isdisjoint({"pgtls", "hba", "support"})
