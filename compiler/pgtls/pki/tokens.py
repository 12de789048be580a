"""Find, make and use private keys in PKCS#11 tokens.

A key of a token is a private key of ``cryptography`` whose signatures the token makes: whoever signs with it does not
see the difference. python-pkcs11 is optional, and only this module imports it.

A module is code in this process. What it answers is limited in time and number; but it can end the process, and hang it
while it is loaded or released, when python-pkcs11 lets no other thread run.
"""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, TypeAlias, TypeVar, get_args

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from pgtls.diagnostics import installing
from pgtls.pki import keys
from pgtls.pki.model import KeyAlgorithm
from pgtls.pki.patience import within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pkcs11

    from pgtls.pki.pkcs11_uri import KeyUri

    Hash: TypeAlias = hashes.HashAlgorithm

T = TypeVar("T")

PATIENCE = 300
"""Seconds for one question to a token: somebody may have to touch it, and some take minutes to make a key."""

_SEARCHED = 100
"""The most objects of one name that are looked at: a faulty module may find more for ever."""

Trouble = Literal["extra", "module", "token", "pin", "key", "kind", "another", "failed"]
"""What is wrong: the extra is not installed, the library is none, the token is absent, the PIN is refused, there is no
such key, pgtls does not issue with keys of its kind, it is another key, or the token failed."""


class TokenFault(Exception):  # noqa: N818
    """Report why a key in a token cannot be used. Neither message nor hint holds a PIN.

    ``silent``: the module has not answered, and may still be at work.
    """

    def __init__(
        self, trouble: Trouble, uri: KeyUri, message: str, hint: str | None = None, *, silent: bool = False
    ) -> None:
        super().__init__(message)
        self.trouble, self.uri, self.message, self.hint, self.silent = trouble, uri, message, hint, silent


class Tokens:
    """The tokens that are open: each library is initialised, and each token logged in to, only once."""

    def __init__(self, *, writing: bool) -> None:
        self._writing = writing
        self._libraries: dict[str, Any] = {}
        self._sessions: dict[tuple[str, int], pkcs11.Session] = {}

    def find(self, module: str, uri: KeyUri, pin: Callable[[], str]) -> TokenKey | None:
        """Return a key, None if the token has none of that name. Raise :class:`TokenFault`."""
        return _find(self._session(module, uri, pin), uri)

    def make(self, module: str, uri: KeyUri, pin: Callable[[], str], algorithm: KeyAlgorithm) -> TokenKey:
        """Make a key that never leaves its token. Raise :class:`TokenFault`."""
        session = self._session(module, uri, pin)
        _asked(uri, "cannot make a key", lambda: _make(session, uri, algorithm))
        made = _find(session, uri)
        if made is None:
            raise TokenFault("failed", uri, f"{uri.of_token} made a key and does not find it again")
        return made

    def close(self) -> None:
        """Log out of every token and release the libraries. A token that was pulled out does not object."""
        if not self._libraries:
            return
        import pkcs11

        def release() -> None:
            for leave in (
                *(session.close for session in self._sessions.values()),
                *(library.finalize for library in self._libraries.values()),
            ):
                with suppress(pkcs11.PKCS11Error):
                    leave()

        with suppress(TimeoutError):
            within(PATIENCE, release)
        self.abandon()

    def abandon(self) -> None:
        """Forget all tokens: a module may be at work, and must not be called meanwhile."""
        self._sessions.clear()
        self._libraries.clear()

    def _session(self, module: str, uri: KeyUri, pin: Callable[[], str]) -> pkcs11.Session:
        token = self._token(module, uri)
        place = os.path.realpath(module), token.slot.slot_id
        if place not in self._sessions:
            self._sessions[place] = _logged_in(token, uri, pin(), writing=self._writing)
        return self._sessions[place]

    def _token(self, module: str, uri: KeyUri) -> pkcs11.Token:
        file = os.path.realpath(module)  # a library is initialised once, whatever links lead to it
        library = self._libraries.get(file)
        if library is None:
            library = self._libraries[file] = _loaded(module, uri)
        found: list[pkcs11.Token] = _asked(
            uri, "cannot be looked for", lambda: [token for token in library.get_tokens() if _is_meant(token, uri)]
        )
        if len(found) == 1:
            return found[0]
        if not found:
            hint = "insert it, or name another one in the URI: pkcs11-tool --list-slots shows what the module sees"
            raise TokenFault("token", uri, f'there is no {uri.of_token} behind the module "{module}"', hint)
        hint = "add serial=NUMBER to the URI"
        raise TokenFault("token", uri, f"{len(found)} tokens are meant by {uri.of_token}", hint)


def _asked(uri: KeyUri, what: str, act: Callable[[], T]) -> T:
    """Let a token do something. Report every error, and silence, as a :class:`TokenFault`.

    Return values of tokens hold no secret.
    """
    import pkcs11

    try:
        return within(PATIENCE, act)
    except TimeoutError:
        raise _silence(uri, f"{uri.of_token} {what}") from None
    except (
        pkcs11.PKCS11Error,
        ValueError,
        MemoryError,
    ) as error:  # ValueError: a number that python-pkcs11 cannot name
        raise TokenFault("failed", uri, f"{uri.of_token} {what}: {_said(error)}") from None


def _silence(uri: KeyUri, what: str) -> TokenFault:
    hint = "look whether the token waits for a touch, and try it with its own program"
    return TokenFault("failed", uri, f"{what}: no answer within {PATIENCE} seconds", hint, silent=True)


def _said(error: Exception) -> str:
    """Name an error of PKCS#11; most have no text."""
    return f"{type(error).__name__} ({error})" if str(error) else type(error).__name__


def _loaded(module: str, uri: KeyUri) -> Any:
    try:
        import pkcs11
    except ImportError:
        hint = installing("python-pkcs11")
        raise TokenFault("extra", uri, "keys in tokens need python-pkcs11, which is not installed", hint) from None
    try:
        return within(PATIENCE, lambda: pkcs11.lib(module))
    except TimeoutError:
        raise _silence(uri, f'the module "{module}" does not start') from None
    except pkcs11.PKCS11Error as error:
        if not str(error):  # it was loaded, and C_Initialize failed
            raise TokenFault("failed", uri, f'the module "{module}" does not start: {_said(error)}') from None
        reason = str(error).rpartition(f"{module}: ")[2]
        hint = "name the PKCS#11 library of the token, e.g. /usr/lib/softhsm/libsofthsm2.so"
        raise TokenFault("module", uri, f'the module "{module}" is no PKCS#11 library: {reason}', hint) from None


def _is_meant(token: pkcs11.Token, uri: KeyUri) -> bool:
    """Return whether a token has every attribute of the URI (RFC 7512, 2.5). A blank one has no label."""
    pairs = (
        (uri.token, token.label),
        (uri.serial, token.serial.decode(errors="replace").strip()),
        (uri.manufacturer, token.manufacturer_id),
        (uri.model, token.model),
    )
    return all(wanted is None or wanted == found for wanted, found in pairs)


_PIN = "no second attempt was made, because a token locks after a few: correct the source in `pin`"


def _logged_in(token: pkcs11.Token, uri: KeyUri, pin: str, *, writing: bool) -> pkcs11.Session:
    """Log in once. A refused PIN is never tried again, nor any when the token would lock with the next wrong one."""
    import pkcs11
    from pkcs11.constants import TokenFlag

    refusing = (
        pkcs11.PinIncorrect,
        pkcs11.PinInvalid,
        pkcs11.PinLenRange,
        pkcs11.PinLocked,
        pkcs11.PinExpired,
        pkcs11.UserPinNotInitialized,
    )
    if token.flags & (TokenFlag.USER_PIN_FINAL_TRY | TokenFlag.USER_PIN_LOCKED):
        locked = bool(token.flags & TokenFlag.USER_PIN_LOCKED)
        state = "is locked" if locked else "locks with the next wrong PIN, so none was tried"
        hint = "log in with the token's own program, which resets its counter or unlocks it"
        raise TokenFault("pin", uri, f"{uri.of_token} {state}", hint)

    def log_in() -> pkcs11.Session:
        try:
            return token.open(rw=writing, user_pin=pin)
        except refusing as error:
            raise TokenFault("pin", uri, f"{uri.of_token} refuses the PIN: {type(error).__name__}", _PIN) from None

    return _asked(uri, "cannot be opened", log_in)


# ---- keys ------------------------------------------------------------------------------------------------------------


def _find(session: pkcs11.Session, uri: KeyUri) -> TokenKey | None:
    from pkcs11 import Attribute, ObjectClass

    wanted = {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.LABEL: uri.object, Attribute.ID: uri.id}

    def search() -> TokenKey | None:
        found = _objects(session, {name: one for name, one in wanted.items() if one is not None})
        if len(found) > 1:
            hint = "add id=%XX to the URI"
            raise TokenFault("key", uri, f"{uri.of_token} holds {len(found)} private keys that are {uri.of_key}", hint)
        return _usable(session, found[0], uri) if found else None

    return _asked(uri, "cannot be searched", search)


def _objects(session: pkcs11.Session, wanted: dict[Any, Any]) -> list[Any]:
    return list(islice(session.get_objects(wanted), _SEARCHED))


def _usable(session: pkcs11.Session, private: Any, uri: KeyUri) -> TokenKey:
    """Return a key that signs, and whose public key verifies it."""
    if not hasattr(private, "sign"):
        _unfit(uri, "may not sign")
    public = _public_key(session, private, uri)
    key = _RsaKey(private, public, uri) if isinstance(public, rsa.RSAPublicKey) else _EcKey(private, public, uri)
    try:
        key.prove()
    except TokenFault as fault:
        raise (
            fault if fault.trouble == "another" or fault.silent else TokenFault("kind", uri, fault.message, _FIT)
        ) from None
    return key


def _public_key(session: pkcs11.Session, private: Any, uri: KeyUri) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
    """Read a public key: of RSA from the private object, of EC from the public one with the same id, else label."""
    from pkcs11 import Attribute, KeyType, ObjectClass
    from pkcs11.util.ec import encode_ec_public_key

    kind = private[Attribute.KEY_TYPE]
    if kind == KeyType.RSA:
        modulus, exponent = private[Attribute.MODULUS], private[Attribute.PUBLIC_EXPONENT]
        try:
            return rsa.RSAPublicNumbers(int.from_bytes(exponent), int.from_bytes(modulus)).public_key()
        except ValueError:
            _unfit(uri, "is no RSA key that can be used")
    if kind != KeyType.EC:
        _unfit(uri, f"is of the kind {getattr(kind, 'name', kind)}")
    by = {Attribute.ID: private.id} if private.id else {Attribute.LABEL: private.label}
    found = _objects(session, {Attribute.CLASS: ObjectClass.PUBLIC_KEY, **by})
    if len(found) != 1:
        _unfit(uri, "has no public key next to it" if not found else f"has {len(found)} public keys next to it")
    try:
        public = load_der_public_key(encode_ec_public_key(found[0]))
    except (ValueError, UnsupportedAlgorithm):
        _unfit(uri, "is on a curve that cannot be read")
    assert isinstance(public, ec.EllipticCurvePublicKey)  # noqa: S101
    return public


def _unfit(uri: KeyUri, why: str) -> NoReturn:
    raise TokenFault("kind", uri, f"{uri.of_key} in {uri.of_token} {why}", _FIT)


_FIT = "pgtls issues with RSA and ECDSA keys that may sign (CKA_SIGN) without a PIN for each signature"


_CURVES = {"ecdsa-p256": "secp256r1", "ecdsa-p384": "secp384r1"}


def _make(session: pkcs11.Session, uri: KeyUri, algorithm: KeyAlgorithm) -> None:
    """Make a pair that signs and does nothing else, and whose private key cannot be read."""
    from pkcs11 import Attribute, KeyType, MechanismFlag
    from pkcs11.util.ec import encode_named_curve_parameters

    # The id ties the public key to the private one (PKCS #11 v3.1, 4.8).
    wanted: dict[str, Any] = {
        "id": uri.id or secrets.token_bytes(16),
        "label": uri.object,
        "store": True,
        "capabilities": MechanismFlag.SIGN | MechanismFlag.VERIFY,
        "private_template": {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True},
    }
    if algorithm in _CURVES:
        curve = {Attribute.EC_PARAMS: encode_named_curve_parameters(_CURVES[algorithm])}
        session.create_domain_parameters(KeyType.EC, curve, local=True).generate_keypair(**wanted)
    else:
        session.generate_keypair(KeyType.RSA, int(algorithm.removeprefix("rsa-")), **wanted)


_PKCS1 = padding.PKCS1v15()


@contextmanager
def _verifying(uri: KeyUri) -> Iterator[None]:
    """Report a signature that is wrong: of another key, or of a faulty token, whose signature may give the key away."""
    try:
        yield
    except InvalidSignature:
        message = f"{uri.of_token} signs with {uri.of_key} what the public key next to it does not verify"
        hint = "name the pair that belongs together by its id in the URI; if it does, the token is faulty"
        raise TokenFault("another", uri, message, hint) from None


def _signed(uri: KeyUri, act: Callable[[], bytes]) -> bytes:
    return _asked(uri, f"does not sign with {uri.of_key}", act)


_STAYS = "a private key in a token cannot be read"


class _InToken:
    """What both kinds of keys refuse, since the token keeps the key. A copy of one is the same key."""

    def private_numbers(self) -> NoReturn:
        """Refuse: the token keeps them."""
        raise TypeError(_STAYS)

    def private_bytes(self, *_: object) -> NoReturn:
        """Refuse: the token keeps them."""
        raise TypeError(_STAYS)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self


class _RsaKey(_InToken, rsa.RSAPrivateKey):
    """An RSA key in a token."""

    def __init__(self, private: Any, public: rsa.RSAPublicKey, uri: KeyUri) -> None:
        self._private, self._public, self._uri = private, public, uri

    def prove(self) -> None:
        """Sign something. Raise :class:`TokenFault`."""
        self.sign(secrets.token_bytes(32), _PKCS1, hashes.SHA256())

    def sign(self, data: Any, padding: object, algorithm: Any) -> bytes:
        """Sign with PKCS #1 v1.5, the only scheme that certificates of pgtls use."""
        from pkcs11 import Mechanism

        mechanism = getattr(Mechanism, f"{algorithm.name.upper()}_RSA_PKCS")
        signature = _signed(self._uri, lambda: bytes(self._private.sign(bytes(data), mechanism=mechanism)))
        with _verifying(self._uri):
            self._public.verify(signature, data, _PKCS1, algorithm)
        return signature

    def public_key(self) -> rsa.RSAPublicKey:
        """Return its public key."""
        return self._public

    @property
    def key_size(self) -> int:
        """Its bits."""
        return self._public.key_size

    def decrypt(self, ciphertext: bytes, padding: object) -> bytes:
        """Refuse: a CA's key signs only."""
        raise TypeError(_STAYS)


class _EcKey(_InToken, ec.EllipticCurvePrivateKey):
    """An ECDSA key in a token."""

    def __init__(self, private: Any, public: ec.EllipticCurvePublicKey, uri: KeyUri) -> None:
        self._private, self._public, self._uri = private, public, uri

    def prove(self) -> None:
        """Sign something. Raise :class:`TokenFault`."""
        self.sign(secrets.token_bytes(32), ec.ECDSA(hashes.SHA256()))

    def sign(self, data: Any, signature_algorithm: Any) -> bytes:
        """Let the token sign the digest: every token with EC keys has CKM_ECDSA, and few hash as well."""
        from pkcs11 import Mechanism

        digest = hashes.Hash(signature_algorithm.algorithm)
        digest.update(data)
        hashed = digest.finalize()
        pair = _signed(self._uri, lambda: bytes(self._private.sign(hashed, mechanism=Mechanism.ECDSA)))
        half = len(pair) // 2
        signature = encode_dss_signature(int.from_bytes(pair[:half]), int.from_bytes(pair[half:]))
        with _verifying(self._uri):
            self._public.verify(signature, data, signature_algorithm)
        return signature

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Return its public key."""
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        """Its curve."""
        return self._public.curve

    @property
    def key_size(self) -> int:
        """The bits of its curve."""
        return self._public.key_size

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        """Refuse: a CA's key signs only."""
        raise TypeError(_STAYS)


TokenKey: TypeAlias = _RsaKey | _EcKey
"""A private key in a token."""


def require(key: TokenKey, uri: KeyUri, algorithm: KeyAlgorithm) -> None:
    """Raise :class:`TokenFault` if a key that is taken over has another algorithm than the spec asks for."""
    found = keys.algorithm_of(key.public_key())
    if found != algorithm:
        another = "name another object in the URI"
        hint = f'key_algorithm = "{found}", or {another}' if found in get_args(KeyAlgorithm) else another
        message = f"{uri.of_key} in {uri.of_token} is {found}, and the spec asks for {algorithm}"
        raise TokenFault("kind", uri, message, hint)
