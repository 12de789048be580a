"""Clusters as they are found: each becomes a spec that can be built and means the same, or names its differences."""

from __future__ import annotations

import tomllib
from ipaddress import ip_address
from itertools import product
from typing import TYPE_CHECKING

import pytest

from importer.clusters import CLUSTERS, Cluster
from importer.openssl import some_root
from importer.test_convert import compiled
from importer.test_random import decision
from pgtls.diagnostics import errors
from pgtls.hba.model import Connection, Name
from pgtls.importer.compare import Files
from pgtls.importer.convert import Adopted, Sources, adopt
from pgtls.importer.foreign import Foreign, read_foreign
from pgtls.importer.server import Given
from support.building import NOW

if TYPE_CHECKING:
    from pathlib import Path

ADDRESSES = ("127.0.0.1", "::1", "10.0.0.5", "10.1.2.3", "10.6.0.9", "192.168.1.10", "192.168.56.7", "8.8.8.8")


def place(directory: Path, cluster: Cluster) -> Sources:
    files = {"pg_hba.conf": cluster.hba, "pg_ident.conf": cluster.ident, "postgresql.conf": cluster.conf}
    files |= {"ca.crt": some_root()} | dict(cluster.beside)
    for name, text in files.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_bytes(text.encode())
    ident = str(directory / "pg_ident.conf") if cluster.ident else None
    return Sources(str(directory / "pg_hba.conf"), ident, str(directory / "postgresql.conf") if cluster.conf else None)


def imported(directory: Path, cluster: Cluster) -> tuple[Sources, Adopted]:
    sources = place(directory, cluster)
    output, ca = str(directory / "pgtls.toml"), str(directory / "ca.crt")
    return sources, adopt(sources, Given(("db.example.com",), cluster.version, output, ca=ca), "primary", NOW)


@pytest.mark.parametrize("cluster", CLUSTERS.values(), ids=CLUSTERS)
def test_it_becomes_a_spec_that_can_be_built_and_names_its_differences(tmp_path: Path, cluster: Cluster) -> None:
    _, adopted = imported(tmp_path, cluster)
    assert adopted.planned
    assert {d.code for d in errors(adopted.diagnostics)} == ({"PGT297"} if cluster.differs else set())
    assert {d.place and d.place.line for d in errors(adopted.diagnostics)} == cluster.differs
    assert adopted.equal is not bool(cluster.differs)
    assert "geheim" not in f"{adopted}"


SAME = {title: cluster for title, cluster in CLUSTERS.items() if not cluster.differs}


@pytest.mark.parametrize("cluster", SAME.values(), ids=SAME)
def test_the_matcher_decides_alike_by_both_files(tmp_path: Path, cluster: Cluster) -> None:
    sources, adopted = imported(tmp_path, cluster)
    _, files = compiled(tmp_path, adopted, cluster.version)
    assert sources.hba is not None
    before = read_foreign(sources.hba, sources.ident, cluster.version)
    answers = set()
    for connection in connections(before):
        was = decision(Files(before.lines, before.idents), connection, cluster.version)
        assert decision(files, connection, cluster.version) == was, connection
        answers.add(was)
    assert len(answers) > 1, "the connections tell nothing apart"


def connections(foreign: Foreign) -> list[Connection]:
    """Combine every name of the file, and one more, with addresses and transports."""
    roles = {term.text for line in foreign.lines for term in line.roles if isinstance(term, Name)} | {
        "else",
        "tenant_1",
    }
    databases = {term.text for line in foreign.lines for term in line.databases if isinstance(term, Name)}
    found = []
    for role, database in product(sorted(roles), sorted(databases | {"else", "tenant_1", ""})):
        found.append(Connection(role, database, "socket", replication=not database))
        for address, transport in product(ADDRESSES, ("tls", "plain", "gss")):
            asked = (role, database, transport, ip_address(address))
            found.append(Connection(*asked, replication=not database))  # type: ignore[arg-type]
    return found


def test_debian_s_files_stay_where_they_are(tmp_path: Path) -> None:
    _, adopted = imported(tmp_path, CLUSTERS["Debian's package"])
    server = tomllib.loads(adopted.text)["server"]["primary"]
    assert server["directory"] == "/etc/postgresql/17/main"
    assert server["settings"] == {"listen_addresses": "*", "password_encryption": "scram-sha-256"}
    assert any("none-snakeoil.pem" in d.message and "cannot be read" in d.message for d in adopted.diagnostics)
