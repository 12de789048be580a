"""A set of a server that comes back gets the newest CRLs of two sets: CRLs of one CA are those of one name and key."""

from __future__ import annotations

import shutil
import subprocess
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type

from pgtls.output.templates import template
from support.servers import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 3072)
PRINTABLE = _ASN1Type.PrintableString


def crl(
    name: str = "Company Root",
    key: CertificateIssuerPrivateKeyTypes = KEY,
    *,
    day: datetime = datetime(2026, 1, 1, tzinfo=UTC),
    kind: _ASN1Type = _ASN1Type.UTF8String,
    entries: int = 0,
    named: bool = True,
) -> str:
    """Sign a CRL. ``named``: it has the identifier of the key."""
    attributes = [
        x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "An organisation with a name of its own " * 2),
        x509.NameAttribute(x509.NameOID.COMMON_NAME, name, _type=kind),
    ]
    builder = x509.CertificateRevocationListBuilder(x509.Name(attributes), day, day.replace(year=day.year + 1))
    for serial in range(entries):
        entry = x509.RevokedCertificateBuilder().serial_number(10**40 + serial).revocation_date(day)
        builder = builder.add_revoked_certificate(entry.build())
    builder = builder.add_extension(x509.CRLNumber(1), critical=False)
    if named:
        key_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        builder = builder.add_extension(key_id, critical=False)
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()


NEW, OLD = crl(), crl(day=datetime(2025, 12, 31, tzinfo=UTC), entries=300)
AWKS = [
    pytest.param(words, id=" ".join(words), marks=pytest.mark.skipif(not shutil.which(words[0]), reason="unavailable"))
    for words in (("awk",), ("busybox", "awk"))
]


@pytest.fixture(params=AWKS)
def awk(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Make a directory with nothing but a program awk: openssl may be missing on a server."""
    program, *options = request.param
    path = tmp_path / "awk"
    path.write_text(f'#!/bin/sh\nexec {shutil.which(program)} {" ".join(options)} "$@"\n')
    path.chmod(0o755)
    return tmp_path


def counting(awk: Path, *sources: str, hashes: tuple[str, ...] = ("-", "-"), left_out: int = 0) -> str:
    """Return what counts of the CRLs of some sources, which may come with the hash of their issuer's name."""
    numbered = enumerate(zip(sources, hashes, strict=True), start=1)
    run = subprocess.run(
        ["/bin/sh", "-c", template("server/newest_crls.sh.j2").render() + "newest_crls"],
        input="".join(f"= {number} {known}\n{pem}" for number, (pem, known) in numbered),
        capture_output=True, text=True, check=True, env={"PATH": str(awk)}, timeout=PATIENCE,
    )  # fmt: skip
    assert run.stderr.count("a CRL is left out, because it is cut off or damaged") == left_out, run.stderr
    assert left_out or not run.stderr
    return run.stdout


def test_of_one_ca_the_newest_counts_wherever_it_is(awk: Path) -> None:
    assert counting(awk, NEW, OLD) == counting(awk, OLD, NEW) == f"= -\n{NEW}"
    assert counting(awk, NEW, crl()) == f"= -\n{NEW}"
    assert counting(awk, NEW, OLD, hashes=("-", "0123abcd")) == f"= 0123abcd\n{NEW}"


@pytest.mark.parametrize("year", [1999, 2049, 2050])
def test_the_year_has_two_digits_until_2049(awk: Path, year: int) -> None:
    other = crl(day=datetime(year, 1, 1, tzinfo=UTC))
    assert counting(awk, NEW, other) == f"= -\n{NEW if year < 2026 else other}"


@pytest.mark.parametrize("other", [crl("COMPANY root"), crl(kind=PRINTABLE)], ids=["letters", "string"])
def test_the_same_name_may_be_written_otherwise(awk: Path, other: str) -> None:
    assert counting(awk, NEW, other) == f"= -\n{NEW}"


@pytest.mark.parametrize("other", [crl(key=OTHER), crl("Company")], ids=["key", "name"])
def test_the_crl_of_another_ca_stays(awk: Path, other: str) -> None:
    assert counting(awk, NEW, OLD + other) == f"= -\n{NEW}= -\n{other}"


def test_a_crl_that_names_no_key_may_be_of_any(awk: Path) -> None:
    unnamed = crl(key=OTHER, named=False)
    assert counting(awk, NEW, unnamed) == f"= -\n{NEW}"
    assert counting(awk, unnamed, OLD) == f"= -\n{unnamed}"


def test_the_crls_of_a_ca_in_one_source_stay_together(awk: Path) -> None:
    """Each may be for a part of the certificates: those of CAs, or of one distribution point."""
    older = crl(day=datetime(2024, 1, 1, tzinfo=UTC))
    assert counting(awk, OLD, NEW + older) == f"= -\n{NEW}= -\n{older}"


def der(length: str) -> str:
    """Return a CRL whose first element begins with a length."""
    content = b64encode(bytes.fromhex("30" + length) + b"\x30\x80\x30\x84" * 9).decode()
    return f"-----BEGIN X509 CRL-----\n{content}\n-----END X509 CRL-----\n"


LINES = NEW.splitlines(keepends=True)
NOT_WHOLE = {
    "no DER": "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
    "no base64": NEW.replace(LINES[2], "?" * 64 + "\n"),
    "empty": "".join((LINES[0], LINES[-1])),
    "cut in a line": NEW[:200] + "\n",
    "cut after a line": "".join(LINES[:-1]),
    "cut, with an end": "".join((*LINES[:4], LINES[-1])),
    "a line is missing": "".join((*LINES[:2], *LINES[3:])),
    "a line is short": NEW.replace(LINES[2], LINES[2][4:]),
    "no length": der("80"),
    "a length beyond the end": der("84ffffffff"),
    "a length of many bytes": der("ff"),
}


@pytest.mark.parametrize("damaged", NOT_WHOLE.values(), ids=NOT_WHOLE)
def test_what_is_not_whole_takes_the_place_of_no_crl(awk: Path, damaged: str) -> None:
    assert counting(awk, damaged, OLD, left_out=1) == f"= -\n{OLD}"
    assert counting(awk, OLD, damaged, left_out=1) == f"= -\n{OLD}"
    assert counting(awk, damaged + OLD, damaged, left_out=2) == f"= -\n{OLD}"


def test_no_change_of_a_byte_keeps_the_reader_from_its_end(awk: Path) -> None:
    """Also where a length of an element inside says too much, or less than nothing."""
    content = bytearray(b64decode("".join(LINES[1:-1])))
    changed = []
    for at in range(len(content)):
        for value in (0, 0x30, 0x7F, 0x80, 0x84, 0xFF):
            other = bytearray(content)
            other[at] = value
            changed.append(f"-----BEGIN X509 CRL-----\n{b64encode(other).decode()}\n-----END X509 CRL-----\n")
    run = subprocess.run(
        ["/bin/sh", "-c", template("server/newest_crls.sh.j2").render() + "newest_crls"],
        input="".join(f"= {number} -\n{pem}" for number, pem in enumerate(changed[:: 7], start=1)),
        capture_output=True, text=True, check=True, env={"PATH": str(awk)}, timeout=PATIENCE,
    )  # fmt: skip
    assert "is left out" in run.stderr
    assert "BEGIN" in run.stdout


def test_lines_may_end_as_windows_ends_them(awk: Path) -> None:
    assert counting(awk, NEW.replace("\n", "\r\n"), OLD) == f"= -\n{NEW}"
