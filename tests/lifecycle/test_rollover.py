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
    from datetime import datetime

    from pgtls.stages import Planned
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
        bundles = kept(place)
        if number:  # clients first: what they had is revoked on the server
            everybody(place, server, bundles)
        deploy(place, server)
        everybody(place, server, bundles)


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
    assert message.startswith("clients alice and bob do not trust root-2027 yet")
    assert place.state() == before

    planned = place.build(text, now=now, asked=WANTED)
    assert [(d.code, d.severity) for d in planned.diagnostics if d.code == "PGT581"] == [("PGT581", "warning")]
    assert next(s.cost for s in planned.plan.steps if s.entity == "server.db") == "outage"
    deploy(place, server)
    refused(attempt(place, server, "alice", bundles["alice"]), "certificate verify failed")
    everybody(place, server, kept(place))


CUT_OFF = {
    "clients that do not trust the new root": (
        step(17),
        step(17, SERVER_STEPS["used"]),
        "clients alice and bob do not trust root-2027 yet",
    ),
    "clients that stop trusting the old root too early": (
        step(17, SERVER_STEPS["trusted"]),
        step(17, SERVER_STEPS["retired"]),
        "clients alice and bob would no longer trust root, which certifies server db until this build is deployed",
    ),
    "a server that does not trust the new CA of its clients": (
        step(17),
        step(17, OLD.replace('["people"]', '["people", "people-2027"]'), alice=PEOPLE_2027),
        "alice would get a certificate from people-2027, which server db does not trust yet",
    ),
    "a server that stops trusting the old CA too early": (
        step(17, OLD.replace('["people"]', '["people", "people-2027"]')),
        step(17, OLD.replace("people", "people-2027"), alice=PEOPLE_2027, bob=PEOPLE_2027),
        "server db would no longer trust people, from which alice and bob have certificates",
    ),
    "an intermediate that moves to another root": (
        step(17, 'ca = "mid"\nclient_ca = ["people"]\n', cas=CAS + '[ca.mid]\nissuer = "root"\n'),
        step(17, 'ca = "mid"\nclient_ca = ["people"]\n', cas=CAS + '[ca.mid]\nissuer = "root-2027"\n'),
        "clients alice and bob do not trust root-2027 yet",
    ),
}


@pytest.mark.parametrize("case", CUT_OFF.values(), ids=CUT_OFF)
@pytest.mark.parametrize("known_by", ["the tree", "the lock"])
def test_whoever_would_be_cut_off_is_named(place: Place, case: tuple[str, str, str], known_by: str) -> None:
    before, after, message = case
    place.build(before)
    if known_by == "the lock":
        shutil.rmtree(place.out)
    with pytest.raises(Rejected) as rejected:
        place.plan(after, now=NOW + DAY)
    assert [text[: len(message)] for text in refusals(rejected)] == [message]


def retirable(place: Place, spec: str | None = None, *, now: datetime) -> list[tuple[str, str]]:
    """What a plan says can be retired: messages up to the colon, and hints."""
    found = [d for d in place.plan(spec, now=now, asked=WANTED).diagnostics if d.code == "PGT582"]
    return [(d.message.partition(":")[0], d.hint or "") for d in found]


def test_the_plan_says_when_a_root_can_be_retired(place: Place) -> None:
    said = []
    for number, text in enumerate(SERVER_STEPS.values()):
        now = NOW + number * DAY
        said.append(retirable(place, step(17, text), now=now) if number else [])
        place.build(step(17, text), now=now)
        said.append(retirable(place, now=now))
    gone = (
        'server db has no certificate of ca "root" any more',
        'remove "root" from trust, build and deploy; then delete [ca.root]',
    )
    assert said == [[], [], [], [], [], [gone], [], []]


def test_the_program_goes_on_saying_that_a_root_can_be_retired_until_it_is(place: Place) -> None:
    said = []
    for number, text in enumerate(SERVER_STEPS.values()):
        place.write(step(17, text))
        for command in ("build", "plan", "build", "plan"):
            run = pgtls(command, place.spec, now=f"2026-01-0{number + 1}")
            assert run.status == 0, run.stderr
            said.append("PGT582" in run.stderr)
    assert said == [False] * 8 + [False, True, True, True] + [False] * 4


def test_the_plan_says_when_a_ca_of_clients_can_be_retired(place: Place) -> None:
    both = OLD.replace('["people"]', '["people", "people-2027"]')
    steps_ = (
        step(17, OLD),
        step(17, both),
        step(17, both, alice=PEOPLE_2027),
        step(17, both, alice=PEOPLE_2027, bob=PEOPLE_2027),
    )
    said = []
    for number, text in enumerate(steps_):
        now = NOW + number * DAY
        said.append(retirable(place, text, now=now) if number else [])
        place.build(text, now=now)
        said.append(retirable(place, now=now))
    gone = (
        'no user has a certificate of ca "people" any more',
        'remove "people" from client_ca, build and deploy; then delete [ca.people]',
    )
    assert said == [[]] * 7 + [[gone]]


def test_the_plan_says_when_a_root_above_an_intermediate_can_be_retired(place: Place) -> None:
    def moved(issuer: str, trust: str) -> str:
        server = f'ca = "mid"\nclient_ca = ["people"]\ntrust = [{trust}]\n'
        return step(17, server, cas=f'{CAS}[ca.mid]\nissuer = "{issuer}"\n')

    place.build(moved("root", '"root-2027"'))
    place.build(moved("root-2027", '"root"'), now=NOW + DAY)
    (gone,) = retirable(place, now=NOW + DAY)
    assert gone[0] == 'server db has no certificate of ca "root" any more'


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
    gone = ('server db has no certificate of ca "root" any more', 'remove "root" from trust, build and deploy')
    assert retirable(place, now=NOW + DAY) == [gone]
    assert retirable(place, two(used, used), now=NOW + DAY) == [gone], "the second moves now"
    place.build(two(used, used), now=NOW + DAY)
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


# ---- who is deployed first -------------------------------------------------------------------------------------------


def precedence(planned: Planned) -> list[tuple[str, str]]:
    """What a plan says of the order of deployment: messages and hints."""
    return [(d.message, d.hint or "") for d in planned.diagnostics if d.code == "PGT583"]


def test_a_server_that_moves_comes_before_the_bundles_that_check_its_list(server: Server, place: Place) -> None:
    server.populate(ROLES, ("shop",))
    now, alice = clock(), f"{PEOPLE}crl = true\n"
    for number, name in enumerate(("as it was", "trusted")):
        planned = place.build(step(server.version, SERVER_STEPS[name], alice=alice), now=now - (9 - number) * HOUR)
        assert precedence(planned) == []
    deploy(place, server)
    old = kept(place)
    everybody(place, server, old)
    planned = place.build(step(server.version, SERVER_STEPS["used"], alice=alice), now=now)
    assert precedence(planned) == [
        (
            (
                'this build revokes the old certificate of server db (moved from ca "root"): alice (crl = true) '
                "rejects it once it has its new bundle"
            ),
            "deploy server db before the bundle of alice",
        )
    ]
    new = kept(place)
    refused(attempt(place, server, "alice", new["alice"]), "certificate verify failed")
    assert admitted(attempt(place, server, "bob", new["bob"])) == "bob@shop", "who checks no list may come first"
    deploy(place, server)
    everybody(place, server, old)
    everybody(place, server, new)
    assert precedence(place.plan(now=now)) == [], "it is said once, when it matters"


def test_bundles_that_move_come_before_the_servers_that_check_their_list(server: Server, place: Place) -> None:
    server.populate(ROLES, ("shop",))
    now, version = clock(), server.version
    both = OLD.replace('["people"]', '["people", "people-2027"]')
    place.build(step(version, both), now=now - HOUR)
    deploy(place, server)
    old = kept(place)
    planned = place.build(step(version, both, alice=PEOPLE_2027), now=now)
    assert precedence(planned) == [
        (
            (
                'this build revokes the old certificate of alice (moved from ca "people"): server db rejects it once '
                "it has its new files"
            ),
            "deploy the bundle of alice before server db",
        )
    ]
    everybody(place, server, kept(place))
    deploy(place, server)
    refused(attempt(place, server, "alice", old["alice"]), "")
    assert admitted(attempt(place, server, "bob", old["bob"])) == "bob@shop"
    everybody(place, server, kept(place))


def test_where_nobody_is_told_of_a_revocation_any_order_will_do(place: Place) -> None:
    unchecked = OLD.replace('["people"]', '["people", "people-2027"]') + "crl = false\n"
    place.build(step(17, unchecked))
    planned = place.build(step(17, unchecked, alice=PEOPLE_2027), now=NOW + DAY)
    assert ("user.alice", "revoke") in steps(planned)
    assert precedence(planned) == []
    renamed = step(17, unchecked, alice=f'{PEOPLE_2027}common_name = "al"\n')
    planned = place.build(renamed, now=NOW + 2 * DAY)
    assert ("user.alice", "revoke") in steps(planned)
    assert precedence(planned) == [], "it is of the same CA"


def test_who_is_cut_off_in_any_order_is_told_of_no_order(place: Place) -> None:
    place.build(step(17))
    both = OLD.replace('["people"]', '["people", "people-2027"]')
    planned = place.plan(step(17, both, alice=PEOPLE_2027), now=NOW + DAY, asked=WANTED)
    assert [d.code for d in planned.diagnostics if d.code in ("PGT581", "PGT583")] == ["PGT581"]
