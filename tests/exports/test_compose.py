"""A project of Docker Compose: the schema takes it, and a server starts from it as in the official image."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml  # type: ignore[import-untyped]
from jsonschema import Draft7Validator

from exports.specs import CLOUDNATIVEPG, built, export, said
from exports.test_patroni_cluster import SUPPORTED
from support.clients import PSQL, Bundle, admitted, refused
from support.patroni import until
from support.pgtls import pgtls
from support.servers import Server, free_port
from support.system import ENVIRONMENT, give, is_root, new_directory, run_as, server_account, until_we_end

if TYPE_CHECKING:
    from collections.abc import Sequence

SCHEMA = Draft7Validator(json.loads(Path(__file__).with_name("compose-spec.json").read_text()))
SERVED = CLOUDNATIVEPG.replace("[server.shop]\n", '[server.shop]\ndirectory = "/etc/pgtls"\n')


def service(directory: Path) -> dict[str, Any]:
    """Return the service of the server."""
    project: dict[str, Any] = yaml.safe_load((directory / "to/compose.yaml").read_text())
    SCHEMA.validate(project)
    found: dict[str, Any] = project["services"]["shop"]
    return found


def test_the_project_mounts_the_files_and_states_every_setting(tmp_path: Path) -> None:
    spec = SERVED.replace("[server.shop]\n", "[server.shop]\nsettings = { log_line_prefix = '${x} $HOME ' }\n")
    assert export(built(tmp_path, spec), "compose").status == 0
    one = service(tmp_path)
    conf = (tmp_path / "out/servers/shop/pgtls.conf").read_text().replace("$", "$$")
    stated = [line for line in conf.splitlines() if " = " in line and not line.startswith("#")]
    assert [word.replace("=", " = '", 1) + "'" for word in one["command"][2::2]] == stated
    assert "log_line_prefix=$${x} $$HOME " in one["command"], "Compose would replace a single $"
    mounted = tmp_path / "to" / one["volumes"][0]["source"]
    there = tmp_path / "out/servers/shop"
    for path in mounted.rglob("*"):
        if path.is_file() and path.name != "start.sh":
            assert path.read_bytes() == (there / path.relative_to(mounted)).read_bytes()
            assert path.stat().st_mode == (there / path.relative_to(mounted)).stat().st_mode
    ignored = (tmp_path / "to/.gitignore").read_text().splitlines()
    assert ignored[1:] == [
        ".pgtls-*",
        *(f"/servers/shop/{name}" for name in ("pg_hba.conf", "pg_ident.conf", "server.key")),
    ]
    with pytest.raises(Exception, match="comand"):
        SCHEMA.validate({"services": {"x": {"comand": []}}})


def test_a_crl_of_an_earlier_export_goes(tmp_path: Path) -> None:
    """Without a CRL of its own, a CA that left the spec certifies nobody, although its root is still trusted."""
    assert export(built(tmp_path, SERVED), "compose").status == 0
    lists = tmp_path / "to/servers/shop/root.crl.d"
    here = sorted(path.name for path in lists.iterdir())
    for name in ("0badcafe.r0", "0badcafe.r1", "notes.txt"):
        (lists / name).write_text("old\n")
    run = export(tmp_path, "compose")
    assert run.status == 0
    assert sorted(path.name for path in lists.iterdir()) == sorted([*here, "notes.txt"])
    assert here


def test_no_name_of_a_server_is_that_of_another_file(tmp_path: Path) -> None:
    for name in ("compose.yaml", "start.sh", "servers"):
        (tmp_path / name).mkdir()
        run = export(built(tmp_path / name, SERVED.replace("server.shop", f'server."{name}"')), "compose")
        assert run.status == 0, run.stderr
        assert (tmp_path / name / "to/servers" / name / "start.sh").is_file()
        assert yaml.safe_load((tmp_path / name / "to/compose.yaml").read_text())["services"].keys() == {name}


def test_a_server_without_a_directory_is_an_error(tmp_path: Path) -> None:
    built(tmp_path, CLOUDNATIVEPG)
    assert 'error[PGT665]: server "shop" has no directory' in said(export(tmp_path, "compose"))
    assert pgtls("export", "compose", "--to", "-", cwd=tmp_path).status == 64
    built(tmp_path, SERVED)
    assert export(tmp_path, "compose").status == 0


def test_shellcheck_finds_nothing_in_the_script(tmp_path: Path) -> None:
    assert export(built(tmp_path, SERVED.replace("/etc/pgtls", "/etc/my tls")), "compose").status == 0
    script = tmp_path / "to/servers/shop/start.sh"
    program = Path(sys.prefix) / "bin" / "shellcheck"
    checked = subprocess.run([program, script], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout) == (0, "")


ENTRYPOINT = """#!/bin/sh
# What docker-entrypoint.sh of the image does in the end with a data directory that exists: as root, become postgres.
shift
exec setpriv --reuid="$(id -u postgres)" --regid="$(id -g postgres)" --clear-groups -- "$@"
"""
CONTAINER = """
set -eu
mount --bind "$1/passwd" /etc/passwd
mkdir -p /run/pgtls
mount -t tmpfs none /run
mkdir /run/pgtls
mount --bind "$1/mounted" /run/pgtls
mount -o remount,bind,ro /run/pgtls
shift
exec "$@"
"""
"""A container as far as the start depends on it: its accounts, and the files mounted where nobody can write."""


class Container:
    """A server that starts as in a container of the image, whose account has the given number."""

    def __init__(self, directory: Path, uid: int) -> None:
        self.installation = SUPPORTED[-1]
        self.home, self.uid, self.port = new_directory("container"), uid, free_port()
        one = service(directory)
        shutil.copytree(directory / "to" / one["volumes"][0]["source"], self.home / "mounted")
        accounts = [line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith("postgres:")]
        accounts.append(f"postgres:x:{uid}:{uid}::/nonexistent:/bin/sh")
        (self.home / "passwd").write_text("\n".join(accounts) + "\n")
        (self.home / "docker-entrypoint.sh").write_text(ENTRYPOINT)
        with Server(self.installation) as server:
            server.populate(["app"], ["shop"])
            server.stop()
            shutil.copytree(server.data, self.home / "data")
        for path in (self.home / "data", *(self.home / "data").rglob("*")):
            os.chown(path, uid, uid)
        own = {"port": str(self.port), "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
        options = [word for name, value in own.items() for word in ("-c", f"{name}={value}")]
        command = [word.replace("$$", "$") for word in one["command"][1:]]
        postgres = [str(self.installation.bin / "postgres"), "-D", str(self.home / "data"), *command, *options]
        self.words = [*one["entrypoint"][:-1], "sh", str(self.home / "docker-entrypoint.sh"), "postgres", *postgres]

    def start(self, words: Sequence[str]) -> subprocess.Popen[str]:
        """Start the words in the container."""
        run = ("unshare", "--mount", *until_we_end(), "sh", "-c", CONTAINER, "sh", str(self.home), *words)
        return subprocess.Popen(
            run, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT
        )


START = """
set -eu
mkdir -p /run/pgtls
mount -t tmpfs none /run
mkdir /run/pgtls
mount --bind "$1" /run/pgtls
shift
exec "$@"
"""


@pytest.mark.skipif(not is_root(), reason="unavailable: only root starts a container")
@pytest.mark.parametrize("whose", ["root", "the account's", "a link of the account", "the account's own start"])
def test_root_writes_nothing_below_a_directory_that_the_account_can_change(tmp_path: Path, whose: str) -> None:
    """It could replace a file with a link between two commands of the script, and get what the link leads to."""
    home, account = new_directory("home"), server_account()
    own = home / "own"
    own.mkdir()
    give(own, account)
    parent = {"root": home, "a link of the account": home / "link"}.get(whose, own)
    if whose == "a link of the account":
        parent.symlink_to(new_directory("elsewhere"))
        os.lchown(parent, account.uid, account.gid)
    place = parent / "below/tls"
    assert export(built(tmp_path, SERVED.replace("/etc/pgtls", str(place))), "compose").status == 0
    mounted = shutil.copytree(tmp_path / "to/servers/shop", new_directory("mounted") / "pgtls")
    words = ["sh", "/run/pgtls/start.sh", "echo", "started"]
    if whose == "the account's own start":
        give(mounted, account)
        words = [*run_as(account), *words]
    run = subprocess.run(
        ("unshare", "--mount", "sh", "-c", START, "sh", mounted, *words),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=ENVIRONMENT,
    )  # fmt: skip
    if whose in {"root", "the account's own start"}:
        assert (run.returncode, run.stdout, run.stderr) == (0, "started\n", "")
        key = (place / "server.key").stat()
        assert (key.st_uid, key.st_mode & 0o777) == (account.uid, 0o600)
        assert place.parent.stat().st_mode & 0o777 == (0o755 if whose == "root" else 0o700)
        return
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith(f"start.sh: others than root can change {parent}, above {place}: set directory to a ")
    assert not place.parent.exists()


@pytest.mark.skipif(not is_root(), reason="unavailable: only root starts a container")
@pytest.mark.parametrize("uid", [999, 70], ids=["Debian's image", "Alpine's image"])
def test_a_server_starts_from_files_that_are_read_only_and_not_its_own(tmp_path: Path, uid: int) -> None:
    place = new_directory("etc") / "pgtls"
    spec = SERVED.replace("/etc/pgtls", str(place)).replace("10.0.0.0/8", "127.0.0.0/8")
    spec = spec.replace("postgres = 17", f"postgres = {SUPPORTED[-1].major}")
    assert export(built(tmp_path, spec, None), "compose", now=None).status == 0
    container = Container(tmp_path, uid)
    server = container.start(container.words)
    try:
        web = Bundle(tmp_path / "out/clients/web").parameters("shop")
        web |= {"hostaddr": "127.0.0.1", "port": str(container.port)}
        until(lambda: server.poll() is not None or PSQL.connect(web).admitted, "the server admits the app")
        assert admitted(PSQL.connect(web)) == "app@shop"
        refused(PSQL.connect(web | {"sslcert": "/none", "sslkey": "/none"}), "requires a valid client certificate")
        key = (place / "server.key").stat()
        assert (key.st_uid, key.st_mode & 0o777) == (uid, 0o600)
        assert place.stat().st_uid == 0
        again = container.start([*container.words[:2], "true"])  # what a reader does before a reload
        output = again.communicate()[0]
        assert again.returncode == 0, output
        assert sorted(path.name for path in place.parent.iterdir()) == ["pgtls"]
        server.send_signal(signal.SIGHUP)
        assert admitted(PSQL.connect(web)) == "app@shop"
    finally:
        server.send_signal(signal.SIGINT)
        log = server.communicate()[0]
    assert "not reloaded" not in log

    # Without the script, the files are as on the host: root's, and closed to the server.
    bare = [*container.words[2:]]
    without = container.start([word.replace(str(place), "/run/pgtls") for word in bare])
    output = without.communicate()[0]
    assert re.search(r'"/run/pgtls/\S+": Permission denied', output), output
    assert without.returncode != 0
