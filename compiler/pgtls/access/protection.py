"""Report how a change of the spec changes protection: trust, TLS, settings, host names, waivers.

Every field of every table is compared as :data:`~pgtls.access.comparisons.FIELDS` says. The reports of access
(:mod:`pgtls.access.diff`), certificates (:mod:`pgtls.certificates.spec_change`) or trust cover the other fields.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel

from pgtls.access.comparisons import FIELDS, Effect, Field, constraints, exposing, limit, reviewed
from pgtls.access.successors import MOST, formers, host
from pgtls.access.trust import trust
from pgtls.fleet.files import place_in, public_files, references
from pgtls.fleet.model import Authority, Identity, Policy, Pooler, User
from pgtls.language.astray import astray, is_open
from pgtls.language.files import OUTSIDE, is_digest
from pgtls.language.matching import normal
from pgtls.language.values import Secret, plain
from pgtls.pki.facts import read as certificates
from pgtls.pki.model import Unreadable
from pgtls.postgres.settings import is_harmless

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from pgtls.access.answers import Side
    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.files import Reference
    from pgtls.fleet.model import Fleet, Server
    from pgtls.language.values import NameConstraints, Table

    _Thing = Authority | Identity | User | Policy


@dataclass(frozen=True, slots=True)
class ProtectionChange:
    """One protection, before and after. ``what`` names a field or a kind of trust."""

    kind: Effect
    entity: str
    what: str
    before: str
    after: str


_ORDER: tuple[Effect, ...] = ("weakened", "granted", "strengthened", "lost", "changed")


def protection(old: Side, new: Side) -> tuple[ProtectionChange, ...]:
    """Compare two states, entity by entity."""
    changes = [
        *_trust(old, new),
        *_unclear(old.fleet, new.fleet),
        *_names(old.fleet, new.fleet),
        *_include(old.fleet, new.fleet),
        *_keys(old.fleet, new.fleet),
        *_single("lint", old.fleet.lint, new.fleet.lint),
        *_single("state", old.fleet.state, new.fleet.state),
        *_entities(old.fleet, new.fleet),
        *_accepted(old.waived, new.waived),
    ]
    return tuple(sorted(dict.fromkeys(changes), key=lambda c: (_ORDER.index(c.kind), c.entity, c.what, c.before)))


# --- fields ----------------------------------------------------------------------------------------------------------


class _Pair(NamedTuple):
    """An entity before and after. ``renamed``: it has another name, and takes the place of the one before."""

    kind: str
    before: _Thing
    after: _Thing
    renamed: bool = False


def _kinds(fleet: Fleet) -> dict[str, Mapping[str, _Thing]]:
    cas = {ca.name: ca for ca in (*fleet.cas.values(), fleet.public) if ca}
    poolers = {pooler.name: pooler for pooler in fleet.poolers}
    return {"ca": cas, "server": fleet.clusters, "pooler": poolers, "user": fleet.users, "policy": fleet.policies}


def _pairs(old: Fleet, new: Fleet) -> Iterator[_Pair]:
    """Yield what is to be compared. A new name hides no weakening: see :func:`_place`."""
    for (kind, before), after in zip(_kinds(old).items(), _kinds(new).values(), strict=True):
        yield from (_Pair(kind, before[name], after[name]) for name in sorted(before.keys() & after.keys()))
        gone = [before[name] for name in sorted(before.keys() - after.keys())]
        for name in sorted(after.keys() - before.keys()):
            place = _place(after[name])
            yield from (_Pair(kind, former, after[name], renamed=True) for former in gone if _place(former) & place)


def _entities(old: Fleet, new: Fleet) -> Iterator[ProtectionChange]:
    pairs = tuple(_pairs(old, new))
    for pair in pairs:
        changes = (*_compared(pair.kind, pair.before, pair.after), *_above(pair.before, pair.after))
        yield from (change for change in changes if change.kind == "weakened" or not pair.renamed)
    yield from _references(old, new, pairs)
    for (kind, before), after in zip(_kinds(old).items(), _kinds(new).values(), strict=True):
        for name in sorted(after.keys() - before.keys()):
            yield from _new(kind, after[name], before.values())
    for name in sorted(new.servers.keys() - old.servers.keys()):
        for identity in new.servers[name].sni:
            yield from _new("server", identity, [*old.identities()])


def _place(thing: _Thing) -> frozenset[object]:
    """Return what an entity stands for, apart from its name: host names, roles, or which roles use which database."""
    table = _table(thing)
    if isinstance(thing, Identity):
        return frozenset(map(host, table.hosts))
    if isinstance(thing, User):
        return frozenset((*thing.roles, thing.common_name))
    if isinstance(thing, Policy):
        roles = {role for user in thing.users for role in user.roles} | {*thing.roles}
        return frozenset((role, plain(one)) for role in roles for one in table.databases)
    return frozenset((table.common_name,)) if table.common_name else frozenset()


def _single(key: str, was: Table, will: Table) -> Iterator[ProtectionChange]:
    """Compare a table without a name."""
    for name, field in FIELDS[key].items():
        if isinstance(field, Field):
            yield from _field(key, name, field, getattr(was, name), getattr(will, name))


def _compared(kind: str, before: _Thing, after: _Thing) -> Iterator[ProtectionChange]:
    rejects = "reject" in (getattr(before.table, "auth", ""), getattr(after.table, "auth", ""))
    for name, field in FIELDS[kind].items():
        if isinstance(field, Field):
            for change in _field(after.entity, name, field, _value(before, name), _value(after, name)):
                yield replace(change, kind=_OPPOSITE[change.kind]) if rejects and name == "until" else change


_OPPOSITE: Mapping[Effect, Effect] = {"weakened": "strengthened", "strengthened": "weakened"}
"""The meaning of an end date for a policy that rejects."""


def _value(thing: _Thing, name: str) -> Any:
    """Return the value of a field. If it is unset, return the default that other fields determine."""
    table: Any = _table(thing)
    match name:
        case "validity" | "crl_validity" | "sslmode" if hasattr(thing, name):
            return getattr(thing, name)
        case "formats" if table.passphrase is not None:
            return tuple("pkcs8-der (not encrypted)" if one == "pkcs8-der" else one for one in table.formats)
        case _:
            return getattr(table, name)


def _table(thing: _Thing) -> Any:
    """Return the table of the spec."""
    return thing.written if isinstance(thing, Pooler) else thing.table


def _field(entity: str, name: str, field: Field, was: Any, will: Any) -> Iterator[ProtectionChange]:
    one, other = field.key(was), field.key(will)
    if name in _ENTRIES:
        yield from _entries(entity, name, one, other)
    elif one != other:
        yield ProtectionChange(field.judge(one, other), entity, name, _shown(was), _shown(will))


def _entries(entity: str, name: str, was: Mapping[str, Any], will: Mapping[str, Any]) -> Iterator[ProtectionChange]:
    for key in sorted(was.keys() | will.keys()):
        one, other = was.get(key), will.get(key)
        if one != other:
            kind: Effect = "changed" if name == "settings" and is_harmless(key) else "weakened"
            yield ProtectionChange(kind, entity, f"{name}.{key}", _shown(one), _shown(other))


_ENTRIES = ("settings", "auth_options")
"""Fields that are tables: each of their entries is compared separately."""


def _new(kind: str, thing: _Thing, known: Collection[_Thing]) -> Iterator[ProtectionChange]:
    """Compare a new entity with a plain one. A value that another entity of its kind already had does not weaken."""
    fields = type(_table(thing)).model_fields
    for name, field in FIELDS[kind].items():
        if not isinstance(field, Field) or not field.of_new or name not in fields:
            continue
        default, will = fields[name].default, _value(thing, name)
        others = (
            ()
            if name == "waiver"
            else (field.key(_value(other, name)) for other in known if hasattr(_table(other), name))
        )
        if name in _ENTRIES:
            had = {entry for other in others for entry in other.items()}
            will = dict(entry for entry in field.key(will).items() if entry not in had and _is_suspect(name, entry[1]))
        elif field.key(will) == field.key(default) or field.key(will) in others:
            continue
        yield from (c for c in _field(thing.entity, name, field, default, will) if c.kind == "weakened")


def _is_suspect(name: str, value: Any) -> bool:
    """Return whether an entry of a new entity may weaken protection: in a new policy, an option that runs a program."""
    return name == "settings" or (isinstance(value, Secret) and value.command is not None)


def _shown(value: Any) -> str:
    """Write a value of the spec in words. Show a secret by its source."""
    match value:
        case None | () | {}:
            return "none"
        case bool():
            return str(value).lower()
        case Secret():
            return value.described
        case datetime():
            return f"{value:%Y-%m-%dT%H:%M:%SZ}"
        case timedelta():
            return f"{value.total_seconds() / 86400:g}d"
        case tuple() | list():
            return ", ".join(map(_shown, value))
        case dict():
            return ", ".join(f"{key} = {_shown(one)}" for key, one in value.items())
        case BaseModel():
            return ", ".join(f"{key} = {_shown(one)}" for key, one in value if one not in (None, (), {}))
        case _:
            return str(value)


# --- the CAs above, and what lies outside of the spec ----------------------------------------------------------------


def _above(before: _Thing, after: _Thing) -> Iterator[ProtectionChange]:
    """Compare what the CAs above a CA restrict, if these are other CAs: what they have themselves is their change."""
    if not (isinstance(before, Authority) and isinstance(after, Authority)):
        return
    was, will = before.chain[1:], after.chain[1:]
    if [ca.name for ca in was] == [ca.name for ca in will]:
        return
    lost = [names for names in _constraints(was) if not any(_restricts(one, names) for one in _constraints(will))]
    for names in lost:
        kept = tuple(_constraints(will))
        yield ProtectionChange("weakened", after.entity, "name_constraints of its issuers", _shown(names), _shown(kept))
    depths = _path_length(was), _path_length(will)
    if depths[0] != depths[1] and limit(*depths) == "weakened":
        yield ProtectionChange("weakened", after.entity, "path_length of its issuers", *map(_shown, depths))
    if (dropped := [ca.name for ca in will if not ca.table.crl]) and all(ca.table.crl for ca in was):
        yield ProtectionChange("weakened", after.entity, "crl of its issuers", "true", f"false ({_shown(dropped)})")


def _constraints(cas: Iterable[Authority]) -> Iterator[NameConstraints]:
    return (ca.table.name_constraints for ca in cas if ca.table.name_constraints)


def _restricts(one: NameConstraints, other: NameConstraints) -> bool:
    """Return whether constraints permit no more than others."""
    return one == other or constraints(other, one) == "strengthened"


def _path_length(cas: Iterable[Authority]) -> int | None:
    """Return how many CAs the CAs of a chain, from the lowest up, allow below the lowest one."""
    limits = [ca.table.path_length - above for above, ca in enumerate(cas) if ca.table.path_length is not None]
    return min(limits, default=None)


def _references(old: Fleet, new: Fleet, pairs: Iterable[_Pair]) -> Iterator[ProtectionChange]:
    """Compare the files and programs that both states name: other ones may have the same path."""
    before, after = _by_entity(old), _by_entity(new)
    renamed = {(pair.before.entity, pair.after.entity) for pair in pairs if pair.renamed}
    same = {(entity, entity) for entity in before.keys() & after.keys()}
    for former, entity in sorted(same | renamed):
        was, will = before.get(former, {}), after.get(entity, {})
        for field in sorted(was.keys() & will.keys()):
            if states := _other(old, was[field], new, will[field]):
                yield ProtectionChange("weakened", entity, field, *states)
    yield from _same_words(old, new)


def _same_words(old: Fleet, new: Fleet) -> Iterator[ProtectionChange]:
    """Find what new entities name in another directory by words that others had: :func:`_new` compares words alone."""
    places: dict[tuple[str, str], set[str]] = {}
    for one in references(old).values():
        places.setdefault((one.use, one.name), set()).add(place_in(old, one))
    known = {"state", *(one.entity for one in old.identities())}
    known |= {one.entity for kind in _kinds(old).values() for one in kind.values()}
    for (entity, field), one in references(new).items():
        had, place = places.get((one.use, one.name), set()), place_in(new, one)
        if entity not in known and had and place not in had and one.is_relative and _counts_if_new(entity, field, one):
            states = f"{one.name} in {', '.join(sorted(had))}", f"{one.name} in {place}"
            yield ProtectionChange("weakened", entity, field, *states)


def _counts_if_new(entity: str, field: str, reference: Reference) -> bool:
    """Return whether what a new entity names is a finding if its words are new: see :func:`_new`."""
    name = field.partition(".")[0]
    known = FIELDS[entity.partition(".")[0]][name]
    if not isinstance(known, Field) or not known.of_new:
        return False
    return reference.use == "program" or (known.judge is reviewed and name not in _ENTRIES)


def _by_entity(fleet: Fleet) -> dict[str, dict[str, Reference]]:
    found: dict[str, dict[str, Reference]] = {}
    for (entity, field), reference in references(fleet).items():
        found.setdefault(entity, {})[field] = reference
    return found


def _other(old: Fleet, was: Reference, new: Fleet, will: Reference) -> tuple[str, str] | None:
    """Describe how two references differ although their text may be the same. The content of keys is not read.

    A link in a revision does not show what a build would read.
    """
    places = place_in(old, was), place_in(new, will)
    moved = places[0] != places[1] and (was.is_relative or will.is_relative)
    if not moved and was.name != will.name:
        return None  # the comparison of the field reports this
    if was.use != "public":
        return (f"{was.name} in {places[0]}", f"{will.name} in {places[1]}") if moved else None
    digests = old.source.reader.digest(was.path), new.source.reader.digest(will.path)
    unknown = moved or digests[0] == _LINK
    if digests[0] == digests[1] and (is_digest(digests[0]) or not unknown):
        return None
    if OUTSIDE in digests and not moved:
        return None
    states = ("other content" if is_digest(digest) else "cannot be read" for digest in digests)
    before, after = (f"{one.name} ({state})" for one, state in zip((was, will), states, strict=True))
    return before, after


_LINK = OSError.__name__
"""The digest of a link in a revision."""


# --- what else a build may include ------------------------------------------------------------------------------------


def _include(old: Fleet, new: Fleet) -> Iterator[ProtectionChange]:
    """Find ways by which a build may read other files than those that are compared."""
    patterns = [[normal(pattern) for pattern in fleet.source.patterns] for fleet in (old, new)]
    if added := [one for one in patterns[1] if one not in patterns[0] and is_open(new.source, one)]:
        gone = [pattern for pattern in patterns[0] if pattern not in patterns[1]]
        yield ProtectionChange(
            "weakened", "include", "a build may read files that no commit has", *map(_shown, (gone, added))
        )
    before, after = (astray(fleet.source, _paths(fleet)) for fleet in (old, new))
    for path, way in after.items():
        if (was := before.get(path)) != way:
            yield ProtectionChange("weakened", "spec", f"it reads files by way of {path}", _shown(was), way)


def _paths(fleet: Fleet) -> Iterator[str]:
    return (path for one in references(fleet).values() for path in one.paths)


# --- trust -----------------------------------------------------------------------------------------------------------


def _trust(old: Side, new: Side) -> Iterator[ProtectionChange]:
    former = formers(old.fleet, new.fleet)
    for what, trusted in (("accepts client certificates of", _accepted_cas), ("is trusted through", _trusted_cas)):
        known = frozenset(one for server in old.fleet.servers.values() for one in trusted(old, server))
        for name, server in new.fleet.servers.items():
            will = trusted(new, server)
            before = [
                trusted(old, old.fleet.servers[one]) for one in former.get(name, (name,)) if one in old.fleet.servers
            ]
            # Nobody depends on a new server yet, so CAs that the spec adds together with it weaken no protection.
            # CAs with a foreign key do, and CAs that the server accepts without naming them.
            was = frozenset.intersection(*before) if before else will & (known | new.fleet.cas.keys() | {_SELF})
            if was != will:
                yield ProtectionChange(
                    exposing(was, will), server.entity, what, _shown(sorted(was)), _shown(sorted(will))
                )


def _unclear(old: Fleet, new: Fleet) -> Iterator[ProtectionChange]:
    """Find new servers that may replace so many that their access is not compared."""
    for name, others in formers(old, new).items():
        if len(others) > MOST:
            what = "replaces one of several servers"
            yield ProtectionChange("weakened", new.servers[name].entity, what, _shown(others), "not compared")


def _names(old: Fleet, new: Fleet) -> Iterator[ProtectionChange]:
    """Find new servers that can pretend to be another one: with its key, or a certificate in a name of it."""
    known = {identity.entity: identity for identity in old.identities()}
    present = {identity.entity for identity in new.identities()}
    files = public_files(old), public_files(new)
    keys = _key_files(old), _key_files(new)
    for identity in new.identities():
        if identity.entity in known:
            continue
        for other in known.values():
            # A server that is renamed keeps its names, and its key has the same origin.
            if other.entity not in present and _origin(other, files[0]) == _origin(identity, files[1]):
                continue
            if not keys[1].get(identity.entity, frozenset()).isdisjoint(keys[0].get(other.entity, ())):
                holders = other.entity, f"{other.entity}, {identity.entity}"
                yield ProtectionChange("weakened", other.entity, "its key is on other machines", *holders)
            for name in other.table.hosts:
                if any(_proves(own, name) for own in identity.table.hosts):
                    what = f"its certificate proves the name {name}"
                    yield ProtectionChange("weakened", identity.entity, what, other.entity, identity.entity)


def _key_files(fleet: Fleet) -> dict[str, frozenset[str]]:
    """Return what tells the keys in ``key_file`` apart, by entity: their path, and the certificates that they fit."""
    named, top = references(fleet), os.path.dirname(fleet.source.files[0].path) or "."
    found: dict[str, frozenset[str]] = {}
    for (entity, field), one in named.items():
        if field == "key_file":
            certificate = named.get((entity, "cert_file"))
            content = _content(fleet, certificate) if certificate else None
            parsed = certificates(content) if content else ()
            keys = () if isinstance(parsed, Unreadable) else (each.spki_sha256 for each in parsed[:1])
            found[entity] = frozenset((os.path.relpath(one.path, top), *keys))
    return found


def _content(fleet: Fleet, reference: Reference) -> bytes | None:
    try:
        return fleet.source.reader.read(reference.path)
    except OSError:  # reported elsewhere
        return None


def _origin(identity: Identity, files: Mapping[tuple[str, str], tuple[str, str]]) -> tuple[object, ...]:
    """Return where the key of an identity comes from: a file by its path and, unless it is a key, its content."""
    named = ((name, getattr(identity.table, name)) for name in ("csr_file", "cert_file", "key_file", "external"))
    return tuple((value, files.get((identity.entity, name))) for name, value in named)


def _proves(own: str, name: str) -> bool:
    """Return whether a certificate with a name of its own is good for another; a wildcard is one label (RFC 6125)."""
    one, other = host(own), host(name)
    return one == other or (one.startswith("*.") and one[1:] == f".{other.partition('.')[2]}")


def _keys(old: Fleet, new: Fleet) -> Iterator[ProtectionChange]:
    """Find users with access whose key goes to more machines: to poolers and standbys that log in as them."""
    before, after = _logging_in(old), _logging_in(new)
    admitted = {user.name for policy in old.policies.values() if policy.follows is None for user in policy.users}
    for user in sorted(old.users.keys() & after.keys()):
        was, will = before.get(user, {}), after[user]
        more = len(will) > len(was) or any(host not in was.values() for name, host in will.items() if name not in was)
        if (user in admitted or user in before) and more:
            holders = (", ".join(was) or "none", ", ".join(will))
            yield ProtectionChange("weakened", f"user.{user}", "its key is on other machines", *holders)


def _logging_in(fleet: Fleet) -> dict[str, dict[str, str]]:
    """Return the poolers and standbys that log in as each user, with the first host of each."""
    found: dict[str, dict[str, str]] = {}
    for name, server in sorted(fleet.servers.items()):
        user = server.written.user if isinstance(server, Pooler) else server.table.replication_user
        if user:
            found.setdefault(user, {})[name] = host(server.table.hosts[0])
    return found


_SELF = "its own certificate"


def _accepted_cas(side: Side, server: Server) -> frozenset[str]:
    """Describe the CAs whose client certificates a server accepts."""
    found = trust(side.fleet, server, left=side.rules[server.name].left)
    foreign = {ca: f"{ca} (anyone certified under it)" for ca in found.foreign}
    others = {ca: f"{ca} (not named, but under the same root)" for ca in found.others}
    return frozenset(({ca: ca for ca in found.named} | others | foreign).values())


def _trusted_cas(side: Side, server: Server) -> frozenset[str]:
    """Describe the CAs whose server certificates the clients of a server accept: all CAs under their trusted roots."""
    cas = tuple(ca for one in server.identities for ca in (one.ca, *one.trust) if ca)
    anchors = {ca.anchor for ca in cas}
    under = {ca.name: ca.name for ca in side.fleet.cas.values() if ca.anchor in anchors}
    foreign = [ca.name for ca in side.fleet.cas.values() if ca.name in under and ca.trusted_only]
    foreign += [ca.foreign_root.subject for ca in cas if ca.foreign_root]
    special = {"every public CA" for one in server.identities if one.system}
    special |= {_SELF for one in server.identities if one.self_signed}
    return frozenset((under | {ca: f"{ca} (anyone certified under it)" for ca in foreign}).values()) | special


# --- findings --------------------------------------------------------------------------------------------------------


def _accepted(old: Iterable[Diagnostic], new: Iterable[Diagnostic]) -> Iterator[ProtectionChange]:
    """Compare the findings that waivers accept: each newly accepted finding is a weakening."""
    before, after = (Counter((_about(d), d.code) for d in found) for found in (old, new))
    said = {(_about(d), d.code): d for d in (*old, *new)}
    for key in sorted(before.keys() | after.keys()):
        if before[key] == after[key]:
            continue
        found, more = said[key], after[key] > before[key]
        accepted = found.accepted
        why = f"accepted by {accepted.by}: {accepted.reason or 'ignored'}" if accepted else ""
        states = ("not accepted", why) if more else (why, "not accepted")
        what = f"finding {key[1]}: {found.message}"
        yield ProtectionChange("weakened" if more else "strengthened", key[0], what, *states)


def _about(diagnostic: Diagnostic) -> str:
    return ".".join(map(str, diagnostic.path[:2])) or "lint"
