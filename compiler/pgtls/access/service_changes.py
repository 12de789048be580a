"""Report which services of bundles do less to protect their users after a change of the spec.

Programs depend on the name of a service: it may set nothing that is weaker or different. People depend on a server, a
role and a database: the service by which they reach them may not be weaker under another name either. A server may
admit the same as before: users who share a role share its lines, and each has a bundle of its own policies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from pgtls.access.change_words import shown
from pgtls.access.comparisons import ENVIRONMENT, SERVICE, ProtectionChange
from pgtls.access.successors import MOST, former_users, formers, host
from pgtls.postgres.libpq import OAUTH_SINCE, authentications

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from pgtls.access.answers import Side
    from pgtls.access.model import Entry
    from pgtls.fleet.model import Fleet, User

    Compiled = Callable[[User, Sequence[Entry]], "Bundle"]
    """Compiles the bundle of a user, as a build does."""


class Bundle(NamedTuple):
    """What the bundle of a user does: its services by their names, and the variables of its environment.

    A service has the entries that it dials. It sets what the first of them asks for.
    """

    entries: Sequence[Entry]
    services: Mapping[str, tuple[Entry, ...]]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ServiceChange:
    """What services do that is weaker than before, in the bundles of some users. ``since`` is as in a change of access.

    Without services, it is what the environment of the bundles sets.
    """

    entity: str
    what: str
    before: str
    after: str
    services: tuple[str, ...]
    users: tuple[str, ...]
    since: str = ""

    def covers(self, other: ServiceChange) -> bool:
        """Return whether this says all that another one says, at once or later."""
        alike = replace(self, services=other.services, users=other.users, since=other.since) == other
        return alike and {*other.services} <= {*self.services} and {*other.users} <= {*self.users}

    @property
    def told(self) -> ProtectionChange:
        """The row of a report."""
        named = f"service{'s' * (len(self.services) > 1)} {shown(self.services)}"
        what = f"{self.what.format(named)}, of {shown(self.users)}{f', from {self.since} on' * bool(self.since)}"
        return ProtectionChange("weakened", self.entity, what, self.before, self.after)


def service_changes(old: Side, new: Side, compiled: Compiled) -> tuple[ServiceChange, ...]:
    """Compare the bundle of each user with that of its name, or of those that it replaces."""
    found: dict[tuple[str, str, str, str], tuple[dict[str, None], dict[str, None]]] = {}
    users, servers = former_users(old.fleet, new.fleet), _heirs(old.fleet, new.fleet)
    for user, entries in new.entries.items():
        if not users.get(user):
            continue
        will = compiled(new.fleet.users[user], entries)
        for former in users[user]:
            was = compiled(old.fleet.users[former], old.entries[former])
            for service, weaker in _weaker(was, will, servers):
                services, concerned = found.setdefault(weaker, ({}, {}))
                services |= {service: None} if service else {}
                concerned[user] = None
    return tuple(ServiceChange(*weaker, tuple(services), tuple(who)) for weaker, (services, who) in found.items())


_Weaker = tuple[str, str, str, str]
"""The entity, what is weaker, and both states."""


def _weaker(was: Bundle, will: Bundle, servers: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, _Weaker]]:
    """Yield what a bundle does that is weaker, each with the name of a service, or "" for its environment."""
    found = list[tuple[str, _Weaker]]()
    for name, dialled in will.services.items():
        if known := was.services.get(name):
            found += [(name, less) for less in (*_further(known, dialled), *_less(known[0], dialled[0], SERVICE))]
    for entry, one in _reaching(was.entries, will.entries, servers):
        if entry.name != one.name:
            found += [(f"{entry.name} (now {one.name})", less) for less in _less(entry, one, _PROTECTING)]
    yield from found
    yield from (("", less) for less in _environment(was, will, {what for _, (_, what, _, _) in found}))


def _further(was: Sequence[Entry], will: Sequence[Entry]) -> Iterator[_Weaker]:
    """Yield which further server a service dials under its name."""
    known = {place for entry in was for place in _places(entry)}
    further = [entry.identity.entity for entry in will if known.isdisjoint(_places(entry))]
    if further:
        yield min(further), "the servers of {}", _servers(was), _servers(will)


def _places(entry: Entry) -> tuple[object, ...]:
    """Return what makes an entry the same for its clients: its server, or the host and port that they dial."""
    return entry.identity.entity, (host(entry.hostaddr or entry.identity.table.hosts[0]), entry.server.table.port)


def _servers(entries: Iterable[Entry]) -> str:
    return ", ".join(dict.fromkeys(entry.identity.entity for entry in entries))


# --- what a service sets ----------------------------------------------------------------------------------------------

_TARGET = ("role", "database", "replication")
"""What a service reaches on its server."""
_PROTECTING = frozenset(SERVICE) - {*_TARGET}
_sets, _reaches = attrgetter(*SERVICE), attrgetter(*_TARGET)


def _less(was: Entry, will: Entry, names: Collection[str]) -> Iterator[_Weaker]:
    """Yield which of some parameters of a service protect less, and the further requests that its clients answer."""
    entity = will.identity.entity
    for name in names if _sets(was) != _sets(will) else ():
        field, one, other = SERVICE[name], getattr(was, name), getattr(will, name)
        before, after = field.key(one), field.key(other)
        if before != after and field.judge(before, after) == "weakened":
            yield entity, _what(name), shown(one), shown(other)
    answered = _answered(was), _answered(will)
    if not answered[1] <= answered[0]:
        before, after = (", ".join(sorted(one)) for one in answered)
        yield entity, _ANSWERS, before, after


_ANSWERS = "what the clients of {} answer"


def _what(parameter: str) -> str:
    return _ANSWERS if parameter == "answers" else f"the {parameter} of {{}}"


def _answered(entry: Entry) -> frozenset[str]:
    """Return the requests of a server that a client answers, in the words of ``require_auth``."""
    return _requests(frozenset((policy.table.auth, policy.asks_certificate) for policy in entry.policies))


@cache
def _requests(asked: frozenset[tuple[str, str]]) -> frozenset[str]:
    words = authentications({method for method, _ in asked}, OAUTH_SINCE)
    without = any(certificate == "none" for _, certificate in asked)
    return frozenset((*words, *(("no certificate",) if without else ())))


def _environment(was: Bundle, will: Bundle, told: Collection[str]) -> Iterator[_Weaker]:
    """Yield each variable that protects less, unless services are told to do so: it has what all of them demand."""
    if not was.entries or not will.entries:
        return
    known = {entry.identity.entity for entry in was.entries}
    entities = [entry.identity.entity for entry in will.entries]
    entity = next((one for one in entities if one not in known), entities[0])
    for name, (parameter, field) in ENVIRONMENT.items():
        one, other = was.environment.get(name), will.environment.get(name)
        before, after = field.key(one), field.key(other)
        if before != after and field.judge(before, after) == "weakened" and _what(parameter) not in told:
            yield entity, f"{name} in the environment of bundles", one or "none", other or "none"


# --- by what service people reach the same ----------------------------------------------------------------------------


def _heirs(old: Fleet, new: Fleet) -> Mapping[str, Sequence[str]]:
    """Return, for each server of before, those that it may be now."""
    found: dict[str, list[str]] = {name: [name] for name in old.servers if name in new.servers}
    for name, others in formers(old, new).items():
        for former in others if len(others) <= MOST else ():
            found.setdefault(former, []).append(name)
    return found


def _reaching(
    was: Sequence[Entry], will: Sequence[Entry], servers: Mapping[str, Sequence[str]]
) -> Iterator[tuple[Entry, Entry]]:
    """Yield each service with those by which its user reaches the same from now on."""
    known = {_target(entry, entry.server.name): entry for entry in will}
    for entry in was:
        for server in servers.get(entry.server.name, ()):
            if same := known.get(_target(entry, server)):
                yield entry, same
            else:
                others = [one for one in will if one.server.name == server and _also_reaches(one, entry)]
                least = min((_distance(entry, one) for one in others), default=None)
                yield from ((entry, one) for one in others if _distance(entry, one) == least)


def _target(entry: Entry, server: str) -> tuple[Any, ...]:
    """Return what tells a service apart, whatever it is called, on a server of that name."""
    return (server, _host_asked(entry), entry.hostaddr is None, *_reaches(entry))


def _host_asked(entry: Entry) -> str:
    """Return the host name of a further identity, or "" for the default one."""
    return entry.identity.name.removeprefix(entry.server.name)


def _also_reaches(one: Entry, entry: Entry) -> bool:
    """Return whether a service of any or one database reaches what another one did, over the network or loopback."""
    alike = (one.role, one.replication, _host_asked(one)) == (entry.role, entry.replication, _host_asked(entry))
    return alike and (one.database == entry.database or None in (one.database, entry.database))


def _distance(entry: Entry, one: Entry) -> tuple[bool, bool]:
    return (one.hostaddr is None) != (entry.hostaddr is None), one.database != entry.database
