"""Encrypt files for recipients, and open them with an identity, as age does (https://age-encryption.org/v1).

pyrage is optional, and only this module imports it. No message of this module contains a byte of an identity or of a
file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from pgtls.diagnostics import installing

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyrage

    _Recipient: TypeAlias = pyrage.x25519.Recipient | pyrage.ssh.Recipient
    _Identity: TypeAlias = pyrage.x25519.Identity | pyrage.ssh.Identity

_BEGINNINGS = (b"-----BEGIN AGE ENCRYPTED FILE-----", b"age-encryption.org/v1\n")
"""Of a file in ASCII armor, which pgtls writes, and of one without."""

Trouble = Literal["extra", "recipient", "identity"]
"""What is wrong: the extra is not installed, a public key is none, an identity is none or opens nothing."""


class AgeFault(Exception):  # noqa: N818
    """Report why a file cannot be encrypted or opened. ``index`` is that of the recipient that is wrong."""

    def __init__(self, trouble: Trouble, message: str, hint: str, index: int = 0) -> None:
        super().__init__(message)
        self.trouble, self.message, self.hint, self.index = trouble, message, hint, index


def is_encrypted(content: bytes) -> bool:
    """Return whether a file is encrypted by age."""
    return content.startswith(_BEGINNINGS)


class Recipients:
    """Encrypts for some public keys of age or SSH. Raise :class:`AgeFault` for what is no such key."""

    def __init__(self, names: Sequence[str]) -> None:
        _require()
        self._recipients = [_recipient(name, index) for index, name in enumerate(names)]

    def encrypt(self, content: bytes) -> bytes:
        """Return a file in ASCII armor. No two are equal."""
        import pyrage

        return pyrage.encrypt(content, self._recipients, armored=True)


def _recipient(name: str, index: int) -> _Recipient:
    import pyrage

    try:
        if name.startswith("ssh-"):
            return pyrage.ssh.Recipient.from_str(name)
        return pyrage.x25519.Recipient.from_str(name)
    except pyrage.RecipientError:
        hint = "copy it again: age checks each character, and pgtls encrypts for nobody else meanwhile"
        raise AgeFault("recipient", "this is no public key of age or SSH", hint, index) from None


class Identities:
    """Opens files with the private keys of an identity file: lines of age, or a private key of SSH."""

    def __init__(self, text: str) -> None:
        _require()
        lines = [line.strip() for line in text.splitlines()]
        if any(line.startswith("-----BEGIN") for line in lines):
            self._identities: list[_Identity] = [_ssh(text)]
        else:
            self._identities = [_x25519(line) for line in lines if line and not line.startswith("#")]
        if not self._identities:
            raise AgeFault("identity", "the identity holds no private key", AN_IDENTITY)

    def decrypt(self, content: bytes) -> bytes:
        """Return the content of a file. Raise :class:`AgeFault` if it is damaged, or encrypted for others."""
        import pyrage

        try:
            return pyrage.decrypt(content, self._identities)
        except pyrage.DecryptError as error:
            if "No matching keys" in str(error):
                message, hint = "it is encrypted for others than this identity", "use that of one of its recipients"
            else:
                message, hint = "it is damaged", "restore it from a backup"
            raise AgeFault("identity", message, hint) from None


AN_IDENTITY = "it is what age-keygen writes, AGE-SECRET-KEY-1…, or a private key of SSH without a passphrase"


def _x25519(line: str) -> _Identity:
    import pyrage

    try:
        return pyrage.x25519.Identity.from_str(line)
    except pyrage.IdentityError:
        raise AgeFault("identity", "the identity is no private key of age or SSH", AN_IDENTITY) from None


def _ssh(text: str) -> _Identity:
    import pyrage

    try:
        return pyrage.ssh.Identity.from_buffer(text.strip().encode() + b"\n")
    except pyrage.IdentityError:
        raise AgeFault("identity", "the identity is no private key of SSH that can be used", AN_IDENTITY) from None


def _require() -> None:
    try:
        import pyrage  # noqa: F401
    except ImportError:
        message = "the keys in the out directory need pyrage, which is not installed"
        raise AgeFault("extra", message, installing("pyrage")) from None
