"""When a build next has something to do though no file changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.language.values import Waiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from pgtls.certificates.model import Decisions
    from pgtls.fleet.model import Fleet


def next_due(fleet: Fleet, decisions: Decisions) -> datetime | None:
    """Return the next instant at which a certificate or CRL comes due, or something in the spec ends; None: never."""
    return min((instant for instant in _instants(fleet, decisions) if instant > fleet.now), default=None)


def _instants(fleet: Fleet, decisions: Decisions) -> Iterator[datetime]:
    for decision in decisions.certificates.values():
        yield decision.due
        yield decision.end
        if decision.beside and decision.beside.ends:
            yield decision.beside.ends
    yield from (crl.due for crl in (*decisions.crls.values(), *decisions.retired) if crl.due)
    yield from (user.table.until for user in fleet.users.values() if user.table.until)
    for policy in fleet.policies.values():
        if policy.table.until:
            yield policy.table.until
        if isinstance(policy.table.waiver, Waiver) and policy.table.waiver.until:
            yield policy.table.waiver.until
    if isinstance(fleet.lint.waiver, Waiver) and fleet.lint.waiver.until:
        yield fleet.lint.waiver.until
