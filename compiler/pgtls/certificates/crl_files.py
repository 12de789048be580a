"""Read the CRLs of ``crl_file``, of all tables together: which of them servers get, and what they say.

Of several CRLs for the same certificates, OpenSSL takes the newest that has not ended. Servers get only the newest,
whichever file has it: after its end they would apply an older one, without what was revoked since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding

from pgtls.certificates.model import Lists
from pgtls.diagnostics import Diagnostic
from pgtls.fleet.fields import entities, entity_named, place_of
from pgtls.language.words import listed
from pgtls.pki import crl, facts, published
from pgtls.pki.model import Unreadable
from pgtls.pki.names import name_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cryptography import x509

    from pgtls.certificates.model import Signed
    from pgtls.fleet.model import Authority, Fleet, Identity, User
    from pgtls.pki.model import Entity
    from pgtls.pki.published import Published, Signer


class Brought(NamedTuple):
    """The CRLs of all ``crl_file``, by NAME of the CA."""

    lists: Mapping[str, Lists]
    """For a CA whose key is elsewhere, its own and those of the CAs above it; else the latter."""
    own: Mapping[str, Sequence[Published]]
    """For a CA whose key is here: those that were signed with it elsewhere. This build signs one in their place."""
    problems: Sequence[Diagnostic]


def read(fleet: Fleet, signed: Mapping[Entity, Signed], contents: Mapping[str, bytes]) -> Brought:
    """Read the ``contents`` of ``crl_file``, by NAME of the CA. The certificates of these CAs are among ``signed``."""
    files: dict[str, Sequence[Published]] = {}
    problems: list[Diagnostic] = []
    once: dict[bytes, Published] = {}
    for name, content in contents.items():
        found = _file(fleet, fleet.cas[name], signed, content)
        if isinstance(found, str):
            problems.append(_fault(fleet, name, found))
        else:
            files[name] = [once.setdefault(one.list.signature, one) for one in found]
    here, everything = _keys_here(fleet, signed), tuple(once.values())
    own: dict[str, list[Published]] = {}
    for one in everything:
        if one.signer in here:
            own.setdefault(here[one.signer], []).append(one)
    given = {
        name: tuple(dict.fromkeys(published.newest(one, everything) for one in found if one.signer not in here))
        for name, found in files.items()
    }
    lists = {
        name: _lists(fleet, name, signed, [one for one in files[name] if one.signer not in here], its)
        for name, its in given.items()
        if its
    }
    return Brought(lists, own, (*problems, *_outlived(fleet, given)))


def _lists(
    fleet: Fleet,
    name: str,
    signed: Mapping[Entity, Signed],
    brought: Sequence[Published],
    given: Sequence[Published],
) -> Lists:
    ca = fleet.cas[name]
    chain = _chain(signed[ca.entity].file)
    together = published.together(given, chain if ca.trusted_only else chain[1:], fleet.now)
    return Lists(brought, together, b"".join(one.list.public_bytes(Encoding.PEM) for one in given))


def _file(fleet: Fleet, ca: Authority, signed: Mapping[Entity, Signed], content: bytes) -> tuple[Published, ...] | str:
    """Read one file, or say what is wrong. The CAs of its certificate file, or others around, have signed the CRLs."""
    chain, lists = _chain(signed[ca.entity].file), crl.parse(published.as_pem(content))
    if isinstance(lists, Unreadable):
        return lists.reason
    below = (() if _signs_for_spec(fleet, ca) else (None,), *((one,) for one in chain))
    needed = [*zip(chain, below, strict=False)][0 if ca.trusted_only else 1 : 1 if ca.issuer else None]
    known = (*chain, *_around(fleet, ca, signed))
    wrong = dict.fromkeys(published.faults(lists, needed, known))  # CAs of the spec have their own
    return "; ".join(wrong) if wrong else tuple(published.published(lists, known))


def _signs_for_spec(fleet: Fleet, ca: Authority) -> bool:
    """Return whether the spec has certificates that a CA signed: each of them is judged for itself."""
    return any(_signer(thing) is ca for thing in entities(fleet))


def _around(fleet: Fleet, ca: Authority, signed: Mapping[Entity, Signed]) -> Iterator[x509.Certificate]:
    """Yield the CAs above one, and those in the supplied chains of certificates below it."""
    for entity, one in signed.items():
        thing = entity_named(fleet, entity)
        issuer = _signer(thing)
        if (one.above and issuer and ca in issuer.chain) or thing in ca.chain:
            yield from _chain(one.file)


def _signer(thing: Authority | Identity | User) -> Authority | None:
    return getattr(thing, "issuer", None) or getattr(thing, "ca", None)


def _chain(file: bytes) -> tuple[x509.Certificate, ...]:
    found = facts.parse(file)
    return () if isinstance(found, Unreadable) else found


def _keys_here(fleet: Fleet, signed: Mapping[Entity, Signed]) -> dict[Signer, str]:
    """Return the CAs of the spec whose key is here, as far as supplied files have their certificates."""
    found = {}
    for ca in fleet.cas.values():
        chain = _chain(signed[ca.entity].file) if ca.entity in signed else ()
        for link, certificate in zip(ca.chain, chain, strict=False):
            signer = published.signer(certificate)
            if link.entity in signed and signed[link.entity].certificate.spki_sha256 != signer[1]:
                break  # a CA between them, which is not in the spec
            if not link.trusted_only:
                found[signer] = link.name
    return found


def _outlived(fleet: Fleet, given: Mapping[str, Iterable[Published]]) -> Iterator[Diagnostic]:
    """Report CRLs that would count again when a newer one for some of their certificates has ended."""
    everything = tuple(dict.fromkeys(one for its in given.values() for one in its))
    for name, its in given.items():
        names = [name_text(one.ca.subject) for one in its if published.outlived(one, everything)]
        if names:
            yield _fault(
                fleet,
                name,
                f"a newer CRL of {listed(names)} covers some of the certificates, and ends earlier: after that, "
                "servers would take the older one again",
            )


def _fault(fleet: Fleet, name: str, text: str) -> Diagnostic:
    file = fleet.cas[name].table.crl_file
    place = place_of(fleet, fleet.cas[name].entity, "crl_file")
    return Diagnostic("PGT564", f'"{file}" cannot be used: {text}', place, _HINT)


_HINT = (
    "it takes the newest CRL of each CA in cert_file, in PEM, one after the other, and none of other CAs; "
    "a single CRL may be DER"
)
