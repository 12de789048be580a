"""Read the CRLs of ``crl_file``, of all tables together: which of them servers get, and what they say.

Of several CRLs for the same certificates, OpenSSL takes the newest that has not ended. Servers get only the newest,
whichever file has it: after its end they would apply an older one, without what was revoked since.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding

from pgtls.certificates.model import Lists
from pgtls.certificates.trust import checked_cas
from pgtls.diagnostics import Diagnostic
from pgtls.fleet.fields import entities, entity_named, place_of
from pgtls.language.words import listed
from pgtls.pki import crl, facts, published
from pgtls.pki.model import Unreadable
from pgtls.pki.names import name_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from cryptography import x509

    from pgtls.certificates.model import Signed
    from pgtls.fleet.model import Authority, Fleet, Identity, User
    from pgtls.pki.model import Entity
    from pgtls.pki.published import Published
    from pgtls.state.lock import Lock


class Brought(NamedTuple):
    """The CRLs of all ``crl_file``, by NAME of the CA."""

    files: Mapping[str, Sequence[Published]]
    """All of each file."""
    lists: Mapping[str, Lists]
    """For a CA whose key is elsewhere, its own and those of the CAs above it; else the latter. Servers get these."""
    own: Mapping[str, Sequence[Published]]
    """For a CA whose key is here: those that were signed with it elsewhere. This build signs one in their place."""
    problems: Sequence[Diagnostic]


def read(fleet: Fleet, lock: Lock, signed: Mapping[Entity, Signed], contents: Mapping[str, bytes]) -> Brought:
    """Read the ``contents`` of ``crl_file``, by NAME of the CA. The certificates of these CAs are among ``signed``."""
    files: dict[str, Sequence[Published]] = {}
    problems: list[Diagnostic] = []
    once: dict[tuple[bytes, bytes], Published] = {}
    for name, content in contents.items():
        found = _file(fleet, fleet.cas[name], signed, content)
        if isinstance(found, str):
            problems.append(_fault(fleet, name, found))
        else:
            files[name] = [once.setdefault((one.list.signature, one.ca.signature), one) for one in found]
    here, everything = _keys_here(fleet, lock, signed), tuple(once.values())
    own: dict[str, list[Published]] = {}
    for one in everything:
        if one.signer.key in here:
            own.setdefault(here[one.signer.key], []).append(one)
    given = {
        name: tuple(dict.fromkeys(published.newest(one, everything) for one in found if one.signer.key not in here))
        for name, found in files.items()
    }
    lists = {
        name: _lists(fleet.cas[name], _chain(signed[fleet.cas[name].entity].file), its, fleet.now)
        for name, its in given.items()
        if its
    }
    return Brought(
        files,
        lists,
        own,
        (*problems, *_outlived(fleet, given), *_ambiguous(fleet, given), *_revoked(fleet, signed, lists)),
    )


def _lists(ca: Authority, chain: Sequence[x509.Certificate], given: Sequence[Published], now: datetime) -> Lists:
    together = published.together(given, chain if ca.trusted_only else chain[1:], now)
    return Lists(together, b"".join(one.list.public_bytes(Encoding.PEM) for one in given))


def _file(fleet: Fleet, ca: Authority, signed: Mapping[Entity, Signed], content: bytes) -> tuple[Published, ...] | str:
    """Read one file, or say what is wrong. The CAs of its certificate file, or others around, have signed the CRLs."""
    chain, lists = _chain(signed[ca.entity].file), crl.parse(published.as_pem(content))
    if isinstance(lists, Unreadable):
        return lists.reason
    if len(lists) > _MOST:  # each is verified with each CA of its issuer's name
        return f"it holds {len(lists)} CRLs, and a file has at most {_MOST}"
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


def _keys_here(fleet: Fleet, lock: Lock, signed: Mapping[Entity, Signed]) -> dict[str, str]:
    """Return the NAMEs of the CAs whose key is here, by the digest of that key."""
    found = {}
    for ca in fleet.cas.values():
        known = signed.get(ca.entity) or lock.latest.get(ca.entity)
        if known and not ca.trusted_only:
            found[known.certificate.spki_sha256] = ca.name
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


def _ambiguous(fleet: Fleet, given: Mapping[str, Sequence[Published]]) -> Iterator[Diagnostic]:
    """Report CRLs that OpenSSL would take for those of another CA of the same name on some server."""
    found: dict[str, str] = {}
    for server in fleet.servers.values():
        names = [ca.name for ca in checked_cas(fleet, server) if ca.name in given]
        signers = {one.signer for name in names for one in given[name]}
        alike = Counter(name for name, _ in signers)
        for name in names:
            for one in given[name]:
                if alike[one.signer.name] > 1 and not published.key_identified(one.list):
                    found[name] = name_text(one.ca.subject)
    for name, ca in found.items():
        text = f'the CRL of "{ca}" in it does not say which of the CAs of this name signed it'
        yield _fault(fleet, name, f"{text} (authority key identifier)")


def _revoked(fleet: Fleet, signed: Mapping[Entity, Signed], lists: Mapping[str, Lists]) -> Iterator[Diagnostic]:
    """Report CAs that are revoked by the CRLs of the CAs above them: servers refuse all that they sign."""
    for name, its in lists.items():
        ca = fleet.cas[name]
        chain = _chain(signed[ca.entity].file)
        cas = {one.key: one.cas for one in its.together.revoked}
        for one, above in pairwise(chain):
            if facts.serial(one) in cas.get(published.signer(above).key, ()):
                revoked = f'"{name_text(above.subject)}" has revoked "{name_text(one.subject)}"'
                message = f"{revoked}: servers will refuse all that it signed"
                hint = "trust another CA, or bring the certificate that replaces the revoked one"
                yield Diagnostic("PGT563", message, place_of(fleet, ca.entity, "crl_file"), hint, severity="warning")


def _fault(fleet: Fleet, name: str, text: str) -> Diagnostic:
    file = fleet.cas[name].table.crl_file
    place = place_of(fleet, fleet.cas[name].entity, "crl_file")
    return Diagnostic("PGT564", f'"{file}" cannot be used: {text}', place, _HINT)


_MOST = 256
_HINT = (
    "it takes the newest CRL of each CA in cert_file, in PEM, one after the other, and none of other CAs; "
    "a single CRL may be DER"
)
