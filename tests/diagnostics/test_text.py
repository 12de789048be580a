"""Diagnostics as text and as JSON."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import TYPE_CHECKING

import pytest

from pgtls.api import load
from pgtls.diagnostics import Diagnostic, Place, Rejected
from pgtls.diagnostics.text import as_json, render, visible
from support.building import SMALL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def excerpt(text: str, column: int, end_column: int, end_line: int = 1) -> Iterator[str]:
    place = Place("f", 1, column, end_line, end_column, text)
    lines = render([Diagnostic("PGT000", "m", place=place)]).splitlines()
    assert lines[:2] == [f"f:1:{column}: error[PGT000]: m", "  |"]
    return (line[len("1 | ") :] for line in lines[2:])


def test_the_example_of_the_design() -> None:
    place = Place("pgtls.toml", 31, 13, 31, 19, 'auth      = "cert"')
    diagnostic = Diagnostic(
        "PGT203",
        'policy "app" asks for client certificates, but server "primary" trusts no client CA',
        ("policy", "app", "auth"),
        'add client_ca = ["clients"] to [server.primary]',
        place=place,
    )
    assert render([diagnostic]) == (
        'pgtls.toml:31:13: error[PGT203]: policy "app" asks for client certificates, but server "primary" trusts '
        "no client CA\n"
        "   |\n"
        '31 | auth      = "cert"\n'
        "   |             ^^^^^^\n"
        '   = hint: add client_ca = ["clients"] to [server.primary]\n'
    )


def test_without_a_place_the_file_or_the_program_is_named() -> None:
    assert render([Diagnostic("PGT001", "there is no such file", file="x.toml")]) == (
        "x.toml: error[PGT001]: there is no such file\n"
    )
    warning = Diagnostic("PGT500", "m", severity="warning", hint="one\n\ntwo")
    assert render([warning]) == "pgtls: warning[PGT500]: m\n = hint: one\n\n         two\n"


def test_an_empty_line_stands_between_two() -> None:
    assert render([]) == ""
    diagnostic = Diagnostic("PGT500", "m")
    assert render([diagnostic, diagnostic]) == "pgtls: error[PGT500]: m\n\npgtls: error[PGT500]: m\n"


@pytest.mark.parametrize(
    ("text", "columns", "carets"),
    [
        pytest.param("abcdef", (3, 5), "  ^^", id="as wide as the value"),
        pytest.param("abcdef", (7, 7), "      ^", id="one where nothing is wide"),
        pytest.param("abcdef", (1, 7), "^^^^^^", id="the whole line"),
        pytest.param("abc", (3, 99), "  ^", id="never beyond the line"),
        pytest.param("abc", (50, 99), "   ^", id="nor begun beyond it"),
        pytest.param("\ta\tbc", (4, 6), "\t \t^^", id="tabs stay tabs"),
        pytest.param("漢字=x", (4, 5), "     ^", id="wide characters take two columns"),
        pytest.param("漢字=x", (1, 3), "^^^^", id="and two carets"),
        pytest.param("e\u0301=x", (4, 5), "  ^", id="combining characters take none"),
        pytest.param("a\x07b", (3, 4), "     ^", id="control characters are shown escaped"),
        pytest.param("", (1, 1), "^", id="an empty line"),
    ],
)
def test_carets_stand_under_what_is_meant(text: str, columns: tuple[int, int], carets: str) -> None:
    shown, pointed = excerpt(text, *columns)
    assert pointed == carets
    assert shown == text.replace("\x07", "\\x07")


def test_a_value_on_several_lines_is_marked_to_the_end_of_the_first() -> None:
    assert list(excerpt("x = [ 1,", 5, 2, end_line=3)) == ["x = [ 1,", "    ^^^^"]


@pytest.mark.parametrize("column", [1, 2, 50, 60, 5_000, 9_950, 10_000])
def test_a_long_line_is_cut_around_the_caret(column: int) -> None:
    text = "".join(chr(ord("a") + number % 26) for number in range(10_000))
    shown, pointed = excerpt(text, column, column + 1)
    assert len(shown) <= 102
    assert shown[pointed.index("^")] == text[column - 1]
    assert shown.startswith("…") == (column > 50)
    assert shown.endswith("…") == (column < 9_950)


def test_a_long_value_is_shown_from_its_beginning() -> None:
    shown, pointed = excerpt("x = " + "v" * 5_000_000, 5, 5_000_005)
    assert shown.startswith("x = vvv")
    assert len(pointed) <= len(shown) <= 102


def test_nothing_of_a_spec_reaches_the_terminal_as_a_command() -> None:
    hostile = "\x1b[31m\r\n\x9b\u202e\ud800"
    place = Place(hostile, 1, 1, 1, 2, hostile)
    text = render([Diagnostic("PGT000", hostile, hint=hostile, place=place)])
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800]", text)
    text.encode()


# https://www.unicode.org/Public/UCD/latest/ucd/DerivedCoreProperties.txt: Default_Ignorable_Code_Point
IGNORABLE = (
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
BLANK_SYMBOLS = {"\u2800", "\U00016fe4", "\U0001d159"}
"""BRAILLE PATTERN BLANK, KHITAN SMALL SCRIPT FILLER, MUSICAL SYMBOL NULL NOTEHEAD."""


def test_what_nobody_can_see_is_escaped_and_nothing_else() -> None:
    hidden = BLANK_SYMBOLS | {chr(code) for first, last in IGNORABLE for code in range(first, last + 1)}
    for character in map(chr, range(0x110000)):
        category = unicodedata.category(character)
        expected = character in hidden or (category[0] in "CZ" and character != " ")
        shown = visible(character)
        assert (shown != character) is expected, hex(ord(character))
        assert (shown.isascii() and shown.isprintable()) or not expected


def test_no_name_of_a_spec_holds_what_nobody_can_see(tmp_path: Path) -> None:
    """But unassigned and private characters, which terminals show as boxes, and some number signs of Arabic."""
    blank = {*BLANK_SYMBOLS, *map(chr, range(0x13430, 0x13439)), "\xa0", "\u2003", "\u3000"}
    hidden = sorted(blank | {chr(code) for first, last in IGNORABLE for code in (first, last)})
    spec = tmp_path / "pgtls.toml"
    names = [f"app{character}" for character in hidden]
    spec.write_text(SMALL.replace('["shop"]', json.dumps(names, ensure_ascii=False)), encoding="utf-8")
    with pytest.raises(Rejected) as rejected:
        load(spec).usable()
    codes = [one.code for one in rejected.value.diagnostics]
    assert codes == ["PGT014"] * len(hidden)


def test_colour_adds_escapes_and_nothing_else() -> None:
    place = Place("f", 1, 2, 1, 3, "abc")
    diagnostics = [
        Diagnostic("PGT000", "m", hint="h", place=place, severity=severity) for severity in ("error", "warning")
    ]
    coloured = render(diagnostics, colour=True)
    assert coloured != render(diagnostics)
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == render(diagnostics)


def test_json_has_every_member() -> None:
    place = Place("f", 1, 2, 3, 4, "abc")
    value = as_json(Diagnostic("PGT000", "m", ("a", 0), "h", place=place))
    assert json.loads(json.dumps(value)) == {
        "code": "PGT000",
        "severity": "error",
        "message": "m",
        "hint": "h",
        "file": "f",
        "line": 1,
        "column": 2,
        "end_line": 3,
        "end_column": 4,
        "path": ["a", 0],
    }
    assert as_json(Diagnostic("PGT000", "m", file="x"))["file"] == "x"
    assert as_json(Diagnostic("PGT000", "m"))["line"] is None


@pytest.mark.parametrize("value", ["v" * 70_000, "a b " * 20_000, '\\"' * 30_000])
def test_a_long_value_is_cut_in_messages_and_hints(value: str) -> None:
    diagnostic = Diagnostic("PGT000", f'there is no user "{value}" in "x"', hint=f'write "{value}" and "y"')
    assert diagnostic.message == f'there is no user "{value[:59]}…" in "x"'
    assert diagnostic.hint == f'write "{value[:59]}…" and "y"'


def test_a_long_message_without_quotes_is_cut_as_well() -> None:
    message = Diagnostic("PGT000", "m" * 70_000).message
    assert len(message) == 2000
    assert message.endswith("…")
