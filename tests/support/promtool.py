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
            for words in (("apt-get", "download", "--quiet", "prometheus"), ("sh", "-c", "dpkg -x prometheus_*.deb .")):
                run = _run(words, directory)
                if run is None or run.returncode != 0:
                    pytest.skip("unavailable: promtool is not on this machine, and apt-get cannot download it")
    return binary


def _run(words: tuple[str, ...], directory: Path) -> subprocess.CompletedProcess[bytes] | None:
    if shutil.which(words[0]) is None:
        return None
    return subprocess.run(words, cwd=directory, check=False, capture_output=True, timeout=30 * PATIENCE)
