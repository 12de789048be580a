"""How a server cuts pg_hba.conf and pg_ident.conf into records, fields and tokens.

After ``tokenize_auth_file``, ``next_field_expand`` and ``next_token`` of src/backend/libpq/hba.c:

- blanks separate fields, a comma that directly follows a token joins the next token to its field; - ``#`` outside
quotes starts a comment, inside a token too; - quotes may stand anywhere; a token counts as quoted only if one is its
first character; ``""`` within quotes is one quote, and a quote that is never closed runs to the end of the line; - from
14, a line that ends in a backslash goes on with the next one, comments included; - ``@file`` puts a file's tokens into
the field; from 16, ``include``, ``include_if_exists`` and ``include_dir`` put its records in their place.

Other files are reached only through :class:`Files`.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_LONGEST_TOKEN = 10239  # bytes; up to 15, in the minor releases since August 2023 (255 before)
_LONGEST_LINE = 20479  # bytes with its line feed; 13 only (8191 before)


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a file. Lines and columns count from 1, columns in code points of that physical line."""

    file: str
    line: int
    column: int


class Token(NamedTuple):
    """A token without its quotes. ``quoted``: its first character was a quote, so it is no keyword, group or file.

    It is a tuple and computes its place on demand: a file has tens of thousands of tokens, and an error needs few
    places.
    """

    text: str
    quoted: bool
    within: Logical
    offset: int

    @property
    def place(self) -> Place:
        """The place of the token."""
        return self.within.place(self.offset)


class Logical(NamedTuple):
    """A line after continuation. ``starts`` are the offsets of its physical lines."""

    file: str
    number: int
    text: str
    starts: tuple[int, ...]

    def place(self, offset: int) -> Place:
        """Find an offset's physical line and column."""
        before = max(i for i, start in enumerate(self.starts) if start <= offset)
        return Place(self.file, self.number + before, offset - self.starts[before] + 1)


class Record(NamedTuple):
    """One logical line that is not empty. ``line`` is the line number of its start, which the server reports."""

    file: str
    line: int
    fields: tuple[tuple[Token, ...], ...]
    within: Logical

    @property
    def end(self) -> Place:
        """The place of its end."""
        return self.within.place(len(self.within.text))


@dataclass(frozen=True, slots=True)
class Fault:
    """A record that the server rejects: the server's message, the place of the token, and the reported line number.

    ``quoted`` is the file whose words the message quotes: that of the place, or a list that it names with ``@``.
    """

    message: str
    place: Place
    record: int
    quoted: str


@dataclass(frozen=True, slots=True)
class Files:
    """Access to other files.

    ``read`` returns the text of a path (surrogates for undecodable bytes, line ends unchanged). ``names`` returns the
    entries of a directory. Both raise OSError. With None, every reference of that kind is rejected.
    """

    read: Callable[[str], str] | None = None
    names: Callable[[str], Iterable[str]] | None = None


class _Unreadable(Exception):  # noqa: N818
    """Report a file that a record refers to and that cannot be read. The message is the server's."""

    def __init__(self, message: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.missing = missing


def size(text: str) -> int:
    """Count bytes as a server counts them."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))


def tokenize(text: str, version: int, file: str, files: Files, depth: int = 0) -> Iterator[Record | Fault]:
    """Yield the records of a file and of the files that it includes, in order. The time is linear in the text."""
    for logical in _logical_lines(text, version, file):
        try:
            fields = _fields(logical, version, files, depth)
            if _is_include(fields, version):
                yield from _included(fields, version, logical.file, files, depth)
            elif fields:
                yield Record(file, logical.number, fields, logical)
        except _Refused as refused:
            yield Fault(str(refused), refused.place, logical.number, refused.quoted)


class _Refused(Exception):  # noqa: N818
    """Carry a fault inside a record to its record."""

    def __init__(self, message: str, place: Place, quoted: str | None = None) -> None:
        super().__init__(message)
        self.place, self.quoted = place, quoted or place.file


def _logical_lines(text: str, version: int, file: str) -> Iterator[Logical]:
    parts: list[str] = []
    starts, first = [0], 1
    for number, physical in enumerate(text.split("\n"), start=1):
        # C strings end at a NUL, and the carriage returns before a line feed are stripped.
        piece = (physical if version >= 14 else physical.partition("\0")[0]).rstrip("\r")
        if version >= 14 and piece.endswith("\\"):
            parts.append(piece[:-1])
            starts.append(starts[-1] + len(parts[-1]))
            continue
        yield Logical(file, first, "".join((*parts, piece)).rstrip("\r"), tuple(starts))
        parts, starts, first = [], [0], number + 1
    if parts:
        yield Logical(file, first, "".join(parts), tuple(starts[:-1]))


def _token_pattern(blanks: str) -> re.Pattern[str]:
    return re.compile(rf'[{blanks},]*+((?:[^{blanks},#"]++|"[^"]*+"?)++)')


_TOKEN = _token_pattern(" \t\r")
_TOKEN_19 = _token_pattern(" \t")
_PIECE = re.compile(r'([^"]++)|"([^"]*+)"?')


def _unquoted(raw: str) -> str:
    """Remove the quotes. Adjacent quoted pieces have one quote between them."""
    quotes = raw.count('"')
    if not quotes:
        return raw
    if quotes == 2 and raw[0] == raw[-1] == '"':
        return raw[1:-1]
    text, after_quoted = "", False
    for piece in _PIECE.finditer(raw):
        is_quoted = piece[1] is None
        text += ('"' if after_quoted and is_quoted else "") + (piece[2] if is_quoted else piece[1])
        after_quoted = is_quoted
    return text


def _fields(logical: Logical, version: int, files: Files, depth: int) -> tuple[tuple[Token, ...], ...]:
    """Return the fields that hold a token. A field from an empty file vanishes, and the next one takes its place."""
    if version == 13 and size(logical.text) + 1 >= _LONGEST_LINE:
        raise _Refused("authentication file line too long", logical.place(0))
    text = logical.text
    if "\0" in text:  # pg_get_line_append looks for the line feed in a C string (src/common/pg_get_line.c)
        place = logical.place(text.index("\0"))
        raise _Refused("a NUL: the server takes lines that follow for a part of this one", place)
    match = (_TOKEN if version < 19 else _TOKEN_19).match
    may_be_too_long = version < 16 and len(text) * 4 > _LONGEST_TOKEN
    fields: list[tuple[Token, ...]] = []
    field: list[Token] = []
    position = 0
    while found := match(text, position):
        position = found.end()
        raw, joins = found[1], text.startswith(",", position)
        token = Token(_unquoted(raw), raw[0] == '"', logical, found.start(1))
        if may_be_too_long:
            _check_size(token, raw, joins=joins)
        if raw[0] == "@" and len(token.text) > 1:
            field += _expanded(token, version, files, depth)
        else:
            field.append(token)
        if field and not joins:
            fields.append(tuple(field))
            field = []
    if field:
        fields.append(tuple(field))
    return tuple(fields)


def _check_size(token: Token, raw: str, *, joins: bool) -> None:
    """Reject a text longer than the server's buffer. One more character, even a quote or a comma, already fills it."""
    if size(token.text) + (joins or raw.endswith('"')) > _LONGEST_TOKEN:
        raise _Refused("authentication file token too long", token.place)


def _expanded(token: Token, version: int, files: Files, depth: int) -> Iterable[Token]:
    """Return the tokens of the file that a token names with ``@``."""
    name = token.text[1:]
    path = _path(name, token.within.file)
    try:
        text = _open(path, version, files, depth + 1)
    except _Unreadable as unreadable:
        old = f'could not open secondary authentication file "@{name}" as "{path}": '
        new = f'could not open file "{path}": '
        raise _Refused((new if version >= 16 else old) + str(unreadable), token.place) from None
    tokens: list[Token] = []
    for record in tokenize(text, version, path, files, depth + 1):
        if isinstance(record, Fault):
            raise _Refused(record.message, token.place, record.quoted)
        tokens += (inner for field in record.fields for inner in field)
    return tokens


def _path(name: str, referrer: str) -> str:
    """Find a file relative to the file that refers to it."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(referrer), name))


def _open(path: str, version: int, files: Files, depth: int) -> str:
    if depth > (10 if version >= 16 else 100):  # up to 15 the server runs out of file descriptors instead
        raise _Unreadable("maximum nesting depth exceeded")
    if files.read is None:
        raise _Unreadable("other files are not read here")
    try:
        return files.read(path)
    except OSError as error:
        raise _Unreadable(error.strerror or str(error), missing=isinstance(error, FileNotFoundError)) from None


def _is_include(fields: tuple[tuple[Token, ...], ...], version: int) -> bool:
    """Tell an include from a broken record: an include has exactly two fields, quoted or not."""
    return version >= 16 and len(fields) == 2 and fields[0][0].text in {"include", "include_if_exists", "include_dir"}


def _included(
    fields: tuple[tuple[Token, ...], ...], version: int, referrer: str, files: Files, depth: int
) -> Iterator[Record | Fault]:
    kind, target = fields[0][0].text, fields[1][0]
    path = _path(target.text, referrer)
    if kind != "include_dir":
        yield from _include(path, target, version, files, depth, missing_ok=kind == "include_if_exists")
        return
    for name in _directory(path, target, files):
        yield from _include(posixpath.join(path, name), target, version, files, depth)


def _include(
    path: str, target: Token, version: int, files: Files, depth: int, *, missing_ok: bool = False
) -> Iterator[Record | Fault]:
    try:
        text = _open(path, version, files, depth + 1)
    except _Unreadable as unreadable:
        if missing_ok and unreadable.missing:
            return
        raise _Refused(f'could not open file "{path}": {unreadable}', target.place) from None
    yield from tokenize(text, version, path, files, depth + 1)


def _directory(path: str, target: Token, files: Files) -> list[str]:
    """Return the files that ``include_dir`` reads: ``*.conf``, not hidden, in byte order."""
    if files.names is None:
        raise _Refused(f'could not open directory "{path}": directories are not read here', target.place)
    try:
        names = files.names(path)
    except OSError as error:
        raise _Refused(f'could not open directory "{path}": {error.strerror or error}', target.place) from None
    chosen = (name for name in names if name.endswith(".conf") and not name.startswith("."))
    return sorted(chosen, key=lambda name: name.encode("utf-8", "surrogateescape"))
