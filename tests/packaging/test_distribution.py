"""What is shipped: exactly the sources, and nothing that lies around in a checkout."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import pgtls
from support.pgtls import ROOT
from support.system import locked, new_directory, scratch

SOURCES = {"compiler/pgtls": "pgtls", "templates": "pgtls/templates"}
"""Directories of the checkout, and where the wheel has them."""
DESCRIPTION = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt")


LYING_AROUND = (
    "out/x",
    ".venv/bin/x",
    "build/lib/pgtls/x.py",
    "dist/x",
    "tests/support/postgres/node_modules/x",
    "tests/support/postgres/debian/x",
    "tests/support/drivers/node/node_modules/x",
    "tests/support/drivers/java/jars/x",
    "tests/support/drivers/rust/target/x",
    "compiler/pgtls/__pycache__/x.pyc",
)
"""What a checkout has beside its sources."""


@pytest.fixture(scope="module")
def dist() -> Path:
    """The directory with sdist and wheel: the one that CI made, or one made for this session.

    From a copy of the checkout: a build writes beside the sources, which other tests read.
    """
    if "PGTLS_TEST_WHEEL" in os.environ:
        return Path(os.environ["PGTLS_TEST_WHEEL"])
    directory = scratch() / "dist"
    with locked(directory):
        if not directory.exists():
            words = [sys.executable, "-m", "build", "--outdir", str(directory), str(used_checkout())]
            run = subprocess.run(words, check=False, capture_output=True, text=True)
            assert run.returncode == 0, run.stdout + run.stderr
    return directory


def used_checkout() -> Path:
    """Return a copy of the checkout with leftovers of daily work."""
    copy = new_directory("checkout") / "pgtls"
    shutil.copytree(ROOT, copy, ignore=_not_sources)
    for path in (copy / name for name in LYING_AROUND):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return copy


def _not_sources(directory: str, names: list[str]) -> set[str]:
    """Choose what is hidden or built at the top, and what programs leave below."""
    made = {
        name
        for name in names
        if name in ("__pycache__", "node_modules", "debian", "jars", "target") or name.endswith(".egg-info")
    }
    if Path(directory) == ROOT:  # tests/build and compiler/pgtls/build are sources
        made |= {name for name in names if name.startswith(".") or name in ("build", "dist", "out", "site")}
    return made


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
    lying_around = tuple(f"{Path(name).parent}/" for name in LYING_AROUND)
    assert not [name for name in names if name.startswith(lying_around) or "__pycache__" in name]


def test_the_version_is_said_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert pgtls.__version__ == project["version"] == importlib.metadata.version("pgtls")
