"""The hook, installed and run by pre-commit itself from a repository that holds this checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support.pgtls import ROOT
from support.servers import PATIENCE
from support.system import new_directory
from support.walking import shown

if TYPE_CHECKING:
    from pathlib import Path

_SHIPPED = ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "compiler", "templates", ".pre-commit-hooks.yaml")
SPEC = """\
version = 1
include = ["users/*.toml"]

[ca.root]
"""


def run(*words: str, cwd: Path, home: Path, status: int = 0) -> str:
    """Run a program that must end so; pip's own settings are kept, since it fetches what the hook depends on."""
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PGTLS_"))}
    identity = {
        f"GIT_{who}_{what}": "tests@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    surroundings |= identity | {"PRE_COMMIT_HOME": str(home), "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        words, cwd=cwd, env=surroundings, check=False, capture_output=True, text=True, timeout=60 * PATIENCE
    )
    assert done.returncode == status, f"{' '.join(words)} exited with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def home() -> Path:
    """Where pre-commit keeps the environment that it makes for the hook."""
    return new_directory("pre-commit")


@pytest.fixture(scope="module")
def hooks(home: Path) -> tuple[str, str]:
    """A repository of this checkout as it is, committed or not: its path and its revision."""
    directory = new_directory("hooks")
    for name in _SHIPPED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, directory / name)
    run("git", "init", "--quiet", cwd=directory, home=home)
    run("git", "add", "--all", cwd=directory, home=home)
    run("git", "commit", "--quiet", "--message=pgtls", cwd=directory, home=home)
    return str(directory), run("git", "rev-parse", "HEAD", cwd=directory, home=home).strip()


@pytest.fixture
def repository(tmp_path: Path, hooks: tuple[str, str], home: Path) -> Path:
    """Return a user's repository with a spec, an included file, and the hook installed."""
    repo, revision = hooks
    (tmp_path / "users").mkdir()
    (tmp_path / "pgtls.toml").write_text(SPEC)
    (tmp_path / "users/app.toml").write_text('[user.app]\nca = "root"\n')
    (configuration,) = shown(ROOT / "docs/guides/pull-requests.md", "yaml")
    (tmp_path / ".pre-commit-config.yaml").write_text(
        configuration.replace("https://github.com/OWNER/pgtls", repo).replace("v0.1.0", revision)
    )
    run("git", "init", "--quiet", cwd=tmp_path, home=home)
    run("git", "add", "--all", cwd=tmp_path, home=home)
    pre_commit(tmp_path, home, "install")
    return tmp_path


def pre_commit(repository: Path, home: Path, *arguments: str, status: int = 0) -> str:
    return run(sys.executable, "-m", "pre_commit", *arguments, cwd=repository, home=home, status=status)


def test_a_good_spec_is_committed_and_a_bad_one_is_not(repository: Path, home: Path) -> None:
    printed = run("git", "commit", "--message=good", cwd=repository, home=home)
    assert "pgtls check" in printed
    assert "Passed" in printed

    (repository / "users/app.toml").write_text('[user.app]\nca = "rood"\n')
    printed = run("git", "commit", "--all", "--message=bad", cwd=repository, home=home, status=1)
    assert 'users/app.toml:2:6: error[PGT101]: there is no ca "rood"' in printed
    assert run("git", "log", "--format=%s", cwd=repository, home=home).split() == ["good"]


def test_what_is_no_spec_does_not_start_it(repository: Path, home: Path) -> None:
    (repository / "README").write_text("x")
    run("git", "add", "README", cwd=repository, home=home)
    assert "Skipped" in pre_commit(repository, home, "run", "--files", "README")


def test_another_spec_is_named_in_args(repository: Path, home: Path) -> None:
    config = repository / ".pre-commit-config.yaml"
    config.write_text(config.read_text().replace("[pgtls.toml]", "[other.toml]"))
    (repository / "other.toml").write_text("version = 2\n")
    assert "other.toml:1:11: error[PGT005]" in pre_commit(repository, home, "run", "--all-files", status=1)


def test_the_manifest_of_hooks_is_valid(home: Path) -> None:
    pre_commit(ROOT, home, "validate-manifest", ".pre-commit-hooks.yaml")
