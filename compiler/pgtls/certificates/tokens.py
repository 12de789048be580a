"""Open the keys of CAs that are in tokens: only when a build signs with them, makes them, or reads another URI.

What a token holds cannot be undone like a file. So a build never deletes a key there and never puts one in the place of
another: a CA that gets a new key needs a new object, and the spec names it.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from pgtls.certificates.credentials import key_uri_file
from pgtls.certificates.issue import used_keys
from pgtls.certificates.model import makes_key
from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.fleet.fields import place_of
from pgtls.fleet.files import directory_of
from pgtls.language.positions import locate
from pgtls.pki.model import Certificate
from pgtls.state import layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pgtls.certificates.model import Decisions, Existing
    from pgtls.certificates.secrets import Secrets
    from pgtls.fleet.model import Fleet
    from pgtls.pki.keys import PrivateKey
    from pgtls.pki.model import Entity, KeyAlgorithm
    from pgtls.pki.tokens import TokenFault, TokenKey, Tokens, Trouble


class Use(NamedTuple):
    """What a build needs of a CA's key: ``spki`` names its public key, None if no certificate says which it is.

    With ``new``, the CA gets a key that is none of the ``taken`` ones: the object is made, or taken over.
    """

    entity: Entity
    algorithm: KeyAlgorithm
    spki: str | None
    new: bool
    taken: frozenset[str]


def uses(fleet: Fleet, decisions: Decisions, existing: Existing) -> tuple[Use, ...]:
    """Return the keys in tokens that a build uses, makes, or has not seen under this URI yet."""
    inside = existing.outside.tokens
    if not inside:
        return ()
    using, lock = frozenset(used_keys(decisions, existing)), existing.lock
    taken = frozenset(line.certificate.spki_sha256 for line in lock.by_serial.values())
    found = []
    for entity in sorted(inside):
        decision = decisions.certificates[entity]
        last, certificate = lock.latest.get(entity), decision.found.certificate
        known = certificate if isinstance(certificate, Certificate) else last.certificate if last else None
        new, seen = makes_key(decision), existing.contents.get(layout.path(entity, layout.CA_KEY_URI))
        if new or entity in using or seen != key_uri_file(fleet.cas[entity.name]):
            own = known.spki_sha256 if known and not new else None
            found.append(Use(entity, decision.profile.key_algorithm, own, new, taken))
    return tuple(found)


@contextmanager
def opened(
    fleet: Fleet, wanted: Sequence[Use], secrets: Secrets, *, make: bool
) -> Iterator[Mapping[Entity, PrivateKey]]:
    """Lend the keys to the caller, and log out afterwards. ``make`` the keys that do not exist yet.

    Raise :class:`Rejected` at the first fault, so that no token sees a wrong PIN twice: also where a token fails while
    the caller signs.
    """
    if not wanted:
        yield {}
        return
    from pgtls.pki.keys import spki_sha256
    from pgtls.pki.tokens import TokenFault, Tokens

    tokens = Tokens(writing=make and any(one.new for one in wanted))
    seen: dict[Entity, PrivateKey] = {}
    try:
        for one in wanted:
            others = frozenset(spki_sha256(key.public_key()) for key in seen.values())
            key = _key(fleet, one._replace(taken=one.taken | others), tokens, secrets, make=make)
            if key is not None:
                seen[one.entity] = key
        yield seen
    except TokenFault as fault:
        if fault.silent:
            tokens.abandon()
        raise Rejected(*locate((_diagnostic(fleet, fault, wanted),), fleet.source)) from None
    except KeyboardInterrupt:  # perhaps while a module was asked
        tokens.abandon()
        raise
    finally:
        tokens.close()


def faults(fleet: Fleet, wanted: Sequence[Use], secrets: Secrets) -> Sequence[Diagnostic]:
    """Return what keeps a build from these keys. Make none."""
    try:
        with opened(fleet, wanted, secrets, make=False):
            return ()
    except Rejected as rejected:
        return rejected.diagnostics


def _key(fleet: Fleet, one: Use, tokens: Tokens, secrets: Secrets, *, make: bool) -> TokenKey | None:
    """Return a key that is the one of its CA, or may become it. None: the build has yet to make it."""
    from pgtls.pki.keys import spki_sha256
    from pgtls.pki.tokens import TokenFault, require

    ca = fleet.cas[one.entity.name]
    table, uri = ca.table.key, ca.key_uri
    assert table is not None  # noqa: S101
    assert uri is not None  # noqa: S101
    module = os.path.join(directory_of(fleet, place_of(fleet, one.entity, "key")), table.module)

    def pin() -> str:
        return secrets.pin(one.entity)

    key = tokens.find(module, uri, pin)
    if key is None and one.new:
        return tokens.make(module, uri, pin, one.algorithm) if make else None
    if key is None:
        hint = f"use the token that holds it, or a copy; --new-ca {ca.name} makes a new key for this CA"
        raise TokenFault("key", uri, f"{uri.of_token} holds no {uri.of_key}, the key of {one.entity}", hint)
    found = spki_sha256(key.public_key())
    if one.new:
        require(key, uri, one.algorithm)
        if found in one.taken:
            hint = "a build makes no key in the place of another: name a new object in the URI"
            raise TokenFault("another", uri, f"{uri.of_key} in {uri.of_token} has been the key of a certificate", hint)
    elif one.spki not in (None, found):
        hint = f"correct the URI; --replace {one.entity} makes it the key of a new CA in the place of this one"
        raise TokenFault("another", uri, f"{uri.of_key} in {uri.of_token} is not the key of {one.entity}", hint)
    return key


_CODES: Mapping[Trouble, str] = {
    "extra": "PGT632",
    "module": "PGT633",
    "token": "PGT634",
    "pin": "PGT635",
    "key": "PGT636",
    "kind": "PGT637",
    "another": "PGT638",
    "failed": "PGT639",
}
_FIELDS: Mapping[Trouble, str] = {"module": "module", "pin": "pin"}
"""The part of ``key`` that a fault is about; of others it is the URI."""


def _diagnostic(fleet: Fleet, fault: TokenFault, wanted: Sequence[Use]) -> Diagnostic:
    entity = next(one.entity for one in wanted if fleet.cas[one.entity.name].key_uri == fault.uri)
    path = (*place_of(fleet, entity, "key"), _FIELDS.get(fault.trouble, "pkcs11"))
    return Diagnostic(_CODES[fault.trouble], fault.message, path, fault.hint)
