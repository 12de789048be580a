"""Report how a change of the spec changes protection: trust, TLS, settings, host names, waivers.

Every field of every table is compared as :data:`~pgtls.access.comparisons.FIELDS` says. The reports of access
(:mod:`pgtls.access.diff`), certificates (:mod:`pgtls.certificates.spec_change`) or trust cover the other fields.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pgtls.access import pretenders
from pgtls.access.change_words import shown
from pgtls.access.comparisons import ENTRIES, FIELDS, Effect, Field, ProtectionChange, constraints, limit
from pgtls.access.outside import outside
from pgtls.access.sent import logins, passphrases, secrets
from pgtls.access.successors import MOST, formers, kinds, pairs, table_of, unclear
from pgtls.access.trusted import trusted
from pgtls.fleet.model import Authority
from pgtls.language.values import Secret
from pgtls.postgres.settings import is_harmless

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from pgtls.access.answers import Side
    from pgtls.access.successors import Thing
    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Fleet
    from pgtls.language.values import NameConstraints, Table


_ORDER: tuple[Effect, ...] = ("weakened", "granted", "strengthened", "lost", "changed")


def protection(old: Side, new: Side) -> tuple[ProtectionChange, ...]:
    """Compare two states, entity by entity."""
    changes = [
        *trusted(old, new),
        *_unclear(old.fleet, new.fleet),
        *pretenders.names(old.fleet, new.fleet),
        *pretenders.ports(old.fleet, new.fleet),
        *pretenders.keys(old.fleet, new.fleet),
        *secrets(old.fleet, new.fleet),
        *passphrases(old.fleet, new.fleet),
        *logins(old.fleet, new.fleet),
        *_single("lint", old.fleet.lint, new.fleet.lint),
        *_single("state", old.fleet.state, new.fleet.state),
        *_entities(old.fleet, new.fleet),
        *_accepted(old.waived, new.waived),
    ]
    return ordered(changes)


def ordered(changes: Iterable[ProtectionChange]) -> tuple[ProtectionChange, ...]:
    """Sort changes as a reviewer reads them, each once."""
    return tuple(sorted(dict.fromkeys(changes), key=lambda c: (_ORDER.index(c.kind), c.entity, c.what, c.before)))


# --- fields ----------------------------------------------------------------------------------------------------------


def _entities(old: Fleet, new: Fleet) -> Iterator[ProtectionChange]:
    compared = tuple(pairs(old, new))
    for pair in compared:
        changes = (*_compared(pair.kind, pair.before, pair.after), *_above(pair.before, pair.after))
        told = (change for change in changes if change.kind in ("weakened", "granted") or not pair.renamed)
        yield from (change for change in told if change.what != "hosts" or not pair.moved)
    yield from outside(old, new, compared)
    for (kind, before), after in zip(kinds(old).items(), kinds(new).values(), strict=True):
        for name in sorted(after.keys() - before.keys()):
            yield from _new(kind, after[name], before.values())
    for name in sorted(new.servers.keys() - old.servers.keys()):
        for identity in new.servers[name].sni:
            yield from _new("server", identity, [*old.identities()])


def _single(key: str, was: Table, will: Table) -> Iterator[ProtectionChange]:
    """Compare a table without a name."""
    for name, field in FIELDS[key].items():
        if isinstance(field, Field):
            yield from _field(key, name, field, getattr(was, name), getattr(will, name))


def _compared(kind: str, before: Thing, after: Thing) -> Iterator[ProtectionChange]:
    rejects = "reject" in (getattr(before.table, "auth", ""), getattr(after.table, "auth", ""))
    for name, field in FIELDS[kind].items():
        if isinstance(field, Field):
            for change in _field(after.entity, name, field, _value(before, name), _value(after, name)):
                yield replace(change, kind=_OPPOSITE[change.kind]) if rejects and name == "until" else change


_OPPOSITE: Mapping[Effect, Effect] = {"weakened": "strengthened", "strengthened": "weakened"}
"""The meaning of an end date for a policy that rejects."""


def _value(thing: Thing, name: str) -> Any:
    """Return the value of a field. If it is unset, return the default that other fields determine."""
    table: Any = table_of(thing)
    match name:
        case "validity" | "crl_validity" | "path_length" | "sslmode" if hasattr(thing, name):
            return getattr(thing, name)
        case "formats" if table.passphrase is not None:
            return tuple("pkcs8-der (not encrypted)" if one == "pkcs8-der" else one for one in table.formats)
        case _:
            return getattr(table, name)


def _field(entity: str, name: str, field: Field, was: Any, will: Any) -> Iterator[ProtectionChange]:
    one, other = field.key(was), field.key(will)
    if name in ENTRIES:
        yield from _entries(entity, name, one, other)
    elif one != other:
        yield ProtectionChange(field.judge(one, other), entity, name, shown(was), shown(will))


def _entries(entity: str, name: str, was: Mapping[str, Any], will: Mapping[str, Any]) -> Iterator[ProtectionChange]:
    for key in sorted(was.keys() | will.keys()):
        one, other = was.get(key), will.get(key)
        if one != other:
            kind: Effect = "changed" if name == "settings" and is_harmless(key) else "weakened"
            yield ProtectionChange(kind, entity, f"{name}.{key}", shown(one), shown(other))


def _new(kind: str, thing: Thing, known: Collection[Thing]) -> Iterator[ProtectionChange]:
    """Compare a new entity with a plain one. A value that another entity of its kind already had does not weaken."""
    fields = type(table_of(thing)).model_fields
    for name, field in FIELDS[kind].items():
        if not isinstance(field, Field) or not field.of_new or name not in fields:
            continue
        default, will = fields[name].default, _value(thing, name)
        others = (
            ()
            if name == "waiver"
            else (field.key(_value(other, name)) for other in known if hasattr(table_of(other), name))
        )
        if name in ENTRIES:
            had = {entry for other in others for entry in other.items()}
            will = dict(entry for entry in field.key(will).items() if entry not in had and _is_suspect(name, entry[1]))
        elif field.key(will) == field.key(default) or field.key(will) in others:
            continue
        yield from (c for c in _field(thing.entity, name, field, default, will) if c.kind == "weakened")


def _is_suspect(name: str, value: Any) -> bool:
    """Return whether an entry of a new entity may weaken protection: in a new policy, an option that runs a program."""
    return name == "settings" or (isinstance(value, Secret) and value.command is not None)


# --- the CAs above ----------------------------------------------------------------------------------------------------


def _above(before: Thing, after: Thing) -> Iterator[ProtectionChange]:
    """Compare what the CAs above a CA restrict, if these are other CAs: what they have themselves is their change."""
    if not (isinstance(before, Authority) and isinstance(after, Authority)):
        return
    was, will = before.chain[1:], after.chain[1:]
    if [ca.name for ca in was] == [ca.name for ca in will]:
        return
    lost = [names for names in _constraints(was) if not any(_restricts(one, names) for one in _constraints(will))]
    for names in lost:
        kept = tuple(_constraints(will))
        yield ProtectionChange("weakened", after.entity, "name_constraints of its issuers", shown(names), shown(kept))
    depths = _path_length(was), _path_length(will)
    if depths[0] != depths[1] and limit(*depths) == "weakened":
        yield ProtectionChange("weakened", after.entity, "path_length of its issuers", *map(shown, depths))
    if (dropped := [ca.name for ca in will if not ca.table.crl]) and all(ca.table.crl for ca in was):
        yield ProtectionChange("weakened", after.entity, "crl of its issuers", "true", f"false ({shown(dropped)})")


def _constraints(cas: Iterable[Authority]) -> Iterator[NameConstraints]:
    return (ca.table.name_constraints for ca in cas if ca.table.name_constraints)


def _restricts(one: NameConstraints, other: NameConstraints) -> bool:
    """Return whether constraints permit no more than others."""
    return one == other or constraints(other, one) == "strengthened"


def _path_length(cas: Iterable[Authority]) -> int | None:
    """Return how many CAs the CAs of a chain, from the lowest up, allow below the lowest one."""
    limits = [ca.path_length - above for above, ca in enumerate(cas) if ca.path_length is not None]
    return min(limits, default=None)


# --- several ---------------------------------------------------------------------------------------------------------


def _unclear(old: Fleet, new: Fleet) -> Iterator[ProtectionChange]:
    """Find new entities that may replace so many that they are compared with none: servers by their access, too."""
    found = [("server", new.servers[name], others) for name, others in formers(old, new).items() if len(others) > MOST]
    for kind, thing, others in (*found, *unclear(old, new)):
        what = f"replaces one of several {'CA' if kind == 'ca' else kind}s"
        yield ProtectionChange("weakened", thing.entity, what, shown(others), "not compared")


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
