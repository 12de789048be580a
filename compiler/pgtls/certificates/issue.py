"""Carry out decisions in memory: make keys, sign certificates and CRLs. Only this stage uses randomness."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pgtls.certificates.credentials import Credential, first_block
from pgtls.certificates.model import (
    ACCOUNT_ALGORITHM,
    Answer,
    Issue,
    Keep,
    Wait,
    is_adopted,
    makes_key,
    recorded_under,
    taken,
)
from pgtls.pki import crl, facts, keys
from pgtls.pki.encryption import derive_all
from pgtls.pki.issue import Issuer, issue
from pgtls.pki.model import SERIAL_BITS, Certificate, Entity, RevocationList, Unreadable, ca_entity
from pgtls.state import layout
from pgtls.state.lock import IssuedLine
from pgtls.state.tree import Later

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from datetime import datetime

    from pgtls.certificates.model import CrlDecision, Decision, Decisions, Existing, Keyring, Outside, Signed
    from pgtls.pki.keys import PrivateKey
    from pgtls.state.lock import Lock, RevokedLine


@dataclass(frozen=True, slots=True)
class Material:
    """The issued material, ready to render and to record."""

    credentials: Mapping[Entity, Credential]
    """By entity."""
    crls: Mapping[str, bytes | Later]
    """By NAME of the CA."""
    retired: Mapping[str, bytes | Later]
    """CRLs by path: those of CAs that left the spec and that this build signs again."""
    accounts: Mapping[Entity, bytes | Later] = field(default_factory=dict)
    """By CA: the keys of accounts with ACME servers."""
    lines: tuple[IssuedLine, ...] = ()
    """The new lines of the lock."""
    keys: Mapping[Entity, keys.PrivateKey] = field(default_factory=dict)
    """The keys that this build made or opened."""
    formats: Mapping[Entity, Mapping[str, bytes | Later]] = field(default_factory=dict)
    """By entity and file: keys in other formats than PEM; see :mod:`pgtls.certificates.key_formats`."""


def planned(decisions: Decisions, existing: Existing) -> Material:
    """Return the material for a plan: certificates that the build will issue are pending."""
    return Material(
        _with_lists({e: _planned(decision, existing) for e, decision in decisions.certificates.items()}, existing),
        {
            name: Later.PENDING if one.reason or existing.from_lock else _kept_crl(existing, name)
            for name, one in decisions.crls.items()
            if one.reason or existing.from_lock or name in existing.crls
        },
        {one.path: Later.PENDING for one in decisions.retired if one.reason},
        {ca: Later.PENDING if ca in written_accounts(existing) else Later.KEPT for ca in existing.accounts},
    )


def written_accounts(existing: Existing) -> frozenset[Entity]:
    """Return the CAs whose account key a build writes: it is new, or the spec has a passphrase for it now."""
    accounts, guarded = existing.accounts, existing.outside.guarded
    open_ones = (ca for ca in accounts.keys() & guarded if (accounts[ca].pem or b"").startswith(b"-----BEGIN PRIVATE"))
    return frozenset((*(ca for ca, account in accounts.items() if account.pem is None), *open_ones))


def _planned(decision: Decision, existing: Existing) -> Credential:
    found, beside = decision.found, decision.beside
    certificate: bytes | Later | None = first_block(found.pem) if found.pem else Later.PENDING
    signed = taken(decision)
    if signed:
        certificate = signed.pem
    elif isinstance(decision, Issue):
        certificate = Later.PENDING
    elif isinstance(decision, Wait) and found.pem is None:
        certificate = None
    return Credential(
        certificate,
        _planned_key(decision, existing.outside),
        (signed or found).above if isinstance(certificate, bytes) else (),
        _planned_request(decision, existing),
        following=(beside.next, Later.KEPT)
        if beside and beside.next
        else (Later.PENDING, Later.PENDING)
        if beside and beside.makes_next
        else None,
        previous=beside.previous if beside else None,
        earlier=found.earlier,
    )


def _planned_key(decision: Decision, outside: Outside) -> Later | None:
    """Return whether a key stays or is written. ``--renew`` encrypts a key again, with the present method."""
    if decision.profile.entity in outside.tokens:
        return None
    kept = decision.found.stored == "kept" and decision.found.key == "present"
    asked = isinstance(decision, Issue) and decision.reason.name == "asked"
    if asked and kept and decision.profile.entity in outside.guarded:
        return Later.PENDING
    if makes_key(decision) or (decision.found.stored == "written" and decision.found.key == "present"):
        return Later.PENDING
    gone = decision.found.stored == "elsewhere" or decision.found.key == "missing"
    return None if gone else Later.KEPT


def _planned_request(decision: Decision, existing: Existing) -> Later | None:
    """Return whether a CSR for an outside signer stays or is made. None: there is no CSR."""
    entity = decision.profile.entity
    if entity not in existing.outside.external or existing.from_lock:
        return None
    there = existing.contents.get(layout.request_path(entity))
    if makes_key(decision) or there is None:
        return Later.PENDING
    from pgtls.pki import csr

    request = csr.read(there)
    fits = not isinstance(request, Unreadable) and csr.asks_for(request, decision.profile)
    return Later.KEPT if fits else Later.PENDING


def _kept_crl(existing: Existing, name: str) -> bytes:
    given = existing.outside.crls.get(name)
    return given.pem if given else existing.contents[layout.crl_path(name)]


def needed_keys(decisions: Decisions, existing: Existing, converted: Collection[Entity]) -> frozenset[Entity]:
    """Return the entities whose present key signs, gets a certificate, or is written again, perhaps in a new format.

    Leave out the keys in tokens: see :mod:`pgtls.certificates.tokens`.
    """
    used = {*used_keys(decisions, existing), *converted} - existing.outside.tokens
    return frozenset(entity for entity in used if not makes_key(decisions.certificates.get(entity)))


def used_keys(decisions: Decisions, existing: Existing) -> Iterator[Entity]:
    """Yield the entities whose key signs, gets a certificate or a request, or is written. One may come twice."""
    for entity, decision in decisions.certificates.items():
        if (
            _planned_key(decision, existing.outside) is Later.PENDING
            or _planned_request(decision, existing) is Later.PENDING
        ):
            yield entity
        if isinstance(decision, Issue) and not decision.signed:
            issuer = decision.profile.issuer
            yield ca_entity(issuer) if issuer else entity
            if entity not in existing.outside.requests:
                yield entity
    yield from (one.entity for one in decisions.crls.values() if one.reason)


def needed_passphrases(decisions: Decisions, existing: Existing, converted: Collection[Entity]) -> frozenset[Entity]:
    """Return the entities whose key is written encrypted."""
    return frozenset(
        entity
        for entity in existing.outside.guarded & decisions.certificates.keys()
        if entity in converted
        or _planned_key(decision := decisions.certificates[entity], existing.outside) is Later.PENDING
        or (decision.beside and decision.beside.makes_next)
    ) | (written_accounts(existing) & existing.outside.guarded)


def _with_lists(credentials: Mapping[Entity, Credential], existing: Existing) -> Mapping[Entity, Credential]:
    """Add the CRLs of the CAs above a CA with a supplied chain."""
    above = {ca_entity(name): lists.pem for name, lists in existing.outside.above.items()}
    return {**credentials, **{entity: replace(credentials[entity], lists=pem) for entity, pem in above.items()}}


def recorded(lock: Lock, lines: Iterable[IssuedLine], revocations: Iterable[RevokedLine]) -> Lock:
    """Return the lock after a build. A new lock gets its id."""
    named = lock if lock.id else replace(lock, id=secrets.token_hex(16))
    return named.with_lines(*lines, *revocations)


def carry_out(
    decisions: Decisions,
    existing: Existing,
    keyring: Keyring,
    now: datetime,
    jobs: int,
    progress: Callable[[int], None],
    foreseen: Material,
) -> Material:
    """Make every key, certificate and CRL of the decisions, from the ``planned`` material.

    ``progress`` receives the number of certificates made since the last call.
    """
    issuing = _Issuing(decisions, existing, keyring, now, foreseen.formats.keys())
    issuing.make_keys(jobs)
    for entity, decision in decisions.certificates.items():
        issuing.certificate(decision, foreseen.credentials[entity])
        progress(1)
    crls = {
        name: issuing.crl(one) if one.reason else _kept_crl(existing, name)
        for name, one in decisions.crls.items()
        if one.reason or name in existing.crls
    }
    retired = {one.path: issuing.crl(one) for one in decisions.retired if one.reason}
    credentials = _with_lists(issuing.credentials, existing)
    accounts = {ca: issuing.account(ca, one) for ca, one in foreseen.accounts.items()}
    return Material(credentials, crls, retired, accounts, tuple(issuing.lines), issuing.keys)


@dataclass(slots=True)
class _Issuing:
    """The state of one round of issuing: the results so far, and the issuers."""

    decisions: Decisions
    existing: Existing
    keyring: Keyring
    now: datetime
    converted: Collection[Entity]
    """The users whose key is also written in other formats."""
    credentials: dict[Entity, Credential] = field(default_factory=dict)
    lines: list[IssuedLine] = field(default_factory=list)
    keys: dict[Entity, keys.PrivateKey] = field(default_factory=dict)
    issuers: dict[Entity, Issuer] = field(default_factory=dict)

    def make_keys(self, jobs: int) -> None:
        """Make all RSA keys on all cores first: they take most of a build's time.

        Also make the keys of CAs and servers.

        A user's key of another algorithm takes a moment: make it when it is used, and do not keep it in memory.
        """
        given = {**self.keyring.keys, **dict(self._signed_keys())}
        making = {e: d.profile for e, d in self.decisions.certificates.items() if makes_key(d) and e not in given}
        wanted = {e: p.key_algorithm for e, p in making.items() if p.kind != "user" or p.key_algorithm[:3] == "rsa"}
        made = zip(wanted, keys.generate_many(list(wanted.values()), jobs), strict=True)
        self.keys = {**given, **dict(made)}
        derive_all(frozenset(self.keyring.encryptions.values()), jobs)

    def _signed_keys(self) -> Iterator[tuple[Entity, PrivateKey]]:
        """Yield the new keys whose certificates the programs of CAs signed."""
        for entity, decision in self.decisions.certificates.items():
            answer = self.existing.answers.get(entity)
            if taken(decision) and isinstance(answer, Answer) and answer.key:
                yield entity, answer.key

    def certificate(self, decision: Decision, planned: Credential) -> None:
        """Issue one certificate, or return the one that stays."""
        entity = decision.profile.entity
        if isinstance(decision, Keep) and planned.complete:
            self.credentials[entity] = planned
            return
        passing = makes_key(decision) and entity not in self.keys
        if passing:
            self.keys[entity] = keys.generate(decision.profile.key_algorithm)
        planned = replace(planned, key=self._key_file(entity, planned), request=self._request(decision, planned))
        if decision.beside and decision.beside.makes_next:
            planned = replace(planned, following=self._following(decision))
        if isinstance(decision, Issue):
            planned = replace(planned, certificate=self._issued(decision))
        elif is_adopted(decision):
            assert isinstance(decision.found.certificate, Certificate)  # noqa: S101
            self._record(decision, decision.found.certificate)
        self.credentials[entity] = planned
        if passing and entity not in self.converted:
            del self.keys[entity]

    def _issued(self, decision: Issue) -> bytes:
        profile = decision.profile
        if decision.signed:
            return self._taken(decision, decision.signed)
        above = self.decisions.certificates[ca_entity(profile.issuer)] if profile.issuer else None
        last = self.existing.whole_lock.latest.get(profile.entity)
        issued = issue(
            profile,
            self.existing.outside.requests.get(profile.entity) or self.keys[profile.entity].public_key(),
            self._issuer(ca_entity(profile.issuer)) if profile.issuer else self.keys[profile.entity],
            _serial(profile.issuer, self.existing.whole_lock),
            self.now,
            above.end if above else None,
            last.certificate.not_before if last else None,
        )
        if profile.kind == "ca":
            self.issuers[profile.entity] = Issuer(issued.certificate, self.keys[profile.entity])
        self._record(decision, issued.facts)
        return issued.pem

    def _taken(self, decision: Issue, signed: Signed) -> bytes:
        """Take the certificate that the program of a CA signed."""
        entity = decision.profile.entity
        if decision.profile.kind == "ca" and entity in self.keys:
            self.issuers[entity] = self._signer(signed.pem, entity)
        self._record(decision, signed.certificate)
        return signed.pem

    def _following(self, decision: Decision) -> tuple[bytes, bytes]:
        """Make the next pair of a self-signed server."""
        profile = decision.profile
        key = keys.generate(profile.key_algorithm)
        issued = issue(profile, key.public_key(), key, _serial(None, self.existing.whole_lock), self.now)
        self._record(decision, issued.facts)
        return issued.pem, keys.to_pem(key, self.keyring.encryptions.get(profile.entity))

    def account(self, ca: Entity, planned: bytes | Later) -> bytes | Later:
        """Return the file of an account's key: new, or encrypted now."""
        account = self.existing.accounts[ca]
        if planned is not Later.PENDING:
            return planned
        key = account.key or keys.generate(ACCOUNT_ALGORITHM)
        if account.pem is not None:  # it is not encrypted yet
            found = keys.load(account.pem, ours=True)
            if isinstance(found, Unreadable):
                return Later.KEPT
            key = found
        return keys.to_pem(key, self.keyring.encryptions.get(ca))

    def crl(self, decision: CrlDecision) -> bytes:
        """Sign a CRL. If the key of a CA that left the spec is no longer readable, keep the old CRL."""
        issuer = self._retired(decision)
        if isinstance(issuer, bytes):
            return issuer
        before = decision.found if isinstance(decision.found, RevocationList) else None
        return crl.make(issuer, decision.number, self.now, decision.validity, decision.entries, before)

    def _retired(self, decision: CrlDecision) -> Issuer | bytes:
        """Return the signer of a CRL, or the CRL that stays."""
        signer = decision.signer
        if signer is None:
            return self._issuer(decision.entity)
        certificates, key = facts.parse(signer.certificate), keys.load(signer.key, ours=True)
        if isinstance(certificates, Unreadable) or isinstance(key, Unreadable):
            return self.existing.contents[signer.directory + layout.CA_CRL]
        return Issuer(certificates[0], key)

    def _record(self, decision: Decision, certificate: Certificate) -> None:
        self.lines.append(IssuedLine(recorded_under(decision.profile), decision.profile.entity, certificate))

    def _issuer(self, entity: Entity) -> Issuer:
        if entity not in self.issuers:
            self.issuers[entity] = self._signer(self.decisions.certificates[entity].found.pem or b"", entity)
        return self.issuers[entity]

    def _signer(self, pem: bytes, entity: Entity) -> Issuer:
        parsed = facts.parse(pem)
        assert not isinstance(parsed, Unreadable)  # noqa: S101  (it was read before)
        return Issuer(parsed[0], self.keys[entity])

    def _key_file(self, entity: Entity, planned: Credential) -> bytes | Later | None:
        """Write a key that is new, or whose protection changes."""
        if planned.key is not Later.PENDING:
            return planned.key
        return keys.to_pem(self.keys[entity], self.keyring.encryptions.get(entity))

    def _request(self, decision: Decision, planned: Credential) -> bytes | Later | None:
        from pgtls.pki import csr

        if planned.request is not Later.PENDING:
            return planned.request
        return csr.make(decision.profile, self.keys[decision.profile.entity])


def _serial(issuer: str | None, lock: Lock) -> int:
    while True:
        serial = secrets.randbits(SERIAL_BITS)
        if serial and (issuer or "", f"{serial:x}") not in lock.by_serial:
            return serial
