"""Judge keys that users supply: a CA's key in a request, an Ed25519 signature, a server certificate that can log in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.certificates.request_command import own_key
from pgtls.diagnostics import Diagnostic
from pgtls.fleet.checks.certificates import scram_failures
from pgtls.fleet.fields import entity_named, identity_named, place_of
from pgtls.pki.model import Certificate, Entity, ca_entity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pgtls.certificates.model import Decision, Existing, Outside
    from pgtls.fleet.model import Fleet, Identity


def problems(fleet: Fleet, decisions: Mapping[Entity, Decision], existing: Existing) -> Iterator[Diagnostic]:
    """Report faults that only the supplied certificates and requests reveal."""
    outside = existing.outside
    if outside.requests:
        yield from _requests_of_cas(fleet, decisions, existing)
    if outside.signed and not existing.from_lock:
        yield from scram_failures(fleet, lambda server: _signed_by_ed25519(server, decisions, outside))
        yield from _servers_that_log_in(fleet, outside)


def _requests_of_cas(fleet: Fleet, decisions: Mapping[Entity, Decision], existing: Existing) -> Iterator[Diagnostic]:
    """Report requests with the key of a CA: the owner of the request could sign anything."""
    from pgtls.pki.keys import spki_sha256

    found = {e: d.found.certificate for e, d in decisions.items() if e.kind == "ca"}
    cas = {one.spki_sha256: entity for entity, one in found.items() if isinstance(one, Certificate)}
    for line in existing.lock.by_serial.values():
        if line.entity.kind == "ca":
            cas.setdefault(line.certificate.spki_sha256, line.entity)
    for entity, public_key in existing.outside.requests.items():
        ca = cas.get(spki_sha256(public_key))
        if ca:
            message = f"the request of {entity} was made with the private key of {ca}"
            own = own_key(entity_named(fleet, entity))
            yield Diagnostic("PGT564", message, place_of(fleet, entity, "csr_file"), own)


def _signed_by_ed25519(server: Identity, decisions: Mapping[Entity, Decision], outside: Outside) -> bool:
    """Return whether a supplied certificate makes the server sign with Ed25519: by its own key, or its CA's key."""
    own = outside.signed.get(server.entity)
    if own:
        from pgtls.pki import chains

        return chains.signed_with(own.pem) == "ed25519"
    ca = decisions.get(ca_entity(server.ca.name)) if server.ca else None
    certificate = ca.found.certificate if ca and ca.profile.entity in outside.signed else None
    return isinstance(certificate, Certificate) and certificate.key_algorithm == "ed25519"


def _servers_that_log_in(fleet: Fleet, outside: Outside) -> Iterator[Diagnostic]:
    """Report supplied server certificates that can also log in because a server trusts their CA."""
    for entity, signed in outside.signed.items():
        if entity.kind != "server" or "clientAuth" not in signed.certificate.usages:
            continue
        ca = identity_named(fleet, entity).ca
        trusting = [s for s in fleet.servers.values() if ca and any(ca.root is one.root for one in s.accepted_cas)]
        if trusting:
            message = (
                f"the certificate of {entity} may also log in (clientAuth), and {trusting[0].entity} trusts its CA for "
                f"clients: its key opens every role that its common name maps to"
            )
            hint = "have it signed again with serverAuth alone, or give clients a root of their own"
            path = place_of(fleet, entity, "cert_file")
            yield Diagnostic("PGT567", message, path, hint, severity="warning")
