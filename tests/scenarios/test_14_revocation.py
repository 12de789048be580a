"""One user leaves, another's laptop is stolen: servers refuse both from the next reload and admit all others."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from lifecycle.fleets import logged
from support.clients import PSQL, Bundle, admitted, at, refused
from support.pgtls import SCENARIOS, compiled, for_postgres

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Server

ROLES = ("alice", "bob", "carol")


def test_a_leaver_and_a_thief_are_refused_and_nobody_else(server: Server, tmp_path: Path) -> None:
    server.populate(ROLES, ("shop",))
    now = datetime.now(UTC).replace(microsecond=0)
    text = for_postgres(SCENARIOS / "14-revocation" / "pgtls.toml", server.version)
    out = compiled(text, tmp_path, now=(now - timedelta(hours=2)).isoformat())
    server.install(out / "servers" / "db")
    shutil.copytree(out / "clients", tmp_path / "deployed")
    deployed = {role: Bundle(tmp_path / "deployed" / role).parameters("shop") | at(server) for role in ROLES}
    for role in ROLES:
        assert admitted(PSQL.connect(deployed[role])) == f"{role}@shop"

    stolen = now - timedelta(hours=1)
    left = text.replace('[user.bob]\nca = "people"\n', "").replace('"alice", "bob", "carol"', '"alice", "carol"')
    left = left.replace(
        '[user.carol]\nca = "people"\n', f'[user.carol]\nca = "people"\nrevoke_before = {stolen.isoformat()}\n'
    )
    compiled(left, tmp_path, now=now.isoformat())
    for role in ("bob", "carol"):
        assert admitted(PSQL.connect(deployed[role])) == f"{role}@shop", "until the server has its new files"
    server.install(out / "servers" / "db")
    for role in ("bob", "carol"):
        mark = server.mark()
        refused(PSQL.connect(deployed[role]), "")
        server.wait_for_log(logged(server, "certificate revoked"), mark)
    assert admitted(PSQL.connect(deployed["alice"])) == "alice@shop"
    carols = Bundle(out / "clients" / "carol").parameters("shop") | at(server)
    assert admitted(PSQL.connect(carols)) == "carol@shop"
    assert not (out / "clients" / "bob").exists()
