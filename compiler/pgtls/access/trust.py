"""Whom a server really lets show a certificate.

OpenSSL accepts any chain that ends in a trusted *root*: a server whose ``client_ca`` is an intermediate also accepts what every other CA under the
same root has signed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgtls.access.grants import accepted_authorities, distinguished_name
from pgtls.access.sets import roles_of
from pgtls.diagnostics import Diagnostic
from pgtls.fleet.fields import header
from pgtls.hba.match import map_identity
from pgtls.hba.model import Keyword
from pgtls.hba.regex import Undecidable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgtls.access.model import Rules
    from pgtls.fleet.membership import Memberships
    from pgtls.fleet.model import Fleet, Policy, Server, User
    from pgtls.hba.model import IdentLine, Line


@dataclass(frozen=True, slots=True)
class Trust:
    """The CAs of the spec whose client certificates a server accepts, by name.

    ``named`` are those that its ``client_ca`` names, and what stands below them; ``others`` come with their roots. Under those in ``foreign``,
    whose keys are not here, anyone may hold any name.
    """

    named: tuple[str, ...]
    others: tuple[str, ...]
    foreign: tuple[str, ...]


def trust(fleet: Fleet, server: Server) -> Trust:
    """Work out whom a server trusts."""
    named = accepted_authorities(fleet, server)
    roots = {ca.root.name for ca in server.client_cas}
    under = [ca for ca in fleet.cas.values() if ca.root.name in roots]
    return Trust(
        tuple(ca.name for ca in under if ca.name in named),
        tuple(ca.name for ca in under if ca.name not in named),
        tuple(ca.name for ca in under if ca.trusted_only),
    )


def intruders(fleet: Fleet, rules: Rules, known: Memberships) -> Iterator[Diagnostic]:
    """Find users of CAs that a server does not name who could log in by certificate all the same: one for each such CA."""
    server_trust = trust(fleet, rules.server)
    others = set(server_trust.others)
    strangers = [user for user in fleet.users.values() if user.ca and user.ca.name in others]
    if not strangers:
        return
    # Who has the common name of somebody that is meant cannot be told from them: that is found elsewhere, for any two users.
    meant = {user.common_name for user in fleet.users.values() if user.ca and user.ca.name in server_trust.named}
    for user in strangers:
        if user.ca is None or user.ca.name not in others or user.common_name in meant:
            continue
        way = _way_in(user, rules, known)
        if way is None:
            continue
        others.remove(user.ca.name)
        policy, role = way
        yield Diagnostic(
            "PGT255",
            f'server "{rules.server.name}" accepts whatever leads to root "{user.ca.root.name}": user "{user.name}" of ca "{user.ca.name}", '
            f'which it does not name, could log in as role "{role}" by policy "{policy.name}"',
            ("server", rules.server.name, "client_ca"),
            hint=f"give clients a root of their own: take `issuer` out of {header('ca', rules.server.client_cas[0].name)}",
        )


def _way_in(user: User, rules: Rules, known: Memberships) -> tuple[Policy, str] | None:
    for line, origin in zip(rules.lines, rules.origin, strict=True):
        if line.method == "cert" or line.option("clientcert") == "verify-full":
            # Where a policy names the user itself, that it does is the mistake.
            if any(user in policy.users and not _names_everybody(policy) for policy in origin):
                continue
            role = _role_for(user, line, rules.idents, rules.server.table.postgres, known)
            if role is not None and origin:
                return origin[0], role
    return None


def _names_everybody(policy: Policy) -> bool:
    return Keyword.ALL in policy.roles


def _role_for(user: User, line: Line, idents: Sequence[IdentLine], version: int, known: Memberships) -> str | None:
    """Give a role of a line that a user's certificate is enough for."""
    identity = distinguished_name(user) if line.option("clientname") == "DN" else user.common_name
    roles = roles_of(line.roles)
    for role in (user.common_name, *sorted(roles.names)):
        if roles.may_have(role, known) and _accepts(line, idents, role, identity, version):
            return role
    return None


def _accepts(line: Line, idents: Sequence[IdentLine], role: str, identity: str, version: int) -> bool:
    try:
        return map_identity(idents, line.option("map"), role, identity, version).accepted
    except Undecidable:
        return True


def strangers(fleet: Fleet, server: Server) -> Iterator[Diagnostic]:
    """Find policies that admit by certificate alone where somebody else certifies, and may certify anything."""
    foreign = trust(fleet, server).foreign
    for policy in fleet.policies_of(server) if foreign else ():
        first = next(other.name for other in policy.servers if trust(fleet, other).foreign)
        if policy.table.auth == "cert" and server.name == first:
            yield Diagnostic(
                "PGT330",
                f'policy "{policy.name}" admits by certificate alone, and anyone certified under ca "{foreign[0]}", whose key is not here, '
                f'may hold any name on server "{server.name}"',
                ("policy", policy.name, "auth"),
                hint="ask for a password too (client_cert with another method), or accept it with a waiver that says who certifies",
            )
