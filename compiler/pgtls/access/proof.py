"""The proof that the text of a server's pg_hba.conf and pg_ident.conf admits exactly what the policies grant.

The text is read back and asked line by line; the policies are evaluated directly (:mod:`pgtls.access.meaning`). Both are compared over every class
of connection that they can tell apart: role × database × address or socket × transport × whose certificate. Lines and policies are bits, the
deciding line is the lowest bit that is left: what is compared grows with what policies distinguish, and users are looked at once for each role.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from pgtls.access.classes import Bits, Classes, Coverage, plain
from pgtls.access.meaning import SECRET, Accepted, Ask, Holders, Meaning, coverage
from pgtls.access.membership import memberships
from pgtls.access.model import Difference
from pgtls.hba.match import RECORD_TYPES_OF
from pgtls.hba.model import Name, Regex
from pgtls.hba.parse import parse_hba, parse_ident
from pgtls.postgres.methods import takes_map
from pgtls.spec.values import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgtls.access.classes import AddressClass, DatabaseClass, RoleClass
    from pgtls.access.meaning import Bearer, Pattern
    from pgtls.access.model import Rules
    from pgtls.fleet.model import Fleet, Policy
    from pgtls.hba.model import IdentLine, Line, Transport

TRANSPORTS: tuple[Transport, ...] = ("socket", "tls", "gss", "plain")

ENOUGH = 20
"""Differences of one server that are reported."""

_OWN_OPTIONS = ("clientcert", "clientname", "map")
_ITSELF = (Regex("^(.*)$"), Name("\\1"))


class _Class(NamedTuple):
    """A class of connections, apart from the transport."""

    role: RoleClass
    database: DatabaseClass
    address: AddressClass
    bits: Bits


def prove(fleet: Fleet, rules: Rules) -> tuple[Difference, ...]:
    """Compare a server's text with the policies; nothing is returned when they mean the same."""
    server = rules.server
    version = server.table.postgres
    hba, ident = parse_hba(rules.hba_text, version), parse_ident(rules.ident_text, version)
    refused = [*hba.errors, *ident.errors]
    if refused:
        return tuple(
            Difference(server.name, "", "", "", "plain", "a text that the server reads", error.message, error.line)
            for error in refused[:ENOUGH]
        )
    policies = fleet.policies_of(server)
    holders = Holders(fleet, server)
    text = _Text(hba.lines, ident.lines, holders, _secret_options(policies))
    names = {name for user in fleet.users.values() for name in (*user.roles, user.common_name)}
    classes = Classes(
        [coverage(policy) for policy in policies],
        [Coverage(line.roles, line.databases, None if line.address is None else (line.address,)) for line in hba.lines],
        memberships(fleet.users.values()),
        sorted(names),
    )
    meaning = Meaning(policies, holders, version)
    meaning.learn(classes)
    return tuple(islice(_differences(server.name, classes, meaning, text), ENOUGH))


def _secret_options(policies: Sequence[Policy]) -> frozenset[str]:
    return frozenset(
        name for policy in policies for name, value in policy.table.auth_options.items() if isinstance(value, Secret)
    )


def _classes(classes: Classes) -> Iterator[_Class]:
    """Give one class of each kind that differs in its bits or in its role."""
    over_tcp = classes.addresses
    for role in classes.roles:
        narrowed: dict[Bits, DatabaseClass] = {}
        for database in classes.databases(role):
            narrowed.setdefault(role.bits & database.bits, database)
        for bits, database in narrowed.items():
            seen: set[Bits] = set()
            for address in over_tcp:
                both = bits & address.bits
                if both not in seen:
                    seen.add(both)
                    yield _Class(role, database, address, both)
            yield _Class(role, database, classes.socket, bits & classes.socket.bits)


def _differences(server: str, classes: Classes, meaning: Meaning, text: _Text) -> Iterator[Difference]:
    agreed: set[tuple[RoleClass, int, int | None]] = set()
    for found in _classes(classes):
        deciding = meaning.deciding(found.bits.policies)
        for transport in TRANSPORTS[:1] if found.address is classes.socket else TRANSPORTS[1:]:
            line = text.deciding(found.bits.lines, transport)
            asks, asked = meaning.asks(deciding, transport), text.ask(line)
            role = None
            if asks == (asked,):
                if (
                    line is None
                    or asked is None
                    or not _compared(asked)
                    or (found.role, deciding, line.number) in agreed
                ):
                    continue
                role = _disagreement(found.role, deciding, line, meaning, text)
                if role is None:
                    agreed.add((found.role, deciding, line.number))
                    continue
            yield Difference(
                server=server,
                role=role or found.role.names[0],
                database=found.database.example,
                address=found.address.example,
                transport=transport,
                policies=_words(asks, meaning.accepted(deciding, role) if role else None),
                text=_words((asked,), text.accepted(line, role) if role else None),
                line=line.number if line else None,
            )


def _disagreement(roles: RoleClass, deciding: int, line: Line, meaning: Meaning, text: _Text) -> str | None:
    """Give a role for which the line accepts others than the policies do."""
    return next((role for role in roles.names if meaning.accepted(deciding, role) != text.accepted(line, role)), None)


def _compared(ask: Ask) -> bool:
    """Whether it matters who somebody is."""
    return ask.certificate == "verify-full" or takes_map(ask.method)


class _Text:
    """The lines that were read back, as the server tries them."""

    def __init__(
        self, lines: Sequence[Line], idents: Sequence[IdentLine], holders: Holders, secret_options: frozenset[str]
    ) -> None:
        self._lines = tuple(lines)
        self._holders = holders
        self._secret_options = secret_options
        self._over: dict[Transport, int] = {
            transport: sum(1 << index for index, line in enumerate(lines) if line.type in RECORD_TYPES_OF[transport])
            for transport in TRANSPORTS
        }
        self._names: dict[str, dict[str, list[str]]] = {}
        self._patterns: dict[str, list[Pattern]] = {}
        for ident in idents:
            identity, role = plain(ident.identity), plain(ident.role)
            if isinstance(identity, Name) and isinstance(role, Name):
                self._names.setdefault(ident.map, {}).setdefault(role.text, []).append(identity.text)
            else:
                self._patterns.setdefault(ident.map, []).append((identity, role))

    def deciding(self, lines: int, transport: Transport) -> Line | None:
        """Give the first of a set of lines that a transport can match."""
        left = lines & self._over[transport]
        return self._lines[(left & -left).bit_length() - 1] if left else None

    def ask(self, line: Line | None) -> Ask | None:
        """Say what a line asks; None: it refuses."""
        if line is None or line.method == "reject":
            return None
        options = {name: SECRET if name in self._secret_options else value for name, value in line.options}
        certificate = "verify-full" if line.method == "cert" else options.get("clientcert", "none")
        own = frozenset((name, value) for name, value in options.items() if name not in _OWN_OPTIONS)
        return Ask(line.method, own, certificate)

    def accepted(self, line: Line | None, role: str) -> Accepted:
        """Say whose identity a line accepts for a role."""
        if line is None:
            return Accepted()
        certified = line.method == "cert" or line.option("clientcert") == "verify-full"
        ident_map = line.option("map")
        names = [role] if ident_map is None else self._names.get(ident_map, {}).get(role, [])
        patterns = [] if ident_map is None else self._patterns.get(ident_map, [])
        if _ITSELF in patterns:
            names = [*names, role]
        bearers: set[Bearer] = set()
        for name in names:
            bearers |= self._shown(line, name, implied=ident_map is None) if certified else {("name", name)}
        return Accepted(
            frozenset(bearers),
            frozenset(
                (identity, target)
                for identity, target in patterns
                if (identity, target) != _ITSELF
                and (not isinstance(target, Name) or "\\1" in target.text or target.text == role)
            ),
        )

    def _shown(self, line: Line, name: str, *, implied: bool) -> frozenset[Bearer]:
        """Say who shows an identity. That nobody has a certificate in the name of a role is no grant: CAs of the spec certify its users alone."""
        by_subject = line.option("clientname") == "DN"
        shown = self._holders.by_subject if by_subject else self._holders.by_common_name
        return shown.get(name, frozenset() if implied else frozenset({("name", name)}))


# --- words -----------------------------------------------------------------------------------------------------------------------


def _words(asks: Sequence[Ask | None], accepted: Accepted | None) -> str:
    words = " or ".join(map(_asked, asks))
    if accepted is None:
        return words
    names = [*(f"{kind} {name}" for kind, name in sorted(accepted.bearers)), *sorted(map(str, accepted.patterns))]
    return f"{words} by {', '.join(names) or 'nobody'}"


def _asked(ask: Ask | None) -> str:
    if ask is None:
        return "refused"
    options = "".join(f" {name}={value}" for name, value in sorted(ask.options))
    return f"{ask.method}{options}" + (f" and a certificate ({ask.certificate})" if ask.certificate != "none" else "")
