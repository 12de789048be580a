"""Write distinguished names as PostgreSQL and OpenSSL do: as text, and as the hash of files in ``ssl_crl_dir``."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import NameOID

from pgtls.pki.der import BIT_STRING, BMP_STRING, SEQUENCE, SET, UTF8_STRING, elements, tlv
from pgtls.pki.expected import escape
from pgtls.pki.objects import SHORT_NAMES, UNSETTLED

if TYPE_CHECKING:
    from collections.abc import Iterator


def name_text(name: x509.Name) -> str:
    """Write a name as PostgreSQL compares it (see :func:`pgtls.pki.expected.subject_text`).

    Raise ValueError for one that OpenSSL does not read.
    """
    return ",".join("+".join(_attribute_text(a) for a in reversed(list(rdn))) for rdn in reversed(name.rdns))


def _attribute_text(attribute: x509.NameAttribute[str | bytes]) -> str:
    short, (tag, content) = SHORT_NAMES.get(attribute.oid.dotted_string), _encoded(attribute)
    text = _text(tag, content)
    if short and text is not None:
        return f"{short}={escape(text)}"
    return f"{short or attribute.oid.dotted_string}=#{tlv(tag, content).hex().upper()}"


def _encoded(attribute: x509.NameAttribute[str | bytes]) -> tuple[int, bytes]:
    """Return the tag and the content of a value: cryptography decodes some types in another way than OpenSSL."""
    ((_, tag, content),) = next(_attributes(x509.Name([attribute])))
    return tag, content


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
    text = _text(tag, content) if tag != _NUMERIC_STRING else None  # asn1_string_canon leaves that as it is
    if text is not None:
        words = text.encode().translate(_SMALL).split()  # bytes.split: only the blanks of ASCII
        tag, content = UTF8_STRING, b" ".join(words)
    return tlv(SEQUENCE, oid + tlv(tag, content))


_NUMERIC_STRING = 0x12
_STRINGS = {
    UTF8_STRING: ("UTF8String", "utf-8"),
    _NUMERIC_STRING: ("NumericString", "latin-1"),
    0x13: ("PrintableString", "latin-1"),
    0x14: ("T61String", "latin-1"),
    0x16: ("IA5String", "latin-1"),
    0x1C: ("UniversalString", "utf-32-be"),
    BMP_STRING: ("BMPString", "utf-16-be"),
}
"""The types of text in a name and their encoding, as OpenSSL reads them (a_strnid.c, ``tag2nbyte``)."""


def _text(tag: int, content: bytes) -> str | None:
    """Return a value as OpenSSL reads it. None: a bit string, which it does not read as text.

    Raise ValueError for what it takes in no name (``B_ASN1_PRINTABLE``).
    """
    if tag == BIT_STRING and content[:1] == b"\0":  # the number of unused bits
        return None
    if tag not in _STRINGS:
        raise ValueError(f"a name has no value of type {tag}")
    text = content.decode(_STRINGS[tag][1])
    if tag == BMP_STRING and len(text) * 2 != len(content):
        raise ValueError("a BMPString has no surrogates")
    return text


def raw_common_name(name: x509.Name) -> str | None:
    """Return the type of a common name whose bytes are not its text in UTF-8; None if they are.

    PostgreSQL compares the bytes with the role (``X509_NAME_get_text_by_NID`` in be-secure-openssl.c): those of another
    type may be another name.
    """
    for attribute in name.get_attributes_for_oid(NameOID.COMMON_NAME):
        tag, content = _encoded(attribute)
        text = _text(tag, content)
        if text is not None and text.encode() != content:
            return _STRINGS[tag][0]
    return None


def unsettled(name: x509.Name) -> tuple[str, ...]:
    """Return the attributes of a name that PostgreSQL writes otherwise with another release of OpenSSL."""
    return tuple(one.oid.dotted_string for one in name if one.oid.dotted_string in UNSETTLED)


_SMALL = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"abcdefghijklmnopqrstuvwxyz")


def _attributes(name: x509.Name) -> Iterator[list[tuple[bytes, int, bytes]]]:
    """Yield each step of a name: the encoded type, and the tag and content of the value of its attributes."""
    ((_, steps),) = elements(name.public_bytes())
    for _, step in elements(steps):
        pairs = [list(elements(attribute)) for _, attribute in elements(step)]
        yield [(tlv(*oid), *value) for oid, value in pairs]
