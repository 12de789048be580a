"""Let an ACME server sign (``sign = { acme = … }``): the key of its account, and the challenges of hosts.

A build opens a session only where a certificate is due. Every failure is a :class:`NoAnswer`: the certificate waits.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from pgtls.certificates.model import ACCOUNT_ALGORITHM, NoAnswer
from pgtls.certificates.programs import ask
from pgtls.diagnostics import installing
from pgtls.fleet.fields import place_of
from pgtls.fleet.files import directory_of
from pgtls.pki.model import Certificate, Unreadable
from pgtls.state import layout

if TYPE_CHECKING:
    from pgtls.certificates.model import Existing, Issue
    from pgtls.certificates.secrets import Secrets
    from pgtls.fleet.model import Authority, Fleet
    from pgtls.pki.acme import Binding, Challenge, Publisher, Server
    from pgtls.pki.keys import PrivateKey


class Session:
    """The orders of one build to the ACME server of a CA. ``made`` is the key of its account, if it is new."""

    def __init__(self, ca: Authority, fleet: Fleet, existing: Existing, secrets: Secrets) -> None:
        self.ca, self.made = ca, existing.accounts[ca.entity].key
        self._fleet, self._existing, self._secrets = fleet, existing, secrets
        self._server: Server | None = None

    def order(self, decision: Issue, request: bytes) -> bytes | NoAnswer:
        """Have a CSR signed; return the certificate and the CAs above it, in PEM."""
        try:
            from pgtls.pki.acme import AcmeFault
        except ImportError:
            return NoAnswer("was not asked: the acme library is not installed", late=True, hint=installing("acme"))
        sign = self.ca.table.sign
        assert sign is not None  # noqa: S101
        until = time.monotonic() + sign.timeout
        found = decision.found.certificate
        replaced = found if isinstance(found, Certificate) and decision.reason.name != "issuer" else None
        try:
            server = self._server = self._server or self._logged_in(until)
            return server.order(request, sign.profile, replaced, self._publisher(), until)
        except AcmeFault as fault:
            return NoAnswer(fault.message, late=fault.lasting, hint=fault.hint)

    def _logged_in(self, until: float) -> Server:
        sign = self.ca.table.sign
        assert sign is not None  # noqa: S101
        server = connected(self._fleet, self.ca, until, self._key())
        if not server.log_in():
            server.register(sign.contact, self._binding(), agreed=sign.terms_agreed)
        return server

    def _key(self) -> PrivateKey:
        """Return the key of the account. Make it if the out directory has none."""
        from pgtls.pki import keys
        from pgtls.pki.acme import AcmeFault

        account = self._existing.accounts[self.ca.entity]
        if account.pem is None:
            self.made = self.made or keys.generate(ACCOUNT_ALGORITHM)
            return self.made
        key = opened(account.pem, self.ca, self._secrets)
        if isinstance(key, Unreadable):
            hint = f"restore it from a backup, or give its passphrase; --replace {self.ca.entity} makes a new account"
            raise AcmeFault(f"was not asked: the key of its account cannot be read: {key.reason}", hint, lasting=True)
        return key

    def _binding(self) -> Binding | None:
        from pgtls.pki.acme import Binding

        bound = self.ca.table.sign and self.ca.table.sign.account_binding
        return Binding(bound.kid, self._secrets.account_binding(self.ca)) if bound else None

    def _publisher(self) -> Publisher:
        sign = self.ca.table.sign
        assert sign is not None  # noqa: S101
        assert sign.challenge is not None  # noqa: S101
        challenge, here = sign.challenge, directory_of(self._fleet, place_of(self._fleet, self.ca.entity, "sign"))
        if challenge.command is None:
            return InDirectory(os.path.join(here, challenge.directory or ""))
        return ByCommand(challenge.kind, challenge.command, here, self.ca.name)


def connected(fleet: Fleet, ca: Authority, until: float, key: PrivateKey | None = None) -> Server:
    """Return the ACME server of a CA, whose directory has been read. Raise :class:`pgtls.pki.acme.AcmeFault`.

    Reading it, and what is asked later, must end by ``until``, an instant of :func:`time.monotonic`.
    """
    from pgtls.pki.acme import AcmeFault, Server

    sign = ca.table.sign
    assert sign is not None  # noqa: S101
    assert sign.acme is not None  # noqa: S101
    roots = sign.roots_file and os.path.join(directory_of(fleet, place_of(fleet, ca.entity, "sign")), sign.roots_file)
    if roots and not os.path.isfile(roots):
        raise AcmeFault(f'was not asked: roots_file "{sign.roots_file}" is no file', "correct the path", lasting=True)
    return Server(sign.acme, roots, until, key)


def opened(pem: bytes, ca: Authority, secrets: Secrets) -> PrivateKey | Unreadable:
    """Read the key of an account. Raise :class:`pgtls.diagnostics.Rejected` if no secret of the spec opens its file."""
    from pgtls.pki import keys

    pem = secrets.decrypted(pem, layout.path(ca.entity, layout.CA_ACCOUNT_KEY))
    return keys.load(pem, secrets.passphrase(ca.entity) if keys.is_encrypted(pem) else None, ours=True)


# ---- challenges ------------------------------------------------------------------------------------------------------


class InDirectory(NamedTuple):
    """Puts the files of http-01 into a directory that a web server serves."""

    directory: str
    type: str = "http-01"

    def present(self, challenge: Challenge, patience: float) -> None:
        """Write the file, readable for the web server. Its name is a token, which :mod:`pgtls.pki.acme` has checked."""
        from pgtls.pki.acme import AcmeFault

        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK  # a FIFO would wait for a reader
        try:
            file = os.open(self._path(challenge), flags, 0o644)
            with open(file, "wb") as opened:
                if stat.S_ISREG(os.fstat(file).st_mode):
                    os.fchmod(file, 0o644)
                opened.write(challenge.content.encode())
        except OSError as error:
            message = f'was not asked to look: cannot write into "{self.directory}": {error.strerror}'
            hint = "name the directory that the web server of each host serves as /.well-known/acme-challenge/"
            raise AcmeFault(message, hint, lasting=True) from None

    def cleanup(self, challenge: Challenge, patience: float) -> None:
        """Remove the file."""
        with suppress(OSError):
            os.unlink(self._path(challenge))

    def _path(self, challenge: Challenge) -> str:
        return os.path.join(self.directory, challenge.name)


class ByCommand(NamedTuple):
    """Runs a program that publishes challenges: it gets ``present`` or ``cleanup``, a name and a content."""

    type: str
    command: tuple[str, ...]
    directory: str
    ca: str

    def present(self, challenge: Challenge, patience: float) -> None:
        """Run the program, which must succeed."""
        from pgtls.pki.acme import AcmeFault

        answer = self._run("present", challenge, patience)
        if isinstance(answer, NoAnswer):
            message = f'was not asked to look: the challenge command for "{challenge.host}" {answer.reason}'
            raise AcmeFault(message, "correct the program or the spec, and run the build again", lasting=answer.late)

    def cleanup(self, challenge: Challenge, patience: float) -> None:
        """Run the program. A record that stays harms nobody: its token is used up."""
        self._run("cleanup", challenge, patience)

    def _run(self, action: str, challenge: Challenge, patience: float) -> bytes | NoAnswer:
        told = {
            "PGTLS_ACME_CA": self.ca,
            "PGTLS_ACME_ACTION": action,
            "PGTLS_ACME_CHALLENGE": challenge.type,
            "PGTLS_ACME_HOST": challenge.host,
            "PGTLS_ACME_NAME": challenge.name,
            "PGTLS_ACME_CONTENT": challenge.content,
            "PGTLS_ACME_TOKEN": challenge.token,
            "PGTLS_ACME_KEY_AUTHORIZATION": challenge.key_authorization,
        }
        command = (*self.command, action, challenge.name, challenge.content)
        return ask(command, patience, b"", told, self.directory)
