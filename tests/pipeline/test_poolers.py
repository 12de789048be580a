"""A pooler in every stage and command: its leg, rules and proof, bundles, explanations, differences, plans."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pgtls import api
from pgtls.access.proof import prove
from pgtls.cli import run
from pgtls.diagnostics import Rejected, errors
from pgtls.exports.terraform import Query, answer
from pgtls.pipeline import check, confirm, status
from support.building import NOW, reason, steps

if TYPE_CHECKING:
    from pathlib import Path

    from pgtls.access.model import Rules
    from pgtls.fleet.model import Fleet
    from support.building import Place

SPEC = """
version = 1
[ca.root]
[ca.clients]
[server.main]
ca = "root"
client_ca = ["clients"]
hosts = ["db.example.com"]
[server.replica]
ca = "root"
client_ca = ["clients"]
hosts = ["db2.example.com"]
standby_of = "main"
replication_user = "replicator"
[pooler.pool]
server = "main"
user = "bouncer"
from = ["@poolers"]
ca = "root"
client_ca = ["clients"]
hosts = ["pool.example.com"]
[network.poolers]
addresses = ["10.0.0.9"]
[user.postgres]
[user.replicator]
ca = "clients"
[user.bouncer]
ca = "clients"
[user.app]
ca = "clients"
[user.alice]
ca = "clients"
roles = ["alice", "reporting"]
[policy.dba]
servers = ["main"]
users = ["postgres"]
from = ["local"]
auth = "peer"
[policy.shop]
servers = ["pool"]
users = ["app", "alice"]
databases = ["shop"]
from = ["10.1.0.0/16"]
auth = "cert"
waiver = { reason = "a week", codes = ["PGT380"] }
[policy.reports]
servers = ["pool"]
users = ["alice"]
databases = ["reports"]
from = ["10.1.0.0/16"]
auth = "cert"
waiver = { reason = "a week", codes = ["PGT380"] }
[policy.direct]
servers = ["main"]
users = ["app"]
databases = ["jobs"]
from = ["10.0.0.0/8"]
auth = "cert"
"""


def state(text: str = SPEC) -> tuple[Fleet, dict[str, Rules]]:
    """Return fleet and rules of a spec without errors."""
    found = api.loads(text, now=NOW).usable()
    return found.fleet, dict(found.rules)


def lines(rules: Rules) -> list[str]:
    return [line for line in rules.hba_text.splitlines() if line and not line.startswith("#")]


def test_a_policy_by_way_of_a_pooler_has_a_leg_at_its_server_and_the_standbys_of_that() -> None:
    fleet, rules = state()
    legs = {name: policy for name, policy in fleet.policies.items() if policy.follows and name.startswith("pooler:")}
    assert {name: [server.name for server in leg.servers] for name, leg in legs.items()} == {
        "pooler:pool:reports": ["main", "replica"],
        "pooler:pool:shop": ["main", "replica"],
    }
    assert [(role, who) for role, who in _granted(rules["main"]) if who == "bouncer"] == [
        ("alice", "bouncer"),
        ("reporting", "bouncer"),
        ("alice", "bouncer"),
        ("app", "bouncer"),
        ("reporting", "bouncer"),
    ]
    assert all("10.0.0.9/32" in line for line in lines(rules["main"]) if "map=pooler" in line)
    assert not any("shop" in line for line in lines(rules["main"]) if "map=pooler" not in line)


def _granted(rules: Rules) -> list[tuple[str, str]]:
    return [(ident.role.text, ident.identity.text) for ident in rules.ident.lines]  # type: ignore[union-attr]


def test_all_servers_are_no_poolers() -> None:
    everywhere = SPEC.replace('[policy.dba]\nservers = ["main"]', '[policy.dba]\nservers = ["all"]')
    fleet, rules = state(everywhere)
    assert [server.name for server in fleet.policies["dba"].servers] == ["main", "replica"]
    assert not any(line.startswith("local") for line in lines(rules["pool"]))


def test_the_proof_finds_what_a_pooler_admits_beyond_its_policies() -> None:
    fleet, rules = state()
    pool = rules["pool"]
    assert prove(fleet, pool) == ()
    for text, other in (('"shop"', '"other"'), ("10.1.0.0/16", "10.0.0.0/8"), ("hostssl", "host")):
        assert prove(fleet, replace(pool, hba_text=pool.hba_text.replace(text, other)))
    assert prove(fleet, replace(pool, ident_text=pool.ident_text.replace('"app"   ', '"alice" ')))


def test_the_proof_compares_names_as_pgbouncer_does() -> None:
    """A spec with two such users is refused before (PGT485); to PostgreSQL they are two."""
    fleet, rules = state()
    twin = replace(
        fleet.users["app"], name="twin", table=fleet.users["app"].table.model_copy(update={"common_name": "APP"})
    )
    both = replace(fleet, users={**fleet.users, "twin": twin})
    assert any("user twin" in str(found) for found in prove(both, rules["pool"]))
    assert prove(both, rules["main"]) == ()


def test_lines_of_several_policies_have_maps_without_quotes() -> None:
    """PgBouncer takes no quotes there, whatever is in the name."""
    theirs = SPEC.replace("[policy.dba]", '[user.dave]\nca = "clients"\nroles = ["reporting"]\n[policy.dba]')
    theirs = theirs.replace('users = ["alice"]\ndatabases = ["reports"]', 'users = ["dave"]\ndatabases = ["shop"]')
    _, rules = state(theirs)
    assert any(line.endswith("cert map=reports+shop") for line in lines(rules["pool"]))
    assert any(line.startswith("reports+shop ") for line in rules["pool"].ident_text.splitlines())


def test_bundles_dial_the_pooler_and_its_user_dials_the_server() -> None:
    entries = api.loads(SPEC, now=NOW).checked().entries
    assert [(one.server.name, one.database) for one in entries["app"]] == [
        ("main", "jobs"),
        ("replica", "jobs"),
        ("pool", "shop"),
    ]
    assert {(one.server.name, one.role, one.database) for one in entries["bouncer"] if one.server.name == "main"} == {
        ("main", "alice", "shop"),
        ("main", "app", "shop"),
        ("main", "reporting", "shop"),
        ("main", "alice", "reports"),
        ("main", "reporting", "reports"),
    }


def explained(capsys: pytest.CaptureFixture[str], spec: Path, *words: str) -> dict[str, Any]:
    asked = ["explain", str(spec), "--database", "shop", "--format", "json", "--now", f"{NOW:%Y-%m-%d}", *words]
    assert run(asked) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_explain_follows_the_path_to_the_server(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.write(SPEC)
    found = explained(capsys, place.spec, "--user", "app", "--server", "pool", "--from", "10.1.2.3")
    assert (found["outcome"], found["server"], found["policy"]) == ("admit", "pooler.pool", "shop")
    onward = found["onward"]
    assert (onward["outcome"], onward["server"], onward["policy"]) == ("admit", "server.main", "pooler:pool:shop")
    for words in (
        ["--from", "10.2.0.1"],
        ["--from", "10.1.2.3", "--cleartext"],
        ["--from", "10.1.2.3", "--cert", "alice"],
    ):
        found = explained(capsys, place.spec, "--user", "app", "--server", "pool", *words)
        assert (found["outcome"], found["onward"]) == ("refuse", None)
    found = explained(capsys, place.spec, "--user", "app", "--server", "main", "--from", "10.0.0.9", "--cert", "app")
    assert found["outcome"] == "refuse"


CHANGES = {
    "another server": ('server = "main"\nuser = "bouncer"', 'server = "replica"\nuser = "bouncer"'),
    "another address": ('addresses = ["10.0.0.9"]', 'addresses = ["10.0.0.8"]'),
    "another directory": ('user = "bouncer"\n', 'user = "bouncer"\ndirectory = "/srv/pool"\n'),
    "another port": ('user = "bouncer"\n', 'user = "bouncer"\nport = 6433\n'),
    "another host name": ('hosts = ["pool.example.com"]', 'hosts = ["pool2.example.com"]'),
    "a user more": ('users = ["alice"]', 'users = ["alice", "app"]'),
    "a comment in its hba file": ('databases = ["reports"]', 'databases = ["reports"]\ndescription = "why"'),
    "another host name of its server": ('hosts = ["db.example.com"]', 'hosts = ["db3.example.com"]'),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_diff_reports_every_change_of_what_is_compiled_for_a_pooler(change: tuple[str, str]) -> None:
    before, after = change
    assert before in SPEC
    old, new = api.loads(SPEC, now=NOW), api.loads(SPEC.replace(before, after), now=NOW)
    found = api.diff(old, new)
    assert found.exceeds("any")
    assert not api.diff(old, api.loads(SPEC, now=NOW)).exceeds("any")


def test_a_pooler_is_planned_built_renewed_and_deleted_like_a_server(place: Place) -> None:
    built = place.build(SPEC)
    assert ("pooler.pool", "create") in steps(built)
    assert place.build().plan.steps == ()
    items = {str(item.entity): item for item in status(place.request()).items}
    assert (items["pooler.pool"].state, items["pooler.pool"].path) == ("ok", "poolers/pool/server.crt")
    assert place.file("poolers/pool/server.key").stat().st_mode & 0o777 == 0o600
    assert place.file("poolers/pool/login/postgresql.key").stat().st_mode & 0o777 == 0o600
    assert (
        place.file("poolers/pool/login/postgresql.key").read_bytes()
        == place.file("clients/bouncer/postgresql.key").read_bytes()
    )

    later = NOW + timedelta(days=75)
    assert {"pooler.pool", "user.bouncer"} <= {
        entity for entity, action in steps(place.plan(now=later)) if action == "renew"
    }
    place.confirm()
    assert confirm(place.request(), ["pooler.pool"], "confirm", "by hand")[0].entity == "pooler.pool"

    without = SPEC.split("[pooler.pool]")[0] + "[user.postgres]" + SPEC.split("[user.postgres]")[1]
    for name in ("shop", "reports"):
        without = without.replace(f'[policy.{name}]\nservers = ["pool"]', f'[policy.{name}]\nservers = ["main"]')
    left = place.build(without)
    assert reason(left, "pooler.pool") == "it is no longer in the spec"
    assert not place.file("poolers").exists()
    assert any(line.entity == "pooler.pool" for line in left.decisions.revocations)


def test_no_order_of_deployment_helps_a_pooler_that_changes_its_name(place: Place) -> None:
    place.build(SPEC)
    renamed = SPEC.replace('hosts = ["pool.example.com"]', 'hosts = ["new.example.com"]')
    with pytest.raises(Rejected) as refused:
        place.build(renamed)
    (found,) = errors(refused.value.diagnostics)
    assert (found.code, found.path) == ("PGT581", ("pooler", "pool"))
    assert 'keep "pool.example.com" in hosts of [pooler.pool]' in str(found.hint)
    place.build(SPEC.replace('hosts = ["pool.example.com"]', 'hosts = ["pool.example.com", "new.example.com"]'))


def test_a_pooler_goes_first_where_its_clients_need_what_is_new(place: Place) -> None:
    place.build(SPEC)
    more = SPEC.replace('hosts = ["pool.example.com"]', 'hosts = ["new.example.com", "pool.example.com"]')
    planned = place.plan(more)
    assert next(wave.deploy for wave in planned.verdict.waves).startswith("deploy pooler pool (reload)")


def test_its_server_goes_first_where_a_new_certificate_of_the_pooler_needs_it(place: Place) -> None:
    """The bundle of its user is what it logs in with: the rollout judges that like any bundle."""
    place.build(SPEC)
    moved = SPEC.replace("[ca.clients]", "[ca.clients]\n[ca.poolers]").replace(
        '[user.bouncer]\nca = "clients"', '[user.bouncer]\nca = "poolers"'
    )
    moved = moved.replace('client_ca = ["clients"]\nhosts = ["db', 'client_ca = ["clients", "poolers"]\nhosts = ["db')
    planned = place.plan(moved)
    first, second = (wave.entities for wave in planned.verdict.waves)
    assert "server.main" in first
    assert "user.bouncer" in second


def test_terraform_and_verify_know_a_pooler(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.build(SPEC)
    spec = api.load(place.spec, now=NOW)
    found = answer(spec, str(place.out), Query(None, None, None, None, ("conf",)), review=False)
    assert found["pooler.pool.path"].endswith("poolers/pool/server.crt")
    assert "auth_type = hba" in found["pooler.pool.pgtls.ini"]
    assert run(["verify", str(place.spec), "--server", "pool"]) == 1
    assert '"pool" is a pooler, and no PostgreSQL server' in capsys.readouterr().err


def test_a_faulty_pooler_leaves_other_findings_alone(place: Place) -> None:
    place.write(SPEC.replace('server = "main"\nuser', 'server = "mian"\nuser').replace('auth = "peer"', 'auth = "per"'))
    found = check(place.spec, NOW, b"").diagnostics
    assert {one.code for one in found} == {"PGT101", "PGT207"}


def test_one_mistake_of_a_pooler_is_one_finding_however_many_policies_it_has() -> None:
    mistakes = {
        "no certificate": ('[user.bouncer]\nca = "clients"', "[user.bouncer]", "PGT216", ("pooler", "pool", "user")),
        "a certificate that the server does not accept": (
            '[user.bouncer]\nca = "clients"',
            '[ca.others]\n[user.bouncer]\nca = "others"',
            "PGT217",
            ("pooler", "pool", "user"),
        ),
        "a database that the server does not have": (
            'hosts = ["db.example.com"]',
            'hosts = ["db.example.com"]\ndatabases = ["shop", "jobs"]',
            "PGT218",
            ("policy", "reports", "databases", 0),
        ),
    }
    for before, after, code, path in mistakes.values():
        assert before in SPEC
        found = api.check(api.loads(SPEC.replace(before, after), now=NOW)).errors
        assert [(one.code, one.path) for one in found] == [(code, path)], found
