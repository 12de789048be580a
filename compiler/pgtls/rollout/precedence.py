"""Who is deployed first where a certificate is revoked because its holder moved to another CA.

The move itself may be deployed in any order. But the one that it leaves is revoked by the same build: whoever gets the CRL refuses it from then on, so its holder comes first.
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
    """Give the entities whose certificate is revoked since it is of another CA now, and the NAME of the one that it was of."""
    return {
        line.entity: line.ca
        for line in revoked
        if line.reason == "superseded" and line.ca != certificates[line.entity].profile.issuer
    }


def first_the_holder(
    fleet: Fleet, entries: Mapping[str, Sequence[Entry]], left: Mapping[str, str]
) -> Iterator[Diagnostic]:
    """Say who has to be deployed before whom. ``entries`` are by user; ``left`` are the entities that moved, with the CA that each left."""
    holders: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    tellers: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    checked = {server.name: {ca.name for ca in checked_cas(fleet, server)} for server in fleet.servers.values()}
    for name, user in fleet.users.items():
        own = {ca.name for ca in listed_cas(user, entries[name])}
        for entry in entries[name]:
            server = entry.server
            if entry.certificate and left.get(user.entity) in checked[server.name]:
                holders[server.name, left[user.entity]][name] = None
            if entry.sslmode in VERIFYING and left.get(server.entity) in own:
                tellers[server.name, left[server.entity]][name] = None
    yield from (_users_first(server, ca, list(names)) for (server, ca), names in holders.items())
    yield from (_server_first(server, ca, list(names)) for (server, ca), names in tellers.items())


def _users_first(server: str, ca: str, users: Sequence[str]) -> Diagnostic:
    s, who = "s" * (len(users) > 1), listed(users)
    return Diagnostic(
        "PGT583",
        f'{who} {"leave" if s else "leaves"} ca "{ca}", which revokes the certificate{s} of before: '
        f"server {server} refuses {'them' if s else 'it'} as soon as it has its new files",
        ("server", server),
        f"deploy the bundle{s} of {who} before server {server}",
        "table",
        severity="warning",
    )


def _server_first(server: str, ca: str, users: Sequence[str]) -> Diagnostic:
    s, who = "s" * (len(users) > 1), listed(users)
    return Diagnostic(
        "PGT583",
        f'server {server} leaves ca "{ca}", which revokes its certificate of before: '
        f"{who} (crl = true) {'refuse' if s else 'refuses'} it as soon as {'they have their' if s else 'it has its'} new bundle{s}",
        ("server", server),
        f"deploy server {server} before the bundle{s} of {who}",
        "table",
        severity="warning",
    )
