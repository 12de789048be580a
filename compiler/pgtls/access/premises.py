"""List what an answer depends on besides the files: role memberships, interfaces of the server, names of the client.

A line decides only if the premises of its ``+role``, ``samerole``, ``samenet``, ``samehost`` or host name hold. If the
question does not state these facts, the answer names the lines that would decide, each with what must be true.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface
from itertools import pairwise
from shlex import quote
from typing import TYPE_CHECKING

from pgtls.hba.match import RECORD_TYPES_OF, decide
from pgtls.hba.model import HostName, Keyword, Member
from pgtls.hba.regex import Undecidable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pgtls.hba.model import Connection, Line, Surroundings

_ALL = (Keyword.ALL, Keyword.REPLICATION)
_MOST = 10
"""The maximum number of notes in one answer."""


def memberships(words: Iterable[str], role: str) -> frozenset[tuple[str, str]]:
    """Read ``--member-of``: ``GROUP`` for the connecting role, ``ROLE=GROUP`` for another.

    Raise ValueError if it is malformed.
    """
    found: set[tuple[str, str]] = set()
    for word in words:
        chain = word.split("=")
        if not all(chain):
            raise ValueError(f'"{word}": write GROUP or ROLE=GROUP')
        chain = [role, *chain] if len(chain) == 1 else chain
        found |= set(pairwise(chain))
    return frozenset(found)


def interfaces(words: Iterable[str]) -> tuple[str, ...]:
    """Read ``--interface``: a server address with the prefix length of its network.

    Raise ValueError if it is malformed.
    """
    for word in words:
        try:
            ip_interface(word)
        except ValueError:
            raise ValueError(f'"{word}": write an address with its prefix length, e.g. 10.0.0.1/24') from None
    return tuple(words)


def conditional(
    lines: Sequence[Line], deciding: Line | None, connection: Connection, surroundings: Surroundings
) -> Iterator[str]:
    """Name the lines above the deciding one that would decide, and what must be true for that."""
    found = []
    several = len({line.file for line in lines}) > 1
    for line in lines:
        if line is deciding:
            break
        needed = _premises(line, connection, surroundings)
        if needed:
            does = "rejects" if line.method == "reject" else f'asks for "{line.method}"'
            where = f"line {line.number}" + (f" of {line.file}" if several else "")
            found.append(f"{where} decides, and {does}, if {' and '.join(needed)}")
    yield from found[:_MOST]
    if len(found) > _MOST:
        yield f"{len(found) - _MOST} more lines decide under such conditions"


def _premises(line: Line, connection: Connection, surroundings: Surroundings) -> list[str]:
    """Return what must be true for a line to cover a connection. Return nothing if it always or never covers it."""
    if line.type not in RECORD_TYPES_OF[connection.transport]:
        return []
    role, wide = connection.role, replace(line, databases=_ALL, roles=_ALL[:1], address=line.address and Keyword.ALL)
    samerole = Keyword.SAMEROLE in line.databases and not connection.replication
    parts = (
        (replace(wide, roles=line.roles), [_membership(t.role, role) for t in line.roles if isinstance(t, Member)]),
        (replace(wide, databases=line.databases), [_membership(connection.database, role)] if samerole else []),
        (replace(wide, address=line.address), list(_address(line, connection))),
    )
    needed = [premises for part, premises in parts if not _covers(part, connection, surroundings)]
    return [" or ".join(dict.fromkeys(premises)) for premises in needed] if all(needed) else []


def _membership(group: str, role: str) -> str:
    return f'role "{role}" is a member of "{group}" (--member-of {quote(group)})'


def _address(line: Line, connection: Connection) -> Iterator[str]:
    client, address = connection.address, line.address
    if isinstance(address, HostName):
        name = f'a name that ends in "{address.name}"' if address.name.startswith(".") else f'the name "{address.name}"'
        yield f"{client} has {name}, both ways (--host-name)"
    elif address is Keyword.SAMEHOST and client:
        yield f"{client} is an address of the server (--interface {client}/{client.max_prefixlen})"
    elif address is Keyword.SAMENET:
        yield f"an interface of the server is in the network of {client} (--interface ADDRESS/LENGTH)"


def _covers(line: Line, connection: Connection, surroundings: Surroundings) -> bool:
    """Whether a line covers a connection. A regular expression that pgtls cannot evaluate counts as no match."""
    try:
        return decide([line], connection, surroundings) is not None
    except Undecidable:
        return False
