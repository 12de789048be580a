"""What a build does, a step at a time, and what each costs on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from pgtls.pki.model import Entity

Cost = Literal["nothing", "reload", "restart", "rollout", "outage"]
COSTS: tuple[Cost, ...] = ("nothing", "reload", "restart", "rollout", "outage")
"""What a change costs on the wire, from the cheapest."""

Action = Literal["create", "renew", "rewrite", "revoke", "delete", "adopt", "wait"]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a build does. ``reason`` is for people; ``fields`` are the fields of the spec that differ."""

    entity: Entity
    action: Action
    reason: str
    cost: Cost
    fields: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


Known = Literal["last build", "older build", "unknown"]


@dataclass(frozen=True, slots=True)
class Deployed:
    """What is known to be deployed of a server or a bundle: what, ``since`` when, and from which command."""

    entity: Entity
    built: datetime
    deployed: Known = "unknown"
    since: datetime | None = None
    by: str | None = None


Kind = Literal["certificate", "crl"]
State = Literal[
    "expired",
    "unreadable",
    "missing",
    "not yet valid",
    "waiting",
    "due",
    "ok",
    "unknown",
    "next",
    "retired",
    "superseded",
    "revoked",
]
STATES: tuple[State, ...] = get_args(State)
"""From the most urgent.

``waiting``: for a signature or a key from elsewhere. ``unknown``: the lock alone does not tell. ``next``: of a
self-signed server, trusted by its clients and not served yet. ``retired``: of a CA that left the spec.
"""

_NEEDS_A_BUILD: frozenset[State] = frozenset(("expired", "unreadable", "missing", "not yet valid", "due"))
_PAST: frozenset[State] = frozenset(("next", "retired", "superseded", "revoked"))


@dataclass(frozen=True, slots=True)
class Item:
    """One certificate or CRL.

    ``serial`` is lower-case hex, of a CRL its number; ``not_after`` is when it ends, of a CRL its nextUpdate.
    ``due`` is when a build makes it again. ``todo`` is what to do, empty for nothing. ``path`` is relative to the out
    directory, None for what no longer lies in it.
    """

    entity: Entity
    kind: Kind
    state: State
    serial: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    due: datetime | None = None
    todo: str = ""
    path: str | None = None
    subject: str | None = None
    issuer: str | None = None
    waits: bool = False
    """Whether somebody has to lend a key or to sign before a build can make it again."""

    @property
    def needs_a_build(self) -> bool:
        """Whether a build would make it again, or ought to."""
        return self.state in _NEEDS_A_BUILD

    @property
    def needs_attention(self) -> bool:
        """The same, or whether it waits for somebody else."""
        return self.needs_a_build or self.state == "waiting"

    @property
    def current(self) -> bool:
        """Whether it is the one that its entity uses or should use, and not one that went before."""
        return self.state not in _PAST

    def days_left(self, now: datetime) -> int | None:
        """Return whole days until it ends, rounded down: 0 on the last day, negative afterwards."""
        return None if self.not_after is None else (self.not_after - now) // timedelta(days=1)
