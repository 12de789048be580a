"""Prometheus's own checker."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from support.servers import PATIENCE
from support.system import locked, scratch


@cache
def promtool() -> Path:
    """Find promtool, or take it out of Debian's package without installing that: it would start a server."""
    if found := shutil.which("promtool"):
        return Path(found)
    directory = scratch() / "prometheus"
    binary = directory / "usr/bin/promtool"
    with locked(directory):
        if not binary.exists():
            directory.mkdir(exist_ok=True)
            download = ("apt-get", "-o", "Acquire::Retries=3", "download", "--quiet", "prometheus")
            for words in (download, ("sh", "-c", "dpkg -x prometheus_*.deb .")):
                run = _run(words, directory)
                if run is None or run.returncode != 0:
                    why = run.stderr.strip().replace("\n", "; ") if run else f"there is no {words[0]}"
                    pytest.skip(f"unavailable: promtool is not on this machine, and apt-get cannot download it: {why}")
    return binary


def _run(words: tuple[str, ...], directory: Path) -> subprocess.CompletedProcess[str] | None:
    if shutil.which(words[0]) is None:
        return None
    return subprocess.run(words, cwd=directory, check=False, capture_output=True, text=True, timeout=10 * PATIENCE)
