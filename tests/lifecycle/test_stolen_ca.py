"""What a thief of a CA's key can do until the CA is replaced, and what the server's log shows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from psycopg.conninfo import make_conninfo

from lifecycle.fleets import HOUR, ROLES, attempt, clock, deploy, spec
from lifecycle.test_revocation import kept
from pgtls.certificates.asked import Asked
from support.authority import Authority, key_pem, named
from support.clients import Bundle, admitted, at, refused

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from support.building import Place
    from support.servers import Server

CAS = "[ca.root]\n[ca.people]\n"
PEOPLE = 'ca = "people"\n'


def test_a_thief_of_a_ca_s_key_is_anybody_until_the_ca_is_replaced(server: Server, place: Place) -> None:
    server.populate(ROLES, ("shop",))
    now = clock()
    text = spec(server.version, cas=CAS, server='ca = "root"\nclient_ca = ["people"]\n', alice=PEOPLE, bob=PEOPLE)
    place.build(text, now=now - HOUR)
    deploy(place, server)
    people, root = (Authority.of(place.file(f"ca/{name}")) for name in ("people", "root"))

    # With the CA of clients, the thief has a certificate for every role that a policy admits.
    for role in ROLES:
        mark = server.mark()
        assert admitted(attempt(place, server, role, forged(place, role, people))) == f"{role}@shop"
        if server.version >= 14:
            server.wait_for_log(f'connection authenticated: identity="CN={role}" method=cert', mark)
    stolen = make_conninfo(**(forged(place, "alice", people).parameters("shop") | at(server)))
    with psycopg.connect(stolen, autocommit=True) as session:
        replaced(server, place, people, now)
        # A session that is open stays open until it is ended.
        assert session.execute("select current_user").fetchall() == [("alice",)]
        server.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'alice'")
        with pytest.raises(psycopg.OperationalError):
            session.execute("select pg_sleep(60)")

    # With the CA of servers, the thief is the server to every client that has not got its new bundle.
    old = kept(place, "alice")
    place.build(now=now, asked=Asked(replace=frozenset({"ca.root"}), accept_outage=True))
    key = ec.generate_private_key(ec.SECP256R1())
    server.write("server.crt", root.sign(named(CN="localhost"), key.public_key()).public_bytes(Encoding.PEM))
    server.write("server.key", key_pem(key))
    server.reload()
    assert admitted(attempt(place, server, "alice", old)) == "alice@shop"
    refused(attempt(place, server, "alice"), "certificate verify failed")
    deploy(place, server)
    assert admitted(attempt(place, server, "alice")) == "alice@shop"


def replaced(server: Server, place: Place, people: Authority, now: datetime) -> None:
    """Replace the CA of clients: the thief is refused, and the user connects."""
    asked = Asked(replace=frozenset({"ca.people"}), accept_outage=True)
    place.build(now=now - HOUR / 2, asked=asked)
    deploy(place, server)
    refused(attempt(place, server, "alice", forged(place, "alice", people)), "")
    assert admitted(attempt(place, server, "alice")) == "alice@shop"


def forged(place: Place, role: str, ca: Authority) -> Bundle:
    """Make a bundle with a certificate that pgtls never saw."""
    copy = kept(place, role)
    made: Path = ca.bundle(named(CN=role))
    for name in ("postgresql.crt", "postgresql.key"):
        (copy.directory / name).write_bytes((made / name).read_bytes())
    return copy
