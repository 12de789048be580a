"""Findings that the spec accepts, with the reason: ``waiver`` of a policy, ``[lint] waiver`` and ``[lint] ignore``.

They apply to warnings and to the 3xx family, never to what would make the output wrong.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from pgtls.diagnostics import Accepted, Diagnostic
from pgtls.fleet.fields import finder, place_of
from pgtls.language.values import Waiver
from pgtls.language.words import quoted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from pgtls.diagnostics import Path
    from pgtls.fleet.model import Fleet, Policy


def can_be_waived(diagnostic: Diagnostic) -> bool:
    """Whether a finding is one of taste and risk, rather than of a wrong output."""
    return diagnostic.severity == "warning" or diagnostic.code.startswith("PGT3")


def mark(fleet: Fleet, found: Iterable[tuple[Policy | None, Diagnostic]]) -> tuple[Diagnostic, ...]:
    """Mark what is accepted among findings, each with the policy that it is about."""
    return tuple(
        _marked(fleet, policy, diagnostic) if can_be_waived(diagnostic) else diagnostic for policy, diagnostic in found
    )


def _marked(fleet: Fleet, policy: Policy | None, diagnostic: Diagnostic) -> Diagnostic:
    """Return a finding with what accepts it, or with the end of the waiver that did."""
    if accepted := _accepted(fleet, policy, diagnostic):
        return replace(diagnostic, accepted=accepted)
    waiver = policy.table.waiver if policy else fleet.lint.waiver
    if isinstance(waiver, Waiver) and _has_ended(fleet, waiver) and _names(waiver, diagnostic.code):
        ended = f"its waiver ended at {waiver.until:%Y-%m-%dT%H:%M:%SZ}"
        return replace(diagnostic, hint=f"{ended}; {diagnostic.hint}" if diagnostic.hint else ended)
    return diagnostic


def mark_by_path(fleet: Fleet, diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Mark what is accepted; the policy is the one that the diagnostic's path names."""
    return mark(fleet, ((_policy(fleet, diagnostic), diagnostic) for diagnostic in diagnostics))


def bare(fleet: Fleet, accepted: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Find waivers that would also accept later findings: those without codes, and codes that accept nothing.

    ``accepted`` is all that waivers accept.
    """
    codes: dict[Path, set[str]] = {path: set() for path in dict.fromkeys(_bare(fleet))}
    named: dict[str, set[str]] = {}
    for diagnostic in accepted:
        kind, _, name = diagnostic.accepted.by.partition(".") if diagnostic.accepted else ("", "", "")
        path = finder(fleet, fleet.policies[name]).path("waiver") if kind == "policy" else (kind, name)
        codes.get(path, set()).add(diagnostic.code)
        if kind == "policy":
            named.setdefault(name, set()).add(diagnostic.code)
    without = (_without_codes(path, sorted(found)) for path, found in codes.items())
    return mark(fleet, ((None, diagnostic) for diagnostic in (*without, *_idle(fleet, named))))


def _idle(fleet: Fleet, accepted: Mapping[str, Collection[str]]) -> Iterator[Diagnostic]:
    """Find the codes of policies' waivers that accept nothing; ``accepted`` are those that do, by policy."""
    for policy in fleet.policies.values():
        waiver = policy.table.waiver
        if isinstance(waiver, Waiver) and finder(fleet, policy).says("waiver") and not _has_ended(fleet, waiver):
            for index, code in enumerate(waiver.codes):
                if code not in accepted.get(policy.name, ()):
                    path = finder(fleet, policy).path("waiver", "codes", index)
                    message = f"{code} is waived, and nothing of policy {quoted(policy.name)} raises it"
                    hint = "remove the code: it would accept what a later edit opens"
                    yield Diagnostic(BARE, message, path, hint, severity="warning")


def _bare(fleet: Fleet) -> Iterator[Path]:
    for policy in fleet.policies.values():
        if _is_bare(policy.table.waiver):
            yield finder(fleet, policy).path("waiver")
    if _is_bare(fleet.lint.waiver):
        yield ("lint", "waiver")


def _is_bare(waiver: str | Waiver | None) -> bool:
    return bool(waiver) and not (isinstance(waiver, Waiver) and waiver.codes)


def _without_codes(path: Path, found: Sequence[str]) -> Diagnostic:
    listed = ", ".join(f'"{code}"' for code in found)
    hint = f'write waiver = {{ reason = "...", codes = [{listed}] }}' if found else "it accepts nothing now: remove it"
    message = "a waiver without codes also accepts what a later edit opens"
    return Diagnostic(BARE, message, path, hint, severity="warning")


BARE = "PGT023"


def certain(diagnostics: Iterable[Diagnostic], wrong: Iterable[Path]) -> tuple[Diagnostic, ...]:
    """Leave out what a ``[lint]`` with something ``wrong`` in it may have been meant to accept."""
    if all(path[:1] != ("lint",) for path in wrong):
        return tuple(diagnostics)
    return tuple(diagnostic for diagnostic in diagnostics if not can_be_waived(diagnostic))


def _policy(fleet: Fleet, diagnostic: Diagnostic) -> Policy | None:
    kind, name = (*diagnostic.path, None, None)[:2]
    return fleet.policies.get(str(name)) if kind == "policy" else None


def _accepted(fleet: Fleet, policy: Policy | None, diagnostic: Diagnostic) -> Accepted | None:
    if diagnostic.code in fleet.lint.ignore:
        return Accepted("lint.ignore", None)
    waiver = policy.table.waiver if policy else fleet.lint.waiver
    if diagnostic.code == BARE and _is_bare(waiver):
        return None
    by = policy.entity if policy else "lint.waiver"
    if not isinstance(waiver, Waiver):
        return Accepted(by, waiver) if waiver else None
    if _has_ended(fleet, waiver) or not _names(waiver, diagnostic.code):
        return None
    return Accepted(by, waiver.reason, waiver.until)


def _has_ended(fleet: Fleet, waiver: Waiver) -> bool:
    return waiver.until is not None and waiver.until <= fleet.now


def _names(waiver: Waiver, code: str) -> bool:
    return not waiver.codes or code in waiver.codes


def codes(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find codes, in ``ignore`` and in waivers, that do not exist or cannot be accepted."""
    yield from _codes(fleet.lint.ignore, ("lint", "ignore"))
    if isinstance(fleet.lint.waiver, Waiver):
        yield from _codes(fleet.lint.waiver.codes, ("lint", "waiver", "codes"))
    for policy in fleet.policies.values():
        if isinstance(policy.table.waiver, Waiver) and policy.table.waiver.codes:
            yield from _codes(policy.table.waiver.codes, place_of(fleet, policy.entity, "waiver", "codes"))


def _code_hint(code: str, longer: str | None) -> str:
    several = re.findall(r"PGT\d{3}", code.upper())
    if len(several) > 1:
        return f"write each code as its own string: {', '.join(map(quoted, several))}"
    meant = longer or (several[0] if several and several[0] != code else None)
    return f'did you mean "{meant}"?' if meant else "`pgtls rule` lists all codes"


def _codes(given: Sequence[str], path: Path) -> Iterator[Diagnostic]:
    if not given:
        return
    from pgtls.diagnostics.rules import catalogue  # only specs that name codes need it

    rules = catalogue()
    for index, code in enumerate(given):
        if code not in rules:
            longer = next((known for known in rules if code.upper() == known[: len(code)]), None)
            yield Diagnostic("PGT119", f'there is no code "{code}"', (*path, index), _code_hint(code, longer))
        elif rules[code].severity == "error" and not code.startswith("PGT3"):
            message = f'"{code}" is an error that makes the output wrong: it cannot be accepted'
            yield Diagnostic("PGT119", message, (*path, index), "delete it")
