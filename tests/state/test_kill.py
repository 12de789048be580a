"""A build killed at any of its writes: the next build has all of it or nothing, and keys match their certificates."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgtls.pki import encryption
from support.building import NOW, SMALL, Place
from support.interrupting import Interrupted
from support.servers import PATIENCE
from support.system import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Sequence

PHRASE = "correct horse"

# Creates, replaces, deletes and revokes: everything that a build can do to a tree.
CHANGED = SMALL.replace("[user.app]", "[user.etl]").replace('"app"', '"etl"').replace('"10.0.0.5"', '"10.0.0.6"')
SOURCE = 'passphrase = { env = "PHRASE" }'
GUARDED = SMALL.replace("[user.app]\n", f"[user.app]\n{SOURCE}\n").replace("[ca.root]\n", f"[ca.root]\n{SOURCE}\n")
ALONE = SMALL.replace('ca = "root"\nclient_ca', 'ca = "self-signed"\nclient_ca').replace("[ca.root]\n", "")

CASES = {
    "a first one": (None, SMALL, timedelta(0)),
    "one that creates, replaces, deletes and revokes": (SMALL, CHANGED, timedelta(0)),
    "one that encrypts keys": (SMALL, GUARDED, timedelta(0)),
    "one that makes the next certificate of a self-signed server": (ALONE, ALONE, timedelta(days=2600)),
}


@pytest.mark.parametrize(("before", "after", "later"), CASES.values(), ids=CASES)
def test_a_build_that_is_killed_at_any_write_is_done_or_undone(
    before: str | None, after: str, later: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHRASE", PHRASE)
    monkeypatch.setattr(encryption, "ROUNDS", 1000)  # each of a hundred builds encrypts keys

    def prepare(place: Place) -> None:
        if before is not None:
            place.build(before)
        place.write(after)

    build = Interrupted(prepare, lambda place: place.build(now=NOW + later), PHRASE.encode())
    assert set(build.at_each_write()) == {"undone", "decided", "done"}


# Runs while the build holds keys.
KILLS = SMALL.replace(
    "[user.app]\n",
    '[user.app]\npassphrase = { command = ["sh", "-c", "ulimit -Sc > limit; kill -QUIT $PPID; echo x"] }\n',
)


def _died(words: Sequence[str], directory: Path) -> int:
    """Run a program where core files are on; return its status."""

    def allow() -> None:
        most = resource.getrlimit(resource.RLIMIT_CORE)[1]
        assert most, "this machine writes no core files"
        resource.setrlimit(resource.RLIMIT_CORE, (most, most))
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)

    surroundings = ENVIRONMENT | {"HOME": "/nonexistent"}
    return subprocess.run(
        words, check=False, cwd=directory, env=surroundings, preexec_fn=allow, capture_output=True, timeout=PATIENCE
    ).returncode


def test_a_build_that_dies_leaves_no_core_file(tmp_path: Path) -> None:
    (tmp_path / "pgtls.toml").write_text(KILLS)
    words = (sys.executable, "-E", "-m", "pgtls", "build")
    assert _died(words, tmp_path) == -signal.SIGQUIT
    assert list(tmp_path.glob("core*")) == []
    assert (tmp_path / "limit").read_text() == "0\n", "nor does a program of the spec, which gets secrets"
    assert _died(("sh", "-c", "kill -QUIT $$"), tmp_path) == -signal.SIGQUIT
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    if pattern.startswith("core"):  # elsewhere, a program of the machine takes them
        assert list(tmp_path.glob("core*")), "another program would leave one"
