"""pgAdmin 4 in an environment of its own: ``python -m support.pgadmin`` installs it ahead of the tests."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.pgtls import ROOT
from support.servers import PATIENCE
from support.system import ENVIRONMENT, locked

if TYPE_CHECKING:
    from collections.abc import Mapping

_RELEASE = "pgadmin4==9.18"
_DIRECTORY = ROOT / "build" / "pgadmin"
_PROGRAM = Path(__file__).with_name("drivers") / "pgadmin.py"


@cache
def _python() -> Path:
    """Return the Python of pgAdmin's environment, 500 MB, which this makes once."""
    python = _DIRECTORY / "bin" / "python"
    uv = Path(sys.executable).with_name("uv")
    with locked(_DIRECTORY):
        if not (_DIRECTORY / "complete").exists():
            for words in (f"venv --clear {_DIRECTORY}", f"pip install -p {python} {_RELEASE}"):
                subprocess.run([uv, "-q", "--system-certs", *words.split()], check=True, timeout=10 * PATIENCE)
            (_DIRECTORY / "complete").touch()
    return python


def imported(servers: Path, home: Path, where: Mapping[str, str]) -> dict[str, Any]:
    """Import ``servers`` into a new pgAdmin of the person with this home, and connect to each: its answers, by name.

    ``where`` is the real place of all of them.
    """
    python = _python()
    (package,) = _DIRECTORY.glob("lib/python3*/site-packages/pgadmin4")
    words = [f"{key}={value}" for key, value in where.items()]
    run = subprocess.run(
        [python, _PROGRAM, package, servers, *words], env={**ENVIRONMENT, "HOME": str(home)}, check=False,
        capture_output=True, text=True, timeout=5 * PATIENCE,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert f"{len(found['answers'])} Server(s)" in found["said"], found
    return dict(found["answers"])


if __name__ == "__main__":
    _python()
