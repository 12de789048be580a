"""Lines split where grants add up.

A policy that stands first for some connections speaks there also for the later ones that demand the same and name other identities. Its lines
are cut at those others, so that each piece has one list of whom it accepts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgtls.access.grants import Grants, added, proves_identity
from pgtls.access.sets import INEXACT, Inexact, Roles, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pgtls.access.order import Item, Order
    from pgtls.fleet.membership import Memberships


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A part of what a policy covers, and the policies whose identities it accepts, the first of them being the one whose lines these are."""

    scope: Scope
    grantors: tuple[Item, ...]
    grants: Grants


class Inseparable(Exception):  # noqa: N818
    """What two policies share, and have to be told apart in, is nothing that a line of pg_hba.conf can say."""

    def __init__(self, first: Item, other: Item) -> None:
        super().__init__(first.policy.name, other.policy.name)
        self.first = first
        self.other = other


class Unmappable(Exception):  # noqa: N818
    """Whom a policy accepts takes an ident map, which its method does not have."""

    def __init__(self, item: Item) -> None:
        super().__init__(item.policy.name)
        self.item = item


def pieces(order: Order, index: int, grants: Mapping[str, Grants]) -> tuple[Piece, ...]:
    """Cut a policy's lines, the narrowest piece first: the first one that covers a connection is right for it. Raises :class:`Inseparable`."""
    first = order.items[index]
    if not proves_identity(first.demand):
        return (Piece(first.scope, (first,), Grants()),)
    cuts = _cuts(order, index, grants)
    scopes: dict[Scope, tuple[Item, ...]] = {first.scope: (first,)}
    for other in cuts:
        narrower: dict[Scope, tuple[Item, ...]] = {}
        for scope, members in scopes.items():
            shared = _shared(scope, members, other, grants, order.known)
            if shared == INEXACT:
                raise Inseparable(first, other)
            if shared.roles and shared.databases and shared.addresses:
                narrower.setdefault(shared, (*members, other))
        scopes = narrower | {scope: members for scope, members in scopes.items() if scope not in narrower}
    found = []
    for scope, members in scopes.items():
        grantors = tuple(_grantors(members, order.known))
        found.append(Piece(scope, grantors, added(_within(scope, grants[item.policy.name]) for item in grantors)))
    return _needed(found, order.known)


def _cuts(order: Order, index: int, grants: Mapping[str, Grants]) -> list[Item]:
    """Give the later policies that make a difference: those that grant something more, and those that override one of these."""
    first, later = order.items[index], [order.items[other] for other in order.overlaps[index]]
    adding = [
        other
        for other in later
        if other.demand == first.demand and _adds(first, other, grants) and not _apart(first, other)
    ]
    if not adding:
        return []
    # Whom another demand overrides wherever the first applies grants nothing there.
    around = [item for item in later if item.demand != first.demand and first.scope.within(item.scope, order.known)]
    adding = [other for other in adding if not any(item.beats(other, order.known) for item in around)]
    return [
        item
        for item in later
        if item in adding
        or (
            item.demand != first.demand
            and any(
                item.beats(other, order.known) and item.scope.overlaps(other.scope, order.known) for other in adding
            )
        )
    ]


def _adds(first: Item, other: Item, grants: Mapping[str, Grants]) -> bool:
    """Whether the other accepts somebody whom the first does not accept for that role."""
    mine, theirs = grants[first.policy.name], grants[other.policy.name]
    names = None if first.scope.roles.every or first.scope.roles.groups else first.scope.roles.names
    if not theirs.entries <= mine.entries:
        return True
    if (
        theirs.implied
        and not mine.implied
        and (names is None or any(name not in mine.pairs.get(name, ()) for name in names))
    ):
        return True
    implied = {role: frozenset((role,)) for role in theirs.pairs} if mine.implied else {}
    return any(
        not who <= mine.pairs.get(role, frozenset()) | implied.get(role, frozenset())
        for role, who in theirs.pairs.items()
        if names is None or role in names
    )


def _apart(first: Item, other: Item) -> bool:
    roles, others = first.scope.roles, other.scope.roles
    wide = roles.every or others.every or roles.groups or others.groups
    return not wide and roles.names.isdisjoint(others.names)


def _grantors(members: Sequence[Item], known: Memberships) -> Iterator[Item]:
    """Give those that demand the same as the first and that no other demand overrides."""
    competitors = [item for item in members if item.demand != members[0].demand]
    for item in members:
        if item.demand == members[0].demand and not any(other.beats(item, known) for other in competitors):
            yield item


def _within(scope: Scope, grants: Grants) -> Grants:
    narrow = not (scope.roles.every or scope.roles.groups)
    return grants.of(sorted(scope.roles.names) if narrow else None)


def _shared(
    scope: Scope, members: Sequence[Item], other: Item, grants: Mapping[str, Grants], known: Memberships
) -> Scope | Inexact:
    roles = scope.roles.intersection(other.scope.roles, known)
    if roles == INEXACT:
        # Who is in a group is unknown. But only roles that are listed are granted anything, and lines can name these: where such a role is not in
        # the group after all, the policy that speaks of the group grants it nothing.
        parties = (*members, other)
        if any(grants[item.policy.name].wide or item.demand != other.demand for item in parties):
            return INEXACT
        listed = frozenset(role for item in parties for role in grants[item.policy.name].pairs)
        roles = Roles(
            frozenset(
                role for role in listed if scope.roles.may_have(role, known) and other.scope.roles.may_have(role, known)
            )
        )
    databases = scope.databases.intersection(other.scope.databases)
    addresses = scope.addresses.intersection(other.scope.addresses)
    if not roles:
        return Scope(roles, other.scope.databases, other.scope.addresses)
    if databases == INEXACT or addresses == INEXACT:
        return INEXACT
    return Scope(roles, databases, addresses)


def _needed(found: Sequence[Piece], known: Memberships) -> tuple[Piece, ...]:
    """Leave out pieces for which the ones below them say the same."""
    kept: list[Piece] = []
    for piece in reversed(found):
        below = next((other for other in kept if piece.scope.overlaps(other.scope, known)), None)
        if (
            below is None
            or not piece.scope.within(below.scope, known)
            or _within(piece.scope, below.grants) != piece.grants
        ):
            kept.insert(0, piece)
    return tuple(kept)
