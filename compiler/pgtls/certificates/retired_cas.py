"""Keep the keys of CAs that left the spec, and sign their CRLs until their last certificate expires."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from pgtls.certificates.brought_crls import remembered
from pgtls.certificates.model import UNTOUCHED, CrlDecision, Signer
from pgtls.certificates.revocation import from_the_future, listing
from pgtls.diagnostics import Diagnostic
from pgtls.pki.age import is_encrypted
from pgtls.pki.model import RevocationList, Unreadable, ca_entity
from pgtls.state import layout
from pgtls.state.tree import File, Later

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from pgtls.certificates.model import Existing
    from pgtls.fleet.model import Fleet
    from pgtls.pki.model import Certificate, Entity, Revocation
    from pgtls.state.lock import IssuedLine, RevokedLine
    from pgtls.state.manifest import Entry
    from pgtls.state.tree import Tree

_VALIDITY = timedelta(days=365)


def left_files(listed: Mapping[str, Entry], cas: Collection[str]) -> Iterator[str]:
    """Yield the files in a manifest that belong to CAs that are not among ``cas`` (entities)."""
    for path, entry in listed.items():
        if path.startswith(layout.CAS) and (path.startswith(layout.RETIRED) or entry.entity not in cas):
            yield path


def names(fleet: Fleet, existing: Existing) -> frozenset[str]:
    """Return the NAMEs of CAs that left the spec and can sign."""
    return frozenset(left.entry.entity.name for left in _authorities(fleet, existing) if left.key)


def leaving(fleet: Fleet, existing: Existing) -> frozenset[str]:
    """Return the NAMEs of CAs that the last build had and the spec no longer has."""
    return frozenset(
        entry.entity.name for path, entry in _listed(fleet, existing) if not path.startswith(layout.RETIRED)
    )


def decide(
    fleet: Fleet, existing: Existing, revoked: Sequence[RevokedLine], now: datetime, *, doubted: bool
) -> tuple[tuple[CrlDecision, ...], tuple[Diagnostic, ...]]:
    """Decide about the CRL of every such CA. A CRL that cannot be signed is a warning. ``doubted`` is the clock."""
    found, problems = [], []
    for left in _authorities(fleet, existing):
        one = _retired(left, existing, revoked, now, doubted=doubted)
        if one and left.key:
            found.append(one)
        elif one and one.due and existing.files.get(left.here + layout.CA_KEY) in (None, *UNTOUCHED):
            problems.append(_silent(left.entry.entity))  # a damaged key is reported below
    return tuple(found), (*problems, *_damaged(fleet, existing, now))


def _silent(entity: Entity) -> Diagnostic:
    """Report a CA whose certificates are still valid and that can revoke none of them."""
    return Diagnostic(
        "PGT562",
        f"the CRL of {entity}, which left the spec, waits: its key is encrypted, in a token, or missing",
        hint="put its table back until its last certificate has ended",
        severity="warning",
    )


def _damaged(fleet: Fleet, existing: Existing, now: datetime) -> Iterator[Diagnostic]:
    """Report changed and missing files of such CAs while a certificate of theirs is valid: nothing can restore them."""
    for path, entry in _listed(fleet, existing):
        name = entry.entity.name
        if existing.files.get(path) in UNTOUCHED or not any(line.ca == name for line in existing.lock.unexpired(now)):
            continue
        how = "is missing" if existing.files.get(path) == "missing" else "was changed"
        yield Diagnostic(
            "PGT562",
            f"the CRL of {entry.entity}, which left the spec, cannot be signed again: {path} {how}",
            hint="restore it from a backup, until the last certificate of this CA has ended",
            severity="warning",
        )


def _listed(fleet: Fleet, existing: Existing) -> Iterator[tuple[str, Entry]]:
    """Yield the certificates and keys of such CAs that were built."""
    for path in left_files(existing.listed_of_cas, _present(fleet)):
        if path.endswith((f"/{layout.CA_CERTIFICATE}", f"/{layout.CA_KEY}")):
            yield path, existing.listed[path]


class _Left(NamedTuple):
    """A CA that left the spec: the path of the key that can sign ("" if none can), and its certificate's entry.

    ``here`` and ``directory`` are the present and the future directory of its files, with a final ``/``.
    """

    key: str
    here: str
    directory: str
    entry: Entry


def _authorities(fleet: Fleet, existing: Existing) -> Iterator[_Left]:
    """Yield the CAs that left the spec and whose certificate is there."""
    for path, entry in _listed(fleet, existing):
        if not path.endswith(layout.CA_CERTIFICATE) or existing.files.get(path) not in UNTOUCHED:
            continue
        here = path.removesuffix(layout.CA_CERTIFICATE)
        key = here + layout.CA_KEY
        yield _Left(key if _signs(key, existing) else "", here, _directory(path, entry, existing.listed), entry)


def _signs(key: str, existing: Existing) -> bool:
    """Return whether a key exists without a passphrase. A key that was not opened counts."""
    if existing.files.get(key) not in UNTOUCHED:
        return False
    content = existing.contents.get(key)
    if content is not None and is_encrypted(content):
        return existing.at_rest is None or existing.listed[key].entity not in existing.at_rest.guarded
    return existing.sealed if content is None else b"ENCRYPTED" not in content


def _present(fleet: Fleet) -> frozenset[str]:
    return frozenset(ca.entity for ca in (*fleet.cas.values(), fleet.public) if ca)


def _directory(path: str, entry: Entry, listed: Mapping[str, Entry]) -> str:
    """Return the directory of a retired CA. Two successive CAs may have had the same name."""
    if path.startswith(layout.RETIRED):
        return path.rpartition("/")[0] + "/"
    certificate = listed.get(layout.certificate_path(entry.entity), entry)
    return f"{layout.RETIRED}{entry.entity.name}-{certificate.sha256[:8]}/"


def _retired(
    left: _Left,
    existing: Existing,
    revoked: Sequence[RevokedLine],
    now: datetime,
    *,
    doubted: bool,
) -> CrlDecision | None:
    from pgtls.pki import crl, facts, published

    key, here, directory, entry = left
    name, contents = entry.entity.name, existing.contents
    pem, old = contents.get(here + layout.CA_CERTIFICATE), contents.get(here + layout.CA_CRL)
    certificates = facts.read(pem) if pem else Unreadable("it is missing")
    if pem is None or old is None or isinstance(certificates, Unreadable):
        return None
    read = published.of_ca(old, pem)
    there = read if isinstance(read, RevocationList) else None
    mine = [line for line in existing.lock.by_serial.values() if _issued_by(line, name, certificates[0])]
    serials = {line.serial for line in mine}
    known = (*existing.lock.revocations.values(), *revoked)
    lines = (line for line in known if line.ca == name and line.serial in serials)
    entries = listing(there, () if existing.cloned else mine, lines, (), now)
    in_use = any(line.certificate.not_after > now for line in mine)
    reason = _reason(there, certificates[0], entries, now) if in_use else None
    validity = there.next_update - there.this_update if there else _VALIDITY
    validity = crl.lasting(there, validity, now, doubted=doubted)
    due = (now + validity / 2 if reason or not there else crl.half_life(there)) if in_use else None
    return CrlDecision(
        entity=entry.entity,
        path=directory + layout.CA_CRL,
        found=read,
        reason=reason,
        due=due,
        number=crl.next_number(there, now),
        entries=entries,
        validity=validity,
        signer=Signer(pem, contents.get(key, b""), here),
    )


def _issued_by(line: IssuedLine, name: str, ca: Certificate) -> bool:
    return line.ca == name and line.entity != ca_entity(name) and line.certificate.authority_key_id == ca.key_id


def _reason(there: RevocationList | None, ca: Certificate, entries: Sequence[Revocation], now: datetime) -> str | None:
    from pgtls.pki.crl import covers, why_due

    if there is None:
        return "the CRL cannot be read"
    if not covers(there, entries):
        return "what is revoked changed"
    return "it is not yet valid" if from_the_future(there, ca, now) else why_due(there, now)


def files(fleet: Fleet, existing: Existing, crls: Mapping[str, bytes | Later]) -> Tree:
    """Return the files of every such CA at their future paths, and what CRLs of others have said.

    ``crls`` are by path and replace the present ones.
    """
    kept = {
        path: File(crls[path], file.mode, file.kind, file.entity) if path in crls else file
        for path, file in _files(fleet, existing)
    }
    return {**kept, **remembered(existing)}


def _files(fleet: Fleet, existing: Existing) -> Iterator[tuple[str, File]]:
    for path in left_files(existing.listed_of_cas, _present(fleet)):
        entry = existing.listed[path]
        if path.startswith(layout.RETIRED):
            if existing.files.get(path) != "missing":
                yield path, File(Later.KEPT, entry.mode, entry.kind, entry.entity)
        elif (content := existing.contents.get(path, _shut(path, entry, existing))) is not None:
            moved = _directory(path, entry, existing.listed) + path.rpartition("/")[2]
            yield moved, File(content, entry.mode, entry.kind, entry.entity)


def _shut(path: str, entry: Entry, existing: Existing) -> Later | None:
    """Return a placeholder for a key that was not opened."""
    return Later.PENDING if existing.sealed and entry.kind == "key" and existing.keeps(path) else None
