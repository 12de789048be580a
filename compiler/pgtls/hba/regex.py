r"""Regular expressions as hba.c uses them: PostgreSQL's AREs over bytes.

``regcomp_auth_token`` compiles with REG_ADVANCED and the C collation, and authentication comes before the database's encoding is known, so that
a pattern and its subject are bytes: ``.`` is one byte, and only ASCII letters are letters.

What is understood: literals, ``.``, ``^``, ``$``, groups (capturing or not), ``|``, ``* + ? {m} {m,} {m,n}`` greedy or not, bracket expressions with
ranges, classes and class escapes, ``\d \w \s \D \W \S``, ``\A \Z \m \M \y \Y``, escaped punctuation, ``\a \b \e \f \n \r \t \v``, lookahead,
and the leading options ``(?i) (?c) (?s) (?t)``. All else that PostgreSQL may accept raises :class:`Undecidable`: it is never guessed. What
PostgreSQL refuses raises :class:`InvalidRegex` with its words (src/backend/regex/regc_lex.c, regcomp.c; texts of regerrs.h).

A pattern is a function from a set of positions to the set of positions where a match that starts at one of them can end: no backtracking, so
that no pattern takes exponential time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

_Positions = frozenset[int]
_Node = Callable[[bytes, _Positions], _Positions]

_ALL_BYTES = frozenset(range(256))
_DIGIT = frozenset(b"0123456789")
_UPPER = frozenset(range(0x41, 0x5B))
_LOWER = frozenset(range(0x61, 0x7B))
_SPACE = frozenset(b" \t\n\v\f\r")
_WORD = _DIGIT | _UPPER | _LOWER | frozenset(b"_")
_GRAPH = frozenset(range(0x21, 0x7F))
_CLASSES = {
    "alnum": _DIGIT | _UPPER | _LOWER,
    "alpha": _UPPER | _LOWER,
    "ascii": frozenset(range(128)),
    "blank": frozenset(b" \t"),
    "cntrl": frozenset(range(0x20)) | {0x7F},
    "digit": _DIGIT,
    "graph": _GRAPH,
    "lower": _LOWER,
    "print": _GRAPH | {0x20},
    "punct": _GRAPH - _DIGIT - _UPPER - _LOWER,
    "space": _SPACE,
    "upper": _UPPER,
    "word": _WORD,
    "xdigit": _DIGIT | frozenset(b"abcdefABCDEF"),
}
_CLASS_ESCAPES = {"d": _DIGIT, "s": _SPACE, "w": _WORD}
_CHARACTER_ESCAPES = {"a": 7, "b": 8, "B": 0x5C, "e": 0x1B, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_MOST_REPETITIONS = 255
_DEEPEST = 50
_OPTIONS = re.compile(r"\(\?([A-Za-z]*)\)")
_BOUND = re.compile(r"\{([0-9]{1,9})(,([0-9]{1,9})?)?\}\??")
_OPEN_BOUND = re.compile(r"\{[0-9]+(,[0-9]*)?")


class InvalidRegex(ValueError):  # noqa: N818  (a fault of the pattern's author)
    """A pattern that PostgreSQL refuses; the message is the reason in its words."""


class Undecidable(Exception):  # noqa: N818  (a limit of the reader, not an error of anybody)
    """What PostgreSQL would do cannot be told here; the message says why."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled regular expression.

    ``around`` are the parts before, within and after the first group, if it stands at the top level; None where there is no such group.
    """

    source: str
    whole: _Node
    around: tuple[_Node, _Node, _Node] | None
    groups: int
    is_plain: bool
    """Nothing but greedy quantifiers and no alternation: the first group is as long as it can be."""
    is_anchored: bool
    """Starts with ``^`` and ends with ``$``."""

    def matches(self, subject: str) -> bool:
        """Say whether the pattern matches anywhere in the subject (pg_regexec without captures)."""
        data = subject.encode("utf-8", "surrogateescape")
        return bool(self.whole(data, frozenset(range(len(data) + 1))))

    def first_group(self, subject: str) -> str | None:
        r"""Give what ``\1`` stands for in a subject that matches; None: there is no group.

        Raises Undecidable where several substrings are possible and PostgreSQL's preference is not obvious.
        """
        if not self.groups:
            return None
        if self.around is None:
            raise Undecidable(f'the group that \\1 means in "{self.source}" is repeated or one of several branches')
        data = subject.encode("utf-8", "surrogateescape")
        spans = _spans(self.around, data)
        if len(spans) > 1 and not (self.is_plain and self.is_anchored):
            raise Undecidable(f'"{self.source}" can match "{subject}" in several ways')
        start, end = max(spans)
        return data[start:end].decode("utf-8", "surrogateescape")


def _spans(around: tuple[_Node, _Node, _Node], data: bytes) -> set[tuple[int, int]]:
    """Give all the places of the first group, in the matches that start leftmost."""
    before, inner, after = around
    for origin in range(len(data) + 1):
        spans = {
            (start, end)
            for start in before(data, frozenset({origin}))
            for end in inner(data, frozenset({start}))
            if after(data, frozenset({end}))
        }
        if spans:
            return spans
    return set()


@lru_cache(maxsize=4096)
def compile_regex(pattern: str) -> Pattern:
    """Compile a pattern (without the slash that marks it in the files). Raises InvalidRegex, Undecidable."""
    data = pattern.encode("utf-8", "surrogateescape").decode("latin-1")  # one character a byte
    options = _OPTIONS.match(data)
    if data.startswith("***"):
        raise Undecidable(f'"{pattern}" starts with a director')
    try:
        return _Parser(data[options.end() :] if options else data, ignore_case=_ignores_case(options)).parse(pattern)
    except Undecidable as undecidable:
        raise Undecidable(f'the regular expression "{pattern}" has {undecidable}') from None


def _ignores_case(options: re.Match[str] | None) -> bool:
    """Read ``(?i)`` and its like; the last of ``i`` and ``c`` counts."""
    letters = options[1] if options else ""
    if set(letters) - set("bceimnpqstwx"):
        raise InvalidRegex("invalid embedded option")
    if set(letters) - set("icst"):
        raise Undecidable("options other than i, c, s and t")
    return letters.rfind("i") > letters.rfind("c")


# --- nodes -------------------------------------------------------------------------------------------------------------------------------------


def _byte_in(members: frozenset[int]) -> _Node:
    return lambda data, at: frozenset(p + 1 for p in at if p < len(data) and data[p] in members)


def _sequence(nodes: list[_Node]) -> _Node:
    def run(data: bytes, at: _Positions) -> _Positions:
        for node in nodes:
            if not at:
                break
            at = node(data, at)
        return at

    return run


def _either(nodes: list[_Node]) -> _Node:
    if len(nodes) == 1:
        return nodes[0]
    return lambda data, at: frozenset[int]().union(*(node(data, at) for node in nodes))


def _repeated(node: _Node, least: int, most: int | None) -> _Node:
    def run(data: bytes, at: _Positions) -> _Positions:
        for _ in range(least):
            at = node(data, at)
        reached, fresh, rounds = at, at, least
        while fresh and (most is None or rounds < most):
            fresh = node(data, fresh) - reached
            reached |= fresh
            rounds += 1
        return reached

    return run


def _where(holds: Callable[[bytes, int], bool]) -> _Node:
    return lambda data, at: frozenset(p for p in at if holds(data, p))


def _ahead(node: _Node, *, wanted: bool) -> _Node:
    return _where(lambda data, p: bool(node(data, frozenset({p}))) == wanted)


def _word_at(data: bytes, position: int) -> bool:
    return 0 <= position < len(data) and data[position] in _WORD


def _starts_word(data: bytes, p: int) -> bool:
    return not _word_at(data, p - 1) and _word_at(data, p)


def _ends_word(data: bytes, p: int) -> bool:
    return _word_at(data, p - 1) and not _word_at(data, p)


_CONSTRAINTS: dict[str, _Node] = {
    "^": _where(lambda _, p: p == 0),
    "$": _where(lambda data, p: p == len(data)),
    "A": _where(lambda _, p: p == 0),
    "Z": _where(lambda data, p: p == len(data)),
    "m": _where(_starts_word),
    "M": _where(_ends_word),
    "y": _where(lambda data, p: _word_at(data, p - 1) != _word_at(data, p)),
    "Y": _where(lambda data, p: _word_at(data, p - 1) == _word_at(data, p)),
}


# --- parser ------------------------------------------------------------------------------------------------------------------------------------


class _Parser:
    """A recursive descent over one pattern, a character standing for a byte."""

    def __init__(self, source: str, *, ignore_case: bool) -> None:
        self.source = source
        self.position = 0
        self.ignore_case = ignore_case
        self.groups = 0
        self.is_plain = True
        self.first: tuple[int, _Node] | None = None
        """The first group, when it was met at the top level: its index in the branch, and what is in it."""

    def parse(self, pattern: str) -> Pattern:
        branches = self.branches(0)
        if self.position < len(self.source):
            raise InvalidRegex("parentheses () not balanced")
        around = None
        if self.first and len(branches) == 1:
            index, inner = self.first
            around = (_sequence(branches[0][:index]), inner, _sequence(branches[0][index + 1 :]))
        nodes = branches[0]
        anchored = (nodes[:1], nodes[-1:]) == ([_CONSTRAINTS["^"]], [_CONSTRAINTS["$"]])
        whole = _either([_sequence(branch) for branch in branches])
        return Pattern(pattern, whole, around, self.groups, self.is_plain and len(branches) == 1, anchored)

    def peek(self, text: str) -> bool:
        return self.source.startswith(text, self.position)

    def take(self) -> str:
        self.position += 1
        return self.source[self.position - 1]

    def branches(self, depth: int) -> list[list[_Node]]:
        if depth > _DEEPEST:
            raise Undecidable("groups nested too deeply")
        found = [self.branch(depth)]
        while self.peek("|"):
            self.position += 1
            self.is_plain = False
            found.append(self.branch(depth))
        return found

    def branch(self, depth: int) -> list[_Node]:
        nodes: list[_Node] = []
        while self.position < len(self.source) and not self.peek("|") and not self.peek(")"):
            constraint = self.constraint(depth)
            if constraint:
                nodes.append(constraint)
                continue
            groups, (node, is_group) = self.groups, self.atom(depth)
            repeated = self.quantified(node)
            if is_group and groups == 0 and depth == 0 and repeated is node:
                self.first = (len(nodes), node)
            nodes.append(repeated)
        return nodes

    def constraint(self, depth: int) -> _Node | None:
        """Read what matches no character. A quantifier after it is one without an operand."""
        for mark, wanted in (("(?=", True), ("(?!", False)):
            if self.peek(mark):
                self.position += len(mark)
                groups = self.groups
                node = self.closed(depth)
                if self.groups != groups:
                    raise Undecidable("a group within a lookahead")
                return _ahead(node, wanted=wanted)
        if self.peek("^") or self.peek("$"):
            return _CONSTRAINTS[self.take()]
        escape = self.source[self.position + 1 : self.position + 2]
        if self.peek("\\") and escape in _CONSTRAINTS and escape.isalpha():
            self.position += 2
            return _CONSTRAINTS[escape]
        return None

    def closed(self, depth: int) -> _Node:
        node = _either([_sequence(branch) for branch in self.branches(depth + 1)])
        if not self.peek(")"):
            raise InvalidRegex("parentheses () not balanced")
        self.position += 1
        return node

    def atom(self, depth: int) -> tuple[_Node, bool]:
        """Read one atom; True with it if it is a capturing group."""
        character = self.take()
        if character == "(":
            return self.group(depth)
        if character == "[":
            return _byte_in(self.cased(_Bracket(self).members())), False
        if character == ".":
            return _byte_in(_ALL_BYTES), False
        if character == "\\":
            return _byte_in(self.cased(self.escape())), False
        if character in "*+?" or (character == "{" and self.source[self.position : self.position + 1].isdecimal()):
            raise InvalidRegex("quantifier operand invalid")
        return _byte_in(self.cased(frozenset({ord(character)}))), False

    def group(self, depth: int) -> tuple[_Node, bool]:
        if self.peek("?:"):
            self.position += 2
            return self.closed(depth), False
        if self.peek("?"):
            raise Undecidable("a construct (?… other than (?:, (?= and (?!")
        node = self.closed(depth)
        self.groups += 1
        return node, True

    def cased(self, members: frozenset[int]) -> frozenset[int]:
        if not self.ignore_case:
            return members
        return members | {m ^ 0x20 for m in members if m in _UPPER or m in _LOWER}

    def escape(self) -> frozenset[int]:
        """Read what follows a backslash, outside brackets and in."""
        if self.position == len(self.source):
            raise InvalidRegex("invalid escape \\ sequence")
        character = self.take()
        if not (character.isascii() and character.isalnum()):
            return frozenset({ord(character)})
        if character in _CLASS_ESCAPES:
            return _CLASS_ESCAPES[character]
        if character.lower() in _CLASS_ESCAPES:
            return _ALL_BYTES - _CLASS_ESCAPES[character.lower()]
        if character in _CHARACTER_ESCAPES:
            return frozenset({_CHARACTER_ESCAPES[character]})
        if character.isdecimal() or character in "cuUx":
            raise Undecidable("a back reference or a numeric escape")
        raise InvalidRegex("invalid escape \\ sequence")

    def quantified(self, node: _Node) -> _Node:
        """Read the quantifier after an atom, if there is one; the same node comes back if not."""
        least, most = 0, None
        if self.peek("{") and self.source[self.position + 1 : self.position + 2].isdecimal():
            least, most = self.bound()
        elif self.position < len(self.source) and self.source[self.position] in "*+?":
            least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[self.take()]
            self.lazy()
        else:
            return node
        if self.position < len(self.source) and self.source[self.position] in "*+?":
            raise InvalidRegex("quantifier operand invalid")
        return _repeated(node, least, most)

    def lazy(self) -> None:
        if self.peek("?"):
            self.position += 1
            self.is_plain = False

    def bound(self) -> tuple[int, int | None]:
        found = _BOUND.match(self.source, self.position)
        if found is None:
            unfinished = _OPEN_BOUND.fullmatch(self.source, self.position)
            raise InvalidRegex("braces {} not balanced" if unfinished else "invalid repetition count(s)")
        self.position = found.end()
        if found[0].endswith("?"):
            self.is_plain = False
        least = int(found[1])
        most = least if found[2] is None else int(found[3]) if found[3] else None
        if max(least, most or 0) > _MOST_REPETITIONS or (most is not None and most < least):
            raise InvalidRegex("invalid repetition count(s)")
        return least, most


class _Bracket:
    """A bracket expression, from after its ``[``."""

    def __init__(self, parser: _Parser) -> None:
        self.parser = parser

    def members(self) -> frozenset[int]:
        parser = self.parser
        negated = parser.peek("^")
        parser.position += negated
        found: frozenset[int] = frozenset()
        first = True
        while first or not parser.peek("]"):
            if parser.position >= len(parser.source):
                raise InvalidRegex("brackets [] not balanced")
            if parser.peek("-") and not first and not parser.peek("-]"):
                is_last = parser.position + 1 == len(parser.source)
                raise InvalidRegex("brackets [] not balanced" if is_last else "invalid character range")
            found |= self.element()
            first = False
        parser.position += 1
        found = parser.cased(found)
        return _ALL_BYTES - found if negated else found

    def element(self) -> frozenset[int]:
        """Read a class, a character, or a range of them."""
        parser = self.parser
        if parser.peek("[:"):
            return self.named_class()
        start = self.character()
        if not parser.peek("-") or parser.peek("-]") or parser.position + 1 >= len(parser.source):
            return start
        parser.position += 1
        if parser.peek("[:"):
            raise InvalidRegex("invalid character range")
        end = self.character()
        if len(start) != 1 or len(end) != 1:
            raise InvalidRegex("invalid character range")
        low, high = min(start), min(end)
        if low > high:
            raise InvalidRegex("invalid character range")
        return frozenset(range(low, high + 1))

    def character(self) -> frozenset[int]:
        parser = self.parser
        if parser.peek("[.") or parser.peek("[="):
            raise Undecidable("a collating element")
        character = parser.take()
        if character != "\\":
            return frozenset({ord(character)})
        if parser.source[parser.position : parser.position + 1] in tuple("DSW"):
            raise Undecidable("a negated class within brackets")
        return parser.escape()

    def named_class(self) -> frozenset[int]:
        parser = self.parser
        end = parser.source.find(":]", parser.position)
        if end < 0:
            raise InvalidRegex("brackets [] not balanced")
        name = parser.source[parser.position + 2 : end]
        parser.position = end + 2
        if name in {"<", ">"}:
            raise Undecidable("a word boundary within brackets")
        if name not in _CLASSES:
            raise InvalidRegex("invalid character class")
        return _CLASSES[name]
