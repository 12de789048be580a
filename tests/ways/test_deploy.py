"""The commands of the examples and guides that install a server's files, word for word, on a real server.

Stand-ins for ssh and docker run the words on this machine, as the account that the address names; all else is real.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from support.clients import PSQL, Bundle, admitted, at, refused
from support.pgtls import ROOT, compiled
from support.servers import PATIENCE, Server, ServerError, versions
from support.system import ENVIRONMENT, Account, give, is_root, new_directory, server_account
from support.walking import blocks, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SPEC = """
version = 1
[ca.servers]
[ca.clients]
[server.main]
ca = "servers"
client_ca = ["clients"]
hosts = ["{host}"]
postgres = {postgres}
directory = "{directory}"
[user.postgres]
[policy.admin]
users = ["postgres"]
from = ["local"]
auth = "trust"
waiver = "a throwaway server"
"""
APP = """
[user.app]
ca = "clients"
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["127.0.0.0/8"]
auth = "cert"
"""

THERE = 'exec env -i PATH="$PATH" LC_ALL=C PGDATA="$DATA" TMPDIR="$SHARED"'
SSH = f"""#!/bin/sh
account=${{1%@*}}
[ "$account" != postgres ] || account=$OWNER
shift
{THERE} setpriv --reuid="$account" --regid="$(id -g "$account")" --init-groups -- sh -c "$*"
"""
DOCKER = f"""#!/bin/sh
[ "$1 $2 $3 $4 $5" = "exec -i --user root db" ] || exit 64
shift 5
{THERE} "$@"
"""
BUILDER = Account("builder", 41729, 41729)
"""An account of the build machine, whose number another account may have on the server."""


def of_terraform() -> str:
    text = (ROOT / "examples/terraform/variables.tf").read_text()
    found = re.search(r'variable "deploy".*?<<-EOT\n(.*?)\n  EOT\n', text, re.DOTALL)
    assert found
    return found[1]


def of_docker() -> str:
    (command,) = (block for block in shown(ROOT / "docs/guides/first-server.md", "sh") if "docker" in block)
    return command


COMMANDS = {
    "terraform": of_terraform(),
    "make": f"sh {ROOT}/examples/make/deploy main out/servers/main",
    "docker": of_docker(),
}


@dataclass(frozen=True, slots=True)
class Site:
    """A build machine, and a server that it deploys to."""

    home: Path
    server: Server
    place: Path
    """The ``directory`` of the server."""
    shared: Path
    """The ``/tmp`` of the server."""

    def build(self, *, app: bool, host: str = "db.example.com") -> None:
        spec = SPEC.format(host=host, postgres=self.server.version, directory=self.place)
        compiled(spec + APP * app, self.home)

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the build machine."""
        give(self.home / "out", BUILDER)
        there = {"DATA": str(self.server.data), "SHARED": str(self.shared), "OWNER": server_account().name}
        here = {"PATH": f"{self.home / 'bin'}:{ENVIRONMENT['PATH']}", "SERVER": "main"}
        here["DIRECTORY"] = str(self.home / "out/servers/main")
        run = subprocess.run(
            ("sh", "-c", command), cwd=self.home, env={**ENVIRONMENT, **here, **there},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=PATIENCE,
        )  # fmt: skip
        give(self.home / "out", Account("root", 0, 0))
        return run

    def app(self) -> dict[str, str]:
        """Return how the app connects, with the files of the first build."""
        if not (self.home / "app").exists():
            shutil.copytree(self.home / "out/clients/app", self.home / "app")
        return {**Bundle(self.home / "app").parameters("shop"), **at(self.server)}


@pytest.fixture
def site() -> Iterator[Site]:
    """A server that runs, and a build that admits the app."""
    home, shared = new_directory("build"), new_directory("tmp")
    shared.chmod(0o1777)
    with Server(versions()[-1]) as server:
        server.populate(["app"], ["shop"])
        (home / "bin").mkdir()
        for name, text in (("ssh", SSH), ("docker", DOCKER)):
            (home / "bin" / name).write_text(text)
            (home / "bin" / name).chmod(0o755)
        place = server.directory / "pgtls"
        one = Site(home, server, place, shared)
        one.build(app=True)
        yield one


@pytest.mark.skipif(not is_root(), reason="unavailable: only root can act as another account")
@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_revocation_arrives_and_a_refusal_fails_the_command(site: Site, name: str) -> None:
    # The account of PostgreSQL has put a program where a fixed name would have been.
    planted = site.shared / "main"
    planted.mkdir()
    (planted / "install.sh").write_text(f"touch {site.shared}/ran\n")
    give(planted, server_account())

    run = site.run(COMMANDS[name])
    assert run.returncode == 0, run.stdout + run.stderr
    app = site.app()
    assert admitted(PSQL.connect(app)) == "app@shop"

    site.build(app=False)
    run = site.run(COMMANDS[name])
    assert run.returncode == 0, run.stdout + run.stderr
    refused(PSQL.connect(app), "revoked")
    for path in (site.place, *site.place.rglob("*")):
        assert path.stat().st_uid in {0, server_account().uid}, path
    key = (site.place / "server.key").stat()
    assert (key.st_uid, key.st_mode & 0o777) == (server_account().uid, 0o600)

    # The server would not use what comes next.
    site.server.sql("alter system set ssl_crl_file = ''")
    site.build(app=False, host="new.example.com")
    run = site.run(COMMANDS[name])
    assert run.returncode == 1, run.stdout + run.stderr
    assert "overrides pgtls.conf" in run.stderr
    assert list(site.shared.iterdir()) == [planted], "a copy remains, or the planted program ran"


@pytest.mark.skipif(not is_root(), reason="unavailable: only root can act as another account")
def test_a_plain_copy_as_root_keeps_the_builders_number_and_the_revoked_user_stays(site: Site) -> None:
    """The control: what the commands would do without ``-o`` and ``install.sh``."""
    assert site.run(COMMANDS["terraform"]).returncode == 0
    app = site.app()
    site.build(app=False)
    run = site.run(f'tar -C "$DIRECTORY" -cf - . | ssh "root@$SERVER" tar -C {site.place} -xpf -')
    assert run.returncode == 0, run.stderr
    assert (site.place / "server.key").stat().st_uid == BUILDER.uid
    with pytest.raises(ServerError, match="not reloaded"):
        site.server.reload()
    assert admitted(PSQL.connect(app)) == "app@shop"


@pytest.mark.skipif(not is_root(), reason="unavailable: only root can act as another account")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_copy_that_is_not_whole_fails_the_command(site: Site, name: str) -> None:
    os.truncate(site.home / "out/servers/main/server.key", 9)
    run = site.run(COMMANDS[name])
    assert (run.returncode, "server.key" in run.stderr) == (1, True), run.stderr
    assert list(site.shared.iterdir()) == []
    assert not (site.place / "server.key").exists()


def test_no_command_copies_to_a_name_that_another_account_can_take_first() -> None:
    pages = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    texts = {page: "\n".join(block.text for block in blocks(page.read_text())) for page in pages}
    texts |= {path: path.read_text() for path in (ROOT / "examples").rglob("*") if path.is_file()}
    assert len(texts) > 60
    assert [str(path) for path, text in texts.items() if re.search(r"(?<![\w.])(/var)?/tmp/\w", text)] == []
