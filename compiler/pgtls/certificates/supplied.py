"""Read what users supply: the certificates, keys, requests and CRLs of the spec. ``external`` checks them."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from pgtls.certificates.model import TOKEN, Lists, Outside, Signed
from pgtls.certificates.request_command import own_key
from pgtls.diagnostics import Diagnostic
from pgtls.fleet.fields import entities, place_of
from pgtls.fleet.files import directory_of
from pgtls.language.words import listed, suggestion
from pgtls.pki.model import Certificate, Entity, Unreadable, ca_entity
from pgtls.state import files, layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pgtls.certificates.model import Found
    from pgtls.certificates.secrets import Secrets
    from pgtls.diagnostics import Path
    from pgtls.fleet.model import Authority, Fleet, Identity, User
    from pgtls.pki.keys import PrivateKey, PublicKey
    from pgtls.pki.model import KeyAlgorithm, Profile
    from pgtls.pki.published import Published
    from pgtls.state.lock import Lock


_LONGEST = 16 * 1024 * 1024
"""The maximum bytes of a supplied file: the CRL of a large CA is the longest plausible file."""


def _read(path: str) -> bytes:
    """Read a regular file of plausible size that the command line names. Raise OSError for any other."""
    return files.read(path, longest=_LONGEST, follow=True)


def brought_key(entity: Entity, path: str, secrets: Secrets) -> PrivateKey | Unreadable:
    """Read the key of a ``key_file``."""
    from pgtls.pki import keys

    try:
        pem = secrets.file(path)
    except OSError as error:
        return Unreadable(error.strerror or "it cannot be read")
    return keys.load(pem, secrets.passphrase(entity) if b"ENCRYPTED" in pem else None)


def taken_keys(outside: Outside, lock: Lock, out: str, found: Mapping[Entity, Found]) -> Iterator[Diagnostic]:
    """Reject the key of another CA, and a ``key_file`` in the out directory.

    With the key of another CA, a CA would sign CRLs in its name, without what that one has revoked. A CA whose key was
    never here may have had another NAME.
    """
    inside = os.path.join(os.path.realpath(out), "")
    for entity, spki, field in _new_keys(outside, found):
        where = os.path.realpath(outside.key_files[entity]) if field else ""
        taken = key_of_another_ca(entity, spki, field, outside, lock)
        if taken:
            yield taken
        elif where.startswith(inside) and where != os.path.join(inside, layout.key_path(entity)):
            why = f'key_file of {entity} lies in the out directory "{out}", whose keys have owners'
            yield Diagnostic("PGT584", why, (*entity.path, *field), _OWN_KEY)


_OWN_KEY = "find out who wrote this; make a key of its own for it"


def key_of_another_ca(
    entity: Entity, spki: str | None, field: tuple[str, ...], outside: Outside, lock: Lock
) -> Diagnostic | None:
    """Reject the key that ``field`` gives to an entity if it is that of another CA; ``spki`` is its digest."""
    lines = (line for line in lock.by_serial.values() if line.entity.kind == "ca" and not line.foreign)
    cas = {line.entity for line in lines if line.certificate.spki_sha256 == spki}
    cas |= {ca for ca, one in outside.signed.items() if ca.kind == "ca" and one.certificate.spki_sha256 == spki}
    others = sorted(cas - {entity})
    why = f"the key of {entity} is that of {listed(others)}: the key of a CA serves nothing else"
    return Diagnostic("PGT584", why, (*entity.path, *field), _OWN_KEY) if others else None


def _new_keys(outside: Outside, found: Mapping[Entity, Found]) -> Iterator[tuple[Entity, str | None, tuple[str, ...]]]:
    """Yield who gets a key that no build made, the digest of its public key, and the field that names it.

    The public key tells whose it is: no key is opened but those that are lent.
    """
    for entity in outside.key_files:
        signed = outside.signed.get(entity)
        yield entity, signed.certificate.spki_sha256 if signed else None, ("key_file",)
    for entity, one in found.items():
        certificate = one.certificate if isinstance(one.certificate, Certificate) else None
        adopted = one.key == "present" and not one.ours and one.stored == "kept"
        if entity.kind != "ca" or entity in outside.key_files:
            continue
        if certificate and adopted:
            yield entity, certificate.spki_sha256, ()
        elif not certificate and entity in outside.lent:  # with one, the key is compared with that
            yield entity, _spki(outside.lent[entity]), ()


def _spki(key: PrivateKey) -> str:
    from pgtls.pki.keys import spki_sha256

    return spki_sha256(key.public_key())


def adapted(profiles: Mapping[Entity, Profile], outside: Outside) -> dict[Entity, Profile]:
    """Fit profiles to keys that are made elsewhere: the key of a request determines the algorithm."""
    changed = dict(profiles)
    if not outside.requests:
        return changed
    from pgtls.pki.keys import algorithm_of

    for entity in outside.requests.keys() & profiles.keys():
        public_key = outside.requests[entity]
        algorithm = cast("KeyAlgorithm", algorithm_of(public_key))
        changed[entity] = replace(changed[entity], key_algorithm=algorithm, rotate_key=False)
    return changed


def gather(fleet: Fleet, lock: Lock, secrets: Secrets, lent: Mapping[str, str]) -> Outside:
    """Read every file that the spec names, and the keys that are ``lent`` (paths by NAME of the CA)."""
    found = _Gathering(fleet, lock, secrets)
    for thing in entities(fleet):
        if not thing.table.model_fields_set.isdisjoint(_CONCERNED):
            found.thing(thing)
    found.lists()
    found.lend(lent)
    return Outside(
        found.signed,
        frozenset(found.external),
        frozenset(found.keyless),
        frozenset(found.offline),
        frozenset(found.guarded),
        frozenset(found.tokens),
        found.requests,
        found.request_files,
        found.key_files,
        found.lent,
        frozenset(ca.entity for ca in fleet.signers() if ca.acme),
        frozenset(found.inserted),
        found.crls,
        found.above,
        found.crl_files,
        found.own_crls,
        tuple(found.diagnostics),
    )


_CONCERNED = frozenset(("cert_file", "key_file", "key", "csr_file", "crl_file", "external", "offline", "passphrase"))


class _Gathering:
    """The material read so far."""

    def __init__(self, fleet: Fleet, lock: Lock, secrets: Secrets) -> None:
        self.fleet, self.lock, self.secrets = fleet, lock, secrets
        self.signed: dict[Entity, Signed] = {}
        self.external: set[Entity] = set()
        self.keyless: set[Entity] = set()
        self.offline: set[Entity] = set()
        self.guarded: set[Entity] = set()
        self.tokens: set[Entity] = set()
        self.requests: dict[Entity, PublicKey] = {}
        self.request_files: dict[Entity, bytes] = {}
        self.key_files: dict[Entity, str] = {}
        self.lent: dict[Entity, PrivateKey] = {}
        self.inserted: set[Entity] = set()
        self.crls: dict[str, Lists] = {}
        self.above: dict[str, Lists] = {}
        self.crl_files: Mapping[str, Sequence[Published]] = {}
        self.own_crls: Mapping[str, Sequence[Published]] = {}
        self.diagnostics: list[Diagnostic] = []

    def thing(self, thing: Authority | Identity | User) -> None:
        """Read the files that one entity names."""
        entity, table = thing.entity, thing.table
        inside = getattr(table, "key", None) is not None
        if inside:
            self.tokens.add(entity)
        elif table.passphrase:
            self.guarded.add(entity)
        if table.external:
            self.external.add(entity)
        for what, name in _files(thing):
            unopened = what == "key_file" and self.secrets.sealed
            content = b"" if unopened else self._content(thing, what, name)
            if content is not None:
                self._take(thing, what, name, content)
        brought = getattr(table, "key_file", None)
        if (table.cert_file and not (brought or inside or table.external)) or getattr(table, "csr_file", None):
            self.keyless.add(entity)
        if getattr(table, "offline", False):
            self.offline.add(entity)

    def lists(self) -> None:
        """Read the CRLs of all ``crl_file``. An unreadable certificate of a CA is already reported."""
        named = ((ca, ca.table.crl_file) for ca in self.fleet.cas.values() if ca.table.crl_file)
        read = {ca: self._content(ca, "crl_file", name) for ca, name in named}
        contents = {ca.name: pem for ca, pem in read.items() if pem is not None and ca.entity in self.signed}
        if contents:
            from pgtls.certificates import crl_files

            brought = crl_files.read(self.fleet, self.lock, self.signed, contents)
            for name, one in brought.lists.items():
                (self.crls if self.fleet.cas[name].trusted_only else self.above)[name] = one
            self.crl_files, self.own_crls = brought.files, brought.own
            self.diagnostics += brought.problems

    def lend(self, lent: Mapping[str, str]) -> None:
        """Read the keys of ``--ca-key``."""
        from pgtls.pki import keys

        for name, path in lent.items():
            entity, table = ca_entity(name), ("ca", name)
            if name not in self.fleet.cas:
                hint = suggestion(name, self.fleet.cas) or "say --ca-key NAME=PATH with the NAME of a table [ca.NAME]"
                message = f'--ca-key {name}: the spec has no CA "{name}"'
                self.diagnostics.append(Diagnostic("PGT566", message, hint=hint))
                continue
            if entity in self.tokens:
                self._lend_token(entity, path)
                continue
            try:
                pem = self.secrets.decrypted(_read(path), path)
            except OSError as error:
                hint = "the path is relative to the working directory"
                message = f'--ca-key {name}: cannot read "{path}": {error.strerror}'
                self.diagnostics.append(Diagnostic("PGT566", message, table, hint, "table"))
                continue
            key = keys.load(pem, self.secrets.passphrase(entity) if b"ENCRYPTED" in pem else None)
            if isinstance(key, Unreadable):
                hint = (
                    "name a private key in PEM; one that is encrypted is opened with the passphrase of the CA's table"
                )
                message = f'--ca-key {name}: "{path}": {key.reason}'
                self.diagnostics.append(Diagnostic("PGT566", message, table, hint, "table"))
            else:
                self.lent[entity] = key

    def _lend_token(self, ca: Entity, path: str) -> None:
        if path == TOKEN:
            self.inserted.add(ca)
            return
        message = f'--ca-key {ca.name}: the key of CA "{ca.name}" is in a token'
        hint = f"say --ca-key {ca.name}={TOKEN} if the CA is offline; otherwise leave it out"
        self.diagnostics.append(Diagnostic("PGT566", message, (*ca.path, "key"), hint))

    def _content(self, thing: Authority | Identity | User, what: str, name: str) -> bytes | None:
        path = _place(self.fleet, thing, what)
        try:
            return self.secrets.file(os.path.join(directory_of(self.fleet, path), name))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no path"
            hint = own_key(thing) if what == "csr_file" and isinstance(error, FileNotFoundError) else None
            self._fault(thing, what, f'cannot read "{name}": {reason}', hint)
            return None

    def _take(self, thing: Authority | Identity | User, what: str, name: str, content: bytes) -> None:
        from pgtls.pki import csr, facts

        entity = thing.entity
        if what == "key_file":
            self.key_files[entity] = os.path.join(directory_of(self.fleet, _place(self.fleet, thing, what)), name)
        elif what == "cert_file":
            certificates = facts.chain(content)
            if isinstance(certificates, Unreadable):
                hint = f"openssl x509 -inform der -in {shlex.quote(name)} -out …" if content[:1] == b"\x30" else None
                self._fault(thing, what, f'"{name}" cannot be used: {certificates.reason}', hint)
            else:
                pems = facts.pems(content)
                self.signed[entity] = Signed(certificates[0], pems[0], pems[1:])
        elif what == "csr_file":
            request = csr.read(content)
            if isinstance(request, Unreadable):
                self._fault(thing, what, f'"{name}" cannot be used: {request.reason}', own_key(thing))
            else:
                self.requests[entity], self.request_files[entity] = request.public_key, request.pem

    def _fault(self, thing: Authority | Identity | User, what: str, message: str, hint: str | None = None) -> None:
        self.diagnostics.append(Diagnostic("PGT564", message, _place(self.fleet, thing, what), hint))


def _files(thing: Authority | Identity | User) -> Iterator[tuple[str, str]]:
    for what in ("cert_file", "key_file", "csr_file"):
        name = getattr(thing.table, what, None)
        if name is not None:
            yield what, name


def _place(fleet: Fleet, thing: Authority | Identity | User, field: str) -> Path:
    return place_of(fleet, thing.entity, field)
