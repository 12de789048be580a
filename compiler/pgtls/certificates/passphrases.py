"""Encrypted keys that stay as they are: whether the passphrase of today still opens those that a build has to do with.

A passphrase may change where pgtls does not see it: in an environment variable, or behind a command. A build that does nothing reads no secret and does not notice;
one that changes anything of an entity looks whether its key opens, before the key is deployed beside a passphrase that is not its own.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from pgtls.certificates.secrets import passphrase_path
from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.pki.model import Unreadable
from pgtls.state import layout

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from pgtls.certificates.model import Decisions
    from pgtls.certificates.observe import Existing
    from pgtls.diagnostics import Path, Severity
    from pgtls.fleet.model import Fleet
    from pgtls.pki.model import Profile


def unopened(fleet: Fleet, decisions: Decisions, touched: Collection[str], existing: Existing) -> Iterator[Diagnostic]:
    """Report the keys that do not open: PGT561, an error where the build needs the key, a warning where it only touches the entity.

    A passphrase that cannot be had is no matter here: whoever needs it says so.
    """
    needed = frozenset(_needed(decisions))
    faults: dict[tuple[Path, bool], list[str]] = defaultdict(list)
    for entity in sorted((needed | set(touched)) & existing.outside.guarded):
        decision = decisions.certificates.get(entity)
        if decision and not decision.new_key and decision.found.stored == "kept" and not _opens(entity, existing):
            faults[passphrase_path(fleet, entity), entity in needed].append(entity)
    for (path, is_needed), entities in faults.items():
        profile = decisions.certificates[entities[0]].profile
        severity: Severity = "error" if is_needed else "warning"
        yield Diagnostic(
            "PGT561", does_not_open(entities, guarded=True), path, way_out(profile, guarded=True), severity=severity
        )


def _needed(decisions: Decisions) -> Iterator[str]:
    """Give the entities whose present key signs something in this build, or gets another certificate."""
    for entity, decision in decisions.certificates.items():
        if decision.reason:
            yield f"ca.{decision.profile.issuer}" if decision.profile.issuer else entity
            if not decision.new_key:
                yield entity
    yield from (crl.ca.entity for crl in decisions.crls.values() if crl.reason)


def _opens(entity: str, existing: Existing) -> bool:
    from pgtls.pki import keys

    pem = existing.content(layout.key_path(entity))
    if pem is None or not keys.is_encrypted(pem):
        return True
    try:
        return not isinstance(keys.load(pem, existing.outside.passphrase(entity), ours=True), Unreadable)
    except Rejected:
        return True


def does_not_open(entities: Sequence[str], *, guarded: bool, most: int = 5) -> str:
    """Say which keys do not open; ``guarded``: the spec has a passphrase for them."""
    shown = ", ".join(entities[:most]) + (f" and {len(entities) - most} more" if len(entities) > most else "")
    keys = "the private key of" if len(entities) == 1 else "the private keys of"
    if not guarded:
        return f"{keys} {shown} is encrypted, and the spec has no passphrase for it"
    return f"the passphrase does not open {keys} {shown}: another one was given when encrypting"


def way_out(profile: Profile, *, guarded: bool, path: str | None = None) -> str:
    """Say what can be done about a key that does not open; ``guarded``: the spec has a passphrase for it. ``path`` is where it lies, if not as usual."""
    path = path or layout.key_path(profile.entity)
    if profile.kind == "ca":
        anew = f"--new-ca {profile.entity.removeprefix('ca.')} would start this CA anew"
    else:
        anew = f"--replace {profile.entity} makes a new key"
    if guarded:
        again = f'encrypt "{path}" with it by openssl pkcs8 -topk8, which asks for the old one'
        return f"give the old passphrase; or {again}; {anew}"
    return f'give the passphrase that it was encrypted with; or decrypt "{path}" by openssl pkcs8; {anew}'
