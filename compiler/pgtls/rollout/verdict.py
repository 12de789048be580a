"""Which entities a build would cut off, and in which order everything else has to be deployed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pgtls.diagnostics import errors
from pgtls.rollout.precedence import first_the_holder, moved
from pgtls.rollout.rollover import gate

if TYPE_CHECKING:
    from pgtls.certificates.model import Decisions, Existing
    from pgtls.fleet.model import Fleet
    from pgtls.rollout.rollover import Entries, Verdict


def verdict(fleet: Fleet, entries: Entries, decisions: Decisions, existing: Existing, *, accepted: bool) -> Verdict:
    """Judge what the decisions do to those who are deployed already; ``accepted``: an outage is a warning."""
    found = gate(fleet, entries, decisions.certificates, existing, accepted=accepted)
    if errors(decisions.diagnostics):  # what a certificate that does not fit would do to anybody follows from that
        return replace(found, diagnostics=())
    # Skip entities that lose access in every order.
    left = {e: ca for e, ca in moved(decisions.revocations, decisions.certificates).items() if e not in found.cut_off}
    order = first_the_holder(fleet, entries, left) if left else ()
    return replace(found, diagnostics=(*found.diagnostics, *order))
