"""Build the chain from a certificate that an outside signer issued to the CA that the spec names."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pgtls.diagnostics import Diagnostic
from pgtls.fleet.fields import identity_named
from pgtls.pki.model import Certificate, Entity, Unreadable, ca_entity
from pgtls.pki.names import canonical, name_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from cryptography import x509

    from pgtls.certificates.model import Decision, Existing, Found
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
        fault = chains.unsigned(parsed, rooted=not public)
        return NoWay(fault, _COMPLETE) if fault else _without_issuer(profile, others, existing) or others
    signer = above[ca_entity(profile.issuer)].found.pem
    authority = facts.parse(signer) if signer else ()
    if isinstance(authority, Unreadable) or not authority:
        return ()  # that CA is itself waiting, or has a fault of its own
    way = chains.path(leaf, others, authority[0])
    if way is None:
        return _astray(leaf, profile.issuer, authority[0])
    if way and not fleet.cas[profile.issuer].trusted_only:
        return _between(profile, profile.issuer, way[0], existing)
    unfit = next(_unfit(way, fleet.now), None)
    return NoWay(unfit, SIGN_AGAIN) if unfit else way


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
    keys = (one.spki_sha256 for one in map(facts.of, certificates) if isinstance(one, Certificate))
    return next((known[key] for key in keys if key in known), None)


def _astray(leaf: x509.Certificate, name: str, ca: x509.Certificate) -> NoWay:
    issuer = name_text(leaf.issuer)
    if canonical(leaf.issuer) == canonical(ca.subject):
        return NoWay(f'it was not signed by CA "{name}", but by another key of the name "{issuer}"', _NEW_KEY)
    return NoWay(
        f'it was not signed by CA "{name}", but by "{issuer}", and its file does not lead to that CA', _COMPLETE
    )


def _unfit(way: Iterable[x509.Certificate], now: datetime) -> Iterator[str]:
    """Yield the CAs of the chain that cannot sign."""
    from pgtls.pki import facts

    for ca in map(facts.of, way):
        if isinstance(ca, Unreadable):
            yield f"a CA above it in its file cannot be used: {ca.reason}"
        elif "CA" not in ca.usages:
            yield f'"{ca.subject}" above it in its file is no CA'
        elif not ca.not_before <= now < ca.not_after:
            until = f"from {ca.not_before:%Y-%m-%d} to {ca.not_after:%Y-%m-%d}"
            yield f'"{ca.subject}" above it in its file is valid {until}'


def unlisted(
    profile: Profile, way: Sequence[x509.Certificate], fleet: Fleet, existing: Existing
) -> Iterator[Diagnostic]:
    """Find CAs of the chain without a CRL if a peer checks all CRLs."""
    lists = existing.outside.crls.get(profile.issuer or "")
    if lists is None or not way:  # another check reports its absence at the CA
        return
    issuer = fleet.cas[profile.issuer or ""]
    peers = _asking(profile, issuer, fleet) if issuer.table.crl else ()
    missing = [name_text(ca.subject) for ca in way if canonical(ca.subject) not in lists.issuers]
    if peers and missing:
        message = (
            f'there is no CRL of "{missing[0]}", which signed the certificate of {profile.entity}, '
            f"but {peers[0]} checks it"
        )
        hint = f"add its CRL to crl_file of [ca.{issuer.name}], or set crl = false in [{peers[0]}]"
        yield Diagnostic("PGT565", message, (*profile.entity.path, "cert_file"), hint)


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
