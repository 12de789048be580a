"""Files that others wrote become a spec that compiles and means the same, or differs where the import says so."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import tomli_w

from importer.cases import DIFFERENT, EQUAL, Case
from importer.openssl import some_root
from pgtls.diagnostics import errors
from pgtls.hba.parse import parse_hba, parse_ident
from pgtls.importer.compare import Files, differences
from pgtls.importer.convert import Adopted, Sources, adopt
from pgtls.importer.server import Given
from pgtls.pipeline import check
from support.building import NOW
from support.servers import versions

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Installation

VERSIONS = (13, 15, 16, 18)


def imported(directory: Path, case: Case, version: int) -> Adopted:
    """Import a case's files."""
    for name, text in (("pg_hba.conf", case.hba), ("pg_ident.conf", case.ident), ("ca.crt", some_root())):
        (directory / name).write_text(text)
    sources = Sources(str(directory / "pg_hba.conf"), str(directory / "pg_ident.conf"))
    given = Given(("db.example.com",), version, str(directory / "pgtls.toml"), ca=str(directory / "ca.crt"))
    return adopt(sources, given, "primary", NOW)


def compiled(directory: Path, adopted: Adopted, version: int) -> tuple[str, Files]:
    """Compile the spec from its file, as a user would."""
    spec = directory / "pgtls.toml"
    spec.write_text(adopted.text)
    checked = check(spec, NOW, str(directory / "pgtls.lock"))
    assert not errors(checked.diagnostics)
    rules = checked.rules["primary"]
    idents = parse_ident(rules.ident_text, version).lines
    return rules.hba_text, Files(parse_hba(rules.hba_text, version).lines, idents)


def original(case: Case, version: int) -> Files:
    return Files(parse_hba(case.hba, version).lines, parse_ident(case.ident, version).lines)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", EQUAL.values(), ids=EQUAL)
def test_files_become_a_spec_of_the_same_meaning(tmp_path: Path, case: Case, version: int) -> None:
    if not case.since <= version <= case.until:
        return
    adopted = imported(tmp_path, case, version)
    assert not errors(adopted.diagnostics), adopted.diagnostics
    assert adopted.equal
    _, files = compiled(tmp_path, adopted, version)
    assert not differences(original(case, version), files)


@pytest.mark.parametrize("case", EQUAL.values(), ids=EQUAL)
def test_a_damaged_text_is_told_from_the_original(tmp_path: Path, case: Case) -> None:
    adopted = imported(tmp_path, case, 17)
    _, files = compiled(tmp_path, adopted, 17)
    admitting = [index for index, line in enumerate(files.lines) if line.method != "reject"]
    for index in admitting:
        line = files.lines[index]
        changed = replace(line, method="reject" if line.method == "trust" else "trust", options=())
        damaged = Files((*files.lines[:index], changed, *files.lines[index + 1 :]), files.idents)
        assert differences(original(case, 17), damaged), line


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", DIFFERENT.values(), ids=DIFFERENT)
def test_what_a_spec_cannot_say_is_listed(tmp_path: Path, case: Case, version: int) -> None:
    if not case.since <= version <= case.until:
        return
    adopted = imported(tmp_path, case, version)
    _, files = compiled(tmp_path, adopted, version)
    found = differences(original(case, version), files)
    assert {(d.line and d.line.number, d.before, d.after) for d in found} == case.changed
    assert not adopted.equal
    listed = [d for d in adopted.diagnostics if d.code == "PGT297"]
    assert {d.place and d.place.line for d in listed} == {line for line, _, _ in case.changed}
    assert {d.place and d.place.line for d in adopted.diagnostics if d.code == "PGT296"} == case.left_out


@pytest.mark.parametrize("installation", versions(), ids=lambda one: one.id)
@pytest.mark.parametrize("host", ["scram-sha-256", "md5", "trust"])
def test_what_initdb_writes_becomes_a_spec(tmp_path: Path, installation: Installation, host: str) -> None:
    samples = [path / "pg_hba.conf.sample" for path in _shares(installation)]
    sample = next(path for path in samples if path.exists()).read_text()
    text = sample.replace("@authcomment@", "").replace("@remove-line-for-nolocal@", "")
    case = Case(text.replace("@authmethodlocal@", "peer").replace("@authmethodhost@", host))
    adopted = imported(tmp_path, case, installation.major)
    assert adopted.equal
    assert not errors(adopted.diagnostics)
    policies = tomllib.loads(adopted.text)["policy"]
    assert [(p["from"], p["databases"], p["auth"]) for p in policies.values()] == [
        (["local"], ["all", "replication"], "peer"),
        (["127.0.0.1", "::1"], ["all", "replication"], host),
    ]


def _shares(installation: Installation) -> list[Path]:
    from pathlib import Path

    share = installation.bin.parent / "share"
    root = installation.root or Path("/")
    return [share / "postgresql", share, root / f"usr/share/postgresql/{installation.major}"]


def test_a_waiver_is_written_only_where_a_build_would_stop_and_is_said(tmp_path: Path) -> None:
    adopted = imported(tmp_path, EQUAL["what the Docker image writes"], 17)
    policies = tomllib.loads(adopted.text)["policy"]
    waived = {name: policy["waiver"] for name, policy in policies.items() if "waiver" in policy}
    trusting = ("all-local-trust", "all-any-trust")
    assert waived == {name: {"reason": "imported: was so before", "codes": ["PGT301"]} for name in trusting}
    assert policies.keys() - waived.keys() == {"all-any-scram-sha-256"}
    said = [d.message for d in adopted.diagnostics if "waived" in d.message]
    assert said == [f'PGT301 is waived in policy "{name}": "imported: was so before"' for name in trusting]


def test_a_secret_is_never_copied(tmp_path: Path) -> None:
    adopted = imported(tmp_path, EQUAL["a directory with a secret"], 17)
    assert "geheim" not in adopted.text
    said = [d for d in adopted.diagnostics if "PGTLS_LDAPBINDPASSWD" in d.message]
    assert [d.place and d.place.line for d in said] == [2]
    assert all("geheim" not in f"{d}" for d in adopted.diagnostics)
    assert adopted.variables == ("PGTLS_LDAPBINDPASSWD",)
    options = tomllib.loads(adopted.text)["policy"]["all-tls-ldap"]["auth_options"]
    assert options["ldapbindpasswd"] == {"env": "PGTLS_LDAPBINDPASSWD"}


def test_priorities_stand_only_where_lines_overlap_and_differ(tmp_path: Path) -> None:
    adopted = imported(tmp_path, EQUAL["order that only the line number says"], 17)
    policies = tomllib.loads(adopted.text)["policy"].values()
    assert [policy.get("priority", 0) for policy in policies] == [0, 1, 0, 0]


APART = "who is somebody else below, in more databases", "certificates of a group in a network, and of a host name"


@pytest.mark.parametrize("title", APART)
def test_a_refusal_keeps_apart_whom_two_lines_accept_and_is_no_finding(tmp_path: Path, title: str) -> None:
    adopted = imported(tmp_path, EQUAL[title], 17)
    assert "PGT256" not in {d.code for d in adopted.diagnostics}
    tables = tomllib.loads(adopted.text)
    (refusal,) = (name for name, policy in tables["policy"].items() if policy["auth"] == "reject")
    del tables["policy"][refusal]
    (tmp_path / "pgtls.toml").write_text(tomli_w.dumps(tables))
    checked = check(tmp_path / "pgtls.toml", NOW, str(tmp_path / "pgtls.lock"))
    if not errors(checked.diagnostics):
        rules = checked.rules["primary"]
        assert differences(original(EQUAL[title], 17), Files(rules.hba.lines, rules.ident.lines))
    else:
        assert [d.code for d in errors(checked.diagnostics)] == ["PGT251"]


def test_lines_of_one_method_need_no_refusal_between_them_where_they_accept_the_same(tmp_path: Path) -> None:
    for title in ("what Debian's package writes", "what pgtls writes itself", "certificates of everybody"):
        policies = tomllib.loads(imported(tmp_path, EQUAL[title], 17).text)["policy"].values()
        assert "reject" not in {policy["auth"] for policy in policies}, title


def test_whoever_the_line_above_decides_for_is_not_named_below(tmp_path: Path) -> None:
    adopted = imported(tmp_path, EQUAL["who is somebody else below, wherever the line above applies"], 17)
    assert list(tomllib.loads(adopted.text)["user"]) == ["postgres"]


def test_a_name_that_the_language_refuses_is_left_out_alone_and_the_rest_is_compared(tmp_path: Path) -> None:
    adopted = imported(tmp_path, DIFFERENT["names that are too long, beside others"], 17)
    tables = tomllib.loads(adopted.text)
    assert list(tables["user"]) == ["app"]
    assert [policy["from"] for policy in tables["policy"].values()] == [["local"], ["10.0.0.0/8"], ["12.0.0.0/8"]]
    assert adopted.equal is False


PREMISES = {
    "a membership": (
        "hostssl all +staff 127.0.0.1/32 pam\nhost all all 127.0.0.1/32 md5\n",
        'if it is a member of staff, database "anything" from 127.0.0.1, with GSS encryption and in cleartext: md5',
    ),
    "a membership in the database's role": (
        "hostssl samerole all 127.0.0.1/32 pam\nhost shop all 127.0.0.1/32 md5\n",
        'if it is a member of shop, database "shop" from 127.0.0.1',
    ),
    "a network of the server": (
        "hostssl all all samenet pam\nhost all all all md5\n",
        "if it is in a network of the server, with GSS encryption and in cleartext: md5 before",
    ),
    "nothing": (
        "hostssl all app 127.0.0.1/32 pam\nhost all all 127.0.0.1/32 md5\n",
        'role "app", database "anything" from 127.0.0.1, with GSS encryption and in cleartext: md5 before',
    ),
}


@pytest.mark.parametrize(("lines", "words"), PREMISES.values(), ids=PREMISES)
def test_the_example_of_a_difference_states_its_premise(tmp_path: Path, lines: str, words: str) -> None:
    adopted = imported(tmp_path, Case("local all postgres peer\n" + lines), 17)
    (found,) = (d.message for d in adopted.diagnostics if d.code == "PGT297")
    assert words in found


def test_errors_come_first(tmp_path: Path) -> None:
    adopted = imported(tmp_path, DIFFERENT["what CloudNativePG writes"], 17)
    severities = [d.severity for d in adopted.diagnostics]
    assert severities == sorted(severities)
    assert set(severities) == {"error", "warning"}
