"""Generate, write, read and name private keys.

Randomness comes from the operating system through OpenSSL. A caller that wants other keys passes its own ``generate``.
No message of this module contains a byte of a key or of a passphrase.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from pgtls.pki.encryption import cores
from pgtls.pki.model import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

    from pgtls.pki.encryption import Encryption
    from pgtls.pki.model import KeyAlgorithm

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
"""The keys that can sign a certificate. pgtls never generates the last kind, but users may supply it."""
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey

_RSA_EXPONENT = 65537
_CURVES = {"secp256r1": "ecdsa-p256", "secp384r1": "ecdsa-p384", "secp521r1": "ecdsa-p521"}


def generate(algorithm: KeyAlgorithm) -> PrivateKey:
    """Make a key. RSA takes from 40 ms (2048 bits) to half a second (4096); the others take microseconds."""
    match algorithm:
        case "ecdsa-p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "ecdsa-p384":
            return ec.generate_private_key(ec.SECP384R1())
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case "rsa-2048" | "rsa-3072" | "rsa-4096":
            return rsa.generate_private_key(_RSA_EXPONENT, int(algorithm.removeprefix("rsa-")))


def generate_many(
    algorithms: Sequence[KeyAlgorithm],
    jobs: int | None = None,
    generate: Callable[[KeyAlgorithm], PrivateKey] = generate,
) -> list[PrivateKey]:
    """Make one key for each algorithm, in their order. Make RSA keys in ``jobs`` threads (None: one for each core).

    OpenSSL works on RSA without the interpreter's lock, so threads scale. The other algorithms are faster in one
    thread.
    """
    slow = [index for index, algorithm in enumerate(algorithms) if algorithm.startswith("rsa-")]
    workers = min(jobs or cores(), len(slow))
    if workers <= 1:
        return [generate(algorithm) for algorithm in algorithms]
    from concurrent.futures import ThreadPoolExecutor  # only here: the import costs more than a hundred EC keys

    with ThreadPoolExecutor(workers) as pool:
        pending = {index: pool.submit(generate, algorithms[index]) for index in slow}
        quick = {index: generate(a) for index, a in enumerate(algorithms) if index not in pending}
        return [pending[i].result() if i in pending else quick[i] for i in range(len(algorithms))]


def to_pem(key: PrivateKey, encryption: Encryption | None = None) -> bytes:
    """Write a key as PKCS#8 (RFC 5958), the format that libpq, PostgreSQL, pgjdbc and PgBouncer all read."""
    if encryption is None:
        return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, _PLAIN)
    body = base64.encodebytes(encryption.key_info(to_der(key))).replace(b"\n", b"")
    lines = b"\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    return b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n" + lines + b"\n-----END ENCRYPTED PRIVATE KEY-----\n"


def to_der(key: PrivateKey) -> bytes:
    """Write a key as PKCS#8 in DER, unencrypted: the format that every pgjdbc reads."""
    return key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, _PLAIN)


_PLAIN = serialization.NoEncryption()


def is_encrypted(pem: bytes) -> bool:
    """Return whether this key needs a passphrase (PKCS#8, or the older form with a ``Proc-Type`` header)."""
    return b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in pem or b"Proc-Type: 4,ENCRYPTED" in pem


def load(pem: bytes, passphrase: bytes | None = None, ours: bool = False) -> PrivateKey | Unreadable:
    """Read a key in PKCS#8 or an older format. Ignore a passphrase that is not needed.

    ``ours`` says that pgtls wrote these bytes (by their digest): skip the validation of an RSA key, which takes as long
    as its generation.
    """
    encrypted = is_encrypted(pem)
    if encrypted and passphrase is None:
        return Unreadable("it is encrypted, and there is no passphrase for it")
    try:
        key = serialization.load_pem_private_key(
            pem, passphrase if encrypted else None, unsafe_skip_rsa_key_validation=ours
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):  # OpenSSL's own words say less, and might quote the input
        return Unreadable("the passphrase does not open it" if encrypted else "it is not a private key in PEM form")
    if not isinstance(key, PrivateKey):
        return Unreadable("it is a key that cannot sign certificates")
    if not ours and _is_pss(pem):
        return Unreadable(PSS)
    return key


PSS = "it is an RSA-PSS key (id-RSASSA-PSS), and pgtls works with plain RSA keys (rsaEncryption) only"
PSS_OID = bytes.fromhex("06092a864886f70d01010a")
"""id-RSASSA-PSS in DER: cryptography reads such a key as plain RSA, and writes it with another algorithm."""


def _is_pss(pem: bytes) -> bool:
    """Return whether an unencrypted PKCS#8 key names RSA-PSS as its algorithm (RFC 5958, section 2)."""
    body = pem.partition(b"-----BEGIN PRIVATE KEY-----")[2].partition(b"-----END")[0]
    try:
        return PSS_OID in base64.b64decode(b"".join(body.split()))[:40]
    except binascii.Error:
        return False


FIT_FOR_TLS = frozenset(("ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "ed25519", "ed448"))
"""Algorithms besides RSA with which a server or client of PostgreSQL completes a handshake by its defaults."""
LEAST_RSA_BITS = 2048
"""The minimum of OpenSSL's security level 2, the default of current distributions."""


def unfit(algorithm: str) -> str | None:
    """Return why TLS peers reject a key of this algorithm, as :func:`algorithm_of` names it; None if they accept it."""
    kind, _, bits = algorithm.partition("-")
    if kind == "rsa":
        short = int(bits) < LEAST_RSA_BITS
        return f"its RSA key has {bits} bits, and OpenSSL takes {LEAST_RSA_BITS} and more" if short else None
    if algorithm in FIT_FOR_TLS:
        return None
    what = f"is on the curve {bits}" if kind == "ecdsa" else f"is of the kind {algorithm}"
    return f"its key {what}, which TLS peers refuse: use P-256, P-384, P-521, Ed25519 or RSA"


LONGEST_EXPONENT = 64
"""Bits of an RSA key's public exponent: OpenSSL's limit for long keys. The time of a verification grows with them."""


def slow(public_key: PublicKeyTypes) -> str | None:
    """Return why it takes too long to verify signatures with a key: a file may ask for thousands of verifications."""
    bits = public_key.public_numbers().e.bit_length() if isinstance(public_key, rsa.RSAPublicKey) else 0
    long = f"its RSA key has a public exponent of {bits} bits, and pgtls takes at most {LONGEST_EXPONENT}"
    return long if bits > LONGEST_EXPONENT else None


def spki_sha256(public_key: PublicKeyTypes) -> str:
    """Name a public key: the SHA-256 of its SubjectPublicKeyInfo (RFC 5280, 4.1.2.7) in hex."""
    der = public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def algorithm_of(public_key: PublicKeyTypes) -> str:
    """Return a key's algorithm as the spec writes it.

    Name other algorithms in the same way: ``rsa-1024``, ``ecdsa-p521``, ``dsa``.
    """
    if isinstance(public_key, rsa.RSAPublicKey):
        return f"rsa-{public_key.key_size}"
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return _CURVES.get(public_key.curve.name, f"ecdsa-{public_key.curve.name}")
    return type(public_key).__name__.removesuffix("PublicKey").lower()
