"""Change every element of a DER structure, one after the other, in many ways: what an issuer can get wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.pki.der import elements, sequence, tlv

if TYPE_CHECKING:
    from collections.abc import Iterator

_TAGS = (*range(0x01, 0x07), *range(0x0C, 0x1F), 0x30, 0x31, 0x80, 0x81, 0x82, 0x86, 0xA0, 0xA4)
_NUMBERS = [
    bytes.fromhex(number)
    for number in (
        "2a0304",  # 1.2.3.4, which nobody knows
        "2a864886f70d010102 2a864886f70d010104 2a864886f70d010105 2a864886f70d01010a 2a864886f70d01010b",  # RSA
        "2a8648ce380403 2a8648ce3d0201 2a8648ce3d0401 2a8648ce3d040302 2b6570 2b6571 2b656e",  # DSA, elliptic curves
        "551d0e 551d0f 551d11 551d13 551d1c 551d1e 551d1f 551d20 551d23 551d25 2b06010505070101",  # extensions
        "550406 55042d",  # names with values of their own
    )
    for number in number.split()
]
"""Object identifiers of everything that a certificate or a CRL names by one."""


def mutants(der: bytes) -> Iterator[bytes]:
    """Yield a structure with one element changed, or all elements that are equal to it."""
    inner = [*_inner(der)]
    repeated = {one: _changes(*next(elements(one))) for one in inner if inner.count(one) > 1}
    everywhere = (_replaced(der, one, change) for one, changes in repeated.items() for change in changes)
    yield from (changed for changed in (*_everywhere(der), *everywhere) if changed != der)


def _everywhere(data: bytes) -> Iterator[bytes]:
    """Yield a row of elements with one of them changed, or one within them."""
    row = [tlv(*one) for one in elements(data)]
    for at, (tag, content) in enumerate(elements(data)):
        inner = (tlv(tag, one) for one in _everywhere(content)) if _has_elements(tag, content) else ()
        for change in (*_changes(tag, content), *inner):
            yield b"".join((*row[:at], change, *row[at + 1 :]))


def _inner(data: bytes) -> Iterator[bytes]:
    """Yield every element in a row of elements, and all within them."""
    for tag, content in elements(data):
        yield tlv(tag, content)
        if _has_elements(tag, content):
            yield from _inner(content)


def _replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    """Put one element in the place of another, wherever it is in a row of elements or within them."""
    return b"".join(
        new if tlv(tag, content) == old
        else tlv(tag, _replaced(content, old, new) if _has_elements(tag, content) else content)
        for tag, content in elements(data)
    )  # fmt: skip


def _has_elements(tag: int, content: bytes) -> bool:
    """Return whether an element holds others: by its tag, or because it is the octet string of an extension."""
    return bool(tag & 0x20) or (tag == 0x04 and content[:1] in (b"\x03", b"\x04", b"\x30") and _is_row(content))


def _is_row(data: bytes) -> bool:
    try:
        return b"".join(tlv(*one) for one in elements(data)) == data
    except IndexError:
        return False


def _changes(tag: int, content: bytes) -> Iterator[bytes]:
    """Yield what an element may be instead: nothing, two, of another type, of other content."""
    yield from (b"", 2 * tlv(tag, content))
    yield from (tlv(other, content) for other in _TAGS)
    yield from (tlv(tag, other) for other in (b"", b"\0", b"\xc3\xa9", content[:-1], content[1:], content + b"\0"))
    yield from (tlv(tag, first + content) for first in (b"\0", b"-", b"\x80"))
    if tag == 0x06:
        yield from (tlv(tag, number) for number in _NUMBERS)
    if tag == 0x30:  # an algorithm and its parameters
        yield from (sequence(tlv(0x06, one), more) for one in _NUMBERS for more in (b"", b"\5\0", b"\x30\0"))
