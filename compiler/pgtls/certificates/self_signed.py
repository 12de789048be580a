"""Self-signed servers: the next certificate goes to the clients one build before it is served (DESIGN 4.7).

Beside its pair lie ``next.crt`` and ``next.key``, which clients trust already, and ``previous.crt``, which they trust until it ends: whichever of server and client is
deployed first, the two understand each other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pgtls.certificates.model import Beside
from pgtls.certificates.reissue import due_at, nothing_left, too_old
from pgtls.diagnostics import Diagnostic
from pgtls.pki.expected import wanted_facts
from pgtls.pki.model import Certificate, Unreadable
from pgtls.state import layout

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from pgtls.certificates.model import Decision
    from pgtls.certificates.observe import Existing


def in_two_steps(decision: Decision, existing: Existing, replaced: Collection[str], now: datetime) -> Decision:
    """Turn the renewal of a self-signed server into its two steps. What cannot be used any more is replaced at once, by the next one if clients trust it already."""
    profile, why = decision.profile, decision.reason
    if profile.kind != "server" or profile.issuer is not None or existing.from_lock:
        return decision
    previous = _still_good(existing, profile.entity, now)
    following = _following(decision, existing, now)
    if profile.entity in replaced or (following is None and (why is None or _nothing_left(decision, now))):
        return replace(decision, beside=Beside(previous=previous))
    if following and not (why and why.name == "due" and now < _half(decision)):
        return _promoted(decision, following, previous, now)
    assert isinstance(decision.found.certificate, Certificate)  # noqa: S101
    bare = replace(decision, reason=None, new_key=False, end=decision.found.certificate.not_after, due=_half(decision))
    if following:
        return replace(bare, beside=Beside(following[1], previous))
    bare = replace(bare, beside=Beside(previous=previous, issue=True))
    if why and why.name == "due":
        return bare
    waits = f"{why and why.text}, and its clients are to trust its next certificate before it is served: deploy their bundles, then build again"
    return replace(bare, waits=waits, problems=(_warning(decision, waits),))


def _nothing_left(decision: Decision, now: datetime) -> bool:
    why = decision.reason
    return why is not None and nothing_left(why, decision.found.certificate, decision.profile, now)


def _half(decision: Decision) -> datetime:
    """When the next certificate is served: half the window before the present one ends."""
    found = decision.found.certificate
    assert isinstance(found, Certificate)  # noqa: S101  (it is due)
    due = due_at(found, decision.profile)
    return due + (found.not_after - due) / 2


def _promoted(
    decision: Decision, following: tuple[Certificate, bytes], previous: bytes | None, now: datetime
) -> Decision:
    """Serve the next certificate. The one that was served stays trusted while anybody may be shown it."""
    found, (certificate, pem) = decision.found, following
    shown = isinstance(found.certificate, Certificate) and not _nothing_left(decision, now)
    return replace(
        decision,
        reason=None,
        new_key=False,
        found=replace(found, certificate=certificate, pem=pem, key="present", stored="written", ours=True),
        end=certificate.not_after,
        due=due_at(certificate, decision.profile),
        beside=Beside(previous=found.pem if shown else previous, promoted=True),
    )


def _following(decision: Decision, existing: Existing, now: datetime) -> tuple[Certificate, bytes] | None:
    """Give the next certificate, if there is one that fits the spec, with its key."""
    entity = decision.profile.entity
    pem = existing.content(layout.path(entity, layout.SERVER_NEXT_CERTIFICATE))
    key = existing.files.get(layout.path(entity, layout.SERVER_NEXT_KEY))
    if pem is None or key not in ("same", "touched", "mode"):
        return None
    from pgtls.pki.facts import read

    certificates = read(pem)
    if isinstance(certificates, Unreadable):
        return None
    one = certificates[0]
    fits = (one.subject, one.names, one.usages) == wanted_facts(decision.profile)
    fits = fits and one.key_algorithm == decision.profile.key_algorithm
    return (one, pem) if fits and one.not_after > now and not too_old(one, decision.profile) else None


def _still_good(existing: Existing, entity: str, now: datetime) -> bytes | None:
    """Give the certificate that was served before, until it ends."""
    pem = existing.content(layout.path(entity, layout.SERVER_PREVIOUS_CERTIFICATE))
    if pem is None:
        return None
    from pgtls.pki.facts import read

    certificates = read(pem)
    good = not isinstance(certificates, Unreadable) and certificates[0].not_after > now
    return pem if good else None


def _warning(decision: Decision, waits: str) -> Diagnostic:
    entity = decision.profile.entity
    path = tuple(entity.split(".", 1))
    return Diagnostic("PGT562", f"{entity} waits: {waits}", path, at="table", severity="warning")
