"""Find certificates that count as revoked here, and that no CRL of the next deployment lists.

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
from pgtls.pki import facts
from pgtls.pki.model import Certificate, Unreadable, ca_entity
from pgtls.pki.published import Revoked

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from pgtls.certificates.model import CrlDecision, Existing
    from pgtls.fleet.model import Fleet
    from pgtls.state.lock import IssuedLine, RevokedLine


def unseen_revocations(
    fleet: Fleet, existing: Existing, fresh: Iterable[RevokedLine], crls: Collection[CrlDecision]
) -> Iterator[Diagnostic]:
    """Report certificates that count as revoked here, and that no CRL of the next deployment lists.

    Their holders still log in: they must be told from others, like those of a server without CRLs. ``fresh`` are the
    revocations of this build, ``crls`` all decisions about CRLs.
    """
    seen = _Seen(existing, crls)
    revoked = dict.fromkeys((line.ca, line.serial) for line in (*existing.lock.revocations.values(), *fresh))
    unseen: list[IssuedLine] = []
    missing: dict[str, list[str]] = {}
    for key in revoked:
        line = existing.lock.by_serial.get(key)
        tables = seen.without(line) if line and line.certificate.not_after > fleet.now else ()
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


class _Seen:
    """What servers find revoked after the build, by the keys that signed."""

    def __init__(self, existing: Existing, crls: Collection[CrlDecision]) -> None:
        lists = (*existing.outside.crls.items(), *existing.outside.above.items())
        brought = [(name, one) for name, its in lists for one in its.together.revoked]
        self._all = (*brought, *(("", one) for crl in crls if (one := _revoked(crl, existing))))
        self._names = existing.ca_names

    def without(self, line: IssuedLine) -> list[str]:
        """Return the tables whose CRL of the CA that signed a certificate does not list it.

        A server that has no CRL of the CA accepts none of its certificates.
        """
        one, keys = line.certificate, self._names.keys(line)
        of_its_ca = [
            (name, its)
            for name, its in self._all
            if (its.key in keys if keys else its.subject.casefold() == one.issuer.casefold())
        ]
        return [name for name, its in of_its_ca if not its.lists(one, ca=line.entity.kind == "ca")]


def _revoked(crl: CrlDecision, existing: Existing) -> Revoked | None:
    """Return what a CRL of a key that is here lists after the build. None: there is none that could be read."""
    ca = existing.found[crl.entity].certificate if not crl.signer else _first(crl.signer.certificate)
    brought = crl.entity.name in existing.outside.crls and not crl.signer
    if brought or crl.listed is None or not isinstance(ca, Certificate):
        return None
    return Revoked(ca.subject, ca.spki_sha256, crl.listed, crl.listed)


def _first(pem: bytes) -> Certificate | None:
    found = facts.read(pem)
    return None if isinstance(found, Unreadable) else found[0]
