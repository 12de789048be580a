"""Random and damaged PEM: certificates, requests, CRLs and keys are read as facts or as a reason, without an exception.

Short by default. ``PGTLS_FUZZ_SECONDS=600`` draws more examples, about a hundred for each second.
"""

from __future__ import annotations

import base64
import os
import warnings
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgtls.certificates.external import weak_signatures
from pgtls.certificates.model import Found
from pgtls.live.chain import out_of_date
from pgtls.pki import chains, crl, csr, facts, keys, published
from pgtls.pki.model import Constraints, Revocation, Unreadable
from pgtls.pki.names import raw_common_name, unsettled
from pki.mutants import mutants
from pki.trees import NOW, authority, key, leaf, profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


# --- one element changed, at every position ---------------------------------------------------------------------------


def altered(pem: bytes) -> Iterator[bytes]:
    """Yield a file of one object with one element changed."""
    first, *lines, last = pem.splitlines(keepends=True)
    for der in mutants(base64.b64decode(b"".join(lines))):
        yield first + base64.encodebytes(der) + last


@pytest.fixture
def _quiet() -> Iterator[None]:
    """Ignore what cryptography warns of: names that are too long."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


LIMITS = Constraints(("example.com",), ("10.0.0.0/8",))


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("kind", ["server", "user", "ca below", "root"])
def test_a_certificate_with_an_element_changed_is_used_or_refused(kind: str) -> None:
    """Whatever a signer returns: a build asks nothing of a certificate that was read and cannot be decoded."""
    root = authority("mutant", constraints=LIMITS)
    above = root.issued.certificate
    good = {
        "server": leaf(root, "server", dns_names=("db.example.com",), ip_addresses=("10.0.0.5",)).pem,
        "user": leaf(root, "user", "mutant-user").pem,
        "ca below": authority("mutant-below", root, constraints=LIMITS).pem,
        "root": root.pem,
    }[kind]
    used = 0
    for pem in altered(good):
        read, parsed = facts.read(pem), facts.parse(pem)
        if isinstance(read, Unreadable) or isinstance(parsed, Unreadable):
            assert read == parsed
            continue
        used += 1
        (one,) = parsed
        assert facts.of(one) == read[0]
        chains.path(one, (above, one), above)
        chains.unsigned((one, above))
        chains.misnamed((one, above, one))
        chains.no_ca(one, anchor=True)
        chains.weak_digest(one)
        chains.signed_with(pem)
        raw_common_name(one.subject)
        unsettled(one.subject)
        published.signer(one)
        published.Scope().covers(one)
        assert all(map(str.isprintable, weak_signatures(Found(read[0], "present", pem))))
    assert used > 50


@pytest.mark.usefixtures("_quiet")
def test_a_request_with_an_element_changed_is_used_or_refused() -> None:
    found = [csr.read(pem) for pem in altered(whole()["request"])]
    assert sum(isinstance(one, csr.Request) for one in found) < len(found) > 1000


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("signed", [True, False])
def test_a_crl_with_an_element_changed_is_used_or_refused(signed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if its CA signed it so: a faulty CRL of the CA itself."""
    root = authority("mutant")
    ca = root.issued.certificate
    if signed:
        monkeypatch.setattr(published, "_signed", lambda _one, _ca: True)
    used = 0
    good = crl.make(root.issuer, 1, NOW, timedelta(days=30), [Revocation("5", NOW, "key_compromise")])
    for pem in altered(good):
        published.of_ca(pem, root.pem)
        out_of_date(pem, NOW)
        lists = crl.parse(pem)
        if isinstance(lists, Unreadable):
            continue
        assert [pem for _, pem in crl.by_issuer(pem)]
        published.elsewhere(root.pem, lists)
        if not [*published.faults(lists, [(ca, (None,))], [ca])]:
            used += 1
            found = tuple(published.published(lists, [ca]))
            assert published.remembered((), found)
            assert published.together(found, [ca], NOW)
    assert used > 0 if signed else used == 0
