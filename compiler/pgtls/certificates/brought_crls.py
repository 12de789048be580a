"""CRLs that this build does not sign: what they lack, and whether they are older than those of the last build.

PostgreSQL refuses what the CRLs in its ``root.crl`` list, and asks nobody else.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pgtls.access.former import inheritable
from pgtls.access.held import held
from pgtls.diagnostics import Diagnostic
from pgtls.fleet.fields import place_of
from pgtls.language.words import listed
from pgtls.pki.crl import parse
from pgtls.pki.facts import parse as parse_certificates
from pgtls.pki.model import Unreadable, ca_entity
from pgtls.pki.published import dated, outdated

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from datetime import datetime

    from cryptography import x509

    from pgtls.certificates.model import CrlDecision, Existing, Outside
    from pgtls.fleet.model import Fleet
    from pgtls.state.lock import IssuedLine, RevokedLine
    from pgtls.state.manifest import Entry


def unseen_revocations(
    fleet: Fleet, existing: Existing, fresh: Iterable[RevokedLine], crls: Collection[CrlDecision], now: datetime
) -> Iterator[Diagnostic]:
    """Report certificates that count as revoked here, and that no CRL of the next deployment lists.

    Their holders still log in: they must be told from others, like those of a server without CRLs. ``fresh`` are the
    revocations of this build, ``crls`` all decisions about CRLs.
    """
    seen: dict[str, frozenset[str]] = {}
    for crl in crls:  # a CA that left the spec may have had the same NAME
        if crl.listed is not None:
            seen[crl.entity.name] = seen.get(crl.entity.name, frozenset()) | crl.listed
    revoked = dict.fromkeys((line.ca, line.serial) for line in (*existing.lock.revocations.values(), *fresh))
    known = (line for key in revoked if (line := existing.lock.by_serial.get(key)) is not None)
    unseen = [
        line
        for line in known
        if line.certificate.not_after > now and line.serial not in _on_list(line, existing.outside, seen)
    ]
    for name in existing.outside.crls:
        if missing := [f"{line.entity} (serial {line.serial})" for line in unseen if line.ca == name]:
            message = f'the CRL of ca "{name}" lacks certificates that the spec or the lock revokes: {listed(missing)}'
            hint = "revoke them where this CA signs, and bring its new CRL"
            yield Diagnostic("PGT569", message, place_of(fleet, ca_entity(name), "crl_file"), hint, severity="warning")
    if not unseen:
        return
    cas = [line for line in existing.lock.unexpired(now) if line.entity.kind == "ca"]
    holders = held(fleet, (*unseen, *cas), existing.lock.ceased)
    for server in fleet.servers.values():
        if server.table.crl:  # one without CRLs accepts them anyway, and is judged by the lock
            for problem in inheritable(fleet, server, holders):
                yield replace(problem, message=f"{problem.message}: no CRL lists it", hint=_hint(problem))


def _hint(problem: Diagnostic) -> str:
    change, _, _ = str(problem.hint).partition("; or ")
    return f"{change}; or have its CA list it: lend the key with --ca-key, or bring a new CRL in crl_file"


def _on_list(line: IssuedLine, outside: Outside, seen: Mapping[str, frozenset[str]]) -> Collection[str]:
    """Return the serial numbers on the CRL that a server applies to a certificate; itself if it then accepts none."""
    if lists := outside.crls.get(line.ca):
        return lists.together.cas if line.entity.kind == "ca" else lists.together.leaves
    found = seen.get(line.ca)
    return {line.serial} if found is None else found


def replaced_by_older(
    outside: Outside, files: Mapping[str, Entry], read: Callable[[str], bytes | None]
) -> Iterator[Diagnostic]:
    """Report CRLs in ``crl_file`` that are older than those that the last build gave to servers: PGT577.

    A revocation that only the newer one has would be undone. Of all that is brought, the newest counts, and a CA whose
    key is here signs its own. ``files`` are those of the tree, and ``read`` reads one.
    """
    if not (files and (outside.crls or outside.above)):
        return
    known = tuple(_known(outside))
    here = {outside.signed[ca_entity(name)].certificate.spki_sha256 for name in outside.above}
    files_of = [*outside.crls.items(), *outside.above.items()]
    brought = [(name, one) for name, lists in files_of for one in dated(_lists(lists.pem), known)]
    now = [one for _, one in brought if one.signer[1] not in here]
    same = {entry.sha256: path for path, entry in files.items() if entry.kind == "crl"}
    there = {one.signature: one for path in same.values() for one in _lists(read(path) or b"")}
    for today, before in outdated(now, tuple(dated(there.values(), known))):
        name = next(name for name, one in brought if one == today)
        message = (
            f'the CRL in crl_file of ca "{name}" is of {today.date:%Y-%m-%d %H:%M}, and the last build had one of '
            f"{before.date:%Y-%m-%d %H:%M}: what was revoked between would be accepted again"
        )
        yield Diagnostic("PGT577", message, (*ca_entity(name).path, "crl_file"), "bring the newest CRL of this CA")


def _known(outside: Outside) -> Iterator[x509.Certificate]:
    """Yield the CAs of supplied files, which may have signed what was brought."""
    for entity, signed in outside.signed.items():
        if entity.kind == "ca" or signed.above:
            found = parse_certificates(signed.file)
            yield from () if isinstance(found, Unreadable) else found


def _lists(pem: bytes) -> Iterable[x509.CertificateRevocationList]:
    lists = parse(pem)
    return () if isinstance(lists, Unreadable) else lists
