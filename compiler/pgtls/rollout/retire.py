"""Find CAs that are still trusted although no certificate in use depends on them."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from pgtls.diagnostics import Diagnostic
from pgtls.pki.model import entity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pgtls.fleet.model import Authority, Fleet, Identity
    from pgtls.pki.model import Entity
    from pgtls.rollout.facts import Keys
    from pgtls.state.generations import Generation
    from pgtls.state.lock import Lock


def retirable(
    fleet: Fleet, used: Mapping[Entity, Sequence[Generation]], lock: Lock, keys: Keys
) -> Iterator[Diagnostic]:
    """Report the CAs that ``trust`` and ``client_ca`` name without need. ``used`` are the generations in use."""
    shown = {key for user in fleet.users.values() for one in used.get(user.entity, ()) for key in one.facts["chain"]}
    signing = {link.name for user in fleet.users.values() if user.ca for link in user.ca.chain}
    once, uses = _once(lock), _uses(fleet)
    for server in fleet.identities():
        past = used.get(entity(*server.entity.table), ())
        served = {key for one in past for identity in one.facts["identities"] for key in identity["chain"]}
        for ca in server.trust:
            key = keys.root(ca)
            if server.ca and ca.root != server.ca.root and key not in served and (server.entity, key) in once:
                yield _retire(server, ca, "trust", uses)
        for ca in server.client_cas:
            had = any(line.ca == ca.name and line.entity.name in fleet.users for line in lock.issued)
            if had and ca.name not in signing and keys.own(ca.entity) not in shown:
                yield _retire(server, ca, "client_ca", uses)


def _once(lock: Lock) -> set[tuple[str, str | None]]:
    """Return every (server, key) where the server ever had a certificate under the key; a moved CA was under both."""
    parents: dict[str | None, set[str | None]] = defaultdict(set)
    for line in lock.by_serial.values():
        if line.entity.kind == "ca" and line.certificate.authority_key_id:
            parents[line.certificate.key_id].add(line.certificate.authority_key_id)
    found: set[tuple[str, str | None]] = {
        (line.entity, line.certificate.authority_key_id)
        for line in lock.by_serial.values()
        if line.entity.kind in ("server", "pooler")
    }
    fresh = found
    while fresh:
        fresh = {(entity, parent) for entity, key in fresh for parent in parents[key]} - found
        found |= fresh
    return found


def _uses(fleet: Fleet) -> Counter[str]:
    """Count the uses of each CA in the spec: to sign, to be trusted, or above such a CA."""
    servers = (ca for server in fleet.identities() for ca in (server.ca, *server.trust, *server.client_cas))
    users = (user.ca for user in fleet.users.values())
    below = (ca.issuer for ca in fleet.cas.values())
    return Counter(link.name for ca in (*servers, *users, *below) if ca for link in ca.chain)


def _retire(server: Identity, ca: Authority, field: str, uses: Counter[str]) -> Diagnostic:
    who = f"{server.entity.kind} {server.name} has no" if field == "trust" else "no user has a"
    message = f'{who} certificate of ca "{ca.name}" any more: it can be retired'
    then = f"; then delete [ca.{ca.name}]" if uses[ca.name] == 1 else ""
    hint = f'remove "{ca.name}" from {field}, build and deploy{then}'
    return Diagnostic("PGT582", message, (*server.entity.table, *server.place, field), hint, severity="warning")
