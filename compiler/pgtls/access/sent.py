"""Report what goes to further places after a change of the spec: secrets of methods, passphrases, and logins.

A build writes the secrets of a method into pg_hba.conf, and the server sends them where the other options say. It does
so for everyone who tries to log in, whatever the policies admit. An option that is not made for a secret may send it
in cleartext (``radiusidentifiers``), or tell it to every client (``scope``).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from pgtls.access.change_words import shown
from pgtls.access.comparisons import ProtectionChange
from pgtls.access.order import demand_of
from pgtls.access.successors import formers, hosts
from pgtls.hba.ways import Way, ways, ways_of_secrets
from pgtls.language.values import Secret, Table
from pgtls.postgres.methods import SECRET_OPTIONS, is_secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pgtls.fleet.model import Authority, Fleet, Policy, Server, User


def _method(policy: Policy) -> tuple[str, Mapping[str, str]]:
    """Return the method of a policy with its options. A secret option stands there as its source."""
    demand = demand_of(policy)
    return demand.method, {name: _source(one) if isinstance(one, Secret) else one for name, one in demand.options}


def _source(secret: Secret) -> str:
    """Return the source of a secret as one word: lists of hosts have blanks between them."""
    return f"({secret.described.replace(' ', '-')})"


def _all_covered(new: Iterable[Way], old: Iterable[Way]) -> bool:
    known = tuple(old)
    return all(any(one.protects_like(other) for other in known) for one in new)


# --- secrets ----------------------------------------------------------------------------------------------------------


class _Holder(NamedTuple):
    """A server that gets a secret, the option that has it, where it is sent, and a policy that brings it there."""

    server: Server
    option: str
    ways: frozenset[Way]
    policy: Policy


def secrets(old: Fleet, new: Fleet) -> Iterator[ProtectionChange]:
    """Find secrets that further servers get, or send elsewhere: who runs these machines reads them.

    A server that has the host of one that had the secret, and is gone, is the same machine.
    """
    before, after = _holders(old), _holders(new)
    for source, holders in after.items():
        had = before.get(source, ())
        gone = [one for one in had if one.server.name not in new.servers]
        brings = [one.policy.entity for one in holders if not _is_known(one, had, gone)]
        if brings:
            yield ProtectionChange(
                "weakened", min(brings), f"who gets the secret {source}", _named(had), _named(holders)
            )


def _named(holders: Iterable[_Holder]) -> str:
    found: dict[str, set[str]] = {}
    for one in holders:
        carried = "" if is_secret(one.option) else f" in {one.option}"
        found.setdefault(f"{_words(one.ways)}{carried}", set()).add(one.server.entity)
    return "; ".join(f"{', '.join(sorted(found[places]))} for {places}" for places in sorted(found)) or "none"


def _is_known(holder: _Holder, had: Iterable[_Holder], gone: Iterable[_Holder]) -> bool:
    """Return whether a server had the secret, and sent it to the same places by an option that keeps it no better."""
    same = [one for one in had if one.server.entity == holder.server.entity]
    same = same or [one for one in gone if hosts(one.server) & hosts(holder.server)]
    same = [one for one in same if holder.option in {one.option, *SECRET_OPTIONS}]
    return bool(same) and _all_covered(holder.ways, (way for one in same for way in one.ways))


def _holders(fleet: Fleet) -> Mapping[str, list[_Holder]]:
    """Return who gets each secret, by its source."""
    found: dict[str, list[_Holder]] = {}
    for policy in fleet.policies.values():
        for option, value in policy.table.auth_options.items():
            if isinstance(value, Secret):
                holders = (
                    _Holder(server, option, ways_of_secrets(*_method(policy)), policy) for server in policy.servers
                )
                found.setdefault(value.described, []).extend(holders)
    return found


def passphrases(old: Fleet, new: Fleet) -> Iterator[ProtectionChange]:
    """Find keys of users and servers that a secret of something else encrypts: who has the files can guess it.

    It is known already where the passphrase of some user, or of some server, was that secret before.
    """
    for before, after, others in (
        (old.users.values(), new.users.values(), [one.servers.values() for one in (old, new)]),
        (old.servers.values(), new.servers.values(), [one.users.values() for one in (old, new)]),
    ):
        known = {secret.normalized for secret, _ in _held(before)}
        of_others: dict[str, dict[Secret, str]] = {}
        for secret, holder in (*chain.from_iterable(map(_held, others)), *_of_neither(old), *_of_neither(new)):
            of_others.setdefault(_last(secret), {})[secret] = holder
        for secret, entity in _held(after):
            holder_of = of_others.get(_last(secret), {}) if secret.normalized not in known else {}
            if found := next((holder for one, holder in holder_of.items() if _may_be(secret, one)), None):
                what = f"who gets the secret {secret.normalized}"
                yield ProtectionChange("weakened", entity, what, found, f"who has the files of {entity}, by guessing")


def _last(secret: Secret) -> str:
    """Return what all spellings of a source have in common."""
    return secret.normalized if secret.path is None else posixpath.basename(secret.path)


def _may_be(one: Secret, other: Secret) -> bool:
    """Return whether two sources may be the same.

    A comparison does not know where the directory of the spec lies on the build machine, nor its links: ``/var/run``
    is ``/run``. So a path that leads out of the directory may be another one with the same end. In a volume of
    Kubernetes, each file is a link to the one in ``..data``.
    """
    if one.path is None or other.path is None:
        return one.normalized == other.normalized
    paths = [_VOLUME.sub("", path) for path in (one.path, other.path)]
    if not any(map(_leads_out, paths)):
        return paths[0] == paths[1]
    ends = [f"/{_LEADING.sub('', path)}" for path in paths]
    return ends[0].endswith(ends[1]) or ends[1].endswith(ends[0])


_LEADING = re.compile(r"^(/+|(\.\./)+)")
_VOLUME = re.compile(r"(?:^|(?<=/))\.\.[^/]+/")


def _leads_out(path: str) -> bool:
    return path.startswith(("/", "../"))


def _of_neither(fleet: Fleet) -> Iterator[tuple[Secret, str]]:
    """Yield the secrets that are neither of users nor of servers, each with what has it."""
    yield from _held((*fleet.cas.values(), *fleet.policies.values()))
    yield from ((secret, "the out directory") for secret in _secrets_in(fleet.state))


def _held(owners: Iterable[Authority | Server | Policy | User]) -> Iterator[tuple[Secret, str]]:
    for owner in owners:
        yield from ((secret, str(owner.entity)) for secret in _secrets_in(owner.table))


def _secrets_in(value: object) -> Iterator[Secret]:
    """Yield the secrets in a table, or in what it contains."""
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, Table):
        for name in type(value).model_fields:
            yield from _secrets_in(getattr(value, name))
    elif isinstance(value, Mapping):
        yield from (secret for each in value.values() for secret in _secrets_in(each))
    elif isinstance(value, tuple):
        yield from (secret for each in value for secret in _secrets_in(each))


# --- logins -----------------------------------------------------------------------------------------------------------


def logins(old: Fleet, new: Fleet) -> Iterator[ProtectionChange]:
    """Find further services that decide logins to a server: passwords go there, and who runs them can log in.

    A new server that replaces none may ask every service that another server asked.
    """
    former, before, after = formers(old, new), _deciding(old), _deciding(new)
    everywhere = frozenset(way for known in before.values() for way in known)
    found: dict[tuple[str, str, str], list[str]] = {}
    for name, will in after.items():
        known = [frozenset(before[one]) for one in former.get(name, (name,)) if one in before]
        was = frozenset.intersection(*known) if known else everywhere
        if brings := [policy.entity for way, policy in will.items() if not _all_covered((way,), was)]:
            row = min(brings), _words(was), _words(will)
            found.setdefault(row, []).append(new.servers[name].entity)
    for (entity, *states), servers in found.items():
        yield ProtectionChange("weakened", entity, f"what decides logins to {shown(servers)}", *states)


def _words(found: Iterable[Way]) -> str:
    return ", ".join(sorted(map(str, found))) or "none"


def _deciding(fleet: Fleet) -> Mapping[str, Mapping[Way, Policy]]:
    """Return the services that decide logins to each server, each with a policy that names it."""
    found: dict[str, dict[Way, Policy]] = {name: {} for name in fleet.servers}
    for policy in fleet.policies.values():
        for server in policy.servers:
            found[server.name] |= dict.fromkeys(ways(*_method(policy)), policy)
    return found
