"""What CRLs that others signed have said in any build: it is remembered, and no older one takes their place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from pgtls.certificates.model import UNTOUCHED
from pgtls.diagnostics import Diagnostic
from pgtls.pki import published
from pgtls.pki.crl import parse
from pgtls.pki.model import Unreadable, ca_entity
from pgtls.state import layout
from pgtls.state.tree import File

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgtls.certificates.model import Existing, Outside
    from pgtls.pki.published import Lists
    from pgtls.state.out_directory import Observed
    from pgtls.state.tree import Tree


def remembered(existing: Existing) -> Tree:
    """Return the CRLs that ``crl_file`` ever brought, the newest of each CA: what they revoke is not forgotten.

    They outlive their table, its key and ``crl = false``. No server gets them from there.
    """
    found: dict[str, File] = {}
    for name, brought in existing.outside.crl_files.items():
        path = layout.brought_crls(name)
        lists = published.remembered(_lists(existing.contents.get(path)), brought)
        pem = b"".join(one.public_bytes(Encoding.PEM) for one in lists)
        found |= {path: File(pem, layout.PUBLIC, "crl", ca_entity(name))} if pem else {}
    return found


def lists_in(files: Observed, read: Callable[[str], bytes | None]) -> Lists:
    """Read all CRLs of a tree: one of several equal files, and each file that somebody changed."""
    crls = {path: entry.sha256 for path, entry in files.entries.items() if entry.kind == "crl"}
    whole = {digest: path for path, digest in crls.items() if files.states.get(path) in UNTOUCHED}
    changed = (path for path in crls if files.states.get(path) not in UNTOUCHED)
    lists = (one for path in (*whole.values(), *changed) for one in _lists(read(path)))
    return tuple({one.signature: one for one in lists}.values())


def _lists(pem: bytes | None) -> Lists:
    lists = parse(pem or b"")
    return () if isinstance(lists, Unreadable) else lists


def replaced_by_older(outside: Outside, lists: Lists) -> Iterator[Diagnostic]:
    """Report CRLs in ``crl_file`` that are older than those that an earlier build had: PGT577.

    A revocation that only the newer one has would be undone. A CA whose key is here signs its own. ``lists`` are all
    CRLs of the tree.
    """
    here = {one for its in outside.own_crls.values() for one in its}
    brought = {one: name for name, its in outside.crl_files.items() for one in its if one not in here}
    before = tuple(published.published(lists, tuple(outside.cas()))) if brought else ()
    for today, older in published.outdated(tuple(brought), before):
        number = f", with number {older.age.number}" if today.date == older.date else ""
        message = (
            f'the CRL in crl_file of ca "{brought[today]}" is of {today.date:%Y-%m-%d %H:%M}, and an earlier build had '
            f"one of {older.date:%Y-%m-%d %H:%M}{number}: what was revoked between would be accepted again"
        )
        place = (*ca_entity(brought[today]).path, "crl_file")
        yield Diagnostic("PGT577", message, place, "bring the newest CRL of this CA")
