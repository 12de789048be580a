"""install.sh (docs/output.md) installs a server's files completely or not at all, and undoes what it rejects."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.clients import PSQL, Bundle, Outcome, admitted, at, refused, socket_of
from support.installer import absent_while_checked, install
from support.pgtls import compiled
from support.servers import Server, versions
from support.system import ENVIRONMENT, find_account, give, is_root, new_directory, run_as, server_account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.installer import Installed
    from support.system import Account

SPEC = """
version = 1
[ca.root]
[server.main]
ca = "root"
client_ca = ["root"]
hosts = ["localhost", "{host}"]
postgres = {postgres}
{more}
[user.postgres]
[policy.admin]
users = ["postgres"]
from = ["local"]
auth = "trust"
waiver = "a throwaway server"
[user.app]
ca = "root"
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["127.0.0.1"]
auth = "cert"
"""

SHELLS = [
    pytest.param(("dash",), id="dash"),
    pytest.param(("busybox", "sh"), id="busybox"),
    pytest.param(("bash", "--posix"), id="bash"),
]


ROOT_ONLY = pytest.mark.skipif(not is_root(), reason="unavailable: only root has more rights than the cluster's owner")


def build(directory: Path, server: Server, host: str = "db.example.com", more: str = "") -> Path:
    """Build the spec with one host more; return the out directory."""
    return compiled(SPEC.format(postgres=server.version, host=host, more=more), directory)


def newest() -> Server:
    return Server(versions()[-1])


@pytest.fixture(params=[0, -1], ids=["oldest", "newest"])
def revoking(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Run servers with the oldest and the newest OpenSSL."""
    with Server(versions()[request.param]) as server:
        yield server


@pytest.fixture
def one() -> Iterator[Server]:
    """Run a server of the newest version."""
    with newest() as server:
        yield server


def contents(directory: Path) -> dict[str, tuple[int, bytes]]:
    """Return mode and content of every configuration file of a data directory, without those of the server itself."""
    files = [
        path for path in directory.glob("*") if path.suffix in (".conf", ".crt", ".key", ".crl") and path.is_file()
    ]
    files += directory.glob("root.crl.d/*")
    return {str(path.relative_to(directory)): (stat.S_IMODE(path.stat().st_mode), path.read_bytes()) for path in files}


def served(server: Server) -> str:
    """Return the names of the certificate that is served."""
    found = subprocess.run(
        ["openssl", "s_client", "-starttls", "postgres", "-connect", f"127.0.0.1:{server.port}"],
        capture_output=True, stdin=subprocess.DEVNULL, text=True, check=False,
    )  # fmt: skip
    text = subprocess.run(
        ["openssl", "x509", "-noout", "-ext", "subjectAltName"],
        input=found.stdout,
        capture_output=True,
        text=True,
        check=False,
    )
    return text.stdout


def test_the_files_are_installed_once_and_connections_follow_them(server: Server, tmp_path: Path) -> None:
    server.populate(["app"], ["shop"])
    out = build(tmp_path, server)
    said = install(out / "servers" / "main", server).done()
    assert "serves the certificate that is in place" in said
    assert "can read every line" in said
    own = Bundle(out / "clients" / "app").parameters("shop") | at(server)
    assert admitted(PSQL.connect(own)) == "app@shop"
    refused(PSQL.connect(own | {"sslmode": "disable"}), "no pg_hba.conf entry")
    key = (server.data / "server.key").stat()
    assert (stat.S_IMODE(key.st_mode), key.st_uid) == (0o600, server_account().uid)
    times = {path: path.stat().st_mtime_ns for path in server.data.glob("*.c*")}
    assert "nothing to do" in install(out / "servers" / "main", server).done()
    assert times == {path: path.stat().st_mtime_ns for path in server.data.glob("*.c*")}
    server.restart()
    assert admitted(PSQL.connect(own)) == "app@shop"


def test_connections_that_are_open_stay_open(one: Server, tmp_path: Path) -> None:
    held = one.sql("select pg_backend_pid()")
    install(build(tmp_path, one) / "servers" / "main", one).done()
    assert one.sql("select pg_backend_pid()") == held


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_installs_and_rolls_back(shell: tuple[str, ...], one: Server, tmp_path: Path) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"{shell[0]} is not installed: `make system` does it")
    before = contents(one.data)
    first = build(tmp_path, one)
    install(first / "servers" / "main", one, shell=shell).done()
    installed = contents(one.data)
    install(first / "servers" / "main", one, "--rollback", shell=shell).done()
    assert contents(one.data) == before
    install(first / "servers" / "main", one, shell=shell).done()
    assert contents(one.data) == installed
    build(tmp_path, one, host="db2.example.com")
    install(first / "servers" / "main", one, shell=shell).done()
    assert "db2.example.com" in served(one)
    install(first / "servers" / "main", one, "--rollback", shell=shell).done()
    newer = {
        name: (0o644, (first / "servers" / "main" / name).read_bytes())
        for name in installed
        if name.startswith("root.crl")
    }
    assert contents(one.data) == installed | newer != installed
    assert "db.example.com" in served(one)


def test_a_dry_run_changes_nothing(one: Server, tmp_path: Path) -> None:
    out = build(tmp_path, one)
    before = contents(one.data)
    assert "would replace the set" in install(out / "servers" / "main", one, "--dry-run").done()
    assert contents(one.data) == before
    assert not (one.data / ".pgtls-install").exists()


def spoil_key(files: Path) -> None:
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out",
            str(files / "server.key")],
        check=True, capture_output=True,
    )  # fmt: skip


def spoil_rules(files: Path) -> None:
    with (files / "pg_hba.conf").open("a") as file:
        file.write("hsot all all all trust\n")


def spoil_chain(files: Path) -> None:
    certificate = (files / "server.crt").read_text()
    (files / "server.crt").write_text(certificate + (files / "root.crt").read_text() + certificate)


def no_certificate(files: Path) -> None:
    (files / "server.crt").unlink()


def encrypt_key(files: Path) -> None:
    (files / "server.key").write_text("-----BEGIN AGE ENCRYPTED FILE-----\n")


def damage(name: str, keep: int | None = None) -> Callable[[Path], None]:
    """Return what deletes a file, or keeps some bytes of it; a negative number cuts the end off."""

    def spoil(files: Path) -> None:
        content = (files / name).read_bytes()
        (files / name).unlink()
        if keep is not None:
            (files / name).write_bytes(content[:keep])

    return spoil


def spoil_inside(files: Path) -> None:
    lines = (files / "root.crl").read_text().splitlines()
    (files / "root.crl").write_text("\n".join([*lines[:2], *lines[3:], ""]))


def cut_before(name: str, line: str) -> Callable[[Path], None]:
    """Return what keeps the whole lines of a file that come before one."""

    def spoil(files: Path) -> None:
        lines = (files / name).read_text().splitlines(keepends=True)
        (at,) = (number for number, found in enumerate(lines) if found.startswith(line))
        (files / name).write_text("".join(lines[:at]))

    return spoil


def cut_hashed(files: Path) -> None:
    (path,) = (files / "root.crl.d").iterdir()
    path.write_bytes(path.read_bytes()[:-80])


SPOILT = {
    "server.key is encrypted for the builders": encrypt_key,
    "server.key does not match server.crt": spoil_key,
    "has a line of an unknown type": spoil_rules,
    "server.crt is out of order": spoil_chain,
    "there is no server.crt": no_certificate,
    "root.crl is missing, and pgtls.conf names it": damage("root.crl"),
    "root.crt is missing, and pgtls.conf names it": damage("root.crt"),
    "root.crl.d is missing, and pgtls.conf names it": lambda files: shutil.rmtree(files / "root.crl.d"),
    "root.crl is empty": damage("root.crl", 0),
    "root.crl is empty, cut off": damage("root.crl", -80),
    "root.crl is empty, cut off or damaged": spoil_inside,
    "root.crt is empty": damage("root.crt", 0),
    "root.crt is empty, cut off": damage("root.crt", -80),
    "root.crl.d/": cut_hashed,
    "pg_hba.conf is cut off": damage("pg_hba.conf", -3),
    "pgtls.conf is cut off": damage("pgtls.conf", -3),
    "pgtls.conf is cut off\n  hint: copy": cut_before("pgtls.conf", "ssl_crl_file"),
}


@pytest.mark.parametrize("reason", SPOILT)
def test_files_that_do_not_fit_are_refused_before_anything_is_replaced(
    reason: str, one: Server, tmp_path: Path
) -> None:
    out = build(tmp_path, one)
    before = contents(one.data)
    SPOILT[reason](out / "servers" / "main")
    install(out / "servers" / "main", one).refused(reason)
    assert contents(one.data) == before


STANDBY = """
version = 1
[ca.root]
[defaults.server]
ca = "root"
client_ca = ["root"]
postgres = {postgres}
[server.up]
hosts = ["10.0.0.1"]
[server.main]
hosts = ["localhost"]
standby_of = "up"
replication_user = "copier"
{sni}
[user.postgres]
[user.copier]
ca = "root"
roles = ["replicator"]
[policy.admin]
servers = ["up"]
users = ["postgres"]
from = ["local"]
auth = "trust"
waiver = "a throwaway server"
"""
SNI = """
[[server.main.sni]]
ca = "root"
client_ca = ["root"]
hosts = ["a.example.com", "b.example.com"]
"""
CUT = {"cut off": -60, "missing or empty": 0, "missing or": None}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_standby_with_several_names_is_refused_settings_that_are_not_whole(
    one: Server, tmp_path: Path, shell: tuple[str, ...]
) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"{shell[0]} is not installed: `make system` does it")
    spec = STANDBY.format(postgres=one.version, sni=SNI if one.version >= 19 else "")
    files = compiled(spec, tmp_path) / "servers" / "main"
    before = contents(one.data)
    hosts, conninfo, certificate = "pg_hosts.conf", "replication/primary_conninfo.conf", "replication/postgresql.crt"
    spoilt = [(name, reason, damage(name, keep)) for name in (hosts, conninfo) for reason, keep in CUT.items()]
    spoilt += [(name, "cut off", cut_before(name, line)) for name, line in ((hosts, '"a.'), (conninfo, "primary_"))]
    spoilt += [(certificate, reason, damage(certificate, keep)) for reason, keep in CUT.items()]
    for name, reason, spoil in spoilt:
        if (files / name).exists() or one.version >= 19:
            whole = (files / name).read_bytes()
            spoil(files)
            assert name in install(files, one, "--no-reload", shell=shell).refused(reason)
            (files / name).write_bytes(whole)
    assert contents(one.data) == before
    install(files, one, "--no-reload", shell=shell).done()


def test_a_key_that_was_made_on_the_server_stays_there_and_has_to_be_that_of_the_certificate(
    one: Server, tmp_path: Path
) -> None:
    key = one.data / "server.key"
    words = ["openssl", "req", "-new", "-newkey", "ed25519", "-nodes", "-subj", "/", "-out", str(tmp_path / "own.csr")]
    subprocess.run([*words, "-keyout", str(key)], check=True, capture_output=True)
    give(key, server_account())
    files = build(tmp_path, one, more='csr_file = "own.csr"') / "servers" / "main"
    assert not (files / "server.key").exists()
    mine = key.read_bytes()
    install(files, one).done()
    assert ("db.example.com" in served(one), key.read_bytes()) == (True, mine)
    assert "nothing to do" in install(files, one).done()
    spoil_key(one.data)
    before = contents(one.data)
    install(files, one).refused("server.key does not match server.crt")
    assert contents(one.data) == before


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("days", [-12, 2], ids=["that ran out", "from the future"])
def test_a_crl_that_is_not_valid_is_refused_unless_the_one_in_place_is_none_better(
    one: Server, tmp_path: Path, days: int, shell: tuple[str, ...]
) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"{shell[0]} is not installed: `make system` does it")
    spec = SPEC.format(postgres=one.version, host="db.example.com", more='validity = "1y"')
    spec = spec.replace("[ca.root]", '[ca.root]\ncrl_validity = "10d"')
    install(compiled(spec, tmp_path / "good") / "servers" / "main", one, shell=shell).done()
    before = contents(one.data)
    for day in (-20, days):
        out = compiled(spec, tmp_path / "bad", now=f"{datetime.now(UTC) + timedelta(days=day):%Y-%m-%d}")
    files = out / "servers" / "main"
    install(files, one, shell=shell).refused("every connection would be refused")
    assert contents(one.data) == before
    for path in ("root.crl", *(f"root.crl.d/{path.name}" for path in (files / "root.crl.d").iterdir())):
        one.write(path, (files / path).read_bytes())
    run = install(files, one, shell=shell)
    assert run.done()
    assert "nor is the one in place" in run.stderr


def test_the_previous_set_comes_back_where_another_setting_wins(one: Server, tmp_path: Path) -> None:
    out = build(tmp_path, one)
    one.sql("alter system set ssl = off")
    before = contents(one.data)
    install(out / "servers" / "main", one).refused("postgresql.auto.conf or a command line overrides pgtls.conf")
    assert contents(one.data) == before
    one.sql("alter system reset ssl")
    install(out / "servers" / "main", one).done()


def revoking_app(server: Server, directory: Path, *, restart: bool = False) -> tuple[Path, dict[str, str]]:
    """Install a set that admits app, and build one that revokes it. Return its files, and app's parameters."""
    server.populate(["app"], ["shop"])
    if restart:
        server.restart()
    out = build(directory, server)
    install(out / "servers" / "main", server).done()
    own = Bundle(shutil.copytree(out / "clients" / "app", directory / "app")).parameters("shop") | at(server)
    assert admitted(PSQL.connect(own)) == "app@shop"
    compiled((directory / "pgtls.toml").read_text().partition("[user.app]")[0], directory)
    return out / "servers" / "main", own


@pytest.mark.parametrize("lost", ["crls", "cas"])
def test_a_set_whose_tls_settings_something_else_decides_is_not_in_force(
    revoking: Server, tmp_path: Path, lost: str
) -> None:
    files, own = revoking_app(revoking, tmp_path)
    wrong = {"ssl_crl_file": "", "ssl_crl_dir": ""} if lost == "crls" else {"ssl_ca_file": "other.crt"}
    shutil.copy(revoking.data / "root.crt", revoking.data / "other.crt")
    give(revoking.data / "other.crt", server_account())
    wrong = {name: value for name, value in wrong.items() if revoking.version >= 14 or name != "ssl_crl_dir"}
    for name, value in wrong.items():
        revoking.sql(f"alter system set {name} = '{value}'")
    before = contents(revoking.data)
    shown = ", ".join(f"{name} = '{value}'" for name, value in wrong.items())
    said = install(files, revoking).refused(f"overrides pgtls.conf: the server would use {shown}; the previous set")
    assert "hint: ALTER SYSTEM RESET each of these settings" in said
    assert contents(revoking.data) == before
    for name in wrong:
        revoking.sql(f"alter system reset {name}")
    install(files, revoking).done()
    refused(PSQL.connect(own), "revoked")


@pytest.mark.parametrize("how", ["ALTER SYSTEM", "-c ssl_crl_file=", "-cSSL_crl_file=", "--ssl-crl-file="])
def test_files_that_are_in_place_are_not_in_force_where_something_else_decides(
    one: Server, tmp_path: Path, how: str
) -> None:
    files = build(tmp_path, one) / "servers" / "main"
    install(files, one).done()
    started = one.data / "postmaster.opts"
    words = started.read_text()
    if how == "ALTER SYSTEM":
        one.sql("alter system set ssl_crl_file = ''")
    else:
        started.write_text(f'{words.rstrip()} "{how.replace(" ", chr(34) + " " + chr(34))}"\n')
    install(files, one).refused("the server would use ssl_crl_file = ''")
    one.sql("alter system reset ssl_crl_file")
    started.write_text(f'{words.rstrip()} "-h" ""\n')
    assert "nothing to do" in install(files, one).done()


@pytest.mark.parametrize("where", ["there", "elsewhere"])
def test_files_that_come_to_their_place_by_other_means_are_loaded(revoking: Server, tmp_path: Path, where: str) -> None:
    revoking.populate(["app"], ["shop"])
    directory, now = new_directory("etc") / "main", datetime.now(UTC)
    spec = SPEC.format(postgres=revoking.version, host="db.example.com", more=f'directory = "{directory}"')
    out = compiled(spec, tmp_path, now=f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}")
    files = out / "servers" / "main"

    def copied() -> str:
        shutil.copytree(files, directory, dirs_exist_ok=True)
        give(directory, server_account())
        return install(directory if where == "there" else files, revoking).done()

    copied()
    assert "nothing to do" in install(files, revoking).done()
    revoking.restart()
    own = Bundle(shutil.copytree(out / "clients" / "app", tmp_path / "app")).parameters("shop") | at(revoking)
    assert admitted(PSQL.connect(own)) == "app@shop"
    since = f"{now - timedelta(minutes=30):%Y-%m-%dT%H:%M:%SZ}"
    compiled(spec.replace("[user.app]", f"[user.app]\nrevoke_before = {since}"), tmp_path)
    said = copied()
    assert "reloaded (process " in said
    assert "done: the files were in place" in said
    refused(PSQL.connect(own), "revoked")
    assert "nothing to do" in install(files, revoking).done()


def test_a_setting_may_be_spelt_otherwise_and_others_than_those_of_tls_may_be_a_choice(
    server: Server, tmp_path: Path
) -> None:
    more = 'settings = { work_mem = "64MB", "app.motto" = "it\'s a \\\\ b", log_connections = "on" }'
    files = build(tmp_path, server, more=more) / "servers" / "main"
    for name, value in {"work_mem": "65536kB", "ssl": "true", "ssl_min_protocol_version": "tlsv1.2"}.items():
        server.sql(f"alter system set {name} = '{value}'")
    server.sql(f"alter system set ssl_cert_file = '{server.data}/server.crt'")
    run = install(files, server)
    assert (run.done(), run.stderr)[1] == ""
    server.sql("alter system set work_mem = '1MB'")
    run = install(files, server)
    assert "nothing to do" in run.done()
    assert "warning: postgresql.auto.conf or a command line overrides files of this set: work_mem\n" in run.stderr


def test_the_previous_set_comes_back_where_the_server_keeps_its_old_certificate(one: Server, tmp_path: Path) -> None:
    out = build(tmp_path, one)
    one.configure(log_min_messages="fatal")
    install(out / "servers" / "main", one).done()
    before = contents(one.data)
    build(tmp_path, one, host="db2.example.com")
    unloadable(out / "servers" / "main")
    install(out / "servers" / "main", one, "--wait", "1").refused("still serves another certificate")
    assert contents(one.data) == before
    assert "db.example.com" in served(one)


def unloadable(files: Path) -> None:
    """Give a set a setting that every OpenSSL refuses, and the server refuses only when it loads the files."""
    settings = files / "pgtls.conf"
    without = re.sub("(?m)^ssl_(groups|ecdh_curve) = .*\n", "", settings.read_text())
    settings.write_text(re.sub("(?m)^ssl_cert_file = ", "ssl_ecdh_curve = 'none-of-these'\n\\g<0>", without))


WRITES = {
    "its standard error": {},
    "a collector": {"logging_collector": "on"},
    "a collector, as CSV": {"logging_collector": "on", "log_destination": "csvlog"},
    "every part of a prefix": {
        "log_line_prefix": "%t %m %n %s %c %l %e %x %v %i %P %Q %L %b %h %r %a%%[%-8p] %q%u@%d "
    },
}


@pytest.mark.parametrize("log", WRITES)
def test_a_set_that_the_server_does_not_load_is_refused_also_if_its_certificate_stays(
    revoking: Server, tmp_path: Path, log: str
) -> None:
    """A server keeps the CAs and CRLs that it has loaded if it cannot load one of its files."""
    revoking.configure(**WRITES[log])
    files, own = revoking_app(revoking, tmp_path, restart=True)
    before = contents(revoking.data)
    unloadable(files)
    for _ in range(2):
        said = install(files, revoking).refused("the server refuses to load the TLS files: ")
        assert re.search("ECDH: unrecognized curve|could not set group names", said), said
        assert "; the previous set is back" in said
        assert contents(revoking.data) == before
    compiled((tmp_path / "pgtls.toml").read_text(), tmp_path)
    install(files, revoking).done()
    assert "nothing to do" in install(files, revoking).done()
    refused(PSQL.connect(own), "revoked")


KNOCK = """
import socket, struct, sys
port, process = sys.argv[1:]
for said in "received SIGHUP, reloading configuration files", "SSL configuration was not reloaded":
    line = f"2026-01-02 03:04:05.678 UTC [{process}] LOG:  {said}"
    for user, database in (
        (f"{said} {process}", "x"),
        (line, line),
        (f"x\\n{line}\\n", f"x\\n{line}\\n"),
        (f"x\\n{line[:52]}", f"{line[52:]}\\n"),
        (f"\\n1 1 Z [{process}] LOG:  {said}\\n", "x"),
        ("\\n1 1 ", f" [{process}] LOG:  {said}\\n"),
        ("\\n2026-01-02 03:04:05.678 ", f" [{process}] LOG:  {said}\\n"),
        (f'x"\\n{line}\\n', "x"),
    ):
        names = f"user\\0{user}\\0database\\0{database}\\0\\0".encode()
        with socket.create_connection(("127.0.0.1", int(port))) as stranger:
            stranger.sendall(struct.pack("!ii", len(names) + 8, 196608) + names)
            while stranger.recv(1000):
                pass
"""
NAMED_BY_STRANGERS = {name: WRITES[name] for name in ("its standard error", "a collector, as CSV")} | {
    "a collector, as JSON": {"logging_collector": "on", "log_destination": "jsonlog"},
    "names after the postmaster's": {"log_line_prefix": "%m [%p] %q%u@%d "},
}


@ROOT_ONLY
@pytest.mark.parametrize("whose", ["the owner's", "of another account"])
def test_a_process_that_is_not_the_server_is_not_reloaded(one: Server, tmp_path: Path, whose: str) -> None:
    """The server runs in another container, with the same data directory: there its process has that number."""
    install(build(tmp_path, one) / "servers" / "main", one).done()
    files = build(tmp_path, one, "other.example.com") / "servers" / "main"
    noted = (one.data / "postmaster.pid").read_text()
    one.stop()
    words = [*(run_as(server_account()) if whose == "the owner's" else ()), "sleep", "600"]
    with subprocess.Popen(words, cwd="/", start_new_session=True) as stranger:
        (one.data / "postmaster.pid").write_text(noted.replace(noted.split()[0], str(stranger.pid), 1))
        give(one.data / "postmaster.pid", server_account())
        before = contents(one.data)
        refused_ = install(files, one)
        unloaded = install(files, one, "--no-reload")
        os.killpg(stranger.pid, signal.SIGKILL)
    said = refused_.refused(f"process {stranger.pid} is not the server of {one.data}")
    assert "run this where the server runs" in said
    assert "not reloaded" in unloaded.done()
    assert before != contents(one.data)
    # No process has the number: it may be one of another container, or the server crashed.
    third = build(tmp_path, one, "third.example.com") / "servers" / "main"
    for _ in range(2):
        assert "If it runs in another container, reload it there" in install(third, one).done()
    (one.data / "postmaster.pid").unlink()
    one.start()
    assert "third.example.com" in served(one)


@pytest.mark.parametrize("log", NAMED_BY_STRANGERS)
def test_no_name_that_a_stranger_sends_stops_the_installation_of_a_crl(one: Server, tmp_path: Path, log: str) -> None:
    """The server writes the names into its log: here, before each of the reloads."""
    one.configure(**NAMED_BY_STRANGERS[log])
    files, own = revoking_app(one, tmp_path, restart=True)
    process = (one.data / "postmaster.pid").read_text().split()[0]
    knock = tmp_path / "knock.py"
    knock.write_text(KNOCK)
    script = files / "install.sh"
    whole = script.read_text()
    for step in ("    hang_up ", "shows 1 && hang_up "):
        before = step.replace("hang_up", f"{sys.executable} {knock} {one.port} {process} && hang_up")
        assert step in whole
        whole = whole.replace(step, before)
    script.write_text(whole)
    said = install(files, one).done()
    assert "no line of the server's log tells" not in said
    refused(PSQL.connect(own), "revoked")


@pytest.mark.parametrize("setting", [{"log_min_messages": "fatal"}, {"log_line_prefix": "%m "}], ids=str)
def test_where_no_line_of_a_log_is_certain_it_is_named_as_what_tells(
    one: Server, tmp_path: Path, setting: dict[str, str]
) -> None:
    files, own = revoking_app(one, tmp_path)
    one.configure(**setting)
    assert "no line of the server's log tells this script that" in install(files, one).done()
    refused(PSQL.connect(own), "revoked")


@pytest.mark.parametrize("damaged", [True, False], ids=["a damaged one", "a whole one"])
def test_the_server_reads_the_rules_of_the_set_that_comes_back(one: Server, tmp_path: Path, damaged: bool) -> None:
    zoe = '[user.zoe]\n[policy.zoe]\nusers = ["zoe"]\nfrom = ["local"]\nauth = "trust"\nwaiver = "a throwaway server"'
    files = build(tmp_path, one) / "servers" / "main"
    install(files, one).done()
    if damaged:
        one.write("root.crl", (one.data / "root.crl").read_bytes()[:-80])
    one.sql("create role zoe login")
    build(tmp_path, one, host="db2.example.com", more=zoe)
    settings = files / "pgtls.conf"
    settings.write_text(re.sub("(?m)^ssl_ciphers = .*", "ssl_ciphers = 'none of these'", settings.read_text()))
    said = install(files, one, "--wait", "1").refused("the previous set is back")
    assert ("the previous set is at fault, too: root.crl is empty, cut off" in said) == damaged
    assert not one.sql("select from pg_hba_file_rules where 'zoe' = any(user_name)")
    refused(PSQL.connect(socket_of(one) | {"user": "zoe"}), "no pg_hba.conf entry")


def test_a_directory_of_its_own_takes_the_files_and_the_rules_in_force_follow(one: Server, tmp_path: Path) -> None:
    one.populate(["app"], ["shop"])
    directory = new_directory("etc") / "main"
    out = build(tmp_path, one, more=f'directory = "{directory}"')
    said = install(out / "servers" / "main", one).done()
    assert f"hba_file becomes {directory}/pg_hba.conf at the next restart" in said
    own = Bundle(out / "clients" / "app").parameters("shop") | at(one)
    assert admitted(PSQL.connect(own)) == "app@shop"
    # The server has not restarted: it still reads the rules where they were.
    spec = (tmp_path / "pgtls.toml").read_text().replace('from = ["127.0.0.1"]', 'from = ["127.0.0.2"]')
    compiled(spec, tmp_path)
    install(out / "servers" / "main", one).done()
    refused(PSQL.connect(own), "no pg_hba.conf entry")
    one.restart()
    assert one.show("hba_file") == f"{directory}/pg_hba.conf"
    refused(PSQL.connect(own), "no pg_hba.conf entry")


COPIES = """
[user.standby]
ca = "root"
[policy.copies]
users = ["standby"]
databases = ["replication"]
from = ["127.0.0.1"]
auth = "cert"
"""


@pytest.mark.parametrize("own", [False, True], ids=["in the data directory", "in a directory of its own"])
def test_only_a_directory_of_its_own_keeps_the_key_out_of_base_backups(one: Server, tmp_path: Path, own: bool) -> None:
    one.sql("create role standby login replication")
    more = f'directory = "{new_directory("etc") / "main"}"' if own else ""
    spec = SPEC.format(postgres=one.version, host="db.example.com", more=more) + COPIES
    out = compiled(spec, tmp_path)
    install(out / "servers" / "main", one).done()
    copy, bundle = new_directory("copy"), new_directory("bundle")
    subprocess.run(["cp", "-a", out / "clients" / "standby", bundle / "standby"], check=True)
    for directory in (copy, bundle):
        give(directory, server_account())
    words = Bundle(bundle / "standby").parameters() | at(one) | {"user": "standby"}
    words.pop("dbname", None)
    subprocess.run(
        [*run_as(server_account()), one.installation.bin / "pg_basebackup", "-d",
            " ".join(f"{name}='{value}'" for name, value in words.items()), "-D", copy / "data", "-X", "none"],
        check=True, capture_output=True, env=ENVIRONMENT, cwd="/",
    )  # fmt: skip
    key = (out / "servers" / "main" / "server.key").read_bytes()
    found = [path for path in copy.rglob("*") if path.is_file() and path.read_bytes() == key]
    assert bool(found) == (not own)


BOB = """
[user.bob]
[policy.bob]
users = ["bob"]
databases = ["shop"]
from = ["local"]
auth = "scram-sha-256"
"""


@dataclass(slots=True)
class Moving:
    """A server whose files lie in one directory after the other, and bob, who comes in over the socket or not."""

    server: Server
    spec: Path
    etc: Path
    hosts: int = 0

    def files(self, directory: str, rules: str = "") -> Path:
        """Build for a directory ("": the data directory), with rules for bob or none."""
        self.hosts += 1
        more = f'directory = "{self.etc}/{directory}"' if directory else ""
        spec = SPEC.format(postgres=self.server.version, host=f"db{self.hosts}.example.com", more=more)
        return compiled(spec + rules, self.spec) / "servers" / "main"

    def put(self, directory: str, rules: str = "", *options: str) -> Installed:
        return install(self.files(directory, rules), self.server, *options)

    def connect(self) -> Outcome:
        words = socket_of(self.server) | {"user": "bob", "dbname": "shop", "password": "secret"}
        return PSQL.connect(words)

    def is_in(self) -> None:
        assert admitted(self.connect()) == "bob@shop"

    def is_out(self) -> None:
        """Bob is refused by the rules that the server reads now, and by those after a restart."""
        for _ in range(2):
            refused(self.connect(), "no pg_hba.conf entry")
            own = Bundle(self.spec / "out" / "clients" / "app").parameters("shop") | at(self.server)
            assert admitted(PSQL.connect(own)) == "app@shop"
            self.server.restart()


@pytest.fixture
def moving(one: Server, tmp_path: Path) -> Moving:
    one.populate(["app", "bob"], ["shop"], password="secret")
    return Moving(one, tmp_path, new_directory("etc"))


@pytest.mark.parametrize("then", ["one", "two", ""], ids=["nowhere", "to another", "to the data directory"])
def test_rules_that_the_spec_took_away_do_not_come_back_where_the_files_move(moving: Moving, then: str) -> None:
    """The rules of the first set lay in the data directory until the restart."""
    moving.put("one", BOB).done()
    moving.server.restart()
    moving.is_in()
    moving.put("one").done()
    assert "bob" not in (moving.server.data / "pg_hba.conf").read_text()
    said = moving.put(then).done()
    assert ("hba_file becomes" in said) == (then != "one")
    moving.is_out()


@pytest.mark.parametrize("then", ["one", "two", ""], ids=["nowhere", "to another", "to the data directory"])
def test_rules_reach_a_server_that_has_not_restarted_since_the_files_moved(moving: Moving, then: str) -> None:
    moving.put("one", BOB).done()
    moving.server.restart()
    for directory in (then, "three", then):
        moving.put(directory, BOB).done()
    moving.is_in()
    said = moving.put(then).done()
    assert f"can read every line of {moving.etc}/one/pg_hba.conf" in said
    moving.is_out()


@pytest.mark.parametrize("first", ["one", ""], ids=["from a directory", "from the data directory"])
def test_a_rejected_set_of_another_directory_leaves_the_previous_one_in_force(moving: Moving, first: str) -> None:
    moving.put(first, BOB).done()
    moving.server.restart()
    moving.put(first).done()
    (include,) = includes(moving.server)
    # Nothing answers at this address (RFC 5737).
    moving.put("two", "", "--wait", "1", "--host", "192.0.2.1").refused("the previous set is back")
    assert includes(moving.server) == [include]
    assert moving.server.show("ssl") == "on"
    assert f"db{moving.hosts - 1}.example.com" in served(moving.server)
    moving.put(first).done()  # the bundles are those of the last build
    moving.is_out()


def test_no_rollback_goes_to_another_directory(moving: Moving) -> None:
    moving.put("one").done()
    moving.put("two").done()
    files = moving.spec / "out" / "servers" / "main"
    before = includes(moving.server)
    install(files, moving.server, "--rollback").refused("the previous set lies in another directory: include '")
    assert includes(moving.server) == before == [f"include '{moving.etc}/two/pgtls.conf'"]
    moving.put("two").done()
    install(files, moving.server, "--rollback").done()
    assert includes(moving.server) == before


def test_rules_follow_a_run_that_was_killed_when_the_settings_named_others(moving: Moving) -> None:
    files = moving.files("one", BOB)
    script = files / "install.sh"
    whole = script.read_text()
    script.write_text(whole.replace('take() {\n    swap "$1"\n', 'take() {\n    swap "$1"\n    kill -9 0\n'))
    assert "kill -9 0" in script.read_text()
    assert install(files, moving.server).status != 0
    script.write_text(whole)
    install(files, moving.server).done()
    moving.is_in()
    moving.put("one").done()
    moving.is_out()


@pytest.mark.parametrize("damaged", [True, False], ids=["a damaged set", "a whole one"])
def test_no_forgotten_set_comes_back_where_the_files_return(moving: Moving, damaged: bool) -> None:
    moving.put("one").done()
    files = moving.files("one", BOB)
    script = files / "install.sh"
    whole = script.read_text()
    script.write_text(whole.replace("take() {\n", "take() {\n    kill -9 0\n"))
    assert "kill -9 0" in script.read_text()
    assert install(files, moving.server).status != 0
    script.write_text(whole)
    moving.put("two").done()
    moving.server.restart()
    files = moving.files("one")
    if damaged:
        (files / "root.crl").write_bytes(b"")
        install(files, moving.server).refused("root.crl is empty")
    else:
        said = install(files, moving.server).done()
        assert said.count("reloaded (") == 1
    moving.is_out()


def test_a_server_that_reads_other_rules_than_its_settings_name_is_told_to_restart(moving: Moving) -> None:
    """Somebody took the include out by hand."""
    moving.put("one", BOB).done()
    moving.server.restart()
    conf = moving.server.data / "postgresql.conf"
    conf.write_text(conf.read_text().replace(includes(moving.server)[0], ""))
    before = contents(moving.server.data)
    moving.put("two").refused(f"the running server reads {moving.etc}/one/pg_hba.conf")
    assert contents(moving.server.data) == before
    moving.server.restart()
    moving.put("two").done()
    moving.is_out()


@ROOT_ONLY
def test_files_move_out_of_a_directory_of_root_while_the_server_is_stopped(moving: Moving) -> None:
    group = subprocess.run(["id", "-gn", server_account().name], capture_output=True, text=True, check=True).stdout
    moving.put("one", BOB, "--group", group.strip()).done()
    moving.server.restart()
    assert "to move the files: stop the server, take the include" in moving.put("two").refused("/one/pg_hba.conf")
    moving.is_in()
    moving.server.stop()
    conf = moving.server.data / "postgresql.conf"
    conf.write_text(conf.read_text().replace(includes(moving.server)[0], ""))
    moving.put("two").done()
    moving.server.start()
    moving.is_out()


def test_a_rollback_after_a_restart_brings_the_rules_from_before_pgtls_back(moving: Moving) -> None:
    own = (moving.server.data / "pg_hba.conf").read_bytes()
    moving.put("one").done()
    moving.server.restart()
    install(moving.spec / "out" / "servers" / "main", moving.server, "--rollback").done()
    assert (includes(moving.server), (moving.server.data / "pg_hba.conf").read_bytes()) == ([], own)
    assert (moving.etc / "one" / "pg_hba.conf").read_bytes() == own


def includes(server: Server) -> list[str]:
    """Return the lines that include a pgtls.conf."""
    return [line for line in (server.data / "postgresql.conf").read_text().splitlines() if "pgtls.conf'" in line]


@ROOT_ONLY
def test_a_group_may_read_the_key(one: Server, tmp_path: Path) -> None:
    group = subprocess.run(
        ["id", "-gn", server_account().name], capture_output=True, text=True, check=True
    ).stdout.strip()
    directory = new_directory("etc") / "pgtls" / "main"
    out = build(tmp_path, one, more=f'directory = "{directory}"')
    install(out / "servers" / "main", one, "--group", group).done()
    key = (directory / "server.key").stat()
    assert (stat.S_IMODE(key.st_mode), key.st_uid, key.st_gid) == (0o640, 0, server_account().gid)
    assert "nothing to do" in install(out / "servers" / "main", one, "--group", group).done()
    one.restart()
    assert "db.example.com" in served(one)
    build(tmp_path, one, host="db2.example.com", more=f'directory = "{directory}"')
    install(out / "servers" / "main", one, "--group", group).done()
    assert "db2.example.com" in served(one)


@ROOT_ONLY
def test_a_group_without_the_running_server_is_refused(one: Server, tmp_path: Path) -> None:
    """A process has the groups of its start, and a server that cannot read its key keeps the CRLs it has loaded."""
    directory = new_directory("etc") / "pgtls" / "main"
    files = build(tmp_path, one, more=f'directory = "{directory}"') / "servers" / "main"
    for options in ((), ("--dry-run",), ("--no-reload",)):
        install(files, one, "--group", "daemon", *options).refused("is no member of daemon, and could not read its key")
    install(files, one, "--group", "no-such-group").refused("there is no group no-such-group")
    assert not directory.exists()
    one.stop()
    install(files, one, "--group", "daemon").done()


@ROOT_ONLY
def test_root_keeps_no_key_where_the_owner_of_the_cluster_can_replace_it(one: Server, tmp_path: Path) -> None:
    owner = server_account()
    files = build(tmp_path, one) / "servers" / "main"
    reason = "--group gives the key to root, and others than root can change"
    install(files, one, "--group", "root").refused(f"{reason} {one.data}")
    theirs = new_directory("theirs")
    give(theirs, owner)
    build(tmp_path, one, more=f'directory = "{theirs}/new/main"')
    install(files, one, "--group", "root").refused(f"{reason} {theirs}")
    install(files, one).done()
    assert (theirs / "new" / "main" / "server.key").stat().st_uid == owner.uid
    ours = theirs / "ours"
    ours.mkdir(mode=0o755)
    link = new_directory("etc") / "link"
    link.symlink_to(ours)
    planted = theirs / "planted"  # by the owner, in the way of a directory that is not there yet
    planted.symlink_to(new_directory("another"))
    closed = new_directory("closed")  # the owner can open it again at any time
    closed.chmod(0o555)
    give(closed, owner)
    sticky = theirs / "sticky"
    sticky.mkdir()
    sticky.chmod(0o1777)
    give(sticky, owner)
    (sticky / "main").mkdir(mode=0o755)
    for directory in (ours, link, planted, closed, sticky / "main"):
        build(tmp_path, one, more=f'directory = "{directory}"')
        place = directory.resolve()
        install(files, one).refused(f"{owner.name} cannot write to {place}, and others than root can change it")
        install(files, one, "--group", "root").refused(f"{reason} {place}")
        assert list(directory.iterdir()) == []


@ROOT_ONLY
def test_root_writes_no_file_that_the_owner_of_the_cluster_names(one: Server, tmp_path: Path) -> None:
    files = build(tmp_path, one) / "servers" / "main"
    another = new_directory("another")
    (another / "passwd").write_text("kept\n")
    (another / "passwd").chmod(0o644)
    with (one.data / "postgresql.conf").open("a") as settings:
        settings.write(f"hba_file = '{another}/passwd'\n")
    install(files, one).refused(f"{server_account().name} cannot write to {another}")
    assert [path.name for path in another.iterdir()] == ["passwd"]
    assert (another / "passwd").read_text() == "kept\n"


@ROOT_ONLY
def test_root_works_in_no_directory_of_the_owner_of_the_cluster_beside_files_of_its_own(
    one: Server, tmp_path: Path
) -> None:
    directory = new_directory("etc") / "main"
    directory.mkdir(mode=0o755)
    files = build(tmp_path, one, more=f'directory = "{directory}"') / "servers" / "main"
    install(files, one).done()
    owned = {path.name for path in directory.rglob("*") if path.is_dir() and path.stat().st_uid != 0}
    assert owned == set()
    assert (directory / "server.key").stat().st_uid == server_account().uid
    one.restart()
    assert "db.example.com" in served(one)
    give(directory / ".pgtls-install", server_account())
    install(files, one).refused(f"{directory}/.pgtls-install is a link, or does not belong to root")


def test_the_owner_of_the_cluster_installs_and_nobody_else(one: Server, tmp_path: Path) -> None:
    out = build(tmp_path, one)
    copy = new_directory("copy") / "main"
    shutil.copytree(out / "servers" / "main", copy)
    give(copy, server_account())
    stranger = find_account("nobody")
    if is_root() and stranger and stranger != server_account():
        theirs = new_directory("theirs") / "main"
        shutil.copytree(copy, theirs)
        give(theirs.parent, stranger)
        assert install(theirs, one, account=stranger).status == 1
    install(copy, one, account=server_account()).done()


def test_wrong_usage_and_wrong_clusters_are_diagnosed(one: Server, tmp_path: Path) -> None:
    out = build(tmp_path, one)
    files = out / "servers" / "main"
    assert install(files, one, "--rolback").status == 64
    assert install(files, one, "--wait", "long").status == 64
    assert "unknown argument /srv: options name everything, such as --data DIR" in install(files, one, "/srv").stderr
    install(files, one, "--data=/nope").refused(
        "there is no directory /nope" if is_root() else "is not a data directory"
    )
    install(files, one, "--data", str(tmp_path)).refused("is not a data directory")
    install(files, one, "--rollback").refused("there is no previous set")
    other = tmp_path / "other"
    other.mkdir()
    (other / "PG_VERSION").write_text("9.6\n")
    install(files, one, "--data", str(other)).refused("is of PostgreSQL 9.6")
    assert "Usage:" in install(files, one, "--help").done()


def test_shellcheck_finds_nothing(one: Server, tmp_path: Path) -> None:
    out = build(tmp_path, one, more='directory = "/etc/it\'s here"')
    program = Path(sys.prefix) / "bin" / "shellcheck"
    found = subprocess.run(
        [program, out / "servers" / "main" / "install.sh"], capture_output=True, text=True, check=False
    )
    assert found.stdout == ""


COUNTED = ("mv", "ln", "rm", "mkdir", "chmod", "mktemp", "cat")


def killing(directory: Path) -> Path:
    """Write programs that count themselves and kill the run before the one that is asked for."""
    for name in COUNTED:
        program = directory / name
        real = shutil.which(name)
        program.write_text(
            "#!/bin/sh\n"
            'read -r n <"$COUNTER"; n=$((n + 1)); echo "$n" >"$COUNTER"\n'
            '[ "$n" -ne "$KILL_AT" ] || kill -9 0\n'
            f'exec {real} "$@"\n'
        )
        program.chmod(0o755)
    return directory


@pytest.mark.slow
def test_killed_on_the_way_it_leaves_a_server_that_starts_and_the_next_run_finishes(tmp_path: Path) -> None:
    account = server_account()
    home = new_directory("kill")
    programs = killing(home)
    counter = home / "counter"
    with newest() as server:
        out = build(tmp_path, server)
        sets = []
        for number, host in enumerate(("db.example.com", "db2.example.com")):
            build(tmp_path, server, host=host)
            sets.append(home / f"set{number}")
            shutil.copytree(out / "servers" / "main", sets[-1])
        give(home, account)
        install(sets[0], server, account=account).done()
        server.stop()
        original = home / "original"
        subprocess.run(["cp", "-a", server.data, original], check=True)
        step, seen, ways, swapping = 0, set(), set(), server.data / ".pgtls-install" / "unfinished"
        is_near = False
        while True:
            step += 9 if is_near else 14  # nothing that a server reads changes before the swap
            counter.write_text("0\n")
            give(counter, account)
            surroundings = {"COUNTER": str(counter), "KILL_AT": str(step), "PATH": f"{programs}:{os.environ['PATH']}"}
            run = install(sets[1], server, account=account, environment=surroundings)
            is_near = is_near or swapping.exists()
            ways.add(".pgtls-install" in (server.data / "pgtls.conf").read_text())
            server.start()
            names = served(server)
            seen.add(names)
            assert "db.example.com" in names or "db2.example.com" in names
            server.stop()
            if run.status == 0:
                break
            install(sets[1], server, account=account).done()
            server.start()
            assert "db2.example.com" in served(server)
            server.stop()
            shutil.rmtree(server.data)
            subprocess.run(["cp", "-a", original, server.data], check=True)
        assert is_near
        assert ways == {False, True}
        assert len(seen) == 2


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of its own with hardly any room, where the files of a server will lie."""
    directory = new_directory("small") / "pgtls"
    directory.mkdir()
    if (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0755", "tmpfs", directory], check=False
        ).returncode
        != 0
    ):
        pytest.skip("unavailable: only root mounts a file system of its own")
    give(directory, server_account())
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def test_a_full_disk_leaves_what_is_there_and_the_next_run_installs(
    one: Server, tmp_path: Path, small_disk: Path
) -> None:
    more = f'directory = "{small_disk}"'
    install(build(tmp_path, one, more=more) / "servers" / "main", one).done()
    one.restart()
    before = {path: path.read_bytes() for path in small_disk.glob("*.*") if path.is_file()}
    assert "db.example.com" in served(one)

    files = build(tmp_path, one, host="db2.example.com", more=more) / "servers" / "main"
    filler = small_disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 512)
    assert install(files, one).status == 1
    assert before == {path: path.read_bytes() for path in before}
    one.restart()
    assert "db.example.com" in served(one), "a full disk leaves a server that starts"

    filler.unlink()
    install(files, one).done()
    assert "db2.example.com" in served(one)


@ROOT_ONLY
def test_root_runs_and_writes_nothing_that_the_owner_of_the_cluster_chose(one: Server, tmp_path: Path) -> None:
    files = build(tmp_path, one) / "servers" / "main"
    home = new_directory("evil")
    program = home / "postgres"
    program.write_text(f'#!/bin/sh\nid -u >>{home}/ran\nexec {one.installation.bin}/postgres "$@"\n')
    program.chmod(0o755)
    give(home, server_account())
    opts = one.data / "postmaster.opts"
    words = opts.read_text()
    opts.write_text(f"{program} {words.split(' ', 1)[1]}")
    install(files, one, "--dry-run", "--bindir", "").done()
    assert set((home / "ran").read_text().split()) == {str(server_account().uid)}
    secret = new_directory("root") / "shadow"
    secret.write_text("secret\n")
    secret.parent.chmod(0o700)
    opts.write_text(words.rstrip("\n") + f' "-c" "hba_file={secret}"\n')
    install(files, one).refused("cannot write to")
    assert (secret.read_text(), secret.stat().st_uid) == ("secret\n", 0)


@pytest.mark.parametrize("name", ["root.crl", "server.key", "root.crl.d", ".pgtls-install"])
@ROOT_ONLY
def test_root_follows_no_link_that_the_owner_put_where_a_file_lies(one: Server, tmp_path: Path, name: str) -> None:
    secret = new_directory("root") / "secret"
    secret.mkdir()
    (secret / "file").write_text("canary\n")
    (secret / "file").chmod(0o600)
    secret.chmod(0o700)
    link = one.data / name
    link.symlink_to(secret if name in ("root.crl.d", ".pgtls-install") else secret / "file")
    os.chown(link, server_account().uid, server_account().gid, follow_symlinks=False)
    install(build(tmp_path, one) / "servers" / "main", one, "--no-reload")
    assert [(path.name, path.read_text()) for path in secret.iterdir()] == [("file", "canary\n")]
    link.unlink(missing_ok=True)
    seen = subprocess.run(["grep", "-rl", "canary", one.data], check=False, capture_output=True, text=True)
    assert seen.stdout == ""


def plant(place: Path, program: str, server: Server) -> None:
    """Give a data directory a program ``postgres`` of its owner, with which its server says that it was started."""
    (place / "bin").mkdir()
    (place / "bin" / "postgres").write_text("#!/bin/sh\n" + program)
    (place / "bin" / "postgres").chmod(0o755)
    (place / "PG_VERSION").write_text(f"{server.version}\n")
    (place / "postgresql.conf").write_text("")
    (place / "postmaster.opts").write_text(f'{place}/bin/postgres "-D" "x"\n')
    for path in place.rglob("*"):
        give(path, server_account())


@dataclass(frozen=True, slots=True)
class Trap:
    """Data directories with a program that notes who runs it."""

    files: Path
    home: Path
    own: Path
    """The data directory of the server's account, which lies in a directory of that account, as on Debian."""
    sticky: Path
    """The same in a directory of root's that everybody can write to, such as /tmp."""

    def run(self, data: Path, one: Server, *options: str, **more: Any) -> Installed:
        return install(self.files, one, "--data", str(data), "--bindir", "", "--dry-run", *options, **more)

    @property
    def ran_as(self) -> set[str]:
        return {path.name for path in (self.home / "who").iterdir()}


@pytest.fixture
def trap(one: Server, tmp_path: Path) -> Trap:
    """Plant the program where the server's account can."""
    home = new_directory("trap")
    (home / "who").mkdir()
    (home / "who").chmod(0o1777)
    (home / "15").mkdir()
    give(home / "15", server_account())
    program = f'touch "{home}/who/$(id -un)"\nexec {one.installation.bin}/postgres "$@"\n'
    own, sticky = home / "15" / "main", home / "tmp"
    for place in (own, sticky):
        place.mkdir()
        plant(place, program, one)
    sticky.chmod(0o1777)
    own.chmod(0o700)
    give(own, server_account())
    return Trap(build(tmp_path, one) / "servers" / "main", home, own, sticky)


def linked(link: Path, target: Path, account: Account) -> Path:
    """Make a symbolic link of an account's."""
    link.symlink_to(target)
    os.chown(link, account.uid, account.gid, follow_symlinks=False)
    return link


@ROOT_ONLY
@pytest.mark.parametrize("shell", SHELLS)
def test_nothing_of_a_cluster_runs_as_root(one: Server, trap: Trap, shell: tuple[str, ...]) -> None:
    trap.run(trap.own, one, shell=shell).done()
    assert trap.ran_as == {server_account().name}
    (trap.home / "who" / server_account().name).unlink()
    link = linked(trap.home / "15" / "link", trap.sticky, server_account())
    for data in (trap.sticky, link, Path(f"{link}/")):
        trap.run(data, one, shell=shell).refused("belongs to root, and PostgreSQL does not run as root")
    surroundings = {"PGDATA": str(link)}
    words = ("--data", "", "--bindir", "", "--dry-run")
    install(trap.files, one, *words, shell=shell, environment=surroundings).refused("belongs to root")
    assert trap.ran_as == set()


@ROOT_ONLY
def test_the_data_directory_is_one_that_no_third_account_chose(one: Server, trap: Trap) -> None:
    stranger, owner = find_account("nobody"), server_account()
    assert stranger
    if stranger == owner:
        pytest.skip("unavailable: a third account")
    for mode in (0o770, 0o701, 0o750):
        trap.own.chmod(mode)
        if mode == 0o750:
            trap.run(trap.own, one).done()
        else:
            trap.run(trap.own, one).refused(f"others than {owner.name} can change or read {trap.own}")
    root, theirs = find_account("root"), trap.home / "theirs"
    assert root
    theirs.mkdir()
    linked(theirs / "main", trap.own, stranger)
    linked(theirs / "up", Path("../15"), stranger)
    linked(trap.home / "ours", Path("15/main"), root)
    linked(trap.home / "over", Path("theirs/main"), root)
    for way in ("theirs/main", "theirs/main/", "theirs/up/main", "over"):
        trap.run(Path(f"{trap.home}/{way}"), one).refused(f"others than root and {owner.name} can change {trap.home}/")
    trap.run(trap.home / "ours", one).done()


NAMED = ["hba_file", "ident_file", "hosts_file", "config_file"]


@ROOT_ONLY
@pytest.mark.parametrize("setting", [*NAMED, "in-force"])
def test_root_writes_no_name_of_its_own_directory_that_the_cluster_supplies(
    one: Server, tmp_path: Path, setting: str
) -> None:
    directory = new_directory("etc") / "pki"
    directory.mkdir()
    directory.chmod(0o755)
    key = directory / "web.key"
    key.write_text("# canary\n")
    key.chmod(0o644 if setting == "config_file" else 0o600)
    files = build(tmp_path, one, more=f'directory = "{directory}"') / "servers" / "main"
    if setting == "in-force":
        install(files, one).done()
        note = one.data / ".pgtls-install" / "in-force"
        running, _, *others = note.read_text().splitlines()
        note.write_text("\n".join((running, str(key), *others)) + "\n")
    else:
        opts = one.data / "postmaster.opts"
        opts.write_text(opts.read_text().rstrip("\n") + f' "-c" "{setting}={key}"\n')
    install(files, one).refused(f"{server_account().name} cannot write to {directory}, the directory of {key}")
    assert (key.read_text(), key.stat().st_uid) == ("# canary\n", 0)
    seen = subprocess.run(["grep", "-rl", "canary", directory], check=False, capture_output=True, text=True)
    assert seen.stdout.split() == [str(key)]


@ROOT_ONLY
def test_root_writes_no_other_name_beside_the_files_that_it_compiles(one: Server, tmp_path: Path) -> None:
    directory = new_directory("etc") / "pki"
    directory.mkdir(mode=0o755)
    more = f'directory = "{directory}"'
    files = build(tmp_path, one, more=more) / "servers" / "main"
    install(files, one, "--no-reload").done()
    build(tmp_path, one, host="db2.example.com", more=more)
    note = one.data / ".pgtls-install" / "in-force"
    assert note.stat().st_uid == server_account().uid
    running, _, *others = note.read_text().splitlines()
    for name in ("root.crl.d/chosen.pem", ".pgtls-install/chosen.pem", "pg_ident.conf", "server.key"):
        note.write_text("\n".join((running, f"{directory}/{name}", *others)) + "\n")
        place = (directory / name).parent
        install(files, one, "--no-reload").refused(f"{server_account().name} cannot write to {place}, the directory of")
    note.unlink()
    one.restart()
    install(files, one, "--no-reload").done()
    assert not list(directory.rglob("chosen.pem"))


@ROOT_ONLY
def test_no_files_go_where_a_third_account_can_replace_them(one: Server, tmp_path: Path) -> None:
    stranger, owner = find_account("nobody"), server_account()
    if stranger is None or stranger == owner:
        pytest.skip("unavailable: a third account")
    sticky = new_directory("sticky")
    sticky.chmod(0o1777)
    copy = new_directory("copy")
    give(copy, owner)
    for name, account, mode in (("made", stranger, 0o777), ("given", stranger, 0o755), ("open", owner, 0o777)):
        directory = sticky / name
        directory.mkdir()
        directory.chmod(mode)
        give(directory, account)
        files = build(tmp_path, one, more=f'directory = "{directory}/tls"') / "servers" / "main"
        shutil.copytree(files, copy / name)
        give(copy / name, owner)
        for run in (install(files, one), install(copy / name, one, account=owner)):
            run.refused(f"others than root and {owner.name} can change {directory}\n")
        assert list(directory.iterdir()) == []
    directory.chmod(0o755)
    install(files, one, "--no-reload").done()
    give(directory / "tls" / "root.crt", stranger)
    install(files, one).refused(f"{directory}/tls/root.crt belongs neither to root nor to {owner.name}")


@ROOT_ONLY
def test_root_writes_nothing_in_a_directory_that_is_away_while_it_looks(one: Server, tmp_path: Path) -> None:
    """A link of root's leads into a directory of the cluster's owner, who can rename it at any time."""
    owner, top = server_account(), new_directory("machine")
    there = top / "opt" / "app"
    (there / "tls").mkdir(parents=True)
    (top / "etc").mkdir()
    (top / "etc" / "app").symlink_to(there)
    for directory in (top / "opt", there, there / "tls"):
        give(directory, owner)
    files = build(tmp_path, one, more=f'directory = "{top}/etc/app/tls"') / "servers" / "main"
    run = install(files, one, "--no-reload", shell=absent_while_checked(there))
    assert [path for path in (top / "opt").rglob("*") if path.lstat().st_uid != owner.uid] == []
    run.refused(f"others than root and {owner.name} can change {there}")
    if not there.exists():
        (top / "opt" / ".app.away").rename(there)
    install(files, one, "--no-reload").done()
    assert [path for path in (top / "opt").rglob("*") if path.lstat().st_uid != owner.uid] == []


@ROOT_ONLY
def test_a_link_that_is_away_while_root_looks_at_it_chooses_no_cluster(one: Server, tmp_path: Path) -> None:
    stranger, top = find_account("nobody"), new_directory("machine")
    assert stranger
    if stranger == server_account():
        pytest.skip("unavailable: a third account")
    (top / "opt").mkdir()
    give(top / "opt", stranger)
    (top / "cluster").symlink_to("opt/cluster")
    link = linked(top / "opt" / "cluster", one.data, stranger)
    files = build(tmp_path, one) / "servers" / "main"
    run = install(files, one, "--data", str(top / "cluster"), "--dry-run", shell=absent_while_checked(link))
    run.refused(f"others than root and {server_account().name} can change {top}/opt")


@pytest.mark.parametrize("shell", SHELLS)
def test_files_of_another_directory_of_the_same_name_are_not_installed(
    one: Server, tmp_path: Path, shell: tuple[str, ...]
) -> None:
    files = build(tmp_path, one) / "servers" / "main"
    other = tmp_path / "other" / "main"
    other.mkdir(parents=True)
    where = ("--data", str(one.data), "--bindir", str(one.installation.bin))
    run = subprocess.run(
        [*shell, "main/install.sh", *where, "--dry-run"],
        check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=files.parent,
        env={**ENVIRONMENT, "CDPATH": str(other.parent)},
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")


def test_a_set_that_comes_back_keeps_the_newer_crls(revoking: Server, tmp_path: Path) -> None:
    revoking.populate(["app"], ["shop"])
    out = build(tmp_path, revoking)
    install(out / "servers" / "main", revoking).done()
    own = Bundle(shutil.copytree(out / "clients" / "app", tmp_path / "app")).parameters("shop") | at(revoking)
    assert admitted(PSQL.connect(own)) == "app@shop"
    compiled((tmp_path / "pgtls.toml").read_text().partition("[user.app]")[0], tmp_path)
    install(out / "servers" / "main", revoking).done()
    install(out / "servers" / "main", revoking, "--rollback").done()
    assert "app" in (revoking.data / "pg_hba.conf").read_text()
    refused(PSQL.connect(own), "revoked")
    crls = (revoking.data / "root.crl").read_text()
    for _ in range(2):
        install(out / "servers" / "main", revoking, "--rollback", "--no-reload").done()
    assert (revoking.data / "root.crl").read_text() == crls


LOOKING = """
found=
for n in 0 1 2 3 4 5 6 7 8 9; do
    if [ -t "$n" ]; then found="$found $n"; fi
done
if (: </dev/tty) 2>/dev/null; then found="$found tty"; fi
echo "terminal:$found" >>"{home}/who/seen"
env >>"{home}/who/seen"
printf '\\033[2J\\302\\233' >&2
if [ "$1" = --version ]; then exec {bin}/postgres "$@"; fi
printf '/\\033]0;title\\007/file\\n'
"""


def on_terminal(*words: str, environment: dict[str, str]) -> str:
    """Run a command in a session with a terminal; return what it shows there."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        ["setsid", "--ctty", *words], stdin=theirs, stdout=theirs, stderr=theirs, env=ENVIRONMENT | environment, cwd="/"
    ):
        os.close(theirs)
        shown = b""
        with suppress(OSError):
            while read := os.read(ours, 4096):
                shown += read
        os.close(ours)
    return shown.decode()


@ROOT_ONLY
@pytest.mark.parametrize("shell", SHELLS)
def test_programs_of_the_cluster_get_nothing_of_root(one: Server, trap: Trap, shell: tuple[str, ...]) -> None:
    secret = {"SECRET_OF_ROOT": "canary"}
    control = on_terminal(
        *run_as(server_account()), "sh", "-c",
        f"{LOOKING.format(home=trap.home, bin=one.installation.bin)}", "sh", "x",
        environment=secret,
    )  # fmt: skip
    seen = trap.home / "who" / "seen"
    assert "terminal: 0 1 2 tty\n" in seen.read_text()
    assert "canary" in seen.read_text()
    assert "\033[2J" in control
    seen.unlink()
    program = "#!/bin/sh\n" + LOOKING.format(home=trap.home, bin=one.installation.bin)
    (trap.own / "bin" / "postgres").write_text(program)
    words = (*shell, str(trap.files / "install.sh"), "--data", str(trap.own), "--dry-run")
    shown = on_terminal(*words, environment=secret)
    assert f"{server_account().name} cannot write to /?]0;title?, the directory of /?]0;title?/file" in shown
    assert not set(shown) - set("\r\n\t") - {chr(n) for n in range(32, 127)}
    assert {line for line in seen.read_text().splitlines() if line.startswith("terminal")} == {"terminal:"}
    assert "canary" not in seen.read_text()


IDENTITY = """#!/bin/sh
above=$(sed "s/.*) . //; s/ .*//" /proc/$PPID/stat)
cat /proc/$PPID/comm "/proc/$above/comm" >>"{home}/who/above"
{{ id; pwd; }} >"{home}/who/seen"
env | grep -E "^(HOME|LC_ALL|LOGNAME|PATH|SHELL|USER)=" | sort >>"{home}/who/seen"
grep -E "^(Cap|Groups|Uid|Gid)" /proc/self/status >>"{home}/who/seen"
exec {bin}/postgres "$@"
"""


@ROOT_ONLY
def test_programs_of_the_cluster_run_alike_with_setpriv_and_with_su(one: Server, trap: Trap) -> None:
    """Each su writes to the log of logins; setpriv does not, and not every system has one that can change accounts."""
    (trap.own / "bin" / "postgres").write_text(IDENTITY.format(home=trap.home, bin=one.installation.bin))
    installer = (trap.files / "install.sh").read_text()
    (trap.files / "with-su.sh").write_text(installer.replace("setsid setpriv", "setsid no-setpriv"))
    seen, above = set(), []
    for name in ("install.sh", "with-su.sh"):
        where = ("--data", "15/main", "--config", "15/main/postgresql.conf", "--bindir", "15/main/bin")
        run = subprocess.run(
            ["sh", trap.files / name, *where, "--dry-run"],
            check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=ENVIRONMENT, cwd=trap.home,
        )  # fmt: skip
        assert (run.returncode, run.stderr) == (0, "")
        seen.add((trap.home / "who" / "seen").read_text())
        above.append(set((trap.home / "who" / "above").read_text().split()))
    assert len(seen) == 1, seen
    assert {f"USER={server_account().name}", "/"} <= {*next(iter(seen)).splitlines()}
    assert ["su" in one for one in above] == [False, True], above


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("PG_VERSION", "is not a data directory that"),
        ("postgresql.conf", "cannot read"),
        ("server.key", "cannot read"),
        ("root.crl", "cannot read"),
        ("pg_hba.conf", "cannot read"),
        ("postmaster.opts", ""),
        ("postmaster.pid", ""),
        (".pgtls-install/unfinished", ""),
    ],
)
def test_no_fifo_stops_the_installer(one: Server, tmp_path: Path, name: str, reason: str) -> None:
    files = build(tmp_path, one) / "servers" / "main"
    install(files, one).done()
    build(tmp_path, one, host="db2.example.com")
    one.stop()
    (one.data / name).unlink(missing_ok=True)
    os.mkfifo(one.data / name, 0o600)
    give(one.data / name, server_account())
    if reason:
        install(files, one).refused(reason)
    else:
        install(files, one).done()
    (one.data / name).unlink(missing_ok=True)
