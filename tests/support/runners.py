"""One process for each driver, which takes cases as lines of JSON and answers each with a line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from support.cargo import rust_drivers
from support.golang import go_program
from support.servers import PATIENCE
from support.system import ENVIRONMENT, locked, new_directory, scratch, until_we_end

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from support.servers import Installation

DRIVERS = Path(__file__).with_name("drivers")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program printed, or why it failed."""

    printed: str | None
    failed: str


class Runner:
    """A process of its own."""

    def __init__(self, *words: str | Path, environment: Mapping[str, str] | None = None) -> None:
        home = str(new_directory("home"))
        self._process = subprocess.Popen(
            [*until_we_end(), *map(str, words)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**ENVIRONMENT, "HOME": home, **(environment or {})},
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def run(self, environment: Mapping[str, str] | None = None, **case: Any) -> Answer:
        """Run one case."""
        return self.ask(json.dumps({**case, "environment": environment or {}}, default=str))

    def ask(self, case: str) -> Answer:
        """Send a line and read the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(case, file=self._process.stdin, flush=True)
        watch = threading.Timer(PATIENCE, self._process.kill)
        watch.start()
        line = self._process.stdout.readline()
        watch.cancel()
        assert line, f"the runner ended at {case}"
        answer = json.loads(line)
        return Answer(answer.get("printed"), answer.get("failed", ""))


def libpq_runner(found: Installation) -> Runner:
    """Start the libpq of an installation."""
    environment = {} if found.root else {"LD_LIBRARY_PATH": str(found.lib)}
    return Runner(*found.python, "-IS", DRIVERS / "libpq.py", str(found.major), environment=environment)


def python_runner(newest: Installation) -> Runner:
    """Start a Python that runs programs, with the libpq of an installation for psycopg."""
    environment = {"LD_LIBRARY_PATH": str(newest.lib), "PSYCOPG_IMPL": "python"} if newest.lib else {}
    return Runner(sys.executable, DRIVERS / "run.py", environment=environment)


@cache
def _node_modules() -> Path:
    modules = DRIVERS / "node" / "node_modules"
    if shutil.which("node") is None or not modules.exists():
        pytest.skip("the drivers for Node.js are not installed: `make test` installs them")
    return modules


def node_runner(pg: str = "pg") -> Runner:
    """Start a Node.js that runs programs. Their "pg" may be another release, by its name in package.json."""
    modules = _node_modules()
    directory = new_directory("programs")
    (directory / "node_modules").mkdir()
    (directory / "node_modules" / "pg").symlink_to(modules / pg)
    (directory / "node_modules" / "postgres").symlink_to(modules / "postgres")
    return Runner("node", "--no-warnings", DRIVERS / "node" / "run.mjs", directory)


def go_runner() -> Runner:
    """Start a program that connects by pgx and lib/pq."""
    return Runner(go_program("drivers"))


@cache
def java_classes() -> tuple[Path, Path]:
    """Return the jar of pgjdbc and the compiled runner."""
    if shutil.which("javac") is None:
        pytest.skip("unavailable: no JDK is on this machine")
    jars = list((DRIVERS / "java" / "jars").glob("postgresql-*.jar"))
    if not jars:
        pytest.skip(
            "unavailable: no Maven is on this machine" if shutil.which("mvn") is None else "pgjdbc: `make test`"
        )
    classes = scratch() / "java"
    with locked(classes):
        if not classes.exists():
            words = ["javac", "-cp", str(jars[0]), "-d", str(classes), str(DRIVERS / "java" / "Run.java")]
            subprocess.run(words, check=True, timeout=PATIENCE)
    return jars[0], classes


class JavaRunner(Runner):
    """Its cases are lines of fields, with tabs between them."""

    def run(self, environment: Mapping[str, str] | None = None, **case: Any) -> Answer:
        """Run one case."""
        fields = (case["url"], (environment or {}).get("PGPASSWORD", ""), *map(str, case.get("renewed", ("", ""))))
        return self.ask("\t".join(fields))


def java_runner() -> Runner:
    """Start a JVM that connects by pgjdbc."""
    jar, classes = java_classes()
    return JavaRunner("java", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", f"{jar}:{classes}", "Run")


def rust_runner() -> Runner:
    """Start a program that connects by tokio-postgres."""
    return Runner(rust_drivers())
