"""Read CRLs that other CAs publish: find their issuers, verify their signatures, and merge their facts.

PostgreSQL checks every certificate of a chain against the CRL of its issuer (X509_V_FLAG_CRL_CHECK_ALL). The CRLs for a
CA must therefore cover its whole chain, and the first one that expires locks all clients out. Deltas (RFC 5280, 5.2.4)
do not count: PostgreSQL does not read them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pgtls.pki import crl
from pgtls.pki.model import RevocationList, Unreadable
from pgtls.pki.names import canonical, name_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    Lists = Sequence[x509.CertificateRevocationList]


def as_pem(content: bytes) -> bytes:
    """Convert a CRL in DER, as CAs publish it (RFC 5280, 4.2.1.13), to PEM. Return anything else unchanged."""
    if content[:1] != b"\x30":
        return content
    try:
        return x509.load_der_x509_crl(content).public_bytes(Encoding.PEM)
    except ValueError:
        return content


def faults(lists: Lists, needed: Iterable[x509.Certificate], known: Sequence[x509.Certificate]) -> Iterator[str]:
    """Yield the faults of the CRLs.

    ``needed`` are the CAs that must have a CRL here, ``known`` all CAs that may have one.
    """
    for one in lists:
        issuers = [ca for ca in known if canonical(ca.subject) == canonical(one.issuer)]
        if not issuers:
            yield f'it holds a CRL of "{name_text(one.issuer)}", which is another CA'
        elif not any(_signed(one, ca) for ca in issuers):
            yield f'the CRL of "{name_text(one.issuer)}" in it was not signed by the key of that CA'
        elif isinstance(read := crl.of(one), Unreadable):
            yield f'the CRL of "{name_text(one.issuer)}" in it cannot be used: {read.reason}'
    for name, text in {canonical(ca.subject): name_text(ca.subject) for ca in needed}.items():
        if not any(_of(name, one) for one in lists):
            yield f'it holds no CRL of "{text}"'


def _signed(one: x509.CertificateRevocationList, ca: x509.Certificate) -> bool:
    try:
        return one.is_signature_valid(ca.public_key())  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001  (keys and signatures of kinds that it does not know)
        return False


def _of(name: bytes, one: x509.CertificateRevocationList) -> bool:
    return canonical(one.issuer) == name and not _is_delta(one)


def _is_delta(one: x509.CertificateRevocationList) -> bool:
    return any(isinstance(extension.value, x509.DeltaCRLIndicator) for extension in one.extensions)


def issuers(lists: Lists) -> frozenset[bytes]:
    """Return the names of the CAs that have a CRL here, in canonical form."""
    return frozenset(canonical(one.issuer) for one in lists if not _is_delta(one))


def together(lists: Lists, ca: x509.Certificate, now: datetime) -> RevocationList:
    """Merge the valid CRLs of a CA and its chain into one: the revocations of the CA's own, the earliest end of all.

    Of several CRLs of one CA, the newest that is valid ``now`` counts, as for OpenSSL (x509_vfy.c, ``get_crl_score``).
    """
    counting = {
        name: max((_facts(one) for one in lists if _of(name, one)), key=lambda facts: _score(facts, now))
        for name in issuers(lists)
    }
    weakest = min(counting.values(), key=lambda facts: (facts.this_update <= now, facts.next_update))
    return replace(counting[canonical(ca.subject)], this_update=weakest.this_update, next_update=weakest.next_update)


def _facts(one: x509.CertificateRevocationList) -> RevocationList:
    facts = crl.of(one)
    assert isinstance(facts, RevocationList)  # noqa: S101
    return facts


def _score(facts: RevocationList, now: datetime) -> tuple[bool, datetime]:
    return facts.this_update <= now < facts.next_update, facts.this_update
