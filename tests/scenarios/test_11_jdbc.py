"""JDBC: pgjdbc connects by the URL of the bundle with its key in PKCS#8 DER, and verifies the server."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from support.runners import java_runner
from support.scenario import compiled_scenario, enact
from support.servers import Server, versions

if TYPE_CHECKING:
    from pathlib import Path

NAME = "11-jdbc"


def url(bundle: Path, port: int) -> str:
    """Return the URL of the bundle, for where the bundle and the server are here."""
    properties = (bundle / "jdbc.properties").read_text().splitlines()
    (found,) = (line.removeprefix("db-shop.url=") for line in properties if line.startswith("db-shop.url="))
    return found.replace(":5432/", f":{port}/").replace(quote("/etc/shop/tls", safe=""), quote(str(bundle), safe=""))


def test_a_java_program_connects_by_the_url_of_its_bundle() -> None:
    with Server(versions()[-1]) as server, java_runner() as java:
        bundle = enact(NAME, server, ("shop",)) / "clients" / "shop"
        mine = url(bundle, server.port)
        answer = java.run(url=mine)
        assert answer.printed == "shop", answer.failed
        assert "pg_hba.conf" in java.run(url=mine.replace("verify-full", "disable")).failed
        assert java.run(url=mine.replace("postgresql.pk8", "none.pk8")).printed is None
        strange = compiled_scenario(NAME, server, "a stranger") / "clients" / "shop" / "root.crt"
        answer = java.run(url=mine.replace(quote(str(bundle / "root.crt"), safe=""), quote(str(strange), safe="")))
        assert (answer.printed, "PKIX" in answer.failed) == (None, True), answer.failed
