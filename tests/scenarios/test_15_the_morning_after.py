"""A client certificate expired at night: what the log says, what the status says, and that one build makes it good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from lifecycle.fleets import logged
from support.clients import PSQL, Bundle, admitted, at, refused
from support.pgtls import SCENARIOS, compiled, for_postgres, pgtls

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Server


def test_what_expired_at_night_works_again_after_one_build(server: Server, tmp_path: Path) -> None:
    server.populate(("shop", "reports"), ("shop",))
    now = datetime.now(UTC).replace(microsecond=0)
    text = for_postgres(SCENARIOS / "15-the-morning-after" / "pgtls.toml", server.version)
    out = compiled(text, tmp_path, now=(now - timedelta(days=30, hours=3)).isoformat())
    server.install(out / "servers" / "db")

    def connection(role: str) -> dict[str, str]:
        return Bundle(out / "clients" / role).parameters("shop") | at(server)

    mark = server.mark()
    refused(PSQL.connect(connection("shop")), "certificate expired")
    server.wait_for_log(logged(server, "certificate has expired"), mark)
    assert admitted(PSQL.connect(connection("reports"))) == "reports@shop", "whose certificate is still good"

    week_ago = (now - timedelta(days=7)).isoformat()
    told = pgtls("status", "--lock", "out.lock", "--within", "14d", "--detailed-exitcode", cwd=tmp_path, now=week_ago)
    assert told.status == 2
    assert "user.shop" in told.stdout
    assert "user.shop" in pgtls("plan", "--lock", "out.lock", cwd=tmp_path).stdout

    compiled(text, tmp_path)
    assert admitted(PSQL.connect(connection("shop"))) == "shop@shop", "with its new bundle alone"
    server.install(out / "servers" / "db")
    assert admitted(PSQL.connect(connection("shop"))) == "shop@shop"
    assert pgtls("status", "--lock", "out.lock", "--within", "7d", "--detailed-exitcode", cwd=tmp_path).status == 0
