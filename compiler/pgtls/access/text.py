"""Evaluate the text of a server's rules as the server tries it, for classes of connections.

:mod:`pgtls.access.proof` judges the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.access.classes import Coverage, plain
from pgtls.access.meaning import ITSELF, SECRET, Accepted, Ask
from pgtls.hba.match import RECORD_TYPES_OF
from pgtls.hba.model import Name
from pgtls.postgres.methods import takes_map

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgtls.access.meaning import Bearer, Holders, Part
    from pgtls.hba.model import IdentLine, Line, Regex, Role, Transport

TRANSPORTS: tuple[Transport, ...] = ("socket", "tls", "gss", "plain")

_OWN_OPTIONS = ("clientcert", "clientname", "map")


def line_coverage(line: Line) -> Coverage:
    """Return the connections that a line covers, over any transport."""
    return Coverage(line.roles, line.databases, None if line.address is None else (line.address,))


def shows(line: Line) -> tuple[bool, str | None, bool]:
    """Return how a line identifies a client: by a certificate or not, through which map, by the whole subject or not.

    Lines with equal results accept the same clients for the same role.
    """
    certified = line.method == "cert" or line.option("clientcert") == "verify-full"
    return certified, line.map, line.option("clientname") == "DN"


class Text:
    """The lines that were read back, in the order in which the server tries them."""

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
        self._patterns: dict[str, list[tuple[Name | Regex, Role]]] = {}
        for ident in idents:
            identity, role = plain(ident.identity), plain(ident.role)
            if isinstance(identity, Name) and isinstance(role, Name):
                self._names.setdefault(ident.map, {}).setdefault(role.text, []).append(identity.text)
            else:
                self._patterns.setdefault(ident.map, []).append((identity, role))

    def deciding(self, lines: int, transport: Transport) -> Line | None:
        """Return the first of a set of lines that a transport can match."""
        left = lines & self._over[transport]
        return self._lines[(left & -left).bit_length() - 1] if left else None

    def first(self, lines: int) -> tuple[int, ...]:
        """Return, for each of :data:`TRANSPORTS`, the bit of the line of a set that decides, or 0."""
        return tuple((left := lines & over) & -left for over in self._over.values())

    def ask(self, line: Line | None) -> Ask | None:
        """Return what a line demands. None: it rejects."""
        if line is None or line.method == "reject":
            return None
        options = {name: SECRET if name in self._secret_options else value for name, value in line.options}
        certificate = "verify-full" if line.method == "cert" else options.get("clientcert", "none")
        own = frozenset((name, value) for name, value in options.items() if name not in _OWN_OPTIONS)
        return Ask(line.method, own, certificate)

    def accepted(self, line: Line | None, role: str) -> Accepted:
        """Return whose certificate a line accepts for a role or, if it compares no certificate, whose name."""
        if line is None:
            return Accepted()
        certified, _, subject = shows(line)
        return self._accepted(line.map, role, ("dn" if subject else "cn") if certified else "name")

    def proved(self, line: Line, role: str) -> Accepted:
        """Return whose name a line accepts for a role if the method proves names: its map decides on both."""
        proves = takes_map(line.method) and line.method != "cert"
        return self._accepted(line.map, role, "name") if proves else Accepted()

    def _accepted(self, ident_map: str | None, role: str, part: Part) -> Accepted:
        names = [role] if ident_map is None else self._names.get(ident_map, {}).get(role, [])
        patterns = [] if ident_map is None else self._patterns.get(ident_map, [])
        if ITSELF in patterns:
            names = [*names, role]
        bearers: set[Bearer] = set()
        for name in names:
            bearers |= self._shown(name, part, implied=ident_map is None)
        return Accepted(
            frozenset(bearers),
            frozenset(
                (part, identity, target)
                for identity, target in patterns
                if (identity, target) != ITSELF
                and (not isinstance(target, Name) or "\\1" in target.text or target.text == role)
            ),
        )

    def admits_nobody(self, line: Line, roles: Sequence[str]) -> bool:
        """Return whether the map of a line accepts no client for any of the roles: then the line rejects them.

        A name that no user of the spec has counts for nothing if the trusted CAs certify only users of the spec.
        """
        if line.map is None:
            return False
        accepted = [self.accepted(line, role) for role in roles]
        return not any(one.patterns or any(map(self._holders.may_exist, one.bearers)) for one in accepted)

    def _shown(self, name: str, part: Part, *, implied: bool) -> frozenset[Bearer]:
        """Return the clients that show an identity.

        A role without any certificate in its name is no grant: CAs of the spec certify only its users.
        """
        if part == "name":
            return frozenset({(part, name)})
        shown = self._holders.showing(name, part)
        return shown if shown or implied else frozenset({(part, name)})
