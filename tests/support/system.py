"""Processes under other accounts and in other networks, and the directory where a test session keeps what they must reach."""

from __future__ import annotations

import atexit
import fcntl
import os
import pwd
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.addresses import Network

SCRATCH = "PGTLS_TEST_SCRATCH"
"""Names the scratch directory of a session to the workers of pytest-xdist."""

ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
"""The neutral environment of everything that is started: no ``PG*``, and a ``HOME`` of its own to be added."""


@cache
def scratch() -> Path:
    """Give the session's directory, which other accounts can traverse (pytest's own are for their owner alone). It goes with the session."""
    if (known := os.environ.get(SCRATCH)) is not None:
        return Path(known)
    # Not below a deep TMPDIR: the path of a socket has 107 bytes.
    directory = Path(tempfile.mkdtemp(prefix="pgtls-tests-", dir=_memory() or "/tmp"))
    directory.chmod(0o755)
    os.environ[SCRATCH] = str(directory)
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def _memory() -> str | None:
    """Where files are kept in memory, if there is room for a few servers: copying data directories is most of what the tests wait for."""
    directory = "/dev/shm"
    if not os.access(directory, os.W_OK) or os.statvfs(directory).f_flag & os.ST_NOEXEC:
        return None
    return directory if shutil.disk_usage(directory).free > 4 << 30 else None


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
    """Whether this process may become any other user."""
    return os.geteuid() == 0


@cache
def server_account() -> Account:
    """Who runs the servers: PostgreSQL refuses to run as root, so root lends them ``postgres``, or ``nobody`` where there is none."""
    own = pwd.getpwuid(os.geteuid())
    if not is_root():
        return Account(own.pw_name, own.pw_uid, own.pw_gid)
    account = find_account("postgres") or find_account("nobody")
    assert account is not None, "neither postgres nor nobody is an account of this machine"
    return account


def run_as(account: Account | None, network: Network | None = None) -> tuple[str, ...]:
    """Give the words that start a program as ``account`` (None: as we are) in ``network`` (None: the machine's)."""
    words: list[str] = []
    if network is not None:
        words += ["ip", "netns", "exec", network.name]
    if account is not None and account.uid != os.geteuid():
        words += ["setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups", "--"]
    return tuple(words)


def give(path: Path, account: Account) -> None:
    """Hand a file, or a directory with all that is in it, over to ``account``."""
    if not is_root():
        return
    os.chown(path, account.uid, account.gid)
    for directory, names, files in os.walk(path):
        for name in (*names, *files):
            os.chown(os.path.join(directory, name), account.uid, account.gid, follow_symlinks=False)
