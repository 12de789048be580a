"""Processes under other accounts and in other networks.

A session keeps the files that they must reach in a directory of its own.

A killed session leaves that directory behind; the next one removes it. No process survives: see :func:`until_we_end`.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import pwd
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from support.addresses import Network

SCRATCH = "PGTLS_TEST_SCRATCH"
"""Names the scratch directory of a session to the workers of pytest-xdist."""
_PREFIX = "pgtls-tests-"
_OWNED = "owned"
"""A file in the scratch directory that its session holds a lock on as long as it lives."""

MEMORY = "/dev/shm"

ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
"""The neutral environment of everything that is started: no ``PG*``, and a ``HOME`` of its own to be added."""


@cache
def scratch() -> Path:
    """Return the session's directory, which other accounts can traverse (pytest's own admit their owner only).

    The end of the session removes it.
    """
    if (known := os.environ.get(SCRATCH)) is not None:
        return Path(known)
    # Not below a deep TMPDIR: the path of a socket has 107 bytes.
    for place in (MEMORY, "/tmp"):
        _remove_leftovers(Path(place))
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_memory() or "/tmp"))
    directory.chmod(0o755)
    _own(directory)
    os.environ[SCRATCH] = str(directory)
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def _own(directory: Path) -> None:
    """Hold the lock of a scratch directory until this process ends, however it ends."""
    descriptor = os.open(directory / _OWNED, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def _remove_leftovers(place: Path) -> None:
    """Remove the scratch directories of killed sessions: they hold memory that later sessions need."""
    for owned in place.glob(f"{_PREFIX}*/{_OWNED}"):
        with suppress(OSError), owned.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(owned.parent, ignore_errors=True)


def _memory() -> str | None:
    """Return a directory in memory if it has room for a few servers.

    The tests spend most of their time on copies of data directories.
    """
    if not os.access(MEMORY, os.W_OK) or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        return None
    return MEMORY if shutil.disk_usage(MEMORY).free > 4 << 30 else None


def new_directory(prefix: str) -> Path:
    """Make an empty directory, readable by all, in the scratch directory."""
    directory = Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=scratch()))
    directory.chmod(0o755)
    return directory


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep the other workers of the session away while something is made at ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True, slots=True)
class Account:
    """An operating-system user."""

    name: str
    uid: int
    gid: int


def find_account(name: str) -> Account | None:
    """Look an account up by its name."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def is_root() -> bool:
    """Return whether this process may become any other user."""
    return os.geteuid() == 0


@cache
def server_account() -> Account:
    """Return the account that runs the servers.

    PostgreSQL refuses to run as root, so root uses ``postgres``, or ``nobody`` if there is none.
    """
    own = pwd.getpwuid(os.geteuid())
    if not is_root():
        return Account(own.pw_name, own.pw_uid, own.pw_gid)
    account = find_account("postgres") or find_account("nobody")
    assert account is not None, "neither postgres nor nobody is an account of this machine"
    return account


def run_as(account: Account | None, network: Network | None = None) -> tuple[str, ...]:
    """Return the words that start a program as ``account`` (None: as we are) in ``network`` (None: the machine's)."""
    words: list[str] = []
    if network is not None:
        words += ["ip", "netns", "exec", network.name]
    if account is not None and account.uid != os.geteuid():
        words += ["setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups", "--"]
    return tuple(words)


@cache
def until_we_end() -> tuple[str, ...]:
    """Return the words that start a program which must not outlive us.

    The program gets SIGQUIT when we end, by whatever signal (prctl(2), PR_SET_PDEATHSIG).

    Place them last before the program's own words: the kernel forgets the signal when a process changes its account.
    """
    return ("setpriv", "--pdeathsig=QUIT", "--") if shutil.which("setpriv") else ()


def running(number: int) -> bool:
    """Return whether a process with this number runs. One that has ended may wait to be looked after."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(numbers: Iterable[int], patience: float = 60) -> None:
    """Wait until none of these processes runs."""
    deadline = time.monotonic() + patience
    while any(map(running, numbers)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def give(path: Path, account: Account) -> None:
    """Hand a file, or a directory with all that is in it, over to ``account``."""
    if not is_root():
        return
    os.chown(path, account.uid, account.gid)
    for directory, names, files in os.walk(path):
        for name in (*names, *files):
            os.chown(os.path.join(directory, name), account.uid, account.gid, follow_symlinks=False)
