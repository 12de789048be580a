"""Describe the fault in a text that is not TOML: message, place, the first place of a duplicate, and a hint."""

from __future__ import annotations

import ast
import re
import tomllib
from typing import TYPE_CHECKING, Any, NamedTuple

from pgtls.language.source import blotted
from pgtls.language.words import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class SyntaxFault(NamedTuple):
    """A fault of the syntax at a line and a column, both from 1."""

    message: str
    line: int
    column: int
    hint: str | None = None


_WHERE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_CONFLICT = re.compile(r"^(?:<{7}|\|{7}|>{7}) |^={7}$", re.MULTILINE)
_TWICE = re.compile(r"Cannot declare (\(.*\)) twice")
_HEADER = re.compile(r"\s*(\[\[?[^\]]*\]\]?)\s*(?:#.*)?")
_ASSIGNMENT = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")


def syntax_fault(text: str, words: str) -> SyntaxFault:
    """Turn an error of tomllib into a fault. ``words`` is the text of the error."""
    if text.count("\n<<<<<<< ") or text.startswith("<<<<<<< "):
        return _conflict(text)
    lines = text.split("\n")
    match = _WHERE.search(words)
    message = words[: match.start()] if match else words
    if match and match[1]:
        line, column = int(match[1]), int(match[2])
        end = ""
    else:
        last = text.rstrip("\n")
        line, column, end = last.count("\n") + 1, len(last) - last.rfind("\n"), " at the end of the file"
    twice = _twice(lines, message, line)
    if twice:
        return SyntaxFault(twice, line, column, "keep one of the two")
    return SyntaxFault(message[:1].lower() + message[1:] + end, line, column, _hint(message, lines[line - 1], column))


def _conflict(text: str) -> SyntaxFault:
    found = _CONFLICT.search(text)
    line = text.count("\n", 0, found.start()) + 1 if found else 1
    hint = "keep the lines that are right and delete the lines with <<<<<<<, ======= and >>>>>>>"
    return SyntaxFault("a merge left its conflict markers in the file", line, 1, hint)


def _twice(lines: Sequence[str], message: str, line: int) -> str | None:
    """Return a message with the place of the first of two definitions."""
    if match := _TWICE.fullmatch(message):
        path = tuple(ast.literal_eval(match[1]))
        subject = f"[{_dotted(path)}] is defined twice"
    elif message == "Cannot overwrite a value":
        path = _path_at(lines, line)
        subject = f"{_dotted(path[-1:])} is set twice" if path else ""
    else:
        return None
    before = _definitions(lines[: line - 1], path[-1]) if path else ()
    first = next((number for found, number in before if found[: len(path)] == path), None)
    return f"{subject}: it is also at line {first}" if first else None


def _definitions(lines: Sequence[str], word: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """Return the headers and keys in which a word occurs, as paths, with their lines."""
    header = ""
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("[") and (match := _HEADER.fullmatch(line)):
            header = match[1]
            if word in line:
                yield _key_path(header), number
        elif word in line and (match := _ASSIGNMENT.match(line)):
            yield (*(_key_path(header) if header else ()), *_key_path(f"{match[1]} = 0")), number


def _path_at(lines: Sequence[str], line: int) -> tuple[str, ...]:
    """Return what the statement that ends in a line defines."""
    statement = next(
        (n for n in range(line, 0, -1) if _ASSIGNMENT.match(lines[n - 1]) or _HEADER.match(lines[n - 1])), 1
    )
    if match := _HEADER.match(lines[statement - 1]):
        return _key_path(match[1])
    header = next((match for n in range(statement, 0, -1) if (match := _HEADER.fullmatch(lines[n - 1]))), None)
    key = _ASSIGNMENT.match(lines[statement - 1])
    return (*(_key_path(header[1]) if header else ()), *(_key_path(f"{key[1]} = 0") if key else ()))


def _key_path(text: str) -> tuple[str, ...]:
    """Return the path of a header, or of a key with a value."""
    try:
        here: Any = tomllib.loads(text)
    except (ValueError, RecursionError):
        return ()
    path: tuple[str, ...] = ()
    while isinstance(here, dict | list) and here:
        if isinstance(here, list):
            here = here[0]
        else:
            ((key, here),) = here.items()
            path = (*path, key)
    return path


def _dotted(path: Sequence[str]) -> str:
    return ".".join(part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else quoted(part) for part in path)


def _hint(message: str, line: str, column: int) -> str | None:
    """Return a hint that says what to type."""
    for start, hint in _HINTS:
        if message.startswith(start):
            return hint if isinstance(hint, str) else hint(line, line[column - 1 :].strip())
    return None


def _of_value(line: str, rest: str) -> str:
    word = re.match(r"[^\s,\]}#=]*", rest)
    text = word[0] if word else ""
    if not rest:
        return "write a value after the ="
    if rest[0] == ",":
        return "delete one of the two commas"
    if text[:1] in _CURLY:
        return 'write straight quotes: "…"'
    if plain := _PLAIN.get(text.lower().rstrip(",")):
        return plain
    if text[:1] == "$":
        return "TOML has no variables: write the value itself"
    if text[:1] == ">":
        return "write = between the key and its value"
    if re.fullmatch(r"[A-Za-z_./@+-][\w./@:+-]*", text) and blotted(line) == line:
        return f"write a string in quotes: {quoted(text)}"
    return 'a value is a "string" in quotes, a number, true, false, a date, an [array] or an { inline = "table" }'


def _after_value(line: str, rest: str) -> str:
    apart = line[: len(line) - len(rest)].endswith((" ", "\t"))
    found = re.search(r"=\s*([+-]?\d[^\s,#]*)", line)
    if line.lstrip().startswith("["):
        return "a header ends in one ]: [KIND.NAME]"
    if rest.startswith(("//", "--", "/*")):
        return "a comment starts with #"
    if rest[:1] in (",", ";"):
        return f"delete the {quoted(rest[0])}: a line holds one key and its value"
    if found and re.fullmatch(r"0\d+", found[1]):
        return f"write it without zeros in front: {found[1].lstrip('0') or '0'}"
    if found and re.fullmatch(r"(\d{4}-\d\d-\d\d[Tt ]?)?\d\d:\d\d(Z|[+-].*)?", found[1]):
        return "write the time with its seconds, e.g. 2027-06-30T12:00:00Z"
    if found and (day := re.fullmatch(r"(\d{4})-(\d\d?)-(\d\d?)", found[1])) and len(found[1]) < len("2027-06-30"):
        return f"write month and day in two digits: {day[1]}-{day[2]:>02}-{day[3]:>02}"
    if found and re.match(r"\d{4}-\d\d-\d\d", found[1]):
        return "the calendar has no such date"
    if found and not apart and rest[:1] not in "\"'" and blotted(line) == line:
        return f"write a string in quotes: {quoted(found[1])}"
    if rest[:1] in ("'", '"'):
        return 'several values are an array: ["a", "b"]; a \' inside a string needs quotes of the other kind around it'
    return "write one key and its value per line"


def _of_statement(line: str, rest: str) -> str:
    text = line.strip()
    if text.startswith(("//", ";", "--", "/*", "%")):
        return "a comment starts with #"
    if '"pgtls_lock"' in text:
        return "this is a lock: name the spec, such as pgtls.toml"
    if text[:1] in ("{", "}"):
        return "this looks like JSON: write [KIND.NAME] headers, and key = value below them"
    if text.startswith("- "):
        return "this looks like YAML: write [KIND.NAME] headers, and key = value below them"
    if text[:1] == "=":
        return "write a key before the ="
    if rest.startswith((":", '"', "'")):
        return "write = between the key and its value"
    return "write a [header], key = value, or a # comment; keys need quotes, except A-Z, a-z, 0-9, _ and -"


def _of_key(line: str, rest: str) -> str:
    if line.lstrip().startswith("["):
        return "a header is [KIND.NAME], with one dot between the two"
    return "write an inline table { } on one line, with no comma before the }"


def _of_header(line: str, rest: str) -> str:
    if not rest or rest[0] == "#":
        return "close the header with ]"
    if words := re.match(r"\s*\[(\w+)\s+([\w-]+)\s*\]", line):
        return f"write [{words[1]}.{words[2]}]"
    return 'a header is [KIND.NAME]; a name with other characters needs quotes: [user."a b"]'


_CURLY = tuple("\u201c\u201d\u2018\u2019\u201e\u00ab\u00bb\u2033\u00b4")
_PLAIN = {
    **dict.fromkeys(("true", "yes", "on"), "write true"),
    **dict.fromkeys(("false", "no", "off"), "write false"),
    **dict.fromkeys(("none", "null", "nil", "~"), "TOML has no null: leave the key out"),
}
_CLOSE = "close the string with {} at its end"
_BACKSLASH = r"write \\ for a backslash, or put the string in single quotes"
_HINTS = (
    ("Invalid value", _of_value),
    ("Expected newline or end of document", _after_value),
    ("Invalid statement", _of_statement),
    ("Expected '='", _of_statement),
    ("Invalid initial character for a key part", _of_key),
    ("Expected ']' at", _of_header),
    ("Expected ']]'", "close the header with ]]"),
    ("Cannot declare", "write everything that belongs to one table under one header"),
    ("Cannot overwrite", "a key has one value: delete one of the two"),
    ("Cannot mutate", "write everything that belongs to an inline table between its { }"),
    ("Duplicate inline table key", "delete one of the two"),
    ("Invalid date", "the calendar has no such date"),
    ("Unclosed array", "put strings in quotes, a comma between two items, and ] after the last"),
    ("Unclosed inline table", "write an inline table { } on one line, with a comma between two keys"),
    ("Illegal character '\\n'", _CLOSE.format('"')),
    ("Unterminated string", _CLOSE.format("the quotes that it begins with")),
    ('Expected "\'"', _CLOSE.format("'")),
    ("Expected \"'''\"", _CLOSE.format("'''")),
    ("Unescaped '\\'", _BACKSLASH),
    ("Invalid hex value", _BACKSLASH),
    ("Escaped character is not", _BACKSLASH),
    ("Found invalid character", "delete the control character"),
    ("Illegal character", "delete the control character"),
)
