"""Terraform with its external provider, offline."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from support.golang import go_program
from support.servers import PATIENCE
from support.system import ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path

_PROVIDER = "terraform-provider-external"
_VERSION = "1.2.0"


@dataclass(frozen=True, slots=True)
class Terraform:
    """A module directory and the program that works in it, under a clock of its own."""

    module: Path
    configuration: Path
    now: str

    def run(self, *arguments: str, status: int = 0) -> str:
        """Run a command that must end so; give what it printed."""
        surroundings = ENVIRONMENT | {
            "HOME": str(self.configuration.parent),
            "TF_CLI_CONFIG_FILE": str(self.configuration),
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
            "PGTLS_NOW": self.now,
        }
        run = subprocess.run(
            ("terraform", *arguments),
            cwd=self.module,
            env=surroundings,
            check=False,
            capture_output=True,
            text=True,
            timeout=10 * PATIENCE,
        )
        assert run.returncode == status, (
            f"terraform {arguments[0]} exited with {run.returncode}\n{run.stdout}{run.stderr}"
        )
        return run.stdout + run.stderr

    def plan(self, *, status: int) -> dict[str, Any]:
        """Plan, and give the plan as Terraform's JSON has it. The status is that of -detailed-exitcode."""
        self.run("plan", "-input=false", "-no-color", "-detailed-exitcode", "-out=plan", status=status)
        plan: dict[str, Any] = json.loads(self.run("show", "-json", "plan"))
        return plan

    def outputs(self) -> dict[str, Any]:
        """Return the outputs of the state."""
        return {name: output["value"] for name, output in json.loads(self.run("output", "-json")).items()}


def terraform(module: Path, directory: Path, now: str) -> Terraform:
    """Initialize a module from a mirror that holds only the external provider.

    Skip the test if the program or the provider is unavailable.
    """
    if shutil.which("terraform") is None:
        pytest.skip("unavailable: there is no terraform, and no registry has it")
    mirror = directory / "mirror"
    target = mirror / "registry.terraform.io/hashicorp/external" / _VERSION / _platform()
    target.mkdir(parents=True)
    (target / f"{_PROVIDER}_v{_VERSION}").symlink_to(go_program(_PROVIDER))
    configuration = directory / "terraformrc"
    configuration.write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n')
    ready = Terraform(module, configuration, now)
    ready.run("init", "-input=false", "-no-color")
    return ready


def _platform() -> str:
    version: dict[str, str] = json.loads(subprocess.check_output(("terraform", "version", "-json")))
    return version["platform"]
