"""Names as text and as a hash: openssl is the judge, and the server itself for ``clientname=DN``."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pgtls.pki import names
from pgtls.pki.der import SET, sequence, tlv
from pgtls.pki.expected import escape, subject_text
from pgtls.pki.objects import SHORT_NAMES, UNSETTLED
from pgtls.pki.profiles import name
from pki.trees import NOW, key, openssl
from support.authority import SUBJECT, Authority
from support.openssl import installed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.openssl import OpenSSL

Attributes = tuple[tuple[str, str], ...]

# Control characters are errors in a spec, but certificates from elsewhere may hold them;
# only NUL cannot be in OpenSSL's text.
values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=16)
tricky = st.text(' #,+"\\<>;=/aé\t\x7f', min_size=1, max_size=6)
strings = st.one_of(values, tricky).filter(lambda text: len(text.encode()) <= 64)
spec_names = st.lists(
    st.tuples(st.sampled_from(["state", "locality", "organization", "organizational_unit", "common_name"]), strings),
    min_size=1,
    max_size=4,
).map(tuple)


def certificate(subject: x509.Name) -> x509.Certificate:
    own = key("names", "ecdsa-p256")
    builder = x509.CertificateBuilder(subject, subject, own.public_key(), 1)
    return builder.not_valid_before(NOW).not_valid_after(NOW).sign(own, hashes.SHA256())


def judged(subject: x509.Name) -> tuple[str, str]:
    """Ask openssl for a subject's text (RFC 2253, as PostgreSQL has it) and hash."""
    pem = certificate(subject).public_bytes(Encoding.PEM)
    text = openssl("x509", "-noout", "-subject", "-subject_hash", "-nameopt", "RFC2253", stdin=pem)
    subject_line, digest = text.removesuffix("\n").rsplit("\n", 1)
    return subject_line.removeprefix("subject="), digest


def told(subject: x509.Name) -> tuple[str, str]:
    """Return our own text for the name as pgtls reads it."""
    read = certificate(subject).subject
    return names.name_text(read), names.hashed_name(read)


@settings(max_examples=100)
@given(spec_names)
@example((("common_name", "#"),))
@example((("common_name", " "),))
@example((("common_name", "# "),))
@example((("organization", "A,  B "), ("common_name", "Ελένη")))
def test_a_name_of_the_spec_reads_and_hashes_as_openssl_has_it(attributes: Attributes) -> None:
    subject = name(attributes)
    assert told(subject) == (text_and_hash := judged(subject))
    assert subject_text(attributes) == text_and_hash[0]


def test_a_name_is_written_most_specific_first_and_escaped() -> None:
    text = subject_text((("country", "GR"), ("organization", "A, B"), ("email", "a@b.example"), ("common_name", "Ο")))
    assert text == r"CN=\CE\9F,emailAddress=a@b.example,O=A\, B,C=GR"


@cache
def known(library: OpenSSL) -> dict[str, str]:
    """Return the short name of each object identifier that an OpenSSL knows."""
    found: dict[str, str] = library.ask(objects=["3000"])["objects"]["3000"]
    return found


LIBRARIES = pytest.mark.parametrize("library", installed(), ids=lambda found: f"OpenSSL {found.version}")


@LIBRARIES
def test_every_attribute_that_an_openssl_knows_has_its_word_or_is_unsettled(library: OpenSSL) -> None:
    table = known(library)
    assert {oid: SHORT_NAMES.get(oid) for oid in table.keys() - UNSETTLED} == {
        oid: table[oid] for oid in table.keys() - UNSETTLED
    }
    assert SHORT_NAMES.keys() <= table.keys()
    assert SHORT_NAMES.keys().isdisjoint(UNSETTLED)


def test_what_is_unsettled_is_written_in_two_ways_by_what_there_is() -> None:
    written = {oid: {known(library).get(oid) for library in installed()} for oid in UNSETTLED}
    assert {oid for oid, words in written.items() if len(words) < 2} == set()


@LIBRARIES
def test_a_subject_of_any_attribute_is_written_as_postgresql_does_with_each_openssl(library: OpenSSL) -> None:
    """By the call of be-secure-openssl.c, whatever type the value has: what an OpenSSL does not read is refused."""
    numbers = [*SHORT_NAMES, "1.2.3.4.5", "1.3.6.1.4.1.99999.1"]
    subjects: list[x509.Name | None] = [x509.Name([attribute(oid, "GR")]) for oid in numbers]
    some = ("2.5.4.3", "2.5.4.13", "2.5.4.45", "1.2.3.4.5")
    subjects += (retyped(oid, tag, content) for oid in some for tag in TYPES for content in CONTENTS)
    found = {subject.public_bytes().hex(): text_or_none(subject) for subject in subjects if subject is not None}
    texts = {der: text for der, text in found.items() if text is not None}
    assert len(numbers) + 40 < len(texts) < len(found)
    assert library.ask(name=[*texts])["name"] == texts


TYPES = (*range(0x01, 0x07), *range(0x0C, 0x1F))
"""The simple universal types of ASN.1."""
CONTENTS = (
    b"a value, 16 bytes",
    b"\0bits",
    b"260101000000Z",
    "αé".encode(),
    "αé".encode("utf-16-be"),
    "😀é".encode("utf-16-be"),
)


def text_or_none(subject: x509.Name) -> str | None:
    try:
        return names.name_text(subject)
    except ValueError:
        return None


ISSUER = Authority.root("names")


def retyped(oid: str, tag: int, content: bytes) -> x509.Name | None:
    """Return the subject of a certificate whose value has a type and content; None if it cannot be read."""
    (((number, _, _),),) = names._attributes(x509.Name([attribute(oid, "GR")]))
    step = tlv(SET, sequence(number, tlv(tag, content)))
    pem = ISSUER.with_field(ISSUER.certificate, SUBJECT, sequence(step))
    try:
        return x509.load_pem_x509_certificate(pem).subject
    except (KeyError, TypeError, ValueError):  # KeyError: of cryptography 49
        return None


def attribute(
    oid: str | x509.ObjectIdentifier, value: str, kind: _ASN1Type = _ASN1Type.UTF8String
) -> x509.NameAttribute[str]:
    return x509.NameAttribute(x509.ObjectIdentifier(oid) if isinstance(oid, str) else oid, value, kind)


ONE_BYTE = (_ASN1Type.T61String, _ASN1Type.IA5String, _ASN1Type.NumericString)
"""Types of one byte for each character, in which cryptography reads and writes UTF-8, and OpenSSL reads Latin-1."""


@pytest.mark.parametrize(
    "steps",
    [
        [[attribute(NameOID.COMMON_NAME, "Ελένη  X", kind)] for kind in ONE_BYTE],
        [[attribute("1.2.3.4.5", "unknown, but there")]],
        [[attribute("1.2.3.4.5", "long" * 64)], [attribute(NameOID.COMMON_NAME, "x")]],
        [
            [
                attribute(NameOID.ORGANIZATION_NAME, "b"),
                attribute(NameOID.COMMON_NAME, "x"),
                attribute(NameOID.COUNTRY_NAME, "GR"),
            ]
        ],
        [[attribute(NameOID.COMMON_NAME, "Printable  ONE ", _ASN1Type.PrintableString)]],
        [[attribute(NameOID.COMMON_NAME, "Ελένη X", _ASN1Type.BMPString)]],
        [[attribute(NameOID.COMMON_NAME, "Ελένη 😀", _ASN1Type.UniversalString)]],
        [
            [attribute(NameOID.DOMAIN_COMPONENT, "Example", _ASN1Type.IA5String)],
            [attribute(NameOID.DOMAIN_COMPONENT, "org")],
        ],
        [],
    ],
    ids=[
        "UTF-8 in types of one byte",
        "unknown attribute",
        "long",
        "several in one step",
        "printable",
        "BMP",
        "universal",
        "domain components",
        "empty",
    ],
)
def test_names_of_others_read_and_hash_as_openssl_has_them(steps: Sequence[Sequence[x509.NameAttribute[str]]]) -> None:
    subject = x509.Name([x509.RelativeDistinguishedName(step) for step in steps])
    assert told(subject) == judged(subject)


@given(strings)
def test_an_escaped_value_is_printable_ascii(text: str) -> None:
    assert escape(text).isascii()
    assert escape(text).isprintable()


@pytest.mark.parametrize(
    ("text", "kind", "raw"),
    [
        ("apps", _ASN1Type.UTF8String, None),
        ("åpps", _ASN1Type.UTF8String, None),
        ("apps", _ASN1Type.PrintableString, None),
        ("apps", _ASN1Type.T61String, None),
        ("åpps", _ASN1Type.T61String, "T61String"),
        ("慰灳", _ASN1Type.BMPString, "BMPString"),
        ("apps", _ASN1Type.BMPString, "BMPString"),
        ("åpps", _ASN1Type.IA5String, "IA5String"),
        ("åpps", _ASN1Type.NumericString, "NumericString"),
        ("apps", _ASN1Type.UniversalString, "UniversalString"),
    ],
)
def test_a_common_name_whose_bytes_are_another_text_is_named_by_its_type(
    text: str, kind: _ASN1Type, raw: str | None
) -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text, _type=kind)])
    assert names.raw_common_name(name) == raw
