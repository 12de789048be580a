"""Kill a program by SIGKILL at each of its writes.

These count as writes: opening a file for writing, ``os.write``, and every call that changes a directory entry, a mode
or a time. Python announces most of them to an audit hook before they happen; this module wraps ``os.write`` and
``os.fsync``. At the write numbered N, from 1, the process kills itself instead of writing; of an ``os.write`` it first
writes half. Only the started process counts, not its children.

Two ways: :func:`in_child` runs a function in a forked child, :func:`command` a Python module in a new interpreter::

    total = command("pgtls", "build", "pgtls.toml").writes
    for number in range(1, total + 1):
        command("pgtls", "build", "pgtls.toml", kill_at=number)
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_WRITES = frozenset(
    f"os.{name}"
    for name in ("chmod", "chown", "link", "mkdir", "remove", "rename", "rmdir", "symlink", "truncate", "utime")
) | {"store.write"}
"""Events of the interpreter, and the one by which :mod:`support.stores` announces a write to a store."""
_LONGEST = 300
"""Seconds until SIGALRM ends a child that hangs.

A child forked while threads run may inherit a lock that no thread opens.
"""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def moments(total: int) -> range:
    """Return the writes to kill at: each, or in a sample (``PGTLS_TEST_SAMPLE``) every third of many.

    Where the sample begins depends on the number of writes, so that all tests together kill at all kinds of writes.
    """
    sample = bool(os.environ.get("PGTLS_TEST_SAMPLE")) and total > 30
    return range(1 + total % 3, total + 1, 3) if sample else range(1, total + 1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. ``status`` is its exit status, negative for a signal; ``writes`` is None if it was killed."""

    status: int
    writes: int | None
    output: str = ""
    log: tuple[str, ...] = ()
    """What each write was, for those that a failing test names."""

    @property
    def killed(self) -> bool:
        """Return whether it reached the write that it should die at."""
        return self.status == -signal.SIGKILL


class _Counter:
    """Counts the writes of this process, and ends it at one of them."""

    def __init__(self, kill_at: int | None) -> None:
        self.count = 0
        self.log: list[str] = []
        self._kill_at = kill_at
        self._process = os.getpid()
        self._write, self._fsync = os.write, os.fsync

    def install(self) -> None:
        """Begin. There is no way back: the process is one to be killed."""
        os.write = self._counted_write
        os.fsync = self._counted_fsync
        sys.addaudithook(self._audit)

    def report(self, descriptor: int) -> None:
        """Write down what was counted, a line for each."""
        self._write(descriptor, "".join(f"{line!r}\n" for line in self.log[: self.count]).encode())

    def _due(self, what: str) -> bool:
        if os.getpid() != self._process:
            return False
        self.count += 1
        self.log.append(what)
        return self.count == self._kill_at

    def _die(self) -> None:
        os.kill(self._process, signal.SIGKILL)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING
        if (event in _WRITES or opened) and self._due(f"{event}{arguments[:2]}"):
            self._die()

    def _counted_write(self, descriptor: int, content: Any, /) -> int:
        if self._due(f"os.write {len(content)} bytes"):
            self._write(descriptor, bytes(content)[: len(content) // 2])
            self._die()
        return self._write(descriptor, content)

    def _counted_fsync(self, fd: Any) -> None:
        if self._due("os.fsync"):
            self._die()
        self._fsync(fd)


def in_child(run: Callable[[], object], *, kill_at: int | None = None) -> Outcome:
    """Run a function in a forked child. An exception gives the status 1 and its traceback on stderr."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside the threads of a test runner
        child = os.fork()
    if child == 0:
        signal.alarm(_LONGEST)
        _run_and_exit(run, kill_at, write)
    os.close(write)
    with open(read, encoding="utf-8") as pipe:
        report = pipe.read().splitlines()
    _, status = os.waitpid(child, 0)
    return Outcome(os.waitstatus_to_exitcode(status), len(report) if status == 0 else None, log=tuple(report))


def _run_and_exit(run: Callable[[], object], kill_at: int | None, report: int) -> None:
    try:
        counter = _Counter(kill_at)
        counter.install()
        run()
        counter.report(report)
        os._exit(0)
    except BaseException:  # noqa: BLE001  (whatever it is, the child ends here)
        traceback.print_exc()
    finally:
        os._exit(1)


def command(
    module: str,
    *arguments: str,
    kill_at: int | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
) -> Outcome:
    """Run ``python -m module arguments``. ``output`` is what it wrote to stdout and stderr."""
    with tempfile.TemporaryFile() as report:
        argv = [sys.executable, "-B", __file__, str(kill_at or 0), str(report.fileno()), module, *arguments]
        done = subprocess.run(
            argv, pass_fds=[report.fileno()], env=env, cwd=cwd, capture_output=True, text=True, check=False
        )
        report.seek(0)
        log = tuple(report.read().decode().splitlines())
    killed = done.returncode == -signal.SIGKILL
    return Outcome(done.returncode, None if killed else len(log), done.stdout + done.stderr, log)


def _main(kill_at: str, report: str, module: str, *arguments: str) -> None:
    sys.path.pop(0)  # the directory of this file
    sys.argv = [module, *arguments]
    counter = _Counter(int(kill_at) or None)
    counter.install()
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        counter.report(int(report))


if __name__ == "__main__":
    _main(*sys.argv[1:])
