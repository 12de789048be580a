"""The rules that span tables, as checklists: one module a family, one small function a rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.fleet.checks import certificates, elsewhere, hardening, names, policies, revocation, versions, waivers
from pgtls.fleet.places import once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.checks.waivers import Waived
    from pgtls.fleet.model import Fleet, Policy

    Check = Callable[[Fleet], Iterator[Diagnostic]]
    PolicyCheck = Callable[[Fleet, Policy], Iterator[Diagnostic]]

PRESENT: tuple[Check, ...] = (
    *names.PRESENT,
    *certificates.PRESENT,
    *elsewhere.PRESENT,
    *revocation.PRESENT,
    *hardening.PRESENT,
    *versions.PRESENT,
    waivers.codes,
)
"""What is wrong with something that is there."""

POLICY: tuple[PolicyCheck, ...] = (*policies.POLICY_RULES, *hardening.POLICY_RULES, *versions.POLICY_RULES)
"""What is wrong with one policy."""

ABSENT: tuple[Check, ...] = (*names.ABSENT, *policies.ABSENT)
"""What is missing or unused: not asked of a fleet from which something wrong was left out."""


def check(fleet: Fleet) -> tuple[Diagnostic, ...]:
    """Find everything that is wrong or doubtful in a fleet and not waived, apart from what overlaps (:mod:`pgtls.access`)."""
    return tuple(once(waivers.sift(fleet, _findings(fleet, (*PRESENT, *ABSENT)))[0]))


def waived(fleet: Fleet) -> tuple[Waived, ...]:
    """Give the findings that were accepted, for the reports."""
    return waivers.sift(fleet, _findings(fleet, (*PRESENT, *ABSENT)))[1]


def check_partial(fleet: Fleet) -> tuple[Diagnostic, ...]:
    """Find what can be found in a fleet from which something wrong was left out."""
    return tuple(once(waivers.sift(fleet, _findings(fleet, PRESENT))[0]))


def _findings(fleet: Fleet, checks: tuple[Check, ...]) -> Iterator[tuple[Policy | None, Diagnostic]]:
    for rule in checks:
        for diagnostic in rule(fleet):
            yield None, diagnostic
    for policy in fleet.policies.values():
        for policy_rule in POLICY:
            for diagnostic in policy_rule(fleet, policy):
                yield policy, diagnostic
