"""The program itself, run as a user runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.servers import PATIENCE
from support.system import ENVIRONMENT, locked, new_directory, scratch

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
"""The checkout."""
EXAMPLE = ROOT / "pgtls.toml.example"
SCENARIOS = ROOT / "docs" / "scenarios"


@dataclass(frozen=True, slots=True)
class Run:
    """How a run of pgtls ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout."""
        value: dict[str, Any] = json.loads(self.stdout)
        return value


def pgtls(
    *arguments: str | Path,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str = "",
    now: str | None = None,
) -> Run:
    """Run ``pgtls ARGUMENTS`` in ``cwd``, as if it was ``now``."""
    surroundings = {**ENVIRONMENT, "HOME": "/nonexistent", **({"PGTLS_NOW": now} if now else {}), **(environment or {})}
    words = [sys.executable, "-E", "-m", "pgtls", *map(str, arguments)]
    run = subprocess.run(
        words,
        check=False,
        capture_output=True,
        text=True,
        input=stdin,
        env=surroundings,
        cwd=cwd,
        timeout=10 * PATIENCE,
    )
    return Run(run.returncode, run.stdout, run.stderr)


def compiled(spec: str, directory: Path, *arguments: str, now: str | None = None) -> Path:
    """Write ``spec`` to ``directory``, build it, and return the out directory.

    If the build fails, fail the test with its diagnostics.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "pgtls.toml"
    path.write_text(spec, encoding="utf-8")
    return built(path, directory / "out", *arguments, now=now)


def built(spec: Path, out: Path, *arguments: str, now: str | None = None) -> Path:
    """Build the spec at a path into ``out``, with the lock beside it."""
    run = pgtls("build", spec, "--out", out, "--lock", out.with_suffix(".lock"), *arguments, now=now)
    assert run.status == 0, f"pgtls build exited with {run.status}\n{run.stderr}"
    return out


def for_postgres(spec: Path, major: int) -> str:
    """Read a committed spec as its author would have written it for another version."""
    text, replaced = re.subn(r"(?m)^(postgres\s*=\s*)\d+", rf"\g<1>{major}", spec.read_text(encoding="utf-8"))
    assert replaced, f"{spec} says nowhere for which PostgreSQL it is"
    return text


def compiled_for(spec: Path, major: int, made_by: str = "us") -> Path:
    """Build a committed spec for a version, once per session, and give the out directory, which is not to be changed.

    Another ``made_by`` has the same names and other keys: a stranger's certificates.
    """
    name = "-".join(spec.relative_to(ROOT).with_suffix("").parts)
    directory = scratch() / "compiled" / f"{name}-pg{major}-by-{made_by.replace(' ', '-')}"
    with locked(directory):
        if not directory.exists():
            part = new_directory("compiled")
            compiled(for_postgres(spec, major), part)
            part.rename(directory)
    return directory / "out"
