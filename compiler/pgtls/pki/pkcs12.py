"""Write PKCS#12 (RFC 7292): a key with its chain in one file, for Java and for Windows.

The file contains the same as ``postgresql.key`` and ``postgresql.crt``, under the alias that pgjdbc looks for. Keys and
certificates are encrypted by AES-256 (:mod:`pgtls.pki.encryption`), and the MAC uses SHA-256. pgtls writes the file
itself: cryptography derives three new keys for each file, and its MAC has 2,048 rounds.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization

from pgtls.pki import der
from pgtls.pki.keys import to_der

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.x509 import Certificate

    from pgtls.pki.encryption import Encryption
    from pgtls.pki.keys import PrivateKey

ALIAS = "user"
"""The friendly name of key and certificate: pgjdbc accepts no other."""

_DATA = bytes.fromhex("06092a864886f70d010701")
_ENCRYPTED_DATA = bytes.fromhex("06092a864886f70d010706")
_KEY_BAG = bytes.fromhex("060b2a864886f70d010c0a0102")
_CERTIFICATE_BAG = bytes.fromhex("060b2a864886f70d010c0a0103")
_X509 = bytes.fromhex("060a2a864886f70d01091601")
_FRIENDLY_NAME = bytes.fromhex("06092a864886f70d010914")
_LOCAL_KEY_ID = bytes.fromhex("06092a864886f70d010915")
"""Object identifiers of RFC 7292, appendix D, and of RFC 2985, in DER."""

_3DES = bytes.fromhex("060a2a864886f70d010c0103")
"""pbeWithSHAAnd3-KeyTripleDES-CBC (RFC 7292, appendix C)."""


def make(key: PrivateKey, chain: Sequence[Certificate], encryption: Encryption) -> bytes:
    """Write a file with a key and its certificates, its own first."""
    certificates = [one.public_bytes(serialization.Encoding.DER) for one in chain]
    own = _own_attributes(certificates[0])
    key_bag = _bag(_KEY_BAG, encryption.key_info(to_der(key)), own)
    bags = (_certificate(one, b"" if index else own) for index, one in enumerate(certificates))
    algorithm, content = encryption.encrypt(der.sequence(*bags))
    encrypted = der.sequence(der.integer(0), der.sequence(_DATA, algorithm, der.tlv(_CONTENT_IMPLICIT, content)))
    safe = der.sequence(_data(der.sequence(key_bag)), der.sequence(_ENCRYPTED_DATA, der.tlv(der.EXPLICIT, encrypted)))
    return der.sequence(der.integer(3), _data(safe), encryption.mac(safe))


def make_for_old_readers(key: PrivateKey, chain: Sequence[Certificate], passphrase: bytes) -> bytes:
    """Write a file in the format before 2020: 3DES, and a MAC with SHA-1.

    Windows Server 2016 and Java 8 read no other.
    """
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import pkcs12

    encryption = (
        serialization.PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(_OLD_ROUNDS)
        .key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)
        .hmac_hash(hashes.SHA1())  # noqa: S303  (what is asked for)
        .build(passphrase)
    )
    return pkcs12.serialize_key_and_certificates(ALIAS.encode(), key, chain[0], chain[1:], encryption)


_OLD_ROUNDS = 50_000
"""The rounds. The file is weak with any number: this one slows down an attacker, and no reader noticeably."""


def is_for_old_readers(content: bytes) -> bool:
    """Return whether :func:`make_for_old_readers` wrote a file."""
    return _3DES in content


_CONTENT_IMPLICIT = 0x80
"""The tag of the content of EncryptedContentInfo (RFC 5652, section 6.1)."""


def _data(content: bytes) -> bytes:
    """Write a ContentInfo of the type data."""
    return der.sequence(_DATA, der.tlv(der.EXPLICIT, der.tlv(der.OCTET_STRING, content)))


def _bag(kind: bytes, value: bytes, attributes: bytes) -> bytes:
    return der.sequence(kind, der.tlv(der.EXPLICIT, value), attributes)


def _certificate(certificate: bytes, attributes: bytes) -> bytes:
    octets = der.tlv(der.EXPLICIT, der.tlv(der.OCTET_STRING, certificate))
    return _bag(_CERTIFICATE_BAG, der.sequence(_X509, octets), attributes)


def _own_attributes(certificate: bytes) -> bytes:
    """Write the attributes by which readers match a key and its certificate."""
    name = der.tlv(der.BMP_STRING, ALIAS.encode("utf-16-be"))
    mark = der.tlv(der.OCTET_STRING, hashlib.sha1(certificate, usedforsecurity=False).digest())
    both = (_FRIENDLY_NAME, name), (_LOCAL_KEY_ID, mark)
    return der.tlv(der.SET, b"".join(sorted(der.sequence(kind, der.tlv(der.SET, value)) for kind, value in both)))
