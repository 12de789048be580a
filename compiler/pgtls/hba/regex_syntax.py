"""Parse PostgreSQL's AREs, as far as :mod:`pgtls.hba.regex` can evaluate them.

Source: src/backend/regex/regc_lex.c and regcomp.c. The messages are those of regerrs.h.
"""

from __future__ import annotations

import re

from pgtls.hba.regex_nodes import (
    ALL_BYTES,
    CLASSES,
    CONSTRAINTS,
    DIGIT,
    LOWER,
    SPACE,
    UPPER,
    WORD,
    Node,
    Undecidable,
    ahead,
    byte_in,
    either,
    repeated,
    sequence,
)
from pgtls.postgres.numbers import strtol

_CLASS_ESCAPES = {"d": DIGIT, "s": SPACE, "w": WORD}
_CHARACTER_ESCAPES = {"a": 7, "b": 8, "B": 0x5C, "e": 0x1B, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_COLLATING = frozenset(
    [
        "NUL",
        "SOH",
        "STX",
        "ETX",
        "EOT",
        "ENQ",
        "ACK",
        "BEL",
        "BS",
        "HT",
        "LF",
        "VT",
        "FF",
        "CR",
        "SO",
        "SI",
        "DLE",
        "DC1",
        "DC2",
        "DC3",
        "DC4",
        "NAK",
        "SYN",
        "ETB",
        "CAN",
        "EM",
        "SUB",
        "ESC",
        "IS4",
        "FS",
        "IS3",
        "GS",
        "IS2",
        "RS",
        "IS1",
        "US",
        "DEL",
        "alert",
        "backspace",
        "tab",
        "newline",
        "vertical-tab",
        "form-feed",
        "carriage-return",
        "space",
        "exclamation-mark",
        "quotation-mark",
        "number-sign",
        "dollar-sign",
        "percent-sign",
        "ampersand",
        "apostrophe",
        "left-parenthesis",
        "right-parenthesis",
        "asterisk",
        "plus-sign",
        "comma",
        "hyphen",
        "hyphen-minus",
        "period",
        "full-stop",
        "slash",
        "solidus",
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "colon",
        "semicolon",
        "less-than-sign",
        "equals-sign",
        "greater-than-sign",
        "question-mark",
        "commercial-at",
        "left-square-bracket",
        "backslash",
        "reverse-solidus",
        "right-square-bracket",
        "circumflex",
        "circumflex-accent",
        "underscore",
        "low-line",
        "grave-accent",
        "left-brace",
        "left-curly-bracket",
        "vertical-line",
        "right-brace",
        "right-curly-bracket",
        "tilde",
    ]
)
"""The names of characters in ``[.name.]``: regc_locale.c, ``cnames``."""

_MOST_REPETITIONS = 255
_DEEPEST = 50
_BOUND = re.compile(r"\{([0-9]{1,9})(,([0-9]{1,9})?)?\}\??")
_NUMBER = re.compile(r"[1-9][0-9]*")
_NUMERIC = re.compile(r"c[\s\S]|u[0-9a-fA-F]{4}|U[0-7][0-9a-fA-F]{7}|x0*[0-9a-fA-F]{1,7}(?![0-9a-fA-F])|[0-7]{1,3}")
_OPEN_BOUND = re.compile(r"\{[0-9]+(,[0-9]*)?")


class InvalidRegex(ValueError):  # noqa: N818  (a fault of the pattern's author)
    """Report a pattern that PostgreSQL rejects. The message is PostgreSQL's reason."""


class Parser:
    """A recursive descent parser of one pattern. Each character stands for a byte."""

    def __init__(self, source: str, *, ignore_case: bool) -> None:
        self.source = source
        self.position = 0
        self.ignore_case = ignore_case
        self.groups = 0
        self.is_plain = True
        self.first: tuple[int, Node] | None = None
        """The first group, if it is at the top level: its index in the branch, and its content."""
        self.may_lack = False
        """Whether the first group may have no part in a match: it is in one of several branches, or repeated from 0."""
        self.doubt: str | None = None
        """The parts of the pattern that PostgreSQL reads and this parser cannot evaluate."""
        self.is_ahead = False
        """Whether the parser is inside a lookahead or lookbehind, where no group captures."""

    def parse(self) -> list[list[Node]]:
        """Return the nodes of each top-level branch.

        Report a pattern that PostgreSQL rejects first, then doubts.
        """
        branches = self.branches(0)
        if self.position < len(self.source):
            raise InvalidRegex("parentheses () not balanced")
        if self.doubt:
            raise Undecidable(self.doubt)
        return branches

    def unsure(self, reason: str) -> None:
        """Record that the pattern is valid so far but cannot be evaluated."""
        self.doubt = self.doubt or reason

    def peek(self, text: str) -> bool:
        """Return whether this text comes next."""
        return self.source.startswith(text, self.position)

    def take(self) -> str:
        """Return the next character and move past it."""
        self.position += 1
        return self.source[self.position - 1]

    def branches(self, depth: int) -> list[list[Node]]:
        """Read branches up to the end or a closing parenthesis."""
        if depth > _DEEPEST:
            raise Undecidable("groups nested too deeply")
        before, found = self.groups, [self.branch(depth)]
        while self.peek("|"):
            self.position += 1
            self.is_plain = False
            found.append(self.branch(depth))
        self.may_lack |= len(found) > 1 and before == 0 < self.groups
        return found

    def branch(self, depth: int) -> list[Node]:
        """Read a sequence of atoms and constraints. An empty branch matches the empty string."""
        nodes: list[Node] = []
        while self.comments() and not self.peek("|") and not self.peek(")"):
            constraint = self.constraint(depth)
            if constraint:
                nodes.append(constraint)
                continue
            groups, (node, is_group) = self.groups, self.atom(depth)
            self.comments()
            repeated = self.quantified(node, holds_first=groups == 0 < self.groups)
            if is_group and groups == 0 and depth == 0 and repeated is node:
                self.first = (len(nodes), node)
            nodes.append(repeated)
        return nodes

    def comments(self) -> bool:
        """Skip comments, which may appear between any two parts. Return whether anything is left."""
        while self.peek("(?#"):
            end = self.source.find(")", self.position)
            self.position = len(self.source) if end < 0 else end + 1
        return self.position < len(self.source)

    def constraint(self, depth: int) -> Node | None:
        """Read a constraint, which matches no character. A quantifier after it lacks an operand."""
        for mark, wanted in (("(?=", True), ("(?!", False), ("(?<=", True), ("(?<!", False)):
            if self.peek(mark):
                self.position += len(mark)
                return self.around(depth, mark, wanted=wanted)
        for mark, name in (("[[:<:]]", "m"), ("[[:>:]]", "M")):
            if self.peek(mark):
                self.position += len(mark)
                return CONSTRAINTS[name]
        if self.peek("^") or self.peek("$"):
            return CONSTRAINTS[self.take()]
        escape = self.source[self.position + 1 : self.position + 2]
        if self.peek("\\") and escape in CONSTRAINTS and escape.isalpha():
            self.position += 2
            return CONSTRAINTS[escape]
        return None

    def around(self, depth: int, mark: str, *, wanted: bool) -> Node:
        """Read the rest of a lookahead or lookbehind. Groups inside it do not count."""
        groups, is_ahead = self.groups, self.is_ahead
        self.is_ahead = True
        node = self.closed(depth)
        if "<" in mark or self.groups != groups:
            self.unsure("a lookbehind" if "<" in mark else "a group within a lookahead")
        self.groups, self.is_ahead = groups, is_ahead
        return ahead(node, wanted=wanted)

    def closed(self, depth: int) -> Node:
        """Read the rest of a group, from after its opening mark."""
        node = either([sequence(branch) for branch in self.branches(depth + 1)])
        if not self.peek(")"):
            raise InvalidRegex("parentheses () not balanced")
        self.position += 1
        return node

    def atom(self, depth: int) -> tuple[Node, bool]:
        """Read one atom. Return True with it if it is a capturing group."""
        character = self.take()
        if character == "(":
            return self.group(depth)
        if character == "[":
            return byte_in(self.cased(_Bracket(self).members())), False
        if character == ".":
            return byte_in(ALL_BYTES), False
        if character == "\\":
            return byte_in(frozenset() if self.back_reference() else self.cased(self.escape())), False
        if character in "*+?" or (character == "{" and self.source[self.position : self.position + 1].isdecimal()):
            raise InvalidRegex("quantifier operand invalid")
        return byte_in(self.cased(frozenset({ord(character)}))), False

    def group(self, depth: int) -> tuple[Node, bool]:
        """Read a group. Return True with it if it captures."""
        if self.peek("?:"):
            self.position += 2
            return self.closed(depth), False
        if self.peek("?"):
            raise InvalidRegex("quantifier operand invalid")
        node = self.closed(depth)
        self.groups += 1
        return node, True

    def back_reference(self) -> bool:
        """Read a back reference after its backslash, if there is one (regc_lex.c, lexescape)."""
        found = self.reference()
        if found is None:
            return False
        if self.is_ahead or strtol(found[0]) > self.groups:
            raise InvalidRegex("invalid backreference number")
        self.position = found.end()
        self.unsure("a back reference")
        return True

    def reference(self) -> re.Match[str] | None:
        """Find the number of a back reference after a backslash.

        Several digits are one number if the pattern has that many groups, otherwise an octal escape.
        """
        found = _NUMBER.match(self.source, self.position)
        return None if found and len(found[0]) > 1 and strtol(found[0]) > self.groups else found

    def cased(self, members: frozenset[int]) -> frozenset[int]:
        """Add the letters of the other case if case is ignored."""
        if not self.ignore_case:
            return members
        return members | {m ^ 0x20 for m in members if m in UPPER or m in LOWER}

    def escape(self) -> frozenset[int]:
        """Read the text after a backslash, outside or inside brackets."""
        if self.position == len(self.source):
            raise InvalidRegex("invalid escape \\ sequence")
        character = self.take()
        if not (character.isascii() and character.isalnum()):
            return frozenset({ord(character)})
        if character in _CLASS_ESCAPES:
            return _CLASS_ESCAPES[character]
        if character.lower() in _CLASS_ESCAPES:
            return ALL_BYTES - _CLASS_ESCAPES[character.lower()]
        if character in _CHARACTER_ESCAPES:
            return frozenset({_CHARACTER_ESCAPES[character]})
        numeric = _NUMERIC.match(self.source, self.position - 1)
        if numeric is None:
            raise InvalidRegex("invalid escape \\ sequence")
        self.position = numeric.end()
        self.unsure("a numeric escape")
        return frozenset({0})

    def quantified(self, node: Node, *, holds_first: bool) -> Node:
        """Read the quantifier after an atom, which may hold the first group. Return the same node if there is none."""
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
        self.may_lack |= holds_first and least == 0
        return repeated(node, least, most)

    def lazy(self) -> None:
        """Read the mark of a non-greedy quantifier."""
        if self.peek("?"):
            self.position += 1
            self.is_plain = False

    def bound(self) -> tuple[int, int | None]:
        """Read ``{m}``, ``{m,}`` or ``{m,n}``."""
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
    """Read a bracket expression after its ``[``."""

    def __init__(self, parser: Parser) -> None:
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
        return ALL_BYTES - found if negated else found

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
            return self.collating_element()
        character = parser.take()
        if character != "\\":
            return frozenset({ord(character)})
        if parser.source[parser.position : parser.position + 1] in tuple("DSW"):
            parser.unsure("a negated class within brackets")  # an error before 14
        if parser.reference():
            raise InvalidRegex("invalid escape \\ sequence")
        return parser.escape()

    def collating_element(self) -> frozenset[int]:
        """Read ``[.name.]`` or ``[=name=]``: a character, or the name of one (regc_locale.c, cnames)."""
        parser = self.parser
        mark = parser.source[parser.position + 1]
        end = parser.source.find(f"{mark}]", parser.position + 2)
        if end < 0:
            raise InvalidRegex("brackets [] not balanced")
        name = parser.source[parser.position + 2 : end]
        parser.position = end + 2
        if len(name) != 1 and name not in _COLLATING:
            raise InvalidRegex("invalid collating element")
        parser.unsure("a collating element")
        return frozenset({ord(name[0])})

    def named_class(self) -> frozenset[int]:
        parser = self.parser
        end = parser.source.find(":]", parser.position)
        if end < 0:
            raise InvalidRegex("brackets [] not balanced")
        name = parser.source[parser.position + 2 : end]
        parser.position = end + 2
        if name == "word":
            parser.unsure("the class word")  # there is one from 14 on
            return WORD
        if name not in CLASSES:
            raise InvalidRegex("invalid character class")
        return CLASSES[name]
