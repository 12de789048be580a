"""install.sh of a server, killed before each step of an installation and of a rollback: the next run ends right.

The server is a stub that answers ``postgres -C`` from the files and notes at each SIGHUP what it would have read.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from support.installer import Installed
from support.pgtls import compiled
from support.servers import PATIENCE
from support.system import ENVIRONMENT, give, new_directory, run_as, server_account, until_we_end

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


SPEC = """
version = 1
[ca.root]
[server.main]
ca = "root"
hosts = ["db.example.com"]
postgres = 17
[user.postgres]
[policy.admin]
users = ["postgres"]
from = ["local"]
auth = "peer"
"""

POSTGRES = """#!/bin/sh
asked() { sed -n "s/^$1 = '\\(.*\\)'.*/\\1/p" pgtls.conf; }
[ "$1" != --version ] || { echo "postgres (PostgreSQL) 17.0" && exit; }
cd "$4"
! [ "$2" = ssl_cert_file -a -e killing ] || { rm killing && kill -9 0; }
case $2 in
hba_file) echo "$4/pg_hba.conf" ;;
ident_file) echo "$4/pg_ident.conf" ;;
port) echo 5432 ;;
ssl) if cmp -s rejecting server.crt; then echo off; elif grep -q include postgresql.conf; then asked ssl; fi ;;
ssl_*) if grep -q include postgresql.conf; then asked "$2"; fi ;;
*) echo ;;
esac
"""

RUNNING = """
trap '(cd "$1" && shift && cat "$@" >loaded)' HUP
echo ready
while :; do sleep 60 & wait $!; done
"""

# Only what a later run can see: a file that gets its name, and what is removed.
COUNTED = {"mv": "true", "rm": '[ "$1" = -rf ]'}
COUNTING = """#!/bin/sh
if {counts}; then
    read -r n <"$COUNTER"; n=$((n + 1)); echo "$n" >"$COUNTER"
    [ "$n" -ne "$KILL_AT" ] || kill -9 0
fi
exec {real} "$@"
"""

FILES = ("server.crt", "server.key", "pg_hba.conf", "pg_ident.conf", "root.crl")
CRL = "-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n"
CERTIFICATE = "server.crt {}\n-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@dataclass(frozen=True, slots=True)
class Stub:
    """A data directory, and the sets of two builds."""

    home: Path
    running: subprocess.Popen[str] | None = None

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def work(self) -> Path:
        return self.data / ".pgtls-install"

    @property
    def note(self) -> str:
        path = self.work / "unfinished"
        return path.read_text() if path.exists() else ""

    @property
    def kept(self) -> set[str]:
        """The sets, and the note of what is left to do."""
        return {path.name for path in self.work.iterdir() if not path.name.startswith((".", "lock.", "in-force"))}

    @property
    def installed(self) -> str:
        """The number of the set in place, or both."""
        return "".join(sorted({(self.data / name).read_text().split()[1] for name in FILES if name != "root.crl"}))

    def run(self, files: int, *options: str, kill_at: int = 0, path: str = "") -> Installed:
        counter = self.home / "counter"
        counter.write_text("0\n")
        give(counter, server_account())
        surroundings = {"COUNTER": str(counter), "KILL_AT": str(kill_at)}
        words = (
            str(self.home / f"set{files}" / "install.sh"),
            "--data",
            str(self.data),
            "--bindir",
            f"{self.home}/bin",
        )
        run = subprocess.run(
            [*run_as(server_account()), "sh", *words, *options],
            env=ENVIRONMENT | surroundings | {"PATH": f"{path or self.home / 'bin'}:{ENVIRONMENT['PATH']}"},
            check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd="/", timeout=PATIENCE,
            start_new_session=True,
        )  # fmt: skip
        return Installed(run.returncode, run.stdout, run.stderr)

    def reset(self, original: Path) -> None:
        shutil.rmtree(self.data)
        subprocess.run(["cp", "-a", original, self.data], check=True)

    def copy(self, name: str) -> Path:
        subprocess.run(["cp", "-a", self.data, self.home / name], check=True)
        return self.home / name

    def has_read(self, files: int) -> bool:
        """Wait until the stub has read a set; a signal takes its time."""
        wanted = f"{CERTIFICATE.format(files)}server.key {files}\n# {files}\n# {files}\n"
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            loaded = self.data / "loaded"
            if loaded.exists() and loaded.read_text().startswith(wanted):
                return True
            time.sleep(0.01)
        return False

    def starts(self) -> bool:
        """Whether the settings name a certificate and a key that belong together."""
        settings = (self.data / "pgtls.conf").read_text()
        names = [settings.partition(f"ssl_{name}_file = '")[2].partition("'")[0] for name in ("cert", "key")]
        certificate, key = ((self.data / name).read_text().split()[1] for name in names)
        return certificate == key


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    """A server that runs, and nothing installed."""
    stub = Stub(new_directory("stub"))
    files = compiled(SPEC, tmp_path) / "servers" / "main"
    (stub.home / "bin").mkdir()
    program(stub.home / "bin" / "postgres", POSTGRES)
    program(stub.home / "bin" / "psql", "#!/bin/sh\nexit 2\n")
    program(stub.home / "bin" / "openssl", "#!/bin/sh\necho the same\n")
    for name, counts in COUNTED.items():
        program(stub.home / "bin" / name, COUNTING.format(counts=counts, real=shutil.which(name)))
    for number in (1, 2):
        shutil.copytree(files, stub.home / f"set{number}")
        texts = (CERTIFICATE.format(number), f"server.key {number}\n", *[f"# {number}\n"] * 2, CRL.format(number))
        for name, text in zip(FILES, texts, strict=True):
            (stub.home / f"set{number}" / name).write_text(text)
    stub.data.mkdir(mode=0o700)
    for name, text in (
        ("PG_VERSION", "17\n"),
        ("postgresql.conf", ""),
        ("pg_hba.conf", "# 0\n"),
        ("pg_ident.conf", "# 0\n"),
    ):
        (stub.data / name).write_text(text)
    for path in (stub.home, *stub.home.rglob("*")):
        give(path, server_account())
    with subprocess.Popen(
        [*run_as(server_account()), *until_we_end(), "sh", "-c", RUNNING, "sh", stub.data, *FILES],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as running:  # fmt: skip
        assert running.stdout
        running.stdout.readline()
        (stub.data / "postmaster.pid").write_text(f"{running.pid}\n\n1\n")
        give(stub.data / "postmaster.pid", server_account())
        yield Stub(stub.home, running)
        os.killpg(running.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("options", "before", "after"), [((), 1, 2), (("--rollback",), 2, 1)], ids=["install", "rollback"]
)
def test_killed_before_any_step_the_next_run_ends_right(
    options: tuple[str, ...], before: int, after: int, stub: Stub
) -> None:
    stub.run(1).done()
    if options:
        stub.run(2).done()
    original = stub.copy("original")
    step, notes = 0, set[str]()
    while True:
        step += 1 if notes - {""} else 6  # before the note, nothing is replaced
        killed = stub.run(2, *options, kill_at=step)
        notes.add(stub.note)
        assert stub.starts()
        if killed.status == 0:
            break
        if stub.note or stub.installed != str(after):
            stub.run(2, *options).done()
        assert (stub.installed, stub.has_read(after)) == (str(after), True), (step, notes)
        assert stub.kept - {"new"} == {"previous"}
        assert (stub.work / "previous" / "server.crt").read_text() == CERTIFICATE.format(before)
        assert CRL.format(2) in (stub.data / "root.crl").read_text()
        stub.reset(original)
    assert {note.split()[0] for note in notes if note} == {"swap", "keep"}


def test_a_set_that_no_run_has_seen_the_server_read_is_read_in_the_next(stub: Stub) -> None:
    stub.run(1).done()
    assert "not reloaded" in stub.run(2, "--no-reload").done()
    assert "nothing to do" in stub.run(2, "--no-reload").done()
    assert (stub.installed, stub.has_read(1)) == ("2", True)
    assert "would reload the server" in stub.run(2, "--dry-run").done()
    assert "reloaded" in stub.run(2).done()
    assert stub.has_read(2)
    assert "nothing to do" in (said := stub.run(2).done())
    assert "reloaded" not in said


def test_a_set_that_a_killed_run_left_and_the_server_rejects_goes_back(stub: Stub) -> None:
    stub.run(1).done()
    (stub.data / "killing").touch()
    assert stub.run(2).status != 0
    assert (stub.installed, stub.note) == ("2", "swap new\n")
    shutil.copy(stub.data / "server.crt", stub.data / "rejecting")
    run = stub.run(1)
    assert "ssl would be off" in run.stderr
    assert "the set that it replaced is back" in run.stderr
    assert (run.status, stub.installed, stub.has_read(1), stub.note) == (0, "1", True, "")


def test_a_run_sees_one_of_another_account_and_none_that_has_ended(stub: Stub) -> None:
    stub.run(1).done()
    ended = subprocess.Popen(["true"])
    lock = stub.work / f"lock.{ended.pid}"
    lock.touch()
    give(lock, server_account())
    running = stub.work / f"lock.{os.getpid()}"
    running.touch()
    stub.run(2).refused(f"another run (process {os.getpid()}) is installing into")
    running.unlink()
    stub.run(2).done()  # the other one is a zombie
    ended.wait()
    assert not lock.exists()


MEETING = """#!/bin/sh
case $* in
*/lock*)
    {real} "$@"
    touch "{place}/$PPID"
    turn=0  # a slow one may find the lock of the other, and never come here
    until [ "$(ls {place} | wc -l)" -ge 2 ] || [ "$turn" -ge 200 ]; do sleep 0.05 && turn=$((turn + 1)); done
    ;;
*) exec {real} "$@" ;;
esac
"""


def test_of_two_runs_that_start_together_one_installs(stub: Stub) -> None:
    place = stub.home / "place"
    place.mkdir()
    other = stub.home / "meeting"
    shutil.copytree(stub.home / "bin", other)
    program(other / "mv", MEETING.format(real=shutil.which("mv"), place=place))
    for path in (place, *other.iterdir()):
        give(path, server_account())
    with ThreadPoolExecutor() as pool:
        runs = list(pool.map(lambda files: stub.run(files, path=str(other)), (1, 2)))
    (loser,) = [run for run in runs if run.status]
    loser.refused("another run (process ")
    winner = 1 if runs[0].status == 0 else 2
    assert (stub.installed, stub.has_read(winner), stub.kept) == (str(winner), True, {"previous"})
