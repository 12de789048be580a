"""The first bytes of a connection, over bare sockets.

They show what a server answers to a role before a libpq interferes.

One :class:`Wire` per server. Every password is wrong and every refusal final:
the question is which line of pg_hba.conf decides, not which user gets in.
"""

from __future__ import annotations

import base64
import datetime
import socket
import ssl
import struct
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from pgtls.hba.model import ClientCertificate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pgtls.hba.model import Connection
    from support.servers import Server

_PATIENCE = 30.0
_WRONG = b"not the password"


@dataclass(frozen=True, slots=True)
class Answer:
    """Return the server's first answer: ``ok``, a password request (``cleartext``, ``md5``, ``sasl``) or an error."""

    kind: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Credential:
    """A client's certificate: as the matcher sees it, and as a TLS client presents it."""

    certificate: ClientCertificate
    context: ssl.SSLContext


class Authority:
    """A certificate authority for one test session, with its server's certificate and those of its clients."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hba tests")])
        (directory / "root.crt").write_bytes(self._signed(self.name, self.key, is_ca=True).public_bytes(Encoding.PEM))
        self.issue("server", x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")]))

    def issue(self, file: str, subject: x509.Name) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._signed(subject, key, is_ca=False)
        (self.directory / f"{file}.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.directory / f"{file}.key").write_bytes(secret)

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_ca: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        return builder.sign(self.key, hashes.SHA256())

    def client(self, number: int, names: list[tuple[x509.ObjectIdentifier, str]]) -> Credential:
        """Create a client certificate.

        openssl writes its subject, so that this side of the comparison uses no code of ours.
        """
        file = f"client{number}"
        self.issue(file, x509.Name([x509.NameAttribute(oid, value) for oid, value in names]))
        path = self.directory / file
        words = ["openssl", "x509", "-in", f"{path}.crt", "-noout", "-subject", "-nameopt", "RFC2253"]
        printed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        subject = printed.removeprefix("subject=").strip("\n")
        common = next((value for oid, value in names if oid == NameOID.COMMON_NAME), None)
        context = _client_context()
        context.load_cert_chain(f"{path}.crt", f"{path}.key")
        return Credential(ClientCertificate(common, subject), context)


def _client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def serve_tls(server: Server, authority: Authority) -> None:
    """Enable TLS on the server and ask for certificates of that authority."""
    for name in ("server.crt", "server.key", "root.crt"):
        server.write(name, (authority.directory / name).read_bytes())
    server.configure(ssl="on", ssl_ca_file="root.crt", max_connections="100", max_wal_senders="50")
    server.restart()


class Wire:
    """Connects to a server as a :class:`Connection` says."""

    def __init__(
        self,
        server: Server,
        credentials: dict[ClientCertificate, Credential],
        new_socket: Callable[[socket.AddressFamily], socket.socket] = socket.socket,
    ) -> None:
        self.server = server
        self.new_socket = new_socket
        self.contexts = {certificate: credential.context for certificate, credential in credentials.items()}
        self.anonymous = _client_context()

    def ask(self, connection: Connection) -> Answer:
        """Connect, read the first answer, fail any password, and give the end of it."""
        with self._open(connection) as channel:
            channel.sendall(_startup(connection))
            kind, body = _message(channel)
            if kind == "R" and (request := struct.unpack_from("!i", body)[0]):
                return _failed(channel, request, body)
            if kind == "R":
                return Answer("ok")
            channel.recv(1)  # until it has closed: then its place is free again
            return Answer("error", _error(body))

    def _open(self, connection: Connection) -> socket.socket:
        if connection.transport == "socket":
            channel = socket.socket(socket.AF_UNIX)
            channel.settimeout(_PATIENCE)
            channel.connect(f"{self.server.sockets}/.s.PGSQL.{self.server.port}")
            return channel
        source = str(connection.address)
        is_v4 = "." in source
        channel = self.new_socket(socket.AF_INET if is_v4 else socket.AF_INET6)
        channel.settimeout(_PATIENCE)
        channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        channel.bind((source, 0))
        channel.connect(("127.0.0.1" if is_v4 else "::1", self.server.port))
        if connection.transport == "plain":
            return channel
        channel.sendall(struct.pack("!ii", 8, 80877103))
        assert channel.recv(1) == b"S", "the server does not speak TLS"
        context = self.contexts[connection.certificate] if connection.certificate else self.anonymous
        return context.wrap_socket(channel)


def _startup(connection: Connection) -> bytes:
    fields = {"user": connection.role, "database": connection.database}
    if connection.replication:
        fields["replication"] = "true"
    elif connection.database == "logical":
        fields["replication"] = "database"
    body = struct.pack("!i", 3 << 16)
    body += b"".join(f"{name}\0{value}\0".encode() for name, value in fields.items()) + b"\0"
    return struct.pack("!i", len(body) + 4) + body


def _message(channel: socket.socket) -> tuple[str, bytes]:
    head = _exactly(channel, 5)
    return chr(head[0]), _exactly(channel, struct.unpack("!i", head[1:])[0] - 4)


def _exactly(channel: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = channel.recv(count - len(data))
        assert part, "the server closed the connection without a word"
        data += part
    return data


def _failed(channel: socket.socket, request: int, body: bytes) -> Answer:
    """Answer a request for a password with a wrong one, to the end: only then does the server log the line."""
    if request == 10:
        _respond(channel, b"SCRAM-SHA-256\0" + struct.pack("!i", 9) + b"n,,n=,r=x")
        _, challenge = _message(channel)
        nonce = challenge[4:].split(b",")[0].removeprefix(b"r=")
        proof = base64.b64encode(bytes(32))
        _respond(channel, b"c=biws,r=" + nonce + b",p=" + proof)
    else:
        _respond(channel, (b"md5" + bytes(32).hex().encode()[:32] if request == 5 else _WRONG) + b"\0")
    kind, body = _message(channel)
    assert kind == "E", f"the server took a wrong password: {kind} {body!r}"
    channel.recv(1)
    return Answer({3: "cleartext", 5: "md5", 10: "sasl"}[request], _error(body))


def _respond(channel: socket.socket, body: bytes) -> None:
    channel.sendall(b"p" + struct.pack("!i", len(body) + 4) + body)


def _error(body: bytes) -> str:
    fields = {field[:1]: field[1:] for field in body.split(b"\0") if field}
    return fields[b"M"].decode(errors="replace")
