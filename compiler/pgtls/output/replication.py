"""Write what a server logs in to another with: a standby to its primary, a pooler to its server.

Certificate and key are those of the user's bundle, so both change in one build. A standby also gets its
``primary_conninfo``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from pgtls.access.model import Entry
from pgtls.fleet.model import Pooler
from pgtls.fleet.standbys import primary_of
from pgtls.output import connection_strings as strings
from pgtls.output.postgresql_conf import assignment, on_server
from pgtls.state import layout
from pgtls.state.tree import File, Later

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgtls.certificates.model import Existing
    from pgtls.fleet.model import Fleet, Server, User
    from pgtls.state.tree import Content, Tree


class Link(NamedTuple):
    """The connection of a standby to its primary, or of a pooler to its server.

    ``directory`` holds its files, in the directory of the ``holder``.
    """

    holder: Server
    directory: str
    user: User
    entry: Entry


def link_of(fleet: Fleet, server: Server) -> Link | None:
    """Return the connection of a server to another. Return None if it is neither a standby nor a pooler."""
    if isinstance(server, Pooler):
        if server.backend is None or server.user is None:
            return None
        return Link(server, layout.LOGIN, server.user, _entry(server.backend, server.user))
    if (found := primary_of(fleet, server)) is None:
        return None
    primary, policy = found
    (user,) = policy.users
    return Link(server, layout.REPLICATION, user, replace(_entry(primary, user), name=policy.name, policies=(policy,)))


def _entry(server: Server, user: User) -> Entry:
    return Entry(
        name=server.name,
        server=server,
        identity=server,
        role=user.roles[0],
        database=None,  # the standby or the pooler requests it
        sslmode="verify-full",
        certificate=True,
        channel_binding=None,
        hostaddr=None,
        policies=(),
    )


def primary_conninfo(link: Link) -> str:
    """Return the fragment to include in postgresql.conf. Its paths are absolute, or relative to the data directory."""
    standby, user = link.holder, link.user
    # The libpq of a standby has the version of its server, regardless of the clients.
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
    """Return the copies of certificates and keys for standbys and poolers: those that stay, and those to write."""
    return {
        path: File(_planned(path, source, file, existing), file.mode, file.kind, holder.entity)
        for holder, path, source, file in _copies(fleet, tree)
    }


def copied(fleet: Fleet, tree: Tree, plan: Tree, read: Callable[[str], bytes | None]) -> Tree:
    """Return the copies of a tree whose other files are known. ``read`` returns a file that stays."""

    def content(path: str, source: str, file: File) -> Content:
        if isinstance(file.content, Later) and plan[path].content is Later.PENDING:
            return read(source) or b""
        return file.content

    return {
        path: File(content(path, source, file), file.mode, file.kind, holder.entity)
        for holder, path, source, file in _copies(fleet, tree)
    }


def _planned(path: str, source: str, file: File, existing: Existing) -> Content:
    """Return the content of a copy. For a key that no build step read, return whether the copy stays."""
    if file.content is not Later.KEPT:
        return file.content
    same = existing.keeps(path) and existing.keeps(source)
    return Later.KEPT if same and existing.listed[path].sha256 == existing.listed[source].sha256 else Later.PENDING


def _copies(fleet: Fleet, tree: Tree) -> Iterator[tuple[Server, str, str, File]]:
    """Yield each standby and pooler with the path of a copy, and path and file of the original."""
    for server in fleet.servers.values():
        if link := link_of(fleet, server):
            for name in (layout.CLIENT_CERTIFICATE, layout.CLIENT_KEY):
                source = layout.path(link.user.entity, name)
                if source in tree:
                    yield server, layout.path(server.entity, f"{link.directory}/{name}"), source, tree[source]
