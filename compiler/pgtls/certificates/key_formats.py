"""Write the key of a user in other formats than PEM: PKCS#8 DER and PKCS#12, from its key and its chain.

PKCS#12 is encrypted, so no two files are equal. A build makes one only if its inputs changed: the key, the chain, the
kind of file. It detects that without opening a key, because one transaction writes all files of a bundle.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

from pgtls.certificates.credentials import chain
from pgtls.state import layout
from pgtls.state.tree import Later

if TYPE_CHECKING:
    from pgtls.certificates.issue import Material
    from pgtls.certificates.model import Existing, Keyring
    from pgtls.fleet.model import Fleet, User
    from pgtls.pki.encryption import Encryption
    from pgtls.pki.keys import PrivateKey
    from pgtls.pki.model import Entity

FILES = {
    "pkcs8-der": layout.CLIENT_PKCS8,
    "pkcs12": layout.CLIENT_PKCS12,
    "pkcs12-3des": layout.CLIENT_PKCS12,
}
"""The file that each format adds to a bundle."""


def planned(fleet: Fleet, material: Material, existing: Existing) -> Material:
    """Add to the material of a plan which of these files stay and which are made."""
    found = ((user.entity, _planned(user, material, existing)) for user in fleet.users.values())
    return replace(material, formats={entity: files for entity, files in found if files})


def _planned(user: User, material: Material, existing: Existing) -> dict[str, Later]:
    formats = [one for one in user.table.formats if one in FILES]
    credential = material.credentials.get(user.entity)
    if not formats or credential is None or credential.key is None:
        return {}
    shown = chain(credential, user.ca, material.credentials)
    return {
        FILES[one]: Later.KEPT if _stays(user, one, credential.key, shown, existing) else Later.PENDING
        for one in formats
        if one == "pkcs8-der" or shown is not None
    }


def _stays(user: User, made: str, key: bytes | Later, shown: bytes | Later | None, existing: Existing) -> bool:
    """Return whether a file still matches the inputs from which the last build made it."""
    path, certificate = layout.path(user.entity, FILES[made]), existing.listed.get(layout.certificate_path(user.entity))
    if not (existing.keeps(path) and key is Later.KEPT and existing.keeps(layout.key_path(user.entity))):
        return False
    if made == "pkcs8-der":
        return True
    from pgtls.pki.pkcs12 import is_for_old_readers

    same = isinstance(shown, bytes) and certificate is not None and sha256(shown).hexdigest() == certificate.sha256
    content = existing.contents.get(path)
    if existing.at_rest:
        old = user.entity in existing.at_rest.for_old_readers
    else:
        old = content is not None and is_for_old_readers(content)
    return same and (content is None or old == (made == "pkcs12-3des"))


def converted(material: Material) -> frozenset[Entity]:
    """Return the entities whose key a build must open because it makes one of these files."""
    return frozenset(entity for entity, files in material.formats.items() if Later.PENDING in files.values())


def make(fleet: Fleet, plan: Material, material: Material, keyring: Keyring) -> Material:
    """Make the files of a plan from the material issued since."""

    def content(user: User, name: str) -> bytes:
        made = next(one for one in user.table.formats if FILES.get(one) == name)
        shown = chain(material.credentials[user.entity], user.ca, material.credentials)
        assert isinstance(shown, bytes) or made == "pkcs8-der"  # noqa: S101
        key, encryption = material.keys[user.entity], keyring.encryptions.get(user.entity)
        return _made(made, key, shown if isinstance(shown, bytes) else b"", encryption)

    formats = {
        entity: {
            name: content(fleet.users[entity.name], name) if state is Later.PENDING else state
            for name, state in files.items()
        }
        for entity, files in plan.formats.items()
    }
    return replace(material, formats=formats)


def _made(made: str, key: PrivateKey, shown: bytes, encryption: Encryption | None) -> bytes:
    from cryptography.x509 import load_pem_x509_certificates

    from pgtls.pki import keys, pkcs12

    if made == "pkcs8-der":
        return keys.to_der(key)
    assert encryption is not None  # noqa: S101  (a check demands a passphrase)
    certificates = load_pem_x509_certificates(shown)
    if made == "pkcs12-3des":
        return pkcs12.make_for_old_readers(key, certificates, encryption.passphrase)
    return pkcs12.make(key, certificates, encryption)


def wants_pkcs12(user: User) -> bool:
    """Return whether a user's bundle has a PKCS#12 file."""
    return any(FILES.get(one) == layout.CLIENT_PKCS12 for one in user.table.formats)
