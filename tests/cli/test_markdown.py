"""What a spec holds is shown in a pull request as it is, and makes neither links nor mentions nor HTML there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pgtls.cli import markdown, run
from pgtls.diagnostics.text import visible
from support.building import SMALL

if TYPE_CHECKING:
    from pathlib import Path

    from markdown_it.token import Token

READER = MarkdownIt("commonmark").enable("table")
HARMLESS = re.compile(r"[^\W\d_]|[ ().,;:\'’-]")
"""What is outside of code: hosts make nothing of it."""
KNOWN = """
@everyone, a@b.example, see @bob, https://evil.example, www.evil.example, #1, !2, GH-1, :+1:, $x$, x|y, `, ``a`
<b>x</b>, <!-- x, [a](b), *a*, _a_, ~~a~~, \\, \\|, 1. a, - a, # a, &amp;
"""
NAMES = st.text(st.characters(categories=["L", "N", "P", "S", "Z", "Cc"]), min_size=1, max_size=30) | st.sampled_from(
    [*re.split(", |\n", KNOWN.strip()), "a\nb"]
)


def inline(text: str) -> list[Token]:
    return [part for token in READER.parse(text) for part in token.children or ()]


def shown(tokens: list[Token]) -> str:
    return "".join(token.content for token in tokens)


@given(st.lists(NAMES, min_size=1, max_size=3))
def test_a_text_is_shown_as_it_is_and_does_nothing(names: list[str]) -> None:
    text = ", ".join(names)
    tokens = inline(markdown.text(text))
    assert {token.type for token in tokens} <= {"text", "code_inline"}
    assert all(HARMLESS.fullmatch(letter) for token in tokens if token.type == "text" for letter in token.content)
    assert shown(tokens).split() == visible(text).split()


@given(st.lists(NAMES, min_size=1, max_size=3))
def test_a_cell_of_a_table_is_one_cell(names: list[str]) -> None:
    lines = markdown.table(("a", "b"), [(markdown.text(name), "end") for name in names])
    cells = [token for token in READER.parse("\n".join(lines)) if token.type == "inline"][2:]
    assert len(cells) == 2 * len(names)
    for name, cell in zip(names, cells[::2], strict=True):
        assert shown(cell.children or []).split() == visible(name).split()


@given(NAMES)
def test_code_is_one_piece_of_code(name: str) -> None:
    assert [token.type for token in inline(markdown.code(name))] == ["code_inline"]


HOSTILE = SMALL.replace(
    "[user.app]", '[user.app]\nroles = ["app", "a-@everyone", "https://evil.example/x", "a|b", "`c"]'
)


@pytest.mark.parametrize(
    "words", [("access",), ("plan",), ("diff", "old.toml", "pgtls.toml")], ids=lambda words: words[0]
)
def test_every_command_escapes_alike(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pgtls.toml").write_text(HOSTILE)
    (tmp_path / "old.toml").write_text(SMALL)
    assert run([*words, "--format", "markdown"]) == 0
    printed = capsys.readouterr().out
    tokens = inline(printed)
    allowed = {"text", "code_inline", "strong_open", "strong_close", "hardbreak", "softbreak"}
    assert {token.type for token in tokens} <= allowed
    texts = "".join(token.content for token in tokens if token.type == "text")
    assert not set("@/|<`#") & set(texts)
    assert words[0] == "plan" or "@everyone" in shown(tokens)
