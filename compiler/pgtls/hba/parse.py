"""Read pg_hba.conf and pg_ident.conf as a server of one version does.

The code follows parse_hba_line and parse_ident_line of src/backend/libpq/hba.c.

Every line that the server would reject is an :class:`HbaError` with the server's message. The server then rejects the
whole file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from pgtls.hba.addresses import masked, network, numeric_address, prefix_length
from pgtls.hba.model import (
    Address,
    Database,
    HostName,
    IdentLine,
    IPAddress,
    IPNetwork,
    Keyword,
    Line,
    MaskedAddress,
    Member,
    Name,
    RecordType,
    Regex,
    Role,
)
from pgtls.hba.options import RECORD_TYPES, line_refusal
from pgtls.hba.regex import InvalidRegex, Undecidable, compile_regex
from pgtls.hba.secrets import without_secrets
from pgtls.hba.tokens import Fault, Files, Place, Record, Token, tokenize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


@dataclass(frozen=True, slots=True)
class HbaError:
    """The server's message about a file that it rejects.

    ``line`` and ``column`` are the place of the token (None: the whole file is at fault). ``record`` is the line number
    that the server reports: the start of a continued line. ``quoted`` is the file whose words the message quotes, if it
    is another one.
    """

    message: str
    file: str
    line: int | None = None
    column: int | None = None
    record: int | None = None
    quoted: str | None = None


@dataclass(frozen=True, slots=True)
class ParsedHba:
    """The valid lines, in the order in which the server tries them, and the errors of the others."""

    lines: tuple[Line, ...]
    errors: tuple[HbaError, ...]

    @property
    def consequence(self) -> str | None:
        """How the server handles such a file."""
        return "the server does not start; at a reload it keeps the lines it had" if self.errors else None


@dataclass(frozen=True, slots=True)
class ParsedIdent:
    """The valid lines, in the order in which the server tries them, and the errors of the others."""

    lines: tuple[IdentLine, ...]
    errors: tuple[HbaError, ...]

    @property
    def consequence(self) -> str | None:
        """How the server handles such a file."""
        return "the server starts without any ident map; at a reload it keeps those it had" if self.errors else None


def parse_hba(
    text: str,
    version: int,
    file: str = "pg_hba.conf",
    read: Callable[[str], str] | None = None,
    names: Callable[[str], Iterable[str]] | None = None,
) -> ParsedHba:
    """Read a pg_hba.conf of that major version.

    ``text`` keeps the line ends of the file, and has surrogates for bytes that are not UTF-8. ``read`` and ``names``
    return the files and directories that lines refer to, see :class:`pgtls.hba.tokens.Files`. Relative paths start at
    the directory of ``file``.
    """
    lines, errors = _parsed(text, version, file, Files(read, names), partial(_hba_line, version=version))
    if not lines and not errors:
        errors = (HbaError(f'configuration file "{file}" contains no entries', file),)
    return ParsedHba(lines, errors)


def parse_ident(
    text: str,
    version: int,
    file: str = "pg_ident.conf",
    read: Callable[[str], str] | None = None,
    names: Callable[[str], Iterable[str]] | None = None,
) -> ParsedIdent:
    """Read a pg_ident.conf of that major version; the parameters are those of :func:`parse_hba`."""
    return ParsedIdent(*_parsed(text, version, file, Files(read, names), partial(_ident_line, version=version)))


class _Refused(Exception):  # noqa: N818
    """Carry a record that the server rejects to the list of errors."""

    def __init__(self, message: str, place: Place) -> None:
        super().__init__(message)
        self.place = place


_Parsed = TypeVar("_Parsed", Line, IdentLine)


def _parsed(
    text: str, version: int, file: str, files: Files, line_of: Callable[[Record], _Parsed]
) -> tuple[tuple[_Parsed, ...], tuple[HbaError, ...]]:
    lines: list[_Parsed] = []
    errors: list[HbaError] = []
    carried: tuple[str, ...] = ()  # by a backslash at the end of the previous line; in 13 that is no continuation
    for record in tokenize(text, version, file, files):
        if isinstance(record, Fault):
            quoted = None if record.quoted == record.place.file else record.quoted
            errors.append(replace(_error(record.message, record.place, record.record), quoted=quoted))
            continue
        try:
            lines.append(line_of(record))
        except _Refused as refused:
            message = str(refused)
            for tokens in (carried + _texts(record), _joined(carried, _texts(record))):
                message = without_secrets(message, tokens)
            errors.append(_error(message, refused.place, record.line))
        carried = carried + _texts(record) if record.within.text.endswith("\\") else ()
    return tuple(lines), tuple(errors)


def _joined(carried: tuple[str, ...], texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words of a line and of those before it, as a later version reads a word that goes on."""
    return (*carried[:-1], carried[-1].removesuffix("\\") + texts[0], *texts[1:]) if carried and texts else texts


def _texts(record: Record) -> tuple[str, ...]:
    return tuple(token.text for field in record.fields for token in field)


def _error(message: str, place: Place, record: int) -> HbaError:
    return HbaError(message, place.file, place.line, place.column, record)


class _Fields:
    """The fields of a record, in order."""

    def __init__(self, record: Record) -> None:
        self.rest: Iterator[tuple[Token, ...]] = iter(record.fields)
        self.record = record

    def next(self, at_end: str) -> tuple[Token, ...]:
        """Return the next field. ``at_end`` is the server's message if there is none."""
        field = next(self.rest, None)
        if field is None:
            raise _Refused(at_end, self.record.end)
        return field

    def single(self, at_end: str, several: str) -> Token:
        """Return the only token of the next field. ``several`` is the server's message if there are more tokens."""
        field = self.next(at_end)
        if len(field) > 1:
            raise _Refused(several, field[1].place)
        return field[0]


# --- pg_hba.conf ------------------------------------------------------------------------------------------------------


def _hba_line(record: Record, version: int) -> Line:
    fields = _Fields(record)
    record_type = fields.single("", "multiple values specified for connection type")
    if record_type.text not in RECORD_TYPES:
        raise _Refused(f'invalid connection type "{record_type.text}"', record_type.place)
    databases = tuple(_database(token, version) for token in fields.next("end-of-line before database specification"))
    roles = tuple(_role(token, version) for token in fields.next("end-of-line before role specification"))
    address = None if record_type.text == "local" else _address(fields)
    method = fields.single(
        "end-of-line before authentication method", "multiple values specified for authentication type"
    )
    return Line(
        cast("RecordType", record_type.text),
        databases,
        roles,
        address,
        *_method_and_options(record_type.text, method, [token for field in fields.rest for token in field], version),
        file=record.file,
        number=record.line,
    )


def _database(token: Token, version: int) -> Database:
    if not token.quoted:
        if token.text in {"all", "sameuser", "samerole", "replication"}:
            return Keyword(token.text)
        if token.text == "samegroup":
            return Keyword.SAMEROLE
    return _name_or_regex(token, version)


def _role(token: Token, version: int) -> Role:
    if not token.quoted:
        if token.text.startswith("+"):
            return Member(token.text[1:])
        if token.text == "all":
            return Keyword.ALL
    return _name_or_regex(token, version)


def _name_or_regex(token: Token, version: int) -> Name | Regex:
    """Read a token that may be a regular expression.

    Quotes do not hide a slash: only the first character counts (regcomp_auth_token).
    """
    if version < 16 or not token.text.startswith("/"):
        return Name(token.text)
    return _regex(token)


def _regex(token: Token) -> Regex:
    pattern = token.text[1:]
    try:
        compile_regex(pattern)
    except InvalidRegex as invalid:
        raise _Refused(f'invalid regular expression "{pattern}": {invalid}', token.place) from None
    except Undecidable:
        pass  # the server may accept it; a later step asks what it matches
    return Regex(pattern)


def _address(fields: _Fields) -> Address:
    token = fields.single("end-of-line before IP address specification", "multiple values specified for host address")
    if not token.quoted and token.text in {"all", "samehost", "samenet"}:
        return Keyword(token.text)
    numeric, slash, prefix = token.text.partition("/")
    address = numeric_address(numeric)
    if address is None:
        if slash:
            raise _Refused(f'specifying both host name and CIDR mask is invalid: "{token.text}"', token.place)
        return HostName(token.text)
    if not slash:
        return _with_mask(address, fields)
    bits = prefix_length(prefix, address)
    if bits is None:
        raise _Refused(f'invalid CIDR mask in address "{token.text}"', token.place)
    return network(address, bits)


def _with_mask(address: IPAddress, fields: _Fields) -> IPNetwork | MaskedAddress:
    token = fields.single("end-of-line before netmask specification", "multiple values specified for netmask")
    mask = numeric_address(token.text)
    if mask is None:
        raise _Refused(f'invalid IP mask "{token.text}": Name or service not known', token.place)
    if mask.version != address.version:
        raise _Refused("IP address and mask do not match", token.place)
    return masked(address, mask)


def _method_and_options(
    record_type: str, method: Token, tokens: list[Token], version: int
) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Read the rest of a line. Errors come in the server's order."""
    name = "peer" if (record_type, method.text) == ("local", "ident") else method.text
    options: list[tuple[str, str]] = []
    malformed = None
    for token in tokens:
        option, equals, value = token.text.partition("=")
        if not equals:
            malformed = token
            break
        options.append((option, value))
    refusal = line_refusal(record_type, name, tuple(options), version, is_whole=malformed is None)
    if refusal:
        words, index = refusal
        raise _Refused(words, (method if index is None else tokens[index]).place)
    if malformed:
        raise _Refused(f"authentication option not in name=value format: {malformed.text}", malformed.place)
    return name, tuple(options)


# --- pg_ident.conf ----------------------------------------------------------------------------------------------------


def _ident_line(record: Record, version: int) -> IdentLine:
    """Read a line. Ignore fields after the third."""
    fields = _Fields(record)
    ident_map, identity, role = (
        fields.single("missing entry at end of line", "multiple values in ident field") for _ in range(3)
    )
    return IdentLine(
        ident_map.text,
        _regex(identity) if identity.text.startswith("/") else Name(identity.text),
        _role(role, version) if version >= 16 else Name(role.text),
        file=record.file,
        number=record.line,
    )
