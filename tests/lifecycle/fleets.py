"""A server with two people, whose certificates have lives of their own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pgtls.state import lock as locks
from support.clients import PSQL, Bundle, at

if TYPE_CHECKING:
    from support.building import Place
    from support.clients import Outcome
    from support.servers import Server

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
ROLES = ("alice", "bob")


def clock() -> datetime:
    """Tell the time that servers and clients go by."""
    return datetime.now(UTC).replace(microsecond=0)


def spec(
    postgres: int = 17,
    *,
    cas: str = '[ca.root]\n[ca.people]\n[ca.inner]\nissuer = "people"\n',
    server: str = 'ca = "root"\nclient_ca = ["inner"]\n',
    alice: str = 'ca = "inner"\n',
    bob: str | None = 'ca = "inner"\n',
) -> str:
    """Write the spec; the tables of the four entities as they are given."""
    users = f"[user.postgres]\n[user.alice]\n{alice}" + ("" if bob is None else f"[user.bob]\n{bob}")
    names = '["alice"]' if bob is None else '["alice", "bob"]'
    return f"""version = 1
{cas}
[server.db]
hosts = ["localhost"]
postgres = {postgres}
{server}
{users}
[policy.dba]
users = ["postgres"]
from = ["local"]
auth = "peer"
[policy.people]
users = {names}
databases = ["shop"]
from = ["127.0.0.1"]
auth = "cert"
"""


def attempt(place: Place, server: Server, user: str, kept: Bundle | None = None) -> Outcome:
    """Connect with the bundle that was built last, or with one that was kept."""
    bundle = kept or Bundle(place.file(f"clients/{user}"))
    return PSQL.connect(bundle.parameters("shop") | at(server))


def deploy(place: Place, server: Server) -> None:
    """Install what was built for the server."""
    server.install(place.file("servers/db"))


def serial(place: Place, entity: str) -> str:
    """Return the serial number of the newest certificate of an entity."""
    return locks.read(place.lock).latest[entity].serial


def logged(server: Server, reason: str) -> str:
    """Return what a server logs when it refuses a certificate: the reason only from 16 on."""
    return reason if server.version >= 16 else "could not accept SSL connection"
