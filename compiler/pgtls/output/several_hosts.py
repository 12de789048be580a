"""Connect to a primary and its standbys at once: the client chooses the server with the role that it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pgtls.postgres.libpq import LONGEST_DIRECTORY, PREFER_STANDBY_SINCE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pgtls.access.model import Entry
    from pgtls.fleet.model import Server, User

    Known = tuple[Entry, Mapping[str, str]]
    """An entry with its parameters."""


class Target(NamedTuple):
    """Which server of several a client wants, in the words of libpq and of pgjdbc."""

    name: str
    libpq: Mapping[str, str]
    jdbc: Mapping[str, str]


READ_WRITE = Target("read-write", {"target_session_attrs": "read-write"}, {"targetServerType": "primary"})
READ_ONLY = Target(
    "read-only",
    {"target_session_attrs": "prefer-standby", "load_balance_hosts": "random"},
    {"targetServerType": "preferSecondary", "loadBalanceHosts": "true"},
)


class Several(NamedTuple):
    """One connection to several servers: the entries of all, the primary's first."""

    name: str
    entries: tuple[Entry, ...]
    target: Target
    parameters: Mapping[str, str]


def several(user: User, known: Sequence[Known]) -> Iterator[Several]:
    """Yield the connections to a primary and all of its standbys with equal demands on the client."""
    taken = {entry.name for entry, _ in known}
    for members in _groups(known):
        entries, parameters = zip(*members, strict=True)
        hosts = {key: ",".join(one[key] for one in parameters) for key in _OF_A_HOST}
        if len(hosts["host"].encode()) > LONGEST_DIRECTORY:
            continue  # pg_service.conf cannot contain it
        for target in (READ_WRITE, READ_ONLY):
            name = f"{entries[0].name}-{target.name}"
            if name not in taken:
                yield Several(name, entries, target, {**parameters[0], **hosts, **_chosen(target, user.table.libpq)})


def _chosen(target: Target, version: int) -> dict[str, str]:
    from pgtls.postgres.libpq import parameters

    chosen = {name: value for name, value in target.libpq.items() if name in parameters(version)}
    return (
        chosen | {"target_session_attrs": "any"} if target is READ_ONLY and version < PREFER_STANDBY_SINCE else chosen
    )


_OF_A_HOST = ("host", "port")


def _groups(known: Sequence[Known]) -> Iterator[list[Known]]:
    servers = {entry.server.name: entry.server for entry, _ in known}
    if not any(server.table.standby_of in servers for server in servers.values()):
        return
    groups: dict[tuple[object, ...], list[Known]] = {}
    for entry, parameters in known:
        if entry.replication or entry.hostaddr or entry.identity.place:
            continue
        rest = tuple(sorted((name, value) for name, value in parameters.items() if name not in _OF_A_HOST))
        groups.setdefault((_primary(entry.server, servers).name, entry.role, entry.database, rest), []).append(
            (entry, parameters)
        )
    for (primary, *_), members in groups.items():
        members.sort(key=lambda member: (member[0].server.name != primary, member[0].server.name))
        if len(members) > 1 and members[0][0].server.name == primary:
            yield members


def _primary(server: Server, servers: Mapping[str, Server]) -> Server:
    """Return the topmost server above a standby that a client may connect to."""
    while server.table.standby_of in servers:
        server = servers[str(server.table.standby_of)]
    return server
