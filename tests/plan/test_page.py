"""The page that people read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from plan.specs import BUILT, SPEC, build
from support.pgtls import pgtls

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("page")
    build(directory)
    return directory


def page(here: Path, now: str, *arguments: str) -> list[str]:
    run = pgtls("status", *arguments, cwd=here, now=now)
    assert run.status == 0, run.stderr
    return run.stdout.splitlines()


def without_serials(lines: list[str]) -> list[str]:
    """Serial numbers are drawn; everything else on the page is known."""
    return [" ".join(word for word in line.split() if not word.endswith("…")) for line in lines]


NEXT = (
    "Next: 2026-04-01 (in 27 days): the certificate of server.main ends: "
    "user.app, user.auditor and user.metrics can no longer connect to it"
)


def test_the_page_says_what_failed_what_is_next_and_what_to_do_most_urgent_first(here: Path) -> None:
    assert without_serials(page(here, "2026-03-05")) == [
        "1 expired, 2 due, 6 in order.",
        "Failing since 2026-01-31 (33 days ago): the certificate of user.app ended: server.main refuses it",
        NEXT,
        "",
        "STATE WHAT ENDS SERIAL WHAT TO DO",
        "expired user.app 2026-01-31 33 days ago pgtls build issues it again: it expired on 2026-01-31",
        "due server.main 2026-04-01 in 27 days pgtls build issues it again: it expires on 2026-04-01",
        "due user.auditor 2026-04-01 in 27 days pgtls build issues it again: it expires on 2026-04-01",
        "ok ca.people CRL 2027-01-01 in 302 days due from 2026-07-02",
        "ok ca.root CRL 2027-01-01 in 302 days due from 2026-07-02",
        "ok ca.servers CRL 2027-01-01 in 302 days due from 2026-07-02",
        "ok ca.people 2028-01-01 in 667 days due from 2027-05-02",
        "ok ca.root 2035-12-30 in 3587 days due from 2032-08-30",
        "ok ca.servers 2035-12-30 in 3587 days due from 2032-08-30",
        "",
        "To do: run pgtls build, then deploy what it wrote for servers (reload) and clients",
    ]


def test_the_columns_are_aligned(here: Path) -> None:
    lines = page(here, BUILT)
    table = lines[lines.index("") + 1 :]
    column = table[0].index("ENDS")
    assert all(line[column:].startswith("20") and line[column - 2 : column] == "  " for line in table[1:])


def test_all_is_well_in_one_sentence(here: Path) -> None:
    assert page(here, BUILT)[0] == "9 in order."


def test_the_timeline_says_what_would_fail_for_whom_and_what_would_stay_open(here: Path) -> None:
    text = "\n".join(page(here, BUILT, "--timeline"))
    assert "2026-01-31  in 30 days" in text
    for sentence in (
        "the certificate of user.app ends: server.main refuses it",
        "the certificate of server.main ends: user.app, user.auditor and user.metrics can no longer connect to it",
        "server.main refuses every client certificate (user.app and user.auditor)",
        "user.auditor ends, but access without a certificate stays until a build",
        "policy.metrics ends, but access stays until a build",
        (
            "the certificates of ca.root and ca.servers end: so does everything below: ca.people, user.app, "
            "user.auditor and 1 more"
        ),
        "the certificate of ca.people ends: so does everything below: user.app and user.auditor",
    ):
        assert sentence in text, text
    dates = [line.split()[0] for line in text.splitlines()[2:]]
    assert dates == sorted(dates)


def test_the_timeline_can_be_cut_short(here: Path) -> None:
    assert [line.split()[0] for line in page(here, BUILT, "--timeline", "--within", "30d")[2:]] == [
        "2026-01-20",
        "2026-01-31",
    ]


def test_the_timeline_as_json_names_entities_and_servers(here: Path) -> None:
    run = pgtls("status", "--timeline", "--format", "json", cwd=here, now=BUILT)
    events = {(e["entity"], e["what"], e["cause"]): e for e in run.json["timeline"]}
    assert events["ca.people", "fails", "crl"]["servers"] == ["server.main"]
    assert events["ca.people", "fails", "crl"]["affects"] == ["user.app", "user.auditor"]
    assert ("ca.servers", "fails", "crl") not in events, "no server checks the list of its own issuer"
    assert events["user.auditor", "stays", "until"]["at"] == "2026-06-30T00:00:00Z"
    assert run.json["next"] == events["user.app", "fails", "certificate"]
    assert "timeline" not in pgtls("status", "--format", "json", cwd=here, now=BUILT).json


def test_a_timeline_in_prometheus_is_wrong_usage(here: Path) -> None:
    assert pgtls("status", "--timeline", "--format", "prometheus", cwd=here).status == 64


def test_many_alike_are_summed_up(tmp_path: Path) -> None:
    users = "".join(f'[user.u{number:03}]\nca = "people"\n' for number in range(100))
    build(tmp_path, SPEC + users)
    lines = page(tmp_path, BUILT)
    assert sum("user.u" in line for line in lines) < 25
    assert any("more user.*, in order" in line for line in lines)
    assert lines[0] == "109 in order."


def test_the_timeline_says_whose_copy_of_a_list_runs_out(tmp_path: Path) -> None:
    build(tmp_path, SPEC.replace('validity = "30d"\n', 'validity = "30d"\ncrl      = true\n'))
    text = "\n".join(page(tmp_path, BUILT, "--timeline"))
    assert "the CRL of ca.servers ends: user.app (crl = true) refuses server.main" in text
    assert text.count("crl = true") == 1, "its bundle alone, and of the CAs of its servers alone"
    run = pgtls("status", "--timeline", "--format", "json", cwd=tmp_path, now=BUILT)
    (event,) = (event for event in run.json["timeline"] if event["cause"] == "client crl")
    assert (event["entity"], event["servers"], event["affects"]) == ("ca.servers", ["server.main"], ["user.app"])


def test_a_status_of_a_list_that_ended_in_a_bundle_says_who_fails(tmp_path: Path) -> None:
    short = SPEC.replace('[ca.servers]\nvalidity = "10y"\n', '[ca.servers]\nvalidity = "10y"\ncrl_validity = "10d"\n')
    build(tmp_path, short.replace('validity = "30d"\n', 'validity = "30d"\ncrl      = true\n'))
    lines = page(tmp_path, "2026-01-12")
    assert lines[1] == (
        "Failing since 2026-01-11 (24 hours ago): the CRL of ca.servers ended: user.app (crl = true) refuses "
        "server.main"
    )
    build(tmp_path, short, now="2026-01-12")
    assert not any("Failing" in line for line in page(tmp_path, "2026-01-12"))


def test_access_that_should_have_ended_is_said_until_somebody_builds(tmp_path: Path) -> None:
    build(tmp_path)
    before = pgtls("status", "--within", "1d", "--detailed-exitcode", cwd=tmp_path, now="2026-01-10")
    assert (before.status, "Open" in before.stdout) == (0, False)
    build(tmp_path, now="2026-06-29T00:00:00Z")
    # The day after: everything that is left is in order, and yet the auditor's rules are in force.
    late = pgtls("status", "--detailed-exitcode", cwd=tmp_path, now="2026-07-01")
    assert late.status == 2
    lines = late.stdout.splitlines()
    assert lines[1] == (
        "Open since 2026-06-30 (24 hours ago): user.auditor ended, but access without a certificate stays until a build"
    )
    assert lines[-1] == "To do: run pgtls build, then deploy what it wrote for servers (reload)"
    build(tmp_path, now="2026-07-01T00:00:00Z")
    settled = pgtls("status", "--detailed-exitcode", cwd=tmp_path, now="2026-07-01")
    assert (settled.status, "Open" in settled.stdout) == (0, False)
    policy = page(tmp_path, "2026-09-02")
    assert "Open since 2026-09-01 (24 hours ago): policy.metrics ended, but access stays until a build" in policy
