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
from importlib.resources import files
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
cd "$2"
while [ "$1" != -C ]; do given=$1 && shift; done
case $given in "$2="*) echo "${given#*=}" && exit ;; esac
! [ "$2" = ssl_cert_file -a -e killing ] || { rm killing && kill -9 0; }
case $2 in
hba_file) echo "$PWD/pg_hba.conf" ;;
ident_file) echo "$PWD/pg_ident.conf" ;;
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
# As much of the DER as the script reads: algorithms, an issuer and a date, which are empty, and a signature.
CRL = "-----BEGIN X509 CRL-----\nMA0wBjAAMAAXADAAAwE{}\n-----END X509 CRL-----\n"
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
        return {
            path.name
            for path in self.work.iterdir()
            if not path.name.startswith((".", "lock.", "in-force", "loaded", "left"))
        }

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
        """Bring a copy back, into the same directory: it is where the stub runs."""
        for path in self.data.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        subprocess.run(["cp", "-a", f"{original}/.", self.data], check=True)

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
        stdout=subprocess.PIPE, text=True, start_new_session=True, cwd=stub.data,
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
        assert stub.kept - {"new", "next"} == {"previous"}
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


def killed_after_the_swap(stub: Stub, note: str = "swap new\n") -> None:
    (stub.data / "killing").touch()
    assert stub.run(2).status != 0
    assert (stub.installed, stub.note, stub.starts()) == ("2", note, True)


def test_where_the_server_rejects_the_set_after_a_killed_run_the_one_from_before_both_is_back(stub: Stub) -> None:
    stub.run(1).done()
    killed_after_the_swap(stub)
    shutil.copy(stub.data / "server.crt", stub.data / "rejecting")
    stub.run(2).refused("the server would use ssl = 'off'; the previous set is back")
    assert (stub.installed, stub.has_read(1), stub.note) == ("1", True, "")
    stub.run(1).done()


def test_a_run_that_is_killed_after_a_killed_one_leaves_a_server_that_starts(stub: Stub) -> None:
    stub.run(1).done()
    killed_after_the_swap(stub)
    for note in ("swap next\n", "swap new\n"):
        killed_after_the_swap(stub, note)
    stub.run(2).done()
    assert (stub.installed, stub.has_read(2), stub.kept) == ("2", True, {"previous"})
    assert (stub.work / "previous" / "server.crt").read_text() == CERTIFICATE.format(1)


def test_a_rollback_after_a_killed_install_goes_back_to_what_that_was_replacing(stub: Stub) -> None:
    stub.run(1).done()
    killed_after_the_swap(stub)
    assert "the previous set is in place" in stub.run(2, "--rollback").done()
    assert (stub.installed, stub.has_read(1), stub.note) == ("1", True, "")
    assert CRL.format(2) in (stub.data / "root.crl").read_text()


def test_a_set_that_a_killed_run_did_not_put_in_force_never_comes_into_force(stub: Stub) -> None:
    stub.run(1).done()
    script = stub.home / "set2" / "install.sh"
    killing = script.read_text().replace("take() {\n", "take() {\n    kill -9 0\n")
    assert "kill -9 0" in killing
    script.write_text(killing)
    assert stub.run(2).status != 0
    assert (stub.installed, stub.note) == ("1", "swap new\n")
    (stub.data / "loaded").unlink()
    crl = stub.home / "set1" / "root.crl"
    whole = crl.read_text()
    crl.write_text("")
    stub.run(1).refused("root.crl is empty")
    assert (stub.installed, (stub.data / "loaded").exists()) == ("1", False)
    crl.write_text(whole)
    said = stub.run(1).done()
    assert (stub.installed, stub.has_read(1), said.count("reloaded (")) == ("1", True, 1)


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


SESSION = """
set -eu
owner=x group= work=/nowhere
doubtful() { false; }
by_root() { false; }
as_owner() { setsid "$@"; }
"""
"""What ``put`` asks. The owner's program is in a session of its own, as ``su`` or ``runuser`` may make one."""


@pytest.mark.parametrize("ended", ["INT", "TERM", "HUP", None], ids=str)
def test_a_signal_to_the_script_leaves_no_file_cut_off(tmp_path: Path, ended: str | None) -> None:
    """It ends what writes into a pipe, and not the program of the owner, which reads the other end."""
    _, _, rest = (files("pgtls.templates") / "server/install.sh.j2").read_text().partition("\nput() {")
    functions, _, _ = rest.partition("\n# make_directory ")
    target, text = tmp_path / "postgresql.conf", "port = 5433\n\nssl = on\n\n\n"
    target.write_text("port = 5432\n")
    started = 'for _ in 1 2 3 4 5 6 7 8 9; do ls "${1%/*}"/.pgtls.* >/dev/null 2>&1 && break; sleep 0.1; done'
    writer = f"printf 'port = 54'; {started}; kill -{ended} 0; sleep 1" if ended else 'printf "%s" "$2"'
    script = f'{SESSION}put() {{{functions}\n{{ {writer}; }} | put /dev/stdin "$1" 0600\n'
    run = subprocess.run(
        ["sh", "-c", script, "sh", str(target), text],
        capture_output=True, text=True, check=False, timeout=PATIENCE, start_new_session=True,
    )  # fmt: skip
    assert (run.returncode == 0) == (ended is None), run.stderr
    assert target.read_text() == ("port = 5432\n" if ended else text)
    assert [path.name for path in tmp_path.iterdir()] == ["postgresql.conf"]
