"""Explain why a file is damaged, in pgtls's own words: libraries quote their input or link to their pages."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

CERTIFICATE = ("a certificate", (b"CERTIFICATE", b"X509 CERTIFICATE"))
REQUEST = ("a certificate request", (b"CERTIFICATE REQUEST", b"NEW CERTIFICATE REQUEST"))
CRL = ("a CRL", (b"X509 CRL",))
"""The expected content of a file, and its labels in PEM (RFC 7468; older tools write the longer ones)."""

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----(.*?)(?=-----BEGIN |\Z)", re.DOTALL)


def of_file(content: bytes, wanted: tuple[str, tuple[bytes, ...]]) -> str | None:
    """Return why a file lacks the wanted blocks, or a part of them; None if it has them, valid or not."""
    what, labels = wanted
    if not content.strip():
        return "it is empty"
    found = _BLOCK.findall(content)
    if not found:
        return "it is DER, not PEM" if content[:1] == b"\x30" else "it is not PEM"
    whole = [b"-----END %b-----" % label in block for label, block in found if label in labels]
    if not whole:
        return f'there is not {what} in it, but "{found[0][0].decode()}"'
    return None if all(whole) else "it is cut off: a BEGIN line has no END line"


def of_block(content: bytes, wanted: tuple[str, tuple[bytes, ...]], error: Exception) -> str:
    """Return what is wrong with the first damaged block of a file, or else the meaning of ``error``."""
    what, labels = wanted
    bodies = (block.partition(b"-----END ")[0] for label, block in _BLOCK.findall(content) if label in labels)
    fault = next(filter(None, map(_of_body, bodies)), None)
    return fault or _WORDS.get(type(error), f"what stands in it is not {what}")


def _of_body(body: bytes) -> str | None:
    try:
        der = b64decode(b"".join(body.split()), validate=True)
    except binascii.Error:
        return "what stands between its BEGIN and END lines is not base64"
    more = der[1] & 0x7F if len(der) > 1 and der[1] >= 0x80 else 0
    size = 2 + more + (int.from_bytes(der[2 : 2 + more], "big") if more else der[1] if len(der) > 1 else 0)
    return "it is cut off: its DER is shorter than it says" if len(der) < size else None  # X.690, 8.1.3


def of_field(error: Exception) -> str:
    """Return which field of a well-formed object cannot be understood."""
    return _WORDS.get(type(error), "a field is not as RFC 5280 has it")


_WORDS: dict[type[Exception], str] = {
    x509.DuplicateExtension: "an extension comes twice",
    x509.InvalidVersion: "its version does not exist",
    UnsupportedAlgorithm: "its key is of a kind that is not known here",
}
