"""Compute what a build does to the holders of earlier files: the order of deployment, and the connections that fail.

This is a pure function of the decisions and of the generations that may be in use (docs/design.md, Rollout).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from pgtls.access.explain import surroundings_of
from pgtls.certificates.model import recorded_under
from pgtls.diagnostics import errors
from pgtls.pki.model import RevocationList, Unreadable
from pgtls.rollout import facts
from pgtls.rollout.order import Order, Sides, order
from pgtls.rollout.retire import retirable
from pgtls.rollout.words import Namer, accepted_until, problems, waves
from pgtls.rollout.works import Dialling, Serving
from pgtls.state import layout
from pgtls.state.generations import Generation, extended, identity, in_use, kept

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from pgtls.access.model import Entry, Rules
    from pgtls.certificates.model import Decisions, Existing
    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Fleet, Identity, User
    from pgtls.pki.model import Entity
    from pgtls.rollout.words import Deployment
    from pgtls.state.deployed import Evidence
    from pgtls.state.generations import History
    from pgtls.state.lock import IssuedLine, RevokedLine
    from pgtls.state.tree import Tree

    Entries = Mapping[str, Sequence[Entry]]
    """The entries of each user's bundle, by user."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The rollout of a build. ``cut_off`` are the entities that no order of deployment spares."""

    order: Order = field(default_factory=Order)
    waves: tuple[Deployment, ...] = ()
    notes: tuple[str, ...] = ()
    """The servers that still accept revoked certificates, and until when."""
    diagnostics: tuple[Diagnostic, ...] = ()
    cut_off: frozenset[Entity] = frozenset()
    retirable: bool = False
    """Whether a CA is still trusted although nothing in use needs it."""


def verdict(
    fleet: Fleet,
    rules: Mapping[str, Rules],
    entries: Entries,
    decisions: Decisions,
    existing: Existing,
    *,
    accepted: bool,
) -> Verdict:
    """Judge what the decisions do to everything that may be in use. ``accepted``: an outage is only a warning."""
    keys = facts.Keys(decisions.certificates, existing)
    made = generations(fleet, rules, entries, decisions, keys)
    used = _earlier(fleet, made, existing, keys, in_use, existing.deployed.latest)
    idle = tuple(retirable(fleet, used, existing.lock, keys))
    if errors(decisions.diagnostics):  # the other effects of a certificate that does not fit follow from this error
        return Verdict(retirable=bool(idle))
    revoked = _Revoked((*existing.lock.revocations.values(), *decisions.revocations))
    servers = _sides(used, made, revoked, ("server", "pooler"), Serving)
    bundles = _sides(used, made, revoked, ("user",), Dialling)
    changed = frozenset(_changed(used, made, decisions.revocations))
    found = order(servers, bundles, changed, surroundings_of(fleet))
    cut_off = (entity for one in found.conflicts if not one.unconfirmed for entity in (one.server, *one.bundles))
    namer = Namer(fleet, keys)
    said = (*problems(found.conflicts, namer, accepted=accepted), *idle)
    seen = {name: crl.listed for name, crl in decisions.crls.items()}
    notes = accepted_until(decisions.revocations, existing.lock, servers, seen)
    return Verdict(found, tuple(waves(found, namer)), tuple(notes), said, frozenset(cut_off), bool(idle))


def generations(
    fleet: Fleet,
    rules: Mapping[str, Rules],
    entries: Entries,
    decisions: Decisions,
    keys: facts.Keys,
) -> dict[Entity, Generation]:
    """Return the new generation of every server and every bundle."""
    bundles = facts.Bundles(facts.own_roots(fleet, decisions.certificates, keys), keys)
    found: dict[Entity, Generation] = {}
    for server in fleet.servers.values():
        said = facts.of_server(fleet, server, rules[server.name], keys)
        found[server.entity] = _generation(server.entity, server.identities, said, fleet.now, keys, decisions)
    for user in fleet.users.values():
        if mine := entries.get(user.name):
            found[user.entity] = _generation(user.entity, (user,), bundles.of(user, mine), fleet.now, keys, decisions)
    return found


def _generation(
    entity: Entity,
    shown: Sequence[Identity | User],
    said: Mapping[str, object],
    now: datetime,
    keys: facts.Keys,
    decisions: Decisions,
) -> Generation:
    made = (decisions.certificates.get(one.entity) for one in shown)
    cas = [recorded_under(one.profile) if one else "" for one in made]
    known = [(ca, keys.certificate(one.entity)) for ca, one in zip(cas, shown, strict=True)]
    certificates = tuple((ca, certificate[0] if certificate else "") for ca, certificate in known)
    ends = max((certificate[1] for _, certificate in known if certificate), default=None)
    return Generation(entity, (), now, said, certificates if ends else (), ends)


def history(
    fleet: Fleet,
    rules: Mapping[str, Rules],
    entries: Entries,
    decisions: Decisions,
    existing: Existing,
    issued: Iterable[IssuedLine],
    tree: Tree,
) -> History:
    """Return the generations that the file keeps after a build that ``issued`` certificates and wrote ``tree``.

    Those before committed evidence stay: the next certificate of a self-signed server waits for evidence from here.
    """
    keys = facts.Keys(decisions.certificates, existing, issued)
    made = generations(fleet, rules, entries, decisions, keys)
    known = _earlier(fleet, made, existing, keys, kept, existing.deployed.own)
    revoking = frozenset(_with_new_crls(tree, existing)) if _revokes(decisions, existing) else frozenset()
    return {
        entity: extended(
            known.get(entity, ()),
            replace(one, ids=(identity(one, _settings(entity, tree, existing)),)),
            revoking=entity in revoking,
        )
        for entity, one in made.items()
    }


def _revokes(decisions: Decisions, existing: Existing) -> bool:
    """Return whether a CRL lists more than before, of certificates that the lock knows or of others.

    These are listed by ``revoked``, or by a CRL that the spec brings.
    """
    from pgtls.pki import crl

    own = (*decisions.crls.values(), *decisions.retired)
    signed = ((one.listed or frozenset(), _serials(one.found)) for one in own)
    brought = (
        (crl.entries(one.list for one in its), crl.entries_in(existing.contents.get(layout.brought_crls(name), b"")))
        for name, its in existing.outside.crl_files.items()
    )
    return bool(decisions.revocations) or any(not now <= before for now, before in (*signed, *brought))


def _serials(crl: RevocationList | Unreadable | None) -> frozenset[str]:
    return frozenset(entry.serial for entry in crl.revoked) if isinstance(crl, RevocationList) else frozenset()


def _with_new_crls(tree: Tree, existing: Existing) -> Iterator[Entity]:
    """Yield the entities whose CRLs a build writes again."""
    for path, file in tree.items():
        content = file.read() if file.kind == "crl" else None
        if content is not None:
            known = existing.listed.get(path)
            if known is None or known.sha256 != sha256(content).hexdigest():
                yield file.entity


def _settings(entity: Entity, tree: Tree, existing: Existing) -> str:
    """Return the digest of a server's settings: no peer can observe them, but they must be deployed."""
    path = layout.path(entity, layout.POOLER_CONF if entity.kind == "pooler" else layout.CONF)
    if path not in tree:
        return ""
    content = tree[path].content
    return sha256(content).hexdigest() if isinstance(content, bytes) else existing.listed[path].sha256


def _earlier(
    fleet: Fleet,
    made: Mapping[Entity, Generation],
    existing: Existing,
    keys: facts.Keys,
    choose: Callable[[Sequence[Generation], Evidence | None, datetime], tuple[Generation, ...]],
    evidence: Mapping[Entity, Evidence],
) -> dict[Entity, tuple[Generation, ...]]:
    """Return what ``choose`` takes of the generations before a build. For a tree without any, use the lock."""
    if existing.history is None:
        known = {entity for line in existing.lock.by_serial.values() for entity in (line.entity, *line.trust)}
        return {
            e: (facts.from_lock(e, _shown(fleet, e), one, existing.lock, keys),)
            for e, one in made.items()
            if e in known
        }
    return {
        entity: choose(existing.history[entity], evidence.get(entity), fleet.now)
        for entity in made
        if entity in existing.history
    }


def _shown(fleet: Fleet, entity: Entity) -> tuple[Entity, ...]:
    """Return the entities whose certificates a server or a client presents."""
    if entity.kind == "user":
        return (entity,)
    return tuple(identity.entity for identity in fleet.servers[entity.name].identities)


class _Revoked:
    """The certificates that were revoked when a generation was built, from its CRLs."""

    def __init__(self, lines: Iterable[RevokedLine]) -> None:
        self._lines = tuple(lines)
        self._known: dict[datetime, frozenset[tuple[str, str]]] = {}

    def at(self, moment: datetime) -> frozenset[tuple[str, str]]:
        """Return (CA, serial) of the certificates that were revoked at that time."""
        if moment not in self._known:
            self._known[moment] = frozenset((line.ca, line.serial) for line in self._lines if line.date <= moment)
        return self._known[moment]


def _sides(
    used: Mapping[Entity, Sequence[Generation]],
    made: Mapping[Entity, Generation],
    revoked: _Revoked,
    kinds: Collection[str],
    side: type[Serving | Dialling],
) -> dict[Entity, Sides]:
    return {
        entity: Sides(
            tuple(side(one, revoked.at(one.built), _ended(one, new.built)) for one in used.get(entity, ())),
            side(new, revoked.at(new.built), _ended(new, new.built)),
        )
        for entity, new in made.items()
        if entity.kind in kinds
    }


def _ended(one: Generation, now: datetime) -> bool:
    return one.ends is not None and one.ends <= now


def _changed(
    used: Mapping[Entity, Sequence[Generation]], made: Mapping[Entity, Generation], revoked: Collection[RevokedLine]
) -> Iterable[Entity]:
    """Yield the entities whose peers notice this build.

    The build changes the files of such an entity, or revokes certificates that it may still use.
    """
    newly = {(line.ca, line.serial) for line in revoked}
    for entity, one in made.items():
        known = used.get(entity, ())
        if not known or known[-1].facts != one.facts or any(not newly.isdisjoint(old.certificates) for old in known):
            yield entity
