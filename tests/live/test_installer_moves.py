"""install.sh of a server whose files move out of the data directory: what base backups would take goes from there.

These are the commands of docs/guides/standby.md. A base backup copies the whole data directory, so the tests look for
secrets in it.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from support.clients import PSQL, Bundle, admitted, at, refused, socket_of
from support.installer import install
from support.pgtls import compiled
from support.servers import Server, versions
from support.system import ENVIRONMENT, give, is_root, new_directory, run_as, server_account

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.installer import Installed

SPEC = """
version = 1
[ca.root]
[defaults.server]
ca = "root"
client_ca = ["root"]
postgres = {postgres}
[server.up]
hosts = ["10.0.0.1"]
[server.main]
hosts = ["localhost", "{host}"]
{more}
[user.postgres]
[user.copier]
ca = "root"
[policy.admin]
servers = ["all"]
users = ["postgres"]
from = ["local"]
auth = "trust"
waiver = "a throwaway server"
[user.app]
ca = "root"
[policy.app]
servers = ["main"]
users = ["app"]
databases = ["shop"]
from = ["127.0.0.1"]
auth = "cert"
[user.ann]
[policy.ann]
servers = ["main"]
users = ["ann"]
databases = ["shop"]
from = ["10.0.0.0/8"]
{secret}
{tables}
"""
# npm's servers know no LDAP, and 19 knows no RADIUS.
LDAP = """
auth = "ldap"
[policy.ann.auth_options]
ldapserver = "ldap.example.com"
ldaptls = true
ldapbasedn = "dc=x"
ldapbinddn = "cn=b"
ldapbindpasswd = { file = "secret" }
"""
RADIUS = """
auth = "radius"
waiver = "a throwaway server"
[policy.ann.auth_options]
radiusservers = "192.0.2.1"
radiussecrets = { file = "secret" }
"""
SNI = """
[ca.other]
[[server.main.sni]]
ca = "root"
client_ca = ["other"]
hosts = ["a.example.com"]
{more}
[[server.main.sni]]
ca = "root"
hosts = ["b.example.com"]
{more}
"""
STANDBY_OF = 'standby_of = "up"\nreplication_user = "copier"'
AGAIN = "these stay until you restart the server and run this again"


@dataclass(slots=True)
class Moving:
    """A server, and a spec whose ``directory`` changes."""

    server: Server
    spec: Path
    etc: Path
    host: int = 0
    secret: str = "first-secret"
    more: str = ""

    def build(self, directory: str, *, new: bool = True, sni: str = "") -> Path:
        """Build for a directory ("": the data directory), with a new key or the present one."""
        self.host += new
        (self.spec / "secret").write_text(self.secret)
        more = f'directory = "{directory}"\n{self.more}' if directory else self.more
        text = SPEC.format(
            postgres=self.server.version,
            host=f"db{self.host}.example.com",
            more=more,
            secret=LDAP if self.server.installation.builder == "Debian" else RADIUS,
            tables=SNI.format(more=sni) if self.server.version >= 19 else "",
        )
        return compiled(text, self.spec) / "servers" / "main"

    def put(self, directory: str, *options: str, new: bool = True) -> str:
        return self.again(self.build(directory, new=new), *options).done()

    def again(self, files: Path | None = None, *options: str) -> Installed:
        return install(files or self.spec / "out" / "servers" / "main", self.server, *options)

    def in_data(self, text: str) -> set[str]:
        """Return the files of the data directory that contain a text."""
        words = ["grep", "-rlF", "-e", text, "."]
        found = subprocess.run(words, capture_output=True, text=True, check=False, cwd=self.server.data)
        return {name.removeprefix("./") for name in found.stdout.splitlines()}

    def with_keys(self) -> set[str]:
        return self.in_data("PRIVATE KEY")

    def connects(self) -> None:
        own = Bundle(self.spec / "out" / "clients" / "app").parameters("shop") | at(self.server)
        assert admitted(PSQL.connect(own)) == "app@shop"


@pytest.fixture(params=[0, -1], ids=["oldest", "newest"])
def moving(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Moving]:
    with Server(versions()[request.param]) as server:
        server.populate(["app"], ["shop"])
        yield Moving(server, tmp_path, new_directory("etc"))


def test_no_key_and_no_secret_stays_in_the_data_directory_where_the_files_move(moving: Moving) -> None:
    server, directory = moving.server, str(moving.etc / "main")
    moving.more = STANDBY_OF
    moving.put("")
    moving.put("")
    used = {"server.key", "replication/postgresql.key"}
    used |= {"sni/a.example.com/server.key", "sni/b.example.com/server.key"} if server.version >= 19 else set()
    assert moving.with_keys() == used | {f".pgtls-install/previous/{name}" for name in used}
    said = moving.put(directory, new=False)
    assert AGAIN in said
    for name in (*used, ".pgtls-install/previous", "pg_hba.conf"):
        assert f"{server.data}/{name}" in said
    # The server has not restarted, and reads its rules there.
    said = moving.again().done()
    assert AGAIN in said
    assert "nothing to do" in said
    moving.connects()
    assert (server.data / "server.key").read_bytes() == (moving.etc / "main" / "server.key").read_bytes()
    assert "pg_hba.conf" in moving.in_data("first-secret")

    server.restart()
    assert "would remove what an earlier set left: " in moving.again(None, "--dry-run").done()
    assert moving.with_keys() >= used
    said = moving.again().done()
    assert "removed what an earlier set left: " in said
    assert "nothing to do" not in said
    assert "base backups made so far contain these keys" in said
    assert (moving.with_keys(), moving.in_data("first-secret")) == (set(), set())
    moving.connects()
    said = moving.again().done()
    assert "nothing to do" in said
    assert "earlier set" not in said
    server.restart()
    moving.connects()


def test_a_secret_of_the_rules_comes_to_the_data_directory_only_while_the_server_reads_them_there(
    moving: Moving,
) -> None:
    server, directory = moving.server, str(moving.etc / "main")
    own = (server.data / "pg_hba.conf").read_bytes()
    assert AGAIN in moving.put(directory)
    moving.secret = "second-secret"
    moving.put(directory)
    assert "pg_hba.conf" in moving.in_data("second-secret")
    server.restart()
    moving.secret = "third-secret"
    moving.put(directory)
    for secret in ("first-secret", "second-secret", "third-secret"):
        assert moving.in_data(secret) == set()
    moving.connects()
    # They reject everybody if somebody takes the include away.
    conf = server.data / "postgresql.conf"
    whole = conf.read_text()
    conf.write_text(whole.replace(f"include '{directory}/pgtls.conf'\n", ""))
    server.restart()
    refused(PSQL.connect(socket_of(server) | {"user": "postgres"}), "pg_hba.conf rejects connection")
    conf.write_text(whole)
    server.restart()
    moving.connects()
    # A rollback to the time before pgtls brings the rules of that time back.
    moving.again(None, "--rollback").done()
    moving.again(None, "--rollback").done()
    moving.put(str(moving.etc / "other"))
    server.restart()
    moving.again().done()
    moving.again(None, "--rollback").refused("the previous set lies in another directory")
    assert (server.data / "pg_hba.conf").read_bytes() != own


def test_a_rollback_to_the_time_before_pgtls_brings_the_rules_back_that_reject_nobody(moving: Moving) -> None:
    own = (moving.server.data / "pg_hba.conf").read_bytes()
    moving.put(str(moving.etc / "main"))
    moving.server.restart()
    moving.again().done()
    assert b"local all all reject" in (moving.server.data / "pg_hba.conf").read_bytes()
    moving.again(None, "--rollback").done()
    assert (moving.server.data / "pg_hba.conf").read_bytes() == own
    moving.server.restart()
    assert moving.server.show("hba_file") == f"{moving.server.data}/pg_hba.conf"


@pytest.mark.parametrize("then", ["", "two"], ids=["to the data directory", "to another directory"])
def test_rules_that_reject_everybody_go_where_the_server_will_read_that_file(moving: Moving, then: str) -> None:
    one = moving.etc / "one"
    moving.put(str(one))
    moving.server.restart()
    moving.again().done()
    said = moving.put(str(moving.etc / then) if then else "")
    rejecting = "local all all reject" in (moving.server.data / "pg_hba.conf").read_text()
    assert rejecting == bool(then)
    assert (f"{one} still has the files of the set before" in said, bool(moving.in_data("first-secret"))) == (
        True,
        not then,
    )
    for _ in range(2):
        moving.connects()
        moving.server.restart()
        moving.again().done()


def test_rules_stay_where_a_setting_of_the_administrator_names_them(moving: Moving) -> None:
    moving.server.sql(f"alter system set hba_file = '{moving.server.data}/pg_hba.conf'")
    moving.put(str(moving.etc / "main"))
    moving.server.restart()
    moving.again().done()
    assert "pg_hba.conf" in moving.in_data("first-secret")
    moving.server.restart()
    moving.connects()


def test_a_server_in_another_container_keeps_what_it_reads(moving: Moving) -> None:
    """Its process cannot be seen, and the file of its number is there."""
    words = ("unshare", "--pid", "--fork", "--mount-proc")
    if not is_root() or subprocess.run([*words, "true"], check=False, capture_output=True).returncode:
        pytest.skip("unavailable: this machine gives no namespace of processes")
    directory = str(moving.etc / "main")
    moving.put("")
    files = moving.build(directory, new=False)
    for _ in range(2):
        said = install(files, moving.server, shell=(*words, "sh")).done()  # noqa: S604  (no shell of this call)
        assert "the server is not running" in said or "nothing to do" in said
        assert AGAIN in said
    assert "server.key" in moving.with_keys()
    assert "pg_hba.conf" in moving.in_data("first-secret")
    mark = moving.server.mark()
    moving.server.sql("select pg_reload_conf()")
    moving.server.wait_for_log("received SIGHUP", mark)
    moving.connects()
    moving.server.restart()
    install(files, moving.server, shell=(*words, "sh")).done()  # noqa: S604  (no shell of this call)
    assert (moving.with_keys(), moving.in_data("first-secret")) == (set(), set())
    moving.server.reload()
    moving.connects()


def test_a_stopped_server_leaves_nothing_behind_at_once(moving: Moving) -> None:
    moving.put("")
    moving.server.stop()
    moving.put(str(moving.etc / "main"), new=False)
    assert (moving.with_keys(), moving.in_data("first-secret")) == (set(), set())
    moving.server.start()
    moving.connects()


def test_a_standby_keeps_the_key_with_which_it_logs_in(moving: Moving) -> None:
    directory, key = moving.etc / "main", moving.server.data / "replication" / "postgresql.key"
    moving.more = STANDBY_OF
    conf = moving.server.data / "postgresql.conf"
    conf.write_text("include_if_exists 'replication/primary_conninfo.conf'\n" + conf.read_text())
    moving.put("")
    moving.put(str(directory), new=False)
    moving.server.restart()
    said = moving.again().done()
    assert f"include {directory}/replication/primary_conninfo.conf instead" in said
    assert moving.with_keys() == {"replication/postgresql.key"}
    conf.write_text(conf.read_text().replace("'replication/primary", f"'{directory}/replication/primary"))
    assert "reloaded" in moving.again().done()
    assert not key.exists()
    assert str(directory) in moving.server.show("primary_conninfo")


def test_a_key_that_is_not_of_the_set_before_stays(moving: Moving) -> None:
    """One that was made on the server, and one that came to the same place since."""
    server, directory, name = moving.server, moving.etc / "main", "server.key"

    def make(where: Path, name: str) -> bytes:
        words = ["openssl", "req", "-new", "-newkey", "ed25519", "-nodes", "-subj", "/", "-keyout", str(where / name)]
        subprocess.run([*words, "-out", moving.spec / "own.csr"], check=True, capture_output=True)
        give(where / name, server_account())
        return (where / name).read_bytes()

    moving.more = 'csr_file = "own.csr"'
    mine = make(server.data, name)
    moving.put("")
    directory.mkdir()
    give(directory, server_account())
    make(directory, name)
    moving.put(str(directory))
    server.restart()
    moving.again().done()
    assert (server.data / name).read_bytes() == mine
    moving.more = ""
    moving.put("")
    moving.put(str(directory))
    server.restart()
    mine = make(server.data, name)
    moving.again().done()
    assert (server.data / name).read_bytes() == mine


def test_the_directory_may_be_below_the_data_directory_and_then_nothing_is_gained(moving: Moving) -> None:
    below = moving.server.data / "tls"
    moving.put(str(below))
    moving.server.restart()
    assert "removed" not in moving.again().done()
    moving.put(str(moving.etc / "main"), new=False)
    moving.server.restart()
    moving.again().done()
    assert (moving.with_keys(), moving.in_data("first-secret")) == (set(), set())
    moving.connects()


def test_two_moves_leave_no_key_behind(moving: Moving) -> None:
    """First to a directory below the data directory, then out of it."""
    moving.put("")
    for directory in (moving.server.data / "tls", moving.etc / "main"):
        moving.put(str(directory), new=False)
        moving.server.restart()
        moving.again().done()
    assert moving.with_keys() == set()
    moving.connects()


@pytest.mark.parametrize("remembered", [True, False], ids=["its note is there", "without its note"])
def test_a_base_backup_from_before_the_move_brings_no_key_back_for_long(moving: Moving, remembered: bool) -> None:
    server, key = moving.server, moving.server.data / "server.key"
    moving.put("")
    backup = key.read_bytes()
    moving.put(str(moving.etc / "main"), new=False)
    server.restart()
    moving.again().done()
    key.write_bytes(backup)
    give(key, server_account())
    other = server.data / "other.key"
    other.write_bytes(backup.replace(b"\n", b"\n\n"))
    give(other, server_account())
    if not remembered:
        (server.data / ".pgtls-install" / "left").unlink()
        assert AGAIN in moving.again().done()
        server.restart()
    assert f"removed what an earlier set left: {key}" in moving.again().done()
    assert moving.with_keys() == {"other.key"}
    assert "earlier set" not in moving.again().done()
    moving.connects()


def test_the_note_of_a_cluster_removes_keys_in_its_data_directory_alone(moving: Moving) -> None:
    """Its owner can write to the note; in the directory of the set, root may be the only one who can."""
    server, directory = moving.server, moving.etc / "main"
    moving.put("")
    moving.put(str(directory), new=False)
    server.restart()
    moving.again().done()
    note = server.data / ".pgtls-install" / "left"
    planted = [directory / "server.key", directory / "root.crt", server.data / "PG_VERSION"]
    sums = [subprocess.run(["cksum"], input=file.read_bytes(), capture_output=True, check=True) for file in planted]
    lines = [f"{sum_.stdout.decode().strip()} {file}" for sum_, file in zip(sums, planted, strict=True)]
    note.write_text(note.read_text() + "\n".join(lines) + "\n")
    assert "earlier set" not in moving.again().done()
    assert all(file.exists() for file in planted)
    server.restart()
    moving.connects()


@pytest.mark.parametrize("moving", [-1], indirect=True, ids=["newest"])
def test_a_base_backup_of_a_moved_server_has_no_key(moving: Moving) -> None:
    """The same with the program: before the move, the copy has the key that the server uses."""
    copy = new_directory("copy")
    give(copy, server_account())

    def copied(name: str) -> set[str]:
        words = [str(moving.server.installation.bin / "pg_basebackup"), "-h", moving.server.sockets, "-p",
            str(moving.server.port), "-U", "postgres", "-D", str(copy / name), "-X", "none", "-c", "fast"]  # fmt: skip
        subprocess.run([*run_as(server_account()), *words], check=True, capture_output=True, env=ENVIRONMENT, cwd="/")
        found = subprocess.run(
            ["grep", "-rl", "PRIVATE KEY", "."], cwd=copy / name, capture_output=True, text=True, check=False
        )
        return set(found.stdout.split())

    moving.more = ""
    moving.put("")
    with (moving.server.data / "pg_hba.conf").open("a") as rules:
        rules.write("local replication all trust\n")
    moving.server.reload()
    assert "./server.key" in copied("before")
    moving.put(str(moving.etc / "main"), new=False)
    moving.server.restart()
    moving.again().done()
    with (moving.etc / "main" / "pg_hba.conf").open("a") as rules:
        rules.write("local replication all trust\n")
    moving.server.reload()
    assert copied("after") == set()


def public(key: bytes, passphrase: str = "") -> bytes:
    words = ["openssl", "pkey", "-pubout", "-passin", f"pass:{passphrase}"]
    return subprocess.run(words, input=key, capture_output=True, check=True).stdout


@pytest.mark.parametrize("host", [0, 1], ids=["the same certificate", "a new key in the same build"])
def test_the_previous_set_has_no_key_in_the_clear_that_is_encrypted_now(moving: Moving, host: int) -> None:
    server, previous = moving.server, moving.server.data / ".pgtls-install" / "previous"
    moving.put("")
    plain = (server.data / "server.key").read_bytes()
    shutil.copytree(moving.spec / "out" / "servers" / "main", moving.spec / "first")
    (moving.spec / "words").write_text("riverbank")
    program = new_directory("program") / "words"
    program.write_text("#!/bin/sh\necho river'bank'\n")
    program.chmod(0o755)
    moving.more = f'passphrase = {{ file = "words" }}\npassphrase_command = "\'{program}\' \\"x\\""'
    moving.again(moving.build("", new=bool(host), sni=moving.more)).done()
    now = (server.data / "server.key").read_bytes()
    assert b"ENCRYPTED" in now
    assert (public(plain) == public(now, "riverbank")) == (not host)
    kept = {name for name in moving.with_keys() if "ENCRYPTED" not in (server.data / name).read_text()}
    # The server uses another key: that one is not in use any more.
    assert kept == ({".pgtls-install/previous/server.key"} if host else set())
    if not host:
        assert (previous / "server.key").read_bytes() == now
    moving.again(None, "--rollback").done()
    moving.server.restart()
    moving.connects()
    assert moving.again(moving.spec / "first").done()
    assert (server.data / "server.key").read_bytes() == plain
