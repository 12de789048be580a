"""Decide between two policies, and order their lines accordingly.

Among the policies that cover a connection the one with the higher ``priority`` decides, and among equals the more
specific one: roles, databases and addresses each a subset of the other's. PostgreSQL tries lines from the top, so the
lines of the deciding policy must come first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

from pgtls.access.cells import Cells
from pgtls.access.neighbours import neighbours
from pgtls.access.sets import Addresses, Scope, addresses_of, databases_of, roles_of
from pgtls.access.undecided import undecided

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pgtls.access.undecided import Witness
    from pgtls.fleet.membership import Memberships
    from pgtls.fleet.model import Policy
    from pgtls.language.values import Secret

SOCKET = Addresses(socket=True)

Compared = Literal["cn", "dn"]


@dataclass(frozen=True, slots=True)
class Demand:
    """A policy's demand on a connection. Policies with the same demand do not compete."""

    type: Literal["local", "host", "hostssl"]
    method: str
    options: tuple[tuple[str, str | Secret], ...]
    """The method's own, sorted."""
    client_cert: Literal["none", "verify-ca", "verify-full"]


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A policy with what it covers and what it demands.

    ``compares`` is the part of a certificate that its lines must compare with roles: the common name (``cn``), the
    whole subject (``dn``), or None if either works because all clients that it accepts are users of the spec.
    """

    policy: Policy
    scope: Scope
    demand: Demand
    compares: Compared | None = None

    def competes(self, other: Item) -> bool:
        """Return whether no single line can express the demands of both."""
        return self.demand != other.demand or None is not self.compares != other.compares is not None

    def beats(self, other: Item, known: Memberships) -> bool:
        """Return whether this policy decides the connections that both cover."""
        if self.policy.table.priority != other.policy.table.priority:
            return self.policy.table.priority > other.policy.table.priority
        return self.scope.within(other.scope, known) and not other.scope.within(self.scope, known)


class Conflict(NamedTuple):
    """Two policies of which neither decides, and a connection that is therefore undecided."""

    first: Item
    other: Item
    witness: Witness


@dataclass(frozen=True)
class Order:
    """The policies of a server, each above the policies that it overrides.

    ``overlaps`` lists, for each policy, the later ones that it may share a connection with.
    """

    items: tuple[Item, ...]
    overlaps: tuple[tuple[int, ...], ...]
    known: Memberships

    @cached_property
    def above(self) -> tuple[tuple[int, ...], ...]:
        """For each policy, the earlier ones that it may share a connection with."""
        found: list[list[int]] = [[] for _ in self.items]
        for index, later in enumerate(self.overlaps):
            for other in later:
                found[other].append(index)
        return tuple(map(tuple, found))

    @cached_property
    def cells(self) -> Cells:
        """The cells of the policies."""
        return Cells([item.scope for item in self.items], self.known)

    def conflicts(self) -> Iterator[Conflict]:
        """Yield each pair of policies that compete for a connection which neither they nor a third policy decides."""
        for index, (first, later) in enumerate(zip(self.items, self.overlaps, strict=True)):
            for position in later:
                other = self.items[position]
                if not first.competes(other) or first.beats(other, self.known) or other.beats(first, self.known):
                    continue
                thirds = [self.items[i] for i in sorted({*self.above[index], *self.above[position]} - {index})]
                deciding = [third for third in thirds if self._overrides(third, first) or self._overrides(third, other)]
                scopes = [third.scope for third in deciding]
                witness = undecided(first.scope, other.scope, scopes, self.known)
                if witness is not None:
                    yield Conflict(first, other, witness)

    def _overrides(self, one: Item, other: Item) -> bool:
        return one.competes(other) and one.beats(other, self.known)

    def raised(self, other: Item, first: Item) -> Order | None:
        """Return the order with a later policy moved directly above another one.

        Return None if a policy between them decides instead.
        """
        start, end = self.items.index(first), self.items.index(other)
        between = self.items[start:end]
        if any(end in self.overlaps[start + i] and self._overrides(item, other) for i, item in enumerate(between)):
            return None
        ranked = [*self.items[:start], other, *between, *self.items[end + 1 :]]
        pairs = [(item, self.items[i]) for item, later in zip(self.items, self.overlaps, strict=True) for i in later]
        return Order(tuple(ranked), _overlapping(ranked, pairs), self.known)


def arrange(policies: Iterable[Policy], known: Memberships, accepted: frozenset[str] = frozenset()) -> Order:
    """Put policies in order: the Unix socket first; then by priority, specificity and name.

    Each criterion is independent of the spec's order.

    ``accepted`` names the CAs whose client certificates the server accepts.
    """
    items = sorted((item(policy, accepted) for policy in policies), key=lambda item: item.policy.name)
    near = ((items[one], items[two]) for one, two in neighbours([item.scope for item in items]))
    pairs = [(one, two) for one, two in near if one.scope.overlaps(two.scope, known)]
    levels = _levels(items, pairs, known)
    ranked = sorted(
        items,
        key=lambda item: (
            not item.policy.local,
            -item.policy.table.priority,
            levels[item.policy.name],
            item.policy.name,
        ),
    )
    return Order(tuple(ranked), _overlapping(ranked, pairs), known)


def _overlapping(ranked: Sequence[Item], pairs: Iterable[tuple[Item, Item]]) -> tuple[tuple[int, ...], ...]:
    """Return, for each policy, the later ones that it overlaps."""
    position = {item.policy.name: index for index, item in enumerate(ranked)}
    overlaps: list[list[int]] = [[] for _ in ranked]
    for pair in pairs:
        first, later = sorted(position[item.policy.name] for item in pair)
        overlaps[first].append(later)
    return tuple(tuple(sorted(later)) for later in overlaps)


def item(policy: Policy, accepted: frozenset[str]) -> Item:
    """Read a policy as sets and a demand."""
    addresses = SOCKET if policy.local else addresses_of(policy.addresses)
    scope = Scope(roles_of(policy.roles), databases_of(policy.databases), addresses)
    return Item(policy, scope, demand_of(policy), compared(policy, accepted))


def compared(policy: Policy, accepted: frozenset[str]) -> Compared | None:
    """Return the part of a certificate that a policy must compare: its map decides, or ``identity = "dn"``."""
    if policy.asks_certificate != "verify-full":
        return None
    if policy.compares_subjects(accepted):
        return "dn"
    return "cn" if policy.table.map else None


def demand_of(policy: Policy) -> Demand:
    """Return the demand of a policy. On the socket, the method ``ident`` means ``peer`` (``parse_hba_line``)."""
    table = policy.table
    options = tuple(sorted((name, _text(value)) for name, value in table.auth_options.items()))
    if policy.local:
        return Demand("local", "peer" if table.auth == "ident" else table.auth, options, "none")
    record: Literal["host", "hostssl"] = "hostssl" if policy.requires_tls else "host"
    return Demand(record, table.auth, options, policy.asks_certificate)


def _text(value: str | int | Secret) -> str | Secret:
    """Write an option. PostgreSQL turns a flag on with ``1``."""
    return str(int(value)) if isinstance(value, bool) else str(value) if isinstance(value, int) else value


def _levels(items: Sequence[Item], pairs: Iterable[tuple[Item, Item]], known: Memberships) -> dict[str, int]:
    """Count, for each policy, the longest chain of more specific policies with the same priority.

    ``pairs`` are the policies that overlap.
    """
    inner: dict[str, list[str]] = {item.policy.name: [] for item in items}
    for one, two in pairs:
        if one.policy.table.priority == two.policy.table.priority:
            for small, large in ((one, two), (two, one)):
                if small.beats(large, known):
                    inner[large.policy.name].append(small.policy.name)
    levels: dict[str, int] = {}
    # A policy inside another contains fewer policies itself, so this order reaches it first.
    for name in sorted(inner, key=lambda name: len(inner[name])):
        levels[name] = 1 + max((levels[small] for small in inner[name]), default=-1)
    return levels
