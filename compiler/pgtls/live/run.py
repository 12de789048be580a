"""Run ``verify`` as one call: read the compiled files, connect to a server, judge the result."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from pgtls.access.question import cluster_named
from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.language.positions import locate
from pgtls.live.checks import database
from pgtls.live.checks.check import untried
from pgtls.live.compiled import OUT_OF_SIGHT, compiled, installed
from pgtls.live.handshake import Address
from pgtls.live.sql import ask, bundle_of
from pgtls.live.survey import survey
from pgtls.live.verify import is_current, is_known, judge
from pgtls.state import generations
from pgtls.state.names import LOCK_TIMEOUT, out_path
from pgtls.state.out_directory import inspect
from pgtls.state.session import looking

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pgtls.api import Spec
    from pgtls.fleet.model import Fleet
    from pgtls.live.checks.check import Check
    from pgtls.live.compiled import Compiled
    from pgtls.live.handshake import Seen
    from pgtls.live.verify import Verified
    from pgtls.pki.model import Entity
    from pgtls.stages import Checked


@dataclass(frozen=True, slots=True)
class Tree:
    """A spec without errors, with the compiled files of each of its servers, or why there are none."""

    checked: Checked
    fleet: Fleet
    compiled: dict[str, Compiled | Diagnostic]
    made: Mapping[Entity, str]
    """The generation of each entity that was last built when this was read: what can be looked at."""

    def of(self, name: str) -> Compiled:
        """Return the compiled files of a server. Raise :class:`Rejected` if it was never built."""
        found = self.compiled[name]
        if isinstance(found, Diagnostic):
            raise Rejected(found)
        return found


def loaded(spec: Spec, out: str | None = None, lock_timeout: int = LOCK_TIMEOUT) -> Tree:
    """Read the spec, the lock and the out directory. Raise :class:`Rejected` if they have errors."""
    checked = spec.checked()
    fleet, directory = checked.usable(), out_path(spec.path, out)
    inspect(directory)
    found: dict[str, Compiled | Diagnostic] = {}
    with looking(directory, lock_timeout, spec.lock if isinstance(spec.lock, str) else None):
        for server in fleet.clusters.values():
            try:
                found[server.name] = compiled(fleet, checked.entries, directory, server)
            except Rejected as rejected:
                (found[server.name],) = locate(rejected.diagnostics[:1], checked.source)
        made = {entity: past[-1].ids[-1] for entity, past in (generations.read(directory) or {}).items()}
    return Tree(checked, fleet, found, made)


def chosen(tree: Tree, name: str | None) -> tuple[str, ...]:
    """Return the servers to check. Raise :class:`Rejected` with PGT291 for a name that the spec does not have."""
    return (cluster_named(tree.fleet, name).name,) if name else tuple(tree.fleet.clusters)


def verify(
    tree: Tree, name: str, host: str | None, port: int | None, user: str | None, wait: float, now: datetime
) -> Verified | Diagnostic:
    """Check a server and judge the result. Return a diagnostic if it was never built.

    Raise :class:`Rejected` with PGT595 or PGT596 if ``user`` cannot log in.
    """
    of_server = tree.compiled[name]
    if isinstance(of_server, Diagnostic):
        return of_server
    table, lock = of_server.server.table, tree.checked.lock
    login = bundle_of(tree.fleet, of_server, user) if user else None
    address = Address(host or table.hosts[0], port or table.port)
    known, current = partial(is_known, of_server, lock), partial(is_current, of_server)
    with warnings.catch_warnings():  # cryptography's warnings about foreign certificates do not concern the user
        warnings.simplefilter("ignore")
        seen = survey(of_server, lock, address, now, known, current, wait)
        found = judge(tree.fleet, of_server, lock, seen, now)
    if login is None:
        there = _on_disk(of_server, seen.first)
        return replace(found, checks=(*found.checks, there)) if seen.first.session else found
    if not (known(seen.first) and found.is_trusted):
        reason = "the server does not prove who it is: no password and no login for it"
        return replace(found, checks=(*found.checks, untried("login", reason)))
    shown = ask(of_server, *login, Address(seen.first.peer, address.port))
    more = [database.refused(shown)] if isinstance(shown, str) else database.judge(tree.fleet, of_server, lock, shown)
    return replace(found, checks=(*found.checks, *more), connections=found.connections + 1)


def _on_disk(compiled: Compiled, first: Seen) -> Check:
    """Compare the files of a server on this machine. Without SQL, files of other machines are unreadable."""
    digests = installed(compiled) if first.own == first.peer else OUT_OF_SIGHT
    if isinstance(digests, str):
        return untried(database.FILES_THERE, digests)
    return database.files(compiled, digests, list(compiled.files))
