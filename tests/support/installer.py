"""Runs the installer of a server's files, as its administrator would."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.servers import PATIENCE
from support.system import ENVIRONMENT, run_as

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from support.servers import Server
    from support.system import Account


def absent_while_checked(path: Path) -> tuple[str, ...]:
    """Return a shell in which something is away whenever an ``install.sh`` looks at a way, and there otherwise.

    Another account that can rename it, and is fast enough, does the same.
    """
    away = path.with_name(f".{path.name}.away")
    move = 'if [ -e "{0}" ] || [ -h "{0}" ]; then mv -T "{0}" "{1}" 2>/dev/null || :; fi'
    code = f"""
        set -o functrace
        trap 'case " ${{FUNCNAME[*]-}} " in
            *" check_"*) {move.format(path, away)} ;;
            *) {move.format(away, path)} ;;
        esac' DEBUG
        . "$0"
    """
    return ("bash", "--posix", "-c", code)


@dataclass(frozen=True, slots=True)
class Installed:
    """How a run of the installer ended."""

    status: int
    stdout: str
    stderr: str

    def done(self) -> str:
        """Return what it printed; it must have ended well."""
        assert self.status == 0, f"install.sh exited with {self.status}\n{self.stdout}{self.stderr}"
        return self.stdout

    def refused(self, reason: str) -> str:
        """Return what it complained about, which must hold ``reason``."""
        assert self.status == 1, f"install.sh exited with {self.status}\n{self.stdout}{self.stderr}"
        assert reason in self.stderr, self.stderr
        return self.stderr


def install(
    files: Path,
    server: Server,
    *options: str,
    shell: tuple[str, ...] = ("sh",),
    account: Account | None = None,
    environment: Mapping[str, str] | None = None,
) -> Installed:
    """Run ``install.sh`` of compiled files on a server's cluster: as we are, or as ``account``."""
    where = ("--data", str(server.data), "--bindir", str(server.installation.bin))
    words = [*run_as(account), *shell, str(files / "install.sh"), *where, *options]
    run = subprocess.run(
        words,
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**ENVIRONMENT, **(environment or {})},
        cwd="/",
        timeout=PATIENCE,
        start_new_session=True,
    )
    return Installed(run.returncode, run.stdout, run.stderr)
