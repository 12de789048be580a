"""Moves to another root without an outage: first trust it everywhere, then use it, then retire the old root.

Servers and clients are deployed one after the other. So a peer that verifies a certificate must trust the root that it
moves to in the last build, and the root that it moves from in this one. Roots differ by their keys: a root that is
renewed with its key is the same root.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from pgtls.certificates.model import makes_key
from pgtls.diagnostics import Diagnostic
from pgtls.language.words import listed
from pgtls.pki.model import Certificate, Entity, Unreadable
from pgtls.state import layout
from pgtls.state.lock import IssuedLine

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from pgtls.access.model import Entry
    from pgtls.certificates.model import Decision, Existing
    from pgtls.diagnostics import Severity
    from pgtls.fleet.model import Authority, Fleet, Identity
    from pgtls.state.lock import Lock

    Entries = Mapping[str, Sequence[Entry]]
    """By user."""

VERIFYING = ("require", "verify-ca", "verify-full")
"""The modes in which a client verifies the server: with a root.crt, libpq verifies with ``require`` too."""


class Move(NamedTuple):
    """A certificate that moves to another root: the key identifiers of both (None: of a future key), and the new CA."""

    old: str
    new: str | None
    root: Authority


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outages of a build: the entities whose certificates peers would reject."""

    diagnostics: tuple[Diagnostic, ...] = ()
    cut_off: frozenset[Entity] = frozenset()
    retirable: bool = False
    """Whether a CA can be retired as soon as this build is deployed."""


def gate(
    fleet: Fleet,
    entries: Entries,
    certificates: Mapping[Entity, Decision],
    existing: Existing,
    *,
    accepted: bool,
) -> Verdict:
    """Return the entities that a build would cut off, with errors, or with warnings if ``accepted``."""
    # A known CA that would get a new key is an error of its own, or was asked for.
    rekeyed = {
        entity for entity, decision in certificates.items() if makes_key(decision) and entity in existing.lock.latest
    }
    roots = _Roots(certificates, existing)
    retirable = tuple(_retirable(fleet, roots, existing.lock, _held(roots)))
    afterwards = any(_retirable(fleet, roots, existing.lock, {}))
    moves = dict(_moves(fleet, certificates, roots, rekeyed))
    if not moves:
        return Verdict(retirable, retirable=afterwards)
    faults: dict[_Cut, list[Entity]] = defaultdict(list)
    cut_off = set()
    for holder, truster, trusted in _pairs(fleet, entries, moves):
        move = moves[holder]
        before = roots.trusted_by(truster)
        if move.old not in before:
            continue
        serving = holder.kind == "server"
        server, user = (holder, truster) if serving else (truster, holder)
        if move.new is None or move.new not in before:
            faults[_Cut("yet", serving, server, move.root.name)].append(user)
            cut_off.add(holder)
        elif move.old not in {roots.key_of(ca) for ca in trusted}:
            faults[_Cut("longer", serving, server, roots.name_of(move.old))].append(user)
            cut_off.add(holder)
    severity: Severity = "warning" if accepted else "error"
    found = tuple(replace(_fault(cut, users), severity=severity) for cut, users in faults.items())
    return Verdict((*found, *retirable), frozenset(cut_off), afterwards)


class _Cut(NamedTuple):
    """An outage between a server and its clients: the new ``root`` is not trusted yet, or the old one no longer.

    ``serving``: the server's certificate moves, and its clients verify it; otherwise it is theirs that move.
    """

    when: Literal["yet", "longer"]
    serving: bool
    server: Entity
    root: str


class _Roots:
    """The issuers of certificates by key identifier, before this build and after it."""

    def __init__(self, certificates: Mapping[Entity, Decision], existing: Existing) -> None:
        self.certificates, self.existing = certificates, existing
        lines = [line for line in existing.lock.by_serial.values() if line.entity.kind == "ca"]
        self.parents = {line.certificate.key_id: line.certificate.authority_key_id for line in lines}
        self.names = {line.certificate.key_id: line.entity.name for line in lines}
        for entity, decision in certificates.items():
            found = decision.found.certificate
            if entity.kind == "ca" and isinstance(found, Certificate):
                self.parents |= {one.key_id: one.authority_key_id for one in (found, *_read(decision.found.above))}
                self.names[found.key_id] = entity.name
        self._trusted: dict[str, frozenset[str]] = {}

    def chain(self, key_id: str) -> list[str]:
        """Return a key and those above it up to its root, before this build."""
        found = [key_id]
        while (parent := self.parents.get(found[-1])) and parent not in found:
            found.append(parent)
        return found

    def above(self, key_id: str) -> str:
        """Return the root above a key, before this build."""
        return self.chain(key_id)[-1]

    def own_key(self, ca: Authority) -> str | None:
        """Return the key identifier of a CA, by the lock if its certificate is lost; None if it never had one."""
        found = self.certificates[ca.entity].found.certificate
        if isinstance(found, Certificate):
            return found.key_id
        line = self.existing.lock.latest.get(ca.entity)
        return line.certificate.key_id if line else None

    def key_of(self, ca: Authority) -> str | None:
        """Return the key identifier of a root after this build; None for a new key."""
        decision = self.certificates[ca.root.entity]
        known = self.own_key(ca.root)
        if makes_key(decision) or known is None:
            return None
        return self.above(known)  # the root of a supplied CA is at the end of its chain

    def name_of(self, key_id: str) -> str:
        """Return the NAME of a key's CA."""
        return self.names.get(key_id, "the old root")

    def trusted_by(self, entity: Entity) -> frozenset[str]:
        """Return the keys that an entity trusted in the last build: by its file, or by the lock if there is none."""
        if entity not in self._trusted:
            self._trusted[entity] = frozenset(self._read(entity))
        return self._trusted[entity]

    def _read(self, entity: Entity) -> Iterator[str]:
        content = self.existing.contents.get(layout.path(entity, layout.CLIENT_TRUST))
        if found := _read((content,) if content else ()):
            yield from (certificate.key_id for certificate in found)
        else:
            lines = (line for line in self.existing.lock.by_serial.values() if entity in line.trust)
            yield from (self.above(line.certificate.key_id) for line in lines)


def _read(pem: Sequence[bytes]) -> tuple[Certificate, ...]:
    """Return the certificates of a file; none if it is empty or cannot be read."""
    from pgtls.pki import facts

    found = facts.read(b"".join(pem)) if pem else ()
    return () if isinstance(found, Unreadable) else found


def _moves(
    fleet: Fleet, certificates: Mapping[Entity, Decision], roots: _Roots, rekeyed: Collection[str]
) -> Iterator[tuple[Entity, Move]]:
    for entity, decision in certificates.items():
        found, issuer = decision.found.certificate, decision.profile.issuer
        if entity.kind == "ca" or issuer is None or not isinstance(found, Certificate):
            continue
        root = fleet.cas[issuer].root
        old, new = roots.above(found.authority_key_id or found.key_id), roots.key_of(root)
        if old != new and root.entity not in rekeyed:
            yield entity, Move(old, new, root)


def _pairs(
    fleet: Fleet, entries: Entries, moves: Mapping[Entity, Move]
) -> Iterator[tuple[Entity, Entity, tuple[Authority, ...]]]:
    """Yield the holder of each moving certificate, the peer that verifies it, and the CAs that the peer will trust."""
    for name, user in fleet.users.items():
        mine = [entry for entry in entries[name] if entry.sslmode in VERIFYING]
        cas = tuple(ca for entry in mine for ca in (entry.identity.ca, *entry.identity.trust) if ca)
        for identity in {entry.identity.name: entry.identity for entry in mine}.values():
            if identity.entity in moves:
                yield identity.entity, user.entity, cas
        for identity in {entry.identity.name: entry.identity for entry in mine if entry.certificate}.values():
            if user.entity in moves:
                yield user.entity, identity.entity, identity.client_cas


def _fault(cut: _Cut, users: Sequence[Entity]) -> Diagnostic:
    """Return the error about entities that a build cuts off."""
    name, root = cut.server.name, cut.root
    whose = f"[[{cut.server.kind}.{cut.server.table[1]}.sni]]" if cut.server.host else f"[server.{name}]"
    clients = listed(sorted({entity.name for entity in users}))
    many = len(set(users)) > 1
    who = f"{'clients' if many else 'client'} {clients}"
    if cut.serving and cut.when == "yet":
        message = (
            f"{who} {'do' if many else 'does'} not trust {root} yet: "
            f"first build and deploy with {root} in trust of server {name}"
        )
        hint = f'set trust = ["{root}"] in {whose} and keep the old ca; or proceed with --accept-outage'
    elif cut.serving:
        message = f"{who} would no longer trust {root}, which certifies server {name} until this build is deployed"
        hint = f'keep trust = ["{root}"] in {whose} for one more build; or proceed with --accept-outage'
    elif cut.when == "yet":
        message = (
            f"{clients} would get {'certificates' if many else 'a certificate'} from {root}, "
            f"which server {name} does not trust yet: first build and deploy with {root} in its client_ca"
        )
        hint = f"add it to client_ca in {whose} and change no user; or proceed with --accept-outage"
    else:
        message = (
            f"server {name} would no longer trust {root}, from which {clients} "
            f"{'have certificates' if many else 'has a certificate'} until this build is deployed"
        )
        hint = f"keep it in client_ca of {whose} for one more build; or proceed with --accept-outage"
    return Diagnostic("PGT581", message, cut.server.path, hint, "table")


def _retirable(fleet: Fleet, roots: _Roots, lock: Lock, held: Mapping[Entity, tuple[str, ...]]) -> Iterator[Diagnostic]:
    """Report CAs that are still trusted though their certificates moved away in an earlier build.

    ``held`` are the keys above the certificates that were deployed before.
    """
    holders = {key for keys in held.values() for key in keys}
    used = {ca.name for user in fleet.users.values() if user.ca for ca in user.ca.chain}
    for server in fleet.identities():
        left = [ca for ca in server.trust if server.ca and ca.root != server.ca.root]
        left = [ca for ca in left if roots.key_of(ca) not in held.get(server.entity, ())]
        idle = [ca for ca in server.client_cas if ca.name not in used and roots.own_key(ca) not in holders]
        if not left and not idle:
            continue
        once, uses = _once(lock), _uses(fleet)
        for ca in left:
            if (server.entity, roots.key_of(ca)) in once:
                yield _retire(server, ca, "trust", uses)
        for ca in idle:
            if any(line.ca == ca.name and line.entity.name in fleet.users for line in lock.issued):
                yield _retire(server, ca, "client_ca", uses)


def _held(roots: _Roots) -> dict[Entity, tuple[str, ...]]:
    """Return the keys above the certificate that each server and user had before this build."""
    return {
        entity: tuple(roots.chain(found.authority_key_id or found.key_id))
        for entity, decision in roots.certificates.items()
        if entity.kind != "ca" and isinstance(found := decision.found.certificate, Certificate)
    }


def _once(lock: Lock) -> set[tuple[str, str | None]]:
    """Return every (server, key) where the server ever had a certificate under the key; a moved CA was under both."""
    parents: dict[str | None, set[str | None]] = defaultdict(set)
    for line in lock.by_serial.values():
        if line.entity.kind == "ca" and line.certificate.authority_key_id:
            parents[line.certificate.key_id].add(line.certificate.authority_key_id)
    found: set[tuple[str, str | None]] = {
        (line.entity, line.certificate.authority_key_id)
        for line in lock.by_serial.values()
        if line.entity.kind == "server"
    }
    fresh = found
    while fresh:
        fresh = {(entity, parent) for entity, key in fresh for parent in parents[key]} - found
        found |= fresh
    return found


def _uses(fleet: Fleet) -> Counter[str]:
    """Count by NAME how often the spec needs each CA: to sign, to be trusted, or above one that does."""
    servers = (ca for server in fleet.identities() for ca in (server.ca, *server.trust, *server.client_cas))
    users = (user.ca for user in fleet.users.values())
    below = (ca.issuer for ca in fleet.cas.values())
    return Counter(link.name for ca in (*servers, *users, *below) if ca for link in ca.chain)


def _retire(server: Identity, ca: Authority, field: str, uses: Counter[str]) -> Diagnostic:
    who = f"server {server.name} has no" if field == "trust" else "no user has a"
    message = (
        f'{who} certificate of ca "{ca.name}" any more: once the last build is deployed everywhere, it can be retired'
    )
    then = f"; then delete [ca.{ca.name}]" if uses[ca.name] == 1 else ""
    hint = f'remove "{ca.name}" from {field}, build and deploy{then}'
    return Diagnostic("PGT582", message, (*server.entity.table, *server.place, field), hint, severity="warning")


def recorded(
    lines: Iterable[IssuedLine], fleet: Fleet, entries: Entries, certificates: Mapping[Entity, Decision], lock: Lock
) -> Iterator[IssuedLine]:
    """Yield the lines of a build with what each bundle trusts from now on (docs/design.md, State and safety)."""
    carriers = _carriers(fleet, entries)
    for line in lines:
        trust = carriers.pop(line.entity, ())
        yield replace(line, trust=tuple(sorted(trust)))
    for entity, trusting in carriers.items():
        decision = certificates[entity]
        found, signer = decision.found.certificate, decision.profile.issuer or entity.name
        if not isinstance(found, Certificate):
            continue
        known = lock.by_serial.get((signer, found.serial))
        if known and not trusting <= set(known.trust):
            yield IssuedLine(signer, entity, found, tuple(sorted(trusting - set(known.trust))))


def _carriers(fleet: Fleet, entries: Entries) -> dict[Entity, set[Entity]]:
    """Return who carries the certificate of each CA in its ``root.crt``."""
    found: dict[Entity, set[Entity]] = defaultdict(set)
    for name, mine in entries.items():
        for identity in {entry.identity.name: entry.identity for entry in mine}.values():
            for ca in (identity.ca, *identity.trust):
                if ca:
                    found[ca.root.entity].add(fleet.users[name].entity)
    for server in fleet.identities():
        for link in (link for ca in server.client_cas for link in ca.chain):
            found[link.entity].add(server.entity)
    return found
