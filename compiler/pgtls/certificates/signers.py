"""Decide about certificates that a program or an ACME server signs (``sign``): keep, ask for one, take it, or wait.

A plan only decides to ask. A build then asks (:mod:`pgtls.certificates.signing`) and decides once more, with the
answers. An answer is checked like the certificate of an ``external`` signer. What does not fit is no answer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from pgtls.certificates.chain import NoWay, unlisted, way_up
from pgtls.certificates.credentials import blocks
from pgtls.certificates.external import Cause, Misfit, misfits, not_yet_valid, waiting, weak_signatures
from pgtls.certificates.model import Adopt, Issue, Keep, NoAnswer, Reason, recorded_under
from pgtls.certificates.reissue import due_at, needs_key, reason_for, suggested_at
from pgtls.fleet.fields import identity_named
from pgtls.pki.model import Certificate
from pgtls.pki.profiles import BACKDATED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from cryptography import x509

    from pgtls.certificates.asked import Asked
    from pgtls.certificates.model import Answer, Decision, Existing, Found, Wait
    from pgtls.certificates.reissue import Case
    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Authority, Fleet
    from pgtls.pki.model import Entity, Profile


def signer(profile: Profile, fleet: Fleet) -> Authority | None:
    """Return the CA whose program or ACME server signs the certificate of this profile, if one does."""
    if profile.issuer is not None:
        ca = fleet.cas[profile.issuer]
        return ca if ca.table.sign else None
    public = fleet.public
    return public if public and profile.kind == "server" and identity_named(fleet, profile.entity).system else None


def decided(
    case: Case, fleet: Fleet, existing: Existing, above: Mapping[Entity, Decision], asked: Asked
) -> Keep | Adopt | Issue | Wait:
    """Decide about a certificate that a program signs. ``above`` are the decisions about CAs."""
    profile, answer = case.wanted, existing.answers.get(case.wanted.entity)
    found = _with_chain(existing.found[profile.entity])
    wrong, way = _compared(profile, found, fleet, existing, above) if found.pem else ([], ())
    if found.pem is None and isinstance(found.certificate, Certificate):  # all that the lock knows
        wrong = [*misfits(profile, found.certificate, fleet), *_other_key(profile, found.certificate)]
    suggested = suggested_at(existing.renewals.get(profile.entity), found.certificate)
    case = replace(case, by_program=True, misfit=_misfit(wrong), suggested=suggested)
    why = reason_for(replace(case, wanted=_lenient(profile, found.certificate)), asked)
    if why is None:
        problems = tuple(_unlisted(profile, found.pem, way, fleet, existing)) if found.pem else ()
        return _kept(profile, replace(found, above=_pems(way)), way, problems, suggested)
    new_key = needs_key(case, found, asked)
    if answer is None:
        end = case.end_if_issued
        due = end - ((end - case.now) / 3 if profile.renew_before is None else profile.renew_before)
        return Issue(profile=profile, found=found, end=end, due=due, reason=why, new_key=new_key)
    if not (case.misfit and case.misfit.name == "issuer"):  # else it is of another CA, and keeps the CAs of its file
        found = replace(found, above=_pems(way))
    if isinstance(answer, NoAnswer):
        return _waiting(case, fleet, existing, found, why, answer)
    fault, way = _judged(answer, case, fleet, existing, above)
    if fault:
        unfit = NoAnswer(f"returned a certificate that does not fit: {fault}")
        return _waiting(case, fleet, existing, found, why, unfit)
    end, due = _times(profile, answer.signed.certificate, way)
    signed = replace(answer.signed, above=_pems(way))
    return Issue(profile=profile, found=found, end=end, due=due, reason=why, new_key=new_key, signed=signed)


def _with_chain(found: Found) -> Found:
    """Take the file of a certificate apart: the certificate, and the CAs above it that came with it."""
    if found.pem is None or not isinstance(found.certificate, Certificate):
        return found
    own, *others = blocks(found.pem)
    return replace(found, pem=own, above=tuple(others))


def _kept(
    profile: Profile,
    found: Found,
    way: tuple[x509.Certificate, ...],
    problems: tuple[Diagnostic, ...],
    suggested: datetime | None,
) -> Keep | Adopt:
    assert isinstance(found.certificate, Certificate)  # noqa: S101  (otherwise there is a reason)
    end, due = _times(profile, found.certificate, way, suggested)
    stays = Keep if found.ours else Adopt
    return stays(profile=profile, found=found, end=end, due=due, problems=problems)


def _unlisted(
    profile: Profile, pem: bytes, way: tuple[x509.Certificate, ...], fleet: Fleet, existing: Existing
) -> Iterator[Diagnostic]:
    """Find CAs between a certificate and the CA of the spec whose CRL a peer checks, and does not have."""
    hint = f"name the CA that signs first in cert_file of [ca.{profile.issuer}], then those above it, with all CRLs"
    for problem in unlisted(profile, pem, way, fleet, existing):
        yield replace(problem, path=profile.entity.path, at="table", hint=hint)


def _times(
    profile: Profile, certificate: Certificate, way: tuple[x509.Certificate, ...], suggested: datetime | None = None
) -> tuple[datetime, datetime]:
    """Return when a certificate ends, at the latest with the CAs above it, and when its renewal window opens."""
    end = min([certificate.not_after, *(ca.not_valid_after_utc for ca in way)])
    return end, due_at(certificate, _lenient(profile, certificate), suggested)


def _lenient(profile: Profile, certificate: object) -> Profile:
    """Ignore a ``renew_before`` that is not shorter than the lifetime of a certificate: every build would renew it."""
    if profile.renew_before is None or not isinstance(certificate, Certificate):
        return profile
    life = certificate.not_after - certificate.not_before
    return replace(profile, renew_before=None) if profile.renew_before >= life else profile


def _compared(
    profile: Profile, found: Found, fleet: Fleet, existing: Existing, above: Mapping[Entity, Decision]
) -> tuple[list[Misfit], tuple[x509.Certificate, ...]]:
    """Compare a certificate with the spec; also return the CAs between it and the CA of the spec."""
    certificate = found.certificate
    if not isinstance(certificate, Certificate):
        return [], ()
    way = way_up(profile, found, fleet, existing, above)
    wrong = [*misfits(profile, certificate, fleet), *_other_key(profile, certificate)]
    if isinstance(way, NoWay):
        return [Misfit("ca" if profile.kind != "ca" else "issuer", way.reason), *wrong], ()
    return wrong, way


def _other_key(profile: Profile, certificate: Certificate) -> Iterator[Misfit]:
    if certificate.key_algorithm != profile.key_algorithm:
        yield Misfit("key_algorithm", f"its key is {certificate.key_algorithm}, not {profile.key_algorithm}")


def _misfit(wrong: list[Misfit]) -> Reason | None:
    if not wrong:
        return None
    fields = tuple(dict.fromkeys(one.field for one in wrong))
    astray = wrong[0].field in ("ca", "issuer")
    return Reason("issuer" if astray else "differs", "; ".join(one.text for one in wrong), fields)


def _pems(way: tuple[x509.Certificate, ...]) -> tuple[bytes, ...]:
    return tuple(ca.public_bytes(Encoding.PEM) for ca in way)


# ---- answers ---------------------------------------------------------------------------------------------------------


def _judged(
    answer: Answer, case: Case, fleet: Fleet, existing: Existing, above: Mapping[Entity, Decision]
) -> tuple[str, tuple[x509.Certificate, ...]]:
    """Return why an answer cannot be used, or nothing; also the CAs between it and the CA of the spec."""
    profile, signed = case.wanted, answer.signed
    found = replace(existing.found[profile.entity], certificate=signed.certificate, pem=signed.pem, above=signed.above)
    wrong, way = _compared(profile, found, fleet, existing, above)
    texts = [*_unusable(answer, case, existing), *(one.text for one in wrong), *weak_signatures(found)]
    texts += [problem.message for problem in _unlisted(profile, signed.pem, way, fleet, existing)]
    return "; ".join(texts), way


def _unusable(answer: Answer, case: Case, existing: Existing) -> Iterator[str]:
    """Yield why an answer is unusable for this CSR at this time."""
    certificate, profile = answer.signed.certificate, case.wanted
    if certificate.spki_sha256 != answer.spki_sha256:
        yield "its key is not that of the CSR"
    if certificate.not_after <= answer.at:
        yield f"it ended on {certificate.not_after:%Y-%m-%d}"
    yield from not_yet_valid(certificate, answer.at + BACKDATED)  # clocks differ, and time passes since the start
    known = existing.whole_lock.by_serial.get((recorded_under(profile), certificate.serial))
    if known:
        which = "it was issued before" if known.certificate.sha256 == certificate.sha256 else "another one has it"
        yield f"its serial number {certificate.serial} is not new: {which}"


def _waiting(case: Case, fleet: Fleet, existing: Existing, found: Found, why: Reason, answer: NoAnswer) -> Wait:
    first, ca = case.certificate is None and not case.issued, signer(case.wanted, fleet)
    assert ca is not None  # noqa: S101
    whose, hint = ("ACME server", _ORDER_AGAIN) if ca.acme else ("program", _HINT)
    cause = Cause(f'the {whose} of ca "{ca.name}" {answer.reason}', first=first, hint=answer.hint or hint)
    return waiting(case.wanted, found, why, cause, None, existing, case.now)


_ORDER_AGAIN = "correct this, and run the build again, which asks once more"
_HINT = "correct the program or the spec, and run the build again"
