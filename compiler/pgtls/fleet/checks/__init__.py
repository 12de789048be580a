"""The rules that span tables, as checklists: one module a family, one small function a rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.diagnostics import errors
from pgtls.fleet.checks import (
    at_rest,
    bundles,
    certificates,
    drivers,
    elsewhere,
    hardening,
    identities,
    lookalikes,
    names,
    policies,
    poolers,
    revocation,
    standbys,
    tls_strings,
    versions,
    waivers,
)
from pgtls.fleet.fields import once
from pgtls.fleet.usable import sound

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from pgtls.diagnostics import Diagnostic, Path
    from pgtls.fleet.model import Fleet, Policy

    Check = Callable[[Fleet], Iterator[Diagnostic]]
    PolicyCheck = Callable[[Fleet, Policy], Iterator[Diagnostic]]

VALUES: tuple[Check, ...] = (
    *names.VALUES,
    *lookalikes.VALUES,
    *identities.VALUES,
    *certificates.VALUES,
    *policies.VALUES,
    *poolers.VALUES,
    waivers.codes,
)
"""Checks of one value by itself."""

POLICY_VALUES: tuple[PolicyCheck, ...] = (*lookalikes.POLICY_VALUES, *policies.POLICY_VALUES)
"""Checks of one value of a policy."""

PRESENT: tuple[Check, ...] = (
    *names.PRESENT,
    *certificates.PRESENT,
    *elsewhere.PRESENT,
    *bundles.PRESENT,
    *at_rest.PRESENT,
    *drivers.PRESENT,
    *revocation.PRESENT,
    *hardening.PRESENT,
    *versions.PRESENT,
    *identities.PRESENT,
    *standbys.PRESENT,
    *poolers.PRESENT,
    *tls_strings.PRESENT,
)
"""Checks of what is there, together with other fields and tables."""

POLICY: tuple[PolicyCheck, ...] = (
    *policies.POLICY_RULES,
    *poolers.POLICY_RULES,
    *hardening.POLICY_RULES,
    *versions.POLICY_RULES,
)
"""Checks of one policy."""

ABSENT: tuple[Check, ...] = (*names.ABSENT, *policies.ABSENT)
"""Checks for what is missing or unused. They are skipped if something faulty was omitted."""


def check(fleet: Fleet) -> tuple[Diagnostic, ...]:
    """Find all faults and doubts of a fleet that are not waived, except overlaps (see :mod:`pgtls.access`)."""
    return tuple(diagnostic for diagnostic in judge(fleet)[1] if not diagnostic.accepted)


def judge(
    fleet: Fleet, faulty: Collection[Path] = (), resolving: Iterable[Diagnostic] = ()
) -> tuple[Fleet, tuple[Diagnostic, ...]]:
    """Check all values, then apply the rules to the part of the fleet without faults.

    Return that part and the findings, with those marked that a waiver accepts.

    ``faulty`` are the tables and fields that could not be read, and ``resolving`` is what resolving found.
    """
    values = waivers.mark(fleet, _findings(fleet, VALUES, POLICY_VALUES))
    wrong = {*faulty, *(diagnostic.path for diagnostic in errors((*resolving, *values)))}
    part = sound(fleet, wrong)
    rules = waivers.mark(part, _findings(part, PRESENT if wrong else (*PRESENT, *ABSENT), POLICY))
    return part, tuple(once((*values, *waivers.certain(rules, wrong))))


def _findings(
    fleet: Fleet, checks: tuple[Check, ...], policy_checks: tuple[PolicyCheck, ...]
) -> Iterator[tuple[Policy | None, Diagnostic]]:
    for rule in checks:
        for diagnostic in rule(fleet):
            yield None, diagnostic
    for policy in fleet.policies.values():
        values = policy_checks is POLICY_VALUES and policy.follows is not None  # which are those of another table
        for policy_rule in () if values else policy_checks:
            for diagnostic in policy_rule(fleet, policy):
                yield policy, diagnostic
