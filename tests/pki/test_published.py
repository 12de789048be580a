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


def faults(*lists: x509.CertificateRevocationList) -> list[str]:
    return list(published.faults(lists, certificates(INNER, ROOT), certificates(INNER, ROOT)))


def delta(ca: Authority) -> x509.CertificateRevocationList:
    builder = x509.CertificateRevocationListBuilder().issuer_name(ca.issuer.name).last_update(NOW)
    builder = builder.next_update(NOW + DAY).add_extension(x509.DeltaCRLIndicator(1), critical=True)
    return builder.sign(ca.issuer.key, SHA256())


def test_a_list_of_each_ca_of_the_chain_is_all_that_it_takes() -> None:
    assert faults(of(ROOT), of(INNER)) == []
    assert faults(of(INNER), of(INNER, now=NOW - DAY), of(ROOT)) == [], "an older one does no harm"


def test_a_list_that_is_missing_is_said() -> None:
    assert faults(of(INNER)) == ['it holds no CRL of "CN=published-root"']
    assert faults(of(INNER), delta(ROOT)) == ['it holds no CRL of "CN=published-root"'], "a delta is none"


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
    assert list(published.faults([made], certificates(loud), certificates(loud))) == []


def test_who_is_revoked_stands_on_the_ca_s_own_list_and_the_first_end_counts() -> None:
    lists = [of(ROOT, "aa", days=5), of(INNER, "bb", days=30)]
    together = published.together(lists, INNER.issuer.certificate, NOW)
    assert [entry.serial for entry in together.revoked] == ["bb"]
    assert (together.this_update, together.next_update) == (NOW - timedelta(minutes=5), NOW + 5 * DAY)


def test_of_two_lists_of_one_ca_the_newest_that_holds_counts() -> None:
    old, new, future = of(ROOT, "aa", now=NOW - DAY), of(ROOT, "aa", "bb"), of(ROOT, now=NOW + DAY)
    for order in ([old, new, future], [future, new, old]):
        together = published.together(order, ROOT.issuer.certificate, NOW)
        assert [entry.serial for entry in together.revoked] == ["aa", "bb"]
    assert published.together([future, old], ROOT.issuer.certificate, NOW).revoked[0].serial == "aa"
    assert published.together([future], ROOT.issuer.certificate, NOW).this_update > NOW


def test_a_list_in_der_becomes_pem_and_nothing_else_does() -> None:
    made = of(ROOT)
    assert published.as_pem(made.public_bytes(Encoding.DER)) == made.public_bytes(Encoding.PEM)
    for content in (made.public_bytes(Encoding.PEM), b"", b"0123", leaf(ROOT).pem):
        assert published.as_pem(content) == content
