"""Read the address field of pg_hba.conf as a server on Linux reads it.

``parse_hba_line`` in hba.c calls glibc's getaddrinfo with AI_NUMERICHOST, which also accepts the forms of inet_aton(3)
(``10.1``, ``0x7f000001``, ``010.0.0.1``). Any other text is a host name.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from pgtls.hba.model import IPAddress, IPNetwork, MaskedAddress
from pgtls.postgres.numbers import strtol

_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*")
_ZONE = re.compile(r"[0-9]+")
_PREFIX = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)", re.ASCII)


@lru_cache(maxsize=4096)
def numeric_address(text: str) -> IPAddress | None:
    """Read an address as getaddrinfo(AI_NUMERICHOST) does. Return None for a host name."""
    return _ipv6(text) if ":" in text else _ipv4(text)


def _ipv4(text: str) -> IPv4Address | None:
    """Read one to four numbers, decimal, octal or hexadecimal. The last number fills the remaining bytes."""
    parts = text.split(".")
    if len(parts) > 4 or not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    *leading, last = [_integer(part) for part in parts]
    if any(number > 255 for number in leading) or last >= 256 ** (4 - len(leading)):
        return None
    return IPv4Address(sum(number << 24 - 8 * i for i, number in enumerate(leading)) + last)


def _integer(part: str) -> int:
    if part[:2] in {"0x", "0X"}:
        return strtol(part, 16)
    return strtol(part, 8) if part.startswith("0") else strtol(part)


def _ipv6(text: str) -> IPv6Address | None:
    """Read an IPv6 address. Ignore its zone; accept a zone by name only if it can mean an interface."""
    plain, percent, zone = text.partition("%")
    try:
        address = IPv6Address(plain)
    except ValueError:
        return None
    link_local = address.is_link_local or (address.is_multicast and address.packed[1] & 0x0F == 2)
    if percent and not (_ZONE.fullmatch(zone) or (link_local and zone)):
        return None
    return address


def prefix_length(text: str, address: IPAddress) -> int | None:
    """Read the text after the slash as strtol(3) does. Return None if the server rejects it."""
    found = _PREFIX.fullmatch(text)
    if found is None or len(found[1]) > 19:
        return None
    bits = int(found[1])
    return bits if 0 <= bits <= address.max_prefixlen else None


@lru_cache(maxsize=4096)
def network(address: IPAddress, bits: int) -> IPNetwork:
    """Return the block around an address. Ignore the bits right of the mask."""
    if isinstance(address, IPv4Address):
        return IPv4Network((address, bits), strict=False)
    return IPv6Network((address, bits), strict=False)


def masked(address: IPAddress, mask: IPAddress) -> IPNetwork | MaskedAddress:
    """Return a block if the mask is a prefix, otherwise address and mask. Both have the same family."""
    inverse = int(mask) ^ ((1 << mask.max_prefixlen) - 1)
    if inverse & (inverse + 1):
        return MaskedAddress(address, mask)
    return network(address, mask.max_prefixlen - inverse.bit_length())
