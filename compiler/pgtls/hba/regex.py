r"""Regular expressions as hba.c uses them: PostgreSQL's AREs over bytes.

``regcomp_auth_token`` compiles with REG_ADVANCED and the C collation, and authentication comes before the database's
encoding is known, so that a pattern and its subject are bytes: ``.`` is one byte, and only ASCII letters are letters.

What is understood: literals, ``.``, ``^``, ``$``, groups (capturing or not), ``|``, ``* + ? {m} {m,} {m,n}`` greedy or
not, bracket expressions with ranges, classes and class escapes, ``\d \w \s \D \W \S``, ``\A \Z \m \M \y \Y``, escaped
punctuation, ``\a \b \e \f \n \r \t \v``, lookahead, and the leading options ``(?i) (?c) (?s) (?t)``. All else that
PostgreSQL may accept raises :class:`Undecidable`: it is never guessed. What PostgreSQL refuses raises
:class:`InvalidRegex` with its words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from pgtls.hba.regex_nodes import CONSTRAINTS, Node, Subject, Undecidable, either, sequence
from pgtls.hba.regex_syntax import InvalidRegex, Parser

__all__ = ["InvalidRegex", "Pattern", "Undecidable", "compile_regex", "decided"]

_OPTIONS = re.compile(r"\(\?([A-Za-z]*)\)")
_OPTIONS_START = re.compile(r"\(\?[A-Za-z]")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled regular expression.

    ``around`` are the parts before, inside and after the first group if this group is at the top level, otherwise None.
    """

    source: str
    whole: Node
    around: tuple[Node, Node, Node] | None
    groups: int
    may_lack: bool
    """Has no group, or one that may have no part in a match: then ``\\1`` ends the server's search."""
    is_plain: bool
    """Only greedy quantifiers and no alternation: the first group is as long as possible."""
    is_anchored: bool
    """Starts with ``^`` and ends with ``$``."""

    def matches(self, subject: str) -> bool:
        """Return whether the pattern matches anywhere in the subject (pg_regexec without captures).

        Raise Undecidable if the pattern cannot be evaluated.
        """
        data = Subject(subject.encode("utf-8", "surrogateescape"))
        return bool(self.whole(data, frozenset(range(len(data) + 1))))

    def first_group(self, subject: str) -> str | None:
        r"""Return the text of ``\1`` in a matching subject. None: the pattern has no group.

        Raise Undecidable if several substrings are possible and PostgreSQL's preference is not obvious.
        """
        if not self.groups:
            return None
        if self.around is None:
            raise Undecidable(f'the group that \\1 means in "{self.source}" is repeated or one of several branches')
        data = Subject(subject.encode("utf-8", "surrogateescape"))
        spans = _spans(self.around, data)
        if len(spans) > 1 and not (self.is_plain and self.is_anchored):
            raise Undecidable(f'"{self.source}" can match "{subject}" in several ways')
        start, end = max(spans)
        return data[start:end].decode("utf-8", "surrogateescape")


def _spans(around: tuple[Node, Node, Node], data: Subject) -> set[tuple[int, int]]:
    """Return all places of the first group in the leftmost matches."""
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
    """Compile a pattern (without the slash that marks it in the files). Raise InvalidRegex or Undecidable."""
    data = pattern.encode("utf-8", "surrogateescape").decode("latin-1")  # one character for each byte
    try:
        rest, ignore_case, doubt = _start(data)
        parser = Parser(rest, ignore_case=ignore_case)
        parser.doubt = doubt
        return _pattern(pattern, parser, parser.parse())
    except Undecidable as undecidable:
        raise Undecidable(f'the regular expression "{pattern}" has {undecidable}') from None


@lru_cache(maxsize=65536)
def decided(pattern: str, subject: str) -> bool | None:
    """Return whether a pattern matches. None: unknown."""
    try:
        return compile_regex(pattern).matches(subject)
    except (InvalidRegex, Undecidable):
        return None


def _pattern(source: str, parser: Parser, branches: list[list[Node]]) -> Pattern:
    around = None
    if parser.first and len(branches) == 1:
        index, inner = parser.first
        around = (sequence(branches[0][:index]), inner, sequence(branches[0][index + 1 :]))
    ends = (branches[0][:1], branches[0][-1:])
    return Pattern(
        source,
        whole=either([sequence(branch) for branch in branches]),
        around=around,
        groups=parser.groups,
        may_lack=parser.may_lack or not parser.groups,
        is_plain=parser.is_plain,
        is_anchored=ends == ([CONSTRAINTS["^"]], [CONSTRAINTS["$"]]),
    )


def _start(data: str) -> tuple[str, bool, str | None]:
    """Read a director and embedded options (regc_lex.c, prefixes).

    Return the rest of the pattern, whether case is ignored, and a doubt.
    """
    doubt = None
    if data.startswith("***") and len(data) > 3:
        if data[3] == "=":
            raise Undecidable("a director")  # the rest is literal
        if data[3] != ":":
            raise InvalidRegex("invalid regexp (reg version 0.8)" if data[3] == "?" else "quantifier operand invalid")
        data, doubt = data[4:], "a director"
    if not _OPTIONS_START.match(data):
        return data, False, doubt
    options = _OPTIONS.match(data)
    if options is None or set(options[1]) - set("bceimnpqstwx"):
        raise InvalidRegex("invalid embedded option")
    if set(options[1]) & set("beqx"):
        raise Undecidable("options that change the syntax")
    if set(options[1]) & set("mnpw"):
        doubt = "options other than i, c, s and t"
    return data[options.end() :], options[1].rfind("i") > options[1].rfind("c"), doubt
