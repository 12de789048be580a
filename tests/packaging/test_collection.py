"""Every test file of the checkout is collected: pytest passes over folders by their name, and says nothing."""

from __future__ import annotations

import fnmatch
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.pgtls import ROOT

TESTS = ROOT / "tests"


def files_with_tests() -> set[str]:
    """Return every test file of the checkout, relative to its top."""
    found = set()
    for directory, names, files in os.walk(TESTS):
        names[:] = [name for name in names if name not in ("node_modules", "__pycache__", "debian")]
        found |= {str(Path(directory, file).relative_to(ROOT)) for file in files if fnmatch.fnmatch(file, "test_*.py")}
    return found


@pytest.mark.slow
def test_every_file_with_tests_is_collected() -> None:
    words = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    kept = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    environment = {"PGTLS_TEST_WHEEL": "dist", **kept}  # the tests of the wheel too
    run = subprocess.run(words, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-2000:]
    collected = {line.partition("::")[0] for line in run.stdout.splitlines() if "::" in line}
    assert files_with_tests() - collected == set()


def test_no_folder_has_a_name_that_tools_take_for_output(pytestconfig: pytest.Config) -> None:
    patterns = [*pytestconfig.getini("norecursedirs"), "spec", "out", "target"]
    folders = {
        part
        for top in ("compiler", "tests", "templates", "docs", "examples")
        for file in subprocess.run(
            ["git", "ls-files", top], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.splitlines()
        for part in Path(file).parent.parts
    }
    assert [(folder, pattern) for folder in folders for pattern in patterns if fnmatch.fnmatch(folder, pattern)] == []


def test_the_readme_of_the_tests_names_every_folder() -> None:
    named = re.findall(r"^\| `(\w+)/` \|", (TESTS / "README.md").read_text(), re.MULTILINE)
    assert named == sorted(path.name for path in TESTS.iterdir() if any(path.glob("*.py")))
