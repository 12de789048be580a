"""Compute the facts about a server's or a bundle's files that its peers can observe. The rollout compares these facts.

They are JSON, as :mod:`pgtls.state.generations` keeps them. They identify CAs by the identifiers of their keys: a CA
that is renewed with its key is the same to its peers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgtls.access.grants import distinguished_name
from pgtls.certificates.model import Issue, Wait, makes_key, taken
from pgtls.certificates.trust import checked_cas, listed_cas, server_cas
from pgtls.output.connection_strings import parameters
from pgtls.pki.model import Certificate, Entity, Unreadable
from pgtls.state.generations import Generation

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from pgtls.access.model import Entry, Rules
    from pgtls.certificates.model import Decision, Existing
    from pgtls.fleet.model import Authority, Fleet, Identity, Server, User
    from pgtls.state.lock import IssuedLine, Lock

SYSTEM = "system"
"""A placeholder for the public CAs that clients trust by themselves."""

_PARAMETERS = (
    "host",
    "port",
    "sslmode",
    "channel_binding",
    "require_auth",
    "sslcertmode",
    "sslnegotiation",
)
"""The parameters of an entry that a server can distinguish."""


class Keys:
    """The identifiers of the keys of CAs, and of the keys above them; ``issued`` are certificates of this build."""

    def __init__(
        self, certificates: Mapping[Entity, Decision], existing: Existing, issued: Iterable[IssuedLine] = ()
    ) -> None:
        self._certificates, self._lock = certificates, existing.lock
        self._chains: dict[str, tuple[str, ...]] = {}
        self._issued = {line.entity: line.certificate for line in issued}
        lines = [line for line in existing.lock.by_serial.values() if line.entity.kind == "ca"]
        self._parents = {line.certificate.key_id: line.certificate.authority_key_id for line in lines}
        for decision in certificates.values():
            known = taken(decision) or decision.found
            found = known.certificate
            if isinstance(found, Certificate) and (known.above or decision.profile.kind == "ca"):
                self._parents |= {one.key_id: one.authority_key_id for one in (found, *_read(known.above))}

    def own(self, entity: Entity) -> str:
        """Return the key identifier of an entity after this build, or a placeholder for a key that does not exist."""
        decision = self._certificates.get(entity)
        if signed := taken(decision):
            return signed.certificate.key_id
        found = decision.found.certificate if decision else None
        if isinstance(found, Certificate) and not makes_key(decision):
            return found.key_id
        if entity in self._issued:
            return self._issued[entity].key_id
        line = None if makes_key(decision) else self._lock.latest.get(entity)
        return line.certificate.key_id if line else f"new {entity}"

    def next(self, entity: Entity) -> str:
        """Return the key identifier of the next certificate of a self-signed server that this build makes."""
        return self._issued[entity].key_id if entity in self._issued else f"next {entity}"

    def above(self, key: str) -> tuple[str, ...]:
        """Return a key and the keys above it, up to its root."""
        found = [key]
        while (parent := self._parents.get(found[-1])) and parent not in found:
            found.append(parent)
        return tuple(found)

    def chain(self, ca: Authority) -> tuple[str, ...]:
        """Return the keys of a CA and of the CAs above it after this build, up to the root."""
        if ca.name not in self._chains:
            *below, root = (self.own(link.entity) for link in ca.chain)
            self._chains[ca.name] = (*below, *self.above(root))
        return self._chains[ca.name]

    def root(self, ca: Authority) -> str:
        """Return the key that a peer must trust to accept a certificate of a CA."""
        return self.chain(ca)[-1]

    def signed(self, ca: Authority) -> bool:
        """Return whether a CA and all CAs above it have a certificate after this build.

        Others may still have to sign.
        """
        return all(self._exists(link.entity) for link in ca.chain)

    def _exists(self, entity: Entity) -> bool:
        decision = self._certificates.get(entity)
        return isinstance(decision, Issue) or (
            decision is not None and isinstance(decision.found.certificate, Certificate)
        )

    def presented(self, entity: Entity, issuer: Authority | None) -> tuple[str, ...]:
        """Return the keys above the certificate that an entity presents after this build.

        Return none without a certificate.
        """
        if not self._exists(entity):
            return ()
        decision, signed = self._certificates[entity], taken(self._certificates[entity])
        found = signed.certificate if signed else decision.found.certificate
        if isinstance(found, Certificate) and (signed or not isinstance(decision, Issue)):
            signer = found.authority_key_id or found.key_id
            if issuer is None or signer != self.own(issuer.entity):
                return self.above(signer)
        return self.chain(issuer) if issuer else (self.own(entity),)

    def waiting_names(self, entity: Entity) -> tuple[str, ...]:
        """Return the names in a certificate that stays because its successor waits.

        Return none if no successor waits.
        """
        decision = self._certificates.get(entity)
        if not isinstance(decision, Wait) or not isinstance(decision.found.certificate, Certificate):
            return ()
        return tuple(name.partition(":")[2] for name in decision.found.certificate.names)

    def certificate(self, entity: Entity) -> tuple[str, datetime] | None:
        """Return serial number and end of the certificate that an entity presents. Return None before it is issued."""
        decision = self._certificates.get(entity)
        if decision is None:
            return None
        if signed := taken(decision):
            return signed.certificate.serial, signed.certificate.not_after
        if isinstance(decision, Issue):
            issued = self._issued.get(entity)
            return (issued.serial, issued.not_after) if issued else None
        found = decision.found.certificate
        return (found.serial, found.not_after) if isinstance(found, Certificate) else None


def _read(pem: Sequence[bytes]) -> tuple[Certificate, ...]:
    """Return the certificates of a file. Return none if it is empty or unreadable."""
    from pgtls.pki import facts

    found = facts.read(b"".join(pem)) if pem else ()
    return () if isinstance(found, Unreadable) else found


def of_server(fleet: Fleet, server: Server, rules: Rules, keys: Keys) -> dict[str, Any]:
    """Return the facts of a server: its identity under each name, the CAs it trusts, and its rules."""
    return {
        "port": server.table.port,
        "postgres": server.table.postgres,
        "identities": [_identity(identity, keys) for identity in server.identities],
        "crl": _distinct(key for ca in checked_cas(fleet, server) if keys.signed(ca) for key in keys.chain(ca)),
        "hba": rules.hba_text,
        "ident": rules.ident_text,
    }


def _identity(identity: Identity, keys: Keys) -> dict[str, Any]:
    return {
        "hosts": list(keys.waiting_names(identity.entity) or identity.table.hosts),
        "chain": [SYSTEM] if identity.system else list(keys.presented(identity.entity, identity.ca)),
        "trust": _distinct(key for ca in identity.client_cas if keys.signed(ca) for key in keys.chain(ca)),
    }


class Bundles:
    """Compute the facts of bundles. Most differ in their user's name alone: what they share is computed once.

    ``own_roots`` are, by name, the keys that clients trust of identities that no CA of the spec certifies.
    """

    def __init__(self, own_roots: Mapping[str, Sequence[str]], keys: Keys) -> None:
        self._own_roots = own_roots
        self._keys = keys
        self._trusted: dict[Hashable, Mapping[str, list[str]]] = {}
        self._dialled: dict[Hashable, Mapping[str, Any]] = {}

    def of(self, user: User, entries: Sequence[Entry]) -> dict[str, Any]:
        """Return the facts of a bundle: the identity it presents, the CAs it trusts, and the entries it dials."""
        table, presents = user.table, user.ca is not None
        servers = tuple(entry.identity.name for entry in entries)
        if (trusted := self._trusted.get((servers, table.crl))) is None:
            trusted = self._trusted[servers, table.crl] = self._trust(user, entries)
        shared = []
        for entry in entries:
            # With the entry's policies, these are all that its facts depend on besides its role.
            own = entry.database, entry.sslmode, entry.certificate, entry.channel_binding, entry.replication
            kind = (entry.identity.name, id(entry.policies), *own, presents, table.libpq)
            if (dialled := self._dialled.get(kind)) is None:
                dialled = self._dialled[kind] = _entry(user, entry)
            shared.append({**dialled, "role": entry.role})
        return {
            "chain": list(self._keys.presented(user.entity, user.ca)) if presents else [],
            "name": user.common_name if presents else "",
            "subject": distinguished_name(user) if presents else "",
            **trusted,
            "entries": shared,
        }

    def _trust(self, user: User, entries: Sequence[Entry]) -> dict[str, list[str]]:
        keys, dialled = self._keys, {entry.identity.name: entry.identity for entry in entries}
        trusted = [keys.root(ca) for ca in server_cas(entries) if keys.signed(ca)]
        trusted += [key for name in dialled for key in self._own_roots.get(name, ())]
        trusted += [SYSTEM] if any(identity.system for identity in dialled.values()) else []
        listed = (key for ca in listed_cas(user, entries) if keys.signed(ca) for key in keys.chain(ca))
        return {"trust": _distinct(trusted), "crl": _distinct(listed)}


def _distinct(found: Iterable[str]) -> list[str]:
    return sorted(set(found))


def _entry(user: User, entry: Entry) -> dict[str, Any]:
    values = parameters(user, entry)
    return {
        "server": entry.server.name,
        "role": entry.role,
        "database": entry.database,
        "replication": entry.replication,
        "certificate": entry.certificate,
        "methods": sorted({policy.table.auth for policy in entry.policies}),
        **{name: values[name] for name in _PARAMETERS if name in values},
    }


def own_roots(fleet: Fleet, certificates: Mapping[Entity, Decision], keys: Keys) -> dict[str, list[str]]:
    """Return, by name, the keys that clients trust of each identity that no CA of the spec certifies."""
    return {
        identity.name: list(_own_roots(identity, certificates[identity.entity], keys))
        for identity in fleet.identities()
        if identity.ca is None and not identity.system
    }


def _own_roots(server: Identity, decision: Decision, keys: Keys) -> Iterator[str]:
    """Yield the keys: all past, present and next keys of a self-signed server, or the key of its supplied root."""
    yield from keys.presented(server.entity, None)[-1:]
    if not server.self_signed:
        return
    beside = decision.beside
    if beside and beside.makes_next:
        yield keys.next(server.entity)
    for pem in (beside.next, beside.previous) if beside else ():
        yield from (certificate.key_id for certificate in _read((pem,) if pem else ()))


def from_lock(entity: Entity, shown: Sequence[Entity], now: Generation, lock: Lock, keys: Keys) -> Generation:
    """Return what the lock knows of an entity's files before this build. Assume that everything else is as ``now``.

    ``shown`` are the entities of its certificates. The lock does not know the rules of a server.
    """
    facts, lines = dict(now.facts), [lock.latest.get(one) for one in shown]
    if facts["crl"]:  # the lock does not know of which CAs
        cas = (one.certificate.key_id for one in lock.by_serial.values() if one.entity.kind == "ca")
        facts["crl"] = _distinct((*facts["crl"], *cas))
    if entity.kind in ("server", "pooler"):
        facts |= {"hba": None, "ident": None}
        sides = zip(facts["identities"], shown, lines, strict=True)
        facts["identities"] = [_known(side, one, line, lock, keys) for side, one, line in sides]
    else:
        facts = _known(facts, entity, lines[0] if lines else None, lock, keys)
    known = [line for line in lines if line]
    certificates = tuple((line.ca, line.serial) for line in known)
    built = max((line.certificate.not_before for line in known), default=now.built)
    return Generation(
        entity, (), built, facts, certificates, max((line.certificate.not_after for line in known), default=None)
    )


def _known(now: Mapping[str, Any], entity: Entity, line: IssuedLine | None, lock: Lock, keys: Keys) -> dict[str, Any]:
    """Return the facts of one side, with its chain, its names and its trust as the lock knows them."""
    trusted = [one.certificate for one in lock.by_serial.values() if entity in one.trust]
    known = {one.key_id for one in trusted}
    highest = (one.key_id for one in trusted if one.authority_key_id not in known - {one.key_id})
    above = {keys.above(key)[-1] for key in highest}  # the chain of a supplied CA is longer than the lock knows
    facts = {**now, "trust": _distinct(above if entity.kind == "user" else known | above)}
    if line:
        facts["chain"] = list(keys.above(line.certificate.authority_key_id or line.certificate.key_id))
        if "hosts" in facts and line.certificate.names:
            facts["hosts"] = [name.partition(":")[2] for name in line.certificate.names]
    return facts
