"""The program that connects by Rust's drivers, built once: ``python -m support.cargo`` builds it ahead of the tests."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from support.servers import PATIENCE
from support.system import locked

_CRATE = Path(__file__).with_name("drivers") / "rust"


@cache
def rust_drivers() -> Path:
    """Return the program. Skips where there is no cargo."""
    if shutil.which("cargo") is None:
        pytest.skip("unavailable: cargo is not on this machine, and Debian's is too old")
    with locked(_CRATE / "target" / "building"):
        failure = _build()
    assert not failure, f"cargo cannot build {_CRATE}\n{failure}"
    return _CRATE / "target" / "debug" / "drivers"


def _build() -> str:
    """Build it; give what cargo says if it cannot. A registry may hang up; what was downloaded by then is kept."""
    for _ in range(3):
        words = ["cargo", "build", "--quiet", "--locked"]
        run = subprocess.run(words, cwd=_CRATE, check=False, capture_output=True, text=True, timeout=5 * PATIENCE)
        if run.returncode == 0:
            return ""
    return run.stderr


if __name__ == "__main__":
    print(f"cargo: {_build() or 'built'}" if shutil.which("cargo") else "unavailable: cargo")
