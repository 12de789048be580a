"""Run the programs of CAs that sign for us (``sign``): a CSR to stdin, a certificate from stdout.

Only a build does, after its plan has no errors. The programs get no secret: no variable but a few of this process and
:func:`variables`. What they print is bounded in size and time. :mod:`pgtls.certificates.signers` judges it.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from datetime import timedelta
from typing import IO, TYPE_CHECKING, NamedTuple

from pgtls.certificates import signers
from pgtls.certificates.model import Answer, Issue, NoAnswer, Signed
from pgtls.certificates.reissue import nothing_left
from pgtls.fleet.fields import place_of
from pgtls.fleet.files import directory_of
from pgtls.pki.expected import wanted_facts
from pgtls.pki.model import Unreadable, ca_entity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from pgtls.certificates.model import Decisions, Existing
    from pgtls.fleet.model import Fleet
    from pgtls.language.models import Sign
    from pgtls.pki.keys import PrivateKey
    from pgtls.pki.model import Entity

LONGEST = 256 * 1024
"""The maximum bytes that a program may print: a chain of CAs with large keys is a tenth of it."""

_KEPT = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ")
"""The variables of this process that a program gets: the least with which programs start."""


def asked_for(fleet: Fleet, decisions: Decisions, existing: Existing) -> tuple[Issue, ...]:
    """Return the certificates that programs must sign. Those without which a build fails come first."""
    issued = [one for one in decisions.certificates.values() if isinstance(one, Issue)]
    asked = [one for one in issued if signers.signs(one.profile, fleet) and one.signed is None]
    return tuple(sorted(asked, key=lambda one: not _urgent(one, existing, fleet.now)))


def _urgent(decision: Issue, existing: Existing, now: datetime) -> bool:
    """Return whether a build without an answer fails: the entity had a certificate, and no valid one is left."""
    found, entity = decision.found.certificate, decision.profile.entity
    had = found is not None or existing.lock.opens(entity, now)
    return had and nothing_left(decision.reason, found, decision.profile, now)


def ask(
    fleet: Fleet,
    asked: Sequence[Issue],
    existing: Existing,
    key_of: Callable[[Issue], PrivateKey],
    progress: Callable[[int], None],
) -> dict[Entity, Answer | NoAnswer]:
    """Run the program for each certificate, one after the other. ``key_of`` opens a key that exists.

    A program that did not end in time is not run again in this build. Where a build fails without an answer, nothing
    else is asked for: it would be lost.
    """
    asking = _Asking(fleet, existing)
    answers: dict[Entity, Answer | NoAnswer] = {}
    for decision in asked:
        entity = decision.profile.entity
        answers[entity] = asking.answer(decision, key_of)
        progress(1)
        if isinstance(answers[entity], NoAnswer) and _urgent(decision, existing, fleet.now):
            break
    return answers


class _Asking:
    """The state of one round: what is known of each program, and the serial numbers that came back."""

    def __init__(self, fleet: Fleet, existing: Existing) -> None:
        self._fleet, self._existing = fleet, existing
        self._began = time.monotonic()
        self._silent: set[str] = set()
        self._serials: set[tuple[str, str]] = set()

    def answer(self, decision: Issue, key_of: Callable[[Issue], PrivateKey]) -> Answer | NoAnswer:
        """Ask for one certificate, with a new key or the present one."""
        from pgtls.pki import csr, keys

        profile, outside = decision.profile, self._existing.outside
        issuer = profile.issuer or ""
        if issuer in self._silent:
            return NoAnswer("was not run again: it did not end in time before")
        key: PrivateKey | None = None
        if profile.entity in outside.request_files:
            request, public = outside.request_files[profile.entity], outside.requests[profile.entity]
        else:
            key = keys.generate(profile.key_algorithm) if decision.new_key else key_of(decision)
            request, public = csr.make(profile, key), key.public_key()
        signed = self._signed(decision, request)
        if isinstance(signed, NoAnswer):
            return signed
        serial = issuer, signed.certificate.serial
        if serial in self._serials:
            return NoAnswer(f"returned the serial number {signed.certificate.serial} a second time")
        self._serials.add(serial)
        at = self._fleet.now + timedelta(seconds=time.monotonic() - self._began)
        return Answer(signed, keys.spki_sha256(public), key if decision.new_key else None, at)

    def _signed(self, decision: Issue, request: bytes) -> Signed | NoAnswer:
        from pgtls.pki import facts

        issuer = self._fleet.cas[decision.profile.issuer or ""]
        assert issuer.table.sign is not None  # noqa: S101
        directory = directory_of(self._fleet, place_of(self._fleet, ca_entity(issuer.name), "sign"))
        printed = run(issuer.table.sign, request, variables(decision, self._fleet.now), directory)
        if isinstance(printed, NoAnswer):
            self._silent |= {issuer.name} if printed.late else set()
            return printed
        certificates = facts.read(printed)
        if isinstance(certificates, Unreadable):
            return NoAnswer(f"printed no certificate: {certificates.reason}")
        own, *above = facts.pems(printed)
        return Signed(certificates[0], own, tuple(above))


def variables(decision: Issue, now: datetime) -> dict[str, str]:
    """Return the environment variables that tell a program what to sign: what the spec says, and no secret."""
    profile = decision.profile
    subject, names, _ = wanted_facts(profile)
    lasts = max(decision.end - now, timedelta(hours=1))
    return {
        "PGTLS_SIGN_CA": profile.issuer or "",
        "PGTLS_SIGN_ENTITY": profile.entity,
        "PGTLS_SIGN_PROFILE": profile.kind,
        "PGTLS_SIGN_COMMON_NAME": dict(profile.subject)["common_name"],
        "PGTLS_SIGN_SUBJECT": subject,
        "PGTLS_SIGN_NAMES": ",".join(names),
        "PGTLS_SIGN_NOT_AFTER": f"{decision.end:%Y-%m-%dT%H:%M:%SZ}",
        "PGTLS_SIGN_HOURS": str(lasts // timedelta(hours=1)),
        "PGTLS_SIGN_DAYS": str(max(lasts // timedelta(days=1), 1)),
    }


# ---- one program -----------------------------------------------------------------------------------------------------


def run(sign: Sign, request: bytes, told: Mapping[str, str], directory: str) -> bytes | NoAnswer:
    """Run a program once; return what it printed, or why that is no answer.

    It is in a session of its own: it cannot ask at the terminal, and it is ended with all that it started.
    """
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | dict(told)
    try:
        process = subprocess.Popen(  # noqa: S603  (it is the spec that says what to run, and no shell reads it)
            list(sign.command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=directory,
            env=environment,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return NoAnswer(f'"{sign.command[0]}" cannot be run: {getattr(error, "strerror", None) or error}')
    try:
        with process:
            try:
                printed = _exchanged(process, request, sign.timeout)
            finally:
                _end(process)
    except OSError as error:
        return NoAnswer(f"cannot be used: {error.strerror}")
    return _answer(sign, process.returncode, printed)


class _Printed(NamedTuple):
    """What a program printed, and why reading ended early."""

    out: bytes
    error: bytes
    ended: str = ""


def _exchanged(process: subprocess.Popen[bytes], request: bytes, patience: int) -> _Printed:
    """Write the CSR and read both outputs, no more than :data:`LONGEST` and no longer than ``patience`` seconds."""
    assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018
    deadline, out, error = time.monotonic() + patience, bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, out)
        selector.register(process.stderr, selectors.EVENT_READ, error)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        os.set_blocking(process.stdin.fileno(), False)
        while selector.get_map():
            if (left := deadline - time.monotonic()) <= 0:
                return _Printed(b"", bytes(error), "late")
            for key, _ in selector.select(left):
                if key.fileobj is process.stdin:
                    request = _written(process.stdin, request)
                    ended = not request
                else:
                    chunk = os.read(key.fd, 65536)
                    key.data.extend(chunk)
                    ended = not chunk
                if ended:
                    selector.unregister(key.fileobj)
            del error[: -4 * _SHOWN]
            if len(out) > LONGEST:
                return _Printed(b"", bytes(error), "long")
    try:
        process.wait(max(deadline - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        return _Printed(b"", bytes(error), "late")
    return _Printed(bytes(out), bytes(error))


def _written(stdin: IO[bytes], request: bytes) -> bytes:
    """Write what fits of a CSR; return the rest. Close stdin after it. A program may end without reading it."""
    try:
        rest = request[os.write(stdin.fileno(), request) :]
    except BrokenPipeError:
        rest = b""
    if not rest:
        stdin.close()
    return rest


def _answer(sign: Sign, status: int, printed: _Printed) -> bytes | NoAnswer:
    if printed.ended == "late":
        return NoAnswer(f"did not end within {sign.timeout} seconds", late=True)
    if printed.ended == "long":
        return NoAnswer(f"printed more than {LONGEST // 1024} KiB")
    if status:
        how = f"exited with {status}" if status > 0 else f"was ended by signal {-status}"
        return NoAnswer(how + _last_line(printed.error))
    return printed.out


_SHOWN = 200
"""The most characters of a program's last message that a diagnostic repeats."""


def _last_line(error: bytes) -> str:
    """Return the last line of what a program printed to stderr, if there is one."""
    lines = [line.strip() for line in error.decode(errors="replace").splitlines() if line.strip()]
    return f": {''.join(one if one.isprintable() else ' ' for one in lines[-1])[:_SHOWN]}" if lines else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program that still runs, and all that it started."""
    if process.returncode is None:  # otherwise its number may be another's by now
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
