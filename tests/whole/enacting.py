"""A spec put into force on a server, and single connections tried on it."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING

from pgtls.hba.model import ClientCertificate, Connection
from pgtls.pipeline import check
from support.building import Place
from support.system import new_directory
from whole.knocking import PASSWORD, Knocker, certify

if TYPE_CHECKING:
    from pathlib import Path

    from hba.wire import Answer
    from pgtls.hba.model import Transport
    from pgtls.stages import Checked
    from support.servers import Server


class Enacted:
    """A server and the directory in which its specs are built."""

    def __init__(self, server: Server, roles: tuple[str, ...]) -> None:
        self.server = server
        self.place = Place(new_directory("enacted"))
        server.populate(roles, password=PASSWORD)

    def enact(self, spec: str) -> None:
        """Build a spec and have the server load what was compiled."""
        self.place.build(spec, now=datetime.now(UTC))
        self.server.install(self.place.file("servers/db"))

    def check(self, spec: str) -> Checked:
        """Check a spec against the lock of what was built before."""
        self.place.write(spec)
        return check(self.place.spec, datetime.now(UTC), self.place.lock)

    def load(self, hba: str, ident: str | None = None) -> None:
        """Load another pg_hba.conf into the server."""
        self.server.write("pg_hba.conf", hba)
        if ident is not None:
            self.server.write("pg_ident.conf", ident)
        self.server.reload()

    def knock(
        self,
        role: str,
        *,
        holder: tuple[str, str] | None = None,
        address: str = "127.0.0.1",
        transport: Transport = "tls",
        database: str = "shop",
    ) -> Answer:
        """Try to connect with the right password; ``holder`` is the certificate's user and the CA that issued it."""
        certificate = ClientCertificate(holder[0], f"CN={holder[0]}") if holder else None
        bundles = {certificate: self._bundle(*holder)} if certificate and holder else {}
        connection = Connection(role, database, transport, ip_address(address), certificate=certificate)
        return Knocker(self.server, bundles).knock(connection)

    def _bundle(self, user: str, ca: str) -> Path:
        bundle = self.place.file(f"clients/{user}")
        if (bundle / "postgresql.key").exists():
            return bundle
        return certify(self.place.file("ca"), ca, [ca], user)


def admitted(answer: Answer) -> None:
    assert answer.kind == "ok", answer


def refused(answer: Answer, reason: str) -> None:
    assert answer.kind == "error", answer
    assert reason in answer.message, answer
