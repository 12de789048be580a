"""What to deploy first where a certificate is revoked because its holder moved to another CA.

The move itself may be deployed in any order. But the same build revokes the old certificate: a peer with the new CRL
rejects it, so its holder is deployed first.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from pgtls.certificates.trust import checked_cas, listed_cas
from pgtls.diagnostics import Diagnostic
from pgtls.language.words import listed
from pgtls.rollout.rollover import VERIFYING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pgtls.access.model import Entry
    from pgtls.certificates.model import Decision
    from pgtls.fleet.model import Fleet
    from pgtls.pki.model import Entity
    from pgtls.state.lock import RevokedLine


def moved(revoked: Iterable[RevokedLine], certificates: Mapping[Entity, Decision]) -> dict[str, str]:
    """Return the entities whose certificate is revoked because it moved to another CA, with the NAME of the old CA."""
    return {
        line.entity: line.ca
        for line in revoked
        if line.reason == "superseded" and line.ca != certificates[line.entity].profile.issuer
    }


def first_the_holder(
    fleet: Fleet, entries: Mapping[str, Sequence[Entry]], left: Mapping[str, str]
) -> Iterator[Diagnostic]:
    """Report what to deploy first. ``left`` are the entities that moved, with the CA that each left."""
    holders: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    tellers: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    checked = {server.name: {ca.name for ca in checked_cas(fleet, server)} for server in fleet.servers.values()}
    for name, user in fleet.users.items():
        own = {ca.name for ca in listed_cas(user, entries[name])}
        for entry in entries[name]:
            server = entry.server
            if entry.certificate and left.get(user.entity) in checked[server.name]:
                holders[server.name, left[user.entity]][name] = None
            shown = entry.identity.entity
            if entry.sslmode in VERIFYING and left.get(shown) in own:
                tellers[server.name, left[shown]][name] = None
    yield from (_users_first(server, ca, list(names)) for (server, ca), names in holders.items())
    yield from (_server_first(server, ca, list(names)) for (server, ca), names in tellers.items())


def _users_first(server: str, ca: str, users: Sequence[str]) -> Diagnostic:
    s, who = "s" * (len(users) > 1), listed(users)
    return Diagnostic(
        "PGT583",
        f'this build revokes the old certificate{s} of {who} (moved from ca "{ca}"): '
        f"server {server} rejects {'them' if s else 'it'} once it has its new files",
        ("server", server),
        f"deploy the bundle{s} of {who} before server {server}",
        "table",
        severity="warning",
    )


def _server_first(server: str, ca: str, users: Sequence[str]) -> Diagnostic:
    s, who = "s" * (len(users) > 1), listed(users)
    return Diagnostic(
        "PGT583",
        f'this build revokes the old certificate of server {server} (moved from ca "{ca}"): '
        f"{who} (crl = true) {'reject' if s else 'rejects'} it once "
        f"{'they have their' if s else 'it has its'} new bundle{s}",
        ("server", server),
        f"deploy server {server} before the bundle{s} of {who}",
        "table",
        severity="warning",
    )
