"""Define certificates as facts, desired and present, without key material or parsed X.509 objects."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime, timedelta

KeyAlgorithm = Literal["ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519"]
CertificateKind = Literal["ca", "server", "user"]
ENTITY_KINDS = ("ca", "server", "pooler", "user")
"""The kinds of entities that have certificates and files, in the order of a plan."""
RevocationReason = Literal[
    "unspecified", "key_compromise", "superseded", "affiliation_changed", "cessation_of_operation"
]
"""The reasons (RFC 5280, 5.3.1) that the lock records; any other reason in a CRL is read as unspecified."""

COMMON_NAME_LENGTH = 64
"""ub-common-name (RFC 5280, appendix A.1)."""

SERIAL_BITS = 159
"""The bits of the longest serial number: 20 octets with the sign bit clear (RFC 5280, 4.1.2.2)."""

FIRST_YEAR, LAST_YEAR = 1950, 9999
"""The years of certificates (RFC 5280, 4.1.2.5): UTCTime begins with 1950."""

LONGEST_PASSPHRASE = 1023
"""In bytes: what OpenSSL's passphrase callback holds (PEM_BUFSIZE, with its terminating zero)."""

SELF_SIGNED = "self-signed"
"""The issuer of a certificate that is its own root."""


class Entity(str):
    """A table of the spec by kind and name: ``ca.root``, ``server.primary``, ``pooler.main``, ``user.alice``.

    A further identity of a server (``[[server.primary.sni]]``) adds its first host:
    ``server.primary/shop.example.com``. It is text, as in the lock, the manifest and every JSON. No other code splits
    that text.
    """

    __slots__ = ()

    @property
    def kind(self) -> str:
        """Return ``ca``, ``server``, ``pooler``, ``user`` or ``policy``."""
        return self.partition(".")[0]

    @property
    def name(self) -> str:
        """Return the NAME of the table, which may contain a dot. For a further identity, it includes the host."""
        return self.partition(".")[2]

    @property
    def table(self) -> tuple[str, str]:
        """Return the path of its table. For a further identity, return that of its server."""
        kind, _, name = self.partition(".")
        return kind, name.partition("/")[0]

    @property
    def path(self) -> tuple[str, ...]:
        """Return the path of its table. For a further identity, include its host."""
        return (*self.table, *(("sni", self.host) if self.host else ()))

    @property
    def host(self) -> str:
        """Return the first host of a further identity, or an empty text for any other table."""
        return self.partition("/")[2]


@cache  # called often, and stored with each file
def entity(kind: str, name: str) -> Entity:
    """Return the table with this NAME of a kind."""
    return Entity(f"{kind}.{name}")


def ca_entity(name: str) -> Entity:
    """Return the CA with this NAME."""
    return entity("ca", name)


@dataclass(frozen=True, slots=True)
class Constraints:
    """Name constraints (RFC 5280, 4.2.1.10); addresses are networks in canonical text."""

    permitted_dns: tuple[str, ...] = ()
    permitted_ip: tuple[str, ...] = ()
    excluded_dns: tuple[str, ...] = ()
    excluded_ip: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """A certificate that the spec asks for."""

    entity: Entity
    kind: CertificateKind
    issuer: str | None
    """The NAME of the CA that signs it. None: it signs itself."""
    subject: tuple[tuple[str, str], ...]
    """(attribute, value) in encoding order, attributes named as in the spec.

    For example ``("organization", "Example"), ("common_name", "app")``.
    """
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    """Addresses in canonical text."""
    key_algorithm: KeyAlgorithm
    validity: timedelta
    renew_before: timedelta | None
    """Time before the end at which to renew. None: a third of the lifetime actually issued."""
    rotate_key: bool = True
    path_length: int | None = None
    constraints: Constraints | None = None
    until: datetime | None = None
    """The certificate must end no later than this instant."""
    revoke_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Certificate:
    """The public facts of a certificate, in one form for the lock and for files.

    ``subject`` is RFC 4514 text (most specific first, as ``clientname=DN`` compares it); ``names`` are
    ``DNS:db.example.com``, ``IP:10.0.0.5``, sorted; ``usages`` are sorted words for everything that a profile decides
    apart from names: ``CA``, ``pathlen:0``, ``keyCertSign``, ``cRLSign``, ``digitalSignature``, ``keyEncipherment``,
    ``serverAuth``, ``clientAuth``, ``permitted:DNS:example.com``. ``serial`` is lower-case hex without leading zeros.
    ``authority_key_id`` names the key that signed it (None: the certificate has no authority key identifier).
    """

    serial: str
    subject: str
    issuer: str
    names: tuple[str, ...]
    usages: tuple[str, ...]
    key_algorithm: str
    spki_sha256: str
    key_id: str
    """The subject key identifier, hex (RFC 5280, 4.2.1.2: SHA-1 of the public key)."""
    authority_key_id: str | None
    sha256: str
    not_before: datetime
    not_after: datetime

    @property
    def path_length(self) -> int | None:
        """Return how many levels of CAs may be below this CA. None: any number."""
        return next((int(usage[8:]) for usage in self.usages if usage.startswith("pathlen:")), None)

    def serves(self, purpose: str) -> bool:
        """Return whether OpenSSL takes it as ``serverAuth`` or ``clientAuth`` (v3_purp.c, ``xku_reject``).

        Without an extended key usage, it is for every purpose. ``anyExtendedKeyUsage`` alone is for neither of the two.
        """
        extended = [usage for usage in self.usages if usage in PURPOSES or usage[0].isdigit()]
        return not extended or purpose in extended


PURPOSES = frozenset(
    ("serverAuth", "clientAuth", "codeSigning", "emailProtection", "timeStamping", "OCSPSigning", "anyExtendedKeyUsage")
)
"""The extended key usages that have words; others are numbers with dots."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that exists but cannot be used, with the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Revocation:
    """An entry of a CRL (RFC 5280, 5.3). ``serial`` is lower-case hex; ``not_after`` the certificate's end if known."""

    serial: str
    date: datetime
    reason: RevocationReason
    not_after: datetime | None = None


@dataclass(frozen=True, slots=True)
class RevocationList:
    """The facts of a CRL."""

    number: int
    this_update: datetime
    next_update: datetime
    revoked: tuple[Revocation, ...]
    authority_key_id: str | None
