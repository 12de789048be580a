"""Standbys: whom they replicate, as whom, and whether both servers and that user allow it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.fleet.fields import finder, header

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Fleet, Server


def circles(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find servers that replicate themselves, by themselves or by way of others."""
    for server in fleet.servers.values():
        way = _way(fleet, server)
        if len(way) > 1 and way[-1] == server.name:
            others = " -> ".join(f'"{name}"' for name in way)
            message = f'server "{server.name}" is a standby of itself'
            message += f": {others}" if len(way) > 2 else ""
            hint = "delete standby_of from the server that is the primary"
            yield finder(fleet, server).fault("PGT286", message, "standby_of", hint=hint)


def _way(fleet: Fleet, server: Server) -> list[str]:
    """Return the names from a standby up to its primary, or to the first that comes again."""
    way = [server.name]
    while (above := fleet.servers[way[-1]].table.standby_of) in fleet.servers:
        way.append(str(above))
        if above in way[:-1]:
            break
    return way


def pairs(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find standbys without a user that replicates, and such users without a primary."""
    for server in fleet.servers.values():
        table, found = server.table, finder(fleet, server)
        if table.standby_of and not table.replication_user:
            message = f'server "{server.name}" is a standby of "{table.standby_of}", and has no replication_user'
            hint = "name the user that it replicates as: replication_user = NAME"
            yield found.fault("PGT287", message, "standby_of", hint=hint)
        elif table.replication_user and not table.standby_of and found.says("replication_user"):
            message = f'server "{server.name}" has a replication_user, and is no standby'
            hint = "name the server that it replicates: standby_of = NAME; or delete replication_user"
            yield found.fault("PGT287", message, "replication_user", hint=hint)


def users(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find users that a standby cannot log in as; policies.py finds those without an accepted certificate."""
    for server in fleet.servers.values():
        name = server.table.replication_user
        if not server.table.standby_of or not name:
            continue
        ended, user = fleet.ended_users.get(name), fleet.users.get(name)
        if ended:
            end = f"{ended.table.until:%Y-%m-%d}"
            message = f'user "{name}", as which server "{server.name}" replicates, ended at {end}'
            hint = f"set a later until in {header('user', name)}, or name another user"
            yield finder(fleet, server).fault("PGT288", message, "replication_user", hint=hint)
        elif user and user.table.passphrase is not None:
            message = f'the key of user "{name}" has a passphrase, which server "{server.name}" cannot enter'
            hint = f"delete passphrase from {header('user', name)}, or name a user of its own"
            yield finder(fleet, server).fault("PGT288", message, "replication_user", hint=hint)


def other_versions(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find standbys of another major version than their primary."""
    for server in fleet.servers.values():
        primary = fleet.servers.get(server.table.standby_of) if server.table.standby_of else None
        if primary and primary.table.postgres != server.table.postgres:
            message = (
                f'server "{server.name}" has PostgreSQL {server.table.postgres}, and its primary "{primary.name}" has '
                f"{primary.table.postgres}: physical replication needs the same major version"
            )
            hint = f"set postgres = {primary.table.postgres} in {header('server', server.name)}"
            yield finder(fleet, server).fault("PGT289", message, "standby_of", hint=hint)


PRESENT = (circles, pairs, users, other_versions)
