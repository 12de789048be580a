"""Names to objects, defaults, groups, networks, and what has ended."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_network

import pytest

from fleet.specs import NOW, findings, fleet, judge, loaded
from pgtls.fleet.resolve import resolve
from pgtls.hba.model import HostName, Keyword, Member, Name, Regex

BASE = """
[ca.root]
[ca.clients]
[server.primary]
ca = "root"
client_ca = ["clients"]
hosts = ["db.example.com"]
[user.postgres]
[policy.admin]
users = ["postgres"]
from = ["local"]
auth = "peer"
"""

PEOPLE = """
[user.app]
ca = "clients"
[user.alice]
ca = "clients"
roles = ["alice", "reporting"]
member_of = ["staff"]
[user.auditor]
until = 2026-06-01
"""


def policy(**fields: str) -> str:
    lines = {"users": '["app"]', "from": '["10.0.0.0/8"]', "auth": '"scram-sha-256"'} | fields
    return "[policy.it]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())


def it(**fields: str) -> object:
    return fleet(BASE + PEOPLE + policy(**fields)).policies["it"]


def test_references_become_links_and_defaults_are_filled_in() -> None:
    found = fleet(BASE + PEOPLE + policy())
    server, app, alice, it = found.servers["primary"], found.users["app"], found.users["alice"], found.policies["it"]
    assert server.ca is found.cas["root"]
    assert server.client_cas == (found.cas["clients"],)
    assert server.validity.days == 90
    assert (app.roles, app.os_users, app.common_name, app.ca) == (("app",), ("app",), "app", found.cas["clients"])
    assert (alice.roles, alice.os_users) == (("alice", "reporting"), ("alice", "reporting"))
    assert it.servers == (server,)
    assert it.users == (app,)
    assert it.roles == (Name("app"),)
    assert it.databases == (Keyword.ALL,)
    assert it.addresses == (ip_network("10.0.0.0/8"),)
    assert (it.local, it.sslmode, it.requires_tls) == (False, "verify-full", True)
    assert (found.policies["admin"].local, found.policies["admin"].sslmode) == (True, None)
    assert found.policies_of(server) == (found.policies["admin"], it)


def test_everything_is_in_the_order_of_names_however_the_tables_are() -> None:
    tables = (BASE + PEOPLE + policy()).split("\n[")
    shuffled = "\n[".join([tables[0], *reversed(tables[1:])])
    first, second = fleet("\n[".join(tables)), fleet(shuffled)
    assert list(first.users) == ["alice", "app", "postgres"]
    assert (first.cas, first.servers, first.users, first.policies) == (
        second.cas,
        second.servers,
        second.users,
        second.policies,
    )


def test_depth_counts_the_levels_of_cas_below() -> None:
    found = fleet(
        """
        [ca.root]
        [ca.a]
        issuer = "root"
        [ca.b]
        issuer = "a"
        [ca.c]
        issuer = "root"
        """
    )
    assert {ca.name: ca.depth for ca in found.cas.values()} == {"root": 2, "a": 1, "b": 0, "c": 0}
    assert [ca.name for ca in found.cas["b"].chain] == ["b", "a", "root"]
    assert found.cas["b"].root is found.cas["root"]


@pytest.mark.parametrize(
    ("said", "roles", "users"),
    [
        ('["app"]', (Name("app"),), ["app"]),
        ('["alice"]', (Name("alice"), Name("reporting")), ["alice"]),
        ('["alice", "app", "alice"]', (Name("alice"), Name("reporting"), Name("app")), ["alice", "app"]),
        ('["@both"]', (Name("app"), Name("alice"), Name("reporting")), ["app", "alice"]),
        ('["@both", "app"]', (Name("app"), Name("alice"), Name("reporting")), ["app", "alice"]),
        ('["all"]', (Keyword.ALL,), ["alice", "all", "app", "postgres"]),
        ('["+staff"]', (Member("staff"),), ["alice"]),
        ('["+reporting"]', (Member("reporting"),), ["alice"]),
        ('["+nobody"]', (Member("nobody"),), []),
        ('[{ name = "all" }]', (Name("all"),), ["all"]),
        ('["app", "auditor"]', (Name("app"),), ["app"]),
    ],
)
def test_a_user_stands_for_its_roles(said: str, roles: object, users: list[str]) -> None:
    groups = '[user.all]\n[group.both]\nusers = ["app", "alice", "auditor"]\n'
    found = fleet(BASE + PEOPLE + groups + policy(users=said)).policies["it"]
    assert found.roles == roles
    assert [user.name for user in found.users] == users


@pytest.mark.parametrize(
    ("said", "databases"),
    [
        ('["shop"]', (Name("shop"),)),
        (
            '["all", "sameuser", "samerole", "replication"]',
            (Keyword.ALL, Keyword.SAMEUSER, Keyword.SAMEROLE, Keyword.REPLICATION),
        ),
        ('["/^shop_"]', (Regex("^shop_"),)),
        (
            '[{ name = "all" }, { name = "/x" }, { name = "replication" }]',
            (Name("all"), Name("/x"), Name("replication")),
        ),
        ('["samegroup", "a b", "+x", "@x"]', (Name("samegroup"), Name("a b"), Name("+x"), Name("@x"))),
    ],
)
def test_databases_are_names_words_and_expressions(said: str, databases: object) -> None:
    assert fleet(BASE + PEOPLE + policy(databases=said)).policies["it"].databases == databases


def test_networks_are_expanded_and_said_once() -> None:
    network = '[network.office]\naddresses = ["10.9.0.0/16", "gate.example.com"]\n'
    said = '["@office", "10.9.0.0/16", "samehost", { name = "all" }]'
    found = fleet(BASE + PEOPLE + network + policy(**{"from": said})).policies["it"]
    assert found.addresses == (
        ip_network("10.9.0.0/16"),
        HostName("gate.example.com"),
        Keyword.SAMEHOST,
        HostName("all"),
    )


SECOND = '[server.second]\nca = "root"\nhosts = ["db2.example.com"]\nno_local = true\n'


def test_all_servers_may_be_said_and_one_server_is_the_default() -> None:
    two = BASE.replace("auth =", 'servers = ["primary"]\nauth =') + SECOND + PEOPLE
    assert [s.name for s in fleet(two + policy(servers='["all"]')).policies["it"].servers] == ["primary", "second"]
    assert [s.name for s in fleet(two + policy(servers='["second"]')).policies["it"].servers] == ["second"]
    found, diagnostics = judge(two + policy())
    assert found is None
    assert [d.code for d in diagnostics] == ["PGT104"]


def test_who_was_in_a_policy_that_has_ended_is_told_so() -> None:
    old = policy().replace("[policy.it]", "[policy.old]\nuntil = 2026-05-31").replace("app", "alice")
    found, ended = findings(BASE + PEOPLE + policy() + old)
    assert 'user "alice" cannot connect: its only policy, "old", ended at 2026-05-31T00:00:00Z' in found
    assert ended.startswith("PGT126 user.auditor"), "one finding is enough for the policy"


def test_what_has_ended_is_not_there_and_may_still_be_named() -> None:
    ended = (
        '[user.bob]\nuntil = 2026-05-31\n[policy.b]\nusers = ["bob"]\nfrom = ["10.0.0.0/8"]\nauth = "scram-sha-256"\n'
    )
    old = '[policy.c]\nusers = ["app"]\nfrom = ["10.0.0.0/8"]\nauth = "scram-sha-256"\nuntil = 2026-06-01T00:00:00Z\n'
    text = BASE + PEOPLE + policy() + ended + old
    unused, *ended_ones = findings(text)
    assert unused == (
        'PGT121 user.alice: user "alice" cannot connect: no policy names it (name the user in a policy, or delete it)'
    )
    assert [one.partition(":")[0] for one in ended_ones] == [
        *("PGT126 user.auditor.until", "PGT126 user.bob.until", "PGT126 policy.c.until")
    ]
    assert list(fleet(text).policies) == ["admin", "it"]
    assert list(fleet(text).users) == ["alice", "app", "postgres"]
    before = fleet(text, datetime(2026, 5, 1, tzinfo=UTC))
    assert list(before.policies) == ["admin", "b", "c", "it"]
    assert list(before.users) == ["alice", "app", "auditor", "bob", "postgres"]


def test_sslmode_from_defaults_is_left_out_where_it_has_no_meaning() -> None:
    text = BASE + PEOPLE + '[defaults.policy]\nsslmode = "require"\n' + policy()
    assert fleet(text).policies["admin"].sslmode is None
    assert fleet(text).policies["it"].sslmode == "require"
    assert not [f for f in findings(text) if f.startswith("PGT205")]


def test_what_a_version_lacks_is_left_out_if_it_comes_from_defaults() -> None:
    defaults = """
        [defaults.server]
        groups = "X25519:prime256v1"
        tls13_ciphers = "TLS_AES_256_GCM_SHA384"
        settings = { transaction_timeout = "1min", work_mem = "4MB" }
        """
    old = fleet(defaults + BASE.replace('ca = "root"', 'ca = "root"\npostgres = 16')).servers["primary"].table
    assert (old.groups, old.tls13_ciphers, old.settings) == (None, None, {"work_mem": "4MB"})
    new = fleet(defaults + BASE.replace('ca = "root"', 'ca = "root"\npostgres = 18')).servers["primary"].table
    assert (new.groups, new.tls13_ciphers) == ("X25519:prime256v1", "TLS_AES_256_GCM_SHA384")
    assert new.settings == {"transaction_timeout": "1min", "work_mem": "4MB"}


def test_a_user_may_do_without_the_certificate_that_the_defaults_give() -> None:
    text = '[defaults.user]\nca = "clients"\n[ca.clients]\n[user.app]\n[user.postgres]\nca = "none"\n'
    found = fleet(text)
    assert {name: (user.ca and user.ca.name, user.table.ca) for name, user in found.users.items()} == {
        "app": ("clients", "clients"),
        "postgres": (None, None),
    }


def test_a_bad_default_is_one_mistake_at_its_place() -> None:
    text = BASE + SECOND.replace('ca = "root"\n', "") + '[defaults.server]\nca = "rooot"\n'
    text += '[server.third]\nhosts = ["db3.example.com"]\n'
    text = text.replace("[policy.admin]", '[policy.admin]\nservers = ["all"]')
    assert findings(text)[0] == 'PGT101 defaults.server.ca: there is no ca "rooot" (did you mean "root"?)'
    assert len([f for f in findings(text) if f.startswith("PGT101")]) == 1


def test_a_fleet_with_a_broken_reference_is_none_and_the_rest_is_checked_nevertheless() -> None:
    text = BASE + PEOPLE + policy(users='["ap"]', auth='"trust"')
    made, diagnostics = resolve(loaded(text), NOW)
    assert made is None
    assert [d.code for d in diagnostics] == ["PGT101", "PGT301"]  # and not that "app" is in no policy


def test_every_circle_is_found_once_and_what_hangs_on_it_is_no_mistake() -> None:
    text = """
        [ca.a]
        issuer = "b"
        [ca.b]
        issuer = "a"
        [ca.below]
        issuer = "a"
        [ca.c]
        issuer = "c"
        """
    assert [f.split(" (")[0] for f in findings(text)] == [
        'PGT102 ca.a.issuer: CAs sign each other in a circle: "a" -> "b" -> "a"',
        'PGT102 ca.c.issuer: ca "c" is its own issuer',
    ]


def test_a_chain_of_a_thousand_cas_is_resolved() -> None:
    text = "[ca.c0]\n" + "".join(f'[ca.c{i}]\nissuer = "c{i - 1}"\n' for i in range(1, 1000))
    found = fleet(text)
    assert (found.cas["c0"].depth, len(found.cas["c999"].chain)) == (999, 1000)
