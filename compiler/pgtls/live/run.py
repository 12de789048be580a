"""Run ``verify`` as one call: read the compiled files, connect to a server, judge the result."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING

from pgtls.access.question import cluster_named
from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.language.positions import locate
from pgtls.live.chain import Trust, out_of_date, refusal, served
from pgtls.live.checks import database, last_build
from pgtls.live.checks.check import Check, untried
from pgtls.live.compiled import OUT_OF_SIGHT, compiled, installed, revoked_in, with_past
from pgtls.live.handshake import Address, Seen
from pgtls.live.revoked import unlisted
from pgtls.live.sql import ask, login_of
from pgtls.live.survey import survey
from pgtls.live.verify import doubt, is_current, judge
from pgtls.state import deployed, generations
from pgtls.state.names import LOCK_TIMEOUT, out_path
from pgtls.state.out_directory import inspect
from pgtls.state.session import looking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from pgtls.api import Spec
    from pgtls.fleet.model import Fleet
    from pgtls.live.compiled import Compiled
    from pgtls.live.sql import Login
    from pgtls.live.survey import Survey
    from pgtls.live.verify import Verified
    from pgtls.pki.model import Entity
    from pgtls.stages import Checked
    from pgtls.state.deployed import Evidence


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
    revoked = cache(revoked_in)
    lock = spec.lock if isinstance(spec.lock, str) else None
    with looking(directory, lock_timeout, lock):
        history = generations.read(directory) or {}
        known = _known(lock, directory, spec.now)
        for server in fleet.clusters.values():
            try:
                here = compiled(fleet, checked.entries, directory, server, revoked(directory))
                past = history.get(server.entity)
                found[server.name] = with_past(here, past, known.get(server.entity), spec.now) if past else here
            except Rejected as rejected:
                (found[server.name],) = locate(rejected.diagnostics[:1], checked.source)
        made = {entity: past[-1].ids[-1] for entity, past in history.items()}
    return Tree(checked, fleet, found, made)


def _known(lock: str | None, out: str, now: datetime) -> Mapping[Entity, Evidence]:
    """Return the evidence of this machine. If it cannot be read, recording says so."""
    try:
        return deployed.read(lock, out, now).own if lock else {}
    except Rejected:
        return {}


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
    login = login_of(tree.fleet, of_server, user) if user else None
    address = Address(host or table.hosts[0], port or table.port)
    is_ours = partial(_is_ours, tree)
    with warnings.catch_warnings():  # cryptography's warnings about foreign certificates do not concern the user
        warnings.simplefilter("ignore")
        seen = survey(of_server, lock, address, now, is_ours, partial(is_current, of_server), wait)
        found = judge(tree.fleet, of_server, lock, seen, now)
        lists = _lists(of_server, login, seen, is_ours, now) if login else b""
        unsure = unlisted(tree.fleet, login.dialled, lock, now) if login and isinstance(lists, bytes) else None
        if unsure:
            lists = database.withheld(f"certificate {unsure} is revoked, and no CRL lists it yet")
    logs_in = login is not None and isinstance(lists, bytes)
    more = tuple(_further(tree, of_server, login, lists, Address(seen.first.peer, address.port), seen))
    checks = (*found.checks, *more)
    proof = last_build.unproven(tree.fleet, of_server, lock, seen, checks)
    return replace(found, checks=(*checks, *proof), connections=found.connections + logs_in)


def _further(
    tree: Tree, compiled: Compiled, login: Login | None, lists: bytes | Check, address: Address, seen: Survey
) -> Iterable[Check]:
    """Check what only a login shows, or, without one, the files on this machine."""
    if login is None:
        return [_on_disk(compiled, seen.first)] if seen.first.session else []
    if not isinstance(lists, bytes):
        return [lists]
    shown = ask(login, address, lists)
    if isinstance(shown, str):
        return [database.refused(shown)]
    return database.judge(tree.fleet, compiled, tree.checked.lock, shown)


def _is_ours(tree: Tree, compiled: Compiled, seen: Seen) -> bool:
    return doubt(tree.fleet, compiled, tree.checked.lock, seen) is None


def _lists(
    compiled: Compiled, login: Login, survey: Survey, is_ours: Callable[[Compiled, Seen], bool], now: datetime
) -> bytes | Check:
    """Return the CRLs for a login, or why there is none.

    Another than the one that was seen may answer the login. So it checks CRLs even if the bundle has none: those of the
    out directory, if they are of all CAs above the certificate. OpenSSL wants all of them or none: only where one is
    missing does a login go on without any, and not if another one is out of date.
    """
    unproven = untried("login", "the server does not prove who it is: no password and no login for it")
    host = ("host", login.entry.identity.table.hosts[0])
    seen = survey.first if login.dialled is compiled else survey.seen.get(host, Seen())
    trust, chain = login.bundle.trust, seen.session.chain if seen.session else ()
    if not (is_ours(compiled, survey.first) and is_ours(login.dialled, seen)) or trust is None:
        return unproven
    if refusal(chain, trust, now) is not None:
        return unproven
    if trust.roots is None or trust.lists:
        return trust.lists
    listed = login.dialled.lists
    refused = refusal(chain, Trust(trust.roots, listed), now)
    if refused and refused.lacks_crl:
        if all(any(one.is_about(each) for one in compiled.listed) for each in served(seen)):
            return database.withheld("it presents a certificate of another CA than the spec names")
        listed, refused = b"", out_of_date(listed, now)
    return database.withheld(refused.reason) if refused else listed


def _on_disk(compiled: Compiled, first: Seen) -> Check:
    """Compare the files of a server on this machine. Without SQL, files of other machines are unreadable."""
    digests = installed(compiled) if first.own == first.peer else OUT_OF_SIGHT
    if isinstance(digests, str):
        return untried(database.FILES_THERE, digests)
    return database.files(compiled, digests, list(compiled.files))
