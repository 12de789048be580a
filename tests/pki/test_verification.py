"""What other software makes of the certificates. Each acceptance has the refusals that show its conditions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgtls.pki.model import CertificateKind, Constraints
from pki.trees import (
    ALGORITHMS,
    DAY,
    NOW,
    PURPOSES,
    Authority,
    authority,
    gnutls_refusal,
    leaf,
    needs_certtool,
    presented,
    refusal,
    split,
    trust,
)
from support.system import new_directory

if TYPE_CHECKING:
    from pathlib import Path

    from pgtls.pki.model import KeyAlgorithm

KINDS: tuple[CertificateKind, ...] = ("server", "user")
OTHER = {"server": "user", "user": "server"}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("kind", KINDS)
def test_openssl_accepts_a_certificate_for_its_purpose_under_its_root_in_its_time(
    kind: CertificateKind, algorithm: KeyAlgorithm, tmp_path: Path
) -> None:
    root = authority("root", key_algorithm=algorithm)
    middle = authority("middle", root, key_algorithm=algorithm, path_length=0)
    chain = presented(leaf(middle, kind, key_algorithm=algorithm), middle)
    purpose, other = PURPOSES[kind], PURPOSES[OTHER[kind]]
    assert refusal(tmp_path, chain, root.pem, purpose) is None
    assert refusal(tmp_path, chain, authority("stranger").pem, purpose) == "unable to get local issuer certificate"
    assert refusal(tmp_path, chain, root.pem, other) == "unsuitable certificate purpose"
    assert refusal(tmp_path, chain, root.pem, purpose, at=NOW + 91 * DAY) == "certificate has expired"
    assert refusal(tmp_path, chain, root.pem, purpose, at=NOW - DAY) == "certificate is not yet valid"
    only_leaf = split(chain)[0]
    assert refusal(tmp_path, only_leaf, root.pem, purpose) == "unable to get local issuer certificate"


@pytest.mark.parametrize("kind", KINDS)
def test_a_clock_that_is_four_minutes_slow_does_no_harm_and_six_do(kind: CertificateKind, tmp_path: Path) -> None:
    root = authority()
    pem = leaf(root, kind).pem
    minute = DAY / 1440
    assert refusal(tmp_path, pem, root.pem, PURPOSES[kind], at=NOW - 4 * minute) is None
    assert refusal(tmp_path, pem, root.pem, PURPOSES[kind], at=NOW - 6 * minute) == "certificate is not yet valid"


def test_openssl_accepts_a_self_signed_server_as_its_own_root_and_no_other(tmp_path: Path) -> None:
    server = leaf(None, "server")
    assert refusal(tmp_path, server.pem, server.pem, "sslserver") is None
    twin = leaf(None, "server", "twin", subject=(("common_name", "server"),))
    assert refusal(tmp_path, server.pem, twin.pem, "sslserver") is not None


def test_a_root_of_the_same_name_with_another_key_is_not_the_root(tmp_path: Path) -> None:
    root = authority("root")
    twin = authority("twin", subject=(("common_name", "root"),))
    assert root.issuer.name == twin.issuer.name
    pem = leaf(root).pem
    assert refusal(tmp_path, pem, root.pem, "sslclient") is None
    assert refusal(tmp_path, pem, twin.pem, "sslclient") == "unable to get local issuer certificate"
    assert refusal(tmp_path, pem, trust(twin, root), "sslclient") is None


def test_a_renewed_root_with_the_same_key_and_name_verifies_what_the_old_one_signed(tmp_path: Path) -> None:
    old, renewed = authority("root"), authority("root", now=NOW + 100 * DAY)
    assert old.pem != renewed.pem
    assert (
        refusal(tmp_path, leaf(old).pem, renewed.pem, "sslclient", at=NOW + 80 * DAY) == "certificate is not yet valid"
    )
    new = leaf(renewed, now=NOW + 100 * DAY).pem
    assert refusal(tmp_path, new, old.pem, "sslclient", at=NOW + 110 * DAY) is None


def test_a_ca_below_a_path_length_of_zero_is_refused(tmp_path: Path) -> None:
    root = authority("root", path_length=1)
    middle = authority("middle", root, path_length=0)
    assert refusal(tmp_path, presented(leaf(middle), middle), root.pem, "sslclient") is None
    deep = authority("deep", middle)
    assert refusal(tmp_path, presented(leaf(deep), deep), root.pem, "sslclient") == "path length constraint exceeded"


@pytest.mark.parametrize(
    ("names", "accepted"),
    [
        ({"dns_names": ("db.example.com",), "ip_addresses": ("10.0.0.5",)}, True),
        ({"dns_names": ("example.com",)}, True),
        ({"dns_names": ("db.example.org",)}, False),
        ({"dns_names": ("db.bad.example.com",)}, False),
        ({"dns_names": ("db.example.com",), "ip_addresses": ("10.9.0.5",)}, False),
        ({"dns_names": ("db.example.com",), "ip_addresses": ("192.0.2.1",)}, False),
    ],
)
def test_name_constraints_hold(names: dict[str, tuple[str, ...]], accepted: bool, tmp_path: Path) -> None:
    limits = Constraints(("example.com",), ("10.0.0.0/8",), ("bad.example.com",), ("10.9.0.0/16",))
    root = authority("constrained", constraints=limits)
    reason = refusal(tmp_path, leaf(root, "server", "x", **names).pem, root.pem, "sslserver")  # type: ignore[arg-type]
    assert reason in ({None} if accepted else {"permitted subtree violation", "excluded subtree violation"})


def test_a_dotted_common_name_under_dns_constraints_needs_a_name_that_they_permit(tmp_path: Path) -> None:
    root = authority("constrained", constraints=Constraints(permitted_dns=("example.com",)))
    assert refusal(tmp_path, leaf(root, name="alice").pem, root.pem, "sslclient") is None
    assert refusal(tmp_path, leaf(root, name="alice.smith").pem, root.pem, "sslclient") == "permitted subtree violation"
    helped = leaf(root, name="alice.smith", dns_names=("alice.smith.example.com",))
    assert refusal(tmp_path, helped.pem, root.pem, "sslclient") is None


@needs_certtool
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("kind", KINDS)
def test_gnutls_accepts_a_certificate_for_its_purpose_under_its_root(
    kind: CertificateKind, algorithm: KeyAlgorithm, tmp_path: Path
) -> None:
    now = datetime.now(UTC)  # certtool asks the clock of the machine
    root = authority("root", key_algorithm=algorithm, now=now)
    middle = authority("middle", root, key_algorithm=algorithm, path_length=0, now=now)
    chain = presented(leaf(middle, kind, key_algorithm=algorithm, now=now), middle)
    assert gnutls_refusal(tmp_path, chain, root.pem, kind) is None
    assert gnutls_refusal(tmp_path, chain, authority("stranger", now=now).pem, kind) is not None
    assert gnutls_refusal(tmp_path, chain, root.pem, OTHER[kind]) is not None
    expired = presented(leaf(middle, kind, key_algorithm=algorithm, now=now - 100 * DAY), middle)
    assert "expired" in (gnutls_refusal(tmp_path, expired, root.pem, kind) or "")


# --- any tree of CAs --------------------------------------------------------------------------------------------------


@st.composite
def forests(draw: st.DrawFn) -> list[Authority]:
    """Draw CAs, each a root or below one drawn before; names may repeat, as they do in the wild."""
    cas: list[Authority] = []
    for number in range(draw(st.integers(1, 6))):
        by = draw(st.sampled_from([None, *cas]))
        subject = (("common_name", draw(st.sampled_from(["Root", "Issuing", "Ελ, Ω"]))),)
        cas.append(authority(f"ca{number}", by, subject=subject))
    return cas


@settings(max_examples=40)
@given(forests(), st.sampled_from(KINDS), st.data())
def test_a_chain_verifies_to_the_root_above_it_and_to_no_other(
    cas: list[Authority], kind: CertificateKind, data: st.DataObject
) -> None:
    by = data.draw(st.sampled_from(cas))
    chain = presented(leaf(by, kind), by)
    roots = [ca for ca in cas if not ca.above]
    directory = new_directory("forest")
    assert len(split(chain)) == 1 + len(by.above)
    assert by.root.pem not in chain
    accepted = [root for root in roots if refusal(directory, chain, root.pem, PURPOSES[kind]) is None]
    assert accepted == [by.root]
    others = trust(*(root for root in roots if root is not by.root))
    if others:
        assert refusal(directory, chain, others, PURPOSES[kind]) is not None
        assert refusal(directory, chain, others + by.root.pem, PURPOSES[kind]) is None
