"""What services of bundles do, under their names and for what they reach, is compared whatever policies admit."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime

import pytest

import pgtls
from pgtls.access.bundles import index
from pgtls.access.comparisons import ENVIRONMENT, SERVICE
from pgtls.access.model import Entry
from pgtls.output.bundle import compiled

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SPEC = """version = 1
[ca.root]
[server.main]
ca = "root"
client_ca = ["root"]
hosts = ["db.example.com"]
no_local = true
[server.other]
ca = "root"
hosts = ["other.example.com"]
no_local = true
[user.app]
roles = ["app", "reporting"]
[user.rest]
roles = ["app", "reporting"]
"""


def policy(name: str, users: str, sets: str = "", databases: str = '"shop"', network: str = "10.0.0.0/8") -> str:
    """Return a policy that "rest" is in, too, so that the server admits both roles whatever users change."""
    return (
        f'[policy.{name}]\nservers = ["main"]\nusers = ["rest"{users}]\ndatabases = [{databases}]\n'
        f'from = ["{network}"]\nauth = "scram-sha-256"\n{sets}'
    )


APP = ', "app"'
LDAP = 'auth_options = { ldapserver = "one", ldapprefix = "cn=", ldaptls = true }\n'
BOUND = 'channel_binding = "require"\n'
WEAK = 'sslmode = "require"\n'
ENDS = "until = 2027-01-01\n"
OTHER = {"network": "192.0.2.0/24"}
ALL = {"databases": '"all"'}
NAMED = {"databases": '"shop-reporting"'}
LOCAL = {"network": "127.0.0.1"}
SERVER = 'servers = ["main"]', 'servers = ["other"]'

BINDING = "the channel_binding of {}, of app"
MODE = "the sslmode of {}, of app"
SHOP, NAMESAKE = "services main-shop, main-shop-reporting", "service main-shop-reporting"
WEAKER = {MODE.format(SHOP), BINDING.format(SHOP)}
CHANGES: dict[str, tuple[str, str, set[str]]] = {
    "another policy of the database": (
        policy("strong", APP, BOUND) + policy("weak", "", WEAK, **OTHER),
        policy("strong", "", BOUND) + policy("weak", APP, WEAK, **OTHER),
        WEAKER,
    ),
    "a stronger policy": (
        policy("strong", "", BOUND) + policy("weak", APP, WEAK, **OTHER),
        policy("strong", APP, BOUND) + policy("weak", "", WEAK, **OTHER),
        set(),
    ),
    "another database and role with the name": (
        policy("strong", APP, BOUND) + policy("weak", "", WEAK, **NAMED),
        policy("strong", APP, BOUND) + policy("weak", APP, WEAK, **NAMED),
        {
            *(one.format(NAMESAKE) for one in (MODE, BINDING)),
            *(f"the {one} of {NAMESAKE}, of app" for one in ("role", "database")),
        },
    ),
    "a number that another database had": (
        policy("strong", APP, databases='"a!b", "a.b"'),
        policy("strong", APP, databases='"a!b", "a.b"') + policy("more", APP, databases='"a b"', **OTHER),
        {"the database of services main-a_b, main-a_b-reporting, of app, rest"},
    ),
    "a policy for all databases": (
        policy("strong", APP) + policy("weak", "", WEAK, **ALL, **OTHER),
        policy("strong", "") + policy("weak", APP, WEAK, **ALL, **OTHER),
        {"the sslmode of services main-shop (now main), main-shop-reporting (now main-reporting), of app"},
    ),
    "a policy for one database instead of all": (
        policy("strong", APP, **ALL, **OTHER) + policy("weak", "", WEAK),
        policy("strong", "", **ALL, **OTHER) + policy("weak", APP, WEAK),
        {"the sslmode of services main (now main-shop), main-reporting (now main-shop-reporting), of app"},
    ),
    "the loopback interface": (
        policy("strong", APP) + policy("weak", "", WEAK, **LOCAL),
        policy("strong", "") + policy("weak", APP, WEAK, **LOCAL),
        {MODE.format(SHOP), f"the hostaddr of {SHOP}, of app"},
    ),
    "the loopback interface, too": (
        policy("strong", APP) + policy("weak", "", WEAK, **LOCAL),
        policy("strong", APP) + policy("weak", APP, WEAK, **LOCAL),
        set(),
    ),
    "another server": (
        policy("strong", APP) + policy("weak", "", WEAK).replace(*SERVER),
        policy("strong", "") + policy("weak", APP, WEAK).replace(*SERVER),
        {"PGSSLMODE in the environment of bundles, of app"},
    ),
    "another server, too": (
        policy("strong", APP) + policy("weak", "", WEAK).replace(*SERVER),
        policy("strong", APP) + policy("weak", APP, WEAK).replace(*SERVER),
        set(),
    ),
    "a policy that ends": (
        policy("strong", APP, BOUND) + policy("weak", "", WEAK, **OTHER),
        policy("strong", APP, BOUND + ENDS) + policy("weak", APP, WEAK, **OTHER) + policy("rest", "", BOUND),
        {f"{one}, from 2027-01-01T00:00:00Z on" for one in WEAKER},
    ),
}
"""The policies before and after, and what is weaker."""


@pytest.mark.parametrize(("before", "after", "told"), CHANGES.values(), ids=CHANGES)
def test_a_service_that_does_less_is_a_weakening_although_the_server_admits_the_same(
    before: str, after: str, told: set[str]
) -> None:
    old, new = (pgtls.loads(SPEC + text, now=NOW) for text in (before, after))
    found = pgtls.diff(old, new)
    assert {change.what for change in found.protection if change.kind == "weakened"} == told
    assert found.exceeds("weakened") is bool(told)


def test_a_weaker_service_of_several_users_is_one_row_now_and_none_when_one_of_them_ends() -> None:
    """It is known from the beginning, so that the end of one of them shows nothing that is new."""
    people = SPEC + "[user.more]\nroles = ['app']\nuntil = 2027-01-01\n"
    both = policy("strong", ', "app", "more"', WEAK)
    old, new = (pgtls.loads(people + text, now=NOW) for text in (both.replace(WEAK, ""), both))
    found = [change.what for change in pgtls.diff(old, new).protection if change.entity == "server.main"]
    assert found == ["the sslmode of services main-shop, main-shop-reporting, of app, more, rest"]


@pytest.mark.parametrize(("mode", "told"), [("verify-full", False), ("require", True)])
def test_a_new_name_of_a_server_hides_no_weaker_service(mode: str, *, told: bool) -> None:
    """Its bundle takes the strictest mode of all its policies: one that goes with the old name weakens it."""
    weak, gone = policy("weak", APP, WEAK), policy("strong", APP, **OTHER).replace("10.0", "10.1")
    stays = gone.replace('"verify-full"', f'"{mode}"') + f'sslmode = "{mode}"\n'
    renamed = (SPEC + weak + stays).replace("server.main]", "server.primary]").replace('["main"]', '["primary"]')
    found = pgtls.diff(pgtls.loads(SPEC + weak + gone, now=NOW), pgtls.loads(renamed, now=NOW))
    rows = [change.what for change in found.protection if change.what.startswith("the sslmode of services ")]
    assert [row.startswith("the sslmode of services main-shop (now primary-shop)") for row in rows] == [True] * told


def test_a_client_that_shows_its_certificate_no_more_is_a_weakening() -> None:
    certified = SPEC.replace("[user.app]", '[user.app]\nca = "root"')
    old, new = (
        pgtls.loads(text + policy("strong", APP), now=NOW)
        for text in (certified, certified.replace('client_ca = ["root"]\n', ""))
    )
    told = "the certificate of services main-shop, main-shop-reporting, of app"
    assert told in {change.what for change in pgtls.diff(old, new).protection}
    assert told not in {change.what for change in pgtls.diff(new, old).protection}


STANDBY = """[server.stand]
ca = "root"
client_ca = ["root"]
hosts = ["stand.example.com"]
no_local = true
standby_of = "main"
replication_user = "repl"
[user.repl]
ca = "root"
"""
BOTH = 'servers = ["main"]', 'servers = ["main", "stand"]'
STAND = 'servers = ["main"]', 'servers = ["stand"]'
SEVERAL, TAKEN = "main-shop-read-write", "of service main-shop-read-write, of app"


@pytest.mark.parametrize(
    ("database", "told"),
    [
        ("shop-rw", set()),
        ("shop-read-write", {f"the {one} {TAKEN}" for one in ("sslmode", "channel_binding", "database")}),
    ],
)
def test_a_database_that_takes_the_name_of_a_service_over_several_servers_is_a_weakening(
    database: str, told: set[str]
) -> None:
    strong = SPEC + STANDBY + policy("strong", APP, BOUND).replace(*BOTH)
    more = policy("more", "", WEAK, f'"{database}"').replace('["rest"]', '["app"]')
    old, new = (
        pgtls.loads(text.replace('roles = ["app", "reporting"]\n', ""), now=NOW) for text in (strong, strong + more)
    )
    found = pgtls.diff(old, new)
    assert {change.what for change in found.protection if " of service" in change.what} == told


def test_a_weaker_service_over_several_servers_that_takes_the_name_of_a_database_is_a_weakening() -> None:
    rest = SPEC.replace('roles = ["app", "reporting"]\n', "") + STANDBY
    old = rest + policy("one", APP, databases=f'"{SEVERAL.removeprefix("main-")}"')
    new = rest + policy("several", APP, WEAK).replace(*BOTH)
    found = pgtls.diff(*(pgtls.loads(text, now=NOW) for text in (old, new))).protection
    told = {change.what.partition(" of service")[0] for change in found if SEVERAL in change.what}
    assert told == {"the servers", "the database", "the sslmode"}


@pytest.mark.parametrize("weak", [WEAK, 'channel_binding = "disable"\n'], ids=["sslmode", "channel binding"])
def test_a_standby_that_joins_a_service_by_equal_demands_is_a_further_server(weak: str) -> None:
    """Only then does a bundle have a service over both, which dials the standby for programs that name it."""
    lab = STANDBY[: STANDBY.index("[user.repl]")].replace("stand", "lab").replace("lab" + "by_of", "standby_of")
    rest = SPEC.replace('roles = ["app", "reporting"]\n', "") + STANDBY + lab + policy("both", APP).replace(*BOTH)
    far = policy("far", APP, weak).replace(*STAND).replace('"stand"', '"lab"')
    old, new = (pgtls.loads(rest + text, now=NOW) for text in (far, far.replace(weak, "")))
    told = [(c.kind, c.entity, c.after) for c in pgtls.diff(old, new).protection if c.what.startswith("the servers of")]
    assert told == [("weakened", "server.lab", "server.main, server.lab, server.stand")]
    assert not [c for c in pgtls.diff(new, old).protection if c.what.startswith("the servers of")]


NEW = SPEC.replace("no_local", "postgres = 17\nno_local").replace("[user.app]", "[user.app]\nlibpq = 17")
ELSEWHERE = policy("more", "", databases='"wiki"').replace(*SERVER).replace('["rest"]', '["app"]')
STRONG = policy("strong", APP, BOUND)


@pytest.mark.parametrize(
    ("added", "told"),
    [
        (ELSEWHERE, {"PGCHANNELBINDING"}),
        (ELSEWHERE + BOUND, set()),
        (ELSEWHERE.replace("scram-sha-256", "ldap") + LDAP, {"PGCHANNELBINDING", "PGREQUIREAUTH"}),
        (ELSEWHERE.replace('"other"', '"older"') + BOUND, {"PGSSLNEGOTIATION"}),
    ],
    ids=["another binding", "the same demands", "another method", "an older server"],
)
def test_a_variable_that_a_bundle_no_longer_sets_is_a_weakening(added: str, told: set[str]) -> None:
    """It stands for programs that name no service: they demand less of every server."""
    older = '[server.older]\nca = "root"\nhosts = ["old.example.com"]\npostgres = 16\nno_local = true\n'
    directory = (
        policy("rest", "", databases='"z"')
        .replace('["main"]', '["main", "other", "older"]')
        .replace("scram-sha-256", "ldap")
    )
    spec = NEW + older + directory + LDAP + "priority = 1\n" + STRONG
    found = pgtls.diff(*(pgtls.loads(text, now=NOW) for text in (spec, spec + added))).protection
    rows = [change.what for change in found if change.kind == "weakened"]
    assert {row.removesuffix(" in the environment of bundles, of app") for row in rows} == told


def test_every_variable_of_a_bundle_is_compared() -> None:
    certified = NEW.replace("[user.app]", '[user.app]\nca = "root"').replace('roles = ["app", "reporting"]\n', "")
    asking = policy("strong", APP, BOUND + 'client_cert = "verify-full"\n').replace('"rest", ', "")
    fleet = pgtls.loads(certified.replace("[user.rest]\n", "") + asking, now=NOW).usable().fleet
    set_here = compiled(fleet.users["app"], index(fleet)["app"]).environment
    assert ENVIRONMENT.keys() == {*set_here, "PGSSLROOTCERT"}


def test_a_binding_that_libpq_prefers_of_itself_is_no_weaker() -> None:
    """Another method has no channel to bind: the report of access tells the method, and no lack of binding."""
    text = SPEC + policy("strong", APP)
    old, new = (pgtls.loads(one, now=NOW) for one in (text, text.replace("scram-sha-256", "md5")))
    assert [entry.channel_binding for entry in index(new.usable().fleet)["app"]] == [None, None]
    assert not [change for change in pgtls.diff(old, new).protection if "channel_binding" in change.what]


def test_every_parameter_of_a_service_is_compared() -> None:
    """The rest follows from the name, or is compared as servers, as requests and as certificates of servers are."""
    names = {field.name for field in fields(Entry)}
    assert names - SERVICE.keys() == {"name", "server", "identity", "policies", "beside"}
    assert SERVICE.keys() <= names
