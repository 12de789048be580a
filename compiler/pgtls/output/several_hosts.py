"""Connect to a primary and its standbys at once: the client chooses the server with the role that it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pgtls.access.services import OF_A_HOST, READ_ONLY_SERVICE, READ_WRITE_SERVICE, groups
from pgtls.postgres.libpq import LONGEST_DIRECTORY, PREFER_STANDBY_SINCE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pgtls.access.model import Entry
    from pgtls.access.services import Known
    from pgtls.fleet.model import User


class Target(NamedTuple):
    """Which server of several a client wants, in the words of libpq and of pgjdbc."""

    name: str
    libpq: Mapping[str, str]
    jdbc: Mapping[str, str]


READ_WRITE = Target(READ_WRITE_SERVICE, {"target_session_attrs": "read-write"}, {"targetServerType": "primary"})
READ_ONLY = Target(
    READ_ONLY_SERVICE,
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
    for members in groups(known):
        entries, parameters = zip(*members, strict=True)
        hosts = {key: ",".join(one[key] for one in parameters) for key in OF_A_HOST}
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
