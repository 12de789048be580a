"""Connections tried to the end: who knows the password and holds the key, and is let in or not."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import ssl
import struct
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from hba.wire import Answer, Wire, _client_context, _error, _message, _respond, _startup
from support.system import new_directory

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from pgtls.hba.model import ClientCertificate, Connection
    from support.servers import Server

PASSWORD = "correct horse"


class Knocker(Wire):
    """Like :class:`Wire`, with the right password. ``bundles`` has the directories of certificate holders."""

    def __init__(self, server: Server, bundles: dict[ClientCertificate, Path]) -> None:
        super().__init__(server, {})
        self.contexts = {certificate: client_context(bundle) for certificate, bundle in bundles.items()}

    def knock(self, connection: Connection) -> Answer:
        """Try to get in: ``ok``, or an error's text; of a server that ends the connection without a word, none."""
        try:
            with self._open(connection) as channel:
                channel.sendall(_startup(connection))
                kind, body = _message(channel)
                if kind == "R" and struct.unpack_from("!i", body)[0] == 10:
                    kind, body = _scram(channel, PASSWORD)
                if kind == "R":
                    assert struct.unpack_from("!i", body)[0] == 0, body
                    return Answer("ok")
                channel.recv(1)  # until it has closed: then its place is free again
                return Answer("error", _error(body))
        except (ssl.SSLError, ConnectionError) as error:
            return Answer("error", str(error))


def client_context(bundle: Path) -> ssl.SSLContext:
    """Return a TLS client that shows the certificate of a bundle."""
    context = _client_context()
    context.load_cert_chain(bundle / "postgresql.crt", bundle / "postgresql.key")
    return context


def _scram(channel: socket.socket, password: str) -> tuple[str, bytes]:
    """Prove knowledge of a password (RFC 5802, 3). Return the server's answer: an error or AuthenticationOk."""
    first = "n=,r=fyko+d2lbbFgONRv9qkxdawL"
    message = f"n,,{first}".encode()
    _respond(channel, b"SCRAM-SHA-256\0" + struct.pack("!i", len(message)) + message)
    kind, body = _message(channel)
    if kind == "E":
        return kind, body
    challenge = body[4:].decode()
    fields = dict(part.split("=", 1) for part in challenge.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
    key = hmac.digest(salted, b"Client Key", "sha256")
    final = f"c=biws,r={fields['r']}"
    signature = hmac.digest(hashlib.sha256(key).digest(), f"{first},{challenge},{final}".encode(), "sha256")
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True)))
    _respond(channel, final.encode() + b",p=" + proof)
    kind, body = _message(channel)
    return (kind, body) if kind == "E" else _message(channel)


def certify(cas: Path, name: str, chain: list[str], common_name: str) -> Path:
    """Certify a user without a bundle by a CA of a build. Return what a bundle would hold."""
    authority = x509.load_pem_x509_certificate((cas / name / "ca.crt").read_bytes())
    signer = load_pem_private_key((cas / name / "ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(signer, hashes.SHA256())
    )
    bundle = new_directory("bundle")
    above = b"".join((cas / one / "ca.crt").read_bytes() for one in chain)
    (bundle / "postgresql.crt").write_bytes(leaf.public_bytes(Encoding.PEM) + above)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (bundle / "postgresql.key").write_bytes(secret)
    return bundle
