"""Certificates and keys as they go into files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgtls.build.model import Later

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pgtls.fleet.model import Authority

_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Credential:
    """One certificate in PEM, alone, and its private key. ``key`` is None where there is none here."""

    certificate: bytes | Later
    key: bytes | Later | None


Credentials = "Mapping[str, Credential]"
"""By entity."""


def first_block(pem: bytes) -> bytes:
    """Give the first certificate of a file: of a chain, the leaf."""
    match = _BLOCK.search(pem)
    return match[0].rstrip(b"\n") + b"\n" if match else pem


def joined(parts: Iterable[bytes | Later]) -> bytes | Later:
    """Concatenate; what has a pending part is pending."""
    known = []
    for part in parts:
        if isinstance(part, Later):
            return Later.PENDING
        known.append(part)
    return b"".join(known)


def chain(leaf: bytes | Later, issuer: Authority | None, credentials: Mapping[str, Credential]) -> bytes | Later:
    """Leaf first, then the intermediates upward, never the root (RFC 8446, 4.4.2; libpq and the server send it as it is)."""
    above = issuer.chain if issuer else ()
    return joined([leaf, *(credentials[ca.entity].certificate for ca in above if ca.issuer)])


def trust(authorities: Iterable[Authority], credentials: Mapping[str, Credential]) -> bytes | Later:
    """Give the file for those who trust: each CA with everything above it, roots included, every certificate once."""
    entities = dict.fromkeys(link.entity for ca in authorities for link in ca.chain)
    return joined(credentials[entity].certificate for entity in entities)
