"""Decide which certificates stay, are issued or revoked, and which CRLs are signed: facts in, decisions out."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pgtls.certificates import external, lock_changes, retired_cas, signers, supplied_keys, unlisted
from pgtls.certificates.clock import clock, issued_later
from pgtls.certificates.model import Adopt, CrlDecision, Decisions, Issue, Keep, makes_key, recorded_under, taken
from pgtls.certificates.previous_roots import previous_roots
from pgtls.certificates.reissue import Case, due_at, needs_key, reason_for
from pgtls.certificates.revocation import (
    by_owner,
    certified_again,
    from_the_future,
    is_revoked,
    is_stolen,
    keys_deleted,
    listed_keys_left,
    listing,
    mass_revocation,
    newly_listed,
    revocations,
    revoking_nothing,
    same_key_again,
    serials,
    stolen_keys,
    stolen_keys_left,
    unlistable,
)
from pgtls.certificates.self_signed import in_two_steps
from pgtls.diagnostics import Diagnostic
from pgtls.language.words import suggestion
from pgtls.pki import crl as pki_crl
from pgtls.pki.model import Certificate, Entity, RevocationList, ca_entity
from pgtls.pki.published import merged
from pgtls.state import layout

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from pgtls.certificates.asked import Asked
    from pgtls.certificates.model import Decision, Existing
    from pgtls.fleet.model import Authority, Fleet
    from pgtls.pki.model import Profile, Revocation, Unreadable
    from pgtls.state.lock import Lock, RevokedLine


def decide(fleet: Fleet, wanted: Mapping[Entity, Profile], existing: Existing, asked: Asked) -> Decisions:
    """Decide about every certificate that is desired or was issued, and about every CRL."""
    certificates: dict[Entity, Decision] = {}
    listed = serials(fleet)
    for profile in wanted.values():
        certificates[profile.entity] = _certificate(profile, fleet, existing, certificates, asked, listed)
    former = retired_cas.names(fleet, existing)
    owners = partial(by_owner, fleet=fleet, certificates=certificates, existing=existing, listed=listed, retired=former)
    fresh = revocations(existing, listed, owners, fleet.now)
    revoked = (*existing.forgotten, *fresh)
    doubted = bool(issued_later(existing.whole_lock, fleet.now))
    crls = {
        ca.name: _crl(ca, certificates[ca.entity], revoked, existing, listed[ca.name], fleet.now, doubted=doubted)
        for ca in fleet.cas.values()
        if ca.table.crl and external.has_list(ca, existing)
    }
    retired, unsigned = retired_cas.decide(fleet, existing, revoked, fleet.now, doubted=doubted)
    stolen = stolen_keys(certificates, existing)
    problems = (
        *_unknown(asked, (*wanted, *existing.outside.acme)),
        *_not_lost(asked, existing),
        *_problems(certificates.values(), existing, asked, fleet.now),
        *external.lost_accounts(existing),
        *supplied_keys.problems(fleet, certificates, existing),
        *_taken(
            lock_changes.revoked_by_others(existing, revoked, listed, owners, fleet.now),
            *(revoked, (*crls.values(), *retired), fleet, existing, certificates, asked),
        ),
        *unlistable((*crls.values(), *retired), existing.drift),
        *same_key_again(certificates.values(), existing, listed, stolen),
        *certified_again(certificates.values(), existing, listed, asked.renew),
        *revoking_nothing(fleet, certificates, existing.lock),
        *stolen_keys_left(certificates, stolen, revoked, existing, fleet.now),
        *listed_keys_left(existing, listed, revoked, fleet.now),
        *external.crl_problems(crls, existing, fleet.now),
        *external.above_problems(existing.outside, fleet.now),
        *unlisted.unseen_revocations(fleet, existing, revoked, (*crls.values(), *retired)),
        *unsigned,
        *clock(existing, fleet.now, issuing=any(isinstance(one, Issue) for one in certificates.values())),
    )
    return Decisions(certificates, revoked, crls, problems, retired)


def _taken(
    others: frozenset[str],
    revoked: Sequence[RevokedLine],
    crls: Collection[CrlDecision],
    fleet: Fleet,
    existing: Existing,
    certificates: Mapping[Entity, Decision],
    asked: Asked,
) -> Iterator[Diagnostic]:
    """Refuse to remove certificates and keys from entities unless the caller requested it.

    ``others`` are those whose certificates lines of others would revoke.
    """
    here = {
        one.sha256: (recorded_under(decision.profile), entity, one)
        for entity, decision in certificates.items()
        if isinstance(one := decision.found.certificate, Certificate)
    }
    yield from lock_changes.faults(fleet, existing, others, here, allowed=asked.allow_revoke)
    fresh = (line.entity for line in revoked if (line.ca, line.serial) not in existing.lock.revocations)
    losing = {*fresh, *newly_listed(crls, existing)} - others
    deleted, left = keys_deleted(existing, fleet, certificates), sorted(retired_cas.leaving(fleet, existing))
    yield from mass_revocation(losing, deleted, left, allowed=asked.allow_revoke)


def _problems(decisions: Collection[Decision], existing: Existing, asked: Asked, now: datetime) -> Iterator[Diagnostic]:
    """Report faults of certificates and keys."""
    replaced = asked.replace | {ca_entity(name) for name in asked.new_ca}
    yield from (problem for decision in decisions for problem in decision.problems)
    yield from external.wrong_keys(decisions, existing.outside)
    yield from external.locked(decisions, existing.outside, replaced)
    issued = [decision for decision in decisions if isinstance(decision, Issue)]
    for decision in issued:
        yield from _authority_faults(decision, existing.whole_lock, replaced, now)
    for decision in issued:
        yield from _foreign_faults(decision, asked)


_ENTITIES = "entities are ca.NAME, server.NAME, pooler.NAME or user.NAME"


def _unknown(asked: Asked, wanted: Sequence[Entity]) -> Iterator[Diagnostic]:
    names: dict[str, str] = {ca_entity(name): f"--new-ca {name}" for name in asked.new_ca}
    names |= {name: f"--renew {name}" for name in asked.renew - {"all"}} | {
        name: f"--replace {name}" for name in asked.replace
    }
    for entity in sorted(names.keys() - set(wanted)):
        named = [known for known in wanted if known.name == entity]
        meant = " or ".join(f'"{known}"' for known in named)
        hint = f"did you mean {meant}?" if named else suggestion(entity, wanted) or _ENTITIES
        yield Diagnostic("PGT556", f'{names[entity]}: the spec asks for no certificate of "{entity}"', hint=hint)


def _not_lost(asked: Asked, existing: Existing) -> Iterator[Diagnostic]:
    for name in () if existing.from_lock else sorted(asked.new_ca):
        found = existing.found.get(ca_entity(name))
        if ca_entity(name) in existing.outside.tokens:
            continue  # only the token knows, and it is asked later
        if found and found.key == "present" and isinstance(found.certificate, Certificate):
            hint = (
                f"--replace ca.{name} gives the CA a new key: "
                "everything that it signed is issued again, and every bundle must be deployed"
            )
            yield Diagnostic("PGT556", f'--new-ca {name}: the private key of CA "{name}" is there', hint=hint)


def _certificate(
    profile: Profile,
    fleet: Fleet,
    existing: Existing,
    decided: Mapping[Entity, Decision],
    asked: Asked,
    listed: Mapping[str, set[str]],
) -> Decision:
    """Decide about one certificate. ``decided`` are the earlier decisions about CAs."""
    found, now = existing.found[profile.entity], fleet.now
    if profile.entity in existing.outside.not_ours:
        earlier = found.certificate if found.earlier else None
        stolen = isinstance(earlier, Certificate) and is_stolen(profile, earlier, existing, listed)
        return external.signed_outside(profile, found, fleet, existing, decided, asked, stolen=stolen)
    case = _case(profile, existing, decided, asked, listed, now)
    if signers.signer(profile, fleet):
        return signers.decided(case, fleet, existing, decided, asked)
    why = reason_for(case, asked)
    if why is None:
        beside = previous_roots(profile, found, existing, now, reissued=False)
        stays = Keep if found.ours else Adopt
        end, due = case.found.not_after, due_at(case.found, profile)
        decision: Keep | Adopt | Issue = stays(profile=profile, found=found, end=end, due=due, beside=beside)
    else:
        new_key = needs_key(case, found, asked)
        cause = external.missing_signer(profile, found, decided, now, new_key=new_key)
        if cause and not existing.from_lock:
            beside = previous_roots(profile, found, existing, now, reissued=False)
            return external.waiting(profile, found, why, cause, beside, existing, now)
        beside = None if new_key else previous_roots(profile, found, existing, now, reissued=True)
        end = case.end_if_issued
        due = end - ((end - now) / 3 if profile.renew_before is None else profile.renew_before)
        decision = Issue(profile=profile, found=found, end=end, due=due, beside=beside, reason=why, new_key=new_key)
    if profile.kind == "server" and profile.issuer is None and not existing.from_lock:
        return in_two_steps(decision, existing, asked.replace, now)
    return decision


def _case(
    profile: Profile,
    existing: Existing,
    decided: Mapping[Entity, Decision],
    asked: Asked,
    listed: Mapping[str, set[str]],
    now: datetime,
) -> Case:
    found = existing.found[profile.entity]
    above = decided.get(ca_entity(profile.issuer)) if profile.issuer else None
    last = found.certificate if isinstance(found.certificate, Certificate) else _last(profile.entity, existing.lock)
    return Case(
        wanted=profile,
        certificate=found.certificate,
        key=found.key,
        issuer_key_id=_key_id(above, existing.lock) if above else None,
        limit=above.end if above else None,
        revoked=last is not None and is_revoked(profile, last, existing, listed),
        asked=not asked.renew.isdisjoint({profile.entity, "all"}) or profile.entity in asked.replace,
        now=now,
        issued=existing.lock.opens(profile.entity, now),
    )


def _last(entity: Entity, lock: Lock) -> Certificate | None:
    """Return the last certificate of an entity: its file is gone, its key is not."""
    known = lock.latest.get(entity)
    return known.certificate if known else None


def _key_id(issuer: Decision, lock: Lock) -> str | None:
    """Return the key identifier of an issuer after this build; None if it gets a new key or is unknown."""
    if signed := taken(issuer):
        return signed.certificate.key_id
    if makes_key(issuer):
        return None
    if isinstance(issuer.found.certificate, Certificate):
        return issuer.found.certificate.key_id
    known = lock.latest.get(issuer.profile.entity)
    return known.certificate.key_id if known else None


def _authority_faults(decision: Issue, lock: Lock, replaced: Collection[str], now: datetime) -> Iterator[Diagnostic]:
    """Refuse to recreate, rename or re-key a CA unless asked to (--new-ca, --replace)."""
    profile, why = decision.profile, decision.reason
    name = profile.entity.name
    if profile.kind != "ca" or profile.entity in replaced:
        return
    known = lock.latest.get(profile.entity)
    if decision.found.key not in ("present", "locked") and known:
        dependent = len({line.entity for line in lock.alive(now) if line.ca == name} - {profile.entity})
        yield Diagnostic(
            "PGT550",
            f'the private key of CA "{name}" is {_KEY_STATES[decision.found.key]}, but the lock lists this CA; '
            f"{dependent} {'certificate depends' if dependent == 1 else 'certificates depend'} on it",
            path=("ca", name),
            at="table",
            hint=f"restore ca/{name}/ca.key in the out directory from a backup, or from ca/.retired if this CA had "
            f"left the spec; or replace this CA with --new-ca {name}: everything that it signed is issued again, "
            "and every bundle must be deployed",
        )
    elif not {"subject", "key_algorithm"}.isdisjoint(why.fields):
        fields = " and ".join(field for field in why.fields if field in ("subject", "key_algorithm"))
        yield Diagnostic(
            "PGT551",
            f'{fields} of CA "{name}" changed, but a CA never changes in place: '
            "peers that trust it would reject the new one",
            path=("ca", name),
            at="table",
            hint="roll over: add a new CA next to this one, build and deploy it as trusted, then use it as issuer; "
            f"or replace it at once with --replace ca.{name}",
        )


_KEY_STATES = {
    "missing": "missing",
    "unreadable": "unreadable",
    "mismatch": "not the one that its certificate was made for",
}


def _foreign_faults(decision: Issue, asked: Asked) -> Iterator[Diagnostic]:
    """Report files that pgtls did not write and that do not satisfy the spec. Overwrite them only with --replace."""
    entity, why = decision.profile.entity, decision.reason
    if decision.found.ours or decision.found.pem is None or entity in asked.replace:
        return
    yield Diagnostic(
        "PGT552",
        f"the certificate of {entity} was not written by pgtls and does not satisfy the spec: {why.text}",
        path=entity.path,
        at="table",
        hint=f"move it away, or let pgtls replace it with --replace {entity}",
    )


def _crl(
    ca: Authority,
    decision: Decision,
    revocations: Sequence[RevokedLine],
    existing: Existing,
    named: Collection[str],
    now: datetime,
    *,
    doubted: bool,
) -> CrlDecision:
    """Decide about a CRL. ``named`` are the serial numbers that the spec revokes; ``doubted`` is the clock."""
    found, own = existing.crls.get(ca.name), decision.found.certificate
    there = found if isinstance(found, RevocationList) else None
    everywhere = merged((there, existing.elsewhere[ca.name])) if ca.name in existing.elsewhere else there
    names = existing.ca_names
    # A clone cannot tell a true end in a line from one that somebody wrote: its entries stay on the CRL.
    lines = () if existing.cloned else existing.lock.by_serial.values()
    issued = (line for line in lines if ca.name in names.of(line))
    known = (one for one in (*existing.lock.revocations.values(), *revocations) if ca.name in names.of_revoked(one))
    entries = listing(everywhere, issued, known, named, now)
    why = _crl_reason(found, _key_id(decision, existing.lock), entries, now)
    if from_the_future(there, own, now):
        why = "it is not yet valid"
    validity = pki_crl.lasting(there, ca.crl_validity, now, doubted=doubted)
    due = pki_crl.half_life(there) if there and why is None else now + validity / 2
    number = pki_crl.next_number(everywhere, now)
    crl = CrlDecision(ca.entity, layout.crl_path(ca.name), found, why, due, number, entries, validity)
    return external.withheld_crl(crl, decision, existing, now)


def _crl_reason(
    found: RevocationList | Unreadable | None, key_id: str | None, entries: Sequence[Revocation], now: datetime
) -> str | None:
    if found is None:
        return "there is no CRL yet"
    if not isinstance(found, RevocationList):
        return f"the CRL cannot be read: {found.reason}"
    if found.authority_key_id != key_id:
        return "it was signed by another key"
    if not pki_crl.covers(found, entries):
        return "what is revoked changed"
    return pki_crl.why_due(found, now)
