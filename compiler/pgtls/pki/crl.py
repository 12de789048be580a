"""Read and sign certificate revocation lists (RFC 5280, section 5).

PostgreSQL checks the CRL of every CA in a chain, and rejects all clients if one is missing or expired. pgtls therefore
writes a CRL for every CA, even an empty one. A serial number stays on the CRL until its certificate has expired and a
CRL issued after that has listed it (3.3). One whose certificate was not known when it came onto the CRL stays for ever,
and has no reason: the CRL itself says so, whatever others write into the lock later.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, get_args

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pgtls.pki import damage
from pgtls.pki.issue import digest_for
from pgtls.pki.model import Revocation, RevocationList, RevocationReason, Unreadable
from pgtls.pki.names import name_text
from pgtls.pki.profiles import BACKDATED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from pgtls.pki.issue import Issuer

_REASONS: Mapping[x509.ReasonFlags, RevocationReason] = {
    x509.ReasonFlags[reason]: reason for reason in get_args(RevocationReason)
}


def make(
    issuer: Issuer,
    number: int,
    now: datetime,
    validity: timedelta,
    revocations: Iterable[Revocation],
    before: RevocationList | None = None,
) -> bytes:
    """Sign a CRL as PEM: entries in the order of their serials, valid from five minutes ago until ``now + validity``.

    It is later than the one ``before``, unless that is of the future: who compares only dates takes it for the newer
    one, too, although the clocks of two builders differ by minutes.

    Raise ValueError for serial numbers that no certificate may have (zero, over 159 bits).
    """
    start = now.replace(microsecond=0)
    first = start - BACKDATED
    if before and first <= before.this_update < start:
        first = before.this_update + timedelta(seconds=1)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.name)
        .last_update(first)
        .next_update((now + validity).replace(microsecond=0))
        .add_extension(issuer.authority_key_id, critical=False)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for revocation in sorted(revocations, key=lambda revocation: int(revocation.serial, 16)):
        builder = builder.add_revoked_certificate(_entry(revocation))
    return builder.sign(issuer.key, digest_for(issuer.key)).public_bytes(Encoding.PEM)


def _entry(revocation: Revocation) -> x509.RevokedCertificate:
    builder = (
        x509.RevokedCertificateBuilder()
        .serial_number(int(revocation.serial, 16))
        .revocation_date(revocation.date.replace(microsecond=0))
    )
    if revocation.reason != "unspecified":  # 5.3.1: then SHOULD be absent
        builder = builder.add_extension(x509.CRLReason(x509.ReasonFlags[revocation.reason]), critical=False)
    return builder.build()


def read(pem: bytes) -> RevocationList | Unreadable:
    """Read the first CRL of a file."""
    lists = parse(pem)
    return lists if isinstance(lists, Unreadable) else of(lists[0])


def parse(pem: bytes) -> tuple[x509.CertificateRevocationList, ...] | Unreadable:
    """Read every CRL of a file as an X.509 object. Return at least one.

    Its issuer and its extensions can be decoded; :func:`of` decodes its entries.
    """
    if fault := damage.of_file(pem, damage.CRL):
        return Unreadable(fault)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            lists = tuple(x509.load_pem_x509_crl(block) for block in _BLOCK.findall(pem))
        except Exception as error:  # noqa: BLE001  (its exceptions share no class, and all of them are about these bytes)
            return Unreadable(damage.of_block(pem, damage.CRL, error))
        try:
            for one in lists:  # cryptography decodes them only when they are asked for, and raises there
                name_text(one.issuer)
                one.extensions  # noqa: B018
        except Exception as error:  # noqa: BLE001
            return Unreadable(f"the CRL cannot be understood: {damage.of_field(error)}")
        return lists


def by_issuer(pem: bytes) -> Iterator[tuple[x509.Name, bytes]]:
    """Yield every CRL of a valid file, with the name of the CA that issued it."""
    lists = parse(pem)
    assert not isinstance(lists, Unreadable)  # noqa: S101
    for one, block in zip(lists, _BLOCK.findall(pem), strict=True):
        yield one.issuer, block + b"\n"


_BLOCK = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)


def of(crl: x509.CertificateRevocationList) -> RevocationList | Unreadable:
    """Return the facts of a CRL. A CRL without nextUpdate is invalid (5.1.2.5: it MUST have one)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return (
                _facts(crl) if crl.next_update_utc else Unreadable("it does not say until when it holds (nextUpdate)")
            )
        except Exception as error:  # noqa: BLE001  (most fields are decoded only here)
            return Unreadable(f"the CRL cannot be understood: {damage.of_field(error)}")


def entries(lists: Iterable[x509.CertificateRevocationList]) -> frozenset[tuple[bytes, str]]:
    """Return the issuer (as DER) and serial number of what CRLs list: two CAs may give one serial number."""
    found = ((one.issuer.public_bytes(), of(one)) for one in lists)
    return frozenset(
        (issuer, entry.serial) for issuer, its in found if isinstance(its, RevocationList) for entry in its.revoked
    )


def entries_in(pem: bytes) -> frozenset[tuple[bytes, str]]:
    """Return the :func:`entries` of a file; none if it cannot be read."""
    found = parse(pem)
    return frozenset() if isinstance(found, Unreadable) else entries(found)


def _facts(crl: x509.CertificateRevocationList) -> RevocationList:
    number, authority_key_id = 0, None
    for extension in crl.extensions:
        if isinstance(extension.value, x509.CRLNumber):
            number = extension.value.crl_number
        elif isinstance(extension.value, x509.AuthorityKeyIdentifier) and extension.value.key_identifier:
            authority_key_id = extension.value.key_identifier.hex()
    assert crl.next_update_utc is not None  # noqa: S101
    return RevocationList(
        number=number,
        this_update=crl.last_update_utc,
        next_update=crl.next_update_utc,
        revoked=tuple(_revocation(entry) for entry in crl if _REMOVED not in _reasons(entry)),
        authority_key_id=authority_key_id,
    )


_REMOVED = x509.ReasonFlags.remove_from_crl
"""The reason of an entry that OpenSSL takes for no revocation (x509_vfy.c, ``cert_crl``)."""


def _reasons(entry: x509.RevokedCertificate) -> list[x509.ReasonFlags]:
    return [e.value.reason for e in entry.extensions if isinstance(e.value, x509.CRLReason)]


def _revocation(entry: x509.RevokedCertificate) -> Revocation:
    reasons = _reasons(entry)
    known = _REASONS.get(reasons[0], "unspecified") if reasons else "unspecified"
    return Revocation(f"{entry.serial_number:x}", entry.revocation_date_utc, known)


def merge(there: RevocationList | None, known: Iterable[Revocation], now: datetime) -> tuple[Revocation, ...]:
    """Merge the known revocations (of the lock and the spec) with the present CRL, in the order of the serials.

    What the CRL says stays; of several others, the earlier counts, with the latest end. Drop an entry once its
    certificate has expired and, if the present CRL has it, that CRL was issued after the expiry. A CRL from the future
    says nothing of an expiry: a build with a fast clock made it. Keep an entry without a known expiry for ever.
    """
    found: dict[str, Revocation] = {}
    for revocation in sorted(known, key=lambda revocation: (revocation.date, revocation.reason)):
        first = found.setdefault(revocation.serial, revocation)
        if first.not_after is None or revocation.not_after is None:
            found[revocation.serial] = _endless(first)
        elif revocation.not_after > first.not_after:
            found[revocation.serial] = replace(first, not_after=revocation.not_after)
    listed = {entry.serial: _listed(entry, found.get(entry.serial)) for entry in (there.revoked if there else ())}
    seen_until = min(there.this_update, now) if there else now
    kept = (
        revocation
        for serial, revocation in {**found, **listed}.items()
        if revocation.not_after is None or revocation.not_after >= (seen_until if serial in listed else now)
    )
    return tuple(sorted(kept, key=lambda revocation: int(revocation.serial, 16)))


def _listed(entry: Revocation, known: Revocation | None) -> Revocation:
    """Return an entry of the present CRL, with the end of its certificate if that was known when the entry was made.

    In that case, what is known now agrees with the entry.
    """
    if known is None:
        return entry
    same = (entry.date, entry.reason) == (known.date.replace(microsecond=0), known.reason)
    return replace(entry, not_after=known.not_after) if same and entry.reason != "unspecified" else _endless(entry)


def _endless(entry: Revocation) -> Revocation:
    return replace(entry, reason="unspecified", not_after=None)


def next_number(there: RevocationList | None, now: datetime) -> int:
    """Return the next CRL number (5.2.3): the seconds since 1970, so that it grows even if the last CRL is lost."""
    return max(int(now.timestamp()), there.number + 1 if there else 1)


def covers(there: RevocationList, revocations: Iterable[Revocation]) -> bool:
    """Return whether a CRL contains all these revocations. It contains no certificate ends, and dates in whole seconds.

    It may contain more: an expired certificate on it is no reason to sign another one.
    """
    wanted = {replace(entry, date=entry.date.replace(microsecond=0), not_after=None) for entry in revocations}
    return wanted <= set(there.revoked)


def half_life(there: RevocationList) -> datetime:
    """Return when an unchanged CRL is due to be signed again: after half of its lifetime."""
    return there.this_update + (there.next_update - there.this_update) / 2


def lasting(there: RevocationList | None, validity: timedelta, now: datetime, *, doubted: bool) -> timedelta:
    """Return the lifetime of a new CRL: ``validity``, but if the clock is ``doubted``, no end before the present one's.

    With a slow clock, the new CRL could already be expired by the clocks of servers, which then reject all clients.
    """
    if there is None or not (doubted or there.this_update > now):
        return validity
    return max(validity, there.next_update - now)


def why_due(there: RevocationList, now: datetime) -> str | None:
    """Return why an unchanged CRL must be signed again now; None if it stays."""
    if now >= there.next_update:
        return f"it ran out on {there.next_update:%Y-%m-%d}"
    return "half its life is over" if now >= half_life(there) else None
