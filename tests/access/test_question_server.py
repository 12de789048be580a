"""What `pgtls explain --hba` answers about memberships, interfaces and maps, against what a real server does."""

from __future__ import annotations

import getpass
from ipaddress import ip_address
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgtls.access.premises import memberships
from pgtls.access.question import Question, of_file
from pgtls.importer.foreign import read_foreign
from support.servers import Server, versions

if TYPE_CHECKING:
    from pgtls.access.explain import Explanation
    from support.servers import Installation

HBA = """\
local all postgres peer map=dba
local all all peer map=accounts
host all +staff 127.0.0.1/32 trust
host samerole all 127.0.0.1/32 trust
host shop eve samehost trust
host all all 127.0.0.1/32 reject
"""
IDENT = f"dba {getpass.getuser()} postgres\naccounts {getpass.getuser()} bob\naccounts nobody alice\n"
ACCOUNT = getpass.getuser()


@pytest.mark.parametrize("installation", [versions()[0], versions()[-1]], ids=lambda one: one.id)
def test_explain_answers_as_the_server_does(installation: Installation) -> None:
    with Server(installation) as server:
        server.populate(roles=["alice", "bob", "carol", "eve"], databases=["shop", "books"])
        for statement in ("create role staff", "create role team", "create role shop", "grant team to bob",
                          "grant staff to team", "grant shop to carol"):  # fmt: skip
            server.sql(statement)
        server.write("pg_hba.conf", HBA)
        server.write("pg_ident.conf", IDENT)
        server.reload()
        told = ("bob=team=staff", "carol=shop")
        judged = set()
        for role in ("alice", "bob", "carol", "eve", "postgres"):
            for database in ("shop", "books"):
                for address in ("127.0.0.1", "local"):
                    answer = _explained(server, role, database, address, *told)
                    real = _connects(server, role, database, address)
                    own = address == "local" and f'"{ACCOUNT}"' not in "".join(answer.asks)
                    expected = answer.outcome == "admit" and not own
                    assert expected == real, (role, database, address, answer)
                    judged.add((real, address))
        assert len(judged) == 4, "each outcome is seen over TCP and over the socket"
        untold = _explained(server, "bob", "books", "127.0.0.1")
        assert (untold.outcome, _connects(server, "bob", "books", "127.0.0.1")) == ("refuse", True)
        assert any('role "bob" is a member of "staff"' in note for note in untold.notes)


def _explained(server: Server, role: str, database: str, address: str, *told: str) -> Explanation:
    foreign = read_foreign(str(server.data / "pg_hba.conf"), str(server.data / "pg_ident.conf"), server.version)
    client = None if address == "local" else ip_address(address)
    question = Question(role, database, client, cleartext=True, members=memberships(told, role))
    return of_file(foreign.lines, foreign.idents, foreign.texts, server.version, question).explanation


def _connects(server: Server, role: str, database: str, address: str) -> bool:
    host = server.sockets if address == "local" else address
    try:
        psycopg.connect(
            host=host, port=server.port, user=role, dbname=database, sslmode="disable", gssencmode="disable"
        ).close()
    except psycopg.OperationalError:
        return False
    return True
