"""Decide whether to reissue a certificate: an ordered list of questions. The first question that applies is the reason.

Later questions rely on earlier ones: a comparison of names, for example, needs a readable certificate (see
docs/design.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgtls.certificates.model import KeyState, Reason, ReasonName
from pgtls.pki.expected import wanted_facts
from pgtls.pki.model import Certificate, Unreadable, ca_entity
from pgtls.pki.profiles import BACKDATED

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from pgtls.certificates.asked import Asked
    from pgtls.certificates.model import Found
    from pgtls.pki.model import Profile
    from pgtls.state.manifest import RenewalInfo


@dataclass(frozen=True, slots=True)
class Case:
    """One certificate as desired and as found.

    ``issuer_key_id`` is the subject key identifier of its issuer. It is None if that CA gets a new key in this build,
    and for a certificate that signs itself. ``limit`` is the earliest end in the issuer's chain.
    """

    wanted: Profile
    certificate: Certificate | Unreadable | None
    key: KeyState
    issuer_key_id: str | None
    limit: datetime | None
    revoked: bool
    asked: bool
    now: datetime
    issued: bool = False
    """Whether the lock lists a valid certificate of the entity."""
    by_program: bool = False
    """Whether the program of its CA signs it. Such a certificate may differ from the spec where no peer looks."""
    suggested: datetime | None = None
    """When its CA suggests to renew it (RFC 9773)."""
    misfit: Reason | None = None
    """Why a certificate that such a program signed does not fit the spec."""

    @property
    def found(self) -> Certificate:
        """The certificate, for questions after the first two."""
        assert isinstance(self.certificate, Certificate)  # noqa: S101
        return self.certificate

    @property
    def end_if_issued(self) -> datetime:
        """The end of a certificate that is issued now."""
        ends = (self.now + self.wanted.validity, self.limit, self.wanted.until)
        return min(end for end in ends if end is not None)


def too_old(certificate: Certificate, profile: Profile) -> bool:
    """Return whether the ``revoke_before`` of an entity revokes its certificate."""
    return issued_before(certificate, profile.revoke_before)


def issued_before(certificate: Certificate, instant: datetime | None) -> bool:
    """Return whether a certificate was issued before an instant, if there is one."""
    return instant is not None and certificate.not_before + BACKDATED < instant.replace(microsecond=0)


def due_at(certificate: Certificate, wanted: Profile, suggested: datetime | None = None) -> datetime:
    """Return when the renewal window opens: ``renew_before`` the end, by default a third of the issued lifetime.

    What the CA suggests comes before the default, but leaves a sixth of the lifetime, in which a CA may be away.
    """
    life = certificate.not_after - certificate.not_before
    usual = life / 3 if suggested is None else life / 6
    own = certificate.not_after - (usual if wanted.renew_before is None else wanted.renew_before)
    return own if suggested is None else min(own, suggested)


def suggested_at(info: RenewalInfo | None, certificate: object) -> datetime | None:
    """Return the instant in the suggested window at which to renew a certificate; None: there is no such window.

    RFC 9773 (4.2) spreads the clients over the window by chance. The digest of the certificate spreads them as well,
    and each build comes to the same instant.
    """
    if info is None or not isinstance(certificate, Certificate) or info.sha256 != certificate.sha256:
        return None
    if info.start is None or info.end is None:
        return None
    return info.start + (info.end - info.start) * (int(info.sha256[:8], 16) / 0xFFFFFFFF)


def reason(case: Case) -> Reason | None:
    """Return the first reason to issue a certificate. None: it stays."""
    for question in REASONS:
        if found := question(case):
            return found
    return None


def reason_for(case: Case, asked: Asked) -> Reason | None:
    """Return the first reason to issue a certificate; a new CA that the caller asked for comes before all others."""
    if case.wanted.kind == "ca" and case.wanted.entity.name in asked.new_ca:
        return Reason("asked", "a new CA was asked for")
    return reason(case)


def _missing(case: Case) -> Reason | None:
    if case.certificate:
        return None
    return Reason("missing", "its certificate is gone" if case.issued else "there is no certificate yet")


def _unreadable(case: Case) -> Reason | None:
    if isinstance(case.certificate, Unreadable):
        return Reason("unreadable", f"the certificate cannot be read: {case.certificate.reason}")
    return None


def _key_missing(case: Case) -> Reason | None:
    return Reason("key missing", "its private key is missing") if case.key == "missing" else None


def _key_mismatch(case: Case) -> Reason | None:
    if case.key in ("unreadable", "locked"):
        return Reason("key mismatch", "its private key cannot be read")
    return Reason("key mismatch", "the private key belongs to another certificate") if case.key == "mismatch" else None


def _issued_by_another(case: Case) -> Reason | None:
    if case.by_program:
        return None  # the misfit says it: CAs may stand between
    if case.wanted.issuer is None:
        differs = case.found.authority_key_id not in (None, case.found.key_id)
    else:
        differs = case.issuer_key_id is None or case.found.authority_key_id != case.issuer_key_id
    issuer = ca_entity(case.wanted.issuer) if case.wanted.issuer else "itself"
    return (
        Reason("issuer", f"it was not issued by the key of {issuer}", ("ca" if case.wanted.kind != "ca" else "issuer",))
        if differs
        else None
    )


def _differs(case: Case) -> Reason | None:
    if case.by_program:
        return case.misfit
    found, (subject, names, usages) = case.found, wanted_facts(case.wanted)
    names_field, usages_field = _FIELDS[case.wanted.kind]
    differing = tuple(
        field
        for field, want, have in (
            ("subject", subject, found.subject),
            (names_field, names, found.names),
            (usages_field, usages, found.usages),
            ("key_algorithm", case.wanted.key_algorithm, found.key_algorithm),
        )
        if want != have
    )
    return Reason("differs", f"{' and '.join(differing)} changed", differing) if differing else None


_FIELDS = {
    "ca": ("names", "path_length or name_constraints"),
    "server": ("hosts", "usages"),
    "user": ("common_name", "usages"),
}
"""The fields of the spec behind a certificate's names and usages."""


def _too_long(case: Case) -> Reason | None:
    if case.by_program:
        return None  # the program decides, as far as the misfit does not say otherwise
    # A slow clock must not extend a lifetime: for a certificate issued after now, count from now.
    start = max(case.now, case.found.not_before + BACKDATED)
    if case.found.not_after > start + case.wanted.validity:
        return Reason("too long", "it lives longer than its validity now allows", ("validity",))
    if case.wanted.until and case.found.not_after > case.wanted.until:
        return Reason("too long", "it outlives its user", ("until",))
    return None


def _revoked(case: Case) -> Reason | None:
    return Reason("revoked", "it was revoked") if case.revoked else None


def _expired(case: Case) -> Reason | None:
    if case.found.not_after <= case.now:
        return Reason("expired", f"it expired on {case.found.not_after:%Y-%m-%d}")
    return None


def _due(case: Case) -> Reason | None:
    # A certificate that expires with its issuer gains nothing from renewal. Without this test every build would renew
    # it.
    if case.suggested is not None and case.now >= case.suggested:
        return Reason("due", "its CA asks for renewal")
    due = due_at(case.found, case.wanted, case.suggested)
    if case.now >= due and case.end_if_issued > case.found.not_after:
        return Reason("due", f"it expires on {case.found.not_after:%Y-%m-%d}")
    return None


def _asked(case: Case) -> Reason | None:
    return Reason("asked", "its renewal was asked for") if case.asked else None


REASONS: tuple[Callable[[Case], Reason | None], ...] = (
    _missing,
    _unreadable,
    _key_missing,
    _key_mismatch,
    _issued_by_another,
    _differs,
    _too_long,
    _revoked,
    _expired,
    _due,
    _asked,
)
"""The questions, in their order."""


def needs_key(case: Case, found: Found, asked: Asked) -> bool:
    """Return whether a certificate that is issued again gets a new key, whatever the first reason is."""
    profile = case.wanted
    if found.stored == "elsewhere" and profile.kind != "ca":
        return False
    if found.key != "present":
        return True
    if profile.entity in asked.replace:
        return True
    if profile.kind == "ca":
        return profile.entity.name in asked.new_ca
    other = isinstance(case.certificate, Certificate) and case.certificate.key_algorithm != profile.key_algorithm
    return profile.rotate_key or case.revoked or other


def nothing_left(why: Reason, certificate: Certificate | Unreadable | None, wanted: Profile, now: datetime) -> bool:
    """Return whether the present certificate is no longer usable. Several reasons may hold at once."""
    if why.name in _NOTHING_LEFT or not isinstance(certificate, Certificate):
        return True
    return certificate.not_after <= now or too_old(certificate, wanted)


_NOTHING_LEFT: frozenset[ReasonName] = frozenset(
    ("missing", "unreadable", "key missing", "key mismatch", "revoked", "expired")
)
