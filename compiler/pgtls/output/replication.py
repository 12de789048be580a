"""What a standby logs in to its primary with: the replication user's certificate and key, and ``primary_conninfo``.

Certificate and key are those of the user's bundle, so both change in one build.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from pgtls.access.model import Entry
from pgtls.fleet.standbys import primary_of
from pgtls.output import connection_strings as strings
from pgtls.output.postgresql_conf import assignment, on_server
from pgtls.state import layout
from pgtls.state.tree import File, Later

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgtls.certificates.model import Existing
    from pgtls.fleet.model import Fleet, Server, User
    from pgtls.state.tree import Tree


class Link(NamedTuple):
    """How a standby reaches its primary."""

    standby: Server
    user: User
    entry: Entry


def link_of(fleet: Fleet, standby: Server) -> Link | None:
    """Return how a server reaches its primary; None if it is no standby."""
    if (found := primary_of(fleet, standby)) is None:
        return None
    primary, policy = found
    (user,) = policy.users
    entry = Entry(
        name=policy.name,
        server=primary,
        identity=primary,
        role=user.roles[0],
        database=None,  # the server itself asks for replication
        sslmode="verify-full",
        certificate=True,
        channel_binding=None,
        hostaddr=None,
        policies=(policy,),
    )
    return Link(standby, user, entry)


def primary_conninfo(link: Link) -> str:
    """Return the fragment to include in postgresql.conf; its paths are absolute, or lie in the data directory."""
    standby, user = link.standby, link.user
    # The libpq of a standby is that of its version, whatever the clients have.
    settled = {"directory": on_server(standby, layout.REPLICATION), "libpq": standby.table.postgres}
    there = replace(user, table=user.table.model_copy(update=settled))
    value = strings.key_value(strings.parameters(there, link.entry))
    return (
        f"# Written by pgtls from {standby.entity}: do not edit, change the spec and build again.\n"
        "# Name this file in postgresql.conf with include_if_exists: once this server is promoted, it is gone.\n"
        "# A primary_conninfo in postgresql.auto.conf takes precedence.\n"
        f"{assignment('primary_conninfo', value)}\n"
    )


def planned(fleet: Fleet, tree: Tree, existing: Existing) -> Tree:
    """Return the copies of certificates and keys for the standbys of a tree: those that stay, and those to write."""
    return {
        path: File(_planned(path, source, file, existing), file.mode, file.kind, standby.entity)
        for standby, path, source, file in _copies(fleet, tree)
    }


def copied(fleet: Fleet, tree: Tree, plan: Tree, read: Callable[[str], bytes | None]) -> Tree:
    """Return the copies of a tree whose other files are known; ``read`` returns a file that stays as it is."""

    def content(path: str, source: str, file: File) -> bytes | Later:
        if file.content is Later.KEPT and plan[path].content is not Later.KEPT:
            return read(source) or b""
        return file.content

    return {
        path: File(content(path, source, file), file.mode, file.kind, standby.entity)
        for standby, path, source, file in _copies(fleet, tree)
    }


def _planned(path: str, source: str, file: File, existing: Existing) -> bytes | Later:
    """Return what a copy holds. Of a key that nobody had to read: that it stays, if it is the same."""
    if file.content is not Later.KEPT:
        return file.content
    same = existing.keeps(path) and existing.keeps(source)
    return Later.KEPT if same and existing.listed[path].sha256 == existing.listed[source].sha256 else Later.PENDING


def _copies(fleet: Fleet, tree: Tree) -> Iterator[tuple[Server, str, str, File]]:
    """Yield each standby with the path of a copy, and path and file of what it is a copy of."""
    for standby in fleet.servers.values():
        if link := link_of(fleet, standby):
            for name in (layout.CLIENT_CERTIFICATE, layout.CLIENT_KEY):
                source = layout.path(link.user.entity, name)
                if source in tree:
                    yield standby, layout.replication_path(standby.entity, name), source, tree[source]
