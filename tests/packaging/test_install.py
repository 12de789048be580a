"""The wheel installs with pip, pipx and uv, each into an environment of its own, and works there.

What it needs is downloaded once, by pip and its cache; from there on nothing asks the network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import pgtls
from support.servers import PATIENCE
from support.system import ENVIRONMENT, locked, scratch

TOOLS = Path(sys.prefix) / "bin"
"""Where pip, pipx and uv are: they are development dependencies."""


def dist(pattern: str) -> Path:
    (path,) = Path(os.environ["PGTLS_TEST_WHEEL"]).resolve().glob(pattern)
    return path


def execute(*words: str | Path, **environment: str | Path) -> str:
    """Run a program that must end well; give what it printed."""
    run = subprocess.run(
        [str(word) for word in words],
        env={**ENVIRONMENT, **{name: str(value) for name, value in environment.items()}},
        cwd="/",
        check=False,
        capture_output=True,
        text=True,
        timeout=20 * PATIENCE,
    )
    assert run.returncode == 0, f"{words[0]} exited with {run.returncode}\n{run.stdout}{run.stderr}"
    return run.stdout


@pytest.fixture
def house() -> Path:
    """The wheel with all that it needs, and what builds it, as files: once per session."""
    directory = scratch() / "wheels"
    words = (
        TOOLS / "pip",
        "download",
        "-q",
        "--only-binary=:all:",
        "--dest",
        directory,
        dist("*.whl"),
        "setuptools>=77",
    )
    with locked(directory):
        if not directory.exists():
            execute(*words, **{name: value for name, value in os.environ.items() if not name.startswith("PG")})
    return directory


def offline(house: Path, home: Path) -> dict[str, str | Path]:
    """Return settings that limit each tool to packages on this machine and to files below ``home``."""
    return {
        "HOME": home,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": house,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIPX_HOME": home / "pipx",
        "PIPX_BIN_DIR": home / "bin",
        "PIPX_DEFAULT_PYTHON": sys.executable,
        "UV_OFFLINE": "1",
        "UV_NO_INDEX": "1",
        "UV_FIND_LINKS": house,
        "UV_CACHE_DIR": home / "cache",
        "UV_TOOL_DIR": home / "tools",
        "UV_TOOL_BIN_DIR": home / "bin",
        "UV_PYTHON": sys.executable,
        "UV_PYTHON_DOWNLOADS": "never",
    }


def works(home: Path, *program: str | Path, **environment: str | Path) -> None:
    """See that the program that was installed is the one that is tested, starts a spec and builds it."""
    assert execute(*program, "--version", **environment) == f"pgtls {pgtls.__version__}\n"
    execute(*program, "init", home / "db", **environment)
    execute(*program, "build", home / "db" / "pgtls.toml", **environment)
    assert (home / "db/out/servers/main/pg_hba.conf").stat().st_size > 0
    assert execute(*program, "build", home / "db" / "pgtls.toml", **environment) == "nothing to do\n"


def test_these_tests_run_against_the_installed_wheel() -> None:
    assert "site-packages" in Path(pgtls.__file__).parts


def test_pip_installs_it(house: Path, tmp_path: Path) -> None:
    environment = offline(house, tmp_path)
    execute(sys.executable, "-m", "venv", tmp_path / "venv", **environment)
    execute(tmp_path / "venv/bin/pip", "install", "-q", "pgtls", **environment)
    works(tmp_path, tmp_path / "venv/bin/pgtls")


def test_pipx_installs_it(house: Path, tmp_path: Path) -> None:
    execute(TOOLS / "pipx", "install", dist("*.whl"), **offline(house, tmp_path))
    works(tmp_path, tmp_path / "bin/pgtls")


def test_uv_installs_it_as_a_tool(house: Path, tmp_path: Path) -> None:
    execute(TOOLS / "uv", "tool", "install", dist("*.whl"), **offline(house, tmp_path))
    works(tmp_path, tmp_path / "bin/pgtls")


def test_uvx_runs_it_without_installing_it(house: Path, tmp_path: Path) -> None:
    works(tmp_path, TOOLS / "uvx", "--from", dist("*.whl"), "pgtls", **offline(house, tmp_path))
    assert not (tmp_path / "bin").exists()


def test_without_what_it_needs_it_is_not_installed(house: Path, tmp_path: Path) -> None:
    """The negative control: it is the house that makes the others succeed, not what this machine happens to have."""
    poor = tmp_path / "poor"
    shutil.copytree(house, poor)
    for wheel in poor.glob("tree_sitter_toml-*"):
        wheel.unlink()
    with pytest.raises(AssertionError, match="tree-sitter-toml"):
        execute(TOOLS / "uv", "tool", "install", dist("*.whl"), **offline(poor, tmp_path))


def test_the_sdist_builds_the_same_wheel(house: Path, tmp_path: Path) -> None:
    words = (TOOLS / "pip", "wheel", "-q", "--no-deps", "--wheel-dir", tmp_path, dist("*.tar.gz"))
    execute(*words, **offline(house, tmp_path))
    (built,) = tmp_path.glob("*.whl")
    assert built.name == dist("*.whl").name
    with zipfile.ZipFile(built) as ours, zipfile.ZipFile(dist("*.whl")) as theirs:
        assert sorted(ours.namelist()) == sorted(theirs.namelist())
        for name in ours.namelist():
            if not name.endswith(("/RECORD", "/WHEEL")):  # hashes of the same files, and the version of setuptools
                assert ours.read(name) == theirs.read(name), name
