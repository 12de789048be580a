"""CAs that pgtls has not made: a company's root, the CAs below it, their certificates and CRLs."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from pgtls.pki.der import elements, sequence, tlv
from support.system import new_directory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pgtls.pki.keys import PublicKey

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Authority:
    """A CA: its certificate and key."""

    certificate: x509.Certificate
    key: Key

    @classmethod
    def root(cls, name: str) -> Authority:
        """Make a self-signed CA."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = named(CN=name)
        return cls(_signed(subject, key.public_key(), subject, key, ca=True), key)

    @classmethod
    def of(cls, directory: Path) -> Authority:
        """Read the CA that a build made in this directory."""
        key = load_pem_private_key((directory / "ca.key").read_bytes(), None)
        assert isinstance(key, Key)
        return cls(x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes()), key)

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key."""
        return key_pem(self.key)

    def below(self, name: str) -> Authority:
        """Certify another CA."""
        key = ec.generate_private_key(ec.SECP256R1())
        return Authority(self.sign(named(CN=name), key.public_key(), ca=True), key)

    def again(self, above: Authority, key_id: bytes = b"") -> Authority:
        """Have another CA certify this one again, with the same key, perhaps under another subject key identifier."""
        subject, key = self.certificate.subject, self.key.public_key()
        return Authority(_signed(subject, key, above.certificate.subject, above.key, ca=True, key_id=key_id), self.key)

    def sign(
        self, subject: x509.Name, key: PublicKey, *, ca: bool = False, hosts: Sequence[str] = ()
    ) -> x509.Certificate:
        """Certify a key."""
        return _signed(subject, key, self.certificate.subject, self.key, ca=ca, hosts=hosts)

    def bundle(self, subject: x509.Name, *above: Authority, hosts: Sequence[str] = ()) -> Path:
        """Certify a client; return a directory with its certificate, those of the CAs ``above`` it, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self.sign(subject, key.public_key(), hosts=hosts)
        chain = [certificate.public_bytes(Encoding.PEM), *(one.pem for one in above)]
        directory = new_directory("bundle")
        (directory / "postgresql.crt").write_bytes(b"".join(chain))
        (directory / "postgresql.key").write_bytes(key_pem(key))
        (directory / "postgresql.key").chmod(0o600)
        return directory

    def with_field(self, certificate: x509.Certificate, position: int, element: bytes) -> bytes:
        """Sign a certificate whose fields (TBSCertificate) have this element at a position; return it in PEM."""
        ((_, content),) = elements(certificate.tbs_certificate_bytes)
        fields = [tlv(tag, one) for tag, one in elements(content)]
        fields[position] = element
        to_be_signed = sequence(*fields)
        signature = self.key.sign(to_be_signed, ec.ECDSA(SHA256()))
        return armoured(sequence(to_be_signed, fields[2], tlv(0x03, b"\0" + signature)))

    def crl(
        self, *revoked: x509.Certificate, days: int = 30, age: int = 1, reason: x509.ReasonFlags | None = None
    ) -> bytes:
        """Sign a CRL of some days ago, for some days from now on. Each entry gives the reason.

        Times in a CRL are whole seconds: of two CRLs of one second, the number tells which is newer.
        """
        now = datetime.now(UTC)
        number = x509.CRLNumber(int((now - timedelta(days=age)).timestamp() * 1e6))
        builder = x509.CertificateRevocationListBuilder(
            self.certificate.subject, now - timedelta(days=age), now + timedelta(days=days)
        ).add_extension(self._key_id(), critical=False)
        for certificate in revoked:
            entry = x509.RevokedCertificateBuilder(certificate.serial_number, now - timedelta(hours=1))
            entry = entry.add_extension(x509.CRLReason(reason), critical=False) if reason else entry
            builder = builder.add_revoked_certificate(entry.build())
        return builder.add_extension(number, critical=False).sign(self.key, SHA256()).public_bytes(Encoding.PEM)

    def _key_id(self) -> x509.AuthorityKeyIdentifier:
        """Return the authority key identifier of what it signs: GnuTLS makes those of its CAs in another way."""
        found = [
            each.value for each in self.certificate.extensions if isinstance(each.value, x509.SubjectKeyIdentifier)
        ]
        make = x509.AuthorityKeyIdentifier
        if found:
            return make.from_issuer_subject_key_identifier(found[0])
        return make.from_issuer_public_key(self.key.public_key())


def named(**attributes: str) -> x509.Name:
    """Make a name of attributes in this order, as a certificate holds them; ``OU1`` and ``OU2`` are two of one kind."""
    kinds = {
        "CN": x509.NameOID.COMMON_NAME,
        "OU": x509.NameOID.ORGANIZATIONAL_UNIT_NAME,
        "O": x509.NameOID.ORGANIZATION_NAME,
        "C": x509.NameOID.COUNTRY_NAME,
        "DC": x509.NameOID.DOMAIN_COMPONENT,
    }
    return x509.Name([x509.NameAttribute(kinds[kind.rstrip("123")], value) for kind, value in attributes.items()])


def with_unknown_signature(pem: bytes) -> bytes:
    """Return a certificate that ECDSA and SHA-256 sign, with the number of an algorithm that does not exist."""
    der = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
    known = bytes.fromhex("06082a8648ce3d040302")
    assert der.count(known) == 2
    return armoured(der.replace(known, known[:-1] + b"\x7f"))


SERIAL_NUMBER, VALIDITY, SUBJECT = 1, 4, 5
"""Positions of fields in a TBSCertificate (RFC 5280, 4.1)."""


def armoured(data: bytes) -> bytes:
    """Write a certificate in DER as PEM."""
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(data) + b"-----END CERTIFICATE-----\n"


def key_pem(key: Key) -> bytes:
    """Write a key."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _signed(
    subject: x509.Name,
    key: PublicKey,
    issuer: x509.Name,
    signer: Key,
    *,
    ca: bool,
    hosts: Sequence[str] = (),
    key_id: bytes = b"",
) -> x509.Certificate:
    kind = x509.SubjectKeyIdentifier
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer,
        subject,
        key,
        x509.random_serial_number(),
        now - timedelta(days=1),
        now + timedelta(days=3000 if ca else 30),
    ).add_extension(kind(key_id) if key_id else kind.from_public_key(key), critical=False)
    if issuer != subject:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        builder = builder.add_extension(identifier, critical=False)
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(map(x509.DNSName, hosts)), critical=False)
    if ca:
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(signer, SHA256())
