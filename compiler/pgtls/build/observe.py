"""What is there: the only stage that reads the out directory. Absent and corrupt material are values."""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

from pgtls.build import layout
from pgtls.build import manifest as manifests
from pgtls.build.credentials import first_block
from pgtls.build.outdir import check_lock, foreign_files, inspect, observe_files
from pgtls.diagnostics import Diagnostic
from pgtls.pki.model import Certificate, RevocationList, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pgtls.build.lock import IssuedLine, Lock
    from pgtls.build.manifest import Entry, Manifest
    from pgtls.build.reissue import KeyState
    from pgtls.pki.model import Profile

UNTOUCHED = ("same", "touched", "mode")
"""States of a file whose content is what pgtls wrote."""


@dataclass(frozen=True, slots=True)
class Found:
    """The certificate and key of one entity. ``pem`` is the certificate file as it is, None where there is none.

    ``ours`` says whether pgtls wrote it.
    """

    certificate: Certificate | Unreadable | None
    key: KeyState
    pem: bytes | None = None
    ours: bool = True


@dataclass(frozen=True, slots=True)
class Existing:
    """The out directory and the lock as they were found."""

    out: str
    lock: Lock
    manifest: Manifest | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    """The state of every file that the manifest lists: see :data:`pgtls.build.outdir.FileState`."""
    entries: Mapping[str, Entry] = field(default_factory=dict)
    """The manifest's entries, with the stat of today where the content is the same."""
    found: Mapping[str, Found] = field(default_factory=dict)
    """By entity: everything that is wanted."""
    crls: Mapping[str, RevocationList | Unreadable] = field(default_factory=dict)
    """By NAME of the CA, where there is one."""
    from_lock: bool = False
    """There is no out directory: what the lock lists is taken as present."""
    diagnostics: tuple[Diagnostic, ...] = ()

    def content(self, path: str) -> bytes | None:
        """Give the content of a file of the tree; None where there is none."""
        return _read(self.out, path)

    def text(self, path: str) -> str | None:
        """Give the same as text, whatever it holds."""
        content = self.content(path)
        return None if content is None else content.decode(errors="replace")


def observe(out: str, lock: Lock, profiles: Mapping[str, Profile], *, new_out: bool = False) -> Existing:
    """Look at the tree and at every certificate that is wanted. :class:`Rejected` where the directory is not ours.

    Where there is no tree, what the lock lists is taken as present; with ``new_out``, as lost.
    """
    manifest = manifests.read(out) if inspect(out) == "ours" else None
    if manifest is None:
        return _from_lock(out, lock, profiles) if lock.id and not new_out else nothing(out, lock, profiles)
    check_lock(out, manifest, lock)
    files = observe_files(out, manifest)
    known = {line.certificate.sha256: line for line in lock.by_serial.values()}
    found = {entity: _found(entity, out, files.states, known) for entity in profiles}
    crls = {entity.removeprefix("ca."): crl for entity in profiles if (crl := _crl(entity, out)) is not None}
    diagnostics = (*_behind(found, known, files.states), *foreign_files(out, files))
    return Existing(out, lock, manifest, files.states, files.entries, found, crls, diagnostics=diagnostics)


_NOTHING = Found(None, "missing")


def nothing(out: str, lock: Lock, profiles: Mapping[str, Profile]) -> Existing:
    """Give what there is before a first build."""
    return Existing(out, lock, found=dict.fromkeys(profiles, _NOTHING))


def _from_lock(out: str, lock: Lock, profiles: Mapping[str, Profile]) -> Existing:
    """Take what the lock lists as present: a checkout has the lock and no keys."""
    latest = {entity: line for entity, line in lock.latest.items() if (line.ca, line.serial) not in lock.revocations}
    found = {e: Found(latest[e].certificate, "present") if e in latest else _NOTHING for e in profiles}
    note = Diagnostic(
        "PGT555",
        f'there is no out directory "{out}": what the lock lists is taken as present',
        severity="warning",
        hint="on the machine that builds, name it with --out; to build a new one from nothing, say --new-out",
    )
    return Existing(out, lock, found=found, from_lock=True, diagnostics=(note,))


def _found(entity: str, out: str, states: Mapping[str, str], known: Mapping[str, IssuedLine]) -> Found:
    certificate, key = layout.certificate_path(entity), layout.key_path(entity)
    pem = _read(out, certificate)
    if pem is None:
        return Found(None, "present" if states.get(key) in UNTOUCHED else _lone_key(out, key))
    line = known.get(_fingerprint(pem) or "")
    line = line if line and line.entity == entity else None
    if line and states.get(certificate) in UNTOUCHED and states.get(key) in UNTOUCHED:
        # One transaction wrote both, and nobody has changed either since: no key is read to find out that nothing changed.
        return Found(line.certificate, "present", pem)
    facts = _facts(pem)
    ours = line is not None or certificate in states
    return Found(facts, _key_state(out, key, facts), pem, ours)


def _fingerprint(pem: bytes) -> str | None:
    """Hash the DER of the first certificate of a file, without understanding it."""
    try:
        body = b"".join(first_block(pem).split(b"\n")[1:-2])
        return sha256(base64.b64decode(body, validate=True)).hexdigest()
    except (binascii.Error, ValueError):
        return None


def _facts(pem: bytes) -> Certificate | Unreadable:
    from pgtls.pki.facts import read

    certificates = read(pem)
    return certificates if isinstance(certificates, Unreadable) else certificates[0]


def _lone_key(out: str, path: str) -> KeyState:
    from pgtls.pki import keys

    pem = _read(out, path)
    if pem is None:
        return "missing"
    return "unreadable" if isinstance(keys.load(pem), Unreadable) else "present"


def _key_state(out: str, path: str, certificate: Certificate | Unreadable) -> KeyState:
    from pgtls.pki import keys

    pem = _read(out, path)
    if pem is None:
        return "missing"
    key = keys.load(pem)
    if isinstance(key, Unreadable):
        return "unreadable"
    if isinstance(certificate, Unreadable):
        return "present"
    return "present" if keys.spki_sha256(key.public_key()) == certificate.spki_sha256 else "mismatch"


def _crl(entity: str, out: str) -> RevocationList | Unreadable | None:
    if not entity.startswith("ca."):
        return None
    pem = _read(out, layout.crl_path(entity.removeprefix("ca.")))
    if pem is None:
        return None
    from pgtls.pki.crl import read

    return read(pem)


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


def _read(out: str, path: str) -> bytes | None:
    try:
        with open(os.open(os.path.join(out, path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            return file.read()
    except OSError:
        return None
