"""Read secrets from their sources: only when one is needed, and each once in a build.

No message of this module contains a byte of a secret, or of a command's output.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pgtls.certificates.programs import Failure, run
from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.fleet.fields import entity_named, place_of
from pgtls.fleet.files import directory_of
from pgtls.language.positions import locate
from pgtls.pki.age import AgeFault, Identities, is_encrypted
from pgtls.pki.model import LONGEST_PASSPHRASE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgtls.diagnostics import Path
    from pgtls.fleet.model import Authority, Fleet, Policy
    from pgtls.language.files import Files
    from pgtls.language.values import Secret
    from pgtls.pki.model import Entity

PATIENCE = 120
"""Seconds until a command is killed: it may be waiting for a person."""

_MOST = 64 * 1024
"""The maximum bytes of a passphrase."""


class Secrets:
    """The reader of a spec's secrets. Every method raises :class:`Rejected` with PGT560 if it cannot read one."""

    def __init__(self, fleet: Fleet, *, sealed: bool = False) -> None:
        self._fleet = fleet
        self.sealed = sealed
        """Whether to open no key and read no secret, and assume that they fit."""
        self._read: dict[tuple[str, object], str] = {}
        self._identities: Identities | None = None

    def option(self, policy: Policy, name: str, secret: Secret) -> str:
        """Read a secret option of a policy's method."""
        return self._text(secret, place_of(self._fleet, policy.entity, "auth_options", name))

    def passphrase(self, entity: Entity) -> bytes | None:
        """Read the passphrase of an entity's key. Return None if the spec has none for it."""
        secret = entity_named(self._fleet, entity).table.passphrase
        if secret is None:
            return None
        return self._text(secret, place_of(self._fleet, entity, "passphrase"), longest=LONGEST_PASSPHRASE).encode()

    def pin(self, entity: Entity) -> str:
        """Read the PIN of the token that holds the key of a CA."""
        key = self._fleet.cas[entity.name].table.key
        assert key is not None  # noqa: S101
        return self._text(key.pin, place_of(self._fleet, entity, "key", "pin"))

    def decrypted(self, content: bytes, path: str) -> bytes:
        """Return what a file of the out directory holds, whose name is ``path``: it may be encrypted for recipients.

        Raise :class:`Rejected` with PGT650 or PGT652 if it is, and cannot be opened.
        """
        if not is_encrypted(content):
            return content
        try:
            if self._identities is None:
                self._identities = Identities(self._identity(path))
            return self._identities.decrypt(content)
        except AgeFault as fault:
            raise Rejected(*locate((at_rest_fault(self._fleet, fault, path),), self._fleet.source)) from None

    def _identity(self, path: str) -> str:
        source = self._fleet.state.identity
        if source is None:
            raise AgeFault("identity", "it is encrypted, and the spec names no identity", _NO_IDENTITY)
        return self._text(source, ("state", "identity"), lines=True)

    def account_binding(self, ca: Authority) -> str:
        """Read the key of the external account binding of an ACME CA."""
        bound = ca.table.sign and ca.table.sign.account_binding
        assert bound  # noqa: S101
        return self._text(bound.hmac, place_of(self._fleet, ca.entity, "sign", "account_binding", "hmac"))

    def file(self, path: str) -> bytes:
        """Read a file that the spec names. Raise OSError if it is unreadable."""
        return self._fleet.source.reader.read(path)

    def _text(self, secret: Secret, path: Path, *, longest: int = _MOST, lines: bool = False) -> str:
        assert not self.sealed  # noqa: S101
        directory = directory_of(self._fleet, path)
        key = (directory, secret)
        if key not in self._read:
            try:
                self._read[key] = _checked(_fetched(secret, directory, self._fleet.source.reader), longest, lines=lines)
            except _Unavailable as fault:
                raise Rejected(*locate((_fault(secret, str(fault), path),), self._fleet.source)) from None
        return self._read[key]


_NO_IDENTITY = (
    'add a private key of one of its recipients to [state]: identity = { env = "NAME" }, or { file = "PATH" }'
)


def at_rest_fault(fleet: Fleet, fault: AgeFault, path: str = "") -> Diagnostic:
    """Return the diagnostic of a key at rest that cannot be encrypted, or, with its ``path``, opened."""
    if fault.trouble == "recipient":
        return Diagnostic("PGT651", fault.message, ("state", "recipients", fault.index), fault.hint)
    if fault.trouble == "extra":
        place: Path = ("state", "recipients") if fleet.state.recipients else ("state", "identity")
        return Diagnostic("PGT650", fault.message, place, fault.hint)
    message = f'cannot open "{path}" in the out directory: {fault.message}'
    if fleet.state.identity is not None:
        return Diagnostic("PGT652", message, ("state", "identity"), fault.hint)
    return Diagnostic("PGT652", message, ("state",) if fleet.state.recipients else (), fault.hint, at="table")


class _Unavailable(Exception):  # noqa: N818
    """Report why a secret is unavailable."""


def _fetched(secret: Secret, directory: str, files: Files) -> bytes:
    if secret.env is not None:
        value = os.environ.get(secret.env)
        if value is None:
            raise _Unavailable("it is not set")
        return os.fsencode(value)
    if secret.file is not None:
        try:
            return _without_line_end(files.read(os.path.join(directory, secret.file), _MOST))
        except (OSError, ValueError) as error:
            raise _Unavailable(getattr(error, "strerror", None) or "it is no path") from None
    return _without_line_end(_printed(secret.command or (), directory))


def _printed(command: Sequence[str], directory: str) -> bytes:
    """Run a program. It gets all variables of the build: it may need some to log in where it has the secret from."""
    printed = run(command, PATIENCE, directory, os.environ, _MOST)
    if isinstance(printed, Failure):
        raise _Unavailable(f"it {printed.reason}")
    return printed


def _without_line_end(content: bytes) -> bytes:
    return content.removesuffix(b"\n").removesuffix(b"\r")


def _checked(content: bytes, longest: int, *, lines: bool) -> str:
    """Refuse a text that cannot be a secret. Without ``lines``, refuse one that would break the line that holds it."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise _Unavailable("what it holds is not UTF-8") from None
    if not text:
        raise _Unavailable("it is empty")
    if len(content) > longest:
        raise _Unavailable(f"it has {len(content)} bytes, and OpenSSL reads {longest} at most")
    if not lines and any(ord(character) < 0x20 or ord(character) == 0x7F for character in text):
        raise _Unavailable("it holds control characters, or several lines")
    return text


def _fault(secret: Secret, reason: str, path: Path) -> Diagnostic:
    if secret.env is not None:
        source, hint = f'environment variable "{secret.env}"', "set it for this build"
    elif secret.file is not None:
        source, hint = f'file "{secret.file}"', "paths are relative to the file of the spec that names them"
    else:
        source, hint = f'command "{(secret.command or ("",))[0]}"', "run it by hand to see what it says"
    return Diagnostic("PGT560", f"a secret cannot be read from {source}: {reason}", path, hint)
