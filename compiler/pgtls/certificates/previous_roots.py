"""Find the certificates that a root had before its renewal.

Bundles contain them with the present one until they expire.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.certificates.credentials import blocks
from pgtls.certificates.model import Beside
from pgtls.pki.model import Certificate, Unreadable
from pgtls.state import layout

if TYPE_CHECKING:
    from datetime import datetime

    from pgtls.certificates.model import Existing, Found
    from pgtls.pki.model import Profile


def previous_roots(
    profile: Profile, found: Found, existing: Existing, now: datetime, *, reissued: bool
) -> Beside | None:
    """Return the certificates that a root had with its present key, until they expire.

    ``reissued``: it gets another one.
    """
    if profile.kind != "ca" or profile.issuer or existing.from_lock:
        return None
    path = layout.path(profile.entity, layout.CA_PREVIOUS_CERTIFICATE)
    kept = list(blocks(existing.contents.get(path) or b"")) if path in existing.files else []
    if reissued and isinstance(found.certificate, Certificate) and found.pem:
        kept += list(blocks(found.pem))[:1]
    good = [(pem, end) for pem in kept if (end := _end(pem, found.certificate)) and end > now]
    return Beside(previous=b"".join(pem for pem, _ in good), ends=min(end for _, end in good)) if good else None


def _end(pem: bytes, present: object) -> datetime | None:
    """Return when an old certificate of the present key expires. Return None for anything else."""
    from pgtls.pki.facts import read

    certificates = read(pem)
    if isinstance(certificates, Unreadable) or not isinstance(present, Certificate):
        return None
    return certificates[0].not_after if certificates[0].spki_sha256 == present.spki_sha256 else None
