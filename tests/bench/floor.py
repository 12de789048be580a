"""The floor: the least that Python must do for the same result, with no checks, no plan and no templates.

Each is a program of its own.

floor.py issue DIRECTORY USERS ALGORITHM SIZES   keys and certificates by a bare loop over cryptography,
                                                 and files of the same sizes
floor.py look SPEC LIST                          read the spec, and one stat for each file on the list
"""

from __future__ import annotations

import os
import sys


def issue(directory: str, users: int, algorithm: str, sizes: dict[str, int]) -> None:
    """Issue a root, a CA, and a key and certificate for each user.

    Write ``sizes`` (bytes by file name) for each user; end with one syncfs.
    """
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def generate() -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
        if algorithm == "ecdsa-p256":
            return ec.generate_private_key(ec.SECP256R1())
        return rsa.generate_private_key(65537, int(algorithm.removeprefix("rsa-")))

    now = datetime.now(UTC)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "clients")])
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    os.mkdir(directory)
    for number in range(users):
        name = f"u{number:05d}"
        key = generate()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=90))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(authority, critical=False)
            .add_extension(usage, critical=True)
            .add_extension(purpose, critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        own = {
            "postgresql.key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            "postgresql.crt": certificate.public_bytes(Encoding.PEM),
        }
        os.mkdir(f"{directory}/{name}", 0o700)
        for file, size in sizes.items():
            content = own.get(file, b"")
            _write(f"{directory}/{name}/{file}", content + b"#" * (size - len(content)))
    _sync(directory)


def _write(path: str, content: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(file, content)
    os.close(file)


def _sync(directory: str) -> None:
    import ctypes

    file = os.open(directory, os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).syncfs(file) != 0:
        raise OSError(ctypes.get_errno(), "syncfs")
    os.close(file)


def look(spec: str, listing: str) -> None:
    """Read the spec and look at each file of the list, one path a line."""
    with open(spec, "rb") as file:
        file.read()
    with open(listing) as file:
        for path in file.read().splitlines():
            os.stat(path)


if __name__ == "__main__":
    if sys.argv[1] == "look":
        look(sys.argv[2], sys.argv[3])
    else:
        pairs = (pair.rpartition("=") for pair in sys.argv[5:])
        issue(sys.argv[2], int(sys.argv[3]), sys.argv[4], {name: int(size) for name, _, size in pairs})
