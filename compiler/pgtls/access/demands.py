"""What policies demand of clients: the sslmode and channel binding of each user, connection by connection.

No server checks these demands, so they are no part of a line: users who share a role share a line, and each of them has
its own policies. What their bundles demand is compared service by service (:mod:`pgtls.access.service_changes`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pgtls.hba.model import Keyword, Member, Name
from pgtls.language.models import SSLMODES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pgtls.fleet.model import Fleet, Policy
    from pgtls.hba.model import Database, Line, Role
    from pgtls.language.models import SslMode

    Demands = Mapping[str, "Demand"]
    """Demands on a connection by whom they concern: a user, ``+role``, "all roles", or "" if no policy says."""


class Demand(NamedTuple):
    """What a client must do: its ``mode``, and whether its channel must be ``bound``."""

    mode: SslMode | None = None
    bound: bool = False

    @property
    def steps(self) -> frozenset[str]:
        """Everything that it demands: a weaker demand lacks some of it."""
        modes = SSLMODES[1 : SSLMODES.index(self.mode) + 1] if self.mode else ()
        return frozenset((*(f"mode {one}" for one in modes), *(("channel binding",) if self.bound else ())))


def paired(old: Demands, new: Demands) -> dict[tuple[Demand, Demand], list[str]]:
    """Pair the demands of two states, with whom each pair concerns.

    A client that is new may have taken the place of any that is gone, or joined the others: each pair in which it must
    do less counts.
    """
    found: dict[tuple[Demand, Demand], list[str]] = {}
    for who in sorted(old.keys() & new.keys()):
        found.setdefault((old[who], new[who]), []).append(who)
    former = [old[who] for who in sorted(old.keys() - new.keys())] or list(old.values())
    for who in sorted(new.keys() - old.keys()):
        for pair in dict.fromkeys((one, new[who]) for one in former):
            if pair[0].steps - pair[1].steps:
                found.setdefault(pair, []).append(who)
    before, after = (min(one.values(), key=lambda demand: len(demand.steps)) for one in (old, new))
    return found or {(before, after): [""]}


class Clients:
    """The demands on all clients of one state of a spec."""

    def __init__(self, fleet: Fleet) -> None:
        self._known = fleet.memberships
        self._asking = {server.name: _asking(fleet.policies_of(server)) for server in fleet.servers.values()}

    def asked(self, server: str, line: Line, origin: Sequence[Policy], role: str) -> Demands:
        """Return the demands of a line's policies on the clients of a role.

        A policy counts, too, whose connections the line decides because another policy asks for the same.
        """
        found: dict[str, list[Policy]] = {}
        for who, policy in self._concerning(server, role):
            if policy in origin or (
                origin and _is_alike(policy, origin[0]) and _meet(policy.databases, line.databases)
            ):
                found.setdefault(who, []).append(policy)
        return {who: _demand(policies) for who, policies in found.items()} or {"": _demand(origin)}

    def _concerning(self, server: str, role: str) -> Iterator[tuple[str, Policy]]:
        users, terms = self._asking[server]
        yield from users.get(role, ())
        for term, policy in terms:
            if term is Keyword.ALL:
                yield "all roles", policy
            elif isinstance(term, Member) and self._known.member(role, term.role) is not False:
                yield f"+{term.role}", policy


def _asking(policies: Sequence[Policy]) -> tuple[dict[str, list[tuple[str, Policy]]], list[tuple[Role, Policy]]]:
    """Return the users that policies name by role, and the groups that they name."""
    users: dict[str, list[tuple[str, Policy]]] = {}
    for policy in policies:
        for user in policy.users:
            for role in user.roles:
                users.setdefault(role, []).append((user.name, policy))
    return users, [(term, policy) for policy in policies for term in policy.roles if not isinstance(term, Name)]


def _is_alike(one: Policy, other: Policy) -> bool:
    """Return whether two policies make a server ask for the same."""
    return _asks(one) == _asks(other)


def _asks(policy: Policy) -> tuple[object, ...]:
    return policy.table.auth, policy.table.auth_options, policy.asks_certificate, policy.requires_tls, policy.local


def _meet(some: Sequence[Database], others: Sequence[Database]) -> bool:
    """Return whether lists of databases may have one in common. "all" does not mean physical replication."""
    one, other = ({term for term in terms if term is not Keyword.REPLICATION} for terms in (some, others))
    wide = one and other and any(not isinstance(term, Name) for term in one | other)
    return bool(wide) or not set(some).isdisjoint(others)


def _demand(policies: Sequence[Policy]) -> Demand:
    modes = [policy.sslmode for policy in policies if policy.sslmode]
    return Demand(max(modes, key=SSLMODES.index, default=None), any(map(_binds, policies)))


def _binds(policy: Policy) -> bool:
    return policy.table.auth == "scram-sha-256" and policy.table.channel_binding == "require"
