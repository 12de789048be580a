"""What policies compile to: a spec in, whole files out."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from access.fleets import BASE, compiled, fleet_of, written
from pgtls.access.proof import prove


class Case(NamedTuple):
    """Tables to be added to the base, and the lines of both files with single blanks."""

    title: str
    tables: str
    hba: list[str]
    ident: list[str]


PEOPLE = """
[user.app]
ca = "clients"
[user.alice]
ca = "clients"
roles = ["alice", "reporting"]
[user.bob]
ca = "clients"
roles = ["bob", "reporting"]
"""

HOSTILE = (
    '"all",replication,"replication",sameuser,samerole,"/^x" '  # databases
    '"all","+y","od""d","a,b","#c","/^/re$"'
)

CASES = [
    Case(
        "no policy at all is a file that refuses everybody",
        "",
        ["# no policy admits anybody", "host all all all reject"],
        [],
    ),
    Case(
        "a certificate in the name of the role needs no map",
        PEOPLE + '[policy.app]\nusers = ["app"]\ndatabases = ["shop"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"',
        ["# policy app", 'hostssl "shop" "app" 10.0.0.0/8 cert'],
        [],
    ),
    Case(
        "of a network and parts of it, in whatever order, the network is written",
        PEOPLE
        + (
            '[policy.app]\nusers = ["app"]\nfrom = ["10.0.0.0/9", "::1", "10.128.0.0/9", "10.0.0.0/8", "10.0.0.5"]\n'
            'auth = "cert"'
        ),
        ["# policy app", 'hostssl all "app" ::1/128 cert', "# policy app", 'hostssl all "app" 10.0.0.0/8 cert'],
        [],
    ),
    Case(
        "a name that a regular expression matches is the more specific, one that it does not match is another",
        PEOPLE
        + '[policy.app]\nusers = ["app"]\ndatabases = ["/^shop_"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"\n'
        + (
            '[policy.one]\nusers = ["app"]\ndatabases = ["shop_eu", "metrics"]\nfrom = ["10.0.0.0/8"]\n'
            'auth = "scram-sha-256"\npriority = 1\n'
        )
        + '[policy.two]\nusers = ["app"]\ndatabases = ["shop_us"]\nfrom = ["10.0.0.0/8"]\nauth = "md5"\n',
        [
            "# policy one",
            'hostssl "shop_eu","metrics" "app" 10.0.0.0/8 scram-sha-256',
            "# policy two",
            'hostssl "shop_us" "app" 10.0.0.0/8 md5',
            "# policy app",
            'hostssl "/^shop_" "app" 10.0.0.0/8 cert',
        ],
        [],
    ),
    Case(
        "a second role needs a map, which then has every line",
        PEOPLE
        + (
            '[policy.staff]\nusers = ["app", "alice"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"\n'
            'description = "the \\\\ office"'
        ),
        ["# policy staff: the \\ office", 'hostssl all "app","alice","reporting" 10.0.0.0/8 cert map=staff'],
        [
            "# policy staff: the \\ office",
            '"staff" "alice" "alice"',
            '"staff" "app" "app"',
            '"staff" "alice" "reporting"',
        ],
    ),
    Case(
        "two users, one shared role, overlapping networks: each is admitted where granted and nowhere else",
        PEOPLE
        + """
[policy.one]
users = ["alice"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "cert"
[policy.two]
users = ["bob"]
databases = ["shop"]
from = ["10.9.0.0/16", "192.168.0.0/24"]
auth = "cert"
""",
        [
            "# policy one",
            "# policy two",
            'hostssl "shop" "reporting" 10.9.0.0/16 cert "map=one+two"',
            "# policy one",
            'hostssl "shop" "alice","reporting" 10.0.0.0/8 cert map=one',
            "# policy two",
            'hostssl "shop" "bob","reporting" 10.9.0.0/16 cert map=two',
            "# policy two",
            'hostssl "shop" "bob","reporting" 192.168.0.0/24 cert map=two',
        ],
        [
            "# policy one",
            "# policy two",
            '"one+two" "alice" "reporting"',
            '"one+two" "bob" "reporting"',
            "# policy one",
            '"one" "alice" "alice"',
            '"one" "alice" "reporting"',
            "# policy two",
            '"two" "bob" "bob"',
            '"two" "bob" "reporting"',
        ],
    ),
    Case(
        "who decides stands above, and cleartext is refused where a later line would admit it",
        PEOPLE
        + """
[policy.a-wide]
users = ["all"]
from = ["10.0.0.0/8"]
sslmode = "prefer"
auth = "scram-sha-256"
waiver = "an old network"
[policy.b-app]
users = ["app"]
databases = ["shop"]
from = ["10.1.0.0/16", "192.168.0.0/16"]
auth = "cert"
priority = 1
""",
        [
            "# policy b-app",
            'hostssl "shop" "app" 10.1.0.0/16 cert',
            "# policy b-app: cleartext refused",
            'hostnossl "shop" "app" 10.1.0.0/16 reject',
            "# policy b-app",
            'hostssl "shop" "app" 192.168.0.0/16 cert',
            "# policy a-wide",
            "host all all 10.0.0.0/8 scram-sha-256",
        ],
        [],
    ),
    Case(
        "priority goes before specificity, and what can decide nothing is not written",
        PEOPLE
        + """
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["10.1.0.0/16"]
auth = "cert"
[policy.closed]
users = ["all"]
from = ["10.0.0.0/8"]
auth = "reject"
priority = 1
""",
        ["# policy closed", "host all all 10.0.0.0/8 reject"],
        [],
    ),
    Case(
        "equal demands that overlap are no contradiction",
        PEOPLE
        + """
[policy.one]
users = ["app"]
from = ["10.0.0.0/8"]
auth = "scram-sha-256"
sslmode = "require"
[policy.two]
users = ["app", "bob"]
databases = ["shop"]
from = ["10.1.0.0/16"]
auth = "scram-sha-256"
""",
        [
            "# policy one",
            'hostssl all "app" 10.0.0.0/8 scram-sha-256',
            "# policy two",
            'hostssl "shop" "app","bob","reporting" 10.1.0.0/16 scram-sha-256',
        ],
        [],
    ),
    Case(
        "the socket: accounts that differ from roles need a map",
        """
[user.postgres]
[user.deploy]
roles = ["app"]
os_users = ["ci", "deploy"]
[policy.admin]
users = ["postgres"]
from = ["local"]
auth = "peer"
[policy.deploy]
users = ["deploy"]
databases = ["shop"]
from = ["local"]
auth = "peer"
""",
        ["# policy admin", 'local all "postgres" peer', "# policy deploy", 'local "shop" "app" peer map=deploy'],
        ["# policy deploy", '"deploy" "ci" "app"', '"deploy" "deploy" "app"'],
    ),
    Case(
        "everybody on the socket is who they are, and those that have other accounts besides",
        """
[user.postgres]
[user.deploy]
roles = ["app"]
os_users = ["ci"]
[policy.everybody]
users = ["all"]
from = ["local"]
auth = "peer"
""",
        ["# policy everybody", "local all all peer map=everybody"],
        ["# policy everybody", '"everybody" "ci" "app"', '"everybody" "/^(.*)$" "\\1"'],
    ),
    Case(
        "all users by certificate are those of the spec",
        PEOPLE + '[policy.all]\nusers = ["all"]\nfrom = ["all"]\nauth = "cert"',
        ["# policy all", "hostssl all all all cert map=all"],
        [
            "# policy all",
            '"all" "alice" "alice"',
            '"all" "app" "app"',
            '"all" "bob" "bob"',
            '"all" "alice" "reporting"',
            '"all" "bob" "reporting"',
        ],
    ),
    Case(
        "members of a role are those that say so",
        """
[user.app]
ca = "clients"
member_of = ["writers"]
[user.other]
ca = "clients"
[policy.writers]
users = ["+writers"]
from = ["10.0.0.0/8"]
auth = "cert"
""",
        ["# policy writers", 'hostssl all +"writers" 10.0.0.0/8 cert map=writers'],
        ["# policy writers", '"writers" "app" "app"'],
    ),
    Case(
        "policies that share lines have a second map where a third policy takes somebody away from them",
        PEOPLE
        + '[policy.team]\nusers = ["+team"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"\npriority = 2\n'
        + (
            '[policy.mail]\nusers = ["alice"]\ndatabases = ["mail"]\nfrom = ["10.0.0.0/8"]\nauth = "scram-sha-256"\n'
            "priority = 1\n"
        )
        + '[policy.people]\nusers = ["app", "alice", "bob"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"\n',
        [
            "# policy people",
            "# policy team",
            'hostssl "mail" +"team" 10.0.0.0/8 cert "map=people+team"',
            "# policy people",
            "# policy team",
            'hostssl all +"team" 10.0.0.0/8 cert "map=people+team:2"',
            "# policy mail",
            'hostssl "mail" "alice","reporting" 10.0.0.0/8 scram-sha-256',
            "# policy people",
            'hostssl all "app","alice","reporting","bob" 10.0.0.0/8 cert map=people',
        ],
        [
            "# policy people",
            "# policy team",
            '"people+team" "app" "app"',
            '"people+team" "bob" "bob"',
            "# policy people",
            "# policy team",
            '"people+team:2" "alice" "alice"',
            '"people+team:2" "app" "app"',
            '"people+team:2" "bob" "bob"',
            '"people+team:2" "alice" "reporting"',
            '"people+team:2" "bob" "reporting"',
            "# policy people",
            '"people" "alice" "alice"',
            '"people" "app" "app"',
            '"people" "bob" "bob"',
            '"people" "alice" "reporting"',
            '"people" "bob" "reporting"',
        ],
    ),
    Case(
        "a whole subject, most specific first, with its escapes",
        """
[user.app]
ca = "clients"
identity = "dn"
subject = { organization = 'A, "B"', organizational_unit = ["Ομάδα", "Team A"], country = "GR" }
[policy.app]
users = ["app"]
from = ["10.0.0.0/8"]
auth = "cert"
""",
        ["# policy app", 'hostssl all "app" 10.0.0.0/8 cert clientname=DN map=app'],
        [
            "# policy app",
            '"app" "CN=app,OU=Team A,OU=\\CE\\9F\\CE\\BC\\CE\\AC\\CE\\B4\\CE\\B1,O=A\\, \\""B\\"",C=GR" "app"',
        ],
    ),
    Case(
        "identities from outside are added to the map",
        PEOPLE
        + """
[policy.app]
users = ["app"]
from = ["10.0.0.0/8"]
auth = "cert"
map = [{ identity = "/^(.*)\\\\.example\\\\.org$", role = "\\\\1" }, { identity = "ext", role = "app" }]
""",
        ["# policy app", 'hostssl all "app" 10.0.0.0/8 cert map=app'],
        [
            "# policy app",
            '"app" "app" "app"',
            '"app" "/^(.*)\\.example\\.org$" "\\1"',
            '"app" "ext" "app"',
        ],
    ),
    Case(
        "a password and a certificate; options are sorted and flags are numbers",
        PEOPLE
        + """
[policy.app]
users = ["app"]
from = ["10.0.0.0/8"]
auth = "ldap"
client_cert = "verify-full"
auth_options = { ldaptls = true, ldapserver = "ldap.example.com", ldapprefix = "cn=", ldapport = 389 }
""",
        [
            "# policy app",
            (
                'hostssl all "app" 10.0.0.0/8 ldap clientcert=verify-full ldapport=389 ldapprefix=cn= '
                "ldapserver=ldap.example.com ldaptls=1"
            ),
        ],
        [],
    ),
    Case(
        "names that mean something are quoted, words that are meant are not",
        """
[user.x]
roles = ["all", "+y", "od\\"d", "a,b", "#c", "/re"]
[policy.x]
users = ["x"]
databases = [{ name = "all" }, "replication", { name = "replication" }, "sameuser", "samerole", "/^x"]
from = ["samehost", "samenet", "db.example.com", ".example.com", "fd00::/8", { name = "all" }]
auth = "scram-sha-256"
""",
        [
            line
            for address in ("samehost", "samenet", '"db.example.com"', '".example.com"', "fd00::/8", '"all"')
            for line in ("# policy x", f"hostssl {HOSTILE} {address} scram-sha-256")
        ],
        [],
    ),
]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.title) for case in CASES])
def test_policies_compile_to_these_files(case: Case) -> None:
    assert written(BASE + case.tables) == (case.hba, case.ident)
    fleet = fleet_of(BASE + case.tables)
    rules, _ = compiled(BASE + case.tables)
    assert rules is not None
    assert prove(fleet, rules) == ()


def test_the_header_names_what_it_was_written_from_and_nothing_that_changes() -> None:
    rules, _ = compiled(BASE)
    assert rules is not None
    first = "# Written by pgtls from server.primary: do not edit, change the spec and build again.\n"
    assert rules.hba_text.startswith(first)
    assert rules.ident_text.startswith(first)


def test_a_long_list_of_roles_is_cut_for_postgresql_13_and_for_no_other() -> None:
    names = [f"user-{number:04d}" for number in range(600)]
    users = "".join(f"[user.{name}]\n" for name in names)
    policy = f'[policy.many]\nusers = {names}\nfrom = ["10.0.0.0/8"]\nauth = "scram-sha-256"\n'
    lines = {}
    for version in (13, 17):
        tables = BASE.replace("hosts", f"postgres = {version}\nhosts") + users + policy
        rules, _ = compiled(tables)
        assert rules is not None
        assert prove(fleet_of(tables), rules) == ()
        lines[version] = [line for line in rules.hba_text.splitlines() if line.startswith("hostssl")]
    assert len(lines[17]) == 1
    assert len(lines[13]) > 1
    assert all(len(line.encode()) < 8190 for line in lines[13])


def test_servers_have_the_policies_that_name_them() -> None:
    tables = (
        BASE
        + """
[server.other]
ca = "root"
hosts = ["other.example.com"]
[user.app]
[policy.app]
servers = ["other"]
users = ["app"]
from = ["10.0.0.0/8"]
auth = "scram-sha-256"
[policy.both]
servers = ["all"]
users = ["app"]
from = ["local"]
auth = "peer"
"""
    )
    assert written(tables, "other")[0] == [
        "# policy both",
        'local all "app" peer',
        "# policy app",
        'hostssl all "app" 10.0.0.0/8 scram-sha-256',
    ]
    assert written(tables, "primary")[0] == ["# policy both", 'local all "app" peer']


@pytest.mark.parametrize(
    ("title", "one", "two", "witness"),
    [
        (
            "networks that overlap",
            'users = ["app"]\ndatabases = ["shop"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"',
            'users = ["all"]\nfrom = ["10.9.0.0/16"]\nauth = "scram-sha-256"',
            'role "app" on database "shop" from 10.9.0.1',
        ),
        (
            "a role that may be a member",
            'users = ["app"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"',
            'users = ["+staff"]\nfrom = ["10.0.0.0/8"]\nauth = "scram-sha-256"',
            'role "app" on database "postgres" from 10.0.0.1',
        ),
        (
            "the database of a role's own name",
            'users = ["app", "bob"]\ndatabases = ["sameuser"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"',
            'users = ["all"]\ndatabases = ["bob"]\nfrom = ["10.0.0.0/8"]\nauth = "scram-sha-256"',
            'role "bob" on database "bob" from 10.0.0.1',
        ),
        (
            "a host name and a network",
            'users = ["app"]\nfrom = ["db.example.com"]\nauth = "cert"',
            'users = ["app"]\nfrom = ["10.9.9.9/32"]\nauth = "scram-sha-256"',
            'role "app" on database "postgres" from 10.9.9.9',
        ),
        (
            "replication",
            'users = ["app"]\ndatabases = ["replication"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"',
            'users = ["all"]\ndatabases = ["replication"]\nfrom = ["10.9.0.0/16"]\nauth = "scram-sha-256"',
            'role "app" on physical replication from 10.9.0.1',
        ),
        (
            "the socket",
            'users = ["app"]\nfrom = ["local"]\nauth = "peer"',
            'users = ["app"]\nfrom = ["local"]\nauth = "scram-sha-256"',
            'role "app" on database "postgres" from the Unix socket',
        ),
    ],
)
def test_a_contradiction_is_shown_by_a_connection_and_ends_with_a_priority(
    title: str, one: str, two: str, witness: str
) -> None:
    tables = f"{BASE}{PEOPLE}[policy.one]\n{one}\n[policy.two]\n{two}\n"
    rules, found = compiled(tables)
    assert rules is None, title
    assert [fault.code for fault in found if fault.severity == "error"] == ["PGT250"]
    assert f'policies "one" and "two" both cover {witness}, ask' in found[0].message
    rules, found = compiled(f"{tables}priority = 1\n")
    assert rules is not None
    assert not [fault for fault in found if fault.code == "PGT250"]


@pytest.mark.parametrize(
    ("title", "one", "two"),
    [
        (
            "other roles",
            'users = ["app"]\nfrom = ["all"]\nauth = "cert"',
            'users = ["bob"]\nfrom = ["all"]\nauth = "md5"',
        ),
        (
            "replication is no part of all",
            'users = ["app"]\nfrom = ["all"]\nauth = "cert"',
            'users = ["app"]\ndatabases = ["replication"]\nfrom = ["all"]\nauth = "scram-sha-256"',
        ),
        (
            "the socket is no address",
            'users = ["app"]\nfrom = ["all"]\nauth = "cert"',
            'users = ["app"]\nfrom = ["local"]\nauth = "peer"',
        ),
        (
            "IPv4 and IPv6",
            'users = ["app"]\nfrom = ["0.0.0.0/0"]\nauth = "cert"',
            'users = ["app"]\nfrom = ["::/0"]\nauth = "scram-sha-256"',
        ),
        (
            "two host names: an address has one",
            'users = ["app"]\nfrom = ["a.example.com"]\nauth = "cert"',
            'users = ["app"]\nfrom = ["b.example.com"]\nauth = "scram-sha-256"',
        ),
        (
            "the more specific one of two networks",
            'users = ["app"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"',
            'users = ["all"]\nfrom = ["0.0.0.0/0"]\nauth = "scram-sha-256"',
        ),
    ],
)
def test_no_contradiction(title: str, one: str, two: str) -> None:
    tables = f"{BASE}{PEOPLE}[policy.one]\n{one}\n[policy.two]\n{two}\n"
    rules, found = compiled(tables)
    assert rules is not None, (title, found)
    assert prove(fleet_of(tables), rules) == ()
