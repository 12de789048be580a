"""Ask ACME servers when to renew certificates (RFC 9773), and remember the answers in the manifest.

Only a build asks, and never sooner than the server wants or than :data:`PAUSE` after the last time. Plans and reviews
know what the last build learnt. A server that does not answer delays nothing: certificates then come due as always.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from pgtls.certificates.model import Adopt, Issue, Keep
from pgtls.certificates.signers import signer
from pgtls.pki.model import Certificate
from pgtls.state.manifest import RenewalInfo

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pgtls.certificates.model import Decision, Decisions, Existing
    from pgtls.fleet.model import Authority, Fleet
    from pgtls.pki.acme import Server
    from pgtls.pki.model import Entity

PAUSE = timedelta(hours=6)
"""The least time between two questions about a certificate (RFC 9773, 4.3.3)."""

LONGEST_PAUSE = timedelta(days=1)
"""The most time, whatever the server says: it may announce a revocation (RFC 9773, 4.3)."""


def to_ask(fleet: Fleet, decisions: Decisions, existing: Existing) -> dict[Entity, Authority]:
    """Return the certificates that stay and about which an ACME server may have something new to say."""
    if existing.from_lock:
        return {}
    found = {}
    for entity, decision in decisions.certificates.items():
        certificate, ca = decision.found.certificate, signer(decision.profile, fleet)
        if ca and ca.acme and isinstance(decision, Keep | Adopt) and isinstance(certificate, Certificate):
            known = existing.renewals.get(entity)
            if known is None or known.sha256 != certificate.sha256 or known.again <= fleet.now:
                found[entity] = ca
    return found


def ask(
    fleet: Fleet, asked: Mapping[Entity, Authority], decisions: Decisions, existing: Existing
) -> dict[Entity, RenewalInfo]:
    """Ask about each certificate. A server that fails once is not asked again in this build.

    All questions to a server have ``timeout`` seconds together.
    """
    from pgtls.certificates.acme import connected

    try:
        from pgtls.pki.acme import AcmeFault
    except ImportError:
        return {}
    servers: dict[str, Server | None] = {}
    found = {}
    for entity, ca in asked.items():
        certificate = decisions.certificates[entity].found.certificate
        assert isinstance(certificate, Certificate)  # noqa: S101
        known = existing.renewals.get(entity)
        window = (known.start, known.end) if known and known.sha256 == certificate.sha256 else (None, None)
        pause = PAUSE
        try:
            if ca.name not in servers:
                servers[ca.name] = None
                servers[ca.name] = connected(fleet, ca, time.monotonic() + _timeout(ca))
            server = servers[ca.name]
            if server and (renewal := server.renewal(certificate)):
                window, pause = (renewal.start, renewal.end), renewal.again
        except AcmeFault as fault:
            servers[ca.name] = None if fault.lasting else servers[ca.name]
        again = fleet.now + min(max(pause, PAUSE), LONGEST_PAUSE)
        found[entity] = RenewalInfo(certificate.sha256, *window, again.replace(microsecond=0))
    return found


def _timeout(ca: Authority) -> int:
    assert ca.table.sign is not None  # noqa: S101
    return ca.table.sign.timeout


def recorded(fleet: Fleet, decisions: Decisions, existing: Existing) -> dict[Entity, RenewalInfo]:
    """Return what to remember: what is known of each certificate after this build, and when to ask about a new one."""
    return dict(_recorded(fleet, decisions, existing))


def _recorded(fleet: Fleet, decisions: Decisions, existing: Existing) -> Iterator[tuple[Entity, RenewalInfo]]:
    for entity, decision in decisions.certificates.items():
        certificate, ca = _after(decision), signer(decision.profile, fleet)
        if ca and ca.acme and isinstance(certificate, Certificate):
            known = existing.renewals.get(entity)
            if known and known.sha256 == certificate.sha256:
                yield entity, known
            else:
                yield entity, RenewalInfo(certificate.sha256, None, None, (fleet.now + PAUSE).replace(microsecond=0))


def _after(decision: Decision) -> object:
    """Return the certificate of an entity after the build."""
    taken = decision.signed if isinstance(decision, Issue) else None
    return taken.certificate if taken else decision.found.certificate
