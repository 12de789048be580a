"""Run a throwaway PostgreSQL server in a private directory, on its own port, and remove it without a trace.

PostgreSQL refuses to run as root. For root, the server therefore runs as another account, which owns only its data
directory.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pgtls.diagnostics import Diagnostic, Rejected

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import FrameType

    from pgtls.live.clusters import Installation

_PASSWORDS = {"password_encryption": "scram-sha-256"}  # version 13 would make MD5 hashes; SCRAM also works for "md5"
_ACCOUNTS = ("postgres", "nobody", "daemon")
"""The accounts under which root runs the server: the first one that exists."""
_SUPERUSER = f"pgtls_try_{secrets.token_hex(8)}"
"""The bootstrap superuser. No spec can name it, because nobody can guess it beforehand. Every local user can read it in
the arguments of initdb, so :meth:`Throwaway.populate` takes its right to log in."""
_OUTSIDE = frozenset({"pg_execute_server_program", "pg_read_server_files", "pg_write_server_files"})
"""Roles that can reach this machine. No member gets them: with ``trust``, every local user can log in as a role."""
_PATIENCE = 120.0
"""The time limit in seconds of an operation that usually takes less than one."""
_PATIENCE_AT_THE_END = 5.0
_LOG_LINES = 6
_SHARED, _ROOM = "/dev/shm", 512 * 1024 * 1024  # noqa: S108  (mkdtemp makes a directory of its own there)
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_permissions": "0777",
    "fsync": "off",
    "shared_buffers": "16MB",
    "autovacuum": "off",
    "max_connections": "40",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_line_prefix": "",
    "log_min_error_statement": "panic",  # a statement may hold a password
    "lc_messages": "C",
}
"""Parameters on the command line, where no compiled file can change them."""


@dataclass(frozen=True, slots=True)
class Account:
    """An operating-system account."""

    name: str
    uid: int
    gid: int

    @property
    def process(self) -> dict[str, Any]:
        """The options that let a child process run under this account, if it is another one."""
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Access files with its rights: it may replace a file by a link, and root would follow the link anywhere."""
        if self.uid == os.geteuid():
            yield
            return
        before = os.getgroups(), os.getegid(), os.geteuid()
        os.setgroups([])
        os.setegid(self.gid)
        os.seteuid(self.uid)
        try:
            yield
        finally:
            os.seteuid(before[2])
            os.setegid(before[1])
            os.setgroups(before[0])


def own_account() -> Account:
    """Return the account that runs pgtls."""
    try:
        found = pwd.getpwuid(os.geteuid())
    except KeyError:  # in a container, an account may have only a number
        return Account(str(os.geteuid()), os.geteuid(), os.getegid())
    return Account(found.pw_name, found.pw_uid, found.pw_gid)


def account_named(name: str) -> Account | None:
    """Return an account of this machine."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(found.pw_name, found.pw_uid, found.pw_gid)


def server_account() -> Account:
    """Return the account that runs the server: our own or, for root, an unprivileged one."""
    if os.geteuid() != 0:
        return own_account()
    for name in _ACCOUNTS:
        if found := account_named(name):
            return found
    message = f"PostgreSQL does not run as root, and this machine has no account {', '.join(_ACCOUNTS)}"
    raise Rejected(Diagnostic("PGT603", message, hint="run pgtls try as an ordinary user"))


@contextmanager
def private_directory() -> Iterator[Path]:
    """Make a directory and remove it at any end of the run: Ctrl-C, SIGTERM and SIGHUP raise exceptions."""
    heard = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _interrupt) for number in heard}
    directory = Path(tempfile.mkdtemp(prefix="pgtls-try-", dir=_memory()))
    try:
        directory.chmod(0o711 if os.geteuid() == 0 else 0o700)
        yield directory
    finally:
        with _uninterrupted() as interrupts:
            _remove(directory)
        for number, handler in before.items():
            signal.signal(number, handler)
        if interrupts:
            raise KeyboardInterrupt


def _remove(directory: Path) -> None:
    """Remove a directory, even while a terminating program still writes into it."""
    deadline = time.monotonic() + _PATIENCE_AT_THE_END
    while directory.exists() and time.monotonic() < deadline:
        shutil.rmtree(directory, ignore_errors=True)


def _memory() -> str | None:
    """Return a file system in memory with room for a cluster, unless TMPDIR names a directory."""
    try:
        room = os.statvfs(_SHARED)
    except OSError:
        return None
    enough = room.f_bavail * room.f_frsize >= _ROOM and os.access(_SHARED, os.W_OK)
    return _SHARED if enough and not os.environ.get("TMPDIR") else None


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _uninterrupted() -> Iterator[list[int]]:
    """Record signals during an operation that must not be interrupted, and yield their list."""
    noted: list[int] = []
    interrupting = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, lambda found, _: noted.append(found)) for number in interrupting}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Throwaway:
    """A cluster in ``directory`` with roles and databases. Each :meth:`running` block starts the server once."""

    def __init__(self, installation: Installation, directory: Path) -> None:
        self.installation = installation
        self.directory = directory
        self.data = directory / "data"
        self.sockets = directory / "socket"
        self.port = 0
        self._log = directory / "log"
        self._account = server_account()
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> Self:
        """Start initdb, which takes half a second. :meth:`populate` waits for it."""
        self.directory.mkdir(mode=0o711)
        self.directory.chmod(0o711)
        for path in (self.data, self.sockets):
            path.mkdir()
            path.chmod(0o700 if path == self.data else 0o755)
            os.chown(path, self._account.uid, self._account.gid)
        words = ["-D", self.data, "-U", _SUPERUSER, "-A", "reject", "--no-sync", "--locale=C", "-E", "UTF8"]
        self._start("initdb", words)
        return self

    def populate(self, roles: Mapping[str, Role], databases: Iterable[str]) -> None:
        """Create roles with their passwords and memberships, and databases, before any client can connect.

        Afterwards nobody can log in as the bootstrap superuser, whatever the rules of the spec admit.
        """
        self._finish("initdb fails")
        locked = f"alter role {_identifier(_SUPERUSER)} nologin"
        statements = "".join(f"{statement};\n" for statement in (*_statements(roles, databases), locked))
        words = ["--single", "-D", self.data, "-F", *_options(_SETTINGS | _PASSWORDS), "template1"]
        self._start("postgres", words, stdin=subprocess.PIPE)
        self._finish("the roles and databases of the spec cannot be created", statements.encode())
        with self._account.acting(), (self.data / "postgresql.conf").open("a") as conf:
            conf.write("include 'pgtls.conf'\n")

    def install(self, files: Path, hba: str) -> None:
        """Install the compiled files of a server in the data directory, with this pg_hba.conf."""
        for source in sorted(path for path in files.rglob("*") if path.is_file()):
            self._write(self.data / source.relative_to(files), source.read_bytes())
        self._write(self.data / "pg_hba.conf", hba.encode())

    def _write(self, path: Path, content: bytes) -> None:
        """Write a file that only the server's account may read. Write it completely or not at all."""
        with self._account.acting():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{path.name}.part")
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(content)
            part.replace(path)

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Run the server with the installed files. Raise Rejected with PGT603 and its log."""
        try:
            self._run()
            yield self
        finally:
            with _uninterrupted() as interrupts:
                self.stop()
            if interrupts:
                raise KeyboardInterrupt

    def _run(self) -> None:
        for _ in range(10):
            self._log.write_bytes(b"")
            self.port = _free_port()
            settings = _SETTINGS | {"port": str(self.port), "unix_socket_directories": str(self.sockets)}
            self._start("postgres", ["-D", self.data, *_options(settings)])
            if self._wait():
                return
            if "Address already in use" not in self.log():
                break
        raise self._failure("the server does not start with the compiled files")

    def _wait(self) -> bool:
        """Wait until the server accepts connections, or has ended."""
        assert self._process is not None  # noqa: S101
        deadline = time.monotonic() + _PATIENCE
        while self._process.poll() is None and time.monotonic() < deadline:
            if "ready to accept connections" in self.log():
                return True
            time.sleep(0.005)
        return False

    def reload(self, hba: str) -> None:
        """Replace pg_hba.conf and reload the server. Raise Rejected with PGT603 if it does not load the file."""
        assert self._process is not None  # noqa: S101
        self._write(self.data / "pg_hba.conf", hba.encode())
        mark = len(self.log())
        self._process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + _PATIENCE
        while "reloading configuration files" not in self.log()[mark:]:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise self._failure("the server does not reload")
            time.sleep(0.002)

    def complain(self, mark: int = 0) -> None:
        """Raise Rejected with PGT603 if the server has ended, or rejected a file."""
        assert self._process is not None  # noqa: S101
        if self._process.poll() is not None or "not reloaded" in self.log()[mark:]:
            raise self._failure("the server does not take the compiled files")

    def stop(self) -> None:
        """Stop all running programs at once, including their child processes."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGQUIT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # initdb does not wait for the servers that it runs.
        deadline = time.monotonic() + _PATIENCE_AT_THE_END
        with suppress(ProcessLookupError, PermissionError):
            while time.monotonic() < deadline:
                os.killpg(process.pid, signal.SIGKILL)
                time.sleep(0.005)

    def log(self) -> str:
        """Return the output of the programs."""
        try:
            return self._log.read_text(errors="backslashreplace")
        except FileNotFoundError:
            return ""

    def _start(self, program: str, words: Iterable[object], stdin: int = subprocess.DEVNULL) -> None:
        """Start a program of the server under its account, isolated from the signals of our terminal."""
        command = [str(self.installation.bin / program), *map(str, words)]
        environment = {"PATH": os.defpath, "LC_ALL": "C", "HOME": str(self.data), "TZ": "UTC"}
        with self._log.open("ab") as log, _uninterrupted() as interrupts:
            try:
                self._process = subprocess.Popen(  # noqa: S603
                    command,
                    stdin=stdin,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    env=environment,
                    start_new_session=True,
                    **self._account.process,
                )
            except OSError as error:
                raise self._failure(f"{program} cannot be run by {self._account.name}: {error.strerror}") from None
        if interrupts:
            raise KeyboardInterrupt

    def _finish(self, message: str, given: bytes | None = None) -> None:
        """Wait until the program has succeeded."""
        assert self._process is not None  # noqa: S101
        try:
            self._process.communicate(given, _PATIENCE)
        except subprocess.TimeoutExpired:
            raise self._failure(f"{message}: it does not end") from None
        if self._process.returncode != 0 or any(_is_error(line) for line in self.log().splitlines()):
            raise self._failure(message)

    def _failure(self, message: str) -> Rejected:
        lines = [line for line in self.log().splitlines() if line.strip() and not line.startswith("LOG:  starting")]
        worst = [line for line in lines if _is_error(line)]
        reason = "; ".join(line.strip() for line in (worst or lines)[-_LOG_LINES:])
        said = f"PostgreSQL {self.installation.release} ({self.installation.bin}): {message}"
        hint = "--bindir names another server; the spec may ask for what this one, or its OpenSSL, lacks"
        return Rejected(Diagnostic("PGT603", f"{said}: {reason}" if reason else said, hint=hint))


def _is_error(line: str) -> bool:
    return any(word in line for word in ("FATAL:", "ERROR:", "PANIC:", "initdb: error:"))


@dataclass(frozen=True, slots=True)
class Role:
    """A role to create."""

    password: str | None = None
    """None: the role may not log in."""
    member_of: tuple[str, ...] = ()
    replication: bool = False


def _statements(roles: Mapping[str, Role], databases: Iterable[str]) -> Iterator[str]:
    groups = dict.fromkeys(group for role in roles.values() for group in role.member_of if group not in roles)
    for name, role in {**dict.fromkeys(groups, Role()), **roles}.items():
        if name.startswith("pg_") or name == _SUPERUSER:
            continue  # it exists
        login = f" login password {_literal(role.password)}" if role.password else ""
        yield f"create role {_identifier(name)}{login}{' replication' if role.replication else ''}"
    for name, role in roles.items():
        groups_here = (group for group in role.member_of if group != name and group not in _OUTSIDE)
        yield from (f"grant {_identifier(group)} to {_identifier(name)}" for group in groups_here)
    yield from (f"create database {_identifier(name)}" for name in databases if name not in _THERE)


_THERE = ("postgres", "template0", "template1")


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _options(settings: Mapping[str, str]) -> Iterator[str]:
    for name, value in settings.items():
        yield from ("-c", f"{name}={value}")


def drawn() -> str:
    """Generate a random password."""
    return secrets.token_urlsafe(18)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
