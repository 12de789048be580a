"""A plan for people and for programs: text, JSON and Markdown from the same steps."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pgtls.cli import markdown as md
from pgtls.cli.table import Row, table
from pgtls.diagnostics.lines import whole, wrapped
from pgtls.language.words import some
from pgtls.plan.model import COSTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pgtls.api import Build
    from pgtls.pki.model import Entity
    from pgtls.plan.model import Action, Cost, Step

_SIGNS = {"create": "+", "renew": "~", "rewrite": "~", "adopt": "=", "wait": "…", "revoke": "!", "delete": "-"}
_COLOURS = {"create": "32", "renew": "33", "rewrite": "33", "adopt": "36", "wait": "35", "revoke": "31", "delete": "31"}
_COSTS: dict[Cost, str] = {
    "nothing": "",
    "reload": "reload",
    "restart": "restart",
    "rollout": "client rollout",
    "outage": "outage",
}
_MEANING: dict[Cost, str] = {
    "reload": "reload, once its files are there",
    "restart": "restart: a setting that changes takes effect only then",
    "rollout": "client rollout: deploy the bundle",
    "outage": "outage: what is deployed now stops working",
}
_PLURALS = {"ca": "CAs", "server": "servers", "pooler": "poolers", "user": "users"}
_ALIKE = 3
"""How many steps that are alike have a row each; more share one."""
_NAMED = 4
"""How many of those that share a row are named."""
_SERIAL = ": certificate "
_THEY = {"it is": "they are", "it was": "they were", "it left": "they left", "its": "their"}
_IT = re.compile(rf"\b({'|'.join(_THEY)})\b")
"""What a reason calls its entity, and what it calls several."""
_COSTING = 20
"""How many entities a line of costs names."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Steps that are alike but for their entities and files."""

    steps: tuple[Step, ...]

    @property
    def entities(self) -> tuple[Entity, ...]:
        """The entities that share the row, each once: several certificates of one may be revoked."""
        return tuple(dict.fromkeys(step.entity for step in self.steps))

    @property
    def what(self) -> str:
        """The entity, or how many entities of which kind."""
        first, *others = self.entities
        return f"{len(others) + 1} {_PLURALS.get(first.kind, first.kind)}" if others else first

    @property
    def names(self) -> str:
        """The first of the entities that share the row; nothing of a single one."""
        return some(self.entities, _NAMED) if len(self.entities) > 1 else ""

    @property
    def action(self) -> Action:
        """The action of all."""
        return self.steps[0].action

    @property
    def cost(self) -> str:
        """The cost of all."""
        return _COSTS[self.steps[0].cost]

    @property
    def why(self) -> str:
        """The reason of all."""
        reason = _reason(self.steps[0])
        return _IT.sub(lambda found: _THEY[found[0]], reason) if len(self.entities) > 1 else reason

    @property
    def certificates(self) -> str:
        """The certificates that are revoked of a single entity."""
        serials = [serial for step in self.steps if (serial := step.reason.partition(_SERIAL)[2])]
        return f"{'certificates' if len(serials) > 1 else 'certificate'} {some(serials, _NAMED)}" if serials else ""

    @property
    def more(self) -> str:
        """The first of the entities that share the row, or what is revoked of a single one."""
        return self.names or self.certificates


def folded(steps: Sequence[Step], *, alike: int = _ALIKE) -> Iterator[Fold]:
    """Yield steps that are alike as one fold, at the place of the first, if there are more than ``alike`` of them."""
    groups: dict[tuple[str, ...], list[Step]] = {}
    for step in steps:
        groups.setdefault(_likeness(step), []).append(step)
    for step in steps:
        group = groups[_likeness(step)]
        if len(group) <= alike:
            yield Fold((step,))
        elif step is group[0]:
            yield Fold(tuple(group))


def _likeness(step: Step) -> tuple[str, ...]:
    return step.entity.kind, step.action, _reason(step), step.cost


def _reason(step: Step) -> str:
    """Return why, without the serial number that a revocation ends in."""
    return step.reason.partition(_SERIAL)[0]


def as_dict(plan: Build) -> dict[str, Any]:
    """Return what ``--format json`` has of a plan."""
    waves = [asdict(wave) for wave in plan.waves]
    return {
        "steps": [asdict(step) for step in plan.steps],
        "summary": plan.summary,
        "waves": waves,
        "notes": plan.notes,
    }


def text(plan: Build, width: int | None = None, *, colour: bool = False, verbose: bool = False) -> str:
    """Write a plan for a terminal: entity, action, why and cost, then the sums. ``verbose``: each step with files."""
    if not plan.steps:
        return "nothing to do"
    folds = folded(plan.steps, alike=len(plan.steps) if verbose else _ALIKE)
    lines = table([_row(fold, colour=colour, verbose=verbose) for fold in folds], width, indent="  ")
    costs = (line for cost in _costs(plan.steps) for line in wrapped(f"Cost: {cost}", width, " " * 6))
    order = (line for said, indent in _order(plan) for line in wrapped(said, width, indent))
    return "\n".join([*lines, "", *wrapped(f"Plan: {_sums(plan)}.", width, " " * 6), *costs, *order])


def markdown(plan: Build) -> str:
    """Write a plan for a pull request."""
    if not plan.steps:
        return "**pgtls plan**: nothing to do."
    rows = [
        (
            _what(fold),
            fold.action,
            md.text(fold.why if fold.names else f"{fold.why} {fold.certificates}".rstrip()),
            fold.cost or "nothing",
        )
        for fold in folded(plan.steps)
    ]
    lines = md.table(("what", "action", "why", "cost"), rows)
    costs = [f"- Cost: {md.text(cost)}" for cost in _costs(plan.steps)]
    return "\n".join([f"**pgtls plan**: {_sums(plan)}.", "", *lines, *([""] if costs else []), *costs, *_waves(plan)])


def _waves(plan: Build) -> Iterator[str]:
    """Yield the order of deployment as Markdown."""
    if plan.waves:
        yield from ("", "Deploy in this order:", "")
    for number, wave in enumerate(plan.waves, 1):
        yield f"{number}. {md.text(wave.deploy)}"
        yield from (f"   - {md.text(why)}" for why in wave.why)
    if plan.notes:
        yield from ("", *(f"- {md.text(note)}" for note in plan.notes))


def _order(plan: Build) -> Iterator[tuple[str, str]]:
    """Yield the order of deployment line by line, and how far the rest of a long line is indented."""
    if plan.waves:
        yield "Order:", ""
    for number, wave in enumerate(plan.waves, 1):
        yield f"  {number}. {wave.deploy}", " " * 5
        for why in wave.why:
            yield f"     {why}", " " * 7
    for note in plan.notes:
        yield f"Note: {note}", " " * 6


def _row(fold: Fold, *, colour: bool, verbose: bool) -> Row:
    first = whole(f"{_SIGNS[fold.action]} {fold.what}")
    below = (
        ", ".join(path.split("/", 2)[2] for path in fold.steps[0].files)
        if verbose and fold.steps[0].files
        else fold.more
    )
    return Row((first, fold.action, fold.why, whole(fold.cost)), _COLOURS[fold.action] if colour else "", below)


def _what(fold: Fold) -> str:
    return f"{fold.what}: {md.text(fold.names)}" if fold.names else md.code(fold.what)


def _sums(plan: Build) -> str:
    return ", ".join(f"{count} to {action}" for action, count in plan.summary.items())


def _costs(steps: Iterable[Step]) -> Iterator[str]:
    # A revocation is in force with the files of the servers, which have steps of their own.
    steps = [step for step in steps if step.action != "revoke"]
    for cost in reversed(COSTS[1:]):
        entities = list(dict.fromkeys(step.entity for step in steps if step.cost == cost))
        if entities:
            yield f"{_MEANING[cost]} ({some(entities, _COSTING)})"
