"""What a change of the spec changes: access, certificates, protection, compiled texts that nothing else explains."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from pgtls.access.answers import Side
from pgtls.access.comparisons import ProtectionChange
from pgtls.access.diff import Change
from pgtls.access.diff import diff as access_changes
from pgtls.access.protection import ordered, protection
from pgtls.access.service_changes import ServiceChange, service_changes
from pgtls.certificates.spec_change import CertificateChange, certificates
from pgtls.fleet.checks.policies import combinations_of_patterns
from pgtls.hba.model import Member, Name
from pgtls.language.values import Waiver
from pgtls.output import render
from pgtls.output.bundle import compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pgtls.access.model import Rules
    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Fleet

Threshold = Literal["weakened", "granted", "any"]


@dataclass(frozen=True, slots=True)
class State:
    """One state of a spec. ``waived`` is what its waivers accept. Only at a later instant, it may have errors."""

    fleet: Fleet
    rules: Mapping[str, Rules]
    waived: tuple[Diagnostic, ...]

    @property
    def side(self) -> Side:
        """What the reports of access and protection compare."""
        return Side(self.fleet, self.rules, self.waived)

    @property
    def uncompiled(self) -> tuple[str, ...]:
        """The servers that have no rules, because policies contradict each other."""
        return tuple(server.entity for name, server in self.fleet.servers.items() if name not in self.rules)


Later = tuple[State | None, State | None]
"""Both states at a later instant; None for a state in which a name refers to nothing by then."""


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
    sides = old.side, new.side
    runs = () if old.fleet == new.fleet else _runs(old.fleet, new.fleet)
    found, uncompared = _opened(tuple(_compared(*sides)), old, runs, later, _most(old, new) if runs else 0)
    access = tuple(change for change in found if isinstance(change, Change))
    services = (change.told for change in found if isinstance(change, ServiceChange))
    unknown = (change for change in found if isinstance(change, ProtectionChange))
    protected = (*ordered((*protection(*sides), *services, *unknown)), *_uncompared(uncompared))
    issued = certificates(old.fleet, new.fleet)
    servers = {**old.fleet.servers, **new.fleet.servers}
    explained: set[str] = {servers[change.server].entity for change in access}
    explained |= {change.entity for change in protected} | {change.entity for change in issued}
    texts = tuple(_texts(*sides, explained))
    return Difference(access, (*protected, *texts), issued, new.waived)


def _compared(old: Side, new: Side) -> Iterator[Change | ServiceChange]:
    """Compare what has to hold at later instants, too."""
    yield from access_changes(old, new)
    yield from service_changes(old, new, compiled)


# --- ends ------------------------------------------------------------------------------------------------------------

_WORK = 5_000_000
"""How much to compare at all later instants together, in pairs of hba lines: some ten seconds. Without a limit, a short
spec would keep a job busy for hours."""
_COMBINATION = 4
"""What a combination of patterns costs, in pairs of hba lines."""
_TABLE = 25
"""What a user or policy costs: it is resolved and compiled again."""


def _most(*states: State) -> int:
    """Return at how many later instants to compare.

    The classes of a server grow with the square of its lines, and with what its policies combine.
    """
    costs = (
        _TABLE * (len(state.fleet.users) + len(state.fleet.policies))
        + sum(len(rules.lines) ** 2 for rules in state.rules.values())
        + _COMBINATION * sum(map(combinations_of_patterns, map(state.fleet.policies_of, state.fleet.servers.values())))
        for state in states
    )
    return max(1, min(200, _WORK // (1 + max(costs))))


_Found = Change | ServiceChange | ProtectionChange
"""What is compared at later instants, and rows about what cannot be."""
_Run = tuple[datetime, ...]
"""Ends in their order. After the last of them, every connection is as it is after each other one."""


def _runs(old: Fleet, new: Fleet) -> tuple[_Run, ...]:
    """Return the ends after which to compare, too: until the next end, both states stay as they are.

    A user who leaves both states, and whose roles nothing else refers to, opens nothing: from then on, its roles are
    like any role that no policy names, which is compared already. Such ends follow each other in one run.
    """
    fleets, quiet = (old, new), _quiet(old, new)
    opens = {end: True for fleet in fleets for end in _other_ends(fleet)}
    for name in old.users.keys() | new.users.keys():
        ends = {fleet.users[name].table.until or _NEVER for fleet in fleets if name in fleet.users}
        for end in ends - {_NEVER}:
            opens[end] = opens.get(end, False) or name not in quiet or end != max(ends)
    runs: list[_Run] = []
    for end in sorted(opens):
        if runs and not opens[end] and not opens[runs[-1][-1]]:
            runs[-1] = (*runs[-1], end)
        else:
            runs.append((end,))
    return tuple(runs)


_NEVER = datetime.max.replace(tzinfo=UTC)


def _other_ends(fleet: Fleet) -> Iterator[datetime]:
    """Yield the ends of policies and waivers that are still to come."""
    waivers = [policy.table.waiver for policy in fleet.policies.values()] + [fleet.lint.waiver]
    ends = [policy.table.until for policy in fleet.policies.values()]
    ends += [waiver.until for waiver in waivers if isinstance(waiver, Waiver)]
    return (end for end in ends if end is not None and end > fleet.now)


def _quiet(*fleets: Fleet) -> frozenset[str]:
    """Return the users whose roles and common names nothing else refers to."""
    by: dict[str, set[str]] = {}
    for user, text in {pair for fleet in fleets for pair in _references(fleet)}:
        by.setdefault(text, set()).add(user)
    shared = {user for users in by.values() if len(users) > 1 for user in users}
    if any(policy.table.map for fleet in fleets for policy in fleet.policies.values()):
        return frozenset()  # an expression may give any role to anybody
    return frozenset(user for fleet in fleets for user in fleet.users if user not in shared)


def _references(fleet: Fleet) -> Iterator[tuple[str, str]]:
    """Yield each name of a role, with the user that has it or "" for a policy, or for what logs in as that user."""
    for name, user in fleet.users.items():
        yield from ((name, text) for text in (*user.roles, user.common_name))
        yield from (("", text) for text in user.member_of)
    for policy in fleet.policies.values():
        yield from (("", term.role) for term in policy.roles if isinstance(term, Member))
        yield from (("", term.text) for term in policy.databases if isinstance(term, Name))
        if policy.follows:
            yield from (("", role) for user in policy.users for role in user.roles)


def _opened(
    now: tuple[Change | ServiceChange, ...],
    old: State,
    runs: tuple[_Run, ...],
    later: Callable[[datetime], Later],
    left: int,
) -> tuple[list[_Found], list[datetime]]:
    """Add what opens at a later instant, with that instant. Return this, and the ends that are not compared.

    Compare at ``left`` instants at most: after the last end of a run and, if that shows anything but what is known,
    after each of its ends.
    """
    known, uncompared = list[_Found](now), list[datetime]()
    for *others, last in runs:
        if left <= 0:
            uncompared += (*others, last)
            continue
        states = later(last)
        opened = list(_opened_at(last, old, states, known))
        if others and (opened or not all(map(_compiled, states))):
            uncompared += others[left:]
            for end in others[:left]:
                known += _opened_at(end, old, later(end), known)
            left -= len(others)
            opened = list(_opened_at(last, old, states, known))
        known += opened
        left -= 1
    return known, uncompared


def _compiled(state: State | None) -> bool:
    return state is not None and not state.uncompiled


def _opened_at(end: datetime, old: State, states: Later, known: Sequence[_Found]) -> Iterator[_Found]:
    """Yield what opens after one end, and what cannot be compared then.

    A state that has errors by then cannot be built, but may be after the next change, which is compared with it alone.
    An old one that cannot be compiled counts as it is now.
    """
    before, after = states
    unknown = after.uncompiled if after else ("policies and users",)
    told = {change.entity for change in known if isinstance(change, ProtectionChange)}
    for entity in unknown:
        if entity not in told:
            yield ProtectionChange("weakened", entity, f"access from {end:{_INSTANT}} on", "compared", _UNKNOWN)
    for change in _compared((before if before and _compiled(before) else old).side, after.side) if after else ():
        opens = isinstance(change, ServiceChange) or change.kind in ("granted", "weakened")
        if opens and not any(_covers(one, change) for one in known):
            yield replace(change, since=f"{end:{_INSTANT}}")


_INSTANT = "%Y-%m-%dT%H:%M:%SZ"
_UNKNOWN = "not compared: this state cannot be compiled by then"


def _covers(one: _Found, other: Change | ServiceChange) -> bool:
    """Return whether a change says all that another one says."""
    if isinstance(one, ServiceChange):
        return isinstance(other, ServiceChange) and one.covers(other)
    if isinstance(one, ProtectionChange):
        return False
    alike = all(getattr(one, name) == getattr(other, name, None) for name in ("kind", "server", "before", "after"))
    return alike and all(
        set(getattr(other, name)) <= set(getattr(one, name)) for name in ("roles", "databases", "sources")
    )


def _uncompared(ends: list[datetime]) -> Iterator[ProtectionChange]:
    if ends:
        what = f"{len(ends)} ends (until), the first at {ends[0]:{_INSTANT}}"
        yield ProtectionChange("weakened", "policies and users", what, "other ends", "not compared: there are too many")


def _texts(old: Side, new: Side, explained: set[str]) -> Iterator[ProtectionChange]:
    """Name the compiled texts that differ for entities that nothing else mentions.

    Bundles follow from servers, so they are named only where nothing at all is mentioned.
    """
    if old.fleet == new.fleet:
        return
    before, after = (render.texts(side.fleet, side.rules, side.entries) for side in (old, new))
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
