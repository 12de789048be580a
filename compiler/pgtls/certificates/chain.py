"""Build the chain from a certificate that an outside signer issued to the CA that the spec names."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from pgtls.diagnostics import Diagnostic
from pgtls.fleet.fields import identity_named
from pgtls.pki.model import Certificate, Entity, Unreadable, ca_entity
from pgtls.pki.names import canonical, name_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from cryptography import x509

    from pgtls.certificates.model import Decision, Existing, Found, Lists
    from pgtls.fleet.model import Authority, Fleet
    from pgtls.pki.model import Profile

SIGN_AGAIN = "have it signed again, and name the new certificate in cert_file"
_COMPLETE = (
    "put the whole chain into cert_file: the certificate first, then the CAs above it, "
    "up to the one that the spec names or to a root"
)
_NEW_KEY = "name the certificate of today of that CA in its own cert_file; or have this one signed again"


class NoWay(NamedTuple):
    """Why a certificate does not lead to the CA that the spec names, and how to fix it."""

    reason: str
    hint: str


def way_up(
    profile: Profile, found: Found, fleet: Fleet, existing: Existing, above: Mapping[Entity, Decision]
) -> tuple[x509.Certificate, ...] | NoWay:
    """Return the CAs between a certificate and the CA that the spec names, or why there is no chain.

    Below a CA whose key is here there are none: each would be a CA that certifies clients and is not in the spec.
    Without a CA in the spec, return all other certificates of the file, up to a root; a public CA may be missing.
    """
    from pgtls.pki import chains, facts

    parsed = facts.parse(b"".join((found.pem or b"", *found.above)))
    assert not isinstance(parsed, Unreadable)  # noqa: S101  (it was read before)
    leaf, others = parsed[0], parsed[1:]
    if profile.issuer is None:
        public = profile.kind == "server" and identity_named(fleet, profile.entity).system
        fault = chains.unsigned(parsed, rooted=not public) or chains.misnamed(parsed)
        if fault:
            return NoWay(fault, _COMPLETE)
        return _without_issuer(profile, others, existing) or (
            others if public else _fit(profile, leaf, others, (), fleet)
        )
    signer = above[ca_entity(profile.issuer)].found.pem
    authority = facts.parse(signer) if signer else ()
    if isinstance(authority, Unreadable) or not authority:
        return ()  # that CA is itself waiting, or has a fault of its own
    way = chains.path(leaf, others, authority[0])
    if way is None:
        return _astray(leaf, profile.issuer, authority[0])
    if fault := chains.misnamed((leaf, *way, authority[0])):
        return NoWay(fault, SIGN_AGAIN)
    if way and not fleet.cas[profile.issuer].trusted_only:
        return _between(profile, profile.issuer, way[0], existing)
    return _fit(profile, leaf, way, tuple(_up_from(profile.issuer, above)), fleet) if way else way


def _between(profile: Profile, issuer: str, signer: x509.Certificate, existing: Existing) -> NoWay:
    """Say that a further CA signed, although the key of the CA that the spec names is here."""
    field, named = "issuer" if profile.kind == "ca" else "ca", _named([signer], existing)
    if named:
        return NoWay(f'it was not signed by CA "{issuer}", but by CA "{named}"', f'set {field} = "{named}"')
    name = name_text(signer.subject)
    hint = (
        f'"{name}" can certify any name: add a table [ca.NAME] with its certificate in cert_file and '
        f'issuer = "{issuer}", and set {field} = "NAME" here'
    )
    return NoWay(f'it was not signed by CA "{issuer}", but by "{name}", a CA below that one', hint)


def _without_issuer(profile: Profile, others: Iterable[x509.Certificate], existing: Existing) -> NoWay | None:
    """Say that a CA without an issuer stands below another CA of the spec: both would count as separate roots."""
    named = _named(others, existing) if profile.kind == "ca" else None
    if named is None:
        return None
    return NoWay(f'its file leads to CA "{named}", but the spec says no issuer', f'set issuer = "{named}"')


def _named(certificates: Iterable[x509.Certificate], existing: Existing) -> str | None:
    """Return the NAME of the first of these CAs that the spec has, by its key."""
    from pgtls.pki import facts

    known = {
        found.certificate.spki_sha256: entity.name
        for entity, found in existing.found.items()
        if entity.kind == "ca" and isinstance(found.certificate, Certificate)
    }
    keys = (one.spki_sha256 for one in map(facts.of, certificates))
    return next((known[key] for key in keys if key in known), None)


def _astray(leaf: x509.Certificate, name: str, ca: x509.Certificate) -> NoWay:
    issuer = name_text(leaf.issuer)
    if canonical(leaf.issuer) == canonical(ca.subject):
        return NoWay(f'it was not signed by CA "{name}", but by another key of the name "{issuer}"', _NEW_KEY)
    return NoWay(
        f'it was not signed by CA "{name}", but by "{issuer}", and its file does not lead to that CA', _COMPLETE
    )


def _up_from(name: str | None, above: Mapping[Entity, Decision]) -> Iterator[x509.Certificate]:
    """Yield a CA of the spec and all CAs above it, as far as they have certificates."""
    from pgtls.pki import facts

    while name is not None:
        decision = above[ca_entity(name)]
        for pem in (decision.found.pem or b"", *decision.found.above):
            parsed = facts.parse(pem)
            yield from () if isinstance(parsed, Unreadable) else parsed[:1]
        name = decision.profile.issuer


def _fit(
    profile: Profile,
    leaf: x509.Certificate,
    way: tuple[x509.Certificate, ...],
    higher: Sequence[x509.Certificate],
    fleet: Fleet,
) -> tuple[x509.Certificate, ...] | NoWay:
    """Return the CAs between a certificate and the CA of the spec, or what OpenSSL refuses about them.

    ``higher`` are the CAs of the spec above them, which are judged for themselves.
    """
    levels = fleet.cas[profile.entity.name].depth + (leaf.subject != leaf.issuer) if profile.kind == "ca" else 0
    purposes = purposes_of(profile, fleet)
    faults = (fault for ca in way for fault in _unfit(ca, fleet.now, purposes, anchor=ca is way[-1] and not higher))
    fault = next(chain(faults, _too_long(way, higher, levels)), None)
    return NoWay(fault, SIGN_AGAIN) if fault else way


def purposes_of(profile: Profile, fleet: Fleet) -> tuple[str, ...]:
    """Return what peers ask of a certificate, or of those below a CA: ``serverAuth``, ``clientAuth``."""
    if profile.kind != "ca":
        return ("serverAuth" if profile.kind == "server" else "clientAuth",)
    trusted = (ca for server in fleet.servers.values() for ca in server.accepted_cas)
    users = {ca.name: ca for ca in (*trusted, *(user.ca for user in fleet.users.values())) if ca}
    servers = {ca.name: ca for one in fleet.identities() for ca in (one.ca, *one.trust) if ca}
    both = (("serverAuth", servers), ("clientAuth", users))
    below = {purpose: {above.name for ca in cas.values() for above in ca.chain} for purpose, cas in both}
    return tuple(purpose for purpose, names in below.items() if profile.entity.name in names)


def _unfit(one: x509.Certificate, now: datetime, purposes: Iterable[str], *, anchor: bool) -> Iterator[str]:
    """Yield why OpenSSL refuses a chain with this CA (x509_vfy.c, ``check_extensions`` and ``check_cert_time``)."""
    from pgtls.pki import chains, facts
    from pgtls.pki.keys import unfit

    ca = facts.of(one)
    which = f'"{ca.subject}" above it in its file'
    if fault := chains.no_ca(one, anchor=anchor):
        yield f"{which} {fault}"
    if not ca.not_before <= now < ca.not_after:
        yield f"{which} is valid from {ca.not_before:%Y-%m-%d} to {ca.not_after:%Y-%m-%d}"
    yield from (f"{which} has another extended key usage than {wanted}" for wanted in purposes if not ca.serves(wanted))
    yield from (f"{which} cannot be used: {fault}" for fault in unknown_extensions(ca))
    if ca.key_algorithm.startswith("rsa-") and (fault := unfit(ca.key_algorithm)):
        yield f"{which} cannot be used: {fault}"


def unknown_extensions(certificate: Certificate) -> Iterator[str]:
    """Yield the critical extensions for which OpenSSL rejects a certificate."""
    from pgtls.pki.facts import CRITICAL

    unknown = [usage.removeprefix(CRITICAL) for usage in certificate.usages if usage.startswith(CRITICAL)]
    if unknown:
        yield f"it has the critical extension {', '.join(unknown)}, which OpenSSL does not know"


def _too_long(way: Iterable[x509.Certificate], higher: Iterable[x509.Certificate], levels: int) -> Iterator[str]:
    """Yield the CAs that permit fewer levels below them than there are: ``levels`` are below the first one."""
    from pgtls.pki import facts

    for ca in map(facts.of, (*way, *higher)):
        if ca.path_length is not None and levels > ca.path_length:
            cas = "1 CA" if levels == 1 else f"{levels} CAs"
            yield f'the path length of "{ca.subject}" above it is {ca.path_length}, but its chain has {cas} below that'
        levels += ca.subject != ca.issuer


def unlisted(
    profile: Profile, pem: bytes, way: Sequence[x509.Certificate], fleet: Fleet, existing: Existing
) -> Iterator[Diagnostic]:
    """Find a certificate of a chain that no CRL covers if a peer checks all CRLs."""
    lists = existing.outside.crls.get(profile.issuer or "")
    if lists is None:  # another check reports its absence at the CA
        return
    missing = next(_missing(profile, pem, way, lists), None)
    issuer = fleet.cas[profile.issuer or ""]
    peers = _asking(profile, issuer, fleet) if missing and issuer.table.crl else ()
    if peers:
        hint = f"add its CRL to crl_file of [ca.{issuer.name}], or set crl = false in [{peers[0]}]"
        message = f"{missing}, but {peers[0]} checks it"
        yield Diagnostic("PGT565", message, (*profile.entity.path, "cert_file"), hint)


def _missing(profile: Profile, pem: bytes, way: Sequence[x509.Certificate], lists: Lists) -> Iterator[str]:
    from pgtls.pki import facts, published

    parsed = facts.parse(pem)
    assert not isinstance(parsed, Unreadable)  # noqa: S101  (it was read before)
    for number, one in enumerate((parsed[0], *way)):
        name = name_text(one.issuer)
        whose = f'"{name_text(one.subject)}"' if number else f"the certificate of {profile.entity}"
        keys = [published.signer(above) for above in way[number : number + 1]]
        scopes = [
            each
            for signer, its in lists.together.scopes.items()
            if (signer in keys if keys else signer.name == canonical(one.issuer))
            for each in its
        ]
        if not scopes:
            yield f'there is no CRL of "{name}", which signed {whose}'
        elif limit := published.uncovered(scopes, one):
            yield f'the CRL of "{name}" does not cover {whose} (it is {limit})'


def _asking(profile: Profile, issuer: Authority, fleet: Fleet) -> list[str]:
    """Return the entities that check a certificate against CRLs: servers check users, users check servers."""
    if profile.kind == "server":
        server = fleet.servers[profile.entity.table[1]]
        policies = [policy for policy in fleet.policies_of(server) if not policy.local]
        return [user.entity for policy in policies for user in policy.users if user.table.crl]
    return [
        server.entity
        for server in fleet.servers.values()
        if server.table.crl and any(ca in issuer.chain or issuer in ca.chain for ca in server.accepted_cas)
    ]
