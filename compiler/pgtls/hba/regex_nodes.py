"""Define the nodes of a regular expression.

A node is a function from a set of positions to the positions at which a match that starts there can end.

There is no backtracking, and the cost for a subject is bounded: groups that repeat groups, or lookaheads inside
lookaheads, would need time that grows with every level. Above the bound, :class:`Undecidable` is raised.
"""

from __future__ import annotations

from collections.abc import Callable

_MOST_STEPS = 300_000
"""The maximum number of positions to visit for one subject: a fraction of a second."""


class Undecidable(Exception):  # noqa: N818  (a limit of the reader, not an error of the pattern's author)
    """Report that pgtls cannot tell what PostgreSQL would do. The message gives the reason."""


class Subject(bytes):
    """The bytes to match, and the cost so far."""

    def __init__(self, _: bytes) -> None:
        self.left = _MOST_STEPS
        self.looked: dict[tuple[int, int], bool] = {}
        """The result of a lookahead at a position."""

    def spend(self, steps: int) -> None:
        """Count positions. Raise :class:`Undecidable` above the maximum."""
        self.left -= steps + 1
        if self.left < 0:
            raise Undecidable("it takes too many steps to find out what the regular expression matches")


Positions = frozenset[int]
Node = Callable[[Subject, Positions], Positions]

ALL_BYTES = frozenset(range(256))
DIGIT = frozenset(b"0123456789")
UPPER = frozenset(range(0x41, 0x5B))
LOWER = frozenset(range(0x61, 0x7B))
SPACE = frozenset(b" \t\n\v\f\r")
WORD = DIGIT | UPPER | LOWER | frozenset(b"_")
_GRAPH = frozenset(range(0x21, 0x7F))
CLASSES = {
    "alnum": DIGIT | UPPER | LOWER,
    "alpha": UPPER | LOWER,
    "ascii": frozenset(range(128)),
    "blank": frozenset(b" \t"),
    "cntrl": frozenset(range(0x20)) | {0x7F},
    "digit": DIGIT,
    "graph": _GRAPH,
    "lower": LOWER,
    "print": _GRAPH | {0x20},
    "punct": _GRAPH - DIGIT - UPPER - LOWER,
    "space": SPACE,
    "upper": UPPER,
    "xdigit": DIGIT | frozenset(b"abcdefABCDEF"),
}


def byte_in(members: frozenset[int]) -> Node:
    """Match one byte of a set."""

    def run(data: Subject, at: Positions) -> Positions:
        data.spend(len(at))
        return frozenset(p + 1 for p in at if p < len(data) and data[p] in members)

    return run


def sequence(nodes: list[Node]) -> Node:
    """Match the parts in sequence."""

    def run(data: Subject, at: Positions) -> Positions:
        for node in nodes:
            if not at:
                break
            at = node(data, at)
        return at

    return run


def either(nodes: list[Node]) -> Node:
    """Match any of the branches."""
    if len(nodes) == 1:
        return nodes[0]
    return lambda data, at: frozenset[int]().union(*(node(data, at) for node in nodes))


def repeated(node: Node, least: int, most: int | None) -> Node:
    """Match the node from ``least`` to ``most`` times, or without limit."""

    def run(data: Subject, at: Positions) -> Positions:
        for _ in range(least):
            before, at = at, node(data, at)
            if at == before:  # more repetitions reach no new position
                break
        reached, fresh, rounds = at, at, least
        while fresh and (most is None or rounds < most):
            fresh = node(data, fresh) - reached
            reached |= fresh
            rounds += 1
        return reached

    return run


def _where(holds: Callable[[Subject, int], bool]) -> Node:
    def run(data: Subject, at: Positions) -> Positions:
        data.spend(len(at))
        return frozenset(p for p in at if holds(data, p))

    return run


def ahead(node: Node, *, wanted: bool) -> Node:
    """Match the empty string where the node matches, or where it does not match."""

    def holds(data: Subject, position: int) -> bool:
        key = id(node), position
        if key not in data.looked:
            data.looked[key] = bool(node(data, frozenset({position})))
        return data.looked[key] == wanted

    return _where(holds)


def _word_at(data: bytes, position: int) -> bool:
    return 0 <= position < len(data) and data[position] in WORD


def _starts_word(data: bytes, p: int) -> bool:
    return not _word_at(data, p - 1) and _word_at(data, p)


def _ends_word(data: bytes, p: int) -> bool:
    return _word_at(data, p - 1) and not _word_at(data, p)


CONSTRAINTS: dict[str, Node] = {
    "^": _where(lambda _, p: p == 0),
    "$": _where(lambda data, p: p == len(data)),
    "A": _where(lambda _, p: p == 0),
    "Z": _where(lambda data, p: p == len(data)),
    "m": _where(_starts_word),
    "M": _where(_ends_word),
    "y": _where(lambda data, p: _word_at(data, p - 1) != _word_at(data, p)),
    "Y": _where(lambda data, p: _word_at(data, p - 1) == _word_at(data, p)),
}
