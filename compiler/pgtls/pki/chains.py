"""Chains that somebody else made: whether each certificate was signed by the next (RFC 5280, 6.1)."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509


def unsigned(chain: Sequence[x509.Certificate], *, rooted: bool = True) -> str | None:
    """Say where a chain, leaf first, is broken; None: it is whole. ``rooted``: it has to end in a certificate that signed itself."""
    for number, (one, above) in enumerate(pairwise(chain), 1):
        if not _signed_by(one, above):
            return f"certificate {number} of the file was not signed by the next one"
    if rooted and not _signed_by(chain[-1], chain[-1]):
        return "it was signed by a CA that is neither in the file nor in the spec"
    return None


def _signed_by(one: x509.Certificate, above: x509.Certificate) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            one.verify_directly_issued_by(above)
        except (ValueError, TypeError, InvalidSignature):
            return False
    return True
