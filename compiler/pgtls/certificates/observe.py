"""Read the out directory. Only this stage does. Absent and corrupt material are values."""

from __future__ import annotations

import binascii
import os
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from pgtls.certificates import lock_and_tree
from pgtls.certificates.brought_crls import lists_in, replaced_by_older
from pgtls.certificates.credentials import blocks, first_block
from pgtls.certificates.lock_changes import restored, revocations
from pgtls.certificates.model import UNTOUCHED, Account, Existing, Found
from pgtls.certificates.opening import content, opened_content
from pgtls.certificates.retired_cas import left_files
from pgtls.certificates.supplied import brought_key, taken_keys
from pgtls.diagnostics import Diagnostic
from pgtls.language.words import listed
from pgtls.pki.age import is_encrypted
from pgtls.pki.model import Certificate, Entity, RevocationList, Unreadable, ca_entity
from pgtls.state import deployed, generations, layout
from pgtls.state import manifest as manifests
from pgtls.state.known_lock import NONE as NO_DRIFT
from pgtls.state.known_lock import compare
from pgtls.state.out_directory import (
    check_lock,
    foreign_files,
    inspect,
    observe_files,
    open_keys,
)
from pgtls.state.provenance import has_a_repository, remembers, with_memory

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from datetime import datetime

    from pgtls.certificates.model import KeyState, Outside, Stored
    from pgtls.certificates.secrets import Secrets
    from pgtls.pki.keys import PrivateKey
    from pgtls.pki.model import Profile
    from pgtls.pki.published import Lists
    from pgtls.state.known_lock import Drift
    from pgtls.state.lock import IssuedLine, Lock
    from pgtls.state.manifest import Entry, Manifest
    from pgtls.state.out_directory import Observed


def observe(
    out: str,
    lock: Lock,
    lock_file: str,
    profiles: Mapping[Entity, Profile],
    outside: Outside,
    secrets: Secrets,
    *,
    own: Collection[str],
    entities: Collection[Entity],
    now: datetime,
    allow_revoke: bool = False,
    replaced: Collection[str] = (),
    new_out: bool = False,
    review: bool = False,
) -> Existing:
    """Read the tree and every desired certificate. Raise :class:`Rejected` if the directory is not ours.

    ``own`` are the :func:`pgtls.state.names.own_files`, ``entities`` those of the spec. ``lock`` is the content of
    ``lock_file``; the result also has the revocations that others removed, and with ``allow_revoke`` the removed
    certificates, revoked. Without a tree, certificates of the lock count as present; with ``new_out``, as lost, and so
    does what a tree remembers. A ``review`` expects no tree. ``replaced`` are the entities that get a new key.
    """
    read, remembered = _manifest(out, lock, own, new_out=new_out)
    manifest = _limited(read, lock, entities) if read and not remembered else read
    known_here = remembered and manifest is not None and manifest.last
    drift = compare(out, lock, manifest.added) if manifest and remembered else NO_DRIFT
    whole = restored(lock, drift, now, allowed=allow_revoke)
    in_tree = partial(_certificate_in, out)
    # The copy of the lock here does not have the lines that another builder of the tree wrote: they count like ours.
    believed = allow_revoke or drift.own is None or not known_here
    existing = _existing(
        *(out, manifest, whole if believed else drift.own or whole, profiles, outside, secrets),
        own=own,
        now=now,
        new_out=new_out,
        drift=drift,
        review=review,
        replaced=replaced,
    )
    return replace(
        existing,
        found_lock=None if believed else whole,
        cloned=manifest is not None and has_a_repository(out, manifest),
        forgotten=revocations(lock, drift, now) if allow_revoke else (),
        history=generations.read(out) if remembered else None,
        accounts={} if existing.from_lock else {ca: _account(ca, existing, replaced) for ca in sorted(outside.acme)},
        renewals=existing.manifest.renewals if existing.manifest else {},
        deployed=deployed.read(lock_file, out, now),
        diagnostics=tuple(
            dict.fromkeys(
                (
                    *existing.diagnostics,
                    *(lock_and_tree.ahead(existing, whole) if existing.manifest else ()),
                    *(lock_and_tree.unlike(read, lock, in_tree) if read and not known_here and not new_out else ()),
                    *outside.diagnostics,
                    *taken_keys(outside, whole, out, existing.found),
                )
            )
        ),
    )


def _manifest(out: str, lock: Lock, own: Collection[str], *, new_out: bool) -> tuple[Manifest | None, bool]:
    """Read the manifest, and find out whether what builds remember counts."""
    manifest = manifests.read(out) if inspect(out, own) == "ours" else None
    if manifest is None:
        return None, False
    check_lock(out, manifest, lock)
    manifest = with_memory(out, manifest, lost=new_out)
    return manifest, remembers(out, manifest)


def _limited(manifest: Manifest, lock: Lock, entities: Collection[Entity]) -> Manifest:
    """Return a manifest that no build into this directory wrote: it lists only what the lock or the spec knows."""
    return manifest.limited({*entities, *(line.entity for line in lock.by_serial.values())})


def _account(ca: Entity, existing: Existing, replaced: Collection[str]) -> Account:
    """Return the key of an account. A sealed build knows only that there is one."""
    path = layout.path(ca, layout.CA_ACCOUNT_KEY)
    if ca in replaced:
        return Account()
    pem = existing.contents.get(path, b"" if existing.sealed and existing.keeps(path) else None)
    return Account(pem, lost=pem is None and path in existing.listed)


def _existing(
    out: str,
    manifest: Manifest | None,
    lock: Lock,
    profiles: Mapping[Entity, Profile],
    outside: Outside,
    secrets: Secrets,
    *,
    own: Collection[str],
    new_out: bool,
    now: datetime,
    drift: Drift,
    review: bool,
    replaced: Collection[str],
) -> Existing:
    if manifest is None:
        if lock.id and not new_out:
            return _from_lock(out, lock, profiles, outside, review=review)
        return _nothing(out, lock, profiles, outside, secrets)
    files = observe_files(out, manifest, own, sealed=secrets.sealed)
    known = lock.by_digest
    guarded = manifest.at_rest.guarded if manifest.at_rest else ()
    look = _Look(out, files.states, known, outside, secrets, guarded)
    found = {entity: _found(entity, look) for entity in profiles}
    cas = [entity for entity in profiles if entity.kind == "ca"]
    found |= {entity: _of_this_ca(entity, found[entity], lock, look) for entity in cas}
    contents = dict(_contents(out, profiles, files, look))
    crls: dict[str, RevocationList | Unreadable] = {
        entity.name: crl for entity in cas if (crl := _crl(entity, found[entity], contents)) is not None
    }
    lists = lists_in(files, partial(content, out))
    crls |= {name: lists.facts for name, lists in outside.crls.items()}
    ours = {entity: one for entity, one in found.items() if entity not in outside.signed}
    return Existing(
        out,
        lock,
        manifest,
        files.states,
        files.entries,
        found,
        crls,
        contents,
        _brought(found, outside, secrets),
        outside=outside,
        elsewhere=dict(_elsewhere(cas, found, outside, lists)),
        drift=drift,
        sealed=secrets.sealed,
        diagnostics=(
            *(() if drift.lost or drift.altered else lock_and_tree.behind(ours, known, files.states)),
            *lock_and_tree.lacking(ours, lock, now),
            *replaced_by_older(outside, lists),
            *_left_in_files({entity: found[entity] for entity in cas if entity not in replaced}, look),
            *(() if manifest.at_rest else open_keys(out, files)),
            *foreign_files(out, files),
        ),
    )


class _Look(NamedTuple):
    """The paths of certificates and keys, and the known facts about them."""

    out: str
    states: Mapping[str, str]
    known: Mapping[str, IssuedLine]
    """The lines of the lock, by the SHA-256 of the certificate."""
    outside: Outside
    secrets: Secrets
    guarded: Collection[Entity]
    """The entities whose key a passphrase encrypts, in a tree whose keys are encrypted for recipients, too."""

    def key(self, entity: Entity) -> bytes | None:
        """Return the private key in the tree in PEM. Return None if there is none."""
        return opened_content(self.out, layout.key_path(entity), self.secrets)


def _contents(
    out: str, profiles: Mapping[Entity, Profile], files: Observed, look: _Look
) -> Iterator[tuple[str, bytes]]:
    """Yield the other files that decisions depend on. Read equal files once: bundles share the CAs that they trust."""
    shared: dict[str, bytes | None] = {}
    for path in _paths(profiles, files.entries, look.outside):
        entry = files.entries.get(path)
        if entry is not None and entry.kind == "key" and look.secrets.sealed:
            continue
        if entry is None or files.states.get(path) not in UNTOUCHED:
            found = content(out, path)
        elif entry.sha256 in shared:
            found = shared[entry.sha256]
        else:
            found = shared[entry.sha256] = content(out, path)
        if found is not None:
            yield path, found


def _paths(profiles: Mapping[Entity, Profile], entries: Mapping[str, Entry], outside: Outside) -> Iterator[str]:
    for entity, profile in profiles.items():
        if entity in outside.external:
            yield layout.request_path(entity)
        if profile.kind == "ca":
            yield layout.crl_path(entity.name)
            yield layout.path(entity, layout.CA_PREVIOUS_CERTIFICATE)
            if entity in outside.tokens:
                yield layout.path(entity, layout.CA_KEY_URI)
        elif profile.kind == "server" and profile.issuer is None:
            yield layout.path(entity, layout.SERVER_NEXT_CERTIFICATE)
            yield layout.path(entity, layout.SERVER_PREVIOUS_CERTIFICATE)
        elif profile.kind == "user" and (path := layout.path(entity, layout.CLIENT_PKCS12)) in entries:
            yield path
    yield from (layout.path(ca, layout.CA_ACCOUNT_KEY) for ca in outside.acme)
    yield from (path for path, entry in entries.items() if entry.kind in ("conf", "trust"))
    yield from left_files(entries, profiles)


def _brought(
    found: Mapping[Entity, Found], outside: Outside, secrets: Secrets
) -> dict[Entity, PrivateKey | Unreadable]:
    """Read the keys of ``key_file`` that are not in the tree yet."""
    if secrets.sealed:
        return {}
    entities = [entity for entity in outside.key_files if entity in found and found[entity].stored == "written"]
    return {entity: brought_key(entity, outside.key_files[entity], secrets) for entity in entities}


_NOTHING = Found(None, "missing")


def _nothing(out: str, lock: Lock, profiles: Mapping[Entity, Profile], outside: Outside, secrets: Secrets) -> Existing:
    """Return the observation before a first build."""
    found = dict.fromkeys(profiles, _NOTHING)
    known = lock.by_digest
    for entity in outside.not_ours | outside.keyless:
        if entity in found:
            found[entity] = _made_outside(entity, found[entity], known, outside)
    for entity in outside.tokens & profiles.keys():
        found[entity] = _in_token(entity, found[entity], lock, outside)
    for entity in outside.lent:
        found[entity] = _restored(entity, found[entity], lock, outside)
    crls = {name: lists.facts for name, lists in outside.crls.items()}
    brought = _brought(found, outside, secrets)
    elsewhere = dict(_elsewhere(map(ca_entity, outside.own_crls), found, outside, ()))
    return Existing(out, lock, found=found, crls=crls, elsewhere=elsewhere, brought=brought, outside=outside)


def _restored(entity: Entity, found: Found, lock: Lock, outside: Outside) -> Found:
    """Copy the key of a known CA into a new tree. Leave the key of an offline CA in its place."""
    from pgtls.pki.keys import spki_sha256

    line = lock.latest.get(entity)
    if line is None or found.key != "missing":
        return found
    fits = spki_sha256(outside.lent[entity].public_key()) == line.certificate.spki_sha256
    stored: Stored = "elsewhere" if entity in outside.offline else "written"
    return replace(found, key="present" if fits else "mismatch", stored=stored)


def _from_lock(out: str, lock: Lock, profiles: Mapping[Entity, Profile], outside: Outside, *, review: bool) -> Existing:
    """Assume that the certificates of the lock are present: a checkout has the lock and no keys."""
    latest = {entity: line for entity, line in lock.latest.items() if (line.ca, line.serial) not in lock.revocations}
    found = {e: Found(latest[e].certificate, "present") if e in latest else _NOTHING for e in profiles}
    note = _expected(out) if review else _lost(out, (entity for entity in profiles if entity in latest), outside)
    return Existing(out, lock, found=found, from_lock=True, lost=not review, outside=outside, diagnostics=(note,))


def _expected(out: str) -> Diagnostic:
    message = f'there is no out directory "{out}": what the lock lists is taken as present'
    hint = "this is as it should be in a review (CI is set); where pgtls builds, name the directory with --out"
    return Diagnostic("PGT555", message, severity="warning", hint=hint)


def _lost(out: str, built: Iterable[Entity], outside: Outside) -> Diagnostic:
    """Report the keys that were in a directory that no longer exists."""
    here = set(built) - outside.keyless - outside.offline - outside.tokens
    cas = sorted(entity for entity in here if entity.kind == "ca")
    leaves = len(here) - len(cas)
    keys = [f"of {listed(cas)}"] * bool(cas) + [f"of {leaves} servers and users"] * bool(leaves)
    message = (
        f'there is no out directory "{out}": the private keys {" and ".join(keys)} are not here'
        if keys
        else f'there is no out directory "{out}"'
    )
    hint = (
        "if it was deleted, restore it from a backup before anything else: without the key of a CA everything "
        "that it signed must be replaced; if pgtls builds elsewhere, name the directory with --out; "
        "in a review, set CI=true"
    )
    return Diagnostic("PGT555", message, severity="warning", hint=hint)


def nothing_to_build_on(out: str) -> Diagnostic:
    """Return the error of a build without an out directory: PGT555."""
    hint = (
        "name it with --out, or restore it from a backup; --new-out builds a new one, with --ca-key NAME=PATH "
        "for every CA whose key is kept elsewhere, and --new-ca NAME for every other"
    )
    return Diagnostic(
        "PGT555", f'there is no out directory "{out}", and the lock lists what was built into it', hint=hint
    )


def _found(entity: Entity, look: _Look) -> Found:
    found, outside = _in_tree(entity, look), look.outside
    if entity in outside.not_ours or entity in outside.keyless:
        mine = found.certificate.spki_sha256 if isinstance(found.certificate, Certificate) else None
        found = _made_outside(entity, found, look.known.keys(), outside)
        signed = outside.signed.get(entity)
        if entity in outside.external and signed and signed.certificate.spki_sha256 != mine:
            found = replace(found, key=_key_state(entity, signed.certificate, look))
    if entity in outside.tokens:
        return found  # the lock says whether there is a key
    if found.key == "missing" and entity in outside.offline:
        return replace(found, key="present", stored="elsewhere", at_hand=entity in outside.lent)
    if found.key == "missing" and entity in outside.lent:
        return replace(found, key="present", stored="elsewhere")
    if found.key == "present" and found.stored == "kept" and not look.secrets.sealed:
        return _protected(entity, found, look)
    return found


def _in_token(entity: Entity, found: Found, lock: Lock, outside: Outside, files: Collection[str] = ()) -> Found:
    """Take the key of a CA as present in its token once anything was made with it. A build opens the token to use it.

    ``files`` are those of the tree: among them may be a request that was made with it.
    """
    asked = entity in outside.external and layout.request_path(entity) in files
    known = isinstance(found.certificate, Certificate) or entity in lock.latest or asked
    return replace(found, key="present" if known else "missing", stored="elsewhere", at_hand=outside.at_hand(entity))


def _of_this_ca(entity: Entity, found: Found, lock: Lock, look: _Look) -> Found:
    """Check with the lock that a CA whose certificate is lost still has its key: another key would make another CA."""
    if entity in look.outside.tokens:
        return _in_token(entity, found, lock, look.outside, look.states)
    line = lock.latest.get(entity)
    lost = not isinstance(found.certificate, Certificate) and entity not in look.outside.not_ours
    if line is None or not lost or found.key != "present" or found.stored == "elsewhere":
        return found
    return replace(found, key=_key_state(entity, line.certificate, look))


def _made_outside(entity: Entity, found: Found, known: Collection[str], outside: Outside) -> Found:
    """Replace the material in the tree by supplied material, or put it next to its key."""
    signed = outside.signed.get(entity)
    if entity in outside.keyless:
        found = replace(found, key=_request_state(entity, found, outside), stored="elsewhere", at_hand=False)
    if signed is None:
        return _not_back(entity, found) if entity in outside.external else found
    mine = isinstance(found.certificate, Certificate) and found.certificate.spki_sha256
    ours = signed.certificate.sha256 in known
    found = replace(found, certificate=signed.certificate, pem=signed.pem, above=signed.above, ours=ours)
    if entity in outside.key_files and not (found.key == "present" and mine == signed.certificate.spki_sha256):
        return replace(found, key="present", stored="written")
    return found


def _not_back(entity: Entity, found: Found) -> Found:
    """Keep the certificate in use while another one is being signed: rules and CRLs must be deployed meanwhile.

    A CA signs nothing with it: peers would look for the chain of the spec.
    """
    if entity.kind == "ca" or found.key != "present" or not (found.ours and isinstance(found.certificate, Certificate)):
        return replace(found, certificate=None, pem=None)
    own, *others = blocks(found.pem or b"")
    return replace(found, pem=own, above=tuple(others), earlier=True)


def _request_state(entity: Entity, found: Found, outside: Outside) -> KeyState:
    """Return whether the certificate in the tree is for the key of the request."""
    request = outside.requests.get(entity)
    if request is None or not isinstance(found.certificate, Certificate):
        return "present"
    from pgtls.pki.keys import spki_sha256

    return "present" if spki_sha256(request) == found.certificate.spki_sha256 else "mismatch"


def _protected(entity: Entity, found: Found, look: _Look) -> Found:
    """Compare the encryption of a key with the spec. A key that should not be encrypted, but is, cannot be read."""
    pem, guarded = content(look.out, layout.key_path(entity)) or b"", entity in look.outside.guarded
    encrypted = b"ENCRYPTED" in pem
    if is_encrypted(pem):
        kept = look.states.get(layout.key_path(entity)) in UNTOUCHED
        encrypted = entity in look.guarded if kept else b"ENCRYPTED" in (look.key(entity) or b"")
    if encrypted and not guarded:
        return replace(found, key="locked")
    return replace(found, stored="written") if guarded and not encrypted else found


def _in_tree(entity: Entity, look: _Look) -> Found:
    certificate, key, states = layout.certificate_path(entity), layout.key_path(entity), look.states
    pem = content(look.out, certificate)
    if pem is None:
        return Found(None, "present" if states.get(key) in UNTOUCHED else _key_state(entity, None, look))
    line = look.known.get(_fingerprint(pem) or "")
    line = line if line and line.entity == entity else None
    unchanged = states.get(certificate) in UNTOUCHED
    if line and unchanged and (entity in look.outside.tokens or states.get(key) in UNTOUCHED):
        # One transaction wrote both, and neither changed since. Read no key if nothing changed.
        return Found(line.certificate, "present", pem)
    facts = _facts(pem)
    ours = line is not None or certificate in states
    return Found(facts, _key_state(entity, facts, look), pem, ours)


def _fingerprint(pem: bytes) -> str | None:
    """Hash the DER of the first certificate of a file, without parsing it."""
    try:
        body = b"".join(first_block(pem).split(b"\n")[1:-2])
        return sha256(binascii.a2b_base64(body, strict_mode=True)).hexdigest()
    except (binascii.Error, ValueError):
        return None


def _certificate_in(out: str, path: str) -> Certificate | None:
    """Return the first certificate of a file of the tree, if it can be read."""
    found = _facts(pem) if (pem := content(out, path)) else None
    return found if isinstance(found, Certificate) else None


def _facts(pem: bytes) -> Certificate | Unreadable:
    from pgtls.pki import facts

    certificates = facts.read(pem)
    return certificates if isinstance(certificates, Unreadable) else certificates[0]


def _sealed_state(entity: Entity, certificate: Certificate | Unreadable | None, look: _Look) -> KeyState:
    """Judge a key that must not be opened: an unchanged key belongs to a certificate in the lock."""
    path = layout.key_path(entity)
    if not os.path.isfile(os.path.join(look.out, path)):
        return "missing"
    if not isinstance(certificate, Certificate) or look.states.get(path) not in UNTOUCHED:
        return "present"
    own = {line.certificate.spki_sha256 for line in look.known.values() if line.entity == entity}
    return "mismatch" if own and certificate.spki_sha256 not in own else "present"


def _key_state(entity: Entity, certificate: Certificate | Unreadable | None, look: _Look) -> KeyState:
    """Return whether the key in the tree belongs to a certificate, or is a key at all."""
    from pgtls.pki import keys

    if entity in look.outside.tokens:
        return "present"
    if look.secrets.sealed:
        return _sealed_state(entity, certificate, look)
    pem = look.key(entity)
    if pem is None:
        return "missing"
    encrypted = keys.is_encrypted(pem)
    key = keys.load(pem, look.secrets.passphrase(entity) if encrypted else None)
    if isinstance(key, Unreadable):
        return "locked" if encrypted else "unreadable"
    if not isinstance(certificate, Certificate):
        return "present"
    return "present" if keys.spki_sha256(key.public_key()) == certificate.spki_sha256 else "mismatch"


def _crl(entity: Entity, found: Found, contents: Mapping[str, bytes]) -> RevocationList | Unreadable | None:
    pem = contents.get(layout.crl_path(entity.name))
    if pem is None:
        return None
    from pgtls.pki import published

    return published.of_ca(pem, found.pem)


def _elsewhere(
    cas: Iterable[Entity], found: Mapping[Entity, Found], outside: Outside, lists: Lists
) -> Iterator[tuple[str, RevocationList]]:
    """Yield what CRLs of the tree, and those that are brought, list for each CA whose key is here, by its NAME."""
    for entity in cas:
        brought = [one.list for one in outside.own_crls.get(entity.name, ())]
        if entity not in outside.keyless and found[entity].pem and (lists or brought):
            from pgtls.pki import published

            if its := published.elsewhere(found[entity].pem, (*lists, *brought)):
                yield entity.name, its


def _left_in_files(cas: Mapping[Entity, Found], look: _Look) -> Iterator[Diagnostic]:
    """Report the keys of CAs that are in the tree although the spec says that the key is another one, or elsewhere."""
    for entity, found in cas.items():
        path = layout.key_path(entity)
        if (why := _why_left(entity, found, look)) and os.path.lexists(os.path.join(look.out, path)):
            field, where, condition = why
            message = f'the key of {entity} is {where}, and the file "{path}" is there, too'
            hint = f"{condition}move the file to a safe place: a build deletes no key of a CA"
            yield Diagnostic("PGT640", message, (*entity.path, field), hint)


def _why_left(entity: Entity, found: Found, look: _Look) -> tuple[str, str, str] | None:
    """Return what the spec says instead of the key in the tree: the field, where the key is, and a condition."""
    outside = look.outside
    if entity in outside.tokens:
        return "key", "in a token", "if the token holds this key, "
    if entity in outside.keyless:
        return "cert_file", "kept elsewhere (cert_file without key_file)", ""
    if entity in outside.key_files and found.stored == "written" and entity in outside.signed:
        pem = content(look.out, layout.certificate_path(entity))
        before = _facts(pem) if pem else None
        same = isinstance(before, Certificate) and before.spki_sha256 == outside.signed[entity].certificate.spki_sha256
        if not same:  # or no certificate tells
            return "key_file", "another one now (key_file)", ""
    return None
