"""Encrypt keys in PKCS#8 and PKCS#12 under a passphrase: AES-256-CBC under PBKDF2 (PBES2, RFC 8018).

No message of this module contains a byte of a passphrase.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from pgtls.pki import der
from pgtls.pki.model import LONGEST_PASSPHRASE

if TYPE_CHECKING:
    from collections.abc import Collection

ROUNDS = 600_000
"""Of PBKDF2 with HMAC-SHA256, as OWASP asks; cryptography's own encryption of PKCS#8 has 2,048."""

_SALT, _BLOCK = 16, 16
_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_PBKDF2 = bytes.fromhex("06092a864886f70d01050c")
_HMAC_SHA256 = bytes.fromhex("06082a864886f70d0209")
_AES_256_CBC = bytes.fromhex("060960864801650304012a")
_SHA256 = bytes.fromhex("0609608648016503040201")
"""Object identifiers of RFC 8018, appendix B, and of NIST, in DER."""


class Encrypted(NamedTuple):
    """A ciphertext, and the AlgorithmIdentifier (RFC 5280, 4.1.1.2) that opens it, in DER."""

    algorithm: bytes
    content: bytes


class Encryption:
    """Encrypts under one passphrase of 1 to :data:`LONGEST_PASSPHRASE` bytes (else ValueError).

    It derives its keys once for all keys that it encrypts: an attacker who guesses the passphrase opens all of them
    anyway. Each ciphertext has its own initialisation vector.
    """

    def __init__(self, passphrase: bytes) -> None:
        if not 0 < len(passphrase) <= LONGEST_PASSPHRASE:
            raise ValueError(f"a passphrase has 1 to {LONGEST_PASSPHRASE} bytes, not {len(passphrase)}")
        self.passphrase = passphrase
        self._salt = os.urandom(_SALT)

    @cached_property
    def _key(self) -> bytes:
        return hashlib.pbkdf2_hmac("sha256", self.passphrase, self._salt, ROUNDS)

    @cached_property
    def _mac_key(self) -> bytes:
        """PKCS#12's own derivation (RFC 7292, B.2). The same rounds: the MAC must not be cheaper to attack."""
        size = hashlib.sha256().block_size
        password = (self.passphrase.decode() + "\0").encode("utf-16-be")
        digest = b"\x03" * size + _filled(self._salt, size) + _filled(password, size)
        for _ in range(ROUNDS):
            digest = hashlib.sha256(digest).digest()
        return digest

    def derive(self) -> None:
        """Derive the key of :meth:`encrypt` now. This releases the interpreter's lock, so threads scale."""
        _ = self._key

    def encrypt(self, plain: bytes) -> Encrypted:
        """Encrypt any bytes."""
        start = os.urandom(_BLOCK)
        padder = padding.PKCS7(8 * _BLOCK).padder()
        encryptor = Cipher(algorithms.AES(self._key), modes.CBC(start)).encryptor()
        content = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
        digest = der.sequence(_HMAC_SHA256, der.tlv(der.NULL, b""))
        derivation = der.sequence(der.tlv(der.OCTET_STRING, self._salt), der.integer(ROUNDS), digest)
        cipher = der.sequence(_AES_256_CBC, der.tlv(der.OCTET_STRING, start))
        return Encrypted(der.sequence(_PBES2, der.sequence(der.sequence(_PBKDF2, derivation), cipher)), content)

    def key_info(self, plain: bytes) -> bytes:
        """Encrypt a PrivateKeyInfo as an EncryptedPrivateKeyInfo (RFC 5958, section 3), both in DER."""
        algorithm, content = self.encrypt(plain)
        return der.sequence(algorithm, der.tlv(der.OCTET_STRING, content))

    def mac(self, content: bytes) -> bytes:
        """Return the MacData of a PKCS#12 file (RFC 7292, section 4), with SHA-256."""
        value = der.tlv(der.OCTET_STRING, hmac.digest(self._mac_key, content, "sha256"))
        digest = der.sequence(der.sequence(_SHA256, der.tlv(der.NULL, b"")), value)
        return der.sequence(digest, der.tlv(der.OCTET_STRING, self._salt), der.integer(ROUNDS))


def derive_all(encryptions: Collection[Encryption], jobs: int) -> None:
    """Derive the keys of several passphrases ahead, in ``jobs`` threads (0: as many as there are cores)."""
    workers = min(jobs or cores(), len(encryptions))
    if workers <= 1:
        return
    from concurrent.futures import ThreadPoolExecutor  # only here: the import takes longer than most builds need

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(Encryption.derive, encryptions))


def cores() -> int:
    """Return how many cores this process may use. A container often has fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _filled(text: bytes, size: int) -> bytes:
    """Repeat a text until it fills whole blocks."""
    whole = -(-len(text) // size) * size
    return (text * (whole // len(text) + 1))[:whole]
