"""Every OpenSSL of this machine, asked what it makes of cipher strings and groups.

1.1 came with npm's servers, the newest with Debian's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from support.servers import versions


@dataclass(frozen=True, slots=True)
class OpenSSL:
    """A libssl with its libcrypto, and the words that start a Python which can load them."""

    version: str
    python: tuple[str, ...]
    libraries: tuple[Path, Path]
    path: str = ""

    def ask(self, **questions: list[str]) -> dict[str, dict[str, Any]]:
        """Return answers by function of :mod:`support.openssl_client` and by text."""
        script = str(Path(__file__).with_name("openssl_client.py"))
        asked = subprocess.run(
            [*self.python, "-IS", script, *map(str, self.libraries)],
            input=json.dumps(questions),
            capture_output=True,
            text=True,
            check=True,
            env={"LD_LIBRARY_PATH": self.path} if self.path else {},
        )
        answers: dict[str, dict[str, Any]] = json.loads(asked.stdout)
        return answers


@cache
def installed() -> tuple[OpenSSL, ...]:
    """Return the OpenSSL of every server, the oldest first; that of the system is where its programs find it."""
    found = {}
    for installation in versions():
        lib = installation.lib or next(Path("/usr/lib").glob("*/libssl.so.[13]*")).parent
        path = str(lib) if installation.builder == "npm" else ""
        python = installation.python if installation.root else (sys.executable,)
        libraries = _library(lib, "ssl"), _library(lib, "crypto")
        found[installation.openssl] = OpenSSL(installation.openssl, python, libraries, path)
    return tuple(found[version] for version in sorted(found, key=lambda text: [*map(int, text.split("."))]))


def _library(directory: Path, name: str) -> Path:
    return next(iter(sorted(directory.glob(f"lib{name}.so.[13]*"))))
