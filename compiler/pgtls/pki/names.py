"""Write distinguished names as PostgreSQL and OpenSSL do: as text, and as the hash of files in ``ssl_crl_dir``."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import NameOID

from pgtls.pki.der import SEQUENCE, SET, UTF8_STRING, elements, tlv
from pgtls.pki.expected import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORT_NAMES = {
    NameOID.COMMON_NAME: "CN",
    NameOID.COUNTRY_NAME: "C",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.LOCALITY_NAME: "L",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.DOMAIN_COMPONENT: "DC",
    NameOID.USER_ID: "UID",
    NameOID.STREET_ADDRESS: "street",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.SURNAME: "SN",
    NameOID.GIVEN_NAME: "GN",
    NameOID.INITIALS: "initials",
    NameOID.TITLE: "title",
    NameOID.PSEUDONYM: "pseudonym",
    NameOID.GENERATION_QUALIFIER: "generationQualifier",
    NameOID.DN_QUALIFIER: "dnQualifier",
    NameOID.POSTAL_CODE: "postalCode",
    NameOID.BUSINESS_CATEGORY: "businessCategory",
    NameOID.ORGANIZATION_IDENTIFIER: "organizationIdentifier",
}
"""OpenSSL's short names of attributes, which PostgreSQL prints."""


def name_text(name: x509.Name) -> str:
    """Write a name as PostgreSQL compares it (see :func:`pgtls.pki.expected.subject_text`)."""
    return ",".join("+".join(_attribute_text(a) for a in reversed(list(rdn))) for rdn in reversed(name.rdns))


def _attribute_text(attribute: x509.NameAttribute[str | bytes]) -> str:
    short, value = SHORT_NAMES.get(attribute.oid), attribute.value
    if short and isinstance(value, str):
        return f"{short}={escape(value)}"
    ((_, tag, content),) = next(_attributes(x509.Name([attribute])))
    return f"{short or attribute.oid.dotted_string}=#{tlv(tag, content).hex().upper()}"


def hashed_name(name: x509.Name) -> str:
    """Name a CA in ``ssl_crl_dir``: OpenSSL's ``X509_NAME_hash``, 8 hex digits, to which ``.r0``, ``.r1`` is appended.

    It is the SHA-1 of the name in canonical form; the first four bytes, as a little-endian number.
    """
    digest = hashlib.sha1(canonical(name), usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}"


def canonical(name: x509.Name) -> bytes:
    """Write a name as OpenSSL compares it (``x509_name_canon``).

    Every string is in UTF-8 with lower-case ASCII letters, no blanks at the ends and single blanks elsewhere; the outer
    sequence is left out.
    """
    steps = (b"".join(sorted(_canonical(*attribute) for attribute in step)) for step in _attributes(name))
    return b"".join(tlv(SET, step) for step in steps)


def _canonical(oid: bytes, tag: int, content: bytes) -> bytes:
    encoding = _STRINGS.get(tag)
    if encoding is not None:
        words = content.decode(encoding).encode().translate(_SMALL).split()  # bytes.split: only the blanks of ASCII
        tag, content = UTF8_STRING, b" ".join(words)
    return tlv(SEQUENCE, oid + tlv(tag, content))


_STRINGS = {
    UTF8_STRING: "utf-8",
    0x13: "ascii",
    0x14: "latin-1",
    0x16: "ascii",
    0x1A: "ascii",
    0x1C: "utf-32-be",
    0x1E: "utf-16-be",
}
"""UTF8String, PrintableString, T61String, IA5String, VisibleString, UniversalString, BMPString."""
_TYPES = {0x14: "T61String", 0x1C: "UniversalString", 0x1E: "BMPString"}
"""Types whose bytes are not those of the text in UTF-8."""


def raw_common_name(name: x509.Name) -> str | None:
    """Return the type of a common name whose bytes are not its text in UTF-8; None if they are.

    PostgreSQL compares the bytes with the role (``X509_NAME_get_text_by_NID`` in be-secure-openssl.c): those of another
    type may be another name.
    """
    for attribute in name.get_attributes_for_oid(NameOID.COMMON_NAME):
        ((_, tag, content),) = next(_attributes(x509.Name([attribute])))
        if tag in _TYPES and content.decode(_STRINGS[tag]).encode() != content:
            return _TYPES[tag]
    return None


_SMALL = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"abcdefghijklmnopqrstuvwxyz")


def _attributes(name: x509.Name) -> Iterator[list[tuple[bytes, int, bytes]]]:
    """Yield each step of a name: the encoded type, and the tag and content of the value of its attributes."""
    ((_, steps),) = elements(name.public_bytes())
    for _, step in elements(steps):
        pairs = [list(elements(attribute)) for _, attribute in elements(step)]
        yield [(tlv(*oid), *value) for oid, value in pairs]
