"""Split lines where grants add up.

The lines of a policy also admit the clients that later policies with the same demand admit to the same connections. Cut
the lines where these policies end, so that each piece has one list of accepted clients. Pieces follow from
:mod:`pgtls.access.cells`: there is one piece for each set of policies that some connection has, unless a higher policy
decides for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain, combinations, compress, product
from operator import not_
from typing import TYPE_CHECKING, NamedTuple

from pgtls.access.cells import members
from pgtls.access.grants import Grants, added, proves_identity
from pgtls.access.sets import INEXACT, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pgtls.access.order import Item, Order
    from pgtls.access.sets import Addresses, Databases, Inexact, Roles
    from pgtls.fleet.membership import Memberships


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A part of a policy's scope, and the policies whose identities it accepts. The first is the policy itself."""

    scope: Scope
    grantors: tuple[Item, ...]
    grants: Grants

    @property
    def by_subject(self) -> bool:
        """Whether the lines compare whole subjects with roles, not common names."""
        return any(item.compares == "dn" for item in self.grantors)


class Inseparable(Exception):  # noqa: N818
    """Report that lines of pg_hba.conf cannot separate the connections that two policies share."""

    def __init__(self, first: Item, other: Item) -> None:
        super().__init__(first.policy.name, other.policy.name)
        self.first = first
        self.other = other


class Unmappable(Exception):  # noqa: N818
    """Report that a policy needs an ident map but its method supports none."""

    def __init__(self, item: Item) -> None:
        super().__init__(item.policy.name)
        self.item = item


def pieces(order: Order, index: int, grants: Mapping[str, Grants]) -> tuple[Piece, ...]:
    """Cut a policy's lines, the narrowest piece first: the first piece that covers a connection is the right one.

    Raise :class:`Inseparable` if lines cannot separate the policies.
    """
    first = order.items[index]
    if not proves_identity(first.demand):
        return (Piece(first.scope, (first,), Grants()),)
    cuts = _cuts(order, index, grants)
    if not cuts:
        return (Piece(first.scope, (first,), _within(first.scope, grants[first.policy.name])),)
    by_role = _separable(order, index, cuts)
    found = []
    for chosen in _needed_cells(order, index, cuts, by_role=by_role):
        items = (first, *members(order.items, chosen))
        scope = _common(items, order.known, by_role=by_role)
        found.append((_whole if by_role else _role_by_role)(scope, items, grants, order.known))
    return _needed(found, order.known)


def _needed_cells(order: Order, index: int, cuts: Sequence[int], *, by_role: bool) -> list[int]:
    """Return the sets of later policies that need pieces of a policy.

    Larger sets, hence narrower pieces, come first.
    """
    later, above = _set(cuts), _set(order.above[index])
    cells = order.cells.of(index, later, above, by_role=by_role)
    return sorted({cell for cell in cells if not cell & above}, reverse=True)


def _set(positions: Sequence[int]) -> int:
    return sum(1 << position for position in positions)


def _cuts(order: Order, index: int, grants: Mapping[str, Grants]) -> list[int]:
    """Return the later policies that make a difference.

    These are the policies that grant more, and those that override one of these.
    """
    first = order.items[index]
    later = {other: order.items[other] for other in order.overlaps[index]}
    adding = [
        other for other in later.values() if not first.competes(other) and _adds(first, other, grants, order.known)
    ]
    if not adding:
        return []
    rivals = [item for item in later.values() if first.competes(item)]
    # A policy grants nothing here if others override it wherever the first one applies.
    around = [item for item in rivals if first.scope.within(item.scope, order.known)]
    adding = [other for other in adding if not any(_overrides(item, other, order.known) for item in around)]
    return [
        position
        for position, item in later.items()
        if item in adding
        or any(
            _overrides(item, other, order.known) and item.scope.overlaps(other.scope, order.known) for other in adding
        )
    ]


def _overrides(item: Item, other: Item, known: Memberships) -> bool:
    return item.competes(other) and item.beats(other, known)


def _adds(first: Item, other: Item, grants: Mapping[str, Grants], known: Memberships) -> bool:
    """Return whether the other policy accepts a client for a role for which the first one rejects it."""
    mine, theirs = grants[first.policy.name], grants[other.policy.name]
    roles = first.scope.roles
    if roles.listed and other.scope.roles.listed and roles.names.isdisjoint(other.scope.roles.names):
        return False
    if not theirs.entries <= mine.entries or other.compares not in (None, first.compares):
        return True
    own = roles.listed and all(name in mine.pairs.get(name, ()) for name in roles.names)
    if theirs.implied and not mine.implied and not own:
        return True
    return any(
        not all(name in mine.pairs.get(role, ()) or (mine.implied and name == role) for name in who)
        for role, who in theirs.pairs.items()
        if roles.may_have(role, known)
    )


class _Meeting(NamedTuple):
    """The overlap of two policies, as far as lines can name it."""

    roles: Roles | Inexact
    databases: Databases | Inexact
    addresses: Addresses | Inexact

    @property
    def nameable(self) -> bool:
        """Whether lines can name all of the overlap except the roles."""
        return self.databases != INEXACT and self.addresses != INEXACT

    @property
    def possible(self) -> bool:
        """Whether the overlap may contain a connection, of any client."""
        return bool(self.databases and self.addresses)


def _meeting(one: Scope | _Meeting, other: Scope | _Meeting, known: Memberships) -> _Meeting:
    return _Meeting(
        INEXACT if one.roles == INEXACT or other.roles == INEXACT else one.roles.intersection(other.roles, known),
        INEXACT
        if one.databases == INEXACT or other.databases == INEXACT
        else one.databases.intersection(other.databases),
        INEXACT
        if one.addresses == INEXACT or other.addresses == INEXACT
        else one.addresses.intersection(other.addresses),
    )


def _separable(order: Order, index: int, cuts: Sequence[int]) -> bool:
    """Return whether lines can name the roles that a policy shares with others, and the others with each other.

    Raise :class:`Inseparable` if they cannot name the databases or the addresses.
    """
    first, items = order.items[index], [order.items[cut] for cut in cuts]
    shared = {item: _meeting(first.scope, item.scope, order.known) for item in items}
    vague = [item for item in items if not item.scope.definite]
    definite = [item for item in items if item.scope.definite]
    pairs = list(chain(combinations(vague, 2), product(vague, definite)))
    meet = [one.scope.overlaps(two.scope, order.known) for one, two in pairs]
    met = [*shared.items(), *_met(compress(pairs, meet), shared, order.known)]
    by_role = all(meeting.roles != INEXACT for _, meeting in met)
    if not by_role:  # lines that do not name the roles cover those of both policies, even where they share no role
        met += _met(compress(pairs, map(not_, meet)), shared, order.known)
    for other, meeting in met:
        if meeting.possible and not meeting.nameable:
            raise Inseparable(first, other)
    return by_role


def _met(
    pairs: Iterable[tuple[Item, Item]], shared: Mapping[Item, _Meeting], known: Memberships
) -> Iterator[tuple[Item, _Meeting]]:
    """Yield what the parts of two policies share, with the second one."""
    return ((two, _meeting(shared[one], shared[two], known)) for one, two in pairs)


def _common(items: Sequence[Item], known: Memberships, *, by_role: bool) -> Scope:
    """Return the overlap of policies. Without ``by_role``, take the roles of the first. Raise :class:`Inseparable`."""
    first = items[0]
    found = _Meeting(first.scope.roles, first.scope.databases, first.scope.addresses)
    for item in items[1:]:
        found = _meeting(found, item.scope if by_role else replace(item.scope, roles=first.scope.roles), known)
        if found.roles == INEXACT or not found.nameable:
            raise Inseparable(first, item)
    return Scope(found.roles, found.databases, found.addresses)  # type: ignore[arg-type]  # none is inexact


def _whole(scope: Scope, items: Sequence[Item], grants: Mapping[str, Grants], known: Memberships) -> Piece:
    """Make a piece of policies that all cover all of its roles."""
    grantors = tuple(items)
    if len({(item.demand, item.compares) for item in items}) > 1:
        unbeaten = (item for item in items if not any(_overrides(other, item, known) for other in items))
        grantors = tuple(item for item in unbeaten if not items[0].competes(item))
    return Piece(scope, grantors, added(_within(scope, grants[item.policy.name]) for item in grantors))


def _role_by_role(scope: Scope, items: Sequence[Item], grants: Mapping[str, Grants], known: Memberships) -> Piece:
    """Make a piece of policies of which some cover only some of its roles: the map lists which.

    Raise :class:`Inseparable` if lines cannot separate the policies.
    """
    first, *others = items
    found = [grants[first.policy.name]]
    grantors = [first]
    for other in others:
        if first.competes(other):
            continue
        rivals = [item for item in items if _overrides(item, other, known)]
        adding = _adding(first, other, rivals, grants, known)
        if adding is not None:
            found.append(adding)
            grantors.append(other)
    return Piece(scope, tuple(grantors), added(found))


def _adding(
    first: Item, other: Item, rivals: Sequence[Item], grants: Mapping[str, Grants], known: Memberships
) -> Grants | None:
    """Return the grants that another policy adds to the lines of the first, which cover its roles and maybe more.

    Raise :class:`Inseparable` if lines cannot separate the policies.
    """
    mine, theirs = grants[first.policy.name], grants[other.policy.name]
    if theirs.wide and not (theirs.entries <= mine.entries and mine.implied >= theirs.implied):
        if any(first.scope.roles.within(rival.scope.roles, known) for rival in rivals):
            return None
        if rivals or not first.scope.roles.within(other.scope.roles, known):
            raise Inseparable(first, other)
        return theirs
    pairs = {}
    for role, who in theirs.pairs.items():
        if not first.scope.roles.may_have(role, known) or who <= mine.pairs.get(role, frozenset()):
            continue
        covers = _covers(first, other, role, known)
        rival = [_covers(first, one, role, known) for one in rivals]
        if covers is False or True in rival:
            continue
        if covers is None or None in rival:
            raise Inseparable(first, other)
        pairs[role] = who
    subject = other.compares not in (None, first.compares)
    return Grants(pairs) if pairs or subject else None


def _covers(first: Item, other: Item, role: str, known: Memberships) -> bool | None:
    """Return whether another policy covers a role of the first policy. None: unknown."""
    return first.scope.roles.within(other.scope.roles, known) or other.scope.roles.has(role, known)


def _within(scope: Scope, grants: Grants) -> Grants:
    return grants.of(sorted(scope.roles.names) if scope.roles.listed else None)


def _needed(found: Sequence[Piece], known: Memberships) -> tuple[Piece, ...]:
    """Drop pieces that have the same meaning as the pieces below them."""
    kept: list[Piece] = []
    for piece in reversed(found):
        below = next((other for other in reversed(kept) if piece.scope.overlaps(other.scope, known)), None)
        if (
            below is None
            or not piece.scope.within(below.scope, known)
            or _within(piece.scope, below.grants) != piece.grants
            or piece.by_subject != below.by_subject
        ):
            kept.append(piece)
    return tuple(reversed(kept))
