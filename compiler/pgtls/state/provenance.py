"""Which build wrote the manifest of an out directory, and whether what builds remember beside it is whole."""

from __future__ import annotations

import os
from hashlib import sha256
from shlex import quote
from typing import TYPE_CHECKING

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.state import files, layout, memory, seal
from pgtls.state import manifest as manifests
from pgtls.state.faults import cannot_read, some, unknown_index
from pgtls.state.git_index import IndexFault, blob, blob_id, in_work_tree, is_repository
from pgtls.state.names import MANIFEST, PRIVATE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pgtls.state.manifest import Manifest


def last_build(out: str) -> Manifest | None:
    """Read the manifest for a command that delivers what the last build wrote, without a look at the spec.

    None if there is none. Raise :class:`Rejected` as :func:`pgtls.state.manifest.read` and :func:`with_memory`; with
    PGT587 also outside of a work tree.
    """
    manifest = manifests.read(out)
    if manifest is None:
        return None
    if not _counts(out, manifest):
        raise Rejected(_not_last(out, manifest))
    return with_memory(out, manifest)


def remembers(out: str, manifest: Manifest) -> bool:
    """Return whether what builds on this machine remember counts: it is whole, and nobody else wrote the manifest."""
    return not _altered_memory(out) if has_a_repository(out, manifest) else manifest.last


def _is_earlier(out: str) -> bool:
    """Return whether a build into this out directory wrote a manifest that is not the last one."""
    return seal.closes(seal.of(out), files.read(os.path.join(out, MANIFEST)))


def _counts(out: str, manifest: Manifest) -> bool:
    """Return whether the last build wrote a manifest, or a repository of encrypted keys has brought it.

    Only builders push to that. A checkout around it can write a manifest, but not change its index.
    """
    if manifest.last:
        return True
    if not has_a_repository(out, manifest):
        return False
    if not _in_work_tree(out, around=True):
        return True
    try:
        known = blob(out, MANIFEST)
    except IndexFault as fault:
        raise Rejected(unknown_index(out, fault)) from None
    return known is not None and known == blob_id(files.read(os.path.join(out, MANIFEST)), len(known))


def with_memory(out: str, manifest: Manifest, *, lost: bool = False) -> Manifest:
    """Return a manifest that counts together with what builds remember; one without memory if that is ``lost``.

    Git overwrites and deletes ignored files without asking: a branch that is checked out for a moment is enough. So in
    a work tree, memory that is not there was taken, unless somebody says otherwise. A repository of encrypted keys
    brings the manifests of other builders, and earlier ones: inside another work tree, they count if it has committed
    them. What ``crl_file`` ever brought is in no lock: it must be whole in every tree, as the manifest lists it. Raise
    :class:`Rejected` with PGT587 (an earlier build wrote the manifest, or none) or PGT588 (what else builds remember).
    """
    in_repository = has_a_repository(out, manifest)
    guarded = not in_repository or _in_work_tree(out, around=True)
    expected = guarded and (_has_memory(out) if in_repository else manifest.last)
    altered = _altered_memory(out) if expected else []
    lists = _altered_lists(out, manifest, _is_of_a_ca if in_repository and guarded else layout.has_brought_crls)
    if lost:
        return manifest.strange() if altered or lists or not manifest.last else manifest
    if not _counts(out, manifest) and (_is_earlier(out) or _in_work_tree(out)):
        raise Rejected(_not_last(out, manifest))
    if altered:
        raise Rejected(_not_remembered(out, manifest, altered))
    if lists:
        raise Rejected(_lists_lost(out, manifest, lists))
    return manifest


def _has_memory(out: str) -> bool:
    try:
        return seal.of(out) is not None or memory.is_expected(out)
    except IndexFault as fault:
        raise Rejected(unknown_index(out, fault)) from None


def _altered_memory(out: str) -> list[str]:
    try:
        return memory.altered(out)
    except OSError as error:
        raise Rejected(cannot_read(os.path.join(out, PRIVATE), error)) from None


def _in_work_tree(out: str, *, around: bool = False) -> bool:
    try:
        return in_work_tree(out, around=around)
    except IndexFault as fault:
        raise Rejected(unknown_index(out, fault)) from None


def _altered(out: str, digests: Mapping[str, str]) -> list[str]:
    """Return the files that do not have these digests."""
    return [path for path, digest in sorted(digests.items()) if _content_digest(out, path) != digest]


def _not_last(out: str, manifest: Manifest) -> Diagnostic:
    """Return the diagnostic for a manifest that the last build into this directory did not write: PGT587."""
    earlier = _is_earlier(out)
    message = f'no build into the out directory "{out}" wrote its manifest.json'
    if earlier:
        message = f'an earlier build, and not the last one, wrote manifest.json in the out directory "{out}"'
    if has_a_repository(out, manifest):
        message += ", and its repository has not committed it"
        git = f"git -C {quote(out)}"
        hint = f"read {git} diff; if a checkout around it has changed its files, {git} checkout -- . brings them back"
        return Diagnostic("PGT587", message, hint=hint)
    if not earlier and not _in_work_tree(out):
        return Diagnostic("PGT587", message, hint="run pgtls build: it compares every file with the spec")
    if not earlier:
        message += f", or what a build wrote changed since: {seal.fault(out) or 'the key does not authenticate it'}"
    hint = f"restore the whole directory, {PRIVATE} too, from a backup; {_without_backup(out, manifest)}"
    return Diagnostic("PGT587", message, hint=hint)


def _not_remembered(out: str, manifest: Manifest, altered: list[str]) -> Diagnostic:
    """Return the diagnostic for what a build remembers, and the last one did not write: PGT588."""
    message = f'no build wrote what pgtls remembers in the out directory "{out}": {some(altered)}'
    hint = f"restore these files in {quote(out)} from a backup; {_without_backup(out, manifest)}"
    return Diagnostic("PGT588", message, hint=hint)


def _without_backup(out: str, manifest: Manifest) -> str:
    """Return what to do without memory: nothing else tells a lost revocation from one that never was."""
    lists = _altered_lists(out, manifest)
    crls = f", and with the CRLs that are deployed (here, these are missing or changed: {some(lists)})" if lists else ""
    return (
        f"without one, compare the lock with its history{crls}, then run pgtls build --new-out: "
        "it starts from the lock and reads every file; deploy all that it wrote before the next change, because what "
        "is deployed now is not known any more"
    )


def _lists_lost(out: str, manifest: Manifest, lists: list[str]) -> Diagnostic:
    """Return the diagnostic for CRLs that no build can make again from the lock, or that were taken: PGT588."""
    message = (
        f'CRLs in the out directory "{out}" are missing or changed, and the lock does not replace them: {some(lists)}'
    )
    if not has_a_repository(out, manifest):
        return Diagnostic("PGT588", message, hint=f"restore them from a backup; {_without_backup(out, manifest)}")
    hint = (
        f"restore them: git -C {quote(out)} checkout -- . (a checkout around it can delete them); "
        "if a build is to make them again from the lock alone, run pgtls build --new-out"
    )
    return Diagnostic("PGT588", message, hint=hint)


def _is_of_a_ca(path: str) -> bool:
    return path.startswith(layout.CAS)


def _altered_lists(out: str, manifest: Manifest, concerned: Callable[[str], bool] = _is_of_a_ca) -> list[str]:
    crls = ((path, one.sha256) for path, one in manifest.files.items() if one.kind == "crl" and concerned(path))
    return _altered(out, dict(crls))


def has_a_repository(out: str, manifest: Manifest) -> bool:
    """Return whether a repository of encrypted keys brings the manifests of other builders, and earlier ones."""
    return manifest.at_rest is not None and is_repository(out)


def _content_digest(out: str, path: str) -> str | None:
    try:
        return sha256(files.read(os.path.join(out, path))).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Rejected(cannot_read(os.path.join(out, path), error)) from None
