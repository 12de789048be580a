"""Revocation lists: OpenSSL refuses who is on them, and nobody else; what was ever revoked stays so."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from pgtls.pki import crl, der, names
from pgtls.pki.model import Revocation, RevocationList, RevocationReason, Unreadable
from pki.trees import ALGORITHMS, DAY, NOW, Authority, authority, leaf, needs_certtool, openssl, presented, refusal, run

if TYPE_CHECKING:
    from pathlib import Path

    from pgtls.pki.issue import Issued
    from pgtls.pki.model import KeyAlgorithm

REASONS: tuple[RevocationReason, ...] = get_args(RevocationReason)
HOUR = timedelta(hours=1)


def revoked(*certificates: Issued) -> list[Revocation]:
    return [Revocation(each.facts.serial, NOW, "superseded", each.facts.not_after) for each in certificates]


def signed(
    by: Authority, *entries: Revocation, number: int = 1, now: datetime = NOW, validity: timedelta = 365 * DAY
) -> bytes:
    return crl.make(by.issuer, number, now, validity, entries)


def listed(*entries: Revocation, number: int = 1, at: datetime = NOW) -> RevocationList:
    """Return a list as pgtls reads it: without the expiry of the certificates."""
    plain = tuple(Revocation(entry.serial, entry.date, entry.reason) for entry in entries)
    return RevocationList(number, at, at + 365 * DAY, plain, None)


# --- what others make of them -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_openssl_refuses_who_is_on_the_list_and_accepts_who_is_not(algorithm: KeyAlgorithm, tmp_path: Path) -> None:
    root = authority("root", key_algorithm=algorithm)
    middle = authority("middle", root, key_algorithm=algorithm)
    good, bad = leaf(middle, name="good"), leaf(middle, name="bad")
    lists = signed(root) + signed(middle, *revoked(bad))

    def verdict(certificate: Issued, crls: bytes, at: datetime = NOW) -> str | None:
        return refusal(tmp_path, presented(certificate, middle), root.pem, "sslclient", at, crls)

    assert verdict(good, lists) is None
    assert verdict(bad, lists) == "certificate revoked"
    assert verdict(good, signed(middle)) == "unable to get certificate CRL"
    assert verdict(good, signed(root) + signed(middle, validity=HOUR), at=NOW + 2 * HOUR) == "CRL has expired"
    assert verdict(good, signed(root) + signed(middle, now=NOW + 2 * HOUR)) == "CRL is not yet valid"
    assert verdict(good, signed(root, *revoked(middle.issued)) + signed(middle)) == "certificate revoked"


def test_a_list_of_a_namesake_does_not_count(tmp_path: Path) -> None:
    root = authority("root")
    twin = authority("twin", subject=(("common_name", "root"),))
    chain = leaf(root).pem
    assert refusal(tmp_path, chain, root.pem, "sslclient", crls=signed(root)) is None
    assert refusal(tmp_path, chain, root.pem, "sslclient", crls=signed(twin)) is not None


@needs_certtool
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_gnutls_finds_a_list_sound_under_its_ca_and_no_other(algorithm: KeyAlgorithm, tmp_path: Path) -> None:
    now = datetime.now(UTC)  # certtool asks the clock of the machine
    root = authority("root", key_algorithm=algorithm, now=now)
    for trusted, sound in ((root, True), (authority("stranger", now=now), False)):
        (tmp_path / "ca").write_bytes(trusted.pem)
        done = run("certtool", "--verify-crl", f"--load-ca-certificate={tmp_path / 'ca'}", stdin=signed(root, now=now))
        assert (done.returncode == 0) is sound, done.stdout.decode()


def test_a_list_says_what_it_should_and_nothing_else() -> None:
    root = authority("root")
    entries = [Revocation(f"{number:x}", NOW - number * DAY, reason) for number, reason in enumerate(REASONS, 0x20)]
    entries.append(Revocation("f", NOW, "superseded"))
    made = x509.load_pem_x509_crl(signed(root, *entries, number=7, now=NOW + timedelta(microseconds=5)))
    assert made.issuer == root.issuer.name
    assert made.last_update_utc == NOW - timedelta(minutes=5)
    assert made.next_update_utc == NOW + 365 * DAY
    assert {extension.value: extension.critical for extension in made.extensions} == {
        x509.CRLNumber(7): False,
        root.issuer.authority_key_id: False,
    }
    assert [entry.serial_number for entry in made] == [0xF, 0x20, 0x21, 0x22, 0x23, 0x24]
    reasons = [[extension.value for extension in entry.extensions] for entry in made]
    expected = [x509.ReasonFlags[reason] for reason in REASONS]
    assert reasons[1] == [], "an unspecified reason is not said"
    assert reasons[2:] == [[x509.CRLReason(reason)] for reason in expected[1:]]
    assert all(not extension.critical for entry in made for extension in entry.extensions)


def test_a_list_is_of_version_2_even_when_it_is_empty() -> None:
    text = openssl("crl", "-noout", "-text", stdin=signed(authority("root")))
    assert "Version 2" in text
    assert "No Revoked Certificates." in text


def test_a_list_is_read_as_it_was_made() -> None:
    root = authority("root")
    entries = tuple(Revocation(f"{number:x}", NOW, reason) for number, reason in enumerate(REASONS, 0x20))
    found = crl.read(b"# of the root\n" + signed(root, *reversed(entries), number=1 << 150))
    assert found == RevocationList(
        1 << 150, NOW - timedelta(minutes=5), NOW + 365 * DAY, entries, root.issued.facts.key_id
    )


def test_a_reason_that_is_never_given_here_is_read_as_unspecified() -> None:
    own = authority("root").issuer
    entry = x509.RevokedCertificateBuilder().serial_number(5).revocation_date(NOW)
    entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags.certificate_hold), critical=False)
    builder = x509.CertificateRevocationListBuilder().issuer_name(own.name).last_update(NOW).next_update(NOW + DAY)
    made = builder.add_revoked_certificate(entry.build()).sign(own.key, SHA256()).public_bytes(Encoding.PEM)
    assert crl.read(made) == RevocationList(0, NOW, NOW + DAY, (Revocation("5", NOW, "unspecified"),), None)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\xff\x00", "it is not PEM"),
        (b"-----BEGIN CERTIFICATE-----\n", 'there is not a CRL in it, but "CERTIFICATE"'),
        (b"-----BEGIN X509 CRL-----\n", "it is cut off: a BEGIN line has no END line"),
        (b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "what stands in it is not a CRL"),
        (b"-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n", "it is cut off: its DER is shorter than it says"),
        (
            b"-----BEGIN X509 CRL-----\n?\n-----END X509 CRL-----\n",
            "what stands between its BEGIN and END lines is not base64",
        ),
    ],
)
def test_what_is_no_list_is_a_value_with_a_reason(content: bytes, reason: str) -> None:
    assert crl.read(content) == Unreadable(reason)


def test_a_list_without_an_end_is_none() -> None:
    """RFC 5280, 5.1.2.5: CAs MUST say when the next one comes. OpenSSL would take it for ever."""
    whole = x509.load_pem_x509_crl(signed(authority("root"))).public_bytes(Encoding.DER)
    ((_, content),) = der.elements(whole)
    (_, entries), *rest = der.elements(content)
    fields = list(der.elements(entries))
    del fields[[tag for tag, _ in fields].index(UTC_TIME) + 1]
    shorter = b"".join(der.tlv(*field) for field in ((0x30, b"".join(der.tlv(*f) for f in fields)), *rest))
    found = crl.of(x509.load_der_x509_crl(der.tlv(0x30, shorter)))
    assert found == Unreadable("it does not say until when it holds (nextUpdate)")


UTC_TIME = 0x17


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_damaged_list_is_a_list_or_a_reason(at: int, to: int) -> None:
    pem = bytearray(signed(authority("root"), Revocation("5", NOW, "superseded")))
    pem[at % len(pem)] = to
    assert isinstance(crl.read(bytes(pem)), Unreadable | RevocationList)


@pytest.mark.parametrize("serial", ["0", "1" + "0" * 40])
def test_a_serial_number_that_no_certificate_has_is_refused(serial: str) -> None:
    with pytest.raises(ValueError, match="serial number"):
        signed(authority("root"), Revocation(serial, NOW, "unspecified"))


def test_the_hash_is_the_one_that_openssl_looks_for_in_a_directory() -> None:
    root = authority("root", subject=(("country", "GR"), ("organization", "Ex,  AMPLE"), ("common_name", "Ελένη")))
    assert names.hashed_name(root.issuer.name) == openssl("crl", "-noout", "-hash", stdin=signed(root)).strip()


# --- what stays on a list ---------------------------------------------------------------------------------------------

FIRST = Revocation("a", NOW - 10 * DAY, "cessation_of_operation", NOW + 30 * DAY)


def test_a_list_unites_what_is_there_with_what_is_known() -> None:
    there = listed(Revocation("b", NOW - DAY, "key_compromise"))
    assert crl.merge(there, [FIRST], NOW) == (FIRST, there.revoked[0])
    assert crl.merge(None, [FIRST], NOW) == (FIRST,)
    assert crl.merge(there, [], NOW) == there.revoked, "a reverted lock undoes no revocation"


def test_what_the_list_says_stays_and_of_the_rest_what_was_said_first() -> None:
    later = Revocation("a", NOW, "superseded", NOW + 30 * DAY)
    assert crl.merge(None, [later, FIRST], NOW) == (FIRST,)
    assert crl.merge(listed(FIRST), [FIRST], NOW) == (FIRST,)
    assert crl.merge(listed(FIRST), [later, FIRST], NOW) == (FIRST,)


ENTRY = Revocation("a", FIRST.date, "unspecified")


@pytest.mark.parametrize("said", [{"date": NOW}, {"reason": "superseded"}, {"not_after": None}], ids=str)
def test_an_entry_of_which_something_else_is_said_later_stays_for_ever(said: dict[str, Any]) -> None:
    """Only the end that was known when the entry came is the end of that certificate."""
    there = listed(FIRST)
    assert crl.merge(there, [replace(FIRST, **said)], NOW) == (replace(FIRST, reason="unspecified", not_after=None),)
    assert not crl.covers(there, crl.merge(there, [replace(FIRST, **said)], NOW)), "the next list tells it"
    end = NOW - 5 * DAY
    for known in [FIRST, replace(FIRST, not_after=end)], [replace(ENTRY, not_after=end)]:
        assert crl.merge(listed(ENTRY), known, NOW) == (ENTRY,)


def test_an_entry_goes_only_after_a_list_has_shown_it_past_the_certificate_s_end() -> None:
    end = FIRST.not_after
    assert end is not None
    assert crl.merge(listed(FIRST, at=NOW), [FIRST], NOW) == (FIRST,)
    assert crl.merge(listed(FIRST, at=end - DAY), [FIRST], end + DAY) == (FIRST,), (
        "it has not been on a list after the end"
    )
    assert crl.merge(listed(FIRST, at=end + DAY), [FIRST], end + 2 * DAY) == ()
    assert crl.merge(None, [FIRST], end + DAY) == (), "it need not come onto its first list after the end"


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=3))
def test_a_list_of_a_fast_clock_takes_no_certificate_off_that_has_not_ended(days_ahead: list[int]) -> None:
    there = listed(FIRST)
    for ahead in days_ahead:
        at = NOW + ahead * DAY
        there = listed(*crl.merge(there, [FIRST], at), at=at)
    assert crl.merge(there, [FIRST], NOW) == (FIRST,)


def test_an_entry_whose_end_nobody_knows_stays() -> None:
    unknown = Revocation("a", NOW, "unspecified")
    assert crl.merge(listed(unknown, at=NOW + 9999 * DAY), [], NOW + 10_000 * DAY) == (unknown,)


def test_a_list_covers_what_it_says_whatever_is_known_of_ends_and_fractions_of_seconds() -> None:
    exact = Revocation("a", FIRST.date + timedelta(microseconds=1), FIRST.reason, None)
    assert crl.covers(listed(FIRST), [exact])
    assert crl.covers(listed(FIRST), []), "what has ended goes when another is made"
    assert not crl.covers(listed(FIRST), [Revocation("a", FIRST.date, "superseded")])
    assert not crl.covers(listed(FIRST), [exact, Revocation("b", FIRST.date, FIRST.reason)])


revocations = st.builds(
    Revocation,
    serial=st.integers(1, 20).map(lambda number: f"{number:x}"),
    date=st.integers(0, 50).map(lambda days: NOW - days * DAY),
    reason=st.sampled_from(REASONS),
)
an_end = st.one_of(st.none(), st.integers(-20, 20).map(lambda days: NOW + days * DAY))
ends = st.lists(an_end, min_size=20, max_size=20)
"""Of the certificates with the serial numbers 1 to 20."""


@given(st.lists(revocations), st.lists(revocations, unique_by=lambda entry: entry.serial), ends)
def test_a_list_merged_again_is_itself_and_nothing_unexpired_is_lost(
    known: list[Revocation], there: list[Revocation], ends: list[datetime | None]
) -> None:
    known = [replace(entry, not_after=ends[int(entry.serial, 16) - 1]) for entry in known]
    merged = crl.merge(listed(*there), known, NOW)
    assert listed(*crl.merge(listed(*merged), known, NOW)) == listed(*merged)
    assert crl.merge(listed(*there), reversed(known), NOW) == merged
    serials = [int(entry.serial, 16) for entry in merged]
    assert serials == sorted(set(serials))
    expired = {entry.serial for entry in known if entry.not_after and entry.not_after < NOW}
    assert {entry.serial for entry in [*known, *there]} - expired <= {entry.serial for entry in merged}


def test_the_number_only_grows() -> None:
    assert crl.next_number(None, NOW) == int(NOW.timestamp())
    assert crl.next_number(listed(number=crl.next_number(None, NOW)), NOW) == int(NOW.timestamp()) + 1
    assert crl.next_number(listed(number=1 << 100), NOW) == (1 << 100) + 1
    assert crl.next_number(None, NOW + DAY) > crl.next_number(listed(), NOW), (
        "also where the list that was there is lost"
    )


def test_half_of_its_life_is_when_a_list_is_due() -> None:
    assert crl.half_life(RevocationList(1, NOW, NOW + 10 * DAY, (), None)) == NOW + 5 * DAY
