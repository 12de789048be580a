"""Compute the effects of a spec change on certificates and trust, from the two fleets alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pgtls.certificates.desired import wanted
from pgtls.pki.expected import wanted_facts
from pgtls.pki.model import Entity, ca_entity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.fleet.model import Fleet
    from pgtls.pki.model import Profile


@dataclass(frozen=True, slots=True)
class CertificateChange:
    """A change of an entity's certificate, or of its trust.

    ``fields`` are the fields of the spec that differ. For trust and revocations, they are the CAs and serial numbers.

    A CA that left the spec is "retired": its certificates stay valid until they expire or are revoked. A "limited"
    certificate now ends sooner.
    """

    entity: Entity
    action: Literal[
        "issued",
        "issued again",
        "limited",
        "no longer limited",
        "revoked",
        "retired",
        "revokes",
    ]
    fields: tuple[str, ...] = ()


def certificates(old: Fleet, new: Fleet) -> tuple[CertificateChange, ...]:
    """Compare the certificates that two states require, and the certificates that their CAs revoke."""
    return (*_certificates(old, new), *_revoked(old, new))


def _certificates(old: Fleet, new: Fleet) -> Iterator[CertificateChange]:
    before, after = wanted(old), wanted(new)
    for entity in sorted(before.keys() | after.keys()):
        was, will = before.get(entity), after.get(entity)
        if was is None:
            yield CertificateChange(entity, "issued")
        elif will is None:
            yield CertificateChange(entity, "retired" if was.kind == "ca" else "revoked")
        else:
            yield from _changed(was, will)


def _changed(was: Profile, will: Profile) -> Iterator[CertificateChange]:
    (subject, names, usages), (subject2, names2, usages2) = wanted_facts(was), wanted_facts(will)
    pairs = {
        "ca": (was.issuer, will.issuer),
        "subject": (subject, subject2),
        "names": (names, names2),
        "usages": (usages, usages2),
        "key_algorithm": (was.key_algorithm, will.key_algorithm),
        "revoke_before": (was.revoke_before, will.revoke_before or was.revoke_before),
    }
    fields = tuple(field for field, (one, other) in pairs.items() if one != other)
    if fields:
        yield CertificateChange(was.entity, "issued again", fields)
    if was.until != will.until:
        sooner = will.until is not None and (was.until is None or will.until < was.until)
        yield CertificateChange(was.entity, "limited" if sooner else "no longer limited", ("until",))


def _revoked(old: Fleet, new: Fleet) -> Iterator[CertificateChange]:
    for name in sorted(new.cas):
        known = old.cas[name].table.revoked if name in old.cas else ()
        serials = tuple(serial for serial in new.cas[name].table.revoked if serial not in known)
        if serials:
            yield CertificateChange(ca_entity(name), "revokes", serials)
