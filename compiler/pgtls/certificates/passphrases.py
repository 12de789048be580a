"""Check that the present passphrase opens the unchanged encrypted keys that a build needs or delivers.

A passphrase may change where pgtls does not see it: in an environment variable, or behind a command. A build that
changes nothing reads no secret. A build that changes files of an entity tries its key before it delivers a passphrase
that does not open it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from pgtls.certificates.model import Issue, makes_key
from pgtls.diagnostics import Diagnostic
from pgtls.fleet.fields import place_of
from pgtls.language.words import listed
from pgtls.pki.model import Entity, ca_entity
from pgtls.state import layout

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from pgtls.certificates.model import Decisions, Existing
    from pgtls.diagnostics import Path, Severity
    from pgtls.fleet.model import Fleet
    from pgtls.pki.model import Profile


def to_try(decisions: Decisions, touched: Collection[Entity], existing: Existing) -> tuple[Entity, ...]:
    """Return the entities whose encrypted key this build needs or delivers: the passphrase must open it."""
    return tuple(
        entity
        for entity in sorted((_needed(decisions, ()) | set(touched)) & existing.outside.guarded)
        if (decision := decisions.certificates.get(entity))
        and not makes_key(decision)
        and decision.found.stored == "kept"
    )


def unopened(
    fleet: Fleet, decisions: Decisions, converted: Collection[Entity], locked: Sequence[Entity]
) -> Iterator[Diagnostic]:
    """Report the keys that do not open: an error if the build needs the key, a warning if it only delivers it.

    ``converted`` are the entities whose key it writes in another format than PEM.
    """
    needed = _needed(decisions, converted)
    faults: dict[tuple[Path, bool], list[Entity]] = defaultdict(list)
    for entity in locked:
        faults[place_of(fleet, entity, "passphrase"), entity in needed].append(entity)
    for (path, is_needed), entities in faults.items():
        profile = decisions.certificates[entities[0]].profile
        severity: Severity = "error" if is_needed else "warning"
        yield Diagnostic(
            "PGT561", does_not_open(entities, guarded=True), path, way_out(profile, guarded=True), severity=severity
        )


def _needed(decisions: Decisions, converted: Collection[Entity]) -> frozenset[Entity]:
    """Return the entities whose present key signs something in this build, or gets another certificate or format."""
    issued = [decision for decision in decisions.certificates.values() if isinstance(decision, Issue)]
    signing = (ca_entity(one.profile.issuer) if one.profile.issuer else one.profile.entity for one in issued)
    certified = (one.profile.entity for one in issued if not one.new_key)
    return frozenset((*signing, *certified, *converted, *(crl.entity for crl in decisions.crls.values() if crl.reason)))


def does_not_open(entities: Sequence[str], *, guarded: bool) -> str:
    """Return the message about keys that do not open; ``guarded``: the spec has a passphrase for them."""
    keys = "the private key of" if len(entities) == 1 else "the private keys of"
    if not guarded:
        return f"{keys} {listed(entities)} is encrypted, and the spec has no passphrase for it"
    return f"the passphrase does not open {keys} {listed(entities)}: another one was given when encrypting"


def way_out(profile: Profile, *, guarded: bool, path: str | None = None) -> str:
    """Return the hint for a key that does not open; ``guarded``: the spec has a passphrase for it."""
    path = path or layout.key_path(profile.entity)
    if profile.kind == "ca":
        renewed = f"--new-ca {profile.entity.name} replaces this CA"
    else:
        renewed = f"--replace {profile.entity} makes a new key"
    if guarded:
        again = f'encrypt "{path}" with it by openssl pkcs8 -topk8, which asks for the old one'
        return f"give the old passphrase; or {again}; {renewed}"
    return f'give the passphrase that it was encrypted with; or decrypt "{path}" by openssl pkcs8; {renewed}'
