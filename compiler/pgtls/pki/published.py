"""Read CRLs that other CAs publish: find their issuers, verify their signatures, and merge their facts.

PostgreSQL checks every certificate of a chain against the CRL of its issuer (X509_V_FLAG_CRL_CHECK_ALL). The CRLs for a
CA must therefore cover its whole chain, and the first one that expires locks all clients out. OpenSSL uses a CRL only
for the certificates in its scope (RFC 5280, 5.2.5), and some CRLs for none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pgtls.pki import crl
from pgtls.pki.chains import identifies, signed_by
from pgtls.pki.facts import parse as parse_certificates
from pgtls.pki.keys import spki_sha256
from pgtls.pki.model import RevocationList, Unreadable
from pgtls.pki.names import canonical, name_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from pgtls.pki.model import Certificate

    Lists = Sequence[x509.CertificateRevocationList]


def as_pem(content: bytes) -> bytes:
    """Convert a CRL in DER, as CAs publish it (RFC 5280, 4.2.1.13), to PEM. Return anything else unchanged."""
    if content[:1] != b"\x30":
        return content
    try:
        return x509.load_der_x509_crl(content).public_bytes(Encoding.PEM)
    except Exception:  # noqa: BLE001  (whatever is wrong with it, the reader of PEM says so)
        return content


class Scope(NamedTuple):
    """The certificates that a CRL is about."""

    leaves: bool = True
    """Those of users and servers."""
    cas: bool = True
    points: frozenset[x509.GeneralName] | None = None
    """Only those that name one of these distribution points. None: all."""

    @property
    def limit(self) -> str:
        """Return what it is limited to, in words."""
        if not self.leaves:
            return "for CAs alone (onlyContainsCACerts)"
        if not self.cas:
            return "for users and servers alone (onlyContainsUserCerts)"
        return "for certificates with another distribution point"

    def covers(self, one: x509.Certificate | None) -> bool:
        """Return whether OpenSSL uses the CRL for a certificate (x509_vfy.c, ``crl_crldp_check``).

        None is any certificate of a user or server: it may name the distribution point.
        """
        if one is None:
            return self.leaves
        basic = _extension(one.extensions, x509.BasicConstraints)
        if not (self.cas if basic and basic.ca else self.leaves):
            return False
        return self.points is None or any(
            map(self._is_of, _extension(one.extensions, x509.CRLDistributionPoints) or ())
        )

    def has(self, point: x509.GeneralName | str | None) -> bool:
        """Return whether it covers certificates with one distribution point, or with none."""
        return self.points is None or point in self.points

    def includes(self, other: Scope) -> bool:
        """Return whether it covers all certificates that another one does."""
        points = self.points is None or (other.points is not None and other.points <= self.points)
        return points and self.leaves >= other.leaves and self.cas >= other.cas

    def meets(self, other: Scope) -> bool:
        """Return whether there are certificates that both cover."""
        apart = self.points is not None and other.points is not None and self.points.isdisjoint(other.points)
        return not apart and ((self.leaves and other.leaves) or (self.cas and other.cas))

    def _is_of(self, point: x509.DistributionPoint) -> bool:
        """Return whether a distribution point in a certificate may be that of the CRL; one without a full name may."""
        return not (self.points and point.full_name and self.points.isdisjoint(point.full_name))


class Revoked(NamedTuple):
    """What servers find revoked of the certificates that one key of a CA signed, by its CRLs.

    The CA has this subject, and this digest of its key. ``leaves`` are the serial numbers of users and servers, ``cas``
    of CAs.
    """

    subject: str
    key: str
    leaves: frozenset[str]
    cas: frozenset[str]

    def lists(self, one: Certificate, *, ca: bool) -> bool:
        """Return whether servers find a certificate of this CA revoked."""
        return one.serial in (self.cas if ca else self.leaves)


class Signer(NamedTuple):
    """A CA that signs CRLs: its canonical name, and the digest of its key."""

    name: bytes
    key: str


class Together(NamedTuple):
    """What the CRLs of a CA and its chain say together."""

    facts: RevocationList
    """All revocations of the CA's own, the earliest end of all."""
    scopes: Mapping[Signer, tuple[Scope, ...]]
    """The scopes of the CRLs, by the CA that signed them."""
    revoked: tuple[Revoked, ...]
    """What each CA revokes that signed one of them."""


Value = TypeVar("Value", bound=x509.ExtensionType)


def _extension(extensions: x509.Extensions, kind: type[Value]) -> Value | None:
    return next((one.value for one in extensions if isinstance(one.value, kind)), None)


def scope(one: x509.CertificateRevocationList) -> Scope:
    """Return the scope of a CRL."""
    point = _extension(one.extensions, x509.IssuingDistributionPoint)
    if point is None:
        return Scope()
    points = frozenset(point.full_name) if point.full_name else None
    return Scope(not point.only_contains_ca_certs, not point.only_contains_user_certs, points)


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """A CRL, the certificate of the CA whose key signed it, and what it is about."""

    list: x509.CertificateRevocationList
    ca: x509.Certificate
    scope: Scope

    @property
    def signer(self) -> Signer:
        """Return which CA signed it."""
        return signer(self.ca)

    @property
    def date(self) -> datetime:
        """Return its thisUpdate."""
        return self.list.last_update_utc

    @property
    def age(self) -> Age:
        """Return what tells older from newer ones."""
        return age(self.list)


class Age(NamedTuple):
    """What tells which CRL of a CA is newer: its thisUpdate; of one moment its number, then how many entries it has."""

    date: datetime
    number: int
    entries: int


def age(one: x509.CertificateRevocationList) -> Age:
    """Return the age of a CRL. One without a number has 0."""
    number = _extension(one.extensions, x509.CRLNumber)
    return Age(one.last_update_utc, number.crl_number if number else 0, len(one))


def signer(ca: x509.Certificate) -> Signer:
    """Return what tells a CA from all others, whichever certificate it has."""
    return Signer(canonical(ca.subject), spki_sha256(ca.public_key()))


def published(
    lists: Iterable[x509.CertificateRevocationList], known: Collection[x509.Certificate]
) -> Iterator[Published]:
    """Find the CRLs that a key of the ``known`` CAs signed: some do not say by their extensions which key it was."""
    for one in lists:
        name = canonical(one.issuer)
        cas = [ca for ca in known if canonical(ca.subject) == name and _signed(one, ca)]
        if cas:
            yield Published(one, next((ca for ca in cas if _is_for(one, ca)), cas[0]), scope(one))


def newest(one: Published, lists: Iterable[Published]) -> Published:
    """Return the CRL that counts in the place of one: the newest of the same CA that covers at least as much.

    A CA may have several certificates of one key, and CRLs that are only for one of them.
    """
    of_ca = (other for other in lists if other.signer == one.signer and _is_for(other.list, one.ca))
    same = (other for other in of_ca if other.scope.includes(one.scope))
    return max(same, key=lambda other: other.age)


def outlived(one: Published, lists: Iterable[Published]) -> Published | None:
    """Return a newer CRL that ends earlier, and covers certificates that this one covers, too.

    As soon as the newer one ends, OpenSSL takes the older one again (x509_vfy.c, ``get_crl_score``).
    """
    newer = (each for each in lists if each.signer == one.signer and each.age > one.age and each.scope.meets(one.scope))
    return next((each for each in newer if _end(each.list) < _end(one.list)), None)


def remembered(before: Lists, now: Collection[Published]) -> Lists:
    """Return the newest CRLs of all that were ever brought, for each CA and for what they cover."""
    latest = tuple(dict.fromkeys(newest(one, now) for one in now))

    def is_replaced(old: x509.CertificateRevocationList) -> bool:
        its = (one for one in latest if one.age >= age(old) and one.scope.includes(scope(old)))
        return any(True for one in its for _ in published([old], [one.ca]))

    found = (*(one for one in before if not is_replaced(one)), *(one.list for one in latest))
    return tuple(sorted(found, key=lambda one: (canonical(one.issuer), one.last_update_utc, one.signature)))


def outdated(now: Collection[Published], before: Collection[Published]) -> Iterator[tuple[Published, Published]]:
    """Yield CRLs that servers apply now, with the newer ones that they applied to the same certificates before.

    Yield at most one pair for each signer. Where no CRL is about a certificate any more, servers refuse it.
    """
    for signer in dict.fromkeys(one.signer for one in now):
        own, old = ([one for one in lists if one.signer == signer] for lists in (now, before))
        points = {None, "", *(point for one in (*own, *old) for point in one.scope.points or ())}
        pairs = (pair for point in points for kind in ("leaves", "cas") if (pair := _pair(own, old, kind, point)))
        if pair := max(pairs, key=lambda pair: (pair[1].date - pair[0].date, pair[1].date), default=None):
            yield pair


def _pair(
    own: Iterable[Published], old: Iterable[Published], kind: str, point: x509.GeneralName | str | None
) -> tuple[Published, Published] | None:
    """Return the newest CRLs for certificates of a kind with a distribution point, if that of today is older.

    No point is that of a certificate without any, and an empty one is of none of the names. If no CRL has the point
    any more, the newest of the others must be as new.
    """

    def latest(lists: Iterable[Published], *, whole: bool) -> Published | None:
        fitting = [one for one in lists if getattr(one.scope, kind)]
        its = [one for one in fitting if one.scope.has(point)] or (fitting if whole else [])
        return max(its, key=lambda one: one.age, default=None)

    today, then = latest(own, whole=True), latest(old, whole=False)
    return (today, then) if today and then and today.age < then.age else None


def faults(
    lists: Lists,
    needed: Iterable[tuple[x509.Certificate, Sequence[x509.Certificate | None]]],
    known: Sequence[x509.Certificate],
) -> Iterator[str]:
    """Yield the faults of the CRLs.

    ``needed`` are the CAs that must have a CRL here, with certificates that it must cover (see :meth:`Scope.covers`).
    ``known`` are all CAs that may have one.
    """
    usable = []
    for one in lists:
        if fault := _fault(one, known):
            yield fault
        else:
            usable.append(one)
    for ca, certificates in needed:
        name, own = name_text(ca.subject), [one for one in lists if canonical(one.issuer) == canonical(ca.subject)]
        scopes = [scope(one) for one in own if one in usable and _is_for(one, ca)]
        if not own:
            yield f'it holds no CRL of "{name}"'
        elif not scopes and any(one in usable for one in own):
            yield f'the CRL of "{name}" in it is for another certificate of that CA (authority key identifier)'
        itself = [ca] if signed_by(ca, ca) else []  # OpenSSL 1.1 and 3.0 check the root, too
        for each in (*certificates, *itself) if scopes else ():
            if limit := uncovered(scopes, each):
                what = "that CA itself" if each is ca else f'"{name_text(each.subject)}"' if each else "users"
                yield f'the CRL of "{name}" in it does not cover {what}: it is {limit}'


def uncovered(scopes: Sequence[Scope], one: x509.Certificate | None) -> str | None:
    """Return the limit of the CRLs of a CA if none of them covers a certificate."""
    return None if any(each.covers(one) for each in scopes) else scopes[0].limit


def _fault(one: x509.CertificateRevocationList, known: Sequence[x509.Certificate]) -> str | None:
    issuers = [ca for ca in known if canonical(ca.subject) == canonical(one.issuer)]
    name, signers = name_text(one.issuer), [ca for ca in issuers if _signed(one, ca)]
    if not issuers:
        return f'it holds a CRL of "{name}", which is another CA'
    if not signers:
        return f'the CRL of "{name}" in it was not signed by the key of that CA'
    if isinstance(read := crl.of(one), Unreadable):
        return f'the CRL of "{name}" in it cannot be used: {read.reason}'
    if not any(_is_for(one, ca) for ca in signers):
        return f'the CRL of "{name}" in it is for another certificate of that CA (authority key identifier)'
    if not any(map(_may_sign, signers)):
        return f'the CRL of "{name}" in it cannot be used: the key usage of that CA is not cRLSign'
    reason = _unapplied(one)
    return f'the CRL of "{name}" in it cannot be used: {reason}' if reason else None


def key_identified(one: x509.CertificateRevocationList) -> bool:
    """Return whether a CRL says which key signed it."""
    return _extension(one.extensions, x509.AuthorityKeyIdentifier) is not None


def _is_for(one: x509.CertificateRevocationList, ca: x509.Certificate) -> bool:
    return identifies(_extension(one.extensions, x509.AuthorityKeyIdentifier), ca)


def _may_sign(ca: x509.Certificate) -> bool:
    usage = _extension(ca.extensions, x509.KeyUsage)
    return usage is None or usage.crl_sign


_HANDLED = (
    x509.IssuingDistributionPoint.oid,
    x509.AuthorityKeyIdentifier.oid,
    x509.DeltaCRLIndicator.oid,
)
"""The critical extensions of a CRL that OpenSSL handles (x_crl.c, ``crl_cb``)."""


def _unapplied(one: x509.CertificateRevocationList) -> str | None:
    """Return why OpenSSL uses a CRL for no certificate, or not as it is meant (x509_vfy.c, ``get_crl_score``).

    OpenSSL 1.1 and 3.0 take a delta for a complete CRL: all that only the complete one lists is no longer revoked.
    """
    point = _extension(one.extensions, x509.IssuingDistributionPoint)
    unknown = [each.oid.dotted_string for each in one.extensions if each.critical and each.oid not in _HANDLED]
    of_entries = [each for entry in one for each in entry.extensions]
    unknown += [each.oid.dotted_string for each in of_entries if each.critical][:1]
    if _extension(one.extensions, x509.DeltaCRLIndicator):
        return "it is a delta CRL, and servers need the complete one"
    if point and point.only_some_reasons:
        return "it is for some reasons alone (onlySomeReasons)"
    if point and point.indirect_crl:
        return "it is an indirect CRL (indirectCRL)"
    if any(each.oid == x509.CertificateIssuer.oid for each in of_entries):
        return "it has entries of other issuers (certificateIssuer)"
    if point and point.relative_name:
        return "the name of its distribution point is relative (nameRelativeToCRLIssuer)"
    if point and point.only_contains_attribute_certs:
        return "it is for attribute certificates alone (onlyContainsAttributeCerts)"
    return f"it has the critical extension {unknown[0]}, which OpenSSL does not know" if unknown else None


def _signed(one: x509.CertificateRevocationList, ca: x509.Certificate) -> bool:
    try:
        return one.is_signature_valid(ca.public_key())  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001  (keys and signatures of kinds that it does not know)
        return False


def together(lists: Collection[Published], chain: Sequence[x509.Certificate], now: datetime) -> Together:
    """Merge the CRLs of a CA, the first in ``chain``, and of those above it, without faults, as servers apply them."""
    own: dict[Signer, list[tuple[Scope, RevocationList]]] = {}
    for one in lists:
        own.setdefault(one.signer, []).append((one.scope, _facts(one.list)))
    counting = {each: (_counting(read, "leaves", now), _counting(read, "cas", now)) for each, read in own.items()}
    weakest = min(
        (one for both in counting.values() for kind in both for one in kind),
        key=lambda facts: (facts.this_update <= now, facts.next_update),
    )
    leaves, cas = counting.get(signer(chain[0]), ([], [])) if chain else ([], [])
    entries = {entry.serial: entry for one in (*cas, *leaves) for entry in one.revoked}
    facts = replace(
        (*leaves, *cas, weakest)[0],
        this_update=weakest.this_update,
        next_update=weakest.next_update,
        revoked=tuple(entries.values()),
    )
    revoked = (
        Revoked(name_text(ca.subject), each.key, *(_revoked(own[each], kind, now) for kind in ("leaves", "cas")))
        for each, ca in {one.signer: one.ca for one in lists}.items()
    )
    return Together(facts, {each: tuple(scope for scope, _ in its) for each, its in own.items()}, tuple(revoked))


def of_ca(pem: bytes, ca: bytes | None) -> RevocationList | Unreadable:
    """Read all that the CRLs of a file list for a CA, whose certificate is the first in ``ca``.

    A file with several was brought, and so was one that is not for all certificates: the CA, whose key is here now,
    signs one in their place, see :func:`merged`. If none of them is its own, take all, so that nothing is lost.
    """
    lists = crl.parse(pem)
    if isinstance(lists, Unreadable) or (len(lists) == 1 and scope(lists[0]) == Scope()):
        return crl.read(pem)
    own = [one.list for one in published(lists, _itself(ca))]
    return merged(map(crl.of, own or lists)) or crl.of(lists[0])


def elsewhere(ca: bytes | None, lists: Iterable[x509.CertificateRevocationList]) -> RevocationList | None:
    """Read what CRLs list for a CA whose key is here, wherever they are. None: there are none.

    A key may come here later: its CRLs were brought, whatever the table was called. The certificate of the CA is the
    first in ``ca``.
    """
    return merged(crl.of(one.list) for one in published(lists, _itself(ca)))


def _itself(ca: bytes | None) -> tuple[x509.Certificate, ...]:
    chain = parse_certificates(ca or b"")
    return () if isinstance(chain, Unreadable) else chain[:1]


def merged(lists: Iterable[RevocationList | Unreadable | None]) -> RevocationList | None:
    """Merge CRLs of a CA. Together, they have no authority key identifier: the CA signs one in their place."""
    read = sorted((one for one in lists if isinstance(one, RevocationList)), key=lambda one: one.this_update)
    if not read:
        return None
    entries = {entry.serial: entry for one in read for entry in one.revoked}
    first, until = read[0].this_update, min(one.next_update for one in read)
    return RevocationList(max(one.number for one in read), first, until, tuple(entries.values()), None)


def _counting(own: Iterable[tuple[Scope, RevocationList]], kind: str, now: datetime) -> list[RevocationList]:
    """Return the CRLs of one CA that servers apply to certificates of a kind, a field of :class:`Scope`.

    Of several with one scope, the newest that is valid ``now`` counts, as for OpenSSL (x509_vfy.c, ``get_crl_sk``).
    Those of a distribution point count where none is for all certificates.
    """
    fitting = [(each.points, facts) for each, facts in own if getattr(each, kind)]
    newest: dict[frozenset[x509.GeneralName] | None, RevocationList] = {}
    for points, facts in [one for one in fitting if one[0] is None] or fitting:
        newest[points] = max(newest.get(points, facts), facts, key=lambda each: _score(each, now))
    return list(newest.values())


def _revoked(own: Iterable[tuple[Scope, RevocationList]], kind: str, now: datetime) -> frozenset[str]:
    """Return the serial numbers of certificates of a kind that servers certainly find revoked.

    Which distribution points a certificate names is not known here. Beside a complete CRL, it may be under a newer one
    of its point, and both must list it; without one, that of its point does.
    """
    own = [(each, facts) for each, facts in own if getattr(each, kind)]
    counting = _counting(own, kind, now)
    if all(each.points for each, _ in own):
        return _serials(counting)
    newer = (facts for each, facts in own if each.points and _score(facts, now) > _score(counting[0], now))
    return frozenset.intersection(*(_serials([facts]) for facts in (counting[0], *newer))) if counting else frozenset()


def _serials(lists: Iterable[RevocationList]) -> frozenset[str]:
    return frozenset(entry.serial for one in lists for entry in one.revoked)


def _end(one: x509.CertificateRevocationList) -> datetime:
    assert one.next_update_utc is not None  # noqa: S101  (one without is refused)
    return one.next_update_utc


def _facts(one: x509.CertificateRevocationList) -> RevocationList:
    facts = crl.of(one)
    assert isinstance(facts, RevocationList)  # noqa: S101
    return facts


def _score(facts: RevocationList, now: datetime) -> tuple[bool, datetime]:
    return facts.this_update <= now < facts.next_update, facts.this_update
