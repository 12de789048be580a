"""Read one file of the spec: bytes, text, TOML. Every failure is a diagnostic."""

from __future__ import annotations

import errno
import re
import tomllib
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pgtls.diagnostics import Diagnostic, Place
from pgtls.language.source import SourceFile, blotted
from pgtls.language.syntax import syntax_fault
from pgtls.language.words import SINGLE, field_name, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.diagnostics import Path as TomlPath
    from pgtls.language.files import Files

MAX_BYTES = 16 * 1024 * 1024
"""The largest file that is read: enough for more than a hundred thousand users."""

_BOM = b"\xef\xbb\xbf"

# What no string may hold: control characters (C0, DEL, C1), line separators, and what reorders the text around it or
# has no glyph (Unicode Technical Standard 39, 5.4, and Technical Report 36, 2.5; the default-ignorable code points,
# format controls, and blank symbols). TOML allows all but C0.
_INVISIBLE = (
    "\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
    "\u2800\U00013430-\U0001343f\U00016fe4\U0001d159"
)
# Joiners and variation selectors, which some scripts and emoji need, and blanks other than U+0020: not in names.
_PROSE_ONLY = "\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef\xa0\u1680\u2000-\u200a\u202f\u205f\u3000"
_CONTROL = re.compile(f"[\x00-\x1f{_INVISIBLE}]")
_IN_NAMES = re.compile(f"[\x00-\x1f{_INVISIBLE}{_PROSE_ONLY}]")
_RAW = re.compile(f"[{_INVISIBLE}{_PROSE_ONLY}]")
_IN_COMMENTS = re.compile(f"[{_INVISIBLE}]")
_PROSE = frozenset({"description", "reason", "waiver", "organization", "organizational_unit", "locality", "state"})
_ESCAPES = ("\\", "\t", '"""', "'''")


# tomllib's time grows with the square of a key's parts, and its stack with the depth of values.
_MOST_PARTS = 16
_DEEPEST = 32
_MOST_ESCAPES = 10_000
_MANY_ESCAPES = re.compile(rf'"(?:[^"\\]*+\\.){{{_MOST_ESCAPES}}}', re.DOTALL)
_DEEP_KEY = re.compile(rf"""(?<![\w."'-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{_MOST_PARTS}}}""")
_TOKENS = re.compile(
    r""""{3}(?:[^"\\]|\\.|"{1,2}(?!"))*+"{3}|'{3}.*?'{3}|"(?:[^"\\\n]|\\.)*+"?|'[^'\n]*+'?|\#[^\n]*+|[\[\]{}]""",
    re.DOTALL,
)
_LONG_NUMBER = re.compile(r"[0-9][0-9_]{4000}|0[xob][0-9A-Fa-f_]{1000}")


@dataclass(frozen=True, slots=True)
class Document:
    """A file, as far as it could be read. ``data`` is None if it is not TOML."""

    source: SourceFile
    data: dict[str, Any] | None
    diagnostics: tuple[Diagnostic, ...] = ()


def read(files: Files, path: str, top: str | None = None, pattern: str = "") -> Document:
    """Read one file: the spec itself, which may come through a pipe, or what a ``pattern`` of ``top`` includes."""
    name, where, shown = files.label + path, Path(path), files.shows(path, top or path)
    try:
        raw = files.read(path, MAX_BYTES, pipes=top is None)
    except OSError as error:
        hint = _how_included(top, pattern) if top else _what_to_name(error, files, path)
        reason = "this link leads to no file" if top and isinstance(error, FileNotFoundError) else _reason(error)
        return Document(SourceFile(where, name, ""), None, (_unreadable(error, name, reason, hint),))
    try:
        text = raw.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        text = raw.decode(errors="replace").replace("\r\n", "\n")
        return _undecodable(SourceFile(where, name, text, shown), raw, error)
    source = SourceFile(where, name, text, shown)
    if raw.startswith(_BOM):
        hint = "save the file as UTF-8 without a byte order mark"
        return Document(source, None, (_at(source, "PGT002", "the file starts with a byte order mark", 1, 1, hint),))
    if not text.strip():
        hint = _how_included(top, pattern) if top else 'restore its content; "pgtls init" writes a first spec'
        return Document(source, None, (Diagnostic("PGT005", "the file is empty", hint=hint, file=name),))
    return parse(source)


def _how_included(top: str, pattern: str) -> str:
    return f"include = [{quoted(pattern)}] in {top} names this file: restore it, or change the include"


def parse(source: SourceFile) -> Document:
    """Parse a text. Most messages about syntax are those of tomllib."""
    if nested := _too_deep(source):
        return Document(source, None, (nested,))
    try:
        data = tomllib.loads(source.text)
    except tomllib.TOMLDecodeError as error:
        return Document(source, None, (_syntax_error(source, str(error)),))
    except ValueError:
        return Document(source, None, (_long_number(source),))
    if _LONG_NUMBER.search(source.text) and _has_long_number(data):
        return Document(source, None, (_long_number(source),))
    return Document(source, data, (*_control_characters(source, data), *_invisible_in_comments(source)))


def _too_deep(source: SourceFile) -> Diagnostic | None:
    """Find keys of too many parts and values nested too deeply: the work grows faster than their number."""
    for number, line in enumerate(source.text.split("\n"), 1):
        if line.count(".") >= _MOST_PARTS and (found := _DEEP_KEY.search(line)):
            message = f"a key has more than {_MOST_PARTS} parts"
            return _at(source, "PGT004", message, number, found.start() + 1, "write the table's name in quotes")
    if source.text.count("\\") > _MOST_ESCAPES and (found := _MANY_ESCAPES.search(source.text)):
        row = source.text.count("\n", 0, found.start()) + 1
        return _at(source, "PGT004", f"a string has more than {_MOST_ESCAPES} escapes", row, 1, "write the characters")
    if (start := _deep_value(source.text)) is None:
        return None
    row, column = source.text.count("\n", 0, start) + 1, start - source.text.rfind("\n", 0, start)
    hint = "a spec needs at most four levels: look for an array or a table that is not closed"
    return _at(source, "PGT004", "the values are nested too deeply", row, column, hint)


def _deep_value(text: str) -> int | None:
    """Return the start of the first value that is nested too deeply."""
    if text.count("[") + text.count("{") < _DEEPEST:
        return None
    depth = 0
    for token in _TOKENS.finditer(text):
        if token[0] in ("[", "{"):
            depth += 1
            if depth > _DEEPEST:
                return token.start()
        elif token[0] in ("]", "}"):
            depth = max(0, depth - 1)
    return None


def _unreadable(error: OSError, name: str, reason: str, hint: str | None) -> Diagnostic:
    if error.errno == errno.EFBIG:
        size = f"the file is larger than {MAX_BYTES // 1024**2} MiB"
        return Diagnostic("PGT004", size, hint='split it with include = ["..."]', file=name)
    return Diagnostic("PGT001", reason, hint=hint, file=name)


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, IsADirectoryError):
        return "this is a directory, not a file"
    if error.errno == errno.EINVAL:
        return "this is no regular file"
    reason = error.strerror or str(error)
    return f"the file cannot be read: {reason[:1].lower()}{reason[1:]}"


def _what_to_name(error: OSError, files: Files, path: str) -> str | None:
    if isinstance(error, PermissionError):
        return "run pgtls as a user who may read it"
    if not isinstance(error, FileNotFoundError | IsADirectoryError):
        return None
    if near := files.near(path):
        return f"did you mean {near}?"
    if isinstance(error, IsADirectoryError):
        return "name a file in it"
    if not Path(path).suffix:
        return "the argument is the spec, a file such as pgtls.toml; a name follows its option, such as --server"
    return 'name the file of your spec; "pgtls init" writes a first one'


def _undecodable(source: SourceFile, raw: bytes, error: UnicodeDecodeError) -> Document:
    before = raw[: error.start].decode().replace("\r\n", "\n")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    message = f"byte 0x{raw[error.start]:02x} at offset {error.start} is not valid UTF-8"
    hint = "the file seems to be UTF-16; save it as UTF-8" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else None
    return Document(source, None, (_at(source, "PGT002", message, line, column, hint or "save the file as UTF-8"),))


def _syntax_error(source: SourceFile, words: str) -> Diagnostic:
    fault = syntax_fault(source.text, words)
    return _at(source, "PGT003", fault.message, fault.line, fault.column, fault.hint)


def _long_number(source: SourceFile) -> Diagnostic:
    """Find the integer that Python refuses to read or to write (``sys.set_int_max_str_digits``)."""
    found = _LONG_NUMBER.search(source.text)
    before = source.text[: found.start()] if found else ""
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return _at(source, "PGT003", "an integer with thousands of digits", line, column, "no field takes one")


def _has_long_number(data: dict[str, Any]) -> bool:
    todo: list[Any] = [data]
    while todo:
        value = todo.pop()
        if isinstance(value, int) and value.bit_length() > _MOST_BITS:
            return True
        todo += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return False


_MOST_BITS = 1024


def _at(source: SourceFile, code: str, message: str, line: int, column: int, hint: str | None = None) -> Diagnostic:
    text = blotted(source.text.split("\n")[line - 1]) if source.shown else ""
    place = Place(source.name, line, column, line, column + 1, text, source.shown)
    return Diagnostic(code, message, hint=hint, place=place, file=source.name)


def _control_characters(source: SourceFile, data: dict[str, Any]) -> Iterator[Diagnostic]:
    """Find control characters in keys and strings. Skip a text that cannot hold one."""
    text = source.text
    if not any(mark in text for mark in _ESCAPES) and (text.isascii() or not _RAW.search(text)):
        return
    todo: list[tuple[TomlPath, Any]] = [((), data)]
    while todo:
        path, value = todo.pop()
        if isinstance(value, dict):
            todo += [((*path, key), item) for key, item in value.items()]
            for key in filter(_IN_NAMES.search, value):
                yield _control_character(source, (*path, key), f"the key {quoted(key)}", key, "key")
        elif isinstance(value, list):
            todo += [((*path, index), item) for index, item in enumerate(value)]
        elif isinstance(value, str) and (
            _CONTROL if _PROSE & {*(path[1:] if path[0] in SINGLE else path[2:])} else _IN_NAMES
        ).search(value):
            yield _control_character(source, path, field_name(path), value, "value")


def _called(character: str) -> str:
    names = {"\n": "a line break", "\t": "a tab"}
    kind = "control" if unicodedata.category(character) == "Cc" else "invisible"
    return names.get(character, f"the {kind} character U+{ord(character):04X}")


def _invisible_in_comments(source: SourceFile) -> Iterator[Diagnostic]:
    """Find characters in comments that make a reviewer see another text than the program."""
    if source.text.isascii() or not _IN_COMMENTS.search(source.text):
        return
    for comment in _TOKENS.finditer(source.text):
        if comment[0][0] == "#" and (found := _IN_COMMENTS.search(comment[0])):
            start = comment.start() + found.start()
            line, column = source.text.count("\n", 0, start) + 1, start - source.text.rfind("\n", 0, start)
            message = f"a comment holds {_called(found[0])}"
            hint = "delete this character: it can make the lines around it look different from what they are"
            yield replace(_at(source, "PGT018", message, line, column, hint), severity="warning")


def _control_character(
    source: SourceFile, path: TomlPath, subject: str, text: str, at: Literal["key", "value"]
) -> Diagnostic:
    match = _IN_NAMES.search(text)
    assert match is not None, "only called where there is one"  # noqa: S101
    hint = "write the string on one line" if match[0] == "\n" else "delete this character, which no reviewer can see"
    character = _called(match[0])
    return Diagnostic("PGT014", f"{subject} holds {character}", path, hint, at, file=source.name)
