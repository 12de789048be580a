"""What a client's bundle holds: an entry for each server and database that policies admit its user to over TCP."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from access.fleets import BASE, fleet_of
from pgtls.access.bundles import entries, index


class Case(NamedTuple):
    """Tables to add to the base, and the entries of the user ``app``: name, role, database, sslmode and the rest."""

    title: str
    tables: str
    expected: list[str]


APP = '[user.app]\nca = "clients"\n'

CASES = [
    Case(
        "a database by its name",
        APP + '[policy.app]\nusers = ["app"]\ndatabases = ["shop", "books"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"',
        ["primary-books app books verify-full certificate", "primary-shop app shop verify-full certificate"],
    ),
    Case(
        "all, sameuser and expressions name no database",
        APP + '[policy.app]\nusers = ["app"]\ndatabases = ["sameuser", "/^x"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"',
        ["primary app None verify-full certificate"],
    ),
    Case(
        "the socket is no entry",
        APP
        + """
[policy.local]
users = ["app"]
from = ["local"]
auth = "peer"
""",
        [],
    ),
    Case(
        "physical replication is one beside the databases, of which `all` has none of it",
        APP
        + """
[policy.wal]
users = ["app"]
databases = ["replication", { name = "replication" }, "all"]
from = ["10.0.0.0/8"]
auth = "cert"
[policy.elsewhere]
users = ["all"]
databases = ["all"]
from = ["10.0.0.0/16"]
sslmode = "require"
auth = "scram-sha-256"
""",
        [
            "primary app None verify-full certificate",
            "primary-replication app replication verify-full certificate",
            "primary-replication-2 app None verify-full certificate replication",
        ],
    ),
    Case(
        "physical replication that is refused is no entry",
        APP
        + """
[policy.wal]
users = ["app"]
databases = ["replication"]
from = ["10.0.0.0/8"]
auth = "cert"
[policy.no]
users = ["app"]
databases = ["replication"]
from = ["all"]
auth = "reject"
priority = 1
""",
        [],
    ),
    Case(
        "each way its own mode, if loopback and the network differ",
        APP
        + """
[policy.near]
users = ["app"]
databases = ["shop"]
from = ["127.0.0.1"]
sslmode = "prefer"
auth = "scram-sha-256"
waiver = "near"
[policy.far]
users = ["app"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "cert"
""",
        [
            "primary-shop app shop verify-full certificate",
            "primary-shop-loopback app shop prefer certificate channel_binding=prefer hostaddr=127.0.0.1",
        ],
    ),
    Case(
        "one policy for loopback and the network gives both",
        APP
        + """
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["10.0.0.0/8", "::1", "127.0.0.2"]
auth = "cert"
""",
        [
            "primary-shop app shop verify-full certificate",
            "primary-shop-loopback app shop verify-full certificate hostaddr=::1",
        ],
    ),
    Case(
        "a block around loopback is the network",
        APP
        + """
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["0.0.0.0/0"]
auth = "cert"
""",
        ["primary-shop app shop verify-full certificate"],
    ),
    Case(
        "nothing but loopback is dialled by its address",
        APP
        + """
[policy.near]
users = ["app"]
databases = ["shop"]
from = ["127.0.0.0/8"]
sslmode = "prefer"
auth = "scram-sha-256"
waiver = "near"
""",
        ["primary-shop app shop prefer certificate channel_binding=prefer hostaddr=127.0.0.1"],
    ),
    Case(
        "channel binding as asked for, where every way in is SCRAM over TLS",
        APP
        + """
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "scram-sha-256"
channel_binding = "require"
""",
        ["primary-shop app shop verify-full certificate channel_binding=require"],
    ),
    Case(
        "further roles are named in their entries",
        '[user.app]\nca = "clients"\nroles = ["app", "reporting"]\n'
        '[policy.app]\nusers = ["app"]\ndatabases = ["shop"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"',
        [
            "primary-shop app shop verify-full certificate",
            "primary-shop-reporting reporting shop verify-full certificate",
        ],
    ),
    Case(
        "what another policy refuses everywhere is no entry",
        APP
        + """
[policy.app]
users = ["app"]
databases = ["shop", "books"]
from = ["10.0.0.0/8", "192.168.0.0/16"]
auth = "cert"
[policy.closed]
users = ["all"]
databases = ["books"]
from = ["all"]
auth = "reject"
priority = 1
[policy.partly]
users = ["all"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "reject"
priority = 1
""",
        ["primary-shop app shop verify-full certificate"],
    ),
    Case(
        "nor is what several policies refuse together, unless they leave a gap",
        APP
        + """
[policy.app]
users = ["app"]
databases = ["shop", "books"]
from = ["10.0.0.0/8", "192.168.0.0/16"]
auth = "cert"
[policy.upper]
users = ["all"]
databases = ["all"]
from = ["10.0.0.0/9", "192.168.0.0/16"]
auth = "reject"
priority = 1
[policy.lower]
users = ["app"]
databases = ["books"]
from = ["10.128.0.0/9"]
auth = "reject"
priority = 1
[policy.half]
users = ["app"]
databases = ["shop"]
from = ["10.128.0.0/10"]
auth = "reject"
priority = 1
""",
        ["primary-shop app shop verify-full certificate"],
    ),
    Case(
        "a server that would not accept the certificate does not see it",
        """
[ca.other]
[user.app]
ca = "other"
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "scram-sha-256"
[policy.cert]
users = ["all"]
databases = ["books"]
from = ["10.0.0.0/8"]
auth = "cert"
""",
        ["primary-shop app shop verify-full channel_binding=prefer"],
    ),
    Case(
        "names that are hostile end up as names of services, each its own",
        APP
        + (
            '[policy.app]\nusers = ["app"]\ndatabases = ["a b", "a]b", "a_b", "a_b-2"]\nfrom = ["10.0.0.0/8"]\n'
            'auth = "cert"'
        ),
        [
            "primary-a_b app a b verify-full certificate",
            "primary-a_b-3 app a]b verify-full certificate",
            "primary-a_b-4 app a_b verify-full certificate",
            "primary-a_b-2 app a_b-2 verify-full certificate",
        ],
    ),
    Case(
        "members of a role, and everybody",
        """
[user.app]
ca = "clients"
member_of = ["staff"]
[policy.staff]
users = ["+staff"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "cert"
[policy.all]
users = ["all"]
databases = ["public"]
from = ["10.0.0.0/8"]
auth = "scram-sha-256"
""",
        [
            "primary-public app public verify-full certificate channel_binding=prefer",
            "primary-shop app shop verify-full certificate",
        ],
    ),
]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.title) for case in CASES])
def test_a_user_has_these_entries(case: Case) -> None:
    fleet = fleet_of(BASE + case.tables)
    found = [
        " ".join(
            [
                f"{entry.name} {entry.role} {entry.database} {entry.sslmode}",
                *(["certificate"] if entry.certificate else []),
                *([f"channel_binding={entry.channel_binding}"] if entry.channel_binding else []),
                *([f"hostaddr={entry.hostaddr}"] if entry.hostaddr else []),
                *(["replication"] if entry.replication else []),
            ]
        )
        for entry in index(fleet)["app"]
    ]
    assert found == case.expected
    assert entries(fleet, fleet.users["app"]) == index(fleet)["app"]


def test_each_server_has_its_own_entries() -> None:
    tables = (
        BASE
        + APP
        + """
[server.b]
ca = "root"
hosts = ["b.example.com"]
[policy.app]
servers = ["all"]
users = ["app"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "scram-sha-256"
"""
    )
    found = index(fleet_of(tables))["app"]
    assert [(entry.name, entry.server.name, entry.certificate) for entry in found] == [
        ("b-shop", "b", False),
        ("primary-shop", "primary", True),
    ]
