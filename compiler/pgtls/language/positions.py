"""Find the place of a TOML path in the files, only when there is something to report.

tomllib keeps no positions. The file is parsed again with tree-sitter, and only nodes on the wanted paths are visited.
"""

from __future__ import annotations

import tomllib
from bisect import bisect_left
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Literal

from pgtls.diagnostics import Diagnostic, Place, errors
from pgtls.language.source import blotted, holds_secret

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tree_sitter import Node, Parser

    from pgtls.diagnostics import Path
    from pgtls.language.source import Source, SourceFile

At = Literal["value", "key", "table"]
MOST = 1000
"""The number of findings that are shown."""


Span = tuple[tuple[int, int], tuple[int, int]]
"""Start and end (exclusive) as tree-sitter counts: rows and bytes from 0."""


@dataclass(slots=True)
class _Spot:
    """The parts of a file at a path: the key, the value, and the header of the table that begins there."""

    key: Span | None = None
    value: Span | None = None
    header: Span | None = None

    def part(self, at: At) -> Span | None:
        """Return the part that is meant. A table without a header is shown by its key."""
        if at == "table":
            return self.header or self.key or self.value
        return (self.value or self.header or self.key) if at == "value" else (self.key or self.header or self.value)


def locate(diagnostics: Iterable[Diagnostic], source: Source) -> tuple[Diagnostic, ...]:
    """Fill in the places, and sort by file and position; equal findings are one.

    A path that the file lacks is shown at the nearest table around it; a field from ``[defaults]`` is shown there.
    A finding without a path has no place.
    """
    diagnostics, files = _bounded(diagnostics), {file.name: file for file in reversed(source.files)}
    done: list[Diagnostic] = []
    wanted: dict[str, list[Diagnostic]] = {}
    for diagnostic in diagnostics:
        file = diagnostic.file or _owner(diagnostic.path, source).name
        if diagnostic.place or file not in files or not diagnostic.path:
            done.append(diagnostic)
        else:
            wanted.setdefault(file, []).append(diagnostic)
    if wanted:
        paths = {name: [diagnostic.path for diagnostic in group] for name, group in wanted.items()}
        first = source.files[0]
        defaults = [_in_defaults(path) for group in paths.values() for path in group]
        top = _Positions(first, paths.get(first.name, []) + defaults)
        for name, group in wanted.items():
            positions = top if name == first.name else _Positions(files[name], paths[name])
            done += [replace(d, file=name, place=_place(d, positions, top)) for d in group]
    done = [
        diagnostic if not diagnostic.place or diagnostic.place.shown else _hidden(diagnostic) for diagnostic in done
    ]
    order = {file.name: index for index, file in enumerate(source.files)}
    return tuple(sorted(dict.fromkeys(done), key=lambda diagnostic: _rank(diagnostic, order)))


def _hidden(diagnostic: Diagnostic) -> Diagnostic:
    """Say what is wrong with a file outside of the repository without a word of its content."""
    from pgtls.diagnostics.rules import catalogue

    hint = "messages show content of *.toml files in the repository alone"
    return replace(diagnostic, path=(), message=catalogue()[diagnostic.code].title, hint=hint)


def _bounded(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Drop duplicates, and all findings above the number that is shown. Errors come before warnings."""
    found = list(dict.fromkeys(diagnostics))
    if len(found) <= MOST:
        return found
    first = dict.fromkeys((*errors(found), *found))
    message, hint = f"{len(found) - MOST} more findings are not shown", "fix the others first, and check again"
    return [*list(first)[:MOST], Diagnostic("PGT019", message, hint=hint, severity="warning")]


def places_of(paths: Iterable[Path], file: SourceFile, at: At = "value") -> dict[Path, Place]:
    """Find paths in one file."""
    paths = tuple(paths)
    positions = _Positions(file, paths)
    return {path: positions.exact(path, at) or positions.around(path) for path in paths}


def _owner(path: Path, source: Source) -> SourceFile:
    top = source.files[0]
    return source.owner.get((str(path[0]), str(path[1])), top) if len(path) > 1 else top


def _in_defaults(path: Path) -> Path:
    return ("defaults", path[0], *path[2:]) if len(path) > 2 else ()


def _place(diagnostic: Diagnostic, own: _Positions, top: _Positions) -> Place:
    path, at = diagnostic.path, diagnostic.at
    default = _in_defaults(path)
    if found := own.exact(path, at):
        return found
    if default and at != "table" and not own.exact(path[:3], at) and (found := top.exact(default, at)):
        return found
    return own.around(path)


def _rank(diagnostic: Diagnostic, order: dict[str, int]) -> tuple[int, str, int, int, str, str]:
    place, file = diagnostic.place, diagnostic.file or ""
    line, column = (place.line, place.column) if place else (0, 0)
    name = place.file if place else file
    return order.get(name, len(order)), name, line, column, diagnostic.code, diagnostic.message


class _Positions:
    """The spots of some paths, and of the tables around them, in one file."""

    def __init__(self, file: SourceFile, paths: Iterable[Path]) -> None:
        self._file = file
        self._lines = file.text.split("\n")
        self._texts: dict[tuple[int, bool], str] = {}
        self._continued: dict[int, list[int]] = {}
        """The positions of the bytes of a line that do not begin a character (UTF-8)."""
        self._spots: dict[Path, _Spot] = {path[:end]: _Spot() for path in paths for end in range(1, len(path) + 1)}
        if self._spots:
            self._index(_parser().parse(file.text.encode()).root_node)

    def exact(self, path: Path, at: At) -> Place | None:
        """Find the path itself, if it is there."""
        spot = self._spots.get(path)
        span = spot.part(at) if spot else None
        return self._at(span, path) if span else None

    def around(self, path: Path) -> Place:
        """Find the nearest table around a path; the file's first line, if nothing is known of it."""
        parents = (path[:end] for end in range(len(path) - 1, 0, -1))
        spans = ((parent, self._spots[parent].part("table")) for parent in parents if parent in self._spots)
        return next((self._at(span, parent) for parent, span in spans if span), self._at(((0, 0), (0, 0)), ()))

    def _at(self, span: Span, path: Path) -> Place:
        (row, column), (end_row, end_column) = span
        text = self._text(row, secret=holds_secret(path)) if self._file.shown else ""
        start, end = self._column(row, column), self._column(end_row, end_column)
        return Place(self._file.name, row + 1, start, end_row + 1, end, text, self._file.shown)

    def _text(self, row: int, *, secret: bool) -> str:
        """Return a line as an excerpt shows it: once for all that is found there."""
        key = (row, secret)
        if key not in self._texts:
            self._texts[key] = blotted(self._lines[row], secret=secret)
        return self._texts[key]

    def _column(self, row: int, byte: int) -> int:
        line = self._lines[row] if row < len(self._lines) else ""
        if line.isascii():
            return 1 + byte
        if row not in self._continued:
            self._continued[row] = [at for at, code in enumerate(line.encode()) if 0x80 <= code < 0xC0]
        return 1 + byte - bisect_left(self._continued[row], byte)

    def _index(self, root: Node) -> None:
        arrays: dict[Path, int] = {}
        for node in root.named_children:
            if node.type == "pair":
                self._pair(node, ())
            elif node.type in ("table", "table_array_element") and node.named_child_count:
                path = self._header(node, arrays)
                if path in self._spots:
                    for child in node.named_children:
                        if child.type == "pair":
                            self._pair(child, path)

    def _header(self, node: Node, arrays: dict[Path, int]) -> Path:
        """Record the header of a table under its path, and under the tables around it that have no header."""
        keys = _keys(node.named_child(0))
        bracket = next((child for child in node.children if child.type in ("]", "]]")), node)
        header = _span(node, bracket)
        path: Path = ()
        for index, (name, key) in enumerate(keys, 1):
            path = (*path, name)
            spot = self._spots.get(path)
            if spot:
                spot.key = spot.key or _span(key)
                spot.header = header if index == len(keys) else spot.header or header
            if index == len(keys) and node.type == "table_array_element":
                arrays[path] = arrays.get(path, -1) + 1
            if path in arrays:
                path = (*path, arrays[path])
                if path in self._spots:
                    self._spots[path].header = self._spots[path].header or header
        return path

    def _pair(self, node: Node, base: Path) -> None:
        """Record a key, its value, and everything inside the value."""
        todo = [(node, base)]
        while todo:
            node, path = todo.pop()
            if node.type == "pair":
                if node.named_child_count < 2:
                    continue
                for name, key in _keys(node.named_child(0)):
                    path = (*path, name)
                    if spot := self._spots.get(path):
                        spot.key = spot.key or _span(key)
                node = node.named_child(1)  # a comment may follow
            if not (spot := self._spots.get(path)):
                continue
            spot.value = _span(node)
            items = [child for child in node.named_children if child.type != "comment"]
            if node.type == "array":
                todo += [(item, (*path, index)) for index, item in enumerate(items)]
            elif node.type == "inline_table":
                todo += [(item, path) for item in items if item.type == "pair"]


@cache
def _parser() -> Parser:
    import tree_sitter_toml
    from tree_sitter import Language, Parser

    return Parser(Language(tree_sitter_toml.language()))


def _span(node: Node, last: Node | None = None) -> Span:
    start, end = node.start_point, (last or node).end_point
    return (start.row, start.column), (end.row, end.column)


def _keys(node: Node) -> list[tuple[str, Node]]:
    """Split a dotted key; tree-sitter nests it to the left."""
    parts = []
    while node.type == "dotted_key" and node.named_child_count > 1:
        parts.append(node.named_child(node.named_child_count - 1))
        node = node.named_child(0)
    return [(_key_text(part), part) for part in (node, *reversed(parts))]


def _key_text(node: Node) -> str:
    text = (node.text or b"").decode(errors="replace")
    if node.type == "quoted_key":
        try:
            return next(iter(tomllib.loads(f"{text} = 0")))
        except tomllib.TOMLDecodeError:
            return text
    return text
