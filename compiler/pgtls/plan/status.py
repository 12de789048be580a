"""The state of every certificate and CRL at one instant: valid, due or expired, and what to do about it.

A pure value of what was observed and decided; unlike a plan it does so for a tree that a build would refuse.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pgtls.certificates.model import Issue, Promote, Wait, recorded_under
from pgtls.diagnostics import errors
from pgtls.pki.model import SELF_SIGNED, Certificate, Entity, RevocationList
from pgtls.plan.model import STATES, Deployed, Item, Known, State
from pgtls.plan.timeline import timeline
from pgtls.state import layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from pgtls.access.model import Entry
    from pgtls.certificates.model import CrlDecision, Decision, Decisions, Existing
    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Fleet
    from pgtls.pki.model import Unreadable
    from pgtls.plan.timeline import Event
    from pgtls.state.lock import IssuedLine, Lock

    Found = Certificate | Unreadable | None


@dataclass(frozen=True, slots=True)
class Status:
    """Every item, the most urgent first; ``events`` are what happens, in order, without another build."""

    now: datetime
    out: str
    items: tuple[Item, ...]
    events: tuple[Event, ...]
    horizon: datetime | None = None
    """Only what needs a build or happens until then is in here; None: everything is."""
    from_lock: bool = False
    """There is no out directory: what the lock lists is taken as present."""
    lost: bool = False
    """It is missing, and this is no review."""
    diagnostics: tuple[Diagnostic, ...] = ()
    waived: tuple[Diagnostic, ...] = ()
    """Findings that waivers accept."""
    deployed: tuple[Deployed, ...] = ()
    """Every server and bundle that builds made, with what is known of its deployment."""

    @property
    def counts(self) -> dict[str, int]:
        """How many items of each state there are; states without any are left out."""
        counted = Counter(item.state for item in self.items)
        return {state: counted[state] for state in STATES if counted[state]}

    @property
    def next_failure(self) -> Event | None:
        """The first thing that stops working after now; None: nothing ever does."""
        return next((event for event in self.events if event.at > self.now and event.what == "fails"), None)

    @property
    def failing(self) -> tuple[Event, ...]:
        """What has stopped working already."""
        return tuple(event for event in self.events if event.at <= self.now and event.what == "fails")

    @property
    def overdue(self) -> tuple[Event, ...]:
        """Return access that was meant to end and has not: there was no build since."""
        return tuple(event for event in self.events if event.at <= self.now and event.what == "stays")

    @property
    def attention(self) -> tuple[Item, ...]:
        """Return the items that need an action."""
        return tuple(item for item in self.items if item.needs_attention)

    def within(self, length: timedelta) -> Status:
        """Keep what needs a build, or ends or happens within a length of time."""
        end = self.now + length
        items = tuple(item for item in self.items if _concerns(item, end))
        return replace(self, items=items, events=tuple(e for e in self.events if e.at <= end), horizon=end)


def _concerns(item: Item, end: datetime) -> bool:
    return item.current and (item.needs_attention or (item.not_after is not None and item.not_after <= end))


def describe(
    fleet: Fleet,
    entries: Mapping[str, Sequence[Entry]],
    decisions: Decisions,
    existing: Existing,
    diagnostics: tuple[Diagnostic, ...],
    waived: tuple[Diagnostic, ...] = (),
) -> Status:
    """Describe everything that was observed and decided, at ``fleet.now``."""
    now = fleet.now
    items = sorted(_items(decisions, existing, now), key=_urgency)
    built = existing.manifest.built if existing.manifest else None
    events = tuple(timeline(fleet, entries, items, built, waived))
    return Status(
        now,
        existing.out,
        tuple(items),
        events,
        from_lock=existing.from_lock,
        lost=existing.lost,
        diagnostics=diagnostics,
        waived=waived,
        deployed=tuple(_deployed(existing)),
    )


def _deployed(existing: Existing) -> Iterator[Deployed]:
    for entity, past in (existing.history or {}).items():
        last, evidence = past[-1], existing.deployed.latest.get(entity)
        known = {name for one in past for name in one.ids}
        if evidence is None or evidence.generation not in known:
            yield Deployed(entity, last.built)
        else:
            # A build that only changes a CRL names no other generation, and is not deployed with it.
            is_last = evidence.generation == last.ids[-1] and last.built <= evidence.at
            which: Known = "last build" if is_last else "older build"
            yield Deployed(entity, last.built, which, evidence.at, evidence.by)


def _urgency(item: Item) -> tuple[int, float, str, str]:
    end = item.not_after.timestamp() if item.not_after else 0
    return STATES.index(item.state), end, item.entity, item.kind


def _items(decisions: Decisions, existing: Existing, now: datetime) -> Iterator[Item]:
    stopping = {one.path[:2]: one.code for one in errors(decisions.diagnostics)}
    for entity, decision in decisions.certificates.items():
        if existing.from_lock and entity in existing.outside.not_ours:
            yield Item(entity, "certificate", "unknown", todo=_UNKNOWN)
        else:
            item, code = _certificate(existing.found[entity].certificate, decision, now), stopping.get(entity.table)
            yield replace(item, todo=f"no build is possible: see {code}") if code else item
    for crl in (*decisions.crls.values(), *decisions.retired):
        if crl.due is not None:  # None: no certificate of a CA that left the spec is valid any more
            yield _crl(crl, existing, now)
    yield from _former(decisions, existing, now)


_UNKNOWN = "the lock does not know it: look where the out directory is"


def _certificate(found: Found, decision: Decision, now: datetime) -> Item:
    """Describe the certificate that is there now, also where a ``decision`` promotes the next one."""
    entity, state = decision.profile.entity, _state(found, decision, now)
    todo, path = _todo(decision, state, now), layout.certificate_path(entity)
    item = Item(entity, "certificate", state, todo=todo, path=path, waits=isinstance(decision, Wait))
    if not isinstance(found, Certificate):
        return item
    settled = state == "ok" and decision.due > now
    return _described(found, replace(item, due=decision.due if settled else None))


def _state(found: Found, decision: Decision, now: datetime) -> State:
    if isinstance(found, Certificate) and found.not_after <= now:
        return "expired"
    if isinstance(decision, Wait):
        return "waiting"
    if not isinstance(found, Certificate):
        return "unreadable" if found else "missing"
    if found.not_before > now:
        return "not yet valid"
    match decision:
        case Issue(reason=why):
            return "missing" if why.name == "key missing" else "due"
        case Promote():
            return "due"
        case _:
            return "due" if decision.beside and decision.beside.makes_next else "ok"


def _todo(decision: Decision, state: State, now: datetime) -> str:
    match decision:
        case Wait():
            return f"waits: {decision.why}"
        case Issue():
            again = " again" if decision.found.certificate else ""
            return f"pgtls build issues it{again}: {decision.reason.text}"
        case Promote() if state == "due":
            return "pgtls build serves its next one"
        case _ if state == "due":
            return "pgtls build makes its next one, which clients get first"
        case _ if state == "not yet valid":
            return "look at the clock of this machine: the certificate was issued later"
        case _ if state == "ok" and decision.due <= now:
            return "ends with its user" if decision.profile.until == decision.end else "ends with the CA that issued it"
        case _:
            return ""


def _described(certificate: Certificate, item: Item) -> Item:
    return replace(
        item,
        serial=certificate.serial,
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        subject=certificate.subject,
        issuer=certificate.issuer,
    )


def _crl(decision: CrlDecision, existing: Existing, now: datetime) -> Item:
    """Describe a CRL, where it lies now."""
    found, signer = decision.found, decision.signer
    path = f"{signer.directory}{layout.CA_CRL}" if signer else decision.path
    item = Item(decision.entity, "crl", "missing", path=path)
    if found is None and existing.from_lock:
        return replace(item, state="unknown", todo=_UNKNOWN)
    todo = f"pgtls build makes it again: {decision.reason}" if decision.reason else ""
    todo = f"waits for the key of its CA: {decision.waits}" if decision.waits else todo
    if not isinstance(found, RevocationList):
        absent: State = "missing" if decision.reason else "waiting"
        return replace(item, state="unreadable" if found else absent, todo=todo or "waits until its CA can sign")
    state: State = "waiting" if decision.waits else "due" if decision.reason else "ok"
    issuer = None if signer else _subject(existing, decision.entity)
    item = replace(item, state=state, todo=todo, waits=bool(decision.waits), issuer=issuer)
    return _dated(item, found, decision.due, now)


def _dated(item: Item, found: RevocationList, due: datetime | None, now: datetime) -> Item:
    return replace(
        item,
        state="expired" if found.next_update <= now else item.state,
        serial=f"{found.number:x}",
        not_before=found.this_update,
        not_after=found.next_update,
        due=due if item.state == "ok" else None,
    )


def _subject(existing: Existing, entity: Entity) -> str | None:
    certificate = existing.found[entity].certificate
    return certificate.subject if isinstance(certificate, Certificate) else None


def _former(decisions: Decisions, existing: Existing, now: datetime) -> Iterator[Item]:
    """Yield what the lock lists besides the current certificates and has not expired: it still grants access."""
    current = {_current(entity, decision, existing) for entity, decision in decisions.certificates.items()}
    leaving = {(line.ca, line.serial) for line in decisions.revocations}
    for key, line in existing.lock.by_serial.items():
        if key not in current and line.certificate.not_after > now:
            state: State = "due" if key in leaving else _former_state(line, decisions, existing.lock)
            todo = "pgtls build revokes it" if state == "due" else ""
            yield _described(line.certificate, Item(line.entity, "certificate", state, todo=todo))


def _current(entity: Entity, decision: Decision, existing: Existing) -> tuple[str, str] | None:
    """Return (CA, serial) of the certificate of an entity; of one that is lost or damaged, by the lock."""
    found = existing.found[entity].certificate
    if isinstance(found, Certificate):
        return recorded_under(decision.profile), found.serial
    line = existing.lock.latest.get(entity)
    return (line.ca, line.serial) if line else None


def _former_state(line: IssuedLine, decisions: Decisions, lock: Lock) -> State:
    if (line.ca, line.serial) in lock.revocations:
        return "revoked"
    if line.entity not in decisions.certificates:
        return "retired"
    return "next" if line.ca == SELF_SIGNED and line == lock.latest[line.entity] else "superseded"
