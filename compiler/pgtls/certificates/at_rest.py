"""Encrypt the private keys of the out directory for the recipients of ``[state]``.

Every file of the kind "key" keeps its name and holds an age file: a build that is opened has the same bytes as one
without recipients. No two age files are equal, so a build writes one only if its content is new or the recipients are
others. The manifest says for whom the keys are encrypted, and what a build would otherwise have to open them for.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from pgtls.certificates.issue import needed_keys
from pgtls.certificates.model import Promote
from pgtls.certificates.secrets import at_rest_fault
from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.language.positions import locate
from pgtls.language.values import public_keys
from pgtls.pki.age import AgeFault, Recipients, is_encrypted
from pgtls.state import layout
from pgtls.state.manifest import AtRest
from pgtls.state.tree import File, Later

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from pgtls.certificates.model import Decisions, Existing, Signer
    from pgtls.certificates.secrets import Secrets
    from pgtls.fleet.model import Fleet
    from pgtls.pki.model import Entity
    from pgtls.state.tree import Tree


def remembered(fleet: Fleet, existing: Existing) -> AtRest | None:
    """Return what the manifest says about the keys of a build. None: they are not encrypted."""
    if not (recipients := _names(fleet)):
        return None
    old = {user.entity for user in fleet.users.values() if "pkcs12-3des" in user.table.formats}
    return AtRest(recipients, existing.outside.guarded, frozenset(old))


def _names(fleet: Fleet) -> tuple[str, ...]:
    """Return the recipients in a fixed order."""
    return tuple(sorted(public_keys(fleet.state.recipients)))


def planned(fleet: Fleet, tree: Tree, existing: Existing, read: Callable[[str], bytes | None]) -> Tree:
    """Mark the keys that stay, and that other recipients can read than the spec says. ``read`` returns a file."""
    recipients = _names(fleet)
    if not (recipients or existing.at_rest):
        return tree
    others = existing.recipients != recipients

    def wrong(path: str, file: File) -> bool:
        if file.kind != "key" or file.content is Later.PENDING:
            return False
        if others or existing.keeps(path) or existing.sealed:
            return others
        content = read(path)
        return content is not None and is_encrypted(content) != bool(recipients)

    return {
        path: replace(file, content=Later.REENCRYPTED) if wrong(path, file) else file for path, file in tree.items()
    }


def protected(
    fleet: Fleet, tree: Tree, plan: Tree, read: Callable[[str], bytes | None], secrets: Secrets
) -> dict[str, File]:
    """Return a tree with its keys as they lie at rest; ``plan`` is the :func:`planned` one.

    Equal keys become equal files, since a copy stays as long as it equals its original.
    """
    encrypts = bool(fleet.state.recipients)
    recipients = cache(lambda: _recipients(fleet))
    encrypt = cache(lambda clear: recipients().encrypt(clear))

    def at_rest(path: str, file: File) -> File:
        marked = path in plan and plan[path].content is Later.REENCRYPTED
        content = file.read()
        if file.kind != "key" or (content is None and not marked):
            return file
        content = (read(path) or b"") if content is None else content
        if not marked and is_encrypted(content) == encrypts:
            return file
        clear = secrets.decrypted(content, path)
        return replace(file, content=encrypt(clear) if encrypts else clear)

    return {path: at_rest(path, file) for path, file in tree.items()}


def _recipients(fleet: Fleet) -> Recipients:
    try:
        return Recipients(fleet.state.recipients)
    except AgeFault as fault:
        raise Rejected(*locate((at_rest_fault(fleet, fault),), fleet.source)) from None


def faults(
    fleet: Fleet,
    tree: Tree,
    decisions: Decisions,
    existing: Existing,
    converted: Collection[Entity],
    read: Callable[[str], bytes | None],
    secrets: Secrets,
) -> Iterator[Diagnostic]:
    """Report what keeps a build from encrypting the keys that it writes, and from opening those that it needs.

    All keys at rest have the same recipients, so it opens one of them.
    """
    try:
        if fleet.state.recipients and any(
            file.kind == "key" and file.content is not Later.KEPT for file in tree.values()
        ):
            _recipients(fleet)
        for path in _opened(tree, decisions, existing, converted):
            if (content := read(path)) is not None and is_encrypted(content):
                secrets.decrypted(content, path)
                return
    except Rejected as rejected:
        yield from rejected.diagnostics


def _opened(tree: Tree, decisions: Decisions, existing: Existing, converted: Collection[Entity]) -> Iterator[str]:
    """Yield the keys of the out directory that a build opens."""
    for entity in sorted(needed_keys(decisions, existing, converted)):
        if entity not in existing.outside.lent and entity not in existing.brought:
            promoted = isinstance(decisions.certificates.get(entity), Promote)
            yield layout.path(entity, layout.SERVER_NEXT_KEY) if promoted else layout.key_path(entity)
    yield from (_key_of(one.signer) for one in decisions.retired if one.reason and one.signer)
    packed = {file.entity for path, file in tree.items() if path.endswith(".zip") and file.content is Later.PENDING}
    for path, file in tree.items():
        if file.content is Later.REENCRYPTED or (file.entity in packed and file.content is Later.KEPT):
            yield path


def _key_of(signer: Signer) -> str:
    return signer.directory + layout.CA_KEY


def with_signers(decisions: Decisions, secrets: Secrets) -> Decisions:
    """Open the keys of CAs that left the spec and whose CRL is signed again."""
    retired = tuple(
        replace(one, signer=one.signer._replace(key=secrets.decrypted(one.signer.key, _key_of(one.signer))))
        if one.reason and one.signer
        else one
        for one in decisions.retired
    )
    return replace(decisions, retired=retired)
