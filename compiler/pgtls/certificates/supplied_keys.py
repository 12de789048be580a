"""Judge keys that users supply: a CA's key in a request, an Ed25519 signature, a server certificate that can log in."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pgtls.certificates.model import recorded_under, taken
from pgtls.certificates.request_command import own_key
from pgtls.certificates.signers import signer
from pgtls.diagnostics import Diagnostic
from pgtls.fleet.checks.certificates import scram_failures
from pgtls.fleet.fields import entity_named, identity_named, place_of
from pgtls.pki.model import Certificate, Entity, Unreadable, ca_entity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from pgtls.certificates.model import Decision, Existing, Outside
    from pgtls.fleet.model import Authority, Fleet, Identity, Server
    from pgtls.pki.model import Profile


def problems(fleet: Fleet, decisions: Mapping[Entity, Decision], existing: Existing) -> Iterator[Diagnostic]:
    """Report faults that only the supplied certificates and requests reveal."""
    outside = existing.outside
    if outside.requests:
        yield from _requests_of_cas(fleet, decisions, existing)
    signed = {} if existing.from_lock else _signed_elsewhere(fleet, decisions, outside)
    yield from _of_two(fleet, decisions, signed, existing)
    if outside.signed and not existing.from_lock:
        yield from scram_failures(fleet, lambda server: _signed_by_ed25519(server, decisions, signed, outside))
        logging_in = dict(_servers_that_log_in(fleet, decisions, signed, outside))
        yield from logging_in.values()
        yield from _more_than_asked(fleet, decisions, signed, outside, logging_in.keys())


def _signed_elsewhere(
    fleet: Fleet, decisions: Mapping[Entity, Decision], outside: Outside
) -> dict[Entity, tuple[Certificate, bytes]]:
    """Return the certificates that others signed, as facts and in PEM, after this build."""
    found = {}
    for entity, decision in decisions.items():
        known = taken(decision) or decision.found
        elsewhere = entity in outside.signed or signer(decision.profile, fleet) is not None
        if elsewhere and isinstance(known.certificate, Certificate) and known.pem:
            found[entity] = known.certificate, known.pem
    return found


def _of_two(
    fleet: Fleet,
    decisions: Mapping[Entity, Decision],
    signed: Mapping[Entity, tuple[Certificate, bytes]],
    existing: Existing,
) -> Iterator[Diagnostic]:
    """Report certificates that the lock cannot hold: another one of their CA has the serial number (RFC 5280, 4.1.2.2).

    A revocation names a serial number, so it would concern both.
    """
    owners = {key: (line.entity, line.certificate.sha256) for key, line in existing.whole_lock.by_serial.items()}
    for entity, (certificate, _) in signed.items():
        ca = recorded_under(decisions[entity].profile)
        other, digest = owners.setdefault((ca, certificate.serial), (entity, certificate.sha256))
        if digest != certificate.sha256:
            message = f'serial number {certificate.serial} of CA "{ca}" is that of another certificate, of {other}'
            hint = "give each CA that signs a table of its own, or have the certificate signed again"
        elif other != entity:
            message = f"the certificate of {entity} is that of {other}"
            hint = "have one signed for each: revoking it for one would revoke it for both"
        else:
            continue
        yield Diagnostic("PGT565", message, place_of(fleet, entity, "cert_file"), hint)


def _requests_of_cas(fleet: Fleet, decisions: Mapping[Entity, Decision], existing: Existing) -> Iterator[Diagnostic]:
    """Report requests with the key of a CA: the owner of the request could sign anything."""
    from pgtls.pki.keys import spki_sha256

    found = {e: d.found.certificate for e, d in decisions.items() if e.kind == "ca"}
    cas = {one.spki_sha256: entity for entity, one in found.items() if isinstance(one, Certificate)}
    for line in existing.whole_lock.by_serial.values():
        if line.entity.kind == "ca":
            cas.setdefault(line.certificate.spki_sha256, line.entity)
    for entity, public_key in existing.outside.requests.items():
        ca = cas.get(spki_sha256(public_key))
        if ca:
            message = f"the request of {entity} was made with the private key of {ca}"
            own = own_key(entity_named(fleet, entity))
            yield Diagnostic("PGT564", message, place_of(fleet, entity, "csr_file"), own)


def _signed_by_ed25519(
    server: Identity,
    decisions: Mapping[Entity, Decision],
    signed: Mapping[Entity, tuple[Certificate, bytes]],
    outside: Outside,
) -> bool:
    """Return whether a supplied certificate makes the server sign with Ed25519: by its own key, or its CA's key."""
    if server.entity in signed:
        from pgtls.pki import chains

        return chains.signed_with(signed[server.entity][1]) == "ed25519"
    ca = decisions.get(ca_entity(server.ca.name)) if server.ca else None
    certificate = ca.found.certificate if ca and ca.profile.entity in outside.signed else None
    return isinstance(certificate, Certificate) and certificate.key_algorithm == "ed25519"


def _servers_that_log_in(
    fleet: Fleet,
    decisions: Mapping[Entity, Decision],
    signed: Mapping[Entity, tuple[Certificate, bytes]],
    outside: Outside,
) -> Iterator[tuple[Entity, Diagnostic]]:
    """Report supplied server certificates that can also log in because a server trusts their CA."""
    for entity, (certificate, _) in signed.items():
        if entity.kind not in ("server", "pooler") or not certificate.serves("clientAuth"):
            continue
        trusting = next(_trusting(fleet, entity, decisions), None)
        if trusting:
            why = "clientAuth" if "clientAuth" in certificate.usages else "it has no extended key usage"
            names = "its common name or a host name" if trusting.kind == "pooler" else "its common name"
            message = (
                f"the certificate of {entity} may also log in ({why}), and {trusting.entity} trusts its CA for "
                f"clients: its key opens every role that {names} maps to"
            )
            hint = "have it signed again with serverAuth alone, or give clients a root of their own"
            yield entity, _warning("PGT567", message, hint, fleet, entity, outside)


def _trusting(fleet: Fleet, entity: Entity, decisions: Mapping[Entity, Decision]) -> Iterator[Server]:
    """Yield the servers that trust the CA of a server's certificate for clients.

    For a server without a CA of the spec, that is a CA of its file.
    """
    ca = identity_named(fleet, entity).ca
    leads = {ca.anchor} if ca else set(_keys(decisions[entity].found.above))
    for server in fleet.servers.values():
        if not leads.isdisjoint(anchor for one in server.accepted_cas for anchor in _anchors(one, decisions)):
            yield server


def _keys(above: Iterable[bytes]) -> Iterator[str]:
    """Yield the keys of the CAs in a file."""
    from pgtls.pki import facts

    for pem in above:
        read = facts.read(pem)
        yield from () if isinstance(read, Unreadable) else (one.spki_sha256 for one in read)


def _anchors(ca: Authority, decisions: Mapping[Entity, Decision]) -> Iterator[str]:
    """Yield the anchor of a CA, and the key of its root."""
    yield ca.anchor
    root = decisions[ca.root.entity].found.certificate
    if isinstance(root, Certificate):
        yield root.spki_sha256


def _more_than_asked(
    fleet: Fleet,
    decisions: Mapping[Entity, Decision],
    signed: Mapping[Entity, tuple[Certificate, bytes]],
    outside: Outside,
    logging_in: Collection[Entity],
) -> Iterator[Diagnostic]:
    """Report leaves that a signer gave more than our CSR, or the spec, asked for; ``logging_in`` are reported."""
    for entity, (certificate, _) in signed.items():
        profile = decisions[entity].profile
        by_program = signer(profile, fleet) is not None
        if entity.kind == "ca" or not (by_program or entity in outside.external):
            continue
        more = [
            usage for usage in _more_usages(profile, certificate) if usage != "clientAuth" or entity not in logging_in
        ]
        more += [*_more_names(profile, certificate), *_longer(profile, certificate)] if by_program else []
        if more:
            message = f"the certificate of {entity} has more than was asked for: {', '.join(more)}"
            hint = "have the signer follow the CSR; then renew it: --renew " + entity
            yield _warning("PGT568", message, hint, fleet, entity, outside)


def _more_usages(profile: Profile, certificate: Certificate) -> Iterator[str]:
    from pgtls.pki.expected import wanted_facts
    from pgtls.pki.facts import CRITICAL

    known = wanted_facts(profile)[2]
    yield from (one for one in certificate.usages if one not in known and not one.startswith(CRITICAL))


def _more_names(profile: Profile, certificate: Certificate) -> Iterator[str]:
    """Yield the names of a server that the spec does not have. Of a user, PostgreSQL reads only the subject."""
    from pgtls.pki.expected import wanted_facts

    known = {name.lower() for name in wanted_facts(profile)[1]}
    if profile.kind == "server":
        yield from (f'the name "{name}"' for name in certificate.names if name.lower() not in known)


def _longer(profile: Profile, certificate: Certificate) -> Iterator[str]:
    """Yield the life of a certificate that is longer than the spec allows by more than a day, the usual rounding."""
    life = certificate.not_after - certificate.not_before
    if life > profile.validity + timedelta(days=1):
        yield f"a life of {life.days} days instead of {profile.validity.days}"


def _warning(code: str, message: str, hint: str, fleet: Fleet, entity: Entity, outside: Outside) -> Diagnostic:
    if entity in outside.signed:
        return Diagnostic(code, message, place_of(fleet, entity, "cert_file"), hint, severity="warning")
    return Diagnostic(code, message, entity.path, hint, at="table", severity="warning")
