"""Parse the items of ``from``: blocks, addresses, host names and keywords, each in its canonical form."""

from __future__ import annotations

import re
from ipaddress import IPv6Network, ip_address, ip_network
from typing import NamedTuple

from pgtls.hba.model import Address, HostName, Keyword

_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_ADDRESS_LIKE = re.compile(r"[0-9.]+|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*")
_KEYWORDS = {word.value: word for word in (Keyword.ALL, Keyword.SAMEHOST, Keyword.SAMENET)}


class Fault(NamedTuple):
    """The reason why a text is not an address or host name."""

    code: str
    message: str
    hint: str | None = None


def is_address(text: str) -> bool:
    """Tell whether a text is an IPv4 or IPv6 address."""
    if not text or (":" not in text and not text[-1].isdigit()):
        return False
    try:
        return not getattr(ip_address(text), "scope_id", None)
    except ValueError:
        return False


def parse_address(text: str) -> Address | Fault:
    """Read one element of ``from``; a single address becomes a block of one.

    PostgreSQL itself ignores host bits, accepts ``10.1`` for ``10.0.0.1``, and takes anything that it cannot read for a
    host name (hba.c, ``parse_hba_line``): each of them is an error here.
    """
    if keyword := _KEYWORDS.get(text):
        return keyword
    if text != (bare := text.strip()):
        return Fault("PGT201", f'"{text}" begins or ends with a blank', f'write "{bare}"')
    if "/" in text or _ADDRESS_LIKE.fullmatch(text) or "%" in text or "[" in text:
        return _network(text)
    if fault := host_name_fault(text.removeprefix(".") or text, "PGT201"):
        return fault
    return HostName(text.lower())


def _network(text: str) -> Address | Fault:
    if "%" in text:
        plain = re.sub(r"%[^/]*", "", text)
        return Fault("PGT201", f'"{text}" has a zone id, which PostgreSQL ignores', f'write "{plain}"')
    address, slash, length = text.partition("/")
    if slash and not (length.isascii() and length.isdigit()):
        return _masked(text)
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return _unreadable(text)
    if isinstance(network, IPv6Network) and (mapped := network.network_address.ipv4_mapped):
        block = f"{mapped}/{network.prefixlen - 96}" if network.prefixlen >= 96 else "0.0.0.0/0"
        return Fault(
            "PGT201",
            f'"{text}" is an IPv4 address in IPv6 form, which PostgreSQL never sees',
            f'write "{block.removesuffix("/32")}"',
        )
    if network.network_address != ip_address(address):
        return Fault(
            "PGT202",
            f'"{text}" has bits set to the right of its mask',
            f'write "{network}" for the network, or "{address}" for the host',
        )
    return network


def _masked(text: str) -> Fault:
    try:
        hint = f'write "{ip_network(text, strict=False)}"'
    except ValueError:
        hint = 'e.g. "10.0.0.0/8"'
    return Fault("PGT201", f'"{text}" is not a network: write its mask as a prefix length', hint)


def _unreadable(text: str) -> Fault:
    bare = text.strip("[]")
    hint = (
        f'write "{bare}"' if bare != text and _is_address(bare) else 'e.g. "10.0.0.0/8", "10.0.0.5", "db.example.com"'
    )
    return Fault("PGT201", f'"{text}" is neither an address nor a network', hint)


def host_name_fault(name: str, code: str) -> Fault | None:
    """Return the fault of a host name (RFC 1123, 2.1): labels of 63 characters, 253 in all.

    Underscores are let through, since host names in use have them and neither PostgreSQL nor libpq minds.
    """
    if not name.isascii():
        return Fault(code, f'"{name}" is not ASCII', _punycode(name))
    if name.endswith(".") and name.strip("."):
        return Fault(code, f'"{name}" ends in a dot, and no certificate matches that', f'write "{name.rstrip(".")}"')
    if len(name) > 253:
        return Fault(code, f'"{name}" has {len(name)} characters; a host name allows 253', "shorten it")
    for label in name.split("."):
        if len(label) > 63:
            return Fault(code, f'"{label}" in "{name}" has {len(label)} characters; a label allows 63', "shorten it")
        if not _LABEL.fullmatch(label):
            wrong = f'"{label}" in "{name}"' if label and label != name else f'"{name}"'
            return Fault(code, f"{wrong} is not a host name", _host_hint(name))
    return None


def _host_hint(name: str) -> str:
    host, colon, port = name.rpartition(":")
    if colon and port.isdecimal() and host_name_fault(host, "") is None:
        return f'write it without the port: "{host}"'
    return "a host name has letters, digits and hyphens, separated by dots"


def _punycode(name: str) -> str | None:
    try:
        return f'write "{name.encode("idna").decode()}"'
    except UnicodeError:
        return None


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
