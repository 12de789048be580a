"""Any text as a literal of another language, read back by the real reader of that language, or by its grammar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgtls.output.quoting import powershell, property_key, property_value
from support.readers import HOSTILE, QUOTES, of_kind, parsed, read_by_java, read_by_powershell

if TYPE_CHECKING:
    from pathlib import Path

# Every character that may be in a spec: no control characters (PGT014), no surrogates.
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30)


@pytest.mark.parametrize("text", HOSTILE)
def test_powershell_reads_a_quoted_text_as_it_is(text: str) -> None:
    assert read_by_powershell(powershell(text)) == text
    if not set(text) & set(QUOTES[1:]):  # to the grammar, typographic quotes are none: it sees nothing but text
        (literal,) = of_kind(parsed(f"$x = {powershell(text)}\n"), "verbatim_string_characters")
        assert literal.text == powershell(text).encode()


@given(TEXTS)
@settings(deadline=None, max_examples=200, derandomize=True)
def test_powershell_reads_any_quoted_text_as_it_is(text: str) -> None:
    assert read_by_powershell(powershell(text)) == text


def test_the_reader_of_powershell_strings_notices_what_is_not_quoted() -> None:
    assert read_by_powershell("'it's'") is None
    assert read_by_powershell("'a\u2019b'") is None


def test_java_reads_keys_and_values_of_properties_as_they_are(tmp_path: Path) -> None:
    wanted = {f"{number} {text}": text for number, text in enumerate(HOSTILE)}
    drawn: list[str] = []

    @given(TEXTS)
    @settings(deadline=None, max_examples=300, derandomize=True)
    def draw(text: str) -> None:
        drawn.append(text)

    draw()
    wanted |= {f"{text}{number}": text for number, text in enumerate(drawn)}
    content = "".join(f"{property_key(key)}={property_value(value)}\n" for key, value in wanted.items())
    assert read_by_java(content, tmp_path) == wanted
    assert read_by_java("a b=c\n", tmp_path) == {"a": "b=c"}, "what is not escaped is misread"
