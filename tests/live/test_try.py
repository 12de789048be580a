"""``pgtls try``: what it finds on good servers and on broken ones, and what it leaves behind: nothing."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from pgtls import api
from pgtls.diagnostics import Rejected
from pgtls.live import clusters, throwaway
from pgtls.live.throwaway import private_directory
from pgtls.live.trial import tried
from support.building import Place
from support.pgtls import EXAMPLE, ROOT, Run, pgtls
from support.servers import PATIENCE, Installation, versions
from support.system import ENVIRONMENT, find_account, give, is_root, new_directory, run_as, server_account
from support.walking import agrees, shown
from whole.test_random_specs import is_consistent
from whole.worlds import random_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.live.trial import Trial

TRIED_ON = ("pg13", "pg16", "pg18-debian", "pg19-debian")
"""The oldest, one in the middle, and the newest with today's OpenSSL."""
SPECS = int(os.environ.get("PGTLS_TEST_SPECS", "4"))
"""How many random specs are tried."""

PROMISED = {
    "its bundle",
    "without TLS",
    "without a certificate",
    "with an expired certificate",
    "with a revoked certificate",
    "with a certificate of another CA with the same name",
    "with the certificate of the server",
    "to another database",
    "as another role",
    "from another address",
    "with a wrong password",
    "without a password",
    "an impostor: same names, another CA",
    "an impostor: another host, same CA",
    "an impostor that turns TLS off",
}
"""What the example must make try try."""


def attempt(*words: str | Path, temporary: Path | None = None) -> Run:
    """Run ``pgtls try``, which must leave nothing behind."""
    home = temporary or short_directory()
    run = pgtls("try", *words, environment={"TMPDIR": str(home)})
    assert list(home.iterdir()) == []
    return run


def short_directory() -> Path:
    """Return an empty directory in which other accounts find their way, and a socket has room for its path."""
    directory = new_directory("t")
    directory.chmod(0o711)
    return directory


def rows(run: Run) -> list[dict[str, Any]]:
    return [row for server in run.json["servers"] for row in server["rows"]]


def some() -> Installation:
    """Return a server with a psql of its own, for what is the same on all of them."""
    return next(found for found in versions() if (found.bin / "psql").exists())


def of(wanted: str) -> Installation:
    found = next((one for one in versions() if one.id == wanted), None)
    if found is None:
        pytest.skip(f"unavailable: {wanted} is not here")
    return found


@pytest.mark.parametrize("wanted", TRIED_ON)
def test_every_promise_of_the_example_is_tried_and_kept(wanted: str) -> None:
    server = of(wanted)
    run = attempt(EXAMPLE, "--bindir", server.bin, "--format", "json")
    assert run.status == 0, run.stdout
    found = rows(run)
    assert {row["attempt"] for row in found} >= PROMISED
    assert [row for row in found if not row["agrees"] or row["outcome"] == "not tried"] == []
    assert run.json["servers"][0]["tried_on"]["version"] == server.release
    assert run.json["summary"] == {"admitted": 16, "refused": len(found) - 16, "not_tried": 0, "different": 0}
    admitted = {(row["user"], row["role"], row["database"]) for row in found if row["outcome"] == "admitted"}
    assert {("app", "app", "shop"), ("alice", "reporting", "reports"), ("metrics", "metrics", "postgres")} <= admitted
    assert {row["from"] for row in found} == {"local", "127.0.0.1", "192.0.2.1", "10.0.0.1", "10.9.0.1", "192.168.7.1"}
    assert {row["reason"] for row in found if row["attempt"].startswith("an impostor: same")} == {
        "SSL error: certificate verify failed"
    }
    for row in found:
        words = shlex.split(row["psql"])
        assert "psql" in words
        assert "password=" not in row["psql"]


# --- what is broken is found --------------------------------------------------------------------------------------


def sabotaged(server: Installation, *, postgres: str = "", psql: str = "") -> Path:
    """Return a directory of programs like those of a server, with shell code that runs before each real program.

    For ``postgres`` it runs when the server starts with the compiled files; the data directory is ``$2``.
    """
    programs = new_directory("programs")
    programs.chmod(0o755)
    starting = f'case "$1" in -D) {postgres or ":"};; esac'
    for name, code in (("initdb", ":"), ("postgres", starting), ("psql", psql or ":")):
        script = programs / name
        script.write_text(f'#!/bin/sh\n{code}\nexec {shlex.quote(str(server.bin / name))} "$@"\n')
        script.chmod(0o755)
    return programs


def first_line(line: str) -> str:
    return f'sed -i "1i {line}" "$2/pg_hba.conf"'


def setting(line: str) -> str:
    return f'echo "{line}" >> "$2/postgresql.conf"'


NO_CHECK = "sslmode=require sslrootcert=none"


@pytest.mark.parametrize(
    ("postgres", "psql", "differing"),
    [
        pytest.param(
            first_line("host all all 127.0.0.1/32 trust"), "",
            {"without TLS", "without a certificate", "to another database", "as another role", "with a wrong password"},
            id="a line that admits everybody",
        ),
        pytest.param(
            first_line("host all all 127.0.0.1/32 reject"), "", {"its bundle"}, id="a line that admits nobody"
        ),
        pytest.param(
            first_line("hostnossl shop app 127.0.0.1/32 trust"), "", {"without TLS"}, id="cleartext for one user"
        ),
        pytest.param(
            setting("ssl_crl_file = ''") + ";" + setting("ssl_crl_dir = ''"), "", {"with a revoked certificate"},
            id="no revocation list",
        ),
        pytest.param(
            "", f'test "$1" = --version || {{ for last; do :; done; set -- -XwAtqc "select 1" "$last {NO_CHECK}"; }}',
            {"an impostor: same names, another CA", "an impostor: another host, same CA"},
            id="a client that verifies nothing",
        ),
    ],
)  # fmt: skip
def test_what_is_broken_differs_from_the_spec(postgres: str, psql: str, differing: set[str]) -> None:
    run = attempt(EXAMPLE, "--bindir", sabotaged(some(), postgres=postgres, psql=psql), "--format", "json")
    assert run.status == 1, run.stdout
    different = [row for row in rows(run) if not row["agrees"]]
    assert differing <= {row["attempt"] for row in different}
    assert [diagnostic["code"] for diagnostic in run.json["diagnostics"]] == ["PGT604"]
    assert run.json["summary"]["different"] == len(different)
    assert any(row["agrees"] for row in rows(run))


def test_a_server_that_does_not_start_is_reported_with_its_log() -> None:
    programs = sabotaged(some(), postgres=setting("ssl_ecdh_curve = 'nonsense'"))
    run = attempt(EXAMPLE, "--bindir", programs)
    assert (run.status, run.stdout) == (1, "")
    assert "error[PGT603]" in run.stderr
    assert "unrecognized" in run.stderr or "nonsense" in run.stderr, run.stderr


def test_a_spec_that_the_nearest_version_cannot_have_is_refused(place: Place) -> None:
    newer = SPEC.replace("postgres = 15", "postgres = 17")
    place.write(newer.replace('databases = ["shop"]', 'databases = ["/^shop"]'))
    run = attempt(place.spec, "--bindir", some().bin)
    assert run.status == 1
    assert "error[PGT602]: the spec does not compile with throwaway keys for PostgreSQL 15" in run.stderr


def test_a_directory_without_a_server_is_refused(tmp_path: Path) -> None:
    run = attempt(EXAMPLE, "--bindir", tmp_path)
    assert run.status == 1
    assert "error[PGT600]" in run.stderr
    assert "there is no program initdb" in run.stderr


def test_a_machine_without_postgresql_is_told_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert clusters.installations(), "those of Debian are not on PATH"
    monkeypatch.setattr(clusters, "PLACES", (f"{tmp_path}/*/bin",))
    with pytest.raises(Rejected, match="PGT600: there is no PostgreSQL server on this machine") as refused:
        clusters.installations()
    assert "apt install postgresql" in str(refused.value.diagnostics[0].hint)
    one = clusters.Installation(17, "17.1", tmp_path)
    with pytest.raises(Rejected, match="PGT601: there is no psql"):
        clusters.client(one, [one])


def test_the_nearest_version_is_taken_and_of_two_the_newer() -> None:
    here = [clusters.Installation(major, f"{major}.1", Path(f"/pg{major}")) for major in (14, 16, 18)]
    assert [clusters.nearest(here, wanted).major for wanted in (13, 14, 15, 16, 17, 19)] == [14, 14, 16, 16, 18, 18]


def test_wrong_input_is_reported_as_elsewhere(place: Place) -> None:
    assert "PGT001" in attempt(place.spec).stderr
    place.write(SPEC)
    run = attempt(place.spec, "--server", "mian")
    assert (run.status, 'did you mean "main"?' in run.stderr) == (1, True)
    place.write(SPEC.replace("cert", "certt"))
    run = attempt(place.spec, "--format", "json")
    assert run.status == 1
    assert run.json["servers"] == []
    assert run.json["summary"] == {"admitted": 0, "refused": 0, "not_tried": 0, "different": 0}


# --- what it does not touch -----------------------------------------------------------------------------------------

SPEC = """
version = 1
[ca.web]
offline = true
passphrase = { command = ["touch", "MARKER"] }
[ca.people]
cert_file = "people.crt"
crl_file = "people.crl"
sign = { command = ["touch", "MARKER"] }
[ca.others]
external = true
[server.main]
ca = "web"
client_ca = ["people"]
hosts = ["db.example.com"]
postgres = 15
passphrase = { command = ["touch", "MARKER"] }
passphrase_command = "touch MARKER"
settings = { shared_buffers = "900GB", shared_preload_libraries = "nothing_here" }
directory = "/nonexistent/tls"
[server.public]
ca = "system"
hosts = ["public.example.com"]
external = true
client_ca = ["people"]
postgres = 15
[user.dba]
roles = ["postgres"]
[user.app]
ca = "people"
cert_file = "app.crt"
libpq = 16
directory = "/nonexistent/app"
[user.boss]
ca = "others"
libpq = 16
[policy.dba]
servers = ["all"]
users = ["dba"]
from = ["local"]
auth = "peer"
[policy.app]
servers = ["all"]
users = ["app"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "cert"
waiver = { reason = "a test", codes = ["PGT330"] }
[policy.boss]
servers = ["all"]
users = ["boss"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "ldap"
[policy.boss.auth_options]
ldapserver = "ldap.example.com"
ldaptls = true
ldapbasedn = "dc=x"
ldapbinddn = "cn=x"
ldapbindpasswd = { command = ["touch", "MARKER"] }
"""
"""A spec whose keys, certificates, secrets and settings are all elsewhere."""


def test_nothing_of_the_spec_is_opened_run_or_written(place: Place) -> None:
    place.write(SPEC.replace("MARKER", str(place.file("../marker").resolve())))
    run = attempt(place.spec, "--bindir", some().bin, "--format", "json")
    assert run.status == 0, run.stdout
    assert sorted(path.name for path in place.directory.iterdir()) == ["pgtls.toml"]
    admitted = [(row["role"], row["from"]) for row in rows(run) if row["outcome"] == "admitted" and row["user"]]
    assert admitted == [("app", "10.0.0.1")] * 2, "one on each server"
    untried = [row for row in rows(run) if row["outcome"] == "not tried"]
    assert {(row["user"], row["reason"]) for row in untried} == {("boss", "ldap: what it asks is not on this machine")}
    assert run.json["summary"]["not_tried"] == len(untried)


def test_of_many_users_who_are_alike_each_connects_and_one_is_refused_for_all(place: Place) -> None:
    users = [f"u{number}" for number in range(101)]
    tables = "".join(f'[user.{name}]\nca = "people"\n' for name in users)
    place.write(MANY.replace("NAMES", json.dumps(users)))
    (place.directory / "users.toml").write_text(tables)
    run = attempt(place.spec, "--bindir", some().bin, "--format", "json")
    assert run.status == 0, run.stdout
    found = [row for row in rows(run) if row["user"]]
    assert {row["user"] for row in found if row["outcome"] == "admitted"} == set(users)
    assert {row["user"] for row in found if row["outcome"] == "refused"} == {"u0"}


MANY = """
version = 1
include = ["users.toml"]
[ca.web]
[ca.people]
[server.main]
ca = "web"
client_ca = ["people"]
hosts = ["db.example.com"]
postgres = 15
no_local = true
[policy.all]
users = NAMES
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "cert"
"""


def test_one_server_is_tried_where_one_is_named(place: Place) -> None:
    place.write(SPEC)
    run = attempt(place.spec, "--bindir", some().bin, "--server", "public", "--format", "json")
    assert [server["server"] for server in run.json["servers"]] == ["public"]


EVERYTHING = r"""
version = 1
[ca.web]
[ca.people]
key_algorithm = "ecdsa-p384"
[ca.staff]
issuer = "people"
[ca.robots]
[defaults.user]
formats = ["pem", "pkcs12"]
passphrase = { env = "NOT_SET" }
bundle = "zip"
[server.main]
ca = "web"
client_ca = ["staff", "robots"]
hosts = ["db.example.com", "10.0.0.5"]
port = 6543
postgres = 18
min_tls = "1.3"
databases = ["shop", "books", "postgres", "anna", "We ird'\"\\ ü"]
[server.alone]
ca = "self-signed"
hosts = ["10.0.0.6"]
postgres = 18
no_local = true
[user.dba]
roles = ["postgres"]
[user.anna]
ca = "staff"
roles = ["anna", "reporting: x\\y", "Quo\"te'd"]
member_of = ["team"]
directory = "/home/anna/.postgresql"
[user.berta]
ca = "staff"
member_of = ["team", "pg_monitor"]
[user.robot]
ca = "robots"
crl = true
libpq = 18
[user.standby]
ca = "robots"
[user.pw]
roles = ["p:w\\", "$(touch /tmp/x)"]
[user.boss]
ca = "staff"
identity = "dn"
subject = { organization = "Example" }
[policy.dba]
servers = ["main"]
users = ["dba"]
from = ["local"]
auth = "peer"
[policy.team]
servers = ["main"]
users = ["+team"]
databases = ["shop", "sameuser"]
from = ["10.0.0.0/8", "fd00::/8", ".office.example.com"]
auth = "cert"
[policy.anna]
servers = ["main"]
users = ["anna"]
databases = ["books", "We ird'\"\\ ü"]
from = ["10.0.0.0/8", "192.168.0.0/16"]
auth = "cert"
[policy.kept-out]
servers = ["main"]
users = ["anna"]
databases = ["books"]
from = ["10.66.0.0/16"]
auth = "reject"
[policy.robot]
servers = ["main"]
users = ["robot"]
databases = ["books"]
from = ["samenet", "10.0.0.0/8"]
sslmode = "verify-ca"
auth = "scram-sha-256"
client_cert = "verify-full"
channel_binding = "require"
[policy.standby]
servers = ["main"]
users = ["standby"]
databases = ["replication"]
from = ["10.0.0.7"]
auth = "cert"
[policy.pw]
servers = ["all"]
users = ["pw"]
databases = ["postgres"]
from = ["10.0.0.0/8", "127.0.0.1"]
sslmode = "require"
auth = "scram-sha-256"
waiver = { reason = "test", codes = ["PGT310", "PGT311", "PGT312", "PGT313"] }
[policy.boss]
servers = ["main"]
users = ["boss"]
databases = ["books"]
from = ["10.0.0.0/8"]
auth = "cert"
"""
"""Hostile names, and one of each kind of policy and bundle."""


def test_every_kind_of_policy_and_hostile_names_are_tried(place: Place) -> None:
    place.write(EVERYTHING)
    run = attempt(place.spec, "--bindir", of("pg18-debian").bin, "--format", "json")
    assert run.status == 0, run.stdout
    assert run.json["summary"]["not_tried"] == 0
    admitted = {(row["role"], row["database"], row["from"]) for row in rows(run) if row["outcome"] == "admitted"}
    assert {
        ("Quo\"te'd", "We ird'\"\\ ü", "10.0.0.1"),
        ("reporting: x\\y", "books", "10.0.0.1"),
        ("$(touch /tmp/x)", "postgres", "127.0.0.1"),
        ("p:w\\", "postgres", "10.0.0.1"),
        ("anna", "shop", "192.0.2.1 (host.office.example.com)"),
        ("berta", "shop", "10.0.0.1"),
        ("robot", "books", "127.0.0.1"),
        ("standby", "replication", "10.0.0.7"),
        ("boss", "books", "10.0.0.1"),
    } <= admitted


# --- interrupted ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("reached", ["server", "server/data/postgresql.conf", "reached"])
def test_an_interrupted_run_leaves_nothing_behind(number: int, reached: str) -> None:
    home, sleep = short_directory(), f"sleep 98765.{os.getpid()}"  # of this worker alone
    hanging = sabotaged(some(), psql=f'test "$1" = --version || {{ echo > reached; exec {sleep}; }}')
    words = [sys.executable, "-m", "pgtls", "try", str(EXAMPLE), "--bindir", str(hanging)]
    environment = {**ENVIRONMENT, "HOME": "/nonexistent", "TMPDIR": str(home)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as run:
        deadline = time.monotonic() + PATIENCE
        while not list(home.glob(f"pgtls-try-*/{reached}")):
            assert run.poll() is None, "its clients hang"
            assert time.monotonic() < deadline
            time.sleep(0.001)
        run.send_signal(number)
        _, said = run.communicate(timeout=PATIENCE)
    assert run.returncode == 130, said
    assert list(home.iterdir()) == []
    assert not [line for line in _processes() if str(home) in line or sleep in line]


def _processes() -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            yield (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue


def test_kept_servers_take_the_lines_that_are_printed() -> None:
    home = short_directory()
    words = [sys.executable, "-m", "pgtls", "try", str(EXAMPLE), "--bindir", str(some().bin), "--keep"]
    environment = {**ENVIRONMENT, "HOME": "/nonexistent", "TMPDIR": str(home)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        waits = run.stderr.readline()
        title, blank = run.stdout.readline(), run.stdout.readline()
        table = list(iter(run.stdout.readline, "\n"))
        assert (title[:14], blank) == ("server primary", "\n")
        assert "Ctrl-C ends it" in waits
        directory = waits.partition(": cd ")[2].partition(" to run")[0]
        assert _closed(Path(directory)), "keys and passwords are for their owner alone"
        tried_by_hand = 0
        for result, line in zip(table[::2], table[1::2], strict=True):
            if "127.0.0.1" not in result or tried_by_hand > 12:
                continue
            tried_by_hand += 1
            program = line.replace("psql ", f"{some().bin}/psql -XAtw -c 'select 1' ", 1)
            status = subprocess.run(program, shell=True, check=False, capture_output=True, cwd=directory).returncode  # noqa: S602
            assert (status == 0) == result.startswith("admitted"), (result, line)
        assert tried_by_hand > 12
        run.send_signal(signal.SIGINT)
        summary, said = run.communicate(timeout=PATIENCE)
    assert (run.returncode, said) == (0, "")
    assert "as the policies say" in summary
    assert list(home.iterdir()) == []


def _closed(directory: Path) -> bool:
    """Return whether every key and password is its owner's alone, and the server's key that of its account."""
    secret = [*directory.rglob("*.key"), *directory.glob("*passwords")]
    assert len(secret) > 8
    own = (directory / "server" / "data" / "server.key").stat()
    return all(path.stat().st_mode & 0o777 == 0o600 for path in secret) and own.st_uid == server_account().uid


@pytest.mark.skipif(not is_root(), reason="unavailable: root alone can log in as another operating-system user")
def test_an_ordinary_user_can_try(tmp_path: Path) -> None:
    account = find_account("nobody")
    probe = subprocess.run([*run_as(account), "test", "-r", ROOT, "-a", "-x", sys.executable], check=False)
    if probe.returncode != 0:
        pytest.skip("unavailable: this checkout is closed to other users")
    home = short_directory()
    home.chmod(0o777)
    words = [
        *run_as(account),
        sys.executable,
        "-m",
        "pgtls",
        "try",
        EXAMPLE,
        "--bindir",
        some().bin,
        "--format",
        "json",
    ]
    environment = {**ENVIRONMENT, "HOME": "/nonexistent", "TMPDIR": str(home)}
    command = [*run_as(account), *map(str, words)]
    run = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, cwd="/")
    assert run.returncode == 0, run.stdout
    found = [row for server in json.loads(run.stdout)["servers"] for row in server["rows"]]
    untried = [row["reason"] for row in found if row["outcome"] == "not tried"]
    assert untried == ["peer: this run cannot become the operating-system user postgres"]
    assert list(home.iterdir()) == []


# --- random specs ---------------------------------------------------------------------------------------------------


def test_random_specs_are_kept_by_real_servers() -> None:
    server = some()
    place = Place(new_directory("spec"))
    left = SPECS
    number = 0
    while left:
        world = random_world(Random(f"try {number}"))  # noqa: S311
        number += 1
        if not is_consistent(world, server.major, place):
            continue
        left -= 1
        with private_directory() as directory:
            for trial in tried(api.load(place.spec), directory, bindir=str(server.bin)):
                assert trial.different == (), f"{trial.different}\n{world.toml(server.major)}"
                assert trial.rows


# --- for people -----------------------------------------------------------------------------------------------------


def test_the_readme_shows_what_its_first_minute_prints() -> None:
    typed = next(text for text in shown(ROOT / "README.md", "sh") if "pgtls try" in text)
    commands = [line.partition("#")[0].strip() for line in typed.splitlines()]
    assert commands == ["make build", ".venv/bin/pgtls try pgtls.toml.example"]
    page = next(text for text in shown(ROOT / "README.md", "") if "an impostor" in text).splitlines()
    run = attempt(EXAMPLE, "--bindir", some().bin)
    assert (run.status, run.stderr) == (0, "")
    printed = run.stdout.splitlines()
    if not is_root():  # who cannot become postgres cannot try its peer line
        printed = [line.replace("15 connections", "16 connections").replace("; 1 not tried", "") for line in printed]
    assert agrees(["...", *page, "..."], printed), "\n".join(printed)
    results = [line for line in printed if line.startswith(("admitted ", "refused "))]
    assert len(results) == len([line for line in printed if re.match(r" +(sudo |env |psql )", line)])
    assert "the spec says 17: this is the nearest here, and the files are compiled for 15" in printed[0]


def test_no_role_of_a_spec_reaches_the_machine() -> None:
    """The server listens on loopback, and a policy of a stranger's spec may ask for nothing."""
    strong = ("pg_execute_server_program", "pg_read_server_files", "pg_write_server_files")
    said = list(throwaway._statements({"app": throwaway.Role(member_of=("staff", *strong))}, ()))
    assert [one for one in said if one.startswith("grant")] == ['grant "staff" to "app"']
    assert len(throwaway._SUPERUSER) > len("pgtls_try_") + 12, "nobody guesses it"


TRUSTING = """\
version = 1

[ca.root]

[server.main]
ca       = "root"
hosts    = ["localhost"]
postgres = 17

[user.dba]

[policy.all]
users   = ["all"]
from    = ["127.0.0.1"]
auth    = "trust"
sslmode = "disable"
waiver  = "a machine of developers"

[policy.socket]
users  = ["all"]
from   = ["local"]
auth   = "trust"
waiver = "a machine of developers"
"""


@pytest.mark.parametrize("wanted", TRIED_ON)
def test_nobody_logs_in_as_the_superuser_whose_name_every_local_user_can_read(wanted: str) -> None:
    """The name is among the arguments of initdb, and ``trust`` for all roles admits every name."""
    server, spec = of(wanted), new_directory("spec") / "pgtls.toml"
    said: dict[str, list[str]] = {}
    spec.write_text(TRUSTING)

    def log_in(trial: Trial) -> None:
        first = next(row for row in trial.rows if row.outcome == "admitted")
        port = re.search(r"port=(\d+)", first.psql)
        assert port
        for host in ("127.0.0.1", next(directory.glob("server*/socket"))):
            for role in ("dba", throwaway._SUPERUSER):
                dialled = f"host={host} port={port[1]} user={role} dbname=template1 sslmode=disable"
                words = (some().bin / "psql", "-XAtqwc", "select current_user", dialled)
                run = subprocess.run(words, check=False, capture_output=True, text=True, env=ENVIRONMENT)
                said.setdefault(role, []).append(run.stdout + run.stderr)

    with private_directory() as directory:
        (trial,) = tried(api.load(spec), directory, bindir=str(server.bin), keep=log_in)
    assert trial.different == ()
    assert said["dba"] == ["dba\n", "dba\n"]
    assert len(said[throwaway._SUPERUSER]) == 2
    assert all("is not permitted to log in" in one for one in said[throwaway._SUPERUSER]), said


@pytest.mark.skipif(not is_root(), reason="unavailable: only root has more rights than the account of the server")
def test_a_link_of_the_servers_account_leads_root_nowhere() -> None:
    account = server_account()
    victim = new_directory("victim") / "file"
    victim.write_text("canary\n")
    victim.chmod(0o600)
    data = new_directory("data")
    give(data, account)
    (data / "pg_hba.conf.part").symlink_to(victim)
    one = object.__new__(throwaway.Throwaway)
    one.data = data
    one._account = throwaway.Account(account.name, account.uid, account.gid)
    with pytest.raises(OSError, match=r"pg_hba\.conf\.part"):
        one._write(data / "pg_hba.conf", b"x")
    assert (victim.read_text(), victim.stat().st_uid) == ("canary\n", 0)
    (data / "pg_hba.conf.part").unlink()
    one._write(data / "pg_hba.conf", b"x")
    assert (data / "pg_hba.conf").stat().st_uid == account.uid
