"""Policies to rules: the lines of pg_hba.conf and pg_ident.conf of one server."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, TypeVar

from pgtls.access import former, lint, problems, trust
from pgtls.access.grants import Certified, accepted_authorities, granted, ident_lines, proves_identity
from pgtls.access.held import Held, strays
from pgtls.access.map_names import map_names
from pgtls.access.model import Rules
from pgtls.access.order import SOCKET, arrange
from pgtls.access.sets import Roles, Scope, addresses_of, databases_of, roles_of
from pgtls.access.split import Inseparable, Piece, Unmappable, pieces
from pgtls.fleet.checks.waivers import mark_by_path
from pgtls.hba.model import Keyword, Line
from pgtls.hba.render import Unwritable, render_hba, render_ident
from pgtls.postgres.methods import takes_map

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    from pgtls.access.grants import Grants
    from pgtls.access.order import Item, Order
    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Fleet, Policy, Server
    from pgtls.hba.model import Address, IdentLine
    from pgtls.language.values import Secret

_T = TypeVar("_T")

_LIMITED = 13
_BYTES_A_FIELD = 3500
"""The longest list of roles or databases that PostgreSQL 13 can read: its lines have at most 8191 bytes."""


NOBODY = Line("host", (Keyword.ALL,), (Keyword.ALL,), Keyword.ALL, "reject", comment="no policy admits anybody")
"""The line of a server without policies: PostgreSQL does not start with an empty pg_hba.conf."""


def unread(policy: Policy, option: str, source: Secret) -> str:
    """Return a placeholder for a secret. Rules with placeholders can be proved, but must not be deployed."""
    placeholder = f"<{option} of policy {policy.name}>"
    return f"ldap://{policy.name}/{placeholder}" if option == "ldapurl" else placeholder


@dataclass(frozen=True, slots=True)
class _Ruled:
    """A line, the part of its policies that it covers, and the piece that it implements.

    ``position`` is the position of its policy in the order.
    """

    line: Line
    scope: Scope
    piece: Piece
    position: int
    idents: tuple[IdentLine, ...] = ()

    @property
    def origin(self) -> tuple[Policy, ...]:
        """The policies that the line implements."""
        return _origin(self.piece)


def compile_rules(
    fleet: Fleet,
    server: Server,
    held: Held = Held(),  # noqa: B008  (frozen)
    secret: Callable[[Policy, str, Secret], str] = unread,
) -> tuple[Rules | None, tuple[Diagnostic, ...]]:
    """Compile the policies of a server. Return None if policies contradict each other.

    ``held`` are the certificates of the lock that the server may accept. ``secret`` reads a secret option of a policy's
    method; without it the text contains a placeholder. A fault between two policies is reported only for the first
    server that they share.
    """
    roles = fleet.memberships
    accepted = accepted_authorities(fleet, server.accepted_cas)
    order = arrange(fleet.policies_of(server), roles, accepted)
    grants = {item.policy.name: granted(item.policy, item.demand, accepted) for item in order.items}
    certified = Certified(fleet, accepted)
    found = [
        *problems.conflicting(order, server),
        *problems.mixed(order),
        *former.inheritable(fleet, server, held),
        *trust.strangers(fleet, server, held),
        *lint.lenient(order, server),
        *lint.severed(order, server),
        *lint.idle(order, server, grants),
    ]
    found = list(mark_by_path(fleet, found))
    compiler = _Compiler(server, order, grants, certified, secret)
    found += [problems.unmappable(item) for item in compiler.unmappable()]
    if any(fault.code in (problems.CONFLICT, problems.MIXED, problems.UNMAPPABLE) for fault in found):
        return None, tuple(found)
    try:
        rules = _written(server, _separated(compiler), strays(fleet, server, held))
    except Inseparable as pair:
        return None, (*found, problems.inseparable(pair.first, pair.other))
    except Unmappable as fault:
        return None, (*found, problems.unmappable(fault.item))
    except Unwritable as refusal:
        return None, (*found, problems.unwritable(server, str(refusal)))
    found += [*lint.unused(order, rules), *lint.locked_out(order, rules), *trust.intruders(fleet, rules, roles, held)]
    return rules, mark_by_path(fleet, found)


def _separated(compiler: _Compiler) -> tuple[_Ruled, ...]:
    """Write the lines of all policies.

    Where the lines of one policy cannot separate the clients of another policy, try the lines of the other first.
    """
    tried: set[tuple[str, str]] = set()
    fault: Inseparable | None = None
    while True:
        try:
            return tuple(compiler.ruled())
        except Inseparable as pair:
            fault = fault or pair
            names = pair.first.policy.name, pair.other.policy.name
            order = compiler.order.raised(pair.other, pair.first)
            if order is None or not tried.isdisjoint((names, names[::-1])):
                raise fault from None
            tried.add(names)
            compiler = replace(compiler, order=order)


def alike(fleet: Fleet, server: Server) -> Hashable:
    """Return the inputs of a server's rules: servers with equal inputs have the same rules."""
    policies = tuple(policy.name for policy in fleet.policies_of(server))
    table = server.table
    return (
        server.kind,
        policies,
        tuple(ca.name for ca in server.accepted_cas),
        table.postgres,
        table.crl,
        table.no_local,
    )


def for_server(rules: Rules, server: Server) -> Rules:
    """Return the rules of one server for another that is :func:`alike`: only the header differs."""
    if server is rules.server:
        return rules
    before, after = _header(rules.server), _header(server)
    return replace(
        rules,
        server=server,
        hba_text=rules.hba_text.replace(before, after, 1),
        ident_text=rules.ident_text.replace(before, after, 1),
    )


def _header(server: Server) -> str:
    return f"Written by pgtls from {server.entity}: do not edit, change the spec and build again."


def _written(server: Server, ruled: Sequence[_Ruled], left: tuple[str, ...]) -> Rules:
    lines = tuple(item.line for item in ruled) or (NOBODY,)
    idents = tuple(dict.fromkeys(ident for item in ruled for ident in item.idents))
    version, bare = server.table.postgres, server.kind == "pooler"
    header = _header(server)
    return Rules(
        server=server,
        lines=lines,
        idents=idents,
        origin=tuple(item.origin for item in ruled) or ((),),
        hba_text=render_hba(lines, version, header, bare=bare),
        ident_text=render_ident(idents, version, header, bare=bare),
        left=left,
    )


@dataclass(frozen=True, slots=True)
class _Compiler:
    """The inputs for the lines of one server."""

    server: Server
    order: Order
    grants: Mapping[str, Grants]
    certified: Certified
    secret: Callable[[Policy, str, Secret], str]

    def unmappable(self) -> Iterator[Item]:
        """Yield the policies that need an ident map but whose method supports none."""
        for item in self.order.items:
            alone = Piece(item.scope, (item,), self.grants[item.policy.name])
            if proves_identity(item.demand) and not takes_map(item.demand.method) and not self._plain(item, alone):
                yield item

    def ruled(self) -> Iterator[_Ruled]:
        """Return the lines. After each line, reject cleartext if a later line would admit it."""
        kept: list[_Ruled] = []
        cleartext: dict[int, list[_Ruled]] = {}
        """By position, the lines that decide in cleartext. The nearest one is the last."""
        for ruled in reversed(list(self._admitting())):
            if ruled.line.type == "hostssl" and self._falls_through(ruled, cleartext):
                kept.append(_refusal(ruled))
                cleartext.setdefault(ruled.position, []).append(kept[-1])
            if ruled.line.type == "host" and ruled.line.method != "reject":
                cleartext.setdefault(ruled.position, []).append(ruled)
            kept.append(ruled)
        return reversed(kept)

    def _falls_through(self, ruled: _Ruled, cleartext: Mapping[int, Sequence[_Ruled]]) -> bool:
        """Return whether a later line could admit the connection without TLS.

        Lines of one piece do not overlap, nor do lines of policies that do not overlap.
        """
        near = (ruled.position, *self.order.overlaps[ruled.position])
        for other in (other for position in near for other in reversed(cleartext.get(position, ()))):
            if other.piece is ruled.piece:
                continue
            if other.line.type == "hostnossl" and ruled.scope.within(other.scope, self.order.known):
                return False
            if other.line.type == "host" and other.scope.overlaps(ruled.scope, self.order.known):
                return True
        return False

    def _admitting(self) -> Iterator[_Ruled]:
        """Yield the lines of all policies in order. Skip lines that one earlier line covers completely."""
        cut = [pieces(self.order, index, self.grants) for index in range(len(self.order.items))]
        maps = self._maps(cut)
        for index, item in enumerate(self.order.items):
            done = [self.order.items[other].scope for other in self.order.above[index]]
            for piece in cut[index]:
                own = piece.scope == item.scope
                for ruled in self._lines(index, piece, maps.get(piece), own=own):
                    if not any(ruled.scope.within(scope, self.order.known) for scope in done):
                        yield ruled
                done.append(piece.scope)

    def _lines(self, position: int, piece: Piece, name: str | None, *, own: bool) -> Iterator[_Ruled]:
        """Write a piece, one line for each address. ``name`` is the name of its map."""
        item, scope = self.order.items[position], piece.scope
        policy = item.policy
        idents = self._idents(item, piece, name) if name else ()
        options = tuple(self._options(item, piece, name))
        databases = policy.databases if own else scope.databases.terms()
        addresses: Sequence[Address | None] = (_outermost(policy.addresses) if own else scope.addresses.terms()) or (
            None,
        )
        for address in addresses:
            sets = SOCKET if address is None else addresses_of((address,))
            for some_databases in self._chunks(databases):
                for roles in self._chunks(policy.roles if own else scope.roles.terms()):
                    line = Line(
                        item.demand.type, some_databases, roles, address, item.demand.method, options, _comments(piece)
                    )
                    part = Scope(roles_of(roles), databases_of(some_databases), sets)
                    yield _Ruled(line, part, piece, position, idents)

    def _chunks(self, terms: Sequence[_T]) -> Iterator[tuple[_T, ...]]:
        """Cut a list that would make a line too long for PostgreSQL 13."""
        if self.server.table.postgres > _LIMITED:
            yield tuple(terms)
            return
        chunk: list[_T] = []
        size = 0
        for term in terms:
            length = 2 * len(str(term).encode())
            if chunk and size + length > _BYTES_A_FIELD:
                yield tuple(chunk)
                chunk, size = [], 0
            chunk.append(term)
            size += length
        yield tuple(chunk)

    def _options(self, item: Item, piece: Piece, name: str | None) -> Iterator[tuple[str, str]]:
        if item.demand.client_cert != "none" and item.demand.method != "cert":
            yield "clientcert", item.demand.client_cert
        if piece.by_subject:
            yield "clientname", "DN"
        if name is not None:
            yield "map", name
        for option, value in item.demand.options:
            yield option, value if isinstance(value, str) else self.secret(item.policy, option, value)

    def _maps(self, cut: Sequence[Sequence[Piece]]) -> Mapping[Piece, str]:
        """Name the maps of the pieces that need one: those that accept other clients than those with CN = role."""
        mapped: list[Piece] = []
        for item, own in zip(self.order.items, cut, strict=True):
            needing = [piece for piece in own if proves_identity(item.demand) and not self._plain(item, piece)]
            if needing and not takes_map(item.demand.method):
                raise Unmappable(item)
            mapped += needing
        return map_names(mapped, self.order.known)

    def _idents(self, item: Item, piece: Piece, name: str) -> tuple[IdentLine, ...]:
        """Write the map of a piece."""
        identity = self.certified.subjects if piece.by_subject else self.certified.common_names
        found = list(
            ident_lines(
                name,
                piece.grants,
                identity if item.demand.client_cert == "verify-full" else {},
                self.server.table.postgres,
            )
        )
        comment = _comments(piece)
        return tuple(replace(ident, comment=comment if ident is found[0] else None) for ident in found)

    def _plain(self, item: Item, piece: Piece) -> bool:
        """Return whether no map is needed: each role accepts exactly the clients that prove this role."""
        grants, roles = piece.grants, piece.scope.roles
        wide = roles.every or bool(roles.groups)
        if grants.entries or piece.by_subject:
            return False
        if item.demand.client_cert != "verify-full":
            alike = all(names == {role} for role, names in grants.pairs.items())
            return alike and (grants.implied or all(role in grants.pairs for role in roles.names))
        names = self.certified.common_names
        if any(names[who] != role for role, holders in grants.pairs.items() for who in holders):
            return False
        candidates = self.certified.all_common_names if wide else roles.names & self.certified.all_common_names
        return all(
            name in grants.pairs or not roles.intersection(Roles(frozenset((name,))), self.order.known)
            for name in candidates
        )


def _origin(piece: Piece) -> tuple[Policy, ...]:
    return tuple(sorted((item.policy for item in piece.grantors), key=lambda policy: policy.name))


def _outermost(addresses: Sequence[Address]) -> Sequence[Address]:
    """Drop the networks that lie inside another network of the list: their lines would have no effect."""
    networks = {term for term in addresses if isinstance(term, IPv4Network | IPv6Network)}
    lengths = sorted({network.prefixlen for network in networks})
    inner = {
        network
        for network in networks
        if any(network.supernet(new_prefix=length) in networks for length in lengths if length < network.prefixlen)
    }
    return tuple(term for term in addresses if term not in inner) if inner else addresses


def _comments(piece: Piece) -> str:
    return "\n".join(
        f"policy {policy.name}" + (f": {policy.table.description}" if policy.table.description else "")
        for policy in _origin(piece)
    )


def _refusal(ruled: _Ruled) -> _Ruled:
    """Reject in cleartext, and under GSS encryption, the connections that a line admits with TLS."""
    names = ", ".join(policy.name for policy in ruled.origin)
    line = replace(
        ruled.line,
        type="hostnossl",
        method="reject",
        options=(),
        comment=f"policy {names}: cleartext refused",
    )
    return replace(ruled, line=line, idents=())
