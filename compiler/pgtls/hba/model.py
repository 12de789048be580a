"""Define the lines of pg_hba.conf and pg_ident.conf as values.

A line holds *terms*: the meaning that a major version of PostgreSQL gives to the written tokens. :mod:`pgtls.hba.parse`
reads them and :mod:`pgtls.hba.render` writes them. ``/^app_`` is therefore a :class:`Name` in version 15 and a
:class:`Regex` in 16.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal

RecordType = Literal["local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc"]
Transport = Literal["socket", "tls", "gss", "plain"]
"""How a connection reached the server: its Unix socket, or TCP with TLS, with GSS encryption, in cleartext."""

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


class Keyword(Enum):
    """Words that lose their special meaning when they are quoted."""

    ALL = "all"
    SAMEUSER = "sameuser"
    SAMEROLE = "samerole"
    REPLICATION = "replication"
    SAMEHOST = "samehost"
    SAMENET = "samenet"


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """A database, role or system user, compared byte by byte."""

    text: str


@dataclass(frozen=True, slots=True, order=True)
class Regex:
    """A regular expression (PostgreSQL's ARE, unanchored), without the ``/`` that starts it. 16 and later."""

    pattern: str


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """``+role``: the role itself and its direct and indirect members; a superuser only if it is one explicitly."""

    role: str


@dataclass(frozen=True, slots=True, order=True)
class HostName:
    """A host name; one that starts with a dot is a suffix.

    Compared without case, by reverse and then forward lookup.
    """

    name: str


@dataclass(frozen=True, slots=True)
class MaskedAddress:
    """An address with a mask that is no prefix, e.g. ``10.0.0.5 255.0.255.0``."""

    address: IPAddress
    mask: IPAddress


Role = Name | Regex | Member | Keyword
Database = Name | Regex | Keyword
Address = IPv4Network | IPv6Network | MaskedAddress | HostName | Keyword


@dataclass(frozen=True, slots=True)
class Line:
    """One record of pg_hba.conf. ``address`` is None on ``local`` only."""

    type: RecordType
    databases: tuple[Database, ...]
    roles: tuple[Role, ...]
    address: Address | None
    method: str
    options: tuple[tuple[str, str], ...] = ()
    comment: str | None = None
    """The comment above the line; None on a line that was read."""
    file: str | None = None
    number: int | None = None
    """The line number in its file, from 1; None on a line that was not read."""

    def option(self, name: str) -> str | None:
        """Return the value of an option. If it is repeated, the last value counts."""
        return dict(self.options).get(name)

    @property
    def map(self) -> str | None:
        """The name of its ident map. None: it has none, which an empty name means, too (check_usermap)."""
        return self.option("map") or None


@dataclass(frozen=True, slots=True)
class IdentLine:
    """One line of pg_ident.conf: under ``map``, a client that proves to be ``identity`` may log in as ``role``."""

    map: str
    identity: Name | Regex
    role: Role
    comment: str | None = None
    file: str | None = None
    number: int | None = None


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A client certificate that the server trusts: its first common name, and its subject (RFC 2253)."""

    common_name: str | None
    subject: str


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection as hba.c sees it. ``replication`` is physical replication; logical replication names a database."""

    role: str
    database: str
    transport: Transport
    address: IPAddress | None = None
    host_names: frozenset[str] = frozenset()
    """The names that reverse *and* forward lookup confirm for ``address``."""
    replication: bool = False
    certificate: ClientCertificate | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The other facts that decide: the role graph, and the server's interfaces (for ``samehost`` and ``samenet``)."""

    members: frozenset[tuple[str, str]] = frozenset()
    """Direct memberships: (member, group)."""
    interfaces: tuple[str, ...] = ("127.0.0.1/8", "::1/128")
    """Own addresses, each with its network's prefix length."""
