"""What is found, asked for and decided about certificates, keys and CRLs, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pgtls.state import layout

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Authority
    from pgtls.pki.model import Certificate, Profile, Revocation, Unreadable
    from pgtls.state.lock import RevokedLine

KeyState = Literal["present", "missing", "mismatch", "unreadable", "locked"]
"""``locked``: it is encrypted, and the passphrase of the spec, if there is one, does not open it."""

ReasonName = Literal[
    "missing",
    "unreadable",
    "key missing",
    "key mismatch",
    "issuer",
    "differs",
    "too long",
    "revoked",
    "expired",
    "due",
    "asked",
]


Stored = Literal["kept", "written", "elsewhere"]


@dataclass(frozen=True, slots=True)
class Found:
    """The certificate and key of one entity. ``pem`` is the certificate file as it is, None where there is none.

    ``ours`` says whether pgtls wrote it. ``stored`` is what becomes of its key in the tree: it is kept, written again (with the protection that the spec asks for,
    or as it was brought along), or not in it at all. ``at_hand`` is whether something can be signed with it. ``above`` are the further certificates of a
    file that was brought along.
    """

    certificate: Certificate | Unreadable | None
    key: KeyState
    pem: bytes | None = None
    ours: bool = True
    stored: Stored = "kept"
    at_hand: bool = True
    above: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """What the caller of a build asks for by name: entities, or NAMEs of CAs."""

    renew: frozenset[str] = frozenset()
    """Entities; "all" for all of them."""
    replace: frozenset[str] = frozenset()
    new_ca: frozenset[str] = frozenset()
    allow_revoke: bool = False
    accept_outage: bool = False
    ca_keys: tuple[tuple[str, str], ...] = ()
    """NAMEs of CAs whose key is lent to this build, with the path of the key."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a certificate is issued: ``name`` is for decisions, ``text`` for people, ``fields`` name what in the spec differs."""

    name: ReasonName
    text: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Beside:
    """What lies beside the pair of a self-signed server: certificates in PEM. ``issue``: the next pair is made in this build.

    ``promoted``: the next pair is served from now on.
    """

    next: bytes | None = None
    previous: bytes | None = None
    issue: bool = False
    promoted: bool = False
    ends: datetime | None = None
    """When the first of the previous ones does."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to one certificate. ``reason`` is why it is issued; None: it stays, ``adopted`` if pgtls did not write it.

    ``end`` and ``due`` are when it will end and when its renewal window opens, afterwards.
    """

    profile: Profile
    found: Found
    reason: Reason | None
    new_key: bool
    end: datetime
    due: datetime
    adopted: bool = False
    waits: str | None = None
    """Why it is due and yet not issued: who signs it is not here."""
    problems: tuple[Diagnostic, ...] = ()
    beside: Beside | None = None
    """Of a self-signed server: what lies beside its pair."""


@dataclass(frozen=True, slots=True)
class CrlDecision:
    """What a CA's CRL will say, and why it is written again; no ``reason``: it stays. ``due`` is when half its life is over."""

    ca: Authority
    reason: str | None
    due: datetime
    entries: tuple[Revocation, ...]
    validity: timedelta
    """How long one that is written now lives."""
    waits: str | None = None
    """Why it should be written again and is not: the key that signs it is not here."""


@dataclass(frozen=True, slots=True)
class Retired:
    """A CA that left the spec, with what its next CRL will say. ``directory`` is where its files will lie, ``pem`` and ``key`` what they are now.

    No ``reason``: its CRL stays. ``due`` is when it is written again, None if never.
    """

    name: str
    directory: str
    pem: bytes
    key: str
    number: int
    entries: tuple[Revocation, ...]
    validity: timedelta
    reason: str | None
    due: datetime | None

    @property
    def crl_path(self) -> str:
        """Where its CRL will lie."""
        return self.directory + layout.CA_CRL


@dataclass(frozen=True, slots=True)
class Decisions:
    """Everything that a build decides about certificates, before any of it is done."""

    certificates: Mapping[str, Decision]
    """By entity; a CA comes before what it signs."""
    revocations: tuple[RevokedLine, ...]
    """New ones."""
    crls: Mapping[str, CrlDecision]
    """By NAME of the CA."""
    diagnostics: tuple[Diagnostic, ...] = ()
    retired: tuple[Retired, ...] = ()
    """CAs that left the spec, with their CRLs."""

    @property
    def waiting(self) -> bool:
        """Whether a certificate or CRL waits for a key or a signature: every build reports that."""
        certificates, crls = self.certificates.values(), self.crls.values()
        return any(one.waits for one in certificates) or any(one.waits for one in crls)
