"""Record in the lock which bundles contain the certificate of each CA."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from pgtls.pki.model import Certificate, Entity
from pgtls.state.lock import IssuedLine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pgtls.access.model import Entry
    from pgtls.certificates.model import Decision
    from pgtls.fleet.model import Fleet
    from pgtls.state.lock import Lock

    Entries = Mapping[str, Sequence[Entry]]
    """The entries of each user's bundle, by user."""


def recorded(
    lines: Iterable[IssuedLine], fleet: Fleet, entries: Entries, certificates: Mapping[Entity, Decision], lock: Lock
) -> Iterator[IssuedLine]:
    """Yield the lock lines of a build: the CAs that each bundle now trusts (docs/design.md, State and safety)."""
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
    """Return the bundles that contain the certificate of each CA in their ``root.crt``."""
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
