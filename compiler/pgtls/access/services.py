"""Name the services over several servers, and find names of services that two servers claim."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING

from pgtls.access.bundles import LOOPBACK, REPLICATION, joined, named
from pgtls.diagnostics import Diagnostic
from pgtls.hba.model import Name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pgtls.access.model import Entry
    from pgtls.fleet.model import Fleet, Server

    Known = tuple[Entry, Mapping[str, str]]
    """An entry with its parameters."""

READ_WRITE_SERVICE, READ_ONLY_SERVICE = "read-write", "read-only"
"""What ends the names of the services over a primary and its standbys."""
OF_A_HOST = ("host", "port")
"""The parameters that differ from one server to another of a service."""


# --- several servers --------------------------------------------------------------------------------------------------


def groups(known: Sequence[Known]) -> Iterator[list[Known]]:
    """Yield what each service over several servers has: a primary, which is first, and standbys with equal demands."""
    servers = {entry.server.name: entry.server for entry, _ in known}
    if not any(server.table.standby_of in servers for server in servers.values()):
        return
    found: dict[tuple[object, ...], list[Known]] = {}
    for entry, parameters in known:
        if entry.replication or entry.hostaddr or entry.identity.place:
            continue
        rest = tuple(sorted((name, value) for name, value in parameters.items() if name not in OF_A_HOST))
        key = (_primary(entry.server, servers).name, entry.role, entry.database, rest)
        found.setdefault(key, []).append((entry, parameters))
    for (primary, *_), members in found.items():
        members.sort(key=lambda member: (member[0].server.name != primary, member[0].server.name))
        if len(members) > 1 and members[0][0].server.name == primary:
            yield members


def _primary(server: Server, servers: Mapping[str, Server]) -> Server:
    """Return the topmost server above a standby that a client may connect to."""
    while server.table.standby_of in servers:
        server = servers[str(server.table.standby_of)]
    return server


def over_several(entries: Iterable[Entry]) -> Iterator[tuple[str, tuple[Entry, ...]]]:
    """Yield each service over several servers, by its name, as if all of them made equal demands."""
    for members in groups([(entry, {}) for entry in entries]):
        for word in (READ_WRITE_SERVICE, READ_ONLY_SERVICE):
            yield f"{members[0][0].name}-{word}", tuple(entry for entry, _ in members)


# --- two servers with one name ----------------------------------------------------------------------------------------


def ambiguous(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find services of one name that dial two servers: a new server would take over a name that clients use."""
    if not _may_meet(fleet):
        return
    told = set[tuple[str, ...]]()
    for user, entries in named(fleet).items():
        claims: dict[str, dict[str, Entry]] = {}
        for name, entry in _claims(entries):
            claims.setdefault(name, {}).setdefault(entry.identity.entity, entry)
        for name, holders in claims.items():
            if len(holders) > 1 and tuple(holders) not in told:
                told.add(tuple(holders))
                server = list(holders.values())[-1].server
                yield Diagnostic(
                    "PGT151",
                    f'the bundle of user "{user}" would have two services called "{name}": '
                    f"those of {' and of '.join(holders)}",
                    (server.kind, server.name),
                    hint="rename one of the two",
                    at="table",
                )


def _may_meet(fleet: Fleet) -> bool:
    """Return whether the name of a server may be that of a service of another. Only then are bundles worth computing.

    The name of a service begins with that of its server, and goes on with a database, a role, or a word for its kind.
    """
    names = [joined(*identity.name.split("/")) for identity in fleet.identities()]
    words = {READ_WRITE_SERVICE, READ_ONLY_SERVICE, REPLICATION, LOOPBACK}
    words |= {joined(role) for user in fleet.users.values() for role in user.roles}
    words |= {
        joined(one.text) for policy in fleet.policies.values() for one in policy.databases if isinstance(one, Name)
    }
    begun = {start for word in words for start in _starts(word)}
    known = frozenset(names)
    rests = (name[len(start) + 1 :] for name in names for start in _starts(name) if start != name and start in known)
    return len(known) < len(names) or any(rest in begun or not words.isdisjoint(_starts(rest)) for rest in rests)


def _starts(name: str) -> Iterator[str]:
    """Yield what a name of several words begins with, and itself."""
    return accumulate(name.split("-"), "{}-{}".format)


def _claims(entries: Sequence[Entry]) -> Iterator[tuple[str, Entry]]:
    """Yield every name that an entry has or may get: alone, by its number, or over several servers."""
    seen = Counter[str]()
    for entry in entries:
        seen[entry.name] += 1
        yield entry.name, entry
        if seen[entry.name] > 1:
            yield f"{entry.name}-{seen[entry.name]}", entry
    yield from ((name, members[0]) for name, members in over_several(entries))
