"""Run servers that a client does not expect: an impostor, another host's server, and one without TLS.

Each accepts connections on a loopback port and answers as PostgreSQL does. If a client believes it and sends its name,
the answer says so.
"""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

BELIEVED = "the client believes this server"
"""The error text for a client that sent its name to one of these servers."""

_TLS_REQUEST = 80877103
_HANDSHAKE = 22
_PATIENCE = 30


class Impostor:
    """A server with a certificate. None: it has no TLS. Entering the context starts it."""

    def __init__(self, certificate: Path | None = None, key: Path | None = None) -> None:
        self._context = _context(certificate, key) if certificate and key else None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        client.settimeout(_PATIENCE)
        with client, suppress(OSError, struct.error):  # a client that hangs up has rejected the server
            if client.recv(1, socket.MSG_PEEK)[:1] == bytes([_HANDSHAKE]):  # sslnegotiation=direct
                if self._context is None:
                    return
            else:
                packet = client.recv(8, socket.MSG_WAITALL)
                if struct.unpack("!ii", packet)[1] != _TLS_REQUEST:
                    _believed(client)
                    return
                client.sendall(b"N" if self._context is None else b"S")
            with self._context.wrap_socket(client, server_side=True) if self._context else client as channel:
                if channel.recv(4):
                    _believed(channel)


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["postgresql"])
    return context


def _believed(channel: socket.socket) -> None:
    """Send an ErrorResponse (protocol 3)."""
    fields = b"SFATAL\0C28000\0M" + BELIEVED.encode() + b"\0\0"
    channel.sendall(b"E" + struct.pack("!i", len(fields) + 4) + fields)
