"""The CAs of others, for the pages of the documentation.

``python -m support.company root NAME``, then ``… sign NAME REQUEST CERTIFICATE``.

They sign any request, for 300 days or as many as a fourth word says. Their clock is ``$PGTLS_NOW``, which no other
program can follow.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NOW = datetime.fromisoformat(os.environ["PGTLS_NOW"]).replace(tzinfo=UTC)
DAY = timedelta(days=1)


def root(name: str) -> None:
    """Make a CA: its certificate, key and CRL."""
    key = ec.generate_private_key(ec.SECP256R1())
    own = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"{name.capitalize()} Root CA")])
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    certificate = (
        _builder(key.public_key(), own, own, 3650)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    crl = (
        x509.CertificateRevocationListBuilder(own, NOW - DAY, NOW + 90 * DAY)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .add_extension(x509.CRLNumber(1), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    Path(f"{name}.crt").write_bytes(certificate.public_bytes(pem))
    Path(f"{name}.crl").write_bytes(crl.public_bytes(pem))
    Path(f"{name}.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def sign(name: str, request: str, certificate: str, days: str = "300") -> None:
    """Sign a request, with all that it asks for."""
    csr = x509.load_pem_x509_csr(Path(request).read_bytes())
    issuer = x509.load_pem_x509_certificate(Path(f"{name}.crt").read_bytes())
    key = serialization.load_pem_private_key(Path(f"{name}.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    public = csr.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    builder = _builder(public, csr.subject, issuer.subject, int(days)).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
    )
    for extension in csr.extensions:
        if not isinstance(extension.value, x509.SubjectKeyIdentifier):
            builder = builder.add_extension(extension.value, extension.critical)
    signed = builder.sign(key, hashes.SHA256())
    Path(certificate).write_bytes(signed.public_bytes(serialization.Encoding.PEM))


def _builder(
    key: ec.EllipticCurvePublicKey, subject: x509.Name, issuer: x509.Name, days: int
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        issuer, subject, key, x509.random_serial_number(), NOW - DAY, NOW + days * DAY
    ).add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


if __name__ == "__main__":
    if sys.argv[1] == "root":
        root(*sys.argv[2:])
    else:
        sign(*sys.argv[2:])
