"""A plan for people and for programs: text, JSON and Markdown from the same steps."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pgtls.plan.model import COSTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pgtls.plan.model import Cost, Step
    from pgtls.plan.plan import Plan

_SIGNS = {"create": "+", "renew": "~", "rewrite": "~", "adopt": "=", "wait": "…", "revoke": "!", "delete": "-"}
_COLOURS = {"create": "32", "renew": "33", "rewrite": "33", "adopt": "36", "wait": "35", "revoke": "31", "delete": "31"}
_COSTS: dict[Cost, str] = {
    "nothing": "nothing",
    "reload": "reload",
    "restart": "restart",
    "rollout": "client rollout",
    "outage": "outage",
}
_MEANING: dict[Cost, str] = {
    "reload": "reload, once its files are there",
    "restart": "restart: a setting is read at start alone",
    "rollout": "client rollout: deploy the bundle",
    "outage": "outage: what is deployed now stops working",
}
_SHOWN = 20
"""How many entities of one kind are listed one by one in text; a plan of thousands is summed up."""


def as_dict(plan: Plan) -> dict[str, Any]:
    """Give what ``--format json`` has of a plan."""
    return {"steps": [asdict(step) for step in plan.steps], "summary": plan.summary}


def text(plan: Plan, *, colour: bool = False, everything: bool = False) -> str:
    """Write a plan for a terminal: what, why and at what cost, then the sums."""
    if not plan.steps:
        return "nothing to do"
    lines = list(_rows(plan.steps, colour=colour, everything=everything))
    return "\n".join([*lines, "", f"Plan: {_sums(plan)}.", *_costs(plan.steps)])


def markdown(plan: Plan) -> str:
    """Write a plan for a pull request."""
    if not plan.steps:
        return "**pgtls plan**: nothing to do."
    rows = [f"| `{s.entity}` | {s.action} | {_cell(s.reason)} | {_COSTS[s.cost]} |" for s in plan.steps]
    head = [f"**pgtls plan**: {_sums(plan)}.", "", "| what | action | why | cost |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, "", *(f"- {line.strip()}" for line in _costs(plan.steps))])


def _rows(steps: Sequence[Step], *, colour: bool, everything: bool) -> Iterator[str]:
    width = max(len(step.entity) for step in steps)
    seen: dict[tuple[str, str, str], int] = {}
    for step in steps:
        alike = (step.entity.kind, step.action, step.reason)
        seen[alike] = seen.get(alike, 0) + 1
        if everything or seen[alike] <= _SHOWN:
            yield _row(step, width, colour=colour)
    for (kind, action, reason), count in seen.items():
        if count > _SHOWN and not everything:
            yield f"  {_SIGNS[action]} {count - _SHOWN} more of {kind}.*: {reason}"


def _row(step: Step, width: int, *, colour: bool) -> str:
    sign = _SIGNS[step.action]
    if colour:
        sign = f"\x1b[{_COLOURS[step.action]}m{sign}\x1b[0m"
    files = f"  [{', '.join(path.split('/', 2)[2] for path in step.files)}]" if step.files else ""
    cost = f" → {_COSTS[step.cost]}" if step.cost != "nothing" else ""
    return f"  {sign} {step.entity:{width}}  {step.action:7}  {step.reason}{files}{cost}"


def _sums(plan: Plan) -> str:
    return ", ".join(f"{count} to {action}" for action, count in plan.summary.items())


def _costs(steps: Iterable[Step]) -> Iterator[str]:
    # A revocation is in force with the files of the servers, which have steps of their own.
    steps = [step for step in steps if step.action != "revoke"]
    for cost in reversed(COSTS[1:]):
        entities = list(dict.fromkeys(step.entity for step in steps if step.cost == cost))
        if entities:
            more = f" and {len(entities) - _SHOWN} more" if len(entities) > _SHOWN else ""
            yield f"Cost: {_MEANING[cost]} ({', '.join(entities[:_SHOWN])}{more})"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`")
