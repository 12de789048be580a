"""Tell whether the observations show that the last build is in force, and not an earlier one.

A server shows its certificate, its CAs and the answers of its rules. It does not show its CRLs, and an earlier build
may differ in nothing else.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pgtls.live.checks import access
from pgtls.live.checks.check import untried
from pgtls.live.checks.database import FILES_THERE
from pgtls.state.generations import serials

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgtls.fleet.model import Fleet
    from pgtls.live.checks.check import Check
    from pgtls.live.compiled import Compiled, Earlier
    from pgtls.live.survey import Survey
    from pgtls.state.generations import Generation
    from pgtls.state.lock import Lock

LAST_BUILD = "last build"
"""The name of the check. It is made only if it is unknown whether the last build is deployed, and stays so."""


def unproven(fleet: Fleet, compiled: Compiled, lock: Lock, survey: Survey, checks: Sequence[Check]) -> Iterator[Check]:
    """Yield why the observations are no evidence of the last build, although nothing differs from it."""
    outcomes = {check.name: check.outcome for check in checks}
    if compiled.made is None or outcomes.get(FILES_THERE) == "ok" or "differs" in outcomes.values():
        return
    if outcomes.get("access") != "ok":
        why = "no answer shows which rules are loaded"
    elif one := next((one for one in compiled.earlier if not _told(fleet, compiled, lock, survey, one)), None):
        why = f"the build of {one.made.built:%F %T} UTC would give the same answers"
    elif compiled.made.first is None or compiled.made.first != compiled.made.built:
        why = "no answer shows whether the CRLs and settings are those of the last build"
    else:
        return
    todo = f"log in with --user as a superuser, or run pgtls confirm {compiled.server.entity}"
    yield untried(LAST_BUILD, f"{why}: {todo}")


def _told(fleet: Fleet, compiled: Compiled, lock: Lock, survey: Survey, one: Earlier) -> bool:
    """Return whether an earlier build, if it were in force, would have shown another certificate, CAs or answers."""
    last = compiled.made
    if last and (serials(one.made)[:1], _asked(one.made, lock)) != (serials(last)[:1], _asked(last, lock)):
        return True
    before = replace(compiled, lines=one.lines, idents=one.idents)
    return bool(one.lines) and any(check.outcome == "differs" for check in access.answers(fleet, before, survey))


def _asked(one: Generation, lock: Lock) -> frozenset[str]:
    """Return the names of the CAs that a server asks for: two CAs may have one."""
    keys = one.facts["identities"][0]["trust"]
    return frozenset(line.certificate.subject for line in lock.issued if line.certificate.key_id in keys)
