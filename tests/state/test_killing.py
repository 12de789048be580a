"""The harness that kills a program at each of its writes: it must count all of them, and kill before they happen."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support.killing import command, in_child

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import os
os.mkdir("d")
fd = os.open("d/a", os.O_WRONLY | os.O_CREAT, 0o600)
os.write(fd, b"0123456789")
os.fsync(fd)
os.close(fd)
os.rename("d/a", "d/b")
os.chmod("d/b", 0o644)
open("d/b").read()
os.unlink("d/b")
os.rmdir("d")
print("done")
"""
STATES = [
    "",
    "d",
    "d d/a=01234",
    "d d/a=0123456789",
    "d d/a=0123456789",
    "d d/b=0123456789",
    "d d/b=0123456789",
    "d",
]
"""The files that exist after a kill at each of the writes, from the first.

The kill comes before mkdir, open, in write, fsync, rename, chmod, unlink, rmdir.
"""


def state(directory: Path) -> str:
    paths = sorted(path for path in directory.rglob("*") if path.name not in ("program.py", "trace"))
    return " ".join(
        path.relative_to(directory).as_posix() + ("" if path.is_dir() else f"={path.read_text()}") for path in paths
    )


def environment(directory: Path) -> dict[str, str]:
    (directory / "program.py").write_text(PROGRAM)
    return {"PATH": os.defpath, "PYTHONPATH": str(directory)}


def test_each_write_is_counted_and_the_program_dies_before_it(tmp_path: Path) -> None:
    seen = []
    for number in range(1, 100):
        directory = tmp_path / str(number)
        directory.mkdir()
        outcome = command("program", kill_at=number, env=environment(directory), cwd=directory)
        if not outcome.killed:
            assert (outcome.status, outcome.output, outcome.writes) == (0, "done\n", number - 1)
            break
        assert outcome.writes is None
        seen.append(state(directory))
    assert seen == STATES


@pytest.mark.skipif(not shutil.which("strace"), reason="unavailable: strace is not installed")
def test_the_kernel_counts_as_many_writes(tmp_path: Path) -> None:
    counted = command("program", env=environment(tmp_path), cwd=tmp_path).writes
    calls = "mkdir,openat,write,fsync,rename,renameat,renameat2,chmod,fchmodat,unlink,unlinkat,rmdir,ftruncate"
    trace = tmp_path / "trace"
    argv = ["strace", "-o", str(trace), "-e", f"trace={calls}", sys.executable, "-Bm", "program"]
    subprocess.run(argv, env=environment(tmp_path), cwd=tmp_path, check=True, capture_output=True)
    writes = [line for line in trace.read_text().splitlines() if _writes(line)]
    assert len(writes) == counted, writes


def _writes(line: str) -> bool:
    if line.startswith("openat"):
        return re.search("O_WRONLY|O_RDWR|O_CREAT", line) is not None
    return not line.startswith(("write(1,", "---", "+++"))


def test_an_exception_in_a_child_is_no_success(capfd: pytest.CaptureFixture[str]) -> None:
    outcome = in_child(lambda: 1 // 0)
    assert (outcome.status, outcome.writes, outcome.killed) == (1, None, False)
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_writes_of_a_childs_child_do_not_count(tmp_path: Path) -> None:
    def run() -> None:
        child = os.fork()
        if child == 0:
            (tmp_path / "a").write_text("x")
            os._exit(0)
        os.waitpid(child, 0)
        (tmp_path / "b").write_text("x")

    assert in_child(run).writes == 1
    (tmp_path / "a").unlink()
    assert in_child(run, kill_at=1).killed
    assert (tmp_path / "a").exists()
