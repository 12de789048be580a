"""Read certificates of any origin into facts.

Return every fault of the bytes as a value: a foreign file may hold anything.
"""

from __future__ import annotations

import hashlib
import warnings
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, PublicKeyAlgorithmOID

from pgtls.pki import damage, keys
from pgtls.pki.expected import subject_text, wanted_facts
from pgtls.pki.model import FIRST_YEAR, Certificate, Unreadable
from pgtls.pki.names import name_text

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["of", "parse", "read", "subject_text", "wanted_facts"]

_KEY_USAGES = {
    "digital_signature": "digitalSignature",
    "content_commitment": "nonRepudiation",
    "key_encipherment": "keyEncipherment",
    "data_encipherment": "dataEncipherment",
    "key_agreement": "keyAgreement",
    "key_cert_sign": "keyCertSign",
    "crl_sign": "cRLSign",
}
_PURPOSES = {
    ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth",
    ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth",
    ExtendedKeyUsageOID.CODE_SIGNING: "codeSigning",
    ExtendedKeyUsageOID.EMAIL_PROTECTION: "emailProtection",
    ExtendedKeyUsageOID.TIME_STAMPING: "timeStamping",
    ExtendedKeyUsageOID.OCSP_SIGNING: "OCSPSigning",
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "anyExtendedKeyUsage",
}


def read(pem: bytes) -> tuple[Certificate, ...] | Unreadable:
    """Read every certificate of a file, in order. One unreadable certificate spoils the file, as for PostgreSQL."""
    found = _decoded(pem)
    return found if isinstance(found, Unreadable) else tuple(fact for _, fact in found)


def parse(pem: bytes) -> tuple[x509.Certificate, ...] | Unreadable:
    """Read every certificate of a file as an X.509 object, of which each field can be decoded."""
    found = _decoded(pem)
    return found if isinstance(found, Unreadable) else tuple(certificate for certificate, _ in found)


LONGEST = 100
"""Certificates of a chain: OpenSSL verifies none that is longer, by default. To find a path takes their square."""


def chain(pem: bytes) -> tuple[Certificate, ...] | Unreadable:
    """Read the file of a certificate and of the CAs above it."""
    found = read(pem)
    if not isinstance(found, Unreadable) and len(found) > LONGEST:
        return Unreadable(f"it holds {len(found)} certificates, and a chain has at most {LONGEST}")
    return found


def _decoded(pem: bytes) -> tuple[tuple[x509.Certificate, Certificate], ...] | Unreadable:
    """Read a file, and decode every field: cryptography does so only when a field is asked for, and raises there."""
    if fault := damage.of_file(pem, damage.CERTIFICATE):
        return Unreadable(fault)
    found = []
    with warnings.catch_warnings():  # cryptography's warnings about foreign certificates do not concern the user
        warnings.simplefilter("ignore")
        try:
            certificates = x509.load_pem_x509_certificates(pem)
        except Exception as error:  # noqa: BLE001  (its exceptions share no class, and all of them are about these bytes)
            return Unreadable(damage.of_block(pem, damage.CERTIFICATE, error))
        for certificate in certificates:
            try:
                fact = _facts(certificate)
            except Exception as error:  # noqa: BLE001
                return Unreadable(f"the certificate cannot be understood: {damage.of_field(error)}")
            if fault := _unheard_of(certificate, fact):
                return Unreadable(f"the certificate cannot be used: {fault}")
            found.append((certificate, fact))
    return tuple(found)


def pems(pem: bytes) -> tuple[bytes, ...]:
    """Return every certificate of a valid file as separate PEM, without the text between them."""
    parsed = parse(pem)
    assert not isinstance(parsed, Unreadable)  # noqa: S101
    return tuple(certificate.public_bytes(Encoding.PEM) for certificate in parsed)


def of(certificate: x509.Certificate) -> Certificate:
    """Return the facts of a certificate that :func:`parse` has read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _facts(certificate)


def serial(certificate: x509.Certificate) -> str:
    """Return the serial number in hex, as the lock has it. Some roots have zero, of which cryptography warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return f"{certificate.serial_number:x}"


def _unheard_of(certificate: x509.Certificate, found: Certificate) -> str | None:
    """Return what no certificate may have, no lock can hold, or nobody can verify in time."""
    if found.serial.startswith("-"):
        return "its serial number is negative"
    if found.not_before.year < FIRST_YEAR or found.not_after.year < FIRST_YEAR:
        return f"it is from before {FIRST_YEAR}"
    try:
        certificate.signature_hash_algorithm  # noqa: B018
    except Exception:  # noqa: BLE001  (an algorithm that it does not know, or parameters that cannot be read)
        return "its signature has an algorithm that is not known here"
    return keys.slow(certificate.public_key())


def _facts(certificate: x509.Certificate) -> Certificate:
    public_key = certificate.public_key()
    values = [extension.value for extension in certificate.extensions]
    names: list[str] = []
    usages: set[str] = set()
    key_id = authority_key_id = None
    for value in values:
        if isinstance(value, x509.SubjectAlternativeName):
            names = [general_name(general) for general in value]
        elif isinstance(value, x509.SubjectKeyIdentifier):
            key_id = value.digest.hex()
        elif isinstance(value, x509.AuthorityKeyIdentifier):
            authority_key_id = value.key_identifier.hex() if value.key_identifier else None
        else:
            usages.update(_usages(value))
    usages.update(f"{CRITICAL}{one.oid.dotted_string}" for one in certificate.extensions if _is_unhandled(one))
    return Certificate(
        serial=serial(certificate),
        subject=name_text(certificate.subject),
        issuer=name_text(certificate.issuer),
        names=tuple(sorted(set(names))),
        usages=tuple(sorted(usages)),
        key_algorithm=_algorithm(certificate),
        spki_sha256=keys.spki_sha256(public_key),
        key_id=key_id or x509.SubjectKeyIdentifier.from_public_key(public_key).digest.hex(),
        authority_key_id=authority_key_id,
        sha256=hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def _algorithm(certificate: x509.Certificate) -> str:
    """Name the algorithm of a certificate's key; cryptography reads an RSA-PSS key as a plain one."""
    if certificate.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS:
        return "rsassa-pss"
    return keys.algorithm_of(certificate.public_key())


CRITICAL = "critical:"
"""The prefix of an unknown critical extension among the usages: OpenSSL rejects a certificate with one."""
_HANDLED = frozenset(
    f"2.5.29.{arc}" for arc in (15, 17, 19, 30, 31, 32, 33, 36, 37, 54)
)  # keyUsage, SAN, basicConstraints, nameConstraints, CRL points, policies and their mappings and constraints, EKU
"""The critical extensions that OpenSSL handles (v3_purp.c, X509_supported_extension)."""


def _is_unhandled(extension: x509.Extension[x509.ExtensionType]) -> bool:
    return extension.critical and extension.oid.dotted_string not in _HANDLED


def _usages(value: x509.ExtensionType) -> Iterator[str]:
    """Yield the usages of one extension."""
    if isinstance(value, x509.KeyUsage):
        yield from (word for bit, word in _KEY_USAGES.items() if getattr(value, bit))
    elif isinstance(value, x509.ExtendedKeyUsage):
        yield from (_PURPOSES.get(purpose, purpose.dotted_string) for purpose in value)
    elif isinstance(value, x509.BasicConstraints) and value.ca:
        yield "CA"
        if value.path_length is not None:
            yield f"pathlen:{value.path_length}"
    elif isinstance(value, x509.NameConstraints):
        yield from (f"permitted:{general_name(general)}" for general in value.permitted_subtrees or ())
        yield from (f"excluded:{general_name(general)}" for general in value.excluded_subtrees or ())


def general_name(general: x509.GeneralName) -> str:
    """Write a name as :class:`pgtls.pki.model.Certificate` has it: ``DNS:db.example.com``."""
    match general:
        case x509.DNSName():
            return f"DNS:{general.value}"
        case x509.IPAddress():
            return f"IP:{general.value}"
        case x509.RFC822Name():
            return f"email:{general.value}"
        case x509.UniformResourceIdentifier():
            return f"URI:{general.value}"
        case x509.DirectoryName():
            return f"dirName:{name_text(general.value)}"
        case x509.RegisteredID():
            return f"RID:{general.value.dotted_string}"
        case x509.OtherName():
            return f"otherName:{general.type_id.dotted_string}"
        case _:
            return type(general).__name__
