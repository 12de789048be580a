"""The example playbook, run by the real ansible-playbook on two servers: over local connections, as over ssh."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml  # type: ignore[import-untyped]

from support.clients import PSQL, Bundle, admitted, at, refused
from support.pgtls import ROOT, pgtls
from support.servers import PATIENCE, Server, versions
from support.system import ENVIRONMENT, is_root
from support.walking import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

EXAMPLE = ROOT / "examples" / "ansible"
FILES = ("root.crt", "server.crt", "server.key", "pg_hba.conf", "pg_ident.conf", "pgtls.conf")


@dataclass(frozen=True, slots=True)
class Fleet:
    """A copy of the example beside the two servers that it installs."""

    directory: Path
    servers: Mapping[str, Server]

    def build(self) -> None:
        """Compile the copy's spec."""
        assert pgtls("build", cwd=self.directory).status == 0

    def play(self, *options: str, status: int = 0) -> str:
        """Run the playbook, which must end so; return what it printed."""
        run = subprocess.run(
            [Path(sys.executable).with_name("ansible-playbook"), "-i", "local.json", "site.yml", *options],
            cwd=self.directory,
            env={**ENVIRONMENT, "LC_ALL": "C.UTF-8", "HOME": str(self.directory), "ANSIBLE_NOCOLOR": "1"},
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=4 * PATIENCE,
        )
        assert run.returncode == status, f"ansible-playbook exited with {run.returncode}\n{run.stdout}{run.stderr}"
        return run.stdout + run.stderr

    def installed(self) -> dict[str, bytes]:
        """Return the files of every server by their paths."""
        paths = [server.data / name for server in self.servers.values() for name in FILES]
        return {str(path): path.read_bytes() for path in paths if path.exists()}


def changed(output: str) -> dict[str, int]:
    """Return the number of changes of each host, from the recap."""
    return {host: int(count) for host, count in re.findall(r"^(\w+) +: .*\bchanged=(\d+)", output, re.MULTILINE)}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Run the example's two servers, and write the inventory that finds them on this machine."""
    directory = tmp_path / "fleet"
    shutil.copytree(EXAMPLE, directory)
    installation = versions()[-1]
    spec = directory / "pgtls.toml"
    spec.write_text(re.sub("postgres = [0-9]+", f"postgres = {installation.major}", spec.read_text()))
    with ExitStack() as stack:
        servers = {name: stack.enter_context(Server(installation)) for name in ("db1", "db2")}
        for server in servers.values():
            server.populate(["app"], ["shop"])
        (directory / "local.json").write_text(json.dumps({"postgres": {"hosts": _hosts(servers)}}))
        fleet = Fleet(directory, servers)
        fleet.build()
        yield fleet


def _hosts(servers: Mapping[str, Server]) -> dict[str, object]:
    return {
        name: {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "ansible_become": is_root(),
            "pgtls_install_options": ["--data", str(server.data), "--bindir", str(server.installation.bin)],
        }
        for name, server in servers.items()
    }


def test_the_playbook_tells_what_it_would_do_installs_once_and_stops_at_a_server_that_refuses(fleet: Fleet) -> None:
    before = fleet.installed()
    assert changed(fleet.play("--check")) == {"db1": 1, "db2": 1}
    assert fleet.installed() == before
    said = fleet.play("-vvv", "--diff")
    assert changed(said) == {"db1": 1, "db2": 1}
    assert "PRIVATE KEY" not in said
    for name, server in fleet.servers.items():
        own = Bundle(fleet.directory / "out/clients/app").parameters("shop", server=name) | at(server)
        assert admitted(PSQL.connect(own)) == "app@shop"
        refused(PSQL.connect(own | {"sslmode": "disable"}), "no pg_hba.conf entry")
    installed = fleet.installed()
    assert changed(fleet.play()) == {"db1": 0, "db2": 0}
    assert fleet.installed() == installed

    # The first server refuses its files: the second keeps what it has.
    spec = fleet.directory / "pgtls.toml"
    spec.write_text(spec.read_text().replace('"localhost"]', '"localhost", "db.example.com"]'))
    fleet.build()
    servers = fleet.directory / "out/servers"
    (servers / "db1/server.key").write_bytes((servers / "db2/server.key").read_bytes())
    said = fleet.play(status=2)
    assert "server.key does not match server.crt" in said
    assert changed(said) == {"db1": 0}
    assert fleet.installed() == installed


def test_the_guide_shows_the_inventory_the_commands_and_every_variable_of_the_example() -> None:
    guide = ROOT / "docs/guides/ansible.md"
    assert shown(guide, "ini")[0].strip() in (EXAMPLE / "inventory.ini").read_text()
    commands = shown(guide, "sh")[0].split("\n")
    comments = (EXAMPLE / "site.yml").read_text().partition("- name")[0]
    assert [line for line in commands if line.startswith("ansible-playbook") and line not in comments] == []
    defaults = yaml.safe_load((EXAMPLE / "roles/pgtls_server/defaults/main.yml").read_text())
    assert re.findall(r"^\| `(\w+)` \|", guide.read_text(), re.MULTILINE) == list(defaults)
