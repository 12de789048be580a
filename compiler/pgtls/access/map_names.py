"""Name the ident maps.

A map has the name of the policies whose identities it lists. Lines whose pieces have the same policies share a map,
unless one of the lines would then accept an identity that its piece does not accept.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pgtls.access.split import Piece
    from pgtls.fleet.membership import Memberships

_LONGEST = 100
"""The longest name, in characters.

A map's name names its policies; PostgreSQL 15 and older read tokens of at most 255 bytes.
"""


def map_names(pieces: Iterable[Piece], known: Memberships) -> Mapping[Piece, str]:
    """Name the map of each piece: ``app``, ``app+staff``, and ``app+staff:2`` where one map cannot serve all."""
    found: dict[Piece, str] = {}
    maps: dict[str, list[list[Piece]]] = {}
    for piece in pieces:
        name = _of_policies(piece)
        alike = maps.setdefault(name, [])
        fitting = (number for number, sharing in enumerate(alike) if _may_join(piece, sharing, known))
        number = next(fitting, len(alike))
        if number == len(alike):
            alike.append([])
        alike[number].append(piece)
        found[piece] = f"{name}:{number + 1}" if number else name
    return found


def _may_join(piece: Piece, sharing: Iterable[Piece], known: Memberships) -> bool:
    return not any(_widens(piece, other, known) or _widens(other, piece, known) for other in sharing)


def _widens(piece: Piece, other: Piece, known: Memberships) -> bool:
    """Return whether the lines of a piece would accept more if they also had the identities of another piece."""
    mine, theirs = piece.grants, other.grants
    if not theirs.entries <= mine.entries or theirs.implied > mine.implied:
        return True
    return any(
        not names <= mine.pairs.get(role, frozenset()) and piece.scope.roles.may_have(role, known)
        for role, names in theirs.pairs.items()
    )


def _of_policies(piece: Piece) -> str:
    name = "+".join(sorted(item.policy.name for item in piece.grantors))
    if len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{piece.grantors[0].policy.name}+{len(piece.grantors) - 1}-{digest}"
