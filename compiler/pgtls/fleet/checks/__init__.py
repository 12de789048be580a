"""The rules that span tables, as checklists: one module a family, one small function a rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Fleet

    Check = Callable[[Fleet], Iterator[Diagnostic]]

PRESENT: tuple[Check, ...] = ()
"""What is wrong with something that is there."""

ABSENT: tuple[Check, ...] = ()
"""What is missing or unused: not asked of a fleet from which something wrong was left out."""


def check(fleet: Fleet) -> tuple[Diagnostic, ...]:
    """Find everything that is wrong or doubtful in a fleet, apart from what overlaps (:mod:`pgtls.access`)."""
    return tuple(found for rule in (*PRESENT, *ABSENT) for found in rule(fleet))


def check_partial(fleet: Fleet) -> tuple[Diagnostic, ...]:
    """Find what can be found in a fleet from which something wrong was left out."""
    return tuple(found for rule in PRESENT for found in rule(fleet))
