"""Any text at all as pg_hba.conf and pg_ident.conf: the parser reads it or rejects it.

Each error has a place, and what the parser reads it writes back unchanged.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from pgtls.hba.parse import parse_hba, parse_ident
from pgtls.hba.render import Unwritable, render_hba, render_ident

if TYPE_CHECKING:
    from pgtls.hba.model import IdentLine, Line
    from pgtls.hba.parse import HbaError

SECONDS = int(os.environ.get("PGTLS_FUZZ_SECONDS", "0"))
"""About how long each of these takes; a second or two without it."""

_TEXT = (
    "local host hostssl hostnossl hostgssenc all sameuser samerole replication samehost samenet +staff /^a /(a "
    "/[[:<:]] "
    '"all" "a b" "a""b" \'x\' , ,, 10.0.0.0/8 10.0.0.1 255.0.0.0 ::1/128 ::/0 .example.com example.com 999.1.1.1 '
    "cert trust reject peer scram-sha-256 md5 ldap radius map=m clientcert=verify-full clientcert=1 clientname=DN "
    'ldapserver=x radiusservers="a,b" include include_if_exists include_dir @file @missing # #comment \\ \\\\ m \\1 '
    '"\\1" é \udcff \0'
)
WORDS = _TEXT.split(" ")
BLANKS = [" ", " ", " ", "\t", "\n", "\r\n", "\\\n", "\v", "\f", "\xa0", ""]


@st.composite
def texts(draw: st.DrawFn, begin: tuple[str, ...]) -> str:
    """Draw a text of what such files are made of, and of what they are not; many lines begin as they should."""
    word = st.one_of(st.sampled_from(WORDS), st.text(max_size=5))
    rest = st.lists(st.tuples(word, st.sampled_from(BLANKS)), max_size=8)
    lines = draw(st.lists(st.tuples(st.sampled_from(begin), rest), max_size=6))
    return "\n".join(start + "".join(word + blank for word, blank in words) for start, words in lines)


HBA = texts(
    ("", "local all all ", "hostssl all all all ", 'host "a b" +x 10.0.0.0/8 ', "hostssl /^a all ::1/128 cert ")
)
IDENT = texts(("", "m a ", 'm /^(.*)$ "\\1" ', "m "))
VERSIONS = st.integers(13, 19)
fuzzed = settings(max_examples=max(100, 200 * SECONDS), deadline=None)


def read(path: str) -> str:
    if "missing" in path:
        raise FileNotFoundError(2, "No such file or directory", path)
    return "local all all trust\n"


def have_places(errors: tuple[HbaError, ...], text: str) -> None:
    for error in errors:
        assert error.message
        assert error.line is None or error.file != "f" or 1 <= error.line <= text.count("\n") + 1


def bare(line: Line | IdentLine) -> Line | IdentLine:
    return replace(line, file=None, number=None, comment=None)


@fuzzed
@given(HBA, VERSIONS)
def test_any_text_is_read_as_lines_or_refused_at_a_place(text: str, version: int) -> None:
    parsed = parse_hba(text, version, "f", read, lambda _: ("one.conf",))
    have_places(parsed.errors, text)
    for line in parsed.lines:
        with suppress(Unwritable):
            again = parse_hba(render_hba([line], version), version)
            assert (again.errors, [bare(one) for one in again.lines]) == ((), [bare(line)])


@fuzzed
@given(IDENT, VERSIONS)
def test_any_text_is_read_as_a_map_or_refused_at_a_place(text: str, version: int) -> None:
    parsed = parse_ident(text, version, "f", read, lambda _: ("one.conf",))
    have_places(parsed.errors, text)
    for line in parsed.lines:
        with suppress(Unwritable):
            again = parse_ident(render_ident([line], version), version)
            assert (again.errors, [bare(one) for one in again.lines]) == ((), [bare(line)])


def test_much_of_it_is_read() -> None:
    found: list[int] = []

    @settings(max_examples=100, deadline=None, derandomize=True, database=None)
    @given(HBA, VERSIONS)
    def count(text: str, version: int) -> None:
        found.append(len(parse_hba(text, version, "f", read, lambda _: ()).lines))

    count()
    assert sum(map(bool, found)) > 5
