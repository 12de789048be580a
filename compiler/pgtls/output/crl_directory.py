"""Write the CRLs of a server as a hashed directory (``ssl_crl_dir``), in addition to one file with all of them.

A server has both. Of equivalent CRLs OpenSSL uses the newest (x509_vfy.c, ``get_crl_sk``), and a missing directory is
harmless (``X509_LOOKUP_add_dir`` does not look). The next connection sees a new file there without a reload.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pgtls.fleet.model import subject_attributes
from pgtls.pki import crl, facts, profiles
from pgtls.pki.names import hashed_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cryptography.x509 import Name

    from pgtls.certificates.credentials import Credential
    from pgtls.fleet.model import Authority
    from pgtls.pki.model import Entity
    from pgtls.state.tree import Later


def hashed(
    lists: Iterable[tuple[Authority, bytes | Later]], credentials: Mapping[Entity, Credential]
) -> Iterator[tuple[str, bytes | Later]]:
    """Name each CRL as OpenSSL searches for it: the hash of its issuer's name and a number without a gap (by_dir.c)."""
    numbers = Counter[str]()
    for ca, content in lists:
        for issuer, each in _by_issuer(ca, content, credentials[ca.entity].certificate):
            name = hashed_name(issuer)
            yield f"{name}.r{numbers[name]}", each
            numbers[name] += 1


def _by_issuer(
    ca: Authority, content: bytes | Later, certificate: bytes | Later | None
) -> Iterator[tuple[Name, bytes | Later]]:
    """Yield each CRL of a CA with its issuer's name. A supplied file may also contain CRLs of the CAs above."""
    if isinstance(content, bytes):
        yield from crl.by_issuer(content)
        return
    known = facts.parse(certificate) if isinstance(certificate, bytes) else ()
    of_spec = subject_attributes(ca.table.subject, ca.common_name)  # a certificate that is not issued yet
    yield known[0].subject if isinstance(known, tuple) and known else profiles.name(of_spec), content
