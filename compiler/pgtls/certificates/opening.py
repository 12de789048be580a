"""Read files of the tree and open its keys. A key is opened only where a build needs it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pgtls.certificates.issue import needed_keys, needed_passphrases
from pgtls.certificates.key_formats import wants_pkcs12
from pgtls.certificates.model import Keyring, Promote
from pgtls.certificates.passphrases import way_out
from pgtls.certificates.supplied import key_of_another_ca
from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.fleet.fields import place_of
from pgtls.pki.model import Certificate, Unreadable
from pgtls.state import layout
from pgtls.state.faults import cannot_read
from pgtls.state.files import read

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from pgtls.certificates.model import Decision, Decisions, Existing
    from pgtls.certificates.secrets import Secrets
    from pgtls.fleet.model import Fleet
    from pgtls.pki.encryption import Encryption
    from pgtls.pki.keys import PrivateKey
    from pgtls.pki.model import Entity

_LONGEST = 256 * 1024 * 1024
"""The maximum bytes of a file: a CRL with millions of entries is shorter, and pgtls writes no longer file."""


def content(out: str, path: str) -> bytes | None:
    """Return the content of a file of the tree. Return None if it does not exist.

    Raise :class:`Rejected` (PGT527) without permission.
    """
    name = os.path.join(out, path)
    try:
        return read(name, longest=_LONGEST)
    except PermissionError as error:
        raise Rejected(cannot_read(name, error)) from None
    except OSError:
        return None


def opened_content(out: str, path: str, secrets: Secrets) -> bytes | None:
    """Return the :func:`content` of a file, of a key what it holds. Raise :class:`Rejected` if it does not open."""
    found = content(out, path)
    return None if found is None else secrets.decrypted(found, path)


def locked_keys(entities: Iterable[Entity], existing: Existing, secrets: Secrets) -> tuple[Entity, ...]:
    """Return the entities whose passphrase does not open their key. Ignore passphrases that cannot be read."""
    return () if secrets.sealed else tuple(e for e in entities if not _opens(e, existing.out, secrets))


def _opens(entity: Entity, out: str, secrets: Secrets) -> bool:
    from pgtls.pki import keys

    pem = content(out, layout.key_path(entity))
    if pem is None or not keys.is_encrypted(pem):  # also if it is encrypted for recipients: its use will tell
        return True
    try:
        return not isinstance(keys.load(pem, secrets.passphrase(entity), ours=True), Unreadable)
    except Rejected:
        return True


def unusable(
    fleet: Fleet, decisions: Decisions, existing: Existing, converted: Collection[Entity], secrets: Secrets
) -> Iterator[Diagnostic]:
    """Read the passphrases of keys that a build writes. Report unreadable passphrases, and those unfit for Java."""
    for entity in sorted(needed_passphrases(decisions, existing, converted)):
        try:
            passphrase = secrets.passphrase(entity)
        except Rejected as rejected:
            yield from rejected.diagnostics
            continue
        if passphrase and not passphrase.isascii() and entity.kind == "user" and wants_pkcs12(fleet.users[entity.name]):
            message = "the passphrase has characters outside ASCII: Java opens no PKCS#12 file with it"
            hint = "choose one of ASCII characters, or delete pkcs12 from formats"
            yield Diagnostic("PGT443", message, place_of(fleet, entity, "passphrase"), hint)


def keyring(decisions: Decisions, existing: Existing, secrets: Secrets, converted: Collection[Entity]) -> Keyring:
    """Open the keys that a build needs and read the passphrases of the keys that it writes. Raise :class:`Rejected`.

    ``converted`` are the entities whose key it writes in another format than PEM.
    """
    needed = needed_keys(decisions, existing, converted)
    keys = {entity: opened(decisions.certificates[entity], existing, secrets) for entity in needed}
    _reject_keys_of_other_cas(keys, decisions, existing)
    protected = needed_passphrases(decisions, existing, converted)
    return Keyring(keys, _encryptions({e: word for e in protected if (word := secrets.passphrase(e))}))


def _reject_keys_of_other_cas(keys: Mapping[Entity, PrivateKey], decisions: Decisions, existing: Existing) -> None:
    """Raise :class:`Rejected` (PGT584) if a CA without a certificate has the key of another one.

    Only the open key tells whose it is: somebody may have copied the file alone.
    """
    from pgtls.pki.keys import spki_sha256

    for entity, key in keys.items():
        known = isinstance(decisions.certificates[entity].found.certificate, Certificate)
        if entity.kind == "ca" and not known:
            spki = spki_sha256(key.public_key())
            taken = key_of_another_ca(entity, spki, (), existing.outside, existing.whole_lock)
            if taken:
                raise Rejected(taken)


def _encryptions(passphrases: Mapping[Entity, bytes]) -> dict[Entity, Encryption]:
    if not passphrases:
        return {}
    from pgtls.pki.encryption import Encryption

    distinct = {passphrase: Encryption(passphrase) for passphrase in set(passphrases.values())}
    return {entity: distinct[passphrase] for entity, passphrase in passphrases.items()}


def opened(decision: Decision, existing: Existing, secrets: Secrets) -> PrivateKey:
    """Return the key of an entity: lent, supplied, or in the tree. Raise :class:`Rejected` if it does not open."""
    from pgtls.pki import keys

    entity, outside, path = decision.profile.entity, existing.outside, layout.key_path(decision.profile.entity)
    if isinstance(decision, Promote):
        path = layout.path(entity, layout.SERVER_NEXT_KEY)
    if entity in outside.lent:
        return outside.lent[entity]
    key = existing.brought.get(entity)
    if key is None:
        pem = opened_content(existing.out, path, secrets) or b""
        key = keys.load(pem, secrets.passphrase(entity) if keys.is_encrypted(pem) else None, ours=True)
    if isinstance(key, Unreadable):
        guarded = entity in outside.guarded
        hint = way_out(decision.profile, guarded=True, path=path) if guarded else "restore it from a backup"
        message = f"the private key of {entity} cannot be read: {key.reason}"
        raise Rejected(Diagnostic("PGT561" if guarded else "PGT557", message, hint=hint, file=path))
    return key
