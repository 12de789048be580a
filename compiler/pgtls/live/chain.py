"""Check whether clients can verify a chain: OpenSSL's own verification, at a given instant, with their ``root.crt``."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from cryptography import x509
from OpenSSL import crypto

from pgtls.pki import facts
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


def refusal(chain: Sequence[bytes], trust: bytes | None, now: datetime) -> str | None:
    """Return why a client with this ``root.crt`` (None: the system's CAs) rejects a chain, in OpenSSL's words."""
    leaf, *sent = (crypto.X509.from_cryptography(x509.load_pem_x509_certificate(pem)) for pem in chain)
    store = crypto.X509Store()
    if trust is None:
        paths = ssl.get_default_verify_paths()
        if paths.cafile or paths.capath:
            store.load_locations(paths.cafile, paths.capath)
    else:
        for certificate in x509.load_pem_x509_certificates(trust):
            store.add_cert(crypto.X509.from_cryptography(certificate))
    store.set_time(now.replace(tzinfo=None))
    try:
        crypto.X509StoreContext(store, leaf, sent).verify_certificate()
    except crypto.X509StoreContextError as error:
        return str(error)
    return None


def covers(certificate: Certificate, host: str) -> bool:
    """Return whether libpq accepts a certificate for a host name or an address."""
    name = host.lower().rstrip(".")
    found = {entry.partition(":")[2].lower() for entry in certificate.names}
    return name in found or any(
        entry.startswith("*.") and name.partition(".")[2] == entry[2:] and name.partition(".")[0] for entry in found
    )
