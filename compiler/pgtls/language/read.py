"""One file of the spec: from bytes to text to TOML, with every way in which that can fail said as a diagnostic."""

from __future__ import annotations

import errno
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pgtls.diagnostics import Diagnostic, Place
from pgtls.language.source import SourceFile, blotted
from pgtls.language.words import field_name, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.diagnostics import Path as TomlPath
    from pgtls.language.files import Files

MAX_BYTES = 16 * 1024 * 1024
"""The largest file that is read: more than a hundred thousand users."""

_BOM = b"\xef\xbb\xbf"
_WHERE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")

# What no string may hold: control characters (C0, DEL, C1), line separators, and the characters that make a reviewer see another order of text than the
# program does, or nothing at all (Unicode Technical Report 36, 2.5; joiners stay, since some scripts need them). TOML itself lets all but C0 stand in a string.
_INVISIBLE = "\x7f-\x9f\xad\u2028\u2029\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
_CONTROL = re.compile(f"[\x00-\x1f{_INVISIBLE}]")
_RAW = re.compile(f"[{_INVISIBLE}]")
_ESCAPES = ("\\", "\t", '"""', "'''")


# A key of a thousand parts: tomllib's time grows with the square of them.
_DEEP_KEY = re.compile(r"""(?<![\w."'-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){1000}""")
_LONG = 2000
_LONG_NUMBER = re.compile(r"[0-9][0-9_]{4000}")

_SYNTAX_HINTS = {
    "Invalid value": 'a string stands in quotes; other values are numbers, true, false, dates, [arrays] and { inline = "tables" }',
    "Cannot declare": "what belongs to one table stands under one header",
    "Cannot overwrite": "the key stands twice in the same table",
}


@dataclass(frozen=True, slots=True)
class Document:
    """A file as far as it could be read. ``data`` is None where it is no TOML."""

    source: SourceFile
    data: dict[str, Any] | None
    diagnostics: tuple[Diagnostic, ...] = ()


def read(files: Files, path: str, top: str | None = None) -> Document:
    """Read one file: the spec itself, which may come through a pipe, or what the spec ``top`` includes."""
    name, where, shown = files.label + path, Path(path), files.shows(path, top or path)
    try:
        raw = files.read(path, MAX_BYTES, pipes=top is None)
    except OSError as error:
        return Document(SourceFile(where, name, ""), None, (_unreadable(error, name),))
    try:
        text = raw.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        text = raw.decode(errors="replace").replace("\r\n", "\n")
        return _undecodable(SourceFile(where, name, text, shown), raw, error)
    source = SourceFile(where, name, text, shown)
    if raw.startswith(_BOM):
        hint = "save the file as UTF-8 without a byte order mark"
        return Document(source, None, (_at(source, "PGT002", "the file starts with a byte order mark", 1, 1, hint),))
    return parse(source)


def parse(source: SourceFile) -> Document:
    """Parse a text; the words of a syntax error are tomllib's."""
    if not source.text.strip():
        hint = 'restore what it held; "pgtls init" writes a spec to begin with'
        return Document(source, None, (Diagnostic("PGT005", "the file is empty", hint=hint, file=source.name),))
    hint = "nothing in a spec is nested deeper than four levels: look for an array or a table that is not closed"
    nested = Diagnostic("PGT004", "the values are nested too deeply", hint=hint, file=source.name)
    if any(len(line) > _LONG and _DEEP_KEY.search(line) for line in source.text.split("\n")):
        return Document(source, None, (nested,))
    try:
        data = tomllib.loads(source.text)
    except RecursionError:
        return Document(source, None, (nested,))
    except tomllib.TOMLDecodeError as error:
        return Document(source, None, (_syntax_error(source, str(error)),))
    except ValueError:
        return Document(source, None, (_long_number(source),))
    return Document(source, data, tuple(_control_characters(source, data)))


def _unreadable(error: OSError, name: str) -> Diagnostic:
    if error.errno == errno.EFBIG:
        size = f"the file is larger than {MAX_BYTES // 1024**2} MiB"
        return Diagnostic("PGT004", size, hint='split it with include = ["..."]', file=name)
    return Diagnostic("PGT001", _reason(error), hint=_what_to_name(error), file=name)


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, IsADirectoryError):
        return "this is a directory, not a file"
    if error.errno == errno.EINVAL:
        return "this is no regular file"
    reason = error.strerror or str(error)
    return f"the file cannot be read: {reason[:1].lower()}{reason[1:]}"


def _what_to_name(error: OSError) -> str | None:
    if isinstance(error, FileNotFoundError):
        return 'name the spec where it lies; "pgtls init" writes one to begin with'
    return "name the file in it" if isinstance(error, IsADirectoryError) else None


def _undecodable(source: SourceFile, raw: bytes, error: UnicodeDecodeError) -> Document:
    before = raw[: error.start].decode().replace("\r\n", "\n")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    message = f"byte 0x{raw[error.start]:02x} at offset {error.start} is not valid UTF-8"
    hint = "the file seems to be UTF-16; save it as UTF-8" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else None
    return Document(source, None, (_at(source, "PGT002", message, line, column, hint or "save the file as UTF-8"),))


def _syntax_error(source: SourceFile, words: str) -> Diagnostic:
    match = _WHERE.search(words)
    message = words[: match.start()] if match else words
    hint = next((hint for start, hint in _SYNTAX_HINTS.items() if words.startswith(start)), None)
    message = message[:1].lower() + message[1:]
    if match and match[1]:
        return _at(source, "PGT003", message, int(match[1]), int(match[2]), hint)
    last = source.text.rstrip("\n")
    return _at(
        source, "PGT003", f"{message} at the end of the file", last.count("\n") + 1, len(last) - last.rfind("\n"), hint
    )


def _long_number(source: SourceFile) -> Diagnostic:
    """Find the integer that Python refuses to read (``sys.set_int_max_str_digits``)."""
    found = _LONG_NUMBER.search(source.text)
    before = source.text[: found.start()] if found else ""
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return _at(source, "PGT003", "an integer with thousands of digits", line, column, "no field takes one")


def _at(source: SourceFile, code: str, message: str, line: int, column: int, hint: str | None = None) -> Diagnostic:
    text = blotted(source.text.split("\n")[line - 1]) if source.shown else ""
    place = Place(source.name, line, column, line, column + 1, text, source.shown)
    return Diagnostic(code, message, hint=hint, place=place, file=source.name)


def _control_characters(source: SourceFile, data: dict[str, Any]) -> Iterator[Diagnostic]:
    """Find control characters in keys and strings; nothing is walked where the text cannot hold one."""
    text = source.text
    if not any(mark in text for mark in _ESCAPES) and (text.isascii() or not _RAW.search(text)):
        return
    todo: list[tuple[TomlPath, Any]] = [((), data)]
    while todo:
        path, value = todo.pop()
        if isinstance(value, dict):
            todo += [((*path, key), item) for key, item in value.items()]
            for key in filter(_CONTROL.search, value):
                yield _control_character(source, (*path, key), f"the key {quoted(key)}", key, "key")
        elif isinstance(value, list):
            todo += [((*path, index), item) for index, item in enumerate(value)]
        elif isinstance(value, str) and _CONTROL.search(value):
            yield _control_character(source, path, field_name(path), value, "value")


def _control_character(
    source: SourceFile, path: TomlPath, subject: str, text: str, at: Literal["key", "value"]
) -> Diagnostic:
    match = _CONTROL.search(text)
    assert match is not None, "only called where there is one"  # noqa: S101
    character = {"\n": "a line break", "\t": "a tab"}.get(match[0], f"the control character U+{ord(match[0]):04X}")
    hint = (
        "a string stands on one line"
        if match[0] == "\n"
        else "type it again without this character, which no reviewer can see"
    )
    return Diagnostic("PGT014", f"{subject} holds {character}", path, hint, at, file=source.name)
