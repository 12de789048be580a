"""Carry out decisions in memory: make keys, sign certificates and CRLs. The only stage with randomness in it."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pgtls.certificates.credentials import Credential, first_block
from pgtls.certificates.passphrases import way_out
from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.pki import crl, facts, keys
from pgtls.pki.issue import Issuer, issue
from pgtls.pki.model import SELF_SIGNED, Certificate, RevocationList, Unreadable
from pgtls.state import layout
from pgtls.state.lock import IssuedLine
from pgtls.state.tree import Later

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from pgtls.certificates.model import CrlDecision, Decision, Decisions
    from pgtls.certificates.observe import Existing
    from pgtls.state.lock import Lock

SERIAL_BITS = 159
"""At most 20 octets with the sign bit clear, and far more than 64 bits of randomness (RFC 5280, 4.1.2.2)."""


@dataclass(frozen=True, slots=True)
class Material:
    """What was issued, ready to be rendered and recorded."""

    credentials: Mapping[str, Credential]
    crls: Mapping[str, bytes | Later]
    lines: tuple[IssuedLine, ...]


def planned(decisions: Decisions, existing: Existing) -> Material:
    """Give the material as a plan sees it: what will be issued is pending."""
    return Material(
        {
            entity: _beside(decision, _planned(decision, existing))
            for entity, decision in decisions.certificates.items()
        },
        {
            name: Later.PENDING if decision.reason or existing.from_lock else _kept_crl(existing, name)
            for name, decision in decisions.crls.items()
            if decision.reason or existing.from_lock or name in existing.crls
        },
        (),
    )


def _planned(decision: Decision, existing: Existing) -> Credential:
    found = decision.found
    request = _planned_request(decision, existing)
    if decision.waits and found.pem is None:
        return Credential(None, _planned_key(decision), request=request)
    if decision.reason or found.pem is None:
        return Credential(Later.PENDING, _planned_key(decision), request=request)
    return Credential(first_block(found.pem), _planned_key(decision), found.above, request)


def _beside(decision: Decision, credential: Credential) -> Credential:
    """Add what lies beside the pair of a self-signed server."""
    beside = decision.beside
    if beside is None:
        return credential
    following = (beside.next, Later.KEPT) if beside.next else (Later.PENDING, Later.PENDING) if beside.issue else None
    return replace(credential, following=following, previous=beside.previous)


def _planned_key(decision: Decision) -> Later | None:
    if decision.new_key or (decision.found.stored == "written" and decision.found.key == "present"):
        return Later.PENDING
    gone = decision.found.stored == "elsewhere" or decision.found.key == "missing"
    return None if gone else Later.KEPT


def _planned_request(decision: Decision, existing: Existing) -> Later | None:
    """Whether a request for somebody else to sign lies in the tree, or has to be made."""
    entity = decision.profile.entity
    if entity not in existing.outside.external or existing.from_lock:
        return None
    there = existing.content(layout.request_path(entity))
    if decision.new_key or there is None:
        return Later.PENDING
    from pgtls.pki import csr

    request = csr.read(there)
    fits = not isinstance(request, Unreadable) and csr.asks_for(request, decision.profile)
    return Later.KEPT if fits else Later.PENDING


def _kept_crl(existing: Existing, name: str) -> bytes:
    given = existing.outside.crls.get(name)
    return given.pem if given else _read(existing.out, layout.crl_path(name))


def carry_out(
    decisions: Decisions, existing: Existing, now: datetime, jobs: int, progress: Callable[[int], None]
) -> Material:
    """Make every key, certificate and CRL that was decided on. ``progress`` is told how many more certificates are there."""
    issuing = _Issuing(decisions, existing, now)
    issuing.make_keys(jobs)
    for decision in decisions.certificates.values():
        issuing.certificate(decision)
        progress(1)
    crls = {
        name: issuing.crl(decision)
        for name, decision in decisions.crls.items()
        if decision.reason or name in existing.crls
    }
    return Material(issuing.credentials, crls, tuple(issuing.lines))


@dataclass(slots=True)
class _Issuing:
    """The state of one round of issuing: what has been made so far, and the issuers that had to be loaded."""

    decisions: Decisions
    existing: Existing
    now: datetime
    credentials: dict[str, Credential] = field(default_factory=dict)
    lines: list[IssuedLine] = field(default_factory=list)
    new_keys: dict[str, keys.PrivateKey] = field(default_factory=dict)
    issuers: dict[str, Issuer] = field(default_factory=dict)

    def make_keys(self, jobs: int) -> None:
        """Make all keys first: RSA takes most of the time of a build, and all cores."""
        wanted = {e: d.profile.key_algorithm for e, d in self.decisions.certificates.items() if d.new_key}
        self.new_keys = dict(zip(wanted, keys.generate_many(list(wanted.values()), jobs), strict=True))

    def certificate(self, decision: Decision) -> None:
        """Issue one certificate, or take the one that stays."""
        profile = decision.profile
        planned = _beside(decision, _planned(decision, self.existing))
        planned = replace(planned, key=self._key_file(decision, planned), request=self._request(decision, planned))
        self.credentials[profile.entity] = planned
        if decision.beside and decision.beside.issue:
            self._following(decision, planned)
        if decision.reason is None:
            if decision.adopted:
                self._record(decision, decision.found.certificate)
            return
        request = self.existing.outside.requests.get(profile.entity)
        signer = self._issuer(profile.issuer) if profile.issuer else self._key(profile.entity)
        above = self.decisions.certificates[f"ca.{profile.issuer}"] if profile.issuer else None
        issued = issue(
            profile,
            request or self._key(profile.entity).public_key(),
            signer,
            _serial(profile.issuer, self.existing.lock),
            self.now,
            above.end if above else None,
        )
        if profile.kind == "ca":
            self.issuers[profile.entity.removeprefix("ca.")] = Issuer(issued.certificate, self._key(profile.entity))
        self.credentials[profile.entity] = replace(planned, certificate=issued.pem)
        self._record(decision, issued.facts)

    def _following(self, decision: Decision, planned: Credential) -> None:
        """Make the next pair of a self-signed server."""
        profile, outside = decision.profile, self.existing.outside
        key = keys.generate(profile.key_algorithm)
        issued = issue(profile, key.public_key(), key, _serial(None, self.existing.lock), self.now)
        passphrase = outside.passphrase(profile.entity) if profile.entity in outside.guarded else None
        following = issued.pem, keys.to_pem(key, passphrase)
        self.credentials[profile.entity] = replace(planned, following=following)
        self._record(decision, issued.facts)

    def crl(self, decision: CrlDecision) -> bytes | Later:
        """Sign a CRL, or take the one that stays."""
        name = decision.ca.name
        if decision.reason is None:
            return _kept_crl(self.existing, name)
        found = self.existing.crls.get(name)
        return crl.make(
            self._issuer(name),
            number=crl.next_number(found if isinstance(found, RevocationList) else None, self.now),
            now=self.now,
            validity=decision.validity,
            revocations=decision.entries,
        )

    def _record(self, decision: Decision, certificate: Certificate | Unreadable | None) -> None:
        assert isinstance(certificate, Certificate)  # noqa: S101
        self.lines.append(IssuedLine(_signer(decision), decision.profile.entity, certificate))

    def _issuer(self, name: str) -> Issuer:
        if name not in self.issuers:
            decision = self.decisions.certificates[f"ca.{name}"]
            parsed = facts.parse(decision.found.pem or b"")
            assert not isinstance(parsed, Unreadable)  # noqa: S101  (it was read before)
            self.issuers[name] = Issuer(parsed[0], self._key(f"ca.{name}"))
        return self.issuers[name]

    def _key_file(self, decision: Decision, planned: Credential) -> bytes | Later | None:
        """Write a key that is new, or that is to be protected in another way."""
        entity = decision.profile.entity
        if planned.key is not Later.PENDING:
            return planned.key
        outside = self.existing.outside
        return keys.to_pem(self._key(entity), outside.passphrase(entity) if entity in outside.guarded else None)

    def _request(self, decision: Decision, planned: Credential) -> bytes | Later | None:
        from pgtls.pki import csr

        if planned.request is not Later.PENDING:
            return planned.request
        return csr.make(decision.profile, self._key(decision.profile.entity))

    def _key(self, entity: str) -> keys.PrivateKey:
        """Give the key of an entity: a new one, one that was lent or brought along, or the one in the tree."""
        if entity not in self.new_keys:
            self.new_keys[entity] = self._load_key(entity)
        return self.new_keys[entity]

    def _load_key(self, entity: str) -> keys.PrivateKey:
        outside, path = self.existing.outside, layout.key_path(entity)
        beside = self.decisions.certificates[entity].beside
        if beside and beside.promoted:
            path = layout.path(entity, layout.SERVER_NEXT_KEY)
        if entity in outside.lent:
            return outside.lent[entity]
        if entity in outside.key_files and self.existing.found[entity].stored == "written":
            key = outside.brought_key(entity)
        else:
            pem = _read(self.existing.out, path)
            key = keys.load(pem, outside.passphrase(entity) if keys.is_encrypted(pem) else None, ours=True)
        if isinstance(key, Unreadable):
            profile, guarded = self.decisions.certificates[entity].profile, entity in outside.guarded
            hint = way_out(profile, guarded=True, path=path) if guarded else "restore it from a backup"
            message = f"the private key of {entity} cannot be read: {key.reason}"
            raise Rejected(Diagnostic("PGT561" if guarded else "PGT557", message, hint=hint, file=path))
        return key


def _read(out: str, path: str) -> bytes:
    with open(os.path.join(out, path), "rb") as file:
        return file.read()


def _signer(decision: Decision) -> str:
    """Under what NAME the lock files a certificate; a root under its own."""
    profile = decision.profile
    if profile.issuer:
        return profile.issuer
    return profile.entity.removeprefix("ca.") if profile.kind == "ca" else SELF_SIGNED


def _serial(issuer: str | None, lock: Lock) -> int:
    while True:
        serial = secrets.randbits(SERIAL_BITS)
        if serial and (issuer or "", f"{serial:x}") not in lock.by_serial:
            return serial
