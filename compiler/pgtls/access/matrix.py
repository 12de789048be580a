"""Show the compiled file of a server as a table for people: who may connect from where to what, and how."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pgtls.access.trust import trust
from pgtls.hba.model import HostName, Keyword, Member, Name, Regex
from pgtls.hba.ways import ways
from pgtls.language.models import SSLMODES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pgtls.access.model import Rules
    from pgtls.access.trust import Trust
    from pgtls.fleet.model import Fleet, Policy
    from pgtls.hba.model import Address, Database, IdentLine, Line, Role

Over = Literal["socket", "TLS", "TLS or cleartext", "cleartext", "anything"]

_OVER: Mapping[str, Over] = {
    "local": "socket",
    "hostssl": "TLS",
    "host": "TLS or cleartext",
    "hostnossl": "cleartext",
}


@dataclass(frozen=True, slots=True)
class Row:
    """Connections that the server treats alike.

    ``certificates`` are the names that a client certificate may hold, with the roles that each may use. If the method
    proves a name, too, that must be one of them.

    ``sslmode`` is what the policy asks of the client; None on the socket and for rejected connections. ``decided_by``
    are the services that decide logins, if options of the method choose them: an LDAP server, an OAuth issuer.
    """

    roles: tuple[str, ...]
    databases: tuple[str, ...]
    addresses: tuple[str, ...]
    over: Over
    method: str
    certificate: Literal["none", "verify-ca", "verify-full"]
    certificates: tuple[tuple[str, tuple[str, ...]], ...]
    sslmode: str | None
    policies: tuple[str, ...]
    decided_by: tuple[str, ...] = ()

    @property
    def admits(self) -> bool:
        """Whether this row admits connections."""
        return self.method != "reject"


@dataclass(frozen=True, slots=True)
class Shown:
    """An identity of a server: its host names, the CA of its certificate, and the CAs that it names for clients.

    The first of a server is its default, for every other name and for clients that ask for none.
    """

    hosts: tuple[str, ...]
    ca: str | None
    client_ca: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """One server: the CAs whose certificates it accepts, and its rows.

    The first row that covers a connection decides.
    """

    server: str
    kind: Literal["server", "pooler"]
    hosts: tuple[str, ...]
    trust: Trust
    rows: tuple[Row, ...]
    identities: tuple[Shown, ...]


def matrix(fleet: Fleet, rules: Rules) -> Matrix:
    """Read the compiled text of a server and group it into rows.

    Lines that differ only in their address form one row.
    """
    maps = _maps(rules.ident.lines)
    rows: list[Row] = []
    for line, policies in zip(rules.hba.lines, rules.origin, strict=True):
        row = _row(line, policies, maps)
        if rows and replace(rows[-1], addresses=()) == replace(row, addresses=()):
            rows[-1] = replace(rows[-1], addresses=(*rows[-1].addresses, *row.addresses))
        else:
            rows.append(row)
    server = rules.server
    shown = (Shown(one.table.hosts, one.table.ca, tuple(ca.name for ca in one.client_cas)) for one in server.identities)
    return Matrix(
        server.name, server.kind, server.table.hosts, trust(fleet, server, left=rules.left), tuple(rows), tuple(shown)
    )


def _maps(idents: Iterable[IdentLine]) -> Mapping[str, Sequence[IdentLine]]:
    found: defaultdict[str, list[IdentLine]] = defaultdict(list)
    for ident in idents:
        found[ident.map].append(ident)
    return found


def _row(line: Line, policies: Sequence[Policy], maps: Mapping[str, Sequence[IdentLine]]) -> Row:
    certificate = _certificate(line)
    modes = [policy.sslmode for policy in policies if policy.sslmode]
    return Row(
        roles=tuple(map(word, line.roles)),
        databases=tuple(map(word, line.databases)),
        addresses=() if line.address is None else (word(line.address),),
        over="anything" if line.method == "reject" and line.type == "host" else _OVER.get(line.type, "anything"),
        method=line.method,
        certificate=certificate,
        certificates=_names(line, maps) if certificate == "verify-full" or line.map else (),
        sslmode=None if line.method == "reject" else max(modes, key=SSLMODES.index, default=None),
        policies=tuple(policy.name for policy in policies),
        decided_by=tuple(sorted(map(str, ways(line.method, dict(line.options))))),
    )


def _certificate(line: Line) -> Literal["none", "verify-ca", "verify-full"]:
    if line.method == "cert":
        return "verify-full"
    value = line.option("clientcert")
    return "verify-full" if value == "verify-full" else "verify-ca" if value else "none"


def _names(line: Line, maps: Mapping[str, Sequence[IdentLine]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the identities of a line's map, each with its roles; without a map, the name is the role."""
    name = line.map
    if name is None:
        return ()
    found: dict[str, list[str]] = {}
    for ident in maps.get(name, ()):
        found.setdefault(word(ident.identity), []).append(word(ident.role))
    return tuple((identity, tuple(roles)) for identity, roles in found.items())


def word(term: Role | Database | Address) -> str:
    """Write a term as in the spec. Quote a name that is also a keyword."""
    match term:
        case Keyword():
            return term.value
        case Name(text):
            return f'"{text}"' if text in _KEYWORDS or text.startswith(("/", "+")) else text
        case Regex(pattern):
            return f"/{pattern}"
        case Member(role):
            return f"+{role}"
        case HostName(name):
            return name
        case _:
            return str(term)


_KEYWORDS = {keyword.value for keyword in Keyword}
