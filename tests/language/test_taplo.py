"""The JSON Schema as editors use it, and the formatter (docs/faq.md).

Both run in taplo, the TOML language server of Visual Studio Code, Neovim, Zed and others.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from support.diagnosing import CASES
from support.pgtls import EXAMPLE, ROOT, SCENARIOS, compiled, pgtls
from support.servers import PACKAGES, PATIENCE
from support.system import ENVIRONMENT
from support.walking import shown

if TYPE_CHECKING:
    from pathlib import Path

TAPLO = PACKAGES / ".bin" / "taplo"
SCHEMA = ROOT / "docs" / "pgtls.schema.json"
GUIDE = ROOT / "docs" / "guides" / "editors.md"
FAQ = ROOT / "docs" / "faq.md"
GOOD = {
    "example.toml": ROOT / "pgtls.toml.example",
    "start.toml": ROOT / "templates" / "start" / "pgtls.toml",
    **{f"{spec.parent.name}.toml": spec for spec in SCENARIOS.glob("*/pgtls.toml")},
    "terraform.toml": ROOT / "examples" / "terraform" / "pgtls.toml",
}
BAD = {
    "PGT005-missing": "required property",
    "PGT010-misspelt-key": "'validty' was unexpected",
    "PGT010-in-defaults": "was unexpected",
    "PGT011-policy-without-auth": '"auth" is a required property',
    "PGT012-string-for-integer": '"5432" is not of type "integer"',
    "PGT013-choice": "is not one of",
    "PGT013-duration": "does not match",
    "PGT013-range": "is greater than the maximum",
    "PGT015-capital-letter": '"Alice" does not match',
    "PGT016-passphrase": 'is not of type "object"',
    "PGT017-two-sources": "more than 1 property",
}


@pytest.fixture(autouse=True)
def _taplo() -> None:
    if not TAPLO.exists() or shutil.which("node") is None:
        pytest.skip("taplo is not installed: `make servers` does it")


def lint(directory: Path, *words: str) -> tuple[int, dict[str, list[str]]]:
    """Lint every file of a directory, offline; give the status and what is wrong, by file."""
    run = subprocess.run(
        (
            TAPLO,
            "lint",
            "--colors",
            "never",
            *words,
            *sorted(path.name for path in directory.glob("*.toml") if not path.name.startswith(".")),
        ),
        cwd=directory,
        env={**ENVIRONMENT, "HOME": str(directory)},
        check=False,
        capture_output=True,
        text=True,
        timeout=10 * PATIENCE,
    )
    found: dict[str, list[str]] = {}
    for message, path in re.findall(r"(?m)^error: (.*)\n *┌─ (.*?):\d+:\d+$", run.stderr):
        found.setdefault(os.path.basename(path), []).append(message)
    return run.returncode, found


def test_our_specs_are_good(tmp_path: Path) -> None:
    for name, spec in GOOD.items():
        shutil.copy(spec, tmp_path / name)
    assert lint(tmp_path, "--schema", SCHEMA.as_uri()) == (0, {})


def test_specs_of_a_wrong_shape_are_not(tmp_path: Path) -> None:
    for name in BAD:
        shutil.copy(CASES / name / "pgtls.toml", tmp_path / f"{name}.toml")
    status, found = lint(tmp_path, "--schema", SCHEMA.as_uri())
    assert status != 0
    assert found.keys() == {f"{name}.toml" for name in BAD}
    for name, text in BAD.items():
        assert any(text in message for message in found[f"{name}.toml"]), found[f"{name}.toml"]
    assert lint(tmp_path, "--no-schema") == (0, {}), "without it they are TOML like any other"


@pytest.mark.parametrize("how", ["a line of the spec", "taplo's configuration", "neither"])
def test_the_schema_is_found_as_the_guide_says(tmp_path: Path, how: str) -> None:
    (directive,) = re.findall(r"^\+(#.*\n)", GUIDE.read_text(), re.MULTILINE)
    (configuration,) = shown(GUIDE, "toml")
    head = f"{directive}version = 1\n" if how == "a line of the spec" else "version = 1\n"
    good = (CASES / "PGT010-misspelt-key" / "pgtls.toml").read_text().replace("version = 1\n", head)
    for name, text in {"good": good.replace("validty", "validity"), "bad": good}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "pgtls.toml").write_text(text)
        shutil.copy(SCHEMA, tmp_path / name)
        if how == "taplo's configuration":
            (tmp_path / name / ".taplo.toml").write_text(configuration)
    assert lint(tmp_path / "good") == (0, {})
    assert (lint(tmp_path / "bad") != (0, {})) is (how != "neither")


def test_a_spec_that_is_formatted_as_the_faq_says_means_the_same(tmp_path: Path) -> None:
    ((_, *words),) = (line.split() for line in FAQ.read_text().splitlines() if line.startswith("taplo fmt"))
    crooked = re.sub(r" *= *", "  =", EXAMPLE.read_text()).replace("\n\n", "\n\n\n\n")
    out = compiled(crooked, tmp_path)
    builds = {"manifest.json", "memory"}  # the second has the digest of the first
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name not in builds}
    assert before
    lock = ("--lock", tmp_path / "out.lock")

    run = subprocess.run((TAPLO, *words), cwd=tmp_path, env={**ENVIRONMENT, "HOME": str(tmp_path)}, check=False)
    assert run.returncode == 0
    formatted = (tmp_path / "pgtls.toml").read_text()
    assert formatted != crooked
    assert re.findall(r"#.*", formatted) == re.findall(r"#.*", crooked), "a comment is lost"
    assert pgtls("build", "--check", *lock, cwd=tmp_path).status == 0, "something is to be done"
    assert pgtls("build", *lock, cwd=tmp_path).status == 0
    assert {path: path.read_bytes() for path in before} == before
    (tmp_path / "pgtls.toml").write_text(formatted.replace("10.0.0.0/8", "10.0.0.0/9"))
    assert pgtls("build", "--check", *lock, cwd=tmp_path).status == 2
