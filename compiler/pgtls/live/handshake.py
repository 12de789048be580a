"""Make one connection to a server, as far as possible without a password, and return the observations.

This module judges nothing. A :class:`Probe` defines what to send, a :class:`Seen` contains the answers.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from pgtls.live import hello
from pgtls.pki.names import name_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography import x509

    from pgtls.pki.keys import PrivateKey

TIMEOUT = 5.0
"""The time limit of a whole connection, in seconds."""

_VERDICT = 0.3
"""Seconds to wait for a TLS 1.3 server to reject a client certificate. A server that accepts it sends nothing."""

_SSL_REQUEST = struct.pack("!II", 8, 80877103)
PROTOCOL = 3 << 16
_TERMINATE = b"X\0\0\0\4"
_ALPN = b"postgresql"
_MOST = 1 << 20
"""The maximum bytes to read from a server: no handshake is longer."""

Fault = Literal["no name", "refused", "unreachable", "silent", "closed", "web", "foreign", "cleartext", "alert", "tls"]
"""How a connection ended early.

``web``: the server speaks HTTP. ``foreign``: it speaks another protocol that is not PostgreSQL's. ``cleartext``: it is
PostgreSQL without TLS. ``alert``: it rejected the TLS handshake, with the words in ``detail``.
"""
TlsVersion = Literal["1.0", "1.1", "1.2", "1.3"]
_VERSIONS: dict[TlsVersion, int] = {
    "1.0": SSL.TLS1_VERSION,
    "1.1": SSL.TLS1_1_VERSION,
    "1.2": SSL.TLS1_2_VERSION,
    "1.3": SSL.TLS1_3_VERSION,
}


class Address(NamedTuple):
    """Where to connect to."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Identity:
    """A client certificate, the certificates of the CAs above it, and its key."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class Startup:
    """The role and the database of a connection that ends before the server expects a password."""

    role: str
    database: str
    protocol: int = PROTOCOL


STRANGE_PROTOCOL = 9 << 16
"""A protocol version that no server supports: PostgreSQL reports that first, with an answer of its own."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The parameters of an attempt. ``web``: send an HTTP request to identify another service on the port."""

    transport: Literal["tls", "direct", "plain", "web"] = "tls"
    server_name: str | None = None
    lowest: TlsVersion = "1.2"
    highest: TlsVersion = "1.3"
    groups: tuple[str, ...] = ()
    """Offer only these groups, and record which one the server selects. No session follows."""
    identity: Identity | None = None
    startup: Startup | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """A TLS session. ``chain`` is what the server sent, in its order, as PEM."""

    version: str
    group: str | None
    cipher: str
    chain: tuple[bytes, ...] = field(repr=False)
    asked: tuple[str, ...]
    """The subjects of the CAs whose client certificates the server accepts. Empty if it requests no certificate."""
    alpn: str


@dataclass(frozen=True, slots=True)
class Reply:
    """The first answer to a startup message. ``method`` is what it requests: ``password``, ``md5``, ``scram``."""

    kind: Literal["refused", "asks", "in"]
    method: str = ""
    sqlstate: str = ""
    message: str = ""
    routine: str = ""
    """The function of the server that rejected. Only PostgreSQL itself names one."""
    line: str = ""
    """The number of the line of its source that rejected."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The observations of a connection."""

    fault: Fault | None = None
    detail: str = ""
    session: Session | None = None
    group: str | None = None
    """The group that the server selected from the offered groups."""
    reply: Reply | None = None
    own: str = ""
    """The address of this end."""
    peer: str = ""
    """The address of the other end."""

    @property
    def refused_certificate(self) -> bool:
        """Whether the server rejected the client's certificate, in the handshake or directly after it."""
        return self.fault == "alert" or (self.session is not None and self.reply is None and self.fault == "closed")

    @property
    def ending(self) -> str:
        """The way a connection ended that did not come to a session, in words."""
        words = {"closed": "it closes the connection", "silent": "it does not answer", "alert": f"alert: {self.detail}"}
        return words.get(self.fault or "", self.detail or "it speaks another protocol")


class _Ended(Exception):  # noqa: N818  (an outcome)
    def __init__(self, fault: Fault, detail: str = "") -> None:
        super().__init__(fault)
        self.fault: Fault = fault
        self.detail = detail


@dataclass(slots=True)
class _Notes:
    session: Session | None = None
    group: str | None = None
    reply: Reply | None = None
    own: str = ""
    peer: str = ""


def look(address: Address, probe: Probe, timeout: float = TIMEOUT) -> Seen:
    """Connect once, and return the observations. No behaviour of the other end raises an exception here."""
    seen = _Notes()
    fault, detail = None, ""
    try:
        with closing(_Wire(address, timeout)) as wire:
            seen.own, seen.peer = wire.own, wire.peer
            _talk(wire, probe, seen)
    except _Ended as ended:
        fault, detail = ended.fault, ended.detail
    return Seen(fault, detail, seen.session, seen.group, seen.reply, seen.own, seen.peer)


class _Wire:
    """A TCP connection that ends at a deadline, even if the other end sends slowly."""

    def __init__(self, address: Address, timeout: float) -> None:
        self._deadline = time.monotonic() + timeout
        self._received = 0
        try:
            self._socket = socket.create_connection(address, timeout)
            # Otherwise each message after the first waits 40 ms, for the server to acknowledge the one before.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except socket.gaierror as error:
            raise _Ended("no name", error.strerror or str(error)) from None
        except ConnectionRefusedError:
            raise _Ended("refused") from None
        except UnicodeError:
            raise _Ended("no name", "it is not a host name") from None
        except OSError as error:
            raise _Ended("unreachable", error.strerror or "no answer in time") from None
        self.own, self.peer = self._socket.getsockname()[0], self._socket.getpeername()[0]

    def send(self, data: bytes) -> None:
        self._wait()
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise _Ended("silent") from None
        except OSError as error:
            raise _Ended("closed", error.strerror or "") from None

    def receive(self, most: int = 16384) -> bytes:
        self._wait()
        try:
            data = self._socket.recv(most)
        except TimeoutError:
            raise _Ended("silent") from None
        except OSError as error:
            raise _Ended("closed", error.strerror or "") from None
        self._received += len(data)
        if not data:
            raise _Ended("closed")
        if self._received > _MOST:
            raise _Ended("foreign", "it does not stop sending")
        return data

    def rest(self, seconds: float) -> None:
        """Wait until data arrives, or the time is over."""
        select.select([self._socket], [], [], seconds)

    def _wait(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise _Ended("silent")
        self._socket.settimeout(left)

    def close(self) -> None:
        self._socket.close()


def _talk(wire: _Wire, probe: Probe, seen: _Notes) -> None:
    send: Callable[[bytes], None] = wire.send
    receive: Callable[[], bytes] = wire.receive
    if probe.transport == "web":
        send(b"GET / HTTP/1.0\r\n\r\n")
        raise _foreign(receive())
    if probe.transport == "tls":
        _request_tls(wire)
    if probe.groups:
        seen.group = _offer(wire, probe.groups)
        return
    if probe.transport != "plain":
        tls = _Tls(wire, probe)
        seen.session = tls.handshake()
        if probe.identity and seen.session.version == "1.3":
            # Such a server judges after the handshake. A client that sends earlier may lose the reason to a reset.
            wire.rest(_VERDICT)
        send, receive = tls.send, tls.receive
    if probe.startup:
        seen.reply = _start(probe.startup, send, receive)


def _request_tls(wire: _Wire) -> None:
    wire.send(_SSL_REQUEST)
    answer = wire.receive(1)
    if answer == b"S":
        return
    if answer == b"N":
        raise _Ended("cleartext")
    rest = b""
    with suppress(_Ended):
        rest = wire.receive(64)
    raise _foreign(answer + rest)


def _foreign(data: bytes) -> _Ended:
    if data.startswith((b"HTTP/", b"<!DOC", b"<html")):
        return _Ended("web")
    if data[:2] in (b"\x15\x03", b"\x16\x03"):
        return _Ended("foreign", "a TLS server that is not PostgreSQL")
    return _Ended("foreign", f"its answer begins with {data[:24]!r}")


def _offer(wire: _Wire, groups: tuple[str, ...]) -> str | None:
    """Return the group that the server selects from these. Return None if it selects none."""
    wire.send(hello.client_hello(groups))
    data = b""
    while (answer := hello.read(data)) is None:
        data += wire.receive()
    if answer.alert is not None:
        raise _Ended("alert", answer.alert)
    return answer.group


class _Tls:
    """TLS over a wire, through memory: the wire enforces the deadline."""

    def __init__(self, wire: _Wire, probe: Probe) -> None:
        self._wire = wire
        self._connection = SSL.Connection(_context(probe), None)
        if probe.server_name:
            self._connection.set_tlsext_host_name(probe.server_name.encode())
        self._connection.set_connect_state()

    def handshake(self) -> Session:
        self._run(self._connection.do_handshake)
        self._flush()
        try:
            return _session(self._connection)
        except (ValueError, SSL.Error):  # errors of cryptography and OpenSSL about bytes that they cannot read
            raise _Ended("tls", "its certificate, or the name of a CA, cannot be read") from None

    def send(self, data: bytes) -> None:
        self._run(lambda: self._connection.sendall(data))
        self._flush()

    def receive(self) -> bytes:
        return self._run(lambda: self._connection.recv(16384))

    def _run(self, step: Callable[[], bytes | int | None]) -> bytes:
        while True:
            try:
                done = step()
            except SSL.WantReadError:
                self._flush()
                self._connection.bio_write(self._wire.receive())
            except SSL.ZeroReturnError:
                raise _Ended("closed") from None
            except SSL.Error as error:
                with suppress(_Ended):
                    self._flush()
                raise _of_library(error) from None
            else:
                return done if isinstance(done, bytes) else b""

    def _flush(self) -> None:
        with suppress(SSL.WantReadError):
            while True:
                self._wire.send(self._connection.bio_read(16384))


def _session(connection: SSL.Connection) -> Session:
    chain = connection.get_peer_cert_chain(as_cryptography=True) or []
    asked = connection.get_client_ca_list(as_cryptography=True)
    return Session(
        version=connection.get_protocol_version_name().removeprefix("TLSv"),
        group=connection.get_group_name(),
        cipher=connection.get_cipher_name() or "",
        chain=tuple(certificate.public_bytes(Encoding.PEM) for certificate in chain),
        asked=tuple(name_text(name) for name in asked),
        alpn=connection.get_alpn_proto_negotiated().decode(errors="replace"),
    )


def _context(probe: Probe) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(_VERSIONS[probe.lowest])
    context.set_max_proto_version(_VERSIONS[probe.highest])
    context.set_verify(SSL.VERIFY_NONE)  # the certificate is judged later, and no secret is sent
    if _VERSIONS[probe.lowest] < SSL.TLS1_2_VERSION:
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
    if probe.transport == "direct":
        context.set_alpn_protos([_ALPN])
    if probe.identity:
        leaf, *above = probe.identity.chain
        context.use_certificate(leaf)
        for certificate in above:
            context.add_extra_chain_cert(certificate)
        context.use_privatekey(probe.identity.key)
    return context


def _of_library(error: SSL.Error) -> _Ended:
    """Distinguish an alert of the server from a failure of the local library."""
    reason = str(error.args[0][-1][-1]) if error.args and isinstance(error.args[0], list) and error.args[0] else ""
    before, alert, after = reason.partition(" alert ")
    if alert and before.startswith(("tls", "ssl")):
        return _Ended("alert", after)
    if "unexpected eof" in reason or isinstance(error, SSL.SysCallError):
        return _Ended("closed")
    return _Ended("tls", reason)


def _start(startup: Startup, send: Callable[[bytes], None], receive: Callable[[], bytes]) -> Reply:
    """Send a startup message, read the first answer, and stop before the server expects a password."""
    words = ("user", startup.role, "database", startup.database, "application_name", "pgtls verify")
    body = struct.pack("!I", startup.protocol) + b"".join(word.encode() + b"\0" for word in words) + b"\0"
    send(struct.pack("!I", len(body) + 4) + body)
    data = b""
    while (reply := _reply(data)) is None:
        data += receive()
    if reply.kind == "in":
        with suppress(_Ended):
            send(_TERMINATE)
    return reply


_METHODS = {2: "kerberos", 3: "password", 5: "md5", 7: "gss", 9: "sspi"}
_SASL = 10


def _reply(data: bytes) -> Reply | None:
    """Read an answer. Return None while it is incomplete. End with ``foreign`` if it is not an answer."""
    if not data:
        return None
    if data[:1] not in (b"R", b"E"):
        raise _foreign(data)
    if len(data) < 5:
        return None
    (length,) = struct.unpack("!I", data[1:5])
    if not 8 <= length < 30000:
        raise _foreign(data)
    body = data[5 : 1 + length]
    if len(body) < length - 4:
        return None
    if data[:1] == b"E":
        fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
        return Reply("refused", "", *(fields.get(field, "") for field in (b"C", b"M", b"R", b"L")))
    (code,) = struct.unpack("!I", body[:4])
    if code == 0:
        return Reply("in")
    if code == _SASL:
        return Reply("asks", "oauth" if b"OAUTHBEARER" in body else "scram")
    return Reply("asks", _METHODS.get(code, str(code)))
