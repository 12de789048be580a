"""Compare the lock with the certificates of the tree: either may be older, and somebody may have changed the lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.certificates.lock_changes import altered_lines
from pgtls.certificates.model import UNTOUCHED
from pgtls.diagnostics import Diagnostic
from pgtls.language.words import listed
from pgtls.pki.model import SELF_SIGNED, Certificate
from pgtls.state import layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from pgtls.certificates.model import Existing, Found
    from pgtls.pki.model import Entity
    from pgtls.state.lock import IssuedLine, Lock
    from pgtls.state.manifest import Manifest


def behind(
    found: Mapping[Entity, Found], known: Mapping[str, IssuedLine], states: Mapping[str, str]
) -> Iterator[Diagnostic]:
    """Report certificates that pgtls wrote and that the lock does not list: the lock is older than the tree."""
    for entity, one in found.items():
        certificate = one.certificate
        if states.get(layout.certificate_path(entity)) not in UNTOUCHED or not isinstance(certificate, Certificate):
            continue
        if certificate.sha256 not in known:
            yield _unknown(entity, certificate)


def unlike(manifest: Manifest, lock: Lock, certificate_in: Callable[[str], Certificate | None]) -> Iterator[Diagnostic]:
    """Report certificates of the tree that the lock lacks, or of which it says something else.

    This is for a tree whose builders left no copy of the lock here. ``certificate_in`` reads a file of the tree.
    """
    altered: list[IssuedLine] = []
    for path, entry in manifest.files.items():
        certificate = certificate_in(path) if path == layout.certificate_path(entry.entity) else None
        if certificate is None:
            continue
        line = lock.by_digest.get(certificate.sha256)
        if line is None:
            yield _unknown(entry.entity, certificate)
        elif line.certificate != certificate or line.entity != entry.entity:
            altered.append(line)
    if altered:
        yield altered_lines(altered)


def _unknown(entity: Entity, certificate: Certificate) -> Diagnostic:
    message = f"the lock does not know the certificate of {entity} (serial {certificate.serial}), "
    hint = "the lock is older than the out directory: pull or restore the newest lock"
    return Diagnostic("PGT554", f"{message}which pgtls has issued", hint=hint)


def ahead(existing: Existing, lock: Lock) -> Iterator[Diagnostic]:
    """Report entities whose last certificate is not in the tree: it is a restored backup or another out directory.

    Another cause is a line that was added to the lock. Whatever it was, a renewal makes what is here the latest again,
    and no line is deleted that may be that of a deployed certificate.
    """
    ours = ((entity, one) for entity, one in existing.found.items() if entity not in existing.outside.signed)
    older = sorted(entity for entity, one in ours if _is_older(one, lock.latest.get(entity), lock))
    others = existing.drift.issued
    added = [entity for entity in older if (lock.latest[entity].ca, lock.latest[entity].serial) in others]
    if added:
        yield Diagnostic(
            "PGT558",
            f"the lock lists later certificates of {listed(added)}, which this out directory does not know",
            hint="if the out directory comes from a backup, or nobody knows these lines: renew and deploy them with "
            "--renew ENTITY or --renew all; if a build into another out directory issued them, use that directory",
            severity="warning",
        )
    if kept := [entity for entity in older if entity not in added]:
        yield Diagnostic(
            "PGT558",
            f"the out directory is older than the lock, which lists later certificates of {listed(kept)}",
            hint="restore a newer one if there is any; or renew and deploy them with --renew ENTITY or --renew all",
            severity="warning",
        )


def lacking(found: Mapping[Entity, Found], lock: Lock, now: datetime) -> Iterator[Diagnostic]:
    """Report servers and users whose certificate the lock lists as valid, and whose files are missing."""
    without = sorted(
        entity
        for entity, one in found.items()
        if entity.kind != "ca" and one.pem is None and one.key == "missing" and lock.opens(entity, now)
    )
    if without:
        what = f"certificate of {without[0]}" if len(without) == 1 else f"certificates of {listed(without)}"
        yield Diagnostic(
            "PGT558",
            f"the lock lists the {what}, and the out directory has neither certificate nor key",
            hint="restore them from a backup; otherwise a build makes new keys, and what was lost stays "
            "valid until it ends or revoke_before revokes it",
            severity="warning",
        )


def _is_older(one: Found, last: IssuedLine | None, lock: Lock) -> bool:
    """Return whether the lock lists a later valid certificate. Ignore the next one of a self-signed server."""
    if last is None or not isinstance(one.certificate, Certificate) or not one.ours or last.ca == SELF_SIGNED:
        return False
    revoked = (last.ca, last.serial) in lock.revocations
    return not revoked and last.certificate.not_before > one.certificate.not_before
