"""Random and damaged PEM: certificates, requests, CRLs and keys are read as facts or as a reason, without an exception.

Short by default. ``PGTLS_FUZZ_SECONDS=600`` draws more examples, about a hundred for each second.
"""

from __future__ import annotations

import os
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgtls.pki import crl, csr, facts, keys
from pgtls.pki.model import Unreadable
from pki.trees import NOW, authority, key, leaf, profile

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = max(100, 100 * int(os.environ.get("PGTLS_FUZZ_SECONDS", "0")))


@cache
def whole() -> dict[str, bytes]:
    """Return a good file of each kind."""
    root = authority("fuzz")
    user = leaf(root, "user", "fuzz-user")
    return {
        "certificate": user.pem,
        "request": csr.make(profile("server", "fuzz-server"), key("fuzz", "ecdsa-p256")),
        "key": keys.to_pem(key("fuzz", "ecdsa-p256")),
        "crl": crl.make(root.issuer, 1, NOW, timedelta(days=30), ()),
    }


READERS: dict[str, Callable[[bytes], object]] = {
    "certificate": facts.read,
    "request": csr.read,
    "crl": crl.parse,
    "key": keys.load,
}


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return a good file in which something was changed, cut out or put in; or anything at all."""
    pem = draw(st.sampled_from([*whole().values(), b""]))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(pem)))
        size = draw(st.integers(0, 40))
        pem = pem[:at] + draw(st.binary(max_size=8)) + pem[at + size :]
    return pem


@pytest.mark.parametrize("kind", READERS)
def test_a_damaged_file_is_a_reason(kind: str) -> None:
    @settings(max_examples=EXAMPLES)
    @given(damaged())
    def read(content: bytes) -> None:
        found = READERS[kind](content)
        if isinstance(found, Unreadable):
            assert found.reason

    read()


def test_a_whole_file_is_read() -> None:
    files = whole()
    assert not isinstance(facts.read(files["certificate"]), Unreadable)
    assert not isinstance(csr.read(files["request"]), Unreadable)
    assert not isinstance(crl.parse(files["crl"]), Unreadable)
    assert not isinstance(keys.load(files["key"]), Unreadable)
