"""The proof agrees with the compiler, for any policies whatsoever."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

import pgtls
from access.fleets import BASE, compiled, fleet_of, shuffled, specs
from pgtls.access.compile import compile_rules
from pgtls.access.proof import prove
from pgtls.access.sets import Addresses, Databases, Roles, Scope
from pgtls.cli import run
from pgtls.fleet.membership import Memberships

if TYPE_CHECKING:
    from pathlib import Path

    from pgtls.access.model import Rules


def _rules(tables: dict[str, Any]) -> tuple[Rules | None, list[str]]:
    fleet = fleet_of(tables)
    rules, diagnostics = compile_rules(fleet, fleet.servers["primary"])
    differences = prove(fleet, rules) if rules else ()
    assert not differences, "\n".join([*map(str, differences), rules.hba_text, rules.ident_text])  # type: ignore[union-attr]
    return rules, [f"{found.code} {found.message}" for found in diagnostics]


@given(specs())
def test_what_is_compiled_means_what_the_policies_say(tables: dict[str, Any]) -> None:
    rules, found = _rules(tables)
    event("compiled" if rules else found[0].split()[0])


@given(specs(), st.data())
def test_the_order_of_tables_changes_no_byte(tables: dict[str, Any], data: st.DataObject) -> None:
    rules, found = _rules(tables)
    again, found_again = _rules(shuffled(tables, data.draw))
    assert found == found_again
    assert (rules and (rules.hba_text, rules.ident_text)) == (again and (again.hba_text, again.ident_text))


def test_an_option_may_be_a_secret_in_one_policy_and_a_text_in_another() -> None:
    """No line says which of the two it is: the proof looks at neither."""
    spec = 'version = 1\n[ca.root]\n[server.main]\nca = "root"\nhosts = ["db.example.com"]\nno_local = true\n'
    spec += "postgres = 18\nsettings = { oauth_validator_libraries = 'v' }\n"
    for user, scope in (("eve", '{ env = "SCOPE" }'), ("app", '"openid"')):
        spec += f'[user.{user}]\n[policy.{user}]\nservers = ["main"]\nusers = ["{user}"]\ndatabases = ["shop"]\n'
        spec += f'from = ["10.0.0.0/8"]\nauth = "oauth"\nauth_options = {{ issuer = "https://x", scope = {scope} }}\n'
    text = pgtls.loads(spec).usable().rules["main"].hba_text
    assert "scope=openid" in text
    assert "scope=<scope of policy eve>" in text


def test_a_map_that_accepts_whoever_has_the_name_of_the_role_is_understood(tmp_path: Path) -> None:
    spec = tmp_path / "pgtls.toml"
    spec.write_text(
        'version = 1\n[ca.root]\n[server.main]\nca = "root"\nclient_ca = ["root"]\nhosts = ["db"]\nno_local = true\n'
        '[user.app]\nca = "root"\n[policy.app]\nusers = ["app"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"\n'
        'map = [{ identity = "/^(.*)$", role = "\\\\1" }]\n'
    )
    assert run(["check", str(spec)]) == 0


# --- specs for which a rule was missing -------------------------------------------------------------------------------

BOB = '[user.bob]\nca = "clients"\n[user.dee]\nca = "clients"\n'
SAMEUSER = (
    BOB
    + """
[policy.pattern]
users = ["bob"]
databases = ["/^b"]
from = ["all"]
auth = "scram-sha-256"
priority = 2
[policy.staff]
users = ["+staff"]
from = ["all"]
auth = "reject"
[policy.own]
users = ["bob"]
databases = ["sameuser"]
from = ["all"]
auth = "cert"
"""
)
HOST_AND_NETWORK = (
    BOB
    + """
[policy.crew]
users = ["+staff"]
from = ["all"]
auth = "cert"
[policy.host]
users = ["dee"]
from = ["db.example.com"]
auth = "cert"
[policy.network]
users = ["bob"]
from = ["192.168.0.0/16"]
auth = "cert"
"""
)
BOOKS = """
[user.bob]
roles = ["staff"]
member_of = ["staff"]
[policy.first]
users = ["bob"]
from = ["all"]
auth = "scram-sha-256"
priority = 2
[policy.books]
users = ["all"]
databases = ["books"]
from = ["all"]
auth = "cert"
priority = 1
[policy.staff]
users = ["+staff"]
databases = ["samerole"]
from = ["all"]
auth = "reject"
priority = 1
"""


def _local(text: str) -> str:
    return BASE.replace("hosts", "no_local = true\nhosts") + text


@pytest.mark.parametrize(
    ("text", "decisive"),
    [
        pytest.param(SAMEUSER, "scram-sha-256", id="a pattern matches the database of the role that a policy names"),
        pytest.param(HOST_AND_NETWORK, "192.168.0.0/16", id="a host and a network for two members of one group"),
    ],
)
def test_a_good_spec_compiles_and_proves_and_each_line_counts(text: str, decisive: str) -> None:
    fleet = fleet_of(_local(text))
    rules, _ = compile_rules(fleet, fleet.servers["primary"])
    assert rules is not None
    assert prove(fleet, rules) == ()
    without = "".join(line for line in rules.hba_text.splitlines(keepends=True) if decisive not in line)
    assert without != rules.hba_text
    assert prove(fleet, replace(rules, hba_text=without))


MANY = 30
"""More groups and expressions than the proof combines in every way, with the roles that policies name."""


def _of_groups() -> str:
    """Return a spec in which every second policy rejects; any two may meet, and the order decides."""
    spec = 'version = 1\n[ca.root]\n[server.main]\nca = "root"\nhosts = ["db.example.com"]\nno_local = true\n'
    for number in range(MANY):
        spec += f'[user.u{number}]\n[policy.p{number}]\nusers = ["+g{number}", "u{number}"]\npriority = {number}\n'
        spec += f'databases = ["/^e{number}", "d{number % 3}"]\nfrom = ["10.{number % 2}.0.0/16", "10.2.0.0/16"]\n'
        spec += 'auth = "reject"\n' if number % 2 else 'auth = "scram-sha-256"\n'
    return spec


@pytest.mark.parametrize("moved", [0, 7, 14, 21, MANY - 1])
def test_of_many_groups_and_expressions_a_line_in_the_wrong_place_is_found(moved: int) -> None:
    """Each pair of them is looked at, so the line that must come first has to."""
    fleet = pgtls.loads(_of_groups()).usable().fleet
    rules, _ = compile_rules(fleet, fleet.servers["main"])
    assert rules is not None
    assert prove(fleet, rules) == ()
    lines = [line for line in rules.hba_text.splitlines() if line.startswith("host")]
    own = [line for line in lines if f'+"g{moved}",' in line]
    others = [line for line in lines if line not in own]
    assert own
    for wrong in ([*own, *others], [*others, *own], others):
        assert wrong == lines or prove(fleet, replace(rules, hba_text="\n".join(wrong) + "\n"))


def test_whether_an_unknown_member_of_a_group_is_in_another_is_not_known() -> None:
    rules, found = compiled(_local(BOOKS))
    assert rules is None
    assert [fault.code for fault in found if fault.severity == "error"] == ["PGT250"]
    known = BOOKS.replace('["samerole"]', '["shop"]')
    rules, found = compiled(_local(known))
    assert rules is not None, found


OF_ITSELF = """
[user.ann]
roles = ["staff", "ann"]
member_of = ["dba"]
[policy.staff]
users = ["+staff"]
databases = ["ann"]
from = ["all"]
auth = "gss"
[policy.own]
users = ["+staff"]
databases = ["samerole"]
from = ["all"]
auth = "reject"
"""


def test_members_of_a_group_of_whom_nothing_is_said_count_where_the_group_itself_is_known() -> None:
    rules, found = compiled(_local(OF_ITSELF))
    assert rules is None
    assert [fault.code for fault in found if fault.severity == "error"] == ["PGT250"]
    rules, found = compiled(_local(OF_ITSELF.replace('["samerole"]', '["shop"]')))
    assert rules is not None, found


NAMED_LIKE_A_DATABASE = """
[user.bob]
[policy.every]
users = ["all"]
databases = ["ann"]
from = ["all"]
auth = "gss"
[policy.own]
users = ["+dba"]
databases = ["sameuser"]
from = ["all"]
auth = "scram-sha-256"
"""
THIRD = '[policy.third]\nusers = ["bob"]\nfrom = ["all"]\nauth = "md5"\npriority = 3\n'


def test_a_role_with_the_name_of_a_database_may_be_in_a_group_whatever_a_third_policy_decides() -> None:
    for third in ("", THIRD):
        rules, found = compiled(_local(NAMED_LIKE_A_DATABASE + third))
        assert rules is None
        assert [fault.code for fault in found if fault.severity == "error"] == ["PGT250"]
    rules, found = compiled(_local(NAMED_LIKE_A_DATABASE.replace('["sameuser"]', '["books"]') + THIRD))
    assert rules is not None, found


def test_two_policies_overlap_in_both_directions_or_in_none() -> None:
    known = Memberships({"staff": frozenset({"staff"})})
    one = Scope(Roles(groups=frozenset({"dba"})), Databases(sameuser=True), Addresses(every=True))
    two = Scope(Roles(groups=frozenset({"staff"})), Databases(frozenset({"staff"})), Addresses(every=True))
    assert not one.overlaps(two, known)
    assert not two.overlaps(one, known)
    unknown = Memberships({})
    assert one.overlaps(two, unknown)
    assert two.overlaps(one, unknown)
