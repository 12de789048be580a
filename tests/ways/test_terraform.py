"""The example module, planned and applied by Terraform itself."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from support.pgtls import ROOT, pgtls
from support.terraform import terraform
from support.walking import shown

if TYPE_CHECKING:
    from pathlib import Path

    from support.terraform import Terraform

EXAMPLE = ROOT / "examples" / "terraform"
NOW = "2026-01-01T00:00:00Z"
LATER = "2026-02-01T00:00:00Z"
"""A month later, and before anything is due."""
DUE = "2026-03-05T00:00:00Z"


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A copy of the example, built."""
    directory = tmp_path / "module"
    shutil.copytree(EXAMPLE, directory)
    assert pgtls("build", cwd=directory, now=NOW).status == 0
    (directory / "terraform.tfvars.json").write_text(
        json.dumps(
            {"pgtls": str(_program(tmp_path)), "deploy": 'echo "$SERVER $(ls "$DIRECTORY" | wc -l)" >> deployed'}
        )
    )
    return directory


@pytest.fixture
def ready(module: Path, tmp_path: Path) -> Terraform:
    """The example, initialized with the provider `hashicorp/external`."""
    return terraform(module, tmp_path, NOW)


def at(ready: Terraform, now: str) -> Terraform:
    return type(ready)(ready.module, ready.configuration, now)


def _program(directory: Path) -> Path:
    """`pgtls` as it is installed where a person runs terraform."""
    program = directory / "pgtls"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -E -m pgtls "$@"\n')
    program.chmod(0o755)
    return program


def deployed(module: Path) -> list[str]:
    path = module / "deployed"
    return sorted(line.split()[0] for line in path.read_text().splitlines()) if path.exists() else []


def apply(ready: Terraform) -> str:
    return ready.run("apply", "-auto-approve", "-input=false", "-no-color")


def test_the_example_is_formatted_as_terraform_formats() -> None:
    if shutil.which("terraform") is None:
        pytest.skip("unavailable: there is no terraform, and no registry has it")
    subprocess.run(("terraform", "fmt", "-check", "-diff", str(EXAMPLE)), check=True)


def test_the_first_apply_deploys_every_server_and_a_second_plan_shows_no_changes(ready: Terraform) -> None:
    ready.run("validate")
    apply(ready)
    assert deployed(ready.module) == ["primary", "replica"]
    for now in (NOW, LATER):
        plan = at(ready, now).plan(status=0)
        assert "resource_drift" not in plan
        assert {change["change"]["actions"][0] for change in plan["resource_changes"]} == {"no-op"}
    assert deployed(ready.module) == ["primary", "replica"]


def test_the_data_source_of_the_guide_answers(module: Path, tmp_path: Path) -> None:
    (text,) = shown(ROOT / "docs/guides/terraform.md", "hcl")
    for file in module.glob("*.tf"):
        file.unlink()
    (module / "terraform.tfvars.json").unlink()
    (module / "main.tf").write_text(text.replace('["pgtls", ', f'["{tmp_path / "pgtls"}", '))
    ready = terraform(module, tmp_path, NOW)
    apply(ready)
    assert ready.outputs() == {"not_after": "2026-04-01T00:00:00Z"}


def test_the_outputs_are_what_was_built_and_the_state_holds_no_key(ready: Terraform) -> None:
    apply(ready)
    outputs = ready.outputs()
    lines = [json.loads(line) for line in (ready.module / "pgtls.lock").read_text().splitlines()[1:]]
    assert {entity: c["sha256"] for entity, c in outputs["certificates"].items()} == {
        line["entity"]: line["sha256"] for line in lines
    }
    hba = (ready.module / "out/servers/primary/pg_hba.conf").read_text()
    assert outputs["hba"]["server.primary"] == hba
    assert outputs["status"] == "ok"
    state = (ready.module / "terraform.tfstate").read_text()
    assert "PRIVATE KEY" not in state
    for key in (ready.module / "out").rglob("*.key"):
        assert key.read_text().splitlines()[1] not in state


def test_a_changed_spec_shows_exactly_what_changed_and_only_that_server_is_deployed(ready: Terraform) -> None:
    apply(ready)
    spec = ready.module / "pgtls.toml"
    spec.write_text(spec.read_text().replace('"db1.example.com"', '"db1.example.com", "db1.internal"'))

    unbuilt = ready.plan(status=2)
    assert {change["change"]["actions"][0] for change in unbuilt["resource_changes"]} == {"no-op"}
    assert _changed(unbuilt) == {"status", "steps"}
    steps = unbuilt["output_changes"]["steps"]
    assert steps["before"] == []
    assert "renew server.primary: hosts changed, with a new key" in steps["after"]
    assert all("replica" not in step and "user." not in step for step in steps["after"])
    assert "steps are not built yet: run pgtls build" in ready.run("plan", "-no-color")

    assert pgtls("build", cwd=ready.module, now=NOW).status == 0
    built = ready.plan(status=2)
    replaced = {change["address"] for change in built["resource_changes"] if change["change"]["actions"] != ["no-op"]}
    assert replaced == {'terraform_data.deploy["server.primary"]'}
    assert "status" not in _changed(built)
    apply(ready)
    assert deployed(ready.module) == ["primary", "primary", "replica"]
    ready.plan(status=0)


def test_a_change_of_access_is_a_diff_of_the_hba_file_in_the_plan(ready: Terraform) -> None:
    apply(ready)
    spec = ready.module / "pgtls.toml"
    spec.write_text(spec.read_text().replace("10.0.0.0/8", "10.0.0.0/9"))
    change = ready.plan(status=2)["output_changes"]["hba"]
    before, after = change["before"]["server.replica"], change["after"]["server.replica"]
    assert [line for line in before.splitlines() if line not in after.splitlines()] == [
        line.replace("10.0.0.0/9", "10.0.0.0/8") for line in after.splitlines() if line not in before.splitlines()
    ]


def test_what_comes_due_is_a_warning_until_it_is_built(ready: Terraform) -> None:
    apply(ready)
    late = at(ready, DUE)
    assert _changed(late.plan(status=2)) == {"status", "steps"}
    assert pgtls("build", cwd=ready.module, now=DUE).status == 0
    apply(late)
    assert deployed(ready.module) == ["primary", "primary", "replica", "replica"]
    late.plan(status=0)


def test_a_broken_spec_stops_terraform_with_its_place_in_the_file(ready: Terraform) -> None:
    spec = ready.module / "pgtls.toml"
    spec.write_text(spec.read_text().replace('ca = "clients"', 'ca = "client"'))
    printed = " ".join(ready.run("plan", "-no-color", status=1).replace("│", " ").split())
    assert 'pgtls.toml:24:6: error[PGT101]: there is no ca "client"; hint: did you mean "clients"?' in printed
    assert deployed(ready.module) == []


def _changed(plan: dict[str, Any]) -> set[str]:
    return {name for name, change in plan["output_changes"].items() if change["actions"] != ["no-op"]}
