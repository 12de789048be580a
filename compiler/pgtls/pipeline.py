"""The pipeline, on one screen: each command is a prefix of the next.

load -> judge -> compile, prove              ``check``
     -> observe -> decide                    ``status``
     -> render -> plan                       ``plan``
     -> sign, decide and plan again          where others sign
     -> issue -> render -> commit            ``build``

A function imports the stages that it adds, so that a command loads no more than its own.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from pgtls.access.rules import compiled, rules_by_server, with_secrets
from pgtls.diagnostics import Rejected, errors, refuse
from pgtls.fleet.resolve import judged
from pgtls.language.load import load
from pgtls.language.positions import locate
from pgtls.stages import Checked, Decided, Planned, Progress, Request, manifest, no_progress
from pgtls.state.lock import read_any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from pgtls.certificates.asked import Asked
    from pgtls.certificates.model import Existing
    from pgtls.certificates.secrets import Secrets
    from pgtls.language.files import Files
    from pgtls.pki.model import Entity, Profile
    from pgtls.plan.status import Status
    from pgtls.state.deployed import Evidence, Witness
    from pgtls.state.tree import Tree


def check(
    spec: Path, now: datetime, lock: str | Path | bytes, files: Files | None = None, *, proven: bool = True
) -> Checked:
    """Load, resolve, validate, compile the rules of every server and prove them.

    ``lock`` is a path, or what the lock holds. ``files`` are what to read, if not the disk. Without ``proven``, nothing
    is proved: such rules are only for comparisons.
    """
    loaded = load(spec, files)
    known, damage = read_any(lock)
    resolved = judged(loaded, now)
    rules, found = compiled(resolved, loaded, known, proven=proven)
    return Checked.of(loaded.source, resolved.fleet, rules, known, (*damage, *locate(found, loaded.source)))


def decided(request: Request) -> Decided:
    """Check, observe and decide; the caller holds the mutex. Raise :class:`Rejected` for errors in spec or lock."""
    from pgtls.certificates.desired import wanted
    from pgtls.certificates.observe import observe
    from pgtls.certificates.secrets import Secrets
    from pgtls.certificates.supplied import adapted, gather
    from pgtls.fleet.fields import entities
    from pgtls.state.names import own_files
    from pgtls.state.out_directory import check_in_the_clear

    checked, asked = check(request.spec, request.now, request.lock, request.files), request.asked
    fleet, own = checked.usable(), own_files(request.lock, request.out)
    if not fleet.state.recipients:
        check_in_the_clear(request.out, own)
    secrets = Secrets(fleet, sealed=request.sealed)
    outside = gather(fleet, checked.lock, secrets, dict(asked.ca_keys))
    profiles = adapted(wanted(fleet), outside)
    existing = observe(
        *(request.out, checked.lock, request.lock, profiles, outside, secrets),
        own=own,
        entities=[one.entity for one in entities(fleet)],
        now=request.now,
        allow_revoke=asked.allow_revoke,
        replaced=asked.replace,
        new_out=request.new_out,
        review=request.review,
    )
    return _decided(_without_others(checked, existing), profiles, secrets, existing, asked)


def _without_others(checked: Checked, existing: Existing) -> Checked:
    """Judge the rules by what builds know of the lock, if others changed it: no change of theirs hides a finding."""
    if existing.lock is checked.lock:
        return checked
    _, faults = rules_by_server(checked.usable(), existing.lock, provable=False)
    standing = (one for one in locate(faults, checked.source) if not one.accepted)
    return replace(checked, diagnostics=tuple(dict.fromkeys((*checked.diagnostics, *standing))))


def _decided(
    checked: Checked, profiles: Mapping[Entity, Profile], secrets: Secrets, existing: Existing, asked: Asked
) -> Decided:
    from pgtls.certificates.decide import decide
    from pgtls.certificates.trust import unsigned, without_client_cas
    from pgtls.rollout.verdict import verdict

    fleet = checked.usable()
    decisions = decide(fleet, profiles, existing, asked)
    order = verdict(fleet, checked.rules, checked.entries, decisions, existing, accepted=asked.outage)
    blind = without_client_cas(fleet, unsigned(decisions.certificates))
    found = (*existing.diagnostics, *decisions.diagnostics, *order.diagnostics, *blind)
    diagnostics = (*checked.diagnostics, *locate(found, checked.source))
    return Decided(checked, fleet, profiles, secrets, existing, decisions, order, diagnostics)


def status(request: Request) -> Status:
    """Describe every certificate and CRL, and open no key. Raise :class:`Rejected` for errors in spec or lock."""
    from pgtls.plan.status import describe
    from pgtls.state.session import looking

    with looking(request.out, request.lock_timeout, request.lock):
        state = decided(replace(request, sealed=True))
    found, waived = state.diagnostics, state.checked.waived
    return describe(state.fleet, state.checked.entries, state.decisions, state.existing, found, waived)


def plan(request: Request) -> Planned:
    """Plan a build. Raise :class:`Rejected` where the spec, the lock or the out directory forbids it."""
    from pgtls.state.session import planning
    from pgtls.state.transaction import foresee

    with planning(request.out, request.lock, request.lock_timeout):
        planned = _planned(decided(request))
        if not planned.existing.from_lock:
            foresee(request.out, {path: c.file for path, c in planned.plan.changes.items()}, planned.plan.deletions)
        return planned


def build(request: Request, progress: Progress = no_progress) -> Planned:
    """Compile the spec into the out directory; the plan is what was done. On :class:`Rejected`, nothing changed."""
    from pgtls.certificates.observe import nothing_to_build_on
    from pgtls.state.session import building

    with building(request.out, request.lock, str(request.spec), request.lock_timeout):
        planned = _planned(_informed(request, decided(request)))
        if planned.existing.from_lock:
            raise Rejected(nothing_to_build_on(request.out))
        planned = _signed(request, planned, progress)
        _carry_out(request, planned, progress)
        return planned


def _informed(request: Request, state: Decided) -> Decided:
    """Ask ACME servers about the renewal of what stays, if it is time to, and decide again with what they say."""
    from pgtls.certificates.renewals import ask, to_ask

    existing = state.existing
    asked = to_ask(state.fleet, state.decisions, existing)
    if not asked or errors(state.diagnostics):
        return state
    renewals = {**existing.renewals, **ask(state.fleet, asked, state.decisions, existing)}
    return _decided(state.checked, state.profiles, state.secrets, replace(existing, renewals=renewals), request.asked)


def _signed(request: Request, planned: Planned, progress: Progress) -> Planned:
    """Ask those who sign for CAs to sign what is planned, and plan again with what they returned."""
    from pgtls.certificates.acme import Session
    from pgtls.certificates.opening import opened
    from pgtls.certificates.signing import ask, asked_for

    existing = planned.existing
    if not (asked := asked_for(planned.fleet, planned.decisions, existing)):
        return planned
    key_of = partial(opened, existing=existing, secrets=planned.secrets)
    session = partial(Session, fleet=planned.fleet, existing=existing, secrets=planned.secrets)
    answered = ask(planned.fleet, asked, existing, session, key_of, progress("signing", len(asked)))
    accounts = {ca: account._replace(key=answered.accounts.get(ca)) for ca, account in existing.accounts.items()}
    existing = replace(existing, answers=answered.answers, accounts=accounts)
    again = _planned(_decided(planned.checked, planned.profiles, planned.secrets, existing, request.asked))
    assert not asked_for(again.fleet, again.decisions, existing)  # noqa: S101  (otherwise the plan has an error)
    return again


def confirm(
    request: Request, entities: Sequence[str], by: Witness, reason: str, looked_at: Mapping[Entity, str] | None = None
) -> tuple[Evidence, ...]:
    """Record that what the last build made of entities is deployed. Raise :class:`Rejected` if it made nothing.

    ``looked_at`` are the generations that were looked at: where a build has made another one since, nobody saw that.

    What is known already is recorded again only if somebody says so: a check that runs every hour adds no lines.
    """
    from pgtls.certificates.evidence import evidence_of
    from pgtls.state import generations
    from pgtls.state.deployed import read, record
    from pgtls.state.session import looking

    with looking(request.out, request.lock_timeout, request.lock):
        known, damage = read_any(request.lock)
        refuse(damage)
        seen = evidence_of(request.out, known, entities, by, request.now, reason)
        before = read(request.lock, request.out, request.now).own
        made = generations.read(request.out) or {}
        if looked_at is not None:
            seen = tuple(one for one in seen if looked_at.get(one.entity) == one.generation)
        news = [
            one
            for one in seen
            if by == "confirm" or not one.repeats(before.get(one.entity), made[one.entity][-1].built)
        ]
        record(request.lock, request.out, news)
        return seen


def _planned(state: Decided) -> Planned:
    from pgtls.certificates import at_rest, issue, key_formats, tokens
    from pgtls.certificates.opening import content, locked_keys, unusable
    from pgtls.certificates.passphrases import to_try, unopened
    from pgtls.certificates.trust import unsigned
    from pgtls.output import render
    from pgtls.output.kept import digests, kept_texts
    from pgtls.plan.plan import plan as compare

    refuse(state.diagnostics)
    checked, fleet, existing, decisions = state.checked, state.fleet, state.existing, state.decisions
    opens = not (existing.from_lock or state.secrets.sealed)
    rules = with_secrets(fleet, checked.rules, checked.lock, state.secrets.option) if opens else checked.rules
    follows = digests(fleet, checked.entries)
    lacking, kept = unsigned(decisions.certificates), kept_texts(existing, follows)
    texts = render.texts(fleet, rules, checked.entries, lacking, kept)
    material = key_formats.planned(fleet, issue.planned(decisions, existing), existing)
    tree = render.tree(fleet, checked.entries, existing, texts, material)
    read = partial(content, existing.out)
    tree = at_rest.planned(fleet, tree, existing, read)
    steps = compare(fleet, decisions, state.verdict.cut_off, tree, existing)
    touched = {change.file.entity for change in steps.changes.values()}
    locked = locked_keys(to_try(decisions, touched, existing), existing, state.secrets)
    converted = key_formats.converted(material)
    found = list(unopened(fleet, decisions, converted, locked))
    if opens:
        found += unusable(fleet, decisions, existing, converted, state.secrets)
        found += tokens.faults(fleet, tokens.uses(fleet, decisions, existing), state.secrets)
        found += at_rest.faults(fleet, tree, decisions, existing, converted, read, state.secrets)
    diagnostics = (*state.diagnostics, *locate(found, checked.source))
    refuse(diagnostics)
    made = texts, follows, material, tree, steps
    return Planned(
        checked, fleet, state.profiles, existing, decisions, state.verdict, state.secrets, *made, diagnostics
    )


def _carry_out(request: Request, planned: Planned, progress: Progress) -> None:
    from pgtls.plan.plan import completed
    from pgtls.state.lock_file import LockChange
    from pgtls.state.manifest import entries
    from pgtls.state.transaction import commit

    made, existing = _issued(request, planned, progress), planned.existing
    tree = made.tree
    changes, deletions = completed(planned.plan, planned.tree, tree, existing)
    commit(
        request.out,
        changes,
        deletions,
        lambda written: manifest(
            *(request, planned, made.lock_id, made.lock, made.added),
            entries(request.out, tree, written, existing.kept),
        ),
        LockChange(request.lock, made.lock, planned.checked.lock.digest),
        generations=made.generations,
        private={path.rpartition("/")[0] for path, file in tree.items() if file.kind == "key"},
        progress=progress("writing", len(changes)),
    )


class _Made(NamedTuple):
    """What a build writes: the tree, and the files of the lock and of the generations."""

    tree: Tree
    lock: bytes
    lock_id: str
    added: frozenset[str]
    """The digests of the lines of the lock that are still those of others."""
    generations: bytes


def _issued(request: Request, planned: Planned, progress: Progress) -> _Made:
    """Issue what is planned. When this returns, keys are gone, and so is what the files are rendered from."""
    from pgtls.certificates import at_rest, issue, key_formats
    from pgtls.certificates.model import Issue
    from pgtls.certificates.opening import content, keyring, opened_content
    from pgtls.certificates.tokens import opened, uses
    from pgtls.output import render
    from pgtls.rollout.carriers import recorded
    from pgtls.rollout.verdict import history
    from pgtls.state import generations

    existing, fleet, entries, secrets = planned.existing, planned.fleet, planned.checked.entries, planned.secrets
    decisions = at_rest.with_signers(planned.decisions, secrets)
    issuing = sum(isinstance(decision, Issue) for decision in decisions.certificates.values())
    keys = keyring(decisions, existing, secrets, key_formats.converted(planned.material))
    count = progress("issuing", issuing)
    with opened(fleet, uses(fleet, decisions, existing), secrets, make=True) as lent:
        keys = keys.with_tokens(lent)
        material = issue.carry_out(decisions, existing, keys, request.now, request.jobs, count, planned.material)
    material = key_formats.make(fleet, planned.material, material, keys)
    lines = tuple(recorded(material.lines, fleet, entries, decisions.certificates, existing.lock))
    read, clear = partial(content, request.out), partial(opened_content, request.out, secrets=secrets)
    tree = render.completed(fleet, entries, existing, planned.tree, planned.texts, material, read, clear)
    tree = at_rest.protected(fleet, tree, planned.tree, read, secrets)
    past = history(fleet, planned.checked.rules, entries, decisions, existing, material.lines, tree)
    lock = issue.recorded(existing.whole_lock, lines, decisions.revocations)
    assert lock.id is not None  # noqa: S101
    added = existing.still_added((*lines, *decisions.revocations))
    return _Made(tree, lock.render(), lock.id, added, generations.render(past))
