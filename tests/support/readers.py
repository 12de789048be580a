"""Readers of the languages that pgtls writes: Java's properties, and PowerShell's grammar and quoting rules."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import tree_sitter_powershell
from tree_sitter import Language, Node, Parser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOSTILE = (
    *("plain", "", " ", " leads", "trails ", "it's", '"double"', "\\", "\\\\x", "a=b:c#d!e", "#!", "$(calc)", "`n"),
    *("$HOME", "${env:PATH}", "';calc;'", "\u2019;calc;\u2018", "\u201a\u201b''", "naïve 漢字", "😀", "%41", "\\u0041"),
    *("@'x'@", "--%", "<#x#>", "{{ x }}", "a|b", "&& id", "[x]", "é=1", "'"),
)


def parsed(script: str) -> Node:
    return Parser(Language(tree_sitter_powershell.language())).parse(script.encode()).root_node


def of_kind(node: Node, kind: str) -> Iterator[Node]:
    if node.type == kind:
        yield node
    for child in node.children:
        yield from of_kind(child, kind)


def faults(script: str) -> list[str]:
    return [str(node) for kind in ("ERROR",) for node in of_kind(parsed(script), kind)]


QUOTES = "'\u2018\u2019\u201a\u201b"


def read_by_powershell(literal: str) -> str | None:
    """Read one single-quoted string by PowerShell's rules (about_Quoting_Rules); None if it ends too early."""
    if len(literal) < 2 or literal[0] not in QUOTES or literal[-1] not in QUOTES:
        return None
    found, rest = "", literal[1:-1]
    while rest:
        if rest[0] in QUOTES:
            if rest[1:2] not in tuple(QUOTES):
                return None
            rest = rest[1:]
        found, rest = found + rest[0], rest[1:]
    return found


READER = """
import java.io.FileInputStream;
import java.nio.charset.StandardCharsets;
import java.util.Properties;

class Reader {
    public static void main(String[] files) throws Exception {
        var found = new Properties();
        found.load(new FileInputStream(files[0]));
        var lines = new StringBuilder();
        for (var key : new java.util.TreeSet<>(found.stringPropertyNames()))
            lines.append(hex(key)).append(' ').append(hex(found.getProperty(key))).append('\\n');
        System.out.print(lines);
    }

    static String hex(String text) {
        return java.util.HexFormat.of().formatHex(text.getBytes(StandardCharsets.UTF_8));
    }
}
"""


def read_by_java(content: str, directory: Path) -> dict[str, str]:
    (directory / "Reader.java").write_text(READER)
    (directory / "x.properties").write_text(content, encoding="ascii")
    words = ["java", "-XX:TieredStopAtLevel=1", str(directory / "Reader.java"), str(directory / "x.properties")]
    lines = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    pairs = (line.partition(" ") for line in lines)
    return {bytes.fromhex(key).decode(): bytes.fromhex(value).decode() for key, _, value in pairs}
