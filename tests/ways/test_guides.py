"""What the guides say is what there is."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client.parser import text_string_to_metric_families

from pgtls.exports.terraform import KEYS, KINDS
from pgtls.plan.model import STATES
from plan.specs import BUILT, build
from support.pgtls import ROOT, pgtls
from support.promtool import promtool
from support.walking import shown

if TYPE_CHECKING:
    from pathlib import Path

GUIDES = ROOT / "docs" / "guides"
OURS = ("makefiles.md", "terraform.md", "pull-requests.md", "watching.md")


def guide(name: str) -> str:
    return (GUIDES / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", OURS)
def test_every_link_leads_somewhere(name: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", guide(name))
    assert [link for link in links if not (GUIDES / link).exists()] == []


def test_every_rule_of_the_guide_stands_in_an_example() -> None:
    examples = "\n".join((ROOT / "examples/make" / name).read_text() for name in ("Makefile", "timestamps.mk"))
    rules = [rule for block in shown(GUIDES / "makefiles.md", "make") for rule in re.split(r"\n(?=\S)", block.strip())]
    assert len(rules) > 5
    assert [rule for rule in rules if rule.strip() not in examples] == []


def test_the_terraform_guide_names_every_key_and_kind(tmp_path: Path) -> None:
    text = guide("terraform.md")
    query = text.partition("## The query")[2].partition("## The answer")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", query, re.MULTILINE)) == KEYS
    assert re.findall(r"`(\w+)`", query.partition("The kinds are")[2]) == list(KINDS)
    rows = re.findall(r"^\| (`.*?) \| ", text.partition("## The answer")[2], re.MULTILINE)
    documented = {word.rpartition(".")[2] for row in rows for word in re.findall(r"`([\w.]+)`", row)}
    build(tmp_path)
    answer = pgtls("terraform", cwd=tmp_path, now=BUILT, stdin="{}").json
    assert {key.rpartition(".")[2] for key in answer} == documented - {"FILE"}


def test_the_guide_names_every_state_and_every_metric(tmp_path: Path) -> None:
    text = guide("watching.md")
    states = text.partition("| state |")[2].partition("\n\n")[0]
    assert {
        word for row in re.findall(r"^\| (`.*?) \|", states, re.MULTILINE) for word in re.findall("`(.+?)`", row)
    } == set(STATES)
    build(tmp_path)
    metrics = pgtls("status", "--format", "prometheus", cwd=tmp_path, now=BUILT).stdout
    names = {family.name for family in text_string_to_metric_families(metrics)}
    table = text.partition("| metric |")[2].partition("\n\n")[0]
    assert {
        name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1] if row else "")
    } == names
    alerts = yaml.safe_load("\n".join(shown(GUIDES / "watching.md", "yaml")))
    rules = tmp_path / "rules.yml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "pgtls", "rules": alerts}]}))
    checked = subprocess.run((promtool(), "check", "rules", rules), check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert {name for alert in alerts for name in re.findall(r"(?:x509|pgtls)_\w+", alert["expr"])} <= names
