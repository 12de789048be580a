"""Sign certificates. The caller passes serial numbers and the clock; only ECDSA itself uses randomness."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from pgtls.pki import keys, profiles
from pgtls.pki.expected import wanted_facts
from pgtls.pki.model import Certificate
from pgtls.pki.names import name_text

if TYPE_CHECKING:
    from datetime import datetime

    from pgtls.pki.model import Profile


@dataclass(frozen=True, eq=False)
class Issuer:
    """A CA that can sign: its certificate and private key. Computes the common fields of its certificates once."""

    certificate: x509.Certificate
    key: keys.PrivateKey

    @cached_property
    def name(self) -> x509.Name:
        """Its subject, as encoded (4.1.2.4: names are chained byte by byte in practice)."""
        return self.certificate.subject

    @cached_property
    def subject(self) -> str:
        """Its subject as text."""
        return name_text(self.name)

    @cached_property
    def authority_key_id(self) -> x509.AuthorityKeyIdentifier:
        """The key identifier of the issuer: its own subjectKeyIdentifier, else the usual one (4.2.1.1)."""
        try:
            own = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        except x509.ExtensionNotFound:
            own = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)

    @cached_property
    def key_id(self) -> str:
        """The same in hex."""
        return (self.authority_key_id.key_identifier or b"").hex()


@dataclass(frozen=True, slots=True, eq=False)
class Issued:
    """A new certificate, as PEM and as facts."""

    certificate: x509.Certificate
    pem: bytes
    facts: Certificate


def issue(
    profile: Profile,
    public_key: keys.PublicKey,
    issuer: Issuer | keys.PrivateKey,
    serial: int,
    now: datetime,
    issuer_limit: datetime | None = None,
    last_begin: datetime | None = None,
) -> Issued:
    """Sign a certificate.

    ``issuer`` is the CA or, for a self-signed certificate, the private key of ``public_key``. ``serial`` is
    positive and has at most 159 bits (RFC 5280, 4.1.2.2: 20 octets). ``issuer_limit`` is the earliest notAfter of the
    chain above. If that or ``until`` is not after the start, raise ValueError (the plan lists the entity as waiting).
    ``last_begin`` is the notBefore of the certificate that this one replaces.
    """
    authority, key = (issuer, issuer.key) if isinstance(issuer, Issuer) else (None, issuer)
    not_before, not_after = profiles.lifetime(profile, now, issuer_limit, last_begin)
    key_id = x509.SubjectKeyIdentifier.from_public_key(public_key)
    authority_key_id = authority.authority_key_id if authority else None
    if authority is None and profile.kind == "server":
        # Clients hold this certificate and the next one, with the same name: OpenSSL distinguishes them only by key
        # identifier (X509_check_issued), and without it rejects the served one if it finds the other first.
        authority_key_id = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id)
    shared = profiles.shared(
        profile,
        public_key,
        key_id,
        authority.name if authority else None,
        authority_key_id,
        serial,
        not_before,
        not_after,
    )
    certificate = profiles.PROFILES[profile.kind](shared, profile).sign(key, digest_for(key))
    subject, names, usages = wanted_facts(profile)
    return Issued(
        certificate,
        certificate.public_bytes(Encoding.PEM),
        Certificate(
            serial=f"{serial:x}",
            subject=subject,
            issuer=authority.subject if authority else subject,
            names=names,
            usages=usages,
            key_algorithm=keys.algorithm_of(public_key),
            spki_sha256=keys.spki_sha256(public_key),
            key_id=key_id.digest.hex(),
            authority_key_id=(authority_key_id.key_identifier or b"").hex() if authority_key_id else None,
            sha256=hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
            not_before=not_before,
            not_after=not_after,
        ),
    )


def digest_for(key: keys.PrivateKey) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None:
    """Return the digest of a signature: as strong as the curve (RFC 5480, 4), SHA-256 for RSA, none for EdDSA."""
    if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey):
        return None
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size > 256:
        return hashes.SHA384() if key.key_size <= 384 else hashes.SHA512()
    return hashes.SHA256()
