"""Compare the original lines with the compiled ones, over every class of connection that either can tell apart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from pgtls.access.classes import Classes
from pgtls.access.meaning import Accepted, Holders
from pgtls.access.text import TRANSPORTS, Text, line_coverage
from pgtls.fleet.membership import Memberships
from pgtls.hba.model import HostName, Keyword, MaskedAddress, Member, Name, Regex
from pgtls.hba.options import in_effect
from pgtls.hba.regex import decided
from pgtls.importer.entries import client_cert
from pgtls.postgres.methods import METHODS, is_secret, takes_map

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pgtls.access.classes import Class, Coverage
    from pgtls.access.meaning import Ask, Bearer, Part
    from pgtls.hba.model import IdentLine, Line, Transport

_OPTIONS = {option.name: option for method in METHODS.values() for option in method.options}
_OVER = {"socket": "over the Unix socket", "tls": "over TLS", "gss": "with GSS encryption", "plain": "in cleartext"}


class Files(NamedTuple):
    """A pg_hba.conf with its pg_ident.conf, read."""

    lines: Sequence[Line]
    idents: Sequence[IdentLine]


@dataclass(frozen=True, slots=True)
class Difference:
    """Connections that the compiled file treats differently.

    ``line`` decides in the original; None: none does, and they are refused.
    """

    line: Line | None
    transports: tuple[str, ...]
    before: str
    after: str
    example: str

    def __str__(self) -> str:
        return f"{self.example}, {' and '.join(self.transports)}: {self.before} before, {self.after} now"


class _Anybody(Holders):
    """The holders of any name: the certificates that exist are not known here."""

    def __init__(self) -> None:
        self.users, self.meant = [], frozenset()

    def showing(self, text: str, part: Part) -> frozenset[Bearer]:
        """Return the holder of that name."""
        return frozenset({(part, text)})


def differences(original: Files, compiled: Files) -> tuple[Difference, ...]:
    """Return what differs, one difference for each line and kind; nothing when both mean the same."""
    secrets = frozenset(
        name for f in (original, compiled) for line in f.lines for name, value in line.options if is_secret(name, value)
    )
    before, after = (
        Text(tuple(map(_plain, f.lines)), tuple(map(_plain_ident, f.idents)), _Anybody(), secrets)
        for f in (original, compiled)
    )
    mapped = (
        term.text
        for f in (original, compiled)
        for i in f.idents
        for term in (i.identity, i.role)
        if isinstance(term, Name)
    )
    classes = Classes(
        [_coverage(line) for line in original.lines],
        [_coverage(line) for line in compiled.lines],
        Memberships({}),
        sorted(set(mapped)),
        deciding=lambda bits: (before.first(bits.policies), after.first(bits.lines)),
    )
    found: dict[tuple[int | None, str, str], Difference] = {}
    numbered = {_key(line): index for index, line in enumerate(original.lines)}
    answers = cache(lambda text, bits, transport, role: _answer(text, bits, transport, role))
    for connection in classes.combined():
        for transport in TRANSPORTS[:1] if connection.address is classes.socket else TRANSPORTS[1:]:
            for role in connection.role.names:
                was = answers(before, connection.bits.policies, transport, role)
                now = answers(after, connection.bits.lines, transport, role)
                if was.asked == now.asked:
                    continue
                key = (numbered[_key(was.line)] if was.line else None, was.words, now.words)
                example = _example(connection, role, (was.line, now.line))
                new = Difference(was.line, (_OVER[transport],), was.words, now.words, example)
                old = found.get(key, new)
                transports = tuple(dict.fromkeys((*old.transports, *new.transports)))
                found[key] = replace(min(old, new, key=_doubts), transports=transports)
    return tuple(found.values())


def _coverage(line: Line) -> Coverage:
    """Return what a line covers.

    A mask that is no prefix length is like a name: whether it covers an address is not known.
    """
    if isinstance(line.address, MaskedAddress):
        line = replace(line, address=HostName(f"{line.address.address} {line.address.mask}"))
    return line_coverage(line)


class _Answer(NamedTuple):
    line: Line | None
    asked: tuple[Ask, Accepted] | None
    words: str


def _key(line: Line) -> tuple[str | None, int | None]:
    return line.file, line.number


def _plain(line: Line) -> Line:
    """Write options in one way: flags as 0 and 1, certificates as the versions from 14 do."""
    options: dict[str, str] = {}
    for name, value in in_effect(line.options):
        if name == "clientcert":
            if (asked := client_cert(line)) != "none" and line.method != "cert":
                options[name] = asked
        else:
            flag = name in _OPTIONS and _OPTIONS[name].kind == "flag"
            options[name] = str(int(value == "1")) if flag else value
    return replace(line, options=tuple(options.items()))


def _plain_ident(ident: IdentLine) -> IdentLine:
    """Write "any identity" in one way: no method proves an empty name."""
    return replace(ident, identity=Regex("^(.*)$")) if ident.identity == Regex("^(.+)$") else ident


def _answer(text: Text, bits: int, transport: Transport, role: str) -> _Answer:
    """Return what a role must show; a line that accepts nobody for it refuses."""
    line = text.deciding(bits, transport)
    ask = text.ask(line)
    if ask is None:
        return _Answer(line, None, "refused")
    accepted = Accepted()
    if ask.certificate == "verify-full" or takes_map(ask.method):
        accepted = text.accepted(line, role)
        if accepted == Accepted():
            return _Answer(line, None, "refused")
    return _Answer(line, (ask, accepted), _words(ask, accepted, role))


def _words(ask: Ask, accepted: Accepted, role: str) -> str:
    options = "".join(f" {name}={value}" for name, value in sorted(ask.options))
    certificate = "" if ask.method == "cert" or ask.certificate == "none" else f" and a certificate ({ask.certificate})"
    return f"{ask.method}{options}{certificate}" + "".join(_whose(accepted, role))


def _whose(accepted: Accepted, role: str) -> Iterator[str]:
    names = sorted("the role itself" if text == role else text for _, text in accepted.bearers)
    if accepted == Accepted() or (names == ["the role itself"] and not accepted.patterns):
        return
    yield " by " + ", ".join(
        [*names[:5], *(["…"] if len(names) > 5 else []), *(["a pattern"] if accepted.patterns else [])]
    )


def _example(connection: Class, role: str, deciding: Iterable[Line | None]) -> str:
    """Write a connection of a class, with what must be true for the lines that decide it there to cover it."""
    lines = [line for line in deciding if line]
    database = connection.database.example
    where = "" if connection.address.example == "local" else f" from {connection.address.example}"
    return (
        f'role "{role}"{_if(membership for line in lines for membership in _groups(line, role, database))}'
        f', database "{database}"{_if(match for line in lines for match in _matches(line, database))}'
        f"{where}{_if(near for line in lines for near in _near(line))}"
    )


def _if(premises: Iterable[str]) -> str:
    return "".join(f", if {premise}" for premise in dict.fromkeys(premises))


def _doubts(difference: Difference) -> int:
    return difference.example.count(", if ")


def _groups(line: Line, role: str, database: str) -> Iterator[str]:
    """Yield the memberships that make a line cover a role."""
    groups = [term.role for term in line.roles if isinstance(term, Member)]
    if groups and Keyword.ALL not in line.roles and Name(role) not in line.roles:
        yield f"it is a member of {' or '.join(groups)}"
    if Keyword.SAMEROLE in line.databases and database != role and not _names_database(line, database):
        yield f"it is a member of {database}"


def _matches(line: Line, database: str) -> Iterator[str]:
    patterns = [term.pattern for term in line.databases if isinstance(term, Regex)]
    if patterns and not _names_database(line, database) and not any(decided(one, database) for one in patterns):
        yield f"it matches {' or '.join(f'/{pattern}' for pattern in patterns)}"


def _names_database(line: Line, database: str) -> bool:
    return Keyword.ALL in line.databases or Name(database) in line.databases


def _near(line: Line) -> Iterator[str]:
    if line.address is Keyword.SAMENET:
        yield "it is in a network of the server"
    elif line.address is Keyword.SAMEHOST:
        yield "it is the server's own"
