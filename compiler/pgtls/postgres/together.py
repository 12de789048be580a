"""Find settings that a server rejects together, although it accepts each of them alone.

The server reports that at its start, and does not start.

Source: postmaster.c (``PostmasterMain``), xlog.c and the check hooks of the settings; tested with the servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pgtls.postgres.settings import settings
from pgtls.postgres.values import amount, truth

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Clash(NamedTuple):
    """A conflict between settings.

    ``is_stated``: the spec states all of them; otherwise one is PostgreSQL's default.
    """

    name: str
    message: str
    is_stated: bool


_TARGETS = (
    "recovery_target",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_xid",
)
_STATISTICS = ("log_parser_stats", "log_planner_stats", "log_executor_stats")
_SEGMENTS = 2 * 16
"""MB: two segments of the write-ahead log, of the size that initdb makes them."""


def clashes(said: Mapping[str, str], version: int) -> Iterator[Clash]:
    """Yield the conflicts of these settings, by names in lower case. Ignore values that no version accepts."""
    yield from _minimal_log(said, version)
    yield from _reserved_connections(said, version)
    for name in ("min_wal_size", "max_wal_size"):
        size = _amount(name, said[name], version) if name in said else None
        if size is not None and size < _SEGMENTS:
            yield Clash(name, f"must be at least twice wal_segment_size, by default {_SEGMENTS}MB", is_stated=False)
    targets = [name for name in _TARGETS if said.get(name)]
    if len(targets) > 1:
        yield Clash(targets[1], f"does not go with {targets[0]}: a recovery has one target", is_stated=True)
    for name in _STATISTICS if truth(said.get("log_statement_stats", "off")) else ():
        if truth(said.get(name, "off")):
            yield Clash(name, "does not go with log_statement_stats", is_stated=True)


def _minimal_log(said: Mapping[str, str], version: int) -> Iterator[Clash]:
    """Yield the conflicts of ``wal_level = minimal`` with settings that read the log later."""
    if said.get("wal_level", "").lower() != "minimal":
        return
    senders = _amount("max_wal_senders", said.get("max_wal_senders", "10"), version)
    if senders:
        yield Clash(
            "wal_level", "must be replica or logical while max_wal_senders is above 0", "max_wal_senders" in said
        )
    for name in ("archive_mode", "summarize_wal", "sync_replication_slots"):
        if name in said and truth(said[name]) is not False:
            yield Clash("wal_level", f"must be replica or logical while {name} is on", is_stated=True)


def _reserved_connections(said: Mapping[str, str], version: int) -> Iterator[Clash]:
    defaults = {"max_connections": "100", "superuser_reserved_connections": "3", "reserved_connections": "0"}
    names = [name for name in defaults if name in settings(version)]
    most, *reserved = (_amount(name, said.get(name, defaults[name]), version) or 0 for name in names)
    stated = [name for name in names if name in said]
    if stated and sum(reserved) >= most:
        message = f"leaves no connection: {sum(reserved):.0f} of {most:.0f} are reserved"
        yield Clash(stated[0], message, is_stated=len(stated) > 1)


def _amount(name: str, text: str, version: int) -> float | None:
    return amount(settings(version)[name], text)
