"""The Python API: its examples run, importing it loads nothing, and its types are those of its functions."""

from __future__ import annotations

import doctest
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pgtls
from pgtls import api
from pgtls.language.source import Loaded
from support.building import SMALL
from support.killing import in_child
from support.stores import Builder, store

if TYPE_CHECKING:
    from doctest import DocTest

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EXAMPLES = [test for test in doctest.DocTestFinder().find(api, "pgtls") if test.examples]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda test: test.name)
def test_an_example_of_the_reference_gives_what_it_shows(
    example: DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    for text in ("version = 1\n", SMALL):
        Path("pgtls.toml").write_text(text)
        git("add", "-A")
        git("-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "x")
    example.globs = {"pgtls": pgtls, "spec": pgtls.load("pgtls.toml", now=NOW), "spec_text": SMALL}
    if "status" in example.name or "confirm" in example.name:
        pgtls.build(example.globs["spec"], out="out")
        example.globs["spec"] = pgtls.load("pgtls.toml", now=NOW)
    if "fetch" in example.name:
        example.globs["bucket"] = store().url("examples")
        Builder(tmp_path / "builder", example.globs["bucket"]).build()
        for name, value in store().environment.items():
            monkeypatch.setenv(name, value)
    assert in_child(lambda: _follow(example)).status == 0


def _follow(example: DocTest) -> None:
    printed: list[str] = []
    assert doctest.DocTestRunner().run(example, out=printed.append).failed == 0, "".join(printed)


def git(*words: str) -> None:
    subprocess.run(("git", *words), check=True, capture_output=True)


def test_every_function_has_an_example() -> None:
    assert {test.name.removeprefix("pgtls.") for test in EXAMPLES} == {
        *("load", "loads", "check", "access", "explain", "diff", "plan", "build", "status", "confirm", "fetch")
    }


def test_importing_the_package_loads_nothing() -> None:
    script = "import sys; before = set(sys.modules); import pgtls; print(*sorted(set(sys.modules) - before))"
    run = subprocess.run((sys.executable, "-c", script), check=True, capture_output=True, text=True)
    assert run.stdout.split() == ["pgtls"]


@pytest.mark.parametrize("name", pgtls.__all__)
def test_every_name_is_there(name: str) -> None:
    script = f"import pgtls; print(pgtls.{name})"
    assert subprocess.run((sys.executable, "-c", script), check=True, capture_output=True).stdout


def test_what_is_a_package_and_a_function_is_both() -> None:
    import pgtls.access.matrix as matrices

    spec = pgtls.loads(SMALL, now=NOW)
    assert isinstance(pgtls.access(spec)[0], matrices.Matrix)
    assert pgtls.check(spec)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = pgtls.nothing_like_it  # type: ignore[attr-defined]


def test_a_spec_in_memory_includes_and_names_files_in_memory(tmp_path: Path) -> None:
    users = '[user.bob]\nca = "clients"\n'
    spec = pgtls.loads(
        SMALL.replace("version = 1", 'version = 1\ninclude = ["users/*.toml"]'),
        {"users/bob.toml": users},
        lock=tmp_path / "lock",
        now=NOW,
    )
    assert {step.entity for step in pgtls.build(spec, out=tmp_path / "out").steps} >= {"user.bob"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "out"]


def test_faults_of_a_spec_are_values_or_rejected() -> None:
    spec = pgtls.loads("version = 1\n[server.main]\n")
    assert [found.code for found in pgtls.check(spec).errors] == ["PGT011"]
    for ask in (pgtls.access, pgtls.status, pgtls.plan):
        with pytest.raises((pgtls.Rejected, ValueError)):
            ask(spec)
    with pytest.raises(pgtls.Rejected) as rejected:
        pgtls.diff(spec, spec)
    assert rejected.value.diagnostics[0].code == "PGT011"


def test_a_spec_is_one_instant_and_one_reading(tmp_path: Path) -> None:
    path = tmp_path / "pgtls.toml"
    path.write_text(SMALL)
    spec = pgtls.load(path, now=NOW)
    assert pgtls.check(spec)
    path.write_text("broken")
    assert pgtls.check(spec)
    assert not pgtls.check(pgtls.load(path, now=NOW))


def test_a_build_without_the_path_of_a_lock_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="lock"):
        pgtls.build(pgtls.loads(SMALL), out="out")


def test_the_loader_is_not_part_of_it() -> None:
    assert Loaded.__name__ not in pgtls.__all__
