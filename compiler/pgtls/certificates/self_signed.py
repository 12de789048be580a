"""Renew self-signed servers: clients get the next certificate one build before the server serves it.

Next to its pair are ``next.crt`` and ``next.key``, which clients already trust, and ``previous.crt``, which they trust
until it expires. Server and clients work together in any order of deployment (see docs/design.md).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pgtls.certificates.model import UNTOUCHED, Beside, Issue, Keep, Promote, Wait
from pgtls.certificates.reissue import due_at, nothing_left, too_old
from pgtls.diagnostics import Diagnostic
from pgtls.pki.expected import wanted_facts
from pgtls.pki.model import Certificate, Entity, Unreadable
from pgtls.state import layout
from pgtls.state.generations import in_use

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from pgtls.certificates.model import Adopt, Decision, Existing
    from pgtls.pki.model import Profile


def in_two_steps(
    decision: Keep | Adopt | Issue, existing: Existing, replaced: Collection[str], now: datetime
) -> Decision:
    """Split the renewal of a self-signed server into two steps.

    Replace an unusable certificate at once: by the next one if clients already trust it. Replace a certificate of a CA
    at once, too: a client that trusts only the certificate, and not the root above it, rejects it.
    """
    profile, found = decision.profile, decision.found
    why = decision.reason if isinstance(decision, Issue) else None
    previous = _still_good(existing, profile, now)
    following = _following(decision, existing, now)
    gone = why is not None and nothing_left(why, found.certificate, profile, now)
    if profile.entity in replaced or _of_a_ca(found.certificate) or (following is None and (why is None or gone)):
        return replace(decision, beside=Beside(previous=previous))
    if following and (gone or _trusted(existing, profile.entity, following[0], now)):
        return _promoted(decision, following, None if gone else found.pem, previous)
    assert isinstance(found.certificate, Certificate)  # noqa: S101
    beside = Beside(next=following[1] if following else None, makes_next=following is None, previous=previous)
    end, due = found.certificate.not_after, _half(decision)
    if why is None or (why.name == "due" and now < due):
        return Keep(profile=profile, found=found, end=end, due=due, beside=beside)
    waits = (
        f"{why.text}, and its clients are to trust its next certificate before it is served: "
        "deploy their bundles, say so (pgtls confirm), then build again"
    )
    path = profile.entity.path
    problem = Diagnostic("PGT562", f"{profile.entity} waits: {waits}", path, at="table", severity="warning")
    return Wait(profile=profile, found=found, end=end, due=due, beside=beside, why=waits, problems=(problem,))


def _of_a_ca(certificate: Certificate | Unreadable | None) -> bool:
    """Return whether a CA signed a certificate, and not its own key."""
    if not isinstance(certificate, Certificate):
        return False
    return certificate.authority_key_id not in (None, certificate.key_id)


def _trusted(existing: Existing, server: Entity, following: Certificate, now: datetime) -> bool:
    """Return whether every bundle that may be in use, and that verifies the server, trusts its next certificate.

    Only evidence from this machine counts: the old key is deleted.
    """
    if existing.history is None:
        return False
    for entity, past in existing.history.items():
        for one in in_use(past, existing.deployed.own.get(entity), now) if entity.kind == "user" else ():
            dials = any(entry["server"] == server.name for entry in one.facts["entries"])
            if dials and following.key_id not in one.facts["trust"]:
                return False
    return True


def _half(decision: Decision) -> datetime:
    """Return when to report that the next certificate waits: half the window before the present one expires."""
    found = decision.found.certificate
    assert isinstance(found, Certificate)  # noqa: S101  (it is due)
    due = due_at(found, decision.profile)
    return due + (found.not_after - due) / 2


def _promoted(
    decision: Decision, following: tuple[Certificate, bytes], served: bytes | None, previous: bytes | None
) -> Promote:
    """Serve the next certificate. Clients trust the old one as long as a server may still present it."""
    certificate, pem = following
    shown = served if isinstance(decision.found.certificate, Certificate) else None
    found = replace(decision.found, certificate=certificate, pem=pem, key="present", stored="written", ours=True)
    due, beside = due_at(certificate, decision.profile), Beside(previous=shown or previous)
    return Promote(profile=decision.profile, found=found, end=certificate.not_after, due=due, beside=beside)


def _following(decision: Decision, existing: Existing, now: datetime) -> tuple[Certificate, bytes] | None:
    """Return the next certificate with its key, if one exists and fits the spec."""
    entity = decision.profile.entity
    pem = existing.contents.get(layout.path(entity, layout.SERVER_NEXT_CERTIFICATE))
    if pem is None or existing.files.get(layout.path(entity, layout.SERVER_NEXT_KEY)) not in UNTOUCHED:
        return None
    from pgtls.pki.facts import read

    certificates = read(pem)
    if isinstance(certificates, Unreadable):
        return None
    one = certificates[0]
    fits = (one.subject, one.names, one.usages) == wanted_facts(decision.profile)
    fits = fits and one.key_algorithm == decision.profile.key_algorithm
    return (one, pem) if fits and one.not_after > now and not too_old(one, decision.profile) else None


def _still_good(existing: Existing, profile: Profile, now: datetime) -> bytes | None:
    """Return the previously served certificate, until it expires. Clients trust none whose key may be stolen."""
    pem = existing.contents.get(layout.path(profile.entity, layout.SERVER_PREVIOUS_CERTIFICATE))
    if pem is None:
        return None
    from pgtls.pki.facts import read

    certificates = read(pem)
    one = None if isinstance(certificates, Unreadable) else certificates[0]
    return pem if one and one.not_after > now and not too_old(one, profile) else None
