"""Every way from one arrangement of CAs to another.

A plan refuses it exactly where its deployment would cut off a server or a user.

The files judge: whether each chain of each arrangement ends in a root that the other side holds, signatures and all.
Servers and bundles are deployed one after the other, so each mixture of before and after must hold. (CRLs are not
part of this: servers must reject what a build revokes.)
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

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

    @classmethod
    def of(cls, place: Place) -> Files:
        def read(directory: str, certificate: str) -> tuple[bytes, bytes]:
            return place.file(f"{directory}/{certificate}").read_bytes(), place.file(
                f"{directory}/root.crt"
            ).read_bytes()

        return cls(read("servers/db", "server.crt"), tuple(read(f"clients/{user}", "postgresql.crt") for user in ROLES))


def holds(shown: bytes, trusted: bytes) -> bool:
    """Return whether a chain, as it is sent, ends in a root that is trusted.

    OpenSSL would also accept an intermediate from the file of roots in place of the one that was sent;
    a plan does not rely on it.
    """
    leaf, *above = x509.load_pem_x509_certificates(shown)
    anchors = [ca for ca in x509.load_pem_x509_certificates(trusted) if ca.issuer == ca.subject]
    while leaf.issuer != leaf.subject:
        signers = [ca for ca in (*anchors, *above) if signed(leaf, ca)]
        if not signers:
            return False
        leaf = signers[0]
    return leaf in anchors


def signed(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError):
        return False
    return True


Cut = set[tuple[str, str]]
"""Which certificate a mixture of before and after rejects, "server" or "user", and the user concerned."""


def cut_off(before: Files, after: Files) -> Cut:
    servers = before.server, after.server
    found = set()
    for user, *clients in zip(ROLES, before.clients, after.clients, strict=True):
        pairs = list(product(servers, clients))
        if not all(holds(server[0], client[1]) for server, client in pairs):
            found.add(("server", user))
        if not all(holds(client[0], server[1]) for server, client in pairs):
            found.add(("user", user))
    return found


def refused(place: Place, text: str) -> Cut:
    try:
        place.plan(text, now=NOW + DAY, asked=Asked(allow_revoke=True))
    except Rejected as rejected:
        found = [d for d in rejected.diagnostics if d.severity == "error"]
        assert {d.code for d in found} == {"PGT581"}, found
        return {cut for d in found for cut in said(d.message)}
    return set()


def said(message: str) -> Cut:
    about, words = ("server" if message.startswith("client") else "user"), message.replace(",", "").split()
    return {(about, user) for user in ROLES if user in words}


@pytest.mark.parametrize(
    "arrangements", [SERVERS, CLIENTS, BOTH], ids=["of a server", "of its clients", "of both at once"]
)
def test_a_plan_refuses_each_step_that_cuts_somebody_off_and_no_other(
    place: Place, arrangements: Sequence[Arrangement]
) -> None:
    files = {}
    for arrangement in arrangements:
        place.build(arrangement.spec, asked=ACCEPTED)
        files[arrangement] = Files.of(place)
        assert cut_off(files[arrangement], files[arrangement]) == set()
    seen = {True: 0, False: 0}
    for before in arrangements:
        place.build(before.spec, asked=ACCEPTED)
        for after in arrangements:
            expected = cut_off(files[before], files[after])
            assert refused(place, after.spec) == expected, (before, after)
            seen[bool(expected)] += 1
    assert min(seen.values()) > 10, seen
