"""CAs that left the spec: their certificates and keys are kept, out of the way, and sign their CRL while somebody has a certificate of theirs (DESIGN 4.4)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, cast

from pgtls.certificates.model import Retired
from pgtls.certificates.observe import UNTOUCHED
from pgtls.diagnostics import Diagnostic
from pgtls.pki.model import Revocation, RevocationList, Unreadable
from pgtls.state import layout
from pgtls.state.tree import File, Later

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from pgtls.certificates.observe import Existing
    from pgtls.fleet.model import Fleet
    from pgtls.pki.model import Certificate, RevocationReason
    from pgtls.state.lock import IssuedLine, Lock, RevokedLine
    from pgtls.state.manifest import Entry
    from pgtls.state.tree import Tree

_VALIDITY = timedelta(days=365)


def names(fleet: Fleet, existing: Existing) -> frozenset[str]:
    """Give the NAMEs of CAs that left the spec and can sign."""
    return frozenset(entry.entity.removeprefix("ca.") for path, _, entry in _authorities(fleet, existing) if path)


def decide(
    fleet: Fleet, existing: Existing, revoked: Sequence[RevokedLine], now: datetime, *, doubted: bool
) -> tuple[tuple[Retired, ...], tuple[Diagnostic, ...]]:
    """Decide about the CRL of every such CA; what cannot be signed is a warning. ``doubted`` is the clock."""
    found, problems = [], []
    for key, directory, entry in _authorities(fleet, existing):
        one = _retired(key, directory, entry, existing, revoked, now, doubted=doubted)
        if one and one.reason and not key:
            message = f"the CRL of {entry.entity}, which left the spec, waits: its key is encrypted, or missing"
            problems.append(Diagnostic("PGT562", message, severity="warning"))
        elif one:
            found.append(one)
    return tuple(found), (*problems, *_damaged(fleet, existing, now))


def _damaged(fleet: Fleet, existing: Existing, now: datetime) -> Iterator[Diagnostic]:
    """Say which of their files are not what they were, as long as somebody has a certificate of theirs: nothing signs with them, and nothing can make them again."""
    for path, entry in _listed(fleet, existing):
        name = entry.entity.removeprefix("ca.")
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
    listed = existing.manifest.files if existing.manifest else {}
    for path, entry in listed.items():
        if path.endswith((f"/{layout.CA_CERTIFICATE}", f"/{layout.CA_KEY}")) and _left(path, entry, fleet):
            yield path, entry


def _authorities(fleet: Fleet, existing: Existing) -> Iterator[tuple[str, str, Entry]]:
    """Yield the path of the key that can sign (empty if there is none), the directory to be, and the manifest's entry of the certificate."""
    listed = existing.manifest.files if existing.manifest else {}
    for path, entry in _listed(fleet, existing):
        if not path.endswith(layout.CA_CERTIFICATE) or existing.files.get(path) not in UNTOUCHED:
            continue
        key = path.removesuffix(layout.CA_CERTIFICATE) + layout.CA_KEY
        content = existing.content(key) if existing.files.get(key) in UNTOUCHED else None
        usable = content is not None and b"ENCRYPTED" not in content
        yield key if usable else "", _directory(path, entry, listed), entry


def _left(path: str, entry: Entry, fleet: Fleet) -> bool:
    return path.startswith(layout.RETIRED) or (
        path.startswith("ca/") and entry.entity.removeprefix("ca.") not in fleet.cas
    )


def _directory(path: str, entry: Entry, listed: Mapping[str, Entry]) -> str:
    """Where the files of such a CA belong. Two CAs may have had the same name, one after the other."""
    if path.startswith(layout.RETIRED):
        return path.rpartition("/")[0] + "/"
    certificate = listed.get(layout.certificate_path(entry.entity), entry)
    return f"{layout.RETIRED}{entry.entity.removeprefix('ca.')}-{certificate.sha256[:8]}/"


def _retired(
    key: str,
    directory: str,
    entry: Entry,
    existing: Existing,
    revoked: Sequence[RevokedLine],
    now: datetime,
    *,
    doubted: bool,
) -> Retired | None:
    from pgtls.pki import crl, facts

    name = entry.entity.removeprefix("ca.")
    here = (key or directory).rpartition("/")[0] + "/"
    pem, old = existing.content(here + layout.CA_CERTIFICATE), existing.content(here + layout.CA_CRL)
    certificates = facts.read(pem) if pem else Unreadable("it is missing")
    if pem is None or old is None or isinstance(certificates, Unreadable):
        return None
    read = crl.read(old)
    there = read if isinstance(read, RevocationList) else None
    mine = [line for line in existing.lock.by_serial.values() if _issued_by(line, name, certificates[0])]
    entries = crl.merge(there, _known(name, mine, existing.lock, revoked), now)
    in_use = any(line.certificate.not_after > now for line in mine)
    reason = _reason(there, entries, now) if in_use else None
    validity = there.next_update - there.this_update if there else _VALIDITY
    validity = crl.lasting(there, validity, now, doubted=doubted)
    due = (now + validity / 2 if reason or not there else crl.half_life(there)) if in_use else None
    return Retired(name, directory, pem, key, crl.next_number(there, now), entries, validity, reason, due)


def _issued_by(line: IssuedLine, name: str, ca: Certificate) -> bool:
    return line.ca == name and line.entity != f"ca.{name}" and line.certificate.authority_key_id == ca.key_id


def _known(name: str, mine: Iterable[IssuedLine], lock: Lock, fresh: Sequence[RevokedLine]) -> list[Revocation]:
    ends = {line.serial: line.certificate.not_after for line in mine}
    lines = (line for line in (*lock.revocations.values(), *fresh) if line.ca == name and line.serial in ends)
    return [
        Revocation(line.serial, line.date, cast("RevocationReason", line.reason), ends[line.serial]) for line in lines
    ]


def _reason(there: RevocationList | None, entries: Sequence[Revocation], now: datetime) -> str | None:
    from pgtls.pki.crl import covers, why_due

    if there is None:
        return "the CRL cannot be read"
    if not covers(there, entries):
        return "what is revoked changed"
    return why_due(there, now)


def retired(fleet: Fleet, existing: Existing, lists: Iterable[Retired]) -> Tree:
    """Give the files of every CA that was built once and is no longer in the spec, where they will lie."""
    pending = {one.crl_path for one in lists if one.reason}
    return {
        path: File(Later.PENDING, file.mode, file.kind, file.entity) if path in pending else file
        for path, file in _files(fleet, existing)
    }


def _files(fleet: Fleet, existing: Existing) -> Iterator[tuple[str, File]]:
    listed = existing.manifest.files if existing.manifest else {}
    for path, entry in listed.items():
        if path.startswith(layout.RETIRED):
            if existing.files.get(path) != "missing":
                yield path, File(Later.KEPT, entry.mode, entry.kind, entry.entity)
        elif _left(path, entry, fleet):
            content = existing.content(path)
            if content is not None:
                moved = _directory(path, entry, listed) + path.rpartition("/")[2]
                yield moved, File(content, entry.mode, entry.kind, entry.entity)


def sign(one: Retired, existing: Existing, now: datetime) -> bytes | None:
    """Sign the CRL of a CA that left; None where its key cannot be read any more."""
    from pgtls.pki import crl, facts, keys
    from pgtls.pki.issue import Issuer

    certificates = facts.parse(one.pem)
    key = keys.load(existing.content(one.key) or b"", ours=True)
    if isinstance(certificates, Unreadable) or isinstance(key, Unreadable):
        return None
    return crl.make(Issuer(certificates[0], key), one.number, now, one.validity, one.entries)
