"""Decide whether a bundle's entry works against a server, each of one generation, and if not, why.

Follow the handshake of libpq and OpenSSL (chain, name, CRLs, client certificate), then the server's rules as
:mod:`pgtls.hba.match` reads them. Then check that the bundle can do what the deciding line demands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any, NamedTuple

from pgtls.hba.match import address_matches, decide, outcome
from pgtls.hba.model import ClientCertificate, Connection, HostName, Keyword, Name
from pgtls.hba.parse import parse_hba, parse_ident
from pgtls.hba.regex import Undecidable
from pgtls.rollout.facts import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pgtls.hba.model import Address, Database, IdentLine, IPAddress, Line, Surroundings, Transport
    from pgtls.state.generations import Generation

VERIFYING = ("require", "verify-ca", "verify-full")
"""The modes in which a client connects only to a server that it verifies.

With a root.crt, libpq verifies the chain in every mode; with ``allow`` and ``prefer`` it then connects without TLS.
"""

FALLING_BACK = ("allow", "prefer")
"""The modes in which a client tries both transports."""

_FINAL = frozenset(("client ended", "client root", "client revoked", "no client crl", "method"))
"""The causes after which libpq does not try the other transport.

The client ends the authentication itself, or a server with TLS 1.3 rejects the client's certificate: its alert arrives
after the handshake, and libpq then only has a broken connection. Every supported server prefers TLS 1.3.
"""

_TRANSPORTS: Mapping[str, tuple[Transport, ...]] = {
    "disable": ("plain",),
    "allow": ("plain", "tls"),
    "prefer": ("tls", "plain"),
}
"""The transports that a client tries, in order. Every other mode uses only TLS."""

_PASSWORDS = frozenset(("scram-sha-256", "md5", "password"))
"""Methods for a password that the server knows: a client with the password supports all of them."""

_ON_THE_WIRE = {"md5": "scram-sha-256"} | {name: name for name in ("scram-sha-256", "gss", "sspi", "oauth")}
"""The name of a method in ``require_auth``. ``cert`` and ``trust`` ask for nothing, all others for a plain password."""


class Cause(NamedTuple):
    """Why a connection fails. ``kind`` is for decisions; ``detail`` is the name, port, method or key at fault."""

    kind: str
    detail: str = ""


class Point(NamedTuple):
    """The database and the client's address, as the rules of a server distinguish them."""

    database: str
    address: IPAddress
    host_names: frozenset[str] = frozenset()


@dataclass(frozen=True)  # no slots: cached properties keep what was read
class Serving:
    """One generation of a server.

    ``revoked`` are the (CA, serial) in its CRLs. ``ended``: its certificate has expired.
    """

    generation: Generation
    revoked: frozenset[tuple[str, str]] = frozenset()
    ended: bool = False

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return the facts of the server."""
        return self.generation.facts

    def identity(self, host: str) -> tuple[Mapping[str, Any], tuple[str, str] | None]:
        """Return the server's identity under a host name, and the certificate that it shows there."""
        default, *further = self.facts["identities"]
        named = next((n for n, one in enumerate(further, 1) if host.lower() in map(str.lower, one["hosts"])), 0)
        shown = self.generation.certificates
        return (further[named - 1] if named else default), shown[named] if named < len(shown) else None

    @cached_property
    def _lines(self) -> tuple[dict[str, list[Line]], list[Line], tuple[Line, ...]]:
        """The lines by each role that they name, the lines that do not name their roles, and all lines."""
        lines = parse_hba(self.facts["hba"], self.facts["postgres"]).lines
        named: dict[str, list[Line]] = {}
        for line in lines:
            for term in line.roles:
                if isinstance(term, Name):
                    named.setdefault(term.text, []).append(line)
        return named, [line for line in lines if not all(isinstance(term, Name) for term in line.roles)], lines

    def lines(self, role: str) -> tuple[Line, ...]:
        """Return the lines that may decide for a role, in their order."""
        if role not in self._by_role:
            named, wide, _ = self._lines
            mine = {id(line): line for line in (*named.get(role, ()), *wide)}
            self._by_role[role] = tuple(sorted(mine.values(), key=lambda line: line.number or 0))
        return self._by_role[role]

    @cached_property
    def _by_role(self) -> dict[str, tuple[Line, ...]]:
        return {}

    @cached_property
    def _idents(self) -> tuple[dict[str, list[IdentLine]], list[IdentLine]]:
        """The lines of its ident maps by each identity that they name, and those with a regular expression."""
        named: dict[str, list[IdentLine]] = {}
        wide: list[IdentLine] = []
        for line in parse_ident(self.facts["ident"], self.facts["postgres"]).lines:
            mine = named.setdefault(line.identity.text, []) if isinstance(line.identity, Name) else wide
            mine.append(line)
        return named, wide

    def idents(self, *identities: str) -> tuple[IdentLine, ...]:
        """Return the lines of its ident maps that may cover an identity, in their order."""
        named, wide = self._idents
        mine = (*(line for identity in dict.fromkeys(identities) for line in named.get(identity, ())), *wide)
        return tuple(sorted(mine, key=lambda line: line.number or 0))


@dataclass(frozen=True, slots=True)
class Dialling:
    """One generation of a bundle.

    ``revoked`` are the (CA, serial) in its CRLs. ``ended``: its certificate has expired.
    """

    generation: Generation
    revoked: frozenset[tuple[str, str]] = frozenset()
    ended: bool = False

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return the facts of the bundle."""
        return self.generation.facts


def handshake(bundle: Dialling, entry: Mapping[str, Any], server: Serving) -> Cause | None:
    """Return why the two fail before the server checks its rules over TLS. None: they do not fail."""
    shown, certificate = server.identity(entry["host"])
    mine = bundle.facts
    if entry["sslmode"] in VERIFYING or mine["trust"]:
        if cause := _verify(bundle, entry, shown, certificate):
            return cause
        if server.ended:
            return Cause("ended")
    return _admit(bundle, server, shown["trust"]) if entry["certificate"] and shown["trust"] and mine["chain"] else None


def _admit(bundle: Dialling, server: Serving, trusted: Sequence[str]) -> Cause | None:
    """Return why a server rejects the certificate of a bundle.

    OpenSSL prefers a trusted CA with the issuer's key to the one that the client sent. Whatever is above it is trusted,
    because a server trusts whole chains.
    """
    chain, lists = bundle.facts["chain"], server.facts["crl"]
    if bundle.ended:
        return Cause("client ended")
    anchor = next((number for number, key in enumerate(chain) if key in trusted), None)
    if anchor is None:
        return Cause("client root", chain[-1])
    if lists and not server.revoked.isdisjoint(bundle.generation.certificates):
        return Cause("client revoked")
    if lists and not set(chain[: anchor + 1]) <= set(lists):
        return Cause("no client crl")
    return None


def _verify(
    bundle: Dialling, entry: Mapping[str, Any], shown: Mapping[str, Any], certificate: tuple[str, str] | None
) -> Cause | None:
    mine = bundle.facts
    root = shown["chain"][-1] if shown["chain"] else ""
    if root not in mine["trust"]:
        return Cause("root", root)
    if entry["sslmode"] == "verify-full" and entry["host"] not in shown["hosts"]:
        return Cause("name", entry["host"])
    if mine["crl"] and shown["chain"] != [SYSTEM]:
        if certificate in bundle.revoked:
            return Cause("revoked")
        if not set(shown["chain"]) <= set(mine["crl"]):
            return Cause("no crl")
    return None


def refusal(
    bundle: Dialling, entry: Mapping[str, Any], server: Serving, point: Point, surroundings: Surroundings
) -> Cause | None:
    """Return why a connection fails. None: it works over at least one transport that the client tries."""
    if entry["port"] != str(server.facts["port"]):
        return Cause("port", entry["port"])
    cause: Cause | None = None
    for transport in _TRANSPORTS.get(entry["sslmode"], ("tls",)):
        found = handshake(bundle, entry, server) if transport == "tls" else None
        found = found or _access(bundle, entry, server, point, transport, surroundings)
        if found is None:
            return None
        cause = cause or found
        if found.kind in _FINAL:
            break
    return cause


def _access(
    bundle: Dialling,
    entry: Mapping[str, Any],
    server: Serving,
    point: Point,
    transport: Transport,
    surroundings: Surroundings,
) -> Cause | None:
    facts, mine = server.facts, bundle.facts
    if facts["hba"] is None:  # the lock does not know the rules
        return None
    trust = server.identity(entry["host"])[0]["trust"]
    shows = transport == "tls" and entry["certificate"] and trust and mine["chain"]
    connection = Connection(
        role=entry["role"],
        database=point.database,
        transport=transport,
        address=point.address,
        host_names=point.host_names,
        replication=entry["replication"],
        certificate=ClientCertificate(mine["name"], mine["subject"]) if shows else None,
    )
    idents = server.idents(mine["name"], mine["subject"]) if shows else ()
    try:
        line = decide(server.lines(entry["role"]), connection, surroundings)
        accepted = outcome(line, idents, connection, facts["postgres"], surroundings).accepted
    except Undecidable:
        return Cause("unknown")
    if line is None or line.method == "reject":
        return Cause("line")
    if not accepted:
        return Cause("identity" if connection.certificate else "certificate", line.method)
    return None if _can(entry, line.method) else Cause("method", line.method)


def _can(entry: Mapping[str, Any], method: str) -> bool:
    """Return whether the holder of an entry can do what a line demands, and its client agrees."""
    allowed = entry.get("require_auth")
    wire = "none" if method in ("cert", "trust") else _ON_THE_WIRE.get(method, "password")
    if allowed is not None and not _agrees(allowed.split(","), wire):
        return False
    if entry.get("channel_binding") == "require" and wire != "scram-sha-256":
        return False
    known = set(entry["methods"])
    return wire == "none" or method in known or (method in _PASSWORDS and bool(known & _PASSWORDS))


def _agrees(allowed: Sequence[str], wire: str) -> bool:
    """Read ``require_auth``: a list of accepted methods, or of rejected methods (libpq, fe-auth.c)."""
    if allowed[0].startswith("!"):
        return f"!{wire}" not in allowed
    return wire in allowed


def points(entry: Mapping[str, Any], lines: Sequence[Line], surroundings: Surroundings) -> Iterator[Point]:
    """Yield one connection of each kind that the lines distinguish for the role of an entry."""
    clients = _clients(tuple(dict.fromkeys(line.address for line in lines if line.address is not None)), surroundings)
    for database in _databases(entry, lines):
        yield from (Point(database, *client) for client in clients)


@lru_cache(maxsize=256)  # users of one policy have the same lines
def _clients(addresses: Sequence[Address], surroundings: Surroundings) -> tuple[tuple[IPAddress, frozenset[str]], ...]:
    """Return a client, by its address and its host names, of each kind that address fields distinguish."""
    starts: dict[IPAddress, None] = {ip_address("198.51.100.77"): None, ip_address("2001:db8::77"): None}
    for network in addresses:
        if isinstance(network, IPv4Network | IPv6Network):
            last = int(network.broadcast_address)
            starts[network.network_address] = None
            if last + 1 < 1 << network.max_prefixlen:
                starts[type(network.network_address)(last + 1)] = None
    near = {Keyword.SAMEHOST, Keyword.SAMENET} & {one for one in addresses if isinstance(one, Keyword)}
    starts |= {ip_address("127.0.0.1"): None} if near else {}
    names = {_example(one.name) for one in addresses if isinstance(one, HostName)}
    clients = [(address, frozenset[str]()) for address in starts]
    clients += [(next(iter(starts)), frozenset((name,))) for name in sorted(names)]
    distinct: dict[tuple[bool, ...], tuple[IPAddress, frozenset[str]]] = {}
    for client in clients:
        distinct.setdefault(tuple(address_matches(one, *client, surroundings) for one in addresses), client)
    return tuple(distinct.values())


def _example(name: str) -> str:
    return f"host{name}" if name.startswith(".") else name


def _databases(entry: Mapping[str, Any], lines: Sequence[Line]) -> Iterator[str]:
    if entry["database"] is not None or entry["replication"]:
        yield entry["database"] or "replication"
        return
    named: dict[Database, None] = dict.fromkeys(term for line in lines for term in line.databases)
    names = [term.text for term in named if isinstance(term, Name)]
    yield from dict.fromkeys((*names, entry["role"], "anything"))
