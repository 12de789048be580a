"""CRLs that others published: pgtls reads all CRLs of a file, and reads from them what OpenSSL reads."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from pgtls.pki import crl, published
from pgtls.pki.model import Revocation
from pki.trees import DAY, NOW, authority, leaf

if TYPE_CHECKING:
    from pki.trees import Authority

ROOT = authority("published-root")
INNER = authority("published-inner", ROOT)
OTHER = authority("published-other")


def of(ca: Authority, *revoked: str, now: object = NOW, days: int = 30) -> x509.CertificateRevocationList:
    entries = [Revocation(serial, NOW, "superseded") for serial in revoked]
    start = now if isinstance(now, type(NOW)) else NOW
    return x509.load_pem_x509_crl(crl.make(ca.issuer, 1, start, days * DAY, entries))


def certificates(*cas: Authority) -> list[x509.Certificate]:
    return [ca.issuer.certificate for ca in cas]


def together(lists: list[x509.CertificateRevocationList], ca: Authority) -> published.Together:
    known = certificates(ROOT, INNER)
    return published.together(list(published.published(lists, known)), certificates(ca), NOW)


def faults(*lists: x509.CertificateRevocationList) -> list[str]:
    inner, root = certificates(INNER, ROOT)
    return list(published.faults(lists, [(inner, [None]), (root, [inner])], [inner, root]))


def delta(ca: Authority) -> x509.CertificateRevocationList:
    builder = x509.CertificateRevocationListBuilder().issuer_name(ca.issuer.name).last_update(NOW)
    builder = builder.next_update(NOW + DAY).add_extension(x509.DeltaCRLIndicator(1), critical=True)
    return builder.sign(ca.issuer.key, SHA256())


def test_a_list_of_each_ca_of_the_chain_is_all_that_it_takes() -> None:
    assert faults(of(ROOT), of(INNER)) == []
    assert faults(of(INNER), of(INNER, now=NOW - DAY), of(ROOT)) == [], "an older one does no harm"


def test_a_list_that_is_missing_is_said() -> None:
    assert faults(of(INNER)) == ['it holds no CRL of "CN=published-root"']


def test_a_list_of_another_ca_is_said() -> None:
    assert faults(of(INNER), of(OTHER), of(ROOT)) == ['it holds a CRL of "CN=published-other", which is another CA']


def test_a_list_that_a_namesake_signed_is_said() -> None:
    twin = authority("published-twin", subject=(("common_name", "published-root"),))
    wrong = ['the CRL of "CN=published-root" in it was not signed by the key of that CA']
    assert faults(of(INNER), of(twin)) == wrong


def test_names_are_compared_as_openssl_compares_them() -> None:
    loud = authority("published-loud", subject=(("common_name", "  PUBLISHED-Loud "),))
    builder = x509.CertificateRevocationListBuilder().last_update(NOW).next_update(NOW + DAY)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "published-loud")])
    made = builder.issuer_name(name).sign(loud.issuer.key, SHA256())
    assert list(published.faults([made], [(loud.issuer.certificate, [None])], certificates(loud))) == []


def test_who_is_revoked_stands_on_the_ca_s_own_list_and_the_first_end_counts() -> None:
    lists = [of(ROOT, "aa", days=5), of(INNER, "bb", days=30)]
    facts = together(lists, INNER).facts
    assert [entry.serial for entry in facts.revoked] == ["bb"]
    assert (facts.this_update, facts.next_update) == (NOW - timedelta(minutes=5), NOW + 5 * DAY)


def test_of_two_lists_of_one_ca_the_newest_that_holds_counts() -> None:
    old, new, future = of(ROOT, "aa", now=NOW - DAY), of(ROOT, "aa", "bb"), of(ROOT, now=NOW + DAY)
    for order in ([old, new, future], [future, new, old]):
        assert [entry.serial for entry in together(order, ROOT).facts.revoked] == ["aa", "bb"]
    assert together([future, old], ROOT).facts.revoked[0].serial == "aa"
    assert together([future], ROOT).facts.this_update > NOW


def scoped(ca: Authority, *revoked: str, users: bool = False, cas: bool = False) -> x509.CertificateRevocationList:
    """Sign a CRL for users or for CAs alone, a day before the others."""
    builder = x509.CertificateRevocationListBuilder(ca.issuer.name, NOW - DAY, NOW + DAY)
    point = x509.IssuingDistributionPoint(None, None, users, cas, None, False, False)
    for serial in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(NOW)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.add_extension(point, critical=True).sign(ca.issuer.key, SHA256())


def test_a_list_counts_for_the_certificates_in_its_scope() -> None:
    both = together([scoped(ROOT, "aa", users=True), scoped(ROOT, "bb", cas=True)], ROOT)
    assert [(one.leaves, one.cas) for one in both.revoked] == [(frozenset({"aa"}), frozenset({"bb"}))]
    assert {entry.serial for entry in both.facts.revoked} == {"aa", "bb"}
    (newer,) = together([scoped(ROOT, "aa", cas=True), of(ROOT, "bb")], ROOT).revoked
    assert newer.leaves == newer.cas == frozenset({"bb"}), "the newer one is for all"


def test_what_each_ca_revokes_is_told_apart() -> None:
    found = together([of(ROOT, "aa"), of(INNER, "bb"), of(INNER, now=NOW - DAY)], INNER).revoked
    assert [(one.subject, one.leaves) for one in found] == [
        ("CN=published-root", frozenset({"aa"})),
        ("CN=published-inner", frozenset({"bb"})),
    ]


EVERYTHING, HERE, THERE = (
    published.Scope(),
    *(published.Scope(points=frozenset([x509.UniformResourceIdentifier(one)])) for one in ("here", "there")),
)
USERS, CAS = published.Scope(cas=False), published.Scope(leaves=False)
INCLUDED = [(EVERYTHING, one) for one in (EVERYTHING, HERE, USERS, CAS)] + [(one, one) for one in (HERE, USERS, CAS)]
APART = [(USERS, CAS), (HERE, THERE)]


def test_scopes_include_and_meet_others() -> None:
    scopes = (EVERYTHING, HERE, THERE, USERS, CAS)
    included = {(one, other) for one in scopes for other in scopes if one.includes(other)}
    assert included == {*INCLUDED, (EVERYTHING, THERE), (THERE, THERE)}
    apart = {frozenset((one, other)) for one in scopes for other in scopes if not one.meets(other)}
    assert apart == set(map(frozenset, APART))


def test_a_list_of_a_ca_that_may_sign_none_is_said() -> None:
    key = ROOT.issuer.key
    usage = x509.KeyUsage(False, False, False, False, False, True, False, False, False)
    builder = x509.CertificateBuilder(ROOT.issuer.name, ROOT.issuer.name, key.public_key(), 1, NOW, NOW + DAY)
    root = builder.add_extension(usage, critical=True).sign(key, SHA256())
    wrong = ['the CRL of "CN=published-root" in it cannot be used: the key usage of that CA is not cRLSign']
    assert list(published.faults([of(ROOT)], [(root, [None])], [root])) == wrong


def test_a_critical_extension_of_an_entry_is_said() -> None:
    builder = x509.CertificateRevocationListBuilder(ROOT.issuer.name, NOW, NOW + DAY)
    entry = x509.RevokedCertificateBuilder().serial_number(1).revocation_date(NOW)
    entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags.superseded), critical=True)
    made = builder.add_revoked_certificate(entry.build()).sign(ROOT.issuer.key, SHA256())
    wrong = (
        'the CRL of "CN=published-root" in it cannot be used: it has the critical extension 2.5.29.21, which OpenSSL'
    )
    assert [fault.startswith(wrong) for fault in faults(of(INNER), made)] == [True]


def test_a_delta_is_said() -> None:
    wrong = 'the CRL of "CN=published-root" in it cannot be used: it is a delta CRL, and servers need the complete one'
    assert faults(of(INNER), of(ROOT), delta(ROOT)) == [wrong]


def test_a_list_in_der_becomes_pem_and_nothing_else_does() -> None:
    made = of(ROOT)
    assert published.as_pem(made.public_bytes(Encoding.DER)) == made.public_bytes(Encoding.PEM)
    for content in (made.public_bytes(Encoding.PEM), b"", b"0123", leaf(ROOT).pem):
        assert published.as_pem(content) == content
