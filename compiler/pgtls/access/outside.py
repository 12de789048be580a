"""Report how a change of the spec changes what lies outside of it: files, programs, and the ways to them.

The same words may name another file or program than before: in another directory, or by way of a link.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.access.change_words import shown
from pgtls.access.comparisons import ENTRIES, FIELDS, Field, ProtectionChange, reviewed
from pgtls.access.successors import kinds
from pgtls.fleet.files import place_in, references
from pgtls.language.astray import astray, is_open
from pgtls.language.files import OUTSIDE, is_digest
from pgtls.language.matching import normal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pgtls.access.successors import Pair
    from pgtls.fleet.files import Reference
    from pgtls.fleet.model import Fleet


def outside(old: Fleet, new: Fleet, pairs: Iterable[Pair]) -> Iterator[ProtectionChange]:
    """Compare what two states read outside of the spec. ``pairs`` are the entities that are compared."""
    yield from _include(old, new)
    yield from _references(old, new, pairs)
    yield from _same_words(old, new)


def _include(old: Fleet, new: Fleet) -> Iterator[ProtectionChange]:
    """Find ways by which a build may read other files than those that are compared."""
    patterns = [[normal(pattern) for pattern in fleet.source.patterns] for fleet in (old, new)]
    if added := [one for one in patterns[1] if one not in patterns[0] and is_open(new.source, one)]:
        gone = [pattern for pattern in patterns[0] if pattern not in patterns[1]]
        yield ProtectionChange(
            "weakened", "include", "a build may read files that no commit has", *map(shown, (gone, added))
        )
    before, after = (astray(fleet.source, _paths(fleet)) for fleet in (old, new))
    for path, way in after.items():
        if (was := before.get(path)) != way:
            yield ProtectionChange("weakened", "spec", f"it reads files by way of {path}", shown(was), way)


def _paths(fleet: Fleet) -> Iterator[str]:
    return (path for one in references(fleet).values() for path in one.paths)


def _references(old: Fleet, new: Fleet, pairs: Iterable[Pair]) -> Iterator[ProtectionChange]:
    """Compare the files and programs that both states name: other ones may have the same path."""
    before, after = _by_entity(old), _by_entity(new)
    renamed = {(pair.before.entity, pair.after.entity) for pair in pairs if pair.renamed}
    same = {(entity, entity) for entity in before.keys() & after.keys()}
    for former, entity in sorted(same | renamed):
        was, will = before.get(former, {}), after.get(entity, {})
        for field in sorted(was.keys() & will.keys()):
            if states := _other(old, was[field], new, will[field]):
                yield ProtectionChange("weakened", entity, field, *states)


def _same_words(old: Fleet, new: Fleet) -> Iterator[ProtectionChange]:
    """Find what new entities name in another directory by words that others had.

    :mod:`pgtls.access.protection` compares the fields of a new entity with those of others, by their words.
    """
    places: dict[tuple[str, str], set[str]] = {}
    for one in references(old).values():
        places.setdefault((one.use, one.name), set()).add(place_in(old, one))
    known = {"state", *(one.entity for one in old.identities())}
    known |= {one.entity for kind in kinds(old).values() for one in kind.values()}
    for (entity, field), one in references(new).items():
        had, place = places.get((one.use, one.name), set()), place_in(new, one)
        if entity not in known and had and place not in had and one.is_relative and _counts_if_new(entity, field, one):
            states = f"{one.name} in {', '.join(sorted(had))}", f"{one.name} in {place}"
            yield ProtectionChange("weakened", entity, field, *states)


def _counts_if_new(entity: str, field: str, reference: Reference) -> bool:
    """Return whether what a new entity names is a finding if its words are new: see :func:`_same_words`."""
    name = field.partition(".")[0]
    known = FIELDS[entity.partition(".")[0]][name]
    if not isinstance(known, Field) or not known.of_new:
        return False
    return reference.use == "program" or (known.judge is reviewed and name not in ENTRIES)


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
