"""Define certificates, keys and CRLs as found, as desired and as decided."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from pgtls.certificates.ca_names import CaNames
from pgtls.pki.model import SELF_SIGNED, Certificate, RevocationList, Unreadable, ca_entity
from pgtls.state import layout
from pgtls.state.deployed import Deployed
from pgtls.state.known_lock import NONE as NO_DRIFT
from pgtls.state.lock import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from cryptography import x509

    from pgtls.diagnostics import Diagnostic
    from pgtls.pki.encryption import Encryption
    from pgtls.pki.keys import PrivateKey, PublicKey
    from pgtls.pki.model import Entity, KeyAlgorithm, Profile, Revocation
    from pgtls.pki.published import Published, Together
    from pgtls.state.generations import History
    from pgtls.state.known_lock import Drift
    from pgtls.state.lock import IssuedLine, Lock, RevokedLine
    from pgtls.state.manifest import AtRest, Entry, Manifest, RenewalInfo

# ---- found -----------------------------------------------------------------------------------------------------------

UNTOUCHED = ("same", "touched", "mode")
"""States of a file with the content that pgtls wrote."""

KeyState = Literal["present", "missing", "mismatch", "unreadable", "locked"]
"""``locked``: the key is encrypted, and the passphrase of the spec, if there is one, does not open it."""

Stored = Literal["kept", "written", "elsewhere"]
"""How a build stores a key in the tree: it keeps it, writes it (supplied, or with another passphrase), or has none."""


@dataclass(frozen=True, slots=True)
class Found:
    """The certificate and key of one entity.

    ``pem`` is the present certificate file, None if there is none. ``ours``: pgtls wrote it. ``at_hand``: the key can
    sign. ``above`` are the further certificates of a supplied file. ``earlier``: the certificate that the spec asks for
    is not back from its signer, and the file of the one before stays as it is.
    """

    certificate: Certificate | Unreadable | None
    key: KeyState
    pem: bytes | None = None
    ours: bool = True
    stored: Stored = "kept"
    at_hand: bool = True
    above: tuple[bytes, ...] = ()
    earlier: bool = False


@dataclass(frozen=True, slots=True)
class Signed:
    """A certificate that an outside signer issued.

    ``above`` are the further certificates of its file, in their order.
    """

    certificate: Certificate
    pem: bytes
    above: tuple[bytes, ...] = ()

    @property
    def file(self) -> bytes:
        """Return the content of the whole file."""
        return b"".join((self.pem, *self.above))


TOKEN = "token"  # noqa: S105
"""What ``--ca-key NAME=`` has in the place of a path for a key in a token."""


class Answer(NamedTuple):
    """What the program of a CA returned for a CSR.

    ``spki_sha256`` is the digest of the CSR's public key. ``key`` is its key if it is new.
    """

    signed: Signed
    spki_sha256: str
    key: PrivateKey | None
    at: datetime
    """When it came back."""


class NoAnswer(NamedTuple):
    """Why the signer of a CA returned no certificate. ``late``: it is not asked again in this build."""

    reason: str
    late: bool = False
    hint: str | None = None


ACCOUNT_ALGORITHM: KeyAlgorithm = "ecdsa-p256"
"""The algorithm of an account's key: the one that every ACME server knows (RFC 8555, 6.2)."""


class Account(NamedTuple):
    """The key of an account with an ACME server: in PEM as found, None if a build has to make it.

    ``lost``: an earlier build made it, and it is gone. ``key`` is the key that this build made.
    """

    pem: bytes | None = None
    lost: bool = False
    key: PrivateKey | None = None


class Lists(NamedTuple):
    """The CRLs that servers get for the file of a CA: what they say, and their PEM."""

    together: Together
    pem: bytes

    @property
    def facts(self) -> RevocationList:
        """Return their merged facts."""
        return self.together.facts


@dataclass(frozen=True, slots=True)
class Outside:
    """The material that users supply, by entity (CRLs by NAME of the CA).

    ``external`` are the entities with a request made here for an outside signer. ``keyless`` are the entities whose
    private key is never here, ``guarded`` those whose key is encrypted, ``tokens`` the CAs whose key is in a token.
    """

    signed: Mapping[Entity, Signed] = field(default_factory=dict)
    external: frozenset[Entity] = frozenset()
    keyless: frozenset[Entity] = frozenset()
    offline: frozenset[Entity] = frozenset()
    guarded: frozenset[Entity] = frozenset()
    tokens: frozenset[Entity] = frozenset()
    requests: Mapping[Entity, PublicKey] = field(default_factory=dict)
    request_files: Mapping[Entity, bytes] = field(default_factory=dict)
    """The requests of ``csr_file`` in PEM, for the program that signs them."""
    key_files: Mapping[Entity, str] = field(default_factory=dict)
    """The path of the supplied key of an entity."""
    lent: Mapping[Entity, PrivateKey] = field(default_factory=dict)
    """Keys that are lent to this build."""
    acme: frozenset[Entity] = frozenset()
    """CAs for which an ACME server signs."""
    inserted: frozenset[Entity] = frozenset()
    """CAs whose token is lent to this build."""
    crls: Mapping[str, Lists] = field(default_factory=dict)
    above: Mapping[str, Lists] = field(default_factory=dict)
    """For a CA whose key is here: the CRLs of the CAs above it, from its file."""
    crl_files: Mapping[str, Sequence[Published]] = field(default_factory=dict)
    """All CRLs of each file."""
    own_crls: Mapping[str, Sequence[Published]] = field(default_factory=dict)
    """For a CA whose key is here: CRLs that were signed with it elsewhere. Servers do not get them."""
    diagnostics: tuple[Diagnostic, ...] = ()

    def at_hand(self, ca: Entity) -> bool:
        """Return whether a build may open the token of a CA: the token of an offline CA must be lent."""
        return ca not in self.offline or ca in self.inserted

    def lending(self, ca: str) -> str:
        """Return the option that lends the key of the CA called NAME."""
        return f"--ca-key {ca}={TOKEN if ca_entity(ca) in self.tokens else 'PATH'}"

    def cas(self) -> Iterator[x509.Certificate]:
        """Yield the CAs of supplied files, which may have signed what was brought."""
        from pgtls.pki import facts

        for entity, signed in self.signed.items():
            found = facts.parse(signed.file) if entity.kind == "ca" or signed.above else ()
            yield from () if isinstance(found, Unreadable) else found

    @property
    def not_ours(self) -> frozenset[Entity]:
        """Return the entities whose certificate an outside signer issues."""
        return self.external | self.signed.keys()


@dataclass(frozen=True)  # no slots: what follows from it is computed once
class Existing:
    """The out directory, the lock and the supplied material, as found."""

    out: str
    lock: Lock
    """What builds wrote of the lock, and what the caller accepts of others."""
    manifest: Manifest | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    """The state of every file that the manifest lists: see :data:`pgtls.state.out_directory.FileState`."""
    entries: Mapping[str, Entry] = field(default_factory=dict)
    """The manifest's entries. Entries with unchanged content have the present stat values."""
    found: Mapping[Entity, Found] = field(default_factory=dict)
    """Every desired certificate, by entity."""
    crls: Mapping[str, RevocationList | Unreadable] = field(default_factory=dict)
    """The present CRLs, by NAME of the CA."""
    contents: Mapping[str, bytes] = field(default_factory=dict)
    """Other files that decisions depend on, by path, if they exist."""
    brought: Mapping[Entity, PrivateKey | Unreadable] = field(default_factory=dict)
    """By entity: the keys of ``key_file`` that this build copies into the tree."""
    answers: Mapping[Entity, Answer | NoAnswer] = field(default_factory=dict)
    """What the programs of CAs returned in this build. It is empty until a build has run them."""
    accounts: Mapping[Entity, Account] = field(default_factory=dict)
    """The keys of accounts with ACME servers, by CA."""
    renewals: Mapping[Entity, RenewalInfo] = field(default_factory=dict)
    """What ACME servers suggest about the renewal of certificates."""
    from_lock: bool = False
    """There is no out directory: assume that the certificates of the lock exist."""
    lost: bool = False
    """The out directory is missing, and this is no review."""
    outside: Outside = Outside()
    elsewhere: Mapping[str, RevocationList] = field(default_factory=dict)
    """What other CRLs list for a CA whose key is here: its own lists that, too."""
    drift: Drift = NO_DRIFT
    """The differences between the lock and what builds wrote."""
    cloned: bool = False
    """Whether the tree is a repository of its own: clones of it know lines of the lock that they cannot judge."""
    found_lock: Lock | None = None
    """The lock with what others added, if builds wrote another one."""
    history: History | None = None
    """The generations of earlier builds. None: the tree has none, and the lock is the only source."""
    deployed: Deployed = Deployed()  # noqa: RUF009  (frozen)
    """The files that are known to be deployed."""
    sealed: bool = False
    """Whether the build opens no private key, and assumes that the present ones fit."""
    forgotten: tuple[RevokedLine, ...] = ()
    """Revocations of certificates that others removed from the lock, if the caller allows them."""
    diagnostics: tuple[Diagnostic, ...] = ()

    @cached_property
    def ca_names(self) -> CaNames:
        """The keys that signed what the lock lists, and the NAMEs that their CAs have today."""
        cas = ((entity.name, one.certificate) for entity, one in self.found.items() if entity.kind == "ca")
        today = ((name, one) for name, one in cas if isinstance(one, Certificate))
        from pgtls.pki import facts

        return CaNames(today, map(facts.of, self.outside.cas()), self.lock)

    @property
    def whole_lock(self) -> Lock:
        """The lock with what others added, which is no fact, but may be true: a doubt counts, a relief does not."""
        return self.found_lock or self.lock

    def still_added(self, written: Iterable[IssuedLine | RevokedLine]) -> frozenset[str]:
        """Return the digests of the lines that are those of others after a build, which has ``written`` some itself."""
        return self.drift.added.difference(map(digest, written)) if self.found_lock else frozenset()

    @property
    def at_rest(self) -> AtRest | None:
        """Return how the keys in the out directory are encrypted. None: they are not."""
        return self.manifest.at_rest if self.manifest else None

    @property
    def recipients(self) -> tuple[str, ...]:
        """Return those for whom the keys in the out directory are encrypted."""
        return self.at_rest.recipients if self.at_rest else ()

    @property
    def listed(self) -> Mapping[str, Entry]:
        """Return the files that the manifest lists, by path."""
        return self.manifest.files if self.manifest else {}

    @cached_property
    def listed_of_cas(self) -> Mapping[str, Entry]:
        """Those of CAs, of which there are few."""
        return {path: entry for path, entry in self.listed.items() if path.startswith(layout.CAS)}

    @property
    def kept(self) -> Mapping[str, Entry]:
        """Return the manifest's entries of the files that still have the content that pgtls wrote."""
        return {path: entry for path, entry in self.entries.items() if self.keeps(path)}

    def keeps(self, path: str) -> bool:
        """Return whether the manifest lists a file and the file still has the content that pgtls wrote."""
        return self.files.get(path) in UNTOUCHED


class Keyring(NamedTuple):
    """The keys that a build uses to sign or certifies, and the encryption of the keys that it writes, by entity.

    Keys in tokens are among the ``keys`` even if this build has just made them.
    """

    keys: Mapping[Entity, PrivateKey]
    encryptions: Mapping[Entity, Encryption]
    """One for each passphrase; entities may share it."""

    def with_tokens(self, lent: Mapping[Entity, PrivateKey]) -> Keyring:
        """Add the keys that are in tokens."""
        return self._replace(keys={**self.keys, **lent})


# ---- decisions -------------------------------------------------------------------------------------------------------

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


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a certificate is issued: ``name`` is for decisions, ``text`` for people, ``fields`` names the differences."""

    name: ReasonName
    text: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Beside:
    """Certificates in PEM that peers trust in addition to the certificate of a root or of a self-signed server."""

    next: bytes | None = None
    """The next certificate of a self-signed server, which it does not serve yet."""
    makes_next: bool = False
    """This build makes the next certificate and its key."""
    previous: bytes | None = None
    ends: datetime | None = None
    """The earliest end of the previous certificates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    """The fields of every decision about a certificate. ``end``: its expiry; ``due``: the start of its window."""

    profile: Profile
    found: Found
    end: datetime
    due: datetime
    beside: Beside | None = None
    problems: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep(_Decided):
    """Keep the certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt(_Decided):
    """Keep a certificate that pgtls did not write. The lock records it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue(_Decided):
    """Issue a certificate, for a new key or for the present one.

    ``signed``: the program of its CA has signed it, and this build takes it.
    """

    reason: Reason
    new_key: bool
    signed: Signed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait(_Decided):
    """Wait: a certificate is due, but a key or a signature is missing. The present certificate stays meanwhile.

    ``new_key``: make the key for its request. ``adopted``: as for :class:`Adopt`.
    """

    why: str
    new_key: bool = False
    adopted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote(_Decided):
    """Let a self-signed server serve its next pair from now on. ``found`` describes the pair."""


Decision: TypeAlias = Keep | Adopt | Issue | Wait | Promote
"""The decision about the certificate of one entity."""


def makes_key(decision: Decision | None) -> bool:
    """Return whether the entity gets a new key."""
    return isinstance(decision, Issue | Wait) and decision.new_key


def taken(decision: Decision | None) -> Signed | None:
    """Return the certificate that the program of a CA signed in this build, if the build takes it."""
    return decision.signed if isinstance(decision, Issue) else None


def recorded_under(profile: Profile) -> str:
    """Return the NAME under which the lock records a certificate. A root has its own NAME."""
    return profile.issuer or (profile.entity.name if profile.kind == "ca" else SELF_SIGNED)


def is_adopted(decision: Decision | None) -> bool:
    """Return whether the lock records a certificate that pgtls did not write."""
    return isinstance(decision, Adopt) or (isinstance(decision, Wait) and decision.adopted)


class Signer(NamedTuple):
    """The signer of the CRL of a CA that left the spec: its certificate, and its key in PEM."""

    certificate: bytes
    key: bytes
    directory: str
    """The present directory of the files, with a final ``/``."""


@dataclass(frozen=True, slots=True)
class CrlDecision:
    """The next content of a CA's CRL, and the reason to sign it again. Without a ``reason`` it stays."""

    entity: Entity
    path: str
    """The path of the CRL after the build."""
    found: RevocationList | Unreadable | None
    reason: str | None
    due: datetime | None
    """The middle of the CRL's lifetime. None: it is never signed again."""
    number: int
    entries: tuple[Revocation, ...]
    validity: timedelta
    """The lifetime of a CRL signed now."""
    waits: str | None = None
    """Why the CRL should be signed again but waits: its key is not here."""
    signer: Signer | None = None
    """The signer, for a CA that left the spec."""

    @property
    def listed(self) -> frozenset[str] | None:
        """The serial numbers on it after the build. None: there is none that could be read."""
        if self.reason is not None:
            return frozenset(entry.serial for entry in self.entries)
        there = self.found
        return frozenset(entry.serial for entry in there.revoked) if isinstance(there, RevocationList) else None


@dataclass(frozen=True, slots=True)
class Decisions:
    """Every decision of a build about certificates, before any of them is carried out."""

    certificates: Mapping[Entity, Decision]
    """Decisions by entity. A CA comes before the certificates that it signs."""
    revocations: tuple[RevokedLine, ...]
    """The new revocations."""
    crls: Mapping[str, CrlDecision]
    """By NAME of the CA."""
    diagnostics: tuple[Diagnostic, ...] = ()
    retired: tuple[CrlDecision, ...] = ()
    """The CRLs of CAs that left the spec."""

    @property
    def waiting(self) -> bool:
        """Return whether a certificate or CRL waits for a key or a signature: every build reports that."""
        certificates, crls = self.certificates.values(), self.crls.values()
        return any(isinstance(one, Wait) for one in certificates) or any(one.waits for one in crls)
