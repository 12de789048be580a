"""What is there: the only stage that reads the out directory. Absent and corrupt material are values."""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from pgtls.certificates.credentials import first_block
from pgtls.certificates.model import Found, Stored
from pgtls.certificates.supplied import NONE, Outside
from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.pki.model import SELF_SIGNED, Certificate, RevocationList, Unreadable
from pgtls.state import layout
from pgtls.state import manifest as manifests
from pgtls.state.faults import cannot_read
from pgtls.state.files import read
from pgtls.state.out_directory import check_lock, foreign_files, inspect, observe_files, open_keys

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from pgtls.certificates.model import KeyState
    from pgtls.pki.keys import PrivateKey
    from pgtls.pki.model import Profile
    from pgtls.state.lock import IssuedLine, Lock
    from pgtls.state.manifest import Entry, Manifest

UNTOUCHED = ("same", "touched", "mode")
"""States of a file whose content is what pgtls wrote."""


@dataclass(frozen=True, slots=True)
class Existing:
    """The out directory and the lock as they were found."""

    out: str
    lock: Lock
    manifest: Manifest | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    """The state of every file that the manifest lists: see :data:`pgtls.state.out_directory.FileState`."""
    entries: Mapping[str, Entry] = field(default_factory=dict)
    """The manifest's entries, with the stat of today where the content is the same."""
    found: Mapping[str, Found] = field(default_factory=dict)
    """By entity: everything that is wanted."""
    crls: Mapping[str, RevocationList | Unreadable] = field(default_factory=dict)
    """By NAME of the CA, where there is one."""
    from_lock: bool = False
    """There is no out directory: what the lock lists is taken as present."""
    outside: Outside = NONE
    """What somebody else made."""
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def kept(self) -> Mapping[str, Entry]:
        """The manifest's entries of the files whose content is what pgtls wrote."""
        return {path: entry for path, entry in self.entries.items() if self.files.get(path) in UNTOUCHED}

    def content(self, path: str) -> bytes | None:
        """Give the content of a file of the tree; None where there is none."""
        return _read(self.out, path)

    def text(self, path: str) -> str | None:
        """Give the same as text, whatever it holds."""
        content = self.content(path)
        return None if content is None else content.decode(errors="replace")


def observe(
    out: str,
    lock: Lock,
    profiles: Mapping[str, Profile],
    outside: Outside = NONE,
    *,
    own: Collection[str] = (),
    new_out: bool = False,
) -> Existing:
    """Look at the tree and at every certificate that is wanted. :class:`Rejected` where the directory is not ours.

    ``own`` are the :func:`pgtls.state.lock_file.own_files`.
    Where there is no tree, what the lock lists is taken as present; with ``new_out``, as lost.
    """
    manifest = manifests.read(out) if inspect(out, own) == "ours" else None
    if manifest is None:
        if lock.id and not new_out:
            return _from_lock(out, lock, profiles, outside)
        return nothing(out, lock, profiles, outside)
    check_lock(out, manifest, lock)
    files = observe_files(out, manifest, own)
    known = {line.certificate.sha256: line for line in lock.by_serial.values()}
    found = {entity: _found(entity, out, files.states, known, outside) for entity in profiles}
    found |= {
        entity: _of_this_ca(entity, found[entity], out, lock, outside)
        for entity in profiles
        if entity.startswith("ca.")
    }
    crls: dict[str, RevocationList | Unreadable] = {
        entity.removeprefix("ca."): crl for entity in profiles if (crl := _crl(entity, out)) is not None
    }
    crls |= {name: lists.facts for name, lists in outside.crls.items()}
    ours = {entity: one for entity, one in found.items() if entity not in outside.signed}
    diagnostics = (
        *_behind(ours, known, files.states),
        *_ahead(ours, lock),
        *open_keys(out, files),
        *foreign_files(out, files),
    )
    return Existing(
        out, lock, manifest, files.states, files.entries, found, crls, outside=outside, diagnostics=diagnostics
    )


_NOTHING = Found(None, "missing")


def nothing(out: str, lock: Lock, profiles: Mapping[str, Profile], outside: Outside = NONE) -> Existing:
    """Give what there is before a first build."""
    found = dict.fromkeys(profiles, _NOTHING)
    known = {line.certificate.sha256 for line in lock.by_serial.values()}
    for entity in outside.not_ours | outside.keyless:
        if entity in found:
            found[entity] = _made_outside(entity, found[entity], known, outside)
    for entity in outside.lent:
        found[entity] = _restored(entity, found[entity], lock, outside)
    crls = {name: lists.facts for name, lists in outside.crls.items()}
    return Existing(out, lock, found=found, crls=crls, outside=outside)


def _restored(entity: str, found: Found, lock: Lock, outside: Outside) -> Found:
    """Take the key of a known CA into a new tree; one that is offline stays where it is."""
    from pgtls.pki.keys import spki_sha256

    line = lock.latest.get(entity)
    if line is None or found.key != "missing":
        return found
    fits = spki_sha256(outside.lent[entity].public_key()) == line.certificate.spki_sha256
    stored: Stored = "elsewhere" if entity in outside.offline else "written"
    return replace(found, key="present" if fits else "mismatch", stored=stored)


def _from_lock(out: str, lock: Lock, profiles: Mapping[str, Profile], outside: Outside) -> Existing:
    """Take what the lock lists as present: a checkout has the lock and no keys."""
    latest = {entity: line for entity, line in lock.latest.items() if (line.ca, line.serial) not in lock.revocations}
    found = {e: Found(latest[e].certificate, "present") if e in latest else _NOTHING for e in profiles}
    note = Diagnostic(
        "PGT555",
        f'there is no out directory "{out}": what the lock lists is taken as present',
        severity="warning",
        hint="nothing is to be done in a review; elsewhere, name the directory with --out",
    )
    return Existing(out, lock, found=found, from_lock=True, outside=outside, diagnostics=(note,))


def nothing_to_build_on(out: str) -> Diagnostic:
    """Say that a build needs what is not there: PGT555, as an error."""
    hint = "name it with --out, or restore it from a backup; --new-out builds a new one, with --ca-key NAME=PATH for every CA whose key is kept elsewhere, and --new-ca NAME for every other"
    return Diagnostic(
        "PGT555", f'there is no out directory "{out}", and the lock lists what was built into it', hint=hint
    )


def _found(
    entity: str, out: str, states: Mapping[str, str], known: Mapping[str, IssuedLine], outside: Outside
) -> Found:
    found = _in_tree(entity, out, states, known, outside)
    if entity in outside.not_ours or entity in outside.keyless:
        mine = found.certificate.spki_sha256 if isinstance(found.certificate, Certificate) else None
        found = _made_outside(entity, found, known.keys(), outside)
        signed = outside.signed.get(entity)
        if entity in outside.external and signed and signed.certificate.spki_sha256 != mine:
            found = replace(found, key=_key_state(entity, out, layout.key_path(entity), signed.certificate, outside))
    if found.key == "missing" and entity in outside.offline:
        return replace(found, key="present", stored="elsewhere", at_hand=entity in outside.lent)
    if found.key == "missing" and entity in outside.lent:
        return replace(found, key="present", stored="elsewhere")
    if found.key == "present" and found.stored == "kept":
        return _protected(entity, out, found, outside)
    return found


def _of_this_ca(entity: str, found: Found, out: str, lock: Lock, outside: Outside) -> Found:
    """See that a CA whose certificate is lost still has its key, by the lock: with another one it would be another CA."""
    line = lock.latest.get(entity)
    lost = line is not None and not isinstance(found.certificate, Certificate) and entity not in outside.not_ours
    if line is None or not lost or found.key != "present" or found.stored == "elsewhere":
        return found
    return replace(found, key=_key_state(entity, out, layout.key_path(entity), line.certificate, outside))


def _made_outside(entity: str, found: Found, known: Collection[str], outside: Outside) -> Found:
    """Put what somebody else made in the place of what lies in the tree, or beside its key."""
    signed = outside.signed.get(entity)
    if entity in outside.keyless:
        found = replace(found, key=_request_state(entity, found, outside), stored="elsewhere", at_hand=False)
    if signed is None:
        return found if entity not in outside.external else replace(found, certificate=None, pem=None)
    mine = isinstance(found.certificate, Certificate) and found.certificate.spki_sha256
    ours = signed.certificate.sha256 in known
    found = replace(found, certificate=signed.certificate, pem=signed.pem, above=signed.above, ours=ours)
    if entity in outside.key_files and not (found.key == "present" and mine == signed.certificate.spki_sha256):
        return replace(found, key="present", stored="written")
    return found


def _request_state(entity: str, found: Found, outside: Outside) -> KeyState:
    """Whether the certificate in the tree is for the key of the request."""
    request = outside.requests.get(entity)
    if request is None or not isinstance(found.certificate, Certificate):
        return "present"
    from pgtls.pki.keys import spki_sha256

    return "present" if spki_sha256(request) == found.certificate.spki_sha256 else "mismatch"


def _protected(entity: str, out: str, found: Found, outside: Outside) -> Found:
    """See whether a key is encrypted as the spec says. One that is encrypted and should not be cannot be read."""
    pem = _read(out, layout.key_path(entity))
    encrypted = pem is not None and b"ENCRYPTED" in pem
    if encrypted and entity not in outside.guarded:
        return replace(found, key="locked")
    return replace(found, stored="written") if entity in outside.guarded and not encrypted else found


def _in_tree(
    entity: str, out: str, states: Mapping[str, str], known: Mapping[str, IssuedLine], outside: Outside
) -> Found:
    certificate, key = layout.certificate_path(entity), layout.key_path(entity)
    pem = _read(out, certificate)
    if pem is None:
        return Found(None, "present" if states.get(key) in UNTOUCHED else _lone_key(entity, out, key, outside))
    line = known.get(_fingerprint(pem) or "")
    line = line if line and line.entity == entity else None
    if line and states.get(certificate) in UNTOUCHED and states.get(key) in UNTOUCHED:
        # One transaction wrote both, and nobody has changed either since: no key is read to find out that nothing changed.
        return Found(line.certificate, "present", pem)
    facts = _facts(pem)
    ours = line is not None or certificate in states
    return Found(facts, _key_state(entity, out, key, facts, outside), pem, ours)


def _fingerprint(pem: bytes) -> str | None:
    """Hash the DER of the first certificate of a file, without understanding it."""
    try:
        body = b"".join(first_block(pem).split(b"\n")[1:-2])
        return sha256(base64.b64decode(body, validate=True)).hexdigest()
    except (binascii.Error, ValueError):
        return None


def _facts(pem: bytes) -> Certificate | Unreadable:
    from pgtls.pki import facts

    certificates = facts.read(pem)
    return certificates if isinstance(certificates, Unreadable) else certificates[0]


def _lone_key(entity: str, out: str, path: str, outside: Outside) -> KeyState:
    key = _key(entity, out, path, outside)
    return key if isinstance(key, str) else "present"


def _key(entity: str, out: str, path: str, outside: Outside) -> PrivateKey | KeyState:
    from pgtls.pki import keys

    pem = _read(out, path)
    if pem is None:
        return "missing"
    encrypted = keys.is_encrypted(pem)
    key = keys.load(pem, outside.passphrase(entity) if encrypted else None)
    return ("locked" if encrypted else "unreadable") if isinstance(key, Unreadable) else key


def _key_state(entity: str, out: str, path: str, certificate: Certificate | Unreadable, outside: Outside) -> KeyState:
    from pgtls.pki import keys

    key = _key(entity, out, path, outside)
    if isinstance(key, str):
        return key
    if isinstance(certificate, Unreadable):
        return "present"
    return "present" if keys.spki_sha256(key.public_key()) == certificate.spki_sha256 else "mismatch"


def _crl(entity: str, out: str) -> RevocationList | Unreadable | None:
    if not entity.startswith("ca."):
        return None
    pem = _read(out, layout.crl_path(entity.removeprefix("ca.")))
    if pem is None:
        return None
    from pgtls.pki import crl

    return crl.read(pem)


def _behind(
    found: Mapping[str, Found], known: Mapping[str, IssuedLine], states: Mapping[str, str]
) -> Iterator[Diagnostic]:
    """A certificate that pgtls wrote and the lock does not know: the lock is older than the tree."""
    for entity, one in found.items():
        certificate = one.certificate
        if states.get(layout.certificate_path(entity)) not in UNTOUCHED or not isinstance(certificate, Certificate):
            continue
        if certificate.sha256 not in known:
            yield Diagnostic(
                "PGT554",
                f"the lock does not know the certificate of {entity} (serial {certificate.serial}), which pgtls has issued",
                hint="the lock is older than the out directory: pull or restore the newest lock",
            )


def _ahead(found: Mapping[str, Found], lock: Lock) -> Iterator[Diagnostic]:
    """Say whose last certificate is not in the tree: it was restored from a backup, or somebody else builds into another one (DESIGN 6.2)."""
    older = sorted(entity for entity, one in found.items() if _is_older(one, lock.latest.get(entity), lock))
    if older:
        more = f" and {len(older) - 5} more" if len(older) > 5 else ""
        yield Diagnostic(
            "PGT558",
            f"the out directory is older than the lock, which knows later certificates of {', '.join(older[:5])}{more}",
            hint="restore a newer one if there is any; or issue them again and deploy them, with --renew ENTITY or --renew all",
            severity="warning",
        )


def _is_older(one: Found, last: IssuedLine | None, lock: Lock) -> bool:
    """Whether the lock knows a good certificate that is younger. Of a self-signed server that is the next one, which is not served yet."""
    if last is None or not isinstance(one.certificate, Certificate) or not one.ours or last.ca == SELF_SIGNED:
        return False
    revoked = (last.ca, last.serial) in lock.revocations
    return not revoked and last.certificate.not_before > one.certificate.not_before


def _read(out: str, path: str) -> bytes | None:
    """Read a file of the tree; None where there is none, or something else. :class:`Rejected` with PGT527 where it may not be read."""
    name = os.path.join(out, path)
    try:
        return read(name, longest=_LONGEST)
    except PermissionError as error:
        raise Rejected(cannot_read(name, error)) from None
    except OSError:
        return None


_LONGEST = 256 * 1024 * 1024
"""Bytes: a CRL with millions of entries is shorter, and what is longer is none of ours."""
