"""Find the PostgreSQL servers that are installed on this machine, and choose one to try a spec on."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.postgres.releases import NEWEST, OLDEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

PLACES = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # Red Hat, SUSE: the packages of postgresql.org
    "/usr/libexec/postgresql*",  # Alpine
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)
"""Directories of server programs outside of PATH."""

_GET_ONE = (
    "install one, e.g. apt install postgresql, dnf install postgresql-server or brew install postgresql@17; "
    "or name the directory of its programs with --bindir"
)
_VERSION = re.compile(r"\(PostgreSQL\) (?P<release>(?P<major>\d+)\S*)")
_PATIENCE = 30


@dataclass(frozen=True, slots=True)
class Installation:
    """The programs of one PostgreSQL server."""

    major: int
    release: str
    bin: Path

    @property
    def psql(self) -> Path | None:
        """Its own psql, if it has one."""
        program = self.bin / "psql"
        return program if os.access(program, os.X_OK) else None


def installations(bindir: str | None = None) -> tuple[Installation, ...]:
    """Find the servers of this machine, or the one in ``bindir``. Raise Rejected with PGT600 if there is none."""
    if bindir is not None:
        return (_named(Path(bindir).absolute()),)
    found = tuple(one for one in _all() if OLDEST <= one.major <= NEWEST)
    if not found:
        raise Rejected(Diagnostic("PGT600", "there is no PostgreSQL server on this machine", hint=_GET_ONE))
    return found


def nearest(found: Sequence[Installation], wanted: int) -> Installation:
    """Return the server of that major version, or the nearest one. Of two equally near ones, return the newer."""
    return min(found, key=lambda one: (abs(one.major - wanted), -one.major))


def client(server: Installation, found: Iterable[Installation]) -> Path:
    """Return a psql: the server's own, else the newest of the others, else that on PATH. Raise Rejected (PGT601)."""
    others = () if server.psql else (*found, *_all())
    programs = [one.psql for one in sorted(others, key=lambda one: -one.major)]
    for program in (server.psql, *programs, *(Path(path, "psql") for path in os.get_exec_path())):
        if program is not None and os.access(program, os.X_OK):
            return program
    hint = "install one, e.g. apt install postgresql-client, dnf install postgresql or brew install libpq"
    raise Rejected(Diagnostic("PGT601", "there is no psql on this machine", hint=hint))


def libpq(psql: Path) -> int:
    """Return the major version of a psql, which is also that of its libpq. Raise Rejected (PGT601)."""
    try:
        said = subprocess.run([str(psql), "--version"], check=True, capture_output=True, text=True, timeout=_PATIENCE)  # noqa: S603
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError) as error:
        message = f"{psql} --version fails ({error})"
        raise Rejected(Diagnostic("PGT601", message, hint="name other programs with --bindir")) from None
    version = _VERSION.search(said.stdout)
    return int(version["major"]) if version else OLDEST


def _all() -> tuple[Installation, ...]:
    known = {one.bin: one for one in map(_installation, _directories()) if isinstance(one, Installation)}
    return tuple(known.values())


def _directories() -> Iterator[Path]:
    yield from (Path(path) for path in os.get_exec_path() if path)
    for place in PLACES:
        yield from map(Path, sorted(glob(place)))


def _named(directory: Path) -> Installation:
    found = _installation(directory)
    if isinstance(found, str):
        hint = "name the directory that has initdb and postgres, e.g. /usr/lib/postgresql/17/bin"
        raise Rejected(Diagnostic("PGT600", f'"{directory}" has no PostgreSQL server: {found}', hint=hint))
    if not OLDEST <= found.major <= NEWEST:
        message = f'"{directory}" has PostgreSQL {found.release}, which pgtls does not know'
        hint = f"name one of version {OLDEST} to {NEWEST}"
        raise Rejected(Diagnostic("PGT600", message, hint=hint))
    return found


def _installation(directory: Path) -> Installation | str:
    """Return the server in a directory after following links, or why there is none."""
    for program in ("initdb", "postgres"):
        if not os.access(directory / program, os.X_OK):
            return f"there is no program {program}"
    try:
        words = [str(directory / "postgres"), "--version"]
        said = subprocess.run(words, check=True, capture_output=True, text=True, timeout=_PATIENCE).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError) as error:
        return f"postgres --version fails ({error})"
    version = _VERSION.search(said)
    if version is None:
        return "its version is unknown"
    real = (directory / "postgres").resolve().parent
    whole = os.access(real / "initdb", os.X_OK)
    return Installation(int(version["major"]), version["release"], real if whole else directory)
