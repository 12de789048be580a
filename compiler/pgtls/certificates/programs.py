"""Run programs that the spec names: those that sign, and those that publish the challenges of ACME servers.

They get no secret: no variable but a few of this process and those that the caller tells. What they print is bounded in
size and time.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from math import ceil
from typing import IO, TYPE_CHECKING, NamedTuple

from pgtls.certificates.model import NoAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LONGEST = 256 * 1024
"""The maximum bytes that a program may print: a chain of CAs with large keys is a tenth of it."""

_KEPT = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ")
"""The variables of this process that a program gets: the least with which programs start."""


def run(
    command: Sequence[str], patience: float, request: bytes, told: Mapping[str, str], directory: str
) -> bytes | NoAnswer:
    """Run a program once, ``patience`` seconds at most; return what it printed, or why that is no answer.

    It is in a session of its own: it cannot ask at the terminal, and it is ended with all that it started.
    """
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | dict(told)
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
        return NoAnswer(f'"{command[0]}" cannot be run: {getattr(error, "strerror", None) or error}')
    try:
        with process:
            try:
                printed = _exchanged(process, request, patience)
            finally:
                _end(process)
    except OSError as error:
        return NoAnswer(f"cannot be used: {error.strerror}")
    return _answer(patience, process.returncode, printed)


class _Printed(NamedTuple):
    """What a program printed, and why reading ended early."""

    out: bytes
    error: bytes
    ended: str = ""


def _exchanged(process: subprocess.Popen[bytes], request: bytes, patience: float) -> _Printed:
    """Write the CSR and read both outputs, no more than :data:`LONGEST` and no longer than ``patience`` seconds."""
    assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018
    deadline, out, error = time.monotonic() + patience, bytearray(), bytearray()
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
                    request = _written(process.stdin, request)
                    ended = not request
                else:
                    chunk = os.read(key.fd, 65536)
                    key.data.extend(chunk)
                    ended = not chunk
                if ended:
                    selector.unregister(key.fileobj)
            del error[: -4 * _SHOWN]
            if len(out) > LONGEST:
                return _Printed(b"", bytes(error), "long")
    try:
        process.wait(max(deadline - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        return _Printed(b"", bytes(error), "late")
    return _Printed(bytes(out), bytes(error))


def _written(stdin: IO[bytes], request: bytes) -> bytes:
    """Write what fits of a CSR; return the rest. Close stdin after it. A program may end without reading it."""
    try:
        rest = request[os.write(stdin.fileno(), request) :]
    except BrokenPipeError:
        rest = b""
    if not rest:
        stdin.close()
    return rest


def _answer(patience: float, status: int, printed: _Printed) -> bytes | NoAnswer:
    if printed.ended == "late":
        return NoAnswer(f"did not end within {ceil(patience)} seconds", late=True)
    if printed.ended == "long":
        return NoAnswer(f"printed more than {LONGEST // 1024} KiB")
    if status:
        how = f"exited with {status}" if status > 0 else f"was ended by signal {-status}"
        return NoAnswer(how + _last_line(printed.error))
    return printed.out


_SHOWN = 200
"""The most characters of a program's last message that a diagnostic repeats."""


def _last_line(error: bytes) -> str:
    """Return the last line of what a program printed to stderr, if there is one."""
    lines = [line.strip() for line in error.decode(errors="replace").splitlines() if line.strip()]
    return f": {''.join(one if one.isprintable() else ' ' for one in lines[-1])[:_SHOWN]}" if lines else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program that still runs, and all that it started."""
    if process.returncode is None:  # otherwise its number may be another's by now
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
