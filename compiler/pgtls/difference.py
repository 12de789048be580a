"""What a change of the spec changes: access, certificates, protection, compiled texts that nothing else explains."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from pgtls.access.bundles import index
from pgtls.access.diff import Change, Side
from pgtls.access.diff import diff as access_changes
from pgtls.access.protection import ProtectionChange, protection
from pgtls.certificates.spec_change import CertificateChange, certificates
from pgtls.language.values import Waiver
from pgtls.output import render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pgtls.access.model import Rules
    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Fleet

Threshold = Literal["weakened", "granted", "any"]


@dataclass(frozen=True, slots=True)
class State:
    """One state of a spec, without errors. ``waived`` is what its waivers accept."""

    fleet: Fleet
    rules: Mapping[str, Rules]
    waived: tuple[Diagnostic, ...]

    @property
    def side(self) -> Side:
        """What the reports of access and protection compare."""
        return Side(self.fleet, self.rules, self.waived)


Later = tuple[State | None, State | None]
"""Both states at a later instant; None for a state that has errors by then."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Everything that differs between two states of a spec. It is false where the same files are compiled from both."""

    access: tuple[Change, ...]
    protection: tuple[ProtectionChange, ...]
    certificates: tuple[CertificateChange, ...]
    waived: tuple[Diagnostic, ...]
    """What waivers of the new state accept."""

    def __bool__(self) -> bool:
        return bool(self.access or self.protection or self.certificates)

    @property
    def summary(self) -> dict[str, int]:
        """How many changes there are of each kind."""
        kinds: list[str] = [*(change.kind for change in self.access), *(change.kind for change in self.protection)]
        return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}

    def exceeds(self, threshold: Threshold) -> bool:
        """Return whether there is a change that ``--fail-on`` does not let pass; "any" also means certificates."""
        kinds = {"weakened": {"weakened"}, "granted": {"weakened", "granted"}, "any": set(self.summary)}[threshold]
        return bool(kinds & self.summary.keys()) or (threshold == "any" and bool(self))


def difference(old: State, new: State, later: Callable[[datetime], Later]) -> Difference:
    """Compare two states, now and after each end (``until``) that may open access. ``later`` gives them as of then."""
    now = access_changes(old.side, new.side)
    ends = () if old.fleet == new.fleet else _ends(old.fleet, new.fleet)
    access = (*now, *_opened(now, old, ends[:_MOST_ENDS], later))
    protected = (*protection(old.side, new.side, now), *_uncompared(ends[_MOST_ENDS:]))
    issued = certificates(old.fleet, new.fleet)
    servers = {**old.fleet.servers, **new.fleet.servers}
    explained: set[str] = {servers[change.server].entity for change in access}
    explained |= {change.entity for change in protected} | {change.entity for change in issued}
    texts = tuple(_texts(old, new, explained))
    return Difference(access, (*protected, *texts), issued, new.waived)


_MOST_ENDS = 200


def _ends(old: Fleet, new: Fleet) -> tuple[datetime, ...]:
    """Return the instants at which to compare, too: whoever ends may have refused others, or asked more of them.

    Each end of a policy or waiver counts, and each end of a user whose roles other users have. If the roles of a user
    are its own, one instant is enough after its end and before anything else ends: many users share these instants.
    """
    marks, single = _marks(old) | _marks(new), [*_single(old), *_single(new)]
    own: dict[str, set[datetime]] = {}
    for name, end in single:
        own.setdefault(name, set()).add(end)
    spans = [
        (end, min((other for other in marks | ends if other > end), default=_NEVER))
        for ends in own.values()
        for end in ends
    ]
    found = set(marks)
    last = None
    for start, stop in sorted(spans, key=lambda span: (span[1], span[0])):
        if start not in found and (last is None or not start <= last < stop):
            last = max(begin for begin, _ in spans if start <= begin < stop)
            found.add(last)
    return tuple(sorted(found))


_NEVER = datetime.max.replace(tzinfo=UTC)


def _marks(fleet: Fleet) -> set[datetime]:
    """Return the ends that are looked at one by one."""
    waivers = [policy.table.waiver for policy in fleet.policies.values()] + [fleet.lint.waiver]
    ends = [policy.table.until for policy in fleet.policies.values()]
    ends += [waiver.until for waiver in waivers if isinstance(waiver, Waiver)]
    holders = Counter(role for user in fleet.users.values() for role in user.roles)
    ends += [user.table.until for user in fleet.users.values() if any(holders[role] > 1 for role in user.roles)]
    return {end for end in ends if end is not None and end > fleet.now}


def _single(fleet: Fleet) -> Iterator[tuple[str, datetime]]:
    return ((name, user.table.until) for name, user in fleet.users.items() if user.table.until is not None)


def _opened(
    now: tuple[Change, ...], old: State, ends: tuple[datetime, ...], later: Callable[[datetime], Later]
) -> Iterator[Change]:
    """Yield the access that opens at a later instant, when it opens.

    An old state that has errors by then cannot be built: what it grants now stays. A new one opens nothing.
    """
    known = list(now)
    for end in ends:
        before, after = later(end)
        for change in access_changes((before or old).side, after.side) if after else ():
            if change.kind in ("granted", "weakened") and not any(_covers(one, change) for one in known):
                known.append(change)
                yield replace(change, since=f"{end:%Y-%m-%dT%H:%M:%SZ}")


def _covers(one: Change, other: Change) -> bool:
    """Return whether a change says all that another one says."""
    alike = all(getattr(one, name) == getattr(other, name) for name in ("kind", "server", "before", "after"))
    return alike and all(
        set(getattr(other, name)) <= set(getattr(one, name)) for name in ("roles", "databases", "sources")
    )


def _uncompared(ends: tuple[datetime, ...]) -> Iterator[ProtectionChange]:
    if ends:
        what = f"{len(ends)} ends (until) after {ends[0]:%Y-%m-%d}"
        yield ProtectionChange("weakened", "policies and users", what, "other ends", "not compared: there are too many")


def _texts(old: State, new: State, explained: set[str]) -> Iterator[ProtectionChange]:
    """Name the compiled texts that differ for entities that nothing else mentions.

    Bundles follow from servers, so they are named only where nothing at all is mentioned.
    """
    if old.fleet == new.fleet:
        return
    before, after = (render.texts(state.fleet, state.rules, index(state.fleet)) for state in (old, new))
    differing: dict[str, list[str]] = {}
    for path in sorted(before.keys() | after.keys()):
        one, other = before.get(path), after.get(path)
        entity = (other or one).entity  # type: ignore[union-attr]
        if entity in explained or (explained and entity.kind == "user"):
            continue  # and render none of these
        if (one and one.read()) != (other and other.read()):
            differing.setdefault(entity, []).append(path.split("/", 2)[-1])
    for entity, names in differing.items():
        yield ProtectionChange("changed", entity, ", ".join(names), "as compiled before", "compiled differently")
