"""Evidence that what the last build made is deployed, as somebody says it or ``pgtls verify`` sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.certificates.opening import content
from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.language.words import suggestion
from pgtls.pki.model import Entity, Unreadable
from pgtls.state import generations, layout
from pgtls.state.deployed import Evidence
from pgtls.state.out_directory import check_owner, inspect
from pgtls.state.provenance import last_build

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pgtls.state.deployed import Witness
    from pgtls.state.generations import Generation
    from pgtls.state.lock import Lock


def evidence_of(
    out: str, lock: Lock, entities: Sequence[str], by: Witness, now: datetime, reason: str = ""
) -> tuple[Evidence, ...]:
    """Return evidence that the last build of each entity is deployed. "all" names everything that it made.

    Raise :class:`Rejected`: PGT508 (nothing was built here), PGT520 (nor is it empty), PGT540 (it is of another user),
    PGT509 (no entity of that name), PGT587 or PGT588 (no build wrote what is there).
    """
    check_owner(out)  # of another user, it cannot be read, and root would leave a file that no build takes
    past = generations.read(out)
    manifest = last_build(out) if past else None
    if not past or manifest is None:
        inspect(out)
        hint = "name the out directory with --out" if lock.issued else "run pgtls build first"
        raise Rejected(Diagnostic("PGT508", f'no build is recorded in "{out}"', hint=hint))
    names = sorted(past) if "all" in entities else list(dict.fromkeys(entities))
    if unknown := [name for name in names if name not in past]:
        known = "entities are server.NAME, pooler.NAME or user.NAME"
        named = " or ".join(f'"{entity}"' for entity in past if entity.name == unknown[0])
        meant = f"did you mean {named}?" if named else suggestion(unknown[0], past)
        hint = meant or f"{known}, and it must have been built"
        raise Rejected(Diagnostic("PGT509", f'the last build made nothing to deploy of "{unknown[0]}"', hint=hint))
    return tuple(_evidence(out, past[Entity(name)][-1], lock, by, now, reason) for name in names)


def _evidence(out: str, last: Generation, lock: Lock, by: Witness, now: datetime, reason: str) -> Evidence:
    from pgtls.pki.facts import read as certificates

    line = lock.by_serial.get(last.certificates[0]) if last.certificates else None
    pem = content(out, layout.path(last.entity, layout.CLIENT_TRUST))
    trusted = certificates(pem) if pem else ()
    trust = () if isinstance(trusted, Unreadable) else tuple(sorted(one.sha256 for one in trusted))
    return Evidence(last.entity, last.ids[-1], line.certificate.sha256 if line else None, trust, by, now, reason)
