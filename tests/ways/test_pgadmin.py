"""pgAdmin itself imports the file of a bundle, and connects with what ``install.sh`` has put into its place."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

from support.clients import at
from support.pgadmin import imported
from support.scenario import enact
from support.servers import PATIENCE, Server, versions
from support.system import ENVIRONMENT, new_directory

if TYPE_CHECKING:
    from pathlib import Path


def test_pgadmin_imports_the_servers_of_a_bundle_and_connects_once_it_is_installed() -> None:
    newest = max((found for found in versions() if found.builder == "npm"), key=lambda found: found.major)
    with Server(newest) as server:
        bundle = enact("09-pgadmin", server, ("alice",)) / "clients" / "alice"
        servers, where = unpacked(bundle) / "pgadmin.json", at(server)
        names = {one["Name"] for one in json.loads(servers.read_text())["Servers"].values()}
        assert imported(servers, installed(servers.parent), where) == dict.fromkeys(names, "alice@shop")
        answers = imported(servers, new_directory("home"), where)
        assert answers.keys() == names
        assert all("root certificate file" in answer and "does not exist" in answer for answer in answers.values())


def unpacked(bundle: Path) -> Path:
    """Unpack the archive of a bundle as a person would."""
    directory = new_directory("unpacked")
    subprocess.run(["unzip", "-q", bundle / "alice.zip", "-d", directory], check=True, timeout=PATIENCE)
    return directory / "alice"


def installed(bundle: Path) -> Path:
    """Install a bundle, and return the home of its person."""
    home = new_directory("home")
    subprocess.run(
        ["sh", bundle / "install.sh"], env={**ENVIRONMENT, "HOME": str(home)}, check=True, capture_output=True,
        stdin=subprocess.DEVNULL, timeout=PATIENCE,
    )  # fmt: skip
    return home
