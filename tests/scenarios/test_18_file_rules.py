"""Access to key files: the rules of the server and of libpq, and what the compiler writes."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from support.clients import PSQL, Bundle, admitted, at, refused
from support.pgtls import ROOT, SCENARIOS, compiled
from support.scenario import enact
from support.servers import ServerError
from support.system import Account, find_account, give, is_root, new_directory, run_as, server_account
from support.walking import shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import Server

NAME = "18-file-rules"
needs_root = pytest.mark.skipif(not is_root(), reason="unavailable: root alone can give files to other users")
OPEN = "has group or world access"


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=["umask 000", "umask 022", "umask 077"])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_the_umask_decides_nothing(tmp_path: Path) -> None:
    out = compiled((SCENARIOS / NAME / "pgtls.toml").read_text(), tmp_path)
    secret = {"ca.key", "server.key", "postgresql.key", "pg_hba.conf", "pg_ident.conf"}
    files = {path for path in out.rglob("*") if path.is_file() and ".pgtls" not in path.parts}
    assert {path.name for path in files if path.stat().st_mode & 0o7777 == 0o600} == secret
    assert {path.stat().st_mode & 0o7777 for path in files if path.name not in secret} == {0o644}
    with_key = {path.parent for path in files if path.suffix == ".key"} | {out / ".pgtls"}
    directories = {path for path in out.rglob("*") if path.is_dir()}
    assert {path for path in directories if path.stat().st_mode & 0o7777 == 0o700} == with_key
    assert {path.stat().st_mode & 0o7777 for path in directories - with_key} == {0o755}


@needs_root
def test_the_server_takes_a_key_of_its_own_or_of_root_that_nobody_else_can_read(server: Server) -> None:
    out = enact(NAME, server, ("app",))
    own = Bundle(out / "clients" / "app").parameters("shop") | at(server)
    owner, key = server_account(), server.data / "server.key"
    assert (key.stat().st_uid, key.stat().st_mode & 0o777) == (owner.uid, 0o600), "as the compiler wrote it"

    for uid, mode in ((owner.uid, 0o600), (owner.uid, 0o400), (0, 0o640), (0, 0o440)):
        os.chown(key, uid, owner.gid)
        key.chmod(mode)
        server.reload()
        assert admitted(PSQL.connect(own)) == "app@shop", (uid, oct(mode))

    stranger = find_account("nobody") or Account("nobody", 65534, 65534)
    if stranger.uid == owner.uid:
        stranger = Account("somebody", owner.uid - 1, owner.gid)
    for uid, mode, reason in (
        (owner.uid, 0o640, OPEN),
        (owner.uid, 0o604, OPEN),
        (owner.uid, 0o660, OPEN),
        (0, 0o644, OPEN),
        (0, 0o660, OPEN),
        (0, 0o600, "Permission denied"),
        (stranger.uid, 0o640, "must be owned by the database user or root"),
    ):
        os.chown(key, uid, owner.gid)
        key.chmod(mode)
        with pytest.raises(ServerError, match=reason):
            server.reload()
        assert admitted(PSQL.connect(own)) == "app@shop", "what it had before is still in force"
    server.stop()
    with pytest.raises(ServerError, match="must be owned by the database user or root"):
        server.start()


@needs_root
def test_a_key_is_put_on_a_server_as_the_page_shows(server: Server) -> None:
    out = enact(NAME, server, ("app",))
    own = Bundle(out / "clients" / "app").parameters("shop") | at(server)
    account = server_account()
    (ways,) = shown(ROOT / "docs/scenarios/18-file-rules/README.md", "sh")
    for way in ways.splitlines():
        (server.data / "server.key").unlink()
        words = way.replace("-o postgres", f"-o {account.uid}").replace("-g postgres", f"-g {account.gid}")
        subprocess.run(["sh", "-c", words], check=True, cwd=out.parent, env={"PGDATA": str(server.data)})
        server.reload()
        assert admitted(PSQL.connect(own)) == "app@shop", way


@needs_root
def test_a_data_directory_with_group_access_changes_nothing_for_the_key(server: Server) -> None:
    out = enact(NAME, server, ("app",))
    own = Bundle(out / "clients" / "app").parameters("shop") | at(server)
    owner, key = server_account(), server.data / "server.key"
    server.data.chmod(0o750)
    key.chmod(0o640)
    server.stop()
    with pytest.raises(ServerError, match=OPEN):
        server.start()
    key.chmod(0o600)
    server.start()
    assert admitted(PSQL.connect(own)) == "app@shop"

    # A backup by a member of the group: it gets the key only where root owns it.
    member = Account("backup", owner.uid + 1, owner.gid)
    assert readable(server.data / "server.crt", member)
    assert not readable(key, member)
    os.chown(key, 0, owner.gid)
    key.chmod(0o640)
    assert readable(key, member)
    assert not readable(key, Account("somebody", owner.uid + 1, owner.gid + 1))
    server.restart()
    assert admitted(PSQL.connect(own)) == "app@shop"


def readable(path: Path, account: Account) -> bool:
    return subprocess.run([*run_as(account), "cat", path], check=False, capture_output=True).returncode == 0


@needs_root
def test_a_client_refuses_a_key_of_its_own_that_others_can_read(server: Server) -> None:
    out = enact(NAME, server, ("app",))
    account = server_account()
    bundle = shutil.copytree(out / "clients" / "app", new_directory("client") / "app")
    give(bundle, account)
    own, key = Bundle(bundle).parameters("shop") | at(server), bundle / "postgresql.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert admitted(PSQL.connect(own, account=account)) == "app@shop"
    for mode in (0o640, 0o604):
        key.chmod(mode)
        refused(PSQL.connect(own, account=account), OPEN)
    os.chown(key, 0, account.gid)
    key.chmod(0o640)
    assert admitted(PSQL.connect(own, account=account)) == "app@shop"
    key.chmod(0o644)
    refused(PSQL.connect(own, account=account), OPEN)
