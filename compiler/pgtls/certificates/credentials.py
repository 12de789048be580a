"""Define certificates and keys as files contain them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgtls.state.tree import Later

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pgtls.fleet.model import Authority
    from pgtls.pki.model import Entity

_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
_BLOCK = re.compile(_BEGIN + rb".+?" + _END + rb"\n?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Credential:
    """One certificate in PEM, alone, and its private key. Either is None if it does not exist here.

    ``above`` are the further certificates of its file. ``request`` is the CSR for an outside signer. ``earlier``: the
    file stays as it is, whatever CAs are above its entity in the spec.
    """

    certificate: bytes | Later | None
    key: bytes | Later | None
    above: tuple[bytes, ...] = ()
    request: bytes | Later | None = None
    following: tuple[bytes | Later, bytes | Later] | None = None
    """The next certificate and key of a self-signed server."""
    previous: bytes | None = None
    """The previously served certificate, until it expires."""
    lists: bytes | None = None
    """For a CA: the CRLs of the CAs ``above`` it."""
    earlier: bool = False

    @property
    def complete(self) -> bool:
        """Whether every part of it exists already."""
        parts = (self.certificate, self.key, self.request, *(self.following or ()))
        return Later.PENDING not in parts

    @property
    def file(self) -> bytes | Later | None:
        """The certificate and the further certificates of its file, in their original order."""
        return joined(_whole(self)) if self.certificate else None


Credentials = "Mapping[Entity, Credential]"
"""By entity."""


def first_block(pem: bytes) -> bytes:
    """Return the first certificate of a file: of a chain, the leaf."""
    begin = pem.find(_BEGIN)
    end = pem.find(_END, begin + len(_BEGIN) + 1)
    return pem[begin : end + len(_END)] + b"\n" if 0 <= begin < end else pem


def blocks(pem: bytes) -> Iterator[bytes]:
    """Yield every certificate of a file."""
    yield from (block.rstrip(b"\n") + b"\n" for block in _BLOCK.findall(pem))


def joined(parts: Iterable[bytes | Later]) -> bytes | Later:
    """Concatenate PEM files. The result is pending if a part is pending."""
    known = []
    for part in parts:
        if isinstance(part, Later):
            return Later.PENDING
        known.append(part)
    return b"".join(known)


def chain(leaf: Credential, issuer: Authority | None, credentials: Mapping[Entity, Credential]) -> bytes | Later | None:
    """Return the leaf, then the intermediates upward, never the root (RFC 8446, 4.4.2): what a peer sends."""
    if leaf.certificate is None:
        return None
    if issuer is None or leaf.earlier:
        return leaf.file
    return joined(
        [leaf.certificate, *leaf.above, *(part for ca in issuer.chain for part in _below_root(ca, credentials))]
    )


def _below_root(ca: Authority, credentials: Mapping[Entity, Credential]) -> Iterator[bytes | Later]:
    """Yield a CA's certificate and the further certificates of its file, without a root."""
    parts = _whole(credentials[ca.entity])
    yield from parts if ca.issuer else parts[:-1]


def trust(authorities: Iterable[Authority], credentials: Mapping[Entity, Credential]) -> bytes | Later:
    """Return the file of a server: each CA that it trusts with every CA above it, each certificate once."""
    entities = dict.fromkeys(link.entity for ca in authorities for link in ca.chain)
    return joined(
        part for entity in entities for part in (credentials[entity].file, credentials[entity].previous) if part
    )


def roots(authorities: Iterable[Authority], credentials: Mapping[Entity, Credential]) -> bytes | Later:
    """Return the file of a client, which contains whole chains: the root of each CA, and the one before its renewal.

    For a CA with a supplied chain, the root is the last certificate of the file: an intermediate alone is no anchor for
    OpenSSL, and :func:`pgtls.pki.chains.unsigned` rejects it.
    """
    known = (credentials[entity] for entity in dict.fromkeys(ca.root.entity for ca in authorities))
    return joined(part for root in known for part in (*_whole(root)[-1:], root.previous) if part)


def _whole(credential: Credential) -> tuple[bytes | Later, ...]:
    return () if credential.certificate is None else (credential.certificate, *credential.above)


def key_uri_file(ca: Authority) -> bytes | None:
    """Return the file that says in which token the key of a CA is. It names no module and no PIN."""
    return f"{ca.key_uri}\n".encode() if ca.key_uri else None
