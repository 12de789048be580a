"""Real PostgreSQL servers for the tests: every supported major version, each started in milliseconds.

    with Server(installation) as server:            # trust for everybody, no TLS yet
        server.populate(roles=["app"], databases=["shop"])
        server.install(out / "servers" / "primary")  # files, owner, modes, include, reload; or ServerError
        ...                                          # clients connect to server.port
        server.sql("show ssl")                       # through a connection from before the install

The versions come from npm (``postgres/package.json``, pinned by its lock file), from Debian's newer suites
(``postgres/install-debian``) and from the system, as ``versions()`` finds them.
"""

from __future__ import annotations

import contextlib
import random
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import psycopg
from psycopg import sql as syntax

from support.system import ENVIRONMENT, give, locked, new_directory, run_as, scratch, server_account, until_we_end

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from support.addresses import Network

EXPECTED = ("pg13", "pg14", "pg15", "pg16", "pg17", "pg18", "pg18-debian", "pg19-debian")
"""The servers that the tests want to see; ``package.json`` and ``install-debian`` name where they come from."""

PACKAGES = Path(__file__).parent / "postgres" / "node_modules"
UNPACKED = Path(__file__).parent / "postgres" / "debian"
PATIENCE = 180.0
"""Seconds after which something that never takes a second is taken to have failed: so many that a busy machine is no
reason."""

SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "autovacuum": "off",
    "max_connections": "20",
    "max_wal_senders": "4",
    "log_connections": "on",
    "log_line_prefix": "%m [%p] ",
    "lc_messages": "C",
    "password_encryption": "scram-sha-256",  # 13 made MD5 hashes
}
"""Of every server here, in its ``postgresql.conf``. What tells servers apart is on their command line, where no
included file can change it."""


class ServerError(Exception):
    """The server did not start, or did not take what it was given. Its text is the server's log."""


@dataclass(frozen=True, slots=True)
class Installation:
    """A PostgreSQL whose programs lie in ``bin``."""

    major: int
    release: str
    builder: Literal["npm", "Debian"]
    openssl: str
    """The OpenSSL that it is linked with: ``1.1``, ``3.6``."""
    bin: Path
    lib: Path | None
    """Where the libpq of this version lies; None where it is the system's."""
    root: Path | None = None
    """The unpacked packages, whose loader and C library run the programs. None: the programs are as the
    system's are."""

    @property
    def label(self) -> str:
        """The name for people: ``17.10 (npm, OpenSSL 1.1)``."""
        return f"{self.release} ({self.builder}, OpenSSL {self.openssl})"

    @property
    def id(self) -> str:
        """A short name, fit for a file and a test id: ``pg17``, ``pg15-debian``."""
        return f"pg{self.major}" + ("-debian" if self.builder == "Debian" else "")

    @property
    def openssl_program(self) -> Path | None:
        """The ``openssl`` program of the same version, where the installation has one."""
        return self.root / "usr/bin/openssl" if self.root else None

    @property
    def headers(self) -> Path | None:
        """The directory of the server's headers, where the installation has them."""
        found = self.root / f"usr/include/postgresql/{self.major}/server" if self.root else None
        return found if found and found.is_dir() else None

    @property
    def python(self) -> tuple[str, ...]:
        """The words that start a Python which can load this libpq.

        Unpacked ones need the C library that came with them.
        """
        if self.root is None or self.lib is None:
            return (sys.executable,)
        loader = next(self.lib.glob("ld-linux*.so.*"))
        words = (loader, "--library-path", self.lib, "--argv0", sys.executable, Path(sys.executable).resolve())
        return tuple(map(str, words))


@cache
def versions() -> tuple[Installation, ...]:
    """Return all servers of this machine, by version; npm's before Debian's, and the system's before unpacked ones."""
    found = [
        *(_from_npm(program.parents[1]) for program in PACKAGES.glob("pg*/native/bin/postgres")),
        *(_unpacked(complete.parent) for complete in UNPACKED.glob("[0-9]*/complete")),
        *(_of_the_system(program.parent) for program in Path("/usr/lib/postgresql").glob("*/bin/postgres")),
    ]
    by_id = {installation.id: installation for installation in found}
    return tuple(sorted(by_id.values(), key=lambda one: (one.major, one.id)))


def why_absent(wanted: str) -> str | None:
    """Return why a server of EXPECTED is missing, in the words of ``install-debian``; None without an attempt."""
    reason = UNPACKED / f"{wanted.removeprefix('pg').removesuffix('-debian')}.unavailable"
    return reason.read_text().strip() if wanted.endswith("-debian") and reason.exists() else None


def _from_npm(home: Path) -> Installation:
    home = reachable(home, home / "bin" / "postgres")
    library = next((home / "lib").glob("libssl.so.*"))
    return _installation(home / "bin", "npm", library.name.removeprefix("libssl.so."), home / "lib")


def _unpacked(root: Path) -> Installation:
    programs = Path("usr/lib/postgresql") / root.name / "bin"
    root = reachable(root, root / programs / "postgres")
    lib = next(root.glob("usr/lib/*/libpq.so.5")).parent
    return _installation(root / programs, "Debian", _openssl(root / "usr/bin/openssl"), lib, root)


def _of_the_system(bin_directory: Path) -> Installation:
    return _installation(bin_directory, "Debian", _openssl("openssl"), None)


def _installation(
    bin_directory: Path, builder: Literal["npm", "Debian"], openssl: str, lib: Path | None, root: Path | None = None
) -> Installation:
    asked = subprocess.run([bin_directory / "postgres", "--version"], check=True, capture_output=True, text=True)
    release = asked.stdout.split()[2]
    return Installation(int(re.split(r"\D", release)[0]), release, builder, openssl, bin_directory, lib, root)


def _openssl(program: str | Path) -> str:
    """Ask an ``openssl`` program for its major and minor version."""
    version = subprocess.run([program, "version"], check=True, capture_output=True, text=True).stdout.split()[1]
    return ".".join(version.split(".")[:2])


def reachable(home: Path, program: Path) -> Path:
    """Return where the servers' account can run it.

    A checkout in /root is closed to it, and then the session has a copy.
    """
    account = server_account()
    probe = subprocess.run([*run_as(account), "test", "-x", str(program)], check=False, cwd="/")
    if probe.returncode == 0:
        return home
    copy = scratch() / "programs" / home.parent.name / home.name
    with locked(copy):
        if not copy.exists():
            part = copy.with_suffix(".part")
            shutil.copytree(home, part, symlinks=True)
            give(part, account)  # where the umask was strict, its owner alone may read it
            part.rename(copy)
    return copy


def _template(installation: Installation) -> Path:
    """Return a data directory fresh from initdb, made once per session and copied for each server."""
    template = scratch() / "templates" / installation.id
    with locked(template):
        if template.exists():
            return template
        part = new_directory("initdb")
        give(part, server_account())
        initdb = [str(installation.bin / "initdb"), "-D", str(part / "data")]
        words = [
            *run_as(server_account()),
            *initdb,
            "-U",
            "postgres",
            "-A",
            "trust",
            "--no-sync",
            "--locale=C",
            "-E",
            "UTF8",
        ]
        made = subprocess.run(words, check=False, capture_output=True, text=True, cwd="/", env=ENVIRONMENT)
        if made.returncode != 0:
            raise ServerError(made.stdout + made.stderr)
        with (part / "data" / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {quoted(value)}\n" for name, value in SETTINGS.items())
        part.rename(template)
    return template


def quoted(value: str) -> str:
    """Write a value as postgresql.conf wants it."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


class Server:
    """A server of its own, on a port and a socket directory of its own.

    Entering starts it, leaving stops it and removes its files.

    ``listen`` is its ``listen_addresses``; in a ``network`` (a namespace of its own) it is all of them by default.
    """

    def __init__(self, installation: Installation, *, network: Network | None = None, listen: str = "") -> None:
        self.installation = installation
        self.network = network
        self.listen = listen or ("*" if network else ",".join(loopback()))
        self.directory = new_directory(installation.id)
        self.data = self.directory / "data"
        self.logfile = self.directory / "log"
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._admin: psycopg.Connection[Any] | None = None

    @property
    def sockets(self) -> str:
        """The directory of its Unix socket: ``host`` of a local connection."""
        return str(self.directory)

    @property
    def version(self) -> int:
        """Its major version."""
        return self.installation.major

    def __enter__(self) -> Self:
        self.prepare()
        try:
            self.start()
            self._admin = self._connect("postgres")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self.logfile.exists():
            error.add_note(f"the log of PostgreSQL {self.installation.label}:\n{self.log()[-4000:]}")
        self.close()

    def close(self) -> None:
        """Stop it at once and remove all that it had."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)

    # ---- its life ----------------------------------------------------------------------------------------------------
    # ------------------

    def prepare(self) -> None:
        """Make its data directory: one in which everybody may do everything, without TLS."""
        subprocess.run(["cp", "-a", _template(self.installation) / "data", self.data], check=True)
        give(self.directory, server_account())

    def start(self) -> None:
        """Start it with the files that are there, and wait until it takes connections.

        Raises ServerError with its log when it does not.
        """
        for attempt in range(10):
            mark = self.mark()
            self.port = self.port or free_port()
            self._launch()
            is_ready = self._wait_until_ready()
            log = self.log(mark)
            # A server that gets one of its addresses starts without the others, and strangers would answer there.
            was_faster = "Address already in use" in log
            if is_ready and not was_faster:
                _remember(self.installation)
                return
            self.stop(signal.SIGQUIT)
            if not was_faster or attempt == 9:
                raise ServerError(log)
            self.port = 0

    def _launch(self) -> None:
        own = {"port": str(self.port), "listen_addresses": self.listen, "unix_socket_directories": self.sockets}
        words = [str(self.installation.bin / "postgres"), "-D", str(self.data)]
        for name, value in own.items():
            words += ["-c", f"{name}={value}"]
        with self.logfile.open("ab") as log:
            self._process = subprocess.Popen(
                [*run_as(server_account(), self.network), *until_we_end(), *words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=ENVIRONMENT,
            )  # fmt: skip

    def _wait_until_ready(self) -> bool:
        """Tell whether it got ready.

        It says so in the last line of ``postmaster.pid`` (``PM_STATUS_READY`` of miscinit.h).
        """
        assert self._process is not None
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(FileNotFoundError):
                status = (self.data / "postmaster.pid").read_text()
                if status.startswith(f"{self._process.pid}\n") and status.endswith("ready   \n"):
                    return True
            time.sleep(0.003)
        return False

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT as an administrator would, SIGQUIT at once."""
        if self._admin is not None:
            self._admin.close()
            self._admin = None
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(how)
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                raise
            self._process = None

    def restart(self) -> None:
        """Stop it and start it cold with the files that are there now.

        From then on :meth:`sql` depends on what they admit.
        """
        self.stop()
        self.start()

    def reload(self) -> str:
        """Reload the server's files, wait until they are in force, and return what it logged.

        Raises ServerError where it keeps the old state.
        """
        assert self._process is not None
        mark = self.mark()
        self._process.send_signal(signal.SIGHUP)
        self.wait_for_log("received SIGHUP, reloading configuration files", mark)
        self._probe()
        log = self.log(mark)
        # Of the postmaster alone: a session that ended may log its failure only now.
        own = [line for line in log.splitlines() if f"[{self._process.pid}]" in line]
        if re.search(r"not reloaded|contains errors|could not", "\n".join(own)):
            raise ServerError(log)
        return log

    def _probe(self) -> None:
        """Wait for an answer to an SSLRequest.

        The postmaster does one thing at a time: who answers was started after the reload.
        """
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(f"{self.sockets}/.s.PGSQL.{self.port}")
            connection.sendall(bytes.fromhex("0000000804d2162f"))
            connection.recv(1)

    # ---- its log -----------------------------------------------------------------------------------------------------
    # ------------------

    def mark(self) -> int:
        """Where the log ends now."""
        return self.logfile.stat().st_size if self.logfile.exists() else 0

    def log(self, since: int = 0) -> str:
        """Return what it has logged since a mark."""
        with self.logfile.open("rb") as file:
            file.seek(since)
            return file.read().decode(errors="replace")

    def wait_for_log(self, text: str, since: int = 0) -> str:
        """Return the log since a mark as soon as it has ``text``: a server may log after its client has been told."""
        deadline = time.monotonic() + PATIENCE
        while text not in (log := self.log(since)):
            assert time.monotonic() < deadline, f"the log never said {text!r}:\n{log}"
            time.sleep(0.003)
        return log

    # ---- what is in it
    # -----------------------------------------------------------------------------------------------------------------

    def sql(self, query: str, *, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run statements as the superuser and give the rows of the last one (none for a command)."""
        if database == "postgres" and self._admin is not None:
            return _rows(self._admin, query)
        with self._connect(database) as connection:
            return _rows(connection, query)

    @property
    def administrator(self) -> psycopg.Connection[Any]:
        """The superuser's connection from before any install."""
        assert self._admin is not None
        return self._admin

    def _connect(self, database: str) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=self.sockets, port=self.port, user="postgres", dbname=database, autocommit=True, gssencmode="disable"
        )

    def populate(self, roles: Iterable[str] = (), databases: Iterable[str] = (), password: str = "") -> None:
        """Create login roles, each with ``password`` (none if empty), and databases.

        What exists already is left as it is.
        """
        known = {name for (name,) in self.sql("select rolname from pg_roles union select datname from pg_database")}
        secret = syntax.SQL(" password {}").format(password) if password else syntax.SQL("")
        create = [
            syntax.SQL("create role {} login").format(syntax.Identifier(role)) + secret
            for role in roles
            if role not in known
        ]
        create += [
            syntax.SQL("create database {}").format(syntax.Identifier(name)) for name in databases if name not in known
        ]
        for statement in create:
            self.sql(statement.as_string(self._admin))

    def show(self, setting: str) -> str:
        """Return a setting as it is in force."""
        return str(self.sql(f"show {setting}")[0][0])

    def hba_errors(self) -> list[tuple[Any, ...]]:
        """Return the lines of pg_hba.conf, as it lies there now, that the server cannot read.

        (line number, error, type).
        """
        return self.sql(
            "select line_number, error, type from pg_hba_file_rules where error is not null or type is null"
        )

    # ---- its files ---------------------------------------------------------------------------------------------------
    # ------------------

    def write(self, name: str, content: str | bytes, mode: int = 0o600) -> Path:
        """Put a file into its data directory."""
        path = self.data / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        give(path, server_account())
        return path

    def configure(self, **settings: str) -> None:
        """Append settings to postgresql.conf."""
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {quoted(value)}\n" for name, value in settings.items())

    def place(self, compiled: Path, directory: Path | None = None) -> None:
        """Copy the compiled files of a server to where they belong, with their modes, and include its settings last.

        ``directory`` is the one of the spec, where it names one; without it the files go into the data directory.
        """
        target = directory or self.data
        target.mkdir(parents=True, exist_ok=True)
        for source in sorted(compiled.rglob("*")):
            path = target / source.relative_to(compiled)
            if source.is_dir():
                path.mkdir(exist_ok=True)
            else:
                shutil.copyfile(source, path)
            path.chmod(stat.S_IMODE(source.stat().st_mode))
            give(path, server_account())
        self.include(target / "pgtls.conf" if directory else Path("pgtls.conf"))

    def include(self, path: str | Path) -> None:
        """Make the server read a file after its own postgresql.conf."""
        line = f"include {quoted(str(path))}\n"
        conf = self.data / "postgresql.conf"
        if line not in conf.read_text():
            with conf.open("a") as file:
                file.write(line)

    def install(self, compiled: Path, directory: Path | None = None) -> str:
        """:meth:`place` the compiled files and reload; give what the server logged.

        Raises ServerError where it does not take them.
        """
        self.place(compiled, directory)
        return self.reload()


def _rows(connection: psycopg.Connection[Any], query: str) -> list[tuple[Any, ...]]:
    cursor = connection.execute(query.encode())
    return [] if cursor.description is None else cursor.fetchall()


@cache
def loopback() -> tuple[str, ...]:
    """Return the loopback addresses of this machine: a container may have no IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return ("127.0.0.1",)
    return "127.0.0.1", "::1"


def free_port() -> int:
    """Draw a port that nobody listens on, below those that the system gives to clients.

    A server that finds it taken draws again.
    """
    while True:
        port = random.randrange(15000, 32000)  # noqa: S311
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _remember(installation: Installation) -> None:
    """Note that this version ran, for the summary of the session."""
    ran = scratch() / "ran"
    ran.mkdir(exist_ok=True)
    (ran / installation.label).touch()


def versions_run() -> tuple[str, ...]:
    """Every version of which this session started a server, all workers together."""
    return tuple(sorted(path.name for path in (scratch() / "ran").glob("*")))
