"""Talk to an ACME server (RFC 8555): its directory, an account, orders, and renewal information (RFC 9773).

Whatever a server answers is untrusted: an answer that is none is an :class:`AcmeFault`, and its texts are shown without
control characters. Every request and every order has an end (:mod:`pgtls.pki.https`). The ``acme`` library is optional,
and only this module imports it.
"""

from __future__ import annotations

import base64
import re
import ssl
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from acme import challenges, client, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from josepy.json_util import field
from josepy.jwa import ES256, ES384, RS256, JWASignature
from josepy.jwk import JWK, JWKEC, JWKRSA

from pgtls.pki.https import Https, Limit

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from pgtls.pki.keys import PrivateKey
    from pgtls.pki.model import Certificate

_SHOWN = 200
"""The most characters of a server's text that a message repeats."""

_CLEANUP = 30
"""Seconds for removing all challenges of an order, which may be late by then."""

_ATTEMPTS = 5
"""How often a request is sent whose nonce the server does not know any more (RFC 8555, 6.5)."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,256}")
"""A token of a challenge (RFC 8555, 8.3), which becomes the name of a file."""


class AcmeFault(Exception):  # noqa: N818
    """Report why there is no certificate. ``lasting``: every other order of this CA would fail, too."""

    def __init__(self, message: str, hint: str | None = None, *, lasting: bool = False) -> None:
        super().__init__(message)
        self.message, self.hint, self.lasting = message, hint, lasting


class Challenge(NamedTuple):
    """What to publish for one host: a file of http-01, or a TXT record of dns-01 (RFC 8555, 8.3 and 8.4)."""

    type: str
    host: str
    token: str
    key_authorization: str
    name: str
    """The name of the file, or of the record."""
    content: str


class Publisher(Protocol):
    """Publishes challenges of one type."""

    @property
    def type(self) -> str:
        """``http-01`` or ``dns-01``."""

    def present(self, challenge: Challenge, patience: float) -> None:
        """Publish a challenge within so many seconds; return when the ACME server can see it.

        Raise :class:`AcmeFault`.
        """

    def cleanup(self, challenge: Challenge, patience: float) -> None:
        """Remove it, as far as possible."""


class Binding(NamedTuple):
    """An external account binding (RFC 8555, 7.3.4)."""

    kid: str
    hmac: str


class Renewal(NamedTuple):
    """When the CA suggests to renew a certificate (RFC 9773, 4.2); ``again`` is how long not to ask."""

    start: datetime
    end: datetime
    again: timedelta


class _Order(messages.NewOrder):
    """An order with the certificate that it replaces (RFC 9773, 5), a field that the library lacks."""

    replaces: str | None = field("replaces", omitempty=True)


class Server:
    """An ACME server. ``roots`` is the file of the CAs that certify its HTTPS; None: public CAs.

    Every method raises :class:`AcmeFault`. All but :meth:`renewal` need the ``key`` of an account. All that is asked of
    the server, except an order, must end by ``until``, an instant of :func:`time.monotonic`.
    """

    def __init__(self, url: str, roots: str | None, until: float, key: PrivateKey | None = None) -> None:
        with _faults(lasting=True):
            jwk, algorithm = _jwk(key) if key else (None, ES256)
            self._key = jwk
            self._https = Https(until)
            self._net = client.ClientNetwork(jwk, alg=algorithm, user_agent="pgtls")
            self._net.session.adapters.clear()  # no server leads to another protocol than HTTPS
            self._net.session.mount("https://", self._https)
            self._net.session.auth = _anonymous
            self._net.verify_ssl = roots or True  # type: ignore[assignment]  # requests takes a path, too
            self._directory: dict[str, Any] = dict(self._net.get(url).json())
            self._meta: dict[str, Any] = dict(self._directory.get("meta", {}))

    # ---- the account -------------------------------------------------------------------------------------------------

    def log_in(self) -> bool:
        """Find the account of the key. Return whether there is one."""
        with _faults(lasting=True):
            try:
                self._account(messages.NewRegistration(only_return_existing=True))
            except messages.Error as problem:
                if problem.code != "accountDoesNotExist":
                    raise
                return False
            return True

    def register(self, contact: str | None, binding: Binding | None, *, agreed: bool) -> None:
        """Register an account for the key. ``agreed``: to the terms of service."""
        with _faults(lasting=True):
            self._account(self._registration(contact, binding, agreed=agreed))

    def _registration(self, contact: str | None, bound: Binding | None, *, agreed: bool) -> messages.NewRegistration:
        if not agreed and (terms := self._meta.get("termsOfService")):
            hint = "read them, then set terms_agreed = true in sign"
            raise AcmeFault(f"requires agreement to its terms of service, {shown(terms)}", hint)
        if bound is None and self._meta.get("externalAccountRequired"):
            raise AcmeFault("requires an external account binding", "set account_binding in sign")
        return messages.NewRegistration.from_data(
            email=contact,
            terms_of_service_agreed=agreed or None,
            external_account_binding=self._bound(bound) if bound else None,
        )

    def _bound(self, bound: Binding) -> dict[str, Any]:
        assert self._key is not None  # noqa: S101
        try:
            directory = messages.Directory(self._directory)
            return messages.ExternalAccountBinding.from_data(self._key.public_key(), bound.kid, bound.hmac, directory)
        except Exception:  # noqa: BLE001  (no error of a library may show the key)
            hint = "give it in base64url, as the CA shows it"
            raise AcmeFault("was not asked: the hmac of account_binding is no key", hint) from None

    def _account(self, registration: messages.NewRegistration) -> None:
        response = self._post(self._directory["newAccount"], registration)
        self._net.account = messages.RegistrationResource(
            body=messages.Registration.from_json(response.json()), uri=response.headers["Location"]
        )

    # ---- orders ------------------------------------------------------------------------------------------------------

    def order(
        self, request: bytes, profile: str | None, replaced: Certificate | None, publisher: Publisher, until: float
    ) -> bytes:
        """Have a CSR signed by ``until``; return the certificate and the CAs above it, in PEM."""
        with _faults():
            self._https.until = until
            csr = x509.load_pem_x509_csr(request)
            url, order = self._ordered(csr, profile, replaced)
            self._prove(order["authorizations"], frozenset(map(_proven_as, _identifiers(csr))), publisher)
            self._poll(url, {"pending"})
            self._post(order["finalize"], messages.CertificateRequest(csr=csr))
            order = self._poll(url, {"pending", "ready", "processing"})
            if order["status"] != "valid":
                raise AcmeFault(f"did not issue the certificate: {_problem(order.get('error'))}")
            return bytes(self._post(order["certificate"], None).content)

    def _ordered(
        self, csr: x509.CertificateSigningRequest, profile: str | None, replaced: Certificate | None
    ) -> tuple[str, dict[str, Any]]:
        if profile is not None and profile not in (known := self._meta.get("profiles") or {}):
            hint = f"it has {', '.join(map(shown, known))}" if known else "delete profile"
            raise AcmeFault(f'has no profile "{profile}"', hint, lasting=True)
        order = _Order(
            identifiers=tuple(_identifiers(csr)),
            profile=profile or "",
            replaces=certificate_id(replaced) if replaced and "renewalInfo" in self._directory else None,
        )
        try:
            response = self._post(self._directory["newOrder"], order)
        except (errors.ConflictError, messages.Error) as problem:
            # That the CA does not know the replaced certificate, or replaced it before, is no reason to wait.
            if order.replaces is None or getattr(problem, "code", None) == "rateLimited":
                raise
            response = self._post(self._directory["newOrder"], order.update(replaces=None))
        return response.headers["Location"], dict(response.json())

    def _prove(self, urls: Sequence[str], hosts: Collection[str], publisher: Publisher) -> None:
        """Publish the challenges of all hosts, let the server look at them, and remove them."""
        published: list[tuple[str, messages.ChallengeBody, Challenge]] = []
        try:
            for url in urls:
                body = messages.Authorization.from_json(self._post(url, None).json())
                if body.status != messages.STATUS_VALID:
                    chosen, challenge = self._challenge(body, hosts, publisher.type)
                    published.append((url, chosen, challenge))
                    publisher.present(challenge, self._left())
            for _, chosen, _ in published:
                self._post(chosen.uri, chosen.response(self._key))
            for url, _, challenge in published:
                found = self._poll(url, {"pending"})
                if found["status"] != "valid":
                    raise AcmeFault(_unproven(found, challenge))
        finally:
            end = time.monotonic() + _CLEANUP
            for _, _, challenge in published:
                if (left := end - time.monotonic()) > 0:
                    publisher.cleanup(challenge, left)

    def _challenge(
        self, body: messages.Authorization, hosts: Collection[str], wanted: str
    ) -> tuple[messages.ChallengeBody, Challenge]:
        host = str(body.identifier.value)
        if host.lower() not in hosts:  # which programs of users would get, and believe
            raise AcmeFault(f'asks for a proof of "{shown(host)}", which was not ordered')
        for offered in body.challenges:
            chall = offered.chall
            if chall.typ != wanted or not isinstance(chall, challenges.HTTP01 | challenges.DNS01):
                continue
            token = chall.encode("token")
            if not _TOKEN.fullmatch(token):
                raise AcmeFault("offers a challenge whose token is no base64url")
            content = str(chall.validation(self._key))
            proof = str(chall.key_authorization(self._key))
            name = token if wanted == "http-01" else f"{chall.validation_domain_name(host)}."
            return offered, Challenge(wanted, shown(host), token, proof, name, content)
        offers = ", ".join(shown(one.chall.typ) for one in body.challenges)
        raise AcmeFault(f'offers no {wanted} for "{shown(host)}", only {offers}', "change challenge in sign")

    def _poll(self, url: str, unfinished: Collection[str]) -> dict[str, Any]:
        """Return a resource as soon as its status is another one than these."""
        pause = 0.01
        while True:
            response = self._post(url, None)
            found: dict[str, Any] = dict(response.json())
            if found["status"] not in unfinished:
                return found
            pause = min(2 * pause, 5)
            wait = max(pause, min(_seconds(response.headers.get("Retry-After")) or 0, 60))
            if wait > self._left():
                raise AcmeFault("did not decide in time", "set a longer timeout in sign", lasting=True)
            time.sleep(wait)

    def _left(self) -> float:
        return self._https.until - time.monotonic()

    def _post(self, url: str, body: Any) -> Any:
        """Post a signed body; with None, a POST-as-GET."""
        for left in reversed(range(_ATTEMPTS)):
            try:
                return self._net.post(url, body, new_nonce_url=self._directory["newNonce"])
            except messages.Error as problem:
                if problem.code != "badNonce" or not left:
                    raise
        raise AssertionError

    # ---- renewal information -----------------------------------------------------------------------------------------

    def renewal(self, certificate: Certificate) -> Renewal | None:
        """Return the window in which the CA suggests to renew a certificate; None: it gives no such information."""
        base = self._directory.get("renewalInfo")
        if base is None or certificate.authority_key_id is None:
            return None
        with _faults():
            response = self._net.get(f"{base}/{certificate_id(certificate)}")
            window = response.json()["suggestedWindow"]
            start, end = _instant(window["start"]), _instant(window["end"])
            if start >= end:
                raise AcmeFault("suggests a renewal window that ends before it begins")
            return Renewal(start, end, timedelta(seconds=_seconds(response.headers.get("Retry-After")) or 0))


def certificate_id(certificate: Certificate) -> str:
    """Return how an ACME server names a certificate (RFC 9773, 4.1): its authority key identifier and its serial."""
    serial = int(certificate.serial, 16)
    parts = bytes.fromhex(certificate.authority_key_id or ""), serial.to_bytes(serial.bit_length() // 8 + 1)
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


# ---- what servers answer ---------------------------------------------------------------------------------------------


def shown(text: object) -> str:
    """Return a text of a server for a message: one line without control characters, and not too long."""
    line = "".join(one if one.isprintable() else " " for one in str(text))
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "…"


def _problem(body: object) -> str:
    """Return the type and the detail of a problem document (RFC 7807)."""
    if not isinstance(body, dict):
        return "it does not say why"
    kind = shown(body.get("type") or "an error").rpartition(":")[2]
    return f"{kind}: {shown(body['detail'])}" if body.get("detail") else kind


def _unproven(authorization: dict[str, Any], challenge: Challenge) -> str:
    tried = (one for one in authorization["challenges"] if one.get("type") == challenge.type)
    why = next((_problem(one["error"]) for one in tried if one.get("error")), _problem(None))
    return f'did not accept {challenge.type} for "{challenge.host}": {why}'


def _seconds(retry_after: str | None) -> float | None:
    """Return the seconds of a ``Retry-After`` (RFC 9110, 10.2.3)."""
    from email.utils import parsedate_to_datetime

    if retry_after is None:
        return None
    try:
        if retry_after.isdecimal():
            return min(float(retry_after), 1e9)
        return max((parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds(), 0)
    except (ValueError, TypeError, OverflowError):
        return None


def _instant(text: object) -> datetime:
    moment = datetime.fromisoformat(str(text))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _identifiers(csr: x509.CertificateSigningRequest) -> Iterator[messages.Identifier]:
    """Yield the identifiers of an order: the names of its CSR (RFC 8555, 7.4), and its addresses (RFC 8738)."""
    found = [one.value for one in csr.extensions if isinstance(one.value, x509.SubjectAlternativeName)]
    common = csr.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    hosts = [str(one.value) for one in common]
    hosts += [host for names in found for host in names.get_values_for_type(x509.DNSName)]
    for host in dict.fromkeys(hosts):
        yield messages.Identifier(typ=messages.IDENTIFIER_FQDN, value=host)
    for address in (address for names in found for address in names.get_values_for_type(x509.IPAddress)):
        yield messages.Identifier(typ=messages.IDENTIFIER_IP, value=str(address))


def _proven_as(ordered: messages.Identifier) -> str:
    """Return the host whose proof covers an identifier: of a wildcard, the domain (RFC 8555, 7.1.4)."""
    return str(ordered.value).removeprefix("*.").lower()


def _anonymous(request: Any) -> Any:
    """Leave a request as it is: otherwise it gets what netrc has for any host that a server names."""
    return request


def _jwk(key: PrivateKey) -> tuple[JWK, JWASignature]:
    """Return the key of an account for signatures (RFC 7518, 3.1)."""
    if isinstance(key, rsa.RSAPrivateKey):
        return JWKRSA(key=key), RS256
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size in (256, 384):
        return JWKEC(key=key), ES256 if key.key_size == 256 else ES384
    raise AcmeFault("was not asked: the key of its account is neither RSA nor ECDSA (P-256, P-384)", lasting=True)


@contextmanager
def _faults(*, lasting: bool = False) -> Iterator[None]:
    """Report every error as an :class:`AcmeFault`: of the network, of the server, and what its answers lead to."""
    try:
        yield
    except AcmeFault as fault:
        raise AcmeFault(fault.message, fault.hint, lasting=fault.lasting or lasting) from None
    except Limit as limit:
        raise AcmeFault(shown(limit.message), limit.hint, lasting=True) from None
    except messages.Error as problem:
        raise _refusal(problem, lasting=lasting) from None
    except OSError as error:  # which those of requests are
        raise AcmeFault(f"cannot be reached: {_reason(error)}", lasting=True) from None
    except errors.ClientError as error:
        status = getattr(error.args[0] if error.args else None, "status_code", None)
        what = f"answers with HTTP status {status}" if status else "does not answer as RFC 8555 says"
        raise AcmeFault(what, lasting=True) from None
    except Exception as error:  # noqa: BLE001  (whatever an untrusted answer leads to)
        raise AcmeFault(f"does not answer as RFC 8555 says: {type(error).__name__}", lasting=lasting) from None


def _refusal(problem: messages.Error, *, lasting: bool) -> AcmeFault:
    text = _problem({"type": problem.typ, "detail": problem.detail})
    for one in problem.subproblems or ():
        whose = f" ({shown(one.identifier.value)})" if one.identifier else ""
        text += f"; {_problem({'type': one.typ, 'detail': one.detail})}{whose}"
    limited = problem.code == "rateLimited"
    hint = "wait until its limit allows more, and build again" if limited else None
    general = lasting or limited or problem.code in ("serverInternal", "userActionRequired")
    return AcmeFault(f"refuses: {shown(text)}", hint, lasting=general)


def _reason(error: BaseException) -> str:
    """Return the reason of an error of the network, which is the deepest one: libraries wrap it."""
    inner: BaseException | None = error
    reason = ""
    while inner is not None:
        if isinstance(inner, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {shown(inner.verify_message)}"
        reason = (isinstance(inner, OSError) and inner.strerror) or reason
        inner = inner.__cause__ or inner.__context__
    return shown(reason or type(error).__name__)
