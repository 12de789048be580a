"""What is found where policies meet, and what is no mistake."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from access.fleets import BASE, compiled, fleet_of
from pgtls.access.compile import compile_rules
from pgtls.access.held import common_name, held
from pgtls.access.trust import trust
from pgtls.pki.model import Certificate, Entity

APP = (
    '[user.app]\nca = "clients"\n[policy.app]\nusers = ["app"]\ndatabases = ["shop"]\nfrom = ["10.0.0.0/8"]\n'
    'auth = "cert"\n'
)


def _codes(tables: str) -> list[str]:
    return [found.code for found in compiled(tables)[1] if not found.accepted]


@dataclass(frozen=True)
class Issued:
    """A certificate of the lock."""

    ca: str
    entity: Entity
    certificate: Certificate
    roots: tuple[str, ...] = ()
    foreign: bool = False


def _issued(entity: str, subject: str, ca: str = "clients", usages: tuple[str, ...] = ()) -> Issued:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    return Issued(
        ca,
        Entity(entity),
        Certificate(
            "1f", subject, "CN=clients", (), usages, "ecdsa-p256", "", "", None, "", when, when.replace(year=2027)
        ),
    )


@pytest.mark.parametrize(
    ("title", "known", "expected"),
    [
        ("another user's certificate of that name", _issued("user.old", "CN=app,O=Example"), ["PGT254"]),
        ("its own certificate", _issued("user.app", "CN=app"), []),
        ("another name", _issued("user.old", "CN=old"), []),
        (
            "a CA that the server does not name, below a root that it trusts",
            _issued("user.old", "CN=app", "root"),
            ["PGT254", "PGT255"],
        ),
        ("a CA that the server does not trust", _issued("user.old", "CN=app", "elsewhere"), []),
        ("a server's certificate for every purpose", _issued("server.old", "CN=app"), ["PGT254"]),
        ("a server's certificate", _issued("server.old", "CN=app", usages=("serverAuth",)), []),
    ],
)
def test_a_certificate_that_is_still_good_counts_as_a_user(title: str, known: Issued, expected: list[str]) -> None:
    fleet = fleet_of(BASE + APP)
    _, found = compile_rules(fleet, fleet.servers["primary"], held(fleet, [known]))
    assert [diagnostic.code for diagnostic in found] == expected, title


def test_a_whole_subject_is_told_apart_from_another_with_the_same_common_name() -> None:
    fleet = fleet_of(BASE + APP.replace('ca = "clients"\n', 'ca = "clients"\nidentity = "dn"\n'))
    server = fleet.servers["primary"]
    assert compile_rules(fleet, server, held(fleet, [_issued("user.old", "CN=app,O=Example")]))[1] == ()
    assert [found.code for found in compile_rules(fleet, server, held(fleet, [_issued("user.old", "CN=app")]))[1]] == [
        "PGT254"
    ]


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("CN=app,O=Example", "app"),
        ("O=Example", None),
        ("CN=second,CN=first", "first"),
        ("CN=second,OU=staff+CN=first,O=Example", "first"),
        (r"CN=a\+CN\=b,O=Example", "a+CN=b"),
        (r"CN=a\,b\CE\9F,O=CN\=x", "a,bΟ"),
    ],
)
def test_the_common_name_of_a_subject_is_the_first_in_encoding_order(subject: str, expected: str | None) -> None:
    assert common_name(subject) == expected


MACHINES = '[ca.machines]\nissuer = "root"\n[user.robot]\nca = "machines"\n'
EVERYBODY = '[policy.all]\nusers = ["all"]\ndatabases = ["public"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"\n'


def test_a_ca_that_comes_with_the_root_may_not_let_anybody_in() -> None:
    assert _codes(BASE + APP + MACHINES) == []  # it may show its certificate, and no role of that name is open
    assert _codes(BASE + APP + MACHINES + EVERYBODY) == ["PGT255"]
    own_root = (BASE + APP + MACHINES + EVERYBODY).replace('[ca.clients]\nissuer = "root"', "[ca.clients]")
    assert _codes(own_root) == []
    named = (BASE + APP + MACHINES + EVERYBODY).replace(
        'client_ca = ["clients"]', 'client_ca = ["clients", "machines"]'
    )
    assert _codes(named) == []


CLIENT = '[user.app]\nca = "clients"\n'
POLICY = '[policy.shop]\nusers = ["app"]\ndatabases = ["shop"]\nfrom = ["10.0.0.0/8"]\n'


@pytest.mark.parametrize(
    ("title", "robot", "policy", "expected"),
    [
        (
            "a role that a map opens",
            'common_name = "app.machines"\nroles = ["x"]\n',
            'auth = "cert"\nmap = [{ identity = "/^(.*)\\\\.machines$", role = "\\\\1" }]\n',
            ["PGT255"],
        ),
        (
            "a map that does not fit",
            'common_name = "robot"\n',
            'auth = "cert"\nmap = [{ identity = "/^(.*)\\\\.x$", role = "\\\\1" }]\n',
            [],
        ),
        ("any certificate beside a password", "", 'auth = "scram-sha-256"\nclient_cert = "verify-ca"\n', ["PGT255"]),
        (
            "a certificate of that name beside a password",
            "",
            'auth = "scram-sha-256"\nclient_cert = "verify-full"\n',
            [],
        ),
    ],
)
def test_users_of_another_ca_that_a_line_admits_are_found(
    title: str, robot: str, policy: str, expected: list[str]
) -> None:
    assert _codes(BASE + CLIENT + MACHINES + robot + POLICY + policy) == expected, title
    assert _codes(BASE + CLIENT + POLICY + policy) == [], title


def test_whom_a_server_trusts() -> None:
    below = '[ca.below]\nissuer = "clients"\n[ca.corporate]\ncert_file = "corporate.crt"\n'
    fleet = fleet_of(BASE.replace('["clients"]', '["clients", "corporate"]') + MACHINES + below)
    found = trust(fleet, fleet.servers["primary"])
    assert found.named == ("below", "clients", "corporate")
    assert found.others == ("machines", "root")
    assert found.foreign == ("corporate",)


SECOND = '[policy.second]\nusers = ["app"]\ndatabases = ["shop"]\n'


@pytest.mark.parametrize(
    ("title", "second", "expected"),
    [
        ("another network", 'from = ["192.168.0.0/16"]\nauth = "scram-sha-256"\nsslmode = "prefer"', []),
        (
            "narrower, and in cleartext",
            'from = ["10.9.0.0/16"]\nauth = "scram-sha-256"\nsslmode = "prefer"',
            ["PGT331"],
        ),
        (
            "narrower, in cleartext, and waived",
            'from = ["10.9.0.0/16"]\nauth = "scram-sha-256"\nsslmode = "prefer"\nwaiver = "old"',
            [],
        ),
        ("wider, and in cleartext", 'from = ["0.0.0.0/0"]\nauth = "scram-sha-256"\nsslmode = "prefer"', []),
        ("narrower, without a certificate", 'from = ["10.9.0.0/16"]\nauth = "scram-sha-256"', ["PGT258"]),
        ("narrower, and refused", 'from = ["10.9.0.0/16"]\nauth = "reject"', []),
        ("narrower, and the same", 'from = ["10.9.0.0/16"]\nauth = "cert"', []),
        ("the same twice", 'from = ["10.0.0.0/8"]\nauth = "cert"', ["PGT257"]),
        ("wider, and refused with priority", 'from = ["all"]\nauth = "reject"\npriority = 1', ["PGT256"]),
        ("of another kind", 'from = ["10.9.0.0/16"]\nauth = "md5"\npriority = -1', ["PGT256"]),
    ],
)
def test_a_second_policy(title: str, second: str, expected: list[str]) -> None:
    assert _codes(BASE + APP + SECOND + second) == expected, title


def test_two_policies_on_many_servers_are_reported_once() -> None:
    servers = "".join(
        f'[server.s{number}]\nca = "root"\nclient_ca = ["clients"]\nhosts = ["s{number}"]\n' for number in range(5)
    )
    tables = servers + BASE + APP + SECOND + 'from = ["10.9.0.0/16"]\nauth = "scram-sha-256"\n'
    fleet = fleet_of(tables.replace("users = [", 'servers = ["all"]\nusers = ['))
    found = [diagnostic.code for server in fleet.servers.values() for diagnostic in compile_rules(fleet, server)[1]]
    assert found == ["PGT258"]


@pytest.mark.parametrize(
    ("database", "named"),
    [('{ name = "replication" }', 'database "replication"'), ('"replication"', "physical replication")],
)
def test_a_database_that_is_called_replication_is_not_taken_for_physical_replication(database: str, named: str) -> None:
    policies = _policy("one", database, "cert") + _policy("two", database, "scram-sha-256")
    (found,) = compiled(f'{BASE}[user.app]\nca = "clients"\n{policies}')[1]
    assert found.code == "PGT250"
    assert f'cover role "app" on {named} from' in found.message


def _policy(name: str, database: str, auth: str) -> str:
    return f'[policy.{name}]\nusers = ["app"]\ndatabases = [{database}]\nfrom = ["10.0.0.0/8"]\nauth = "{auth}"\n'


@pytest.mark.parametrize(
    ("databases", "found"),
    [
        ('"metrics"', []),
        ('"shop_eu"', ["PGT258"]),
        ('"metrics", "shop_eu"', ["PGT250"]),
        ('"/^shop_e"', ["PGT250"]),
        ('"sameuser"', ["PGT250"]),
    ],
)
def test_names_and_regular_expressions_meet_where_they_match(databases: str, found: list[str]) -> None:
    policies = _policy("one", '"/^shop_"', "cert") + _policy("two", databases, "scram-sha-256")
    assert _codes(f'{BASE}[user.app]\nca = "clients"\n{policies}') == found
