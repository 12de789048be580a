"""Check chains from other CAs: each certificate must have signed the one before it (RFC 5280, 6.1)."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import SignatureAlgorithmOID

from pgtls.pki import facts
from pgtls.pki.model import Unreadable
from pgtls.pki.names import canonical, name_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def path(
    leaf: x509.Certificate, others: Iterable[x509.Certificate], anchor: x509.Certificate
) -> tuple[x509.Certificate, ...] | None:
    """Return the intermediate certificates of the shortest path up from a certificate to a CA.

    Return None without a path.

    ``others`` may come in any order. Leave out certificates that the path does not need. The time grows with their
    square: :func:`pgtls.pki.facts.chain` reads no file with many.
    """
    reached: list[tuple[x509.Certificate, tuple[x509.Certificate, ...]]] = [(leaf, ())]
    left = list(others)
    for one, way in reached:
        if signed_by(one, anchor):
            return way
        reached += [(above, (*way, above)) for above in left if signed_by(one, above)]
        left = [above for above in left if all(above is not known for known, _ in reached)]
    return None


def ends_under(file: bytes, authority: bytes) -> bool:
    """Return whether the certificates of a PEM file form a path from its first one to the first one of another file."""
    own, above = facts.parse(file), facts.parse(authority)
    if isinstance(own, Unreadable) or isinstance(above, Unreadable):
        return False
    return path(own[0], own[1:], above[0]) is not None


def is_whole(file: bytes) -> bool:
    """Return whether a PEM file has a chain, leaf first, up to a self-signed certificate."""
    chain = facts.parse(file)
    return not isinstance(chain, Unreadable) and unsigned(chain) is None


def unsigned(chain: Sequence[x509.Certificate], *, rooted: bool = True) -> str | None:
    """Return where a chain, leaf first, is broken, else None. If ``rooted``, it must end in a self-signed one."""
    for number, (one, above) in enumerate(pairwise(chain), 1):
        if not signed_by(one, above):
            return f"certificate {number} of the file was not signed by the next one"
    if rooted and not signed_by(chain[-1], chain[-1]):
        return "it was signed by a CA that is neither in the file nor in the spec"
    return None


def misnamed(chain: Iterable[x509.Certificate]) -> str | None:
    """Return which certificate of a chain, leaf first, names another one of its CA: OpenSSL then refuses the chain."""
    for number, (one, above) in enumerate(pairwise(chain)):
        key_id = next((e.value for e in one.extensions if isinstance(e.value, x509.AuthorityKeyIdentifier)), None)
        if not identifies(key_id, above):
            what = f'the CA "{name_text(one.subject)}" above it' if number else "it"
            return f'{what} names another certificate of "{name_text(above.subject)}" (authority key identifier)'
    return None


def no_ca(one: x509.Certificate, *, anchor: bool) -> str | None:
    """Return why OpenSSL does not take a certificate for that of a CA (v3_purp.c, ``check_ca``), else None.

    The one at the end of a chain may be of version 1, or have a key usage alone.
    """
    values = {type(extension.value): extension.value for extension in one.extensions}
    basic, usage = values.get(x509.BasicConstraints), values.get(x509.KeyUsage)
    if isinstance(usage, x509.KeyUsage) and not usage.key_cert_sign:
        return "has a key usage without keyCertSign"
    if basic is None and anchor and (usage or one.version is x509.Version.v1):
        return None
    return None if isinstance(basic, x509.BasicConstraints) and basic.ca else "is no CA"


def identifies(key_id: x509.AuthorityKeyIdentifier | None, ca: x509.Certificate) -> bool:
    """Return whether OpenSSL takes a CA for the one that an authority key identifier names.

    It may name a key, or one certificate of the CA by its issuer and serial number (v3_purp.c, ``X509_check_akid``).
    """
    if key_id is None:
        return True
    own = next((e.value.digest for e in ca.extensions if isinstance(e.value, x509.SubjectKeyIdentifier)), None)
    if key_id.key_identifier and own and key_id.key_identifier != own:
        return False
    number = key_id.authority_cert_serial_number
    if number is not None and f"{number:x}" != facts.serial(ca):
        return False
    names = [name.value for name in key_id.authority_cert_issuer or () if isinstance(name, x509.DirectoryName)]
    return not names or canonical(names[0]) == canonical(ca.issuer)


def signed_by(one: x509.Certificate, above: x509.Certificate) -> bool:
    """Return whether a certificate names another as its issuer and is signed with its key."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            one.verify_directly_issued_by(above)
        except ValueError:  # another issuer, or a digest that it does not accept
            return one.issuer == above.subject and _verifies(one, above.public_key())
        except (TypeError, InvalidSignature, UnsupportedAlgorithm):
            return False
    return True


def _verifies(one: x509.Certificate, key: object) -> bool:
    """Verify a signature whose digest cryptography no longer accepts; other checks decide whether to use it."""
    digest = one.signature_hash_algorithm
    try:
        if isinstance(key, rsa.RSAPublicKey) and digest:
            key.verify(one.signature, one.tbs_certificate_bytes, padding.PKCS1v15(), digest)
        elif isinstance(key, ec.EllipticCurvePublicKey) and digest:
            key.verify(one.signature, one.tbs_certificate_bytes, ec.ECDSA(digest))
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def weak_digest(one: x509.Certificate) -> str | None:
    """Return the digest of a signature if OpenSSL rejects it by default; a root's own is never checked."""
    digest = one.signature_hash_algorithm
    return {"sha1": "SHA-1", "md5": "MD5"}.get(digest.name) if digest and not signed_by(one, one) else None


def signed_with(pem: bytes) -> str | None:
    """Return the kind of the signing key if the signature names no digest: ``ed25519`` or ``ed448``."""
    parsed = facts.parse(pem)
    if isinstance(parsed, Unreadable):
        return None
    kinds = {SignatureAlgorithmOID.ED25519: "ed25519", SignatureAlgorithmOID.ED448: "ed448"}
    return kinds.get(parsed[0].signature_algorithm_oid)
