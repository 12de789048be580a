"""What a regular expression is made of: functions from a set of positions to the positions where a match that starts at one of them can end.

There is no backtracking, so that no pattern takes exponential time.
"""

from __future__ import annotations

from collections.abc import Callable

Positions = frozenset[int]
Node = Callable[[bytes, Positions], Positions]

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
    return lambda data, at: frozenset(p + 1 for p in at if p < len(data) and data[p] in members)


def sequence(nodes: list[Node]) -> Node:
    """Match one after the other."""

    def run(data: bytes, at: Positions) -> Positions:
        for node in nodes:
            if not at:
                break
            at = node(data, at)
        return at

    return run


def either(nodes: list[Node]) -> Node:
    """Match any of them."""
    if len(nodes) == 1:
        return nodes[0]
    return lambda data, at: frozenset[int]().union(*(node(data, at) for node in nodes))


def repeated(node: Node, least: int, most: int | None) -> Node:
    """Match it from ``least`` to ``most`` times, or without limit."""

    def run(data: bytes, at: Positions) -> Positions:
        for _ in range(least):
            before, at = at, node(data, at)
            if at == before:  # nothing more comes of going on
                break
        reached, fresh, rounds = at, at, least
        while fresh and (most is None or rounds < most):
            fresh = node(data, fresh) - reached
            reached |= fresh
            rounds += 1
        return reached

    return run


def _where(holds: Callable[[bytes, int], bool]) -> Node:
    return lambda data, at: frozenset(p for p in at if holds(data, p))


def ahead(node: Node, *, wanted: bool) -> Node:
    """Match nothing, where it would match, or where it would not."""
    return _where(lambda data, p: bool(node(data, frozenset({p}))) == wanted)


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
