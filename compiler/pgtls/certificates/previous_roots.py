"""The certificates that a root had before its renewal: bundles carry them beside the present one until they end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pgtls.certificates.credentials import blocks
from pgtls.certificates.model import Beside
from pgtls.pki.model import Certificate, Unreadable
from pgtls.state import layout

if TYPE_CHECKING:
    from datetime import datetime

    from pgtls.certificates.model import Decision
    from pgtls.certificates.observe import Existing


def with_previous(decision: Decision, existing: Existing, now: datetime) -> Decision:
    """Keep the certificates that a root had before, with the key that it has, until they end: bundles carry them beside the present one (DESIGN 4.2)."""
    profile, found = decision.profile, decision.found.certificate
    if profile.kind != "ca" or profile.issuer or existing.from_lock or decision.new_key:
        return decision
    path = layout.path(profile.entity, layout.CA_PREVIOUS_CERTIFICATE)
    kept = list(blocks(existing.content(path) or b"")) if path in existing.files else []
    if decision.reason and isinstance(found, Certificate) and decision.found.pem:
        kept += list(blocks(decision.found.pem))[:1]
    good = [(pem, end) for pem in kept if (end := _end(pem, found)) and end > now]
    if not good:
        return decision
    ends = min(end for _, end in good)
    return replace(decision, beside=Beside(previous=b"".join(pem for pem, _ in good), ends=ends))


def _end(pem: bytes, present: object) -> datetime | None:
    """When an old certificate of the present key ends; None for anything else."""
    from pgtls.pki.facts import read

    certificates = read(pem)
    if isinstance(certificates, Unreadable) or not isinstance(present, Certificate):
        return None
    return certificates[0].not_after if certificates[0].spki_sha256 == present.spki_sha256 else None
