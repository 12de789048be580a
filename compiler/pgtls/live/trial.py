"""Run ``try``: install the compiled files on a throwaway server, make every attempt, and record the outcome."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Literal, Self

from pgtls.access.bundles import REPLICATION
from pgtls.access.question import cluster_named
from pgtls.diagnostics import Diagnostic
from pgtls.hba.model import Keyword, Name
from pgtls.hba.parse import parse_hba
from pgtls.live import clusters
from pgtls.live.attempts import Attempts, Source
from pgtls.live.impostor import BELIEVED, Impostor
from pgtls.live.private import STRANGER, compiled
from pgtls.live.throwaway import Role, Throwaway, drawn
from pgtls.output.connection_strings import key_value
from pgtls.postgres.releases import NEWEST
from pgtls.stages import no_progress
from pgtls.state import layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from pgtls.api import Spec
    from pgtls.fleet.model import Server
    from pgtls.live.attempts import Attempt
    from pgtls.live.clusters import Installation
    from pgtls.live.private import Private
    from pgtls.stages import Progress

Outcome = Literal["admitted", "refused", "failed", "not tried"]

_AT_ONCE = 4
_PATIENCE = 60
_TURN = 0.2
_PASSWORDS, _WRONG = "passwords", "wrong-passwords"
_WHO, _REPLICATION = "select current_user", "IDENTIFY_SYSTEM"
_LET_IN = re.compile(
    r'(database|role) ".*" does not exist|permission denied for database|replication role|to start WAL sender|'
    + BELIEVED
)
"""A text that only an admitted client can read."""
_NOT_OPTION = re.compile(r'invalid connection option "([^"]+)"|invalid (\w+) value')
_FAILURE = re.compile(
    r"could not connect|Connection refused|timeout expired|too many clients|starting up|shutting down"
)
_HEAD = re.compile(r"^(psql: )?(error: )?(connection to server (at|on socket) .*?failed: )?((FATAL|ERROR): +)?")


@dataclass(frozen=True, slots=True)
class Row:
    """An attempt and its outcome. ``psql`` is the equivalent command line; it contains no password."""

    attempt: Attempt
    outcome: Outcome
    text: str
    psql: str

    @property
    def agrees(self) -> bool:
        """Whether the outcome and its reason match the policies. An attempt that was not made matches."""
        if self.outcome == "not tried":
            return True
        if self.attempt.expected == "admit":
            return self.outcome == "admitted"
        return self.outcome == "refused" and bool(re.search(self.attempt.reason, self.text))


@dataclass(frozen=True, slots=True)
class Trial:
    """The trial of one server of the spec. ``wanted`` is the version in the spec."""

    server: str
    wanted: int
    installation: Installation
    rows: tuple[Row, ...]

    @property
    def different(self) -> tuple[Row, ...]:
        """The attempts whose outcome does not match the policies."""
        return tuple(row for row in self.rows if not row.agrees)


def tried(
    spec: Spec,
    directory: Path,
    server: str | None = None,
    bindir: str | None = None,
    keep: Callable[[Trial], None] | None = None,
    progress: Progress | None = None,
) -> Iterator[Trial]:
    """Try the servers of a spec, or one of them, in a private directory. Raise Rejected for a spec with errors.

    Call ``keep`` while the server of a trial still runs.
    """
    fleet = spec.usable().fleet
    names = list(fleet.clusters) if server is None else [cluster_named(fleet, server).name]
    found = clusters.installations(bindir)
    chosen = {name: clusters.nearest(found, one.table.postgres) for name, one in fleet.clusters.items()}
    clients = {one: clusters.client(one, found) for one in {chosen[name] for name in names}}
    with ExitStack() as stack:
        versions = list(dict.fromkeys(chosen[name] for name in names))
        made: dict[Installation, Throwaway] = {}
        for number, one in enumerate(versions):
            made[one] = Throwaway(one, directory / f"server{number or ''}")
            stack.callback(made[one].stop)
            made[one].begin()
        libpq = min(map(clusters.libpq, set(clients.values())), default=NEWEST)
        majors = {name: one.major for name, one in chosen.items()}
        private = compiled(fleet.source, majors, libpq, directory, spec.now)
        plans = {name: _plan(private, private.fleet.servers[name]) for name in names}
        _populate(private, plans, tuple(made.values()))
        for name in names:
            one = chosen[name]
            with _Run(private, private.fleet.servers[name], made[one], clients[one], plans[name]) as run:
                trial = Trial(name, fleet.servers[name].table.postgres, one, tuple(run.rows(progress or no_progress)))
                if keep is not None:
                    run.return_to_loopback()
                    keep(trial)
            yield trial


def differences(trials: Sequence[Trial]) -> tuple[Diagnostic, ...]:
    """Report each server on which an outcome did not match the policies."""
    return tuple(
        Diagnostic(
            "PGT604",
            f'server "{trial.server}": {len(trial.different)} of {len(trial.rows)} connections ended otherwise '
            "than the policies say",
            hint="the rows that differ are marked; please report it if the spec and the server are not at fault",
        )
        for trial in trials
        if trial.different
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    attempts: Attempts
    listed: tuple[Attempt, ...]


def _plan(private: Private, server: Server) -> _Plan:
    text = (private.server(server) / layout.HBA).read_text(encoding="utf-8")
    attempts = Attempts(private, server, parse_hba(text, server.table.postgres).lines)
    return _Plan(attempts, tuple(attempts.all()))


def _populate(private: Private, plans: Mapping[str, _Plan], made: Sequence[Throwaway]) -> None:
    """Create the roles with random passwords, and the databases, on every cluster."""
    listed = [attempt for plan in plans.values() for attempt in plan.listed]
    policies = private.fleet.policies.values()
    groups: dict[str, tuple[str, ...]] = {}
    for user in private.fleet.users.values():
        for role in user.roles:
            groups[role] = tuple(dict.fromkeys((*groups.get(role, ()), *user.member_of)))
    named = [term.text for policy in policies for term in policy.roles if isinstance(term, Name)]
    replication = any(Keyword.REPLICATION in policy.databases for policy in policies)
    names = dict.fromkeys((*groups, *named, *(attempt.role for attempt in listed)))
    roles = {name: Role(drawn(), groups.get(name, ()), replication) for name in names}
    databases = dict.fromkeys(one.database for one in listed if one.expected == "admit" and one.database != REPLICATION)
    for cluster in made:
        cluster.populate(roles, databases)
    passwords = {name: role.password or "" for name, role in roles.items()}
    _write_passwords(private.directory / _PASSWORDS, passwords)
    _write_passwords(private.directory / _WRONG, dict.fromkeys(passwords, "wrong"))


def _write_passwords(path: Path, passwords: Mapping[str, str]) -> None:
    """Write a libpq password file (PGPASSFILE): not even the environment contains a password."""
    lines = (":".join(("*", "*", "*", _escaped(role), password)) for role, password in passwords.items())
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace(":", "\\:")


class _Run:
    """One server of the spec on its throwaway cluster. Entering the context starts it and its impostors."""

    def __init__(
        self,
        private: Private,
        server: Server,
        cluster: Throwaway,
        psql: Path,
        plan: _Plan,
    ) -> None:
        self._private = private
        self._server = server
        self._cluster = cluster
        self._psql = psql
        self._plan = plan
        self._stack = ExitStack()
        self._ports: dict[str, int] = {}
        self._clients: set[subprocess.Popen[bytes]] = set()
        self._ended = False
        self._first = self._batches[0][0] if self._batches else Source(None)

    @property
    def _batches(self) -> list[tuple[Source, list[Attempt]]]:
        """The attempts by source. The Unix socket shares a pg_hba.conf with loopback: every file contains its lines."""
        loopback = self._plan.attempts.sources[0]
        place = {source: number for number, source in enumerate(self._plan.attempts.sources)} | {Source(None): 0}
        listed = sorted(self._plan.listed, key=lambda attempt: place[attempt.source])
        grouped = groupby(listed, key=lambda attempt: attempt.source if attempt.source.address else loopback)
        return [(source, list(attempts)) for source, attempts in grouped]

    def __enter__(self) -> Self:
        files = self._private.server(self._server)
        self._cluster.install(files, self._plan.attempts.hba(self._first))
        try:
            self._stack.enter_context(self._cluster.running())
            for dial, impostor in self._impostors():
                self._ports[dial] = self._stack.enter_context(impostor).port
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _impostors(self) -> Iterator[tuple[str, Impostor]]:
        stranger, own = self._private.server(self._server, STRANGER), self._private.server(self._server)
        yield "impostor", Impostor(stranger / layout.SERVER_CERTIFICATE, stranger / layout.SERVER_KEY)
        other = self._private.misnamed(self._server)
        if other is not None:
            yield "other host", Impostor(other, own / layout.SERVER_KEY)
        yield "no TLS", Impostor()

    def rows(self, progress: Progress) -> Iterator[Row]:
        """Make every attempt, a few at a time."""
        advance = progress("trying", len(self._plan.listed))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            try:
                for source, attempts in self._batches:
                    mark = len(self._cluster.log())
                    if source != self._first:
                        self._cluster.reload(self._plan.attempts.hba(source))
                    for row in _results([pool.submit(self._row, attempt) for attempt in attempts]):
                        advance(1)
                        yield row
                    self._cluster.complain(mark)
            except BaseException:  # interrupted: do not wait for any client
                pool.shutdown(wait=False, cancel_futures=True)
                self._ended = True
                for client in tuple(self._clients):
                    client.kill()
                raise

    def return_to_loopback(self) -> None:
        """Make the server treat loopback clients as clients of this source."""
        self._cluster.reload(self._plan.attempts.hba(self._plan.attempts.sources[0]))

    def _row(self, attempt: Attempt) -> Row:
        parameters = self._parameters(attempt)
        shown = _line(parameters, attempt)
        if attempt.untried:
            return Row(attempt, "not tried", attempt.untried, shown)
        query = _REPLICATION if attempt.database == REPLICATION else _WHO
        words = [str(self._psql), "-X", "-w", "-A", "-t", "-q", "-c", query, key_value(parameters)]
        with subprocess.Popen(  # noqa: S603
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._private.directory,
            env=self._environment(attempt),
            **(attempt.account.process if attempt.account else {}),
        ) as client:
            self._clients.add(client)
            if self._ended:
                client.kill()
            try:
                _, said = client.communicate(timeout=_PATIENCE)
            except subprocess.TimeoutExpired:
                client.kill()
                return Row(attempt, "failed", f"no answer within {_PATIENCE} seconds", shown)
            finally:
                self._clients.discard(client)
        outcome, text = _result(client.returncode, said.decode(errors="backslashreplace"))
        return Row(attempt, outcome, text, shown)

    def _parameters(self, attempt: Attempt) -> dict[str, str]:
        """Return the parameters with the port to dial. Host names of the spec resolve to loopback."""
        if attempt.dial == "socket":
            return {"host": str(self._cluster.sockets), "port": str(self._cluster.port), **attempt.parameters}
        port = self._ports.get(attempt.dial, self._cluster.port)
        first = {"host": attempt.parameters["host"], "hostaddr": "127.0.0.1", "port": str(port)}
        return {**first, **{key: value for key, value in attempt.parameters.items() if key not in first}}

    def _environment(self, attempt: Attempt) -> dict[str, str]:
        """Return an environment that decides nothing: no PG variable, an empty home."""
        environment = {"PATH": os.defpath, "LC_ALL": "C", "HOME": str(self._private.directory / "nobody")}
        return environment | {"PGCONNECT_TIMEOUT": str(_PATIENCE // 2), "PGPASSFILE": _passfile(attempt)}


def _results(pending: Sequence[Future[Row]]) -> Iterator[Row]:
    """Yield the result of each attempt in turn.

    Each wait is short: CPython notices a signal that arrives just before a wait only after it, and a client can hang.
    """
    for future in pending:
        while not future.done():
            wait((future,), _TURN)
        yield future.result()


def _passfile(attempt: Attempt) -> str:
    return {"right": _PASSWORDS, "wrong": _WRONG, "none": "no-passwords"}[attempt.password]


def _line(parameters: Mapping[str, str], attempt: Attempt) -> str:
    """Write the command line. With a password, it names the file with the random passwords."""
    words = ["psql", key_value(parameters)]
    if attempt.password != "none":  # noqa: S105
        words = ["env", f"PGPASSFILE={_passfile(attempt)}", *words]
    if attempt.account and attempt.account.process:
        words = ["sudo", "-u", attempt.account.name, *words]
    return shlex.join(words)


def _result(status: int, said: str) -> tuple[Outcome, str]:
    lines = (_HEAD.sub("", line).strip() for line in said.splitlines())
    text = "; ".join(dict.fromkeys(line for line in lines if line))
    if status == 0 or _LET_IN.search(text):
        return "admitted", text
    if _NOT_OPTION.search(text):
        return "not tried", f"this psql does not know what the bundle says: {text}"
    return ("failed" if _FAILURE.search(text) else "refused"), text
