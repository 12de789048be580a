"""A root is rolled over step by step: each side always trusts the other, and pgtls refuses a step that breaks that."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from lifecycle.fleets import DAY, HOUR, ROLES, attempt, clock, deploy, spec
from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from support.building import NOW, Place, steps
from support.clients import Bundle, admitted, refused
from support.pgtls import pgtls
from support.system import new_directory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from support.servers import Server

CAS = "[ca.root]\n[ca.people]\n[ca.root-2027]\n[ca.people-2027]\n"
OLD = 'ca = "root"\nclient_ca = ["people"]\n'
PEOPLE, PEOPLE_2027 = 'ca = "people"\n', 'ca = "people-2027"\n'
WANTED = Asked(accept_outage=True)

SERVER_STEPS = {
    "as it was": 'ca = "root"\nclient_ca = ["people"]\n',
    "trusted": 'ca = "root"\nclient_ca = ["people"]\ntrust = ["root-2027"]\n',
    "used": 'ca = "root-2027"\nclient_ca = ["people"]\ntrust = ["root"]\n',
    "retired": 'ca = "root-2027"\nclient_ca = ["people"]\n',
}


def step(postgres: int, server: str = OLD, alice: str = PEOPLE, bob: str = PEOPLE, cas: str = CAS) -> str:
    return spec(postgres, cas=cas, server=server, alice=alice, bob=bob)


def kept(place: Place) -> dict[str, Bundle]:
    """The bundles as they are deployed now."""
    copy = new_directory("deployed")
    for user in ROLES:
        shutil.copytree(place.file(f"clients/{user}"), copy / user)
    return {user: Bundle(copy / user) for user in ROLES}


def everybody(place: Place, server: Server, bundles: dict[str, Bundle]) -> None:
    for user in ROLES:
        assert admitted(attempt(place, server, user, bundles[user])) == f"{user}@shop"


def refusals(rejected: pytest.ExceptionInfo[Rejected]) -> list[str]:
    found = [d for d in rejected.value.diagnostics if d.severity == "error"]
    assert {d.code for d in found} == {"PGT581"}
    return [d.message for d in found]


@pytest.mark.parametrize("first", ["server", "clients"])
def test_a_server_s_root_is_rolled_over_with_everybody_connected_all_the_time(
    server: Server, place: Place, first: str
) -> None:
    server.populate(ROLES, ("shop",))
    now = clock()
    bundles: dict[str, Bundle] = {}
    for number, text in enumerate(SERVER_STEPS.values()):
        place.build(step(server.version, text), now=now - (9 - number) * HOUR)
        bundles = bundles or kept(place)
        if first == "server":
            deploy(place, server)
            everybody(place, server, bundles)
            bundles = kept(place)
        else:
            if number:
                bundles = kept(place)
                everybody(place, server, bundles)
            deploy(place, server)
        everybody(place, server, bundles)
        place.confirm(now=now - (9 - number) * HOUR)
    place.build(step(server.version, SERVER_STEPS["retired"], cas=CAS.replace("[ca.root]\n", "")), now=now)
    everybody(place, server, kept(place))


def test_the_clients_ca_is_rolled_over_with_everybody_connected_all_the_time(server: Server, place: Place) -> None:
    server.populate(ROLES, ("shop",))
    now, version = clock(), server.version
    both = OLD.replace('["people"]', '["people", "people-2027"]')
    moved = {"alice": PEOPLE_2027, "bob": PEOPLE_2027}
    new = OLD.replace("people", "people-2027")
    bundles: dict[str, Bundle] = {}
    for number, text in enumerate(
        (step(version), step(version, both), step(version, both, **moved), step(version, new, **moved))
    ):
        place.build(text, now=now - (9 - number) * HOUR)
        old, bundles = bundles, kept(place)
        deploy(place, server)
        everybody(place, server, old or bundles)
        everybody(place, server, bundles)
        place.confirm(now=now - (9 - number) * HOUR)


def test_a_step_that_is_skipped_is_refused_and_breaks_clients_when_it_is_wanted(server: Server, place: Place) -> None:
    server.populate(ROLES, ("shop",))
    now = clock()
    place.build(step(server.version), now=now - HOUR)
    deploy(place, server)
    bundles = kept(place)
    everybody(place, server, bundles)
    before = place.state()
    text = step(server.version, SERVER_STEPS["retired"])
    with pytest.raises(Rejected) as rejected:
        place.build(text, now=now)
    (message,) = refusals(rejected)
    assert message.startswith("server db and clients alice and bob cannot connect until both are deployed")
    assert place.state() == before

    planned = place.build(text, now=now, asked=WANTED)
    assert [(d.code, d.severity) for d in planned.diagnostics if d.code == "PGT581"] == [("PGT581", "warning")]
    assert next(s.cost for s in planned.plan.steps if s.entity == "server.db") == "outage"
    deploy(place, server)
    refused(attempt(place, server, "alice", bundles["alice"]), "certificate verify failed")
    everybody(place, server, kept(place))


BEFORE_BUNDLES = ("server.db",)
ORDERS: dict[str, tuple[str, str, tuple[str, ...] | str]] = {
    "clients that do not trust the new root": (
        step(17),
        step(17, SERVER_STEPS["retired"]),
        (
            "server db and clients alice and bob cannot connect until both are deployed: with the new server the old "
            'bundles do not trust ca "root-2027", under which its certificate is; with the old server the new bundles '
            'do not trust ca "root", under which its certificate is'
        ),
    ),
    "clients that trust both roots from now on": (
        step(17),
        step(17, SERVER_STEPS["used"]),
        ("user.alice", "user.bob"),
    ),
    "clients that stop trusting the old root": (
        step(17, SERVER_STEPS["trusted"]),
        step(17, SERVER_STEPS["retired"]),
        BEFORE_BUNDLES,
    ),
    "a server that does not trust the new CA of its clients yet": (
        step(17),
        step(17, OLD.replace('["people"]', '["people", "people-2027"]'), alice=PEOPLE_2027),
        BEFORE_BUNDLES,
    ),
    "a server that stops trusting the old CA": (
        step(17, OLD.replace('["people"]', '["people", "people-2027"]')),
        step(17, OLD.replace("people", "people-2027"), alice=PEOPLE_2027, bob=PEOPLE_2027),
        ("user.alice", "user.bob"),
    ),
    "an intermediate that moves to another root": (
        step(17, 'ca = "mid"\nclient_ca = ["people"]\n', cas=CAS + '[ca.mid]\nissuer = "root"\n'),
        step(17, 'ca = "mid"\nclient_ca = ["people"]\n', cas=CAS + '[ca.mid]\nissuer = "root-2027"\n'),
        "server db and clients alice and bob cannot connect until both are deployed",
    ),
}


@pytest.mark.parametrize("case", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("known_by", ["the tree", "the lock"])
def test_a_plan_tells_who_goes_first_or_that_there_is_no_order(
    place: Place, case: tuple[str, str, tuple[str, ...] | str], known_by: str
) -> None:
    before, after, expected = case
    place.build(before)
    if known_by == "the lock":
        shutil.rmtree(place.out)
    if isinstance(expected, str):
        with pytest.raises(Rejected) as rejected:
            place.plan(after, now=NOW + DAY)
        assert [text[: len(expected)] for text in refusals(rejected)] == [expected]
    else:
        assert place.plan(after, now=NOW + DAY).verdict.waves[0].entities == expected


def test_three_builds_in_a_row_are_refused_until_something_says_that_they_are_deployed(place: Place) -> None:
    for name in ("as it was", "trusted", "used"):
        place.build(step(17, SERVER_STEPS[name]))
    retired = step(17, SERVER_STEPS["retired"])
    with pytest.raises(Rejected) as rejected:
        place.build(retired)
    (found,) = [d for d in rejected.value.diagnostics if d.severity == "error"]
    assert found.code == "PGT583"
    assert "pgtls confirm server.db" in (found.hint or "")
    place.confirm("user.alice")
    with pytest.raises(Rejected):
        place.build(retired)
    place.confirm("server.db")
    assert place.build(retired).verdict.waves == ()


def retirable(place: Place, spec: str | None = None, *, now: datetime) -> list[tuple[str, str]]:
    """What a plan says can be retired: messages up to the colon, and hints."""
    found = [d for d in place.plan(spec, now=now, asked=WANTED).diagnostics if d.code == "PGT582"]
    return [(d.message.partition(":")[0], d.hint or "") for d in found]


def deployed(place: Place, texts: Sequence[str]) -> list[list[tuple[str, str]]]:
    """Build and deploy one after the other; return what can be retired in each plan, before and after deploying."""
    said = []
    for number, text in enumerate(texts):
        now = NOW + number * DAY
        said.append(retirable(place, text, now=now) if number else [])
        place.build(text, now=now)
        said.append(retirable(place, now=now))
        place.confirm(now=now)
        said.append(retirable(place, now=now))
    return said


def test_the_plan_says_when_a_root_can_be_retired(place: Place) -> None:
    gone = (
        'server db has no certificate of ca "root" any more',
        'remove "root" from trust, build and deploy; then delete [ca.root]',
    )
    said = deployed(place, [step(17, text) for text in SERVER_STEPS.values()])
    assert said == [[]] * 8 + [[gone]] + [[]] * 3


def test_the_program_goes_on_saying_that_a_root_can_be_retired_until_it_is(place: Place) -> None:
    said = []
    for number, text in enumerate(SERVER_STEPS.values()):
        place.write(step(17, text))
        for command in (("build",), ("confirm", "server.db", "--reason", "test"), ("plan",), ("build",), ("plan",)):
            words = (*command, "--spec", place.spec) if command[0] == "confirm" else (*command, place.spec)
            run = pgtls(*words, now=f"2026-01-0{number + 1}")
            assert run.status == 0, run.stderr
            said.append("PGT582" in run.stderr)
    assert said == [False] * 12 + [True] * 3 + [False] * 5


def test_the_plan_says_when_a_ca_of_clients_can_be_retired(place: Place) -> None:
    both = OLD.replace('["people"]', '["people", "people-2027"]')
    gone = (
        'no user has a certificate of ca "people" any more',
        'remove "people" from client_ca, build and deploy; then delete [ca.people]',
    )
    texts = (
        step(17, OLD),
        step(17, both),
        step(17, both, alice=PEOPLE_2027),
        step(17, both, alice=PEOPLE_2027, bob=PEOPLE_2027),
    )
    assert deployed(place, texts) == [[]] * 11 + [[gone]]


def test_the_plan_says_when_a_root_above_an_intermediate_can_be_retired(place: Place) -> None:
    def moved(issuer: str, trust: str) -> str:
        server = f'ca = "mid"\nclient_ca = ["people"]\ntrust = [{trust}]\n'
        return step(17, server, cas=f'{CAS}[ca.mid]\nissuer = "{issuer}"\n')

    said = deployed(place, (moved("root", '"root-2027"'), moved("root-2027", '"root"')))
    assert [[message for message, _ in found] for found in said[-2:]] == [
        [],
        ['server db has no certificate of ca "root" any more'],
    ]


def two(first: str, second: str) -> str:
    """Two servers under roots of their own, whose tables are given."""
    text = step(17, first).replace("[user.postgres]", f'[server.two]\nhosts = ["two"]\n{second}[user.postgres]', 1)
    return text.replace("[policy.dba]\n", '[policy.dba]\nservers = ["all"]\n').replace(
        "[policy.people]\n", '[policy.people]\nservers = ["all"]\n'
    )


def test_servers_that_are_rolled_over_one_after_the_other_are_told_apart(place: Place) -> None:
    trusted, used = SERVER_STEPS["trusted"], SERVER_STEPS["used"]
    place.build(two(trusted, trusted))
    place.build(two(used, trusted), now=NOW + DAY)
    place.confirm(now=NOW + DAY)
    gone = ('server db has no certificate of ca "root" any more', 'remove "root" from trust, build and deploy')
    assert retirable(place, now=NOW + DAY) == [gone]
    assert retirable(place, two(used, used), now=NOW + DAY) == [gone], "the second moves now"
    place.build(two(used, used), now=NOW + DAY)
    place.confirm(now=NOW + DAY)
    assert [message for message, _ in retirable(place, now=NOW + DAY)] == [gone[0], gone[0].replace("db", "two")]


def test_a_new_root_is_no_matter_to_who_is_new(place: Place) -> None:
    place.build(step(17))
    place.build(step(17, bob=PEOPLE), now=NOW + DAY)
    more = (
        step(17)
        + '[server.two]\nca = "root-2027"\nhosts = ["two"]\n[policy.two]\nservers = ["two"]\nusers = ["alice"]\n'
    )
    more += (
        'from = ["127.0.0.1"]\nauth = "scram-sha-256"\n[policy.dba2]\nservers = ["two"]\nusers = ["postgres"]\n'
        'from = ["local"]\nauth = "peer"\n'
    )
    more = more.replace("[policy.dba]\n", '[policy.dba]\nservers = ["db"]\n').replace(
        "[policy.people]\n", '[policy.people]\nservers = ["db"]\n'
    )
    assert ("server.two", "create") in steps(place.build(more, now=NOW + 2 * DAY))


def test_the_lock_remembers_who_trusts_what(place: Place) -> None:
    place.build(step(17))
    place.build(step(17, SERVER_STEPS["trusted"]), now=NOW + DAY)
    lines = [json.loads(line) for line in place.lock.read_text().splitlines()[1:]]
    trust = {(line["entity"], entity) for line in lines for entity in line.get("trust", ())}
    users = {(ca, f"user.{user}") for ca in ("ca.root", "ca.root-2027") for user in ROLES}
    assert trust == users | {("ca.people", "server.db")}
    assert steps(place.build(now=NOW + DAY)) == []
    text = place.lock.read_bytes()
    place.build(now=NOW + DAY, asked=Asked())
    assert place.lock.read_bytes() == text


def test_the_program_refuses_the_step_and_goes_on_when_told_to(place: Place) -> None:
    place.build(step(17))
    place.write(step(17, SERVER_STEPS["retired"]))
    assert pgtls("plan", place.spec, now="2026-01-02").status == 1
    run = pgtls("build", place.spec, now="2026-01-02")
    assert run.status == 1
    assert "error[PGT581]" in run.stderr
    assert "--accept-outage" in run.stderr
    run = pgtls("build", place.spec, "--accept-outage", now="2026-01-02")
    assert run.status == 0, run.stderr
    assert "warning[PGT581]" in run.stderr


# ---- what is left behind at another CA -------------------------------------------------------------------------------


def test_who_moves_to_another_ca_is_cut_off_by_no_order_and_loses_the_old_certificate_once_the_new_one_is_in_use(
    server: Server, place: Place
) -> None:
    server.populate(ROLES, ("shop",))
    now, version = clock(), server.version
    both = OLD.replace('["people"]', '["people", "people-2027"]')
    place.build(step(version, both), now=now - 2 * HOUR)
    deploy(place, server)
    old = kept(place)
    planned = place.build(step(version, both, alice=PEOPLE_2027), now=now - HOUR)
    assert (planned.verdict.waves, ("user.alice", "revoke") in steps(planned)) == ((), False)
    new = kept(place)
    everybody(place, server, new)
    deploy(place, server)
    everybody(place, server, old)
    everybody(place, server, new)

    assert steps(place.plan(now=now)) == [], "nothing says that the new bundle is in use"
    place.confirm("user.alice", now=now)
    assert ("user.alice", "revoke") in steps(place.build(now=now))
    deploy(place, server)
    refused(attempt(place, server, "alice", old["alice"]), "")
    everybody(place, server, new)


def test_a_line_of_evidence_that_somebody_commits_revokes_nothing(place: Place) -> None:
    both = OLD.replace('["people"]', '["people", "people-2027"]')
    place.build(step(17, both))
    place.build(step(17, both, alice=PEOPLE_2027))
    place.confirm("user.alice")
    (place.out / ".pgtls/deployed").unlink()
    assert steps(place.plan(now=NOW + DAY)) == []


def test_who_is_cut_off_in_any_order_is_told_of_no_order(place: Place) -> None:
    place.build(step(17))
    planned = place.plan(step(17, SERVER_STEPS["retired"]), now=NOW + DAY, asked=WANTED)
    assert [d.code for d in planned.diagnostics if d.code in ("PGT581", "PGT583")] == ["PGT581"]
    assert planned.verdict.waves == ()
