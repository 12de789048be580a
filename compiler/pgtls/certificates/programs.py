"""Run programs that the spec names: those that sign, those that publish challenges, and those that print secrets.

Each is bounded in time and in what it prints, cannot ask at the terminal, and ends with all that it started, except
what made itself a session of its own (elsewhere than on Linux: a process group of its own). Signers and publishers get
no secret: no variable but a few of this process and those that the caller tells.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from contextlib import suppress
from math import ceil
from typing import IO, TYPE_CHECKING, NamedTuple

from pgtls.certificates.model import NoAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LONGEST = 256 * 1024
"""The maximum bytes that a signer may print: a chain of CAs with large keys is a tenth of it."""

_KEPT = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ")
"""The variables of this process that a signer gets: the least with which programs start."""

_LAST = 5
"""Seconds for programs that were killed to be gone. One of another account (by sudo) cannot be killed."""


class Failure(NamedTuple):
    """Why a program gave nothing. ``said`` is the last line of its errors, which may repeat a secret."""

    reason: str
    late: bool = False
    said: str = ""


def ask(
    command: Sequence[str], patience: float, request: bytes, told: Mapping[str, str], directory: str
) -> bytes | NoAnswer:
    """Run a signer or a publisher; return what it printed, or why that is no answer."""
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | dict(told)
    printed = run(command, patience, directory, environment, LONGEST, request)
    if isinstance(printed, Failure):
        return NoAnswer(f"{printed.reason}: {printed.said}" if printed.said else printed.reason, printed.late)
    return printed


def run(
    command: Sequence[str],
    patience: float,
    directory: str,
    environment: Mapping[str, str],
    longest: int,
    given: bytes = b"",
) -> bytes | Failure:
    """Run a program once, ``patience`` seconds at most; return what it printed, no more than ``longest`` bytes."""
    try:
        process = subprocess.Popen(  # noqa: S603  (it is the spec that says what to run, and no shell reads it)
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=directory,
            env=environment,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return Failure(f"cannot be run: {getattr(error, 'strerror', None) or error}")
    try:
        printed = _exchanged(process, given, time.monotonic() + patience, longest)
    except OSError as error:
        return Failure(f"cannot be used: {error.strerror}")
    finally:
        _end(process)
    if printed.ended == "late":
        return Failure(f"did not end within {ceil(patience)} seconds", late=True)
    if printed.ended == "long":
        return Failure(f"printed more than {longest // 1024} KiB")
    if status := process.returncode:
        how = f"exited with {status}" if status > 0 else f"was ended by signal {-status}"
        return Failure(how, said=_last_line(printed.error))
    return printed.out


class _Printed(NamedTuple):
    """What a program printed, and why reading ended early."""

    out: bytes
    error: bytes
    ended: str = ""


def _exchanged(process: subprocess.Popen[bytes], given: bytes, deadline: float, longest: int) -> _Printed:
    """Write what the program reads, and read both its outputs, until it ends."""
    assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018
    out, error = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, out)
        selector.register(process.stderr, selectors.EVENT_READ, error)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        os.set_blocking(process.stdin.fileno(), False)
        while selector.get_map():
            if (left := deadline - time.monotonic()) <= 0:
                return _Printed(b"", bytes(error), "late")
            for key, _ in selector.select(left):
                if key.fileobj is process.stdin:
                    given = _written(process.stdin, given)
                    ended = not given
                else:
                    chunk = os.read(key.fd, 65536)
                    key.data.extend(chunk)
                    ended = not chunk
                if ended:
                    selector.unregister(key.fileobj)
            del error[: -4 * _SHOWN]
            if len(out) > longest:
                return _Printed(b"", bytes(error), "long")
    return _Printed(bytes(out), bytes(error), "" if _ends(process, deadline) else "late")


def _written(stdin: IO[bytes], given: bytes) -> bytes:
    """Write what fits; return the rest. Close stdin after it. A program may end without reading it."""
    try:
        rest = given[os.write(stdin.fileno(), given) :]
    except BrokenPipeError:
        rest = b""
    if not rest:
        stdin.close()
    return rest


_SHOWN = 200
"""The most characters of a program's last message that a diagnostic repeats."""


def _last_line(error: bytes) -> str:
    """Return the last line of what a program printed to stderr, if there is one."""
    lines = [line.strip() for line in error.decode(errors="replace").splitlines() if line.strip()]
    return "".join(one if one.isprintable() else " " for one in lines[-1])[:_SHOWN] if lines else ""


def _ends(process: subprocess.Popen[bytes], deadline: float) -> bool:
    """Wait for the end of a program that has closed its outputs."""
    pause = 0.0005
    while not _has_ended(process):
        if (left := deadline - time.monotonic()) <= 0:
            return False
        pause = min(2 * pause, left, 0.05)
        time.sleep(pause)
    return True


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Return whether a program has ended. Where the system can, keep its number: no other process gets it then."""
    if hasattr(os, "waitid"):
        with suppress(ChildProcessError):  # this process was started with SIGCHLD ignored
            return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return process.poll() is not None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program and all that it started, also if it has ended itself."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + _LAST
    while _killed_in_session(process.pid) and time.monotonic() < deadline:
        time.sleep(0.001)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            pipe.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_LAST)


def _killed_in_session(session: int) -> bool:
    """Kill the processes of a session, whatever their process group. Return whether there was one."""
    found = False
    for process in _processes():
        with suppress(OSError):  # it has ended, or belongs to another account
            state, _, _, of = _stat(process)
            if int(of) == session and state not in _ENDED:
                os.kill(process, signal.SIGKILL)
                found = True
    return found


def _processes() -> list[int]:
    """Return the numbers of all processes; none where ``/proc`` is not Linux's, or numbers those of another system."""
    try:
        known = os.readlink("/proc/self") == str(os.getpid())
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()] if known else []
    except OSError:
        return []


_ENDED = ("Z", "X")
"""The states of a process that has ended, and whose parent has not asked for its status."""


def _stat(process: int) -> list[str]:
    """Return state, parent, process group and session of a process: proc_pid_stat(5)."""
    with open(f"/proc/{process}/stat", "rb") as file:
        return file.read().rpartition(b") ")[2].decode().split(maxsplit=4)[:4]
