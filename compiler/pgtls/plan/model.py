"""What a build does, a step at a time, and what each costs on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Cost = Literal["nothing", "reload", "restart", "rollout", "outage"]
COSTS: tuple[Cost, ...] = ("nothing", "reload", "restart", "rollout", "outage")
"""What a change costs on the wire, from the cheapest."""

Action = Literal["create", "renew", "rewrite", "revoke", "delete", "adopt", "wait"]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a build does. ``reason`` is for people; ``fields`` are the fields of the spec that differ."""

    entity: str
    action: Action
    reason: str
    cost: Cost
    fields: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
