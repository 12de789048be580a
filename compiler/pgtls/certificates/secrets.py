"""Read secrets from their sources: only when one is needed, and each once in a build.

No message of this module contains a byte of a secret, or of a command's output.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.fleet.fields import entity_named, place_of
from pgtls.fleet.files import directory_of
from pgtls.language.positions import locate
from pgtls.pki.model import LONGEST_PASSPHRASE

if TYPE_CHECKING:
    from pgtls.diagnostics import Path
    from pgtls.fleet.model import Fleet, Policy
    from pgtls.language.files import Files
    from pgtls.language.values import Secret
    from pgtls.pki.model import Entity

PATIENCE = 120
"""Seconds until a command is killed: it may be waiting for input on a terminal."""

_MOST = 64 * 1024
"""The maximum bytes of a passphrase."""


class Secrets:
    """The reader of a spec's secrets. Every method raises :class:`Rejected` with PGT560 if it cannot read one."""

    def __init__(self, fleet: Fleet, *, sealed: bool = False) -> None:
        self._fleet = fleet
        self.sealed = sealed
        """Whether to open no key and read no secret, and assume that they fit."""
        self._read: dict[tuple[str, object], str] = {}

    def option(self, policy: Policy, name: str, secret: Secret) -> str:
        """Read a secret option of a policy's method."""
        return self._text(secret, policy.entity, "auth_options", name)

    def passphrase(self, entity: Entity) -> bytes | None:
        """Read the passphrase of an entity's key. Return None if the spec has none for it."""
        secret = entity_named(self._fleet, entity).table.passphrase
        return self._text(secret, entity, "passphrase", longest=LONGEST_PASSPHRASE).encode() if secret else None

    def pin(self, entity: Entity) -> str:
        """Read the PIN of the token that holds the key of a CA."""
        key = self._fleet.cas[entity.name].table.key
        assert key is not None  # noqa: S101
        return self._text(key.pin, entity, "key", "pin")

    def file(self, path: str) -> bytes:
        """Read a file that the spec names. Raise OSError if it is unreadable."""
        return self._fleet.source.reader.read(path)

    def _text(self, secret: Secret, entity: Entity, *field: str, longest: int = _MOST) -> str:
        assert not self.sealed  # noqa: S101
        path = place_of(self._fleet, entity, *field)
        directory = directory_of(self._fleet, path)
        key = (directory, secret)
        if key not in self._read:
            try:
                self._read[key] = _checked(_fetched(secret, directory, self._fleet.source.reader), longest)
            except _Unavailable as fault:
                raise Rejected(*locate((_fault(secret, str(fault), path),), self._fleet.source)) from None
        return self._read[key]


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
    return _without_line_end(_printed(list(secret.command or ()), directory))


def _printed(command: list[str], directory: str) -> bytes:
    try:
        run = subprocess.run(  # noqa: S603  (it is the spec that says what to run, and no shell reads it)
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=directory,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _Unavailable(f"it did not end within {PATIENCE} seconds") from None
    except (OSError, ValueError) as error:
        raise _Unavailable(f"it cannot be run: {getattr(error, 'strerror', None) or error}") from None
    if run.returncode != 0:
        how = f"exited with {run.returncode}" if run.returncode > 0 else f"was ended by signal {-run.returncode}"
        raise _Unavailable(f"it {how}")
    return run.stdout


def _without_line_end(content: bytes) -> bytes:
    return content.removesuffix(b"\n").removesuffix(b"\r")


def _checked(content: bytes, longest: int) -> str:
    """Refuse a text that cannot be a secret, or that would break the line that contains it."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise _Unavailable("what it holds is not UTF-8") from None
    if not text:
        raise _Unavailable("it is empty")
    if len(content) > longest:
        raise _Unavailable(f"it has {len(content)} bytes, and OpenSSL reads {longest} at most")
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in text):
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
