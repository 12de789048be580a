"""When a certificate is issued again: each reason alone, and their order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pgtls.certificates.reissue import REASONS, Case, due_at, reason
from pgtls.pki.model import Certificate, Entity, Profile, Unreadable

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)

WANTED = Profile(
    entity=Entity("user.app"),
    kind="user",
    issuer="clients",
    subject=(("common_name", "app"),),
    dns_names=(),
    ip_addresses=(),
    key_algorithm="ecdsa-p256",
    validity=90 * DAY,
    renew_before=None,
)
GOOD = Certificate(
    serial="1",
    subject="CN=app",
    issuer="CN=clients",
    names=(),
    usages=("clientAuth", "digitalSignature"),
    key_algorithm="ecdsa-p256",
    spki_sha256="",
    key_id="aa",
    authority_key_id="bb",
    sha256="",
    not_before=NOW - 10 * DAY,
    not_after=NOW + 80 * DAY,
)
CASE = Case(WANTED, GOOD, "present", "bb", NOW + 1000 * DAY, revoked=False, asked=False, now=NOW)

ALONE: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "there is no certificate": ("missing", (), {"certificate": None}),
    "it cannot be read": ("unreadable", (), {"certificate": Unreadable("it is empty")}),
    "its key is missing": ("key missing", (), {"key": "missing"}),
    "its key is another's": ("key mismatch", (), {"key": "mismatch"}),
    "its key is damaged": ("key mismatch", (), {"key": "unreadable"}),
    "another CA issued it": ("issuer", ("ca",), {"issuer_key_id": "cc"}),
    "its CA gets a new key": ("issuer", ("ca",), {"issuer_key_id": None}),
    "its subject differs": ("differs", ("subject",), {"wanted": replace(WANTED, subject=(("common_name", "app2"),))}),
    "its names differ": ("differs", ("common_name",), {"wanted": replace(WANTED, dns_names=("app.example.com",))}),
    "its usages differ": (
        "differs",
        ("usages",),
        {"certificate": replace(GOOD, usages=("digitalSignature", "serverAuth"))},
    ),
    "its algorithm differs": ("differs", ("key_algorithm",), {"wanted": replace(WANTED, key_algorithm="ed25519")}),
    "it lives too long": ("too long", ("validity",), {"wanted": replace(WANTED, validity=30 * DAY)}),
    "it outlives its user": ("too long", ("until",), {"wanted": replace(WANTED, until=NOW + 5 * DAY)}),
    "it was revoked": ("revoked", (), {"revoked": True}),
    "it expired": ("expired", (), {"now": NOW + 80 * DAY}),
    "its renewal window opened": ("due", (), {"now": NOW + 50 * DAY}),
    "somebody asked": ("asked", (), {"asked": True}),
}


@pytest.mark.parametrize(("name", "fields", "change"), ALONE.values(), ids=ALONE)
def test_each_reason_alone(name: str, fields: tuple[str, ...], change: dict[str, Any]) -> None:
    found = reason(replace(CASE, **change))
    assert found is not None
    assert (found.name, found.fields) == (name, fields)


def test_a_good_certificate_stays() -> None:
    assert reason(CASE) is None


def test_every_question_has_a_case_of_its_own() -> None:
    asked = {
        next(i for i, question in enumerate(REASONS) if question(replace(CASE, **change)))
        for _, _, change in ALONE.values()
    }
    assert asked == set(range(len(REASONS)))


def test_the_first_reason_is_given() -> None:
    everything = replace(CASE, revoked=True, asked=True, now=NOW + 100 * DAY, issuer_key_id="cc", key="mismatch")
    names = []
    for change in (
        {},
        {"key": "present"},
        {"issuer_key_id": "bb"},
        {"revoked": False},
        {"now": NOW + 60 * DAY},
        {"now": NOW},
    ):
        everything = replace(everything, **change)
        found = reason(everything)
        assert found is not None
        names.append(found.name)
    assert names == ["key mismatch", "issuer", "revoked", "expired", "due", "asked"]


def test_the_window_is_a_third_of_the_life_that_was_issued() -> None:
    assert due_at(GOOD, WANTED) == GOOD.not_after - 30 * DAY
    assert due_at(GOOD, replace(WANTED, renew_before=7 * DAY)) == GOOD.not_after - 7 * DAY


def test_nothing_is_renewed_that_would_not_live_longer() -> None:
    due = replace(CASE, now=NOW + 50 * DAY)
    assert reason(due) is not None
    assert reason(replace(due, limit=GOOD.not_after)) is None


def test_a_longer_validity_alone_reissues_nothing() -> None:
    assert reason(replace(CASE, wanted=replace(WANTED, validity=365 * DAY))) is None
