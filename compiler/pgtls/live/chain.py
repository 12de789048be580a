"""Check whether clients can verify a chain: OpenSSL's own verification, at an instant, with the files of a bundle."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from OpenSSL import crypto

from pgtls.access.held import common_name
from pgtls.fleet.addresses import is_address
from pgtls.pki import crl, facts
from pgtls.pki.model import Unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pgtls.live.handshake import Seen
    from pgtls.pki.model import Certificate


def served(seen: Seen) -> tuple[Certificate, ...]:
    """Return the certificates that a server sent, leaf first."""
    found = facts.read(b"".join(seen.session.chain)) if seen.session and seen.session.chain else ()
    return () if isinstance(found, Unreadable) else found


class Trust(NamedTuple):
    """The files with which a client verifies a server. Without ``lists``, it checks no CRL."""

    roots: bytes | None
    """Its ``root.crt``. None: the CAs of its system."""
    lists: bytes = b""
    """Its ``root.crl``."""


class Refusal(NamedTuple):
    """Why a client rejects a chain, in OpenSSL's words."""

    reason: str
    lacks_crl: bool = False
    """Whether no CRL says whether a certificate of the chain is revoked. Certificates above that were not judged."""


_UNABLE_TO_GET_CRL = 3
"""``X509_V_ERR_UNABLE_TO_GET_CRL`` (x509_vfy.h)."""


def refusal(chain: Sequence[bytes], trust: Trust, now: datetime) -> Refusal | None:
    """Return why a client rejects a chain. None: it accepts it."""
    leaf, *sent = (crypto.X509.from_cryptography(x509.load_pem_x509_certificate(pem)) for pem in chain)
    store = crypto.X509Store()
    if trust.roots is None:
        paths = ssl.get_default_verify_paths()
        if paths.cafile or paths.capath:
            store.load_locations(paths.cafile, paths.capath)
    else:
        for certificate in x509.load_pem_x509_certificates(trust.roots):
            store.add_cert(crypto.X509.from_cryptography(certificate))
    lists = crl.parse(trust.lists) if trust.lists else ()
    if isinstance(lists, Unreadable):
        return Refusal(lists.reason)
    if lists:
        for one in lists:
            store.add_crl(one)
        # As libpq does: of every certificate in the chain.
        store.set_flags(crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL)
    store.set_time(now.replace(tzinfo=None))
    try:
        crypto.X509StoreContext(store, leaf, sent).verify_certificate()
    except crypto.X509StoreContextError as error:
        return Refusal(str(error), error.errors[0] == _UNABLE_TO_GET_CRL)
    return None


def out_of_date(lists: bytes, now: datetime) -> Refusal | None:
    """Return why no client uses one of some CRLs at an instant, in OpenSSL's words."""
    found = crl.parse(lists)
    if isinstance(found, Unreadable):
        return Refusal(found.reason)
    for facts_of in map(crl.of, found):
        if isinstance(facts_of, Unreadable):
            return Refusal(facts_of.reason)
        if facts_of.next_update <= now:
            return Refusal("CRL has expired")
        if facts_of.this_update > now:
            return Refusal("CRL is not yet valid")
    return None


def covers(certificate: Certificate, host: str) -> bool:
    """Return whether libpq accepts a certificate for a host name or an address.

    The common name counts if no alternative name is of that kind (fe-secure-common.c,
    ``pq_verify_peer_name_matches_certificate``).
    """
    name = host.lower().rstrip(".")
    found = {entry.partition(":")[2].lower() for entry in certificate.names}
    kind = "IP:" if is_address(name) else "DNS:"
    if not any(entry.startswith(kind) for entry in certificate.names) and (shown := common_name(certificate.subject)):
        found.add(shown.lower())
    return name in found or any(
        entry.startswith("*.") and name.partition(".")[2] == entry[2:] and name.partition(".")[0] for entry in found
    )
