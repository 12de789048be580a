r"""Write pg_hba.conf and pg_ident.conf so that a server of one version reads the intended terms.

Quote every token that is not a keyword. Quotes hide keywords, ``+``, ``@``, ``#``, commas and blanks, but not a leading
``/``: from 16, write a name with a leading ``/`` as an anchored regular expression (regcomp_auth_token in
src/backend/libpq/hba.c).
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING

from pgtls.hba.addresses import masked, numeric_address
from pgtls.hba.model import (
    Address,
    Database,
    HostName,
    IdentLine,
    Keyword,
    Line,
    MaskedAddress,
    Member,
    Name,
    Regex,
    Role,
)
from pgtls.hba.options import RECORD_TYPES, line_refusal
from pgtls.hba.regex import InvalidRegex, Undecidable, compile_regex
from pgtls.hba.tokens import size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_DATABASE_KEYWORDS = {Keyword.ALL, Keyword.SAMEUSER, Keyword.SAMEROLE, Keyword.REPLICATION}
_ADDRESS_KEYWORDS = {Keyword.ALL, Keyword.SAMEHOST, Keyword.SAMENET}
_WIDEST_COLUMN = 40
_LONGEST_TOKEN = 254  # maximum bytes within quotes that every minor release up to 15 reads
_LONGEST_LINE = 8190  # maximum bytes that every minor release of 13 reads
_LONGEST_COMMENT = 2000  # maximum characters: whatever the characters are, they fit into that limit
_NO_QUOTES_NEEDED = re.compile(r"[A-Za-z0-9._=-]+")
_BARE = re.compile(r"[A-Za-z0-9._=+:-]+")
_SIMPLE = re.compile(r"[ A-Za-z0-9._@+/-]{0,63}")
_SPECIAL = re.compile(r"[][\\^$.*+?(){}|]")


class Unwritable(ValueError):  # noqa: N818  (a refusal of the input, not an error of the program)
    """Report a value that no file of this version can express. The message is lower case and names the value."""


def render_hba(lines: Sequence[Line], version: int, header: str = "", *, bare: bool = False) -> str:
    """Write a pg_hba.conf for that major version: ``header`` first, then each line below its comment.

    ``bare``: write the names of maps without quotes, as PgBouncer reads them.

    Raise Unwritable if a value cannot be expressed.
    """
    titles = ("# TYPE", "DATABASE", "USER", "ADDRESS", "METHOD")
    return _render(titles, [(line.comment, _hba_cells(line, version, bare=bare)) for line in lines], version, header)


def render_ident(idents: Sequence[IdentLine], version: int, header: str = "", *, bare: bool = False) -> str:
    """Write a pg_ident.conf for that major version: ``header`` first, then each line below its comment.

    ``bare``: write the names of maps without quotes, as PgBouncer reads them.

    Raise Unwritable if a value cannot be expressed.
    """
    titles = ("# MAPNAME", "SYSTEM-USERNAME", "PG-USERNAME")
    return _render(
        titles, [(ident.comment, _ident_cells(ident, version, bare=bare)) for ident in idents], version, header
    )


def _render(
    titles: Sequence[str], rows: Sequence[tuple[str | None, tuple[str, ...]]], version: int, header: str
) -> str:
    widths = _widths([titles, *(cells for _, cells in rows)])
    paragraphs = [_comment(header)] if header else []
    paragraphs.append(_aligned(titles, widths))
    for comment, cells in rows:
        line = _aligned(cells, widths)
        if version == 13 and size(line) > _LONGEST_LINE:
            raise Unwritable(f"a line of {size(line)} bytes is too long for PostgreSQL 13, which reads {_LONGEST_LINE}")
        paragraphs.append(f"\n{_comment(comment)}\n{line}" if comment else line)
    return "\n".join(paragraphs) + "\n"


def _widths(rows: Iterable[Sequence[str]]) -> list[int]:
    """Return the columns, each as wide as its widest cell. Very long cells exceed their column."""
    widths: dict[int, int] = {}
    for row in rows:
        for column, cell in enumerate(row):
            if widths.get(column, 0) < len(cell) <= _WIDEST_COLUMN:
                widths[column] = len(cell)
    return [widths.get(column, 0) for column in range(len(widths) + 1)]


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(widths[column]) for column, cell in enumerate(cells)).rstrip(" ")


def _comment(text: str) -> str:
    """Write a comment. A comment that ended in a backslash would swallow the next line."""
    return "\n".join(map(_comment_line, re.split(r"\r\n|\r|\n", text.rstrip("\r\n"))))


def _comment_line(text: str) -> str:
    visible = "".join(character if character.isprintable() else " " for character in text[:_LONGEST_COMMENT])
    line = f"# {visible}".rstrip()
    return line + "." if line.endswith("\\") else line


# --- cells ------------------------------------------------------------------------------------------------------------


def _hba_cells(line: Line, version: int, *, bare: bool) -> tuple[str, ...]:
    if line.type not in RECORD_TYPES or (line.type == "local") != (line.address is None):
        raise Unwritable(f'a line of type "{line.type}" with the address "{line.address}" does not exist')
    refusal = line_refusal(line.type, line.method, line.options, version)
    if refusal:
        raise Unwritable(f"PostgreSQL {version} says: {refusal[0]}")
    return (
        line.type,
        _joined("databases", (_database(database, version) for database in line.databases)),
        _joined("roles", (_role(role, version) for role in line.roles)),
        "" if line.address is None else _address(line.address, version),
        " ".join(chain([line.method], _options(line, version, bare=bare))),
    )


def _ident_cells(ident: IdentLine, version: int, *, bare: bool) -> tuple[str, ...]:
    return (
        _bare(ident.map) if bare else quoted(ident.map, version),
        _identity(ident.identity, version),
        _ident_role(ident, version),
    )


def _bare(name: str) -> str:
    """Write a name without quotes. Raise Unwritable for one that needs them."""
    if not _BARE.fullmatch(name):
        raise Unwritable(f'the map "{shown(name)}" would need quotes, which PgBouncer does not read there')
    return name


def _joined(kind: str, tokens: Iterator[str]) -> str:
    written = ",".join(tokens)
    if not written:
        raise Unwritable(f"a line without {kind} cannot be written")
    return written


def quoted(text: str, version: int) -> str:
    """Quote a token. Raise Unwritable if no token can hold the text."""
    if _SIMPLE.fullmatch(text):
        return f'"{text}"'
    if {"\0", "\r", "\n"} & set(text):
        raise Unwritable(f'"{shown(text)}" has a character that no line can hold')
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise Unwritable(f'"{shown(text)}" is no valid Unicode') from None
    if version < 16 and length > _LONGEST_TOKEN:
        raise Unwritable(f'"{shown(text)}" has {length} bytes, PostgreSQL {version} reads {_LONGEST_TOKEN}')
    return '"' + text.replace('"', '""') + '"'


def shown(text: str) -> str:
    """Make a hostile string fit for a message."""
    visible = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    return visible if len(visible) <= 100 else visible[:97] + "..."


def _literal_regex(text: str) -> str:
    """Return the pattern that matches only this text."""
    return "^" + _SPECIAL.sub(r"\\\g<0>", text) + "$"


def _regex(regex: Regex, version: int, since: int = 16) -> str:
    if version < since:
        raise Unwritable(f'the regular expression "{shown(regex.pattern)}" needs PostgreSQL {since}, not {version}')
    try:
        compile_regex(regex.pattern)
    except InvalidRegex as invalid:
        raise Unwritable(f'the regular expression "{shown(regex.pattern)}" is wrong: {invalid}') from None
    except (Undecidable, UnicodeEncodeError):
        pass
    return quoted(f"/{regex.pattern}", version)


def _name(name: Name, version: int) -> str:
    if version >= 16 and name.text.startswith("/"):
        return quoted("/" + _literal_regex(name.text), version)
    return quoted(name.text, version)


def _database(database: Database, version: int) -> str:
    if isinstance(database, Keyword):
        return _keyword(database, _DATABASE_KEYWORDS)
    return _regex(database, version) if isinstance(database, Regex) else _name(database, version)


def _role(role: Role, version: int) -> str:
    if isinstance(role, Keyword):
        return _keyword(role, {Keyword.ALL})
    if isinstance(role, Member):
        return "+" + quoted(role.role, version)
    return _regex(role, version) if isinstance(role, Regex) else _name(role, version)


def _keyword(keyword: Keyword, allowed: set[Keyword]) -> str:
    if keyword not in allowed:
        raise Unwritable(f'the keyword "{keyword.value}" has no meaning in this place')
    return keyword.value


def _address(address: Address, version: int) -> str:
    if isinstance(address, Keyword):
        return _keyword(address, _ADDRESS_KEYWORDS)
    if isinstance(address, HostName):
        if "/" in address.name or numeric_address(address.name) is not None:
            raise Unwritable(f'"{shown(address.name)}" would not be read as a host name')
        return quoted(address.name, version)
    if isinstance(address, MaskedAddress):
        if address.address.version != address.mask.version:
            raise Unwritable(f'the mask "{address.mask}" does not fit the address "{address.address}"')
        block = masked(address.address, address.mask)
        return f"{block.address} {block.mask}" if isinstance(block, MaskedAddress) else str(block)
    return str(address)


def _options(line: Line, version: int, *, bare: bool) -> Iterator[str]:
    for name, value in line.options:
        token = f"{name}={value}"
        if bare:
            yield _bare(token)
            continue
        yield token if _NO_QUOTES_NEEDED.fullmatch(token) else quoted(token, version)


def _identity(identity: Name | Regex, version: int) -> str:
    """Write the identity that a client proves. A leading slash marks a regular expression in every version."""
    if isinstance(identity, Regex):
        return _regex(identity, version, since=13)
    return quoted("/" + _literal_regex(identity.text) if identity.text.startswith("/") else identity.text, version)


def _ident_role(ident: IdentLine, version: int) -> str:
    r"""Write the role. PostgreSQL replaces ``\1`` only in a name after a regular expression."""
    role = ident.role
    if version < 16 and not isinstance(role, Name):
        raise Unwritable(f'the role "{shown(str(role))}" in an ident map needs PostgreSQL 16, not {version}')
    if not isinstance(role, Name) or "\\1" not in role.text:
        return _role(role, version)
    if isinstance(ident.identity, Regex):
        if version >= 16 and role.text.startswith("/"):
            raise Unwritable(
                f'PostgreSQL {version} reads "{shown(role.text)}" as a regular expression and replaces nothing'
            )
        return quoted(role.text, version)
    if not ident.identity.text.startswith("/"):
        return _name(role, version)
    # Write the identity as a regular expression. The role after it must not look like a template.
    if version < 16:
        raise Unwritable(f'"{shown(role.text)}" below "{shown(ident.identity.text)}" would have its \\1 replaced')
    return quoted("/" + _literal_regex(role.text), version)
