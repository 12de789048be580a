"""A server that is not what it says, or asks for less than it should: what a bundle must not connect to.

It speaks the start of PostgreSQL's protocol, with TLS, and records what clients show it before they turn away:

    with Impostor() as impostor:
        port = impostor.reserve()
        impostor.play(port, Guise(certificate, key, asks="cleartext"))
        ...
        assert not any(meeting.gave_something for meeting in impostor.seen(port, "alice"))
"""

from __future__ import annotations

import socket
import socketserver
import ssl
import struct
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

from support.servers import PATIENCE, free_port, loopback

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

Asks = Literal["nothing", "cleartext", "md5"]

LONGEST = 10000
"""Bytes of a start-up packet (MAX_STARTUP_PACKET_LENGTH)."""
SSL_REQUEST = 80877103
GSS_REQUEST = 80877104
CANCEL_REQUEST = 80877102
OK = b"R" + struct.pack("!ii", 8, 0)
READY = b"Z" + struct.pack("!ic", 5, b"I")
KEY = b"K" + struct.pack("!iii", 12, 1, 1)
_FATAL = b"SFATAL\0VFATAL\0C57P01\0Mthis was an impostor\0\0"
FAREWELL = b"E" + struct.pack("!i", len(_FATAL) + 4) + _FATAL
"""Some drivers would connect again without end to a server that just hangs up."""
QUESTIONS = {
    "cleartext": b"R" + struct.pack("!ii", 8, 3),
    "md5": b"R" + struct.pack("!ii4s", 12, 5, b"salt"),
}
PARAMETERS = {
    "server_version": "17.0",
    "server_encoding": "UTF8",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "TimeZone": "UTC",
    "integer_datetimes": "on",
    "standard_conforming_strings": "on",
}


@dataclass(frozen=True, slots=True)
class Guise:
    """How it presents itself at a port: without a certificate it refuses TLS."""

    certificate: Path | None = None
    key: Path | None = None
    asks: Asks = "nothing"
    client_ca: Path | None = None
    """It asks for a client certificate of this CA."""

    def context(self) -> ssl.SSLContext | None:
        """Return the TLS that it offers."""
        if self.certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        context.set_alpn_protocols(["postgresql"])
        if self.client_ca is not None:
            context.load_verify_locations(self.client_ca)
            context.verify_mode = ssl.CERT_OPTIONAL
        return context


@dataclass(slots=True)
class Meeting:
    """What a client did: named its user, showed a certificate, gave its password (or its hash), used a session."""

    user: str | None = None
    tls: bool = False
    certificate: bool = False
    password: str | None = None
    session: bool = False

    @property
    def gave_something(self) -> bool:
        """Whether the client was taken in."""
        return self.session or self.password is not None


class _Listener(socketserver.ThreadingTCPServer):
    """A port of one address."""

    allow_reuse_address = True
    daemon_threads = True
    answer: Callable[[socket.socket], None]

    def __init__(self, address: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), _Handler)


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, _Listener)
        self.server.answer(self.request)


@dataclass(slots=True)
class Impostor:
    """All guises at once, each at a port of every loopback address."""

    _meetings: dict[int, list[Meeting]] = field(default_factory=dict)
    _listeners: dict[int, list[_Listener]] = field(default_factory=dict)
    _open: dict[int, socket.socket] = field(default_factory=dict)
    _idle: threading.Condition = field(default_factory=threading.Condition)
    _playing: list[_Listener] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for listener in self._playing:
            listener.shutdown()
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.server_close()

    def reserve(self) -> int:
        """Take a port of every loopback address; clients wait there until a guise is played."""
        while True:
            port, taken = free_port(), list[_Listener]()
            try:
                for address in loopback():
                    taken.append(_Listener(address, port))
            except OSError:  # a server was faster
                for listener in taken:
                    listener.server_close()
            else:
                self._listeners[port] = taken
                return port

    def play(self, port: int, guise: Guise) -> None:
        """Answer at a reserved port."""
        context = guise.context()
        for listener in self._listeners[port]:
            listener.answer = lambda connection: self.meet(port, connection, guise, context)
            threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
            self._playing.append(listener)

    def meet(self, port: int, connection: socket.socket, guise: Guise, context: ssl.SSLContext | None) -> None:
        """Talk to one client until it turns away."""
        meeting = Meeting()
        with self._idle:
            self._meetings.setdefault(port, []).append(meeting)
            self._open[id(meeting)] = connection.dup()
        try:
            connection.settimeout(PATIENCE)
            with ExitStack() as sockets, suppress(OSError, EOFError):
                _talk(sockets, connection, guise, context, meeting)
        finally:
            with self._idle:
                self._open.pop(id(meeting)).close()
                self._idle.notify_all()

    def seen(self, port: int, user: str) -> list[Meeting]:
        """Return, and forget, how a user was met at a port. What is sent by now counts; there is no time for more."""
        with self._idle:
            for connection in self._open.values():
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)
            assert self._idle.wait_for(lambda: not self._open, PATIENCE), "a client never ended its connection"
            return [meeting for meeting in self._meetings.pop(port, []) if meeting.user == user]


def _talk(
    sockets: ExitStack, connection: socket.socket, guise: Guise, context: ssl.SSLContext | None, meeting: Meeting
) -> None:
    sockets.enter_context(connection)
    if connection.recv(1, socket.MSG_PEEK) == b"\x16":  # sslnegotiation=direct
        if context is None:
            return
        connection = sockets.enter_context(_secured(connection, context, meeting))
    while (code := _startup(connection, meeting)) in (SSL_REQUEST, GSS_REQUEST):
        if code == GSS_REQUEST or context is None:
            connection.sendall(b"N")
        else:
            connection.sendall(b"S")
            connection = sockets.enter_context(_secured(connection, context, meeting))
    if code == CANCEL_REQUEST:
        return
    if guise.asks != "nothing":
        connection.sendall(QUESTIONS[guise.asks])
        kind, content = _message(connection)
        if kind != b"p":
            return
        meeting.password = content.rstrip(b"\0").decode()
    connection.sendall(OK + b"".join(map(_parameter, PARAMETERS.items())) + KEY + READY)
    kind, _ = _message(connection)
    meeting.session = kind != b"X"
    connection.sendall(FAREWELL)


def _secured(connection: socket.socket, context: ssl.SSLContext, meeting: Meeting) -> ssl.SSLSocket:
    secured = context.wrap_socket(connection, server_side=True)
    meeting.tls = True
    meeting.certificate = bool(secured.getpeercert(binary_form=True))
    return secured


def _parameter(item: tuple[str, str]) -> bytes:
    content = "".join(f"{text}\0" for text in item).encode()
    return b"S" + struct.pack("!i", len(content) + 4) + content


def _startup(connection: socket.socket, meeting: Meeting) -> int:
    length, code = struct.unpack("!ii", _read(connection, 8))
    if length > LONGEST:  # not PostgreSQL's protocol: a client that begins with TLS although it was refused
        raise EOFError
    words = _read(connection, length - 8).decode().split("\0")
    meeting.user = dict(zip(words[::2], words[1::2], strict=False)).get("user")
    return int(code)


def _message(connection: socket.socket) -> tuple[bytes, bytes]:
    kind, length = struct.unpack("!ci", _read(connection, 5))
    return kind, _read(connection, length - 4)


def _read(connection: socket.socket, length: int) -> bytes:
    content = b""
    while len(content) < length:
        part = connection.recv(length - len(content))
        if not part:
            raise EOFError
        content += part
    return content
