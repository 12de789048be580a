"""No false alarm: good servers of random specs are as compiled.

``PGTLS_TEST_GOOD`` is the number of specs, all versions together (three a version).
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from live.verifying import Site, seen
from pgtls.api import Spec
from pgtls.language.files import Disk
from pgtls.live.checks.database import judge
from pgtls.live.run import loaded
from pgtls.live.sql import read
from support.servers import Server, versions
from whole.knocking import PASSWORD
from whole.test_random_specs import build, worlds
from whole.worlds import DATABASES, ROLES

if TYPE_CHECKING:
    from pgtls.live.checks.check import Check
    from support.building import Place

SPECS = int(os.environ.get("PGTLS_TEST_GOOD", str(3 * len(versions()))))


def wrong(checks: tuple[Check, ...]) -> list[Check]:
    return [check for check in checks if check.outcome == "differs"]


def by_sql(place: Place, server: Server) -> tuple[Check, ...]:
    """Judge what SQL shows, asked through a connection from before the install."""
    tree = loaded(Spec(str(place.spec), datetime.now(UTC), Disk(), str(place.lock)))
    shown = read(server.administrator, "postgres")
    found = judge(tree.fleet, tree.of("db"), tree.checked.lock, shown)
    return tuple(check for check in found if check.name != "memberships")


def test_a_good_server_of_a_random_spec_is_as_compiled(server: Server) -> None:
    server.populate(ROLES, [name for name in DATABASES if name != "replication"], PASSWORD)
    tried = 0
    for _, place in worlds(server.version, SPECS // len(versions())):
        build(place)
        site = Site(server, place)
        site.install()
        found = seen(place, server.port)
        assert wrong((*found.checks, *by_sql(place, server))) == [], place.spec.read_text()
        assert found.connections <= 40
        tried += sum(check.outcome == "ok" for check in found.checks if check.name in ("access", "cleartext"))
    assert tried > 0
