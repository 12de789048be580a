"""Carry out decisions in memory: make keys, sign certificates and CRLs. The only stage with randomness in it."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pgtls.build import layout
from pgtls.build.credentials import Credential, first_block
from pgtls.build.decide import crl_validity
from pgtls.build.lock import IssuedLine
from pgtls.build.model import Later
from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.pki import crl, facts, keys
from pgtls.pki.issue import Issuer, issue
from pgtls.pki.model import SELF_SIGNED, Certificate, RevocationList, Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from pgtls.build.decide import CrlDecision, Decision, Decisions
    from pgtls.build.lock import Lock
    from pgtls.build.observe import Existing

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
        {entity: _planned(decision) for entity, decision in decisions.certificates.items()},
        {
            name: Later.PENDING if decision.reason or existing.from_lock else _read(existing.out, layout.crl_path(name))
            for name, decision in decisions.crls.items()
        },
        (),
    )


def _planned(decision: Decision) -> Credential:
    if decision.reason or decision.found.pem is None:
        return Credential(Later.PENDING, Later.PENDING if decision.new_key else Later.KEPT)
    return Credential(first_block(decision.found.pem), Later.KEPT)


def carry_out(
    decisions: Decisions, existing: Existing, now: datetime, jobs: int, progress: Callable[[int], None]
) -> Material:
    """Make every key, certificate and CRL that was decided on. ``progress`` is told how many more certificates are there."""
    issuing = _Issuing(decisions, existing, now)
    issuing.make_keys(jobs)
    for decision in decisions.certificates.values():
        issuing.certificate(decision)
        progress(1)
    crls = {name: issuing.crl(decision) for name, decision in decisions.crls.items()}
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
        if decision.reason is None:
            self.credentials[profile.entity] = _planned(decision)
            if decision.adopted:
                self._record(decision, decision.found.certificate)
            return
        key = self.new_keys.get(profile.entity) or self._load_key(profile.entity)
        signer = self._issuer(profile.issuer) if profile.issuer else key
        above = self.decisions.certificates[f"ca.{profile.issuer}"] if profile.issuer else None
        issued = issue(
            profile,
            key.public_key(),
            signer,
            _serial(profile.issuer, self.existing.lock),
            self.now,
            above.end if above else None,
        )
        if profile.kind == "ca":
            self.issuers[profile.entity.removeprefix("ca.")] = Issuer(issued.certificate, key)
        pem = keys.to_pem(key) if decision.new_key else Later.KEPT
        self.credentials[profile.entity] = Credential(issued.pem, pem)
        self._record(decision, issued.facts)

    def crl(self, decision: CrlDecision) -> bytes | Later:
        """Sign a CRL, or take the one that stays."""
        name = decision.ca.name
        if decision.reason is None:
            return _read(self.existing.out, layout.crl_path(name))
        found = self.existing.crls.get(name)
        return crl.make(
            self._issuer(name),
            number=crl.next_number(found if isinstance(found, RevocationList) else None, self.now),
            now=self.now,
            validity=crl_validity(decision.ca),
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
            self.issuers[name] = Issuer(parsed[0], self._load_key(f"ca.{name}"))
        return self.issuers[name]

    def _load_key(self, entity: str) -> keys.PrivateKey:
        path = layout.key_path(entity)
        key = keys.load(_read(self.existing.out, path), ours=True)
        if isinstance(key, Unreadable):
            raise Rejected(Diagnostic("PGT557", f"the private key of {entity} cannot be read: {key.reason}", file=path))
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
