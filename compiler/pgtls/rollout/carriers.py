"""Record in the lock which bundles contain the certificate of each CA, and which root its file leads to.

It also records whose key is elsewhere.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from pgtls.pki.model import Certificate, Entity
from pgtls.state.lock import IssuedLine

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

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
    carriers, new = _carriers(fleet, entries), set[Entity]()
    for line in lines:
        new.add(line.entity)
        yield _told(line, fleet, carriers)
    for ca in fleet.cas.values():
        decision = certificates[ca.entity]
        found, signer = decision.found.certificate, decision.profile.issuer or ca.name
        known = lock.by_serial.get((signer, found.serial)) if isinstance(found, Certificate) else None
        if known is None or ca.entity in new:
            continue
        more = _told(IssuedLine(known.ca, known.entity, known.certificate), fleet, carriers)
        if known.with_more(more) != known:
            yield replace(more, trust=tuple(sorted({*more.trust} - {*known.trust})))


def _told(line: IssuedLine, fleet: Fleet, carriers: Mapping[Entity, Collection[Entity]]) -> IssuedLine:
    """Return a line with the bundles that contain a CA's certificate, the root in its file, and where its key is."""
    ca = fleet.cas.get(line.entity.name) if line.entity.kind == "ca" else None
    root = ca.foreign_root if ca and not ca.issuer else None
    trust, roots = tuple(sorted(carriers.get(line.entity, ()))), (root.key,) if root else ()
    return replace(line, trust=trust, roots=roots, foreign=ca is not None and ca.trusted_only)


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
