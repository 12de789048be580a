"""SARIF, judged by the schema of the standard (OASIS, SARIF 2.1.0 with errata 01)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft4Validator, FormatChecker

from pgtls.diagnostics import Diagnostic
from pgtls.diagnostics.rules import catalogue
from pgtls.exports.sarif import log
from support.diagnosing import Case, cases
from support.pgtls import pgtls

if TYPE_CHECKING:
    from support.pgtls import Run

VALIDATOR = Draft4Validator(
    json.loads(Path(__file__).with_name("sarif-schema-2.1.0.json").read_text()), format_checker=FormatChecker()
)

SPEC = """\
version = 1
[ca.root]
[server.main]
ca = "roots"
hosts = ["db.example.com"]
[user.é]
[server.side]
ca = "root"
hosts = ["side.example.com"]
no_local = true
[policy.open]
servers = ["side"]
users = ["all"]
from = ["all"]
auth = "trust"
"""


def check(directory: Path, *arguments: str, environment: dict[str, str] | None = None) -> Run:
    return pgtls("check", "--format", "sarif", *arguments, cwd=directory, environment=environment)


def results(run: Run) -> list[dict[str, Any]]:
    VALIDATOR.validate(run.json)
    found: list[dict[str, Any]] = run.json["runs"][0]["results"]
    return found


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.directory.name)
def test_whatever_is_found_the_log_is_valid_and_points_into_its_file(case: Case) -> None:
    diagnostics = case.diagnostics()
    document = log(diagnostics, "pgtls.toml")
    VALIDATOR.validate(document)
    (run,) = document["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len(run["results"]) == len(diagnostics)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert len(result["locations"]) == 1


def test_without_findings_there_is_a_run_without_results(tmp_path: Path) -> None:
    (tmp_path / "pgtls.toml").write_text("version = 1\n")
    run = check(tmp_path)
    assert (run.status, results(run)) == (0, [])
    assert run.json["runs"][0]["tool"]["driver"]["rules"] == []


def test_a_finding_has_its_place_its_level_and_its_rule(tmp_path: Path) -> None:
    (tmp_path / "pgtls.toml").write_text(SPEC.replace("[user.é]\n", ""))
    run = check(tmp_path)
    assert run.status == 1
    found = {result["ruleId"]: result for result in results(run)}
    trust = found["PGT301"]
    region = trust["locations"][0]["physicalLocation"]["region"]
    assert trust["level"] == "error"
    assert region == {
        "startLine": 14,
        "startColumn": 8,
        "endLine": 14,
        "endColumn": 15,
        "snippet": {"text": 'auth = "trust"'},
    }
    assert trust["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "pgtls.toml"
    rule = run.json["runs"][0]["tool"]["driver"]["rules"][trust["ruleIndex"]]
    assert rule["shortDescription"]["text"] == catalogue()["PGT301"].title
    assert "CIS 5.4" in rule["properties"]["tags"]
    assert "How to fix it" in rule["help"]["markdown"]
    assert "warning" in {result["level"] for result in found.values()}


def test_findings_are_known_again_when_their_lines_move(tmp_path: Path) -> None:
    def fingerprints(text: str) -> list[str]:
        (tmp_path / "pgtls.toml").write_text(text)
        return sorted(result["partialFingerprints"]["pgtls/v1"] for result in results(check(tmp_path)))

    spec = SPEC.replace("[user.é]\n", "")
    assert fingerprints(spec) == fingerprints(spec.replace("[ca.root]", "# a comment\n\n[ca.root]"))
    assert fingerprints(spec) != fingerprints(spec.replace("policy.open", "policy.wide"))


def test_a_file_is_named_from_the_root_of_the_checkout_with_its_name_encoded(tmp_path: Path) -> None:
    directory = tmp_path / "data bases" / "é#1"
    directory.mkdir(parents=True)
    (directory / "pgtls.toml").write_text("version = 2\n")
    (result,) = results(check(directory, environment={"GITHUB_WORKSPACE": str(tmp_path)}))
    artifact = result["locations"][0]["physicalLocation"]["artifactLocation"]
    assert artifact == {"uri": "data%20bases/%C3%A9%231/pgtls.toml", "uriBaseId": "%SRCROOT%"}
    (absolute,) = results(check(directory, str(directory / "pgtls.toml")))
    assert absolute["locations"][0]["physicalLocation"]["artifactLocation"] == {
        "uri": (directory / "pgtls.toml").as_uri()
    }


def test_a_file_has_any_name_that_a_file_can_have(tmp_path: Path) -> None:
    (tmp_path / "pgtls.toml").write_text('version = 1\ninclude = ["*/*.toml"]\n')
    (tmp_path / "users").mkdir()
    (tmp_path / "users" / os.fsdecode(b"n\xff.toml")).write_text("wrong")
    found = [result["locations"][0]["physicalLocation"] for result in results(check(tmp_path))]
    assert "users/n%FF.toml" in [location["artifactLocation"]["uri"] for location in found]


def test_what_has_no_place_is_located_in_the_spec(tmp_path: Path) -> None:
    document = log([Diagnostic("PGT554", 'the lock does not know "x"')], "a/pgtls.toml")
    VALIDATOR.validate(document)
    location = document["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert location == {"artifactLocation": {"uri": "a/pgtls.toml", "uriBaseId": "%SRCROOT%"}}


def test_a_spec_that_is_not_there_is_a_result_too(tmp_path: Path) -> None:
    run = check(tmp_path)
    assert run.status == 1
    assert [result["ruleId"] for result in results(run)] == ["PGT001"]


def test_the_schema_refuses_what_is_no_sarif() -> None:
    document = log([Diagnostic("PGT554", "x")], "pgtls.toml")
    document["runs"][0]["results"][0]["level"] = "fatal"
    assert not VALIDATOR.is_valid(document)
