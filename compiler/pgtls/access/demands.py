"""What policies and bundles demand of clients: the sslmode and channel binding of each user, connection by connection.

No server checks these demands, so they are no part of a line: users who share a role share a line, and each of them has
its own policies and its own bundle.
"""

from __future__ import annotations

from functools import cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

from pgtls.access.bundles import BINDINGS
from pgtls.hba.model import Keyword, Member, Name
from pgtls.language.models import SSLMODES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pgtls.access.bundles import ChannelBinding
    from pgtls.access.classes import Class
    from pgtls.access.model import Entry
    from pgtls.fleet.model import Fleet, Policy
    from pgtls.hba.model import Database, Line, Role
    from pgtls.language.models import SslMode

    Demands = Mapping[str, "Demand"]
    """Demands on a connection by whom they concern: a user, ``+role``, "all roles", or "" if no policy says."""


class Bundled(NamedTuple):
    """What the service of a bundle sets."""

    mode: SslMode
    binding: ChannelBinding | None


class Demand(NamedTuple):
    """What a client must do: ``mode`` and ``bound`` (to a channel) by its policies, ``bundled`` by its bundle."""

    mode: SslMode | None = None
    bound: bool = False
    bundled: Bundled | None = None

    @property
    def is_met(self) -> bool:
        """Tell whether the bundle demands exactly what the policies do."""
        own = self.mode, self.bound
        return self.bundled is None or (self.bundled.mode, self.bundled.binding == "require") == own

    @property
    def steps(self) -> frozenset[str]:
        """Everything that it demands: a weaker demand lacks some of it."""
        found = {f"mode {one}" for one in _up_to(SSLMODES, self.mode)} | ({"channel binding"} if self.bound else set())
        if self.bundled:
            found |= {f"bundle {one}" for one in _up_to(SSLMODES, self.bundled.mode)}
            found |= {f"bundle binding {one}" for one in _up_to(BINDINGS, self.bundled.binding)}
        return frozenset(found)


def _up_to(weakest_first: Sequence[str], one: str | None) -> Sequence[str]:
    return weakest_first[1 : weakest_first.index(one) + 1] if one else ()


def paired(old: Demands, new: Demands) -> dict[tuple[Demand, Demand], list[str]]:
    """Pair the demands of two states, with whom each pair concerns.

    A client that is new may have taken the place of any that is gone, or joined the others: each pair in which it must
    do less counts.
    """
    found: dict[tuple[Demand, Demand], list[str]] = {}
    for who in sorted(old.keys() & new.keys()):
        found.setdefault(_comparable(old[who], new[who]), []).append(who)
    former = [old[who] for who in sorted(old.keys() - new.keys())] or list(old.values())
    for who in sorted(new.keys() - old.keys()):
        for pair in dict.fromkeys(_comparable(one, new[who]) for one in former):
            if pair[0].steps - pair[1].steps:
                found.setdefault(pair, []).append(who)
    return found or {_comparable(*(min(one.values(), key=lambda d: len(d.steps)) for one in (old, new))): [""]}


def _comparable(old: Demand, new: Demand) -> tuple[Demand, Demand]:
    """Compare bundles only where there are two: a service that comes or goes weakens no other."""
    both = old.bundled is not None and new.bundled is not None
    return (old, new) if both else (old._replace(bundled=None), new._replace(bundled=None))


class Clients:
    """The demands on all clients of one state of a spec."""

    def __init__(self, fleet: Fleet, entries: Mapping[str, tuple[Entry, ...]]) -> None:
        self._known = fleet.memberships
        self.services: dict[str, dict[tuple[str, ...], Bundled]] = {name: {} for name in fleet.servers}
        """By server, then by user, role, place and database."""
        for user, of_user in entries.items():
            for entry in of_user:
                key, found = _key(user, entry), self.services[entry.server.name]
                found[key] = _weaker(found.get(key), Bundled(entry.sslmode, entry.channel_binding))
        self._asking = {server.name: _asking(fleet.policies_of(server)) for server in fleet.servers.values()}

    def asked(self, server: str, line: Line, origin: Sequence[Policy], role: str) -> Demands:
        """Return the demands of a line's policies on the clients of a role, apart from their bundles.

        A policy counts, too, whose connections the line decides because another policy asks for the same.
        """
        found: dict[str, list[Policy]] = {}
        for who, policy in self._concerning(server, role):
            if policy in origin or (
                origin and _is_alike(policy, origin[0]) and _meet(policy.databases, line.databases)
            ):
                found.setdefault(who, []).append(policy)
        return {who: _demand(policies) for who, policies in found.items()} or {"": _demand(origin)}

    def with_bundles(self, asked: Demands, server: str, role: str, connection: Class) -> Demands:
        """Add what the bundles of users set for a class of connections."""
        return {
            who: demand._replace(bundled=self._service(server, who, role, connection)) for who, demand in asked.items()
        }

    def _concerning(self, server: str, role: str) -> Iterator[tuple[str, Policy]]:
        users, terms = self._asking[server]
        yield from users.get(role, ())
        for term, policy in terms:
            if term is Keyword.ALL:
                yield "all roles", policy
            elif isinstance(term, Member) and self._known.member(role, term.role) is not False:
                yield f"+{term.role}", policy

    def _service(self, server: str, user: str, role: str, connection: Class) -> Bundled | None:
        """Return the service by which the bundle of a user reaches a class: its database's own, or the one for all."""
        address, database = connection.address.example, connection.database.example
        places = ("near", "far") if address != "local" and _is_loopback(address) else ("far",)
        names = (f"={database}", "")
        keys = ((user, role, place, name) for place in places for name in names)
        return next((one for key in keys if (one := self.services[server].get(key))), None)


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


def _key(user: str, entry: Entry) -> tuple[str, ...]:
    database = "=replication" if entry.replication else "" if entry.database is None else f"={entry.database}"
    return (user, entry.role, "near" if entry.hostaddr else "far", database)


def _weaker(one: Bundled | None, other: Bundled) -> Bundled:
    """Return the weaker of two services of one database, as of a server with several identities."""
    if one is None or one == other:
        return other
    ranks = (None, *BINDINGS)
    return Bundled(min(one.mode, other.mode, key=SSLMODES.index), min(one.binding, other.binding, key=ranks.index))


def _demand(policies: Sequence[Policy]) -> Demand:
    modes = [policy.sslmode for policy in policies if policy.sslmode]
    return Demand(max(modes, key=SSLMODES.index, default=None), any(map(_binds, policies)))


def _binds(policy: Policy) -> bool:
    return policy.table.auth == "scram-sha-256" and policy.table.channel_binding == "require"


@cache
def _is_loopback(address: str) -> bool:
    return ip_address(address.split()[0]).is_loopback
