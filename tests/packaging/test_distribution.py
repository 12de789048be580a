"""What is shipped: exactly the sources, and nothing that lies around in a checkout."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import pgtls
from support.pgtls import ROOT
from support.system import locked, scratch

SOURCES = {"compiler/pgtls": "pgtls", "templates": "pgtls/templates"}
"""Directories of the checkout, and where the wheel has them."""
DESCRIPTION = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt")


@pytest.fixture(scope="module")
def dist() -> Path:
    """The directory with sdist and wheel: the one that CI made, or one made for this session."""
    if "PGTLS_TEST_WHEEL" in os.environ:
        return Path(os.environ["PGTLS_TEST_WHEEL"])
    directory = scratch() / "dist"
    with locked(directory):
        if not directory.exists():
            run = subprocess.run(
                [sys.executable, "-m", "build", "--outdir", directory, ROOT],
                check=False,
                capture_output=True,
                text=True,
            )
            assert run.returncode == 0, run.stdout + run.stderr
    return directory


def sources() -> dict[str, Path]:
    """Every source file by its name in the wheel."""
    return {
        f"{target}/{path.relative_to(ROOT / directory).as_posix()}": path
        for directory, target in SOURCES.items()
        for path in (ROOT / directory).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_has_every_source_file_as_it_is_and_no_other(dist: Path) -> None:
    (path,) = dist.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        described = {f"pgtls-{pgtls.__version__}.dist-info/{name}" for name in DESCRIPTION}
        assert set(wheel.namelist()) == set(sources()) | described
        for name, source in sources().items():
            assert wheel.read(name) == source.read_bytes(), name


def test_the_sdist_has_sources_tests_and_example_and_nothing_that_was_built(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {path.relative_to(ROOT).as_posix() for path in sources().values()} <= names
    assert {"pyproject.toml", "README.md", "LICENSE", "pgtls.toml.example", "tests/conftest.py"} <= names
    lying_around = ("out/", ".venv/", "build/", "dist/", "tests/support/postgres/node_modules/")
    assert not [name for name in names if name.startswith(lying_around) or "__pycache__" in name]


def test_the_version_is_said_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert pgtls.__version__ == project["version"] == importlib.metadata.version("pgtls")


@pytest.mark.skipif("PGTLS_TEST_WHEEL" not in os.environ, reason="unavailable: these tests run from the checkout")
def test_these_tests_run_against_the_installed_wheel() -> None:
    assert "site-packages" in Path(pgtls.__file__).parts
