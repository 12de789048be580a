"""Generations: what earlier builds made of each server and bundle, as far as its peers can tell the difference.

A server or a client runs the files of some build, perhaps not of the last one. The file in the private directory keeps
what rollouts are judged by (:mod:`pgtls.rollout`), oldest first. Its facts are public. Without it, the lock tells less.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias

from pgtls.pki.model import Entity
from pgtls.state import files
from pgtls.state.lock import instant, timestamp
from pgtls.state.names import GENERATIONS_PATH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pgtls.state.deployed import Evidence

VERSION = 1


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation of a server's or a client's files.

    ``ids`` name the files that builds made, the last ones last: several where no peer can tell them apart. ``facts``
    are what peers can tell (:mod:`pgtls.rollout.facts`). ``certificates`` are (CA, serial), of a server one for each of
    its identities; ``ends`` is when the last of them ends. ``first`` is when a build first made these facts with this
    first certificate: builds since then may differ in CRLs and settings, which no peer can tell. None: unknown.
    """

    entity: Entity
    ids: tuple[str, ...]
    built: datetime
    facts: Mapping[str, Any]
    certificates: tuple[tuple[str, str], ...] = ()
    ends: datetime | None = None
    first: datetime | None = None


History: TypeAlias = "Mapping[Entity, tuple[Generation, ...]]"
"""By entity, oldest first; the last one is of the last build."""


def identity(one: Generation, settings: str) -> str:
    """Return what names a generation: a digest of its facts, its certificate, and the settings of a server."""
    said = _encode([one.facts, one.certificates, settings])
    return sha256(said.encode(errors="surrogatepass")).hexdigest()[:16]


def read(out: str) -> History | None:
    """Read the generations of an out directory; None where there are none, or where they cannot be read."""
    try:
        lines = files.read(os.path.join(out, GENERATIONS_PATH)).splitlines()
        first, *rest = json.loads(b"[%s]" % b",".join(lines))  # several times faster than line by line
        if first["pgtls_generations"] != VERSION:
            return None
        found: dict[Entity, list[Generation]] = {}
        for one in map(_generation, rest):
            found.setdefault(one.entity, []).append(one)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return {entity: tuple(mine) for entity, mine in found.items()}


def render(history: History) -> bytes:
    """Return the file: a header, then one generation a line."""
    lines = (_fields(one) for entity in sorted(history) for one in history[entity])
    file = BytesIO()  # a line at a time: a big tree has many
    for line in chain(({"pgtls_generations": VERSION},), lines):
        file.write(f"{_encode(line)}\n".encode(errors="backslashreplace"))
    return file.getvalue()


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _fields(one: Generation) -> dict[str, Any]:
    return {
        "entity": one.entity,
        "ids": one.ids,
        "built": timestamp(one.built),
        "certificates": one.certificates,
        "ends": one.ends and timestamp(one.ends),
        "first": one.first and timestamp(one.first),
        "facts": one.facts,
    }


def _generation(fields: Mapping[str, Any]) -> Generation:
    ends, first = fields["ends"], fields.get("first")
    return Generation(
        Entity(fields["entity"]),
        tuple(fields["ids"]),
        instant(fields["built"]),
        dict(fields["facts"]),
        tuple((str(ca), str(serial)) for ca, serial in fields["certificates"]),
        ends and instant(ends),
        first and instant(first),
    )


def extended(known: Sequence[Generation], made: Generation, *, revoking: bool) -> tuple[Generation, ...]:
    """Add the generation of a build to the earlier ones; one with the same facts takes its place.

    A build that changes nothing, and whose CRLs for the entity are not ``revoking``, leaves them as they are.
    """
    if not revoking and known and (known[-1].facts, known[-1].ids[-1:]) == (made.facts, made.ids):
        return tuple(known)
    same = [one for one in known if one.facts == made.facts]
    names = dict.fromkeys(name for one in same for name in one.ids if name not in made.ids)
    new = replace(made, ids=(*names, *made.ids)[-_IDS:], first=_first(same, made))
    return (*(one for one in known if one not in same), new)


def serials(one: Generation) -> tuple[str, ...]:
    """Return the serial numbers of the certificates: a CA may have had another NAME."""
    return tuple(serial for _, serial in one.certificates)


def _first(same: Sequence[Generation], made: Generation) -> datetime | None:
    """Return when a build first made what a build makes now, of its ``same`` facts; None if one of them may have."""
    firsts = [one.first for one in same if serials(one)[:1] == serials(made)[:1] or not {*made.ids}.isdisjoint(one.ids)]
    return None if None in firsts else min(filter(None, firsts), default=made.built)


_IDS = 64
"""The most names that a generation keeps: a renewal every week for a year."""


def in_use(known: Sequence[Generation], evidence: Evidence | None, now: datetime) -> tuple[Generation, ...]:
    """Return the generations that may be in use: those since the one that is known to be deployed.

    One whose certificate has ended serves nobody, unless it is a bundle that also connects without one.
    """
    known = _since(known, evidence)
    last = known[-1:]
    return tuple(one for one in known if one.ends is None or one.ends > now or one in last or _shows_none(one))


def kept(known: Sequence[Generation], evidence: Evidence | None, now: datetime) -> tuple[Generation, ...]:
    """Return the generations that stay in the file: those since the one that is known to be deployed.

    The last ones whose certificate has ended stay, too: after a build with a fast clock, they may still be in use.
    """
    known = _since(known, evidence)
    used = in_use(known, None, now)
    forgotten = [one for one in known if one not in used][:-_ENDED]
    return tuple(one for one in known if one not in forgotten)


_ENDED = 64
"""The most generations with an ended certificate that the file keeps of an entity."""


def _since(known: Sequence[Generation], evidence: Evidence | None) -> Sequence[Generation]:
    """Return the generations since the one that is known to be deployed.

    A build may make a generation a second time. Evidence from before that build says nothing about the generations
    between: each of them may have been deployed since. Generations before evidence from the machine that builds are
    not in the file any more.
    """
    for position, one in enumerate(known):
        if evidence and evidence.generation in one.ids and one.built <= evidence.at:
            return known[position:]
    return known


def _shows_none(one: Generation) -> bool:
    return any(not entry["certificate"] for entry in one.facts.get("entries", ()))
