"""Let others sign (``sign``): give a CSR to the program or the ACME server of a CA, and take a certificate.

Only a build does, after its plan has no errors. :mod:`pgtls.certificates.signers` judges what comes back.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from pgtls.certificates import programs, signers
from pgtls.certificates.model import Answer, Issue, NoAnswer, Signed
from pgtls.certificates.reissue import nothing_left
from pgtls.fleet.fields import place_of
from pgtls.fleet.files import directory_of
from pgtls.pki.expected import wanted_facts
from pgtls.pki.model import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from pgtls.certificates.acme import Session
    from pgtls.certificates.model import Decisions, Existing
    from pgtls.fleet.model import Authority, Fleet
    from pgtls.pki.keys import PrivateKey
    from pgtls.pki.model import Entity


def asked_for(fleet: Fleet, decisions: Decisions, existing: Existing) -> tuple[Issue, ...]:
    """Return the certificates that others must sign. Those without which a build fails come first."""
    issued = [one for one in decisions.certificates.values() if isinstance(one, Issue)]
    asked = [one for one in issued if signers.signer(one.profile, fleet) and one.signed is None]
    return tuple(sorted(asked, key=lambda one: not _urgent(one, existing, fleet.now)))


def _urgent(decision: Issue, existing: Existing, now: datetime) -> bool:
    """Return whether a build without an answer fails: the entity had a certificate, and no valid one is left."""
    found, entity = decision.found.certificate, decision.profile.entity
    had = found is not None or existing.lock.opens(entity, now)
    return had and nothing_left(decision.reason, found, decision.profile, now)


class Answered(NamedTuple):
    """What came back, by entity, and the keys that were made for accounts, by CA."""

    answers: Mapping[Entity, Answer | NoAnswer]
    accounts: Mapping[Entity, PrivateKey]


def ask(
    fleet: Fleet,
    asked: Sequence[Issue],
    existing: Existing,
    session: Callable[[Authority], Session],
    key_of: Callable[[Issue], PrivateKey],
    progress: Callable[[int], None],
) -> Answered:
    """Ask for each certificate, one after the other. ``key_of`` opens a key that exists, ``session`` an ACME server.

    A program that did not end in time is not run again in this build, nor is a server asked again that answers nobody.
    Where a build fails without an answer, nothing else is asked for: it would be lost.
    """
    asking = _Asking(fleet, existing, session)
    answers: dict[Entity, Answer | NoAnswer] = {}
    for decision in asked:
        entity = decision.profile.entity
        answers[entity] = asking.answer(decision, key_of)
        progress(1)
        if isinstance(answers[entity], NoAnswer) and _urgent(decision, existing, fleet.now):
            break
    return Answered(answers, asking.accounts())


class _Asking:
    """The state of one round: what is known of each signer, and the serial numbers that came back."""

    def __init__(self, fleet: Fleet, existing: Existing, session: Callable[[Authority], Session]) -> None:
        self._fleet, self._existing, self._session = fleet, existing, session
        self._began = time.monotonic()
        self._silent: dict[str, NoAnswer] = {}
        self._sessions: dict[str, Session] = {}
        self._serials: set[tuple[str, str]] = set()

    def answer(self, decision: Issue, key_of: Callable[[Issue], PrivateKey]) -> Answer | NoAnswer:
        """Ask for one certificate, with a new key or the present one."""
        from pgtls.pki import csr, keys

        profile, outside = decision.profile, self._existing.outside
        ca = signers.signer(profile, self._fleet)
        assert ca is not None  # noqa: S101
        if ca.name in self._silent:
            return self._silent[ca.name]
        key: PrivateKey | None = None
        if profile.entity in outside.request_files:
            request, public = outside.request_files[profile.entity], outside.requests[profile.entity]
        else:
            key = keys.generate(profile.key_algorithm) if decision.new_key else key_of(decision)
            # An ACME server takes a common name for a host to prove (RFC 8555, 7.4), and ignores the rest.
            request = csr.make(replace(profile, subject=()) if ca.acme else profile, key)
            public = key.public_key()
        signed = self._signed(decision, request, ca)
        if isinstance(signed, NoAnswer):
            return signed
        serial = ca.name, signed.certificate.serial
        if serial in self._serials:
            return NoAnswer(f"returned the serial number {signed.certificate.serial} a second time")
        self._serials.add(serial)
        at = self._fleet.now + timedelta(seconds=time.monotonic() - self._began)
        return Answer(signed, keys.spki_sha256(public), key if decision.new_key else None, at)

    def _signed(self, decision: Issue, request: bytes, ca: Authority) -> Signed | NoAnswer:
        from pgtls.pki import facts

        printed = self._returned(decision, request, ca)
        if isinstance(printed, NoAnswer):
            if printed.late:
                again = printed if ca.acme else NoAnswer("was not run again: it did not end in time before")
                self._silent[ca.name] = again
            return printed
        certificates = facts.chain(printed)
        if isinstance(certificates, Unreadable):
            return NoAnswer(f"printed no certificate: {certificates.reason}")
        own, *above = facts.pems(printed)
        return Signed(certificates[0], own, tuple(above))

    def _returned(self, decision: Issue, request: bytes, ca: Authority) -> bytes | NoAnswer:
        sign = ca.table.sign
        assert sign is not None  # noqa: S101
        if sign.command is None:
            if ca.name not in self._sessions:
                self._sessions[ca.name] = self._session(ca)
            return self._sessions[ca.name].order(decision, request)
        directory = directory_of(self._fleet, place_of(self._fleet, ca.entity, "sign"))
        return programs.ask(sign.command, sign.timeout, request, variables(decision, ca, self._fleet.now), directory)

    def accounts(self) -> Mapping[Entity, PrivateKey]:
        """Return the keys that were made for accounts."""
        made = {session.ca.entity: session.made for session in self._sessions.values()}
        return {ca: key for ca, key in made.items() if key}


def variables(decision: Issue, ca: Authority, now: datetime) -> dict[str, str]:
    """Return the environment variables that tell a program what to sign: what the spec says, and no secret."""
    profile = decision.profile
    subject, names, _ = wanted_facts(profile)
    lasts = max(decision.end - now, timedelta(hours=1))
    return {
        "PGTLS_SIGN_CA": ca.name,
        "PGTLS_SIGN_ENTITY": profile.entity,
        "PGTLS_SIGN_PROFILE": profile.kind,
        "PGTLS_SIGN_COMMON_NAME": dict(profile.subject)["common_name"],
        "PGTLS_SIGN_SUBJECT": subject,
        "PGTLS_SIGN_NAMES": ",".join(names),
        "PGTLS_SIGN_NOT_AFTER": f"{decision.end:%Y-%m-%dT%H:%M:%SZ}",
        "PGTLS_SIGN_HOURS": str(lasts // timedelta(hours=1)),
        "PGTLS_SIGN_DAYS": str(max(lasts // timedelta(days=1), 1)),
    }
