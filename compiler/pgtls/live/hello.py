"""Write a TLS ClientHello that offers chosen groups, and read the first answer to it.

Libraries offer only groups that they implement, so this module writes the message (RFC 8446, 4.1.2). It contains no key
share: a TLS 1.3 server that accepts one of the groups names it in a HelloRetryRequest, a TLS 1.2 server in its
ServerKeyExchange. Nothing follows, so no secret is needed.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

GROUPS: Mapping[str, int] = {
    "prime256v1": 23,
    "secp384r1": 24,
    "secp521r1": 25,
    "X25519": 29,
    "X448": 30,
    "ffdhe2048": 256,
    "ffdhe3072": 257,
    "SecP256r1MLKEM768": 4587,
    "X25519MLKEM768": 4588,
    "SecP384r1MLKEM1024": 4589,
}
"""The number of each group that an offer may contain, by OpenSSL's name (IANA, TLS Supported Groups)."""
_NAMES = {number: name for name, number in GROUPS.items()}

_SUITES = (0x1301, 0x1302, 0x1303, 0xC02B, 0xC02C, 0xC02F, 0xC030, 0xCCA8, 0xCCA9)
_SIGNATURES = (0x0403, 0x0503, 0x0603, 0x0807, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601)
_ALERTS = {40: "handshake failure", 47: "illegal parameter", 70: "protocol version", 71: "insufficient security"}
_HANDSHAKE, _ALERT, _CHANGE_CIPHER_SPEC = 22, 21, 20
_SERVER_HELLO, _SERVER_KEY_EXCHANGE, _SERVER_HELLO_DONE = 2, 12, 14
_SUPPORTED_GROUPS, _SIGNATURE_ALGORITHMS, _SUPPORTED_VERSIONS, _KEY_SHARE = 10, 13, 43, 51


class Answer(NamedTuple):
    """The group that the server selects (None: another one), or the alert by which it rejects."""

    group: str | None = None
    alert: str | None = None


def client_hello(groups: Iterable[str]) -> bytes:
    """Return a record with a ClientHello for TLS 1.2 and 1.3 that offers these groups."""
    extensions = (
        _extension(_SUPPORTED_GROUPS, _listed(GROUPS[name] for name in groups))
        + _extension(11, b"\1\0")  # uncompressed points
        + _extension(_SIGNATURE_ALGORITHMS, _listed(_SIGNATURES))
        + _extension(_SUPPORTED_VERSIONS, b"\4\3\4\3\3")
        + _extension(_KEY_SHARE, b"\0\0")
    )
    session = os.urandom(32)
    body = b"\3\3" + os.urandom(32) + bytes([len(session)]) + session + _listed(_SUITES) + b"\1\0"
    body += struct.pack("!H", len(extensions)) + extensions
    message = b"\1" + len(body).to_bytes(3) + body
    return b"\x16\3\1" + struct.pack("!H", len(message)) + message


def _listed(numbers: Iterable[int]) -> bytes:
    packed = b"".join(struct.pack("!H", number) for number in numbers)
    return struct.pack("!H", len(packed)) + packed


def _extension(kind: int, content: bytes) -> bytes:
    return struct.pack("!HH", kind, len(content)) + content


def read(data: bytes) -> Answer | None:
    """Read the data that the server sent so far. Return None if more must come."""
    try:
        return _read(data)
    except (IndexError, struct.error):
        return Answer(alert="an answer that is not TLS")


def _read(data: bytes) -> Answer | None:
    handshake = b""
    for kind, content in _records(data):
        if kind == _ALERT:
            return Answer(alert=_ALERTS.get(content[1], f"alert {content[1]}"))
        if kind == _HANDSHAKE:
            handshake += content
        elif kind != _CHANGE_CIPHER_SPEC:
            return Answer(alert="an answer that is not TLS")
    for kind, body in _messages(handshake):
        if kind == _SERVER_HELLO and (share := _extensions(body).get(_KEY_SHARE)):
            return Answer(_name(share))
        if kind == _SERVER_KEY_EXCHANGE:  # 3: a named curve (RFC 8422, 5.4)
            return Answer(_name(body[1:]) if body[0] == 3 else None)
        if kind == _SERVER_HELLO_DONE:
            return Answer()
    return None


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 5:
        kind, _, length = struct.unpack("!BHH", data[:5])
        if len(data) < 5 + length:
            return
        yield kind, data[5 : 5 + length]
        data = data[5 + length :]


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length = int.from_bytes(data[1:4])
        if len(data) < 4 + length:
            return
        yield data[0], data[4 : 4 + length]
        data = data[4 + length :]


def _extensions(server_hello: bytes) -> dict[int, bytes]:
    rest = server_hello[35 + server_hello[34] + 3 + 2 :]
    found: dict[int, bytes] = {}
    while len(rest) >= 4:
        kind, length = struct.unpack("!HH", rest[:4])
        found[kind] = rest[4 : 4 + length]
        rest = rest[4 + length :]
    return found


def _name(content: bytes) -> str:
    (number,) = struct.unpack("!H", content[:2])
    return _NAMES.get(number, f"group {number}")
