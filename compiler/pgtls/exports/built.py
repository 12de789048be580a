"""What the last build made of entities, for exports that carry its files elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from pgtls.access.question import cluster_named
from pgtls.api import request
from pgtls.certificates.opening import content
from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.language.words import did_you_mean
from pgtls.pipeline import plan
from pgtls.state import layout
from pgtls.state.names import LOCK_TIMEOUT
from pgtls.state.session import looking
from pgtls.store.opened import opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pgtls.access.model import Entry, Rules
    from pgtls.api import Spec
    from pgtls.fleet.model import Fleet, Server, User
    from pgtls.pki.model import Entity
    from pgtls.stages import Planned

SECRET, PUBLIC = layout.SECRET, layout.PUBLIC


class Exported(NamedTuple):
    """A file of an export. ``mode`` is :data:`SECRET` if it holds a key or another secret."""

    content: bytes
    mode: int


@dataclass(frozen=True, slots=True)
class Built:
    """The files of some entities in the out directory, which is what the spec says."""

    fleet: Fleet
    rules: Mapping[str, Rules]
    """By server, with the texts as they are built: secret options included."""
    entries: Mapping[str, Sequence[Entry]]
    files: Mapping[str, bytes] = field(repr=False)
    """By path below the out directory."""
    diagnostics: tuple[Diagnostic, ...]

    def file(self, entity: Entity, name: str) -> bytes | None:
        """Return the content of an entity's file. Return None if the build wrote none of this name."""
        return self.files.get(layout.path(entity, name))

    def below(self, entity: Entity, directory: str) -> dict[str, bytes]:
        """Return the files of a directory in an entity's directory, by name."""
        start = layout.path(entity, f"{directory}/")
        return {path.removeprefix(start): file for path, file in self.files.items() if path.startswith(start)}


def built(spec: Spec, out: str, entities: Sequence[Entity], lock_timeout: int = LOCK_TIMEOUT) -> Built:
    """Read what the last build made of entities.

    Raise :class:`Rejected` with PGT660 if the out directory is missing, or if a build would change one of their files;
    with PGT518, PGT650 or PGT652 if a key does not open, or is not the one that belongs there.
    """
    planned = plan(request(spec, out, lock_timeout=lock_timeout))
    if planned.existing.from_lock:
        missing = _stale(f'the out directory "{out}" does not exist')
        listed = planned.existing.lock.issued
        raise Rejected(replace(missing, hint="name the out directory with --out") if listed else missing)
    outdated = [path for entity in entities for path in _pending(planned, entity)]
    if outdated:
        raise Rejected(_stale(f'"{outdated[0]}" is not what the spec says{_more(len(outdated) - 1)}'))
    with looking(out, lock_timeout):
        found = {path: _read(planned, out, path) for entity in entities for path in _listed(planned, entity)}
    files = opened(found, planned.existing.listed, planned.secrets.decrypted)
    rules = {name: _with_texts(rules, files) for name, rules in planned.checked.rules.items()}
    return Built(planned.fleet, rules, planned.checked.entries, files, planned.diagnostics)


def named(fleet: Fleet, entities: Sequence[str]) -> tuple[list[Server], list[User]]:
    """Return servers and users by ``server.NAME`` and ``user.NAME``; all of both if nothing is named.

    Raise :class:`Rejected` (PGT291) for an unknown one or a pooler, ValueError for what is neither.
    """
    if not entities:
        return list(fleet.clusters.values()), list(fleet.users.values())
    servers, users = [], []
    for entity in entities:
        kind, _, name = entity.partition(".")
        if kind == "server":
            servers.append(cluster_named(fleet, name))
        elif kind == "user":
            users.append(user_named(fleet, name))
        else:
            raise ValueError(f"{entity}: write server.NAME or user.NAME")
    return servers, users


def user_named(fleet: Fleet, name: str, hint: str = "") -> User:
    """Return a user by name. Raise :class:`Rejected` (PGT291) for an unknown one."""
    if name not in fleet.users:
        near = did_you_mean(name.removeprefix("user."), fleet.users)
        hints = filter(None, (near and f'did you mean "{near}"?', hint))
        raise Rejected(Diagnostic("PGT291", f'the spec has no user "{name}"', hint=" ".join(hints) or None))
    return fleet.users[name]


def unexportable(found: Built, server: Server) -> Iterator[Diagnostic]:
    """Yield what keeps the files of a server out of Secrets."""
    where = ("server", server.name)
    if server.sni:
        message = f'server "{server.name}" has further identities (sni), which this export cannot carry'
        yield Diagnostic("PGT663", message, (*where, "sni"), "use a server for each identity")
    for name in (layout.SERVER_CERTIFICATE, layout.SERVER_KEY):
        if found.file(server.entity, name) is None:
            message = f'the out directory has no {name} of server "{server.name}"'
            hint = "a certificate that waits needs its signature first; a key that is elsewhere cannot be exported"
            yield Diagnostic("PGT663", message, where, hint, at="table")


def without_directory(server: Server) -> Iterator[Diagnostic]:
    """Yield a server whose settings do not say where its files are in a container."""
    if server.table.directory is None:
        message = f'server "{server.name}" has no directory: its settings must name where the container has its files'
        hint = 'add where, e.g. directory = "/etc/pgtls"'
        yield Diagnostic("PGT665", message, ("server", server.name), hint, at="table")


def _pending(planned: Planned, entity: Entity) -> Iterator[str]:
    """Yield the files of an entity that a build would write or delete."""
    start = layout.directory(entity) + "/"
    return (path for path in (*planned.plan.changes, *planned.plan.deletions) if path.startswith(start))


def _listed(planned: Planned, entity: Entity) -> Iterator[str]:
    start = layout.directory(entity) + "/"
    return (path for path in sorted(planned.existing.listed) if path.startswith(start))


def _read(planned: Planned, out: str, path: str) -> bytes:
    found = content(out, path)
    if found is None or sha256(found).hexdigest() != planned.existing.listed[path].sha256:
        raise Rejected(_stale(f'"{path}" changed while it was read'))
    return found


def _with_texts(rules: Rules, files: Mapping[str, bytes]) -> Rules:
    """Return rules with their texts as built. Servers that are not exported keep theirs."""
    hba, ident = (files.get(layout.path(rules.server.entity, name)) for name in (layout.HBA, layout.IDENT))
    if hba is None:
        return rules
    return replace(rules, hba_text=hba.decode(), ident_text=(ident or b"").decode())


def _stale(reason: str) -> Diagnostic:
    return Diagnostic("PGT660", reason, hint="run pgtls build first: an export carries what the last build made")


def _more(count: int) -> str:
    return f", nor are {count} more files" if count > 1 else ", nor is 1 more file" if count else ""
