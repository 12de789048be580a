"""The pipeline, on one screen: each command is a prefix of the next.

load -> resolve -> check -> access (rules, proof)            ``check``
     -> observe -> decide                                    ``status``
     -> render -> plan                                       ``plan``
     -> issue -> render -> commit                            ``build``
"""

from __future__ import annotations

import os
from dataclasses import replace
from secrets import token_hex
from typing import TYPE_CHECKING

from pgtls import __version__
from pgtls.access.rules import has_secret_options, independent, rules_by_server
from pgtls.certificates import issue
from pgtls.certificates.decide import decide
from pgtls.certificates.desired import wanted
from pgtls.certificates.lock_changes import restored, revocations
from pgtls.certificates.model import Issue
from pgtls.certificates.observe import keyring, locked_keys, nothing_to_build_on, observe
from pgtls.certificates.passphrases import to_try, unopened
from pgtls.certificates.retired_cas import files as retired_files
from pgtls.certificates.secrets import Secrets
from pgtls.certificates.supplied import adapted, gather, taken_keys
from pgtls.certificates.trust import unsigned_cas, without_client_cas
from pgtls.diagnostics import Rejected, errors
from pgtls.fleet.checks import judge
from pgtls.fleet.checks.waivers import bare
from pgtls.fleet.files import kept_outside
from pgtls.fleet.resolve import resolve
from pgtls.language.load import load
from pgtls.language.positions import locate
from pgtls.output import render
from pgtls.plan.due import next_due
from pgtls.plan.plan import plan as make_plan
from pgtls.rollout.rollover import recorded
from pgtls.rollout.verdict import verdict
from pgtls.stages import Checked, Decided, Planned, Progress, Request, no_progress
from pgtls.state import lock as locks
from pgtls.state.known_lock import compare
from pgtls.state.lock_file import own_files
from pgtls.state.manifest import Entry, Inputs, Manifest, entries
from pgtls.state.mutex import exclusive, shared
from pgtls.state.out_directory import check_lock_path, check_owner, check_untracked, inspect
from pgtls.state.transaction import LockChange, commit, foresee, recover, refuse_pending
from pgtls.state.up_to_date import input_digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from pgtls.access.model import Entry as ClientEntry
    from pgtls.access.model import Rules
    from pgtls.certificates.model import Existing
    from pgtls.fleet.model import Fleet
    from pgtls.language.files import Files
    from pgtls.plan.status import Status
    from pgtls.state.lock import Lock
    from pgtls.state.tree import Tree

__all__ = [
    "Checked",
    "Decided",
    "Planned",
    "Progress",
    "Request",
    "build",
    "check",
    "decided",
    "no_progress",
    "plan",
    "status",
]


def check(spec: Path, now: datetime, lock: str | Path | bytes, files: Files | None = None) -> Checked:
    """Load, resolve, validate, compile the rules of every server and prove them.

    ``lock`` is a path, or what the lock holds. ``files`` are what to read, if not the disk.
    """
    loaded = load(spec, files)
    known, damage = locks.read_any(lock)
    found = list(loaded.diagnostics)
    fleet: Fleet | None = None
    rules: dict[str, Rules] = {}
    if loaded.loaded is not None:
        fleet, later = resolve(loaded.loaded, now, loaded.faulty)
        found += loaded.unaffected(later)
    if fleet is not None:
        part, checked = judge(fleet, loaded.faulty, loaded.diagnostics)
        # A table that could not be read may be what a warning misses.
        found += errors(loaded.unaffected(checked)) if errors(loaded.diagnostics) else checked
        rules, faults = rules_by_server(part, known.alive(now), known.unexpired(now), provable=not errors(found))
        found += independent(loaded.unaffected(faults), errors(found)) if errors(found) else faults
    if fleet is not None and not errors(found):
        found += bare(fleet, [diagnostic for diagnostic in found if diagnostic.accepted])
    placed = (*damage, *locate(found, loaded.source))
    waived = tuple(diagnostic for diagnostic in placed if diagnostic.accepted)
    standing = tuple(diagnostic for diagnostic in placed if not diagnostic.accepted)
    return Checked(loaded.source, fleet, rules, known, standing, waived)


def plan(request: Request) -> Planned:
    """Plan a build. Raise :class:`Rejected` where the spec, the lock or the out directory forbids it."""
    _check_directory(request)
    with shared(request.out, request.lock_timeout):
        refuse_pending(request.out)
        planned = _plan(request)
        if not planned.existing.from_lock:
            foresee(request.out, {path: c.file for path, c in planned.plan.changes.items()}, planned.plan.deletions)
        return planned


def decided(request: Request) -> Decided:
    """Check, observe and decide; the caller holds the mutex. Raise :class:`Rejected` for errors in spec or lock."""
    checked = check(request.spec, request.now, request.lock, request.files)
    fleet = checked.usable()
    secrets = Secrets(fleet, sealed=request.sealed)
    outside = gather(fleet, secrets, dict(request.asked.ca_keys))
    profiles = adapted(wanted(fleet), outside)
    own = own_files(request.lock, request.out)
    allowed, drift = request.asked.allow_revoke, compare(request.out, checked.lock)
    lock = restored(checked.lock, drift, request.now, allowed=allowed)
    existing = observe(
        request.out,
        lock,
        profiles,
        outside,
        secrets,
        own=own,
        new_out=request.new_out,
        drift=drift,
        review=request.review,
    )
    if allowed:
        existing = replace(existing, forgotten=revocations(checked.lock, drift, request.now))
    decisions = decide(fleet, profiles, existing, request.asked)
    order = verdict(fleet, checked.entries, decisions, existing, accepted=request.asked.accept_outage)
    taken = taken_keys(outside, existing.lock, request.out)
    blind = without_client_cas(fleet, unsigned_cas(fleet, decisions.certificates))
    found = (
        *(*existing.diagnostics, *existing.outside.diagnostics, *taken),
        *(*decisions.diagnostics, *order.diagnostics, *blind),
    )
    diagnostics = (*checked.diagnostics, *locate(found, checked.source))
    return Decided(checked, fleet, secrets, existing, decisions, order, diagnostics)


def status(request: Request) -> Status:
    """Describe every certificate and CRL, and open no key. Raise :class:`Rejected` for errors in spec or lock."""
    from pgtls.plan.status import describe

    with shared(request.out, request.lock_timeout):
        refuse_pending(request.out)
        state = decided(replace(request, sealed=True))
    found, waived = state.diagnostics, state.checked.waived
    return describe(state.fleet, state.checked.entries, state.decisions, state.existing, found, waived)


def _check_directory(request: Request) -> None:
    """Refuse an out directory that is not ours alone: of another program, of another user, or of the repository."""
    own = own_files(request.lock, request.out)
    inspect(request.out, own)
    check_owner(request.out)
    check_untracked(request.out, own)


def _plan(request: Request) -> Planned:
    state = decided(request)
    checked, fleet, existing, decisions = state.checked, state.fleet, state.existing, state.decisions
    rules, diagnostics = checked.rules, state.diagnostics
    if errors(diagnostics):
        raise Rejected(*diagnostics)
    if not existing.from_lock and has_secret_options(fleet) and not request.sealed:
        lock, secret = checked.lock, state.secrets.option
        rules, faults = rules_by_server(fleet, lock.alive(fleet.now), lock.unexpired(fleet.now), secret)
        if errors(faults):
            raise Rejected(*locate(faults, checked.source))
    entries = checked.entries
    texts = render.texts(fleet, rules, entries, unsigned_cas(fleet, decisions.certificates))
    tree = _tree(fleet, entries, existing, texts, issue.planned(decisions, existing))
    steps = make_plan(fleet, decisions, state.verdict.cut_off, tree, existing)
    touched = {change.file.entity for change in steps.changes.values()}
    locked = locked_keys(to_try(decisions, touched, existing), existing, state.secrets)
    diagnostics += locate(unopened(fleet, decisions, locked), checked.source)
    if errors(diagnostics):
        raise Rejected(*diagnostics)
    return Planned(checked, fleet, existing, decisions, state.verdict, state.secrets, texts, steps, diagnostics)


def build(request: Request, progress: Progress = no_progress) -> Planned:
    """Compile the spec into the out directory; the plan is what was done. On :class:`Rejected`, nothing changed."""
    check_lock_path(request.lock, str(request.spec), request.out)
    _check_directory(request)
    with exclusive(request.out, request.lock_timeout):
        recover(request.out, request.lock)
        planned = _plan(request)
        if planned.existing.from_lock:
            raise Rejected(nothing_to_build_on(request.out))
        _carry_out(request, planned, progress)
        return planned


def _carry_out(request: Request, planned: Planned, progress: Progress) -> None:
    decisions, existing, fleet = planned.decisions, planned.existing, planned.fleet
    issuing = sum(isinstance(decision, Issue) for decision in decisions.certificates.values())
    keys = keyring(decisions, existing, planned.secrets)
    material = issue.carry_out(decisions, existing, keys, request.now, request.jobs, progress("issuing", issuing))
    tree = _tree(fleet, planned.checked.entries, existing, planned.texts, material)
    final = make_plan(fleet, decisions, planned.verdict.cut_off, tree, existing)
    lock = _lock_after(planned, material)
    changes = {path: change.file for path, change in final.changes.items()}
    commit(
        request.out,
        changes,
        final.deletions,
        lambda stats: _manifest(
            request, planned, lock, entries(request.out, tree, changes, stats, existing.kept)
        ).render(),
        LockChange(request.lock, lock.render(), planned.checked.lock.digest),
        private={path.rpartition("/")[0] for path, file in tree.items() if file.kind == "key"},
        progress=progress("writing", len(changes)),
    )


def _tree(
    fleet: Fleet,
    entries: Mapping[str, Sequence[ClientEntry]],
    existing: Existing,
    texts: Tree,
    material: issue.Material,
) -> Tree:
    """Put the whole out directory together; ``entries`` are by user."""
    issued = render.material(fleet, entries, material.credentials, material.crls)
    return {**texts, **retired_files(fleet, existing, material.retired), **issued}


def _lock_after(planned: Planned, material: issue.Material) -> Lock:
    lock, decisions = planned.existing.lock, planned.decisions
    named = lock if lock.id else replace(lock, id=token_hex(16))
    issued = recorded(material.lines, planned.fleet, planned.checked.entries, decisions.certificates, lock)
    return named.with_lines(*issued, *decisions.revocations)


def _manifest(request: Request, planned: Planned, lock: Lock, files: Mapping[str, Entry]) -> Manifest:
    """Describe the build. Without a digest the next build does not take itself for having nothing to do."""
    checked, decisions = planned.checked, planned.decisions
    assert lock.id is not None  # noqa: S101
    again = decisions.waiting or planned.verdict.retirable or kept_outside(planned.fleet)
    digest = "" if again else input_digest(checked.digest, lock.render())
    return Manifest(
        version=__version__,
        lock_id=lock.id,
        spec=os.path.basename(request.spec),
        inputs=Inputs(digest, checked.source.patterns, checked.files),
        built=request.now,
        next_due=next_due(planned.fleet, decisions),
        files=files,
    )
