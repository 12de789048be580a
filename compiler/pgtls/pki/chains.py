"""Files of several certificates, as TLS and PostgreSQL want them ordered. All are PEM without a comment, so that the same certificates are the same bytes."""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgtls.pki.model import Certificate

_BLOCK = re.compile(rb"-----BEGIN (X509 )?CERTIFICATE-----(.*?)-----END (X509 )?CERTIFICATE-----", re.DOTALL)


def split(pem: bytes) -> tuple[bytes, ...]:
    """Take a file apart into its certificates, each written anew: what stands between them, and how it was folded, is dropped.

    A block that is not base64 is left out: :func:`pgtls.pki.facts.read` says what is wrong with such a file.
    """
    return tuple(block for body in _BLOCK.findall(pem) if (block := _normal(body[1])))


def _normal(body: bytes) -> bytes:
    try:
        text = binascii.b2a_base64(binascii.a2b_base64(body), newline=False)
    except binascii.Error:
        return b""
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]  # RFC 7468: 64 characters a line
    return b"\n".join([b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""]) if lines else b""


def is_root(certificate: Certificate) -> bool:
    """Whether a chain ends here: it names itself as its issuer, and no other key (RFC 5280, 3.2: self-issued is not yet self-signed)."""
    return certificate.subject == certificate.issuer and certificate.authority_key_id in (None, certificate.key_id)


def served(leaf: bytes, above: Iterable[tuple[Certificate, bytes]]) -> bytes:
    """Return what a server or client presents: its certificate, then what signed it, and so on, but never the root (RFC 8446, 4.4.2).

    ``above`` are the CAs over it, from the nearest, each as its facts and its PEM. A peer has the root, or else would not trust it.
    """
    return b"".join(_once([leaf, *(pem for certificate, pem in above if not is_root(certificate))]))


def file_of(*groups: Iterable[bytes]) -> bytes:
    """Return one file of certificates that are trusted, or of CRLs: each once, in the order given.

    OpenSSL takes any order, but needs the root among them: an intermediate alone is no anchor.
    """
    return b"".join(_once(pem for group in groups for pem in group))


def _once(blocks: Iterable[bytes]) -> list[bytes]:
    return list(dict.fromkeys(blocks))
