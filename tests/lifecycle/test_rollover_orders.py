"""Every way from one arrangement of CAs to another.

A plan tells in which order it is deployed so that nobody is cut off, and refuses it exactly where there is none.

The files judge: whether each chain of each arrangement ends in a root that the other side holds, signatures and all.
(What somebody leaves behind at another CA is revoked once it is known to be unused: only a missing list matters.)
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Literal

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from lifecycle.fleets import DAY, ROLES, spec
from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from support.building import NOW, Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ACCEPTED = Asked(accept_outage=True, allow_revoke=True)

CAS = (
    '[ca.root]\n[ca.root-2027]\n[ca.mid]\nissuer = "{mid}"\n[ca.people]\n[ca.people-2027]\n[ca.inner]\n'
    'issuer = "{inner}"\n'
)


@dataclass(frozen=True, slots=True)
class Arrangement:
    """An arrangement of issuers and trust; ``mid`` and ``inner`` are under the roots that it names."""

    ca: str = "root"
    trust: tuple[str, ...] = ()
    mid: str = "root"
    client_ca: tuple[str, ...] = ("people",)
    users: tuple[str, str] = ("people", "people")
    inner: str = "people"

    @property
    def spec(self) -> str:
        server = f'ca = "{self.ca}"\ntrust = [{quoted(self.trust)}]\nclient_ca = [{quoted(self.client_ca)}]\n'
        alice, bob = (f'ca = "{ca}"\n' for ca in self.users)
        return spec(17, cas=CAS.format(mid=self.mid, inner=self.inner), server=server, alice=alice, bob=bob)


def quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


ROOTS, PEOPLE = ("root", "root-2027"), ("people", "people-2027")
TRUSTS = ((), ("root",), ("root-2027",), ROOTS)
SERVERS = [
    *(Arrangement(ca=ca, trust=trust) for ca, trust in product(ROOTS, TRUSTS) if ca not in trust),
    *(Arrangement(ca="mid", mid=root, trust=trust) for root, trust in product(ROOTS, TRUSTS)),
]
CLIENTS = [
    *(
        Arrangement(client_ca=cas, users=(alice, bob))
        for cas in (PEOPLE[:1], PEOPLE[1:], PEOPLE)
        for alice, bob in product(PEOPLE, PEOPLE)
        if {alice, bob} <= set(cas)
    ),
    *(Arrangement(client_ca=("inner",), users=("inner", "inner"), inner=root) for root in PEOPLE),
    *(
        Arrangement(client_ca=("inner", other), users=("inner", other), inner=root)
        for root, other in product(PEOPLE, PEOPLE)
    ),
]
BOTH = [
    Arrangement(ca=ca, trust=trust, client_ca=cas, users=(user, user))
    for ca, trust, cas, user in product(ROOTS, TRUSTS, (PEOPLE[:1], PEOPLE[1:], PEOPLE), PEOPLE)
    if ca not in trust and user in cas
]


@dataclass(frozen=True, slots=True)
class Files:
    """What is deployed of one arrangement: what each side shows, and what it trusts."""

    server: tuple[bytes, bytes]
    clients: tuple[tuple[bytes, bytes], ...]
    lists: bytes
    """The CRLs of the server."""

    @classmethod
    def of(cls, place: Place) -> Files:
        def read(directory: str, certificate: str) -> tuple[bytes, bytes]:
            return place.file(f"{directory}/{certificate}").read_bytes(), place.file(
                f"{directory}/root.crt"
            ).read_bytes()

        clients = tuple(read(f"clients/{user}", "postgresql.crt") for user in ROLES)
        return cls(read("servers/db", "server.crt"), clients, place.file("servers/db/root.crl").read_bytes())


def holds(shown: bytes, trusted: bytes) -> bool:
    """Return whether a chain ends in a root that is trusted."""
    return bool(path_of(shown, trusted))


def path_of(shown: bytes, trusted: bytes) -> list[x509.Certificate]:
    """Return the certificates from a leaf to a trusted root, or nothing.

    OpenSSL prefers an intermediate from the file of roots to the one that was sent, if both have the same key
    (``X509_V_FLAG_TRUSTED_FIRST``).
    """
    leaf, *above = x509.load_pem_x509_certificates(shown)
    known, path = x509.load_pem_x509_certificates(trusted), [leaf]
    while path[-1].issuer != path[-1].subject:
        signers = [ca for ca in (*known, *above) if signed(path[-1], ca)]
        if not signers:
            return []
        path.append(signers[0])
    return path if path[-1] in known else []


def signed(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError):
        return False
    return True


Order = Literal["any", "server", "bundle", "neither"]
"""Which of a server and a bundle has to be deployed first."""


def orders(before: Files, after: Files) -> dict[str, Order]:
    """Return the order for each user: whoever goes first must understand the other side as it was."""
    found: dict[str, Order] = {}
    for user, old, new in zip(ROLES, before.clients, after.clients, strict=True):
        server_first, bundle_first = understand(after, old), understand(before, new)
        found[user] = {
            (True, True): "any",
            (True, False): "server",
            (False, True): "bundle",
            (False, False): "neither",
        }[server_first, bundle_first]  # type: ignore[assignment]
    return found


def understand(files: Files, client: tuple[bytes, bytes]) -> bool:
    """Return whether a server accepts a client and is accepted; it needs the CRL of each CA on the client's path."""
    listed = {found.issuer for found in revocation_lists(files.lists)}
    path = path_of(client[0], files.server[1])
    return holds(files.server[0], client[1]) and bool(path) and {found.issuer for found in path} <= listed


def revocation_lists(pem: bytes) -> list[x509.CertificateRevocationList]:
    end = b"-----END X509 CRL-----"
    return [x509.load_pem_x509_crl(block + end) for block in pem.split(end)[:-1]]


def planned(place: Place, text: str) -> dict[str, Order]:
    """Return the order that a plan announces for each user."""
    order = place.plan(text, now=NOW + DAY, asked=ACCEPTED).verdict.order
    found: dict[str, Order] = dict.fromkeys(ROLES, "any")
    for reason in (reason for wave in order.waves for reason in wave.why):
        bundle = reason.first if reason.old else reason.then
        found[bundle.name] = "bundle" if reason.old else "server"
    found |= {entity.name: "neither" for conflict in order.conflicts for entity in conflict.bundles}
    return found


def refused(place: Place, text: str) -> set[str]:
    """Return the codes of the errors without --accept-outage."""
    try:
        place.plan(text, now=NOW + DAY, asked=Asked(allow_revoke=True))
    except Rejected as rejected:
        return {d.code for d in rejected.diagnostics if d.severity == "error"}
    return set()


@pytest.mark.parametrize(
    "arrangements", [SERVERS, CLIENTS, BOTH], ids=["of a server", "of its clients", "of both at once"]
)
def test_a_plan_tells_the_order_of_every_step_and_refuses_those_without_one(
    place: Place, arrangements: Sequence[Arrangement]
) -> None:
    files = {}
    for arrangement in arrangements:
        place.build(arrangement.spec, asked=ACCEPTED)
        files[arrangement] = Files.of(place)
        assert set(orders(files[arrangement], files[arrangement]).values()) == {"any"}
    seen: Counter[Order] = Counter()
    for before in arrangements:
        place.build(before.spec, asked=ACCEPTED)
        place.confirm()
        for after in arrangements:
            expected = orders(files[before], files[after])
            assert planned(place, after.spec) == expected, (before, after)
            if "neither" in expected.values() and seen["neither"] < SOME:
                assert refused(place, after.spec) == {"PGT581"}, (before, after)
            seen.update(expected.values())
    assert min(seen.values()) > 10, seen


SOME = 20
"""How many of the steps without an order are tried without --accept-outage, too."""
