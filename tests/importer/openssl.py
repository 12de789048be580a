"""Certificates as PostgreSQL's manual makes them (19.9.5, "Creating Certificates"), by the openssl of this machine."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from support.building import NOW

if TYPE_CHECKING:
    from pathlib import Path

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
V3_CA = (
    "basicConstraints = critical, CA:TRUE\nsubjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid:always, issuer\n"
)


def openssl(directory: Path, *words: str) -> None:
    """Run openssl in a directory."""
    subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True)


def self_signed(directory: Path, name: str = "server", subject: str = "/CN=localhost", *words: str) -> None:
    """Make the manual's "simple self-signed certificate": a CN and no SAN, and by openssl's default a CA."""
    made = ("-days", "3650", "-text", "-out", f"{name}.crt", "-keyout", f"{name}.key", "-subj", subject)
    openssl(directory, "req", "-new", "-x509", *KEY, *made, *words)


def root(directory: Path, name: str = "root", subject: str = "/CN=root.example.com") -> None:
    """Make the manual's root."""
    (directory / "v3_ca").write_text(V3_CA)
    openssl(directory, "req", "-new", *KEY, "-text", "-out", f"{name}.csr", "-keyout", f"{name}.key", "-subj", subject)
    signed = ("-text", "-days", "3650", "-extfile", "v3_ca", "-signkey", f"{name}.key", "-out", f"{name}.crt")
    openssl(directory, "x509", "-req", "-in", f"{name}.csr", *signed)


def signed(directory: Path, name: str, subject: str, issuer: str = "root", extensions: str = "") -> None:
    """Make a certificate that a CA signs; without extensions as the manual does."""
    openssl(directory, "req", "-new", *KEY, "-text", "-out", f"{name}.csr", "-keyout", f"{name}.key", "-subj", subject)
    (directory / "extensions").write_text(extensions)
    own = ("-CA", f"{issuer}.crt", "-CAkey", f"{issuer}.key", "-CAcreateserial", "-days", "365")
    words = ("-extfile", "extensions") if extensions else ()
    openssl(directory, "x509", "-req", "-in", f"{name}.csr", "-text", *own, "-out", f"{name}.crt", *words)


def crl(directory: Path, issuer: str, *revoked: str) -> None:
    """Make a CRL of a CA that revokes certificates."""
    ca = x509.load_pem_x509_certificate((directory / f"{issuer}.crt").read_bytes())
    key = load_pem_private_key((directory / f"{issuer}.key").read_bytes(), None)
    now = datetime.now(UTC)
    builder = x509.CertificateRevocationListBuilder(ca.subject, now - timedelta(days=1), now + timedelta(days=90))
    for name in revoked:
        serial = x509.load_pem_x509_certificate((directory / f"{name}.crt").read_bytes()).serial_number
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder(serial, now - timedelta(days=1)).build()
        )
    signed = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]
    (directory / f"{issuer}.crl").write_bytes(signed.public_bytes(Encoding.PEM))


@cache
def some_root() -> str:
    """Return the certificate of some CA, valid at the tests' instant, for those that look at nothing of it."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Root")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, NOW - timedelta(days=1), NOW + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM).decode()
