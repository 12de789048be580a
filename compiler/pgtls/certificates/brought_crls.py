"""What the CRLs lack that a build delivers, and whether brought ones are older than those of the last build.

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
from pgtls.pki.facts import read as parse_facts
from pgtls.pki.model import Certificate, Unreadable, ca_entity
from pgtls.pki.published import Revoked, outdated, published

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from cryptography import x509

    from pgtls.certificates.model import CrlDecision, Existing, Outside
    from pgtls.fleet.model import Fleet
    from pgtls.pki.published import Lists
    from pgtls.state.lock import IssuedLine, RevokedLine
    from pgtls.state.manifest import Entry


def unseen_revocations(
    fleet: Fleet, existing: Existing, fresh: Iterable[RevokedLine], crls: Collection[CrlDecision]
) -> Iterator[Diagnostic]:
    """Report certificates that count as revoked here, and that no CRL of the next deployment lists.

    Their holders still log in: they must be told from others, like those of a server without CRLs. ``fresh`` are the
    revocations of this build, ``crls`` all decisions about CRLs.
    """
    brought = [
        (name, one)
        for lists in (existing.outside.crls, existing.outside.above)
        for name, its in lists.items()
        for one in its.together.revoked
    ]
    seen = (*brought, *(("", one) for crl in crls if (one := _revoked(crl, existing))))
    revoked = dict.fromkeys((line.ca, line.serial) for line in (*existing.lock.revocations.values(), *fresh))
    unseen: list[IssuedLine] = []
    missing: dict[str, list[str]] = {}
    for key in revoked:
        line = existing.lock.by_serial.get(key)
        tables = _without(line, seen) if line and line.certificate.not_after > fleet.now else ()
        if line and tables:
            unseen.append(line)
            for name in filter(None, tables):
                missing.setdefault(name, []).append(f"{line.entity} (serial {line.serial})")
    for name, texts in missing.items():
        message = f'the CRL of ca "{name}" lacks certificates that the spec or the lock revokes: {listed(texts)}'
        hint = "revoke them where this CA signs, and bring its new CRL"
        yield Diagnostic("PGT569", message, place_of(fleet, ca_entity(name), "crl_file"), hint, severity="warning")
    if not unseen:
        return
    cas = [line for line in existing.lock.unexpired(fleet.now) if line.entity.kind == "ca"]
    holders = held(fleet, (*unseen, *cas), existing.lock.ceased)
    for server in fleet.servers.values():
        if server.table.crl:  # one without CRLs accepts them anyway, and is judged by the lock
            for problem in inheritable(fleet, server, holders):
                yield replace(problem, message=f"{problem.message}: no CRL lists it", hint=_hint(problem))


def _hint(problem: Diagnostic) -> str:
    change, _, _ = str(problem.hint).partition("; or ")
    return f"{change}; or have its CA list it: bring a new CRL in crl_file, or lend the key of an offline CA"


def _revoked(crl: CrlDecision, existing: Existing) -> Revoked | None:
    """Return what a CRL of a key that is here lists after the build. None: there is none that could be read."""
    signer = parse_facts(crl.signer.certificate) if crl.signer else existing.found[crl.entity].certificate
    brought = crl.entity.name in existing.outside.crls and not crl.signer
    if brought or crl.listed is None or not isinstance(signer, Certificate):
        return None
    return Revoked(signer.subject, signer.key_id, crl.listed, crl.listed)


def _without(line: IssuedLine, seen: Iterable[tuple[str, Revoked]]) -> list[str]:
    """Return the tables whose CRL of the CA that signed a certificate does not list it.

    A server that has no CRL of that CA accepts none of its certificates.
    """
    of_its_ca = [(name, one) for name, one in seen if one.signed(line.certificate)]
    return [name for name, one in of_its_ca if not one.lists(line.certificate, ca=line.entity.kind == "ca")]


def lists_in(files: Mapping[str, Entry], read: Callable[[str], bytes | None]) -> Lists:
    """Read every CRL that the last build wrote, wherever it is. ``files`` are those of the tree, ``read`` reads one."""
    same = {entry.sha256: path for path, entry in files.items() if entry.kind == "crl"}
    found = (parse(read(path) or b"") for path in same.values())
    return tuple({one.signature: one for lists in found if not isinstance(lists, Unreadable) for one in lists}.values())


def replaced_by_older(
    outside: Outside, files: Mapping[str, Entry], read: Callable[[str], bytes | None]
) -> Iterator[Diagnostic]:
    """Report CRLs in ``crl_file`` that are older than those that the last build gave to servers: PGT577.

    A revocation that only the newer one has would be undone. A CA whose key is here signs its own.
    """
    if not (files and (outside.crls or outside.above)):
        return
    brought = {
        one: name for lists in (outside.crls, outside.above) for name, its in lists.items() for one in its.brought
    }
    before = tuple(published(lists_in(files, read), tuple(_known(outside))))
    for today, older in outdated(tuple(brought), before):
        message = (
            f'the CRL in crl_file of ca "{brought[today]}" is of {today.date:%Y-%m-%d %H:%M}, and the last build had '
            f"one of {older.date:%Y-%m-%d %H:%M}: what was revoked between would be accepted again"
        )
        place = (*ca_entity(brought[today]).path, "crl_file")
        yield Diagnostic("PGT577", message, place, "bring the newest CRL of this CA")


def _known(outside: Outside) -> Iterator[x509.Certificate]:
    """Yield the CAs of supplied files, which may have signed what was brought."""
    for entity, signed in outside.signed.items():
        if entity.kind == "ca" or signed.above:
            found = parse_certificates(signed.file)
            yield from () if isinstance(found, Unreadable) else found
