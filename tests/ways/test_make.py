"""The Makefiles of the examples, run by GNU make."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support.pgtls import ROOT
from support.servers import PATIENCE
from support.system import ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path

NOW = "2026-01-01T00:00:00Z"
DUE = "2026-02-15T00:00:00Z"
"""In the renewal window of the primary, whose certificate lives 60 days, and of nothing else."""
PGTLS = f"{sys.executable} -E -m pgtls"
DEPLOY = """#!/bin/sh
echo "asked $1"
diff -r "$2" "there/$1" >/dev/null 2>&1 && exit
echo "deploy $1"
test -s "$2/server.crt" && mkdir -p there && rm -rf "there/$1" && cp -r "$2" "there/$1"
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A copy of the examples with a deploy script that says where it changed something, as install.sh does."""
    directory = tmp_path / "make"
    shutil.copytree(ROOT / "examples" / "make", directory)
    (directory / "deploy").write_text(DEPLOY)
    return directory


def make(directory: Path, *arguments: str, now: str = NOW, status: int = 0, says: str = "") -> list[str]:
    """Run make, which must end so and say this on stderr; give the lines that it printed."""
    surroundings = ENVIRONMENT | {"HOME": "/nonexistent", "PGTLS_NOW": now}
    run = subprocess.run(
        ("make", f"PGTLS={PGTLS}", *arguments),
        cwd=directory,
        env=surroundings,
        check=False,
        capture_output=True,
        text=True,
        timeout=10 * PATIENCE,
    )
    assert run.returncode == status, f"make exited with {run.returncode}\n{run.stdout}{run.stderr}"
    assert says in run.stderr
    return run.stdout.splitlines()


def deployed(lines: list[str]) -> list[str]:
    return sorted(line.removeprefix("deploy ") for line in lines if line.startswith("deploy "))


def times(directory: Path) -> dict[str, tuple[int, bytes]]:
    """Every compiled file with its modification time and content; the manifest's time is that of the last build.

    ``.pgtls/memory`` has the digest of the manifest.
    """
    builds = {"manifest.json", "memory"}
    files = (path for path in (directory / "out").rglob("*") if path.is_file() and path.name not in builds)
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_the_first_make_builds_and_deploys_and_the_second_only_looks(here: Path) -> None:
    assert deployed(make(here)) == ["primary", "replica"]
    before, manifest = times(here), (here / "out/manifest.json").stat().st_mtime_ns
    lines = make(here)
    assert "nothing to do" in lines
    assert deployed(lines) == []
    assert times(here) == before
    assert (here / "out/manifest.json").stat().st_mtime_ns > manifest


def test_only_the_server_that_a_change_touches_is_deployed(here: Path) -> None:
    make(here)
    edit(here / "users/report.toml", "10.0.0.0/8", "10.9.0.0/16")
    assert deployed(make(here)) == ["replica"]
    assert deployed(make(here)) == []


def test_a_change_that_compiles_to_the_same_files_deploys_nothing(here: Path) -> None:
    make(here)
    before, manifest = times(here), (here / "out/manifest.json").read_text()
    with (here / "pgtls.toml").open("a") as spec:
        spec.write("# seen by the security team\n")
    lines = make(here)
    assert (here / "out/manifest.json").read_text() != manifest, "the spec has changed, so it was compiled"
    assert "nothing to do" in lines
    assert deployed(lines) == []
    assert times(here) == before


def test_a_certificate_that_comes_due_is_renewed_and_deployed_though_no_file_changed(here: Path) -> None:
    make(here)
    before = (here / "out/servers/primary/server.crt").read_bytes()
    assert deployed(make(here, now="2026-02-09T00:00:00Z")) == [], "the day before its window opens"
    assert deployed(make(here, now=DUE)) == ["primary"]
    assert (here / "out/servers/primary/server.crt").read_bytes() != before
    assert deployed(make(here, now=DUE)) == []


def test_a_failed_build_fails_make_and_leaves_everything_as_it_was(here: Path) -> None:
    make(here)
    before, lock = times(here), (here / "pgtls.lock").read_bytes()
    edit(here / "users/app.toml", 'auth      = "cert"', 'auth      = "cret"')
    for _ in range(2):
        assert deployed(make(here, status=2)) == []
        assert times(here) == before
        assert (here / "pgtls.lock").read_bytes() == lock
        assert (here / "out/manifest.json").exists()
    edit(here / "users/app.toml", 'auth      = "cret"', 'auth      = "cert"')
    assert deployed(make(here)) == []


def test_a_server_that_is_new_in_the_spec_is_deployed_and_one_that_left_it_is_not(here: Path) -> None:
    make(here)
    with (here / "pgtls.toml").open("a") as spec:
        spec.write('[server.third]\nhosts = ["third.example.com"]\n')
    assert deployed(make(here)) == ["third"]
    assert deployed(make(here)) == []
    (here / "out/servers/third/notes.txt").write_text("a file of mine, which no build deletes")
    edit(here / "pgtls.toml", '[server.third]\nhosts = ["third.example.com"]\n', "")
    assert deployed(make(here)) == []
    assert [path.name for path in (here / "out/servers/third").iterdir()] == ["notes.txt"]


def test_a_server_that_there_is_not_is_an_error_of_make_and_one_that_there_is_is_deployed_alone(here: Path) -> None:
    said = "No rule to make target 'out/servers/typo/server.crt'"
    assert deployed(make(here, "SERVERS=replica")) == ["replica"]
    for expected in (["primary"], []):
        assert deployed(make(here, "SERVERS=primary typo", status=2, says=said)) == expected
    assert deployed(make(here)) == []


def test_a_server_whose_certificate_others_must_sign_is_deployed_once_it_is_there(here: Path) -> None:
    edit(here / "pgtls.toml", "[server.replica]\n", "[server.replica]\nexternal = true\n")
    assert deployed(make(here)) == ["primary"]
    assert (here / "out/servers/replica/server.csr").exists()
    edit(here / "pgtls.toml", "external = true\n", "")
    assert deployed(make(here)) == ["replica"]


def test_a_server_with_a_certificate_is_deployed_while_others_must_sign_the_next(here: Path) -> None:
    assert deployed(make(here)) == ["primary", "replica"]
    edit(here / "pgtls.toml", "[server.replica]\n", '[server.replica]\nexternal = true\nmin_tls = "1.3"\n')
    assert deployed(make(here)) == ["replica"]


def test_a_file_that_a_server_has_no_longer_is_not_missed(here: Path) -> None:
    make(here)
    edit(here / "pgtls.toml", "[server.replica]\n", "[server.replica]\nclient_ca = []\n")
    edit(here / "users/report.toml", '"cert"', '"scram-sha-256"')
    edit(here / "Makefile", "build pgtls.toml", "build --accept-outage pgtls.toml")
    assert deployed(make(here)) == ["replica"]
    assert not (here / "out/servers/replica/root.crt").exists()
    assert deployed(make(here)) == []


def test_a_new_key_of_a_further_identity_is_deployed(here: Path) -> None:
    edit(here / "pgtls.toml", "[server.replica]\n", "[server.replica]\npostgres = 19\n")
    with (here / "pgtls.toml").open("a") as spec:
        spec.write('[[server.replica.sni]]\nca = "servers"\nhosts = ["shop.example.com"]\n')
    make(here)
    assert deployed(make(here)) == []
    key = here / "out/servers/replica/sni/shop.example.com/server.key"
    stolen = key.read_bytes()
    with (here / "pgtls.toml").open("a") as spec:
        spec.write("revoke_before = 2026-01-02T00:00:00Z\n")
    assert deployed(make(here, now="2026-01-03T00:00:00Z")) == ["replica"]
    assert key.read_bytes() != stolen
    assert deployed(make(here, now="2026-01-03T00:00:00Z")) == []


def test_the_makefile_serves_the_spec_of_init_as_it_is(tmp_path: Path, here: Path) -> None:
    started = tmp_path / "started"
    subprocess.run([*PGTLS.split(), "init", started], check=True, env=ENVIRONMENT, capture_output=True)
    for name in ("Makefile", "deploy"):
        shutil.copy(here / name, started)
    assert deployed(make(started)) == ["main"]
    assert deployed(make(started)) == []


RULES = """
app.tar: $(OUT)/clients/app/postgresql.crt
\ttar cf $@ $<
%.copy: $(OUT)/clients/%/postgresql.key
\tcp $< $@
typo: $(OUT)/clients/app/postgresql.cert
"""


def test_a_rule_of_ones_own_runs_on_a_real_change_of_its_file_only(here: Path) -> None:
    with (here / "Makefile").open("a") as makefile:
        makefile.write(RULES)
    wanted = ("app.tar", "app.copy")
    assert [line.split()[0] for line in make(here, *wanted)[-2:]] == ["tar", "cp"]
    assert (here / "out/clients/app/postgresql.key").exists(), "a step between, but no file to delete"
    assert make(here, *wanted)[-1] == "nothing to do"
    assert make(here, *wanted, now="2027-01-15T00:00:00Z")[-1].split()[0] == "cp", "renewed"
    assert make(here, *wanted, now="2027-01-15T00:00:00Z")[-1] == "nothing to do"
    make(here, "typo", status=2, says="out/clients/app/postgresql.cert")


def test_a_failed_deployment_is_tried_again(here: Path) -> None:
    script = (here / "deploy").read_text()
    (here / "deploy").write_text(script.replace("echo", '[ "$1" = primary ] || exit 1\necho', 1))
    assert deployed(make(here, status=2)) == ["primary"]
    (here / "deploy").write_text(script)
    assert deployed(make(here)) == ["replica"]


def test_what_another_build_changes_during_a_deployment_is_deployed_by_the_next_make(here: Path) -> None:
    narrow = "sed -i.bak s,10.0.0.0/8,10.9.0.0/16, users/report.toml"
    script = (here / "deploy").read_text()
    (here / "deploy").write_text(f"{script}[ $1 != replica ] || {{ {narrow} && {PGTLS} build; }}\n")
    assert deployed(make(here)) == ["primary", "replica"]
    assert "10.9.0.0/16" in (here / "out/servers/replica/pg_hba.conf").read_text()
    (here / "deploy").write_text(script)
    assert deployed(make(here)) == ["replica"]
    assert deployed(make(here)) == []


def test_a_make_during_the_deployment_of_another_deploys_nothing(here: Path) -> None:
    """What the other one installs may be older, and would come last."""
    script = (here / "deploy").read_text()
    narrow = "sed -i.bak s,10.0.0.0/8,10.9.0.0/16, users/report.toml"
    again = f"env -u MAKEFLAGS -u MAKELEVEL make 'PGTLS={PGTLS}' SERVERS=replica >second 2>&1; echo second $?"
    (here / "deploy").write_text(f"{script}[ $1 != replica ] || {{ {narrow}; {again}; }}\n")
    lines = make(here)
    assert deployed(lines) == ["primary", "replica"]
    assert "second 2" in lines
    said = (here / "second").read_text()
    assert "built out" in said
    assert "replica: another make deploys it; if none runs, rmdir .replica.lock" in said
    (here / "deploy").write_text(script)
    assert deployed(make(here)) == ["replica"]
    assert deployed(make(here)) == []


def test_a_make_that_is_killed_leaves_a_lock_that_says_so(here: Path) -> None:
    make(here)
    edit(here / "users/report.toml", "10.0.0.0/8", "10.9.0.0/16")
    (here / "deploy").write_text('#!/bin/sh\n[ "$1" != replica ] || kill -9 $PPID\n')
    make(here, status=2)
    (here / "deploy").write_text(DEPLOY)
    make(here, status=2, says="replica: another make deploys it; if none runs, rmdir .replica.lock")
    (here / ".replica.lock").rmdir()
    assert deployed(make(here)) == ["replica"]


def test_every_make_asks_every_server_what_it_has(here: Path) -> None:
    """A change came there by other means and was taken back; or the server, or the out directory, was restored."""
    make(here)
    backup = shutil.copytree(here / "out", here / "backup", copy_function=shutil.copy2)
    assert [line for line in make(here) if line.startswith("asked")] == ["asked primary", "asked replica"]
    wide = here / "users/report.toml"
    edit(wide, "10.0.0.0/8", "0.0.0.0/0")
    assert deployed(make(here)) == ["replica"]
    edit(wide, "0.0.0.0/0", "10.0.0.0/8")
    shutil.rmtree(here / "out")
    backup.rename(here / "out")
    assert deployed(make(here)) == ["replica"]
    shutil.rmtree(here / "there/primary")
    assert deployed(make(here)) == ["primary"]


def test_no_commit_says_what_was_deployed(here: Path) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com"]

    def run(*words: str) -> str:
        made = subprocess.run([*git, *words], cwd=here, check=True, capture_output=True, text=True, env=ENVIRONMENT)
        return made.stdout

    make(here)
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "first")):
        run(*words)
    edit(here / "users/report.toml", "10.0.0.0/8", "0.0.0.0/0")
    assert deployed(make(here)) == ["replica"]
    there = shutil.copytree(here / "there", here.parent / "there")
    for words in (("add", "."), ("commit", "-qm", "wide"), ("revert", "--no-edit", "HEAD")):
        run(*words)
    shutil.rmtree(here / "there")
    there.rename(here / "there")  # no commit takes back what a server has
    assert deployed(make(here)) == ["replica"]


@pytest.mark.parametrize("what", ["link", "directory"])
def test_what_somebody_commits_in_the_place_of_a_lock_is_left_alone(here: Path, what: str) -> None:
    make(here)
    key = (here / "out/ca/servers/ca.key").read_bytes()
    if what == "link":
        (here / ".replica.lock").symlink_to("out/ca/servers/ca.key")
    else:
        (here / ".replica.lock").mkdir()
    make(here, status=2, says="replica: another make deploys it")
    assert (here / "out/ca/servers/ca.key").read_bytes() == key


def test_a_server_that_is_down_keeps_nothing_from_the_others(here: Path) -> None:
    (here / "deploy").write_text('#!/bin/sh\necho "deploy $1"\ntest "$1" != primary\n')
    assert deployed(make(here, status=2)) == ["primary", "replica"]


def test_two_fleets_are_built_side_by_side(here: Path) -> None:
    several = here / "several"
    lines = make(several, "-j2")
    assert {f"built out/{fleet}" for fleet in ("production", "staging")} <= set(lines)
    for fleet in ("production", "staging"):
        certificate = (several / f"out/{fleet}/servers/db/server.crt").read_text()
        assert f'"names": ["DNS:db.{fleet}.example.com"]' in (several / f"{fleet}.lock").read_text()
        assert certificate.startswith("-----BEGIN CERTIFICATE-----")
    before = times(several)
    assert make(several, "-j2").count("nothing to do") == 2
    assert times(several) == before


def test_one_failing_fleet_does_not_stop_the_other(here: Path) -> None:
    several = here / "several"
    edit(several / "staging.toml", 'auth  = "peer"', 'auth  = "pear"')
    assert "built out/production" in make(several, "-j2", "--keep-going", status=2)
    assert not (several / "out/staging").exists()
    assert not (several / "staging.lock").exists()


def timestamps(here: Path, now: str = NOW, status: int = 0) -> bool:
    """Run the variant that compares times; tell whether it started pgtls."""
    return any(PGTLS in line for line in make(here, "-f", "timestamps.mk", now=now, status=status))


def later(path: Path) -> None:
    """Set a file's time one second after the manifest's, so that no test waits for the clock."""
    stamp = (path.parent / "out/manifest.json").stat() if (path.parent / "out").is_dir() else None
    stamp = stamp or (path.parents[1] / "out/manifest.json").stat()
    os.utime(path, ns=(stamp.st_mtime_ns + 10**6, stamp.st_mtime_ns + 10**6))


def test_with_a_depfile_pgtls_starts_only_when_a_file_changed_that_it_reads(here: Path) -> None:
    assert timestamps(here)
    assert not timestamps(here)
    for name in ("pgtls.toml", "users/app.toml", "pgtls.lock"):
        later(here / name)
        assert timestamps(here), name
        assert not timestamps(here), name
    later(here / "deploy")
    assert not timestamps(here)


def test_with_a_depfile_a_file_that_comes_or_goes_counts_too(here: Path) -> None:
    timestamps(here)
    new = here / "users/new.toml"
    new.write_text("[user.new]\n")
    later(here / "users")
    assert timestamps(here)
    assert "users/new.toml" in (here / ".pgtls.d").read_text()
    new.unlink()
    later(here / "users")
    assert timestamps(here)
    assert "users/new.toml" not in (here / ".pgtls.d").read_text()
    assert not timestamps(here)


def test_with_a_depfile_what_comes_due_waits_for_a_build(here: Path) -> None:
    timestamps(here)
    assert not timestamps(here, now=DUE)
    assert deployed(make(here, now=DUE)) == ["primary", "replica"]


def test_a_depfile_is_not_written_again_without_a_change_nor_after_a_failure(here: Path) -> None:
    timestamps(here)
    before = (here / ".pgtls.d").stat().st_mtime_ns
    later(here / "pgtls.toml")
    assert timestamps(here)
    assert (here / ".pgtls.d").stat().st_mtime_ns == before
    (here / "pgtls.toml").write_text("version = 2\n")
    later(here / "pgtls.toml")
    assert timestamps(here, status=2)
    assert (here / ".pgtls.d").stat().st_mtime_ns == before
