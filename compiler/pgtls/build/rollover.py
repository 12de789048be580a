"""Moving to another root without cutting anybody off: first trusted everywhere, then used, then the old one retired.

Servers and clients are deployed one after the other. So whoever verifies a certificate must trust, in what was compiled last, the root that it moves to, and,
in what is compiled now, the root that it moves from. Roots are told apart by their keys: one that is renewed with its key is the same root.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from pgtls.build import layout
from pgtls.build.lock import IssuedLine
from pgtls.diagnostics import Diagnostic
from pgtls.pki.model import Certificate, Unreadable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from pgtls.access.model import Entry
    from pgtls.build.decide import Decision
    from pgtls.build.lock import Lock
    from pgtls.build.observe import Existing
    from pgtls.diagnostics import Severity
    from pgtls.fleet.model import Authority, Fleet

    Entries = Mapping[str, Sequence[Entry]]
    """By user."""

_VERIFYING = ("require", "verify-ca", "verify-full")
"""The modes in which libpq verifies as soon as it has a root.crt."""


class Move(NamedTuple):
    """A certificate that moves to another root: the key identifiers of both (None: of a key that is still to be made), and the CA that it moves to."""

    old: str
    new: str | None
    root: Authority


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a build would cut off: the entities whose certificates would be refused."""

    diagnostics: tuple[Diagnostic, ...] = ()
    cut_off: frozenset[str] = frozenset()


def gate(
    fleet: Fleet,
    certificates: Mapping[str, Decision],
    existing: Existing,
    *,
    accepted: bool,
) -> Verdict:
    """Find whom a build would cut off. ``accepted``: go on."""
    # A known CA that would get a new key is an error of its own, or was asked for.
    anew = {entity for entity, decision in certificates.items() if decision.new_key and entity in existing.lock.latest}
    roots = _Roots(certificates, existing)
    moves = dict(_moves(fleet, certificates, roots, anew))
    if not moves:
        return Verdict(tuple(_retirable(fleet, roots, existing.lock)))
    from pgtls.access.entries import index

    faults: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    cut_off = set()
    for holder, truster, trusted in _pairs(fleet, index(fleet), moves):
        move = moves[holder]
        before = roots.trusted_by(truster)
        if move.old not in before:
            continue
        if move.new is None or move.new not in before:
            faults["yet", truster if truster.startswith("server.") else holder, move.root.name].append(
                holder if truster.startswith("server.") else truster
            )
            cut_off.add(holder)
        elif move.old not in {roots.key_of(ca) for ca in trusted}:
            faults["longer", truster if truster.startswith("server.") else holder, roots.name_of(move.old)].append(
                holder if truster.startswith("server.") else truster
            )
            cut_off.add(holder)
    severity: Severity = "warning" if accepted else "error"
    found = tuple(replace(_fault(*key, entities, moves), severity=severity) for key, entities in faults.items())
    return Verdict(found, frozenset(cut_off))


class _Roots:
    """Who signed whom, by key identifiers, before this build and after it."""

    def __init__(self, certificates: Mapping[str, Decision], existing: Existing) -> None:
        self.certificates, self.existing = certificates, existing
        lines = [line for line in existing.lock.by_serial.values() if line.entity.startswith("ca.")]
        self.parents = {line.certificate.key_id: line.certificate.authority_key_id for line in lines}
        self.names = {line.certificate.key_id: line.entity.removeprefix("ca.") for line in lines}
        for entity, decision in certificates.items():
            found = decision.found.certificate
            if entity.startswith("ca.") and isinstance(found, Certificate):
                self.parents[found.key_id] = found.authority_key_id
                self.names[found.key_id] = entity.removeprefix("ca.")
        self._trusted: dict[str, frozenset[str]] = {}

    def above(self, key_id: str) -> str:
        """Give the root above a key, before this build."""
        seen = {key_id}
        while (parent := self.parents.get(key_id)) and parent not in seen:
            seen.add(parent)
            key_id = parent
        return key_id

    def key_of(self, ca: Authority) -> str | None:
        """Give the key identifier that a root has after this build; None: of a new key."""
        decision = self.certificates[ca.root.entity]
        found = decision.found.certificate
        if decision.new_key or not isinstance(found, Certificate):
            return None
        return self.above(found.key_id)  # of a CA that was brought along with its chain, the root is at the end of that

    def name_of(self, key_id: str) -> str:
        """Give the NAME that a key goes by."""
        return self.names.get(key_id, "the old root")

    def trusted_by(self, entity: str) -> frozenset[str]:
        """Give the keys that an entity trusted when it was last compiled: its file says so; where there is none, the lock does."""
        if entity not in self._trusted:
            self._trusted[entity] = frozenset(self._read(entity))
        return self._trusted[entity]

    def _read(self, entity: str) -> Iterator[str]:
        from pgtls.pki import facts

        content = None if self.existing.from_lock else self.existing.content(layout.path(entity, layout.CLIENT_TRUST))
        found = facts.read(content) if content else Unreadable("it is missing")
        if isinstance(found, Unreadable):
            yield from (
                line.certificate.key_id for line in self.existing.lock.by_serial.values() if entity in line.trust
            )
        else:
            yield from (certificate.key_id for certificate in found)


def _moves(
    fleet: Fleet, certificates: Mapping[str, Decision], roots: _Roots, anew: Collection[str]
) -> Iterator[tuple[str, Move]]:
    for entity, decision in certificates.items():
        found, issuer = decision.found.certificate, decision.profile.issuer
        if entity.startswith("ca.") or issuer is None or not isinstance(found, Certificate):
            continue
        root = fleet.cas[issuer].root
        old, new = roots.above(found.authority_key_id or found.key_id), roots.key_of(root)
        if old != new and root.entity not in anew:
            yield entity, Move(old, new, root)


def _pairs(
    fleet: Fleet, entries: Entries, moves: Mapping[str, Move]
) -> Iterator[tuple[str, str, tuple[Authority, ...]]]:
    """Yield who shows a certificate that moves, who verifies it, and what the latter will trust."""
    for name, user in fleet.users.items():
        mine = [entry for entry in entries[name] if entry.sslmode in _VERIFYING]
        cas = tuple(ca for entry in mine for ca in (entry.server.ca, *entry.server.trust) if ca)
        for server in {entry.server.name: entry.server for entry in mine}.values():
            if server.entity in moves:
                yield server.entity, user.entity, cas
        for server in {entry.server.name: entry.server for entry in mine if entry.certificate}.values():
            if user.entity in moves:
                yield user.entity, server.entity, server.client_cas


def _fault(when: str, server: str, root: str, entities: Sequence[str], moves: Mapping[str, Move]) -> Diagnostic:
    """Say who is cut off, in the words of whoever has to deploy."""
    name = server.removeprefix("server.")
    clients = _listed(sorted({entity.removeprefix("user.") for entity in entities}))
    many = len(set(entities)) > 1
    if server in moves:  # its clients verify it
        who, verb = f"{'clients' if many else 'client'} {clients}", "do" if many else "does"
        if when == "yet":
            message = f"{who} {verb} not trust {root} yet: deploy a build before this one in which they do"
            hint = f'first trust = ["{root}"] in [server.{name}] beside the old ca; or go on with --accept-outage'
        else:
            message = f"{who} would no longer trust {root}, which certifies server {name} until this build is deployed"
            hint = f'keep trust = ["{root}"] in [server.{name}] for one more build; or go on with --accept-outage'
        return Diagnostic("PGT581", message, ("server", name), hint, "table")
    if when == "yet":
        message = f"server {name} does not trust {root} yet, from which {clients} would have a certificate: deploy a build before this one in which it does"
        hint = f"first add it to client_ca in [server.{name}], users unchanged; or go on with --accept-outage"
    else:
        message = f"server {name} would no longer trust {root}, from which {clients} {'have certificates' if many else 'has a certificate'} until this build is deployed"
        hint = f"keep it in client_ca of [server.{name}] for one more build; or go on with --accept-outage"
    return Diagnostic("PGT581", message, ("server", name), hint, "table")


def _listed(names: Sequence[str], most: int = 5) -> str:
    if len(names) > most:
        return ", ".join(names[:most]) + f" and {len(names) - most} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _retirable(fleet: Fleet, roots: _Roots, lock: Lock) -> Iterator[Diagnostic]:
    """Name the CAs that were moved away from and are trusted still."""
    used = {ca.name for user in fleet.users.values() if user.ca for ca in user.ca.chain}
    for server in fleet.servers.values():
        left = [ca for ca in server.trust if server.ca and ca.root != server.ca.root]
        idle = [ca for ca in server.client_cas if ca.name not in used]
        if not left and not idle:
            continue
        signed = {
            (line.entity, roots.above(line.certificate.authority_key_id or ""))
            for line in lock.by_serial.values()
            if not line.entity.startswith("ca.")
        }
        for ca in left:
            if (server.entity, roots.key_of(ca)) in signed:
                yield _retire(server.name, ca.name, "trust")
        for ca in idle:
            if any(line.ca == ca.name and line.entity.removeprefix("user.") in fleet.users for line in lock.issued):
                yield _retire(server.name, ca.name, "client_ca")


def _retire(server: str, ca: str, field: str) -> Diagnostic:
    return Diagnostic(
        "PGT582",
        f'nobody has a certificate of ca "{ca}" any more: as soon as the last build is deployed everywhere, it can be retired',
        ("server", server, field),
        f'take "{ca}" out of {field}, build and deploy; then delete [ca.{ca}]',
        severity="warning",
    )


def recorded(
    lines: Iterable[IssuedLine], fleet: Fleet, entries: Entries, certificates: Mapping[str, Decision], lock: Lock
) -> Iterator[IssuedLine]:
    """Give the lines of a build with what each bundle trusts from now on: the lock's memory of it (DESIGN 6.2)."""
    carriers = _carriers(fleet, entries)
    for line in lines:
        trust = carriers.pop(line.entity, ())
        yield replace(line, trust=tuple(sorted(trust)))
    for entity, trusting in carriers.items():
        decision = certificates[entity]
        found, signer = decision.found.certificate, decision.profile.issuer or entity.removeprefix("ca.")
        if not isinstance(found, Certificate):
            continue
        known = lock.by_serial.get((signer, found.serial))
        if known and not trusting <= set(known.trust):
            yield IssuedLine(signer, entity, found, tuple(sorted(trusting - set(known.trust))))


def _carriers(fleet: Fleet, entries: Entries) -> dict[str, set[str]]:
    """Give who carries the certificate of each CA in its ``root.crt``."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, mine in entries.items():
        for server in {entry.server.name: entry.server for entry in mine}.values():
            for ca in (server.ca, *server.trust):
                if ca:
                    found[ca.root.entity].add(f"user.{name}")
    for server in fleet.servers.values():
        for link in (link for ca in server.client_cas for link in ca.chain):
            found[link.entity].add(server.entity)
    return found
