"""Compute the facts that a profile requires, as fields of :class:`pgtls.pki.model.Certificate`, to compare each field.

This module does not import cryptography: an unchanged certificate needs no X.509.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pgtls.pki.model import Constraints, Profile

SHORT_NAMES = {
    "common_name": "CN",
    "country": "C",
    "state": "ST",
    "locality": "L",
    "organization": "O",
    "organizational_unit": "OU",
    "email": "emailAddress",
}
"""OpenSSL's short names of the attributes that the spec has."""


def wanted_facts(profile: Profile) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Return the subject, names and usages of a certificate of this profile, as :class:`Certificate` has them."""
    return subject_text(profile.subject), _wanted_names(profile), _wanted_usages(profile)


def _wanted_names(profile: Profile) -> tuple[str, ...]:
    mail = (f"email:{value}" for attribute, value in profile.subject if attribute == "email")
    return tuple(
        sorted({*(f"DNS:{host}" for host in profile.dns_names), *(f"IP:{ip}" for ip in profile.ip_addresses), *mail})
    )


def _wanted_usages(profile: Profile) -> tuple[str, ...]:
    if profile.kind == "ca":
        depth = () if profile.path_length is None else (f"pathlen:{profile.path_length}",)
        constraints = _wanted_constraints(profile.constraints) if profile.constraints else ()
        return tuple(sorted({"CA", "keyCertSign", "cRLSign", *depth, *constraints}))
    if profile.kind == "user":
        return ("clientAuth", "digitalSignature")
    rsa = ("keyEncipherment",) if profile.key_algorithm.startswith("rsa-") else ()
    return ("digitalSignature", *rsa, "serverAuth")


def _wanted_constraints(constraints: Constraints) -> Iterator[str]:
    for side, domains, networks in (
        ("permitted", constraints.permitted_dns, constraints.permitted_ip),
        ("excluded", constraints.excluded_dns, constraints.excluded_ip),
    ):
        yield from (f"{side}:DNS:{domain}" for domain in domains)
        yield from (f"{side}:IP:{ipaddress.ip_network(network)}" for network in networks)


def subject_text(attributes: Iterable[tuple[str, str]]) -> str:
    r"""Write a profile's subject as PostgreSQL compares it for ``clientname=DN``: ``CN=x,O=A\, B``.

    That is ``X509_NAME_print_ex`` with ``XN_FLAG_RFC2253`` (be-secure-openssl.c): RFC 4514, most specific first, with
    all but printable ASCII as escaped bytes of UTF-8 (``\CE\9F``).
    """
    return ",".join([f"{SHORT_NAMES[attribute]}={escape(value)}" for attribute, value in attributes][::-1])


_PLAIN = re.compile(r"[A-Za-z0-9._@:/=()'*-]+(?: [A-Za-z0-9._@:/=()'*-]+)*")


def escape(value: str) -> str:
    """Escape an attribute's value (RFC 4514, 2.4), as OpenSSL does."""
    if _PLAIN.fullmatch(value):  # nearly all
        return value
    data = value.encode()
    last = len(data) - 1
    return "".join(_escape_byte(byte, at == 0, at == last) for at, byte in enumerate(data))


def _escape_byte(byte: int, first: bool, last: bool) -> str:
    if byte < 0x20 or byte >= 0x7F:
        return f"\\{byte:02X}"
    character = chr(byte)
    # OpenSSL treats a single character as the last one, so a lone "#" stays unescaped.
    special = (
        character in ',+"\\<>;' or (character == " " and (first or last)) or (character == "#" and first and not last)
    )
    return f"\\{character}" if special else character


def taken_for_host(common_name: str) -> bool:
    """Return whether OpenSSL applies DNS constraints to a common name if there is no SAN (v3_ncons.c, cn2dnsid)."""
    return _HOST_LIKE.fullmatch(common_name) is not None


_HOST_LIKE = re.compile(r"[A-Za-z0-9_:-]+(\.[A-Za-z0-9_:-]+)+")
