"""Define the compiled rules of one server, and the entries of a client's bundle."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from pgtls.hba.parse import parse_hba, parse_ident

if TYPE_CHECKING:
    from pgtls.fleet.model import Identity, Policy, Server
    from pgtls.hba.model import IdentLine, Line, Transport
    from pgtls.hba.parse import ParsedHba, ParsedIdent
    from pgtls.language.models import SslMode


@dataclass(frozen=True)  # no slots: cached properties keep what was read back
class Rules:
    """The compiled access of one server.

    It has hba lines in the order in which PostgreSQL tries them, ident lines, and both as text.
    """

    server: Server
    lines: tuple[Line, ...]
    idents: tuple[IdentLine, ...]
    origin: tuple[tuple[Policy, ...], ...]
    """For each of ``lines``, the policies that it implements."""
    hba_text: str
    ident_text: str
    left: tuple[str, ...] = ()
    """The CAs of the lock that have no table, whose key is elsewhere, and whose certificates the server accepts."""

    @cached_property
    def hba(self) -> ParsedHba:
        """The text of pg_hba.conf, read back as its server reads it.

        The proof, the matrix, explanations and differences use it.
        """
        return parse_hba(self.hba_text, self.server.table.postgres)

    @cached_property
    def ident(self) -> ParsedIdent:
        """The text of pg_ident.conf, read back in the same way."""
        return parse_ident(self.ident_text, self.server.table.postgres)


@dataclass(frozen=True, slots=True)
class Entry:
    """One connection of a client: a service of its bundle.

    ``database`` is None where the policy names none, and for physical ``replication``, which needs none. ``sslmode`` is
    the strictest that applies. ``certificate`` says whether the client presents one: it must not show it to a server
    that would not accept it. ``identity`` is the server's identity under the host name that the client dials.
    """

    name: str
    server: Server
    identity: Identity
    role: str
    database: str | None
    sslmode: SslMode
    certificate: bool
    channel_binding: Literal["disable", "prefer", "require"] | None
    hostaddr: str | None
    policies: tuple[Policy, ...]
    replication: bool = False
    beside: bool = False
    """True for loopback if another entry reaches the same database over the network."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A connection that the compiled text treats differently from the policies: a fault of the compiler.

    ``policies`` and ``text`` describe in words how each treats it. ``line`` is the number of the deciding line in
    pg_hba.conf.
    """

    server: str
    role: str
    database: str
    address: str
    transport: Transport
    policies: str
    text: str
    line: int | None

    def __str__(self) -> str:
        where = f"line {self.line}" if self.line else "no line"
        return (
            f'{self.server}: role "{self.role}", database "{self.database}", from {self.address}, {self.transport}: '
            f"the policies say: {self.policies}; pg_hba.conf says ({where}): {self.text}"
        )
