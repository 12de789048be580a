"""Write the DER (X.690) that cryptography lacks: names as OpenSSL hashes them, encrypted keys, PKCS#12."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

INTEGER, BIT_STRING, OCTET_STRING, NULL = 0x02, 0x03, 0x04, 0x05
UTF8_STRING, BMP_STRING, SEQUENCE, SET, EXPLICIT = 0x0C, 0x1E, 0x30, 0x31, 0xA0
"""Tags; the last is that of a value around another one, ``[0] EXPLICIT``."""


def tlv(tag: int, content: bytes) -> bytes:
    """Write one element: tag, length and content."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def sequence(*parts: bytes) -> bytes:
    """Write a sequence of elements."""
    return tlv(SEQUENCE, b"".join(parts))


def integer(number: int) -> bytes:
    """Write a number that is not negative."""
    return tlv(INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each element in a row. The bytes are well-formed because cryptography wrote them."""
    at = 0
    while at < len(data):
        tag, size, at = data[at], data[at + 1], at + 2
        if size >= 0x80:
            more = size & 0x7F
            size, at = int.from_bytes(data[at : at + more], "big"), at + more
        yield tag, data[at : at + size]
        at += size
