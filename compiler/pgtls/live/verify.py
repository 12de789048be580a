"""Compare the observations of a server with its compiled files. This is a pure function of both.

Each check is ``ok``, ``differs`` or ``not tried``, with the reason. A check that differs explains the effect and the
fix.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pgtls.live.chain import served
from pgtls.live.checks import access, certificate, clients, protocol, service
from pgtls.live.checks.check import untried
from pgtls.live.checks.last_build import LAST_BUILD
from pgtls.live.revoked import revoked_by

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from pgtls.fleet.model import Fleet
    from pgtls.live.checks.check import Check
    from pgtls.live.compiled import Compiled
    from pgtls.live.handshake import Seen
    from pgtls.live.survey import Survey
    from pgtls.pki.model import Entity
    from pgtls.state.lock import Lock


@dataclass(frozen=True, slots=True)
class Verified:
    """A server, and all checks of it."""

    server: Entity
    address: str
    checks: tuple[Check, ...]
    connections: int

    @property
    def as_compiled(self) -> bool:
        """Whether no check differs."""
        return all(check.outcome != "differs" for check in self.checks)

    @property
    def is_evidence(self) -> bool:
        """Whether the checks show that the last build is deployed, or that is known."""
        return self.as_compiled and all(check.name != LAST_BUILD for check in self.checks)


def doubt(fleet: Fleet, compiled: Compiled, lock: Lock, seen: Seen) -> str | None:
    """Return why another than the server may answer. None: it presents a certificate of its own, and none is revoked.

    A certificate that is merely superseded is as good as to its clients.
    """
    if not _is_known(compiled, lock, seen):
        return "the server may be an impostor"
    if revoked_by(fleet, compiled, lock, seen):
        return "the certificate is revoked, and whoever stole its key may answer"
    return None


def _is_known(compiled: Compiled, lock: Lock, seen: Seen) -> bool:
    """Return whether a server presents a certificate that was ever issued for it, under any of its host names."""
    chain = served(seen)
    if not chain:
        return False
    if chain[0].sha256 == compiled.leaf.sha256:
        return True
    line = certificate.line_of(lock, chain[0])
    return line is not None and line.entity.table == compiled.server.entity.table


def is_current(compiled: Compiled, seen: Seen) -> bool:
    """Return whether a server presents the compiled certificate and names the compiled CAs."""
    chain = served(seen)
    return bool(chain) and chain[0].sha256 == compiled.leaf.sha256 and clients.asks_as_compiled(compiled, seen)


def judge(fleet: Fleet, compiled: Compiled, lock: Lock, survey: Survey, now: datetime) -> Verified:
    """Judge all observations."""
    return Verified(
        compiled.server.entity,
        str(survey.address),
        tuple(_checks(fleet, compiled, lock, survey, now)),
        survey.connections,
    )


def _checks(fleet: Fleet, compiled: Compiled, lock: Lock, survey: Survey, now: datetime) -> Iterator[Check]:
    session = survey.first.session
    if session is None:
        yield service.absent(survey)
        yield untried("all other checks", "no TLS handshake was possible")
        return
    yield service.program(survey)
    yield certificate.leaf(fleet, compiled, lock, survey.first, now)
    yield certificate.order(compiled, survey.first)
    yield from certificate.trusted(compiled, session, now)
    yield certificate.names(compiled, survey.first)
    yield certificate.dates(survey.first, now)
    yield protocol.direct(compiled, survey)
    yield from protocol.versions(compiled, survey)
    yield from protocol.groups(compiled, survey)
    yield clients.asked(compiled, survey)
    if why := doubt(fleet, compiled, lock, survey.first):
        reason = f"{why}, so it gets no name and no certificate of the spec to see"
        yield from (untried(name, reason) for name in ("client certificates", "cleartext", "access"))
        return
    for other in compiled.others:
        yield from _of_identity(fleet, other, lock, survey, now)
    yield from clients.accepted(compiled, survey)
    yield from clients.refused(survey)
    yield from access.answers(fleet, compiled, survey)


def _of_identity(fleet: Fleet, compiled: Compiled, lock: Lock, survey: Survey, now: datetime) -> Iterator[Check]:
    """Judge what the server presents to clients that request the host names of a further identity."""
    for host in compiled.shown.table.hosts:
        seen = survey.seen.get(("host", host))
        if seen is None or seen.session is None:
            reason = seen.ending if seen else survey.why_untried(("host", host))
            yield untried(f"{host}: certificate", reason)
            continue
        checks = (
            certificate.leaf(fleet, compiled, lock, seen, now),
            certificate.order(compiled, seen),
            *certificate.trusted(compiled, seen.session, now),
            certificate.names(compiled, seen),
            certificate.dates(seen, now),
            clients.asked(compiled, replace(survey, first=seen)),
        )
        yield from (replace(check, name=f"{host}: {check.name}") for check in checks)
        if why := doubt(fleet, compiled, lock, seen):
            yield untried(f"{host}: client certificates", f"{why}, so it gets no certificate of the spec to see")
