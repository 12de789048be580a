"""Write certification requests (PKCS#10, RFC 2986) for other CAs to sign, and read requests to sign them here.

A request only proposes its content. pgtls takes the public key from it; names and usages come from the spec.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pgtls.pki import damage, keys, profiles
from pgtls.pki.expected import wanted_facts
from pgtls.pki.facts import general_name
from pgtls.pki.issue import digest_for
from pgtls.pki.model import Unreadable
from pgtls.pki.names import name_text

if TYPE_CHECKING:
    from pgtls.pki.model import Profile


@dataclass(frozen=True, slots=True)
class Request:
    """The facts of a validly signed request; ``subject`` and ``names`` as in :class:`pgtls.pki.model.Certificate`.

    ``pem`` is the request alone, without the text around it.
    """

    public_key: keys.PublicKey
    subject: str
    names: tuple[str, ...]
    pem: bytes


def make(profile: Profile, key: keys.PrivateKey) -> bytes:
    """Return a request for a certificate of this profile, with all its extensions, as PEM."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(profiles.name(profile.subject))
    complete = profiles.PROFILES[profile.kind](cast("x509.CertificateBuilder", builder), profile)
    request = cast("x509.CertificateSigningRequestBuilder", complete).sign(key, digest_for(key))
    return request.public_bytes(Encoding.PEM)


def read(pem: bytes) -> Request | Unreadable:
    """Read a request; reject a wrong signature, which does not prove possession of the key (RFC 2986, 3)."""
    if fault := damage.of_file(pem, damage.REQUEST):
        return Unreadable(fault)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _facts(x509.load_pem_x509_csr(pem))
        except Exception as error:  # noqa: BLE001  (its exceptions share no class, and all of them are about these bytes)
            return Unreadable(damage.of_block(pem, damage.REQUEST, error))


def _facts(request: x509.CertificateSigningRequest) -> Request | Unreadable:
    public_key = request.public_key()
    if fault := keys.slow(public_key):
        return Unreadable(fault)
    if not request.is_signature_valid:
        return Unreadable("its signature is not that of its key")
    if not isinstance(public_key, keys.PublicKey):
        return Unreadable("its key cannot be used for TLS")
    if keys.PSS_OID in request.tbs_certrequest_bytes:
        return Unreadable("its key is an RSA-PSS key (id-RSASSA-PSS), and pgtls signs plain RSA keys only")
    if fault := keys.unfit(keys.algorithm_of(public_key)):
        return Unreadable(fault)
    names = [
        general_name(general)
        for extension in request.extensions
        if isinstance(extension.value, x509.SubjectAlternativeName)
        for general in extension.value
    ]
    pem = request.public_bytes(Encoding.PEM)
    return Request(public_key, name_text(request.subject), tuple(sorted(set(names))), pem)


def asks_for(request: Request, profile: Profile) -> bool:
    """Return whether a request asks for the names of this profile."""
    subject, names, _ = wanted_facts(profile)
    return (request.subject, request.names) == (subject, names)
